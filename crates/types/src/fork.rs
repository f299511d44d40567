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

impl ForkName {
    /// Whether beacon blocks of this fork carry an execution payload (or, from Gloas on, a bid for one).
    pub fn has_payload(self) -> bool {
        self >= Self::Bellatrix
    }

    /// Whether the payload comes in an envelope of its own (EIP-7732).
    pub fn has_envelope(self) -> bool {
        self >= Self::Gloas
    }
}
