//! The gate's records: one per payload under its block hash, and one for the gate under the zero hash. Until the beacon
//! node named its first head, each newPayload has one more, under its block hash with every bit inverted.
//!
//! A record is a version byte, a kind byte and fixed-width little-endian fields. Whatever is read is checked; a record
//! that is not one of these stops the start with a clear error instead of being taken for less than it says.

use super::{
    Gate, Out,
    action::{Action, Cause, Durability, Record, RecordChange, VerdictChange},
    config::{GateConfig, ImportPolicy, OnMissingProofs, ProofTypeSet},
    event::{PayloadFacts, UnixMillis},
    explain::Holders,
    node::{ElStatus, Node, Times},
    prune::Pruned,
    settled::SettledPayload,
    startup::Startup,
};
use assay_types::{BlockHash, ForkName, Hash256, Slot};
use std::{collections::HashMap, hash::Hash, num::NonZeroU8};

/// Verdicts that change at once and are each told with what holds them; with more, as by a change of policy, the reason is
/// left to be asked for.
const MAX_EXPLAINED_CHANGES: usize = 256;
/// Version of the encoding.
const VERSION: u8 = 2;
const KIND_GATE: u8 = 0;
const KIND_PAYLOAD: u8 = 1;
const KIND_SETTLED: u8 = 2;
const KIND_CLAIMED: u8 = 3;

/// Why records could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by another version of the program.
    #[error(
        "the gate's record {key} has version {version}, this program reads {VERSION}: use the program that wrote it, or \
         delete the gate's records and set a trusted checkpoint"
    )]
    Version {
        /// Its key.
        key: Hash256,
        /// Its version byte.
        version: u8,
    },
    /// Not a record of the gate.
    #[error(
        "the gate's record {key} is damaged: restore the database from a backup, or delete the gate's records and set \
         a trusted checkpoint"
    )]
    Damaged {
        /// Its key.
        key: Hash256,
    },
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8) -> Self {
        Self(vec![VERSION, kind])
    }
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
    fn hash(&mut self, hash: &Hash256) {
        self.0.extend_from_slice(hash.as_slice());
    }
    fn flags<const N: usize>(&mut self, flags: [bool; N]) {
        self.byte(
            flags
                .iter()
                .rev()
                .fold(0, |bits, flag| (bits << 1) | u8::from(*flag)),
        );
    }
    fn optional_hash(&mut self, hash: Option<Hash256>) {
        self.byte(u8::from(hash.is_some()));
        self.hash(&hash.unwrap_or_default());
    }
    fn optional_number(&mut self, number: Option<u64>) {
        self.byte(u8::from(number.is_some()));
        self.number(number.unwrap_or_default());
    }
}

/// Every method gives `None` where the bytes do not hold what is asked for.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }
    fn bool(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
    fn hash(&mut self) -> Option<Hash256> {
        self.array().map(Hash256)
    }
    fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let bits = self.byte()?;
        (u32::from(bits) >> N == 0).then(|| std::array::from_fn(|i| bits >> i & 1 == 1))
    }
    fn optional_hash(&mut self) -> Option<Option<Hash256>> {
        let (some, hash) = (self.bool()?, self.hash()?);
        Some(some.then_some(hash))
    }
    fn optional_number(&mut self) -> Option<Option<u64>> {
        let (some, number) = (self.bool()?, self.number()?);
        Some(some.then_some(number))
    }
    fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

const EL_STATUSES: [ElStatus; 5] = [
    ElStatus::Unknown,
    ElStatus::Syncing,
    ElStatus::Accepted,
    ElStatus::Valid,
    ElStatus::Invalid,
];

fn place_in<T: PartialEq>(all: &[T], value: &T) -> u8 {
    all.iter()
        .position(|v| v == value)
        .and_then(|i| u8::try_from(i).ok())
        .unwrap_or(u8::MAX)
}

fn write_node(node: &Node) -> Vec<u8> {
    let mut w = Writer::new(KIND_PAYLOAD);
    w.flags([
        node.facts.is_some(),
        node.anchor,
        node.released,
        node.told_valid,
        node.conflict,
        node.alerted,
    ]);
    w.optional_number(node.rooted.map(u64::from));
    w.number(node.waits_from.as_u64());
    w.byte(place_in(&EL_STATUSES, &node.el));
    if let Some(facts) = &node.facts {
        w.hash(&facts.parent_hash);
        w.hash(&facts.new_payload_request_root);
        w.number(facts.slot.as_u64());
        w.byte(place_in(ForkName::ALL, &facts.fork));
    }
    w.byte(u8::try_from(node.proofs.len()).unwrap_or(u8::MAX));
    for (proof_type, at) in node.proofs.iter().take(usize::from(u8::MAX)) {
        w.byte(*proof_type);
        w.number(at.0);
    }
    let t = &node.times;
    w.number(t.seen_at.0);
    for at in [
        t.new_payload_at,
        t.el_valid_at,
        t.proven_at,
        t.valid_at,
        t.told_syncing_at,
        t.told_valid_at,
    ] {
        w.optional_number(at.map(|at| at.0));
    }
    w.0
}

fn read_node(hash: BlockHash, mut r: Reader<'_>) -> Option<Node> {
    let [has_facts, anchor, released, told_valid, conflict, alerted] = r.flags()?;
    let rooted = read_behind(&mut r)?;
    let waits_from = Slot(r.number()?);
    let el = *EL_STATUSES.get(usize::from(r.byte()?))?;
    let facts = match has_facts {
        false => None,
        true => Some(PayloadFacts {
            block_hash: hash,
            parent_hash: r.hash()?,
            new_payload_request_root: r.hash()?,
            slot: Slot(r.number()?),
            fork: *ForkName::ALL.get(usize::from(r.byte()?))?,
        }),
    };
    let mut node = Node::new(facts, UnixMillis::default());
    for _ in 0..r.byte()? {
        node.proofs.insert(r.byte()?, UnixMillis(r.number()?));
    }
    let mut times = Times {
        seen_at: UnixMillis(r.number()?),
        ..Times::default()
    };
    for at in [
        &mut times.new_payload_at,
        &mut times.el_valid_at,
        &mut times.proven_at,
        &mut times.valid_at,
        &mut times.told_syncing_at,
        &mut times.told_valid_at,
    ] {
        *at = r.optional_number()?.map(UnixMillis);
    }
    r.end(Node {
        el,
        anchor,
        rooted,
        released,
        waits_from,
        told_valid,
        conflict,
        alerted,
        times,
        ..node
    })
}

fn write_settled(settled: &SettledPayload) -> Vec<u8> {
    let mut w = Writer::new(KIND_SETTLED);
    w.flags([
        settled.valid,
        settled.told_valid,
        settled.canonical,
        settled.conflict,
    ]);
    w.optional_hash(settled.root);
    w.optional_number(settled.slot.map(Slot::as_u64));
    w.optional_number(settled.behind.map(u64::from));
    w.0
}

fn read_settled(mut r: Reader<'_>) -> Option<SettledPayload> {
    let [valid, told_valid, canonical, conflict] = r.flags()?;
    let root = r.optional_hash()?;
    let slot = r.optional_number()?.map(Slot);
    let behind = read_behind(&mut r)?;
    r.end(SettledPayload {
        root,
        slot,
        valid,
        behind,
        told_valid,
        canonical,
        conflict,
    })
}

fn read_behind(r: &mut Reader<'_>) -> Option<Option<u32>> {
    match r.optional_number()? {
        None => Some(None),
        Some(behind) => u32::try_from(behind).ok().map(Some),
    }
}

struct GateRecord {
    config: GateConfig,
    started: bool,
    head: Option<BlockHash>,
    finalized: Option<BlockHash>,
    alerted_to: Slot,
    slot: Slot,
}

fn read_gate(mut r: Reader<'_>) -> Option<GateRecord> {
    let policy = *ImportPolicy::ALL.get(usize::from(r.byte()?))?;
    let required_proofs = NonZeroU8::new(r.byte()?)?;
    let mut words = [0; 4];
    for word in &mut words {
        *word = r.number()?;
    }
    let proof_lag = u32::try_from(r.number()?).ok()?;
    let on_missing_proofs = match r.optional_number()? {
        None => OnMissingProofs::Wait,
        Some(grace_slots) => OnMissingProofs::TrustExecution { grace_slots },
    };
    let record = GateRecord {
        config: GateConfig {
            policy,
            required_proofs,
            counted_types: ProofTypeSet::from_words(words),
            proof_lag,
            on_missing_proofs,
            alert_after_slots: r.number()?,
            wait_for_proofs_ms: r.number()?,
            execution_slow_after_ms: r.number()?,
        },
        started: r.bool()?,
        head: r.optional_hash()?,
        finalized: r.optional_hash()?,
        alerted_to: Slot(r.number()?),
        slot: Slot(r.number()?),
    };
    r.end(record)
}

impl Gate {
    fn write_gate(&self) -> Vec<u8> {
        let mut w = Writer::new(KIND_GATE);
        w.byte(place_in(ImportPolicy::ALL, &self.config.policy));
        w.byte(self.config.required_proofs.get());
        for word in self.config.counted_types.words() {
            w.number(word);
        }
        w.number(u64::from(self.config.proof_lag));
        w.optional_number(match self.config.on_missing_proofs {
            OnMissingProofs::Wait => None,
            OnMissingProofs::TrustExecution { grace_slots } => Some(grace_slots),
        });
        w.number(self.config.alert_after_slots);
        w.number(self.config.wait_for_proofs_ms);
        w.number(self.config.execution_slow_after_ms);
        w.byte(u8::from(self.startup.is_none()));
        w.optional_hash(self.head);
        w.optional_hash(self.pruned.map(|p| p.finalized));
        w.number(self.alerted_to.as_u64());
        w.number(self.slot.as_u64());
        w.0
    }

    fn record(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        if let Some(node) = self.tree.get(hash) {
            return Some(write_node(node));
        }
        self.settled.get(hash).map(write_settled)
    }

    fn claim_record(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        let parent = self.startup.as_ref().and_then(|s| s.claimed.get(hash))?;
        let mut w = Writer::new(KIND_CLAIMED);
        w.hash(parent);
        Some(w.0)
    }

    /// The event's actions: records first, then what they make true.
    pub(super) fn flush(&mut self) -> Vec<Action> {
        let out: Out = std::mem::take(&mut self.out);
        let mut changes: Vec<RecordChange> =
            out.dirty.iter().map(|hash| (hash.0, self.record(hash))).collect();
        changes.extend(
            out.claims
                .iter()
                .map(|hash| (inverted(hash).0, self.claim_record(hash))),
        );
        if out.meta {
            changes.push((Hash256::ZERO.0, Some(self.write_gate())));
        }
        let mut actions = Vec::new();
        if !changes.is_empty() {
            let durability = if out.durable {
                Durability::BeforeAnswer
            } else {
                Durability::Soon
            };
            actions.push(Action::Persist { changes, durability });
        }
        actions.extend(out.alarms.into_iter().map(Action::Alarm));
        let mut changes = merged(out.changes);
        if changes.len() <= MAX_EXPLAINED_CHANGES {
            let mut known = Holders::default();
            for change in &mut changes {
                change.held_by = self.held_by_among(&change.block_hash, Some(&mut known));
            }
        }
        actions.extend(out.reached.into_iter().map(Action::Reached));
        actions.extend(changes.into_iter().map(Action::VerdictChanged));
        actions.extend(
            out.answers
                .into_iter()
                .map(|(call, decision, waits)| Action::Answer {
                    call,
                    decision,
                    waits,
                }),
        );
        if !out.told_first.is_empty() {
            actions.push(Action::ToldFirst(out.told_first));
        }
        actions.extend(out.recalls.into_iter().map(|root| self.recall(root)));
        actions
    }

    fn recall(&self, new_payload_request_root: Hash256) -> Action {
        let placed = self
            .tree
            .hash_of_root(&new_payload_request_root)
            .and_then(|h| self.tree.get(&h));
        let proofs = placed
            .map(|n| &n.proofs)
            .or_else(|| self.early.by_root.get(&new_payload_request_root));
        let known = proofs.map(|p| p.keys().copied().collect()).unwrap_or_default();
        Action::RecallProofs {
            new_payload_request_root,
            known,
        }
    }

    /// The gate as its records have it. Where the settings are others than those it ran with, they take effect now
    /// (rule 2). The actions are to be carried out like those of an event.
    pub fn restore(
        records: Vec<Record>,
        config: GateConfig,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Action>), RestoreError> {
        let mut gate = Self::new(config);
        let mut claimed = Startup::default();
        let mut settled = Vec::new();
        let mut hash_only = Vec::new();
        let mut ran_with = None;
        for (key, value) in &records {
            let key = Hash256(*key);
            let mut r = Reader(value);
            let damaged = || RestoreError::Damaged { key };
            let version = r.byte().ok_or_else(damaged)?;
            if version != VERSION {
                return Err(RestoreError::Version { key, version });
            }
            let kind = r.byte().ok_or_else(damaged)?;
            if key.is_zero() != (kind == KIND_GATE) {
                return Err(damaged());
            }
            match kind {
                KIND_GATE => ran_with = Some(read_gate(r).ok_or_else(damaged)?),
                KIND_PAYLOAD => {
                    let node = read_node(key, r).ok_or_else(damaged)?;
                    match node.facts {
                        None => hash_only.push((node.times.seen_at, key, node)),
                        Some(facts) => {
                            let root = facts.new_payload_request_root;
                            if facts.parent_hash == key || gate.tree.hash_of_root(&root).is_some() {
                                return Err(damaged());
                            }
                            gate.out.recalls.push(root);
                            gate.tree.insert(key, node);
                        }
                    }
                }
                KIND_SETTLED => settled.push((key, read_settled(r).ok_or_else(damaged)?)),
                KIND_CLAIMED => {
                    let parent = r.hash().ok_or_else(damaged)?;
                    claimed
                        .claimed
                        .insert(inverted(&key), r.end(parent).ok_or_else(damaged)?);
                }
                _ => return Err(damaged()),
            }
        }
        hash_only.sort_unstable_by_key(|(seen_at, hash, _)| (*seen_at, *hash));
        for (_, hash, node) in hash_only {
            gate.tree.insert(hash, node);
        }
        settled.sort_unstable_by_key(|(hash, s)| (s.slot, *hash));
        for (hash, payload) in settled {
            gate.out.dirty.extend(gate.settled.insert(hash, payload));
        }
        if let Some(ran_with) = &ran_with {
            gate.config = ran_with.config;
            gate.head = ran_with.head;
            gate.alerted_to = ran_with.alerted_to;
            gate.slot = ran_with.slot;
            gate.pruned = ran_with.finalized.map(|finalized| Pruned {
                finalized,
                complete: false,
            });
        }
        gate.startup = (!ran_with.is_some_and(|r| r.started)).then_some(claimed);
        if let Some(hash) = gate.tree.cycle() {
            return Err(RestoreError::Damaged { key: hash });
        }
        gate.recompute_all(Cause::Payload, now);
        // Nothing changed: this is what was so before.
        gate.out.changes.clear();
        gate.out.reached.clear();
        gate.out.durable = false;
        if gate.config != config {
            gate.config_changed(config, now);
        }
        let actions = gate.flush();
        Ok((gate, actions))
    }
}

/// The key of a claim, which may stand beside the payload's own record.
fn inverted(hash: &BlockHash) -> BlockHash {
    Hash256(hash.0.map(|byte| !byte))
}

/// One change per payload: from what it was before the event to what it is after, in the order in which each changed first.
fn merged(changes: Vec<VerdictChange>) -> Vec<VerdictChange> {
    merged_by(changes, |change| change.block_hash)
}

/// As `merged`, a payload told by `key`. One event may change every payload of a full tree: each is looked up once.
fn merged_by<K: Hash + Eq>(
    changes: Vec<VerdictChange>,
    key: impl Fn(&VerdictChange) -> K,
) -> Vec<VerdictChange> {
    let mut merged: Vec<VerdictChange> = Vec::with_capacity(changes.len());
    let mut places: HashMap<K, usize> = HashMap::with_capacity(changes.len());
    for change in changes {
        let place = *places.entry(key(&change)).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(earlier) => {
                *earlier = VerdictChange {
                    from: earlier.from,
                    ..change
                }
            }
            None => merged.push(change),
        }
    }
    merged.retain(|c| c.from != Some(c.to));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::action::PayloadVerdict;
    use std::{cell::Cell, hash::Hasher};

    thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    /// A key that counts how often it is compared.
    struct Counted(BlockHash);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Counted {}

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    fn change(n: u32, from: Option<PayloadVerdict>, to: PayloadVerdict) -> VerdictChange {
        let mut block_hash = BlockHash::default();
        block_hash.0[..4].copy_from_slice(&n.to_be_bytes());
        VerdictChange {
            block_hash,
            new_payload_request_root: None,
            slot: None,
            from,
            to,
            cause: Cause::Operator,
            at: UnixMillis(1),
            seen_at: UnixMillis(1),
            first_proof_at: None,
            proven_at: None,
            held_by: None,
            first_told_syncing: false,
        }
    }

    #[test]
    fn a_whole_tree_that_changes_is_merged_in_a_time_linear_in_it() {
        use PayloadVerdict::{Invalid, Syncing, Valid};
        const PAYLOADS: u32 = 20_000;
        let mut changes: Vec<VerdictChange> =
            (0..PAYLOADS).map(|n| change(n, Some(Syncing), Invalid)).collect();
        // Half of them once more, and one back to what it was.
        changes.extend((0..PAYLOADS / 2).map(|n| change(n, Some(Invalid), Valid)));
        changes.push(change(PAYLOADS - 1, Some(Invalid), Syncing));
        let merged = merged_by(changes, |c| Counted(c.block_hash));
        assert_eq!(merged.len(), PAYLOADS as usize - 1);
        assert_eq!(
            (merged[0].from, merged[0].to, merged[0].block_hash),
            (Some(Syncing), Valid, change(0, None, Valid).block_hash)
        );
        assert_eq!(
            merged[PAYLOADS as usize / 2].to,
            Invalid,
            "in the order of the first changes"
        );
        assert!(
            COMPARED.get() < 4 * PAYLOADS as usize,
            "{} comparisons",
            COMPARED.get()
        );
    }
}
