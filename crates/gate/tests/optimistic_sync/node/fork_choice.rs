//! Votes, as gossip lets them through, and the head they make.

use super::{Head, Id, Node, Payload, SLOTS_PER_EPOCH, Vote};

/// Weight of a group, and of the proposer boost: 40 % of a committee.
const GROUP_WEIGHT: u64 = 10;
const BOOST: u64 = 12;

impl Node {
    /// Whether a vote says of the payload of an earlier block that it is there.
    pub(super) fn names_payload(&self, vote: &Vote) -> bool {
        let earlier = self
            .entries
            .get(&vote.block)
            .is_some_and(|e| e.block.slot < vote.slot);
        self.habits.gloas && vote.payload_present && earlier
    }

    pub(super) fn count(&mut self, vote: Vote) {
        let key = (vote.slot % SLOTS_PER_EPOCH, vote.group);
        if self.latest.get(&key).is_none_or(|old| old.slot < vote.slot) {
            self.latest.insert(key, vote);
        }
    }

    /// Gossip's rules. "[IGNORE] The attested execution payload is optimistic"
    pub(super) fn sort_votes(&mut self) {
        for vote in std::mem::take(&mut self.waiting) {
            let Some(entry) = self.entries.get(&vote.block).filter(|e| e.imported) else {
                self.waiting.push(vote);
                continue;
            };
            if !self.names_payload(&vote) {
                self.accepted.push(vote);
                continue;
            }
            match entry.payload {
                Payload::Out => self.waiting.push(vote),
                Payload::Optimistic => self.ignored += 1,
                Payload::Valid => self.accepted.push(vote),
                Payload::Invalid => {}
            }
        }
        // What is older than an epoch is not taken any more.
        let oldest = self.slot.saturating_sub(SLOTS_PER_EPOCH);
        self.waiting.retain(|vote| vote.slot >= oldest);
    }

    /// "Attestations can only affect the fork choice of subsequent slots."
    pub(super) fn apply_accepted(&mut self) {
        let (now, later) = std::mem::take(&mut self.accepted)
            .into_iter()
            .partition(|v| v.slot < self.slot);
        self.accepted = later;
        for vote in now {
            self.count(vote);
        }
    }

    /// The finalized block: where the fork choice begins.
    fn root(&self) -> Id {
        let epoch = (self.entries[&self.head.block].block.slot / SLOTS_PER_EPOCH).saturating_sub(2);
        let mut at = self.head.block;
        while self.entries[&at].block.slot > epoch * SLOTS_PER_EPOCH {
            at = self.entries[&at].block.parent;
        }
        at
    }

    /// `get_head`: from the finalized block always to the heaviest child, of the blocks that have nothing invalid before them.
    pub(super) fn get_head(&self) -> Head {
        let root = self.root();
        let weights = self.weights(root);
        let mut block = root;
        loop {
            let full = self.is_full(block, &weights[block]);
            let children = self.entries.range(block + 1..).filter(|(id, e)| {
                e.block.parent == block && e.block.on_payload == full && weights[**id].alive
            });
            match children
                .map(|(id, _)| *id)
                .max_by_key(|id| (weights[*id].all, *id))
            {
                Some(next) => block = next,
                None => return Head { block, full },
            }
        }
    }

    /// Which of a block's two variants, without its payload and with it, the head goes on from.
    fn is_full(&self, block: Id, weight: &Weight) -> bool {
        if !self.habits.gloas || block == 0 {
            return true;
        }
        if !self.is_imported(block) {
            return false;
        }
        let entry = &self.entries[&block];
        if entry.block.slot + 1 == self.slot {
            // `should_extend_payload`: no weight counts, the payload committee's word and the proposer's do.
            let proposed = self
                .boosted
                .and_then(|id| self.entries.get(&id))
                .map(|e| &e.block);
            return entry.timely || proposed.is_none_or(|b| b.parent != block || b.on_payload);
        }
        weight.full >= weight.empty
    }

    /// The weight of each block from the root on.
    fn weights(&self, root: Id) -> Vec<Weight> {
        let count = self.entries.keys().next_back().map_or(0, |id| id + 1);
        let mut weights = vec![Weight::default(); count];
        // "The weights from those INVALIDATED blocks MUST NOT be applied to any" ancestor: what is not alive has none.
        for (id, entry) in self.entries.range(root..) {
            let parent = entry.block.parent;
            let here = entry.imported && (self.habits.gloas || self.is_imported(*id));
            let on = weights[parent].alive && (!entry.block.on_payload || self.is_imported(parent));
            weights[*id].alive = here && (*id == root || on);
        }
        let mut add = |block: Id, variant: Option<bool>, weight: u64| {
            let Some(found) = weights.get_mut(block).filter(|w| w.alive) else {
                return;
            };
            found.all += weight;
            match variant {
                Some(true) => found.full += weight,
                Some(false) => found.empty += weight,
                None => {}
            }
        };
        if let Some(boosted) = self.boosted {
            add(boosted, None, BOOST);
        }
        for vote in self.latest.values() {
            let earlier = self
                .entries
                .get(&vote.block)
                .is_some_and(|e| e.block.slot < vote.slot);
            add(vote.block, earlier.then_some(vote.payload_present), GROUP_WEIGHT);
        }
        // Children come after their parents.
        for (id, entry) in self.entries.range(root + 1..).rev() {
            let weight = weights[*id].all;
            let parent = &mut weights[entry.block.parent];
            parent.all += weight;
            match entry.block.on_payload {
                true => parent.full += weight,
                false => parent.empty += weight,
            }
        }
        weights
    }
}

/// What is for a block, and for each of its variants.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    /// It and what it builds on is imported and not invalid.
    alive: bool,
    all: u64,
    full: u64,
    empty: u64,
}
