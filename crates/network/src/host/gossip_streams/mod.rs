//! What peers make this node hold on gossip's streams, over all of them together: messages that are begun and not
//! finished, and messages that nobody takes.
//!
//! gossipsub keeps what has come of a message until all of it has, for as long as that takes, and keeps a queue of copies
//! for a peer until the peer takes them. Either is bounded for one peer; a hundred that do nothing else would fill the
//! memory. So every stream is looked at from below: which of them are gossip's is told by their negotiation (`sniff`),
//! and where a message ends by its length in front.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the account over all streams; a state machine, time is given |
//! | `sniff` | which protocol a stream is for, and where its messages end |
//! | `stream` | the wrapping around connections and their streams |

mod sniff;
mod stream;

use crate::{counters::Counters, gossip::PEER_QUEUE_LEN};
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};
pub(super) use stream::Watched;

/// Bytes of unfinished messages over all streams; what holds them may have room for twice as many. Beyond it the message
/// begun first is given up: honest ones take a second or a few. Six of the largest proofs at once: a proofs' mesh is three
/// peers wide at most, each of which brings one message at a time, and two more may bring what they were asked for.
const MAX_UNFINISHED: usize = 32 << 20;
/// Time from a message's first byte to its last.
const FINISHED_WITHIN: Duration = Duration::from_secs(60);
/// Time in which a peer takes one message: 4 MiB at 2.2 Mbit/s.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);
/// Peers that may be slower than this at one time. Each has a queue of copies (`gossip::params`).
const MAX_SLOW: usize = 16;
/// Bytes of copies that slow peers' queues may hold together: fewer are slow at one time where proofs are large. Never
/// none: one slow peer is no attack.
const MAX_SLOW_COPIES: usize = 96 << 20;
/// What is slower than others: beyond these, those that have let a message wait for longest, and for this at least. Sooner
/// would cut off honest peers where this node's own link is slow: 4 MiB to three peers take 2 s at 50 Mbit/s.
const SLOW: Duration = Duration::from_secs(6);
/// How long a message that went out may be in the queue of a peer that takes nothing: until it is let go at the latest,
/// and as long again for what it asks for a second time.
const IN_QUEUES: Duration = Duration::from_secs(30);

/// Metric labels: a message that took too long, or was the oldest of too much; messages that are not taken; a stream that
/// ended within a message, because it was longer than any may be or its connection was closed.
const UNFINISHED: &str = "unfinished";
const NOT_TAKEN: &str = "not_taken";
const BROKEN_OFF: &str = "broken_off";
/// All of them.
pub(crate) const GIVEN_UP_REASONS: [&str; 3] = [UNFINISHED, NOT_TAKEN, BROKEN_OFF];

/// Every gossip stream that holds something. Clones share it.
#[derive(Clone, Default)]
pub(super) struct GossipStreams {
    account: Arc<Mutex<Account>>,
    counters: Counters,
}

#[derive(Default)]
struct Account {
    last: u64,
    unfinished: HashMap<u64, Unfinished>,
    bytes: usize,
    waiting: HashMap<u64, Waiting>,
    /// Whose messages were given up.
    cut: Vec<PeerId>,
    /// What went out last: when, and how many bytes. As many as one queue holds.
    sent: VecDeque<(Instant, usize)>,
}

struct Unfinished {
    peer: PeerId,
    bytes: usize,
    since: Instant,
    /// Of whoever reads the stream.
    reader: Option<Waker>,
    is_cut: bool,
}

struct Waiting {
    peer: PeerId,
    since: Instant,
}

impl Account {
    /// A stream holds so much of a message now, none where it is whole; whether the stream is to end.
    fn holds(&mut self, id: u64, peer: PeerId, bytes: usize, reader: &Waker, now: Instant) -> bool {
        if bytes == 0 {
            return self.finished(id);
        }
        let entry = self.unfinished.entry(id).or_insert(Unfinished {
            peer,
            bytes: 0,
            since: now,
            reader: None,
            is_cut: false,
        });
        if entry.is_cut {
            return true;
        }
        self.bytes = self.bytes - entry.bytes + bytes;
        entry.bytes = bytes;
        entry.reader = Some(reader.clone());
        while self.bytes > MAX_UNFINISHED {
            let oldest = self
                .unfinished
                .iter()
                .filter(|(_, held)| !held.is_cut)
                .min_by_key(|(_, held)| held.since)
                .map(|(id, _)| *id);
            match oldest {
                Some(oldest) => self.cut(oldest),
                None => break,
            }
        }
        self.unfinished.get(&id).is_some_and(|held| held.is_cut)
    }

    /// Forgets what a stream held; whether it was to end.
    fn finished(&mut self, id: u64) -> bool {
        let Some(held) = self.unfinished.remove(&id) else {
            return false;
        };
        if !held.is_cut {
            self.bytes -= held.bytes;
        }
        held.is_cut
    }

    fn cut(&mut self, id: u64) {
        if let Some(held) = self.unfinished.get_mut(&id)
            && !held.is_cut
        {
            held.is_cut = true;
            self.bytes -= held.bytes;
            self.cut.push(held.peer);
            if let Some(reader) = held.reader.take() {
                reader.wake();
            }
        }
    }

    /// A message of so many bytes goes to others.
    fn sends(&mut self, len: usize, now: Instant) {
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

    /// Gives up what took too long; peers of such messages, and peers that take nothing.
    fn sweep(&mut self, now: Instant) -> (Vec<PeerId>, Vec<PeerId>) {
        let age = |since: Instant| now.saturating_duration_since(since);
        let late: Vec<u64> = self
            .unfinished
            .iter()
            .filter(|(_, held)| !held.is_cut && age(held.since) > FINISHED_WITHIN)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.cut(id);
        }
        let mut slow: Vec<(Duration, PeerId)> = self
            .waiting
            .values()
            .map(|waiting| (age(waiting.since), waiting.peer))
            .filter(|(age, _)| *age > SLOW)
            .collect();
        slow.sort_unstable();
        let tolerated = slow
            .iter()
            .take(self.slow_tolerated(now))
            .filter(|(age, _)| *age <= TAKEN_WITHIN)
            .count();
        let mut gone: Vec<PeerId> = slow
            .split_off(tolerated)
            .into_iter()
            .map(|(_, peer)| peer)
            .collect();
        gone.sort_unstable();
        gone.dedup();
        (std::mem::take(&mut self.cut), gone)
    }
}

impl GossipStreams {
    pub(super) fn new(counters: Counters) -> Self {
        Self {
            account: Arc::default(),
            counters,
        }
    }

    /// Gives up what took too long. Peers that did not finish a message, whose streams end; and peers that take none,
    /// which are to be let go.
    pub(super) fn sweep(&self, now: Instant) -> (Vec<PeerId>, Vec<PeerId>) {
        let (cut, gone) = self.account.lock().sweep(now);
        self.counters.gossip_streams(UNFINISHED, cut.len());
        self.counters.gossip_streams(NOT_TAKEN, gone.len());
        (cut, gone)
    }

    /// A message of so many bytes goes to others: each peer's queue may hold it.
    pub(super) fn sends(&self, len: usize, now: Instant) {
        self.account.lock().sends(len, now);
    }

    fn open(&self) -> u64 {
        let mut account = self.account.lock();
        account.last += 1;
        account.last
    }

    fn waits(&self, id: u64, peer: PeerId, now: Instant) {
        let waiting = Waiting { peer, since: now };
        self.account.lock().waiting.entry(id).or_insert(waiting);
    }

    fn taken(&self, id: u64) {
        self.account.lock().waiting.remove(&id);
    }

    /// A stream ended; whether it was given up.
    fn closed(&self, id: u64) -> bool {
        let mut account = self.account.lock();
        account.waiting.remove(&id);
        account.finished(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn second(start: Instant, n: u64) -> Instant {
        start + Duration::from_secs(n)
    }

    #[test]
    fn what_was_begun_first_goes_when_too_much_is_unfinished() {
        let (mut account, start) = (Account::default(), Instant::now());
        let peers: Vec<PeerId> = (0..10).map(|_| PeerId::random()).collect();
        // Four hold 8 MiB each: all there is.
        for (n, peer) in peers.iter().enumerate().take(4) {
            let now = second(start, n as u64);
            assert!(!account.holds(n as u64, *peer, 8 * MIB, Waker::noop(), now));
        }
        assert_eq!(account.bytes, MAX_UNFINISHED);
        // An honest one gets its room: the first goes.
        assert!(!account.holds(7, peers[7], MIB, Waker::noop(), second(start, 9)));
        assert!(account.holds(0, peers[0], 8 * MIB + 1, Waker::noop(), second(start, 9)));
        assert_eq!(account.bytes, 25 * MIB);
        assert_eq!(account.sweep(second(start, 10)), (vec![peers[0]], Vec::new()));
        // It is told of once, and what it held is not taken off twice.
        assert!(account.finished(0));
        assert_eq!(account.bytes, 25 * MIB);
        // A whole message holds nothing.
        assert!(!account.holds(7, peers[7], 0, Waker::noop(), second(start, 11)));
        assert_eq!((account.bytes, account.unfinished.len()), (24 * MIB, 3));
        // What takes a minute is given up without need.
        let (cut, gone) = account.sweep(second(start, 62));
        assert_eq!((cut, gone), (vec![peers[1]], Vec::new()));
        assert_eq!(account.bytes, 16 * MIB);
    }

    #[test]
    fn who_takes_nothing_is_let_go_and_sooner_where_many_do() {
        let start = Instant::now();
        let streams = GossipStreams::default();
        let peers: Vec<PeerId> = (0..20).map(|_| PeerId::random()).collect();
        streams.waits(0, peers[0], start);
        // Waiting on is the same wait.
        streams.waits(0, peers[0], second(start, 8));
        streams.waits(1, peers[1], start);
        streams.taken(1);
        assert_eq!(streams.sweep(second(start, 15)).1, []);
        assert_eq!(streams.sweep(second(start, 16)).1, [peers[0]]);
        streams.closed(0);
        assert_eq!(streams.sweep(second(start, 16)).1, []);
        for (n, peer) in peers.iter().enumerate() {
            streams.waits(n as u64, *peer, second(start, 20 + n as u64 / 10));
        }
        assert_eq!(streams.sweep(second(start, 25)).1, []);
        // All twenty are slow: the four of those that were so first.
        let gone = streams.sweep(second(start, 28)).1;
        assert_eq!(gone.len(), 4);
        assert!(gone.iter().all(|peer| peers[..10].contains(peer)));
    }

    #[test]
    fn the_larger_the_copies_the_fewer_peers_may_be_slow() {
        let start = Instant::now();
        let mut account = Account::default();
        assert_eq!(account.slow_tolerated(start), MAX_SLOW);
        for (len, tolerated) in [
            (MIB, 16),
            (7 * MIB, 12),
            (4 * MIB, 8),
            (84 * MIB, 1),
            (400 * MIB, 1),
        ] {
            account.sends(len, start);
            assert_eq!(account.slow_tolerated(second(start, 30)), tolerated, "{len}");
        }
        // As many as a queue holds, and as long as they may be there.
        for _ in 0..PEER_QUEUE_LEN {
            account.sends(MIB, second(start, 20));
        }
        assert_eq!(account.slow_tolerated(second(start, 20)), 8);
        assert_eq!(account.slow_tolerated(second(start, 51)), MAX_SLOW);
    }
}
