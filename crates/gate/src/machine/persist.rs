//! The gate's records: one per payload under its block hash, one of its last changes under that with its first half inverted,
//! and one for the gate under the zero hash. Until the beacon node named its first head, each newPayload has one more, under
//! its block hash with every bit inverted.
//!
//! A record is a version byte, a kind byte and fixed-width little-endian fields. Whatever is read is checked; a record
//! that is not one of these stops the start with a clear error instead of being taken for less than it says.

use super::{
    Gate, Out,
    action::{Action, Cause, Durability, HeldBy, PayloadVerdict, Record, RecordChange, VerdictChange},
    config::{GateConfig, ImportPolicy, OnMissingProofs, ProofTypeSet},
    event::{PayloadFacts, UnixMillis},
    explain::Holders,
    history::{MAX_CHANGES_KEPT, PastChange},
    node::{ElStatus, Node, Times},
    prune::Pruned,
    settled::SettledPayload,
    startup::Startup,
};
use assay_types::{BlockHash, ForkName, Hash256, Slot};
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    num::NonZeroU8,
};

/// Verdicts that change at once and are each told with what holds them; with more, as by a change of policy, the reason is
/// left to be asked for.
const MAX_EXPLAINED_CHANGES: usize = 256;
/// Version of the encoding.
const VERSION: u8 = 2;
const KIND_GATE: u8 = 0;
const KIND_PAYLOAD: u8 = 1;
const KIND_SETTLED: u8 = 2;
const KIND_CLAIMED: u8 = 3;
const KIND_HISTORY: u8 = 4;

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

const VERDICTS: [PayloadVerdict; 3] = [
    PayloadVerdict::Valid,
    PayloadVerdict::Syncing,
    PayloadVerdict::Invalid,
];

const CAUSES: [Cause; 7] = [
    Cause::Proof,
    Cause::ExecutionClient,
    Cause::Payload,
    Cause::Anchor,
    Cause::Operator,
    Cause::Grace,
    Cause::Pruning,
];

fn write_history(changes: &[PastChange]) -> Vec<u8> {
    let mut w = Writer::new(KIND_HISTORY);
    w.byte(u8::try_from(changes.len()).unwrap_or(u8::MAX));
    for change in changes.iter().take(usize::from(u8::MAX)) {
        w.number(change.at.0);
        w.byte(u8::from(change.from.is_some()));
        w.byte(change.from.map_or(0, |from| place_in(&VERDICTS, &from)));
        w.byte(place_in(&VERDICTS, &change.to));
        w.byte(place_in(&CAUSES, &change.cause));
        write_held(&mut w, change.held_by);
    }
    w.0
}

fn write_held(w: &mut Writer, held: Option<HeldBy>) {
    match held {
        None => w.byte(0),
        Some(HeldBy::El(status)) => {
            w.byte(1);
            w.byte(place_in(&EL_STATUSES, &status));
        }
        Some(HeldBy::Proofs { have, need }) => {
            w.byte(2);
            w.byte(have);
            w.byte(need);
        }
        Some(HeldBy::Ancestor(hash)) => {
            w.byte(3);
            w.hash(&hash);
        }
        Some(HeldBy::UnknownAncestor(hash)) => {
            w.byte(4);
            w.hash(&hash);
        }
        Some(HeldBy::Conflict(hash)) => {
            w.byte(5);
            w.hash(&hash);
        }
        Some(HeldBy::OtherRequestRoot) => w.byte(6),
        Some(HeldBy::Unreadable) => w.byte(7),
        Some(HeldBy::OtherLatestValidHash) => w.byte(8),
        Some(HeldBy::UnknownPayload) => w.byte(9),
        Some(HeldBy::NotPersisted) => w.byte(10),
    }
}

fn read_history(mut r: Reader<'_>) -> Option<Vec<PastChange>> {
    let mut changes = Vec::new();
    for _ in 0..r.byte()? {
        let at = UnixMillis(r.number()?);
        let (has_from, from) = (r.bool()?, *VERDICTS.get(usize::from(r.byte()?))?);
        changes.push(PastChange {
            at,
            from: has_from.then_some(from),
            to: *VERDICTS.get(usize::from(r.byte()?))?,
            cause: *CAUSES.get(usize::from(r.byte()?))?,
            held_by: read_held(&mut r)?,
        });
    }
    (changes.len() <= MAX_CHANGES_KEPT).then_some(())?;
    r.end(changes)
}

fn read_held(r: &mut Reader<'_>) -> Option<Option<HeldBy>> {
    Some(Some(match r.byte()? {
        0 => return Some(None),
        1 => HeldBy::El(*EL_STATUSES.get(usize::from(r.byte()?))?),
        2 => HeldBy::Proofs {
            have: r.byte()?,
            need: r.byte()?,
        },
        3 => HeldBy::Ancestor(r.hash()?),
        4 => HeldBy::UnknownAncestor(r.hash()?),
        5 => HeldBy::Conflict(r.hash()?),
        6 => HeldBy::OtherRequestRoot,
        7 => HeldBy::Unreadable,
        8 => HeldBy::OtherLatestValidHash,
        9 => HeldBy::UnknownPayload,
        10 => HeldBy::NotPersisted,
        _ => return None,
    }))
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
            // Decides nothing about payloads that are known: not kept.
            recursive_proofs: false,
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
        let mut verdicts = merged(out.changes);
        if verdicts.len() <= MAX_EXPLAINED_CHANGES {
            let mut known = Holders::default();
            for change in &mut verdicts {
                change.held_by = self.held_by_among(&change.block_hash, Some(&mut known));
            }
        }
        let histories = self.note_changes(&verdicts, &out.dirty);
        let mut changes: Vec<RecordChange> =
            out.dirty.iter().map(|hash| (hash.0, self.record(hash))).collect();
        changes.extend(
            out.claims
                .iter()
                .map(|hash| (inverted(hash).0, self.claim_record(hash))),
        );
        changes.extend(histories);
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
        actions.extend(out.reached.into_iter().map(Action::Reached));
        actions.extend(verdicts.into_iter().map(Action::VerdictChanged));
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

    /// Keeps the changes of an event, and forgets those of payloads that nothing else is known of; gives the records.
    fn note_changes(&mut self, changes: &[VerdictChange], dirty: &BTreeSet<BlockHash>) -> Vec<RecordChange> {
        let is_known =
            |gate: &Self, hash: &BlockHash| gate.tree.contains(hash) || gate.settled.contains(hash);
        let mut records = Vec::new();
        for change in changes {
            let hash = change.block_hash;
            if is_known(self, &hash) {
                self.histories.push(hash, change.into());
                records.push((
                    half_inverted(&hash).0,
                    Some(write_history(self.histories.of(&hash))),
                ));
            }
        }
        for hash in dirty {
            if !is_known(self, hash) && self.histories.remove(hash) {
                records.push((half_inverted(hash).0, None));
            }
        }
        records
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
                KIND_HISTORY => {
                    let changes = read_history(r).ok_or_else(damaged)?;
                    gate.histories.insert(half_inverted(&key), changes);
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
        // Of what left meanwhile, by a smaller limit of this program.
        let strangers = |hash: &&BlockHash| !gate.tree.contains(hash) && !gate.settled.contains(hash);
        let strangers: Vec<BlockHash> = gate.histories.hashes().filter(strangers).copied().collect();
        gate.out.dirty.extend(strangers);
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

/// The key of a payload's changes.
fn half_inverted(hash: &BlockHash) -> BlockHash {
    let mut key = *hash;
    for byte in key.0.iter_mut().take(16) {
        *byte = !*byte;
    }
    key
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
    fn every_reason_is_read_as_it_was_written() {
        let hash = Hash256([7; 32]);
        let reasons = [
            None,
            Some(HeldBy::El(ElStatus::Invalid)),
            Some(HeldBy::Proofs { have: 1, need: 2 }),
            Some(HeldBy::Ancestor(hash)),
            Some(HeldBy::UnknownAncestor(hash)),
            Some(HeldBy::Conflict(hash)),
            Some(HeldBy::OtherRequestRoot),
        ];
        let more = [
            Some(HeldBy::Unreadable),
            Some(HeldBy::OtherLatestValidHash),
            Some(HeldBy::UnknownPayload),
            Some(HeldBy::NotPersisted),
        ];
        for reasons in [&reasons[..], &more] {
            let changes: Vec<PastChange> = reasons
                .iter()
                .zip(CAUSES)
                .zip([None, Some(VERDICTS[0]), Some(VERDICTS[2])].into_iter().cycle())
                .map(|((held_by, cause), from)| PastChange {
                    at: UnixMillis(u64::MAX),
                    from,
                    to: VERDICTS[1],
                    cause,
                    held_by: *held_by,
                })
                .collect();
            let written = write_history(&changes);
            assert_eq!(read_history(Reader(&written[2..])), Some(changes));
            for end in 2..written.len() {
                assert_eq!(read_history(Reader(&written[2..end])), None, "{end}");
            }
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
