//! What the verifier says, and why. Numbers are the gossip rules of protocol.md section 4.

use crate::VerifiedProof;
use std::sync::Arc;

/// The verifier's last word on a candidate.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Passed; stored before this is told.
    Accept(Arc<VerifiedProof>),
    /// Neither good nor bad: not forwarded, no penalty.
    Ignore(IgnoreReason),
    /// Bad: not forwarded, whoever sent it pays.
    Reject(RejectReason),
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $label:literal: $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The metric label.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$variant => $text),+ })
            }
        }
    };
}

reasons!(
    /// Why a proof is ignored.
    IgnoreReason {
        /// Rule 1: `hash_tree_root(proof)` was seen.
        SeenProof = "seen_proof": "this very proof has been seen",
        /// Rule 2: waited for its payload until the waiting room let it go.
        UnknownPayload = "unknown_payload": "its payload request has not been seen",
        /// Between rules 2 and 3: a type this node does not verify (`alpha`).
        UnsupportedType = "unsupported_type": "no proof engine here verifies this proof type",
        /// The other revision holds for its payload.
        WrongRevision = "wrong_revision": "another revision of EIP-8025 holds for its payload's fork",
        /// Rule 3 or 9: a valid proof of this payload and type is known.
        AlreadyValid = "already_valid": "a valid proof of this payload and type is known",
        /// Rule 4: this validator's try for this payload and type has been seen.
        SeenFromValidator = "seen_from_validator": "this validator already sent a proof of this payload and type",
        /// A validator that signed an invalid proof is contained.
        Contained = "contained": "this validator signed an invalid proof and is contained",
        /// The validator's record could not be read from a state that decides, until the waiting room let it go.
        ValidatorUnavailable = "validator_unavailable": "the validator's record could not be read",
        /// The proof engine could not judge it, until the waiting room let it go.
        EngineUnavailable = "engine_unavailable": "the proof engine could not judge it",
        /// The payload is older than the proof serve range allows keeping.
        TooOld = "too_old": "its payload is before the range this node keeps",
        /// A queue or waiting room is full.
        Overloaded = "overloaded": "too much work waits",
        /// The node is ending, or a sink could not take the proof.
        Internal = "internal": "this node could not process it",
    }
);

reasons!(
    /// Why a proof is rejected.
    RejectReason {
        /// Not the container (or snappy) it should be.
        Malformed = "malformed": "not a valid SignedExecutionProof or envelope of one",
        /// `beta`: a type that its text does not define.
        UnsupportedType = "unsupported_type": "this network's revision defines no such proof type",
        /// Rule 7: no proof data.
        EmptyProof = "empty_proof": "proof_data is empty",
        /// Rule 7: more than `MAX_PROOF_SIZE` bytes.
        OversizeProof = "oversize_proof": "proof_data is larger than MAX_PROOF_SIZE",
        /// Rule 5: index outside the registry.
        UnknownValidator = "unknown_validator": "no validator has this index",
        /// Rule 5: not active at the payload's epoch.
        InactiveValidator = "inactive_validator": "the validator is not active at the payload's epoch",
        /// Rule 6.
        BadSignature = "bad_signature": "the signature does not verify",
        /// Rule 8: the proof engine says no.
        InvalidProof = "invalid_proof": "the proof engine says the proof is invalid",
    }
);

reasons!(
    /// Why a proof waits; its last verdict comes later.
    ParkReason {
        /// Its payload has not been seen.
        UnknownPayload = "unknown_payload": "its payload request has not been seen yet",
        /// The validator's record cannot be read now.
        ValidatorUnavailable = "validator_unavailable": "the validator's record cannot be read now",
        /// The engine cannot judge now.
        EngineUnavailable = "engine_unavailable": "the proof engine cannot judge now",
    }
);
