//! The head, the canonical chain, and which Gloas payloads it takes.

use super::{EngineForkchoice, Execution, Tree};
use crate::view::{BlockInfo, ChainEvent};
use assay_types::{Root, Slot};
use std::ops::Bound;

impl Tree {
    /// The beacon node's head is this block. Where the block is not here yet the head moves once it is; the latest word
    /// counts.
    pub fn set_head(&mut self, block_root: Root, execution_optimistic: bool) {
        self.pending_head = Some((block_root, execution_optimistic));
        self.apply_pending_head();
    }

    /// The last `engine_forkchoiceUpdated`. Blocks, and so the head, come from the Beacon API alone; this decides whether
    /// the head's own Gloas payload is taken, before a child could say so.
    pub fn set_engine_forkchoice(&mut self, forkchoice: EngineForkchoice) {
        self.engine = Some(forkchoice);
    }

    /// The head, once its block is known.
    pub fn head(&self) -> Option<BlockInfo> {
        self.block(&self.head?)
    }

    /// The canonical block of a slot.
    pub fn canonical_block_at(&self, slot: Slot) -> Option<BlockInfo> {
        self.block(self.canonical.get(&slot)?)
    }

    /// The canonical chain as far as it is here without a gap, lowest slot first.
    pub fn canonical_chain(&self) -> impl DoubleEndedIterator<Item = (Slot, Root)> + '_ {
        self.canonical.iter().map(|(slot, root)| (*slot, *root))
    }

    /// Whether a block is on the canonical chain.
    pub fn is_canonical_block(&self, block_root: &Root) -> bool {
        self.blocks
            .get(block_root)
            .is_some_and(|block| self.canonical.get(&block.slot) == Some(block_root))
    }

    /// Whether a payload belongs to the canonical chain: to one of its blocks, and in Gloas only if the chain takes it.
    /// Never while its block hash is contested.
    pub fn is_canonical_payload(&self, new_payload_request_root: &Root) -> bool {
        let Some(payload) = self.payloads.get(new_payload_request_root) else {
            return false;
        };
        let Some(entry) = self.hashes.get(&payload.seen.block_hash) else {
            return false;
        };
        entry.root().is_some()
            && entry.blocks.iter().any(|root| {
                self.is_canonical_block(root)
                    && self
                        .takes_payload(root)
                        .unwrap_or_else(|| self.head_takes_payload(root))
            })
    }

    /// Whether the chain above a canonical block takes its payload. `None`: nothing is built on it yet.
    pub(super) fn takes_payload(&self, block_root: &Root) -> Option<bool> {
        let block = self.blocks.get(block_root)?;
        let Execution::Bid { block_hash, .. } = block.execution else {
            return Some(true);
        };
        let above = (Bound::Excluded(block.slot), Bound::Unbounded);
        let (_, child) = self.canonical.range(above).next()?;
        match self.blocks.get(child)?.execution {
            Execution::Bid {
                parent_block_hash, ..
            } => Some(parent_block_hash == block_hash),
            // No fork goes back to blocks that carry their payload.
            Execution::Carried(_) | Execution::None => Some(false),
        }
    }

    /// Whether the head's own payload counts as taken. `engine_forkchoiceUpdated` says so where its head hash is this
    /// payload or the one below it; a beacon node that never told either has imported the envelope, or the payload would
    /// not be known here.
    fn head_takes_payload(&self, block_root: &Root) -> bool {
        let Some(Execution::Bid {
            parent_block_hash, ..
        }) = self.blocks.get(block_root).map(|block| block.execution)
        else {
            return true;
        };
        self.engine.is_none_or(|engine| engine.head != parent_block_hash)
    }

    pub(super) fn apply_pending_head(&mut self) {
        let Some((root, execution_optimistic)) = self.pending_head.filter(|(root, _)| self.has_block(root))
        else {
            return;
        };
        self.pending_head = None;
        let slot = self.blocks.get(&root).map(|block| block.slot);
        if self
            .finalized
            .zip(slot)
            .is_some_and(|(finalized, slot)| slot <= finalized.slot && root != finalized.checkpoint.root)
        {
            self.counters.finality_conflicts += 1;
            return;
        }
        let before = self.head();
        if let Some(block) = self.blocks.get_mut(&root) {
            block.execution_optimistic = execution_optimistic;
        }
        if !execution_optimistic {
            self.clear_optimistic(root);
        }
        if before.as_ref().map(|head| head.block_root) != Some(root) {
            self.move_head(root);
        }
        let now = self.head();
        if now != before {
            self.events.extend(now.map(ChainEvent::Head));
        }
    }

    /// A valid block's ancestors are valid.
    fn clear_optimistic(&mut self, root: Root) {
        let mut at = self.blocks.get(&root).map(|block| block.parent_root);
        while let Some(block) = at
            .and_then(|root| self.blocks.get_mut(&root))
            .filter(|block| block.execution_optimistic)
        {
            block.execution_optimistic = false;
            at = Some(block.parent_root);
        }
    }

    pub(super) fn move_head(&mut self, root: Root) {
        let before = self.head.replace(root);
        let mut path = Vec::new();
        let mut at = Some(root);
        let common = loop {
            let Some((root, block)) = at.and_then(|root| self.blocks.get_key_value(&root)) else {
                break None;
            };
            if self.is_canonical_block(root) {
                break Some(block.slot);
            }
            path.push((block.slot, *root));
            at = self.parent_of(block);
        };
        match common {
            Some(slot) => drop(self.canonical.split_off(&slot.saturating_add(1))),
            None => self.canonical.clear(),
        }
        self.canonical.extend(path);
        // Across a gap it shows later whether the head before is below this one.
        self.left = self.left.filter(|_| common.is_none()).or(before);
        self.note_bottom();
    }

    /// Looks at the lowest canonical blocks after a change: whether the chain reaches genesis (nothing is below it), and whether it passes by the
    /// head of before, which makes it a reorg.
    fn note_bottom(&mut self) {
        let Some((lowest, root)) = self.canonical.first_key_value() else {
            return;
        };
        let genesis = lowest.0 == 0
            || self
                .blocks
                .get(root)
                .is_some_and(|block| block.parent_root.is_zero());
        if genesis {
            self.floor = Some(*root);
        }
        let Some(left) = self.left else { return };
        let left_slot = self.blocks.get(&left).map(|block| block.slot);
        if self.is_canonical_block(&left) || left_slot.is_none() {
            self.left = None;
        } else if left_slot.is_some_and(|slot| *lowest < slot) || self.missing_ancestor().is_none() {
            self.left = None;
            self.counters.reorgs += 1;
        }
    }

    /// The block that was missing below the canonical chain has come: the chain reaches down as far as blocks are here.
    pub(super) fn extend_canonical_down(&mut self, root: &Root) {
        let lowest = self
            .canonical
            .first_key_value()
            .and_then(|(_, lowest)| self.blocks.get(lowest));
        let mut at = lowest
            .filter(|lowest| lowest.parent_root == *root)
            .and_then(|lowest| self.parent_of(lowest));
        while let Some((root, block)) = at.and_then(|root| self.blocks.get_key_value(&root)) {
            at = self.parent_of(block);
            self.canonical.insert(block.slot, *root);
        }
        self.note_bottom();
    }
}
