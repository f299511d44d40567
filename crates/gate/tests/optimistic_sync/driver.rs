//! One run: a node in a world, on its execution client alone or on the gate in front of it, in simulated time.

mod calls;
mod words;

use self::words::{hash, proof_of, root};
use super::{
    node::{Answer, Call, Habits, Head, Id, Node},
    world::{SLOT, SLOTS, World},
};
use assay_gate::{
    AskedPayload, Decision, Gate, GateConfig, PayloadFacts, RequestCheck, UnixMillis,
    machine::{Action, Alarm, Event},
};
use assay_types::{ForkName, Slot};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

/// When in the slot a node that repeats its forkchoiceUpdated does so: as it prepares for the next slot.
const REPEATED_AT: u64 = 8_000;
/// What a validator on the node could do in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duty {
    /// Its head when attestations are due, and whether that is optimistic: then it does not attest.
    pub head: Head,
    pub optimistic: bool,
    /// Whether the head was optimistic at the slot's start: then it does not propose.
    pub optimistic_at_start: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    /// By slot, from 1.
    pub duties: Vec<Duty>,
    /// Each change of the head, or of whether it is optimistic, with its time.
    pub heads: Vec<(u64, Head, bool)>,
    pub end: Head,
    pub ends_optimistic: bool,
    /// Payloads of the final chain that it never took for valid.
    pub never_valid: usize,
    /// INVALID answers.
    pub invalid: BTreeSet<Id>,
    pub alarms: Vec<Alarm>,
    /// Payloads the gate called VALID when neither proofs nor, where that is enough, the execution client said so.
    pub unfounded: BTreeSet<Id>,
    pub taken_back: u64,
    pub ignored_votes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    GateDown,
    GateUp,
    SlotStarts(u64),
    Block(Id),
    Payload(Id),
    Vote(usize),
    Proof(Id),
    Answered(u64),
    Silent(u64),
    WaitOver(u64),
    Repeat,
    AttestationDue,
}

/// A call under way.
struct Under {
    call: Call,
    /// What the execution client will say.
    el: Answer,
    /// It has said it, and the gate waits for a proof: this is the answer otherwise.
    first: Option<Decision>,
    silent: bool,
    received: u64,
}

struct Sim<'w> {
    world: &'w World,
    node: Node,
    gate: Option<Gate>,
    config: Option<GateConfig>,
    records: BTreeMap<[u8; 32], Vec<u8>>,
    /// Proofs in the store.
    stored: BTreeSet<Id>,
    under: BTreeMap<u64, Under>,
    calls: u64,
    queue: BinaryHeap<Reverse<(u64, u64, What)>>,
    order: u64,
    now: u64,
    slot: u64,
    optimistic_at_start: bool,
    run: Run,
}

/// Runs a node through a world; `config`: behind a gate with these settings.
pub fn run(world: &World, habits: Habits, config: Option<GateConfig>) -> Run {
    let empty = Run {
        duties: Vec::new(),
        heads: Vec::new(),
        end: Head { block: 0, full: true },
        ends_optimistic: false,
        never_valid: 0,
        invalid: BTreeSet::new(),
        alarms: Vec::new(),
        unfounded: BTreeSet::new(),
        taken_back: 0,
        ignored_votes: 0,
    };
    let mut sim = Sim {
        world,
        node: Node::new(habits),
        gate: config.map(Gate::new),
        config,
        records: BTreeMap::new(),
        stored: BTreeSet::new(),
        under: BTreeMap::new(),
        calls: 0,
        queue: BinaryHeap::new(),
        order: 0,
        now: 0,
        slot: 0,
        optimistic_at_start: false,
        run: empty,
    };
    sim.schedule();
    sim.after_node();
    while let Some(Reverse((at, _, what))) = sim.queue.pop() {
        sim.now = at;
        sim.happen(what);
    }
    sim.conclude()
}

impl Sim<'_> {
    fn schedule(&mut self) {
        let due = if self.world.gloas { 3_000 } else { 4_000 };
        for slot in 1..=SLOTS {
            self.at(slot * SLOT, What::SlotStarts(slot));
            self.at(slot * SLOT + due, What::AttestationDue);
            self.at(slot * SLOT + REPEATED_AT, What::Repeat);
        }
        for (id, published) in self.world.blocks.iter().enumerate().skip(1) {
            self.at(published.block_at, What::Block(id));
            if self.world.gloas {
                self.at(published.payload_at, What::Payload(id));
            }
            if let Some(at) = published.proof_at {
                self.at(at, What::Proof(id));
            }
        }
        for (index, (at, _)) in self.world.votes.iter().enumerate() {
            self.at(*at, What::Vote(index));
        }
        if self.config.is_some() {
            for (from, to) in &self.world.down {
                self.at(*from, What::GateDown);
                self.at(*to, What::GateUp);
            }
        }
    }

    fn at(&mut self, at: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((at, self.order, what)));
    }

    fn happen(&mut self, what: What) {
        match what {
            What::SlotStarts(slot) => {
                self.slot = slot;
                self.optimistic_at_start = self.node.is_optimistic();
                self.tell_gate(Event::SlotStarted(Slot(slot)));
                self.node.slot_started(slot);
            }
            What::Block(id) => {
                let published = &self.world.blocks[id];
                let due = if self.world.gloas { 3_000 } else { 4_000 };
                let timely = self.now < published.block.slot * SLOT + due;
                self.node.block_seen(published.block.clone(), timely);
            }
            What::Payload(id) => self.node.payload_seen(id, self.world.blocks[id].payload_timely),
            What::Vote(index) => self.node.vote_seen(self.world.votes[index].1),
            What::Repeat => self.node.repeat(),
            What::AttestationDue => self.run.duties.push(Duty {
                head: self.node.head(),
                optimistic: self.node.is_optimistic(),
                optimistic_at_start: self.optimistic_at_start,
            }),
            What::Proof(id) => {
                self.stored.insert(id);
                self.tell_gate(Event::ProofVerified { key: proof_of(id) });
                self.look_again();
            }
            What::Answered(call) => self.el_answered(call),
            What::Silent(call) => {
                if let Some(under) = self.under.get_mut(&call) {
                    under.silent = true;
                }
                self.look_again();
            }
            What::WaitOver(call) => self.wait_over(call),
            What::GateDown => {
                self.gate = None;
                let under = std::mem::take(&mut self.under);
                for under in under.into_values() {
                    self.node.answered(under.call, Answer::None);
                }
            }
            What::GateUp => {
                let records = self.records.iter().map(|(k, v)| (*k, v.clone())).collect();
                let config = self.config.expect("only a gate goes down");
                let (gate, actions) =
                    Gate::restore(records, config, UnixMillis(self.now)).expect("its own records");
                self.gate = Some(gate);
                self.carry_out(actions);
                self.tell_gate(Event::SlotStarted(Slot(self.slot)));
            }
        }
        self.after_node();
    }

    /// Passes on what the node asks, and keeps its head.
    fn after_node(&mut self) {
        for call in self.node.take_calls() {
            self.submit(call);
        }
        let (head, optimistic) = (self.node.head(), self.node.is_optimistic());
        if self
            .run
            .heads
            .last()
            .is_none_or(|(_, h, o)| (*h, *o) != (head, optimistic))
        {
            self.run.heads.push((self.now, head, optimistic));
        }
    }

    fn tell_gate(&mut self, event: Event) -> Vec<Action> {
        let now = UnixMillis(self.now);
        let Some(gate) = &mut self.gate else {
            return Vec::new();
        };
        let actions = gate.on_event(event, now);
        self.carry_out(actions.clone());
        actions
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Persist { changes, .. } => {
                    for (key, value) in changes {
                        match value {
                            Some(value) => drop(self.records.insert(key, value)),
                            None => drop(self.records.remove(&key)),
                        }
                    }
                }
                Action::RecallProofs {
                    new_payload_request_root,
                    ..
                } => {
                    let held = self
                        .stored
                        .iter()
                        .copied()
                        .find(|id| root(*id) == new_payload_request_root);
                    if let Some(id) = held {
                        self.tell_gate(Event::ProofVerified { key: proof_of(id) });
                    }
                }
                Action::Alarm(alarm) => self.run.alarms.push(alarm),
                Action::Answer { .. }
                | Action::VerdictChanged(_)
                | Action::Reached(_)
                | Action::ToldFirst(_) => {}
            }
        }
    }

    fn asked_payload(&self, id: Id) -> AskedPayload {
        let payload = PayloadFacts {
            block_hash: hash(id),
            parent_hash: hash(self.world.payload_parent(id)),
            new_payload_request_root: root(id),
            slot: Slot(self.world.blocks[id].block.slot),
            fork: if self.world.gloas {
                ForkName::Gloas
            } else {
                ForkName::Fulu
            },
        };
        AskedPayload::Read {
            payload,
            check: RequestCheck::Matches,
        }
    }

    fn conclude(mut self) -> Run {
        self.run.end = self.node.head();
        self.run.ends_optimistic = self.node.is_optimistic();
        let (mut at, mut full) = self.world.tip;
        while at != 0 {
            self.run.never_valid += usize::from(full && !self.node.is_valid(at));
            let block = &self.world.blocks[at].block;
            (at, full) = (block.parent, block.on_payload);
        }
        self.run.taken_back = self.node.taken_back;
        self.run.ignored_votes = self.node.ignored;
        self.run
    }
}
