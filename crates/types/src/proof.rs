//! The proof containers of protocol.md section 2 (`alpha`) as Rust types; `requests` has the req/resp ones.
//!
//! Proof bytes are a shared slice of the buffer they came in (`Bytes`): decoding, hashing, storing and forwarding a
//! 4 MiB proof never copies them.

use crate::{
    codec::{self, MessageParts, SignedParts},
    primitives::{ProofType, Root, SignatureBytes, ValidatorIndex},
    spec::{ProofDataForm, Spec},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use crate::codec::SszError;
pub use crate::requests::{
    ExecutionProofStatus, ExecutionProofsByRange, ListLimits, ProofByRootIdentifier, ProofByRootIdentifiers,
    ProofTypes, SszContainer,
};

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

impl PublicInput {
    /// Decodes its 32 bytes. Strict.
    pub fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, SszError> {
        let root = codec::decode("PublicInput", bytes)?;
        Ok(Self {
            new_payload_request_root: root,
        })
    }

    /// The SSZ bytes.
    pub fn to_ssz_bytes(&self) -> Vec<u8> {
        self.new_payload_request_root.0.to_vec()
    }

    /// `hash_tree_root(PublicInput)`: that of its only field.
    pub fn hash_tree_root(&self) -> Root {
        self.new_payload_request_root
    }
}

impl SignedExecutionProof {
    /// Decodes without copying: `proof_data` is a slice of `bytes`. Strict. Knows no size limit: the caller has one
    /// (`Spec::max_signed_proof_size`).
    pub fn from_ssz_bytes(bytes: &Bytes) -> Result<Self, SszError> {
        let parts = SignedParts::from_ssz_bytes("SignedExecutionProof", bytes)?;
        Ok(Self {
            message: ExecutionProof::from_ssz_bytes(&parts.message)?,
            validator_index: parts.validator_index,
            signature: parts.signature,
        })
    }

    /// As `from_ssz_bytes`, in one form of `proof_data`: a byte list longer than `MAX_PROOF_SIZE` does not decode.
    pub fn from_ssz_bytes_in_form(bytes: &Bytes, spec: &Spec, form: ProofDataForm) -> Result<Self, SszError> {
        let signed = Self::from_ssz_bytes(bytes)?;
        codec::check_form("SignedExecutionProof", &signed.message.proof_data, spec, form)?;
        Ok(signed)
    }

    /// The SSZ bytes (copies the proof; what arrived as bytes is kept beside the value where that matters).
    pub fn to_ssz_bytes(&self) -> Bytes {
        let message = self.message.parts();
        let mut out = Vec::with_capacity(SIGNED_PROOF_OVERHEAD + message.proof_data.len());
        codec::append_signed(&mut out, self.validator_index, &self.signature);
        message.append(&mut out);
        out.into()
    }

    /// `hash_tree_root(SignedExecutionProof)`.
    pub fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm) -> Root {
        codec::signed_root(
            &self.message.hash_tree_root(spec, form),
            self.validator_index,
            &self.signature,
        )
    }

    /// The payload and kind this is a proof of.
    pub fn key(&self) -> ProofKey {
        self.message.key()
    }
}

impl ExecutionProof {
    /// As `SignedExecutionProof::from_ssz_bytes`.
    pub fn from_ssz_bytes(bytes: &Bytes) -> Result<Self, SszError> {
        let (proof_data, proof_type, input) = codec::split_message::<Root>("ExecutionProof", bytes)?;
        Ok(Self {
            proof_data,
            proof_type,
            public_input: PublicInput {
                new_payload_request_root: input,
            },
        })
    }

    fn parts(&self) -> MessageParts<'_> {
        MessageParts {
            proof_data: &self.proof_data,
            proof_type: self.proof_type,
            tail: &self.public_input.new_payload_request_root.0,
        }
    }

    /// The SSZ bytes.
    pub fn to_ssz_bytes(&self) -> Bytes {
        self.parts().to_ssz_bytes()
    }

    /// `hash_tree_root(ExecutionProof)`. `spec.max_proof_size` is the limit of the byte-list form.
    pub fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm) -> Root {
        self.parts()
            .hash_tree_root(spec, form, &self.public_input.hash_tree_root())
    }

    /// The payload and kind this is a proof of.
    pub fn key(&self) -> ProofKey {
        ProofKey {
            new_payload_request_root: self.public_input.new_payload_request_root,
            proof_type: self.proof_type,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn signed(data: Vec<u8>) -> SignedExecutionProof {
        SignedExecutionProof {
            message: ExecutionProof {
                proof_data: data.into(),
                proof_type: 7,
                public_input: PublicInput {
                    new_payload_request_root: Root::from([3; 32]),
                },
            },
            validator_index: u64::MAX - 1,
            signature: SignatureBytes([9; 96]),
        }
    }

    #[test]
    fn proof_bytes_stay_where_they_are() {
        let bytes = signed(vec![5; 1000]).to_ssz_bytes();
        assert_eq!(bytes.len(), SIGNED_PROOF_OVERHEAD + 1000);
        let decoded = SignedExecutionProof::from_ssz_bytes(&bytes).unwrap();
        assert_eq!(
            decoded.message.proof_data.as_ptr(),
            bytes[SIGNED_PROOF_OVERHEAD..].as_ptr()
        );
    }

    #[test]
    fn forms_differ_and_the_byte_lists_limit_is_mixed_in() {
        let spec = Spec::mainnet();
        let mut february = Spec::mainnet();
        february.max_proof_size = 307_200;
        let proof = signed(vec![1; 100]).message;
        let progressive = proof.hash_tree_root(&spec, ProofDataForm::Progressive);
        let byte_list = proof.hash_tree_root(&spec, ProofDataForm::ByteList);
        assert_ne!(progressive, byte_list);
        assert_ne!(
            byte_list,
            proof.hash_tree_root(&february, ProofDataForm::ByteList)
        );
        assert_eq!(
            progressive,
            proof.hash_tree_root(&february, ProofDataForm::Progressive)
        );
    }

    #[test]
    fn json_is_the_beacon_apis() {
        let proof = signed(vec![0xab, 0xcd]);
        let json = serde_json::to_value(&proof).unwrap();
        assert_eq!(json["message"]["proof_data"], "0xabcd");
        assert_eq!(json["message"]["proof_type"], "7");
        assert_eq!(json["validator_index"], "18446744073709551614");
        assert_eq!(
            serde_json::from_value::<SignedExecutionProof>(json).unwrap(),
            proof
        );
    }

    proptest! {
        #[test]
        fn ssz_round_trip(data in prop::collection::vec(any::<u8>(), 0..300)) {
            let proof = signed(data);
            let bytes = proof.to_ssz_bytes();
            prop_assert_eq!(SignedExecutionProof::from_ssz_bytes(&bytes).unwrap(), proof);
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..400), fix: bool) {
            if fix && bytes.len() >= SIGNED_PROOF_OVERHEAD {
                bytes[..4].copy_from_slice(&108u32.to_le_bytes());
                bytes[108..112].copy_from_slice(&37u32.to_le_bytes());
            }
            let bytes = Bytes::from(bytes);
            if let Ok(proof) = SignedExecutionProof::from_ssz_bytes(&bytes) {
                prop_assert_eq!(proof.to_ssz_bytes(), bytes);
            } else {
                prop_assert!(!fix || bytes.len() < SIGNED_PROOF_OVERHEAD);
            }
        }
    }
}
