//! One verifier as the operator writes it, and as it stands in a proof type's entry.

use crate::{
    engine::NativeVerifier,
    guest::Guest,
    key::{KeyError, ProgramKey},
    statements::StatementTable,
    system::{SystemName, UnusableKey},
};
use assay_proof_engine::{
    ProofTypeNames,
    proof_types::{
        DefinitionError, GuestFamily, JudgedBy, ProofTypeDefinition, ProofTypeEntry, ProofTypes,
        VerificationKey,
    },
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr, sync::Arc};

/// Why a verifier cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// Not written as it should be.
    #[error("{0}")]
    Form(String),
    /// As above, told by who read it.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The key's file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key, or a verifier that is not there.
    #[error(transparent)]
    System(#[from] UnusableKey),
    /// The table of statements.
    #[error("{0}")]
    Statements(String),
    /// A table of statements without the flag.
    #[error(
        "guest=unsafe-statements proves nothing about execution: for tests only, and only with --unsafe-native-statements"
    )]
    UnsafeStatements,
}

fn missing(part: &str) -> SettingError {
    SettingError::Form(format!(
        "{part} is missing; TYPE:SYSTEM:vk=FILE:sha256=HEX:guest=FAMILY is meant"
    ))
}

/// One verifier: the definition of a proof type, with all that a verifier in this process needs of it (system, key, guest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierSetting(ProofTypeDefinition);

impl VerifierSetting {
    /// What it says of its proof type.
    pub fn definition(&self) -> &ProofTypeDefinition {
        &self.0
    }

    /// What it names, read: see `NativeVerifier::load`.
    ///
    /// # Errors
    /// As there.
    pub fn load(&self, chain_id: u64, allow_statements: bool) -> Result<NativeVerifier, SettingError> {
        let number = self.0.proof_type;
        let definitions = [("native-verifier", self.0.clone())];
        let entries = ProofTypes::new(&[number], ProofTypeNames::none(), &definitions, |_| {
            JudgedBy::default()
        });
        let entries = entries.map_err(|error| SettingError::Form(error.to_string()))?;
        let entry = entries.get(number).ok_or_else(|| missing("type"))?;
        NativeVerifier::load(entry, chain_id, allow_statements)
    }

    /// Several, as settings have them: see `ProofTypeDefinition::several`.
    pub fn several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Self>, D::Error> {
        ProofTypeDefinition::several_of(deserializer, Self::try_from)
    }
}

impl TryFrom<ProofTypeDefinition> for VerifierSetting {
    type Error = SettingError;

    fn try_from(definition: ProofTypeDefinition) -> Result<Self, SettingError> {
        let system = definition.system.as_deref().ok_or_else(|| missing("system"))?;
        let _: SystemName = system.parse().map_err(SettingError::Form)?;
        for (part, is_there) in [
            ("vk", definition.vk.is_some()),
            ("sha256", definition.sha256.is_some()),
            ("guest", definition.guest.is_some()),
        ] {
            if !is_there {
                return Err(missing(part));
            }
        }
        Ok(Self(definition))
    }
}

impl FromStr for VerifierSetting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        text.parse::<ProofTypeDefinition>()?.try_into()
    }
}

impl fmt::Display for VerifierSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for VerifierSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for VerifierSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let definition = ProofTypeDefinition::deserialize(deserializer)?;
        definition.try_into().map_err(D::Error::custom)
    }
}

impl NativeVerifier {
    /// Reads what an entry names; `allow_statements` is `--unsafe-native-statements`. `chain_id` is what the families
    /// `validation-result…` commit to.
    ///
    /// # Errors
    /// Where the entry lacks a part, its key's file is another, or this program has no verifier for its system.
    pub fn load(entry: &ProofTypeEntry, chain_id: u64, allow_statements: bool) -> Result<Self, SettingError> {
        let system = entry.system().ok_or_else(|| missing("system"))?;
        let system: SystemName = system.parse().map_err(SettingError::Form)?;
        let guest = match entry.guest().ok_or_else(|| missing("guest"))? {
            GuestFamily::Output => Guest::Output,
            GuestFamily::OutputSha256 => Guest::OutputSha256,
            GuestFamily::ValidationResult(schema_id) => Guest::ValidationResult {
                chain_id,
                schema_id: *schema_id,
            },
            GuestFamily::ValidationResultSha256(schema_id) => Guest::ValidationResultSha256 {
                chain_id,
                schema_id: *schema_id,
            },
            GuestFamily::UnsafeStatements(_) if !allow_statements => {
                return Err(SettingError::UnsafeStatements);
            }
            GuestFamily::UnsafeStatements(file) => {
                let table = StatementTable::new(file).map_err(SettingError::Statements)?;
                Guest::UnsafeStatements(Arc::new(table))
            }
        };
        let key = entry.key().ok_or_else(|| missing("vk"))?;
        let key = ProgramKey::of(key)?.ok_or_else(|| missing("vk"))?;
        Ok(Self {
            system: system.with_key(&key)?,
            guest,
        })
    }
}

impl ProgramKey {
    /// The key of an entry, held against its SHA-256; `None` where the entry names no file.
    pub fn of(key: &VerificationKey) -> Result<Option<Self>, KeyError> {
        let read = |file| Self::from_file(file, key.sha256());
        key.file().map(read).transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const DIGEST: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn settings_are_read_and_written() {
        for (text, system, guest) in [
            ("output", SystemName::Sp1, GuestFamily::Output),
            ("output-sha256", SystemName::Zisk, GuestFamily::OutputSha256),
            (
                "validation-result:schema=0x1502",
                SystemName::Sp1,
                GuestFamily::ValidationResult(0x1502),
            ),
            (
                "validation-result-sha256",
                SystemName::Sp1,
                GuestFamily::ValidationResultSha256(0x1501),
            ),
            (
                "unsafe-statements:statements=t",
                SystemName::Sp1,
                GuestFamily::UnsafeStatements("t".into()),
            ),
        ] {
            let line = format!("5:{system}:vk=a/b.bin:sha256={DIGEST}:guest={text}");
            let setting: VerifierSetting = line.parse().unwrap();
            let expected = ProofTypeDefinition {
                proof_type: 5,
                system: Some(system.to_string()),
                vk: Some("a/b.bin".into()),
                sha256: Some(DIGEST.parse().unwrap()),
                guest: Some(guest),
                ..ProofTypeDefinition::default()
            };
            assert_eq!(setting.definition(), &expected, "{line}");
            assert_eq!(setting.to_string().parse::<VerifierSetting>().unwrap(), setting);
            let json = serde_json::to_value(&setting).unwrap();
            assert_eq!(serde_json::from_value::<VerifierSetting>(json).unwrap(), setting);
            assert_eq!(
                serde_json::from_value::<VerifierSetting>(line.into()).unwrap(),
                setting
            );
        }
        // In a table a number may be one.
        let table = serde_json::json!({"type": 5, "system": "sp1", "vk": "c:/a", "sha256": DIGEST,
            "guest": "validation-result", "schema": 5378});
        let setting: VerifierSetting = serde_json::from_value(table).unwrap();
        assert_eq!(
            (&setting.0.vk, &setting.0.guest),
            (&Some("c:/a".into()), &Some(GuestFamily::ValidationResult(0x1502)))
        );
        // Digests are also written without 0x.
        let bare = format!("5:sp1:sha256={}:guest=output:vk=a", &DIGEST[2..]);
        bare.parse::<VerifierSetting>().unwrap();
    }

    #[test]
    fn what_is_wrong_is_said() {
        let line = |rest: &str| format!("5:sp1:vk=a:sha256={DIGEST}:guest={rest}");
        for (text, says) in [
            (String::new(), "type is missing"),
            (line("output").replace("5:", "256:"), "from 0 to 255"),
            ("vk=a:sp1".into(), "does not begin"),
            ("5".into(), "system is missing"),
            ("5:sp1".into(), "vk is missing"),
            ("5:sp1:vk=a:guest=output".into(), "sha256 is missing"),
            (format!("5:sp1:vk=a:sha256={DIGEST}"), "guest is missing"),
            (format!("5:openvm:vk=a:sha256={DIGEST}:guest=output"), "openvm"),
            ("5:sp1:vk=a:sha256=00:guest=output".into(), "64 hex digits"),
            (line("reth"), "no guest family"),
            (line("output:schema=1"), "no schema"),
            (line("output:statements=f"), "no statements"),
            (line("validation-result:schema=65536"), "0 to 65535"),
            (line("unsafe-statements"), "statements=FILE"),
            (line("output:vk=b"), "twice"),
            (line("").replace("vk=a", "vk="), "vk is missing"),
            (line("output:key=b"), "key is no part"),
            (line("output:type=6"), "twice"),
            (line("output:c:/x"), "not NAME=VALUE"),
        ] {
            let error = text.parse::<VerifierSetting>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    fn load(line: &str, allow_statements: bool) -> Result<NativeVerifier, SettingError> {
        let definitions = [("native-verifier", line.parse().unwrap())];
        let judged = |_| JudgedBy::default();
        let entries = ProofTypes::new(&[5], ProofTypeNames::default(), &definitions, judged).unwrap();
        NativeVerifier::load(entries.get(5).unwrap(), 1, allow_statements)
    }

    #[test]
    fn statements_need_their_flag() {
        let line = format!("5:sp1:vk=a:sha256={DIGEST}:guest=unsafe-statements:statements=t");
        assert!(matches!(load(&line, false), Err(SettingError::UnsafeStatements)));
        assert!(matches!(load(&line, true), Err(SettingError::Statements(_))));
    }

    #[test]
    fn an_entry_that_lacks_a_part_is_no_verifier() {
        for (line, says) in [
            ("5:name=a", "system is missing"),
            ("5:openvm", "openvm"),
            ("5:sp1", "guest is missing"),
            ("5:sp1:guest=output", "vk is missing"),
            (&format!("5:sp1:guest=output:sha256={DIGEST}"), "vk is missing"),
            (
                &format!("5:sp1:guest=output:vk=/nowhere:sha256={DIGEST}"),
                "cannot be read",
            ),
        ] {
            let error = load(line, false).unwrap_err().to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
