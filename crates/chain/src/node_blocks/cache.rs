//! Blocks given before, bounded in bytes.

use crate::block_source::RawBlock;
use assay_types::Root;
use lru::LruCache;

/// What a root names: a block and its envelope share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Block,
    Envelope,
}

/// What an entry costs besides its bytes.
const ENTRY_BYTES: usize = 256;

/// The newest used, as many as fit.
pub(super) struct BlockCache {
    entries: LruCache<(Kind, Root), RawBlock>,
    bytes: usize,
    limit: usize,
}

impl BlockCache {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: LruCache::unbounded(),
            bytes: 0,
            limit,
        }
    }

    pub(super) fn get(&mut self, kind: Kind, root: Root) -> Option<RawBlock> {
        self.entries.get(&(kind, root)).cloned()
    }

    pub(super) fn put(&mut self, kind: Kind, block: RawBlock) {
        let cost = |block: &RawBlock| block.ssz.len() + ENTRY_BYTES;
        if cost(&block) > self.limit {
            return;
        }
        self.bytes += cost(&block);
        if let Some(before) = self.entries.put((kind, block.root), block) {
            self.bytes -= cost(&before);
        }
        while self.bytes > self.limit
            && let Some((_, oldest)) = self.entries.pop_lru()
        {
            self.bytes -= cost(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::{ForkDigest, ForkName, Slot};
    use bytes::Bytes;

    fn block(n: u8, len: usize) -> RawBlock {
        RawBlock {
            slot: Slot(u64::from(n)),
            root: Root::from([n; 32]),
            parent_root: None,
            fork: ForkName::Fulu,
            fork_digest: ForkDigest::default(),
            ssz: Bytes::from(vec![n; len]),
        }
    }

    #[test]
    fn the_longest_unused_goes_first_and_bytes_stay_bounded() {
        let mut cache = BlockCache::new(3 * (1000 + ENTRY_BYTES));
        for n in 1..=3 {
            cache.put(Kind::Block, block(n, 1000));
        }
        assert!(cache.get(Kind::Block, Root::from([1; 32])).is_some());
        cache.put(Kind::Block, block(4, 1000));
        let kept = [1, 2, 3, 4].map(|n| cache.get(Kind::Block, Root::from([n; 32])).is_some());
        assert_eq!(kept, [true, false, true, true]);
        assert_eq!(cache.bytes, 3 * (1000 + ENTRY_BYTES));
        // The same again costs nothing more; one that cannot fit drives nobody out.
        cache.put(Kind::Block, block(4, 1000));
        cache.put(Kind::Block, block(5, 1 << 20));
        assert_eq!((cache.bytes, cache.entries.len()), (3 * (1000 + ENTRY_BYTES), 3));
        // An envelope is not its block.
        assert!(cache.get(Kind::Envelope, Root::from([4; 32])).is_none());
        cache.put(Kind::Envelope, block(4, 3000));
        assert_eq!((cache.bytes, cache.entries.len()), (3000 + ENTRY_BYTES, 1));
    }
}
