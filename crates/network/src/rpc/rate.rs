//! How fast a peer is served: token buckets that say how long to wait, and never no.

use super::Protocol;
use libp2p::PeerId;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Buckets kept for peers that have had their fill; above it, those that are full again are forgotten.
const MAX_IDLE_BUCKETS: usize = 4096;
/// Least time between two looks through all of them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Buckets of which the fullest is forgotten where no look may be had.
const SAMPLE: usize = 8;

/// How much at once, and how much per second after that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// What may go at once after a pause.
    pub burst: f64,
    /// What comes back each second.
    pub per_second: f64,
}

impl Rate {
    /// A rate that never delays.
    pub const UNLIMITED: Self = Self {
        burst: f64::INFINITY,
        per_second: f64::INFINITY,
    };
}

/// What one peer may have of one protocol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Response chunks, and requests (each counts as one).
    pub chunks: Rate,
    /// Response bytes on the wire.
    pub bytes: Rate,
}

impl Quota {
    /// A quota that never delays.
    pub const UNLIMITED: Self = Self {
        chunks: Rate::UNLIMITED,
        bytes: Rate::UNLIMITED,
    };
}

/// What peers may have, by the kind of protocol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quotas {
    /// Status, ping, metadata, goodbye, proof status.
    pub base: Quota,
    /// Blocks and envelopes: each is fetched from the beacon node.
    pub blocks: Quota,
    /// Proofs: one whole response at once, then at a pace that fills the serve range within minutes.
    pub proofs: Quota,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Default for Quotas {
    fn default() -> Self {
        Self {
            base: Quota {
                chunks: Rate {
                    burst: 16.0,
                    per_second: 1.0,
                },
                bytes: Rate::UNLIMITED,
            },
            blocks: Quota {
                chunks: Rate {
                    burst: 256.0,
                    per_second: 13.0,
                },
                bytes: Rate {
                    burst: 64.0 * MIB,
                    per_second: 4.0 * MIB,
                },
            },
            proofs: Quota {
                chunks: Rate {
                    burst: 1024.0,
                    per_second: 51.0,
                },
                bytes: Rate {
                    burst: 512.0 * MIB,
                    per_second: 32.0 * MIB,
                },
            },
        }
    }
}

impl Quotas {
    /// Quotas that never delay.
    pub const UNLIMITED: Self = Self {
        base: Quota::UNLIMITED,
        blocks: Quota::UNLIMITED,
        proofs: Quota::UNLIMITED,
    };

    fn of(&self, protocol: Protocol) -> &Quota {
        match protocol {
            Protocol::ExecutionProofsByRange | Protocol::ExecutionProofsByRoot => &self.proofs,
            Protocol::BlocksByRangeV2
            | Protocol::BlocksByRootV2
            | Protocol::BlocksByHead
            | Protocol::EnvelopesByRange
            | Protocol::EnvelopesByRoot => &self.blocks,
            _ => &self.base,
        }
    }
}

/// A bucket that may go below empty: what is taken is taken, and the next waits until it is paid back.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: f64,
    at: Instant,
}

impl Bucket {
    fn full(rate: &Rate, now: Instant) -> Self {
        Self {
            level: rate.burst,
            at: now,
        }
    }

    fn refill(&mut self, rate: &Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        if passed > 0.0 {
            self.level = (self.level + passed * rate.per_second).min(rate.burst);
            self.at = now;
        }
    }

    /// Takes `cost`; how long to wait before it may be used.
    fn take(&mut self, rate: &Rate, cost: f64, now: Instant) -> Duration {
        if rate.per_second.is_infinite() {
            return Duration::ZERO;
        }
        self.refill(rate, now);
        self.level -= cost;
        if self.level >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.level / rate.per_second).unwrap_or(Duration::MAX)
    }

    fn is_full(&mut self, rate: &Rate, now: Instant) -> bool {
        self.refill(rate, now);
        rate.per_second.is_infinite() || self.level >= rate.burst
    }
}

#[derive(Debug, Clone, Copy)]
struct Buckets {
    chunks: Bucket,
    bytes: Bucket,
}

/// All peers' buckets. They outlive connections: hanging up and dialling again fills none.
pub(crate) struct RateLimits {
    quotas: Quotas,
    buckets: HashMap<(PeerId, Protocol), Buckets>,
    swept: Option<Instant>,
}

impl RateLimits {
    pub(crate) fn new(quotas: Quotas) -> Self {
        Self {
            quotas,
            buckets: HashMap::new(),
            swept: None,
        }
    }

    /// Takes `chunks` and `bytes` for a peer; how long to wait before they may go out.
    pub(crate) fn take(
        &mut self,
        peer: PeerId,
        protocol: Protocol,
        chunks: u32,
        bytes: usize,
        now: Instant,
    ) -> Duration {
        let quota = *self.quotas.of(protocol);
        if self.buckets.len() >= MAX_IDLE_BUCKETS && !self.buckets.contains_key(&(peer, protocol)) {
            self.make_room(now);
        }
        let buckets = self.buckets.entry((peer, protocol)).or_insert_with(|| Buckets {
            chunks: Bucket::full(&quota.chunks, now),
            bytes: Bucket::full(&quota.bytes, now),
        });
        let for_chunks = buckets.chunks.take(&quota.chunks, f64::from(chunks), now);
        let for_bytes = buckets.bytes.take(&quota.bytes, bytes as f64, now);
        for_chunks.max(for_bytes)
    }

    /// Forgets buckets that are full again. Those that are not hold a peer to what it has had: should they alone be too
    /// many, one that is nearly full goes.
    fn make_room(&mut self, now: Instant) {
        let quotas = self.quotas;
        if self
            .swept
            .is_none_or(|at| now.saturating_duration_since(at) >= SWEEP_EVERY)
        {
            self.swept = Some(now);
            self.forget_full(now);
        }
        if self.buckets.len() < MAX_IDLE_BUCKETS {
            return;
        }
        let missing = |(key, buckets): (&(PeerId, Protocol), &Buckets)| {
            let quota = quotas.of(key.1);
            let share = |rate: &Rate, bucket: &Bucket| (rate.burst - bucket.level) / rate.burst;
            (
                *key,
                share(&quota.chunks, &buckets.chunks).max(share(&quota.bytes, &buckets.bytes)),
            )
        };
        let nearest = self
            .buckets
            .iter()
            .take(SAMPLE)
            .map(missing)
            .min_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((key, _)) = nearest {
            self.buckets.remove(&key);
        }
    }

    fn forget_full(&mut self, now: Instant) {
        let quotas = self.quotas;
        self.buckets.retain(|(_, protocol), buckets| {
            let quota = quotas.of(*protocol);
            !(buckets.chunks.is_full(&quota.chunks, now) && buckets.bytes.is_full(&quota.bytes, now))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quotas(chunks: Rate, bytes: Rate) -> Quotas {
        Quotas {
            base: Quota { chunks, bytes },
            ..Quotas::UNLIMITED
        }
    }

    const TEN: Rate = Rate {
        burst: 10.0,
        per_second: 2.0,
    };

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let (peer, start) = (PeerId::random(), Instant::now());
        let mut limits = RateLimits::new(quotas(TEN, Rate::UNLIMITED));
        for _ in 0..10 {
            assert_eq!(limits.take(peer, Protocol::Ping, 1, 0, start), Duration::ZERO);
        }
        assert_eq!(
            limits.take(peer, Protocol::Ping, 1, 0, start),
            Duration::from_millis(500)
        );
        assert_eq!(
            limits.take(peer, Protocol::Ping, 1, 0, start),
            Duration::from_secs(1)
        );
        // Another protocol and another peer have their own.
        assert_eq!(limits.take(peer, Protocol::Goodbye, 1, 0, start), Duration::ZERO);
        assert_eq!(
            limits.take(PeerId::random(), Protocol::Ping, 1, 0, start),
            Duration::ZERO
        );
        // Two seconds pay back what was taken ahead (2 of 12) and two more.
        let later = start + Duration::from_secs(2);
        assert_eq!(limits.take(peer, Protocol::Ping, 2, 0, later), Duration::ZERO);
        assert_eq!(
            limits.take(peer, Protocol::Ping, 1, 0, later),
            Duration::from_millis(500)
        );
    }

    #[test]
    fn bytes_count_beside_chunks() {
        let (peer, now) = (PeerId::random(), Instant::now());
        let mut limits = RateLimits::new(quotas(TEN, TEN));
        assert_eq!(limits.take(peer, Protocol::Ping, 1, 10, now), Duration::ZERO);
        assert_eq!(
            limits.take(peer, Protocol::Ping, 1, 4, now),
            Duration::from_secs(2)
        );
    }

    #[test]
    fn buckets_are_bounded_and_those_with_debts_are_kept_longest() {
        let now = Instant::now();
        let mut limits = RateLimits::new(quotas(TEN, Rate::UNLIMITED));
        let debtor = PeerId::random();
        limits.take(debtor, Protocol::Ping, 100, 0, now);
        for _ in 0..2 * MAX_IDLE_BUCKETS {
            limits.take(PeerId::random(), Protocol::Ping, 1, 0, now);
        }
        assert!(limits.buckets.len() <= MAX_IDLE_BUCKETS);
        assert!(limits.take(debtor, Protocol::Ping, 0, 0, now) > Duration::from_secs(40));
        let later = now + Duration::from_secs(1);
        limits.take(PeerId::random(), Protocol::Ping, 1, 0, later);
        assert_eq!(limits.buckets.len(), 2, "all but the debtor were full again");
    }

    proptest! {
        /// Whatever is asked for and when: what went out by any moment is at most the burst and the rate's share.
        #[test]
        fn no_more_than_the_rate_goes_out(steps in proptest::collection::vec((0u64..3000, 1u32..8), 1..60)) {
            let (peer, start) = (PeerId::random(), Instant::now());
            let mut limits = RateLimits::new(quotas(TEN, Rate::UNLIMITED));
            let (mut now, mut taken) = (start, 0.0);
            for (pause, chunks) in steps {
                now += Duration::from_millis(pause);
                let wait = limits.take(peer, Protocol::Ping, chunks, 0, now);
                taken += f64::from(chunks);
                let out_at = (now + wait).duration_since(start).as_secs_f64();
                prop_assert!(taken <= TEN.burst + out_at * TEN.per_second + 1e-6);
            }
        }
    }
}
