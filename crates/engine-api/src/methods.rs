//! Names of the Engine API's methods by fork, and how long a caller waits for each (execution-apis, src/engine/*.md).

use crate::proof_json::{REQUEST_PROOFS, VERIFY_EXECUTION_PROOF, VERIFY_NEW_PAYLOAD_REQUEST_HEADER};
use assay_types::ForkName;
use std::time::Duration;

/// `engine_newPayload*` and `engine_forkchoiceUpdated*`: 8 s, as the Engine API says.
pub const IMPORT_TIMEOUT: Duration = Duration::from_secs(8);
/// Most other methods: 1 s, as the Engine API says.
pub const SHORT_TIMEOUT: Duration = Duration::from_secs(1);
/// `engine_getPayloadBodies*`: 10 s, as the Engine API says.
pub const BODIES_TIMEOUT: Duration = Duration::from_secs(10);
/// Methods for which the Engine API names no time-out (`eth_*`, proof methods).
pub const OTHER_TIMEOUT: Duration = Duration::from_secs(5);

/// `engine_newPayload*` whose answer holds a witness, up to its version.
const WITH_WITNESS: &str = "engine_newPayloadWithWitnessV";

/// Asks for the list of methods.
pub const EXCHANGE_CAPABILITIES: &str = "engine_exchangeCapabilities";

/// A method of EIP-8025 (protocol.md section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProofMethod {
    /// `engine_requestProofsV1`.
    RequestProofs,
    /// `engine_verifyExecutionProofV1`.
    VerifyExecutionProof,
    /// `engine_verifyNewPayloadRequestHeaderV1`.
    VerifyNewPayloadRequestHeader,
}

impl ProofMethod {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::RequestProofs,
        Self::VerifyExecutionProof,
        Self::VerifyNewPayloadRequestHeader,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestProofs => REQUEST_PROOFS,
            Self::VerifyExecutionProof => VERIFY_EXECUTION_PROOF,
            Self::VerifyNewPayloadRequestHeader => VERIFY_NEW_PAYLOAD_REQUEST_HEADER,
        }
    }
}

/// What kind of call a method name is, as far as this project treats calls differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MethodKind {
    /// `engine_newPayloadV<n>`.
    NewPayload,
    /// `engine_newPayloadWithWitnessV<n>`: the same question, its answer with what it takes to execute the payload.
    NewPayloadWithWitness,
    /// `engine_forkchoiceUpdatedV<n>`, and `engine_forkchoiceUpdatedWithWitnessV<n>`, which is answered alike.
    ForkchoiceUpdated,
    /// `engine_exchangeCapabilities`.
    ExchangeCapabilities,
    /// A method of EIP-8025.
    Proofs(ProofMethod),
    /// Everything else.
    Other,
}

impl MethodKind {
    /// By name; any version number counts, so that a version to come is never passed over.
    pub fn of(method: &str) -> Self {
        let versioned = |stem| {
            method
                .strip_prefix(stem)
                .is_some_and(|version| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()))
        };
        if versioned("engine_newPayloadV") {
            Self::NewPayload
        } else if versioned(WITH_WITNESS) {
            Self::NewPayloadWithWitness
        } else if versioned("engine_forkchoiceUpdatedV") || versioned("engine_forkchoiceUpdatedWithWitnessV")
        {
            Self::ForkchoiceUpdated
        } else if method == EXCHANGE_CAPABILITIES {
            Self::ExchangeCapabilities
        } else if let Some(method) = ProofMethod::ALL.iter().find(|m| m.name() == method) {
            Self::Proofs(*method)
        } else {
            Self::Other
        }
    }
}

/// How long a caller waits for the answer to a method.
pub fn timeout(method: &str) -> Duration {
    if method.starts_with("engine_newPayload") || method.starts_with("engine_forkchoiceUpdated") {
        IMPORT_TIMEOUT
    } else if method.starts_with("engine_getPayloadBodies") {
        BODIES_TIMEOUT
    } else if method.starts_with("engine_getPayload")
        || method.starts_with("engine_getBlobs")
        || method.starts_with("engine_exchange")
    {
        SHORT_TIMEOUT
    } else {
        OTHER_TIMEOUT
    }
}

/// `engine_newPayload*` for a payload of `fork`; `None` before Bellatrix.
pub const fn new_payload(fork: ForkName) -> Option<&'static str> {
    Some(match fork {
        ForkName::Phase0 | ForkName::Altair => return None,
        ForkName::Bellatrix => "engine_newPayloadV1",
        ForkName::Capella => "engine_newPayloadV2",
        ForkName::Deneb => "engine_newPayloadV3",
        ForkName::Electra | ForkName::Fulu => "engine_newPayloadV4",
        ForkName::Gloas => "engine_newPayloadV5",
    })
}

/// Whether `method` takes payloads of `fork` (execution-apis: V2 takes those of Bellatrix too; else -38005). A version that
/// is not known here may take any.
pub fn takes_payload(method: &str, fork: ForkName) -> bool {
    let version = method
        .strip_prefix("engine_newPayloadV")
        .or_else(|| method.strip_prefix(WITH_WITNESS));
    match version {
        Some("1") => fork == ForkName::Bellatrix,
        Some("2") => matches!(fork, ForkName::Bellatrix | ForkName::Capella),
        Some("3") => fork == ForkName::Deneb,
        Some("4") => matches!(fork, ForkName::Electra | ForkName::Fulu),
        Some("5") => fork == ForkName::Gloas,
        _ => true,
    }
}

/// Whether `method` takes attributes of a payload of `fork`; else -38005. A version that is not known here may take any.
pub fn takes_attributes(method: &str, fork: ForkName) -> bool {
    let version = method
        .strip_prefix("engine_forkchoiceUpdatedV")
        .or_else(|| method.strip_prefix("engine_forkchoiceUpdatedWithWitnessV"));
    match version {
        Some("1") => fork == ForkName::Bellatrix,
        Some("2") => matches!(fork, ForkName::Bellatrix | ForkName::Capella),
        Some("3") => matches!(fork, ForkName::Deneb | ForkName::Electra | ForkName::Fulu),
        Some("4") => fork == ForkName::Gloas,
        _ => true,
    }
}

/// `engine_forkchoiceUpdated*` at `fork` (with attributes: the fork of the payload to be built).
pub const fn forkchoice_updated(fork: ForkName) -> Option<&'static str> {
    Some(match fork {
        ForkName::Phase0 | ForkName::Altair => return None,
        ForkName::Bellatrix => "engine_forkchoiceUpdatedV1",
        ForkName::Capella => "engine_forkchoiceUpdatedV2",
        ForkName::Deneb | ForkName::Electra | ForkName::Fulu => "engine_forkchoiceUpdatedV3",
        ForkName::Gloas => "engine_forkchoiceUpdatedV4",
    })
}

/// `engine_getPayload*` for a payload of `fork`.
pub const fn get_payload(fork: ForkName) -> Option<&'static str> {
    Some(match fork {
        ForkName::Phase0 | ForkName::Altair => return None,
        ForkName::Bellatrix => "engine_getPayloadV1",
        ForkName::Capella => "engine_getPayloadV2",
        ForkName::Deneb => "engine_getPayloadV3",
        ForkName::Electra => "engine_getPayloadV4",
        ForkName::Fulu => "engine_getPayloadV5",
        ForkName::Gloas => "engine_getPayloadV6",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (name, kind) in [
            ("engine_newPayloadV1", MethodKind::NewPayload),
            ("engine_newPayloadV12", MethodKind::NewPayload),
            ("engine_newPayloadV", MethodKind::Other),
            (
                "engine_newPayloadWithWitnessV5",
                MethodKind::NewPayloadWithWitness,
            ),
            ("engine_newPayloadWithWitnessV", MethodKind::Other),
            (
                "engine_forkchoiceUpdatedWithWitnessV3",
                MethodKind::ForkchoiceUpdated,
            ),
            ("engine_executeStatelessPayloadV4", MethodKind::Other),
            ("engine_newPayloadV5x", MethodKind::Other),
            ("engine_forkchoiceUpdatedV4", MethodKind::ForkchoiceUpdated),
            ("engine_exchangeCapabilities", MethodKind::ExchangeCapabilities),
            (
                "engine_requestProofsV1",
                MethodKind::Proofs(ProofMethod::RequestProofs),
            ),
            ("engine_requestProofsV2", MethodKind::Other),
            ("engine_getPayloadV4", MethodKind::Other),
            ("", MethodKind::Other),
        ] {
            assert_eq!(MethodKind::of(name), kind, "{name}");
        }
        for fork in ForkName::ALL {
            assert_eq!(new_payload(*fork).is_some(), fork.has_payload());
            assert!(new_payload(*fork).is_none_or(|method| takes_payload(method, *fork)));
            for method in ["engine_newPayloadV3", "engine_newPayloadWithWitnessV3"] {
                assert!(!takes_payload(method, *fork) || *fork == ForkName::Deneb);
            }
            assert_eq!(
                new_payload(*fork).map(MethodKind::of),
                fork.has_payload().then_some(MethodKind::NewPayload)
            );
            assert_eq!(
                forkchoice_updated(*fork).map(MethodKind::of),
                fork.has_payload().then_some(MethodKind::ForkchoiceUpdated)
            );
        }
    }

    #[test]
    fn timeouts() {
        assert_eq!(timeout("engine_newPayloadV4"), IMPORT_TIMEOUT);
        assert_eq!(timeout("engine_getPayloadBodiesByHashV1"), BODIES_TIMEOUT);
        assert_eq!(timeout("engine_getPayloadV4"), SHORT_TIMEOUT);
        assert_eq!(timeout("eth_syncing"), OTHER_TIMEOUT);
    }
}
