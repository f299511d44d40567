//! How proof sync stands, for API and metrics.

use assay_types::Slot;

/// Proof sync in numbers. What is counted are proofs: one a payload and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncState {
    /// Blocks of the range that is kept, the canonical ones and those that the gate waits for.
    pub blocks: usize,
    /// Proofs of these that are on disk.
    pub held: usize,
    /// Proofs wanted and not held.
    pub missing: usize,
    /// Of the missing: asked for, or with the verifier.
    pub under_way: usize,
    /// Of the missing: no connected peer has it, as far as asking can tell. Not an error: it may never have been made.
    pub not_obtainable: usize,
    /// Requests under way.
    pub requests: usize,
    /// Peers that may be asked.
    pub sources: usize,
    /// Whether nothing is asked because this node cannot judge now (proof engine or beacon node away).
    pub paused: bool,
    /// Slots missed before the range that the beacon node and the peers' serve range reach: first and last.
    pub unreachable: Option<(Slot, Slot)>,
    /// Blocks beyond the bound of the plan since start, which are not asked for.
    pub beyond: u64,
}

impl SyncState {
    /// Missing proofs that may still come: not known as not obtainable.
    pub const fn open(&self) -> usize {
        self.missing.saturating_sub(self.not_obtainable)
    }
}
