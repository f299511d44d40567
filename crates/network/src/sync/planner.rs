//! The planner: which proofs are missing, whom to ask for them, when to ask again, and when to stop asking.
//!
//! A state machine without I/O. What is missing is asked of one peer at a time (what a beacon node waits for of a second
//! one too, after a while), of every peer in turn, in `ROUNDS` rounds with growing pauses, and is then called not
//! obtainable until a peer comes that was not asked. Nothing is concluded from order or completeness of an answer: a
//! proof that did not come is asked of the next peer.

mod assigning;

use super::{
    cost::{self, Sizes},
    event::{Action, Ask, Block, Event, Failure, Judged, RequestId, Taken, Wrong},
    limits::{FIRST_OWN_PAUSE, MAX_OWN_PAUSE, REQUEST_PATIENCE, Settings, UNJUDGED_IN_A_ROW},
    proven::{Proven, Standing},
    sources::{SourceIndex, Sources},
    state::SyncState,
    wanted::{Missing, Place, Tally, Wanted},
};
use assay_types::{ExecutionProofStatus, ProofKey, Root, Slot};
use libp2p::PeerId;
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

/// A request under way.
#[derive(Debug)]
struct Request {
    peer: PeerId,
    source: SourceIndex,
    ask: Ask,
    urgent: bool,
    /// What it is for.
    keys: Vec<(Place, u8)>,
    /// What it brought, needed or not.
    brought: HashSet<ProofKey>,
    /// How much of it was needed.
    needed: usize,
    /// Proofs of any kind.
    received: usize,
    /// The slot of the last proof, for the order.
    at: Slot,
    last_progress: Duration,
    /// By then it must be over.
    deadline: Duration,
}

/// Which requests, and of whom.
#[derive(Debug)]
pub(crate) struct Planner {
    settings: Settings,
    wanted: Wanted,
    sources: Sources,
    sizes: Sizes,
    proven: Proven,
    requests: BTreeMap<RequestId, Request>,
    next_id: u64,
    current: Slot,
    now: Duration,
    /// Nothing is asked before: this node could not judge what came.
    paused_until: Duration,
    own_pause: Duration,
    /// Since that pause nothing was judged: one proof at a time is asked for.
    probing: bool,
    /// Whom that one was asked of last: a peer whose proofs can never be judged must not be the only one.
    probed: Option<SourceIndex>,
    /// Proofs that had to wait since the last verdict.
    unjudged: usize,
    tally: Tally,
    /// Slots missed that no chain view reaches.
    unreachable: Option<(Slot, Slot)>,
    actions: Vec<Action>,
}

impl Planner {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            wanted: Wanted::default(),
            sources: Sources::default(),
            sizes: Sizes::default(),
            proven: Proven::default(),
            requests: BTreeMap::new(),
            next_id: 0,
            current: Slot(0),
            now: Duration::ZERO,
            paused_until: Duration::ZERO,
            own_pause: FIRST_OWN_PAUSE,
            probing: false,
            probed: None,
            unjudged: 0,
            tally: Tally::default(),
            unreachable: None,
            actions: Vec::new(),
        }
    }

    /// Takes note of an event; what to do now. `now` is time since any fixed moment, and never goes back.
    pub(crate) fn on_event(&mut self, event: Event, now: Duration) -> Vec<Action> {
        self.now = now;
        // Every proof of a long range is an event: what follows from one of them is looked at with the next of the rest.
        let looks = !matches!(event, Event::Held { .. } | Event::Judged { .. } | Event::Parked);
        match event {
            Event::Slot(slot) => self.current = slot.max(self.current),
            Event::Canonical { above, blocks } => self.canonical(above, &blocks),
            Event::Block(block) => {
                self.wanted.update(&block, &self.settings, self.current, now);
                self.restate((block.slot, block.root));
            }
            Event::Finalized { start, anchor } => {
                self.wanted.begin_at(start);
                self.proven.set_anchor(anchor);
            }
            Event::Unreachable { from, to } => self.unreachable = Some((from, to)),
            Event::Waiting(blocks) => {
                self.wanted
                    .set_waiting(&blocks, &self.settings, self.current, now);
            }
            Event::Held { key, bytes } => {
                self.can_judge();
                self.sizes.saw(key.proof_type, bytes);
                self.held(&key);
            }
            Event::Connected(peer, status) => {
                if let Some(reused) = self.sources.connected(peer) {
                    self.wanted.forget_source(reused);
                }
                if let Some(status) = status {
                    self.sources.told(&peer, status, now);
                }
            }
            Event::Gone(peer) => self.gone(&peer),
            Event::Status(peer, status) => self.sources.told(&peer, status, now),
            Event::StatusFailed(peer, why) => {
                self.sources.did_not_tell(&peer, why == Failure::Unsupported, now);
            }
            Event::Judged { peer, key, judged } => self.judged(&peer, &key, judged),
            Event::Parked => self.could_not_judge(),
            Event::Ended { id, end } => self.end(id, end),
            Event::Tick => self.give_up_the_slow(),
        }
        if looks {
            self.plan();
        }
        std::mem::take(&mut self.actions)
    }

    /// A proof came with a response: what to do with it, and whom to report.
    pub(crate) fn on_proof(
        &mut self,
        id: RequestId,
        key: ProofKey,
        bytes: u64,
        now: Duration,
    ) -> (Taken, Vec<Action>) {
        self.now = now;
        let taken = self.take(id, key, bytes);
        if taken == Taken::Stop {
            self.end(id, Err(Failure::Other));
            self.plan();
        }
        (taken, std::mem::take(&mut self.actions))
    }

    fn take(&mut self, id: RequestId, key: ProofKey, bytes: u64) -> Taken {
        // Given up meanwhile.
        let Some(request) = self.requests.get_mut(&id) else {
            return Taken::Stop;
        };
        request.last_progress = self.now;
        request.received += 1;
        let places = self.wanted.places_of(&key.new_payload_request_root);
        // A payload may be in two blocks: it is the one that was asked for.
        let slot = places
            .iter()
            .map(|(slot, _)| *slot)
            .find(|slot| cost::covers(&request.ask, *slot));
        let wrong = match &request.ask {
            _ if request.received > self.settings.max_proofs => Some(Wrong::NotAskedFor),
            // What was asked for may have left the plan meanwhile.
            Ask::Root(_) if places.is_empty() => None,
            Ask::Root(asked) => (!asked.iter().any(|(block, types)| {
                types.contains(&key.proof_type) && places.iter().any(|(_, root)| root == block)
            }))
            .then_some(Wrong::NotAskedFor),
            Ask::Range { types, .. } if !types.contains(&key.proof_type) => Some(Wrong::NotAskedFor),
            // The peer may see another chain than this node.
            Ask::Range { .. } if places.is_empty() => None,
            Ask::Range { .. } if slot.is_none() => Some(Wrong::NotAskedFor),
            Ask::Range { .. } if slot.is_some_and(|slot| slot < request.at) => Some(Wrong::Order),
            Ask::Range { .. } => None,
        };
        if let Some(wrong) = wrong {
            self.actions.push(Action::Fault(request.peer, wrong));
            return Taken::Stop;
        }
        if let Some(slot) = slot {
            request.at = request.at.max(slot);
        }
        if !request.brought.insert(key) || !self.wanted.is_needed(&key) {
            return Taken::Skip;
        }
        request.needed += 1;
        self.sizes.saw(key.proof_type, bytes);
        self.wanted.for_missing(&key, Missing::judge);
        Taken::Judge
    }

    fn canonical(&mut self, above: Option<Slot>, blocks: &[Block]) {
        self.wanted
            .set_canonical(above, blocks, &self.settings, self.current, self.now);
        self.proven.cut_above(above);
        for block in blocks {
            self.restate((block.slot, block.root));
        }
    }

    /// How a block stands may have changed.
    fn restate(&mut self, place: Place) {
        if let Some(block) = self.wanted.get(&place)
            && block.canonical
        {
            let standing = match block.payload {
                None => Standing::NoPayload,
                Some(_) if block.held_of(&self.settings.counted) >= self.settings.required => {
                    Standing::Proven
                }
                Some(_) => Standing::Unproven,
            };
            self.proven.set(place.0, place.1, standing);
        }
    }

    /// Other types, or another number of them, make a payload sufficiently proven from now on.
    pub(crate) fn count(&mut self, required: usize, counted: Vec<u8>) {
        self.settings.required = required;
        self.settings.counted = counted;
        for place in self.wanted.places() {
            self.restate(place);
        }
    }

    fn held(&mut self, key: &ProofKey) {
        for place in self.wanted.held(key) {
            self.restate(place);
        }
    }

    fn gone(&mut self, peer: &PeerId) {
        self.sources.gone(peer, self.now);
        let lost: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, request)| request.peer == *peer)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            self.actions.push(Action::Cancel(id));
            self.close(id, false);
        }
    }

    fn judged(&mut self, peer: &PeerId, key: &ProofKey, judged: Judged) {
        let source = self.sources.place(peer);
        // The time this node took is not the peer's.
        let theirs = self.requests.values_mut().filter(|r| Some(r.source) == source);
        theirs.for_each(|request| request.last_progress = self.now);
        match judged {
            Judged::Held => {
                self.can_judge();
                if let Some(source) = self.sources.by_peer(peer) {
                    source.brought_good();
                }
                self.held(key);
            }
            Judged::Bad => {
                self.can_judge();
                self.actions.push(Action::Fault(*peer, Wrong::Rejected));
                if let Some(source) = self.sources.by_peer(peer) {
                    source.brought_bad(self.now);
                }
                self.wanted.for_missing(key, |missing| missing.was_bad(source));
            }
            Judged::Unwanted => {
                self.wanted.for_missing(key, Missing::was_unwanted);
            }
            Judged::Undecided => {
                self.could_not_judge();
                let (now, earliest) = (self.now, self.paused_until);
                if earliest > now {
                    self.cancel_all();
                }
                self.wanted
                    .for_missing(key, |missing| missing.was_undecided(now, earliest));
            }
        }
    }

    /// A proof has to wait. So many of them without a verdict between: this node cannot judge now, and what is fetched
    /// meanwhile is fetched in vain. One alone holds up nothing but itself.
    fn could_not_judge(&mut self) {
        self.unjudged = self.unjudged.saturating_add(1);
        if self.unjudged < UNJUDGED_IN_A_ROW || self.paused_until > self.now {
            return;
        }
        self.paused_until = self.now + self.own_pause;
        self.own_pause = (self.own_pause * 2).min(MAX_OWN_PAUSE);
        self.probing = true;
    }

    fn can_judge(&mut self) {
        self.unjudged = 0;
        self.own_pause = FIRST_OWN_PAUSE;
        self.probing = false;
    }

    /// Nobody's fault.
    fn cancel_all(&mut self) {
        while let Some((id, _)) = self.requests.first_key_value() {
            let id = *id;
            self.actions.push(Action::Cancel(id));
            self.close(id, false);
        }
    }

    fn end(&mut self, id: RequestId, end: Result<(), Failure>) {
        let max_batch = self.settings.max_proofs;
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let whole = request.needed >= request.keys.len();
        let is_range = matches!(request.ask, Ask::Range { .. });
        let source = request.source;
        if request.needed == 0 {
            // A probe that found nothing to judge.
            self.probing = false;
        }
        if let Some(source) = self.sources.get_mut(source) {
            match end {
                Ok(()) => source.answered(whole, max_batch),
                Err(Failure::Unsupported) if is_range => source.lacks_range(),
                Err(Failure::Unsupported) => source.lacks_root(),
                Err(Failure::Other) => source.failed(self.now),
            }
        }
        self.close(id, end.is_ok());
    }

    /// A request is over; `answered`: what it did not bring the peer does not have.
    fn close(&mut self, id: RequestId, answered: bool) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        if let Some(source) = self.sources.get_mut(request.source) {
            let under_way = if request.urgent {
                &mut source.urgent
            } else {
                &mut source.backfill
            };
            *under_way = under_way.saturating_sub(1);
        }
        for (place, proof_type) in &request.keys {
            let brought = self
                .wanted
                .get(place)
                .and_then(|block| block.payload)
                .is_some_and(|payload| {
                    request.brought.contains(&ProofKey {
                        new_payload_request_root: payload,
                        proof_type: *proof_type,
                    })
                });
            let without = (answered && !brought).then_some(request.source);
            self.wanted.ended(place, *proof_type, without);
        }
    }

    fn give_up_the_slow(&mut self) {
        let now = self.now;
        let slow: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, r)| now >= r.deadline || now.saturating_sub(r.last_progress) >= REQUEST_PATIENCE)
            .map(|(id, _)| *id)
            .collect();
        for id in slow {
            self.actions.push(Action::Cancel(id));
            self.end(id, Err(Failure::Other));
        }
    }

    /// What this node says of itself: before anything is proven the zero root and slot 0 (protocol.md section 11).
    pub(crate) fn local_status(&self) -> ExecutionProofStatus {
        let (slot, block_root) = self.proven.newest().unwrap_or((Slot(0), Root::ZERO));
        let types = self.settings.types.iter().take(self.settings.max_types);
        ExecutionProofStatus {
            block_root,
            slot,
            proof_types: types.copied().collect(),
        }
    }

    /// The canonical block of a slot, as the plan has it.
    pub(crate) fn canonical_root(&self, slot: Slot) -> Option<Root> {
        self.wanted.canonical_at(slot).map(|((_, root), _)| *root)
    }

    /// The highest canonical slot of the plan.
    pub(crate) fn canonical_tip(&self) -> Option<Slot> {
        self.wanted.tip()
    }

    /// Whether a peer has a place among those that may be asked.
    pub(crate) fn has_source(&self, peer: &PeerId) -> bool {
        self.sources.place(peer).is_some()
    }

    /// The lowest canonical slot of the plan.
    pub(crate) fn canonical_bottom(&self) -> Option<Slot> {
        self.wanted.bottom()
    }

    /// How sync stands.
    pub(crate) fn state(&self) -> SyncState {
        SyncState {
            blocks: self.tally.blocks,
            held: self.tally.held,
            missing: self.tally.missing,
            under_way: self.tally.under_way,
            not_obtainable: self.tally.not_obtainable,
            requests: self.requests.len(),
            sources: self.sources.usable(),
            paused: self.paused_until > self.now,
            unreachable: self.unreachable,
            beyond: self.wanted.beyond,
        }
    }
}
