//! Containment and known proofs in memory, for tests and for embedders without a store.

use crate::{ContainmentRecord, KnownProofs};
use assay_types::{ProofKey, Slot, ValidatorIndex};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;

/// Most validators remembered as contained; the one looked up longest ago is forgotten first.
pub const MAX_CONTAINED: usize = 16 * 1024;

/// A `ContainmentRecord` that forgets on restart.
#[derive(Debug)]
pub struct MemoryContainment {
    until: Mutex<LruCache<ValidatorIndex, Slot>>,
}

impl Default for MemoryContainment {
    fn default() -> Self {
        Self {
            until: Mutex::new(LruCache::new(
                NonZeroUsize::new(MAX_CONTAINED).unwrap_or(NonZeroUsize::MIN),
            )),
        }
    }
}

impl ContainmentRecord for MemoryContainment {
    fn contained_until(&self, validator: ValidatorIndex) -> Option<Slot> {
        self.until.lock().get(&validator).copied()
    }

    fn contain(&self, validator: ValidatorIndex, until: Slot) {
        let mut record = self.until.lock();
        let until = record.peek(&validator).copied().unwrap_or_default().max(until);
        record.put(validator, until);
    }
}

/// A `KnownProofs` that knows none: what passed since the start is remembered by the verifier itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKnownProofs;

impl KnownProofs for NoKnownProofs {
    fn has_valid(&self, _: &ProofKey) -> bool {
        false
    }
}
