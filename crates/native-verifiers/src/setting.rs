//! One verifier as the operator writes it: a line for flags and the environment, a table in the settings file.

use crate::{
    engine::NativeVerifier,
    guest::{DEFAULT_SCHEMA_ID, Guest, GuestError},
    key::{KeyError, ProgramKey},
    statements::StatementTable,
    system::{SystemName, UnusableKey},
};
use assay_types::{ProofType, Root};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, sync::Arc};

/// Why a verifier cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// Not written as it should be.
    #[error("{0}")]
    Form(String),
    /// The guest's family.
    #[error(transparent)]
    Guest(#[from] GuestError),
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

/// The guest's family by name, with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestSetting {
    /// `output`
    Output,
    /// `output-sha256`
    OutputSha256,
    /// `validation-result`, and its schema id
    ValidationResult(u16),
    /// `validation-result-sha256`, and its schema id
    ValidationResultSha256(u16),
    /// `unsafe-statements`, and the table's file
    UnsafeStatements(PathBuf),
}

/// One verifier: `TYPE:SYSTEM:vk=FILE:sha256=HEX:guest=FAMILY`, and after that `:schema=NUMBER` for the families
/// `validation-result…`, or `:statements=FILE` for `unsafe-statements`. In the settings file the same by name, as a table
/// with `type` and `system` (and so for paths with a colon).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierSetting {
    /// The type whose proofs it verifies.
    pub proof_type: ProofType,
    /// The proof system.
    pub system: SystemName,
    /// The program key's file.
    pub vk: PathBuf,
    /// The SHA-256 that file must have.
    pub sha256: Root,
    /// What the program commits to.
    pub guest: GuestSetting,
}

/// What can be named, in this order where it is written.
const NAMES: [&str; 7] = ["type", "system", "vk", "sha256", "guest", "schema", "statements"];

/// The parts by name, as they were given.
type Parts = BTreeMap<String, String>;

fn form(why: impl Into<String>) -> SettingError {
    SettingError::Form(why.into())
}

impl TryFrom<Parts> for VerifierSetting {
    type Error = SettingError;

    fn try_from(mut parts: Parts) -> Result<Self, SettingError> {
        if let Some(unknown) = parts.keys().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(form(format!(
                "{unknown} is no part of a verifier: {}",
                NAMES.join(", ")
            )));
        }
        let mut take = |name: &str| parts.remove(name).filter(|value| !value.is_empty());
        let mut needed = |name: &str| take(name).ok_or_else(|| form(format!("{name} is missing")));
        let proof_type = needed("type")?;
        let setting = Self {
            proof_type: proof_type
                .parse()
                .map_err(|_| form("a proof type is a number from 0 to 255"))?,
            system: needed("system")?.parse().map_err(form)?,
            vk: needed("vk")?.into(),
            sha256: {
                let digits = needed("sha256")?;
                let digits = digits.strip_prefix("0x").unwrap_or(&digits);
                let wrong = |_| form("sha256 is the SHA-256 of the key's file: 64 hex digits");
                format!("0x{digits}").parse().map_err(wrong)?
            },
            guest: {
                let family = needed("guest")?;
                let (schema, statements) = (take("schema"), take("statements"));
                guest(&family, schema.as_deref(), statements)?
            },
        };
        Ok(setting)
    }
}

fn guest(
    family: &str,
    schema: Option<&str>,
    statements: Option<String>,
) -> Result<GuestSetting, SettingError> {
    let schema_id = match schema {
        None => DEFAULT_SCHEMA_ID,
        Some(text) => {
            let number = match text.strip_prefix("0x") {
                Some(digits) => u16::from_str_radix(digits, 16),
                None => text.parse(),
            };
            number.map_err(|_| form("schema is a number from 0 to 65535, as 0x1501"))?
        }
    };
    let guest = match family {
        "output" => GuestSetting::Output,
        "output-sha256" => GuestSetting::OutputSha256,
        "validation-result" => GuestSetting::ValidationResult(schema_id),
        "validation-result-sha256" => GuestSetting::ValidationResultSha256(schema_id),
        "unsafe-statements" => {
            let file = statements
                .clone()
                .ok_or_else(|| form("guest=unsafe-statements needs statements=FILE"))?;
            GuestSetting::UnsafeStatements(file.into())
        }
        other => return Err(GuestError::Family(other.to_owned()).into()),
    };
    if schema.is_some() && !family.starts_with("validation-result") {
        return Err(form(format!("guest={family} has no schema")));
    }
    if statements.is_some() && family != "unsafe-statements" {
        return Err(form(format!("guest={family} takes no statements")));
    }
    Ok(guest)
}

impl VerifierSetting {
    /// Names and values, in the order they are written.
    fn parts(&self) -> Vec<(&'static str, String)> {
        let (guest, more) = match &self.guest {
            GuestSetting::Output => ("output", None),
            GuestSetting::OutputSha256 => ("output-sha256", None),
            GuestSetting::ValidationResult(id) => {
                ("validation-result", Some(("schema", format!("{id:#06x}"))))
            }
            GuestSetting::ValidationResultSha256(id) => {
                ("validation-result-sha256", Some(("schema", format!("{id:#06x}"))))
            }
            GuestSetting::UnsafeStatements(file) => (
                "unsafe-statements",
                Some(("statements", file.display().to_string())),
            ),
        };
        let mut parts = vec![
            ("type", self.proof_type.to_string()),
            ("system", self.system.to_string()),
            ("vk", self.vk.display().to_string()),
            ("sha256", self.sha256.to_string()),
            ("guest", guest.to_owned()),
        ];
        parts.extend(more);
        parts
    }
}

impl FromStr for VerifierSetting {
    type Err = SettingError;

    fn from_str(text: &str) -> Result<Self, SettingError> {
        let wrong = |why: &str| {
            form(format!(
                "{text:?}: {why}; TYPE:SYSTEM:vk=FILE:sha256=HEX:guest=FAMILY is meant (a path with a colon needs the \
                 settings file)"
            ))
        };
        let mut parts = Parts::new();
        for (at, part) in text.split(':').enumerate() {
            let (name, value) = match (at, part.split_once('=')) {
                (0, None) => ("type", part.trim()),
                (1, None) => ("system", part),
                (0 | 1, Some(_)) => return Err(wrong("it does not begin with a proof type and a system")),
                (_, Some(pair)) => pair,
                (_, None) => return Err(wrong("a part is not NAME=VALUE")),
            };
            if parts.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(wrong(&format!("{name} is there twice")));
            }
        }
        parts.try_into().map_err(|error| match error {
            SettingError::Form(why) => wrong(&why),
            other => other,
        })
    }
}

impl fmt::Display for VerifierSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.parts().iter().enumerate() {
            match at {
                0 => write!(f, "{value}")?,
                1 => write!(f, ":{value}")?,
                _ => write!(f, ":{name}={value}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for VerifierSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.parts())
    }
}

/// A line, or a table.
#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Line(String),
    Table(BTreeMap<String, Value>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Number(u64),
    Text(String),
}

impl TryFrom<Raw> for VerifierSetting {
    type Error = SettingError;

    fn try_from(raw: Raw) -> Result<Self, SettingError> {
        match raw {
            Raw::Line(line) => line.parse(),
            Raw::Table(table) => {
                let text = |value| match value {
                    Value::Number(number) => number.to_string(),
                    Value::Text(text) => text,
                };
                let parts: Parts = table
                    .into_iter()
                    .map(|(name, value)| (name, text(value)))
                    .collect();
                parts.try_into()
            }
        }
    }
}

impl<'de> Deserialize<'de> for VerifierSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer)?
            .try_into()
            .map_err(D::Error::custom)
    }
}

impl VerifierSetting {
    /// Several, as settings have them: a list of lines and tables, or one text with commas between lines (as the
    /// environment has it).
    pub fn several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Self>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Many(Vec<Raw>),
            One(String),
        }
        let raw = match Form::deserialize(deserializer)? {
            Form::Many(raw) => raw,
            Form::One(text) => {
                let lines = text.split(',').map(str::trim).filter(|line| !line.is_empty());
                lines.map(|line| Raw::Line(line.to_owned())).collect()
            }
        };
        let settings: Result<_, SettingError> = raw.into_iter().map(Self::try_from).collect();
        settings.map_err(D::Error::custom)
    }
}

impl VerifierSetting {
    /// Reads what it names; `allow_statements` is `--unsafe-native-statements`. `chain_id` is what the families
    /// `validation-result…` commit to.
    pub fn load(&self, chain_id: u64, allow_statements: bool) -> Result<NativeVerifier, SettingError> {
        let guest = match &self.guest {
            GuestSetting::Output => Guest::Output,
            GuestSetting::OutputSha256 => Guest::OutputSha256,
            GuestSetting::ValidationResult(schema_id) => Guest::ValidationResult {
                chain_id,
                schema_id: *schema_id,
            },
            GuestSetting::ValidationResultSha256(schema_id) => Guest::ValidationResultSha256 {
                chain_id,
                schema_id: *schema_id,
            },
            GuestSetting::UnsafeStatements(_) if !allow_statements => {
                return Err(SettingError::UnsafeStatements);
            }
            GuestSetting::UnsafeStatements(file) => {
                let table = StatementTable::new(file).map_err(SettingError::Statements)?;
                Guest::UnsafeStatements(Arc::new(table))
            }
        };
        let key = ProgramKey::from_file(&self.vk, self.sha256)?;
        Ok(NativeVerifier {
            system: self.system.with_key(&key)?,
            guest,
        })
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
            ("output", SystemName::Sp1, GuestSetting::Output),
            ("output-sha256", SystemName::Zisk, GuestSetting::OutputSha256),
            (
                "validation-result:schema=0x1502",
                SystemName::Sp1,
                GuestSetting::ValidationResult(0x1502),
            ),
            (
                "validation-result-sha256",
                SystemName::Sp1,
                GuestSetting::ValidationResultSha256(0x1501),
            ),
            (
                "unsafe-statements:statements=t",
                SystemName::Sp1,
                GuestSetting::UnsafeStatements("t".into()),
            ),
        ] {
            let line = format!("5:{system}:vk=a/b.bin:sha256={DIGEST}:guest={text}");
            let setting: VerifierSetting = line.parse().unwrap();
            let expected = VerifierSetting {
                proof_type: 5,
                system,
                vk: "a/b.bin".into(),
                sha256: DIGEST.parse().unwrap(),
                guest,
            };
            assert_eq!(setting, expected, "{line}");
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
            (setting.vk, setting.guest),
            ("c:/a".into(), GuestSetting::ValidationResult(0x1502))
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

    #[test]
    fn statements_need_their_flag() {
        let setting: VerifierSetting =
            format!("5:sp1:vk=a:sha256={DIGEST}:guest=unsafe-statements:statements=t")
                .parse()
                .unwrap();
        assert!(matches!(
            setting.load(1, false),
            Err(SettingError::UnsafeStatements)
        ));
        assert!(matches!(setting.load(1, true), Err(SettingError::Statements(_))));
    }
}
