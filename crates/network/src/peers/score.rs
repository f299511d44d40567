//! A peer's score: faults cost points that are forgotten over time; gossip's own score takes its share.

use std::time::{Duration, Instant};

/// Below this a peer is disconnected, and neither dialled nor let in until it is above again.
pub(crate) const DISCONNECT_BELOW: f64 = -20.0;
/// Below this it is banned.
pub(crate) const BAN_BELOW: f64 = -50.0;
/// The lowest score: what more is done wrong is not held longer.
const LOWEST: f64 = -100.0;
/// Time after which half of what was done wrong is forgotten.
const HALF_LIFE: Duration = Duration::from_secs(600);
/// Points this small are none.
const FORGOTTEN: f64 = 0.1;

/// A score at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Score {
    /// From faults, at `since`; never above 0.
    faults: f64,
    since: Instant,
    /// Gossip's share; never above 0.
    gossip: f64,
}

impl Score {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            faults: 0.0,
            since: now,
            gossip: 0.0,
        }
    }

    /// The score now.
    pub(crate) fn at(&self, now: Instant) -> f64 {
        (self.faults_at(now) + self.gossip).max(LOWEST)
    }

    /// A fault of so many points.
    pub(crate) fn cost(&mut self, points: f64, now: Instant) {
        self.faults = (self.faults_at(now) - points).max(LOWEST);
        self.since = now;
    }

    /// Gossip's score, such that gossipsub's own graylist stands where this node disconnects.
    pub(crate) fn set_gossip(&mut self, score: f64, graylist: f64) {
        let share = DISCONNECT_BELOW * score / graylist;
        self.gossip = if share.is_finite() {
            share.clamp(LOWEST, 0.0)
        } else {
            0.0
        };
    }

    /// After a ban: a new start, one fault away from being disconnected again.
    pub(crate) fn after_ban(&mut self, now: Instant) {
        *self = Self {
            faults: DISCONNECT_BELOW / 2.0,
            since: now,
            gossip: 0.0,
        };
    }

    fn faults_at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.since).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let left = self.faults * 0.5f64.powf(passed);
        if left > -FORGOTTEN { 0.0 } else { left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_half_forgotten_after_ten_minutes() {
        let start = Instant::now();
        let mut score = Score::new(start);
        score.cost(40.0, start);
        for (minutes, expected) in [(0, -40.0), (10, -20.0), (20, -10.0), (200, 0.0)] {
            let now = start + Duration::from_secs(60 * minutes);
            assert!((score.at(now) - expected).abs() < 1e-6, "{minutes} min");
        }
        score.cost(1e9, start);
        assert_eq!(score.at(start), LOWEST);
        score.after_ban(start);
        assert!(score.at(start) > DISCONNECT_BELOW);
    }

    #[test]
    fn gossips_graylist_is_where_a_peer_is_disconnected() {
        let now = Instant::now();
        let mut score = Score::new(now);
        for (gossip, expected) in [
            (5.0, 0.0),
            (0.0, 0.0),
            (-40.0, -10.0),
            (-80.0, -20.0),
            (-200.0, -50.0),
            (-1e300, LOWEST),
            (f64::NAN, 0.0),
        ] {
            score.set_gossip(gossip, -80.0);
            assert!((score.at(now) - expected).abs() < 1e-9, "{gossip}");
        }
        score.set_gossip(-1.0, 0.0);
        assert_eq!(score.at(now), 0.0, "no graylist, no share");
    }
}
