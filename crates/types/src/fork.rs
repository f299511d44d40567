//! What the shape and the root of a container depend on besides its bytes.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, oldest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The name as configuration and APIs write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL.iter().copied().find(|v| v.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| UnknownName {
                    what: stringify!($name),
                    given: text.to_owned(),
                    known: Self::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

/// A name that is none of those a setting knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not known; one of: {known}")]
pub struct UnknownName {
    what: &'static str,
    given: String,
    known: String,
}

names!(
    /// Forks of the beacon chain, in order.
    ForkName {
        /// Phase 0.
        Phase0 = "phase0",
        /// Altair.
        Altair = "altair",
        /// Bellatrix: the first with an execution payload.
        Bellatrix = "bellatrix",
        /// Capella.
        Capella = "capella",
        /// Deneb.
        Deneb = "deneb",
        /// Electra.
        Electra = "electra",
        /// Fulu.
        Fulu = "fulu",
        /// Gloas: payloads come in envelopes (EIP-7732), containers are progressive (EIP-7688).
        Gloas = "gloas",
    }
);

names!(
    /// The constants preset a network was built with.
    Preset {
        /// `mainnet`.
        Mainnet = "mainnet",
        /// `minimal`.
        Minimal = "minimal",
    }
);

names!(
    /// One state of the EIP-8025 texts (protocol.md section 1).
    Revision {
        /// `SignedExecutionProof`, keyed by the request root (v1.7.0-alpha.13).
        Alpha = "alpha",
        /// `SignedExecutionProofEnvelope`, keyed by the block root (v1.7.0-beta.4).
        Beta = "beta",
    }
);

names!(
    /// How a Gloas `NewPayloadRequest` merkleises (protocol.md section 2): the texts disagree.
    NewPayloadRequestForm {
        /// Plain container, versioned hashes a progressive list (the EIP, execution-specs).
        A = "A",
        /// Plain container, versioned hashes `List[Bytes32, 4096]`.
        B = "B",
        /// Progressive container of width 4, versioned hashes `List[Bytes32, 4096]` (consensus-specs since September).
        C = "C",
    }
);

names!(
    /// How `proof_data` merkleises (protocol.md section 1). The bytes on the wire are the same in both.
    ProofDataForm {
        /// `ProgressiveByteList` (EIP-7916).
        Progressive = "progressive",
        /// `ByteList[MAX_PROOF_SIZE]`.
        ByteList = "bytelist",
    }
);

impl ForkName {
    /// The fork's name as the keys of a network's config begin: `GENESIS`, `ALTAIR`, ...
    pub fn config_prefix(self) -> String {
        match self {
            Self::Phase0 => "GENESIS".to_owned(),
            later => later.as_str().to_ascii_uppercase(),
        }
    }

    /// Whether beacon blocks of this fork carry an execution payload (or, from Gloas on, a bid for one).
    pub fn has_payload(self) -> bool {
        self >= Self::Bellatrix
    }

    /// Whether the payload comes in an envelope of its own (EIP-7732).
    pub fn has_envelope(self) -> bool {
        self >= Self::Gloas
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_read_back_in_any_case_and_others_are_told_what_is_known() {
        for fork in ForkName::ALL {
            assert_eq!(fork.as_str().parse(), Ok(*fork));
            assert_eq!(fork.as_str().to_uppercase().parse(), Ok(*fork));
        }
        assert_eq!("c".parse(), Ok(NewPayloadRequestForm::C));
        let error = "gamma".parse::<Revision>().unwrap_err().to_string();
        assert_eq!(error, "Revision \"gamma\" is not known; one of: alpha, beta");
    }

    #[test]
    fn forks_are_in_order() {
        assert!(ForkName::ALL.is_sorted());
        assert!(!ForkName::Altair.has_payload() && ForkName::Bellatrix.has_payload());
        assert!(!ForkName::Fulu.has_envelope() && ForkName::Gloas.has_envelope());
    }
}
