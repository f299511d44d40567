//! What a proof system does with bytes, and which systems there are.

use crate::{judgement::Refusal, key::ProgramKey};
use std::{fmt, str::FromStr, sync::Arc};

/// A proof system with the key of one guest program. Pure: what it says depends on nothing but the bytes and the key.
pub trait ProofSystem: Send + Sync + 'static {
    /// Size in bytes that public values are padded to with zeros, where the system does that.
    fn padded_to(&self) -> Option<usize>;

    /// Decodes a proof as it travels. Cheap beside `OpenedProof::verify`, with memory bounded by a small multiple of
    /// the proof's size.
    fn open<'a>(&'a self, proof: &[u8]) -> Result<Box<dyn OpenedProof + 'a>, Refusal>;
}

/// A proof that is decoded and claims to be one of the key's program.
pub trait OpenedProof {
    /// The public values that it comes with; bound to the proof by `verify` alone.
    fn public_values(&self) -> &[u8];

    /// Whether it proves that the key's program committed to these public values.
    fn verify(&self) -> Result<(), Refusal>;
}

/// A key that is none of the system's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableKey {
    /// Of another length.
    #[error("a program key of {system} has {expected} bytes, this one {found}")]
    Length {
        /// Whose key it should be.
        system: SystemName,
        /// How long one is.
        expected: usize,
        /// How long this is.
        found: usize,
    },
    /// Not the encoding of field elements.
    #[error("not a program key of {0}: its numbers are not elements of the field")]
    NotCanonical(SystemName),
    /// The program was built without this verifier.
    #[error("this program was built without a verifier for {0}: build it with --features native-{0}")]
    NotBuiltIn(SystemName),
}

/// The systems that can be named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SystemName {
    /// SP1, compressed proofs.
    Sp1,
    /// ZisK, compressed final proofs.
    Zisk,
}

impl SystemName {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sp1, Self::Zisk];

    /// Whether its verifier is in this program.
    pub fn is_built_in(self) -> bool {
        match self {
            Self::Sp1 => cfg!(feature = "sp1"),
            Self::Zisk => cfg!(feature = "zisk"),
        }
    }

    /// The verifier, with the key of a program.
    #[cfg_attr(not(any(feature = "sp1", feature = "zisk")), allow(unused_variables))]
    pub fn with_key(self, key: &ProgramKey) -> Result<Arc<dyn ProofSystem>, UnusableKey> {
        match self {
            #[cfg(feature = "sp1")]
            Self::Sp1 => Ok(Arc::new(crate::sp1::Sp1::new(key.as_bytes())?)),
            #[cfg(feature = "zisk")]
            Self::Zisk => Ok(Arc::new(crate::zisk::Zisk::new(key.as_bytes())?)),
            #[allow(unreachable_patterns, reason = "with every feature on, nothing is left")]
            missing => Err(UnusableKey::NotBuiltIn(missing)),
        }
    }
}

impl fmt::Display for SystemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sp1 => "sp1",
            Self::Zisk => "zisk",
        })
    }
}

impl FromStr for SystemName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|system| system.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no proof system that is verified here: sp1, zisk"))
    }
}

#[cfg(all(test, not(any(feature = "sp1", feature = "zisk"))))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_types::Root;

    #[test]
    fn a_system_that_is_not_built_in_names_its_feature() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        std::fs::write(&path, []).unwrap();
        let empty: Root = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
            .parse()
            .unwrap();
        let key = ProgramKey::from_file(&path, empty).unwrap();
        for (system, feature) in [(SystemName::Sp1, "native-sp1"), (SystemName::Zisk, "native-zisk")] {
            let error = system.with_key(&key).err().unwrap().to_string();
            assert!(!system.is_built_in() && error.contains(feature), "{error}");
        }
    }
}
