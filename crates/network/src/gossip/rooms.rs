//! Room for messages that are being judged, and a line for the wanted ones that find none.
//!
//! gossipsub counts a message's id as seen before anybody looks at it: one that is ignored for want of room, no honest
//! peer can bring any more. So what is wanted (`validation`) waits for its room, one message a peer, so that no peer can
//! fill the line alone; what finds no place there either, sync asks for by root a slot later.

use libp2p::PeerId;
use parking_lot::Mutex;
use std::{collections::HashSet, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of unpacked messages that may be with the verifier at once; what waits for its payload is in the verifier's
/// own waiting room, which has its own bounds. gossipsub's cache holds each a second time, packed. What is wanted and
/// what is not have room of their own, so that proofs of payloads that nobody knows take none from those that are waited
/// for.
const MAX_BYTES_WANTED: usize = 32 * 1024 * 1024;
/// See `MAX_BYTES_WANTED`. Beyond it messages are ignored and counted as `overloaded`.
const MAX_BYTES_UNWANTED: usize = 16 * 1024 * 1024;
/// Bytes of wanted messages in line. Beyond it they are `overloaded` too.
const MAX_BYTES_IN_LINE: usize = 16 * 1024 * 1024;
/// The room is kept in units of this many bytes; a message takes at least one, which bounds their number.
const UNIT: usize = 16 * 1024;

/// Room and line. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rooms {
    wanted: Arc<Semaphore>,
    others: Arc<Semaphore>,
    line: Arc<Semaphore>,
    in_line: Arc<Mutex<HashSet<PeerId>>>,
}

/// What there is for a message.
pub(crate) enum Room {
    /// Room, given back when dropped.
    Here(OwnedSemaphorePermit),
    /// A place in line.
    InLine(InLine),
    /// Nothing.
    Full,
}

/// A place in line, left when dropped.
pub(crate) struct InLine {
    rooms: Rooms,
    peer: PeerId,
    units: u32,
    _place: OwnedSemaphorePermit,
}

impl Default for Rooms {
    fn default() -> Self {
        let room = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self {
            wanted: room(MAX_BYTES_WANTED),
            others: room(MAX_BYTES_UNWANTED),
            line: room(MAX_BYTES_IN_LINE),
            in_line: Arc::default(),
        }
    }
}

impl Rooms {
    /// Room for a message of `len` bytes that this peer brought.
    pub(crate) fn take(&self, peer: PeerId, len: usize, is_wanted: bool) -> Room {
        let units = u32::try_from(len / UNIT + 1).unwrap_or(u32::MAX);
        let room = if is_wanted { &self.wanted } else { &self.others };
        if let Ok(permit) = Arc::clone(room).try_acquire_many_owned(units) {
            return Room::Here(permit);
        }
        // What is larger than all the room would wait for ever.
        if !is_wanted || len >= MAX_BYTES_WANTED || self.in_line.lock().contains(&peer) {
            return Room::Full;
        }
        let Ok(place) = Arc::clone(&self.line).try_acquire_many_owned(units) else {
            return Room::Full;
        };
        self.in_line.lock().insert(peer);
        Room::InLine(InLine {
            rooms: self.clone(),
            peer,
            units,
            _place: place,
        })
    }
}

impl InLine {
    /// Waits for room: first come, first served.
    pub(crate) async fn room(self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        Arc::clone(&self.rooms.wanted)
            .acquire_many_owned(self.units)
            .await
            .ok()
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.rooms.in_line.lock().remove(&self.peer);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use futures::FutureExt;

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn what_is_wanted_waits_for_room_one_message_a_peer() {
        let rooms = Rooms::default();
        let (flooder, honest) = (PeerId::random(), PeerId::random());
        let mut here = Vec::new();
        let mut in_line = Vec::new();
        for _ in 0..20 {
            match rooms.take(flooder, 4 * MIB, true) {
                Room::Here(permit) => here.push(permit),
                Room::InLine(place) => in_line.push(place),
                Room::Full => {}
            }
        }
        assert_eq!((here.len(), in_line.len()), (7, 1));
        // What nobody waits for has room of its own, and no line.
        let others = std::iter::repeat_with(|| rooms.take(honest, 4 * MIB, false));
        let others: Vec<Room> = others.take_while(|room| matches!(room, Room::Here(_))).collect();
        assert_eq!(others.len(), 3);
        // The line goes on when there is room, in its order.
        let Room::InLine(second) = rooms.take(honest, 4 * MIB, true) else {
            panic!("no place in line");
        };
        let mut first = Box::pin(in_line.remove(0).room());
        let mut second = Box::pin(second.room());
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        here.pop();
        let first = (&mut first).now_or_never().flatten();
        assert!(first.is_some());
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!((&mut second).now_or_never().flatten().is_some());
        drop(second);
        assert!(rooms.in_line.lock().is_empty());
        assert_eq!(rooms.line.available_permits(), MAX_BYTES_IN_LINE / UNIT);
        // More than there can ever be.
        assert!(matches!(rooms.take(honest, MAX_BYTES_WANTED, true), Room::Full));
    }
}
