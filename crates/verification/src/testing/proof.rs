//! Proofs for tests.

use crate::VerifiedProof;
use assay_types::{
    ExecutionProof, ProofKey, PublicInput, Root, SecretKey, SignedExecutionProof, Slot, Spec, ValidatorIndex,
    spec::Genesis,
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
            signed,
            proof_root,
            slot,
            block_root,
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
