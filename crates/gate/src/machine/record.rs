//! The gate's records: one per payload under its block hash, one of its last changes under that with its first half inverted,
//! and one for the gate under the zero hash. Until the beacon node named its first head, each newPayload has one more, under
//! its block hash with every bit inverted.
//!
//! A record is a version byte, a kind byte and fixed-width little-endian fields. Whatever is read is checked: what is not
//! one of these is told from one that is, and never taken for less than it says.

use super::{
    Gate,
    action::{Cause, HeldBy, PayloadVerdict},
    config::{GateConfig, ImportPolicy, OnMissingProofs, ProofTypeSet},
    event::{PayloadFacts, UnixMillis},
    history::{MAX_CHANGES_KEPT, PastChange},
    node::{ElStatus, Node, Times},
    settled::SettledPayload,
};
use assay_types::{BlockHash, ForkName, Hash256, Slot};
use std::num::NonZeroU8;

/// Version of the encoding.
pub(super) const VERSION: u8 = 2;
pub(super) const KIND_GATE: u8 = 0;
pub(super) const KIND_PAYLOAD: u8 = 1;
pub(super) const KIND_SETTLED: u8 = 2;
pub(super) const KIND_CLAIMED: u8 = 3;
pub(super) const KIND_HISTORY: u8 = 4;

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
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
    pub(super) fn byte(&mut self) -> Option<u8> {
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
    pub(super) fn hash(&mut self) -> Option<Hash256> {
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
    pub(super) fn end<T>(self, value: T) -> Option<T> {
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

pub(super) fn read_node(hash: BlockHash, mut r: Reader<'_>) -> Option<Node> {
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

pub(super) fn read_settled(mut r: Reader<'_>) -> Option<SettledPayload> {
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

pub(super) fn write_history(changes: &[PastChange]) -> Vec<u8> {
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

pub(super) fn read_history(mut r: Reader<'_>) -> Option<Vec<PastChange>> {
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

pub(super) struct GateRecord {
    pub(super) config: GateConfig,
    pub(super) started: bool,
    pub(super) head: Option<BlockHash>,
    pub(super) finalized: Option<BlockHash>,
    pub(super) alerted_to: Slot,
    pub(super) slot: Slot,
}

pub(super) fn read_gate(mut r: Reader<'_>) -> Option<GateRecord> {
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
    pub(super) fn write_gate(&self) -> Vec<u8> {
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

    pub(super) fn record(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        if let Some(node) = self.tree.get(hash) {
            return Some(write_node(node));
        }
        self.settled.get(hash).map(write_settled)
    }

    pub(super) fn claim_record(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        let parent = self.startup.as_ref().and_then(|s| s.claimed.get(hash))?;
        let mut w = Writer::new(KIND_CLAIMED);
        w.hash(parent);
        Some(w.0)
    }
}

/// The key of a claim, which may stand beside the payload's own record.
pub(super) fn inverted(hash: &BlockHash) -> BlockHash {
    Hash256(hash.0.map(|byte| !byte))
}

/// The key of a payload's changes.
pub(super) fn half_inverted(hash: &BlockHash) -> BlockHash {
    let mut key = *hash;
    for byte in key.0.iter_mut().take(16) {
        *byte = !*byte;
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
