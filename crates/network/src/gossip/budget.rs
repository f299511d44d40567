//! What one peer may bring.
//!
//! An honest peer passes on what it has verified: one proof of each type and payload. Whoever brings far more is
//! flooding, whatever the verifier would say of it: IGNORE costs nothing, but a verdict costs this node work and memory
//! that honest messages need. Each peer has a bucket of messages and bytes that fills with time; what does not fit is
//! ignored unjudged and reported as flooding. Duplicates never come here.
//!
//! A state machine; time is given. As many buckets as peers that brought something lately.

use assay_types::Spec;
use libp2p::PeerId;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Proofs of the largest size that fill a bucket: two slots of `MAX_EXECUTION_PROOFS_PER_PAYLOAD`.
const BURST_PROOFS: f64 = 8.0;
/// Proofs of the largest size that come to it each slot.
const PROOFS_PER_SLOT: f64 = 4.0;
/// Messages of any size that fill it: many small proofs of many payloads, as after a gap.
const BURST_MESSAGES: f64 = 128.0;
/// Messages that come to it each slot.
const MESSAGES_PER_SLOT: f64 = 32.0;

struct Bucket {
    bytes: f64,
    messages: f64,
    filled: Instant,
}

/// Every peer's bucket.
pub(crate) struct Budgets {
    max_message: f64,
    slot: Duration,
    peers: HashMap<PeerId, Bucket>,
}

impl Budgets {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self {
            max_message: spec.max_signed_proof_size() as f64,
            slot: Duration::from_millis(spec.slot_duration_ms.max(1)),
            peers: HashMap::new(),
        }
    }

    /// Whether a peer may bring a message of `len` bytes (unpacked) now; it is taken from its bucket if so.
    pub(crate) fn take(&mut self, peer: PeerId, len: usize, now: Instant) -> bool {
        let full = self.max_message * BURST_PROOFS;
        let bucket = self.peers.entry(peer).or_insert(Bucket {
            bytes: full,
            messages: BURST_MESSAGES,
            filled: now,
        });
        let slots = now.saturating_duration_since(bucket.filled).as_secs_f64() / self.slot.as_secs_f64();
        bucket.filled = now;
        bucket.bytes = (bucket.bytes + slots * PROOFS_PER_SLOT * self.max_message).min(full);
        bucket.messages = (bucket.messages + slots * MESSAGES_PER_SLOT).min(BURST_MESSAGES);
        let len = len as f64;
        if bucket.messages < 1.0 || bucket.bytes < len {
            return false;
        }
        bucket.messages -= 1.0;
        bucket.bytes -= len;
        true
    }

    /// Forgets the buckets that are full again.
    pub(crate) fn expire(&mut self, now: Instant) {
        let refill = BURST_PROOFS / PROOFS_PER_SLOT;
        let refill = self.slot.mul_f64(refill.max(BURST_MESSAGES / MESSAGES_PER_SLOT));
        self.peers
            .retain(|_, bucket| now.saturating_duration_since(bucket.filled) < refill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_honest_peers_bring_passes_and_floods_do_not() {
        let spec = Spec::mainnet();
        let largest = spec.max_signed_proof_size();
        let slot = Duration::from_millis(spec.slot_duration_ms);
        let (start, peer) = (Instant::now(), PeerId::random());
        let mut budgets = Budgets::new(&spec);

        // Four proofs of the largest size, slot for slot.
        for n in 0..10 {
            for _ in 0..4 {
                assert!(budgets.take(peer, largest, start + slot * n), "slot {n}");
            }
        }
        // Garbage at once: two slots' worth and no more, then what time brings. Others are not touched.
        let (now, flooder) = (start + slot * 10, PeerId::random());
        let passed = (0..100).filter(|_| budgets.take(flooder, largest, now)).count();
        assert_eq!(passed, 8);
        let small = (0..1000).filter(|_| budgets.take(flooder, 0, now)).count();
        assert_eq!(small, 120, "by number, where size does not count");
        assert!(budgets.take(peer, largest, now));
        assert!(!budgets.take(flooder, largest, now));
        assert!(budgets.take(flooder, largest, now + slot));

        budgets.expire(now + slot * 3);
        assert_eq!(budgets.peers.len(), 2);
        budgets.expire(now + slot * 6);
        assert!(budgets.peers.is_empty());
    }
}
