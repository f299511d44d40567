//! Payloads that are trusted, and their ancestors with them (rule 2).

use super::{
    Gate,
    action::Cause,
    event::{PayloadFacts, UnixMillis},
};
use assay_types::BlockHash;

impl Gate {
    /// Rule 2: a trusted payload.
    pub(super) fn set_anchor(&mut self, hash: BlockHash, now: UnixMillis) {
        if hash.is_zero() || self.settled.contains(&hash) {
            return;
        }
        self.touch(hash, now);
        self.mark_anchor(hash, now);
        self.out.durable = true;
    }

    /// An anchor's ancestors are as trusted as itself: a reorg below it must not run into a hole.
    pub(super) fn mark_anchor(&mut self, hash: BlockHash, now: UnixMillis) {
        let mut changed = Vec::new();
        let mut cursor = hash;
        while let Some(node) = self.tree.get_mut(&cursor) {
            if node.anchor {
                break;
            }
            node.anchor = true;
            changed.push(cursor);
            let Some(facts) = node.facts else { break };
            if node.rooted.is_none() && !self.settled.contains(&facts.parent_hash) {
                self.touch_anchor(facts.parent_hash, now);
            }
            cursor = facts.parent_hash;
        }
        self.out.dirty.extend(changed.iter().copied());
        self.recompute(changed, Cause::Anchor, now);
    }

    pub(super) fn mark_anchor_parent(&mut self, facts: &PayloadFacts, now: UnixMillis) {
        if !self.settled.contains(&facts.parent_hash) {
            self.touch_anchor(facts.parent_hash, now);
            self.mark_anchor(facts.parent_hash, now);
        }
    }

    /// As `touch`, without making room: the node is about to become an anchor.
    fn touch_anchor(&mut self, hash: BlockHash, now: UnixMillis) {
        if !hash.is_zero() && !self.tree.contains(&hash) {
            self.insert_hash_only(hash, now);
        }
    }
}
