//! Room that gossipsub keeps for the largest message a stream has brought. A state machine; time is given.
//!
//! What reads a stream there gathers a message in one buffer and gives none of it back while the stream is there: 12 MiB
//! for whoever has once brought an RPC of the largest size, be there nothing in it. Nothing but the stream's end frees it.

use libp2p::PeerId;
use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Waker,
    time::Instant,
};

/// Bytes that may be kept over all streams: for 15 peers that bring proofs of 4 MiB, 63 that bring 1 MiB (a message is a
/// little larger than its proof), or five of the largest RPCs. With 96 MiB the memory of a node under attack was 399 of the
/// 400 MiB that it may have (`testnet/abuse`). Beyond it streams end, which is no fault: those with the
/// largest room first, and of rooms of as many MiB (`CLASS`) the one that was of no use for longest. By its size and not
/// by how long it lies idle: an honest peer that brought 4 MiB a slot ago would go before an attacker that has just used
/// 12. Peers of the proofs' meshes go last, whatever they hold: what they bring next is needed. They are three at most, and
/// peers that this node dialled and that graft it until the next heartbeat prunes them; the bound holds for them too.
///
/// What such a peer says next may be lost (gossip brings it by another way), and those that would open no other stream are
/// disconnected (`Ended`): of a hundred peers that bring 4 MiB in turns, three a slot, each once in seven minutes.
pub(super) const MAX_KEPT: usize = 64 << 20;
/// Rooms of as many of these are alike: of a few bytes more nobody is worse.
const CLASS: usize = 1 << 20;

/// Told to a stream that is to end.
pub(super) type Ends = Arc<AtomicBool>;

#[derive(Default)]
pub(super) struct Kept {
    streams: HashMap<u64, Room>,
    bytes: usize,
    /// Peers of the proofs' meshes.
    mesh: HashSet<PeerId>,
}

struct Room {
    peer: PeerId,
    bytes: usize,
    /// When a message last needed half of it.
    used: Instant,
    reader: Waker,
    ends: Ends,
}

impl Kept {
    /// A stream has brought a message of so many bytes.
    pub(super) fn brought(
        &mut self,
        id: u64,
        peer: PeerId,
        bytes: usize,
        reader: &Waker,
        ends: &Ends,
        now: Instant,
    ) {
        let room = self.streams.entry(id).or_insert_with(|| Room {
            peer,
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
            let all = self.streams.iter();
            let most = all.max_by_key(|(id, room)| {
                let is_outside = !self.mesh.contains(&room.peer);
                (is_outside, room.bytes.div_ceil(CLASS), Reverse(room.used), **id)
            });
            let Some(room) = most.map(|(id, _)| *id).and_then(|id| self.take(id)) else {
                break;
            };
            room.ends.store(true, Relaxed);
            room.reader.wake();
        }
    }

    /// Who is in the proofs' meshes now.
    pub(super) fn meshed(&mut self, mesh: HashSet<PeerId>) {
        self.mesh = mesh;
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

    fn peers(n: usize) -> Vec<PeerId> {
        (0..n).map(|_| PeerId::random()).collect()
    }

    #[test]
    fn the_largest_room_goes_first_and_of_equals_what_was_of_no_use_for_longest() {
        let (mut kept, start, peers) = (Kept::default(), Instant::now(), peers(20));
        let ends: Vec<Ends> = (0..20).map(|_| Ends::default()).collect();
        let brought = |kept: &mut Kept, id: u64, kib: usize, second| {
            let (peer, now) = (peers[id as usize], start + Duration::from_secs(second));
            kept.brought(id, peer, kib << 10, Waker::noop(), &ends[id as usize], now);
            let ended: Vec<u64> = (0..20)
                .filter(|id| ends[*id as usize].swap(false, Relaxed))
                .collect();
            (ended, kept.bytes >> 10)
        };
        // Neighbours that brought 4 and 1 MiB a slot ago, and others that bring 11 MiB and go on.
        assert_eq!(brought(&mut kept, 0, 4096, 0), (vec![], 4096));
        assert_eq!(brought(&mut kept, 1, 1024, 0), (vec![], 5120));
        for id in 2..7 {
            assert_eq!(
                brought(&mut kept, id, 11_000, id),
                (vec![], 5120 + 11_000 * (id as usize - 1))
            );
        }
        // Half and more is a use of the room, less is none.
        assert_eq!(brought(&mut kept, 2, 6000, 11), (vec![], 60_120));
        assert_eq!(brought(&mut kept, 3, 5000, 11), (vec![], 60_120));
        assert_eq!(brought(&mut kept, 10, 11_000, 12), (vec![3], 60_120));
        // A few bytes more are no larger room.
        assert_eq!(brought(&mut kept, 11, 11_001, 13), (vec![4], 60_121));
        // The largest goes though it came just now.
        assert_eq!(brought(&mut kept, 12, 11_980, 14), (vec![12], 60_121));
        // The mesh goes last: what is smaller goes before it.
        kept.meshed((5..12).map(|id| peers[id]).collect());
        assert_eq!(brought(&mut kept, 13, 11_000, 15), (vec![2], 60_121));
        assert_eq!(brought(&mut kept, 14, 4096, 16), (vec![], 64_217));
        assert_eq!(brought(&mut kept, 15, 9216, 16), (vec![13], 62_433));
        assert_eq!(brought(&mut kept, 16, 5120, 17), (vec![15], 58_337));
        assert_eq!(brought(&mut kept, 17, 6144, 17), (vec![], 64_481));
        assert_eq!(brought(&mut kept, 18, 2048, 17), (vec![17], 60_385));
        // And the bound holds for it too.
        for id in [0, 1, 14, 16, 18] {
            kept.gone(id);
        }
        kept.meshed(peers.iter().copied().collect());
        assert_eq!(brought(&mut kept, 11, 11_980, 18), (vec![], 44_980));
        assert_eq!(brought(&mut kept, 18, 11_000, 18), (vec![], 55_980));
        assert_eq!(brought(&mut kept, 19, 11_000, 18), (vec![11], 55_000));
        assert_eq!(kept.all(), (55_000 << 10, 5));
    }

    #[test]
    fn as_many_honest_peers_as_are_told_fit() {
        for (mib, fits) in [(4, 15), (1, 63)] {
            let (mut kept, now, ends) = (Kept::default(), Instant::now(), Ends::default());
            let mut brought = |id: u64| {
                let bytes = mib * MIB + 200;
                kept.brought(id, PeerId::random(), bytes, Waker::noop(), &ends, now);
                !ends.load(Relaxed)
            };
            assert!((0..fits).all(&mut brought), "{mib} MiB");
            assert!(!brought(fits), "{mib} MiB");
        }
    }

    proptest! {
        #[test]
        fn no_more_is_kept_than_may_be_and_the_largest_outside_the_mesh_goes(
            steps in prop::collection::vec((0u64..30, 0usize..12 * MIB, 0u64..3000, 0..10), 1..100),
            mesh in prop::collection::hash_set(0u64..30, 0..12),
        ) {
            let (mut kept, start, peers) = (Kept::default(), Instant::now(), peers(30));
            kept.meshed(mesh.iter().map(|id| peers[*id as usize]).collect());
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
                let (ends, peer) = (Ends::default(), peers[id as usize]);
                kept.brought(id, peer, bytes, Waker::noop(), &ends, start + Duration::from_millis(now));
                let goes = |(id, (bytes, used)): &(u64, (usize, u64))| {
                    (!mesh.contains(id), bytes.div_ceil(MIB), now - used)
                };
                let (left, gone): (Vec<_>, Vec<_>) =
                    model.iter().map(|(id, one)| (*id, *one)).partition(|(id, _)| kept.streams.contains_key(id));
                let first = left.iter().map(goes).max();
                for one in gone {
                    prop_assert!(Some(goes(&one)) >= first);
                    model.remove(&one.0);
                }
                let sum: usize = model.values().map(|(bytes, _)| bytes).sum();
                prop_assert_eq!(kept.all(), (sum, model.len()));
                prop_assert!(sum <= MAX_KEPT);
            }
        }
    }
}
