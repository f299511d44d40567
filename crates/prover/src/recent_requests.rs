//! Payload requests that the Engine API brought to the node around a prover: there before the beacon node has their block,
//! and not asked of it a second time.

use assay_types::{NewPayloadRequest, Root};
use lru::LruCache;
use parking_lot::Mutex;
use std::{num::NonZeroUsize, sync::Arc};

/// Requests kept, of up to `MAX_PAYLOAD_SIZE` each: more than a prover has at work at once by default.
const KEPT: NonZeroUsize = match NonZeroUsize::new(8) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// The newest payload requests by their roots.
#[derive(Debug)]
pub struct RecentRequests(Mutex<LruCache<Root, Arc<NewPayloadRequest>>>);

impl Default for RecentRequests {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl RecentRequests {
    /// `root` is the request's own.
    pub fn insert(&self, root: Root, request: Arc<NewPayloadRequest>) {
        self.0.lock().put(root, request);
    }

    /// The request of this root, if it is among the newest.
    pub fn get(&self, root: &Root) -> Option<Arc<NewPayloadRequest>> {
        self.0.lock().get(root).cloned()
    }
}
