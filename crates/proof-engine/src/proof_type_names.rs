//! The map between `ProofType` (uint8) and the names that proof nodes have for the types on the wire (protocol.md
//! section 9). It is configuration: nodes of different versions number the same names differently.

use assay_types::{ProofType, Revision};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// Longest name of a proof type.
pub(crate) const MAX_NAME_LENGTH: usize = 64;

/// Numbers as protocol.md section 9 has them for proof nodes up to 0.9.
const DEFAULTS: [(ProofType, &str); 7] = [
    (0, "ethrex-risc0"),
    (1, "ethrex-sp1"),
    (2, "ethrex-zisk"),
    (3, "reth-openvm"),
    (4, "reth-risc0"),
    (5, "reth-sp1"),
    (6, "reth-zisk"),
];

/// Numbers as protocol.md section 9 has them from 0.10 on, where `beta` holds.
const DEFAULTS_OF_BETA: [(ProofType, &str); 7] = [
    (1, "ethrex-openvm"),
    (2, "ethrex-sp1"),
    (3, "ethrex-zisk"),
    (4, "reth-openvm"),
    (5, "reth-sp1"),
    (6, "reth-zisk"),
    (7, "zesu-zisk"),
];

/// Why a map of names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// Not `NUMBER=NAME`.
    #[error("{0:?} is not NUMBER=NAME, as 5=reth-sp1")]
    Form(String),
    /// A number twice.
    #[error("proof type {0} has two names")]
    Number(ProofType),
    /// A name twice.
    #[error("{0:?} is the name of two proof types")]
    Name(String),
    /// A name that no proof node could have.
    #[error("{0:?} is no name of a proof type: 1 to {MAX_NAME_LENGTH} letters, digits, '-', '_' and '.'")]
    Letters(String),
}

/// Numbers to names, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofTypeNames(BTreeMap<ProofType, String>);

impl Default for ProofTypeNames {
    fn default() -> Self {
        Self::of(Revision::Alpha)
    }
}

impl ProofTypeNames {
    /// The names that the provers of a revision number so.
    pub fn of(revision: Revision) -> Self {
        let names = match revision {
            Revision::Alpha => DEFAULTS,
            Revision::Beta => DEFAULTS_OF_BETA,
        };
        Self(names.map(|(number, name)| (number, name.to_owned())).into())
    }

    /// No names.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Numbers and names, by number.
    pub fn iter(&self) -> impl Iterator<Item = (ProofType, &str)> {
        self.0.iter().map(|(number, name)| (*number, name.as_str()))
    }

    /// From pairs; each number and each name once.
    pub fn new(pairs: impl IntoIterator<Item = (ProofType, String)>) -> Result<Self, NamesError> {
        let mut map = BTreeMap::new();
        for (number, name) in pairs {
            let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            // A path of dots alone would leave the route.
            let dots = name.bytes().all(|b| b == b'.');
            if dots || name.len() > MAX_NAME_LENGTH || !name.bytes().all(letters) {
                return Err(NamesError::Letters(name));
            }
            if map.values().any(|known| *known == name) {
                return Err(NamesError::Name(name));
            }
            if map.insert(number, name).is_some() {
                return Err(NamesError::Number(number));
            }
        }
        Ok(Self(map))
    }

    /// These names, with `other`'s over them: what takes a number or a name away from one here, takes it.
    pub fn overlaid_with(mut self, other: &Self) -> Self {
        self.0.retain(|_, name| other.proof_type(name).is_none());
        self.0.extend(other.0.clone());
        self
    }

    /// The name of a type.
    pub fn name(&self, proof_type: ProofType) -> Option<&str> {
        self.0.get(&proof_type).map(String::as_str)
    }

    /// The type of a name.
    pub fn proof_type(&self, name: &str) -> Option<ProofType> {
        self.0
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(number, _)| *number)
    }
}

/// `0=ethrex-risc0,5=reth-sp1`
impl FromStr for ProofTypeNames {
    type Err = NamesError;

    fn from_str(text: &str) -> Result<Self, NamesError> {
        let pair = |part: &str| {
            let form = || NamesError::Form(part.to_owned());
            let (number, name) = part.split_once('=').ok_or_else(form)?;
            Ok((number.trim().parse().map_err(|_| form())?, name.trim().to_owned()))
        };
        let pairs: Result<Vec<_>, _> = text.split(',').map(pair).collect();
        Self::new(pairs?)
    }
}

impl fmt::Display for ProofTypeNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (number, name)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{number}={name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_defaults_are_those_of_section_9_and_can_be_written_and_read() {
        let names = ProofTypeNames::default();
        assert_eq!(names.name(5), Some("reth-sp1"));
        assert_eq!(names.proof_type("ethrex-zisk"), Some(2));
        assert_eq!((names.name(7), names.proof_type("zesu-zisk")), (None, None));
        let beta = ProofTypeNames::of(Revision::Beta);
        assert_eq!((beta.name(0), beta.name(1)), (None, Some("ethrex-openvm")));
        assert_eq!(
            (beta.name(2), beta.name(3)),
            (Some("ethrex-sp1"), Some("ethrex-zisk"))
        );
        assert_eq!(
            (beta.name(4), beta.name(7)),
            (Some("reth-openvm"), Some("zesu-zisk"))
        );
        for names in [names, beta] {
            assert_eq!(names.to_string().parse::<ProofTypeNames>().unwrap(), names);
        }
    }

    #[test]
    fn maps_that_cannot_be_used_are_refused() {
        let long = "x".repeat(65);
        for (text, error) in [
            ("", NamesError::Form(String::new())),
            ("5", NamesError::Form("5".into())),
            ("256=a", NamesError::Form("256=a".into())),
            ("x=a", NamesError::Form("x=a".into())),
            ("1=a,1=b", NamesError::Number(1)),
            ("1=a,2=a", NamesError::Name("a".into())),
            ("1=", NamesError::Letters(String::new())),
            ("1=..", NamesError::Letters("..".into())),
            ("1=a/b", NamesError::Letters("a/b".into())),
            ("1=a&b", NamesError::Letters("a&b".into())),
            (&format!("1={long}"), NamesError::Letters(long.clone())),
        ] {
            assert_eq!(text.parse::<ProofTypeNames>().unwrap_err(), error, "{text:?}");
        }
        assert_eq!(
            " 1 = a , 2=b.c_d ".parse::<ProofTypeNames>().unwrap().name(2),
            Some("b.c_d")
        );
    }
}
