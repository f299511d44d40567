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

/// Bytes of unfinished messages over all streams; what holds them may have room for twice as many. Eight proofs of 4 MiB,
/// and fewer than three RPCs of the largest size (11.7 MiB, `gossip::params`). A proofs' mesh is three peers wide at
/// most, each of which brings one message at a time, and two more may bring what they were asked for. Beyond it the peer
/// that holds most loses what it holds: it holds more than its share of this, and who holds less is let be, however long
/// ago it began. That is no fault: others may be what makes it too much.
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

/// gossipsub 0.50 serves this many streams of one connection to each side, one after the other; with the next its handler
/// is spent: the connection stays, and nothing is heard or said on it. So a connection is closed when as many have ended,
/// which is nobody's fault, and either side may connect anew.
const STREAMS_PER_CONNECTION: u32 = 4;

/// Metric labels: a message that took too long; one of the peer that held most when all held too much; messages that are
/// not taken; a stream that ended within a message, because it was longer than any may be or its connection was closed; a
/// connection closed because gossipsub would serve no further stream on it.
const UNFINISHED: &str = "unfinished";
const CROWDED_OUT: &str = "crowded_out";
const NOT_TAKEN: &str = "not_taken";
const BROKEN_OFF: &str = "broken_off";
const SPENT: &str = "spent";
/// All of them.
pub(crate) const GIVEN_UP_REASONS: [&str; 5] = [UNFINISHED, CROWDED_OUT, NOT_TAKEN, BROKEN_OFF, SPENT];

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
    /// Messages given up because all held too much, not counted yet.
    crowded_out: usize,
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
            let Some(largest) = self.largest_of_most() else {
                break;
            };
            self.cut(largest);
            self.crowded_out += 1;
        }
        self.unfinished.get(&id).is_some_and(|held| held.is_cut)
    }

    /// The largest message of the peer that holds most; of equals, what was begun last.
    fn largest_of_most(&self) -> Option<u64> {
        let held = || self.unfinished.iter().filter(|(_, held)| !held.is_cut);
        let mut peers: HashMap<PeerId, (usize, Instant)> = HashMap::new();
        for (_, held) in held() {
            let (bytes, last) = peers.entry(held.peer).or_insert((0, held.since));
            (*bytes, *last) = (*bytes + held.bytes, held.since.max(*last));
        }
        let (peer, _) = peers.into_iter().max_by_key(|(_, most)| *most)?;
        held()
            .filter(|(_, held)| held.peer == peer)
            .max_by_key(|(_, held)| (held.bytes, held.since))
            .map(|(id, _)| *id)
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
        let late: Vec<(u64, PeerId)> = self
            .unfinished
            .iter()
            .filter(|(_, held)| !held.is_cut && age(held.since) > FINISHED_WITHIN)
            .map(|(id, held)| (*id, held.peer))
            .collect();
        for (id, _) in &late {
            self.cut(*id);
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
        (late.into_iter().map(|(_, peer)| peer).collect(), gone)
    }
}

impl GossipStreams {
    pub(super) fn new(counters: Counters) -> Self {
        Self {
            account: Arc::default(),
            counters,
        }
    }

    /// Gives up what took too long. Peers that did not finish a message in its time, whose streams end; and peers that
    /// take none, which are to be let go.
    pub(super) fn sweep(&self, now: Instant) -> (Vec<PeerId>, Vec<PeerId>) {
        let ((late, gone), crowded_out) = {
            let mut account = self.account.lock();
            (account.sweep(now), std::mem::take(&mut account.crowded_out))
        };
        self.counters.gossip_streams(UNFINISHED, late.len());
        self.counters.gossip_streams(CROWDED_OUT, crowded_out);
        self.counters.gossip_streams(NOT_TAKEN, gone.len());
        (late, gone)
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
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    fn second(start: Instant, n: u64) -> Instant {
        start + Duration::from_secs(n)
    }

    #[test]
    fn who_holds_most_gives_way_when_too_much_is_unfinished() {
        let (mut account, start) = (Account::default(), Instant::now());
        let peers: Vec<PeerId> = (0..5).map(|_| PeerId::random()).collect();
        // An honest one has begun a proof; then three begin the largest there is, which is too much.
        assert!(!account.holds(0, peers[0], MIB, Waker::noop(), start));
        for (n, peer) in (1..=3).zip(&peers[1..]) {
            let gives_way = account.holds(n, *peer, 11 * MIB, Waker::noop(), second(start, n));
            assert_eq!(gives_way, n == 3, "of equals, the last");
        }
        assert_eq!((account.bytes, account.crowded_out), (23 * MIB, 1));
        // It goes on to the end, though the others begin again.
        assert!(!account.holds(0, peers[0], 4 * MIB, Waker::noop(), second(start, 4)));
        assert!(account.finished(3), "what it held is not taken off twice");
        assert_eq!(account.bytes, 26 * MIB);
        assert!(account.holds(4, peers[3], 11 * MIB, Waker::noop(), second(start, 5)));
        // What a peer holds on several streams counts as one, and the largest of them goes.
        for n in 10..13 {
            let bytes = (n as usize - 8) * MIB;
            assert!(!account.holds(n, peers[4], bytes - MIB, Waker::noop(), second(start, 6)));
        }
        assert_eq!(account.bytes, 32 * MIB);
        assert!(account.holds(11, peers[4], 8 * MIB, Waker::noop(), second(start, 6)));
        assert_eq!(account.bytes, 30 * MIB);
        // A whole message holds nothing.
        assert!(!account.holds(0, peers[0], 0, Waker::noop(), second(start, 7)));
        assert_eq!(account.bytes, 26 * MIB);
        // None of it was a fault; what takes a minute is one.
        assert_eq!(account.sweep(second(start, 61)), (Vec::new(), Vec::new()));
        assert_eq!(account.sweep(second(start, 62)), (vec![peers[1]], Vec::new()));
        assert_eq!((account.bytes, account.crowded_out), (15 * MIB, 3));
    }

    proptest! {
        #[test]
        fn who_holds_no_more_than_its_share_is_let_be(
            steps in prop::collection::vec((0u64..12, 1usize..12 * MIB), 1..80),
            streams_each in 1u64..4,
        ) {
            let (mut account, start) = (Account::default(), Instant::now());
            let peers: Vec<PeerId> = (0..12).map(|_| PeerId::random()).collect();
            for (n, (id, bytes)) in steps.into_iter().enumerate() {
                let peer = peers[(id / streams_each) as usize];
                let before: Vec<u64> = account
                    .unfinished.iter().filter(|(_, held)| held.is_cut).map(|(id, _)| *id).collect();
                account.holds(id, peer, bytes, Waker::noop(), second(start, n as u64));
                prop_assert!(account.bytes <= MAX_UNFINISHED);
                // As it was before the first gave way: each that did, against all that held something.
                let mut held: HashMap<PeerId, usize> = HashMap::new();
                let mut cut = Vec::new();
                for (id, one) in account.unfinished.iter().filter(|(id, _)| !before.contains(id)) {
                    *held.entry(one.peer).or_default() += one.bytes;
                    if one.is_cut {
                        cut.push((*id, one.peer));
                    }
                }
                let share = MAX_UNFINISHED / held.len().max(1);
                let is_any_above = held.values().any(|bytes| *bytes > share);
                for (id, peer) in cut {
                    prop_assert!(!is_any_above || held[&peer] > share, "stream {} of {:?}", id, held);
                }
                // Streams that were cut are opened anew.
                account.unfinished.retain(|_, one| !one.is_cut);
            }
        }
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
