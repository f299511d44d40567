//! Messages that are begun and not finished, over all streams. A state machine; time is given.

use libp2p::PeerId;
use std::{
    collections::HashMap,
    task::Waker,
    time::{Duration, Instant},
};

/// Bytes of unfinished messages over all streams; what holds them may have room for twice as many. Eight proofs of 4 MiB,
/// and fewer than three RPCs of the largest size (11.7 MiB, `gossip::params`). A proofs' mesh is three peers wide,
/// each of which brings one message at a time (peers that this node dialled may be more until the next heartbeat), and two
/// more may bring what they were asked for.
///
/// Beyond it the peer goes that has cost most: its bytes by the time they lay here (`Message::cost`). Not whoever holds
/// most, for that is an honest peer that is nearly done with its proof: as many attackers as fill all this share it in
/// pieces smaller than a proof. Nor whoever began first, for that is an honest peer on a slow link, however little it
/// holds. A proof of 4 MiB at 50 Mbit/s costs 1.4 MiB s until it is whole; who holds a 33rd of all this costs as much in
/// 1.4 s, and a 110th in 4.8 s. To cost less all of them have to begin anew as often: at 190 or 56 Mbit/s in all, and
/// each of them with a new connection every 4 streams (`STREAMS_PER_CONNECTION`). That it goes is no fault: others may be
/// what makes it too much.
pub(super) const MAX_UNFINISHED: usize = 32 << 20;
/// How often it is looked whether a message makes progress, from its first byte on.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(60);
/// Bytes a second, on the average since it was last looked at, below which it makes none: 65 kbit/s. That is a fault, so
/// it is not the time until a message is whole: four proofs of 4 MiB at a time over this node's own link of 2 Mbit/s take
/// 67 s, and each of them brings 61 KiB a second. What slow messages hold meanwhile is bounded (`MAX_UNFINISHED`).
const AS_GOOD_AS_NOTHING: u128 = 8 << 10;

#[derive(Default)]
pub(super) struct Unfinished {
    messages: HashMap<u64, Message>,
    bytes: usize,
    /// Messages given up because all held too much, not counted yet.
    crowded_out: usize,
}

struct Message {
    peer: PeerId,
    bytes: usize,
    since: Instant,
    /// When it was last looked at, and its bytes then.
    looked_at: (Instant, usize),
    /// What it had cost when it last grew, and when that was.
    grown: (u128, Instant),
    /// Of whoever reads the stream.
    reader: Option<Waker>,
    is_cut: bool,
}

impl Message {
    /// Bytes by microseconds, each byte from when it came.
    fn cost(&self, now: Instant) -> u128 {
        let (cost, at) = self.grown;
        cost + self.bytes as u128 * now.saturating_duration_since(at).as_micros()
    }
}

impl Unfinished {
    /// A stream holds so much of a message now, none where it is whole; whether the stream is to end.
    pub(super) fn holds(
        &mut self,
        id: u64,
        peer: PeerId,
        bytes: usize,
        reader: &Waker,
        now: Instant,
    ) -> bool {
        if bytes == 0 {
            return self.finished(id);
        }
        let message = self.messages.entry(id).or_insert(Message {
            peer,
            bytes: 0,
            since: now,
            looked_at: (now, 0),
            grown: (0, now),
            reader: None,
            is_cut: false,
        });
        if message.is_cut {
            return true;
        }
        message.grown = (message.cost(now), now);
        self.bytes = self.bytes - message.bytes + bytes;
        message.bytes = bytes;
        message.reader = Some(reader.clone());
        while self.bytes > MAX_UNFINISHED {
            let Some(costliest) = self.costliest(now) else {
                break;
            };
            self.cut(costliest);
            self.crowded_out += 1;
        }
        self.messages.get(&id).is_some_and(|message| message.is_cut)
    }

    /// Of the peer that has cost most, the message that has; of equals, whoever holds more, and then what was begun last.
    fn costliest(&self, now: Instant) -> Option<u64> {
        let held = || self.messages.iter().filter(|(_, message)| !message.is_cut);
        let mut peers: HashMap<PeerId, (u128, usize, Instant)> = HashMap::new();
        for (_, message) in held() {
            let (cost, bytes, last) = peers.entry(message.peer).or_insert((0, 0, message.since));
            *cost += message.cost(now);
            (*bytes, *last) = (*bytes + message.bytes, message.since.max(*last));
        }
        let (peer, _) = peers.into_iter().max_by_key(|(_, all)| *all)?;
        held()
            .filter(|(_, message)| message.peer == peer)
            .max_by_key(|(_, message)| (message.cost(now), message.bytes, message.since))
            .map(|(id, _)| *id)
    }

    /// Forgets what a stream held; whether it was to end.
    pub(super) fn finished(&mut self, id: u64) -> bool {
        let Some(message) = self.messages.remove(&id) else {
            return false;
        };
        if !message.is_cut {
            self.bytes -= message.bytes;
        }
        message.is_cut
    }

    fn cut(&mut self, id: u64) {
        if let Some(message) = self.messages.get_mut(&id)
            && !message.is_cut
        {
            message.is_cut = true;
            self.bytes -= message.bytes;
            if let Some(reader) = message.reader.take() {
                reader.wake();
            }
        }
    }

    /// Gives up what makes no progress; peers of such messages, and how many were crowded out since this was last asked.
    pub(super) fn sweep(&mut self, now: Instant) -> (Vec<PeerId>, usize) {
        let mut stuck = Vec::new();
        for (id, message) in &mut self.messages {
            let (at, had) = message.looked_at;
            let passed = now.saturating_duration_since(at);
            if message.is_cut || passed <= LOOKED_AT_EVERY {
                continue;
            }
            let come = message.bytes.saturating_sub(had) as u128;
            if come * 1000 < AS_GOOD_AS_NOTHING * passed.as_millis() {
                stuck.push((*id, message.peer));
            }
            message.looked_at = (now, message.bytes);
        }
        for (id, _) in &stuck {
            self.cut(*id);
        }
        let stuck = stuck.into_iter().map(|(_, peer)| peer).collect();
        (stuck, std::mem::take(&mut self.crowded_out))
    }

    /// Bytes of all messages, and how many there are.
    #[cfg(test)]
    pub(super) fn all(&self) -> (usize, usize) {
        (self.bytes, self.messages.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const KIB: usize = 1 << 10;
    const MIB: usize = 1 << 20;

    fn ms(start: Instant, n: u64) -> Instant {
        start + Duration::from_millis(n)
    }

    #[test]
    fn who_cost_most_gives_way_when_too_much_is_unfinished() {
        let (mut account, start) = (Unfinished::default(), Instant::now());
        let peers: Vec<PeerId> = (0..6).map(|_| PeerId::random()).collect();
        let holds = |account: &mut Unfinished, id: u64, peer: usize, bytes: usize, second: u64| {
            account.holds(id, peers[peer], bytes, Waker::noop(), ms(start, second * 1000))
        };
        // 11 MiB for 3 s, 1 MiB for 4 s, 10 MiB for 2 s: the first, though it grows no more.
        assert!(!holds(&mut account, 0, 0, MIB, 0));
        assert!(!holds(&mut account, 1, 1, 11 * MIB, 1));
        assert!(!holds(&mut account, 2, 2, 10 * MIB, 2));
        assert!(!holds(&mut account, 3, 3, 11 * MIB, 4));
        assert_eq!((account.bytes, account.crowded_out), (22 * MIB, 1));
        assert!(holds(&mut account, 1, 1, 11 * MIB, 4), "it is told so");
        assert!(account.finished(1), "what it held is not taken off twice");
        assert_eq!(account.bytes, 22 * MIB);
        // Each byte costs from when it came: 1 MiB for 4 s and 11 more for none cost less than 10 for 2 s.
        assert!(!holds(&mut account, 0, 0, 12 * MIB, 4));
        assert!(account.finished(2));
        assert_eq!((account.bytes, account.crowded_out), (23 * MIB, 2));
    }

    #[test]
    fn what_a_peer_holds_on_several_streams_counts_as_one() {
        let (mut account, start) = (Unfinished::default(), Instant::now());
        let peers: Vec<PeerId> = (0..3).map(|_| PeerId::random()).collect();
        let table = [
            (0, 0, 3, 0, false),
            (1, 0, 4, 0, false),
            (2, 1, 5, 0, false),
            (3, 2, 21, 10, false),
            (1, 0, 4, 10, true),
        ];
        for (id, peer, mib, second, is_cut) in table {
            let now = ms(start, second * 1000);
            assert_eq!(
                account.holds(id, peers[peer], mib * MIB, Waker::noop(), now),
                is_cut
            );
        }
        // The costliest of them went, and no other: 3 of 7, 5 and 21 MiB are left.
        assert_eq!((account.bytes, account.crowded_out), (29 * MIB, 1));
    }

    /// What attackers do.
    struct Attack {
        peers: u64,
        bytes: usize,
        /// Milliseconds until they end a message and begin another.
        held_for: u64,
        /// Bytes that all of them send in a millisecond.
        rate: usize,
    }

    /// Whether a peer gets `bytes` through in `time` milliseconds when attackers have been at it for a while.
    fn gets_through(attack: &Attack, bytes: usize, time: u64) -> bool {
        const HONEST: u64 = 0;
        const STEP: usize = 64 * KIB;
        const TICK: u64 = 5;
        let (mut account, start) = (Unfinished::default(), Instant::now());
        let peers: Vec<PeerId> = (0..=attack.peers).map(|_| PeerId::random()).collect();
        let began = 40_000;
        let mut held = vec![(0, 0); peers.len()];
        for tick in 0..(began + time) / TICK {
            let (at, now) = (tick * TICK, ms(start, tick * TICK));
            // They take turns, each until it has all it wants to hold.
            let mut left = attack.rate * TICK as usize;
            for n in 0..attack.peers {
                let id = 1 + (tick + n) % attack.peers;
                let (bytes, since) = &mut held[id as usize];
                if at >= *since + attack.held_for {
                    account.finished(id);
                    (*bytes, *since) = (0, at);
                }
                let more = left.min(STEP).min(attack.bytes - *bytes);
                if more > 0 {
                    (*bytes, left) = (*bytes + more, left - more);
                    if account.holds(id, peers[id as usize], *bytes, Waker::noop(), now) {
                        account.finished(id);
                        (*bytes, *since) = (0, at);
                    }
                }
                if left == 0 {
                    break;
                }
            }
            if at >= began {
                let come = bytes * (at - began + TICK) as usize / time as usize;
                let steps = come / STEP * STEP;
                if steps > 0 && account.holds(HONEST, peers[0], steps, Waker::noop(), now) {
                    return false;
                }
            }
        }
        true
    }

    #[test]
    fn a_proof_gets_through_while_others_hold_all_there_is() {
        const EVER: u64 = 1_000_000;
        // Attackers, KiB of each, until they begin anew (ms), what they send (KiB/ms); what is honest (KiB), its time (ms).
        let table = [
            ("just under 1 MiB each", 33, 990, EVER, 2, 4096, 700),
            ("an honest link of 12 Mbit/s", 33, 990, EVER, 2, 4096, 2800),
            ("1 MiB at 5 Mbit/s", 33, 990, EVER, 2, 1024, 1700),
            ("the largest RPC", 33, 990, EVER, 2, 11_980, 2000),
            ("as many as may connect", 109, 300, EVER, 2, 4096, 700),
            ("again every 15 s", 109, 300, 15_000, 4, 4096, 700),
            ("little over a slow link", 33, 990, 3000, 100, 200, 6000),
            ("few and large", 4, 11_264, EVER, 2, 4096, 700),
        ];
        let attack = |peers, bytes: usize, held_for, rate: usize| Attack {
            peers,
            bytes: bytes * KIB,
            held_for,
            rate: rate * KIB,
        };
        for (row, peers, each, held_for, rate, honest, time) in table {
            let attack = attack(peers, each, held_for, rate);
            assert!(gets_through(&attack, honest * KIB, time), "{row}");
        }
        // What it takes: all of it anew within the time of the proof, half a gigabit a second.
        assert!(!gets_through(&attack(33, 990, 500, 1000), 4 * MIB, 700));
    }

    /// One message as it grew: bytes by milliseconds, worked out from its whole history.
    fn cost(history: &[(u64, usize)], now: u64) -> u128 {
        let ends = history.iter().skip(1).map(|(at, _)| *at).chain([now]);
        history
            .iter()
            .zip(ends)
            .map(|((at, bytes), end)| *bytes as u128 * u128::from(end - at))
            .sum()
    }

    proptest! {
        /// Who brings its messages within a time `T` each and has cost less by then than any other peer is never cut.
        #[test]
        fn who_has_cost_less_than_another_is_let_be(
            steps in prop::collection::vec((0u64..12, 1usize..12 * MIB, 0u64..900), 1..80),
            streams_each in 1u64..4,
        ) {
            let (mut account, start) = (Unfinished::default(), Instant::now());
            let peers: Vec<PeerId> = (0..12).map(|_| PeerId::random()).collect();
            let of = |id: u64| (id / streams_each) as usize;
            let mut histories: BTreeMap<u64, Vec<(u64, usize)>> = BTreeMap::new();
            let mut now = 0;
            for (id, bytes, passed) in steps {
                now += passed;
                histories.entry(id).or_default().push((now, bytes));
                account.holds(id, peers[of(id)], bytes, Waker::noop(), ms(start, now));
                prop_assert!(account.bytes <= MAX_UNFINISHED);
                // One after the other, the costliest first: each that went had cost as much as any that stayed.
                let mut costs: BTreeMap<usize, (u128, u128)> = BTreeMap::new();
                let mut cut = Vec::new();
                for (id, history) in &histories {
                    let one = cost(history, now);
                    let (all, left) = costs.entry(of(*id)).or_default();
                    *all += one;
                    if account.messages[id].is_cut {
                        cut.push(*id);
                    } else {
                        *left += one;
                    }
                }
                let most_left = costs.values().map(|(_, left)| *left).max().unwrap_or(0);
                for id in &cut {
                    prop_assert!(costs[&of(*id)].0 >= most_left, "stream {} in {:?}", id, costs);
                }
                let sum: usize = histories
                    .iter().filter(|(id, _)| !cut.contains(id)).map(|(_, history)| history[history.len() - 1].1).sum();
                prop_assert_eq!(account.bytes, sum);
                // Streams that were cut are opened anew.
                for id in cut {
                    histories.remove(&id);
                    prop_assert!(account.finished(id));
                }
            }
        }
    }

    #[test]
    fn what_makes_no_progress_in_a_minute_is_given_up() {
        let (mut account, start) = (Unfinished::default(), Instant::now());
        let peers: Vec<PeerId> = (0..2).map(|_| PeerId::random()).collect();
        assert!(!account.holds(0, peers[0], 200 * KIB, Waker::noop(), start));
        assert!(!account.holds(1, peers[1], MIB, Waker::noop(), ms(start, 1000)));
        assert!(!account.holds(0, peers[0], 400 * KIB, Waker::noop(), ms(start, 59_000)));
        assert_eq!(account.sweep(ms(start, 60_000)), (Vec::new(), 0));
        assert_eq!(account.sweep(ms(start, 61_000)), (vec![peers[0]], 0));
        assert_eq!(account.bytes, MIB);
        assert!(account.finished(0));
        assert!(
            !account.holds(1, peers[1], 0, Waker::noop(), ms(start, 61_000)),
            "it is whole"
        );
        assert_eq!(account.all(), (0, 0));
    }

    #[test]
    fn who_makes_progress_may_take_as_long_as_it_takes() {
        // KiB at once and in each second from then on; the second in which it is given up.
        let table = [
            ("nothing", 64, 0, Some(61)),
            ("as good as nothing", 64, 1, Some(61)),
            ("a little too slow", 0, 7, Some(61)),
            ("slow", 0, 9, None),
            ("one of four over 2 Mbit/s", 0, 61, None),
            ("all but the end at once", 4000, 0, Some(122)),
        ];
        for (row, at_once, rate, over) in table {
            let (mut account, start, peer) = (Unfinished::default(), Instant::now(), PeerId::random());
            let given_up = (0..300).find(|second| {
                let (bytes, now) = (
                    (at_once + rate * second).max(1) * KIB,
                    ms(start, *second as u64 * 1000),
                );
                account.holds(0, peer, bytes, Waker::noop(), now);
                account.sweep(now).0 == [peer]
            });
            assert_eq!(given_up, over, "{row}");
        }
    }
}
