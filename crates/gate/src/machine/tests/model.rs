//! The machine against a model of what it may say: random trees, orders, EL answers (honest or not), proofs, finality,
//! changes of policy, restarts and crashes. Rules 1 to 7 hold after every event, and after a restart from what was
//! persisted at every prefix.
//!
//! The model knows the whole chain and keeps plain sets; it shares no code with the machine. Where the machine cannot
//! know a link between two payloads, the model asks the machine for the links it knows, and for nothing else.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Payloads of a world: 1 to this.
const PAYLOADS: u8 = 9;
/// Hash of what came before payload 1, never seen by anybody.
const BEFORE: u8 = 100;

#[derive(Debug, Clone, Copy)]
enum Named {
    Null,
    Zero,
    Parent,
    Payload(u8),
    Unknown,
}

#[derive(Debug, Clone, Copy)]
enum El {
    Valid,
    ValidNaming(Named),
    Syncing(Named),
    Accepted,
    Invalid(Named),
    Error,
    Unavailable,
    Unreadable,
}

/// How a request stands to the payload its hash belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Request {
    Checked,
    Unchecked,
    OtherUnchecked,
    OtherMismatch,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Receive(u8, Request),
    Import(u8, Request, El),
    Head(u8, Option<u8>, El),
    Seen(u8, Request),
    Prove(u8, ProofType, bool),
    Finalized(u8),
    SlotStarted(u8),
    Config { observe: bool, k: u8 },
    Anchor(u8),
    Resolve(u8, bool),
    Restart,
    Crash { lost: usize },
}

fn any_payload() -> impl Strategy<Value = u8> {
    1..=PAYLOADS
}

fn any_named() -> impl Strategy<Value = Named> {
    prop_oneof![
        2 => Just(Named::Null),
        1 => Just(Named::Zero),
        4 => Just(Named::Parent),
        3 => any_payload().prop_map(Named::Payload),
        1 => Just(Named::Unknown),
    ]
}

fn any_el() -> impl Strategy<Value = El> {
    prop_oneof![
        16 => Just(El::Valid),
        1 => any_named().prop_map(El::ValidNaming),
        4 => Just(El::Syncing(Named::Null)),
        1 => any_named().prop_map(El::Syncing),
        1 => Just(El::Accepted),
        4 => any_named().prop_map(El::Invalid),
        1 => Just(El::Error),
        1 => Just(El::Unavailable),
        1 => Just(El::Unreadable),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        8 => Just(Request::Checked),
        3 => Just(Request::Unchecked),
        1 => Just(Request::OtherUnchecked),
        1 => Just(Request::OtherMismatch),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (any_payload(), any_request()).prop_map(|(n, r)| Op::Receive(n, r)),
        12 => (any_payload(), any_request(), any_el()).prop_map(|(n, r, e)| Op::Import(n, r, e)),
        8 => (any_payload(), proptest::option::of(any_payload()), any_el()).prop_map(|(n, f, e)| Op::Head(n, f, e)),
        3 => (any_payload(), any_request()).prop_map(|(n, r)| Op::Seen(n, r)),
        12 => (any_payload(), 1_u8..4, prop::bool::weighted(0.05)).prop_map(|(n, t, o)| Op::Prove(n, t, o)),
        1 => any_payload().prop_map(Op::Finalized),
        1 => (1_u8..60).prop_map(Op::SlotStarted),
        1 => (any::<bool>(), 1_u8..3).prop_map(|(observe, k)| Op::Config { observe, k }),
        1 => any_payload().prop_map(Op::Anchor),
        1 => (any_payload(), any::<bool>()).prop_map(|(n, keep)| Op::Resolve(n, keep)),
        1 => Just(Op::Restart),
        1 => (0_usize..8).prop_map(|lost| Op::Crash { lost }),
    ]
}

#[derive(Debug, Clone)]
struct World {
    /// Parent of payload `n + 1`.
    parents: Vec<u8>,
    start: GateConfig,
    max_payloads: usize,
}

fn any_world() -> impl Strategy<Value = World> {
    // Mostly long chains, with forks.
    let parents =
        proptest::collection::vec((0_u8..3, any::<u8>()), usize::from(PAYLOADS) - 1).prop_map(|picks| {
            let mut parents = vec![BEFORE];
            for (i, (kind, any)) in picks.iter().enumerate() {
                let newest = u8::try_from(i + 1).unwrap();
                parents.push(if *kind > 0 { newest } else { 1 + any % newest });
            }
            parents
        });
    let start = prop_oneof![1 => Just(observe()), 3 => Just(require(1)), 2 => Just(require(2))];
    (parents, start, prop_oneof![Just(MAX_PAYLOADS), Just(6)]).prop_map(|(parents, start, max_payloads)| {
        World {
            parents,
            start,
            max_payloads,
        }
    })
}

impl World {
    fn parent(&self, n: u8) -> Option<u8> {
        self.parents.get(usize::from(n).checked_sub(1)?).copied()
    }

    /// The payload and its ancestors, newest first.
    fn chain(&self, n: u8) -> Vec<u8> {
        std::iter::successors(Some(n), |n| self.parent(*n)).collect()
    }

    fn facts(&self, n: u8, request: Request) -> PayloadFacts {
        let facts = payload(n, self.parent(n).unwrap());
        match request {
            Request::Checked | Request::Unchecked => facts,
            _ => PayloadFacts {
                new_payload_request_root: other_root(n),
                ..facts
            },
        }
    }

    fn named(&self, n: u8, named: Named) -> Option<BlockHash> {
        match named {
            Named::Null => None,
            Named::Zero => Some(Hash256::ZERO),
            Named::Parent => self.parent(n).map(hash),
            Named::Payload(n) => Some(hash(n)),
            Named::Unknown => Some(hash(222)),
        }
    }
}

fn other_root(n: u8) -> Root {
    let mut bytes = [0xdd; 32];
    bytes[0] = n;
    Hash256(bytes)
}

fn number(hash: &BlockHash) -> u8 {
    hash.0[0]
}

fn check_of(request: Request) -> RequestCheck {
    match request {
        Request::Checked => RequestCheck::Matches,
        Request::Unchecked | Request::OtherUnchecked => RequestCheck::NotChecked,
        Request::OtherMismatch => RequestCheck::Mismatch,
    }
}

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
            in_tree: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            told: BTreeMap::new(),
            conflicts: BTreeSet::new(),
            valid_roots: BTreeMap::new(),
        }
    }

    fn requires(&self) -> bool {
        self.config.policy == ImportPolicy::RequireProofs
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

    /// Links as the machine knows them: the payload and its ancestors in the tree.
    fn known_chain(&self, n: u8) -> Vec<u8> {
        let parent = |n: &u8| {
            self.gate
                .payload(&hash(*n))
                .and_then(|v| v.parent_hash)
                .map(|h| number(&h))
        };
        std::iter::successors(Some(n), parent).collect()
    }

    /// Whoever the machine can see to stand on a payload, payloads that left the tree included.
    fn known_descendants(&self, n: u8) -> Vec<u8> {
        let canonical = self.gate.settled.get(&hash(n)).is_some_and(|s| s.canonical);
        let rooted = |a: &u8| self.gate.tree.get(&hash(*a)).is_some_and(|n| n.rooted);
        let stands_on = |d: &u8| {
            let chain = self.known_chain(*d);
            chain.contains(&n) || (canonical && chain.iter().any(rooted))
        };
        (1..=PAYLOADS).filter(stands_on).collect()
    }

    /// What the beacon node takes for VALID, as far as the machine can know: told, or ancestor of a told one.
    fn told_with_ancestors(&self) -> BTreeSet<u8> {
        self.told.keys().flat_map(|n| self.known_chain(*n)).collect()
    }

    fn bound_root(&self, n: u8) -> Option<Root> {
        let settled = || self.gate.settled.get(&hash(n)).and_then(|s| s.root);
        self.gate
            .payload(&hash(n))
            .and_then(|v| v.new_payload_request_root)
            .or_else(settled)
    }

    fn proven(&self, n: u8) -> bool {
        let Some(root) = self.bound_root(n) else {
            return false;
        };
        let types = self.proofs.iter().filter(|(r, _)| *r == root).count();
        types >= usize::from(self.config.required_proofs.get())
    }

    fn anchored(&self, n: u8) -> bool {
        self.anchors.iter().any(|a| self.world.chain(*a).contains(&n))
    }

    /// Rules 2, 6 and 7: whether VALID may be said of a payload at all.
    fn may_be_valid(&self, n: u8) -> Result<(), String> {
        if self.el_valid.get(&n) != Some(&true) {
            return Err(format!("the EL's last word on {n} is not VALID"));
        }
        for at in self.world.chain(n) {
            if self.anchored(at) {
                return Ok(());
            }
            if !self.proven(at) {
                return Err(format!("{at} is neither proven nor trusted"));
            }
        }
        Err("no anchor".to_owned())
    }

    /// Whether nothing holds a payload back that the EL just called VALID.
    fn must_be_valid(&self, n: u8) -> bool {
        for at in self.known_chain(n) {
            let Some(view) = self.gate.payload(&hash(at)) else {
                return false;
            };
            if view.conflict || self.known_chain(at).iter().any(|a| self.conflicts.contains(a)) {
                return false;
            }
            if view.anchor {
                // A conflict may lie below an anchor.
                return self.known_chain(at).iter().all(|a| {
                    self.gate.payload(&hash(*a)).is_none_or(|v| !v.conflict)
                        && self.gate.settled.get(&hash(*a)).is_none_or(|s| !s.conflict)
                });
            }
            if view.slot.is_none() || !self.proven(at) {
                return false;
            }
        }
        false
    }

    fn answer(&self, n: u8, el: El) -> ElAnswer {
        match el {
            El::Valid => valid(n),
            El::ValidNaming(named) => status(StatusWord::Valid, self.world.named(n, named)),
            El::Syncing(named) => status(StatusWord::Syncing, self.world.named(n, named)),
            El::Accepted => status(StatusWord::Accepted, None),
            El::Invalid(named) => status(StatusWord::Invalid, self.world.named(n, named)),
            El::Error => ElAnswer::Error,
            El::Unavailable => ElAnswer::Unavailable,
            El::Unreadable => ElAnswer::Unreadable,
        }
    }

    /// The model takes in the EL's answer before the machine sees it. `own`: the request is the payload's; `parent`:
    /// its parent, where the machine can know it.
    fn el_said(&mut self, n: u8, own: bool, parent: Option<u8>, answer: ElAnswer) {
        let ElAnswer::Status {
            status,
            latest_valid_hash,
        } = answer
        else {
            return;
        };
        match status {
            StatusWord::Valid if own && latest_valid_hash == Some(hash(n)) => {
                for at in self.world.chain(n) {
                    self.el_valid.insert(at, true);
                }
            }
            StatusWord::Valid => {}
            StatusWord::Syncing | StatusWord::Accepted => {
                if own && self.gate.payload(&hash(n)).is_some() {
                    self.el_valid.insert(n, false);
                }
            }
            StatusWord::Invalid => {
                let mut called: Vec<u8> = own.then_some(n).into_iter().collect();
                called.extend(self.known_called_ancestors(parent, latest_valid_hash));
                for at in &called {
                    for descendant in self.known_descendants(*at) {
                        self.el_valid.insert(descendant, false);
                    }
                }
                if self.requires() {
                    let told = self.told_with_ancestors();
                    self.conflicts
                        .extend(called.into_iter().filter(|n| told.contains(n)));
                }
            }
        }
    }

    /// Ancestors after the named one, where the machine can see that it is an ancestor.
    fn known_called_ancestors(&self, parent: Option<u8>, named: Option<BlockHash>) -> Vec<u8> {
        let (Some(parent), Some(named)) = (parent, named) else {
            return Vec::new();
        };
        let mut chain = self.known_chain(parent);
        let upto = chain.iter().position(|a| hash(*a) == named);
        match upto {
            Some(upto) => chain[..upto].to_vec(),
            None if named.is_zero() => {
                chain.retain(|a| self.gate.payload(&hash(*a)).is_some());
                chain
            }
            None => Vec::new(),
        }
    }

    /// What the beacon node takes for INVALID by an answer, knowing the whole chain.
    fn taken_for_invalid(&self, n: u8, own: bool, named: Option<BlockHash>) -> BTreeSet<u8> {
        let mut taken: BTreeSet<u8> = own.then_some(n).into_iter().collect();
        let chain = self.world.chain(n);
        let upto = match named {
            None => None,
            Some(named) if named.is_zero() => Some(chain.len()),
            Some(named) => chain.iter().position(|a| hash(*a) == named),
        };
        if let Some(upto) = upto.filter(|u| *u > 0) {
            taken.extend(&chain[1..upto]);
        }
        taken
    }

    /// What stands on payloads that the beacon node takes for INVALID, as far as the machine can see.
    fn losses(&self, n: u8, own: bool, answer: ElAnswer) -> BTreeSet<u8> {
        let ElAnswer::Status {
            latest_valid_hash, ..
        } = answer
        else {
            return BTreeSet::new();
        };
        let taken = self.taken_for_invalid(n, own, latest_valid_hash);
        let standing = taken.iter().flat_map(|t| self.known_descendants(*t)).collect();
        &taken | &standing
    }

    /// Rules 1, 3, 4, 5 and 7 on one answer.
    fn judge(
        &mut self,
        n: u8,
        root: Option<Root>,
        own: bool,
        answer: ElAnswer,
        decision: Decision,
        told_before: &BTreeSet<u8>,
        losses: &BTreeSet<u8>,
        must_pass: bool,
    ) -> Result<(), TestCaseError> {
        let ElAnswer::Status {
            status,
            latest_valid_hash,
        } = answer
        else {
            if !self.requires() || answer != ElAnswer::Unreadable {
                prop_assert_eq!(
                    decision,
                    Decision::PassThrough,
                    "errors pass, and all that is observed"
                );
            }
            return Ok(());
        };
        let passed = decision == Decision::PassThrough;
        if !self.requires() {
            prop_assert!(passed, "observe is the EL's word");
            if status == StatusWord::Valid && latest_valid_hash == Some(hash(n)) && own {
                self.told.entry(n).or_insert(false);
            }
            if status == StatusWord::Invalid {
                // The EL's word: what the machine can see to stand on it is not VALID any more.
                for lost in losses {
                    self.told.remove(lost);
                    self.conflicts.remove(lost);
                }
            }
            return Ok(());
        }
        let in_conflict = own && self.known_chain(n).iter().any(|a| self.conflicts.contains(a));
        match status {
            StatusWord::Valid if passed => {
                prop_assert_eq!(latest_valid_hash, Some(hash(n)), "rule 3");
                prop_assert!(own, "rule 5");
                prop_assert!(!in_conflict, "rule 4: {} is in conflict", n);
                if self.gate.payload(&hash(n)).is_some() {
                    prop_assert_eq!(self.may_be_valid(n), Ok(()), "told VALID of {}", n);
                }
                self.told.insert(n, true);
                let roots = self.valid_roots.entry(n).or_default();
                roots.extend(root);
                prop_assert!(roots.len() <= 1, "rule 5: two roots of {} were VALID", n);
            }
            StatusWord::Valid => prop_assert!(!must_pass, "nothing holds {} back: {:?}", n, decision),
            StatusWord::Invalid if passed => {
                prop_assert!(!in_conflict, "rule 4: {} is in conflict", n);
                let taken = self.taken_for_invalid(n, own, latest_valid_hash);
                let back: Vec<_> = taken.intersection(told_before).collect();
                prop_assert!(back.is_empty(), "rule 4: VALID of {:?} taken back", back);
            }
            StatusWord::Invalid => {}
            StatusWord::Syncing | StatusWord::Accepted if passed => {
                prop_assert_eq!(latest_valid_hash, None, "rule 3");
            }
            StatusWord::Syncing | StatusWord::Accepted => {}
        }
        Ok(())
    }

    fn receive(&mut self, n: u8, request: Request) {
        if let Some(claimed) = &mut self.claimed {
            claimed.insert(n);
        }
        let (payload, check) = (self.world.facts(n, request), check_of(request));
        self.event(Event::NewPayload { payload, check });
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
        let (payload, check) = (self.world.facts(n, request), check_of(request));
        let root = payload.new_payload_request_root;
        let own = check != RequestCheck::Mismatch && self.bound_root(n).is_none_or(|r| r == root);
        let answer = self.answer(n, el);
        let told = self.told_with_ancestors();
        let losses = self.losses(n, own, answer);
        // An unchecked request has its place only by the EL's VALID.
        let heard =
            own && (check == RequestCheck::Matches || self.bound_root(n).is_some() || answer == valid(n));
        let no_place = check == RequestCheck::NotChecked;
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
            payload: Some(payload),
            check,
            answer,
        });
        let must = own && self.requires() && self.must_be_valid(n) && self.bound_root(n) == Some(root);
        let must = must && answer == valid(n);
        self.judge(
            n,
            Some(root),
            own,
            answer,
            Bench::decided(&actions, call),
            &told,
            &losses,
            must,
        )
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
        let told = self.told_with_ancestors();
        let losses = self.losses(n, true, answer);
        let parent = self.known_chain(n).get(1).copied();
        self.el_said(n, true, parent, answer);
        self.calls += 1;
        let call = CallId(self.calls);
        let must_before = self.must_be_valid(n) && answer == valid(n) && self.requires();
        let actions = self.event(Event::ForkchoiceUpdatedAnswered {
            call,
            state: Some(state),
            answer,
        });
        self.judge(
            n,
            None,
            true,
            answer,
            Bench::decided(&actions, call),
            &told,
            &losses,
            must_before,
        )
    }

    fn change_config(&mut self, config: GateConfig) {
        if (config.policy, config.required_proofs) != (self.config.policy, self.config.required_proofs) {
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
        self.gate.max_payloads = self.world.max_payloads;
        self.log.truncate(batches);
        self.carry_out(&actions);
        if self.requires() {
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
            Op::SlotStarted(slot) => drop(self.event(Event::SlotStarted(Slot(u64::from(slot))))),
            Op::Config { observe: observes, k } => {
                let config = match observes {
                    true => GateConfig {
                        policy: ImportPolicy::Observe,
                        ..require(k)
                    },
                    false => require(k),
                };
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
        self.in_tree = in_tree;
    }

    /// Rules 2, 4, 6 and 7 on what the gate says when nobody asks it.
    fn verdicts_are_sound(&self) -> Result<(), TestCaseError> {
        if !self.requires() {
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

const fn is_invalid(answer: ElAnswer) -> bool {
    matches!(
        answer,
        ElAnswer::Status {
            status: StatusWord::Invalid,
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
