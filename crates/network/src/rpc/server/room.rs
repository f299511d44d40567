//! Memory for responses: a small place for each peer, and large ones where there is room to spare.
//!
//! What a peer takes slowly stays in memory for as long as that lasts, and no new peer says how fast it will be. So nobody
//! waits for what another one holds: a chunk is written in sections of a few frames, and there is a place for a section
//! (`Room::small`) for each peer that may be connected. Where a large place is free, a whole proof or block stays in it and
//! is read once. Without one it is read again for each section, a few at a time over all peers (`Room::pass`): that is
//! waited for, but ends as fast as disk or beacon node are, whatever the peers do. Of a block, whose bytes the beacon
//! node's blocks keep (`BlockSource::block_at_hand`), that is rare; then what is left of a chunk goes before what has not
//! begun where a large place is free for that moment (`Room::soon`). No stream is cut short for another's sake.

use crate::{bounded, framing::PayloadEncoder};
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
/// What a section has beside the SSZ bytes of its frames: result, context bytes, length prefix, stream identifier, and what
/// is in front of each frame.
const SECTION_EXTRA: usize = 1024;

/// A chunk may take this long, whatever its size.
const PROMPT_WITHIN: Duration = Duration::from_secs(1);
/// And as long as so many bytes a second need: 8 Mbit/s.
const PROMPT_RATE: f64 = 1024.0 * 1024.0;
/// How long a peer is a slow reader after its last slow chunk: many times what one chunk may take, or a few that take turns
/// could keep the large places.
const SLOW_MEMORY: Duration = Duration::from_secs(600);
/// Slow readers remembered; beyond them the one forgotten next goes.
const MAX_SLOW_READERS: usize = 1024;

/// Whether a peer that took so long for a chunk held a place for longer than large ones should be.
pub(super) fn is_slow(took: Duration, bytes: usize) -> bool {
    took > PROMPT_WITHIN + Duration::from_secs_f64(bytes as f64 / PROMPT_RATE)
}

/// Peers that were slow to take a chunk lately. It is no fault: links are slow, and over yamux a peer that wants no more
/// cannot say so. They get no large places.
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

/// How a room is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Division {
    /// Small places: one for each peer that may be connected.
    pub(super) places: usize,
    /// SSZ bytes of a section: whole frames.
    pub(super) section: usize,
    /// How many read or fetch at once, beside the large places.
    pub(super) passes: usize,
    /// Bytes of the large places together.
    pub(super) large: usize,
}

impl Division {
    /// Divides so many bytes: `passes` that take `pass_bytes` each; small places for `peers` of at most `frames`; large ones
    /// of what is left. Small places have a frame at least, and take more than there is where peers are very many.
    pub(super) fn new(bytes: usize, peers: usize, frames: usize, passes: usize, pass_bytes: usize) -> Self {
        let places = peers.max(1);
        let left = bytes.saturating_sub(passes.saturating_mul(pass_bytes));
        // A quarter is for large places, so that those who wait for nothing are as fast as they can be.
        let of_each = (left - left / 4) / places;
        let frames =
            (of_each.saturating_sub(SECTION_EXTRA) / PayloadEncoder::FRAME_LEN).clamp(1, frames.max(1));
        let section = frames * PayloadEncoder::FRAME_LEN;
        Self {
            places,
            section,
            passes,
            large: left.saturating_sub(places.saturating_mul(section + SECTION_EXTRA)),
        }
    }
}

/// Room for what is being written to peers. Each has a place at a time (`Shares`).
#[derive(Clone)]
pub(super) struct Room {
    section: usize,
    small: Arc<Semaphore>,
    passes: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// Units of all large places.
    large_total: usize,
}

/// A small place; given back when dropped.
pub(super) struct Small {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Leave to read or fetch; given back when dropped.
pub(super) struct Pass {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Leave to fetch what is left of a chunk; given back when dropped.
pub(super) enum Soon {
    Large { _place: Taken },
    Pass { _pass: Pass },
}

impl Room {
    pub(super) fn new(division: Division) -> Self {
        let large_total = (division.large / UNIT).min(Semaphore::MAX_PERMITS);
        Self {
            section: division.section,
            small: Arc::new(Semaphore::new(division.places.min(Semaphore::MAX_PERMITS))),
            passes: Arc::new(Semaphore::new(division.passes.max(1))),
            large: Arc::new(Semaphore::new(large_total)),
            large_total,
        }
    }

    /// SSZ bytes of a section: what a small place is for.
    pub(super) const fn section(&self) -> usize {
        self.section
    }

    /// A peer's small place. There is one for each, so nobody waits unless there are more peers than there may be.
    pub(super) async fn small(&self) -> Small {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.small).acquire_owned().await;
        Small { _permit: permit.ok() }
    }

    /// Waits for leave to read or fetch. Never kept while a peer takes its time.
    pub(super) async fn pass(&self) -> Pass {
        let permit = Arc::clone(&self.passes).acquire_owned().await;
        Pass { _permit: permit.ok() }
    }

    /// Leave to read or fetch `most` bytes of a chunk that has begun: a large place, or a pass. Never kept while a peer takes
    /// its time.
    pub(super) async fn soon(&self, most: usize) -> Soon {
        match self.large(most) {
            Some(place) => Soon::Large { _place: place },
            None => Soon::Pass {
                _pass: self.pass().await,
            },
        }
    }

    /// A large place for `most` bytes, if there is one.
    pub(super) fn large(&self, most: usize) -> Option<Taken> {
        let units = u32::try_from(most.div_ceil(UNIT)).ok()?.max(1);
        let permit = Arc::clone(&self.large).try_acquire_many_owned(units).ok()?;
        Some(Taken(permit))
    }

    /// A large place to read ahead into, if at least half of all is free beside it: it takes none from who has none yet.
    pub(super) fn spare(&self, most: usize) -> Option<Taken> {
        let needed = (self.large_total / 2).checked_add(most.div_ceil(UNIT))?;
        (self.large.available_permits() >= needed).then(|| self.large(most))?
    }

    /// Whether at least half of the large places is free.
    pub(super) fn is_plenty(&self) -> bool {
        self.large.available_permits() >= self.large_total / 2
    }
}

/// A large place; given back when dropped.
pub(super) struct Taken(OwnedSemaphorePermit);

impl Taken {
    /// Gives back what is not needed after all.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let needed = bytes.div_ceil(UNIT);
        if let Some(excess) = self.0.num_permits().checked_sub(needed) {
            drop(self.0.split(excess));
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
mod tests;
