//! The `dev` backend: development proofs with a delay and a failure rate. They prove NOTHING about execution.

use crate::{
    DevProofSizeError, DevProver, EngineError, EngineEvent, ProofEngine, ProofGenId, Verification,
    dev_proof::MIN_DEV_PROOF_SIZE,
};
use assay_types::{EngineInput, ForkName, NewPayloadRequest, ProofKey, ProofType, Root, Spec, StatedInput};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, broadcast};

/// Ethereum mainnet's `DEPOSIT_CHAIN_ID`.
pub const MAINNET_CHAIN_ID: u64 = 1;
/// Payloads being "proven" at once; a request beyond them is refused as unavailable.
pub const MAX_PENDING_REQUESTS: usize = 64;
/// Events a slow reader may fall behind (each may hold a proof of `MAX_PROOF_SIZE`).
pub const EVENT_BACKLOG: usize = 32;
/// Proofs above this many bytes are made and checked off the async threads.
const BLOCKING_ABOVE: usize = 64 * 1024;

/// Settings of the development backend.
#[derive(Debug, Clone)]
pub struct DevConfig {
    /// The network's seed: any bytes, the same on every node.
    pub seed: Bytes,
    /// The network's values: its chain id, its revisions, `MAX_PROOF_SIZE`.
    pub spec: Arc<Spec>,
    /// `--unsafe-dev-proofs-on-mainnet`: start on chain id 1 all the same.
    pub allow_mainnet: bool,
    /// Types it makes and verifies, preferred first; not empty.
    pub proof_types: Vec<ProofType>,
    /// Bytes of the proofs that `request` makes.
    pub proof_size: usize,
    /// How long judging a proof takes.
    pub verification_delay: Duration,
    /// How long making a proof takes.
    pub proving_delay: Duration,
    /// Share of requested proofs that fail, 0 to 1.
    pub proving_failure_rate: f64,
    /// Share of calls answered with "unavailable", 0 to 1.
    pub unavailable_rate: f64,
}

impl DevConfig {
    /// Proofs of type 0 and 1 KiB, at once and without failures, on this network.
    pub fn new(seed: impl Into<Bytes>, spec: Arc<Spec>) -> Self {
        let most = max_proof_size(&spec).max(MIN_DEV_PROOF_SIZE);
        Self {
            seed: seed.into(),
            spec,
            allow_mainnet: false,
            proof_types: vec![0],
            proof_size: 1024.clamp(MIN_DEV_PROOF_SIZE, most),
            verification_delay: Duration::ZERO,
            proving_delay: Duration::ZERO,
            proving_failure_rate: 0.0,
            unavailable_rate: 0.0,
        }
    }
}

/// `MAX_PROOF_SIZE`, as far as this machine's memory could ever hold it.
fn max_proof_size(spec: &Spec) -> usize {
    usize::try_from(spec.max_proof_size).unwrap_or(usize::MAX)
}

/// Why the development backend did not start.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DevConfigError {
    /// Chain id 1 without the flag.
    #[error(
        "development proofs prove nothing about execution, and this is Ethereum mainnet (chain id 1): choose another \
         proof engine, or accept the risk with --unsafe-dev-proofs-on-mainnet"
    )]
    Mainnet,
    /// No type.
    #[error("the development proof engine needs at least one proof type")]
    NoProofTypes,
    /// Proofs of the size asked for cannot be made.
    #[error(transparent)]
    Size(#[from] DevProofSizeError),
    /// Not a share.
    #[error("{name} is a share from 0 to 1, not {value}")]
    Rate {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
    },
}

/// Makes and judges development proofs (see `DevProver`).
#[derive(Debug)]
pub struct DevEngine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    prover: DevProver,
    config: DevConfig,
    events: broadcast::Sender<EngineEvent>,
    pending: Arc<Semaphore>,
    calls: AtomicU64,
}

impl DevEngine {
    /// Checks the settings and says in the log that these proofs prove nothing.
    pub fn new(config: DevConfig) -> Result<Self, DevConfigError> {
        if config.spec.chain_id == MAINNET_CHAIN_ID && !config.allow_mainnet {
            return Err(DevConfigError::Mainnet);
        }
        if config.proof_types.is_empty() {
            return Err(DevConfigError::NoProofTypes);
        }
        let rates = [
            ("proving_failure_rate", config.proving_failure_rate),
            ("unavailable_rate", config.unavailable_rate),
        ];
        for (name, value) in rates {
            if !(0.0..=1.0).contains(&value) {
                return Err(DevConfigError::Rate { name, value });
            }
        }
        let prover = DevProver::new(config.seed.clone(), max_proof_size(&config.spec));
        prover.check_size(config.proof_size)?;
        tracing::warn!(
            proof_types = ?config.proof_types,
            chain_id = config.spec.chain_id,
            "INSECURE proof engine `dev`: its proofs prove nothing about execution; for development networks only"
        );
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let pending = Arc::new(Semaphore::new(MAX_PENDING_REQUESTS));
        Ok(Self {
            inner: Arc::new(Inner {
                prover,
                config,
                events,
                pending,
                calls: AtomicU64::new(0),
            }),
        })
    }

    /// What makes its proofs.
    pub fn prover(&self) -> &DevProver {
        &self.inner.prover
    }
}

impl Inner {
    /// Whether this call fails, at the given rate; the same calls in the same order fail again under the same seed.
    fn fails(&self, rate: f64, what: &[u8]) -> bool {
        rate > 0.0 && {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            self.prover.draw(&[what, &call.to_le_bytes()]) < rate
        }
    }

    fn answer_unless_unavailable(&self) -> Result<(), EngineError> {
        if self.fails(self.config.unavailable_rate, b"unavailable") {
            return Err(EngineError::Unavailable("dev: unavailable_rate".into()));
        }
        Ok(())
    }

    async fn make(&self, fork: ForkName, key: ProofKey, id: ProofGenId) -> EngineEvent {
        if !self.config.proof_types.contains(&key.proof_type) {
            return EngineEvent::Failed {
                key,
                reason: format!("dev: no proofs of type {}", key.proof_type),
            };
        }
        if self.fails(self.config.proving_failure_rate, b"proving") {
            return EngineEvent::Failed {
                key,
                reason: "dev: proving_failure_rate".into(),
            };
        }
        let (prover, size, spec) = (
            self.prover.clone(),
            self.config.proof_size,
            self.config.spec.clone(),
        );
        // What a proof of this payload will be judged by.
        let input = StatedInput::new(&spec, spec.revision_at(fork), key.new_payload_request_root);
        let made = off_thread(size, move || {
            prover
                .prove_stated(&input, key.proof_type, size)
                .map_err(|e| e.to_string())
        });
        match made.await.unwrap_or_else(Err) {
            Ok(proof_data) => EngineEvent::Completed {
                proof_gen_id: Some(id),
                key,
                proof_data,
            },
            Err(reason) => EngineEvent::Failed { key, reason },
        }
    }
}

/// Runs long work off the async threads, short work here. The error says that the work panicked or the node is ending.
async fn off_thread<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    if bytes > BLOCKING_ABOVE {
        tokio::task::spawn_blocking(work).await.map_err(|e| e.to_string())
    } else {
        Ok(work())
    }
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

#[async_trait]
impl ProofEngine for DevEngine {
    fn name(&self) -> &str {
        "dev"
    }

    fn proof_types(&self) -> Vec<ProofType> {
        self.inner.config.proof_types.clone()
    }

    fn is_insecure(&self) -> bool {
        true
    }

    async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
        pause(self.inner.config.verification_delay).await;
        self.inner.answer_unless_unavailable()?;
        if !self.inner.config.proof_types.contains(&proof.proof_type) {
            return Ok(Verification::Unsupported);
        }
        let (prover, proof) = (self.inner.prover.clone(), proof.clone());
        let checked = off_thread(proof.proof_data.len(), move || prover.check(&proof)).await;
        match checked.map_err(EngineError::Unavailable)? {
            Ok(()) => Ok(Verification::Valid),
            Err(why) => Ok(Verification::Invalid(why)),
        }
    }

    async fn request(
        &self,
        new_payload_request_root: Root,
        request: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        self.inner.answer_unless_unavailable()?;
        let permit = self.inner.pending.clone().try_acquire_owned().map_err(|_| {
            EngineError::Unavailable(format!(
                "dev: {MAX_PENDING_REQUESTS} requests are being worked on"
            ))
        })?;
        let id = ProofGenId(self.inner.calls.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        // A weak handle: work for an engine that is gone ends with it.
        let (engine, types) = (Arc::downgrade(&self.inner), types.to_vec());
        let (delay, fork) = (self.inner.config.proving_delay, request.fork);
        tokio::spawn(async move {
            let _permit = permit;
            pause(delay).await;
            for proof_type in types {
                let Some(engine) = engine.upgrade() else { return };
                let event = engine
                    .make(
                        fork,
                        ProofKey {
                            new_payload_request_root,
                            proof_type,
                        },
                        id,
                    )
                    .await;
                // An error says that nobody listens, which is the listener's choice.
                let _ = engine.events.send(event);
            }
        });
        Ok(id)
    }

    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.inner.events.subscribe()
    }

    async fn notify_new_payload(&self, _new_payload_request_root: Root, _request: Arc<NewPayloadRequest>) {}

    async fn notify_forkchoice_updated(&self, _head: Root, _safe: Root, _finalized: Root) {}
}

#[cfg(test)]
mod tests;
