//! For tests of crates that take `VerifiedProof`s, behind the feature `testing`: a proof that says it passed and did
//! not. Only ever a dev-dependency's feature; nothing that ships enables it.

use crate::VerifiedProof;
use assay_types::{Root, SignedExecutionProof, Slot};
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
