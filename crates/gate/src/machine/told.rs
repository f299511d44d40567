//! What the beacon node was told of each payload (rule 4 rests on it).

use super::{Gate, config::ImportPolicy, event::UnixMillis};
use assay_types::BlockHash;

impl Gate {
    /// The beacon node is told VALID: from then on it takes the payload and its ancestors for valid.
    ///
    /// So it is where the caller hung up before its answer: nobody can know which of its bytes arrived. Taken for told, an INVALID
    /// that follows is an alarm and SYNCING (rule 4), which costs an operator a look; taken for not told, it might take back what
    /// was heard. What was told raises nothing: of verdicts, it counts for what is trusted when the policy changes (rule 2), and
    /// there it was VALID by the policy in force.
    pub(super) fn tell_valid(&mut self, hash: BlockHash, now: UnixMillis) {
        if let Some(settled) = self.settled.get_mut(&hash)
            && !settled.told_valid
        {
            settled.told_valid = true;
            self.out.told_first.push(hash);
            self.out.dirty.insert(hash);
            self.out.durable |= self.config.policy != ImportPolicy::Observe;
        }
        if self.tree.get(&hash).is_some_and(|n| !n.told_valid) {
            // Not what a payload has from descendants that were told of before it had its place: that was heard.
            let told_first = self.spread_told_valid(hash, now);
            self.out.told_first.extend(told_first);
            self.out.durable |= self.config.policy != ImportPolicy::Observe;
        }
    }

    /// The beacon node was told VALID by the EL's answer as it came, and `observe` ended before the machine heard of it.
    pub(super) fn passed_valid(&mut self, hash: BlockHash, now: UnixMillis) {
        let in_conflict = self.tree.get(&hash).is_some_and(|n| n.standing.conflict);
        if self.config.policy == ImportPolicy::Observe || hash.is_zero() || in_conflict {
            return;
        }
        self.set_anchor(hash, now);
        self.tell_valid(hash, now);
    }

    /// Gives those that were not told before.
    pub(super) fn spread_told_valid(&mut self, hash: BlockHash, now: UnixMillis) -> Vec<BlockHash> {
        let mut told_first = Vec::new();
        let mut cursor = Some(hash);
        let mut first = true;
        while let Some((at, node)) = cursor.and_then(|h| self.tree.get_mut(&h).map(|n| (h, n))) {
            if node.told_valid && !first {
                break;
            }
            first = false;
            if !node.told_valid {
                told_first.push(at);
            }
            node.told_valid = true;
            node.times.told_valid_at.get_or_insert(now);
            self.out.dirty.insert(at);
            cursor = node.parent();
        }
        told_first
    }

    /// The beacon node was told SYNCING of the first of these in place of VALID, and with it VALID of none of them.
    pub(super) fn not_told(&mut self, payloads: &[BlockHash], now: UnixMillis) {
        for hash in payloads {
            if let Some(settled) = self.settled.get_mut(hash) {
                settled.told_valid = false;
                self.out.dirty.insert(*hash);
            }
            if let Some(node) = self.tree.get_mut(hash) {
                node.told_valid = false;
                node.times.told_valid_at = None;
                self.out.dirty.insert(*hash);
            }
        }
        if let Some(asked) = payloads.first() {
            self.tell_syncing(*asked, now);
        }
    }

    /// The beacon node is told SYNCING.
    pub(super) fn tell_syncing(&mut self, hash: BlockHash, now: UnixMillis) {
        if let Some(node) = self.tree.get_mut(&hash)
            && node.times.told_syncing_at.is_none()
        {
            node.times.told_syncing_at = Some(now);
            self.out.dirty.insert(hash);
        }
    }
}
