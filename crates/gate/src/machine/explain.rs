//! Why a payload is not VALID.

use super::{
    Gate,
    action::{HeldBy, PayloadVerdict},
    config::ImportPolicy,
    node::{ElStatus, Node},
};
use assay_types::{BlockHash, Root, Slot};
use std::collections::HashMap;

/// An ancestor that holds a payload back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldingAncestor {
    /// Which one.
    pub block_hash: BlockHash,
    /// Its slot, where known.
    pub slot: Option<Slot>,
    /// What it lacks itself.
    pub held_by: HeldBy,
}

/// A payload that left the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RememberedPayload {
    /// Its execution block's hash.
    pub block_hash: BlockHash,
    /// Its request root, where known.
    pub new_payload_request_root: Option<Root>,
    /// Its slot, where known.
    pub slot: Option<Slot>,
    /// It was VALID, or proven with its ancestors.
    pub valid: bool,
    /// The beacon node was told VALID of it, or of a descendant.
    pub told_valid: bool,
    /// Rule 4.
    pub conflict: bool,
}

/// Ancestors looked at to say what holds a payload back.
const MAX_EXPLAIN_DEPTH: u32 = 4096;

/// Holders of payloads that are asked about together: a chain that is held back by one payload is walked once.
#[derive(Debug, Default)]
pub(super) struct Holders {
    /// What holds back all that descends from a payload by more than the lag.
    from: HashMap<BlockHash, HeldBy>,
    /// Payloads that were looked at.
    pub(super) steps: usize,
}

impl Gate {
    /// What keeps a payload from VALID; `None` where nothing does.
    pub(super) fn held_by(&self, hash: &BlockHash) -> Option<HeldBy> {
        self.held_by_among(hash, None)
    }

    /// As `held_by`, of one payload among several.
    pub(super) fn held_by_among(&self, hash: &BlockHash, known: Option<&mut Holders>) -> Option<HeldBy> {
        let Some(node) = self.tree.get(hash) else {
            return match self.settled.get(hash) {
                Some(s) if s.conflict => Some(HeldBy::Conflict(*hash)),
                Some(s) if s.valid => None,
                _ => Some(HeldBy::UnknownPayload),
            };
        };
        if self.verdict(node) == PayloadVerdict::Valid {
            return None;
        }
        if self.config.policy == ImportPolicy::Observe {
            return Some(HeldBy::El(node.el));
        }
        if node.standing.conflict {
            return Some(HeldBy::Conflict(self.oldest_conflict(*hash)));
        }
        if let Some(own) = self.held_by_itself(node, 0) {
            return Some(own);
        }
        // Within the lag it matters how far back an ancestor is; beyond it all descendants are held by the same.
        let near = self.config.lag().max(1);
        let mut cursor = node.parent();
        for distance in 1..near {
            let Some(at) = cursor else { break };
            if let Some(held) = self.held_at(at, distance) {
                return Some(held);
            }
            cursor = self.tree.get(&at).and_then(Node::parent);
        }
        Some(cursor.map_or(HeldBy::UnknownPayload, |at| self.holder_from(at, near, known)))
    }

    /// What an ancestor holds its descendants back by.
    fn held_at(&self, at: BlockHash, distance: u32) -> Option<HeldBy> {
        match self.tree.get(&at) {
            Some(ancestor) if ancestor.facts.is_some() || ancestor.anchor => {
                let own = self.held_by_itself(ancestor, distance);
                own.map(|_| HeldBy::Ancestor(at))
            }
            _ => Some(HeldBy::UnknownAncestor(at)),
        }
    }

    /// The nearest holder from an ancestor on that is no nearer than the lag.
    fn holder_from(&self, first: BlockHash, distance: u32, mut known: Option<&mut Holders>) -> HeldBy {
        let mut passed = Vec::new();
        let mut at = first;
        let mut found = None;
        for _ in 0..MAX_EXPLAIN_DEPTH {
            if let Some(known) = &mut known {
                known.steps += 1;
                found = known.from.get(&at).copied();
                passed.push(at);
            }
            found = found.or_else(|| self.held_at(at, distance));
            if found.is_some() {
                break;
            }
            match self.tree.get(&at).and_then(Node::parent) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        let found = found.unwrap_or(HeldBy::Ancestor(at));
        if let Some(known) = known {
            known.from.extend(passed.into_iter().map(|at| (at, found)));
        }
        found
    }

    /// Ancestors that themselves lack something for the verdict of a payload, the nearest first; at most `limit`, and no
    /// farther back than `MAX_EXPLAIN_DEPTH`. The last may be a hole.
    pub fn holding_ancestors(&self, hash: &BlockHash, limit: usize) -> Vec<HoldingAncestor> {
        let mut found = Vec::new();
        let Some(node) = self.tree.get(hash) else {
            return found;
        };
        if self.verdict(node) == PayloadVerdict::Valid || self.config.policy == ImportPolicy::Observe {
            return found;
        }
        let mut child = node;
        for distance in 1..=MAX_EXPLAIN_DEPTH {
            let Some(at) = child.parent() else { break };
            if child.anchor || child.rooted.is_some() || found.len() >= limit {
                break;
            }
            let Some(ancestor) = self.tree.get(&at) else {
                found.push(HoldingAncestor {
                    block_hash: at,
                    slot: None,
                    held_by: HeldBy::UnknownAncestor(at),
                });
                break;
            };
            if let Some(held_by) = self.held_by_itself(ancestor, distance) {
                found.push(HoldingAncestor {
                    block_hash: at,
                    slot: ancestor.facts.map(|f| f.slot),
                    held_by,
                });
            }
            child = ancestor;
        }
        found
    }

    /// Payloads that the operator has to decide of (rule 4), oldest slots first, at most `limit`. Their descendants are
    /// not named.
    pub fn conflicts(&self, limit: usize) -> Vec<BlockHash> {
        let in_tree = self.tree.iter().filter(|(_, n)| n.conflict);
        let mut found: Vec<_> = in_tree.map(|(h, n)| (n.facts.map(|f| f.slot), *h)).collect();
        found.extend(self.settled.in_conflict());
        found.sort_unstable();
        found.dedup();
        found.into_iter().take(limit).map(|(_, hash)| hash).collect()
    }

    /// Payloads of a slot that left the tree, at most `limit`.
    pub fn remembered_at(&self, slot: Slot, limit: usize) -> Vec<RememberedPayload> {
        let mut found: Vec<BlockHash> = self.settled.of_slot(slot).collect();
        found.sort_unstable();
        found.truncate(limit);
        found.iter().filter_map(|hash| self.remembered(hash)).collect()
    }

    /// What is remembered of a payload that left the tree.
    pub fn remembered(&self, hash: &BlockHash) -> Option<RememberedPayload> {
        let settled = self.settled.get(hash)?;
        Some(RememberedPayload {
            block_hash: *hash,
            new_payload_request_root: settled.root,
            slot: settled.slot,
            valid: settled.valid,
            told_valid: settled.told_valid,
            conflict: settled.conflict,
        })
    }

    /// What a payload itself lacks for the verdict of its descendant so many payloads on; 0: its own.
    fn held_by_itself(&self, node: &Node, distance: u32) -> Option<HeldBy> {
        let el = Some(HeldBy::El(node.el));
        let proofs = || {
            if node.anchor || node.released || node.is_proven(&self.config) {
                return None;
            }
            Some(match node.facts {
                None => HeldBy::UnknownPayload,
                Some(_) => HeldBy::Proofs {
                    have: node.proof_count(&self.config.counted_types),
                    need: self.config.required_proofs.get(),
                },
            })
        };
        match (self.config.policy, node.el) {
            (ImportPolicy::Observe | ImportPolicy::AcceptProofs, ElStatus::Valid) => None,
            (ImportPolicy::Observe, _) => el,
            (ImportPolicy::RequireProofs, ElStatus::Valid) if distance < self.config.lag() => None,
            (ImportPolicy::RequireProofs, ElStatus::Valid) => proofs(),
            (ImportPolicy::RequireProofs, _) => el,
            (ImportPolicy::AcceptProofs | ImportPolicy::ProofsOnly, ElStatus::Invalid) => el,
            (ImportPolicy::AcceptProofs, ElStatus::Accepted) if distance == 0 => el,
            (ImportPolicy::AcceptProofs | ImportPolicy::ProofsOnly, _) => proofs(),
        }
    }

    /// The oldest payload in conflict among a payload and its ancestors.
    fn oldest_conflict(&self, hash: BlockHash) -> BlockHash {
        let mut oldest = hash;
        let mut cursor = Some(hash);
        while let Some(at) = cursor {
            match self.tree.get(&at) {
                Some(node) if node.conflict => oldest = at,
                Some(_) => {}
                None if self.settled.get(&at).is_some_and(|s| s.conflict) => oldest = at,
                None => break,
            }
            cursor = self.tree.get(&at).and_then(Node::parent);
        }
        oldest
    }
}
