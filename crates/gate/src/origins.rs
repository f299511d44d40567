//! Who signed a proof that counted, and how it came: for whoever asks why a payload has its verdict. Kept for the newest
//! proofs of this run; the store knows the signers of all.

use assay_types::{ProofKey, ProofType, Root, ValidatorIndex};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Payloads whose proofs' origins are kept; the oldest is forgotten first.
const MAX_PAYLOADS: usize = 4096;

/// Who signed a proof, and how it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofOrigin {
    /// Who signed.
    pub validator_index: ValidatorIndex,
    /// How it came: `gossip`, `req_resp`, `http`, `prover`.
    pub source: &'static str,
}

/// Bounded, first in first out.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    by_root: HashMap<Root, BTreeMap<ProofType, ProofOrigin>>,
    order: VecDeque<Root>,
}

impl Origins {
    /// The first that came of a payload and type stays.
    pub(crate) fn note(&mut self, key: ProofKey, origin: ProofOrigin) {
        let root = key.new_payload_request_root;
        if !self.by_root.contains_key(&root) {
            if self.order.len() >= MAX_PAYLOADS
                && let Some(oldest) = self.order.pop_front()
            {
                self.by_root.remove(&oldest);
            }
            self.order.push_back(root);
        }
        self.by_root
            .entry(root)
            .or_default()
            .entry(key.proof_type)
            .or_insert(origin);
    }

    pub(crate) fn of(&self, root: &Root) -> BTreeMap<ProofType, ProofOrigin> {
        self.by_root.get(root).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::Hash256;

    #[test]
    fn the_oldest_payload_goes_first_and_the_first_origin_stays() {
        let root = |n: u64| {
            let mut root = Hash256::ZERO;
            root.0[..8].copy_from_slice(&n.to_le_bytes());
            root
        };
        let key = |n: u64| ProofKey {
            new_payload_request_root: root(n),
            proof_type: 1,
        };
        let origin = |validator_index| ProofOrigin {
            validator_index,
            source: "gossip",
        };
        let mut origins = Origins::default();
        for n in 0..=MAX_PAYLOADS as u64 {
            origins.note(key(n), origin(n));
            origins.note(key(n), origin(9));
        }
        assert!(origins.of(&root(0)).is_empty());
        assert_eq!(origins.of(&root(1)).get(&1), Some(&origin(1)));
        assert_eq!(origins.order.len(), MAX_PAYLOADS);
    }
}
