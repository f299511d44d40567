//! Room for what is whole and not handled by the host yet. A state machine; time is given.

use std::{
    collections::{HashSet, VecDeque},
    task::Waker,
    time::{Duration, Instant},
};

/// Bytes of whole RPCs, over all peers, beyond which gossip's streams are read no further: back pressure, nothing is lost
/// and nobody's fault. It is passed by the RPCs that came whole at that moment: one for each turn (`TURNS`) or thread.
/// A connection may have three in hand, one in its channel, one that is handed over and one behind it: without this, 110
/// peers would fill 3.8 GiB with the largest while the host is busy.
pub(super) const MAX_IN_HAND: usize = 32 << 20;
/// Streams that read at a time while others wait for room.
pub(super) const TURNS: usize = 4;
/// Bytes that one of them reads before it is the next one's turn; it ends sooner with an RPC, and where nothing has come.
pub(super) const TURN: usize = 64 * 1024;

/// Whether a stream may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// There is room, and nobody waits for any.
    Free,
    /// It has waited, and reads until its turn ends.
    Turn,
    /// It is woken when it has its turn.
    Waits,
}

/// What is in hand, and the streams that wait for room, which take turns in the order in which they began to wait.
///
/// All of them wait, also where nothing of an RPC has come yet and it may be a few bytes of control: that is not known
/// before it is read, and little bytes are not small once decoded. They wait no longer than it takes the host to handle
/// what is too much, and then `TURN` bytes of each stream before them: with 110 streams 7 MiB, which are some tens of
/// milliseconds. Nothing that the host does waits for a stream, so there is always a next turn.
#[derive(Default)]
pub(super) struct Room {
    bytes: usize,
    waiting: VecDeque<(u64, Waker)>,
    turns: HashSet<u64>,
    /// While there is none, and how long there was none before.
    none_since: Option<Instant>,
    none_for: Duration,
}

impl Room {
    fn is_full(&self) -> bool {
        self.bytes > MAX_IN_HAND
    }

    /// A stream would read on.
    pub(super) fn asks(&mut self, id: u64, waker: &Waker) -> Reading {
        if self.turns.contains(&id) {
            return Reading::Turn;
        }
        if !self.is_full() && self.waiting.is_empty() && self.turns.is_empty() {
            return Reading::Free;
        }
        match self.waiting.iter_mut().find(|(waiting, _)| *waiting == id) {
            Some((_, old)) => old.clone_from(waker),
            None => self.waiting.push_back((id, waker.clone())),
        }
        self.next_turns();
        if self.turns.contains(&id) {
            Reading::Turn
        } else {
            Reading::Waits
        }
    }

    /// A stream's turn is over, or the stream is.
    pub(super) fn ends(&mut self, id: u64) {
        self.turns.remove(&id);
        self.waiting.retain(|(waiting, _)| *waiting != id);
        self.next_turns();
    }

    /// A whole RPC of so many bytes is on its way to the host.
    pub(super) fn comes(&mut self, bytes: usize, now: Instant) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.is_full() && self.none_since.is_none() {
            self.none_since = Some(now);
        }
    }

    /// The host has handled one, or it is gone.
    pub(super) fn goes(&mut self, bytes: usize, now: Instant) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if !self.is_full()
            && let Some(since) = self.none_since.take()
        {
            self.none_for += now.saturating_duration_since(since);
        }
        self.next_turns();
    }

    fn next_turns(&mut self) {
        while !self.is_full()
            && self.turns.len() < TURNS
            && let Some((id, waker)) = self.waiting.pop_front()
        {
            self.turns.insert(id);
            waker.wake();
        }
    }

    /// The time as it is for who is reading: it stands still while there is no room, so that nobody pays for having been
    /// kept from finishing a message.
    pub(super) fn clock(&self, now: Instant) -> Instant {
        let none = self.none_since.map(|since| now.saturating_duration_since(since));
        now.checked_sub(self.none_for + none.unwrap_or_default())
            .unwrap_or(now)
    }

    /// Bytes in hand, streams that wait, streams that have a turn.
    #[cfg(test)]
    pub(super) fn all(&self) -> (usize, usize, usize) {
        (self.bytes, self.waiting.len(), self.turns.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::ArcWake;
    use proptest::prelude::*;
    use std::{
        collections::BTreeMap,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering::Relaxed},
        },
    };

    const MIB: usize = 1 << 20;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl ArcWake for Woken {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.store(true, Relaxed);
        }
    }

    #[test]
    fn who_would_read_waits_while_too_much_is_in_hand_and_then_each_has_its_turn() {
        let (mut room, now) = (Room::default(), Instant::now());
        let woken: Vec<Arc<Woken>> = (0..7).map(|_| Arc::default()).collect();
        let asks =
            |room: &mut Room, id: usize| room.asks(id as u64, &futures::task::waker(Arc::clone(&woken[id])));
        let is_woken = || -> Vec<usize> { (0..7).filter(|id| woken[*id].0.swap(false, Relaxed)).collect() };
        room.comes(MAX_IN_HAND, now);
        assert_eq!(asks(&mut room, 0), Reading::Free);
        room.comes(1, now);
        for id in [3, 1, 2, 0, 5, 4, 3, 3] {
            assert_eq!(asks(&mut room, id), Reading::Waits);
        }
        assert!(is_woken().is_empty());
        room.goes(1, now);
        // The first four, in the order in which they came; nobody before the others.
        assert_eq!(is_woken(), [0, 1, 2, 3]);
        assert_eq!(asks(&mut room, 3), Reading::Turn);
        assert_eq!(asks(&mut room, 6), Reading::Waits);
        room.ends(3);
        assert_eq!(is_woken(), [5]);
        // Whoever had its turn is behind the others.
        assert_eq!(asks(&mut room, 3), Reading::Waits);
        room.ends(1);
        assert_eq!(is_woken(), [4]);
        // Full again: turns that began go on to their ends, no other begins.
        room.comes(MIB, now);
        room.ends(2);
        assert!(is_woken().is_empty());
        assert_eq!(asks(&mut room, 0), Reading::Turn);
        room.goes(MIB, now);
        assert_eq!(is_woken(), [6]);
        // A stream that is gone takes no turn, and leaves none behind.
        room.ends(3);
        [0, 4, 5, 6].into_iter().for_each(|id| room.ends(id));
        assert_eq!(room.all(), (MAX_IN_HAND, 0, 0));
        assert_eq!(asks(&mut room, 1), Reading::Free);
    }

    #[test]
    fn the_clock_stands_still_while_there_is_no_room() {
        let (mut room, start) = (Room::default(), Instant::now());
        let second = |n| start + Duration::from_secs(n);
        room.comes(40 * MIB, second(1));
        room.comes(MIB, second(2));
        assert_eq!(room.clock(second(5)), second(1));
        room.goes(4 * MIB, second(6));
        assert_eq!(room.clock(second(7)), second(1));
        room.goes(5 * MIB, second(11));
        assert_eq!(room.clock(second(12)), second(2));
        room.comes(5 * MIB, second(13));
        assert_eq!(room.clock(second(14)), second(3));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Comes(usize),
        /// The n-th of those in hand.
        Handled(usize),
        Asks(u64),
        /// A turn ends, or the stream does.
        Ends(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0usize..12 * MIB).prop_map(Step::Comes),
            any::<usize>().prop_map(Step::Handled),
            (0u64..12).prop_map(Step::Asks),
            (0u64..12).prop_map(Step::Asks),
            (0u64..12).prop_map(Step::Ends),
        ]
    }

    proptest! {
        #[test]
        fn the_sum_is_the_sum_and_all_who_wait_have_their_turn(steps in prop::collection::vec(step(), 1..200)) {
            let (mut room, now) = (Room::default(), Instant::now());
            let mut in_hand: Vec<usize> = Vec::new();
            // Streams that were told to wait, and what wakes them.
            let mut told: BTreeMap<u64, Arc<Woken>> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Comes(bytes) => {
                        in_hand.push(bytes);
                        room.comes(bytes, now);
                    }
                    Step::Handled(n) if !in_hand.is_empty() => {
                        let n = n % in_hand.len();
                        room.goes(in_hand.swap_remove(n), now);
                    }
                    Step::Handled(_) => {}
                    Step::Asks(id) => {
                        let woken = Arc::<Woken>::default();
                        let was_woken = told.get(&id).is_some_and(|woken| woken.0.load(Relaxed));
                        let reading = room.asks(id, &futures::task::waker(Arc::clone(&woken)));
                        prop_assert!(!was_woken || reading == Reading::Turn);
                        prop_assert!(reading != Reading::Free || in_hand.iter().sum::<usize>() <= MAX_IN_HAND);
                        match reading {
                            Reading::Waits => drop(told.insert(id, woken)),
                            _ => drop(told.remove(&id)),
                        }
                    }
                    Step::Ends(id) => {
                        told.remove(&id);
                        room.ends(id);
                    }
                }
                let (bytes, waiting, turns) = room.all();
                prop_assert_eq!(bytes, in_hand.iter().sum::<usize>());
                prop_assert!(turns <= TURNS);
                let asleep = told.values().filter(|woken| !woken.0.load(Relaxed)).count();
                prop_assert_eq!(waiting, asleep, "who waits is asleep, and who is asleep waits");
                prop_assert!(waiting == 0 || bytes > MAX_IN_HAND || turns == TURNS);
            }
            // The host goes on, and whoever is awake reads: all have their turn, none more often than others before.
            in_hand.drain(..).for_each(|bytes| room.goes(bytes, now));
            for id in 0..12 {
                if room.turns.contains(&id) && !told.contains_key(&id) {
                    room.ends(id);
                }
            }
            for _ in 0..12 {
                let awake: Vec<u64> = told
                    .iter().filter(|(_, woken)| woken.0.load(Relaxed)).map(|(id, _)| *id).collect();
                for id in awake {
                    prop_assert_eq!(room.asks(id, Waker::noop()), Reading::Turn);
                    told.remove(&id);
                    room.ends(id);
                }
            }
            prop_assert!(told.is_empty());
            prop_assert_eq!(room.all(), (0, 0, 0));
        }
    }
}
