//! The follower's machine and the tree against a simulated beacon node, in simulated time: streams that break, a node that
//! goes away, answers that fail, come late or find nothing yet, events that are lost, reorgs, withheld payloads. Once the
//! trouble ends the view is the node's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use assay_chain::{
    Checkpoint, PayloadSource,
    follower::{
        event::NodeEvent,
        machine::{EVENTS_AGAIN, MAX_BACKOFF, Machine},
        step::{Action, Health, Input, Reply, Request},
    },
    tree::{Limits, Tree},
};
use assay_types::{Epoch, Root, Slot};
use common::*;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

const SLOT: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    max_blocks: 10_000,
    max_unlinked_payloads: 100,
    finalized_history_slots: 1000,
};

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// A block of the node; its number is its place plus one.
struct NodeBlock {
    parent: u64,
    slot: u64,
    builds_on: u64,
    revealed: bool,
}

enum Happening {
    Deliver(u32, Input),
    Answer(u32, Request),
    Stream(u32),
    Slot,
    Reveal(u64),
}

struct Simulation {
    random: Random,
    start: Instant,
    now: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    next: u64,
    machine: Machine,
    tree: Tree,
    // The node.
    blocks: Vec<NodeBlock>,
    head: u64,
    finalized: Option<(u64, u64)>,
    slot: u64,
    trouble: bool,
    up: bool,
    stream: Option<u32>,
    opening: u32,
    // What the machine has under way.
    generation: u32,
    under_way: HashSet<Request>,
    synced: bool,
    connected: bool,
    reports: Vec<Health>,
    asked: usize,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let start = Instant::now();
        let mut simulation = Self {
            random: Random(seed),
            start,
            now: start,
            queue: BTreeMap::new(),
            next: 0,
            machine: Machine::new(SLOT, seed, start),
            tree: Tree::new(LIMITS),
            blocks: Vec::new(),
            head: 0,
            finalized: None,
            slot: 0,
            trouble: true,
            up: true,
            stream: None,
            opening: 0,
            generation: 0,
            under_way: HashSet::new(),
            synced: false,
            connected: false,
            reports: Vec::new(),
            asked: 0,
        };
        simulation.at(Duration::ZERO, Happening::Slot);
        simulation
    }

    fn at(&mut self, after: Duration, happening: Happening) {
        self.next += 1;
        self.queue.insert((self.now + after, self.next), happening);
    }

    fn latency(&mut self) -> Duration {
        let slow = self.trouble && self.random.percent(5);
        Duration::from_millis(if slow { 3000 } else { 2 + self.random.below(60) })
    }

    fn node(&self, number: u64) -> &NodeBlock {
        &self.blocks[number as usize - 1]
    }

    fn ancestor(&self, mut number: u64, slot: u64) -> u64 {
        while number > 0 && self.node(number).slot > slot {
            number = self.node(number).parent;
        }
        number
    }

    /// The node's slot: a block, or none, on the head or on one before it.
    fn node_slot(&mut self) {
        self.slot += 1;
        self.at(SLOT, Happening::Slot);
        if self.trouble && self.random.percent(5) {
            self.up = !self.up;
        } else if !self.trouble {
            self.up = true;
        }
        if !self.up && self.stream.take().is_some() {
            let ended = Input::StreamEnded("gone".to_owned());
            self.at(
                Duration::from_millis(1),
                Happening::Deliver(self.generation, ended),
            );
        } else if self.trouble && self.random.percent(8) && self.stream.take().is_some() {
            let ended = Input::StreamEnded("broken".to_owned());
            self.at(
                Duration::from_millis(1),
                Happening::Deliver(self.generation, ended),
            );
        }
        if self.random.percent(10) {
            return;
        }
        let back = if self.random.percent(12) {
            1 + self.random.below(3)
        } else {
            0
        };
        let low = self.finalized.map_or(0, |(_, block)| self.node(block).slot);
        let parent = self.ancestor(self.head, self.slot.saturating_sub(1 + back * 2).max(low));
        let builds_on = match parent {
            0 => 0,
            parent if self.node(parent).revealed => parent,
            parent => self.node(parent).builds_on,
        };
        self.blocks.push(NodeBlock {
            parent,
            slot: self.slot,
            builds_on,
            revealed: false,
        });
        let number = self.blocks.len() as u64;
        self.head = number;
        self.tell(NodeEvent::Block {
            block_root: block_root(number),
            execution_optimistic: false,
        });
        self.tell(NodeEvent::Head {
            block_root: block_root(number),
            execution_optimistic: false,
        });
        if !self.random.percent(10) {
            self.at(Duration::from_millis(300), Happening::Reveal(number));
        }
        if self.slot.is_multiple_of(8) && self.slot > 16 {
            let finalized = self.ancestor(self.head, self.slot - 16);
            let epoch = self.slot / 8 - 2;
            if finalized > 0 {
                self.finalized = Some((epoch, finalized));
                self.tell(NodeEvent::Finalized(Checkpoint {
                    epoch: Epoch(epoch),
                    root: block_root(finalized),
                }));
            }
        }
    }

    fn tell(&mut self, event: NodeEvent) {
        let lost = self.trouble && self.random.percent(5);
        if self.stream == Some(self.generation) && !lost {
            let after = self.latency();
            self.at(after, Happening::Deliver(self.generation, Input::Event(event)));
        }
    }

    fn answer(&mut self, request: Request) -> Reply {
        if !self.up || (self.trouble && self.random.percent(10)) {
            return Reply::Failed("503".to_owned());
        }
        let number = |root: Root| u64::from_be_bytes(root.0[24..].try_into().unwrap());
        match request {
            Request::Network => Reply::SameNetwork,
            Request::Syncing => Reply::Syncing {
                is_syncing: false,
                distance: 0,
            },
            Request::Finality => {
                if let Some((epoch, block)) = self.finalized {
                    self.tree.set_finalized(Checkpoint {
                        epoch: Epoch(epoch),
                        root: block_root(block),
                    });
                }
                Reply::Done
            }
            Request::Head if self.head == 0 => Reply::NotFound,
            Request::Head => {
                self.tree.set_head(block_root(self.head), false);
                Reply::Done
            }
            Request::Block(root) => {
                let number = number(root);
                if number == 0 || (number == self.head && self.trouble && self.random.percent(10)) {
                    return Reply::NotFound;
                }
                let node = self.node(number);
                Reply::Block(
                    self.tree
                        .insert_block(gloas(number, node.parent, node.slot, node.builds_on)),
                )
            }
            Request::Envelope(root) => {
                let number = number(root);
                let node = self.node(number);
                if !node.revealed {
                    return Reply::NotFound;
                }
                self.tree.insert_payload(
                    payload(number, node.builds_on, node.slot),
                    PayloadSource::BeaconApi,
                );
                Reply::Done
            }
        }
    }

    fn input(&mut self, input: Input) {
        match &input {
            Input::Event(NodeEvent::Head {
                block_root,
                execution_optimistic,
            }) => {
                self.tree.set_head(*block_root, *execution_optimistic);
            }
            Input::Event(NodeEvent::Finalized(checkpoint)) => self.tree.set_finalized(*checkpoint),
            _ => {}
        }
        let mut again = false;
        for action in self.machine.on(input, &self.tree, self.now) {
            again |= matches!(action, Action::NoMoreAncestors(_));
            match action {
                Action::Ask(request) => {
                    self.asked += 1;
                    let first = self.under_way.insert(request);
                    let by_root = matches!(request, Request::Block(_) | Request::Envelope(_));
                    assert!(first || !by_root, "{request:?} is under way already");
                    assert!(self.under_way.len() <= 16, "{:?}", self.under_way);
                    let after = self.latency();
                    self.at(after, Happening::Answer(self.generation, request));
                }
                Action::OpenStream(_) => {
                    self.opening += 1;
                    self.stream = None;
                    // Some nodes say nothing before the first event, or nothing at all.
                    if !(self.trouble && self.random.percent(10)) {
                        let after = self.latency();
                        self.at(after, Happening::Stream(self.opening));
                    }
                }
                Action::CloseStream => {
                    self.opening += 1;
                    self.stream = None;
                }
                Action::NoEvents(_) => {}
                Action::Reset => {
                    self.opening += 1;
                    self.generation += 1;
                    self.stream = None;
                    self.under_way.clear();
                }
                Action::NoMoreAncestors(root) => self.tree.set_floor(root),
                Action::Synced(synced) => {
                    assert_ne!(self.synced, synced, "told once per change");
                    self.synced = synced;
                }
                Action::Connected(connected) => {
                    assert_ne!(self.connected, connected, "told once per change");
                    self.connected = connected;
                }
                Action::Report(health) => self.reports.push(health),
            }
        }
        if again {
            self.input(Input::Tick);
        }
        if self.synced {
            assert!(self.connected && self.tree.missing().ancestor.is_none());
        }
    }

    fn run(&mut self, slots: u64) {
        let until = self.now + SLOT * u32::try_from(slots).unwrap();
        let mut still = 0;
        while self.now < until {
            let tick = self.machine.next_tick(self.now);
            let next = self.queue.first_key_value().map(|((at, _), _)| *at).unwrap();
            if tick < next {
                still = if tick <= self.now { still + 1 } else { 0 };
                assert!(
                    still < 4,
                    "it wants ticks all the time at {:?}",
                    self.now - self.start
                );
                self.now = self.now.max(tick);
                self.input(Input::Tick);
                continue;
            }
            let ((at, _), happening) = self.queue.pop_first().unwrap();
            self.now = self.now.max(at);
            match happening {
                Happening::Slot => self.node_slot(),
                Happening::Reveal(number) => {
                    self.blocks[number as usize - 1].revealed = true;
                    self.tell(NodeEvent::Envelope {
                        block_root: block_root(number),
                    });
                }
                Happening::Deliver(generation, input) if generation == self.generation => self.input(input),
                Happening::Answer(generation, request) if generation == self.generation => {
                    self.under_way.remove(&request);
                    let reply = self.answer(request);
                    self.input(Input::Reply(request, reply));
                }
                Happening::Stream(opening) if opening == self.opening => {
                    if self.up && self.trouble && self.random.percent(10) {
                        self.input(Input::StreamRefused("400".to_owned()));
                    } else if self.up && !(self.trouble && self.random.percent(20)) {
                        self.stream = Some(self.generation);
                        self.input(Input::StreamOpened);
                    } else {
                        self.input(Input::StreamEnded("refused".to_owned()));
                    }
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_trouble_the_view_is_the_nodes(seed in any::<u64>(), slots in 5u64..120) {
        let mut simulation = Simulation::new(seed);
        simulation.run(slots);
        simulation.trouble = false;
        // The longest wait there is, then some slots to catch up in; the last head gets time to arrive.
        simulation.run(MAX_BACKOFF.as_secs() + EVENTS_AGAIN.as_secs() + 12);
        let told = simulation.reports.len();
        let asked = simulation.asked;
        simulation.run(12);
        prop_assert!(
            simulation.synced && simulation.connected,
            "{:?} missing {:?} under way {:?} head {} up {} reports {:?}",
            simulation.machine, simulation.tree.missing(), simulation.under_way, simulation.head, simulation.up, simulation.reports
        );
        prop_assert_eq!(simulation.machine.health(), &Health::Following);
        prop_assert_eq!(simulation.reports.len(), told, "nothing to tell while nothing changes: {:?}", simulation.reports);
        // In peace a slot costs a block, its envelope (asked for thrice at most where it is withheld) and a poll or two.
        prop_assert!(simulation.asked - asked < 12 * 8 + 20, "{} requests in 13 slots", simulation.asked - asked);

        let tree = &simulation.tree;
        // The newest block may be on its way.
        let now = tree.head().unwrap();
        let known: Vec<u64> = std::iter::successors(Some(simulation.head), |n| (*n > 0).then(|| simulation.node(*n).parent)).collect();
        let number = u64::from_be_bytes(now.block_root.0[24..].try_into().unwrap());
        prop_assert!(number >= simulation.blocks.len() as u64 - 1, "at {number} of {}", simulation.blocks.len());
        let finalized = simulation.finalized.map_or(0, |(_, block)| simulation.node(block).slot);
        for n in known.into_iter().filter(|n| *n > 0 && *n <= number && simulation.node(*n).slot > finalized) {
            let node = simulation.node(n);
            prop_assert!(tree.has_block(&block_root(n)), "block {n} is missing");
            if number == simulation.head {
                prop_assert_eq!(tree.canonical_block_at(Slot(node.slot)).map(|block| block.block_root), Some(block_root(n)));
            }
            // What the chain builds on is known; the last few may be on their way.
            if node.builds_on > 0 && node.slot + 3 < simulation.slot && simulation.node(node.builds_on).slot > finalized {
                prop_assert!(tree.payload(&request_root(node.builds_on)).is_some(), "payload {} of block {n}", node.builds_on);
            }
        }
    }
}
