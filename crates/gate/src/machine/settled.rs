//! What is remembered of payloads that left the tree: enough for their children, for being asked again, and for rule 4.

use assay_types::{BlockHash, Root, Slot};
use std::collections::{HashMap, VecDeque};

/// Payloads remembered after they left the tree; the oldest is forgotten first (about four days of slots).
pub(crate) const MAX_SETTLED: usize = 32_768;

/// A payload that left the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SettledPayload {
    /// The root that belongs to its hash.
    pub(crate) root: Option<Root>,
    /// Its slot.
    pub(crate) slot: Option<Slot>,
    /// It was VALID, or proven with its ancestors.
    pub(crate) valid: bool,
    /// What its children get from it; see `Node::rooted`.
    pub(crate) behind: Option<u32>,
    /// The beacon node was told VALID.
    pub(crate) told_valid: bool,
    /// An ancestor of the finalized payload, not of a branch that was cut off.
    pub(crate) canonical: bool,
    /// Rule 4.
    pub(crate) conflict: bool,
}

/// Bounded, first in first out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settled {
    payloads: HashMap<BlockHash, SettledPayload>,
    order: VecDeque<BlockHash>,
}

impl Settled {
    pub(crate) fn get(&self, hash: &BlockHash) -> Option<&SettledPayload> {
        self.payloads.get(hash)
    }

    pub(crate) fn get_mut(&mut self, hash: &BlockHash) -> Option<&mut SettledPayload> {
        self.payloads.get_mut(hash)
    }

    pub(crate) fn contains(&self, hash: &BlockHash) -> bool {
        self.payloads.contains_key(hash)
    }

    /// Whether VALID was told of any that may be after a slot; `None`: of any at all.
    pub(crate) fn any_told_after(&self, slot: Option<Slot>) -> bool {
        let after = |p: &SettledPayload| p.slot.zip(slot).is_none_or(|(own, slot)| own > slot);
        self.payloads.values().any(|p| p.told_valid && after(p))
    }

    /// Those of a slot.
    pub(crate) fn of_slot(&self, slot: Slot) -> impl Iterator<Item = BlockHash> {
        let of_slot = move |p: &SettledPayload| p.slot == Some(slot);
        self.payloads
            .iter()
            .filter(move |(_, p)| of_slot(p))
            .map(|(hash, _)| *hash)
    }

    /// Those whose root is known.
    pub(crate) fn with_root(&self) -> impl Iterator<Item = BlockHash> {
        let known = self.payloads.iter().filter(|(_, p)| p.root.is_some());
        known.map(|(hash, _)| *hash)
    }

    /// Those that an operator has to decide of.
    pub(crate) fn in_conflict(&self) -> impl Iterator<Item = (Option<Slot>, BlockHash)> {
        self.payloads
            .iter()
            .filter(|(_, p)| p.conflict)
            .map(|(hash, p)| (p.slot, *hash))
    }

    pub(crate) fn len(&self) -> usize {
        self.payloads.len()
    }

    /// Says which payload had to be forgotten for it.
    pub(crate) fn insert(&mut self, hash: BlockHash, payload: SettledPayload) -> Option<BlockHash> {
        if self.payloads.insert(hash, payload).is_some() {
            return None;
        }
        self.order.push_back(hash);
        if self.order.len() <= MAX_SETTLED {
            return None;
        }
        let oldest = self.order.pop_front()?;
        self.payloads.remove(&oldest);
        Some(oldest)
    }
}
