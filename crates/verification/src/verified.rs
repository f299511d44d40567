//! `VerifiedProof`: a proof that has passed.

use assay_types::{ProofKey, ProofName, Root, SignedProof, Slot, ValidatorIndex};
use bytes::Bytes;

/// A signed proof that passed every rule. Fields are private and nothing outside this crate can make one.
#[derive(Debug, Clone)]
pub struct VerifiedProof {
    pub(crate) ssz: Bytes,
    pub(crate) signed: SignedProof,
    pub(crate) new_payload_request_root: Root,
    pub(crate) origin: Option<Root>,
    pub(crate) proof_root: Root,
    pub(crate) slot: Slot,
    pub(crate) block_root: Option<Root>,
}

impl VerifiedProof {
    /// The SSZ bytes as they came; `signed`'s proof data is a slice of them.
    pub fn ssz(&self) -> &Bytes {
        &self.ssz
    }
    /// The proof.
    pub fn signed(&self) -> &SignedProof {
        &self.signed
    }
    /// `hash_tree_root` of the message.
    pub fn proof_root(&self) -> &Root {
        &self.proof_root
    }
    /// The payload and kind. In `beta` the payload is that of the block it names.
    pub fn key(&self) -> ProofKey {
        ProofKey {
            new_payload_request_root: self.new_payload_request_root,
            proof_type: self.signed.message.proof_type,
        }
    }
    /// Request root of the payload that it takes for granted, where its public input names one; none of today's does.
    pub fn origin(&self) -> Option<Root> {
        self.origin
    }
    /// What it is known by on the network.
    pub fn name(&self) -> ProofName {
        self.signed.name()
    }
    /// Who signed.
    pub fn validator_index(&self) -> ValidatorIndex {
        self.signed.validator_index
    }
    /// The payload's slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }
    /// The payload's block, if it was known when the proof passed; in `beta` the block it names.
    pub fn block_root(&self) -> Option<Root> {
        self.block_root
    }
}
