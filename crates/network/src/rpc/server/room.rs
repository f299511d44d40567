//! Memory for responses: a proof or block is read into it, written, and its room given back.

use crate::bounded;
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit: small enough for small proofs to take little, large enough for permits to fit their type.
const UNIT: usize = 1024;

/// The slow readers' part of a room: one in so many.
const SLOW_PART: usize = 4;
/// A chunk may take this long, whatever its size.
const PROMPT_WITHIN: Duration = Duration::from_secs(1);
/// And as long as so many bytes a second need: 8 Mbit/s.
const PROMPT_RATE: f64 = 1024.0 * 1024.0;
/// How long a peer is a slow reader after its last slow chunk: many times what one chunk may take, or a few dozen that
/// take turns could hold the prompt ones' part.
const SLOW_MEMORY: Duration = Duration::from_secs(600);
/// Slow readers remembered; beyond them the one forgotten next goes.
const MAX_SLOW_READERS: usize = 1024;

/// Whether a peer that took so long for a chunk held its room for longer than others should wait.
pub(super) fn is_slow(took: Duration, bytes: usize) -> bool {
    took > PROMPT_WITHIN + Duration::from_secs_f64(bytes as f64 / PROMPT_RATE)
}

/// Peers that were slow to take a chunk lately. It is no fault: links are slow, and over yamux a peer that wants no more
/// cannot say so. But what they hold, others wait for, so they wait for each other alone.
#[derive(Default)]
pub(super) struct SlowReaders {
    until: Mutex<HashMap<PeerId, Instant>>,
}

impl SlowReaders {
    /// A peer took a chunk slowly.
    pub(super) fn note(&self, peer: PeerId, now: Instant) {
        let until = now + SLOW_MEMORY;
        bounded::insert(&mut self.until.lock(), MAX_SLOW_READERS, peer, until, |until| {
            *until
        });
    }

    /// Whether a peer is one of them.
    pub(super) fn contains(&self, peer: &PeerId, now: Instant) -> bool {
        self.until.lock().get(peer).is_some_and(|until| *until > now)
    }
}

/// Room for what is being written to peers, in two parts: slow readers have one of their own. First come, first served
/// in each.
#[derive(Clone)]
pub(super) struct Room {
    prompt: Part,
    slow: Part,
}

#[derive(Clone)]
struct Part {
    units: Arc<Semaphore>,
    total: u32,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let slow = bytes / SLOW_PART;
        Self {
            prompt: Part::new(bytes - slow),
            slow: Part::new(slow),
        }
    }

    /// Waits for room for `most` bytes, or for all there is where that is less: of the slow readers' part for one of
    /// them.
    pub(super) async fn take(&self, most: usize, slow: bool) -> Taken {
        let part = if slow { &self.slow } else { &self.prompt };
        part.take(most).await
    }

    /// Room of the prompt readers' part to read ahead into, where there is plenty.
    pub(super) fn spare(&self, most: usize) -> Option<Taken> {
        self.prompt.spare(most)
    }

    /// Whether at least half of the prompt readers' part is free.
    pub(super) fn is_plenty(&self) -> bool {
        self.prompt.is_plenty()
    }
}

impl Part {
    fn new(bytes: usize) -> Self {
        let total = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX / 2);
        Self {
            units: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    async fn take(&self, most: usize) -> Taken {
        let units = u32::try_from(most.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .clamp(1, self.total);
        // The semaphore is never closed.
        Taken(Arc::clone(&self.units).acquire_many_owned(units).await.ok())
    }
}

impl Part {
    fn is_plenty(&self) -> bool {
        self.units.available_permits() >= self.total as usize / 2
    }

    /// Room for `most` bytes, if at least half of all is free beside it: what is read ahead takes none from who waits.
    fn spare(&self, most: usize) -> Option<Taken> {
        let units = u32::try_from(most.div_ceil(UNIT)).ok()?.max(1);
        let needed = (self.total / 2).checked_add(units)? as usize;
        if self.units.available_permits() < needed {
            return None;
        }
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        Some(Taken(Some(permit)))
    }
}

/// Room taken; given back when dropped.
pub(super) struct Taken(Option<OwnedSemaphorePermit>);

impl Taken {
    /// Gives back what is not needed after all.
    pub(super) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let needed = bytes.div_ceil(UNIT);
            if let Some(excess) = permit.num_permits().checked_sub(needed) {
                drop(permit.split(excess));
            }
        }
    }
}

/// Each peer's share: one place at a time, over all its streams.
#[derive(Default)]
pub(super) struct Shares {
    /// Of peers that hold a place or wait for one.
    peers: Mutex<HashMap<PeerId, Weak<Semaphore>>>,
}

/// A peer's place; given back when dropped.
pub(super) struct Share {
    _place: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// Waits for the peer's place.
    pub(super) async fn take(&self, peer: &PeerId) -> Share {
        let places = {
            let mut peers = self.peers.lock();
            match peers.get(peer).and_then(Weak::upgrade) {
                Some(places) => places,
                None => {
                    peers.retain(|_, places| places.strong_count() > 0);
                    let places = Arc::new(Semaphore::new(1));
                    peers.insert(*peer, Arc::downgrade(&places));
                    places
                }
            }
        };
        // The semaphore is never closed.
        Share {
            _place: places.acquire_owned().await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn each_peer_has_one_place() {
        let shares = Shares::default();
        let (one, two) = (PeerId::random(), PeerId::random());
        let first = shares.take(&one).await;
        let mut second = Box::pin(shares.take(&one));
        assert!((&mut second).now_or_never().is_none());
        assert!(shares.take(&two).now_or_never().is_some());
        drop(first);
        let second = (&mut second).now_or_never().unwrap();
        assert!(shares.take(&one).now_or_never().is_none());
        drop(second);
        let _other = shares.take(&two).await;
        assert_eq!(shares.peers.lock().len(), 1, "what nobody holds is forgotten");
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_for_it() {
        let room = Part::new(10 * UNIT);
        let mut first = room.take(8 * UNIT).await;
        let mut second = Box::pin(room.take(4 * UNIT));
        assert!((&mut second).now_or_never().is_none());
        first.shrink(6 * UNIT);
        let second = (&mut second).now_or_never().unwrap();
        assert!(room.take(1).now_or_never().is_none());
        drop((first, second));
        // What is read ahead leaves half of it.
        assert!(room.spare(6 * UNIT).is_none());
        let ahead = room.spare(3 * UNIT).unwrap();
        let second = room.spare(2 * UNIT).unwrap();
        assert!(room.spare(1).is_none());
        assert!(room.is_plenty(), "what is kept may stay");
        let third = room.take(5 * UNIT).now_or_never().unwrap();
        assert!(!room.is_plenty());
        drop((ahead, second, third));
        // More than there is: all of it.
        assert!(room.take(100 * UNIT).now_or_never().is_some());
    }

    /// However many slow readers there are: the others find room.
    #[tokio::test]
    async fn slow_readers_wait_for_each_other_alone() {
        let (room, readers, now) = (Room::new(48 * UNIT), SlowReaders::default(), Instant::now());
        let slow: Vec<PeerId> = (0..11).map(|_| PeerId::random()).collect();
        for peer in &slow {
            assert!(!readers.contains(peer, now), "nobody is before it was");
            readers.note(*peer, now);
        }
        let take = |peer: &PeerId| {
            let is_slow = readers.contains(peer, now);
            room.take(4 * UNIT, is_slow).now_or_never()
        };
        let held: Vec<Taken> = slow.iter().filter_map(take).collect();
        assert_eq!(held.len(), 3);
        let prompt: Vec<Taken> = (0..11).filter_map(|_| take(&PeerId::random())).collect();
        assert_eq!(prompt.len(), 9);
        assert!(readers.contains(&slow[0], now + SLOW_MEMORY - Duration::from_millis(1)));
        assert!(!readers.contains(&slow[0], now + SLOW_MEMORY));
        for _ in 0..MAX_SLOW_READERS {
            readers.note(PeerId::random(), now + Duration::from_secs(1));
        }
        assert_eq!(readers.until.lock().len(), MAX_SLOW_READERS);
        assert!(!readers.contains(&slow[0], now), "the oldest went first");
    }

    #[test]
    fn slow_is_what_holds_room_for_longer_than_a_common_link() {
        for (seconds, mebibytes, slow) in [
            (1, 0, false),
            (2, 0, true),
            (4, 4, false),
            (6, 4, true),
            (19, 4, true),
        ] {
            let took = Duration::from_secs(seconds);
            assert_eq!(
                is_slow(took, mebibytes << 20),
                slow,
                "{seconds} s for {mebibytes} MiB"
            );
        }
    }
}
