//! When to ask the network for whom: a state machine without I/O.
//!
//! While peers are wanted, queries go out, for proof-aware nodes and for any of our fork in turn; queries that bring
//! nobody new make the pause longer. A peer that is lost, or a lack of any, makes it short again.

use crate::peers::Wanted;
use std::time::{Duration, Instant};

/// The pause after a query that brought somebody.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause while there are fewer peers than `FEW`: a node that was cut off must come back.
const MAX_PAUSE_FEW: Duration = Duration::from_secs(15);
const FEW: usize = 4;

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Query {
    /// Nodes of our fork whose record has a non-zero `eproof`.
    ProofAware,
    /// Any node of our fork.
    Any,
}

/// Plans queries; one is under way at a time.
#[derive(Debug)]
pub(crate) struct Planner {
    pause: Duration,
    due: Instant,
    under_way: bool,
    last: Query,
    connected: usize,
}

impl Planner {
    /// The first query is due at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            pause: FIRST_PAUSE,
            due: now,
            under_way: false,
            last: Query::Any,
            connected: 0,
        }
    }

    /// The query to begin now.
    pub(crate) fn next(&mut self, wanted: Wanted, connected: usize, now: Instant) -> Option<Query> {
        if connected < self.connected {
            self.pause = FIRST_PAUSE;
            self.due = self.due.min(now + FIRST_PAUSE);
        }
        self.connected = connected;
        if connected < FEW {
            self.due = self.due.min(now + MAX_PAUSE_FEW);
        }
        if self.under_way || now < self.due {
            return None;
        }
        let query = match (wanted.proof_aware > 0, wanted.others > 0) {
            (false, false) => return None,
            (true, false) => Query::ProofAware,
            (false, true) => Query::Any,
            (true, true) if self.last == Query::Any => Query::ProofAware,
            (true, true) => Query::Any,
        };
        self.last = query;
        self.under_way = true;
        Some(query)
    }

    /// The query under way has ended, and brought so many new peers.
    pub(crate) fn ended(&mut self, news: usize, now: Instant) {
        self.under_way = false;
        self.pause = if news > 0 {
            FIRST_PAUSE
        } else {
            (self.pause * 2).min(MAX_PAUSE)
        };
        self.due = now + self.pause;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(proof_aware: usize, others: usize) -> Wanted {
        Wanted { proof_aware, others }
    }

    #[test]
    fn both_kinds_take_turns_and_nothing_is_asked_for_in_vain() {
        let mut now = Instant::now();
        let mut planner = Planner::new(now);
        let both = wanted(5, 5);
        for (wanted, expected) in [
            (both, Some(Query::ProofAware)),
            (both, Some(Query::Any)),
            (both, Some(Query::ProofAware)),
            (wanted(1, 0), Some(Query::ProofAware)),
            (wanted(0, 1), Some(Query::Any)),
            (wanted(0, 0), None),
        ] {
            assert_eq!(planner.next(wanted, 9, now), expected);
            if expected.is_some() {
                assert_eq!(planner.next(both, 9, now), None, "one at a time");
                planner.ended(1, now);
                assert_eq!(planner.next(both, 9, now), None, "a pause between");
            }
            now += FIRST_PAUSE;
        }
    }

    #[test]
    fn empty_queries_make_pauses_longer_and_a_lost_peer_shortens_them() {
        let mut now = Instant::now();
        let mut planner = Planner::new(now);
        let both = wanted(5, 5);
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            planner.next(both, 9, now).unwrap();
            planner.ended(0, now);
            now += Duration::from_secs(pause);
            assert_eq!(
                planner.next(both, 9, now - Duration::from_millis(1)),
                None,
                "{pause}"
            );
        }
        planner.next(both, 9, now).unwrap();
        planner.ended(0, now);
        assert_eq!(planner.next(both, 8, now), None);
        planner.next(both, 8, now + FIRST_PAUSE).unwrap();
    }

    #[test]
    fn a_node_with_few_peers_never_waits_long() {
        let mut now = Instant::now();
        let mut planner = Planner::new(now);
        for _ in 0..20 {
            planner.next(wanted(5, 5), 0, now).unwrap();
            planner.ended(0, now);
            assert_eq!(planner.next(wanted(5, 5), 0, now), None);
            now += MAX_PAUSE_FEW;
        }
    }
}
