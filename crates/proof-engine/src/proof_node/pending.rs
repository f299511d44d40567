//! Which proofs were asked of a proof node and when each is looked for: a state machine without I/O.
//!
//! An event only says that looking is worthwhile now. What was not announced is looked for all the same, because a node
//! loses events without a word (protocol.md section 9), and what is not there yet is looked for again, with growing pauses,
//! until the time for it is over.

use assay_types::{ProofKey, Revision, Root};
use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

/// Proofs that may be waited for at one node.
pub(crate) const MAX_PENDING: usize = 256;
/// Pauses between looks grow up to this many times the poll interval.
const MAX_PAUSE_FACTOR: u32 = 4;

/// Times of waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Between two looks for a proof that nobody announced.
    pub(crate) poll_interval: Duration,
    /// Between two looks for a proof that was announced and is not there, at first.
    pub(crate) announced_interval: Duration,
    /// So long after the request, what nobody announced is looked for at the same pace; then with growing pauses.
    pub(crate) steady: Duration,
    /// From the request to giving up.
    pub(crate) patience: Duration,
}

/// One request for proofs, while the node has not answered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim(u64);

#[derive(Debug)]
struct Entry {
    /// Of the payload: by its names the proof is announced and fetched.
    revision: Revision,
    since: Instant,
    next: Instant,
    looks: u32,
    announced: bool,
    /// A look is under way.
    busy: bool,
    last_error: Option<String>,
    /// Requests for it that are under way.
    claims: Vec<Claim>,
    /// The node has taken a request for it.
    taken: bool,
}

/// What is waited for.
#[derive(Debug)]
pub(crate) struct Pending {
    times: Times,
    entries: HashMap<ProofKey, Entry>,
    next_claim: u64,
}

/// What a look for a proof found.
#[derive(Debug)]
pub(crate) enum Look {
    /// The proof.
    Found,
    /// Not there yet, or no usable answer; why.
    Nothing(String),
}

impl Pending {
    pub(crate) fn new(times: Times) -> Self {
        Self {
            times,
            entries: HashMap::new(),
            next_claim: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The revision of a payload of which proofs are waited for.
    pub(crate) fn revision_of(&self, new_payload_request_root: &Root) -> Option<Revision> {
        let of_payload =
            |(key, _): &(&ProofKey, &Entry)| key.new_payload_request_root == *new_payload_request_root;
        self.entries
            .iter()
            .find(of_payload)
            .map(|(_, entry)| entry.revision)
    }

    /// Waits for `keys`, of a payload for which `revision` holds, from `now` on, for a request that `settle_claim` has to end. `None`: they do not fit, and none is
    /// added.
    pub(crate) fn add(&mut self, revision: Revision, keys: &[ProofKey], now: Instant) -> Option<Claim> {
        let new: BTreeSet<&ProofKey> = keys
            .iter()
            .filter(|key| !self.entries.contains_key(key))
            .collect();
        if self.entries.len() + new.len() > MAX_PENDING {
            return None;
        }
        self.next_claim += 1;
        let claim = Claim(self.next_claim);
        for key in keys {
            let entry = self.entries.entry(*key).or_insert_with(|| Entry {
                revision,
                since: now,
                next: now + self.times.poll_interval,
                looks: 0,
                announced: false,
                busy: false,
                last_error: None,
                claims: Vec::new(),
                taken: false,
            });
            if !entry.claims.contains(&claim) {
                entry.claims.push(claim);
            }
        }
        Some(claim)
    }

    /// What became of a request: a proof that no other request under way asks for, and none was taken for, is not waited
    /// for any longer.
    pub(crate) fn settle_claim(&mut self, key: &ProofKey, claim: Claim, taken: bool) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = entry.claims.len();
        entry.claims.retain(|c| *c != claim);
        // Of a proof that came meanwhile, and is waited for anew.
        if entry.claims.len() == before {
            return;
        }
        entry.taken |= taken;
        if !entry.taken && entry.claims.is_empty() {
            self.entries.remove(key);
        }
    }

    /// No longer waits for `key`; whether it was waited for.
    pub(crate) fn remove(&mut self, key: &ProofKey) -> bool {
        self.entries.remove(key).is_some()
    }

    /// The node says that a proof is ready; whether it is waited for.
    pub(crate) fn announce(&mut self, key: &ProofKey, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        entry.announced = true;
        entry.looks = 0;
        entry.next = now;
        true
    }

    /// Events may have been lost: everything is looked for now.
    pub(crate) fn look_for_all(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.next = entry.next.min(now);
        }
    }

    /// The next proofs to look for, at most `places`: announced ones first, then the newest. Each must be answered by
    /// `looked`.
    pub(crate) fn take_due(&mut self, places: usize, now: Instant) -> Vec<ProofKey> {
        let mut due: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, e)| !e.busy && e.next <= now)
            .map(|(key, e)| (!e.announced, std::cmp::Reverse(e.since), *key))
            .collect();
        due.sort_unstable_by_key(|(unannounced, since, key)| (*unannounced, *since, key.proof_type));
        due.truncate(places);
        for (.., key) in &due {
            if let Some(entry) = self.entries.get_mut(key) {
                entry.busy = true;
                // An announcement while the look is under way brings this forward again.
                entry.next = now + self.times.patience;
            }
        }
        due.into_iter().map(|(.., key)| key).collect()
    }

    /// What a look found. `Some` if the proof was waited for and is there: it is done with. `random` is from 0 to 1 and
    /// spreads the pauses.
    pub(crate) fn looked(&mut self, key: &ProofKey, look: Look, now: Instant, random: f64) -> bool {
        let Some(entry) = self.entries.get_mut(key) else {
            return false;
        };
        entry.busy = false;
        match look {
            Look::Found => self.remove(key),
            Look::Nothing(why) => {
                entry.last_error = Some(why);
                let first = if entry.announced {
                    self.times.announced_interval
                } else {
                    self.times.poll_interval
                };
                let longest = self.times.poll_interval * MAX_PAUSE_FACTOR;
                let pause = first.saturating_mul(1 << entry.looks.min(8)).min(longest);
                let is_steady = now.saturating_duration_since(entry.since) < self.times.steady;
                if entry.announced || !is_steady {
                    entry.looks += 1;
                }
                let next = now + pause.mul_f64(0.75 + random.clamp(0.0, 1.0) / 2.0);
                entry.next = entry.next.min(next);
                false
            }
        }
    }

    /// What was waited for too long, with the last reason; it is no longer waited for.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<(ProofKey, String)> {
        let patience = self.times.patience;
        let over = |e: &Entry| !e.busy && now.saturating_duration_since(e.since) >= patience;
        let keys: Vec<ProofKey> = self
            .entries
            .iter()
            .filter(|(_, e)| over(e))
            .map(|(key, _)| *key)
            .collect();
        keys.into_iter()
            .filter_map(|key| {
                let entry = self.entries.remove(&key)?;
                let last = entry.last_error.unwrap_or_else(|| "never looked for".to_owned());
                Some((key, format!("no proof within {patience:?}; last: {last}")))
            })
            .collect()
    }

    /// When something is due next.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let at = |e: &Entry| e.next.min(e.since + self.times.patience);
        self.entries.values().filter(|e| !e.busy).map(at).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const TIMES: Times = Times {
        poll_interval: Duration::from_secs(2),
        announced_interval: Duration::from_millis(100),
        steady: Duration::from_secs(24),
        patience: Duration::from_secs(60),
    };

    fn key(n: u8) -> ProofKey {
        ProofKey {
            new_payload_request_root: Root::from([n; 32]),
            proof_type: n,
        }
    }

    fn nothing() -> Look {
        Look::Nothing("404".into())
    }

    fn secs(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    #[test]
    fn announced_first_then_newest_and_never_two_looks_for_one() {
        let (start, mut pending) = (Instant::now(), Pending::new(TIMES));
        pending.add(Revision::Alpha, &[key(1), key(1)], start).unwrap();
        pending
            .add(Revision::Alpha, &[key(2)], start + secs(0.1))
            .unwrap();
        pending
            .add(Revision::Alpha, &[key(3)], start + secs(0.2))
            .unwrap();
        assert!(
            pending.take_due(9, start + secs(1.0)).is_empty(),
            "nothing is due yet"
        );
        assert!(pending.announce(&key(2), start + secs(1.0)));
        assert!(!pending.announce(&key(9), start), "not asked for");
        assert_eq!(pending.take_due(9, start + secs(1.0)), [key(2)]);
        assert!(pending.take_due(9, start + secs(1.0)).is_empty(), "under way");
        assert_eq!(pending.take_due(1, start + secs(3.0)), [key(3)]);
        assert_eq!(pending.take_due(9, start + secs(3.0)), [key(1)]);
    }

    #[test]
    fn an_announced_proof_that_is_not_there_is_looked_for_again_soon() {
        let (start, mut pending) = (Instant::now(), Pending::new(TIMES));
        pending.add(Revision::Alpha, &[key(1)], start).unwrap();
        pending.announce(&key(1), start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(pending.take_due(1, now), [key(1)]);
            assert!(!pending.looked(&key(1), nothing(), now, 0.5));
            let next = pending.next_wake().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 8000, 8000]);
        assert_eq!(pending.take_due(1, now), [key(1)]);
        assert!(pending.looked(&key(1), Look::Found, now, 0.5));
        assert!(pending.is_empty());
        assert!(!pending.looked(&key(1), Look::Found, now, 0.5), "once");
    }

    #[test]
    fn an_announcement_during_a_look_that_finds_nothing_is_not_lost() {
        let (start, mut pending) = (Instant::now(), Pending::new(TIMES));
        pending.add(Revision::Alpha, &[key(1)], start).unwrap();
        let now = start + secs(2.0);
        assert_eq!(pending.take_due(1, now), [key(1)]);
        pending.announce(&key(1), now + secs(0.1));
        pending.looked(&key(1), nothing(), now + secs(0.2), 1.0);
        assert_eq!(pending.take_due(1, now + secs(0.2)), [key(1)]);
    }

    #[test]
    fn what_never_comes_is_given_up_with_the_last_reason() {
        let (start, mut pending) = (Instant::now(), Pending::new(TIMES));
        pending.add(Revision::Alpha, &[key(1), key(2)], start).unwrap();
        let later = start + secs(59.0);
        assert_eq!(pending.take_due(1, later).len(), 1);
        pending.looked(&key(1), nothing(), later, 0.0);
        assert!(pending.take_expired(later).is_empty());
        let mut gone = pending.take_expired(start + secs(60.0));
        gone.sort_by_key(|(key, _)| key.proof_type);
        assert_eq!(gone[0].1, "no proof within 60s; last: 404");
        assert_eq!(gone[1].1, "no proof within 60s; last: never looked for");
        assert!(pending.is_empty() && pending.next_wake().is_none());
    }

    #[test]
    fn more_than_fit_are_refused_together() {
        let (start, mut pending) = (Instant::now(), Pending::new(TIMES));
        let many: Vec<ProofKey> = (0..=255).map(key).collect();
        pending.add(Revision::Alpha, &many[1..], start).unwrap();
        let other = ProofKey {
            proof_type: 9,
            ..key(1)
        };
        assert!(pending.add(Revision::Alpha, &[key(0), other], start).is_none());
        assert!(pending.add(Revision::Alpha, &[key(0), key(1)], start).is_some());
    }

    #[test]
    fn what_nobody_announced_is_looked_for_at_one_pace_for_two_slots() {
        let (start, mut pending) = (Instant::now(), Pending::new(TIMES));
        pending.add(Revision::Alpha, &[key(1)], start).unwrap();
        let (mut now, mut pauses) = (start, Vec::new());
        while now < start + secs(58.0) {
            let next = pending.next_wake().unwrap();
            pauses.push(((now - start).as_secs(), (next - now).as_secs()));
            now = next;
            pending.take_due(1, now);
            pending.looked(&key(1), nothing(), now, 0.5);
        }
        let after: Vec<u64> = pauses
            .iter()
            .filter(|(at, _)| *at > 24)
            .map(|(_, p)| *p)
            .collect();
        assert!(
            pauses.iter().all(|(at, pause)| *at > 24 || *pause == 2),
            "{pauses:?}"
        );
        assert_eq!(after[..4], [4, 8, 8, 8], "{pauses:?}");
    }

    /// Two requests for the same proof, in whatever order they end: it is waited for unless neither was taken.
    #[test]
    fn a_request_that_fails_takes_nothing_from_another() {
        for (first_taken, second_taken, second_ends_first) in [
            (false, true, false),
            (false, true, true),
            (true, false, false),
            (true, false, true),
            (false, false, false),
            (false, false, true),
        ] {
            let (start, mut pending) = (Instant::now(), Pending::new(TIMES));
            let first = pending.add(Revision::Alpha, &[key(1)], start).unwrap();
            let second = pending.add(Revision::Alpha, &[key(1), key(2)], start).unwrap();
            let mut ends = vec![(first, first_taken), (second, second_taken)];
            if second_ends_first {
                ends.reverse();
            }
            for (at, (claim, taken)) in ends.into_iter().enumerate() {
                assert!(at == 0 || !pending.is_empty() || !taken);
                pending.settle_claim(&key(1), claim, taken);
                pending.settle_claim(&key(2), claim, taken);
                if at == 0 {
                    assert!(
                        pending.entries.contains_key(&key(1)),
                        "the other may be taken yet"
                    );
                }
            }
            assert_eq!(pending.entries.contains_key(&key(1)), first_taken || second_taken);
            assert_eq!(pending.entries.contains_key(&key(2)), second_taken);
        }
        // What came, and is asked for anew, is no longer the first request's.
        let (start, mut pending) = (Instant::now(), Pending::new(TIMES));
        let first = pending.add(Revision::Alpha, &[key(1)], start).unwrap();
        pending.take_due(1, start + secs(2.0));
        assert!(pending.looked(&key(1), Look::Found, start, 0.5));
        pending.add(Revision::Alpha, &[key(1)], start).unwrap();
        pending.settle_claim(&key(1), first, false);
        assert!(!pending.is_empty());
    }

    proptest! {
        /// Whatever happens in whatever order: a proof that is waited for is looked for again, found once, or given up.
        #[test]
        fn nothing_is_forgotten(steps in prop::collection::vec((0u8..5, 0u8..4, 0u64..9000), 1..200)) {
            let (mut now, mut pending) = (Instant::now(), Pending::new(TIMES));
            let mut under_way = Vec::new();
            let mut waited = std::collections::HashSet::new();
            for (what, n, pause) in steps {
                now += Duration::from_millis(pause);
                match what {
                    0 => { pending.add(Revision::Alpha, &[key(n)], now).unwrap(); waited.insert(key(n)); }
                    1 => { prop_assert_eq!(pending.announce(&key(n), now), waited.contains(&key(n))); }
                    2 => under_way.extend(pending.take_due(2, now)),
                    3 => if let Some(key) = under_way.pop() {
                        let found = pending.looked(&key, if n == 0 { Look::Found } else { nothing() }, now, 0.3);
                        prop_assert_eq!(found, n == 0);
                        if found { waited.remove(&key); }
                    },
                    _ => for (key, _) in pending.take_expired(now) {
                        prop_assert!(waited.remove(&key));
                    },
                }
                prop_assert_eq!(pending.entries.len(), waited.len());
                prop_assert!(pending.next_wake().is_some() || waited.len() == under_way.len());
            }
        }
    }
}
