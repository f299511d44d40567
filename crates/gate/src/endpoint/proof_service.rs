//! What the methods of EIP-8025 work with, and the proofs that were asked for through them.

use assay_engine_api::{ErrorCode, ErrorObject};
use assay_proof_engine::{EngineEvent, ProofEngine, ProofGenId};
use assay_types::{ExecutionProof, NewPayloadRequest, ProofKey, ProofType, PublicInput, Root};
use assay_verification::{Brought, UnsignedProofs};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{Semaphore, broadcast::error::RecvError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Proofs that were asked for through `engine_requestProofsV1` and are awaited at once; with more the oldest is not
/// awaited any longer (what the proof engine makes of it is still taken when it is brought to the HTTP API).
pub const MAX_REQUESTED_PROOFS: usize = 4096;
/// Finished proofs that wait at once for the proof engine's word or a signature, each of up to `MAX_PROOF_SIZE`; more are
/// dropped, and counted.
const MAX_FINISHED_PROOFS: usize = 32;
/// How long one try to have a finished proof judged and signed may take.
const FINISHED_PATIENCE: Duration = Duration::from_secs(10);

/// Proof engine and door of a node, as the Engine API's callers reach them. Clones are the same service.
#[derive(Clone)]
pub struct ProofService {
    /// Is asked for proofs. It remembers its requests (`RequestBook::noting`), so that the HTTP API knows them.
    engine: Arc<dyn ProofEngine>,
    unsigned: UnsignedProofs,
    requested: Arc<Mutex<Requested>>,
    /// For finished proofs.
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Requested {
    keys: HashSet<ProofKey>,
    order: VecDeque<ProofKey>,
}

impl Requested {
    fn add(&mut self, key: ProofKey) {
        if self.keys.insert(key) {
            self.order.push_back(key);
        }
        while self.order.len() > MAX_REQUESTED_PROOFS {
            if let Some(oldest) = self.order.pop_front() {
                self.keys.remove(&oldest);
            }
        }
    }
}

impl ProofService {
    /// Over a node's engine and door.
    pub fn new(engine: Arc<dyn ProofEngine>, unsigned: UnsignedProofs) -> Self {
        Self {
            engine,
            unsigned,
            requested: Arc::default(),
            places: Arc::new(Semaphore::new(MAX_FINISHED_PROOFS)),
        }
    }

    pub(super) fn unsigned(&self) -> &UnsignedProofs {
        &self.unsigned
    }

    /// Asks the proof engine for proofs: -39004 where it makes none of these.
    pub(super) async fn request(
        &self,
        root: Root,
        request: NewPayloadRequest,
        types: &[ProofType],
    ) -> Result<ProofGenId, ErrorObject> {
        let unavailable = |why: String| ErrorObject::new(ErrorCode::ProofGenerationUnavailable, why);
        let known = self.engine.proof_types();
        if let Some(other) = types.iter().find(|t| !known.contains(t)) {
            return Err(unavailable(format!(
                "no proof engine here has proof type {other}; there are {known:?}"
            )));
        }
        let key = |proof_type: &ProofType| ProofKey {
            new_payload_request_root: root,
            proof_type: *proof_type,
        };
        // Before the engine is asked: it may be done before it has answered.
        {
            let mut requested = self.requested.lock();
            types.iter().map(key).for_each(|key| requested.add(key));
        }
        let asked = self.engine.request(root, Arc::new(request), types).await;
        asked.map_err(|error| unavailable(error.to_string()))
    }

    /// Takes the proofs that were asked for here as the proof engine finishes them, until `stop`: they count for the gate,
    /// and are signed and published where there is a signer. What others asked for is theirs.
    pub async fn take_finished(self, stop: CancellationToken) {
        let mut events = self.engine.events();
        let tasks = TaskTracker::new();
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = events.recv() => event,
            };
            match event {
                Ok(EngineEvent::Completed { key, proof_data, .. }) if self.is_requested(&key) => {
                    let (this, stop) = (self.clone(), stop.clone());
                    let Ok(place) = self.places.clone().try_acquire_owned() else {
                        self.unsigned.dropped();
                        tracing::warn!(?key, "too many finished proofs wait: dropped");
                        continue;
                    };
                    tasks.spawn(async move {
                        let taken = this.take(key, proof_data);
                        stop.run_until_cancelled(taken).await;
                        drop(place);
                    });
                }
                Ok(EngineEvent::Failed { key, reason }) if self.is_requested(&key) => {
                    tracing::warn!(?key, reason, "a proof asked for over the Engine API was not made");
                }
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "events of the proof engine were lost");
                }
                Err(RecvError::Closed) => {
                    // No engine that could finish anything.
                    return stop.cancelled().await;
                }
            }
        }
    }

    fn is_requested(&self, key: &ProofKey) -> bool {
        self.requested.lock().keys.contains(key)
    }

    async fn take(&self, key: ProofKey, proof_data: Bytes) {
        let proof = ExecutionProof {
            proof_data,
            proof_type: key.proof_type,
            public_input: PublicInput {
                new_payload_request_root: key.new_payload_request_root,
            },
        };
        // The proof engine tells of it once: what cannot be judged or signed now is kept.
        match self.unsigned.bring_in_the_end(proof, FINISHED_PATIENCE).await {
            Brought::OnTheNetwork | Brought::NotSigned => {}
            Brought::Refused(why) | Brought::NotNow(why) => {
                tracing::warn!(?key, why, "a proof asked for over the Engine API was not taken");
            }
        }
    }
}
