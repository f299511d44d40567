//! The proof containers of the `beta` revision (protocol.md section 2): what travels is an envelope keyed by the
//! beacon block root; the proof that the engine checks is rebuilt by the node from the chain.
//!
//! Containers, roots and what is signed, no more. On the wire an envelope and an `alpha` proof look alike.

use crate::{
    codec::{self, MessageParts, SignedParts, SszError},
    fork::ProofDataForm,
    merkle,
    primitives::{ProofType, Root, SignatureBytes, ValidatorIndex},
    spec::Spec,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ssz::Encode as _;

/// `schema_id` of the public input this revision defines.
pub const SCHEMA_ID: u16 = 0x1501;

/// A proof for the payload of a beacon block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionProofEnvelope {
    /// The proof's bytes.
    #[serde(with = "crate::primitives::hex_bytes")]
    pub proof_data: Bytes,
    /// The kind of proof.
    #[serde(with = "crate::primitives::quoted")]
    pub proof_type: ProofType,
    /// The block whose payload is proven.
    pub beacon_block_root: Root,
}

/// An envelope as it travels: signed by an active validator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedExecutionProofEnvelope {
    /// The envelope.
    pub message: ExecutionProofEnvelope,
    /// Who signed.
    #[serde(with = "crate::primitives::quoted")]
    pub validator_index: ValidatorIndex,
    /// BLS signature over the message's signing root.
    pub signature: SignatureBytes,
}

/// What the proof engine checks a proof against; built by the node, a progressive container of four fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ssz_derive::Encode, ssz_derive::Decode)]
pub struct PublicInput {
    /// `hash_tree_root(NewPayloadRequest)`.
    pub new_payload_request_root: Root,
    /// That the payload is valid; `true` in what a node builds.
    pub successful_validation: bool,
    /// The execution chain's id.
    #[serde(with = "crate::primitives::quoted")]
    pub chain_id: u64,
    /// [`SCHEMA_ID`] in what a node builds.
    #[serde(with = "crate::primitives::quoted")]
    pub schema_id: u16,
}

/// The engine's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionProof {
    /// The proof's bytes.
    #[serde(with = "crate::primitives::hex_bytes")]
    pub proof_data: Bytes,
    /// The kind of proof.
    #[serde(with = "crate::primitives::quoted")]
    pub proof_type: ProofType,
    /// What it is a proof of.
    pub public_input: PublicInput,
}

impl PublicInput {
    /// What a valid payload's proof states on this network.
    pub fn of_valid_payload(spec: &Spec, new_payload_request_root: Root) -> Self {
        Self {
            new_payload_request_root,
            successful_validation: true,
            chain_id: spec.chain_id,
            schema_id: SCHEMA_ID,
        }
    }

    /// Decodes its 43 bytes. Strict: a boolean is 0 or 1.
    pub fn from_ssz_bytes(bytes: &[u8]) -> Result<Self, SszError> {
        codec::decode("PublicInput", bytes)
    }

    /// The SSZ bytes.
    pub fn to_ssz_bytes(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// `hash_tree_root(PublicInput)`.
    pub fn hash_tree_root(&self) -> Root {
        let content = merkle::merkleize_progressive(&[
            self.new_payload_request_root.0,
            codec::uint64_chunk(self.successful_validation.into()),
            codec::uint64_chunk(self.chain_id),
            codec::uint64_chunk(self.schema_id.into()),
        ]);
        merkle::mix_in_active_fields(&content, &[true; 4])
    }
}

impl ExecutionProof {
    /// The proof of an envelope, with the public input the node built.
    pub fn of_envelope(envelope: &ExecutionProofEnvelope, public_input: PublicInput) -> Self {
        Self {
            proof_data: envelope.proof_data.clone(),
            proof_type: envelope.proof_type,
            public_input,
        }
    }

    /// Decodes without copying: `proof_data` is a slice of `bytes`. Strict; knows no size limit.
    pub fn from_ssz_bytes(bytes: &Bytes) -> Result<Self, SszError> {
        let (proof_data, proof_type, public_input) = codec::split_message("ExecutionProof", bytes)?;
        Ok(Self {
            proof_data,
            proof_type,
            public_input,
        })
    }

    /// The SSZ bytes.
    pub fn to_ssz_bytes(&self) -> Bytes {
        MessageParts {
            proof_data: &self.proof_data,
            proof_type: self.proof_type,
            tail: &self.public_input.to_ssz_bytes(),
        }
        .to_ssz_bytes()
    }

    /// `hash_tree_root(ExecutionProof)`. `spec.max_proof_size` is the limit of the byte-list form.
    pub fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm) -> Root {
        MessageParts {
            proof_data: &self.proof_data,
            proof_type: self.proof_type,
            tail: &[],
        }
        .hash_tree_root(spec, form, &self.public_input.hash_tree_root())
    }
}

impl ExecutionProofEnvelope {
    /// Decodes without copying: `proof_data` is a slice of `bytes`. Strict; knows no size limit.
    pub fn from_ssz_bytes(bytes: &Bytes) -> Result<Self, SszError> {
        let (proof_data, proof_type, beacon_block_root) =
            codec::split_message("ExecutionProofEnvelope", bytes)?;
        Ok(Self {
            proof_data,
            proof_type,
            beacon_block_root,
        })
    }

    fn parts(&self) -> MessageParts<'_> {
        MessageParts {
            proof_data: &self.proof_data,
            proof_type: self.proof_type,
            tail: &self.beacon_block_root.0,
        }
    }

    /// The SSZ bytes.
    pub fn to_ssz_bytes(&self) -> Bytes {
        self.parts().to_ssz_bytes()
    }

    /// `hash_tree_root(ExecutionProofEnvelope)`: what is signed, under `Spec::execution_proof_domain`.
    pub fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm) -> Root {
        self.parts().hash_tree_root(spec, form, &self.beacon_block_root)
    }
}

impl SignedExecutionProofEnvelope {
    /// Decodes without copying: `proof_data` is a slice of `bytes`. Strict; knows no size limit.
    pub fn from_ssz_bytes(bytes: &Bytes) -> Result<Self, SszError> {
        let parts = SignedParts::from_ssz_bytes("SignedExecutionProofEnvelope", bytes)?;
        Ok(Self {
            message: ExecutionProofEnvelope::from_ssz_bytes(&parts.message)?,
            validator_index: parts.validator_index,
            signature: parts.signature,
        })
    }

    /// The SSZ bytes.
    pub fn to_ssz_bytes(&self) -> Bytes {
        let message = self.message.parts();
        let mut out = Vec::with_capacity(crate::proof::SIGNED_PROOF_OVERHEAD + message.proof_data.len());
        codec::append_signed(&mut out, self.validator_index, &self.signature);
        message.append(&mut out);
        out.into()
    }

    /// `hash_tree_root(SignedExecutionProofEnvelope)`.
    pub fn hash_tree_root(&self, spec: &Spec, form: ProofDataForm) -> Root {
        codec::signed_root(
            &self.message.hash_tree_root(spec, form),
            self.validator_index,
            &self.signature,
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_envelope_gives_the_engines_input() {
        let spec = Spec::mainnet();
        let envelope = ExecutionProofEnvelope {
            proof_data: Bytes::from_static(b"proof"),
            proof_type: 2,
            beacon_block_root: Root::from([1; 32]),
        };
        let input = PublicInput::of_valid_payload(&spec, Root::from([2; 32]));
        assert_eq!((input.chain_id, input.schema_id), (1, 0x1501));
        let proof = ExecutionProof::of_envelope(&envelope, input);
        assert_eq!(ExecutionProof::from_ssz_bytes(&proof.to_ssz_bytes()), Ok(proof));
    }

    #[test]
    fn a_boolean_is_zero_or_one() {
        let mut bytes = PublicInput::of_valid_payload(&Spec::mainnet(), Root::ZERO).to_ssz_bytes();
        assert_eq!(bytes.len(), 43);
        for (byte, valid) in [(0, true), (1, true), (2, false), (255, false)] {
            bytes[32] = byte;
            assert_eq!(PublicInput::from_ssz_bytes(&bytes).is_ok(), valid, "{byte}");
        }
        bytes[32] = 1;
        assert!(PublicInput::from_ssz_bytes(&bytes[..42]).is_err());
        bytes.push(0);
        assert!(PublicInput::from_ssz_bytes(&bytes).is_err());
    }
}
