//! The backend `native`.

use crate::{guest::Guest, metrics::NativeMetrics, pool::Pool, system::ProofSystem};
use assay_proof_engine::{EngineError, EngineEvent, ProofEngine, ProofGenId, Verification};
use assay_types::{EngineInput, NewPayloadRequest, ProofType, Root};
use async_trait::async_trait;
use std::{
    collections::BTreeMap, num::NonZeroUsize, sync::Arc, thread::available_parallelism, time::Duration,
};
use tokio::sync::broadcast;

/// Verifications at once, at most, where the machine has more cores: one proof of each type of a payload.
const MOST_AT_ONCE: usize = 4;
/// Bytes of stack. The verifiers were measured to need less than a sixteenth; it is address space until it is used.
const STACK_SIZE: usize = 16 << 20;
/// Ethereum mainnet's `DEPOSIT_CHAIN_ID`.
const MAINNET_CHAIN_ID: u64 = 1;

/// Bounds of verifications.
#[derive(Debug, Clone, Copy)]
pub struct NativeLimits {
    /// Threads that verify at once.
    pub concurrent: NonZeroUsize,
    /// Longest a caller waits for a place and a verdict together. Below the router's `verify_timeout`, so that what is
    /// slow here is told here.
    pub timeout: Duration,
    /// Stack of a thread, in bytes.
    pub stack_size: usize,
}

impl Default for NativeLimits {
    /// Half the cores, from 1 to 4; 4 s; 16 MiB.
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let half = (cores / 2).clamp(1, MOST_AT_ONCE);
        Self {
            concurrent: NonZeroUsize::new(half).unwrap_or(NonZeroUsize::MIN),
            timeout: Duration::from_secs(4),
            stack_size: STACK_SIZE,
        }
    }
}

/// How proofs of one type are verified: a system with the key of a program, and what that program commits to.
pub struct NativeVerifier {
    /// The system, with the key.
    pub system: Arc<dyn ProofSystem>,
    /// The program's family.
    pub guest: Guest,
}

impl std::fmt::Debug for NativeVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeVerifier")
            .field("guest", &self.guest)
            .finish_non_exhaustive()
    }
}

/// Why the backend did not start.
#[derive(Debug, thiserror::Error)]
pub enum NativeConfigError {
    /// No verifier.
    #[error("no verifier is configured")]
    NoVerifiers,
    /// Two verifiers for one type.
    #[error("proof type {0} has two verifiers")]
    TypeTwice(ProofType),
    /// A table of statements on chain id 1.
    #[error(
        "proof type {0}: unsafe-statements proves nothing about execution, and this is Ethereum mainnet (chain id 1): \
         name the guest program's family"
    )]
    UnsafeOnMainnet(ProofType),
}

/// Verifies proofs in this process.
pub struct NativeEngine {
    verifiers: BTreeMap<ProofType, Arc<NativeVerifier>>,
    proof_types: Vec<ProofType>,
    pool: Pool,
    events: broadcast::Sender<EngineEvent>,
}

impl NativeEngine {
    /// `verifiers` by type, preferred first, on the chain `chain_id`.
    pub fn new(
        verifiers: Vec<(ProofType, NativeVerifier)>,
        chain_id: u64,
        limits: NativeLimits,
        metrics: NativeMetrics,
    ) -> Result<Self, NativeConfigError> {
        if verifiers.is_empty() {
            return Err(NativeConfigError::NoVerifiers);
        }
        let proof_types: Vec<_> = verifiers.iter().map(|(proof_type, _)| *proof_type).collect();
        let mut by_type = BTreeMap::new();
        for (proof_type, verifier) in verifiers {
            if verifier.guest.is_insecure() {
                if chain_id == MAINNET_CHAIN_ID {
                    return Err(NativeConfigError::UnsafeOnMainnet(proof_type));
                }
                tracing::warn!(
                    proof_type,
                    "INSECURE native verifier: a table of statements stands for the guest program, so its proofs prove \
                     nothing about execution; for tests only"
                );
            }
            if by_type.insert(proof_type, Arc::new(verifier)).is_some() {
                return Err(NativeConfigError::TypeTwice(proof_type));
            }
        }
        Ok(Self {
            verifiers: by_type,
            proof_types,
            pool: Pool::new(limits, metrics),
            events: broadcast::Sender::new(1),
        })
    }
}

#[async_trait]
impl ProofEngine for NativeEngine {
    fn name(&self) -> &str {
        "native"
    }

    fn proof_types(&self) -> Vec<ProofType> {
        self.proof_types.clone()
    }

    fn is_insecure(&self) -> bool {
        self.verifiers
            .values()
            .any(|verifier| verifier.guest.is_insecure())
    }

    fn makes_proofs(&self) -> bool {
        false
    }

    async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
        match self.verifiers.get(&proof.proof_type) {
            Some(verifier) => self.pool.judge(verifier, proof).await,
            None => Ok(Verification::Unsupported),
        }
    }

    async fn request(
        &self,
        _: Root,
        _: Arc<NewPayloadRequest>,
        _: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        Err(EngineError::Unavailable(
            "proofs are verified here, not made".into(),
        ))
    }

    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.events.subscribe()
    }

    async fn notify_new_payload(&self, _: Root, _: Arc<NewPayloadRequest>) {}

    async fn notify_forkchoice_updated(&self, _: Root, _: Root, _: Root) {}
}

#[cfg(test)]
mod tests;
