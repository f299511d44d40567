//! The machine against a model of what it may say: random trees, orders, EL answers (honest or not), proofs, finality,
//! changes of policy, restarts and crashes. Rules 1 to 7 hold after every event, and after a restart from what was
//! persisted at every prefix.
//!
//! The model knows the whole chain and keeps plain sets; it shares no code with the machine. Where the machine cannot
//! know a link between two payloads, the model asks the machine for the links it knows, and for nothing else.

mod judge;
mod world;

use super::*;
use judge::{Told, Waiting};
use proptest::prelude::*;
use std::collections::BTreeSet;
use world::*;

/// Payloads of a world: 1 to this.
const PAYLOADS: u8 = 9;
/// Hash of what came before payload 1, never seen by anybody.
const BEFORE: u8 = 100;

/// What the machine may say.
struct Model {
    world: World,
    config: GateConfig,
    gate: Gate,
    now: u64,
    calls: u64,
    /// Every batch of records, and whether it had to be durable.
    log: Vec<(Vec<RecordChange>, Durability)>,
    proofs: BTreeSet<(Root, ProofType)>,
    /// Trusted, with all their ancestors.
    anchors: BTreeSet<u8>,
    /// newPayload calls before the first fcU; `None` after it.
    claimed: Option<BTreeSet<u8>>,
    /// The EL's last word, by payload: whether it was VALID.
    el_valid: BTreeMap<u8, bool>,
    /// Of these it was INVALID.
    el_invalid: BTreeSet<u8>,
    /// The clock.
    slot: u64,
    /// From when the grace of a payload in the tree counts.
    waits_from: BTreeMap<u8, u64>,
    waiting: VecDeque<Waiting>,
    /// In the tree after the last event.
    in_tree: BTreeSet<u8>,
    /// Left the tree and nothing is remembered of them: what the EL said of them is forgotten.
    forgotten: BTreeSet<u8>,
    /// Told VALID, and whether under `require-proofs`.
    told: BTreeMap<u8, bool>,
    conflicts: BTreeSet<u8>,
    /// Roots told VALID under `require-proofs`.
    valid_roots: BTreeMap<u8, BTreeSet<Root>>,
}

impl Model {
    fn new(world: World) -> Self {
        let config = world.start;
        let mut gate = Gate::new(config);
        gate.max_payloads = world.max_payloads;
        Self {
            world,
            config,
            gate,
            now: 0,
            calls: 0,
            log: Vec::new(),
            proofs: BTreeSet::new(),
            anchors: BTreeSet::new(),
            claimed: Some(BTreeSet::new()),
            el_valid: BTreeMap::new(),
            el_invalid: BTreeSet::new(),
            slot: 0,
            waits_from: BTreeMap::new(),
            waiting: VecDeque::new(),
            in_tree: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            told: BTreeMap::new(),
            conflicts: BTreeSet::new(),
            valid_roots: BTreeMap::new(),
        }
    }

    /// Whether answers are the gate's, not the EL's alone.
    fn judges(&self) -> bool {
        self.config.policy != ImportPolicy::Observe
    }

    fn may_wait(&mut self, actions: &[Action], waiting: Waiting) {
        if actions
            .iter()
            .any(|a| matches!(a, Action::Answer { waits: true, .. }))
        {
            self.waiting.push_back(waiting);
        }
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.now += 1;
        let actions = self.gate.on_event(event, UnixMillis(self.now));
        self.carry_out(&actions);
        actions
    }

    fn carry_out(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::Persist { changes, durability } => self.log.push((changes.clone(), *durability)),
                Action::RecallProofs {
                    new_payload_request_root,
                    known,
                } => {
                    let of_root = |(r, _): &&(Root, ProofType)| r == new_payload_request_root;
                    let missing: Vec<_> = self.proofs.iter().filter(of_root).copied().collect();
                    for (root, proof_type) in missing.into_iter().filter(|(_, t)| !known.contains(t)) {
                        let key = ProofKey {
                            new_payload_request_root: root,
                            proof_type,
                        };
                        self.event(Event::ProofVerified { key });
                    }
                }
                _ => {}
            }
        }
    }

    fn records(&self, batches: usize) -> Vec<Record> {
        let mut records = BTreeMap::new();
        for (changes, _) in &self.log[..batches] {
            for (key, value) in changes {
                match value {
                    Some(value) => drop(records.insert(*key, value.clone())),
                    None => drop(records.remove(key)),
                }
            }
        }
        records.into_iter().collect()
    }

    fn receive(&mut self, n: u8, request: Request) {
        if let Some(claimed) = &mut self.claimed {
            claimed.insert(n);
        }
        let payload = self.world.asked(n, request);
        self.event(Event::NewPayload { payload });
    }

    fn end_startup(&mut self, head: u8) {
        let Some(claimed) = self.claimed.take() else {
            return;
        };
        let start = self.world.chain(head).into_iter().find(|n| !claimed.contains(n));
        self.anchors.extend(start);
    }

    fn import(&mut self, n: u8, request: Request, el: El) -> Result<(), TestCaseError> {
        self.receive(n, request);
        let check = check_of(request);
        let named = request == Request::Named;
        let root = self.world.facts(n, request).new_payload_request_root;
        // Where only the hash was read, the EL speaks of the hash.
        let own = named || (check != RequestCheck::Mismatch && self.bound_root(n).is_none_or(|r| r == root));
        let answer = self.answer(n, el);
        let told_before = self.told_with_ancestors();
        let losses = self.losses(n, own, answer);
        // An unchecked request has its place only by the EL's VALID.
        let heard = own
            && (named
                || check == RequestCheck::Matches
                || self.bound_root(n).is_some()
                || answer == valid(n));
        let no_place = check == RequestCheck::NotChecked && !named;
        self.el_said(
            n,
            own && (heard || is_invalid(answer) && self.gate.payload(&hash(n)).is_some())
                && !(no_place && is_waiting(answer)),
            self.world.parent(n),
            answer,
        );
        self.calls += 1;
        let call = CallId(self.calls);
        let actions = self.event(Event::NewPayloadAnswered {
            call,
            payload: self.world.asked(n, request),
            answer,
        });
        let bound = own && self.bound_root(n) == Some(root) && !named;
        let called = bound && answer == valid(n) && self.must_be_valid(n);
        let silent = matches!(answer, ElAnswer::Unavailable) || is_syncing_answer(answer);
        let raised = bound && silent && check == RequestCheck::Matches && self.must_be_raised(n);
        let must = called || raised;
        let decision = Bench::decided(&actions, call);
        let believes = self.config.policy == ImportPolicy::AcceptProofs;
        if named && self.judges() && !believes && is_valid(answer) {
            prop_assert_ne!(decision, Decision::PassThrough, "rule 5: {} was not read", n);
        }
        let waiting = Waiting {
            n,
            asked: Asked::Payload(self.world.asked(n, request)),
            status: answer.word(),
            root: Some(root),
        };
        self.may_wait(&actions, waiting);
        let told = Told {
            n,
            // Of one that could not be read nobody knows it.
            root: (!named).then_some(root),
            own,
            answer,
            told_before,
            losses,
        };
        self.judge(&told, decision, must)
    }

    fn head(&mut self, n: u8, finalized: Option<u8>, el: El) -> Result<(), TestCaseError> {
        // A beacon node finalizes ancestors of its head.
        let finalized = finalized.and_then(|f| self.world.chain(n).into_iter().find(|a| *a <= f && *a > 0));
        let finalized = finalized.filter(|f| *f <= PAYLOADS).map(hash).unwrap_or_default();
        let state = ForkchoiceState {
            head: hash(n),
            safe: finalized,
            finalized,
        };
        self.end_startup(n);
        self.event(Event::ForkchoiceUpdated { state });
        let answer = self.answer(n, el);
        let told_before = self.told_with_ancestors();
        let losses = self.losses(n, true, answer);
        let parent = self.known_chain(n).get(1).copied();
        self.el_said(n, true, parent, answer);
        self.calls += 1;
        let call = CallId(self.calls);
        let silent = matches!(answer, ElAnswer::Unavailable) || is_syncing_answer(answer);
        let must_before = (self.must_be_valid(n) && answer == valid(n)) || (silent && self.must_be_raised(n));
        let actions = self.event(Event::ForkchoiceUpdatedAnswered {
            call,
            state: Some(state),
            answer,
        });
        let told = Told {
            n,
            root: None,
            own: true,
            answer,
            told_before,
            losses,
        };
        let waiting = Waiting {
            n,
            asked: Asked::Head(hash(n)),
            status: answer.word(),
            root: None,
        };
        self.may_wait(&actions, waiting);
        self.judge(&told, Bench::decided(&actions, call), must_before)
    }

    /// Rule 11: answered by what is known, and neither head nor tree move.
    fn other_head(&mut self, n: u8) -> Result<(), TestCaseError> {
        let before = (self.gate.head, self.gate.tree.len(), self.gate.settled.len());
        let status = self.gate.client_said(&hash(n));
        let verdict = self.verdict(n);
        let stood = self
            .gate
            .settled
            .get(&hash(n))
            .is_some_and(|s| s.valid && !s.conflict);
        self.calls += 1;
        let call = CallId(self.calls);
        let actions = self.event(Event::OtherHead { call, head: hash(n) });
        let decision = Bench::decided(&actions, call);
        let after = (self.gate.head, self.gate.tree.len(), self.gate.settled.len());
        prop_assert_eq!(before.0, after.0, "rule 11: the head is the primary's");
        prop_assert!(after.1 <= before.1, "rule 11: nothing grows");
        let valid = verdict == Some(PayloadVerdict::Valid) || (verdict.is_none() && stood);
        prop_assert_eq!(
            decision.is_valid(None),
            valid,
            "rule 11: {} is {:?}, answered {:?}",
            n,
            verdict,
            decision
        );
        self.may_wait(
            &actions,
            Waiting {
                n,
                asked: Asked::Head(hash(n)),
                status,
                root: None,
            },
        );
        if !valid {
            prop_assert!(matches!(decision, Decision::LowerToSyncing(_)), "{:?}", decision);
            return Ok(());
        }
        if !self.judges() {
            self.told.entry(n).or_insert(false);
            return Ok(());
        }
        prop_assert!(
            !self.known_chain(n).iter().any(|a| self.conflicts.contains(a)),
            "rule 4: {} is in conflict",
            n
        );
        if verdict.is_some() {
            prop_assert_eq!(self.may_be_valid(n), Ok(()), "told another of {}", n);
        }
        self.note_valid(n, None)
    }

    fn again(&mut self) -> Result<(), TestCaseError> {
        let Some(waiting) = self.waiting.pop_front() else {
            return Ok(());
        };
        self.calls += 1;
        let call = CallId(self.calls);
        let actions = self.event(Event::AskedAgain {
            call,
            asked: waiting.asked,
            status: waiting.status,
        });
        self.judge_again(&waiting, Bench::decided(&actions, call))
    }

    fn change_config(&mut self, config: GateConfig) {
        let judges_by = |c: &GateConfig| {
            let requires = c.policy == ImportPolicy::RequireProofs;
            (
                c.policy,
                c.required_proofs,
                c.counted_types,
                requires.then_some((c.proof_lag, c.on_missing_proofs)),
            )
        };
        if judges_by(&config) != judges_by(&self.config) {
            for n in 1..=PAYLOADS {
                let view = self.gate.payload(&hash(n));
                let valid = view.is_some_and(|v| v.verdict == PayloadVerdict::Valid || v.told_valid);
                let stood = self.gate.settled.get(&hash(n)).is_some_and(|s| s.valid);
                if valid || stood {
                    self.anchors.insert(n);
                }
            }
        }
        self.config = config;
    }

    fn restart(&mut self, batches: usize) -> Result<(), TestCaseError> {
        let valid_before: Vec<_> = (1..=PAYLOADS)
            .filter(|n| self.verdict(*n) == Some(PayloadVerdict::Valid))
            .collect();
        let records = self.records(batches);
        let (gate, actions) = Gate::restore(records, self.config, UnixMillis(self.now)).unwrap();
        self.gate = gate;
        self.slot = self.gate.slot.0;
        // Whoever asked is gone.
        self.waiting.clear();
        self.gate.max_payloads = self.world.max_payloads;
        self.log.truncate(batches);
        self.carry_out(&actions);
        if self.judges() {
            for n in valid_before {
                let settled = self
                    .gate
                    .settled
                    .get(&hash(n))
                    .is_some_and(|s| s.valid && !s.conflict);
                prop_assert!(
                    settled || self.verdict(n) == Some(PayloadVerdict::Valid),
                    "{} was VALID",
                    n
                );
            }
        }
        for (n, required) in self.told.clone() {
            let told = self.gate.payload(&hash(n)).is_some_and(|v| v.told_valid)
                || self.gate.settled.get(&hash(n)).is_some_and(|s| s.told_valid);
            prop_assert!(
                told || !required,
                "rule 4: {} was told VALID, and it is forgotten",
                n
            );
            if !told {
                self.told.remove(&n);
            }
        }
        // What was not durable of the EL's word is gone.
        for n in 1..=PAYLOADS {
            if self.verdict(n).is_some() {
                self.hear_again(n);
            }
        }
        Ok(())
    }

    fn verdict(&self, n: u8) -> Option<PayloadVerdict> {
        self.gate.payload(&hash(n)).map(|v| v.verdict)
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Receive(n, request) => self.receive(n, request),
            Op::Import(n, request, el) => self.import(n, request, el)?,
            Op::Head(n, finalized, el) => self.head(n, finalized, el)?,
            Op::OtherHead(n) => self.other_head(n)?,
            Op::Seen(n, request) => {
                let (payload, check) = (self.world.facts(n, request), check_of(request));
                self.event(Event::PayloadSeen { payload, check });
            }
            Op::Prove(n, proof_type, other) => {
                let root = if other { other_root(n) } else { root(n) };
                self.proofs.insert((root, proof_type));
                let key = ProofKey {
                    new_payload_request_root: root,
                    proof_type,
                };
                self.event(Event::ProofVerified { key });
            }
            Op::Finalized(n) => drop(self.event(Event::Finalized { block_hash: hash(n) })),
            Op::SlotStarted(slot) => {
                self.slot = self.slot.max(u64::from(slot));
                self.event(Event::SlotStarted(Slot(u64::from(slot))));
            }
            Op::Again => self.again()?,
            Op::Config(config) => {
                self.change_config(config);
                self.event(Event::ConfigChanged(config));
            }
            Op::Anchor(n) => {
                if !self.gate.settled.contains(&hash(n)) {
                    self.anchors.insert(n);
                }
                self.event(Event::AnchorSet { block_hash: hash(n) });
            }
            Op::Resolve(n, keep) => {
                for decided in self.known_descendants(n).into_iter().chain([n]) {
                    self.conflicts.remove(&decided);
                    if !keep {
                        self.told.remove(&decided);
                    }
                }
                let resolution = match keep {
                    true => ConflictResolution::KeepValid,
                    false => ConflictResolution::AcceptInvalid,
                };
                self.event(Event::ConflictResolved {
                    block_hash: hash(n),
                    resolution,
                });
            }
            Op::Restart => self.restart(self.log.len())?,
            Op::Crash { lost } => {
                let durable = self
                    .log
                    .iter()
                    .rposition(|(_, d)| *d == Durability::BeforeAnswer)
                    .map_or(0, |i| i + 1);
                self.restart(self.log.len().saturating_sub(lost).max(durable))?;
            }
        }
        self.forget();
        self.verdicts_are_sound()?;
        self.restart_changes_nothing()
    }

    /// The EL's last word as far as it is kept; what it said of descendants still speaks of a payload.
    fn hear_again(&mut self, n: u8) {
        let el = |n: u8| self.gate.payload(&hash(n)).map(|v| v.el_status);
        let mut others = 1..=PAYLOADS;
        let implied = others.any(|d| el(d) == Some(ElStatus::Valid) && self.world.chain(d).contains(&n));
        let valid = match el(n) {
            Some(ElStatus::Unknown) | None => implied,
            Some(status) => status == ElStatus::Valid,
        };
        self.el_valid.insert(n, valid);
        match el(n) {
            Some(ElStatus::Invalid) => self.el_invalid.insert(n),
            _ => self.el_invalid.remove(&n),
        };
    }

    /// Payloads that were dropped, as of a branch that finality cut off, begin anew.
    fn forget(&mut self) {
        let in_tree: BTreeSet<u8> = (1..=PAYLOADS).filter(|n| self.verdict(*n).is_some()).collect();
        let settled = |n: &u8| self.gate.settled.contains(&hash(*n));
        self.forgotten
            .extend(self.in_tree.difference(&in_tree).filter(|n| !settled(n)));
        for n in &in_tree {
            if self.forgotten.remove(n) {
                self.hear_again(*n);
            }
        }
        let placed = |n: &u8| self.gate.payload(&hash(*n)).is_some_and(|v| v.slot.is_some());
        let now: BTreeSet<u8> = in_tree.iter().copied().filter(placed).collect();
        // Of what left by finality it is remembered that it was let go.
        let gate = &self.gate;
        self.waits_from
            .retain(|n, _| now.contains(n) || gate.settled.contains(&hash(*n)));
        for n in now {
            self.waits_from
                .entry(n)
                .or_insert_with(|| self.slot.max(u64::from(n)));
        }
        self.in_tree = in_tree;
    }

    /// Rules 2, 4, 6 and 7 on what the gate says when nobody asks it.
    fn verdicts_are_sound(&self) -> Result<(), TestCaseError> {
        if !self.judges() {
            return Ok(());
        }
        for n in 1..=PAYLOADS {
            if self.verdict(n) == Some(PayloadVerdict::Valid) {
                prop_assert_eq!(self.may_be_valid(n), Ok(()), "verdict of {}", n);
                prop_assert!(
                    !self.known_chain(n).iter().any(|a| self.conflicts.contains(a)),
                    "rule 4: verdict of {}",
                    n
                );
            }
        }
        Ok(())
    }

    fn restart_changes_nothing(&self) -> Result<(), TestCaseError> {
        let records = self.records(self.log.len());
        let (again, _) = Gate::restore(records, self.config, UnixMillis(self.now)).unwrap();
        for n in (1..=PAYLOADS).chain([BEFORE]) {
            prop_assert_eq!(
                again.payload(&hash(n)),
                self.gate.payload(&hash(n)),
                "{} after a restart",
                n
            );
            prop_assert_eq!(
                again.holds_back(&hash(n)),
                self.gate.holds_back(&hash(n)),
                "{} after a restart",
                n
            );
            prop_assert_eq!(
                again.settled.get(&hash(n)),
                self.gate.settled.get(&hash(n)),
                "{} after a restart",
                n
            );
        }
        Ok(())
    }
}

const fn is_syncing_answer(answer: ElAnswer) -> bool {
    matches!(
        answer,
        ElAnswer::Status {
            status: StatusWord::Syncing,
            ..
        }
    )
}

const fn is_invalid(answer: ElAnswer) -> bool {
    matches!(
        answer,
        ElAnswer::Status {
            status: StatusWord::Invalid,
            ..
        }
    )
}

const fn is_valid(answer: ElAnswer) -> bool {
    matches!(
        answer,
        ElAnswer::Status {
            status: StatusWord::Valid,
            ..
        }
    )
}

const fn is_waiting(answer: ElAnswer) -> bool {
    matches!(
        answer,
        ElAnswer::Status {
            status: StatusWord::Syncing | StatusWord::Accepted,
            ..
        }
    )
}

proptest! {
    /// Rules 1 to 7 at every prefix of any history, restarts and crashes included.
    #[test]
    fn rules_1_to_7_hold_at_every_prefix(
        world in any_world(),
        ops in proptest::collection::vec(any_op(), 1..70),
    ) {
        let mut model = Model::new(world);
        for (i, op) in ops.iter().enumerate() {
            model.run(*op).map_err(|e| TestCaseError::fail(format!("after event {i}, {op:?}: {e}")))?;
        }
    }
}
