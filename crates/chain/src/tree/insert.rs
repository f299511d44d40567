//! Taking in blocks and payloads, and the bounds at work.

use super::{
    Block, Execution, Finalized, HashEntry, Insertion, MAX_ROOTS_PER_HASH, Payload, Refusal, SeenBlock,
    SeenBlockPayload, SeenPayload, Tree,
};
use crate::view::{ChainEvent, PayloadSource};
use assay_types::{Root, Slot};

impl Tree {
    /// Takes a payload from either source (Gloas envelopes: `PayloadSource::BeaconApi`). A root that contradicts another
    /// for the same block hash is taken, and the hash is contested from then on (see the module's head).
    pub fn insert_payload(&mut self, seen: SeenPayload, source: PayloadSource) -> Insertion {
        let insertion = self.admit_payload(seen, source);
        if insertion == Insertion::New {
            // Blocks that were here before their payload now have it.
            let entry = self
                .hashes
                .get(&seen.block_hash)
                .filter(|entry| entry.root().is_some());
            let blocks = entry.map(|entry| entry.blocks.clone()).unwrap_or_default();
            for block_root in &blocks {
                self.events.extend(self.block(block_root).map(ChainEvent::Block));
            }
        }
        insertion
    }

    fn admit_payload(&mut self, seen: SeenPayload, source: PayloadSource) -> Insertion {
        let insertion = self.place_payload(seen, source);
        if let Insertion::Refused(refusal) = insertion {
            self.counters.refused_payloads += 1;
            if refusal == Refusal::Contradiction {
                self.counters.payload_conflicts += 1;
            }
        }
        insertion
    }

    fn place_payload(&mut self, seen: SeenPayload, source: PayloadSource) -> Insertion {
        let root = seen.new_payload_request_root;
        let beacon = source == PayloadSource::BeaconApi;
        if let Some(known) = self.payloads.get_mut(&root) {
            // A root fixes every field of a payload; another value beside the same root is an error of the teller. Only
            // the slot may differ, where a timestamp names several: the block knows better.
            let slot = if beacon { seen.slot } else { known.seen.slot };
            if known.seen
                != (SeenPayload {
                    slot: known.seen.slot,
                    ..seen
                })
            {
                return Insertion::Refused(Refusal::Contradiction);
            }
            known.seen.slot = slot;
            known.beacon |= beacon;
            return Insertion::Known;
        }
        if seen.slot < self.horizon {
            return Insertion::Refused(Refusal::TooOld);
        }
        let entry = self.hashes.entry(seen.block_hash).or_default();
        if entry.roots.len() >= MAX_ROOTS_PER_HASH {
            return Insertion::Refused(Refusal::Contradiction);
        }
        let other = entry.roots.first().copied();
        entry.roots.push(root);
        let unlinked = entry.blocks.is_empty().then(|| {
            self.next_unlinked += 1;
            self.unlinked.insert(self.next_unlinked, root);
            self.next_unlinked
        });
        self.payloads.insert(
            root,
            Payload {
                seen,
                source,
                beacon,
                unlinked,
            },
        );
        self.bound_unlinked();
        self.events.extend(self.payload(&root).map(ChainEvent::Payload));
        if let Some(other) = other {
            self.counters.payload_conflicts += 1;
            self.events.push(ChainEvent::Conflict {
                block_hash: seen.block_hash,
                roots: [other, root],
                source,
            });
        }
        Insertion::New
    }

    /// Takes a block, with its payload where it carries one. Blocks may come in any order; a gap below the head is told
    /// by `missing`.
    pub fn insert_block(&mut self, seen: SeenBlock) -> Insertion {
        let root = seen.block_root;
        if let Some(known) = self.blocks.get_mut(&root) {
            known.execution_optimistic &= seen.execution_optimistic;
            return Insertion::Known;
        }
        if let Err(refusal) = self.check_place(&seen) {
            self.counters.refused_blocks += 1;
            if refusal == Refusal::ConflictsWithFinality {
                self.counters.finality_conflicts += 1;
            }
            return Insertion::Refused(refusal);
        }
        let execution = seen.payload.execution();
        self.blocks.insert(
            root,
            Block {
                parent_root: seen.parent_root,
                slot: seen.slot,
                state_root: seen.state_root,
                execution,
                execution_optimistic: seen.execution_optimistic,
            },
        );
        self.blocks_by_slot.entry(seen.slot).or_default().push(root);
        self.link(root, execution);
        if let SeenBlockPayload::Carried(payload) = seen.payload {
            self.admit_payload(payload, PayloadSource::BeaconApi);
        }
        self.events.extend(self.block(&root).map(ChainEvent::Block));
        self.extend_canonical_down(&root);
        self.apply_pending_head();
        self.apply_pending_finality();
        self.bound_blocks();
        Insertion::New
    }

    /// Block and payload meet over the block hash.
    fn link(&mut self, root: Root, execution: Execution) {
        let Some(block_hash) = execution.block_hash() else {
            return;
        };
        let entry = self.hashes.entry(block_hash).or_default();
        entry.blocks.push(root);
        for payload in &entry.roots {
            if let Some(place) = self
                .payloads
                .get_mut(payload)
                .and_then(|payload| payload.unlinked.take())
            {
                self.unlinked.remove(&place);
            }
        }
    }

    fn check_place(&self, seen: &SeenBlock) -> Result<(), Refusal> {
        if let Some(finalized) = self.finalized
            && seen.slot <= finalized.slot
            && seen.block_root != finalized.checkpoint.root
        {
            // A block of that age which the canonical chain above the finalized block goes back to is not on the
            // finalized chain; any other is merely old.
            let wanted = self
                .missing()
                .ancestor
                .is_some_and(|(root, _)| root == seen.block_root);
            return Err(if wanted {
                Refusal::ConflictsWithFinality
            } else {
                Refusal::TooOld
            });
        }
        if seen.slot < self.horizon {
            return Err(Refusal::TooOld);
        }
        let full = self.blocks.len() >= self.limits.max_blocks;
        if full
            && self
                .blocks_by_slot
                .first_key_value()
                .is_some_and(|(lowest, _)| seen.slot <= *lowest)
        {
            return Err(Refusal::TooOld);
        }
        let Some(parent) = self.blocks.get(&seen.parent_root) else {
            return Ok(());
        };
        if parent.slot >= seen.slot {
            return Err(Refusal::BadSlot);
        }
        let off_chain = |finalized: Finalized| {
            parent.slot <= finalized.slot && seen.parent_root != finalized.checkpoint.root
        };
        // The finalized block itself may be told again after it was forgotten for lack of room.
        if self
            .finalized
            .is_some_and(|finalized| off_chain(finalized) && seen.block_root != finalized.checkpoint.root)
        {
            return Err(Refusal::ConflictsWithFinality);
        }
        Ok(())
    }

    fn bound_unlinked(&mut self) {
        while self.unlinked.len() > self.limits.max_unlinked_payloads {
            let Some((_, root)) = self.unlinked.pop_first() else {
                return;
            };
            self.forget_payload(&root);
            self.counters.evicted_payloads += 1;
        }
    }

    fn bound_blocks(&mut self) {
        while self.blocks.len() > self.limits.max_blocks {
            let Some((slot, roots)) = self.blocks_by_slot.first_key_value() else {
                return;
            };
            let (slot, roots) = (*slot, roots.clone());
            for root in &roots {
                self.forget_block(root);
                self.counters.evicted_blocks += 1;
            }
            if self.head.is_some_and(|head| roots.contains(&head)) {
                self.head = None;
                self.canonical.clear();
            }
            if self.canonical.remove(&slot).is_some() {
                self.floor = self.canonical.first_key_value().map(|(_, root)| *root);
            }
            self.set_horizon(slot.saturating_add(1));
        }
    }

    pub(super) fn set_horizon(&mut self, horizon: Slot) {
        self.horizon = self.horizon.max(horizon);
    }

    /// Removes a block, and the payloads that only it named.
    pub(super) fn forget_block(&mut self, root: &Root) {
        let Some(block) = self.blocks.remove(root) else {
            return;
        };
        if let Some(at_slot) = self.blocks_by_slot.get_mut(&block.slot) {
            at_slot.retain(|other| other != root);
            if at_slot.is_empty() {
                self.blocks_by_slot.remove(&block.slot);
            }
        }
        let Some(block_hash) = block.execution.block_hash() else {
            return;
        };
        let Some(entry) = self.hashes.get_mut(&block_hash) else {
            return;
        };
        entry.blocks.retain(|other| other != root);
        if entry.blocks.is_empty() {
            for payload in &entry.roots {
                self.payloads.remove(payload);
            }
            self.hashes.remove(&block_hash);
        }
    }

    /// Removes a payload. The blocks that name its hash stay.
    pub(super) fn forget_payload(&mut self, root: &Root) {
        let Some(payload) = self.payloads.remove(root) else {
            return;
        };
        if let Some(place) = payload.unlinked {
            self.unlinked.remove(&place);
        }
        let Some(entry) = self.hashes.get_mut(&payload.seen.block_hash) else {
            return;
        };
        entry.roots.retain(|other| other != root);
        if *entry == HashEntry::default() {
            self.hashes.remove(&payload.seen.block_hash);
        }
    }
}
