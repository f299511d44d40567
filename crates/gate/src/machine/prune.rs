//! Finality and the tree's limit: what leaves the tree, and what stays known of it.
//!
//! Rule 2: nothing turns VALID because something left.

use super::{
    Gate,
    action::{Alarm, Cause, PayloadVerdict},
    config::ImportPolicy,
    event::UnixMillis,
    node::{ElStatus, Node},
    settled::SettledPayload,
    standing::nearest,
};
use assay_types::{BlockHash, Slot};
use std::collections::HashSet;

/// Most payloads in the tree (nine days of slots without finality). Above it the oldest leave; a payload whose
/// ancestors were not proven when they left stays SYNCING until they come again or the operator sets an anchor.
pub const MAX_PAYLOADS: usize = 65_536;
/// Part of the tree that leaves at once when it is full, so that this is rare.
const SHED_PART: usize = 16;

/// Finality as it was applied last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) finalized: BlockHash,
    /// Nothing is left to prune at it.
    pub(crate) complete: bool,
}

impl Gate {
    /// Drops what finality decided: branches that it cut off, and what lies before the newest proven (or VALID) payload
    /// of the finalized chain. Unproven finalized payloads stay: they hold their descendants.
    pub(super) fn finalize(&mut self, finalized: BlockHash, now: UnixMillis) {
        let again = std::mem::take(&mut self.prune_again);
        match self.pruned {
            Some(p) if p.finalized == finalized && (p.complete || !again) => return,
            _ if !self.tree.contains(&finalized) => return,
            _ => {}
        }
        let chain = self.chain_of(finalized);
        self.cut_branches(&chain, now);
        let base = chain
            .iter()
            .position(|h| self.tree.get(h).is_some_and(|n| self.stands(n)));
        for hash in base.map(|b| &chain[b + 1..]).unwrap_or_default() {
            self.drop_node(*hash, true, now);
        }
        self.pruned = Some(Pruned {
            finalized,
            complete: base == Some(0),
        });
        self.prune_again = false;
        self.out.meta = true;
    }

    /// Whether there is nothing to prune at it any more.
    pub(super) fn is_applied(&self, finalized: &BlockHash) -> bool {
        self.pruned
            .is_some_and(|p| p.finalized == *finalized && (p.complete || !self.prune_again))
    }

    /// The payload and its ancestors in the tree, newest first.
    pub(super) fn chain_of(&self, hash: BlockHash) -> Vec<BlockHash> {
        let mut chain = Vec::new();
        let mut cursor = Some(hash);
        while let Some((at, node)) = cursor.and_then(|h| self.tree.get(&h).map(|n| (h, n))) {
            chain.push(at);
            cursor = node.parent();
        }
        chain
    }

    /// Whether its ancestors are not needed any more to judge its descendants.
    fn stands(&self, node: &Node) -> bool {
        let standing = &node.standing;
        // What the EL called INVALID carries nothing, however proven it is.
        !standing.conflict
            && node.el != ElStatus::Invalid
            && match self.config.policy {
                ImportPolicy::Observe => standing.proven() || self.verdict(node) == PayloadVerdict::Valid,
                // VALID by `--proof-lag` alone is not enough: its descendants need its own proof.
                ImportPolicy::RequireProofs | ImportPolicy::ProofsOnly => standing.proven(),
                ImportPolicy::AcceptProofs => standing.supported,
            }
    }

    /// Drops what is neither ancestor nor descendant of the finalized payload (first of `chain`).
    fn cut_branches(&mut self, chain: &[BlockHash], now: UnixMillis) {
        let on_chain: HashSet<_> = chain.iter().copied().collect();
        let mut tops = Vec::new();
        for hash in chain.iter().skip(1) {
            tops.extend(
                self.tree
                    .children(hash)
                    .iter()
                    .copied()
                    .filter(|c| !on_chain.contains(c)),
            );
        }
        let before = chain.last().and_then(|h| self.tree.get(h)).and_then(Node::parent);
        if let Some(before) = before {
            tops.extend(
                self.tree
                    .children(&before)
                    .iter()
                    .copied()
                    .filter(|c| !on_chain.contains(c)),
            );
        }
        // Payloads whose parent is not known cannot descend from a later one.
        let finalized_slot = chain
            .first()
            .and_then(|h| self.tree.get(h))
            .and_then(|n| n.facts)
            .map(|f| f.slot);
        if let Some(finalized_slot) = finalized_slot {
            tops.extend(self.tree.iter().filter_map(|(hash, node)| {
                let facts = node.facts?;
                let detached =
                    !self.tree.contains(&facts.parent_hash) && !node.anchor && node.rooted.is_none();
                (detached && facts.slot <= finalized_slot && !on_chain.contains(hash)).then_some(*hash)
            }));
        }
        for top in tops {
            for hash in self.tree.subtree(&top) {
                self.drop_node(hash, false, now);
            }
        }
    }

    /// Takes a payload out of the tree; what it gave its children stays with them.
    pub(super) fn drop_node(&mut self, hash: BlockHash, canonical: bool, now: UnixMillis) {
        let Some(node) = self.tree.get(&hash) else { return };
        let stands = self.stands(node);
        let valid = stands || self.verdict(node) == PayloadVerdict::Valid;
        let behind = match (stands, node.el) {
            (true, _) => Some(0),
            (false, ElStatus::Invalid) => None,
            (false, _) => node.standing.behind,
        };
        let (el_valid, conflict, told_valid) =
            (node.standing.el_valid, node.standing.conflict, node.told_valid);
        let children = self.tree.children(&hash).to_vec();
        let Some(node) = self.tree.remove(&hash) else {
            return;
        };
        self.out.dirty.insert(hash);
        if valid || told_valid {
            let settled = SettledPayload {
                root: node.facts.map(|f| f.new_payload_request_root),
                slot: node.facts.map(|f| f.slot),
                valid,
                behind,
                told_valid,
                canonical,
                conflict,
            };
            self.out.dirty.extend(self.settled.insert(hash, settled));
        }
        let requires = self.config.policy == ImportPolicy::RequireProofs;
        for child_hash in &children {
            let Some(child) = self.tree.get_mut(child_hash) else {
                continue;
            };
            child.rooted = nearest(child.rooted, behind);
            child.conflict |= conflict;
            if requires && !el_valid && child.el == ElStatus::Valid {
                // It was held back by its parent's status, which nobody will remember: the EL has to say it again.
                child.el = ElStatus::Syncing;
            }
            self.out.dirty.insert(*child_hash);
        }
        self.recompute(children, Cause::Pruning, now);
    }

    /// Keeps the tree below its limit. The payload that came last stays, however old: it is about to be judged.
    pub(super) fn shed(&mut self, newest: BlockHash, now: UnixMillis) {
        if self.tree.len() <= self.max_payloads {
            return;
        }
        let spared = |hash: &BlockHash, node: &Node| {
            // The head, and anchors that wait for their payload.
            self.head == Some(*hash)
                || newest == *hash
                || (node.anchor && node.facts.is_none() && self.tree.children(hash).is_empty())
        };
        let mut oldest: Vec<(Slot, BlockHash)> = self
            .tree
            .iter()
            .filter(|(hash, node)| !spared(hash, node))
            .map(|(hash, node)| (node.facts.map_or(Slot(0), |f| f.slot), *hash))
            .collect();
        oldest.sort_unstable();
        oldest.truncate((self.max_payloads / SHED_PART).max(1));
        let canonical: HashSet<_> = self
            .head
            .map(|head| self.chain_of(head))
            .unwrap_or_default()
            .into_iter()
            .collect();
        for (_, hash) in &oldest {
            self.drop_node(*hash, canonical.contains(hash), now);
        }
        self.alarm(Alarm::TreeFull {
            dropped: oldest.len(),
        });
    }
}
