//! What a payload's verdict was, for an operator who asks why: its last changes, over restarts and after it left the tree.

use super::{
    Gate,
    action::{Cause, HeldBy, PayloadVerdict, VerdictChange},
    event::UnixMillis,
};
use assay_types::BlockHash;
use std::collections::HashMap;

/// Changes kept of a payload; the oldest is forgotten first. One that is followed by its proofs has two.
pub(crate) const MAX_CHANGES_KEPT: usize = 8;

/// A change of a payload's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastChange {
    /// When.
    pub at: UnixMillis,
    /// Before; `None` where the payload was new.
    pub from: Option<PayloadVerdict>,
    /// After.
    pub to: PayloadVerdict,
    /// What changed it.
    pub cause: Cause,
    /// What kept it from VALID then.
    pub held_by: Option<HeldBy>,
}

impl From<&VerdictChange> for PastChange {
    fn from(change: &VerdictChange) -> Self {
        Self {
            at: change.at,
            from: change.from,
            to: change.to,
            cause: change.cause,
            held_by: change.held_by,
        }
    }
}

/// By payload, oldest first. Of payloads of the tree and settled ones alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histories(HashMap<BlockHash, Vec<PastChange>>);

impl Histories {
    pub(crate) fn of(&self, hash: &BlockHash) -> &[PastChange] {
        self.0.get(hash).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, hash: BlockHash, change: PastChange) {
        let changes = self.0.entry(hash).or_default();
        if changes.len() >= MAX_CHANGES_KEPT {
            changes.remove(0);
        }
        changes.push(change);
    }

    pub(crate) fn insert(&mut self, hash: BlockHash, changes: Vec<PastChange>) {
        self.0.insert(hash, changes);
    }

    /// Whether there was any.
    pub(crate) fn remove(&mut self, hash: &BlockHash) -> bool {
        self.0.remove(hash).is_some()
    }

    pub(crate) fn hashes(&self) -> impl Iterator<Item = &BlockHash> {
        self.0.keys()
    }
}

impl Gate {
    /// The last changes of a payload's verdict, oldest first; of payloads of the tree and of those that are remembered.
    pub fn changes(&self, hash: &BlockHash) -> &[PastChange] {
        self.histories.of(hash)
    }
}
