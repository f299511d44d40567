//! The EL's INVALID (rules 1 and 4).
//!
//! An INVALID is the EL's own and passes, unless it would take back a VALID that the beacon node was told: that is an
//! alarm, and SYNCING for the payload and its descendants until the operator decides.

use super::{
    Gate,
    action::{Alarm, Cause, Decision, HeldBy},
    config::ImportPolicy,
    event::{ConflictResolution, UnixMillis},
    node::{ElStatus, Node},
    settled::SettledPayload,
};
use assay_types::BlockHash;
use std::collections::HashSet;

/// Which ancestors an INVALID speaks of, by its `latestValidHash`.
struct Called {
    /// Those in the tree, newest first.
    ancestors: Vec<BlockHash>,
    /// The one that left the tree, where the walk ended at it.
    settled: Option<BlockHash>,
    /// The walk came to the hash named: it is clear of whom the EL speaks.
    reached: bool,
    /// The hash named is older than all that is in the tree: everything the walk came by is meant.
    all: bool,
}

impl Gate {
    /// The EL called a payload INVALID. `own`: the payload of the tree it spoke of, if it is one; `asked`: the hash of
    /// the call.
    pub(super) fn called_invalid(
        &mut self,
        own: Option<BlockHash>,
        parent: Option<BlockHash>,
        latest_valid_hash: Option<BlockHash>,
        asked: BlockHash,
        now: UnixMillis,
    ) -> Decision {
        let called = self.called(parent, latest_valid_hash);
        // Null: this payload alone. A hash that nobody here knows says nothing that can be believed of ancestors.
        let mut invalid = match own {
            Some(own) if self.tree.contains(&own) => vec![own],
            // Not in the tree, but what stands on it may be.
            Some(own) if !self.settled.contains(&own) => self.tree.children(&own).to_vec(),
            _ => Vec::new(),
        };
        let mut settled: Vec<BlockHash> = own.filter(|h| self.settled.contains(h)).into_iter().collect();
        if called.reached || called.all {
            invalid.extend(called.ancestors.iter().copied());
            settled.extend(called.settled);
        }
        let told_above = latest_valid_hash.is_some_and(|named| self.may_take_back(&called, own, named));

        self.mark_invalid(&invalid, now);
        let mut conflict = self.conflict_in_tree(&invalid, now);
        conflict |= self.conflict_in_settled(&settled, now);
        if told_above {
            let latest_valid_hash = latest_valid_hash.unwrap_or_default();
            self.alarm(Alarm::UnknownLatestValidHash {
                block_hash: asked,
                latest_valid_hash,
            });
        }
        if self.config.policy == ImportPolicy::Observe {
            return Decision::PassThrough;
        }
        if told_above && let Some(node) = own.and_then(|h| self.tree.get_mut(&h)) {
            node.conflict = true;
            self.out.dirty.insert(asked);
            self.out.durable = true;
            self.recompute(vec![asked], Cause::ExecutionClient, now);
        }
        // SYNCING for descendants of a conflict too.
        let inherited = [own, parent].into_iter().flatten().any(|h| {
            self.tree.get(&h).is_some_and(|n| n.standing.conflict)
                || self.settled.get(&h).is_some_and(|s| s.conflict)
        });
        if conflict || told_above || inherited {
            return Decision::LowerToSyncing(HeldBy::Conflict(asked));
        }
        Decision::PassThrough
    }

    fn called(&self, parent: Option<BlockHash>, latest_valid_hash: Option<BlockHash>) -> Called {
        let mut called = Called {
            ancestors: Vec::new(),
            settled: None,
            reached: false,
            all: false,
        };
        let Some(named) = latest_valid_hash else {
            return called;
        };
        let mut cursor = parent;
        while let Some(at) = cursor {
            if at == named {
                called.reached = true;
                return called;
            }
            let Some(node) = self.tree.get(&at) else {
                called.settled = self.settled.contains(&at).then_some(at);
                break;
            };
            called.ancestors.push(at);
            cursor = node.parent();
        }
        // Zero: everything since the merge.
        called.all = named.is_zero() || self.is_before(&named, &called.ancestors, called.settled);
        called
    }

    /// Whether a payload of the finalized chain left the tree and is older than all that a walk came by.
    fn is_before(&self, named: &BlockHash, walked: &[BlockHash], end: Option<BlockHash>) -> bool {
        let Some(named) = self.settled.get(named).filter(|s| s.canonical) else {
            return false;
        };
        let in_tree = |hash: &BlockHash| self.tree.get(hash).and_then(|n| n.facts).map(|f| f.slot);
        let oldest = match end {
            Some(end) => self.settled.get(&end).and_then(|s| s.slot),
            None => walked.last().and_then(in_tree),
        };
        named
            .slot
            .zip(oldest)
            .is_some_and(|(named, oldest)| named < oldest)
    }

    /// Whether the beacon node, which may know more of the chain, would take back a VALID by this `latestValidHash`
    /// although it is not clear here of which payloads the EL speaks: the walk ended at a hole, or where the tree was
    /// pruned.
    fn may_take_back(&self, called: &Called, own: Option<BlockHash>, named: BlockHash) -> bool {
        if called.reached {
            return false;
        }
        let told = |h: &BlockHash| self.tree.get(h).is_some_and(|n| n.told_valid);
        let told_settled = called.settled.is_some_and(|h| self.settled_told(&h));
        if !called.all && (called.ancestors.iter().any(told) || told_settled) {
            return true;
        }
        // Beyond the end of the walk it may be anything that was told, but what the hash named stands on.
        if self.tree.contains(&named) {
            let below: HashSet<_> = self.chain_of(named).into_iter().collect();
            let slot = self.tree.get(&named).and_then(|n| n.facts).map(|f| f.slot);
            return self
                .tree
                .iter()
                .any(|(hash, node)| node.told_valid && !below.contains(hash))
                || self.settled.any_told_after(slot);
        }
        let mut known = called.ancestors.clone();
        known.extend(own);
        let known: HashSet<_> = self.tree.subtrees(&known).into_iter().collect();
        self.tree
            .iter()
            .any(|(hash, node)| node.told_valid && !known.contains(hash))
            || self.settled.any_told_after(None)
    }

    /// These and all their descendants are INVALID to the EL now.
    fn mark_invalid(&mut self, called: &[BlockHash], now: UnixMillis) {
        let mut changed = Vec::new();
        for hash in self.tree.subtrees(called) {
            let Some(node) = self.tree.get_mut(&hash) else {
                continue;
            };
            if node.el != ElStatus::Invalid {
                node.el = ElStatus::Invalid;
                self.out.dirty.insert(hash);
                changed.push(hash);
            }
        }
        changed.reverse();
        self.recompute(changed, Cause::ExecutionClient, now);
    }

    /// Whether VALID was told of any of these.
    fn conflict_in_tree(&mut self, called: &[BlockHash], now: UnixMillis) -> bool {
        let told: Vec<_> = called
            .iter()
            .copied()
            .filter(|h| self.tree.get(h).is_some_and(|n| n.told_valid))
            .collect();
        let observed = self.config.policy == ImportPolicy::Observe;
        for hash in &told {
            let Some(node) = self.tree.get_mut(hash) else {
                continue;
            };
            if node.conflict {
                continue;
            }
            if !observed {
                node.conflict = true;
                self.out.dirty.insert(*hash);
                self.out.durable = true;
            }
            self.alarm(Alarm::ValidCalledInvalid { block_hash: *hash });
        }
        if observed {
            // The beacon node is told INVALID now, the EL's word: nothing is left that was told VALID.
            self.forget_told(called, now);
        }
        self.recompute(told.clone(), Cause::ExecutionClient, now);
        !told.is_empty()
    }

    fn forget_told(&mut self, called: &[BlockHash], now: UnixMillis) {
        let subtrees = self.tree.subtrees(called);
        for hash in &subtrees {
            if let Some(node) = self.tree.get_mut(hash)
                && (node.told_valid || node.conflict)
            {
                node.told_valid = false;
                node.conflict = false;
                self.out.dirty.insert(*hash);
            }
        }
        self.recompute(subtrees, Cause::ExecutionClient, now);
    }

    /// As `mark_invalid` and `conflict_in_tree`, of payloads that left the tree.
    fn conflict_in_settled(&mut self, called: &[BlockHash], now: UnixMillis) -> bool {
        let observed = self.config.policy == ImportPolicy::Observe;
        let mut any = false;
        for hash in called {
            let Some(settled) = self.settled.get(hash).copied() else {
                continue;
            };
            let above = self.standing_on(hash, settled.canonical);
            let mut told = settled.told_valid;
            for top in &above {
                told |= self
                    .tree
                    .subtree(top)
                    .iter()
                    .any(|h| self.tree.get(h).is_some_and(|n| n.told_valid));
                self.mark_invalid(&[*top], now);
            }
            if observed {
                // Nor is what stood on it rooted in anything VALID.
                for top in &above {
                    if let Some(node) = self.tree.get_mut(top) {
                        node.rooted = None;
                        self.out.dirty.insert(*top);
                    }
                }
                self.forget_told(&above, now);
            }
            any |= told;
            let after = match observed {
                true => SettledPayload {
                    told_valid: false,
                    valid: false,
                    behind: None,
                    ..settled
                },
                false => SettledPayload {
                    told_valid: told,
                    conflict: told,
                    ..settled
                },
            };
            if after == settled {
                continue;
            }
            self.out.dirty.insert(*hash);
            self.out.durable |= !observed;
            if let Some(settled) = self.settled.get_mut(hash) {
                *settled = after;
            }
            if told && !settled.conflict {
                self.alarm(Alarm::ValidCalledInvalid { block_hash: *hash });
            }
            if told && !observed {
                for top in &above {
                    if let Some(node) = self.tree.get_mut(top) {
                        node.conflict = true;
                        self.out.dirty.insert(*top);
                    }
                }
            }
            self.recompute(above, Cause::ExecutionClient, now);
        }
        any
    }

    /// Whether VALID was told of a payload that left the tree, or of one that stands on it.
    fn settled_told(&self, hash: &BlockHash) -> bool {
        let told = |top: &BlockHash| self.tree.get(top).is_some_and(|n| n.told_valid);
        self.settled
            .get(hash)
            .is_some_and(|s| s.told_valid || self.standing_on(hash, s.canonical).iter().any(told))
    }

    /// The payloads of the tree that stand on one that left it.
    fn standing_on(&self, hash: &BlockHash, canonical: bool) -> Vec<BlockHash> {
        let on_it = |node: &Node| node.parent() == Some(*hash) || (canonical && node.rooted.is_some());
        self.tree
            .iter()
            .filter(|(_, node)| on_it(node))
            .map(|(hash, _)| *hash)
            .collect()
    }

    /// The operator decided (rule 4).
    pub(super) fn resolve_conflict(
        &mut self,
        hash: BlockHash,
        resolution: ConflictResolution,
        now: UnixMillis,
    ) {
        self.out.durable = true;
        if let Some(settled) = self.settled.get_mut(&hash)
            && settled.conflict
        {
            settled.conflict = false;
            if resolution == ConflictResolution::AcceptInvalid {
                settled.valid = false;
                settled.behind = None;
                settled.told_valid = false;
            }
            let canonical = settled.canonical;
            self.out.dirty.insert(hash);
            let above = self.standing_on(&hash, canonical);
            for top in above {
                self.resolve_subtree(top, resolution, now);
            }
        }
        self.resolve_subtree(hash, resolution, now);
    }

    fn resolve_subtree(&mut self, top: BlockHash, resolution: ConflictResolution, now: UnixMillis) {
        let subtree = self.tree.subtree(&top);
        for hash in &subtree {
            let Some(node) = self.tree.get_mut(hash) else {
                continue;
            };
            node.conflict = false;
            if resolution == ConflictResolution::AcceptInvalid {
                node.told_valid = false;
            }
            self.out.dirty.insert(*hash);
        }
        self.recompute(subtree, Cause::Operator, now);
    }
}
