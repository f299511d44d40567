//! One run: a node in a world, on its execution client alone or on the gate in front of it, in simulated time.

use super::{
    node::{Answer, Call, Habits, Head, Id, LatestValid, Node},
    world::{SLOT, SLOTS, World},
};
use assay_gate::{
    Asked, AskedPayload, Decision, ElAnswer, ForkchoiceState, Gate, GateConfig, ImportPolicy,
    OnMissingProofs, PayloadFacts, PayloadVerdict, RequestCheck, StatusWord, UnixMillis,
    machine::{Action, Alarm, CallId, Event},
};
use assay_types::{BlockHash, ForkName, Hash256, ProofKey, Root, Slot};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

/// When in the slot a node that repeats its forkchoiceUpdated does so: as it prepares for the next slot.
const REPEATED_AT: u64 = 8_000;
/// forkchoiceUpdated takes so long.
const FORKCHOICE_MS: u64 = 20;
/// A call that nobody answers.
const REFUSED_MS: u64 = 5;
/// An execution client that hangs answers after this.
const HANGING_MS: u64 = 6_000;
/// Longest that a call may take with its wait for proofs, as the endpoint has it: three quarters of the node's patience.
const LONGEST_CALL: u64 = 6_000;

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

    /// What the execution client says of a payload, and when.
    fn execution(&self, call: Call) -> (Answer, u64) {
        let within = |time: Option<(u64, u64)>| time.is_some_and(|(from, to)| (from..to).contains(&self.now));
        let (id, takes) = match call {
            Call::NewPayload(id) => (id, self.world.blocks[id].execution_ms),
            Call::Forkchoice { head, .. } => (head, FORKCHOICE_MS),
        };
        if within(self.world.away) {
            return (Answer::None, self.now + REFUSED_MS);
        }
        let answer = if !self.world.blocks[id].valid {
            Answer::Invalid(LatestValid::Hash(self.world.payload_parent(id)))
        } else if within(self.world.syncing)
            && self
                .world
                .away
                .is_some_and(|(from, _)| self.world.blocks[id].payload_at >= from)
        {
            // What it had before it has still.
            Answer::NotValidated
        } else {
            Answer::Valid
        };
        match within(self.world.hanging) {
            true => (answer, self.now + HANGING_MS),
            false => (answer, self.now + takes),
        }
    }

    fn submit(&mut self, call: Call) {
        self.calls += 1;
        let number = self.calls;
        let (el, at) = self.execution(call);
        let under = Under {
            call,
            el,
            first: None,
            silent: false,
            received: self.now,
        };
        if let Some(config) = self.config {
            if self.gate.is_none() {
                self.under.insert(
                    number,
                    Under {
                        el: Answer::None,
                        ..under
                    },
                );
                self.at(self.now + REFUSED_MS, What::Answered(number));
                return;
            }
            self.tell_gate(match call {
                Call::NewPayload(id) => Event::NewPayload {
                    payload: self.asked_payload(id),
                },
                Call::Forkchoice { .. } => Event::ForkchoiceUpdated {
                    state: state_of(call),
                },
            });
            if config.policy == ImportPolicy::ProofsOnly {
                self.under.insert(
                    number,
                    Under {
                        el: Answer::None,
                        ..under
                    },
                );
                self.at(self.now + REFUSED_MS, What::Answered(number));
                return;
            }
            if config.policy == ImportPolicy::AcceptProofs {
                self.at(self.now + config.execution_slow_after_ms, What::Silent(number));
            }
        }
        self.under.insert(number, under);
        self.at(at, What::Answered(number));
    }

    fn el_answered(&mut self, number: u64) {
        let Some(under) = self.under.get(&number) else {
            return;
        };
        let (call, el, received) = (under.call, under.el, under.received);
        let Some(config) = self.config.filter(|_| self.gate.is_some()) else {
            return self.answer(number, el);
        };
        let id = CallId(number);
        let answer = el_answer(call, el);
        let actions = self.tell_gate(match call {
            Call::NewPayload(payload) => Event::NewPayloadAnswered {
                call: id,
                payload: self.asked_payload(payload),
                answer,
            },
            Call::Forkchoice { .. } => Event::ForkchoiceUpdatedAnswered {
                call: id,
                state: Some(state_of(call)),
                answer,
            },
        });
        let (decision, waits) = decided(&actions, id);
        if !waits {
            return self.answer(number, heard(call, decision, el));
        }
        if let Some(under) = self.under.get_mut(&number) {
            under.first = Some(decision);
        }
        let until = (self.now + config.wait_for_proofs_ms).min(received + LONGEST_CALL);
        self.at(until.max(self.now), What::WaitOver(number));
    }

    fn wait_over(&mut self, number: u64) {
        let Some(first) = self.under.get(&number).and_then(|u| u.first) else {
            return;
        };
        let (call, el) = (self.under[&number].call, self.under[&number].el);
        let again = self.ask_again(number, word(el));
        let decision = if again.is_valid(word(el)) { again } else { first };
        self.answer(number, heard(call, decision, el));
    }

    /// A proof came, or the execution client has been silent for long: calls under way that it answers.
    fn look_again(&mut self) {
        let numbers: Vec<u64> = self
            .under
            .iter()
            .filter(|(_, u)| u.silent || u.first.is_some())
            .map(|(n, _)| *n)
            .collect();
        for number in numbers {
            let under = &self.under[&number];
            let (call, el, waits) = (under.call, under.el, under.first.is_some());
            let now_valid = self
                .gate
                .as_ref()
                .and_then(|gate| gate.payload(&hash(named(call))))
                .is_some_and(|view| view.verdict == PayloadVerdict::Valid);
            if !now_valid {
                continue;
            }
            if waits {
                self.wait_over(number);
            } else if self.ask_again(number, None).is_valid(None) {
                self.answer(number, heard(call, Decision::RaiseToValid(hash(named(call))), el));
            }
        }
    }

    fn ask_again(&mut self, number: u64, status: Option<StatusWord>) -> Decision {
        let asked = match self.under[&number].call {
            Call::NewPayload(id) => Asked::Payload(self.asked_payload(id)),
            Call::Forkchoice { head, .. } => Asked::Head(hash(head)),
        };
        let call = CallId(number);
        let actions = self.tell_gate(Event::AskedAgain { call, asked, status });
        decided(&actions, call).0
    }

    fn answer(&mut self, number: u64, answer: Answer) {
        let Some(under) = self.under.remove(&number) else {
            return;
        };
        let id = named(under.call);
        if let Answer::Invalid(_) = answer {
            self.run.invalid.insert(id);
        }
        if answer == Answer::Valid && !self.is_founded(id, under.el) {
            self.run.unfounded.insert(id);
        }
        self.node.answered(under.call, answer);
    }

    /// Whether a payload may be called VALID now, by design.md's table of policies.
    fn is_founded(&self, id: Id, el: Answer) -> bool {
        let Some(config) = self.config else { return true };
        let proven = |id: &Id| *id == 0 || self.stored.contains(id);
        let mut chain =
            std::iter::successors(Some(id), |at| (*at != 0).then(|| self.world.payload_parent(*at)));
        match (config.policy, config.on_missing_proofs) {
            (ImportPolicy::Observe, _)
            | (ImportPolicy::RequireProofs, OnMissingProofs::TrustExecution { .. }) => el == Answer::Valid,
            (ImportPolicy::RequireProofs, OnMissingProofs::Wait) => {
                el == Answer::Valid && chain.skip(config.proof_lag as usize).all(|at| proven(&at))
            }
            (ImportPolicy::AcceptProofs, _) => el == Answer::Valid || proven(&id),
            (ImportPolicy::ProofsOnly, _) => chain.all(|at| proven(&at)),
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

fn named(call: Call) -> Id {
    match call {
        Call::NewPayload(id) | Call::Forkchoice { head: id, .. } => id,
    }
}

fn bytes(id: Id, kind: u8) -> Hash256 {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&(id as u64 + 1).to_be_bytes());
    Hash256(bytes)
}

fn hash(id: Id) -> BlockHash {
    bytes(id, 0xaa)
}

fn root(id: Id) -> Root {
    bytes(id, 0xee)
}

fn proof_of(id: Id) -> ProofKey {
    ProofKey {
        new_payload_request_root: root(id),
        proof_type: 1,
    }
}

fn state_of(call: Call) -> ForkchoiceState {
    let (head, safe, finalized) = match call {
        Call::Forkchoice {
            head,
            safe,
            finalized,
        } => (head, safe, finalized),
        Call::NewPayload(id) => (id, None, None),
    };
    let or_zero = |id: Option<Id>| id.map_or(BlockHash::default(), hash);
    ForkchoiceState {
        head: hash(head),
        safe: or_zero(safe),
        finalized: or_zero(finalized),
    }
}

fn word(answer: Answer) -> Option<StatusWord> {
    match answer {
        Answer::Valid => Some(StatusWord::Valid),
        Answer::NotValidated => Some(StatusWord::Syncing),
        Answer::Invalid(_) => Some(StatusWord::Invalid),
        Answer::None => None,
    }
}

fn el_answer(call: Call, answer: Answer) -> ElAnswer {
    let latest_valid_hash = match answer {
        Answer::Valid => Some(hash(named(call))),
        Answer::Invalid(LatestValid::Hash(id)) => Some(hash(id)),
        Answer::Invalid(LatestValid::Zero) => Some(BlockHash::default()),
        Answer::Invalid(LatestValid::Null) | Answer::NotValidated | Answer::None => None,
    };
    match word(answer) {
        Some(status) => ElAnswer::Status {
            status,
            latest_valid_hash,
        },
        None => ElAnswer::Unavailable,
    }
}

fn decided(actions: &[Action], call: CallId) -> (Decision, bool) {
    let found = actions.iter().find_map(|action| match action {
        Action::Answer {
            call: of,
            decision,
            waits,
        } if *of == call => Some((*decision, *waits)),
        _ => None,
    });
    found.expect("every call is answered")
}

/// What the node hears.
fn heard(call: Call, decision: Decision, el: Answer) -> Answer {
    match decision {
        Decision::PassThrough => el,
        Decision::LowerToSyncing(_) => Answer::NotValidated,
        Decision::RaiseToValid(of) => {
            assert_eq!(of, hash(named(call)), "VALID names the payload asked about");
            Answer::Valid
        }
        Decision::Invalid => Answer::Invalid(LatestValid::Null),
        Decision::InvalidForkchoiceState => Answer::None,
    }
}
