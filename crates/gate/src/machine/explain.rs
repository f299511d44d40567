//! Why a payload is not VALID.

use super::{
    Gate,
    action::{HeldBy, PayloadVerdict},
    config::ImportPolicy,
    node::{ElStatus, Node},
};
use assay_types::BlockHash;

/// Ancestors looked at to say what holds a payload back.
const MAX_EXPLAIN_DEPTH: u32 = 4096;

impl Gate {
    /// What keeps a payload from VALID; `None` where nothing does.
    pub(super) fn held_by(&self, hash: &BlockHash) -> Option<HeldBy> {
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
        let mut cursor = node.parent();
        for distance in 1..=MAX_EXPLAIN_DEPTH {
            let Some(at) = cursor else { break };
            let Some(ancestor) = self.tree.get(&at) else {
                return Some(HeldBy::UnknownAncestor(at));
            };
            if ancestor.facts.is_none() && !ancestor.anchor {
                return Some(HeldBy::UnknownAncestor(at));
            }
            if self.held_by_itself(ancestor, distance).is_some() {
                return Some(HeldBy::Ancestor(at));
            }
            cursor = ancestor.parent();
        }
        Some(cursor.map_or(HeldBy::UnknownPayload, HeldBy::Ancestor))
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
