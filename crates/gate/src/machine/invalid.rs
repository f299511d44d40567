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
};
use assay_types::BlockHash;

/// Which ancestors an INVALID speaks of, by its `latestValidHash`.
struct Called {
    /// Those in the tree, newest first.
    ancestors: Vec<BlockHash>,
    /// The one that left the tree, where the walk ended at it.
    settled: Option<BlockHash>,
    /// False where the hash named is no ancestor that is known here.
    resolved: bool,
    /// The walk ended where the parent is not known: more ancestors may be meant.
    hole: bool,
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
        let of_ancestors = latest_valid_hash.is_some() && called.resolved;
        let mut invalid: Vec<BlockHash> = own.filter(|h| self.tree.contains(h)).into_iter().collect();
        let mut settled: Vec<BlockHash> = own.filter(|h| self.settled.contains(h)).into_iter().collect();
        if of_ancestors {
            invalid.extend(called.ancestors.iter().copied());
            settled.extend(called.settled);
        }
        let told_above = latest_valid_hash.is_some_and(|named| self.may_take_back(&called, named));

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
            resolved: false,
            hole: false,
        };
        let Some(named) = latest_valid_hash else {
            return called;
        };
        let mut cursor = parent;
        while let Some(at) = cursor {
            if at == named {
                called.resolved = true;
                return called;
            }
            let Some(node) = self.tree.get(&at) else {
                called.settled = self.settled.contains(&at).then_some(at);
                break;
            };
            called.ancestors.push(at);
            cursor = node.parent();
        }
        called.hole = called.settled.is_none();
        // Zero: everything since the merge. What left the tree is older than all that is in it.
        called.resolved = named.is_zero() || self.settled.contains(&named);
        called
    }

    /// Whether the beacon node, which may know more of the chain, would take back a VALID by this `latestValidHash`
    /// although it is not clear here of which payloads the EL speaks.
    fn may_take_back(&self, called: &Called, named: BlockHash) -> bool {
        let told = |h: &BlockHash| self.tree.get(h).is_some_and(|n| n.told_valid);
        let told_settled = |h: BlockHash| self.settled.get(&h).is_some_and(|s| s.told_valid);
        if !called.resolved && (called.ancestors.iter().any(told) || called.settled.is_some_and(told_settled))
        {
            return true;
        }
        if !called.hole {
            return false;
        }
        // Beyond the hole: whatever descends from the hash named; anything at all where that is not known.
        if self.tree.contains(&named) {
            return self.tree.subtree(&named).iter().any(|h| *h != named && told(h));
        }
        self.tree
            .iter()
            .any(|(hash, node)| node.told_valid && !called.ancestors.contains(hash))
    }

    /// These and all their descendants are INVALID to the EL now.
    fn mark_invalid(&mut self, called: &[BlockHash], now: UnixMillis) {
        let mut changed = Vec::new();
        // The last is the oldest and has the others among its descendants.
        for hash in called.last().map(|h| self.tree.subtree(h)).unwrap_or_default() {
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
        if observed && let Some(oldest) = called.last() {
            // The beacon node is told INVALID now, the EL's word: nothing is left that was told VALID.
            self.forget_told(*oldest);
        }
        self.recompute(told.clone(), Cause::ExecutionClient, now);
        !told.is_empty()
    }

    fn forget_told(&mut self, oldest: BlockHash) {
        for hash in self.tree.subtree(&oldest) {
            if let Some(node) = self.tree.get_mut(&hash)
                && (node.told_valid || node.conflict)
            {
                node.told_valid = false;
                node.conflict = false;
                self.out.dirty.insert(hash);
            }
        }
    }

    /// As `conflict_in_tree`, of payloads that left the tree.
    fn conflict_in_settled(&mut self, called: &[BlockHash], now: UnixMillis) -> bool {
        let observed = self.config.policy == ImportPolicy::Observe;
        let mut any = false;
        for hash in called {
            let Some(settled) = self.settled.get_mut(hash) else {
                continue;
            };
            if observed {
                let told = std::mem::take(&mut settled.told_valid);
                settled.valid = false;
                self.out.dirty.insert(*hash);
                if told {
                    self.alarm(Alarm::ValidCalledInvalid { block_hash: *hash });
                }
                continue;
            }
            if !settled.told_valid {
                continue;
            }
            any = true;
            if settled.conflict {
                continue;
            }
            settled.conflict = true;
            let canonical = settled.canonical;
            self.out.dirty.insert(*hash);
            self.out.durable = true;
            self.alarm(Alarm::ValidCalledInvalid { block_hash: *hash });
            if canonical {
                self.set_conflict_of_rooted(true, now);
            }
            let children = self.tree.children(hash).to_vec();
            self.recompute(children, Cause::ExecutionClient, now);
        }
        any
    }

    /// What is rooted stands on payloads that left the tree.
    fn set_conflict_of_rooted(&mut self, conflict: bool, now: UnixMillis) {
        let rooted: Vec<_> = self
            .tree
            .iter()
            .filter(|(_, n)| n.rooted)
            .map(|(hash, _)| *hash)
            .collect();
        for hash in &rooted {
            if let Some(node) = self.tree.get_mut(hash)
                && node.conflict != conflict
            {
                node.conflict = conflict;
                self.out.dirty.insert(*hash);
            }
        }
        self.recompute(rooted, Cause::Operator, now);
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
                settled.told_valid = false;
            }
            let canonical = settled.canonical;
            self.out.dirty.insert(hash);
            let rooted = |n: &Node| canonical && n.rooted;
            let mut above: Vec<_> = self
                .tree
                .iter()
                .filter(|(_, n)| rooted(n))
                .map(|(h, _)| *h)
                .collect();
            above.extend_from_slice(self.tree.children(&hash));
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
