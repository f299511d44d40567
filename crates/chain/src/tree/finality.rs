//! Finality: what it keeps, cuts off and reports.

use super::{Execution, Finalized, Tree};
use crate::view::{ChainEvent, Checkpoint};
use assay_types::{Root, Slot};
use std::collections::{HashMap, HashSet};

/// How a block stands to a newly finalized one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The finalized block or its ancestor.
    Finalized,
    /// A descendant of it.
    Descendant,
    /// Above it, but the blocks between are not here.
    Unknown,
    /// On a branch that is cut off.
    CutOff,
}

impl Tree {
    /// The finalized checkpoint; zero before any.
    pub fn finalized(&self) -> Checkpoint {
        self.finalized
            .map(|finalized| finalized.checkpoint)
            .unwrap_or_default()
    }

    /// The slot of the finalized block, once there is one.
    pub fn finalized_slot(&self) -> Option<Slot> {
        self.finalized.map(|finalized| finalized.slot)
    }

    /// The beacon node has finalized a checkpoint. It takes effect once its block is here and connected to the block
    /// finalized before (or to the floor). A zero root (nothing finalized yet) and older checkpoints change nothing.
    pub fn set_finalized(&mut self, checkpoint: Checkpoint) {
        let now = self.finalized();
        if checkpoint.root.is_zero() || checkpoint == now || checkpoint.epoch < now.epoch {
            return;
        }
        if self.finalized.is_some() && checkpoint.epoch == now.epoch {
            self.counters.finality_conflicts += 1;
            return;
        }
        if self
            .pending_finalized
            .is_none_or(|pending| pending.epoch <= checkpoint.epoch)
        {
            self.pending_finalized = Some(checkpoint);
        }
        self.apply_pending_finality();
    }

    /// No ancestors of this block will come: the beacon node does not have them, or they are too many.
    pub fn set_floor(&mut self, block_root: Root) {
        self.floor = Some(block_root);
        self.apply_pending_finality();
    }

    pub(super) fn apply_pending_finality(&mut self) {
        let Some(checkpoint) = self.pending_finalized else {
            return;
        };
        let Some(slot) = self.blocks.get(&checkpoint.root).map(|block| block.slot) else {
            return;
        };
        // Where a chain is already held, down to a finalized block or a floor, finality goes up along it. An empty tree
        // begins with the block it is given.
        let base = self.finalized.map(|before| before.checkpoint.root).or(self.floor);
        let connected = base.is_none_or(|base| self.is_ancestor_or_same(&base, &checkpoint.root));
        if !connected {
            let lowest = self.lowest_ancestor(checkpoint.root);
            if let Some(before) = self.finalized {
                let past_it = self
                    .blocks
                    .get(&lowest)
                    .is_some_and(|block| block.slot <= before.slot);
                if past_it || slot <= before.slot {
                    self.pending_finalized = None;
                    self.counters.finality_conflicts += 1;
                    return;
                }
            }
            if self.floor != Some(lowest) {
                return;
            }
        }
        self.pending_finalized = None;
        self.finalize(Finalized { checkpoint, slot });
    }

    /// The lowest ancestor that is here without a gap.
    fn lowest_ancestor(&self, root: Root) -> Root {
        let mut lowest = root;
        loop {
            if self.is_canonical_block(&lowest) {
                return self
                    .canonical
                    .first_key_value()
                    .map_or(lowest, |(_, first)| *first);
            }
            match self.blocks.get(&lowest).and_then(|block| self.parent_of(block)) {
                Some(parent) => lowest = parent,
                None => return lowest,
            }
        }
    }

    fn finalize(&mut self, finalized: Finalized) {
        let root = finalized.checkpoint.root;
        let standings = self.standings(root, finalized.slot);
        let stands = |root: &Root| standings.get(root).copied().unwrap_or(Standing::CutOff);

        // A head that was cut off is no head; the finalized block is one until the beacon node says more.
        let head = self
            .head
            .filter(|head| matches!(stands(head), Standing::Descendant | Standing::Unknown) || *head == root);
        let canonical_holds = head.is_some_and(|head| self.is_ancestor_or_same(&root, &head));
        if head.is_none() {
            self.move_head(root);
        }
        let lowest = self.lowest_ancestor(root);
        let low = self
            .blocks
            .get(&lowest)
            .map_or(finalized.slot, |block| block.slot);

        let orphaned = self.orphans(finalized.slot, low, &standings);
        self.finalized = Some(finalized);

        // Orphans first, then blocks; what remains are the finalized chain's recent part and the branches above it.
        for payload in &orphaned {
            self.forget_payload(payload);
        }
        let history = finalized.slot.saturating_sub(self.limits.finalized_history_slots);
        let gone: Vec<Root> = standings
            .iter()
            .filter(|(root, standing)| {
                **standing == Standing::CutOff
                    || (**standing == Standing::Finalized
                        && self.blocks.get(*root).is_some_and(|block| block.slot < history))
            })
            .map(|(root, _)| *root)
            .collect();
        for root in &gone {
            self.forget_block(root);
        }
        let old: Vec<Root> = self
            .unlinked
            .values()
            .filter(|root| {
                self.payloads
                    .get(*root)
                    .is_some_and(|payload| payload.seen.slot < finalized.slot)
            })
            .copied()
            .collect();
        for payload in &old {
            self.forget_payload(payload);
        }
        self.canonical = match (canonical_holds, head) {
            // The head is connected: only what was forgotten leaves the chain.
            (true, _) | (false, None) => self.canonical.split_off(&history),
            // There is a gap between the finalized block and the head: the chain begins above it.
            (false, Some(_)) => self.canonical.split_off(&finalized.slot.saturating_add(1)),
        };
        if self.floor.is_some_and(|floor| !self.has_block(&floor)) {
            self.floor = None;
        }
        self.set_horizon(history);

        self.events.push(ChainEvent::Finalized {
            checkpoint: finalized.checkpoint,
            slot: finalized.slot,
            orphaned,
        });
        if head.is_none() {
            self.events.extend(self.head().map(ChainEvent::Head));
        }
    }

    /// How every block stands to the one to be finalized.
    fn standings(&self, finalized: Root, finalized_slot: Slot) -> HashMap<Root, Standing> {
        let mut ancestors = HashSet::new();
        let mut at = Some(finalized);
        while let Some((root, block)) = at.and_then(|root| self.blocks.get_key_value(&root)) {
            ancestors.insert(*root);
            at = self.parent_of(block);
        }
        let mut standings = HashMap::with_capacity(self.blocks.len());
        // Parents before children: slots ascend along every branch.
        for (slot, roots) in &self.blocks_by_slot {
            for root in roots {
                let standing = if ancestors.contains(root) {
                    Standing::Finalized
                } else if *slot <= finalized_slot {
                    Standing::CutOff
                } else {
                    let parent = self
                        .blocks
                        .get(root)
                        .map(|block| block.parent_root)
                        .unwrap_or_default();
                    match standings.get(&parent) {
                        Some(Standing::Finalized) if parent == finalized => Standing::Descendant,
                        Some(Standing::Finalized) => Standing::CutOff,
                        Some(standing) => *standing,
                        None => Standing::Unknown,
                    }
                };
                standings.insert(*root, standing);
            }
        }
        standings
    }

    /// Payloads that finality has cut off, by root ascending. Below `low` the finalized chain is not here, so nothing of
    /// that age is called orphaned: what is reported may be deleted.
    fn orphans(&self, finalized_slot: Slot, low: Slot, standings: &HashMap<Root, Standing>) -> Vec<Root> {
        let mut orphaned: Vec<Root> = self
            .payloads
            .iter()
            .filter(|(_, payload)| {
                let Some(entry) = self
                    .hashes
                    .get(&payload.seen.block_hash)
                    .filter(|entry| entry.root().is_some())
                else {
                    return false;
                };
                let standing_of = |root: &Root| standings.get(root).copied().unwrap_or(Standing::CutOff);
                let lives = entry.blocks.iter().any(|root| match standing_of(root) {
                    Standing::Descendant | Standing::Unknown => true,
                    Standing::CutOff => false,
                    Standing::Finalized => self.finalized_chain_takes(root, finalized_slot, standings),
                });
                let decided = if entry.blocks.is_empty() {
                    payload.seen.slot < finalized_slot && payload.seen.slot >= low
                } else {
                    payload.seen.slot >= low
                };
                decided && !lives
            })
            .map(|(root, _)| *root)
            .collect();
        orphaned.sort_unstable();
        orphaned
    }

    /// Whether the finalized chain takes the payload of one of its blocks. That of the finalized block itself is open:
    /// in Gloas the block above it decides.
    fn finalized_chain_takes(
        &self,
        root: &Root,
        finalized_slot: Slot,
        standings: &HashMap<Root, Standing>,
    ) -> bool {
        let Some(block) = self.blocks.get(root) else {
            return false;
        };
        if block.slot >= finalized_slot {
            return true;
        }
        let Execution::Bid { block_hash, .. } = block.execution else {
            return true;
        };
        let child = self
            .blocks_by_slot
            .range(block.slot.saturating_add(1)..=finalized_slot)
            .flat_map(|(_, roots)| roots)
            .find(|child| standings.get(*child) == Some(&Standing::Finalized));
        child.and_then(|child| self.blocks.get(child)).is_some_and(|child| {
            matches!(child.execution, Execution::Bid { parent_block_hash, .. } if parent_block_hash == block_hash)
        })
    }
}
