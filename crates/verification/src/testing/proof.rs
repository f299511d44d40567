//! Proofs for tests.

use crate::VerifiedProof;
use assay_types::{
    ExecutionProof, ProofKey, ProofMessage, PublicInput, Revision, Root, SecretKey, SignedExecutionProof,
    SignedProof, Slot, Spec, ValidatorIndex, spec::Genesis,
};
use bytes::Bytes;

impl VerifiedProof {
    /// A `VerifiedProof` that nobody verified. `ssz` should be the bytes of `signed`.
    pub fn assume_verified(
        ssz: Bytes,
        signed: SignedExecutionProof,
        proof_root: Root,
        slot: Slot,
        block_root: Option<Root>,
    ) -> Self {
        Self {
            ssz,
            new_payload_request_root: signed.message.public_input.new_payload_request_root,
            signed: signed.into(),
            origin: None,
            proof_root,
            slot,
            block_root,
        }
    }

    /// The same proof, as though its public input named this origin.
    pub fn with_origin(self, origin: Root) -> Self {
        Self {
            origin: Some(origin),
            ..self
        }
    }

    /// The same of an envelope, whose block has this payload.
    pub fn assume_verified_envelope(
        envelope: SignedProof,
        new_payload_request_root: Root,
        proof_root: Root,
        slot: Slot,
    ) -> Self {
        Self {
            ssz: envelope.to_ssz_bytes(),
            block_root: Some(envelope.message.root),
            signed: envelope,
            new_payload_request_root,
            origin: None,
            proof_root,
            slot,
        }
    }
}

/// A proof of a payload at `slot`, signed with the interop key of `validator`.
pub fn sign(
    spec: &Spec,
    genesis: &Genesis,
    key: ProofKey,
    slot: Slot,
    proof_data: Bytes,
    validator: ValidatorIndex,
) -> SignedExecutionProof {
    let message = ExecutionProof {
        proof_data,
        proof_type: key.proof_type,
        public_input: PublicInput {
            new_payload_request_root: key.new_payload_request_root,
        },
    };
    let epoch = spec.epoch_at_slot(slot);
    let proof_root = spec.execution_proof_root(epoch, &message);
    let signing_root = spec.execution_proof_signing_root(genesis, epoch, &proof_root);
    let signature = SecretKey::interop(validator).sign(&signing_root);
    SignedExecutionProof {
        message,
        validator_index: validator,
        signature,
    }
}

/// A `beta` envelope for the payload of a block at `slot`, signed with the interop key of `validator`.
pub fn sign_envelope(
    spec: &Spec,
    genesis: &Genesis,
    beacon_block_root: Root,
    proof_type: u8,
    slot: Slot,
    proof_data: Bytes,
    validator: ValidatorIndex,
) -> SignedProof {
    let message = ProofMessage {
        proof_data,
        proof_type,
        root: beacon_block_root,
    };
    let epoch = spec.epoch_at_slot(slot);
    let proof_root = spec.proof_message_root(epoch, &message);
    let signing_root = spec.execution_proof_signing_root(genesis, epoch, &proof_root);
    SignedProof {
        revision: Revision::Beta,
        message,
        validator_index: validator,
        signature: SecretKey::interop(validator).sign(&signing_root),
    }
}
