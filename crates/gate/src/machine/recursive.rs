//! Proofs that prove more than their own payload (`--recursive-proofs`): one whose public input names an origin proves every
//! payload from there up to its own, once that origin is an anchor or proven with its ancestors. Then it closes the holes
//! between, and the rules go on as ever: what counts is still one proof a type and payload, and the execution client's
//! INVALID stands above all of it.
//!
//! No public input of today names an origin (consensus-specs pull request 5534, a draft, would), so nothing comes here but
//! from tests. What waits for its origin is kept in memory: after a restart such a proof counts for its own payload until
//! it is told again.

use super::{Gate, event::UnixMillis};
use assay_types::{BlockHash, ProofKey, Root};
use std::collections::VecDeque;

/// Proofs kept that wait for their origin; the oldest is forgotten first, and counts for its own payload still.
pub(crate) const MAX_RECURSIVE_PROOFS: usize = 1024;

/// Proofs whose origin is not proven yet, or not an ancestor that is known.
#[derive(Debug, Clone, Default)]
pub(super) struct RecursiveProofs(VecDeque<(ProofKey, Root)>);

impl Gate {
    /// It counts for its payload as any proof does, and for those below where that is wanted.
    pub(super) fn recursive_proof_verified(&mut self, key: ProofKey, origin: Root, now: UnixMillis) {
        self.proof_verified(key, now);
        if !self.config.recursive_proofs || self.recursive.0.contains(&(key, origin)) {
            return;
        }
        if self.recursive.0.len() >= MAX_RECURSIVE_PROOFS {
            self.recursive.0.pop_front();
        }
        self.recursive.0.push_back((key, origin));
    }

    /// Gives every proof whose origin is good to the payloads between. One may make another's origin good.
    pub(super) fn close_holes(&mut self, now: UnixMillis) {
        if !self.config.recursive_proofs {
            self.recursive.0.clear();
            return;
        }
        loop {
            let ready = self
                .recursive
                .0
                .iter()
                .enumerate()
                .find_map(|(at, (key, origin))| {
                    let between = self.between(key, origin)?;
                    Some((at, key.proof_type, between))
                });
            let Some((at, proof_type, between)) = ready else {
                return;
            };
            self.recursive.0.remove(at);
            for root in between {
                let key = ProofKey {
                    new_payload_request_root: root,
                    proof_type,
                };
                self.proof_verified(key, now);
            }
        }
    }

    /// The payloads above a good origin and below the proof's own; `None` while the origin is not good, or not its
    /// ancestor.
    fn between(&self, key: &ProofKey, origin: &Root) -> Option<Vec<Root>> {
        let origin = self.tree.hash_of_root(origin)?;
        let node = self.tree.get(&origin)?;
        let is_good = (node.anchor || node.standing.proven()) && !node.standing.conflict;
        if !is_good {
            return None;
        }
        let mut at: BlockHash = self.tree.hash_of_root(&key.new_payload_request_root)?;
        let mut between = Vec::new();
        loop {
            at = self.tree.get(&at)?.parent()?;
            if at == origin {
                return Some(between);
            }
            between.push(self.tree.get(&at)?.facts?.new_payload_request_root);
        }
    }
}
