//! The simulated network: time, chain, peers, and a verifier that takes a moment. Checks at every request what must
//! always hold.

use super::{
    SLOT, block_root, key, payload_root,
    peer::{Kind, Peer, Step},
    peer_id, settings,
};
use crate::sync::{
    event::{Action, Ask, Block, Event, Failure, Judged, RequestId, Taken},
    limits::{MAX_FAILURES, ROUNDS},
    planner::Planner,
};
use assay_types::{ProofKey, ProofType, Slot};
use libp2p::PeerId;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

pub(super) const TYPES: [ProofType; 4] = [1, 2, 3, 4];
/// Faults after which a peer is banned.
const FAULTS_TO_BAN: u32 = 3;
const TICK: Duration = Duration::from_millis(500);
/// By then it must have come to its end.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

enum Due {
    Tick,
    Slot,
    Answer(RequestId),
    Verdict(PeerId, ProofKey, Judged),
    Status(PeerId),
    Return(usize),
    Reorg,
    Gossip(ProofKey),
}

struct Answer {
    peer: usize,
    by_range: bool,
    steps: VecDeque<(Duration, Step)>,
}

pub(super) struct World {
    pub(super) planner: Planner,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Due>,
    sequence: u64,
    random: u64,
    pub(super) peers: Vec<Peer>,
    answers: HashMap<RequestId, Answer>,
    /// Slots of the canonical chain and the branch of each.
    pub(super) chain: BTreeMap<Slot, u8>,
    current: Slot,
    pub(super) held: BTreeSet<ProofKey>,
    /// How often a peer was asked for a proof.
    asked: HashMap<(ProofKey, usize), u32>,
    /// While it lasts the verifier cannot judge.
    pub(super) engine_down: std::ops::Range<Duration>,
    /// What is above it a reorg moves to another branch.
    reorg_slot: Slot,
    pub(super) requests: usize,
    pub(super) most_at_once: usize,
    disturbed_until: Duration,
    trouble: bool,
}

impl World {
    /// A chain of `slots` slots from 100 on, some of them empty, and no peers.
    pub(super) fn new(seed: u64, slots: u64) -> Self {
        let mut world = Self {
            planner: Planner::new(settings(&TYPES)),
            now: Duration::from_secs(1),
            queue: BTreeMap::new(),
            sequence: 0,
            random: seed ^ 0x9e37_79b9_7f4a_7c15,
            peers: Vec::new(),
            answers: HashMap::new(),
            chain: BTreeMap::new(),
            current: Slot(100 + slots),
            held: BTreeSet::new(),
            asked: HashMap::new(),
            engine_down: Duration::ZERO..Duration::ZERO,
            reorg_slot: Slot(0),
            requests: 0,
            most_at_once: 0,
            disturbed_until: Duration::ZERO,
            trouble: false,
        };
        for slot in 100..100 + slots {
            if world.random(8) > 0 {
                world.chain.insert(Slot(slot), 0);
            }
        }
        world
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) % below.max(1)
    }

    /// This node holds a share of what it wants: of every `n` proofs one.
    pub(super) fn hold_some(&mut self, n: u64) {
        for (slot, branch) in self.chain.clone() {
            for t in TYPES {
                if self.random(n) == 0 {
                    self.held.insert(key(branch, slot, t));
                }
            }
        }
    }

    /// A peer that holds `percent` of all proofs.
    pub(super) fn peer(&mut self, kind: Kind, percent: u64) {
        let mut holds = BTreeSet::new();
        for (slot, branch) in self.chain.clone() {
            for t in TYPES {
                if self.random(100) < percent {
                    holds.insert((branch, slot, t));
                }
            }
        }
        self.peers.push(Peer {
            kind,
            holds,
            branch: 0,
            connected: false,
            banned: false,
            faults: 0,
            leaves: 3,
        });
    }

    /// In `after`, what is above `slot` becomes branch 1, of which every peer that serves holds what it held of branch 0.
    pub(super) fn reorg_at(&mut self, after: Duration, slot: Slot) {
        for peer in &mut self.peers {
            let above: Vec<_> = peer.holds.iter().filter(|(_, s, _)| *s > slot).copied().collect();
            peer.holds.extend(above.into_iter().map(|(_, s, t)| (1, s, t)));
        }
        self.reorg_slot = slot;
        self.due(after, Due::Reorg);
    }

    fn due(&mut self, after: Duration, what: Due) {
        self.sequence += 1;
        if !matches!(what, Due::Tick | Due::Slot) {
            self.disturbed_until = self.disturbed_until.max(self.now + after);
        }
        self.queue.insert((self.now + after, self.sequence), what);
    }

    fn block(&self, slot: Slot, branch: u8) -> Block {
        let held = TYPES
            .iter()
            .filter(|t| self.held.contains(&key(branch, slot, **t)));
        Block {
            slot,
            root: block_root(branch, slot),
            payload: Some(payload_root(branch, slot)),
            held: held.copied().collect(),
        }
    }

    fn blocks(&self, above: Option<Slot>) -> Vec<Block> {
        self.chain
            .iter()
            .filter(|(slot, _)| above.is_none_or(|above| **slot > above))
            .map(|(slot, branch)| self.block(*slot, *branch))
            .collect()
    }

    fn tell(&mut self, event: Event) {
        let actions = self.planner.on_event(event, self.now);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Request { id, peer, ask } => self.request(id, peer, ask),
                Action::Cancel(id) => drop(self.answers.remove(&id)),
                Action::AskStatus(peer) => {
                    let wait = Duration::from_millis(20 + self.random(100));
                    self.due(wait, Due::Status(peer));
                }
                Action::Fault(peer, _) => {
                    let n = self.number(&peer);
                    self.peers[n].faults += 1;
                    if self.peers[n].faults == FAULTS_TO_BAN {
                        assert!(!self.peers[n].kind.serves(), "an honest peer was banned");
                        self.peers[n].banned = true;
                        self.leave(n);
                    }
                }
            }
        }
    }

    fn number(&self, peer: &PeerId) -> usize {
        (0..self.peers.len()).find(|n| peer_id(*n) == *peer).unwrap()
    }

    fn leave(&mut self, n: usize) {
        if std::mem::take(&mut self.peers[n].connected) {
            self.answers.retain(|_, answer| answer.peer != n);
            self.tell(Event::Gone(peer_id(n)));
        }
    }

    /// What must hold of every request.
    fn request(&mut self, id: RequestId, peer: PeerId, ask: Ask) {
        let n = self.number(&peer);
        assert!(
            self.peers[n].connected && !self.peers[n].banned,
            "asks a peer that is not there"
        );
        self.requests += 1;
        let by_range = matches!(ask, Ask::Range { .. });
        let beside = self
            .answers
            .values()
            .filter(|answer| answer.peer == n && answer.by_range == by_range);
        assert!(beside.count() < 2, "at most two requests a protocol and peer");
        let keys: Vec<ProofKey> = match &ask {
            Ask::Range { start, count, types } => {
                assert!(
                    (1..=128).contains(count) && (1..=4).contains(&types.len()),
                    "{ask:?}"
                );
                let slots = self.chain.range(*start..Slot(start.0 + count));
                slots
                    .flat_map(|(slot, branch)| types.iter().map(|t| key(*branch, *slot, *t)))
                    .collect()
            }
            Ask::Root(blocks) => {
                assert!((1..=128).contains(&blocks.len()), "{ask:?}");
                let roots: BTreeSet<_> = blocks.iter().map(|(root, _)| *root).collect();
                assert_eq!(roots.len(), blocks.len(), "a block is named once");
                let proofs: usize = blocks.iter().map(|(_, types)| types.len()).sum();
                assert!(
                    proofs <= 512 && blocks.iter().all(|(_, t)| (1..=4).contains(&t.len())),
                    "{ask:?}"
                );
                let known = [0, 1];
                blocks
                    .iter()
                    .flat_map(|(root, types)| {
                        let slot = Slot(u64::from_be_bytes(root.as_slice()[..8].try_into().unwrap()));
                        let branch = known.into_iter().find(|b| block_root(*b, slot) == *root).unwrap();
                        types.iter().map(move |t| key(branch, slot, *t))
                    })
                    .collect()
            }
        };
        // A range also brings what was not the reason to ask.
        if !by_range {
            for key in keys {
                assert!(!self.held.contains(&key), "asks for what is held");
                let times = self.asked.entry((key, n)).or_default();
                *times += 1;
                let most = u32::from(ROUNDS) * (u32::from(MAX_FAILURES) + 1);
                assert!(self.trouble || *times <= most, "asks a peer without end");
            }
        }
        let mut random = self.random;
        let steps = self.peers[n].answer(&ask, &mut |below| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below.max(1)
        });
        self.random = random;
        let answer = Answer {
            peer: n,
            by_range,
            steps: steps.into(),
        };
        if let Some((wait, _)) = answer.steps.front() {
            let wait = *wait;
            self.due(wait, Due::Answer(id));
        }
        self.answers.insert(id, answer);
        self.most_at_once = self.most_at_once.max(self.answers.len());
    }

    fn answer(&mut self, id: RequestId) {
        let Some(answer) = self.answers.get_mut(&id) else {
            return;
        };
        let n = answer.peer;
        let Some((_, step)) = answer.steps.pop_front() else {
            return;
        };
        let next = answer.steps.front().map(|(wait, _)| *wait);
        let end = |world: &mut Self, end| {
            world.answers.remove(&id);
            world.tell(Event::Ended { id, end });
        };
        match step {
            Step::End => return end(self, Ok(())),
            Step::Fail => return end(self, Err(Failure::Other)),
            Step::Unsupported => return end(self, Err(Failure::Unsupported)),
            Step::Leave => {
                self.leave(n);
                let wait = Duration::from_secs(5 + self.random(60));
                return self.due(wait, Due::Return(n));
            }
            Step::Proof { key, good } => {
                let (taken, actions) = self.planner.on_proof(id, key, 1000, self.now);
                if taken == Taken::Stop {
                    self.answers.remove(&id);
                }
                self.perform(actions);
                if taken == Taken::Judge {
                    let wait = Duration::from_millis(10 + self.random(40));
                    if self.engine_down.contains(&self.now) {
                        self.trouble = true;
                        self.tell(Event::Parked);
                        let back = self.engine_down.end.saturating_sub(self.now);
                        let later = self.random(2) == 0;
                        let (wait, judged) = match (later, good) {
                            // Let go unjudged before the engine is back, or judged once it is.
                            (false, _) => (back / 2, Judged::Undecided),
                            (true, true) => (back + wait, Judged::Held),
                            (true, false) => (back + wait, Judged::Bad),
                        };
                        self.due(wait, Due::Verdict(peer_id(n), key, judged));
                    } else {
                        let judged = if good { Judged::Held } else { Judged::Bad };
                        self.due(wait, Due::Verdict(peer_id(n), key, judged));
                    }
                }
                if taken == Taken::Stop {
                    return;
                }
            }
        }
        if let Some(wait) = next {
            self.due(wait, Due::Answer(id));
        }
    }

    fn step(&mut self) {
        let ((now, _), due) = self.queue.pop_first().unwrap();
        self.now = now;
        match due {
            Due::Tick => {
                self.tell(Event::Tick);
                self.due(TICK, Due::Tick);
            }
            Due::Slot => {
                self.current = self.current.saturating_add(1);
                self.tell(Event::Slot(self.current));
                self.due(SLOT, Due::Slot);
            }
            Due::Answer(id) => self.answer(id),
            Due::Verdict(peer, key, judged) => {
                if judged == Judged::Held {
                    self.held.insert(key);
                }
                self.tell(Event::Judged { peer, key, judged });
            }
            Due::Status(peer) => {
                let n = self.number(&peer);
                let head = self.chain.last_key_value().map_or(Slot(0), |(slot, _)| *slot);
                let peer_state = &self.peers[n];
                if !peer_state.connected {
                    return;
                }
                let event = match (peer_state.kind, peer_state.status(head)) {
                    (_, Some(status)) => Event::Status(peer, status),
                    (Kind::Beacon, None) => Event::StatusFailed(peer, Failure::Unsupported),
                    (_, None) => Event::StatusFailed(peer, Failure::Other),
                };
                self.tell(event);
            }
            Due::Return(n) => {
                if !self.peers[n].banned {
                    self.peers[n].connected = true;
                    self.tell(Event::Connected(peer_id(n), None));
                }
            }
            Due::Reorg => {
                let at = self.reorg_slot;
                for (slot, branch) in &mut self.chain {
                    if *slot > at {
                        *branch = 1;
                    }
                }
                for peer in &mut self.peers {
                    peer.branch = 1;
                }
                let blocks = self.blocks(Some(at));
                self.tell(Event::Canonical {
                    above: Some(at),
                    blocks,
                });
            }
            Due::Gossip(key) => {
                self.held.insert(key);
                self.tell(Event::Held { key, bytes: 1000 });
            }
        }
    }

    /// Gossip brings a proof meanwhile.
    pub(super) fn gossip(&mut self, after: Duration, key: ProofKey) {
        self.due(after, Due::Gossip(key));
    }

    /// Starts, and runs until nothing is left to ask for.
    pub(super) fn run(&mut self) {
        let first = self.chain.first_key_value().map_or(Slot(100), |(slot, _)| *slot);
        self.tell(Event::Slot(self.current));
        self.tell(Event::Finalized {
            start: Slot(100),
            anchor: first,
        });
        let blocks = self.blocks(None);
        self.tell(Event::Canonical { above: None, blocks });
        self.due(TICK, Due::Tick);
        self.due(SLOT, Due::Slot);
        for n in 0..self.peers.len() {
            let after = Duration::from_millis(self.random(3000));
            self.due(after, Due::Return(n));
        }
        loop {
            self.step();
            let state = self.planner.state();
            let is_over = self.now > self.disturbed_until
                && (state.open() == 0 || state.sources == 0)
                && state.requests == 0;
            if is_over
                && self
                    .queue
                    .values()
                    .all(|due| matches!(due, Due::Tick | Due::Slot))
            {
                return;
            }
            assert!(self.now < LONGEST, "it does not come to its end: {state:?}");
        }
    }

    /// What must hold in the end.
    pub(super) fn check(&self) {
        for (slot, branch) in &self.chain {
            for t in TYPES {
                let served = self.peers.iter().any(|peer| {
                    peer.kind.serves() && peer.connected && peer.holds.contains(&(*branch, *slot, t))
                });
                assert!(
                    !served || self.held.contains(&key(*branch, *slot, t)),
                    "{slot} {t} is served and not held"
                );
            }
        }
        let state = self.planner.state();
        assert!(
            state.sources == 0 || state.missing == state.not_obtainable,
            "{state:?}"
        );
        let missing = self
            .chain
            .iter()
            .flat_map(|(slot, branch)| TYPES.map(|t| key(*branch, *slot, t)))
            .filter(|key| !self.held.contains(key))
            .count();
        assert_eq!(state.missing, missing, "the plan knows what is missing");
    }
}
