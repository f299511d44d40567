//! What one peer may bring.
//!
//! An honest peer passes on what it has verified: one proof of each type and payload. Whoever brings far more is
//! flooding, whatever the verifier would say of it: IGNORE costs nothing, but a verdict costs this node work and memory
//! that honest messages need. Each peer has a bucket of messages and bytes that fills with time. A backlog that an honest
//! prover posts elsewhere comes that way too, so what does not fit costs a peer nothing until another bucket's worth did
//! not fit.
//!
//! There are two such buckets. `BROUGHT` is taken from before gossipsub unpacks and hashes a message, to find perhaps
//! that it has seen it: repeats cost that work too. What does not fit there is passed over unread (`passed_over`). `NEW` is
//! for what gossipsub has not seen before; what does not fit is ignored unjudged, but for what is wanted (`validation`).
//!
//! A state machine; time is given. As many buckets as peers that brought something lately.

use assay_types::Spec;
use libp2p::PeerId;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How large a bucket is, and how fast it fills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// Proofs of the largest size that fill it.
    burst_proofs: f64,
    /// Proofs of the largest size that come to it each slot.
    proofs_per_slot: f64,
    /// Messages of any size that fill it.
    burst_messages: f64,
    /// Messages that come to it each slot.
    messages_per_slot: f64,
}

/// For messages not seen before: two slots of `MAX_EXECUTION_PROOFS_PER_PAYLOAD` proofs, or many small proofs of many
/// payloads, as after a gap.
pub(crate) const NEW: Allowance = Allowance {
    burst_proofs: 8.0,
    proofs_per_slot: 4.0,
    burst_messages: 128.0,
    messages_per_slot: 32.0,
};
/// For everything, repeats included. An honest peer passes on a slot's four proofs, and each of them again where it was
/// asked for it when it had sent it already: eight a slot. At once it may bring four slots of that: an epoch's proofs, four
/// a slot, of 1 MiB. To unpack and hash 4 MiB takes some 4 ms: a peer may cost 32 ms of a slot for good, and 128 ms once.
pub(super) const BROUGHT: Allowance = Allowance {
    burst_proofs: 32.0,
    proofs_per_slot: 8.0,
    burst_messages: 512.0,
    messages_per_slot: 128.0,
};

/// Buckets' worth that may not fit before it is called flooding; forgotten as the bucket fills. With 4, `benches/abuse`
/// had honest proofs come late: flooders were let go too late.
const FLOOD_BUCKETS: f64 = 1.0;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It fits.
    Fits,
    /// It does not: ignored, or passed over.
    Over,
    /// It does not, and neither did many before it: a fault.
    Flood,
}

struct Bucket {
    bytes: f64,
    /// Bytes that did not fit, each message counted as its share of a bucket at least.
    refused: f64,
    messages: f64,
    filled: Instant,
}

/// Every peer's bucket, all of one kind.
pub(crate) struct Budgets {
    allowance: Allowance,
    max_message: f64,
    slot: Duration,
    peers: HashMap<PeerId, Bucket>,
}

impl Budgets {
    pub(crate) fn new(spec: &Spec, allowance: Allowance) -> Self {
        Self {
            allowance,
            max_message: spec.max_signed_proof_size() as f64,
            slot: Duration::from_millis(spec.slot_duration_ms.max(1)),
            peers: HashMap::new(),
        }
    }

    /// Whether a peer may bring a message of `len` bytes (unpacked) now; it is taken from its bucket if so.
    pub(crate) fn take(&mut self, peer: PeerId, len: usize, now: Instant) -> Taken {
        let Allowance {
            burst_proofs,
            proofs_per_slot,
            burst_messages,
            messages_per_slot,
        } = self.allowance;
        let full = self.max_message * burst_proofs;
        let bucket = self.peers.entry(peer).or_insert(Bucket {
            bytes: full,
            refused: 0.0,
            messages: burst_messages,
            filled: now,
        });
        let slots = now.saturating_duration_since(bucket.filled).as_secs_f64() / self.slot.as_secs_f64();
        bucket.filled = now;
        let come = slots * proofs_per_slot * self.max_message;
        bucket.bytes = (bucket.bytes + come).min(full);
        bucket.refused = (bucket.refused - come).max(0.0);
        bucket.messages = (bucket.messages + slots * messages_per_slot).min(burst_messages);
        let len = len as f64;
        if bucket.messages < 1.0 || bucket.bytes < len {
            bucket.refused += len.max(full / burst_messages);
            return if bucket.refused > full * FLOOD_BUCKETS {
                Taken::Flood
            } else {
                Taken::Over
            };
        }
        bucket.messages -= 1.0;
        bucket.bytes -= len;
        Taken::Fits
    }

    /// Forgets the buckets that are full again.
    pub(crate) fn expire(&mut self, now: Instant) {
        let Allowance {
            burst_proofs,
            proofs_per_slot,
            burst_messages,
            messages_per_slot,
        } = self.allowance;
        let refill = burst_proofs / proofs_per_slot;
        // And what was refused is forgotten.
        let refill = refill * (1.0 + FLOOD_BUCKETS);
        let refill = self.slot.mul_f64(refill.max(burst_messages / messages_per_slot));
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
        let mut budgets = Budgets::new(&spec, NEW);

        // Four proofs of the largest size, slot for slot.
        for n in 0..10 {
            for _ in 0..4 {
                assert_eq!(
                    budgets.take(peer, largest, start + slot * n),
                    Taken::Fits,
                    "slot {n}"
                );
            }
        }
        // Garbage at once: two slots' worth and no more, then what time brings. Others are not touched.
        let (now, flooder) = (start + slot * 10, PeerId::random());
        let mut count = |peer, len, times: u32| {
            let mut counts = [0; 3];
            for _ in 0..times {
                counts[budgets.take(peer, len, now) as usize] += 1;
            }
            counts
        };
        assert_eq!(count(flooder, largest, 16), [8, 8, 0], "a backlog is no flood");
        assert_eq!(count(flooder, largest, 60), [0, 0, 60]);
        assert_eq!(
            count(flooder, 0, 120),
            [120, 0, 0],
            "by number, where size does not count"
        );
        assert_eq!(count(flooder, 0, 10), [0, 0, 10]);
        let small = PeerId::random();
        assert_eq!(count(small, 0, 128 + 128 + 3), [128, 128, 3]);
        assert_eq!(budgets.take(peer, largest, now), Taken::Fits);
        assert_eq!(budgets.take(flooder, largest, now + slot), Taken::Fits);
        // Its flood is forgotten as its bucket fills.
        let later = now + slot * 40;
        let passed = (0..9).map(|_| budgets.take(flooder, largest, later));
        assert_eq!(passed.last(), Some(Taken::Over));

        budgets.expire(later);
        assert_eq!(budgets.peers.len(), 1, "the others' are full again");
        budgets.expire(later + slot * 10);
        assert!(budgets.peers.is_empty());
    }

    /// Four proofs of the largest size a slot, each of them twice: as many as one peer brings at most, for as long as it
    /// likes, and an epoch's backlog beside.
    #[test]
    fn what_honest_peers_bring_twice_passes_and_the_same_over_and_over_does_not() {
        let spec = Spec::mainnet();
        let largest = spec.max_signed_proof_size();
        let slot = Duration::from_millis(spec.slot_duration_ms);
        let (start, peer, backlog) = (Instant::now(), PeerId::random(), PeerId::random());
        let mut budgets = Budgets::new(&spec, BROUGHT);
        for n in 0..10 {
            for _ in 0..8 {
                let taken = budgets.take(peer, largest, start + slot * n);
                assert_eq!(taken, Taken::Fits, "slot {n}");
            }
        }
        for _ in 0..32 * 4 {
            assert_eq!(budgets.take(backlog, largest / 4, start), Taken::Fits);
        }
        for (len, counts) in [(largest, [32, 32, 936]), (100, [512, 512, 0])] {
            let (flooder, mut taken) = (PeerId::random(), [0; 3]);
            for _ in 0..counts.iter().sum() {
                taken[budgets.take(flooder, len, start) as usize] += 1;
            }
            assert_eq!(taken, counts, "{len} bytes");
        }
    }
}
