//! The shell of the duty: chain events and the engine's events go into the machine, its actions become tasks, and what the
//! tasks come to goes back in.

use crate::{
    OwnProofs, ProofDoor, ProverMetrics, RecentRequests, ValidatorSigner,
    duty::{Action, Duty, DutyConfig, End, Event, Outcome},
    steps::{self, Asked},
};
use assay_chain::{BlockInfo, Chain, ChainEvent, Clock, NodeApi, clock};
use assay_proof_engine::{EngineEvent, ProofEngine};
use assay_types::{NewPayloadRequest, ProofKey, ProofType, Root, SignedProof, Slot};
use assay_verification::CheckedProof;
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    task::JoinSet,
    time::sleep_until,
};

/// What a prover works with.
pub struct ProverParts {
    /// The chain, followed by somebody else.
    pub chain: Arc<dyn Chain>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The beacon node that payloads are asked of.
    pub api: Arc<NodeApi>,
    /// Who makes and verifies proofs.
    pub engine: Arc<dyn ProofEngine>,
    /// Who signs, kept up by somebody else.
    pub signer: Arc<ValidatorSigner>,
    /// Where proofs go.
    pub door: Arc<dyn ProofDoor>,
    /// Payload requests that need not be asked of the beacon node; empty where nobody fills it.
    pub recent: Arc<RecentRequests>,
    /// What an engine brought to the node around this prover; told of nothing where there is none.
    pub own_proofs: Arc<OwnProofs>,
}

struct Held {
    slot: Slot,
    slot_began: Instant,
    block_root: Root,
    request: Option<Arc<NewPayloadRequest>>,
    made: HashMap<ProofType, Bytes>,
    checked: HashMap<ProofType, CheckedProof>,
    signed: HashMap<ProofType, SignedProof>,
}

enum Done {
    Requested {
        root: Root,
        types: Vec<ProofType>,
        request: Option<Arc<NewPayloadRequest>>,
        outcome: Outcome,
    },
    Verified(ProofKey, Result<CheckedProof, Outcome>),
    Signed(ProofKey, Result<Box<SignedProof>, Outcome>),
    Posted(ProofKey, Outcome),
}

/// A prover: proves every payload that the chain shows, once a type.
pub struct Prover {
    asked: Asked,
    clock: Arc<dyn Clock>,
    duty: Duty,
    held: HashMap<Root, Held>,
    metrics: ProverMetrics,
    tasks: JoinSet<Done>,
    chain_events: broadcast::Receiver<ChainEvent>,
    engine_events: broadcast::Receiver<EngineEvent>,
    signer_changes: watch::Receiver<()>,
    own_proofs: (Arc<OwnProofs>, broadcast::Receiver<ProofKey>),
}

impl Prover {
    /// Hears the chain's events from now on: to be made before the chain is followed.
    pub fn new(config: DutyConfig, parts: ProverParts) -> Self {
        Self {
            chain_events: parts.chain.subscribe(),
            engine_events: parts.engine.events(),
            signer_changes: parts.signer.changes(),
            own_proofs: (parts.own_proofs.clone(), parts.own_proofs.subscribe()),
            asked: Asked {
                chain: parts.chain,
                api: parts.api,
                engine: parts.engine,
                signer: parts.signer,
                door: parts.door,
                recent: parts.recent,
            },
            clock: parts.clock,
            duty: Duty::new(config),
            held: HashMap::new(),
            metrics: ProverMetrics::default(),
            tasks: JoinSet::new(),
        }
    }

    /// What it counts.
    pub fn metrics(&self) -> &ProverMetrics {
        &self.metrics
    }

    /// Works without an end. Dropping it ends everything under way.
    pub async fn run(mut self) {
        loop {
            let wake = self.duty.next_wake();
            let event = tokio::select! {
                event = self.chain_events.recv() => self.chain_event(event),
                event = self.engine_events.recv() => self.engine_event(event),
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => match done {
                    Ok(done) => self.done(done),
                    Err(error) => {
                        // What it was about is tried no more, and ends when its time is over.
                        tracing::error!(%error, "a step of the prover failed");
                        None
                    }
                },
                () = sleep_until(wake.unwrap_or_else(Instant::now).into()), if wake.is_some() => None,
                // What came before any validator was known. The sender lives as long as this.
                Ok(()) = self.signer_changes.changed() => self.head(),
                // What is missed here is too late at worst; its sender lives as long as this.
                Ok(key) = self.own_proofs.1.recv() => Some(Event::OnTheNetwork(key)),
            };
            if let Some(event) = event {
                self.duty.on_event(event, Instant::now(), rand::random());
            }
            for action in self.duty.actions(Instant::now()) {
                self.act(action);
            }
            self.metrics
                .proving
                .set(i64::try_from(self.duty.at_work()).unwrap_or(i64::MAX));
        }
    }

    fn chain_event(&mut self, event: Result<ChainEvent, RecvError>) -> Option<Event> {
        match event {
            Ok(ChainEvent::Block(block) | ChainEvent::Head(block)) => self.block(block),
            Ok(_) | Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(lost)) => {
                tracing::debug!(lost, "events of the chain were lost");
                self.head()
            }
        }
    }

    fn head(&mut self) -> Option<Event> {
        let head = self.asked.chain.head()?;
        self.block(head)
    }

    fn block(&mut self, block: BlockInfo) -> Option<Event> {
        let root = block.new_payload_request_root?;
        if self.duty.has_payload(&root) {
            return None;
        }
        let (spec, genesis) = (self.asked.chain.spec(), self.asked.chain.genesis());
        if self.asked.signer.validators(block.slot).is_empty() {
            tracing::debug!(slot = %block.slot, "no validator with a key here is active: not proven");
            return None;
        }
        let now = Instant::now();
        let age = self
            .clock
            .now()
            .saturating_sub(clock::slot_start(spec, &genesis, block.slot));
        let slot_began = now.checked_sub(age)?;
        // A branch that replaces another brings blocks of slots long past: their time begins when they come. While the view
        // catches up, old blocks are old.
        let epoch = Duration::from_millis(spec.slot_duration_ms.saturating_mul(spec.slots_per_epoch));
        let is_live = self.asked.chain.is_synced() && age <= epoch;
        let event = Event::Payload {
            root,
            slot: block.slot,
            began: if is_live { now } else { slot_began },
        };
        // Taken away again by `Forget`; there from now on though it may wait for a place at first.
        self.duty.on_event(event, Instant::now(), rand::random());
        if self.duty.has_payload(&root) {
            let held = Held {
                slot: block.slot,
                slot_began,
                block_root: block.block_root,
                request: None,
                made: HashMap::new(),
                checked: HashMap::new(),
                signed: HashMap::new(),
            };
            self.held.insert(root, held);
        } else {
            tracing::debug!(slot = %block.slot, %root, "older than its time: not proven");
        }
        None
    }

    fn engine_event(&mut self, event: Result<EngineEvent, RecvError>) -> Option<Event> {
        match event {
            Ok(EngineEvent::Completed { key, proof_data, .. }) => {
                if !self.duty.is_waiting(&key) {
                    return None;
                }
                let held = self.held.get_mut(&key.new_payload_request_root)?;
                held.made.insert(key.proof_type, proof_data);
                Some(Event::Completed(key))
            }
            Ok(EngineEvent::Failed { key, reason }) => {
                if self.duty.has_payload(&key.new_payload_request_root) {
                    tracing::warn!(root = %key.new_payload_request_root, proof_type = key.proof_type, reason,
                        "the proof engine failed a proof");
                }
                Some(Event::ProvingFailed(key, reason))
            }
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "events of the proof engine were lost; asking again");
                Some(Event::EventsLost)
            }
            // The engine lives as long as this.
            Err(RecvError::Closed) => None,
        }
    }

    fn done(&mut self, done: Done) -> Option<Event> {
        match done {
            Done::Requested {
                root,
                types,
                request,
                outcome,
            } => {
                if self.duty.is_at_work(&root)
                    && let (Some(held), Some(request)) = (self.held.get_mut(&root), request)
                {
                    held.request = Some(request);
                }
                if let Outcome::NotNow(why) | Outcome::Refused(why) = &outcome {
                    tracing::warn!(%root, ?types, why, "proofs could not be requested; trying again");
                }
                Some(Event::Requested { root, types, outcome })
            }
            Done::Verified(key, Ok(checked)) => {
                let held = self.at_work(&key)?;
                held.made.remove(&key.proof_type);
                held.checked.insert(key.proof_type, checked);
                Some(Event::Verified(key, Outcome::Done))
            }
            Done::Verified(key, Err(outcome)) => {
                if let Outcome::Refused(why) = &outcome {
                    tracing::error!(root = %key.new_payload_request_root, proof_type = key.proof_type, why,
                        "not signed");
                }
                Some(Event::Verified(key, outcome))
            }
            Done::Signed(key, Ok(signed)) => {
                let held = self.at_work(&key)?;
                held.signed.insert(key.proof_type, *signed);
                Some(Event::Signed(key, Outcome::Done))
            }
            Done::Signed(key, Err(outcome)) => Some(Event::Signed(key, outcome)),
            Done::Posted(key, outcome) => Some(Event::Posted(key, outcome)),
        }
    }

    /// What is held of a payload at work; bytes that come for another are not kept.
    fn at_work(&mut self, key: &ProofKey) -> Option<&mut Held> {
        let root = &key.new_payload_request_root;
        if !self.duty.is_at_work(root) {
            return None;
        }
        self.held.get_mut(root)
    }

    fn act(&mut self, action: Action) {
        let asked = self.asked.clone();
        match action {
            Action::Request(root, types) => {
                let Some(held) = self.held.get(&root) else { return };
                let (block_root, known) = (held.block_root, held.request.clone());
                self.metrics.requested.inc_by(types.len() as u64);
                tracing::debug!(slot = %held.slot, %root, ?types, "requesting proofs");
                self.tasks.spawn(async move {
                    let (request, outcome) = steps::request(&asked, block_root, root, &types, known).await;
                    Done::Requested {
                        root,
                        types,
                        request,
                        outcome,
                    }
                });
            }
            Action::Verify(key) => {
                let held = self.held.get(&key.new_payload_request_root);
                let Some(proof_data) = held.and_then(|h| h.made.get(&key.proof_type)).cloned() else {
                    return;
                };
                self.tasks
                    .spawn(async move { Done::Verified(key, steps::verify(&asked, &key, proof_data).await) });
            }
            Action::Sign(key) => {
                let Some(held) = self.held.get(&key.new_payload_request_root) else {
                    return;
                };
                let (block_root, Some(checked)) =
                    (held.block_root, held.checked.get(&key.proof_type).cloned())
                else {
                    return;
                };
                self.tasks.spawn(async move {
                    let signed = steps::sign(&asked, block_root, checked).await;
                    Done::Signed(key, signed.map(Box::new))
                });
            }
            Action::Post(key) => {
                let held = self.held.get(&key.new_payload_request_root);
                let Some(signed) = held.and_then(|h| h.signed.get(&key.proof_type)).cloned() else {
                    return;
                };
                self.tasks
                    .spawn(async move { Done::Posted(key, asked.door.post(&signed).await) });
            }
            Action::Ended(key, end) => self.ended(&key, end),
            Action::SetAside(root) => {
                if let Some(held) = self.held.get_mut(&root) {
                    tracing::info!(slot = %held.slot, %root, "a newer payload has its place; it waits for another");
                    held.request = None;
                    held.made.clear();
                    held.checked.clear();
                    held.signed.clear();
                }
            }
            Action::Forget(root) => {
                self.held.remove(&root);
            }
        }
    }

    fn ended(&self, key: &ProofKey, end: End) {
        let root = key.new_payload_request_root;
        let held = self.held.get(&root);
        let slot = held.map(|held| held.slot.0);
        match end {
            End::Proved => {
                let took = held.map(|held| held.slot_began.elapsed()).unwrap_or_default();
                let signed = held.and_then(|held| held.signed.get(&key.proof_type));
                let validator = signed.map(|signed| signed.validator_index);
                self.metrics.proved.inc();
                self.metrics.proved_after.observe(took.as_secs_f64());
                tracing::info!(slot, %root, proof_type = key.proof_type, validator,
                    ms_into_slot = u64::try_from(took.as_millis()).ok(), "proved");
            }
            End::TooLate(why) => {
                self.metrics.too_late.inc();
                tracing::warn!(slot, %root, proof_type = key.proof_type, why, "too late");
            }
            End::Failed(why) => {
                self.metrics.failed.inc();
                tracing::error!(slot, %root, proof_type = key.proof_type, why, "failed");
            }
        }
    }
}
