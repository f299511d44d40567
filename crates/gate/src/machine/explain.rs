//! Why a payload is not VALID.

use super::{
    Gate,
    action::{HeldBy, PayloadVerdict},
    config::ImportPolicy,
    node::{ElStatus, Node},
};
use assay_types::BlockHash;

/// Ancestors looked at to say what holds a payload back.
const MAX_EXPLAIN_DEPTH: usize = 4096;

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
        if let Some(own) = self.held_by_itself(node) {
            return Some(own);
        }
        let mut cursor = node.parent();
        for _ in 0..MAX_EXPLAIN_DEPTH {
            let Some(at) = cursor else { break };
            let Some(ancestor) = self.tree.get(&at) else {
                return Some(HeldBy::UnknownAncestor(at));
            };
            if ancestor.facts.is_none() && !ancestor.anchor {
                return Some(HeldBy::UnknownAncestor(at));
            }
            if self.held_by_itself(ancestor).is_some() {
                return Some(HeldBy::Ancestor(at));
            }
            cursor = ancestor.parent();
        }
        Some(cursor.map_or(HeldBy::UnknownPayload, HeldBy::Ancestor))
    }

    fn held_by_itself(&self, node: &Node) -> Option<HeldBy> {
        if node.el != ElStatus::Valid {
            return Some(HeldBy::El(node.el));
        }
        let (have, need) = (node.proof_count(), self.config.required_proofs.get());
        if !node.anchor && node.facts.is_none() {
            return Some(HeldBy::UnknownPayload);
        }
        (!node.anchor && have < need).then_some(HeldBy::Proofs { have, need })
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
