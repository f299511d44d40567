//! Peers that do not take what goes to them as fast as it goes. A state machine; time is given.

use crate::gossip::PEER_QUEUE_LEN;
use libp2p::PeerId;
use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// Time in which a peer takes one message: 4 MiB at 1.1 Mbit/s. Who needs longer falls behind anyway: two slots pass.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// As long a peer may take nothing, or as good as nothing: less in a second than brings the largest proof through in its
/// time. Who does take more is let go on: at 1.5 Mbit/s 4 MiB are through in 22 s, and sending the proof to it anew
/// over another connection would only take longer. Its copies are bounded either way (`MAX_SLOW_COPIES`), and it goes
/// before its time where others do better.
const NOTHING_TAKEN_FOR: Duration = Duration::from_secs(15);
const AS_GOOD_AS_NOTHING: u64 = (4 << 20) / TAKEN_WITHIN.as_secs();
/// Peers that may be slower than this at one time. Each has a queue of copies (`gossip::params`).
const MAX_SLOW: usize = 16;
/// Bytes of copies that slow peers' queues may hold together: fewer are slow at one time where proofs are large. Never
/// none: one slow peer is no attack.
const MAX_SLOW_COPIES: usize = 96 << 20;
/// What is slower than others: beyond these, those that have taken least in a second since they let a message wait, which
/// is this long ago at least. By that, and not by how long they wait: attackers may begin to wait after honest peers.
/// Sooner would cut off honest peers where this node's own link is slow: 4 MiB to three peers take 2 s at 50 Mbit/s.
const SLOW: Duration = Duration::from_secs(6);
/// How long a message that went out may be in the queue of a slow peer: until it is let go at the latest, and as long
/// again for what it asks for a second time.
const IN_QUEUES: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Takers {
    waiting: HashMap<u64, Waiting>,
    /// What went out last: when, and how many bytes. As many as one queue holds.
    sent: VecDeque<(Instant, usize)>,
}

/// A message that its peer did not take at once.
struct Waiting {
    peer: PeerId,
    since: Instant,
    /// Bytes since then.
    taken: u64,
}

impl Waiting {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Bytes taken in a second.
    fn rate(&self, now: Instant) -> u64 {
        let ms = u64::try_from(self.age(now).as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        self.taken.saturating_mul(1000) / ms
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_none = self.rate(now) < AS_GOOD_AS_NOTHING;
        self.age(now) > if is_none { NOTHING_TAKEN_FOR } else { TAKEN_WITHIN }
    }
}

impl Takers {
    /// A message goes to a peer's stream, which does not take it now.
    pub(super) fn waits(&mut self, id: u64, peer: PeerId, now: Instant) {
        self.waiting.entry(id).or_insert(Waiting {
            peer,
            since: now,
            taken: 0,
        });
    }

    /// The stream took so many bytes of it.
    pub(super) fn takes(&mut self, id: u64, bytes: usize) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.taken = waiting.taken.saturating_add(bytes as u64);
        }
    }

    /// It took all of it, or ended.
    pub(super) fn taken(&mut self, id: u64) {
        self.waiting.remove(&id);
    }

    /// A message of so many bytes goes to others.
    pub(super) fn sends(&mut self, len: usize, now: Instant) {
        self.sent.push_back((now, len));
        if self.sent.len() > PEER_QUEUE_LEN {
            self.sent.pop_front();
        }
    }

    /// How many peers may be slow at one time.
    fn slow_tolerated(&self, now: Instant) -> usize {
        let copies: usize = self
            .sent
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= IN_QUEUES)
            .map(|(_, len)| len)
            .sum();
        (MAX_SLOW_COPIES / copies.max(1)).clamp(1, MAX_SLOW)
    }

    /// Peers to be let go, each once: those whose time is over, and of the others that are slow all but as many as are
    /// tolerated. Those that took least in a second go first; of those that took as much, whoever waits for longest.
    pub(super) fn sweep(&self, now: Instant) -> Vec<PeerId> {
        let slow = self.waiting.values().filter(|waiting| waiting.age(now) > SLOW);
        let (over, mut rest): (Vec<&Waiting>, Vec<&Waiting>) = slow.partition(|waiting| waiting.is_over(now));
        rest.sort_by_key(|waiting| (Reverse(waiting.rate(now)), waiting.age(now), waiting.peer));
        let mut gone: Vec<PeerId> = rest
            .into_iter()
            .skip(self.slow_tolerated(now))
            .chain(over)
            .map(|waiting| waiting.peer)
            .collect();
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    /// How many messages wait, and how much was taken of them.
    #[cfg(test)]
    pub(super) fn all(&self) -> (usize, u64) {
        let taken = self.waiting.values().map(|waiting| waiting.taken).sum();
        (self.waiting.len(), taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    fn second(start: Instant, n: u64) -> Instant {
        start + Duration::from_secs(n)
    }

    fn peers(n: usize) -> Vec<PeerId> {
        (0..n).map(|_| PeerId::random()).collect()
    }

    #[test]
    fn who_takes_nothing_is_let_go_and_sooner_where_many_do() {
        let (mut takers, start, peers) = (Takers::default(), Instant::now(), peers(20));
        takers.waits(0, peers[0], start);
        // Waiting on is the same wait.
        takers.waits(0, peers[0], second(start, 8));
        takers.waits(1, peers[1], start);
        takers.taken(1);
        assert_eq!(takers.sweep(second(start, 15)), []);
        assert_eq!(takers.sweep(second(start, 16)), [peers[0]]);
        takers.taken(0);
        assert_eq!(takers.sweep(second(start, 16)), []);
        for (n, peer) in peers.iter().enumerate() {
            takers.waits(n as u64, *peer, second(start, 20 + n as u64 / 10));
        }
        assert_eq!(takers.sweep(second(start, 25)), []);
        // All twenty are slow: the four of those that were so first.
        let gone = takers.sweep(second(start, 28));
        assert_eq!(gone.len(), 4);
        assert!(gone.iter().all(|peer| peers[..10].contains(peer)));
    }

    #[test]
    fn who_takes_least_goes_first_whenever_it_began() {
        let (mut takers, start, peers) = (Takers::default(), Instant::now(), peers(20));
        // Four honest peers wait first, at 1.5 Mbit/s; then sixteen that take nothing, or next to nothing.
        for n in 0..20 {
            takers.waits(n, peers[n as usize], second(start, if n < 4 { 0 } else { 3 }));
        }
        for _ in 0..10 {
            (0..4).for_each(|n| takers.takes(n, 187_500));
            (4..8).for_each(|n| takers.takes(n, 1));
        }
        let mut gone = takers.sweep(second(start, 10));
        assert_eq!(gone.len(), 4);
        assert!(
            gone.iter().all(|peer| peers[8..].contains(peer)),
            "those that take nothing"
        );
        // Where proofs are large one is tolerated, and it is an honest one.
        takers.sends(84 * MIB, second(start, 10));
        gone = takers.sweep(second(start, 10));
        assert_eq!(gone.len(), 19);
        assert!(peers[..4].iter().any(|peer| !gone.contains(peer)));
    }

    #[test]
    fn who_makes_progress_may_take_longer_and_not_for_ever() {
        // Bytes a second, and the second in which it is let go.
        let table = [
            (0, 16),
            (1, 16),
            (130 * KIB, 16),
            (143 * KIB, 31),
            // 1.5 Mbit/s: 4 MiB are through after 22 s.
            (187_500, 31),
            (10 * MIB, 31),
        ];
        for (rate, over) in table {
            let (mut takers, start, peer) = (Takers::default(), Instant::now(), PeerId::random());
            takers.waits(0, peer, start);
            let gone = (1..60).find(|n| {
                takers.takes(0, rate);
                takers.sweep(second(start, *n)) == [peer]
            });
            assert_eq!(gone, Some(over), "{rate}");
        }
        // What it took at first is worth less with every second.
        let (mut takers, start, peer) = (Takers::default(), Instant::now(), PeerId::random());
        takers.waits(0, peer, start);
        takers.takes(0, 3 * MIB);
        assert_eq!(takers.sweep(second(start, 22)), []);
        assert_eq!(takers.sweep(second(start, 23)), [peer]);
    }

    proptest! {
        #[test]
        fn nobody_goes_for_whoever_takes_less(
            all in prop::collection::vec((0u64..14, 0usize..3 * MIB), 1..40),
            sent in prop::collection::vec(1usize..5 * MIB, 0..20),
        ) {
            let (mut takers, start, peers) = (Takers::default(), Instant::now(), peers(all.len()));
            let now = second(start, 15);
            for len in sent {
                takers.sends(len, now);
            }
            for (n, (since, bytes)) in all.iter().enumerate() {
                takers.waits(n as u64, peers[n], second(start, *since));
                takers.takes(n as u64, *bytes);
            }
            let gone = takers.sweep(now);
            let is_slow = |n: &usize| 15 - all[*n].0 > 6;
            let rate = |n: usize| all[n].1 as u64 / (15 - all[n].0);
            let (went, stayed): (Vec<usize>, Vec<usize>) =
                (0..all.len()).filter(is_slow).partition(|n| gone.contains(&peers[*n]));
            prop_assert_eq!(gone.len(), went.len());
            prop_assert_eq!(stayed.len(), (went.len() + stayed.len()).min(takers.slow_tolerated(now)));
            let least = stayed.iter().map(|n| rate(*n)).min().unwrap_or(u64::MAX);
            for n in went {
                prop_assert!(rate(n) <= least + 1, "{:?}", all);
            }
        }
    }

    #[test]
    fn the_larger_the_copies_the_fewer_peers_may_be_slow() {
        let start = Instant::now();
        let mut takers = Takers::default();
        assert_eq!(takers.slow_tolerated(start), MAX_SLOW);
        for (len, tolerated) in [
            (MIB, 16),
            (7 * MIB, 12),
            (4 * MIB, 8),
            (84 * MIB, 1),
            (400 * MIB, 1),
        ] {
            takers.sends(len, start);
            assert_eq!(takers.slow_tolerated(second(start, 60)), tolerated, "{len}");
        }
        // As many as a queue holds, and as long as they may be there.
        for _ in 0..PEER_QUEUE_LEN {
            takers.sends(MIB, second(start, 20));
        }
        assert_eq!(takers.slow_tolerated(second(start, 20)), 8);
        assert_eq!(takers.slow_tolerated(second(start, 81)), MAX_SLOW);
    }
}
