//! The shell around the machine: it keeps the clock, runs the work the machine asks for, and carries verdicts back.

use crate::{
    Candidate, ContainmentRecord, IgnoreReason, KnownProofs, ParkReason, ProofSink, RejectReason, Source,
    Submission, Verdict, VerificationMetrics, VerifierConfig,
    candidate::Parsed,
    machine::{Action, CandidateId, Event, Judgement, Machine, Ticket, View},
    trace,
    trail::{Awaited, ProofTrail, Trail},
    unsigned::{MAX_UNSIGNED_PROOFS, UNSIGNED_AT_ONCE},
};
use assay_chain::{Chain, ChainEvent, PayloadInfo};
use assay_proof_engine::ProofEngine;
use assay_types::{Epoch, ProofKey, ProofName, ProofType, Revision, Root, Slot, ValidatorIndex};
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore, broadcast, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a verifier works with.
pub struct VerifierParts {
    /// Payloads, validators, forks, clock.
    pub chain: Arc<dyn Chain>,
    /// Judges proofs.
    pub engine: Arc<dyn ProofEngine>,
    /// Valid proofs on disk.
    pub known: Arc<dyn KnownProofs>,
    /// Validators that signed an invalid proof.
    pub containment: Arc<dyn ContainmentRecord>,
    /// The first sink: a proof is accepted only once this one has it.
    pub store: Arc<dyn ProofSink>,
}

/// The verifier. Keep it for `shutdown`; hand out `intake`s.
pub struct Verifier {
    inner: Arc<Inner>,
}

/// The one door: `submit` is the only way in. Clones lead to the same verifier.
#[derive(Clone)]
pub struct Intake {
    pub(crate) inner: Arc<Inner>,
}

/// What `submit_and_wait` came to.
#[derive(Debug)]
pub enum Waited {
    /// The last word.
    Decided(Verdict),
    /// No verdict in time. The candidate goes on without the caller; if it waits for something outside, for this.
    StillWaiting(Option<ParkReason>),
}

/// Whoever submitted, waiting.
enum Waiter {
    /// Nothing was said yet.
    First(oneshot::Sender<Submission>),
    /// Was told that it is parked.
    Parked(oneshot::Sender<Verdict>),
}

pub(crate) struct Inner {
    pub(crate) parts: VerifierParts,
    pub(crate) config: VerifierConfig,
    pub(crate) metrics: VerificationMetrics,
    /// Sinks after the store, in order.
    pub(crate) sinks: RwLock<Vec<Arc<dyn ProofSink>>>,
    state: Mutex<Driven>,
    started: Instant,
    /// Told when the next tick may have come nearer.
    timer: Notify,
    pub(crate) unsigned: UnsignedPlaces,
    pub(crate) tasks: TaskTracker,
    ended: CancellationToken,
    runtime: tokio::runtime::Handle,
}

/// Places for unsigned proofs.
pub(crate) struct UnsignedPlaces {
    /// Held at once.
    pub(crate) held: Semaphore,
    /// At work at once.
    pub(crate) at_work: Semaphore,
    /// Being signed behind an answer: one of a payload and type is enough, `MAX_UNSIGNED_PROOFS` at once.
    pub(crate) signing: Mutex<BTreeSet<ProofKey>>,
}

impl Default for UnsignedPlaces {
    fn default() -> Self {
        Self {
            held: Semaphore::new(MAX_UNSIGNED_PROOFS),
            at_work: Semaphore::new(UNSIGNED_AT_ONCE),
            signing: Mutex::default(),
        }
    }
}

/// The machine and those who wait for its words.
struct Driven {
    machine: Machine,
    waiters: HashMap<Ticket, Waiter>,
    next_ticket: Ticket,
    trail: Trail,
}

impl Verifier {
    /// Starts a verifier on the present tokio runtime.
    pub fn start(mut config: VerifierConfig, parts: VerifierParts) -> Self {
        config.room = config.room.fit(parts.chain.spec().max_signed_proof_size());
        let machine = Machine::new(config.clone(), Arc::clone(parts.chain.spec()));
        let inner = Arc::new(Inner {
            parts,
            config,
            metrics: VerificationMetrics::default(),
            sinks: RwLock::new(Vec::new()),
            state: Mutex::new(Driven {
                machine,
                waiters: HashMap::new(),
                next_ticket: 0,
                trail: Trail::default(),
            }),
            started: Instant::now(),
            timer: Notify::new(),
            unsigned: UnsignedPlaces::default(),
            tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
            runtime: tokio::runtime::Handle::current(),
        });
        // Subscribed before the first submission: a payload that comes after a look-up is not missed.
        let events = inner.parts.chain.subscribe();
        inner
            .tasks
            .spawn_on(follow_chain(Arc::clone(&inner), events), &inner.runtime);
        inner
            .tasks
            .spawn_on(keep_time(Arc::clone(&inner)), &inner.runtime);
        Self { inner }
    }

    /// Adds a sink after those there are. An accepted proof goes to the store, then to these in order.
    pub fn add_sink(&self, sink: Arc<dyn ProofSink>) {
        self.inner.sinks.write().push(sink);
    }

    /// A handle of the door.
    pub fn intake(&self) -> Intake {
        Intake {
            inner: Arc::clone(&self.inner),
        }
    }

    /// What it counts.
    pub fn metrics(&self) -> &VerificationMetrics {
        &self.inner.metrics
    }

    /// Ends: whatever is not on its way to the sinks gets `Ignore(Internal)`, what is gets its verdict. Returns when no
    /// task of the verifier is left; what calls the chain or the engine is dropped.
    pub async fn shutdown(&self) {
        self.inner.drive(Event::Shutdown);
        self.inner.ended.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Intake {
    /// Brings a candidate. Returns when its verdict is known, or when it has to wait for something outside (then the
    /// verdict comes on the channel, at the latest when its time in the waiting room is over). What is held is bounded;
    /// beyond the bounds the answer is `Ignore(Overloaded)`. Dropping the future or the channel does not take the
    /// candidate back.
    pub async fn submit(&self, candidate: Candidate, source: Source) -> Submission {
        let parsed = match Parsed::new(candidate, self.inner.parts.chain.spec()) {
            Ok(mut parsed) => {
                parsed.span = trace::arrival(&parsed, &source);
                parsed
            }
            Err(reason) => {
                let verdict = Verdict::Reject(reason);
                self.inner.metrics.verdict(&source, &verdict);
                return Submission::Decided(verdict);
            }
        };
        let said = self.inner.submitted(parsed, source);
        // The sender goes only when it has spoken, so an error cannot be; were it one, nothing was judged.
        said.await
            .unwrap_or(Submission::Decided(Verdict::Ignore(IgnoreReason::Internal)))
    }

    /// Brings a candidate and waits at most `timeout` for the last word.
    pub async fn submit_and_wait(&self, candidate: Candidate, source: Source, timeout: Duration) -> Waited {
        let mut parked = None;
        let last_word = async {
            match self.submit(candidate, source).await {
                Submission::Decided(verdict) => verdict,
                Submission::Parked { reason, verdict } => {
                    parked = Some(reason);
                    verdict.await.unwrap_or(Verdict::Ignore(IgnoreReason::Internal))
                }
            }
        };
        match tokio::time::timeout(timeout, last_word).await {
            Ok(verdict) => Waited::Decided(verdict),
            Err(_) => Waited::StillWaiting(parked),
        }
    }

    /// The network's values.
    pub fn spec(&self) -> &Arc<assay_types::Spec> {
        self.inner.parts.chain.spec()
    }

    /// What the verifier counts.
    pub fn metrics(&self) -> &VerificationMetrics {
        &self.inner.metrics
    }

    /// What has become of proofs of these payloads that are not, or not yet, among the accepted.
    pub fn trail(&self, new_payload_request_roots: &[Root]) -> BTreeMap<ProofKey, ProofTrail> {
        self.inner.state.lock().trail.of(new_payload_request_roots)
    }

    /// What proofs name that wait for it, the longest awaited first, at most `limit`; and how many such roots there are.
    pub fn awaited(&self, limit: usize) -> (Vec<Awaited>, usize) {
        self.inner.state.lock().trail.awaited(limit)
    }

    /// What waits for the payload (`alpha`) or the block (`beta`) of this root; `None` where nothing does.
    pub fn awaited_by(&self, root: &Root) -> Option<Awaited> {
        self.inner.state.lock().trail.awaited_by(root)
    }

    /// What is wrong with a candidate whatever is known of the chain: its container, its size, no proof in it (rule 7), in
    /// `beta` a type that its text does not define. Counted as the verdict that it is; `None` where nothing is, and nothing is
    /// counted.
    pub fn structural_fault(&self, candidate: &Candidate, source: &Source) -> Option<RejectReason> {
        let reason = Parsed::new(candidate.clone(), self.spec()).err()?;
        self.inner.metrics.verdict(source, &Verdict::Reject(reason));
        Some(reason)
    }

    /// How many proofs have no verdict yet, by what outside they wait for.
    pub fn waiting(&self) -> BTreeMap<Option<ParkReason>, usize> {
        self.inner.state.lock().trail.waiting()
    }

    /// For what a proof of this name that comes by gossip would be ignored, whatever is in it, because it names this
    /// validator: it is contained, or has tried already (rule 4). Look-ups alone, and nothing is counted. An outsider can
    /// name any validator: what is not ignored for it has its signature checked.
    pub fn turns_away(&self, name: &ProofName, validator: ValidatorIndex) -> Option<IgnoreReason> {
        let state = self.inner.state.lock();
        state.machine.turned_away(*name, validator, self.inner.as_ref())
    }

    /// Until (not including) which slot a validator's unsolicited proofs are ignored, where they are.
    pub fn contained_until(&self, validator: ValidatorIndex) -> Option<Slot> {
        self.inner.parts.containment.contained_until(validator)
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

impl Inner {
    fn submitted(self: &Arc<Self>, parsed: Parsed, source: Source) -> oneshot::Receiver<Submission> {
        let (tell, said) = oneshot::channel();
        let actions = {
            let mut state = self.state.lock();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiters.insert(ticket, Waiter::First(tell));
            let (name, validator) = (parsed.name(), parsed.validator_index());
            // An envelope's is known with its block; what names its payload is found by that at once.
            let payload = match name.revision {
                Revision::Alpha => Some(name.root),
                Revision::Beta => self.root_of(&name),
            };
            let span = parsed.span.clone();
            state
                .trail
                .arrived(ticket, name, payload, validator, &source, span);
            self.step(
                &mut state,
                Event::Submitted {
                    ticket,
                    parsed,
                    source,
                },
            )
        };
        self.perform(actions);
        said
    }

    pub(crate) fn drive(self: &Arc<Self>, event: Event) {
        let actions = {
            let mut state = self.state.lock();
            let look_again = match &event {
                Event::PayloadKnown(root) | Event::BlockKnown(root) => Some(Some(*root)),
                Event::LookAgain => Some(None),
                _ => None,
            };
            if let Some(root) = look_again {
                state.trail.look_again(root.as_ref(), |name| self.root_of(name));
                self.metrics.waiting(state.trail.parked_counts());
            }
            self.step(&mut state, event)
        };
        self.perform(actions);
    }

    /// What is known of a message, signed or not.
    pub(crate) fn judgement(&self, proof_root: &Root) -> Option<Judgement> {
        self.state.lock().machine.judgement(proof_root)
    }

    /// Whether a valid proof is known, signed or not.
    pub(crate) fn is_proven(&self, key: &ProofKey) -> bool {
        self.state.lock().machine.is_proven(key, self)
    }

    /// The span of a candidate's way.
    pub(crate) fn span_of(&self, id: CandidateId) -> tracing::Span {
        self.state.lock().machine.span_of(id)
    }

    /// Whether a valid signed proof is known.
    pub(crate) fn has_valid_signed(&self, name: &ProofName) -> bool {
        self.state.lock().machine.is_valid(name, self)
    }

    /// The name of a proof of this payload; `None` where `beta` has no block to name yet.
    pub(crate) fn name_of(&self, payload: &PayloadInfo, proof_type: ProofType) -> Option<ProofName> {
        match self.parts.chain.spec().revision_at(payload.fork) {
            Revision::Alpha => Some(ProofName::alpha(ProofKey {
                new_payload_request_root: payload.new_payload_request_root,
                proof_type,
            })),
            Revision::Beta => payload.block_root.map(|root| ProofName::beta(root, proof_type)),
        }
    }

    /// The payload that a proof of this name is of.
    fn payload_of(&self, name: &ProofName) -> Option<PayloadInfo> {
        let chain = &self.parts.chain;
        match name.revision {
            Revision::Alpha => chain.payload(&name.root),
            Revision::Beta => {
                let block = chain.block(&name.root)?;
                let payload = chain.payload(&block.new_payload_request_root?)?;
                // A payload may be in several blocks: the state that decides is that of the block named.
                Some(PayloadInfo {
                    block_root: Some(block.block_root),
                    slot: block.slot,
                    fork: chain.spec().fork_at_epoch(chain.spec().epoch_at_slot(block.slot)),
                    ..payload
                })
            }
        }
    }

    /// Request root of the payload that a proof of this name is of, where that is known.
    fn root_of(&self, name: &ProofName) -> Option<Root> {
        self.payload_of(name)
            .map(|payload| payload.new_payload_request_root)
    }

    /// Runs work that ends with the verifier.
    pub(crate) fn spawn_until_end(&self, work: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        let task = async move {
            ended.run_until_cancelled(work).await;
        };
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// One event through the machine. Who waits is told at once; the rest is for `perform`, outside the lock.
    fn step(&self, state: &mut Driven, event: Event) -> Vec<Action> {
        let before = state.machine.next_tick();
        let mut actions = state.machine.on_event(event, self.started.elapsed(), self);
        let mut told = false;
        actions.retain(|action| match action {
            Action::Reply {
                ticket,
                source,
                verdict,
                after,
            } => {
                self.metrics.verdict(source, verdict);
                if let Verdict::Accept(_) = verdict {
                    self.metrics.accepted_after(*after);
                }
                told = true;
                state.trail.ended(*ticket, verdict, |name| self.root_of(name));
                state.reply(*ticket, verdict);
                false
            }
            Action::Parked {
                ticket,
                source,
                reason,
            } => {
                self.metrics.parked(source, *reason);
                told = true;
                state.trail.parked(*ticket, *reason);
                state.parked(*ticket, *reason);
                false
            }
            Action::PayloadFound { ticket, payload } => {
                told = true;
                state.trail.payload_found(*ticket, *payload);
                false
            }
            _ => true,
        });
        let (held, bytes) = state.machine.held();
        self.metrics.holds(held, bytes, state.machine.observed_len());
        if told {
            self.metrics.waiting(state.trail.parked_counts());
        }
        if state.machine.next_tick() != before {
            self.timer.notify_one();
        }
        actions
    }

    fn perform(self: &Arc<Self>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Contain { validator, until } => {
                    tracing::warn!(validator, %until, "validator signed an invalid proof and is contained");
                    self.metrics.contained();
                    self.parts.containment.contain(validator, until);
                }
                action => self.work(action),
            }
        }
    }

    /// Runs one stage as a task; ends with the verifier, except on the way to the sinks.
    fn work(self: &Arc<Self>, action: Action) {
        let inner = Arc::clone(self);
        let commits = matches!(action, Action::Commit { .. });
        let task = async move {
            let ended = inner.ended.clone();
            let work = inner.run_stage(action);
            let done = if commits {
                work.await
            } else {
                tokio::select! {
                    biased;
                    () = ended.cancelled() => None,
                    done = work => done,
                }
            };
            if let Some((id, outcome)) = done {
                inner.drive(Event::Done { id, outcome });
            }
        };
        self.tasks.spawn_on(task, &self.runtime);
    }
}

impl Driven {
    fn reply(&mut self, ticket: Ticket, verdict: &Verdict) {
        // Whoever does not wait any more has dropped the receiver; that is fine.
        match self.waiters.remove(&ticket) {
            Some(Waiter::First(tell)) => drop(tell.send(Submission::Decided(verdict.clone()))),
            Some(Waiter::Parked(tell)) => drop(tell.send(verdict.clone())),
            None => {}
        }
    }

    fn parked(&mut self, ticket: Ticket, reason: ParkReason) {
        let Some(waiter) = self.waiters.remove(&ticket) else {
            return;
        };
        let waiter = match waiter {
            Waiter::First(tell) => {
                let (tell_later, verdict) = oneshot::channel();
                drop(tell.send(Submission::Parked { reason, verdict }));
                Waiter::Parked(tell_later)
            }
            already => already,
        };
        self.waiters.insert(ticket, waiter);
    }
}

impl View for Inner {
    fn payload(&self, name: &ProofName) -> Option<PayloadInfo> {
        self.payload_of(name)
    }
    fn has_valid(&self, name: &ProofName) -> bool {
        // What a block's proofs are of is its payload's request root: before that is known, nothing is.
        let payload = match name.revision {
            Revision::Alpha => Some(name.root),
            Revision::Beta => {
                let block = self.parts.chain.block(&name.root);
                block.and_then(|block| block.new_payload_request_root)
            }
        };
        payload.is_some_and(|payload| self.parts.known.has_valid_named(name, &payload))
    }
    fn proves(&self, key: &ProofKey) -> bool {
        self.parts.known.has_valid(key)
    }
    fn verifies(&self, proof_type: ProofType) -> bool {
        self.parts.engine.proof_types().contains(&proof_type)
    }
    fn contained_until(&self, validator: ValidatorIndex) -> Option<Slot> {
        self.parts.containment.contained_until(validator)
    }
    fn current_slot(&self) -> Slot {
        self.parts.chain.current_slot()
    }
    fn finalized_epoch(&self) -> Epoch {
        self.parts.chain.finalized().epoch
    }
}

/// Turns chain events into the machine's.
async fn follow_chain(inner: Arc<Inner>, mut events: broadcast::Receiver<ChainEvent>) {
    loop {
        let event = tokio::select! {
            () = inner.ended.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            Ok(ChainEvent::Payload(payload)) => {
                inner.drive(Event::PayloadKnown(payload.new_payload_request_root));
            }
            Ok(ChainEvent::Block(block) | ChainEvent::Head(block)) => {
                if let Some(root) = block.new_payload_request_root {
                    inner.drive(Event::PayloadKnown(root));
                    inner.drive(Event::BlockKnown(block.block_root));
                }
            }
            Ok(ChainEvent::Finalized { slot, orphaned, .. }) => {
                inner.drive(Event::Finalized {
                    slot,
                    orphaned: orphaned.into_iter().collect(),
                });
            }
            Ok(ChainEvent::Connected(true)) => inner.drive(Event::LookAgain),
            Ok(ChainEvent::Connected(false) | ChainEvent::Conflict { .. }) => {}
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::debug!(
                    missed,
                    "chain events missed; looking again at everything that waits"
                );
                inner.drive(Event::LookAgain);
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Ticks the machine when something is due.
async fn keep_time(inner: Arc<Inner>) {
    loop {
        let due = inner
            .state
            .lock()
            .machine
            .next_tick()
            .map(|at| inner.started + at);
        let sleep = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = inner.ended.cancelled() => return,
            () = inner.timer.notified() => {}
            () = sleep => inner.drive(Event::Tick),
        }
    }
}
