//! The shell of the duty: chain events and the engine's events go into the machine, its actions become tasks, and what the
//! tasks come to goes back in.

use crate::{
    BeaconEndpoint, LocalKeys, ProverMetrics,
    duty::{Action, Duty, DutyConfig, End, Event, Outcome},
    steps::{self, Asked},
    validators::{self, Standing, Validator},
};
use assay_chain::{BlockInfo, Chain, ChainEvent, Clock, NodeApi, clock};
use assay_proof_engine::{EngineEvent, ProofEngine};
use assay_types::{NewPayloadRequest, ProofKey, ProofType, PublicKeyBytes, Root, SignedExecutionProof, Slot};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep_until},
};

/// How often validators are looked up again: they become active, and exit.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(60);

/// What a prover works with.
pub struct ProverParts {
    /// The chain, followed by somebody else.
    pub chain: Arc<dyn Chain>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The beacon node that blocks and validators are asked of.
    pub api: Arc<NodeApi>,
    /// Who makes and verifies proofs.
    pub engine: Arc<dyn ProofEngine>,
    /// The keys to sign with.
    pub keys: LocalKeys,
    /// Where proofs go.
    pub endpoint: BeaconEndpoint,
}

struct Held {
    slot: Slot,
    block_root: Root,
    request: Option<Arc<NewPayloadRequest>>,
    proofs: HashMap<ProofType, Bytes>,
    signed: HashMap<ProofType, SignedExecutionProof>,
}

enum Done {
    Requested {
        root: Root,
        types: Vec<ProofType>,
        request: Option<Arc<NewPayloadRequest>>,
        outcome: Outcome,
    },
    Verified(ProofKey, Outcome),
    Signed(ProofKey, Result<Box<SignedExecutionProof>, Outcome>),
    Posted(ProofKey, Outcome),
    /// By public key; those of whom the beacon node could not tell are left out.
    LookedUp(Vec<(PublicKeyBytes, Option<Validator>)>),
}

/// A prover: proves every payload that the chain shows, once a type.
pub struct Prover {
    asked: Asked,
    clock: Arc<dyn Clock>,
    duty: Duty,
    held: HashMap<Root, Held>,
    validators: BTreeMap<PublicKeyBytes, Validator>,
    told: BTreeMap<PublicKeyBytes, Standing>,
    metrics: ProverMetrics,
    tasks: JoinSet<Done>,
    chain_events: broadcast::Receiver<ChainEvent>,
    engine_events: broadcast::Receiver<EngineEvent>,
}

impl Prover {
    /// Hears the chain's events from now on: to be made before the chain is followed.
    pub fn new(config: DutyConfig, parts: ProverParts) -> Self {
        Self {
            chain_events: parts.chain.subscribe(),
            engine_events: parts.engine.events(),
            asked: Asked {
                chain: parts.chain,
                api: parts.api,
                engine: parts.engine,
                keys: parts.keys,
                endpoint: parts.endpoint,
            },
            clock: parts.clock,
            duty: Duty::new(config),
            held: HashMap::new(),
            validators: BTreeMap::new(),
            told: BTreeMap::new(),
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
        let mut look_up = interval(LOOK_UP_INTERVAL);
        look_up.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = look_up.tick() => {
                    self.look_up();
                    None
                }
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
                let head = self.asked.chain.head()?;
                self.block(head)
            }
        }
    }

    fn block(&mut self, block: BlockInfo) -> Option<Event> {
        let root = block.new_payload_request_root?;
        if self.duty.has_payload(&root) {
            return None;
        }
        let (spec, genesis) = (self.asked.chain.spec(), self.asked.chain.genesis());
        let validators: Vec<Validator> = self.validators.values().cloned().collect();
        if validators::active(&validators, spec.epoch_at_slot(block.slot)).is_empty() {
            tracing::debug!(slot = %block.slot, "no validator with a key here is active: not proven");
            return None;
        }
        let age = self
            .clock
            .now()
            .saturating_sub(clock::slot_start(spec, &genesis, block.slot));
        let event = Event::Payload {
            root,
            slot: block.slot,
            began: Instant::now().checked_sub(age)?,
        };
        // Taken away again by `Forget`, or at once where the machine does not take it.
        self.duty.on_event(event, Instant::now(), rand::random());
        if self.duty.has_payload(&root) {
            let held = Held {
                slot: block.slot,
                block_root: block.block_root,
                request: None,
                proofs: HashMap::new(),
                signed: HashMap::new(),
            };
            self.held.insert(root, held);
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
                held.proofs.insert(key.proof_type, proof_data);
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
                if let (Some(held), Some(request)) = (self.held.get_mut(&root), request) {
                    held.request = Some(request);
                }
                if let Outcome::NotNow(why) | Outcome::Refused(why) = &outcome {
                    tracing::warn!(%root, ?types, why, "proofs could not be requested; trying again");
                }
                Some(Event::Requested { root, types, outcome })
            }
            Done::Verified(key, outcome) => {
                if let Outcome::Refused(why) = &outcome {
                    tracing::error!(root = %key.new_payload_request_root, proof_type = key.proof_type, why,
                        "not signed");
                }
                Some(Event::Verified(key, outcome))
            }
            Done::Signed(key, Ok(signed)) => {
                let held = self.held.get_mut(&key.new_payload_request_root)?;
                held.signed.insert(key.proof_type, *signed);
                Some(Event::Signed(key, Outcome::Done))
            }
            Done::Signed(key, Err(outcome)) => Some(Event::Signed(key, outcome)),
            Done::Posted(key, outcome) => Some(Event::Posted(key, outcome)),
            Done::LookedUp(found) => {
                self.looked_up(found);
                None
            }
        }
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
                let Some((_, proof_data)) = self.proof(&key) else {
                    return;
                };
                self.tasks
                    .spawn(async move { Done::Verified(key, steps::verify(&asked, &key, proof_data).await) });
            }
            Action::Sign(key) => {
                let Some((slot, proof_data)) = self.proof(&key) else {
                    return;
                };
                let validators: Vec<Validator> = self.validators.values().cloned().collect();
                self.tasks.spawn(async move {
                    let signed = steps::sign(&asked, &key, slot, proof_data, &validators).await;
                    Done::Signed(key, signed.map(Box::new))
                });
            }
            Action::Post(key) => {
                let held = self.held.get(&key.new_payload_request_root);
                let Some(signed) = held.and_then(|h| h.signed.get(&key.proof_type)).cloned() else {
                    return;
                };
                self.tasks
                    .spawn(async move { Done::Posted(key, asked.endpoint.post(&signed).await) });
            }
            Action::Ended(key, end) => self.ended(&key, end),
            Action::Forget(root) => {
                self.held.remove(&root);
            }
        }
    }

    fn proof(&self, key: &ProofKey) -> Option<(Slot, Bytes)> {
        let held = self.held.get(&key.new_payload_request_root)?;
        Some((held.slot, held.proofs.get(&key.proof_type)?.clone()))
    }

    fn ended(&self, key: &ProofKey, end: End) {
        let root = key.new_payload_request_root;
        let slot = self.held.get(&root).map(|held| held.slot.0);
        match end {
            End::Proved => {
                self.metrics.proved.inc();
                tracing::info!(slot, %root, proof_type = key.proof_type, "proved");
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

    fn look_up(&mut self) {
        let (api, keys) = (self.asked.api.clone(), self.asked.keys.public_keys());
        self.tasks.spawn(async move {
            let mut found = Vec::new();
            for key in keys {
                match validators::look_up(&api, &key).await {
                    Ok(validator) => found.push((key, validator)),
                    Err(error) => tracing::warn!(%error, "a validator could not be looked up"),
                }
            }
            Done::LookedUp(found)
        });
    }

    /// Keeps what was found, and says whose standing changed.
    fn looked_up(&mut self, found: Vec<(PublicKeyBytes, Option<Validator>)>) {
        let epoch = self
            .asked
            .chain
            .spec()
            .epoch_at_slot(self.asked.chain.current_slot());
        for (key, validator) in found {
            let standing = validator
                .as_ref()
                .map_or(Standing::Unknown, |v| v.standing(epoch));
            let index = validator.as_ref().map(|v| v.index);
            match validator {
                Some(validator) => self.validators.insert(key, validator),
                None => self.validators.remove(&key),
            };
            if self.told.insert(key, standing) == Some(standing) {
                continue;
            }
            match standing {
                Standing::Active => {
                    tracing::info!(validator = index, pubkey = %key, "the validator is active")
                }
                Standing::Unknown => {
                    tracing::warn!(pubkey = %key, "the beacon node knows no such validator; waiting")
                }
                Standing::Pending => {
                    tracing::warn!(validator = index, pubkey = %key, "not active yet; waiting")
                }
                Standing::Exited => {
                    tracing::warn!(validator = index, pubkey = %key, "not active any more: signs nothing");
                }
            }
        }
        // What came before the validators were known.
        if let Some(head) = self.asked.chain.head() {
            self.block(head);
        }
    }
}
