//! `GateHandle`: the gate as the endpoint, the proof sink and the API use it.
//!
//! The machine runs under a lock that is never held across I/O. Its records are written behind it by one task, newest
//! state first lost: an answer or event that the machine wants durable waits for the write.
//!
//! | file | what it holds |
//! |---|---|
//! | `queries` | what the gate is asked without changing it |
//! | `rest` | what an event leaves to be done once the lock is free |
//! | `writing` | the records' way to the disk, and who waits for it |
//! | `events` | what subscribers and the log hear |

mod events;
mod queries;
mod rest;
mod writing;

pub use events::{EVENT_QUEUE, GateEvent, RECENT_CHANGES, SeenAlarm};

use self::{
    rest::{Outcome, Rest},
    writing::{Unwritten, write_behind},
};
use crate::{
    alarm_log::AlarmLog,
    machine::{
        Action, Asked, AskedPayload, CallId, ConflictResolution, Decision, Durability, ElAnswer, Event,
        ForkchoiceState, Gate, GateConfig, HeldBy, ImportPolicy, RestoreError, StatusWord, UnixMillis,
        VerdictChange,
    },
    origins::{Origins, ProofOrigin},
    persistence::{GatePersistence, PersistenceError},
};
use assay_types::{BlockHash, ProofKey, ProofType, Slot};
use assay_verification::{CheckedProof, KnownProofs, ProofSink, SinkError, Source, VerifiedProof};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Why the gate could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The records could not be read.
    #[error(transparent)]
    Persistence(#[from] PersistenceError),
    /// A record is not one of the gate's.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// Where proofs that are on disk are asked for: the store, and the types this node verifies.
#[derive(Clone)]
pub struct ProofRecall {
    /// The store.
    pub known: Arc<dyn KnownProofs>,
    /// The types to ask for.
    pub proof_types: Vec<ProofType>,
}

struct Inner {
    gate: Mutex<Gate>,
    unwritten: Mutex<Unwritten>,
    wake_writer: Notify,
    written: watch::Sender<u64>,
    events: broadcast::Sender<GateEvent>,
    recent: Mutex<VecDeque<VerdictChange>>,
    origins: Mutex<Origins>,
    /// How many verdict changes there were.
    changed: watch::Sender<u64>,
    alarm_log: Mutex<AlarmLog>,
    alarms: Mutex<BTreeMap<&'static str, SeenAlarm>>,
    recall: Option<ProofRecall>,
    next_call: AtomicU64,
    /// How often a VALID that was decided was not told; changes under the machine's lock.
    untold: AtomicU64,
}

/// The gate, shared. Clones are the same gate.
#[derive(Clone)]
pub struct GateHandle(Arc<Inner>);

impl GateHandle {
    /// Opens the gate on what was persisted, and starts the task that writes its records. It ends when `stop` is
    /// cancelled, after a last write. To be called inside a tokio runtime.
    pub fn open(
        config: GateConfig,
        persistence: Arc<dyn GatePersistence>,
        recall: Option<ProofRecall>,
        stop: CancellationToken,
    ) -> Result<(Self, tokio::task::JoinHandle<()>), OpenError> {
        let (mut gate, actions) = Gate::restore(persistence.load()?, config, UnixMillis::now())?;
        if persistence.has_other_forms() {
            gate.roots_may_be_of_other_forms();
        }
        let inner = Inner {
            gate: Mutex::new(gate),
            unwritten: Mutex::default(),
            wake_writer: Notify::new(),
            written: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENT_QUEUE),
            recent: Mutex::default(),
            origins: Mutex::default(),
            changed: watch::Sender::new(0),
            alarm_log: Mutex::default(),
            alarms: Mutex::default(),
            recall,
            next_call: AtomicU64::new(0),
            untold: AtomicU64::new(0),
        };
        let handle = Self(Arc::new(inner));
        let mut outcome = handle.0.take_in(actions);
        handle.0.tell(&outcome.events);
        // Nothing is told of before the writer runs.
        (outcome.events, outcome.wait_for) = (Vec::new(), None);
        let inner = Arc::clone(&handle.0);
        let mut rest = Rest::new(&handle.0, outcome);
        let writer = tokio::spawn(async move {
            tokio::join!(write_behind(&inner, persistence, stop.clone()), async {
                tokio::select! {
                    _ = rest.carry_out() => {}
                    () = stop.cancelled() => rest.forget(),
                }
            });
        });
        Ok((handle, writer))
    }

    /// `engine_newPayload*` was received and is on its way to the EL.
    pub async fn new_payload(&self, payload: AskedPayload) {
        self.apply(Event::NewPayload { payload }).await;
    }

    /// As `new_payload`, from a beacon node that is not the primary (rule 11).
    pub async fn other_payload(&self, payload: AskedPayload) {
        self.apply(Event::OtherPayload { payload }).await;
    }

    /// What to answer `engine_newPayload*`, the EL having said `answer`.
    pub async fn new_payload_answered(&self, payload: AskedPayload, answer: ElAnswer) -> Decision {
        let call = self.next_call();
        let event = Event::NewPayloadAnswered {
            call,
            payload,
            answer,
        };
        self.decide(call, event, answer).await
    }

    /// As `new_payload_answered`, and whether the answer is to wait for proofs; see `waits_for_proofs`.
    pub async fn new_payload_judged(&self, payload: AskedPayload, answer: ElAnswer) -> (Decision, bool) {
        let call = self.next_call();
        let event = Event::NewPayloadAnswered {
            call,
            payload,
            answer,
        };
        self.judge(call, event, answer).await
    }

    /// `engine_forkchoiceUpdated*` was received and is on its way to the EL.
    pub async fn forkchoice_updated(&self, state: ForkchoiceState) {
        self.apply(Event::ForkchoiceUpdated { state }).await;
    }

    /// What to answer `engine_forkchoiceUpdated*`, the EL's `payloadStatus` being `answer`. `state` is `None` where it
    /// could not be read.
    pub async fn forkchoice_updated_answered(
        &self,
        state: Option<ForkchoiceState>,
        answer: ElAnswer,
    ) -> Decision {
        let call = self.next_call();
        let event = Event::ForkchoiceUpdatedAnswered { call, state, answer };
        self.decide(call, event, answer).await
    }

    /// As `forkchoice_updated_answered`, and whether the answer is to wait for proofs; see `waits_for_proofs`.
    pub async fn forkchoice_updated_judged(
        &self,
        state: Option<ForkchoiceState>,
        answer: ElAnswer,
    ) -> (Decision, bool) {
        let call = self.next_call();
        let event = Event::ForkchoiceUpdatedAnswered { call, state, answer };
        self.judge(call, event, answer).await
    }

    /// What to answer a beacon node that is not the primary and names this head: VALID or SYNCING from the tree, and
    /// whether the answer is to wait for proofs.
    pub async fn other_head(&self, head: BlockHash) -> (Decision, bool) {
        let call = self.next_call();
        self.judge(call, Event::OtherHead { call, head }, ElAnswer::Unavailable)
            .await
    }

    /// What to answer a call that waited, the EL having said `status` of it, or nothing.
    pub async fn asked_again(&self, asked: Asked, status: Option<StatusWord>) -> Decision {
        let call = self.next_call();
        let answer = match status {
            Some(status) => ElAnswer::Status {
                status,
                latest_valid_hash: None,
            },
            None => ElAnswer::Unavailable,
        };
        let event = Event::AskedAgain { call, asked, status };
        self.decide(call, event, answer).await
    }

    /// New settings (rule 2: what is VALID now stays trusted). To or from `proofs-only` only a new start leads.
    pub async fn reconfigure(&self, config: GateConfig) {
        let before = self.config();
        self.apply(Event::ConfigChanged(config)).await;
        if before != config {
            tracing::warn!(%before, now = %config, "gate settings changed");
        }
    }

    /// A proof is known to be valid.
    pub async fn proof_verified(&self, key: ProofKey) {
        self.apply(Event::ProofVerified { key }).await;
    }

    /// A slot began.
    pub async fn slot_started(&self, slot: Slot) {
        self.apply(Event::SlotStarted(slot)).await;
    }

    /// Any other event. Returns once what it changed is durable where the machine asks for it.
    pub async fn apply(&self, event: Event) {
        let mut rest = Rest::new(&self.0, self.0.run(event));
        if !rest.carry_out().await {
            tracing::warn!(
                "gate records are not on disk yet; the verdicts they carry may be lost by a crash"
            );
        }
    }

    /// The operator decides of a payload in conflict (rule 4). False where it is in none.
    pub async fn resolve_conflict(&self, block_hash: BlockHash, resolution: ConflictResolution) -> bool {
        let in_conflict = {
            let gate = self.0.gate.lock();
            gate.payload(&block_hash).is_some_and(|p| p.conflict)
                || gate.remembered(&block_hash).is_some_and(|p| p.conflict)
        };
        if in_conflict {
            tracing::warn!(%block_hash, ?resolution, "the operator decided of a payload in conflict");
            self.apply(Event::ConflictResolved {
                block_hash,
                resolution,
            })
            .await;
        }
        in_conflict
    }

    fn next_call(&self) -> CallId {
        CallId(self.0.next_call.fetch_add(1, Ordering::Relaxed))
    }

    /// The beacon node heard what the EL said as it came, under `observe`. Where that is not the policy any more, a VALID among
    /// it was VALID when the new one took effect (rule 2).
    pub(crate) async fn passed(&self, block_hash: BlockHash, said: ElAnswer) {
        let valid = ElAnswer::Status {
            status: StatusWord::Valid,
            latest_valid_hash: Some(block_hash),
        };
        if said == valid && self.config().policy != ImportPolicy::Observe {
            self.apply(Event::PassedValid { block_hash }).await;
        }
    }

    async fn decide(&self, call: CallId, event: Event, answer: ElAnswer) -> Decision {
        self.judge(call, event, answer).await.0
    }

    async fn judge(&self, call: CallId, event: Event, answer: ElAnswer) -> (Decision, bool) {
        let mut outcome = self.0.run(event);
        let decided = outcome.answers.iter().find(|(c, ..)| *c == call);
        let (decision, waits) = decided.map_or(
            (Decision::LowerToSyncing(HeldBy::Unreadable), false),
            |(_, decision, waits)| (*decision, *waits),
        );
        let tells_valid = decision.is_valid(answer.word()) && !outcome.observes;
        if tells_valid {
            // An earlier event may have recorded what this answer rests on.
            outcome.wait_for = outcome.wait_for.max(Some(self.0.unwritten.lock().awaited));
        }
        let (wait_for, untold) = (outcome.wait_for, outcome.untold);
        let told_first = std::mem::take(&mut outcome.told_first);
        Rest::new(&self.0, outcome).carry_out().await;
        if tells_valid && !self.0.may_tell_valid(wait_for, untold, told_first) {
            // Rule 4: a VALID that a crash would forget is not told.
            return (Decision::LowerToSyncing(HeldBy::NotPersisted), false);
        }
        (decision, waits)
    }
}

impl Inner {
    fn run(&self, event: Event) -> Outcome {
        let mut gate = self.gate.lock();
        let actions = gate.on_event(event, UnixMillis::now());
        Outcome {
            observes: gate.config().policy == ImportPolicy::Observe,
            ..self.take_in(actions)
        }
    }

    /// Whether a VALID may be told now that its records had their time. Where it may not, nobody hears it, and the machine is
    /// told so: else an INVALID of the execution client's would be taken for one that takes it back. Others that were decided
    /// meanwhile rest on the same records, and are not told either.
    fn may_tell_valid(&self, wait_for: Option<u64>, untold: u64, told_first: Vec<BlockHash>) -> bool {
        let mut gate = self.gate.lock();
        let written = wait_for.is_none_or(|change| *self.written.borrow() >= change);
        if written && self.untold.load(Ordering::Relaxed) == untold {
            return true;
        }
        if !told_first.is_empty() {
            self.untold.fetch_add(1, Ordering::Relaxed);
            let event = Event::NotTold { payloads: told_first };
            let outcome = self.take_in(gate.on_event(event, UnixMillis::now()));
            drop(gate);
            self.tell(&outcome.events);
        }
        false
    }

    /// Under the machine's lock, so that records keep the order of the events.
    fn take_in(&self, actions: Vec<Action>) -> Outcome {
        let mut outcome = Outcome {
            untold: self.untold.load(Ordering::Relaxed),
            ..Outcome::default()
        };
        for action in actions {
            match action {
                Action::Persist { changes, durability } => {
                    let mut unwritten = self.unwritten.lock();
                    unwritten.changes.extend(changes);
                    unwritten.newest += 1;
                    if durability == Durability::BeforeAnswer {
                        unwritten.awaited = unwritten.newest;
                        outcome.wait_for = Some(unwritten.newest);
                    }
                    drop(unwritten);
                    self.wake_writer.notify_one();
                }
                Action::Answer {
                    call,
                    decision,
                    waits,
                } => outcome.answers.push((call, decision, waits)),
                Action::VerdictChanged(change) => outcome.events.push(GateEvent::VerdictChanged(change)),
                Action::Reached(milestone) => outcome.events.push(GateEvent::Reached(milestone)),
                Action::Alarm(alarm) => outcome.events.push(GateEvent::Alarm(alarm)),
                Action::RecallProofs {
                    new_payload_request_root,
                    known,
                } => {
                    outcome.recalls.push((new_payload_request_root, known));
                }
                Action::ToldFirst(payloads) => outcome.told_first = payloads,
            }
        }
        outcome
    }
}

#[async_trait]
impl ProofSink for GateHandle {
    fn name(&self) -> &'static str {
        "gate"
    }

    async fn accepted(&self, proof: &Arc<VerifiedProof>, source: &Source) -> Result<(), SinkError> {
        let origin = ProofOrigin {
            validator_index: proof.validator_index(),
            source: source.label(),
        };
        self.0.origins.lock().note(proof.key(), origin);
        let key = proof.key();
        match proof.origin() {
            None => self.proof_verified(key).await,
            Some(origin) => self.apply(Event::RecursiveProofVerified { key, origin }).await,
        }
        Ok(())
    }

    /// What an unsigned proof proves it proves: who would have signed it is no matter of the gate's.
    async fn verified_unsigned(&self, proof: &CheckedProof) {
        self.proof_verified(proof.key()).await;
    }
}

#[cfg(test)]
mod tests;
