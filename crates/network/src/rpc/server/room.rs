//! Memory for responses: a proof or block is read into it, written, and its room given back.

use libp2p::PeerId;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit: small enough for small proofs to take little, large enough for permits to fit their type.
const UNIT: usize = 1024;

/// Room for what is being written to peers. First come, first served.
#[derive(Clone)]
pub(super) struct Room {
    units: Arc<Semaphore>,
    total: u32,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let total = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX / 2);
        Self {
            units: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits for room for `most` bytes, or for all there is where that is less.
    pub(super) async fn take(&self, most: usize) -> Taken {
        let units = u32::try_from(most.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .clamp(1, self.total);
        // The semaphore is never closed.
        Taken(Arc::clone(&self.units).acquire_many_owned(units).await.ok())
    }
}

impl Room {
    /// Room for `most` bytes, if at least half of all is free beside it: what is read ahead takes none from who waits.
    pub(super) fn spare(&self, most: usize) -> Option<Taken> {
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
        let room = Room::new(10 * UNIT);
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
        assert!(room.take(5 * UNIT).now_or_never().is_some());
        drop((ahead, second));
        // More than there is: all of it.
        assert!(room.take(100 * UNIT).now_or_never().is_some());
    }
}
