//! The payloads that came last: what a beacon node without an execution client may ask for again.

use super::examine::Examined;
use crate::machine::RequestCheck;
use assay_types::{BlockHash, NewPayloadRequest};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// Payloads kept at most.
const MAX_PAYLOADS: usize = 512;
/// Bytes of transactions and access lists kept at most; the oldest payload goes first.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Bounded, first in first out.
#[derive(Debug, Default)]
pub(super) struct RecentPayloads(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_hash: HashMap<BlockHash, Arc<NewPayloadRequest>>,
    order: VecDeque<BlockHash>,
    bytes: usize,
}

fn size(request: &NewPayloadRequest) -> usize {
    let payload = &request.execution_payload;
    payload.transactions.iter().map(|t| t.len()).sum::<usize>() + payload.block_access_list.len()
}

impl RecentPayloads {
    /// Keeps a payload whose hashes were checked.
    pub(super) fn keep(&self, request: &Arc<NewPayloadRequest>) {
        let hash = request.execution_payload.block_hash;
        let mut kept = self.0.lock();
        if kept.by_hash.contains_key(&hash) {
            return;
        }
        kept.bytes += size(request);
        kept.by_hash.insert(hash, Arc::clone(request));
        kept.order.push_back(hash);
        while kept.order.len() > MAX_PAYLOADS || kept.bytes > MAX_BYTES {
            let Some(oldest) = kept.order.pop_front() else {
                break;
            };
            if let Some(gone) = kept.by_hash.remove(&oldest) {
                kept.bytes -= size(&gone);
            }
        }
    }

    /// Keeps what was examined, where its hashes are those of its fields.
    pub(super) fn keep_checked(&self, examined: &Examined) {
        if examined.check == RequestCheck::Matches {
            self.keep(&examined.request);
        }
    }

    /// By block hash.
    pub(super) fn by_hash(&self, hash: &BlockHash) -> Option<Arc<NewPayloadRequest>> {
        self.0.lock().by_hash.get(hash).cloned()
    }

    /// The payload and its ancestors as far as they are kept, newest first.
    pub(super) fn chain(&self, head: BlockHash) -> Vec<Arc<NewPayloadRequest>> {
        let kept = self.0.lock();
        let parent = |r: &Arc<NewPayloadRequest>| kept.by_hash.get(&r.execution_payload.parent_hash).cloned();
        // Payloads are kept only with their hashes checked, so no chain of them closes.
        std::iter::successors(kept.by_hash.get(&head).cloned(), parent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::{ExecutionPayload, ExecutionRequests, ForkName, Hash256};

    fn request(n: u64, bytes: usize) -> Arc<NewPayloadRequest> {
        let hash = |n: u64| {
            let mut hash = Hash256::ZERO;
            hash.0[..8].copy_from_slice(&n.to_le_bytes());
            hash
        };
        Arc::new(NewPayloadRequest {
            fork: ForkName::Fulu,
            execution_payload: ExecutionPayload {
                block_hash: hash(n),
                parent_hash: hash(n.wrapping_sub(1)),
                transactions: vec![vec![2; bytes].into()],
                ..ExecutionPayload::default()
            },
            versioned_hashes: Vec::new(),
            parent_beacon_block_root: Hash256::ZERO,
            execution_requests: ExecutionRequests::default(),
        })
    }

    #[test]
    fn the_oldest_go_first_by_number_and_by_size() {
        let kept = RecentPayloads::default();
        for n in 1..=600 {
            kept.keep(&request(n, 10));
            kept.keep(&request(n, 10));
        }
        let head = request(600, 0).execution_payload.block_hash;
        assert_eq!(kept.chain(head).len(), MAX_PAYLOADS);
        kept.keep(&request(601, MAX_BYTES - 100));
        let head = request(601, 0).execution_payload.block_hash;
        assert_eq!(kept.chain(head).len(), 11, "ten of ten bytes fit beside it");
        assert!(
            kept.by_hash(&request(590, 0).execution_payload.block_hash)
                .is_none()
        );
    }
}
