//! The proof containers of protocol.md section 2 (`alpha`) as Rust types.
//!
//! Proof bytes are a shared slice of the buffer they came in (`Bytes`): decoding, hashing, storing and forwarding a
//! 4 MiB proof never copies them.

use crate::{
    primitives::{ProofType, Root, SignatureBytes, Slot, ValidatorIndex},
    spec::{ProofDataForm, Spec},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes of an SSZ `SignedExecutionProof` around its `proof_data`: offset 4 + index 8 + signature 96 +
/// (offset 4 + type 1 + public input 32).
pub const SIGNED_PROOF_OVERHEAD: usize = 145;

/// What a proof is kept, sought and judged by: the payload it names and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProofKey {
    /// `hash_tree_root(NewPayloadRequest)` of the payload.
    pub new_payload_request_root: Root,
    /// The kind of proof.
    pub proof_type: ProofType,
}

/// What a proof states something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicInput {
    /// `hash_tree_root(NewPayloadRequest)`.
    pub new_payload_request_root: Root,
}

/// A proof, unsigned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionProof {
    /// The proof's bytes: 1 to `MAX_PROOF_SIZE` of them where valid.
    #[serde(with = "crate::primitives::hex_bytes")]
    pub proof_data: Bytes,
    /// The kind of proof.
    #[serde(with = "crate::primitives::quoted")]
    pub proof_type: ProofType,
    /// What it is a proof of.
    pub public_input: PublicInput,
}

/// A proof as it travels: signed by an active validator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedExecutionProof {
    /// The proof.
    pub message: ExecutionProof,
    /// Who signed.
    #[serde(with = "crate::primitives::quoted")]
    pub validator_index: ValidatorIndex,
    /// BLS signature over the message's signing root.
    pub signature: SignatureBytes,
}

/// One payload's proofs asked for by block root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofByRootIdentifier {
    /// Root of the beacon block.
    pub block_root: Root,
    /// Kinds asked for; received empty it means all (protocol.md section 5).
    #[serde(with = "quoted_types")]
    pub proof_types: Vec<ProofType>,
}

/// Body of an `execution_proofs_by_root` request: at most `MAX_REQUEST_BLOCKS_DENEB` identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProofByRootIdentifiers(pub Vec<ProofByRootIdentifier>);

/// Body of an `execution_proofs_by_range` request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionProofsByRange {
    /// First slot.
    pub start_slot: Slot,
    /// Number of slots.
    #[serde(with = "crate::primitives::quoted")]
    pub count: u64,
    /// Kinds asked for; empty means all.
    #[serde(with = "quoted_types")]
    pub proof_types: Vec<ProofType>,
}

/// What a node has: exchanged on connecting.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecutionProofStatus {
    /// Newest block whose payload the sender holds as sufficiently proven; zero before any.
    pub block_root: Root,
    /// Its slot; 0 before any.
    pub slot: Slot,
    /// Kinds the sender verifies, at most 4.
    #[serde(with = "quoted_types")]
    pub proof_types: Vec<ProofType>,
}

/// Why bytes are not the container asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid SSZ {container}: {why}")]
pub struct SszError {
    /// The container's name.
    pub container: &'static str,
    /// What is wrong with the bytes.
    pub why: String,
}

/// A small container that is encoded and decoded whole.
pub trait SszContainer: Sized {
    /// Strict: the first offset equals the fixed part's length, offsets rise, nothing trails, lists keep their limits.
    fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, SszError>;
    /// The SSZ bytes.
    fn to_ssz_bytes(&self) -> Vec<u8>;
    /// Fewest and most bytes that any value has, for req/resp length checks.
    fn ssz_len_bounds() -> (usize, usize);
}

impl SignedExecutionProof {
    /// Decodes without copying: `proof_data` is a slice of `bytes`. Strict. Knows no size limit: the caller has one
    /// (`Spec::max_signed_proof_size`).
    pub fn from_ssz_bytes(bytes: &Bytes) -> Result<Self, SszError> {
        let _ = bytes;
        unimplemented!()
    }

    /// The SSZ bytes (copies the proof; what arrived as bytes is kept beside the value where that matters).
    pub fn to_ssz_bytes(&self) -> Bytes {
        unimplemented!()
    }

    /// `hash_tree_root(SignedExecutionProof)`.
    pub fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm) -> Root {
        let _ = (spec, form);
        unimplemented!()
    }

    /// The payload and kind this is a proof of.
    pub fn key(&self) -> ProofKey {
        self.message.key()
    }
}

impl ExecutionProof {
    /// As `SignedExecutionProof::from_ssz_bytes`.
    pub fn from_ssz_bytes(bytes: &Bytes) -> Result<Self, SszError> {
        let _ = bytes;
        unimplemented!()
    }

    /// The SSZ bytes.
    pub fn to_ssz_bytes(&self) -> Bytes {
        unimplemented!()
    }

    /// `hash_tree_root(ExecutionProof)`. `spec.max_proof_size` is the limit of the byte-list form.
    pub fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm) -> Root {
        let _ = (spec, form);
        unimplemented!()
    }

    /// The payload and kind this is a proof of.
    pub fn key(&self) -> ProofKey {
        ProofKey {
            new_payload_request_root: self.public_input.new_payload_request_root,
            proof_type: self.proof_type,
        }
    }
}

/// Proof types in JSON: a list of decimal strings.
pub mod quoted_types {
    use super::ProofType;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes decimal strings.
    pub fn serialize<S: Serializer>(types: &[ProofType], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(types.iter().map(u8::to_string))
    }

    /// Reads decimal strings.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ProofType>, D::Error> {
        Vec::<String>::deserialize(d)?
            .into_iter()
            .map(|t| t.parse().map_err(|e| D::Error::custom(format!("{t:?}: {e}"))))
            .collect()
    }
}
