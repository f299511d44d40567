//! `VerifiedProof`: a proof that has passed.

use assay_types::{ProofKey, Root, SignedExecutionProof, Slot, ValidatorIndex};
use bytes::Bytes;

/// A signed proof that passed every rule. Fields are private and nothing outside this crate can make one.
#[derive(Debug, Clone)]
pub struct VerifiedProof {
    pub(crate) ssz: Bytes,
    pub(crate) signed: SignedExecutionProof,
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
    pub fn signed(&self) -> &SignedExecutionProof {
        &self.signed
    }
    /// `hash_tree_root` of the message.
    pub fn proof_root(&self) -> &Root {
        &self.proof_root
    }
    /// The payload and kind.
    pub fn key(&self) -> ProofKey {
        self.signed.key()
    }
    /// Who signed.
    pub fn validator_index(&self) -> ValidatorIndex {
        self.signed.validator_index
    }
    /// The payload's slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }
    /// The payload's block, if it was known when the proof passed.
    pub fn block_root(&self) -> Option<Root> {
        self.block_root
    }
}
