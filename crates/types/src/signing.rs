//! Domains and signing roots (protocol.md section 3).

use crate::{
    primitives::{Epoch, ForkVersion, Root},
    proof::ExecutionProof,
    spec::{Genesis, Spec},
};

/// `hash_tree_root(ForkData{version, genesis_validators_root})`.
pub fn fork_data_root(version: ForkVersion, genesis_validators_root: &Root) -> Root {
    let _ = (version, genesis_validators_root);
    unimplemented!()
}

/// `compute_domain`.
pub fn compute_domain(
    domain_type: [u8; 4],
    version: ForkVersion,
    genesis_validators_root: &Root,
) -> [u8; 32] {
    let _ = (domain_type, version, genesis_validators_root);
    unimplemented!()
}

/// `compute_signing_root` of an object's root.
pub fn signing_root(object_root: &Root, domain: &[u8; 32]) -> Root {
    let _ = (object_root, domain);
    unimplemented!()
}

impl Spec {
    /// The domain a proof of a payload at `epoch` is signed under.
    pub fn execution_proof_domain(&self, genesis: &Genesis, epoch: Epoch) -> [u8; 32] {
        compute_domain(
            self.domain_execution_proof,
            self.fork_version_at_epoch(epoch),
            &genesis.genesis_validators_root,
        )
    }

    /// What is signed for a proof whose root is already known.
    pub fn execution_proof_signing_root(&self, genesis: &Genesis, epoch: Epoch, proof_root: &Root) -> Root {
        signing_root(proof_root, &self.execution_proof_domain(genesis, epoch))
    }

    /// `hash_tree_root` of a proof in the form that holds at `epoch`.
    pub fn execution_proof_root(&self, epoch: Epoch, proof: &ExecutionProof) -> Root {
        proof.hash_tree_root(
            self,
            self.proof_data_form(self.revision_at(self.fork_at_epoch(epoch))),
        )
    }
}
