//! The gate's decision as a state machine without I/O: `on_event(event, now) -> actions`.
//!
//! | file | what it holds |
//! |---|---|
//! | `event` | what happens to the gate |
//! | `action` | what it asks for: answers, records, alarms, verdict changes |
//! | `config` | what the operator chooses |
//! | `node` | one payload |
//! | `tree` | payloads by hash, and how each gets its place |
//! | `standing` | what follows from each for its descendants, and its verdict |
//! | `told` | what the beacon node was told of it |
//! | `anchors` | what is trusted (rule 2) |
//! | `history` | the last changes of a payload's verdict |
//! | `settled` | what is remembered of payloads that left the tree |
//! | `startup` | which block the beacon node started from (rule 2) |
//! | `decide` | what calls are answered |
//! | `streams` | whose heads and finality these are |
//! | `explain` | why a payload is not VALID |
//! | `invalid` | what the EL's INVALID means where VALID was told (rule 4) |
//! | `recursive` | proofs that close the holes below them |
//! | `forget` | proofs of types whose number stands for another program |
//! | `forms` | records under request roots of another form |
//! | `prune` | finality and the tree's limit |
//! | `flush` | what an event leaves: records, then what they make true |
//! | `record` | the records' bytes, written and read |
//! | `restore` | the gate as its records have it |
//! | `snapshot` | what is shown of it |

mod action;
mod anchors;
mod config;
mod decide;
mod event;
mod explain;
mod flush;
mod forget;
mod forms;
mod history;
mod invalid;
mod node;
mod prune;
mod record;
mod recursive;
mod restore;
mod settled;
mod snapshot;
mod standing;
mod startup;
mod streams;
mod told;
mod tree;

pub use action::{
    Action, Alarm, Cause, Decision, Durability, HeldBy, Milestone, PayloadVerdict, Record, RecordChange,
    Step, VerdictChange,
};
pub use config::{
    DEFAULT_ALERT_AFTER_SLOTS, DEFAULT_EXECUTION_SLOW_AFTER_MS, GateConfig, ImportPolicy, MAX_PROOF_LAG,
    MAX_WAIT_FOR_PROOFS_MS, OnMissingProofs, ProofTypeSet, UnknownPolicy,
};
pub use event::{
    Asked, AskedPayload, CallId, ConflictResolution, ElAnswer, Event, ForkchoiceState, PayloadFacts,
    RequestCheck, StatusWord, UnixMillis,
};
pub use explain::{HoldingAncestor, RememberedPayload};
pub use forget::{Forgotten, forget_proof_types};
pub use history::PastChange;
pub use node::{ElStatus, Times};
pub use prune::MAX_PAYLOADS;
pub use restore::RestoreError;
pub use snapshot::{GateStats, PayloadView};

use assay_types::{BlockHash, ProofKey, ProofType, Root, Slot};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use self::{
    history::Histories, prune::Pruned, recursive::RecursiveProofs, settled::Settled, startup::Startup,
    streams::HeadStreams, tree::Tree,
};

/// Request roots whose proofs are kept although their payload is not in the tree; the oldest is forgotten first, and
/// asked for again (`Action::RecallProofs`) when the payload comes.
pub const MAX_EARLY_ROOTS: usize = 4096;

/// The import decision (design.md, Gate).
///
/// Rules 1 to 7 hold after every event, whatever the order. Actions are to be carried out in their order, and those of
/// one event before those of the next.
#[derive(Debug, Clone)]
pub struct Gate {
    config: GateConfig,
    tree: Tree,
    settled: Settled,
    histories: Histories,
    early: EarlyProofs,
    recursive: RecursiveProofs,
    other_forms: forms::OtherForms,
    /// `Some` until the block the beacon node started from is known.
    startup: Option<Startup>,
    /// Head of the (primary) beacon node's last fcU.
    head: Option<BlockHash>,
    streams: HeadStreams,
    pruned: Option<Pruned>,
    /// Something turned VALID since finality was applied: more may leave the tree.
    prune_again: bool,
    max_payloads: usize,
    slot: Slot,
    /// Canonical payloads up to this slot were looked for, and those that lack proofs told of.
    alerted_to: Slot,
    /// Of this payload and all its ancestors in the tree that is so; none is missing among them.
    alerted_below: Option<BlockHash>,
    stats: GateStats,
    out: Out,
}

/// What an event leaves behind, collected while it is handled.
#[derive(Debug, Clone, Default)]
struct Out {
    /// Keys whose record changed.
    dirty: BTreeSet<BlockHash>,
    /// Payloads whose claim (`startup`) came or went.
    claims: BTreeSet<BlockHash>,
    meta: bool,
    durable: bool,
    changes: Vec<VerdictChange>,
    reached: Vec<Milestone>,
    alarms: Vec<Alarm>,
    answers: Vec<(CallId, Decision, bool)>,
    recalls: Vec<Root>,
    /// See `Action::ToldFirst`.
    told_first: Vec<BlockHash>,
}

/// Proofs of payloads that are not in the tree.
#[derive(Debug, Clone, Default)]
struct EarlyProofs {
    by_root: HashMap<Root, BTreeMap<ProofType, UnixMillis>>,
    order: VecDeque<Root>,
}

impl EarlyProofs {
    fn insert(&mut self, key: ProofKey, now: UnixMillis) {
        let root = key.new_payload_request_root;
        if !self.by_root.contains_key(&root) {
            if self.order.len() >= MAX_EARLY_ROOTS
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_root.remove(&oldest);
            }
            self.order.push_back(root);
        }
        self.by_root
            .entry(root)
            .or_default()
            .entry(key.proof_type)
            .or_insert(now);
    }

    fn take(&mut self, root: &Root) -> BTreeMap<ProofType, UnixMillis> {
        let Some(proofs) = self.by_root.remove(root) else {
            return BTreeMap::new();
        };
        self.order.retain(|r| r != root);
        proofs
    }
}

impl Gate {
    /// A gate that knows nothing yet.
    pub fn new(config: GateConfig) -> Self {
        Self {
            config,
            tree: Tree::default(),
            settled: Settled::default(),
            histories: Histories::default(),
            early: EarlyProofs::default(),
            other_forms: forms::OtherForms::default(),
            recursive: RecursiveProofs::default(),
            startup: Some(Startup::default()),
            head: None,
            streams: HeadStreams::default(),
            pruned: None,
            prune_again: false,
            max_payloads: MAX_PAYLOADS,
            slot: Slot(0),
            alerted_to: Slot(0),
            alerted_below: None,
            stats: GateStats::default(),
            out: Out {
                meta: true,
                ..Out::default()
            },
        }
    }

    /// Takes in what happened and says what is to be done.
    pub fn on_event(&mut self, event: Event, now: UnixMillis) -> Vec<Action> {
        match event {
            Event::NewPayload { payload } => self.new_payload(payload, now),
            Event::NewPayloadAnswered {
                call,
                payload,
                answer,
            } => {
                let decision = self.new_payload_answered(payload, answer, now);
                let waits = self.waits_for_proofs(&Asked::Payload(payload), answer.word());
                self.answer(call, decision, answer, waits);
            }
            Event::ForkchoiceUpdated { state } => self.forkchoice_updated(state, now),
            Event::ForkchoiceUpdatedAnswered { call, state, answer } => {
                let decision = self.forkchoice_updated_answered(state, answer, now);
                let head = state.map_or(BlockHash::default(), |s| s.head);
                let waits = self.waits_for_proofs(&Asked::Head(head), answer.word());
                self.answer(call, decision, answer, waits);
            }
            Event::AskedAgain { call, asked, status } => self.asked_again(call, asked, status, now),
            Event::OtherPayload { payload } => self.other_payload(payload, now),
            Event::OtherHead { call, head } => self.other_head(call, head, now),
            Event::PayloadSeen { payload, check } => {
                self.take_form(&payload, check, now);
                if check == RequestCheck::Matches {
                    self.place(payload, now);
                }
            }
            Event::ProofVerified { key } => self.proof_verified(key, now),
            Event::RecursiveProofVerified { key, origin } => self.recursive_proof_verified(key, origin, now),
            Event::Finalized { block_hash } => self.finalize(block_hash, now),
            Event::SlotStarted(slot) => self.slot_started(slot, now),
            Event::ConfigChanged(config) => self.config_changed(config, now),
            Event::AnchorSet { block_hash } => self.set_anchor(block_hash, now),
            Event::ClientsDisagree { block_hash } => self.alarm(Alarm::ClientsDisagree { block_hash }),
            Event::ForeignPayload { block_hash, chain_id } => {
                self.alarm(Alarm::ForeignPayload { block_hash, chain_id });
            }
            Event::PassedValid { block_hash } => self.passed_valid(block_hash, now),
            Event::NotTold { payloads } => self.not_told(&payloads, now),
            Event::ConflictResolved {
                block_hash,
                resolution,
            } => {
                self.resolve_conflict(block_hash, resolution, now);
            }
        }
        self.close_holes(now);
        if self.prune_again
            && let Some(pruned) = self.pruned
        {
            self.finalize(pruned.finalized, now);
        }
        self.flush()
    }

    /// The settings in force.
    pub fn config(&self) -> &GateConfig {
        &self.config
    }

    /// A call that waits is counted when its wait is over.
    fn answer(&mut self, call: CallId, decision: Decision, answer: ElAnswer, waits: bool) {
        if !waits {
            self.stats.count_answer(&decision, answer);
        }
        self.out.answers.push((call, decision, waits));
    }

    fn alarm(&mut self, alarm: Alarm) {
        self.stats.alarms += 1;
        self.out.alarms.push(alarm);
    }

    /// Rule 6: a proof counts for the payload whose root it names, and no other.
    fn proof_verified(&mut self, key: ProofKey, now: UnixMillis) {
        let Some(hash) = self.tree.hash_of_root(&key.new_payload_request_root) else {
            self.early.insert(key, now);
            return;
        };
        let config = self.config;
        let Some(node) = self.tree.get_mut(&hash) else {
            return;
        };
        if node.proofs.contains_key(&key.proof_type) {
            return;
        }
        node.proofs.insert(key.proof_type, now);
        let mut steps = Vec::new();
        if config.counted_types.contains(key.proof_type) && node.proof_count(&config.counted_types) == 1 {
            steps.push(Step::FirstProof);
        }
        if node.is_proven(&config) && node.times.proven_at.is_none() {
            node.times.proven_at = Some(now);
            steps.push(Step::Proven);
        }
        let facts = node.facts;
        for (facts, step) in facts.iter().flat_map(|f| steps.iter().map(move |s| (f, *s))) {
            self.reached(facts, step, now);
        }
        self.out.dirty.insert(hash);
        self.recompute(vec![hash], Cause::Proof, now);
    }

    /// The alarm of `--alert-after-slots`: canonical payloads that are old enough and lack proofs, each once.
    fn slot_started(&mut self, slot: Slot, now: UnixMillis) {
        self.slot = self.slot.max(slot);
        self.release(now);
        let due = self.slot.saturating_sub(self.config.alert_after_slots);
        if due <= self.alerted_to {
            return;
        }
        let need = self.config.required_proofs.get();
        let counted = self.config.counted_types;
        let mut cursor = self.head;
        let mut alarms = Vec::new();
        let mut newest_due = None;
        // A payload may become canonical, or fill a hole, long after its slot: how far back was looked is told by the
        // payload, not by the slot.
        let complete = loop {
            let Some(hash) = cursor else { break false };
            if self.alerted_below == Some(hash) {
                break true;
            }
            let Some(node) = self.tree.get_mut(&hash) else {
                break false;
            };
            if node.anchor {
                break true;
            }
            let Some(facts) = node.facts else { break false };
            if facts.slot <= due {
                newest_due.get_or_insert(hash);
                let have = node.proof_count(&counted);
                if have < need && !node.alerted {
                    node.alerted = true;
                    self.out.dirty.insert(hash);
                    alarms.push(Alarm::Unproven {
                        block_hash: hash,
                        slot: facts.slot,
                        have,
                        need,
                    });
                }
            }
            if node.rooted.is_some() && !self.tree.contains(&facts.parent_hash) {
                break true;
            }
            cursor = Some(facts.parent_hash);
        };
        if complete && newest_due.is_some() {
            self.alerted_below = newest_due;
        }
        self.alerted_to = due;
        for alarm in alarms.into_iter().rev() {
            self.alarm(alarm);
        }
    }

    /// Rule 2: what was VALID when the policy took effect is an anchor.
    fn config_changed(&mut self, config: GateConfig, now: UnixMillis) {
        let judges_alike = config.judges_as(&self.config);
        let valid: Vec<_> = self
            .tree
            .iter()
            .filter(|(_, n)| !n.standing.conflict)
            .filter(|(_, n)| n.told_valid || self.verdict(n) == PayloadVerdict::Valid)
            .map(|(hash, _)| *hash)
            .collect();
        self.config = config;
        self.out.meta = true;
        self.out.durable = true;
        if judges_alike {
            return;
        }
        for hash in valid {
            self.mark_anchor(hash, now);
        }
        for (hash, node) in self.tree.iter_mut() {
            let proven = node.is_proven(&config) && node.times.proven_at.is_none();
            if proven {
                node.times.proven_at = Some(now);
            }
            if std::mem::take(&mut node.released) || proven {
                self.out.dirty.insert(*hash);
            }
        }
        self.recompute_all(Cause::Operator, now);
        self.release(now);
    }

    /// `--on-missing-proofs trust-execution`: payloads whose grace is over.
    fn release(&mut self, now: UnixMillis) {
        let Some(grace_slots) = self.config.grace_slots() else {
            return;
        };
        let config = self.config;
        let due: Vec<BlockHash> = self
            .tree
            .iter()
            .filter(|(_, n)| n.facts.is_some() && !n.anchor && !n.released && !n.is_proven(&config))
            .filter(|(_, n)| n.waits_from.saturating_add(grace_slots) <= self.slot)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in &due {
            if let Some(node) = self.tree.get_mut(hash) {
                node.released = true;
                self.out.dirty.insert(*hash);
            }
        }
        self.out.meta |= !due.is_empty();
        self.recompute(due, Cause::Grace, now);
    }
}

#[cfg(test)]
mod tests;
