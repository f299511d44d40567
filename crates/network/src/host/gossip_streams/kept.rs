//! Room that gossipsub keeps for the largest message a stream has brought. A state machine; time is given.
//!
//! What reads a stream there gathers a message in one buffer and gives none of it back while the stream is there: 12 MiB
//! for whoever has once brought an RPC of the largest size, be there nothing in it. Nothing but the stream's end frees it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Waker,
    time::Instant,
};

/// Bytes that may be kept over all streams: for sixteen peers that bring proofs of 4 MiB, or 64 of 1 MiB; a proofs' mesh is
/// three wide. Beyond it streams end, as if their peers had closed them, those first whose room was of no use for longest,
/// weighted by its size. It is no fault. Peers find out with what they say next, which is lost where they do not look before
/// they write (gossip brings it by another way), open another stream, and connect anew every fourth time
/// (`STREAMS_PER_CONNECTION`): among a hundred peers that bring 4 MiB in turns, three a slot, one in 26 minutes.
pub(super) const MAX_KEPT: usize = 64 << 20;

/// Told to a stream that is to end.
pub(super) type Ends = Arc<AtomicBool>;

#[derive(Default)]
pub(super) struct Kept {
    streams: HashMap<u64, Room>,
    bytes: usize,
}

struct Room {
    bytes: usize,
    /// When a message last needed half of it.
    used: Instant,
    reader: Waker,
    ends: Ends,
}

impl Kept {
    /// A stream has brought a message of so many bytes.
    pub(super) fn brought(&mut self, id: u64, bytes: usize, reader: &Waker, ends: &Ends, now: Instant) {
        let room = self.streams.entry(id).or_insert_with(|| Room {
            bytes: 0,
            used: now,
            reader: reader.clone(),
            ends: Arc::clone(ends),
        });
        room.reader.clone_from(reader);
        if bytes >= room.bytes / 2 {
            room.used = now;
        }
        if bytes > room.bytes {
            self.bytes += bytes - room.bytes;
            room.bytes = bytes;
        }
        while self.bytes > MAX_KEPT {
            let useless = |room: &Room| {
                let idle = now.saturating_duration_since(room.used);
                (room.bytes as u128 * idle.as_micros(), room.bytes)
            };
            let most = self.streams.iter().max_by_key(|(id, room)| (useless(room), **id));
            let Some(room) = most.map(|(id, _)| *id).and_then(|id| self.take(id)) else {
                break;
            };
            room.ends.store(true, Relaxed);
            room.reader.wake();
        }
    }

    /// The stream is read by another task now.
    pub(super) fn read_by(&mut self, id: u64, reader: &Waker) {
        if let Some(room) = self.streams.get_mut(&id) {
            room.reader.clone_from(reader);
        }
    }

    fn take(&mut self, id: u64) -> Option<Room> {
        let room = self.streams.remove(&id)?;
        self.bytes -= room.bytes;
        Some(room)
    }

    /// A stream ended.
    pub(super) fn gone(&mut self, id: u64) {
        self.take(id);
    }

    /// Bytes kept, and for how many streams.
    #[cfg(test)]
    pub(super) fn all(&self) -> (usize, usize) {
        (self.bytes, self.streams.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, time::Duration};

    const MIB: usize = 1 << 20;

    #[test]
    fn what_was_of_no_use_for_longest_goes_when_too_much_is_kept() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        let ends: Vec<Ends> = (0..10).map(|_| Ends::default()).collect();
        let mut brought = |id: u64, mib: usize, second| {
            let now = start + Duration::from_secs(second);
            kept.brought(id, mib * MIB, Waker::noop(), &ends[id as usize], now);
            let ended: Vec<u64> = (0..10)
                .filter(|id| ends[*id as usize].swap(false, Relaxed))
                .collect();
            (ended, kept.bytes / MIB)
        };
        // A neighbour that brings 4 MiB every few seconds, a small one long ago, and others that bring 11 MiB once.
        assert_eq!(brought(0, 4, 0), (vec![], 4));
        assert_eq!(brought(1, 1, 0), (vec![], 5));
        for id in 2..7 {
            assert_eq!(brought(id, 11, id), (vec![], 5 + 11 * (id as usize - 1)));
        }
        assert_eq!(brought(0, 3, 10), (vec![], 60), "it keeps what it had");
        // 11 MiB for 9 s, though it has brought 5 MiB since, which is less than half.
        assert_eq!(brought(2, 5, 11), (vec![], 60));
        assert_eq!(brought(7, 11, 11), (vec![2], 60));
        // Half and more is a use of it: the next one goes.
        assert_eq!(brought(3, 6, 12), (vec![], 60));
        assert_eq!(brought(8, 11, 12), (vec![4], 60));
        kept.gone(8);
        assert_eq!(kept.all(), (49 * MIB, 6));
    }

    proptest! {
        #[test]
        fn no_more_is_kept_than_may_be_and_the_most_useless_goes(
            steps in prop::collection::vec((0u64..30, 0usize..12 * MIB, 0u64..3000, 0..10), 1..100),
        ) {
            let (mut kept, start) = (Kept::default(), Instant::now());
            // What each keeps, and when it last was of use.
            let mut model: BTreeMap<u64, (usize, u64)> = BTreeMap::new();
            let mut now = 0;
            for (id, bytes, passed, gone) in steps {
                now += passed;
                if gone == 0 {
                    kept.gone(id);
                    model.remove(&id);
                }
                let one = model.entry(id).or_insert((0, now));
                if bytes * 2 >= one.0 {
                    one.1 = now;
                }
                one.0 = one.0.max(bytes);
                let ends = Ends::default();
                kept.brought(id, bytes, Waker::noop(), &ends, start + Duration::from_millis(now));
                let useless = |(bytes, used): &(usize, u64)| *bytes as u128 * u128::from(now - used);
                let (left, gone): (Vec<_>, Vec<_>) =
                    model.iter().map(|(id, one)| (*id, *one)).partition(|(id, _)| kept.streams.contains_key(id));
                let most = left.iter().map(|(_, one)| useless(one)).max().unwrap_or(0);
                for (id, one) in gone {
                    prop_assert!(useless(&one) >= most);
                    model.remove(&id);
                }
                let sum: usize = model.values().map(|(bytes, _)| bytes).sum();
                prop_assert_eq!(kept.all(), (sum, model.len()));
                prop_assert!(sum <= MAX_KEPT);
            }
        }
    }
}
