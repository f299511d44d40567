//! Records of payloads under a request root of another form (`NEW_PAYLOAD_REQUEST_FORM` changed on a database): the first
//! request of such a payload whose hash checks takes the record's root's place.
//!
//! Rule 5 stands: a hash belongs to one payload, which the hash check binds to its fields; of those the form makes the root.
//! Within a run there is one form, so a payload changes its root once at most.

use super::{
    Gate,
    event::{PayloadFacts, RequestCheck, UnixMillis},
};
use assay_types::BlockHash;
use std::collections::HashSet;

/// Payloads of the records whose root may be of another form, until it is known under today's. Never more than there are
/// records.
#[derive(Debug, Clone, Default)]
pub(super) struct OtherForms(HashSet<BlockHash>);

impl Gate {
    /// The records were written under more than one form of the request root, or nobody knows under which.
    pub fn roots_may_be_of_other_forms(&mut self) {
        let placed = self.tree.iter().filter(|(_, node)| node.facts.is_some());
        let placed: HashSet<BlockHash> = placed.map(|(hash, _)| *hash).collect();
        self.other_forms.0 = placed;
        self.other_forms.0.extend(self.settled.with_root());
    }

    /// A payload came, its hash checked or not. Where its record has another root, that is forgotten, with the proofs that
    /// were counted by it.
    pub(super) fn take_form(&mut self, payload: &PayloadFacts, check: RequestCheck, now: UnixMillis) {
        let hash = payload.block_hash;
        if check != RequestCheck::Matches || !self.other_forms.0.remove(&hash) {
            return;
        }
        let other = |root| root != payload.new_payload_request_root;
        if self
            .tree
            .get(&hash)
            .is_some_and(|n| n.facts.is_some_and(|f| other(f.new_payload_request_root)))
            && let Some(mut node) = self.tree.remove(&hash)
        {
            node.facts = None;
            node.proofs.clear();
            self.tree.insert(hash, node);
            self.out.dirty.insert(hash);
        }
        if let Some(settled) = self.settled.get_mut(&hash)
            && settled.root.is_some_and(other)
        {
            settled.root = None;
        }
        self.place(*payload, now);
    }
}
