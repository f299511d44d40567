#![allow(clippy::unwrap_used)]
use super::*;
use crate::framing::PayloadEncoder;
use futures::FutureExt;
use proptest::prelude::*;
use std::{cmp::Reverse, collections::BinaryHeap, future::Future, pin::Pin};

const FRAME: usize = PayloadEncoder::FRAME_LEN;
const MIB: usize = 1 << 20;

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

/// Bytes, peers, most frames, passes and what each takes: frames of a section, and what is left for large places.
#[test]
fn there_is_a_place_for_each_peer_and_the_rest_is_large() {
    let small = |frames| frames * FRAME + SECTION_EXTRA;
    for (bytes, peers, frames, (passes, pass_bytes), section, large) in [
        (48 * MIB, 110, 4, (4, MIB / 2), 4, 46 * MIB - 110 * small(4)),
        (48 * MIB, 110, 2, (2, 10 * MIB), 2, 28 * MIB - 110 * small(2)),
        // More peers, smaller places; a quarter stays for large ones.
        (48 * MIB, 300, 4, (4, MIB / 2), 1, 46 * MIB - 300 * small(1)),
        // Very many: a frame each, whatever that takes.
        (48 * MIB, 1000, 4, (4, MIB / 2), 1, 0),
        (48 * MIB, 1, 4, (0, 0), 4, 48 * MIB - small(4)),
        (1, 0, 0, (1, MIB), 1, 0),
    ] {
        let division = Division::new(bytes, peers, frames, passes, pass_bytes);
        let expected = Division {
            places: peers.max(1),
            section: section * FRAME,
            passes,
            large,
        };
        assert_eq!(division, expected, "{bytes} {peers} {frames}");
        if large > 0 && peers > 1 {
            assert!(large >= bytes / 8, "{bytes} {peers} {frames}");
        }
    }
}

fn room(places: usize, passes: usize, large: usize) -> Room {
    Room::new(Division {
        places,
        section: 4 * FRAME,
        passes,
        large,
    })
}

#[test]
fn large_places_are_there_or_not() {
    let room = room(1, 1, 10 * UNIT);
    let mut first = room.large(8 * UNIT).unwrap();
    assert!(room.large(4 * UNIT).is_none());
    first.shrink(6 * UNIT);
    let second = room.large(4 * UNIT).unwrap();
    assert!(room.large(1).is_none());
    drop((first, second));
    // What is read ahead leaves half of it.
    assert!(room.spare(6 * UNIT).is_none());
    let ahead = room.spare(3 * UNIT).unwrap();
    let second = room.spare(2 * UNIT).unwrap();
    assert!(room.spare(1).is_none());
    assert!(room.is_plenty(), "what is kept may stay");
    let third = room.large(5 * UNIT).unwrap();
    assert!(!room.is_plenty());
    drop((ahead, second, third));
    assert!(room.large(11 * UNIT).is_none());
}

#[test]
fn slow_readers_are_remembered_for_a_while() {
    let (readers, now) = (SlowReaders::default(), Instant::now());
    let peer = PeerId::random();
    assert!(!readers.contains(&peer, now), "nobody is before it was");
    readers.note(peer, now);
    assert!(readers.contains(&peer, now + SLOW_MEMORY - Duration::from_millis(1)));
    assert!(!readers.contains(&peer, now + SLOW_MEMORY));
    for _ in 0..MAX_SLOW_READERS {
        readers.note(PeerId::random(), now + Duration::from_secs(1));
    }
    assert_eq!(readers.until.lock().len(), MAX_SLOW_READERS);
    assert!(!readers.contains(&peer, now), "the oldest went first");
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

/// What a peer holds.
enum Held {
    Small { _small: Small },
    Large(Taken, usize),
    Pass { _pass: Pass },
}

proptest! {
    /// Whoever holds what for however long: no more bytes than there are, and a peer that comes has its place at once.
    #[test]
    fn no_more_is_held_than_there_is_and_each_peer_has_its_place(
        bytes in 0usize..8 * MIB,
        peers in 1usize..12,
        steps in proptest::collection::vec((0usize..12, 0u8..6, 1usize..2 * MIB), 1..200),
    ) {
        const PASS: usize = MIB / 2;
        let division = Division::new(bytes, peers, 4, 2, PASS);
        let room = Room::new(division);
        let mut held: Vec<Option<Held>> = (0..peers).map(|_| None).collect();
        for (who, what, most) in steps {
            let own = &mut held[who % peers];
            match (&mut *own, what) {
                (None, 0 | 1) => {
                    let small = room.small().now_or_never();
                    prop_assert!(small.is_some(), "waits for another peer");
                    *own = small.map(|_small| Held::Small { _small });
                }
                (None, 2) => *own = room.large(most).map(|taken| Held::Large(taken, most)),
                (None, 3) => *own = room.spare(most).map(|taken| Held::Large(taken, most)),
                (None, 4) => *own = room.pass().now_or_never().map(|_pass| Held::Pass { _pass }),
                (Some(Held::Large(taken, size)), 1) => {
                    *size = (*size).min(most);
                    taken.shrink(most);
                }
                _ => *own = None,
            }
            let all: usize = held.iter().flatten().map(|held| match held {
                Held::Small { .. } => division.section + SECTION_EXTRA,
                Held::Large(_, size) => *size,
                Held::Pass { .. } => PASS,
            }).sum();
            // Each peer's smallest place is there in any case.
            let most = bytes.max(peers * (FRAME + SECTION_EXTRA) + 2 * PASS);
            prop_assert!(all <= most, "{all} of {most}");
        }
    }
}

/// How long a proof takes to be read from disk, whole or for a section.
const READ: Duration = Duration::from_millis(10);
/// When a write is given up.
const GIVEN_UP: Duration = Duration::from_secs(20);
const CHUNK: usize = 4 * MIB;

/// A peer that is served chunk after chunk.
struct Reader {
    /// Bytes a second; 0 takes nothing, and comes back as somebody else.
    pace: usize,
    began: Duration,
    written: usize,
    place: Option<(Option<Taken>, Option<Small>)>,
    pass: Option<Pass>,
    /// What each chunk took.
    took: Vec<Duration>,
}

type Waiting = Pin<Box<dyn Future<Output = Pass>>>;

/// Readers and a room, in a time that is told.
struct Simulation {
    room: Room,
    now: Duration,
    readers: Vec<Reader>,
    /// Who goes on when.
    next: BinaryHeap<Reverse<(Duration, usize)>>,
    waiting: Vec<(usize, Waiting)>,
}

impl Simulation {
    fn new(division: Division, paces: impl IntoIterator<Item = usize>) -> Self {
        let readers: Vec<Reader> = paces
            .into_iter()
            .map(|pace| Reader {
                pace,
                began: Duration::ZERO,
                written: 0,
                place: None,
                pass: None,
                took: Vec::new(),
            })
            .collect();
        let next = (0..readers.len()).map(|n| Reverse((Duration::ZERO, n))).collect();
        Self {
            room: Room::new(division),
            now: Duration::ZERO,
            readers,
            next,
            waiting: Vec::new(),
        }
    }

    fn run(&mut self, until: Duration) {
        while let Some(Reverse((now, who))) = self.next.pop().filter(|next| next.0.0 < until) {
            self.now = now;
            self.go_on(who);
            // In the order in which they came.
            self.waiting
                .retain_mut(|(who, waiting)| match waiting.now_or_never() {
                    Some(pass) => {
                        self.readers[*who].pass = Some(pass);
                        self.next.push(Reverse((self.now + READ, *who)));
                        false
                    }
                    None => true,
                });
        }
    }

    fn go_on(&mut self, who: usize) {
        let (reader, room) = (&mut self.readers[who], &self.room);
        let Some((large, _)) = &reader.place else {
            let large = room.large(CHUNK);
            let small = match large {
                Some(_) => None,
                // There is one for everybody: none of these waits for what another has.
                None => Some(room.small().now_or_never().unwrap()),
            };
            reader.began = self.now;
            let reads = large.is_some();
            reader.place = Some((large, small));
            match reads {
                true => self.next.push(Reverse((self.now + READ, who))),
                false => self.wait_for_pass(who),
            }
            return;
        };
        let is_large = large.is_some();
        let part = match is_large {
            true => CHUNK,
            false => room.section(),
        };
        // It was read: now it is written.
        let has_read = reader.pass.take().is_some() || is_large && reader.written == 0;
        if reader.pace == 0 {
            if has_read {
                self.next.push(Reverse((self.now + GIVEN_UP, who)));
                reader.written = CHUNK;
            } else {
                reader.place = None;
                reader.written = 0;
                self.next.push(Reverse((self.now, who)));
            }
            return;
        }
        if has_read {
            reader.written += part;
            let took = Duration::from_secs_f64(part as f64 / reader.pace as f64);
            self.next.push(Reverse((self.now + took, who)));
        } else if reader.written < CHUNK {
            self.wait_for_pass(who);
        } else {
            reader.took.push(self.now - reader.began);
            reader.place = None;
            reader.written = 0;
            self.next.push(Reverse((self.now, who)));
        }
    }

    fn wait_for_pass(&mut self, who: usize) {
        let room = self.room.clone();
        self.waiting
            .push((who, Box::pin(async move { room.pass().await })));
    }
}

/// A hundred that take nothing and come back as others; beside them those that read hardly wait.
#[test]
fn a_hundred_that_take_nothing_hold_up_nobody() {
    const MBIT: usize = 1_000_000 / 8;
    let paces = [100 * MBIT, 4 * MBIT];
    let division = Division::new(48 * MIB, 110, 4, 4, MIB / 2);
    let attackers = std::iter::repeat_n(0, 100);
    // Whoever comes first.
    for paces_last in [true, false] {
        let mut all: Vec<usize> = attackers.clone().collect();
        match paces_last {
            true => all.extend(paces),
            false => all = paces.into_iter().chain(all).collect(),
        }
        let mut simulation = Simulation::new(division, all);
        simulation.run(Duration::from_secs(120));
        for reader in simulation.readers.iter().filter(|reader| reader.pace > 0) {
            let at_its_pace = Duration::from_secs_f64(CHUNK as f64 / reader.pace as f64);
            let chunks = 110 / (at_its_pace + Duration::from_secs(1)).as_secs().max(1);
            assert!(reader.took.len() as u64 >= chunks, "{} chunks", reader.took.len());
            for took in &reader.took {
                assert!(
                    *took < at_its_pace + Duration::from_secs(1),
                    "{took:?} at {}",
                    reader.pace
                );
            }
        }
    }
}
