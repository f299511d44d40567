//! Room for messages that are being judged, and a line for the wanted ones that find none.
//!
//! gossipsub counts a message's id as seen before anybody looks at it: one that is ignored for want of room, no honest
//! peer can bring any more. So what is wanted (`validation`) waits for its room; who goes first, `places` says. What is
//! turned out of the line, sync asks for by root a slot later.

use super::places::{Claim, Id, Moves, Places};
use assay_types::ProofName;
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Bytes of unpacked messages that may be with the verifier at once; what waits for its payload is in the verifier's
/// own waiting room, which has its own bounds. gossipsub's cache holds each a second time, packed. What is wanted and
/// what is not have room of their own, so that proofs of payloads that nobody knows take none from those that are waited
/// for.
const MAX_BYTES_WANTED: usize = 32 * 1024 * 1024;
/// See `MAX_BYTES_WANTED`. Beyond it messages are ignored and counted as `overloaded`.
const MAX_BYTES_UNWANTED: usize = 16 * 1024 * 1024;
/// Bytes of wanted messages in line. What is turned out is `overloaded` too.
const MAX_BYTES_IN_LINE: usize = 16 * 1024 * 1024;
/// The room is kept in units of this many bytes; a message takes at least one, which bounds their number.
const UNIT: usize = 16 * 1024;

/// Room and line. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rooms {
    wanted: Arc<Mutex<Wanted>>,
    others: Arc<Semaphore>,
}

struct Wanted {
    places: Places,
    /// Who waits to be told: of its place, or, by its end, that there is none.
    waiting: HashMap<Id, oneshot::Sender<Place>>,
}

/// What there is for a message.
pub(crate) enum Room {
    /// Room.
    Here(Permit),
    /// A place in line.
    InLine(InLine),
    /// Nothing.
    Full,
}

/// Room, given back when dropped.
pub(crate) enum Permit {
    /// Of what is wanted.
    Wanted { _place: Place },
    /// Of what is not.
    Other { _units: OwnedSemaphorePermit },
}

/// A wanted message's place, left when dropped.
pub(crate) struct Place {
    rooms: Rooms,
    id: Id,
}

/// A place in line, left when dropped.
pub(crate) struct InLine {
    rooms: Rooms,
    id: Id,
    told: oneshot::Receiver<Place>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            wanted: Arc::new(Mutex::new(Wanted {
                places: Places::new(MAX_BYTES_WANTED / UNIT, MAX_BYTES_IN_LINE / UNIT),
                waiting: HashMap::new(),
            })),
            others: Arc::new(Semaphore::new(MAX_BYTES_UNWANTED / UNIT)),
        }
    }
}

impl Rooms {
    /// Room for a message of `len` bytes that this peer brought; `wanted` is its name where it is wanted.
    pub(crate) fn take(&self, peer: PeerId, len: usize, wanted: Option<ProofName>) -> Room {
        let units = len / UNIT + 1;
        let Some(name) = wanted else {
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            return match Arc::clone(&self.others).try_acquire_many_owned(units) {
                Ok(units) => Room::Here(Permit::Other { _units: units }),
                Err(_) => Room::Full,
            };
        };
        let (tell, mut told) = oneshot::channel();
        let mut its_id = 0;
        self.change(|wanted| {
            let (id, moves) = wanted.places.come(Claim { peer, name, units });
            its_id = id;
            wanted.waiting.insert(id, tell);
            moves
        });
        match told.try_recv() {
            Ok(place) => Room::Here(Permit::Wanted { _place: place }),
            Err(oneshot::error::TryRecvError::Empty) => Room::InLine(InLine {
                rooms: self.clone(),
                id: its_id,
                told,
            }),
            Err(oneshot::error::TryRecvError::Closed) => Room::Full,
        }
    }

    /// Tells everybody what a change means for them.
    fn change(&self, change: impl FnOnce(&mut Wanted) -> Moves) {
        let mut wanted = self.wanted.lock();
        let Moves { let_in, turned_out } = change(&mut wanted);
        let mut untold = Vec::new();
        for id in let_in {
            let rooms = self.clone();
            if let Some(tell) = wanted.waiting.remove(&id) {
                untold.extend(tell.send(Place { rooms, id }).err());
            }
        }
        for id in turned_out {
            wanted.waiting.remove(&id);
        }
        // Who hung up leaves its place at once, which takes the lock.
        drop(wanted);
        drop(untold);
    }
}

impl InLine {
    /// Waits for room; none where others turned it out.
    pub(crate) async fn room(mut self) -> Option<Permit> {
        let place = (&mut self.told).await.ok()?;
        Some(Permit::Wanted { _place: place })
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.rooms.change(|wanted| {
            wanted.waiting.remove(&self.id);
            wanted.places.leave_line(self.id)
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rooms.change(|wanted| wanted.places.leave(self.id));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;
    use assay_types::{Revision, Root};
    use futures::FutureExt;

    const MIB: usize = 1024 * 1024;

    fn named(n: u8) -> Option<ProofName> {
        Some(ProofName {
            revision: Revision::Alpha,
            root: Root::from([n; 32]),
            proof_type: 1,
        })
    }

    #[tokio::test]
    async fn what_is_wanted_waits_for_room_and_others_of_its_name_behind_it() {
        let rooms = Rooms::default();
        let honest = PeerId::random();
        let (mut here, mut in_line, mut full) = (Vec::new(), Vec::new(), 0);
        for n in (1..=4).chain([1; 16]).chain(5..=9) {
            match rooms.take(PeerId::random(), 4 * MIB, named(n)) {
                Room::Here(permit) => here.push(permit),
                Room::InLine(place) => in_line.push((n, place)),
                Room::Full => full += 1,
            }
        }
        // Four names and the first three of the next; of the name that came so often, those in line gave way in the end.
        assert_eq!((here.len(), full), (7, 13));
        assert_eq!(
            in_line.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
            [1, 1, 1, 8, 9]
        );
        // What nobody waits for has room of its own, and no line.
        let others = std::iter::repeat_with(|| rooms.take(honest, 4 * MIB, None));
        let others: Vec<Room> = others.take_while(|room| matches!(room, Room::Here(_))).collect();
        assert_eq!(others.len(), 3);
        // More than there can ever be.
        assert!(matches!(
            rooms.take(honest, MAX_BYTES_WANTED, named(10)),
            Room::Full
        ));

        let mut words: Vec<_> = in_line
            .into_iter()
            .map(|(n, place)| (n, Box::pin(place.room())))
            .collect();
        let mut told = || -> Vec<(u8, bool)> {
            words
                .iter_mut()
                .filter_map(|(n, word)| word.as_mut().now_or_never().map(|permit| (*n, permit.is_some())))
                .collect()
        };
        assert_eq!(told(), [(1, false), (1, false)]);
        drop(here);
        drop(words);
        let wanted = rooms.wanted.lock();
        assert!(wanted.waiting.is_empty());
        assert!(format!("{:?}", wanted.places).contains("taken: 0"));
    }
}
