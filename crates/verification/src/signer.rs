//! Signing proofs that came unsigned: what may be signed (`CheckedProof`) and who signs (`ProofSigner`).
//!
//! Nothing is signed that a proof engine has not called valid: a signer takes a `CheckedProof` and nothing else.

use assay_chain::PayloadInfo;
use assay_proof_engine::{EngineError, ProofEngine, Verification};
use assay_types::{
    EngineInput, ExecutionProof, ProofKey, ProofMessage, Revision, SignedProof, Slot, Spec, ValidatorIndex,
};
use async_trait::async_trait;

/// An unsigned proof that a proof engine called valid, of a size that every node takes. The field is private: only `check`
/// makes one, from the very bytes that were judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedProof(ExecutionProof);

/// Why a proof is not checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No proof data (rule 7).
    #[error("proof_data is empty")]
    Empty,
    /// More than `MAX_PROOF_SIZE` bytes (rule 7).
    #[error("proof_data has {size} bytes, MAX_PROOF_SIZE is {most}")]
    Oversize {
        /// Of this proof.
        size: u64,
        /// Of the network.
        most: u64,
    },
    /// The engine says so (rule 8).
    #[error("the proof engine says the proof is invalid: {0}")]
    Invalid(String),
    /// No engine here verifies this type.
    #[error("no proof engine here verifies this proof type")]
    Unsupported,
    /// No word of the engine: nothing is said of the proof.
    #[error(transparent)]
    Unavailable(#[from] EngineError),
}

impl CheckedProof {
    /// Asks the engine, in the words of the revision that holds for the payload, after what can be seen at once.
    pub async fn check(
        engine: &dyn ProofEngine,
        spec: &Spec,
        revision: Revision,
        proof: ExecutionProof,
    ) -> Result<Self, CheckError> {
        let (size, most) = (proof.proof_data.len() as u64, spec.max_proof_size);
        if size == 0 {
            return Err(CheckError::Empty);
        }
        if size > most {
            return Err(CheckError::Oversize { size, most });
        }
        let input = EngineInput::new(spec, revision, proof.key(), proof.proof_data.clone());
        match engine.verify(&input).await? {
            Verification::Valid => Ok(Self(proof)),
            Verification::Invalid(why) => Err(CheckError::Invalid(why)),
            Verification::Unsupported => Err(CheckError::Unsupported),
        }
    }

    /// Of a proof that the verifier has judged.
    pub(crate) fn judged(proof: ExecutionProof) -> Self {
        Self(proof)
    }

    /// The proof.
    pub fn proof(&self) -> &ExecutionProof {
        &self.0
    }

    /// The proof, its own again.
    pub fn into_proof(self) -> ExecutionProof {
        self.0
    }

    /// The payload and kind.
    pub fn key(&self) -> ProofKey {
        self.0.key()
    }
}

/// Why a proof was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// No validator with a key here is active at the payload's epoch, or none is known yet.
    #[error("no validator with a key here is active in slot {0}")]
    NoValidator(Slot),
    /// `beta` names the payload's beacon block, and none is known yet.
    #[error("the beacon block of the payload is not known yet")]
    NoBlock,
    /// The signer did not sign; asked again it may.
    #[error("signer: {0}")]
    Signer(String),
}

/// What a proof of this payload is signed as; `NoBlock` where `beta` has nothing to name yet.
pub fn message_of(
    spec: &Spec,
    proof: ExecutionProof,
    payload: &PayloadInfo,
) -> Result<(Revision, ProofMessage), SignError> {
    let revision = spec.revision_at(payload.fork);
    let mut message = ProofMessage::from(proof);
    if revision == Revision::Beta {
        message.root = payload.block_root.ok_or(SignError::NoBlock)?;
    }
    Ok((revision, message))
}

/// Signs proofs for the validators whose keys this node was given (implemented by crates/prover as `ValidatorSigner`).
///
/// This is the seam for all that takes unsigned proofs: the prover's duty, the relay route (`GeneratedProof`s) and the
/// Engine API's verified proofs. Where no keys are configured there is no signer (`Option::None`), and what came unsigned is
/// used as design.md (Verification) says, and not gossiped. What a signer gives goes through the `Intake` like any other
/// signed proof, as `Source::Prover`.
#[async_trait]
pub trait ProofSigner: Send + Sync + 'static {
    /// Validators that may sign for a payload of this slot, by index; empty: `sign` would be `NoValidator`.
    fn validators(&self, slot: Slot) -> Vec<ValidatorIndex>;

    /// Signs a proof of this payload, as the chain view has it: its slot decides the revision, the fork version and which
    /// validators are active; in `beta` its block is what is named. The validator is the signer's choice: they take turns by slot. Takes milliseconds with
    /// a key of this process, up to seconds with a remote signer; the signature has been verified.
    async fn sign(&self, proof: CheckedProof, payload: &PayloadInfo) -> Result<SignedProof, SignError>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_proof_engine::{DevConfig, DevEngine, DevProver};
    use assay_types::{PublicInput, Root};
    use bytes::Bytes;

    #[tokio::test]
    async fn only_what_the_engine_calls_valid_can_be_signed() {
        let spec = Spec {
            chain_id: 1337,
            max_proof_size: 4096,
            ..Spec::minimal()
        };
        let config = DevConfig {
            proof_types: vec![1],
            ..DevConfig::new("seed".to_owned(), std::sync::Arc::new(spec.clone()))
        };
        let engine = DevEngine::new(config.clone()).unwrap();
        let root = Root::from([7; 32]);
        let good = DevProver::new("seed".to_owned(), 8192)
            .prove(&root, 1, 1000)
            .unwrap();
        let large = DevProver::new("seed".to_owned(), 8192)
            .prove(&root, 1, 4097)
            .unwrap();
        let check = async |proof_data: Bytes, proof_type, named: Root| {
            let proof = ExecutionProof {
                proof_data,
                proof_type,
                public_input: PublicInput {
                    new_payload_request_root: named,
                },
            };
            CheckedProof::check(&engine, &spec, Revision::Alpha, proof).await
        };
        let checked = check(good.clone(), 1, root).await.unwrap();
        assert_eq!(checked.proof().proof_data, good);
        assert_eq!(checked.key().new_payload_request_root, root);
        assert_eq!(check(Bytes::new(), 1, root).await, Err(CheckError::Empty));
        let too_large = CheckError::Oversize {
            size: 4097,
            most: 4096,
        };
        assert_eq!(check(large, 1, root).await, Err(too_large));
        assert_eq!(check(good.clone(), 9, root).await, Err(CheckError::Unsupported));
        let other = check(good, 1, Root::ZERO).await;
        assert!(matches!(other, Err(CheckError::Invalid(_))), "{other:?}");
        let down = DevEngine::new(DevConfig {
            unavailable_rate: 1.0,
            ..config
        });
        let proof = checked.into_proof();
        let unknown = CheckedProof::check(&down.unwrap(), &spec, Revision::Alpha, proof).await;
        assert!(matches!(unknown, Err(CheckError::Unavailable(_))), "{unknown:?}");
    }
}
