//! Wall-clock time, and what slot it is.

use assay_types::{Slot, Spec, spec::Genesis};
use parking_lot::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the time comes from. Tests put their own in.
pub trait Clock: Send + Sync + 'static {
    /// Time since the Unix epoch.
    fn now(&self) -> Duration;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        // A clock before 1970 gives slot 0, as every time before genesis does.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock(Mutex<Duration>);

impl ManualClock {
    /// A clock at this time since the Unix epoch.
    pub fn new(now: Duration) -> Self {
        Self(Mutex::new(now))
    }

    /// Sets the time.
    pub fn set(&self, now: Duration) {
        *self.0.lock() = now;
    }

    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        *self.0.lock()
    }
}

/// The slot at a time since the Unix epoch; slot 0 before genesis.
pub fn slot_at(spec: &Spec, genesis: &Genesis, now: Duration) -> Slot {
    let since = now.saturating_sub(Duration::from_secs(genesis.genesis_time));
    let slot = since.as_millis() / u128::from(spec.slot_duration_ms.max(1));
    Slot(u64::try_from(slot).unwrap_or(u64::MAX))
}

/// When a slot begins, since the Unix epoch.
pub fn slot_start(spec: &Spec, genesis: &Genesis, slot: Slot) -> Duration {
    let since = Duration::from_millis(slot.0.saturating_mul(spec.slot_duration_ms));
    Duration::from_secs(genesis.genesis_time).saturating_add(since)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_types::Root;

    fn genesis(genesis_time: u64) -> Genesis {
        Genesis {
            genesis_time,
            genesis_validators_root: Root::ZERO,
        }
    }

    #[test]
    fn slots_begin_on_their_millisecond() {
        let spec = Spec {
            slot_duration_ms: 6_500,
            ..Spec::minimal()
        };
        let genesis = genesis(1000);
        for (ms, slot) in [
            (0, 0),
            (1_000_000, 0),
            (1_006_499, 0),
            (1_006_500, 1),
            (1_013_000, 2),
            (1_650_000, 100),
        ] {
            assert_eq!(
                slot_at(&spec, &genesis, Duration::from_millis(ms)),
                Slot(slot),
                "{ms}"
            );
        }
        assert_eq!(
            slot_start(&spec, &genesis, Slot(100)),
            Duration::from_millis(1_650_000)
        );
        assert_eq!(
            slot_at(&spec, &genesis, slot_start(&spec, &genesis, Slot(7))),
            Slot(7)
        );
    }

    #[test]
    fn no_time_overflows() {
        let late = genesis(u64::MAX);
        let _ = slot_start(&Spec::minimal(), &late, Slot(u64::MAX));
        assert_eq!(slot_at(&Spec::minimal(), &late, Duration::MAX), Slot(0));
        let _ = slot_at(&Spec::minimal(), &genesis(0), Duration::MAX);
    }
}
