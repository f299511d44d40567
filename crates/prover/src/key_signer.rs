//! Who holds keys and signs with them: this process (`LocalKeys`) or a remote signer (`Web3Signer`).

use assay_types::{
    Epoch, ForkVersion, ProofMessage, PublicKeyBytes, Revision, Root, SignatureBytes, Spec, spec::Genesis,
};
use async_trait::async_trait;

/// Keys of one source at most.
pub const MAX_KEYS: usize = 1000;

/// What is signed, and what a remote signer wants to know about it.
#[derive(Debug, Clone)]
pub struct SigningMessage {
    /// What the signature is over (protocol.md section 3).
    pub signing_root: Root,
    /// The revision of the message.
    pub revision: Revision,
    /// The message the root was made from.
    pub message: ProofMessage,
    /// The fork whose version is in the domain.
    pub fork: SigningFork,
    /// The network.
    pub genesis_validators_root: Root,
}

/// `Fork` of the consensus specifications at the payload's epoch: its `current_version` is in the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningFork {
    /// Version before this fork.
    pub previous_version: ForkVersion,
    /// This fork's version.
    pub current_version: ForkVersion,
    /// This fork's first epoch.
    pub epoch: Epoch,
}

impl SigningMessage {
    /// For a proof of a payload of `epoch`. Hashes megabytes: off the async threads.
    pub fn new(
        spec: &Spec,
        genesis: &Genesis,
        epoch: Epoch,
        revision: Revision,
        message: ProofMessage,
    ) -> Self {
        let proof_root = spec.proof_message_root(epoch, &message);
        let first = spec.fork_epoch(spec.fork_at_epoch(epoch)).unwrap_or(Epoch(0));
        Self {
            signing_root: spec.execution_proof_signing_root(genesis, epoch, &proof_root),
            revision,
            message,
            fork: SigningFork {
                previous_version: spec.fork_version_at_epoch(first.saturating_sub(1)),
                current_version: spec.fork_version_at_epoch(epoch),
                epoch: first,
            },
            genesis_validators_root: genesis.genesis_validators_root,
        }
    }
}

/// Why a key did not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not here (any more).
    #[error("it has no such key")]
    NoKey,
    /// The signer will not sign this.
    #[error("it refuses: {0}")]
    Refused(String),
    /// No answer, or none that can be understood.
    #[error("{0}")]
    Unavailable(String),
}

/// Signs with keys it holds.
#[async_trait]
pub trait KeySigner: Send + Sync + 'static {
    /// For logs; no credentials in it.
    fn name(&self) -> &str;
    /// The keys it holds now, `MAX_KEYS` at most.
    async fn public_keys(&self) -> Result<Vec<PublicKeyBytes>, KeyError>;
    /// Signs `message.signing_root`. What comes back has not been verified yet.
    async fn sign(&self, key: &PublicKeyBytes, message: &SigningMessage) -> Result<SignatureBytes, KeyError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::ExecutionProof;
    use assay_types::{ForkName, PublicInput};

    #[test]
    fn the_fork_is_the_one_of_the_payloads_epoch() {
        let mut spec = Spec::minimal();
        spec.fork_schedule = vec![
            (ForkName::Electra, ForkVersion([5; 4]), Epoch(0)),
            (ForkName::Fulu, ForkVersion([6; 4]), Epoch(3)),
            (ForkName::Gloas, ForkVersion([7; 4]), Epoch(9)),
        ];
        let genesis = Genesis {
            genesis_time: 0,
            genesis_validators_root: Root::from([1; 32]),
        };
        let proof = ExecutionProof {
            proof_data: vec![1, 2, 3].into(),
            proof_type: 4,
            public_input: PublicInput {
                new_payload_request_root: Root::from([2; 32]),
            },
        };
        for (epoch, previous, current, first) in [
            (0, 5, 5, 0),
            (2, 5, 5, 0),
            (3, 5, 6, 3),
            (8, 5, 6, 3),
            (9, 6, 7, 9),
        ] {
            let message = SigningMessage::new(
                &spec,
                &genesis,
                Epoch(epoch),
                Revision::Alpha,
                proof.clone().into(),
            );
            let expected = SigningFork {
                previous_version: ForkVersion([previous; 4]),
                current_version: ForkVersion([current; 4]),
                epoch: Epoch(first),
            };
            assert_eq!(message.fork, expected, "epoch {epoch}");
            let root = spec.execution_proof_root(Epoch(epoch), &proof);
            let signing_root = spec.execution_proof_signing_root(&genesis, Epoch(epoch), &root);
            assert_eq!(message.signing_root, signing_root);
        }
    }
}
