//! `ProofSync`: the planner as the rest of the node holds it.

use super::{
    SyncState,
    counters::SyncCounters,
    event::{Action, Event, RequestId, Taken},
    limits::Settings,
    planner::Planner,
};
use assay_types::{ExecutionProofStatus, ProofKey, ProofType, Root, Slot, Spec};
use assay_verification::{ProofSink, SinkError, Source, VerifiedProof};
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Proofs noted at most while holdings are read from disk; beyond it they are asked for once more, and known then.
const MAX_JOURNAL: usize = 16 * 1024;

/// Payloads that somebody waits for now.
pub trait WaitingPayloads: Send + Sync + 'static {
    /// Request roots of payloads that are held back for want of proofs.
    fn waiting(&self) -> Vec<Root>;
}

/// What proof sync is started with.
#[derive(Clone)]
pub struct ProofSyncConfig {
    /// Types this node verifies, preferred first; all of them are wanted.
    pub proof_types: Vec<ProofType>,
    /// Distinct types that make a payload sufficiently proven (`--required-proofs`).
    pub required_proofs: usize,
    /// Epochs kept before the finalized one (`--retention-epochs`).
    pub retention_epochs: u64,
    /// The last canonical slot known before this start.
    pub last_known: Option<Slot>,
    /// Payloads that go before others, where somebody waits for any.
    pub waiting: Option<Arc<dyn WaitingPayloads>>,
    /// An extension of Assay's: peers are asked for proofs of `beta` too (`RpcConfig::envelopes` serves them).
    pub envelopes: bool,
}

impl ProofSyncConfig {
    /// Of a node that verifies these types, keeps what it must, and waits for nothing.
    pub fn new(proof_types: Vec<ProofType>) -> Self {
        Self {
            proof_types,
            required_proofs: 1,
            retention_epochs: 0,
            last_known: None,
            waiting: None,
            envelopes: false,
        }
    }
}

/// Proof sync: a sink of accepted proofs, this node's own proof status, and how sync stands. It asks nobody until the
/// network runs with it. Cheap to clone.
#[derive(Clone)]
pub struct ProofSync {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: ProofSyncConfig,
    pub(super) counters: SyncCounters,
    planner: Mutex<Planner>,
    /// Proofs accepted while holdings are read.
    journal: Mutex<Option<Vec<Event>>>,
    started: Instant,
}

impl ProofSync {
    /// Before the verifier has its sinks.
    pub fn new(spec: &Spec, config: ProofSyncConfig) -> Self {
        let mut settings = Settings::new(spec, config.proof_types.clone(), config.required_proofs);
        if config.envelopes {
            settings.ask_everywhere();
        }
        Self {
            inner: Arc::new(Inner {
                config,
                counters: SyncCounters::default(),
                planner: Mutex::new(Planner::new(settings)),
                journal: Mutex::new(None),
                started: Instant::now(),
            }),
        }
    }

    /// Other types, or another number of them (`--required-proofs`, `--required-proof-types`), make a payload sufficiently
    /// proven from now on; what this node says of itself follows. Which types are fetched stays as it is: all that this node
    /// verifies.
    pub fn set_counted(&self, required_proofs: usize, counted_types: Vec<ProofType>) {
        self.inner.planner.lock().count(required_proofs, counted_types);
    }

    /// How it stands.
    pub fn state(&self) -> SyncState {
        self.inner.planner.lock().state()
    }

    /// The types that are kept complete.
    pub(crate) fn proof_types(&self) -> &[ProofType] {
        &self.inner.config.proof_types
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        self.inner.counters.register(registry);
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn on_event(&self, event: Event) -> Vec<Action> {
        let mut planner = self.planner.lock();
        // Read under the lock: time never goes back for the planner.
        let now = self.now();
        planner.on_event(event, now)
    }

    pub(super) fn on_proof(&self, id: RequestId, key: ProofKey, bytes: u64) -> (Taken, Vec<Action>) {
        let mut planner = self.planner.lock();
        let now = self.now();
        planner.on_proof(id, key, bytes, now)
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Planner) -> T) -> T {
        look(&self.planner.lock())
    }

    /// From now on until `end_journal` accepted proofs are noted.
    pub(super) fn begin_journal(&self) {
        *self.journal.lock() = Some(Vec::new());
    }

    pub(super) fn end_journal(&self) -> Vec<Event> {
        self.journal.lock().take().unwrap_or_default()
    }
}

#[async_trait]
impl ProofSink for ProofSync {
    fn name(&self) -> &'static str {
        "sync"
    }

    async fn accepted(&self, proof: &Arc<VerifiedProof>, _source: &Source) -> Result<(), SinkError> {
        let held = Event::Held {
            key: proof.key(),
            bytes: proof.ssz().len() as u64,
        };
        if let Some(journal) = self.inner.journal.lock().as_mut()
            && journal.len() < MAX_JOURNAL
        {
            journal.push(held.clone());
        }
        // Asks for nothing by itself.
        self.inner.on_event(held);
        Ok(())
    }
}

impl crate::rpc::LocalProofStatus for ProofSync {
    fn local_proof_status(&self) -> ExecutionProofStatus {
        self.inner.look(Planner::local_status)
    }
}
