//! An entry, or part of one, as the operator writes it: a line for flags and the environment, a table in the settings file.

use super::guest::{GuestFamily, GuestFamilyError};
use crate::proof_type_names::MAX_NAME_LENGTH;
use assay_types::{ProofType, Root};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

/// Why a definition cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not written as it should be.
    #[error("{0}")]
    Form(String),
    /// The guest's family.
    #[error(transparent)]
    Guest(#[from] GuestFamilyError),
}

fn form(why: impl Into<String>) -> DefinitionError {
    DefinitionError::Form(why.into())
}

/// What the operator says of a number: `TYPE[:SYSTEM][:name=NAME][:vk=FILE][:sha256=HEX][:guest=FAMILY][:version=TEXT]`, and
/// after `guest` `:schema=NUMBER` for the families `validation-result…`, or `:statements=FILE` for `unsafe-statements`. In the
/// settings file the same by name, as a table with `type` and `system` (and so for paths with a colon).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProofTypeDefinition {
    /// The number.
    pub proof_type: ProofType,
    /// The name that provers and proof nodes have for it.
    pub name: Option<String>,
    /// The proof system.
    pub system: Option<String>,
    /// The verification key's file.
    pub vk: Option<PathBuf>,
    /// The SHA-256 that file must have.
    pub sha256: Option<Root>,
    /// What the guest program commits to.
    pub guest: Option<GuestFamily>,
    /// The guest program's version, in its makers' words.
    pub version: Option<String>,
}

/// What can be named, in this order where it is written.
const NAMES: [&str; 9] = [
    "type",
    "system",
    "name",
    "vk",
    "sha256",
    "guest",
    "schema",
    "statements",
    "version",
];

/// The parts by name, as they were given.
type Parts = BTreeMap<String, String>;

/// Words as names of systems and versions are: short, and nothing that a terminal or a path could take for something else.
fn word(what: &str, text: String) -> Result<String, DefinitionError> {
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
    let fits = text.len() <= MAX_NAME_LENGTH && text.bytes().all(letters) && text.bytes().any(|b| b != b'.');
    match fits {
        true => Ok(text),
        false => Err(form(format!(
            "{what} {text:?}: 1 to {MAX_NAME_LENGTH} letters, digits, '-', '_', '+' and '.'"
        ))),
    }
}

impl TryFrom<Parts> for ProofTypeDefinition {
    type Error = DefinitionError;

    fn try_from(mut parts: Parts) -> Result<Self, DefinitionError> {
        if let Some(unknown) = parts.keys().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(form(format!(
                "{unknown} is no part of a proof type: {}",
                NAMES.join(", ")
            )));
        }
        let mut take = |name: &str| parts.remove(name).filter(|value| !value.is_empty());
        let proof_type = take("type").ok_or_else(|| form("type is missing"))?;
        let (schema, statements) = (take("schema"), take("statements"));
        let guest = match take("guest") {
            Some(family) => Some(GuestFamily::read(&family, schema.as_deref(), statements)?),
            None if schema.is_some() || statements.is_some() => return Err(form("guest is missing")),
            None => None,
        };
        let mut take_word = |name: &str| take(name).map(|text| word(name, text)).transpose();
        Ok(Self {
            proof_type: proof_type
                .parse()
                .map_err(|_| form("a proof type is a number from 0 to 255"))?,
            name: take_word("name")?,
            system: take_word("system")?,
            version: take_word("version")?,
            vk: take("vk").map(PathBuf::from),
            sha256: take("sha256")
                .map(|digits| {
                    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
                    let wrong = |_| form("sha256 is the SHA-256 of the key's file: 64 hex digits");
                    format!("0x{digits}").parse().map_err(wrong)
                })
                .transpose()?,
            guest,
        })
    }
}

impl ProofTypeDefinition {
    /// Names and values of what is said, in the order they are written.
    pub fn parts(&self) -> Vec<(&'static str, String)> {
        let mut parts = vec![("type", self.proof_type.to_string())];
        let mut add = |name, value: Option<String>| parts.extend(value.map(|value| (name, value)));
        add("system", self.system.clone());
        add("name", self.name.clone());
        add("vk", self.vk.as_ref().map(|file| file.display().to_string()));
        add("sha256", self.sha256.map(|digest| digest.to_string()));
        parts.extend(self.guest.iter().flat_map(GuestFamily::parts));
        parts.extend(self.version.clone().map(|version| ("version", version)));
        parts
    }

    /// What is said on its own: a number alone says nothing, and a key's file is nothing without its digest.
    ///
    /// # Errors
    /// What is missing.
    pub fn checked(self) -> Result<Self, DefinitionError> {
        if self.parts().len() == 1 {
            return Err(form(format!(
                "proof type {}: nothing is said of it; --proof-types lists the types to verify",
                self.proof_type
            )));
        }
        if self.vk.is_some() && self.sha256.is_none() {
            return Err(form(
                "sha256 is missing: the SHA-256 that the file of vk must have",
            ));
        }
        Ok(self)
    }

    /// Takes over what `other` says and this does not.
    pub(super) fn fill(&mut self, other: &Self) {
        let other = other.clone();
        self.proof_type = other.proof_type;
        self.name = self.name.take().or(other.name);
        self.system = self.system.take().or(other.system);
        self.vk = self.vk.take().or(other.vk);
        self.sha256 = self.sha256.or(other.sha256);
        self.guest = self.guest.take().or(other.guest);
        self.version = self.version.take().or(other.version);
    }

    /// Several, as settings have them: a list of lines and tables, or one text with commas between lines (as the
    /// environment has it).
    pub fn several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Self>, D::Error> {
        Self::several_of(deserializer, Self::checked)
    }

    /// As `several`, each made into what `make` makes of it.
    pub fn several_of<'de, D: Deserializer<'de>, T, E: fmt::Display>(
        deserializer: D,
        make: impl Fn(Self) -> Result<T, E>,
    ) -> Result<Vec<T>, D::Error> {
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
        let one = |raw: Raw| make(raw.try_into().map_err(D::Error::custom)?).map_err(D::Error::custom);
        raw.into_iter().map(one).collect()
    }
}

impl FromStr for ProofTypeDefinition {
    type Err = DefinitionError;

    fn from_str(text: &str) -> Result<Self, DefinitionError> {
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
                (0, Some(_)) => return Err(wrong("it does not begin with a proof type")),
                (_, Some(pair)) => pair,
                (_, None) => return Err(wrong("a part is not NAME=VALUE")),
            };
            if parts.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(wrong(&format!("{name} is there twice")));
            }
        }
        parts.try_into().map_err(|error| match error {
            DefinitionError::Form(why) | DefinitionError::Guest(GuestFamilyError::Form(why)) => wrong(&why),
            other => other,
        })
    }
}

impl fmt::Display for ProofTypeDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.parts() {
            match name {
                "type" => write!(f, "{value}")?,
                "system" => write!(f, ":{value}")?,
                _ => write!(f, ":{name}={value}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for ProofTypeDefinition {
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

impl TryFrom<Raw> for ProofTypeDefinition {
    type Error = DefinitionError;

    fn try_from(raw: Raw) -> Result<Self, DefinitionError> {
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

impl<'de> Deserialize<'de> for ProofTypeDefinition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer)?
            .try_into()
            .map_err(D::Error::custom)
    }
}
