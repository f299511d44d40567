//! What follows from each payload for its descendants, and its verdict.

use super::{
    Gate,
    action::{Cause, Milestone, PayloadVerdict, Step, VerdictChange},
    config::ImportPolicy,
    event::UnixMillis,
    node::{ElStatus, Node, Standing},
};
use assay_types::BlockHash;

/// Of two ways back to what is proven the shorter.
pub(crate) fn nearest(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Gate {
    /// What it would answer for the node now.
    pub(super) fn verdict(&self, node: &Node) -> PayloadVerdict {
        let standing = &node.standing;
        if standing.conflict && self.config.policy != ImportPolicy::Observe {
            // Rule 4: neither VALID nor INVALID while in conflict.
            return PayloadVerdict::Syncing;
        }
        let valid = match self.config.policy {
            ImportPolicy::Observe => node.el == ElStatus::Valid,
            // Rule 7: never better than the EL.
            ImportPolicy::RequireProofs => standing.behind.is_some() && standing.el_valid,
            // ACCEPTED is neither SYNCING nor silence.
            ImportPolicy::AcceptProofs => standing.supported && node.el != ElStatus::Accepted,
            ImportPolicy::ProofsOnly => standing.proven(),
        };
        match (valid, node.el) {
            (true, _) => PayloadVerdict::Valid,
            // Rule 1: the EL's own; without one there is none.
            (false, ElStatus::Invalid) if self.config.policy.has_execution_client() => {
                PayloadVerdict::Invalid
            }
            (false, _) => PayloadVerdict::Syncing,
        }
    }

    /// Whether proofs alone make it VALID while the EL is SYNCING or silent, or where there is none.
    pub(crate) fn is_raised(&self, hash: &BlockHash) -> bool {
        let raises = |node: &Node| match self.config.policy {
            ImportPolicy::Observe | ImportPolicy::RequireProofs => false,
            ImportPolicy::AcceptProofs => node.standing.supported && !node.standing.conflict,
            ImportPolicy::ProofsOnly => node.standing.proven() && !node.standing.conflict,
        };
        match (self.tree.get(hash), self.settled.get(hash)) {
            (Some(node), _) => raises(node),
            (None, Some(settled)) => {
                settled.valid
                    && !settled.conflict
                    && matches!(
                        self.config.policy,
                        ImportPolicy::AcceptProofs | ImportPolicy::ProofsOnly
                    )
            }
            (None, None) => false,
        }
    }

    /// The EL says VALID: it says so of every ancestor too.
    pub(super) fn mark_el_valid(&mut self, hash: BlockHash, now: UnixMillis) {
        self.spread_el_valid(hash, |_| true, now);
    }

    /// The EL's VALID for a payload and its ancestors, as far as it is news to them: a VALID from before the link
    /// between two payloads was known is older than what the EL said of the ancestor itself.
    pub(super) fn spread_el_valid(
        &mut self,
        hash: BlockHash,
        is_news: fn(ElStatus) -> bool,
        now: UnixMillis,
    ) {
        let mut changed = Vec::new();
        let mut cursor = Some(hash);
        while let Some(node) = cursor.and_then(|h| self.tree.get_mut(&h).map(|n| (h, n))) {
            let (at, node) = node;
            if node.standing.el_valid || !is_news(node.el) {
                break;
            }
            if node.el != ElStatus::Valid {
                node.el = ElStatus::Valid;
                node.times.el_valid_at.get_or_insert(now);
                self.out.dirty.insert(at);
            }
            changed.push(at);
            cursor = node.parent();
        }
        // Oldest on top of the stack.
        self.recompute(changed, Cause::ExecutionClient, now);
    }

    /// The EL says of this payload alone that it is not (or no longer) VALID.
    pub(super) fn mark_el(&mut self, hash: BlockHash, status: ElStatus, now: UnixMillis) {
        let Some(node) = self.tree.get_mut(&hash) else {
            return;
        };
        if node.el == status {
            return;
        }
        node.el = status;
        self.out.dirty.insert(hash);
        self.recompute(vec![hash], Cause::ExecutionClient, now);
    }

    /// What a payload gets from its parent.
    fn inherited(&self, node: &Node) -> Standing {
        let none = Standing {
            el_valid: true,
            ..Standing::default()
        };
        let Some(parent) = node.parent() else { return none };
        if let Some(parent) = self.tree.get(&parent) {
            return parent.standing;
        }
        self.settled.get(&parent).map_or(none, |s| Standing {
            behind: s.behind,
            supported: s.valid,
            el_valid: true,
            conflict: s.conflict,
        })
    }

    /// Brings standing and verdict of these payloads, and of whoever depends on them, up to date.
    pub(super) fn recompute(&mut self, mut stack: Vec<BlockHash>, cause: Cause, now: UnixMillis) {
        while let Some(hash) = stack.pop() {
            if self.recompute_one(hash, cause, now) {
                stack.extend_from_slice(self.tree.children(&hash));
            }
        }
    }

    /// As `recompute`, of the whole tree, parents first.
    pub(super) fn recompute_all(&mut self, cause: Cause, now: UnixMillis) {
        let is_top = |n: &Node| n.parent().is_none_or(|p| !self.tree.contains(&p));
        let mut stack: Vec<_> = self
            .tree
            .iter()
            .filter(|(_, n)| is_top(n))
            .map(|(hash, _)| *hash)
            .collect();
        while let Some(hash) = stack.pop() {
            self.recompute_one(hash, cause, now);
            stack.extend_from_slice(self.tree.children(&hash));
        }
    }

    /// Whether its standing changed.
    fn recompute_one(&mut self, hash: BlockHash, cause: Cause, now: UnixMillis) -> bool {
        let Some(node) = self.tree.get(&hash) else {
            return false;
        };
        let parent = self.inherited(node);
        let proven_itself = node.is_proven(&self.config);
        let invalid = node.el == ElStatus::Invalid;
        let behind = match nearest(node.rooted, parent.behind) {
            // What an EL called INVALID before there was none.
            _ if invalid && !self.config.policy.has_execution_client() => None,
            _ if node.anchor => Some(0),
            Some(0) if proven_itself || node.released => Some(0),
            Some(behind) if behind < self.config.lag() => Some(behind + 1),
            _ => None,
        };
        let on_supported = node.rooted.is_some() || parent.supported;
        let standing = Standing {
            behind,
            supported: !invalid
                && (node.anchor || node.el == ElStatus::Valid || (proven_itself && on_supported)),
            el_valid: node.el == ElStatus::Valid && parent.el_valid,
            conflict: node.conflict || parent.conflict,
        };
        let (before, standing_before) = (node.verdict, node.standing);
        let Some(node) = self.tree.get_mut(&hash) else {
            return false;
        };
        node.standing = standing;
        let verdict = match self.tree.get(&hash) {
            Some(node) => self.verdict(node),
            None => return false,
        };
        if before != Some(verdict) {
            self.verdict_changed(hash, verdict, cause, now);
        }
        standing != standing_before
    }

    fn verdict_changed(&mut self, hash: BlockHash, to: PayloadVerdict, cause: Cause, now: UnixMillis) {
        let Some(node) = self.tree.get_mut(&hash) else {
            return;
        };
        let from = node.verdict.replace(to);
        if to == PayloadVerdict::Valid {
            if node.times.valid_at.is_none() {
                node.times.valid_at = Some(now);
                if node.times.told_syncing_at.is_some() {
                    self.stats.syncing_first_valid_later += 1;
                }
                if let Some(facts) = node.facts {
                    self.out.reached.push(Milestone {
                        block_hash: hash,
                        slot: facts.slot,
                        step: Step::Valid,
                        at: now,
                    });
                }
            }
            self.prune_again = true;
            self.out.durable |= self.config.policy != ImportPolicy::Observe;
            self.out.dirty.insert(hash);
        }
        self.out.changes.push(VerdictChange {
            block_hash: hash,
            new_payload_request_root: node.facts.map(|f| f.new_payload_request_root),
            slot: node.facts.map(|f| f.slot),
            from,
            to,
            cause,
            at: now,
            seen_at: node.times.seen_at,
            first_proof_at: node.proofs.values().min().copied(),
            proven_at: node.times.proven_at,
            held_by: None,
            first_told_syncing: node.first_told_syncing(),
        });
    }
}
