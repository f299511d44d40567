//! Rule 2: which block the beacon node itself started from.
//!
//! It is the head of the beacon node's first fcU or, where the gate saw that head arrive by newPayload, the newest
//! ancestor that it did not see arrive: what the beacon node had before the gate saw anything.

use super::{Gate, event::UnixMillis};
use assay_types::BlockHash;
use std::collections::HashMap;

/// newPayload calls remembered before the first fcU; with more the start is taken from them.
const MAX_CLAIMED: usize = 4096;

/// Payloads that came by newPayload before the first fcU, with their parents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Startup {
    pub(crate) claimed: HashMap<BlockHash, BlockHash>,
}

impl Startup {
    /// Newest ancestor-or-self of `head` that did not come by newPayload.
    fn start_of(&self, head: BlockHash) -> BlockHash {
        let mut cursor = head;
        // Bounded by the number of claims even where they form a circle.
        for _ in 0..=self.claimed.len() {
            match self.claimed.get(&cursor) {
                Some(parent) => cursor = *parent,
                None => break,
            }
        }
        cursor
    }
}

impl Gate {
    /// A newPayload call came. Durable before it is answered, or a restart would take the payload for the start.
    pub(super) fn claim(&mut self, hash: BlockHash, parent: BlockHash, now: UnixMillis) {
        let Some(startup) = &mut self.startup else { return };
        startup.claimed.insert(hash, parent);
        self.out.claims.insert(hash);
        self.out.durable = true;
        if startup.claimed.len() >= MAX_CLAIMED {
            self.end_startup(hash, now);
        }
    }

    /// The beacon node named its head: from now on no block becomes an anchor by itself.
    pub(super) fn end_startup(&mut self, head: BlockHash, now: UnixMillis) {
        let Some(startup) = self.startup.take() else {
            return;
        };
        let start = startup.start_of(head);
        // Their records go.
        self.out.claims.extend(startup.claimed.into_keys());
        self.out.meta = true;
        self.out.durable = true;
        if !start.is_zero() {
            self.set_anchor(start, now);
        }
    }
}
