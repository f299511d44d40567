//! The verifier's decisions as a state machine without I/O: events in, actions out, time passed in.
//!
//! ```text
//! Submitted ─▶ entrance ─▶ Queued ─turn─▶ Hash ─▶ Validator ─▶ Signature ─▶ Engine ─▶ Commit ─▶ Accept
//!              rules 7,3,4    ▲ │          rule 1    rule 5       rule 6      rules 8,9  sinks
//!                             │ └▶ Parked (rule 2)   └──▶ Parked ◀─┘  ◀──────────┘
//!                             └──────────┘ again when what it waits for may be there
//! ```
//! One candidate of a (payload, type) has the turn; the others of that key are queued. Success drops them; failure,
//! and parking, gives the turn to the next. Marks for rules 1 and 4 are made when the signature has verified and taken
//! back when a candidate is let go unjudged.

mod event;
mod held;
mod observed;
mod room;
mod stages;
#[cfg(test)]
mod tests;
mod work;

pub(crate) use event::{Action, Event, Outcome, View};
pub(crate) use held::{CandidateId, Stage, Ticket};
pub(crate) use observed::Judgement;

use crate::{
    IgnoreReason, ParkReason, PeerRef, Source, Verdict,
    candidate::Parsed,
    config::{MAX_SHARERS, MAX_SHARERS_PER_PEER, VerifierConfig},
};
use assay_chain::PayloadInfo;
use assay_types::{Epoch, ProofKey, ProofName, ProofType, Revision, Root, Spec, ValidatorIndex};
use held::{Held, Holder, Sharer, State, Worth, is_unsolicited};
use lru::LruCache;
use observed::Observed;
use room::Room;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};
use tracing::Span;
use work::WorkQueue;

/// The candidates of one payload and type.
#[derive(Default)]
struct Lane {
    /// Who has the turn.
    active: Option<CandidateId>,
    /// All of them.
    members: BTreeSet<CandidateId>,
    /// Whether the last turn went to one whose signature had verified.
    last_authenticated: bool,
}

/// The state of the verifier. `now` is time since any fixed moment; it never goes back.
pub(crate) struct Machine {
    config: VerifierConfig,
    spec: Arc<Spec>,
    room: Room,
    lanes: BTreeMap<ProofName, Lane>,
    timers: BTreeSet<(Duration, CandidateId)>,
    observed: Observed,
    /// Peers that brought a valid proof.
    vouched: LruCache<PeerRef, ()>,
    cpu: WorkQueue,
    validator_reads: WorkQueue,
    /// By type: proofs of one type, whose engine is slow, do not take the places of the others.
    engine_calls: BTreeMap<ProofType, WorkQueue>,
    commits: WorkQueue,
    now: Duration,
    next_id: CandidateId,
    closed: bool,
    /// Lanes whose turn may be free.
    free: BTreeSet<ProofName>,
    actions: Vec<Action>,
}

impl Machine {
    pub(crate) fn new(config: VerifierConfig, spec: Arc<Spec>) -> Self {
        Self {
            room: Room::new(config.room.clone()),
            lanes: BTreeMap::new(),
            timers: BTreeSet::new(),
            observed: Observed::new(config.observed_entries),
            vouched: LruCache::new(NonZeroUsize::new(config.remembered_peers).unwrap_or(NonZeroUsize::MIN)),
            cpu: WorkQueue::new(config.cpu_jobs),
            validator_reads: WorkQueue::new(config.validator_reads),
            engine_calls: BTreeMap::new(),
            commits: WorkQueue::new(config.commits),
            now: Duration::ZERO,
            next_id: 0,
            closed: false,
            free: BTreeSet::new(),
            actions: Vec::new(),
            config,
            spec,
        }
    }

    pub(crate) fn on_event(&mut self, event: Event, now: Duration, view: &dyn View) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Submitted {
                ticket,
                parsed,
                source,
            } => self.submitted(ticket, parsed, source, view),
            Event::UnsignedValid {
                key,
                proof_root,
                slot,
            } => self.observed.set_unsigned(key, proof_root, slot),
            Event::UnsignedInvalid {
                key,
                proof_root,
                slot,
            } => self.observed.set_unsigned_invalid(key, proof_root, slot),
            Event::Done { id, outcome } => self.done(id, outcome, view),
            Event::PayloadKnown(root) => self.payload_known(Revision::Alpha, root),
            Event::BlockKnown(root) => self.payload_known(Revision::Beta, root),
            Event::Finalized { slot, orphaned } => self.finalized(slot, &orphaned),
            Event::LookAgain => self.look_again(),
            Event::Tick => self.tick(),
            Event::Shutdown => self.shutdown(),
        }
        self.settle(view);
        std::mem::take(&mut self.actions)
    }

    /// When the next `Tick` is due.
    pub(crate) fn next_tick(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The span of a candidate's first submission.
    pub(crate) fn span_of(&self, id: CandidateId) -> Span {
        self.room
            .get(id)
            .map_or_else(Span::none, |held| held.parsed.span.clone())
    }

    /// Candidates held, and their bytes.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.room.len(), self.room.bytes())
    }

    /// Entries of the observed caches.
    pub(crate) fn observed_len(&self) -> usize {
        self.observed.len()
    }

    fn submitted(&mut self, ticket: Ticket, parsed: Parsed, source: Source, view: &dyn View) {
        if self.closed {
            return self.reply(
                Sharer { ticket, source },
                Verdict::Ignore(IgnoreReason::Internal),
                self.now,
            );
        }
        let (key, validator) = (parsed.name(), parsed.validator_index());
        // Before the rules: what is already held gets one verdict for all who brought it.
        if let Some(twin) = self.twin(&key, &parsed) {
            return self.share(twin, Sharer { ticket, source });
        }
        let judged_itself = Holder::from(&source) == Holder::Local;
        if !judged_itself && self.is_valid(&key, view) {
            let verdict = Verdict::Ignore(IgnoreReason::AlreadyValid);
            return self.reply(Sharer { ticket, source }, verdict, self.now);
        }
        let payload = match self.entrance(key, validator, is_unsolicited(&source), view) {
            Ok(payload) => payload,
            Err(reason) => return self.reply(Sharer { ticket, source }, Verdict::Ignore(reason), self.now),
        };
        let id = self.next_id;
        self.next_id += 1;
        let holder = Holder::from(&source);
        let worth = Worth {
            authenticated: false,
            local: holder == Holder::Local,
            payload_known: payload.is_some(),
            vouched: self.is_vouched(&source),
        };
        let held = Held {
            parsed,
            sharers: vec![Sharer { ticket, source }],
            holder,
            worth,
            state: State::Queued,
            arrived: self.now,
            timer: None,
            tries: 0,
            last_park: None,
            payload,
            proof_root: None,
            record: None,
        };
        let known = held.payload.is_some();
        self.room.insert(id, held);
        self.lanes.entry(key).or_default().members.insert(id);
        self.keep_budgets(id);
        if known {
            self.queue(id);
        } else {
            self.park(id, ParkReason::UnknownPayload);
        }
    }

    /// What every candidate passes before it may cost anything, and again when its turn comes: keyed look-ups only.
    /// `Ok(None)`: rule 2, its payload is not known.
    fn entrance(
        &mut self,
        key: ProofName,
        validator: ValidatorIndex,
        unsolicited: bool,
        view: &dyn View,
    ) -> Result<Option<PayloadInfo>, IgnoreReason> {
        let payload = view.payload(&key);
        if let Some(payload) = &payload
            && self.spec.revision_at(payload.fork) != key.revision
        {
            return Err(IgnoreReason::WrongRevision);
        }
        if let (Some(payload), Some(epochs)) = (&payload, self.config.retention_epochs) {
            let oldest = Epoch(view.finalized_epoch().0.saturating_sub(epochs));
            if self.spec.epoch_at_slot(payload.slot) < oldest {
                return Err(IgnoreReason::TooOld);
            }
        }
        // Rules 2 to 4 all IGNORE, so their order changes no outcome. Before rule 2, so that what would be ignored
        // anyway never waits for its payload.
        if !view.verifies(key.proof_type) {
            return Err(IgnoreReason::UnsupportedType);
        }
        if unsolicited {
            if is_contained(validator, view) {
                return Err(IgnoreReason::Contained);
            }
            if self.observed.has_tried(key, validator) {
                return Err(IgnoreReason::SeenFromValidator);
            }
        }
        Ok(payload)
    }

    /// What gossip's proofs of this name are ignored for where they name this validator, whatever else they say:
    /// containment, and rule 4.
    pub(crate) fn turned_away(
        &self,
        name: ProofName,
        validator: ValidatorIndex,
        view: &dyn View,
    ) -> Option<IgnoreReason> {
        if is_contained(validator, view) {
            Some(IgnoreReason::Contained)
        } else if self.observed.is_tried(name, validator) {
            Some(IgnoreReason::SeenFromValidator)
        } else {
            None
        }
    }

    /// What is known of a message, signed or not.
    pub(crate) fn judgement(&mut self, proof_root: &Root) -> Option<Judgement> {
        if self.observed.is_valid_unsigned(proof_root) {
            return Some(Judgement::Valid);
        }
        if self.observed.is_invalid_unsigned(proof_root) {
            return Some(Judgement::Invalid);
        }
        self.observed.seen(proof_root)
    }

    /// Whether a valid proof is known, signed or not.
    pub(crate) fn is_proven(&mut self, key: &ProofKey, view: &dyn View) -> bool {
        self.observed.is_proven(key) || view.proves(key)
    }

    /// Rules 3 and 9.
    pub(crate) fn is_valid(&mut self, key: &ProofName, view: &dyn View) -> bool {
        self.observed.is_valid(key) || view.has_valid(key)
    }

    /// Whether rules 3 and 9 end a candidate's way here. Whoever posts a proof is told of that proof, not of another
    /// (protocol.md section 8): it goes on until its signature has verified and its message is known to be valid.
    fn is_settled(&mut self, id: CandidateId, view: &dyn View) -> bool {
        let Some(held) = self.room.get(id) else {
            return false;
        };
        let (
            key,
            Worth {
                local, authenticated, ..
            },
            root,
        ) = (held.key(), held.worth, held.proof_root);
        let known = |root| self.observed.seen(&root) == Some(Judgement::Valid);
        let spoken = !local || (authenticated && root.is_some_and(known));
        spoken && self.is_valid(&key, view)
    }

    fn is_vouched(&mut self, source: &Source) -> bool {
        match source {
            Source::Gossip { peer } | Source::ReqResp { peer } => self.vouched.get(peer).is_some(),
            Source::Http | Source::Prover => true,
        }
    }

    fn twin(&self, key: &ProofName, parsed: &Parsed) -> Option<CandidateId> {
        let members = &self.lanes.get(key)?.members;
        members
            .iter()
            .copied()
            .find(|id| self.room.get(*id).is_some_and(|h| h.parsed.is_same(parsed)))
    }

    fn share(&mut self, id: CandidateId, sharer: Sharer) {
        let vouched = self.is_vouched(&sharer.source);
        let Some(held) = self.room.get_mut(id) else { return };
        let holder = Holder::from(&sharer.source);
        // One peer must not use up the places that others' copies of an honest proof need.
        let full = match &holder {
            Holder::Local => held.sharers.len() >= MAX_SHARERS,
            peer => {
                held.sharers
                    .iter()
                    .filter(|s| Holder::from(&s.source) == *peer)
                    .count()
                    >= MAX_SHARERS_PER_PEER
                    || held.sharers.len() >= MAX_SHARERS
            }
        };
        if full {
            return self.reply(sharer, Verdict::Ignore(IgnoreReason::Overloaded), self.now);
        }
        held.worth.vouched |= vouched;
        held.worth.local |= holder == Holder::Local;
        if let State::Parked(reason) = held.state {
            self.actions.push(Action::Parked {
                ticket: sharer.ticket,
                source: sharer.source.clone(),
                reason,
            });
        }
        held.sharers.push(sharer);
        self.room.recharge(id, holder);
        self.keep_budgets(id);
    }

    /// Lets go what exceeds a budget after `touched` came or changed.
    fn keep_budgets(&mut self, touched: CandidateId) {
        while let Some(victim) = self.room.victim(touched) {
            self.finish(victim, Verdict::Ignore(IgnoreReason::Overloaded));
        }
    }

    fn set_timer(&mut self, id: CandidateId, at: Option<Duration>) {
        let Some(held) = self.room.get_mut(id) else { return };
        if let Some(old) = std::mem::replace(&mut held.timer, at) {
            self.timers.remove(&(old, id));
        }
        if let Some(at) = at {
            self.timers.insert((at, id));
        }
    }

    /// When a candidate that waits is let go.
    fn deadline(&self, held: &Held) -> Duration {
        let epoch = Duration::from_millis(self.spec.slot_duration_ms)
            .saturating_mul(u32::try_from(self.spec.slots_per_epoch).unwrap_or(u32::MAX));
        let epochs = match (held.worth.authenticated, held.state) {
            // Queued candidates end by their turn; the longer time only bounds a turn that does not come.
            (true, _) | (false, State::Queued) => self.config.room.engine_wait_epochs,
            (false, _) => self.config.room.wait_epochs,
        };
        held.arrived.saturating_add(epoch.saturating_mul(epochs))
    }

    /// Puts a candidate into the queue of its key.
    fn queue(&mut self, id: CandidateId) {
        let Some(held) = self.room.get_mut(id) else { return };
        held.state = State::Queued;
        let key = held.key();
        let deadline = self.room.get(id).map(|held| self.deadline(held));
        self.set_timer(id, deadline);
        self.free.insert(key);
    }

    /// Lets a candidate wait for something outside, and gives its turn away.
    fn park(&mut self, id: CandidateId, reason: ParkReason) {
        let Some(held) = self.room.get_mut(id) else { return };
        held.state = State::Parked(reason);
        held.tries = if held.last_park == Some(reason) {
            held.tries.saturating_add(1)
        } else {
            1
        };
        held.last_park = Some(reason);
        let again = self.now.saturating_add(self.config.retry.after(held.tries));
        // Told once for a reason, not at every try.
        if held.tries == 1 {
            for sharer in &held.sharers {
                let (ticket, source) = (sharer.ticket, sharer.source.clone());
                self.actions.push(Action::Parked {
                    ticket,
                    source,
                    reason,
                });
            }
        }
        let key = held.key();
        self.release_turn(&key, id);
        let deadline = self.room.get(id).map_or(again, |held| self.deadline(held));
        self.set_timer(id, Some(again.min(deadline)));
        self.room
            .set_payload_known(id, reason != ParkReason::UnknownPayload);
        self.keep_budgets(id);
    }

    fn release_turn(&mut self, key: &ProofName, id: CandidateId) {
        if let Some(lane) = self.lanes.get_mut(key)
            && lane.active == Some(id)
        {
            lane.active = None;
            self.free.insert(*key);
        }
    }

    /// Takes a candidate out and tells everybody who brought it.
    fn finish(&mut self, id: CandidateId, verdict: Verdict) {
        self.set_timer(id, None);
        let Some(held) = self.room.remove(id) else { return };
        let key = held.key();
        let queues = [&mut self.cpu, &mut self.validator_reads, &mut self.commits];
        for queue in queues
            .into_iter()
            .chain(self.engine_calls.get_mut(&key.proof_type))
        {
            queue.remove(id);
        }
        self.release_turn(&key, id);
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.members.remove(&id);
            if lane.members.is_empty() {
                self.lanes.remove(&key);
            }
        }
        let unjudged = matches!(&verdict, Verdict::Ignore(reason) if *reason != IgnoreReason::AlreadyValid);
        if let (true, true, Some(root)) = (unjudged, held.worth.authenticated, held.proof_root) {
            self.observed.unmark(key, held.parsed.validator_index(), &root);
        }
        for sharer in held.sharers {
            self.reply(sharer, verdict.clone(), held.arrived);
        }
    }

    fn reply(&mut self, to: Sharer, verdict: Verdict, arrived: Duration) {
        let Sharer { ticket, source } = to;
        self.actions.push(Action::Reply {
            ticket,
            source,
            verdict,
            after: self.now.saturating_sub(arrived),
        });
    }

    fn payload_known(&mut self, revision: Revision, root: Root) {
        let ids: Vec<_> = self.naming(revision, &root).collect();
        for id in ids {
            if let Some(State::Parked(ParkReason::UnknownPayload | ParkReason::ValidatorUnavailable)) =
                self.room.get(id).map(|h| h.state)
            {
                self.queue(id);
            }
        }
    }

    /// Candidates that name this payload (`alpha`) or block (`beta`).
    fn naming(&self, revision: Revision, root: &Root) -> impl Iterator<Item = CandidateId> + '_ {
        let name = |proof_type| ProofName {
            revision,
            root: *root,
            proof_type,
        };
        self.lanes
            .range(name(u8::MIN)..=name(u8::MAX))
            .flat_map(|(_, lane)| lane.members.iter().copied())
    }

    fn finalized(&mut self, slot: assay_types::Slot, orphaned: &HashSet<Root>) {
        self.observed.prune(slot, orphaned);
        let is_orphan = |held: &Held| {
            let key = held.key();
            let payload = held.payload.as_ref().map(|p| p.new_payload_request_root);
            let named = (key.revision == Revision::Alpha).then_some(key.root);
            payload.or(named).is_some_and(|root| orphaned.contains(&root))
        };
        let ids: Vec<_> = self.room.ids().collect();
        for id in ids {
            if self
                .room
                .get(id)
                .is_some_and(|held| is_orphan(held) && held.is_evictable())
            {
                self.finish(id, Verdict::Ignore(IgnoreReason::TooOld));
            }
        }
    }

    fn look_again(&mut self) {
        let ids: Vec<_> = self.room.ids().collect();
        for id in ids {
            if let Some(State::Parked(ParkReason::UnknownPayload | ParkReason::ValidatorUnavailable)) =
                self.room.get(id).map(|h| h.state)
            {
                self.queue(id);
            }
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        while let Some((at, id)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, id));
            let Some(held) = self.room.get_mut(id) else {
                continue;
            };
            held.timer = None;
            let state = held.state;
            let over = self.room.get(id).is_some_and(|held| self.deadline(held) <= now);
            match state {
                State::Parked(reason) if over => self.finish(id, Verdict::Ignore(reason.given_up())),
                State::Parked(_) => self.queue(id),
                State::Queued if over => self.finish(id, Verdict::Ignore(IgnoreReason::Overloaded)),
                State::Queued | State::Ready(_) | State::Running(_) => {}
            }
        }
    }

    fn shutdown(&mut self) {
        self.closed = true;
        let ids: Vec<_> = self.room.ids().collect();
        for id in ids {
            if self
                .room
                .get(id)
                .is_some_and(|h| h.state != State::Running(Stage::Commit))
            {
                self.finish(id, Verdict::Ignore(IgnoreReason::Internal));
            }
        }
    }
}

impl ParkReason {
    /// What is said when the waiting has been in vain.
    const fn given_up(self) -> IgnoreReason {
        match self {
            Self::UnknownPayload => IgnoreReason::UnknownPayload,
            Self::ValidatorUnavailable => IgnoreReason::ValidatorUnavailable,
            Self::EngineUnavailable => IgnoreReason::EngineUnavailable,
        }
    }
}

/// Whether the validator signed an invalid proof lately.
fn is_contained(validator: ValidatorIndex, view: &dyn View) -> bool {
    view.contained_until(validator)
        .is_some_and(|until| view.current_slot() < until)
}
