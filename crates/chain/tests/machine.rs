//! The follower's machine and the tree against a simulated beacon node, in simulated time: streams that break, a node that
//! goes away, answers that fail, come late or find nothing yet, events that are lost, reorgs, withheld payloads. Once the
//! trouble ends the view is the node's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use assay_chain::{
    ChainEvent, Checkpoint, PayloadSource,
    follower::{
        event::{NodeEvent, TopicsForm},
        machine::{
            Action, EVENTS_AGAIN, HEAD_FAILURES, Health, Input, MAX_BACKOFF, Machine, Reply, Request,
            WRONG_NETWORK_RECHECK,
        },
    },
    tree::{Insertion, Limits, Tree},
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

fn tree() -> Tree {
    Tree::new(LIMITS)
}

fn asks(actions: &[Action]) -> Vec<Request> {
    actions
        .iter()
        .filter_map(|action| {
            if let Action::Ask(request) = action {
                Some(*request)
            } else {
                None
            }
        })
        .collect()
}

/// A machine that is live at a head in slot 3, block 1 to 3 known.
fn live() -> (Machine, Tree, Instant) {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let mut tree = tree();
    for n in 1..=3 {
        tree.insert_block(fulu(n, n - 1, n));
    }
    tree.set_head(block_root(3), false);
    tree.set_floor(block_root(1));
    machine.on(Input::Tick, &tree, now);
    machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, now);
    machine.on(Input::StreamOpened, &tree, now);
    machine.on(
        Input::Reply(
            Request::Syncing,
            Reply::Syncing {
                is_syncing: false,
                distance: 0,
            },
        ),
        &tree,
        now,
    );
    machine.on(Input::Reply(Request::Finality, Reply::Done), &tree, now);
    let actions = machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now);
    assert_eq!(actions, [Action::Synced(true), Action::Report(Health::Following)]);
    let head = NodeEvent::Head {
        block_root: block_root(3),
        execution_optimistic: false,
    };
    assert_eq!(machine.on(Input::Event(head), &tree, now), []);
    (machine, tree, now)
}

#[test]
fn the_network_is_checked_before_anything_is_taken() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    assert_eq!(
        machine.on(Input::Tick, &tree(), now),
        [Action::Ask(Request::Network)]
    );
    let other = Reply::OtherNetwork("another".to_owned());
    let actions = machine.on(Input::Reply(Request::Network, other), &tree(), now);
    assert_eq!(
        actions,
        [
            Action::Report(Health::OtherNetwork("another".to_owned())),
            Action::Reset
        ]
    );
    assert_eq!(machine.next_tick(now), now + WRONG_NETWORK_RECHECK);
    let later = now + WRONG_NETWORK_RECHECK;
    assert_eq!(
        machine.on(Input::Tick, &tree(), later),
        [Action::Ask(Request::Network)]
    );
    let actions = machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree(), later);
    assert_eq!(
        asks(&actions),
        [Request::Syncing, Request::Finality, Request::Head]
    );
    assert!(
        actions.contains(&Action::OpenStream(TopicsForm::ALL[0]))
            && actions.contains(&Action::Connected(true))
    );
}

fn opened(actions: &[Action]) -> Option<TopicsForm> {
    actions.iter().find_map(|action| {
        if let Action::OpenStream(form) = action {
            Some(*form)
        } else {
            None
        }
    })
}

#[test]
fn forms_of_topics_are_tried_in_turn_and_the_one_that_works_is_kept() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let tree = tree();
    machine.on(Input::Tick, &tree, now);
    let actions = machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, now);
    assert_eq!(opened(&actions), Some(TopicsForm::ALL[0]));
    let refused = || Input::StreamRefused("400".to_owned());
    assert_eq!(
        opened(&machine.on(refused(), &tree, now)),
        Some(TopicsForm::ALL[1])
    );
    assert_eq!(
        opened(&machine.on(refused(), &tree, now)),
        Some(TopicsForm::ALL[2])
    );
    machine.on(Input::StreamOpened, &tree, now);
    let block = NodeEvent::Block {
        block_root: block_root(1),
        execution_optimistic: false,
    };
    machine.on(Input::Event(block), &tree, now);
    machine.on(Input::StreamEnded("end".to_owned()), &tree, now);
    let later = machine.next_tick(now);
    machine.on(Input::Tick, &tree, later);
    let actions = machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, later);
    assert_eq!(opened(&actions), Some(TopicsForm::ALL[2]));
}

#[test]
fn a_node_that_gives_no_events_is_followed_by_asking() {
    let (mut machine, mut tree, now) = live();
    machine.on(Input::StreamEnded("end".to_owned()), &tree, now);
    let mut at = machine.next_tick(now);
    machine.on(Input::Tick, &tree, at);
    machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, at);
    for form in 1..4 {
        assert_eq!(
            opened(&machine.on(Input::StreamRefused("400".to_owned()), &tree, at)),
            Some(TopicsForm::ALL[form])
        );
    }
    let actions = machine.on(Input::StreamRefused("400".to_owned()), &tree, at);
    assert_eq!(actions, [Action::CloseStream, Action::NoEvents("400".to_owned())]);
    let (mut polls, mut opens, end) = (0, 0, at + EVENTS_AGAIN + SLOT);
    while at < end {
        at = machine.next_tick(at);
        let mut actions = machine.on(Input::Tick, &tree, at);
        while let Some(action) = actions.pop() {
            match action {
                Action::Ask(Request::Head) => {
                    polls += 1;
                    tree.set_head(block_root(3 + polls), false);
                    actions.extend(machine.on(Input::Reply(Request::Head, Reply::Done), &tree, at));
                }
                Action::Ask(Request::Block(root)) => {
                    let n = u64::from_be_bytes(root.0[24..].try_into().unwrap());
                    let reply = Reply::Block(tree.insert_block(fulu(n, n - 1, n)));
                    actions.extend(machine.on(Input::Reply(Request::Block(root), reply), &tree, at));
                }
                Action::Ask(Request::Syncing) => {
                    let reply = Reply::Syncing {
                        is_syncing: false,
                        distance: 0,
                    };
                    actions.extend(machine.on(Input::Reply(Request::Syncing, reply), &tree, at));
                }
                Action::Ask(request) => {
                    actions.extend(machine.on(Input::Reply(request, Reply::Done), &tree, at))
                }
                Action::OpenStream(_) => {
                    opens += 1;
                    actions.extend(machine.on(Input::StreamRefused("400".to_owned()), &tree, at));
                }
                Action::Synced(_) | Action::Report(_) | Action::CloseStream => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(
        (200..300).contains(&polls),
        "{polls} polls in a minute of seconds-long slots"
    );
    assert_eq!(opens, 4, "all forms once more");
    assert_eq!(machine.health(), &Health::Following);
}

#[test]
fn a_stream_that_is_silent_about_new_heads_is_asked_for_in_another_form() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let mut tree = tree();
    machine.on(Input::Tick, &tree, now);
    machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, now);
    machine.on(Input::StreamOpened, &tree, now);
    let mut heads = |machine: &mut Machine, numbers: std::ops::RangeInclusive<u64>| {
        numbers
            .map(|n| {
                tree.insert_block(fulu(n, n - 1, n));
                tree.set_head(block_root(n), false);
                let mut actions = machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now);
                actions.extend(machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now));
                actions
            })
            .collect::<Vec<_>>()
    };
    let told = heads(&mut machine, 1..=3);
    assert_eq!(
        told.iter().map(|actions| opened(actions)).collect::<Vec<_>>(),
        [None, None, Some(TopicsForm::ALL[1])]
    );
    // One that was heard before is opened again in its form.
    machine.on(Input::StreamOpened, &Tree::new(LIMITS), now);
    let block = NodeEvent::Block {
        block_root: block_root(3),
        execution_optimistic: false,
    };
    machine.on(Input::Event(block), &Tree::new(LIMITS), now);
    let told = heads(&mut machine, 4..=6);
    assert!(
        told[2].contains(&Action::Reset) && !told[1].contains(&Action::Reset),
        "{told:?}"
    );
}

#[test]
fn a_node_that_cannot_tell_its_head_is_called_unreachable() {
    let (mut machine, tree, now) = live();
    let failed = || Input::Reply(Request::Head, Reply::Failed("503".to_owned()));
    assert_eq!(machine.on(failed(), &tree, now), []);
    machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now);
    for _ in 1..HEAD_FAILURES {
        assert_eq!(machine.on(failed(), &tree, now), []);
    }
    let actions = machine.on(failed(), &tree, now);
    assert!(
        actions.contains(&Action::Connected(false)) && actions.contains(&Action::Synced(false)),
        "{actions:?}"
    );
    assert_eq!(machine.health(), &Health::Unreachable("503".to_owned()));
}

#[test]
fn trouble_is_told_once_and_attempts_become_rarer() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let tree = tree();
    let (mut at, mut reports, mut waits) = (now, 0, Vec::new());
    for _ in 0..12 {
        machine.on(Input::Tick, &tree, at);
        let failed = Reply::Failed("refused".to_owned());
        let actions = machine.on(Input::Reply(Request::Network, failed), &tree, at);
        reports += actions
            .iter()
            .filter(|action| matches!(action, Action::Report(_)))
            .count();
        waits.push(machine.next_tick(at) - at);
        at = machine.next_tick(at);
    }
    assert_eq!(reports, 1);
    assert!(waits[0] < Duration::from_millis(300), "{waits:?}");
    assert!(
        waits[11] <= MAX_BACKOFF && waits[11] >= MAX_BACKOFF / 2,
        "{waits:?}"
    );
}

#[test]
fn a_new_head_every_slot_is_no_catching_up() {
    let (mut machine, mut tree, now) = live();
    tree.set_head(block_root(4), false);
    let head = || {
        Input::Event(NodeEvent::Head {
            block_root: block_root(4),
            execution_optimistic: false,
        })
    };
    let actions = machine.on(head(), &tree, now);
    assert_eq!(
        actions,
        [Action::Ask(Request::Block(block_root(4)))],
        "still synced"
    );
    assert_eq!(machine.on(head(), &tree, now), [], "asked for once");
    // It does not come: after a slot that is worth telling.
    let actions = machine.on(Input::Tick, &tree, now + SLOT);
    assert_eq!(
        actions,
        [Action::Synced(false), Action::Report(Health::CatchingUp)]
    );
    let insertion = tree.insert_block(fulu(4, 3, 4));
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(4)), Reply::Block(insertion)),
        &tree,
        now + SLOT,
    );
    assert_eq!(actions, [Action::Synced(true), Action::Report(Health::Following)]);
}

#[test]
fn a_gap_is_not_synced_and_is_walked_back() {
    let (mut machine, mut tree, now) = live();
    tree.insert_block(fulu(6, 5, 6));
    tree.set_head(block_root(6), false);
    let actions = machine.on(
        Input::Event(NodeEvent::Head {
            block_root: block_root(6),
            execution_optimistic: false,
        }),
        &tree,
        now,
    );
    assert_eq!(
        actions,
        [Action::Ask(Request::Block(block_root(5))), Action::Synced(false)]
    );
    let insertion = tree.insert_block(fulu(5, 4, 5));
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(5)), Reply::Block(insertion)),
        &tree,
        now,
    );
    assert_eq!(asks(&actions), [Request::Block(block_root(4))]);
    // The node does not have it: after another try the view begins above.
    let missing = || Input::Reply(Request::Block(block_root(4)), Reply::NotFound);
    let mut at = now;
    let mut all = machine.on(missing(), &tree, at);
    for _ in 0..5 {
        at += Duration::from_secs(1);
        let actions = machine.on(Input::Tick, &tree, at);
        if asks(&actions).contains(&Request::Block(block_root(4))) {
            all.extend(machine.on(missing(), &tree, at));
        }
    }
    assert!(all.contains(&Action::NoMoreAncestors(block_root(5))), "{all:?}");
}

#[test]
fn the_walk_back_waits_for_the_finalized_block() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let mut tree = tree();
    machine.on(Input::Tick, &tree, now);
    machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, now);
    machine.on(Input::StreamOpened, &tree, now);
    tree.insert_block(fulu(9, 8, 9));
    tree.set_head(block_root(9), false);
    assert_eq!(
        asks(&machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now)),
        []
    );
    tree.set_finalized(Checkpoint {
        epoch: Epoch(1),
        root: block_root(5),
    });
    let actions = machine.on(Input::Reply(Request::Finality, Reply::Done), &tree, now);
    assert_eq!(asks(&actions), [Request::Block(block_root(5))]);
    let insertion = tree.insert_block(fulu(5, 4, 5));
    assert!(
        matches!(tree.take_events().last(), Some(ChainEvent::Finalized { .. })),
        "{insertion:?}"
    );
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(5)), Reply::Block(insertion)),
        &tree,
        now,
    );
    assert_eq!(asks(&actions), [Request::Block(block_root(8))]);
}

#[test]
fn a_walk_that_is_too_long_begins_the_view_above() {
    let (mut machine, mut tree, now) = live();
    let far = 1_000_000;
    tree.insert_block(fulu(far, far - 1, far));
    tree.insert_block(fulu(far - 1, 100, far - 40_000));
    tree.set_head(block_root(far), false);
    let actions = machine.on(
        Input::Event(NodeEvent::Head {
            block_root: block_root(far),
            execution_optimistic: false,
        }),
        &tree,
        now,
    );
    assert!(
        actions.contains(&Action::NoMoreAncestors(block_root(far - 1))),
        "{actions:?}"
    );
}

#[test]
fn a_node_that_syncs_itself_is_followed_and_not_called_synced() {
    let (mut machine, tree, now) = live();
    let syncing = Reply::Syncing {
        is_syncing: true,
        distance: 50,
    };
    let actions = machine.on(Input::Reply(Request::Syncing, syncing), &tree, now);
    assert_eq!(
        actions,
        [
            Action::Synced(false),
            Action::Report(Health::NodeSyncing { distance: 50 })
        ]
    );
    let closer = Reply::Syncing {
        is_syncing: true,
        distance: 20,
    };
    assert_eq!(
        machine.on(Input::Reply(Request::Syncing, closer), &tree, now),
        [],
        "told once"
    );
}

#[test]
fn blocks_of_other_branches_are_fetched_with_their_parents() {
    let (mut machine, mut tree, now) = live();
    let told = Input::Event(NodeEvent::Block {
        block_root: block_root(15),
        execution_optimistic: false,
    });
    assert_eq!(
        asks(&machine.on(told, &tree, now)),
        [Request::Block(block_root(15))]
    );
    let insertion = tree.insert_block(fulu(15, 14, 5));
    assert_eq!(insertion, Insertion::New);
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(15)), Reply::Block(insertion)),
        &tree,
        now,
    );
    assert_eq!(asks(&actions), [Request::Block(block_root(14))]);
    let insertion = tree.insert_block(fulu(14, 2, 4));
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(14)), Reply::Block(insertion)),
        &tree,
        now,
    );
    assert_eq!(actions, []);
}

#[test]
fn an_envelope_is_asked_for_when_told_else_by_the_clock_and_given_up_when_withheld() {
    let (mut machine, mut tree, now) = live();
    let insert = |machine: &mut Machine, tree: &mut Tree, n: u64, builds_on| {
        tree.set_head(block_root(n), false);
        let head = NodeEvent::Head {
            block_root: block_root(n),
            execution_optimistic: false,
        };
        machine.on(Input::Event(head), tree, now);
        let insertion = tree.insert_block(gloas(n, n - 1, n, builds_on));
        machine.on(
            Input::Reply(Request::Block(block_root(n)), Reply::Block(insertion)),
            tree,
            now,
        )
    };
    assert_eq!(
        asks(&insert(&mut machine, &mut tree, 4, 3)),
        [],
        "it is yet to come"
    );
    let told = Input::Event(NodeEvent::Envelope {
        block_root: block_root(4),
    });
    assert_eq!(
        asks(&machine.on(told, &tree, now)),
        [Request::Envelope(block_root(4))]
    );
    tree.insert_payload(payload(4, 3, 4), PayloadSource::BeaconApi);
    machine.on(
        Input::Reply(Request::Envelope(block_root(4)), Reply::Done),
        &tree,
        now,
    );

    // No event for the next: the clock.
    insert(&mut machine, &mut tree, 5, 4);
    let (mut at, mut tries) = (now, 0);
    for _ in 0..40 {
        at += SLOT / 4;
        for request in asks(&machine.on(Input::Tick, &tree, at)) {
            let reply = match request {
                Request::Envelope(_) => {
                    tries += 1;
                    Reply::NotFound
                }
                Request::Syncing => Reply::Syncing {
                    is_syncing: false,
                    distance: 0,
                },
                _ => Reply::Done,
            };
            machine.on(Input::Reply(request, reply), &tree, at);
        }
    }
    assert_eq!(tries, 3, "withheld");
    // A child that builds on it shows that it is there after all.
    let actions = insert(&mut machine, &mut tree, 6, 5);
    assert_eq!(asks(&actions), [Request::Envelope(block_root(5))]);
}
