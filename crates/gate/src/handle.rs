//! `GateHandle`: the gate as the endpoint, the proof sink and the API use it.
//!
//! The machine runs under a lock that is never held across I/O. Its records are written behind it by one task, newest
//! state first lost: an answer or event that the machine wants durable waits for the write.

use crate::{
    alarm_log::AlarmLog,
    machine::{
        Action, Alarm, Asked, AskedPayload, CallId, ConflictResolution, Decision, Durability, ElAnswer,
        Event, ForkchoiceState, Gate, GateConfig, GateStats, HeldBy, HoldingAncestor, ImportPolicy,
        Milestone, PastChange, PayloadView, RecordChange, RememberedPayload, RestoreError, StatusWord,
        UnixMillis, VerdictChange,
    },
    origins::{Origins, ProofOrigin},
    persistence::{GatePersistence, PersistenceError},
};
use assay_types::{BlockHash, ProofKey, ProofType, Root, Slot};
use assay_verification::{CheckedProof, KnownProofs, ProofSink, SinkError, Source, VerifiedProof};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Events kept for a subscriber that is slow; it is told how many it lost.
pub const EVENT_QUEUE: usize = 4096;
/// Verdict changes kept for `GateHandle::recent`.
pub const RECENT_CHANGES: usize = 4096;
/// Verdicts that change at once and each get a line at level info; of more the log has the sum.
const MAX_LOGGED_CHANGES: usize = 32;
/// Wait between two tries to write records that could not be written.
const WRITE_RETRY: Duration = Duration::from_millis(500);
/// Longest an answer waits for its records; after it the answer is SYNCING.
const WRITE_PATIENCE: Duration = Duration::from_secs(2);

/// What subscribers hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateEvent {
    /// A payload's verdict changed.
    VerdictChanged(VerdictChange),
    /// A payload came to something that is measured.
    Reached(Milestone),
    /// Something an operator must see.
    Alarm(Alarm),
}

/// Alarms of one kind, since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenAlarm {
    /// How many.
    pub count: u64,
    /// The newest.
    pub last: Alarm,
    /// When that was.
    pub last_at: UnixMillis,
}

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

/// Changes that wait for the writer, newest value per key, so never more than the tree holds.
#[derive(Default)]
struct Unwritten {
    changes: BTreeMap<[u8; 32], Option<Vec<u8>>>,
    /// Number of the newest change in it.
    newest: u64,
    /// Number of the newest change that has to be on disk before anybody is told VALID.
    awaited: u64,
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
        let (gate, actions) = Gate::restore(persistence.load()?, config, UnixMillis::now())?;
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

    /// The execution client's last word on a payload in the tree.
    pub fn client_said(&self, block_hash: &BlockHash) -> Option<StatusWord> {
        self.0.gate.lock().client_said(block_hash)
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

    /// Whether an answer is to wait for proofs (`--wait-for-proofs`), the EL having said `status`. A call that waits is
    /// judged with `asked_again` at the end of its wait, whatever that brought.
    pub fn waits_for_proofs(&self, asked: &Asked, status: Option<StatusWord>) -> bool {
        self.0.gate.lock().waits_for_proofs(asked, status)
    }

    /// Whether proofs alone make a payload VALID now, the EL being SYNCING or silent.
    pub fn is_raised(&self, block_hash: &BlockHash) -> bool {
        self.0.gate.lock().is_raised(block_hash)
    }

    /// Told that some verdict changed, for as long as it is held.
    pub fn verdict_changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
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

    /// A payload by its execution block hash.
    pub fn payload(&self, block_hash: &BlockHash) -> Option<PayloadView> {
        self.0.gate.lock().payload(block_hash)
    }

    /// A payload by its request root.
    pub fn payload_by_root(&self, new_payload_request_root: &Root) -> Option<PayloadView> {
        self.0.gate.lock().payload_by_root(new_payload_request_root)
    }

    /// Payloads of the tree with slots in `[from, to]`, by slot; where there are more than `limit`, the newest.
    pub fn payloads(&self, from: Slot, to: Slot, limit: usize) -> Vec<PayloadView> {
        self.0.gate.lock().payloads(from, to, limit)
    }

    /// Request roots of payloads held back for want of proofs of their own, the oldest first.
    pub fn unproven(&self, limit: usize) -> Vec<Root> {
        self.0.gate.lock().unproven(limit)
    }

    /// Newest payload of the canonical chain that is proven with all its ancestors (`ExecutionProofStatus`).
    pub fn newest_proven(&self) -> Option<PayloadView> {
        self.0.gate.lock().newest_proven()
    }

    /// Ancestors that hold a payload back; see `Gate::holding_ancestors`.
    pub fn holding_ancestors(&self, block_hash: &BlockHash, limit: usize) -> Vec<HoldingAncestor> {
        self.0.gate.lock().holding_ancestors(block_hash, limit)
    }

    /// Payloads that the operator has to decide of; see `Gate::conflicts`.
    pub fn conflicts(&self, limit: usize) -> Vec<BlockHash> {
        self.0.gate.lock().conflicts(limit)
    }

    /// Payloads of a slot that left the tree; see `Gate::remembered_at`.
    pub fn remembered_at(&self, slot: Slot, limit: usize) -> Vec<RememberedPayload> {
        self.0.gate.lock().remembered_at(slot, limit)
    }

    /// Payloads that are proven and that the execution client calls INVALID; see `Gate::disagreements`.
    pub fn disagreements(&self, limit: usize) -> Vec<BlockHash> {
        self.0.gate.lock().disagreements(limit)
    }

    /// The last changes of a payload's verdict, oldest first, before this start too; see `Gate::changes`.
    pub fn changes(&self, block_hash: &BlockHash) -> Vec<PastChange> {
        self.0.gate.lock().changes(block_hash).to_vec()
    }

    /// What is remembered of a payload that left the tree.
    pub fn remembered(&self, block_hash: &BlockHash) -> Option<RememberedPayload> {
        self.0.gate.lock().remembered(block_hash)
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

    /// Who signed the proofs of a payload that counted in this run, and how they came.
    pub fn proof_origins(&self, new_payload_request_root: &Root) -> BTreeMap<ProofType, ProofOrigin> {
        self.0.origins.lock().of(new_payload_request_root)
    }

    /// The settings in force.
    pub fn config(&self) -> GateConfig {
        *self.0.gate.lock().config()
    }

    /// The gate in numbers.
    pub fn stats(&self) -> GateStats {
        self.0.gate.lock().stats()
    }

    /// The newest verdict changes, oldest first.
    pub fn recent(&self) -> Vec<VerdictChange> {
        self.0.recent.lock().iter().copied().collect()
    }

    /// Alarms since start by kind (`Alarm::label`); a kind that never was is absent.
    pub fn alarms(&self) -> BTreeMap<&'static str, SeenAlarm> {
        self.0.alarms.lock().clone()
    }

    /// Verdict changes and alarms from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<GateEvent> {
        self.0.events.subscribe()
    }

    fn next_call(&self) -> CallId {
        CallId(self.0.next_call.fetch_add(1, Ordering::Relaxed))
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
        let tells_valid = decision.is_valid(answer.word()) && self.config().policy != ImportPolicy::Observe;
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

/// What is left of an event's actions after the machine's lock is free.
#[derive(Default)]
struct Outcome {
    answers: Vec<(CallId, Decision, bool)>,
    events: Vec<GateEvent>,
    /// Number of the change to wait for.
    wait_for: Option<u64>,
    /// Payloads whose proofs are to be asked for, with the types that are known.
    recalls: Vec<(Root, Vec<ProofType>)>,
    /// Payloads that are VALID to the beacon node for the first time by the answer.
    told_first: Vec<BlockHash>,
    /// `Inner::untold` at the event.
    untold: u64,
}

/// What an event leaves to be done: wait for its records, tell of it, bring proofs that it asks for. Where whoever caused the
/// event goes away in between (a caller hangs up, a sink's time is over) it is done all the same.
struct Rest {
    inner: Arc<Inner>,
    outcome: Option<Outcome>,
    /// Nobody is there to go away.
    detached: bool,
}

impl Rest {
    fn new(inner: &Arc<Inner>, outcome: Outcome) -> Self {
        Self {
            inner: Arc::clone(inner),
            outcome: Some(outcome),
            detached: false,
        }
    }

    /// Says whether the records are on disk.
    async fn carry_out(&mut self) -> bool {
        let wait_for = self.outcome.as_ref().and_then(|o| o.wait_for);
        let durable = self.inner.durable(wait_for).await;
        self.tell();
        while let Some(key) = self.next_recall() {
            // After a start there may be one for each payload of a full tree: the writer shares the task.
            tokio::task::yield_now().await;
            if self
                .inner
                .recall
                .as_ref()
                .is_some_and(|r| r.known.has_valid(&key))
            {
                let outcome = self.inner.run(Event::ProofVerified { key });
                let mut rest = Self::new(&self.inner, outcome);
                rest.detached = self.detached;
                self.inner
                    .durable(rest.outcome.as_ref().and_then(|o| o.wait_for))
                    .await;
                rest.tell();
                // A proof asks for no others.
                rest.forget();
            }
        }
        self.forget();
        durable
    }

    fn tell(&mut self) {
        if let Some(outcome) = &mut self.outcome {
            self.inner.tell(&std::mem::take(&mut outcome.events));
        }
    }

    /// A proof whose way from the store to the gate was cut off, by a crash or by a payload that came late, is found by this.
    fn next_recall(&mut self) -> Option<ProofKey> {
        let recall = self.inner.recall.as_ref()?;
        let recalls = &mut self.outcome.as_mut()?.recalls;
        loop {
            let (new_payload_request_root, known) = recalls.first_mut()?;
            let next = recall.proof_types.iter().copied().find(|t| !known.contains(t));
            if let Some(proof_type) = next {
                known.push(proof_type);
                return Some(ProofKey {
                    new_payload_request_root: *new_payload_request_root,
                    proof_type,
                });
            }
            recalls.remove(0);
        }
    }

    /// There is nothing left to do.
    fn forget(&mut self) {
        self.outcome = None;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let Some(outcome) = self.outcome.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.detached => {
                let mut rest = Self::new(&self.inner, outcome);
                rest.detached = true;
                runtime.spawn(async move { rest.carry_out().await });
            }
            // The program ends.
            _ => self.inner.tell(&outcome.events),
        }
    }
}

impl Inner {
    fn run(&self, event: Event) -> Outcome {
        let mut gate = self.gate.lock();
        let actions = gate.on_event(event, UnixMillis::now());
        self.take_in(actions)
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

    /// Waits until the change is on disk. False where that takes too long.
    async fn durable(&self, change: Option<u64>) -> bool {
        // Under `observe` every answer is the execution client's, and a slow disk is no reason to keep it back.
        if self.gate.lock().config().policy == ImportPolicy::Observe {
            return true;
        }
        let Some(change) = change else { return true };
        let mut written = self.written.subscribe();
        let reached = written.wait_for(|w| *w >= change);
        matches!(tokio::time::timeout(WRITE_PATIENCE, reached).await, Ok(Ok(_)))
    }

    fn tell(&self, events: &[GateEvent]) {
        let each_has_a_line = log_changes(events);
        for event in events {
            match event {
                GateEvent::VerdictChanged(change) => {
                    if each_has_a_line {
                        tracing::info!(
                            block_hash = %change.block_hash,
                            slot = change.slot.map(Slot::as_u64),
                            from = change.from.map(|v| v.as_str()),
                            to = change.to.as_str(),
                            cause = change.cause.as_str(),
                            "verdict changed"
                        );
                    }
                    let mut recent = self.recent.lock();
                    if recent.len() == RECENT_CHANGES {
                        recent.pop_front();
                    }
                    recent.push_back(*change);
                    drop(recent);
                    self.changed.send_modify(|n| *n += 1);
                }
                GateEvent::Reached(_) => {}
                GateEvent::Alarm(alarm) => {
                    self.alarm_log.lock().write(alarm);
                    let (alarm, at) = (*alarm, UnixMillis::now());
                    let mut alarms = self.alarms.lock();
                    let seen = alarms.entry(alarm.label());
                    seen.and_modify(|seen| {
                        seen.count += 1;
                        (seen.last, seen.last_at) = (alarm, at);
                    })
                    .or_insert(SeenAlarm {
                        count: 1,
                        last: alarm,
                        last_at: at,
                    });
                }
            }
            // No subscriber is no error.
            let _ = self.events.send(*event);
        }
    }

    fn take_unwritten(&self) -> Option<(Vec<RecordChange>, u64)> {
        let mut unwritten = self.unwritten.lock();
        let changes = std::mem::take(&mut unwritten.changes);
        (!changes.is_empty()).then(|| (changes.into_iter().collect(), unwritten.newest))
    }

    /// Puts back what could not be written, below what is newer.
    fn put_back(&self, changes: &[RecordChange]) {
        let mut unwritten = self.unwritten.lock();
        for (key, value) in changes {
            unwritten.changes.entry(*key).or_insert_with(|| value.clone());
        }
    }
}

/// Changes that are alike: how many, the oldest slot and the newest.
type Sum = (usize, Option<Slot>, Option<Slot>);

/// Whether each change of a verdict gets its own line. Where there are too many at once, as by a change of policy, this
/// logs the sum.
fn log_changes(events: &[GateEvent]) -> bool {
    let mut sums = BTreeMap::<(&str, &str), Sum>::new();
    let mut changes = 0;
    for event in events {
        let GateEvent::VerdictChanged(change) = event else {
            continue;
        };
        changes += 1;
        let (payloads, oldest, newest) = sums
            .entry((change.to.as_str(), change.cause.as_str()))
            .or_default();
        *payloads += 1;
        *oldest = change.slot.into_iter().chain(*oldest).min();
        *newest = change.slot.max(*newest);
    }
    if changes <= MAX_LOGGED_CHANGES {
        return true;
    }
    for ((to, cause), (payloads, oldest, newest)) in sums {
        tracing::info!(
            payloads,
            oldest_slot = oldest.map(Slot::as_u64),
            newest_slot = newest.map(Slot::as_u64),
            to,
            cause,
            "verdicts changed"
        );
    }
    false
}

async fn write_behind(inner: &Inner, persistence: Arc<dyn GatePersistence>, stop: CancellationToken) {
    let mut failing = false;
    loop {
        // What comes while it ends is written once more, or not at all.
        let ending = stop.is_cancelled();
        while let Some((changes, newest)) = inner.take_unwritten() {
            let changes = Arc::new(changes);
            let (target, batch) = (Arc::clone(&persistence), Arc::clone(&changes));
            let written = tokio::task::spawn_blocking(move || target.write(&batch)).await;
            let error = match written {
                Ok(Ok(())) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("gate records are written again");
                    }
                    inner.written.send_replace(newest);
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            inner.put_back(&changes);
            if !std::mem::replace(&mut failing, true) {
                tracing::error!(
                    error,
                    "gate records cannot be written; VALID answers are held back"
                );
            }
            if ending {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(WRITE_RETRY) => {}
                () = stop.cancelled() => break,
            }
        }
        if ending {
            return;
        }
        tokio::select! {
            () = inner.wake_writer.notified() => {}
            () = stop.cancelled() => {}
        }
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
