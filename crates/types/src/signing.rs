//! Domains and signing roots (protocol.md section 3).

use crate::{
    merkle,
    primitives::{Epoch, ForkVersion, Root},
    proof::ExecutionProof,
    proof_beta,
    spec::{Genesis, Spec},
};

/// `hash_tree_root(ForkData{version, genesis_validators_root})`.
pub fn fork_data_root(version: ForkVersion, genesis_validators_root: &Root) -> Root {
    let mut chunk = Root::ZERO;
    chunk.0[..ForkVersion::LEN].copy_from_slice(&version.0);
    merkle::hash_pair(&chunk, genesis_validators_root)
}

/// `compute_domain`: the type's four bytes, then the first 28 of the fork data root.
pub fn compute_domain(
    domain_type: [u8; 4],
    version: ForkVersion,
    genesis_validators_root: &Root,
) -> [u8; 32] {
    let mut domain = [0; 32];
    domain[..4].copy_from_slice(&domain_type);
    domain[4..].copy_from_slice(&fork_data_root(version, genesis_validators_root).0[..28]);
    domain
}

/// `compute_signing_root` of an object's root.
pub fn signing_root(object_root: &Root, domain: &[u8; 32]) -> Root {
    merkle::hash_pair(object_root, &Root::from(*domain))
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

    /// `hash_tree_root` of a `beta` envelope in the form that holds at `epoch`: what is signed there.
    pub fn execution_proof_envelope_root(
        &self,
        epoch: Epoch,
        envelope: &proof_beta::ExecutionProofEnvelope,
    ) -> Root {
        envelope.hash_tree_root(
            self,
            self.proof_data_form(self.revision_at(self.fork_at_epoch(epoch))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_follows_the_fork_of_the_epoch() {
        let mut spec = Spec::mainnet();
        let genesis = Genesis {
            genesis_time: 0,
            genesis_validators_root: Root::from([7; 32]),
        };
        let fulu = spec.execution_proof_domain(&genesis, Epoch(411_392));
        assert_eq!(fulu[..4], [0x0f, 0, 0, 0]);
        assert_ne!(fulu, spec.execution_proof_domain(&genesis, Epoch(411_391)));
        assert_eq!(fulu, spec.execution_proof_domain(&genesis, Epoch(419_072)));
        // protocol.md section 1: the domain's type is a setting.
        spec.domain_execution_proof = [0x0d, 0, 0, 0];
        let other = spec.execution_proof_domain(&genesis, Epoch(411_392));
        assert_eq!(other[..4], [0x0d, 0, 0, 0]);
        assert_eq!(other[4..], fulu[4..]);
    }
}
