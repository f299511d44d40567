//! Which of the wanted messages have a place with the verifier, which wait in line, and who goes first.
//!
//! The verifier judges one proof of a payload and type (a name) at a time; others of that name only wait there for their
//! turn. While a slow proof engine takes its time over one, false ones of the same name can hold every place, each from
//! an identity that cost nothing, and proofs of other names, which could be judged at once, find none. So a name's first
//! message may have any place; what comes of the same name beside it has the first half of them only, and goes behind the
//! first of any name. Of equals the one with fewer of its peer's before it in line goes first, then the one that came first.
//! Where the line is too long, the last in that order is turned out, so that no peer fills it alone.
//!
//! Places of peers in the room are not counted: an honest mesh is narrow (`params`), one peer brings all proofs of a slot,
//! and who has many identities is not bounded by it. What one peer brings of many names falsely is judged at once, and
//! the third costs it its word.
//!
//! A state machine: arrivals and departures in, who is let in and who is turned out, out. Sizes are in units.

use assay_types::ProofName;
use libp2p::PeerId;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// Names a message while it has a place or waits for one; rises with arrival.
pub(super) type Id = u64;

/// What a message asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) peer: PeerId,
    pub(super) name: ProofName,
    /// Its size, at least one.
    pub(super) units: usize,
}

/// What an arrival or a departure led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    /// Have a place from now on.
    pub(super) let_in: Vec<Id>,
    /// Have none, and wait no longer.
    pub(super) turned_out: Vec<Id>,
}

/// The places, and the line.
#[derive(Debug)]
pub(super) struct Places {
    size: usize,
    line_size: usize,
    taken: usize,
    held: BTreeMap<Id, Claim>,
    /// How many of each name have a place.
    names: HashMap<ProofName, usize>,
    line: VecDeque<(Id, Claim)>,
    next: Id,
}

/// Where a message stands in line: the least goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Another of its name has a place, or came before it.
    again: bool,
    /// How many its peer has in line that came before it.
    of_peer: usize,
    /// Its index: who came first.
    at: usize,
}

impl Places {
    pub(super) fn new(size: usize, line_size: usize) -> Self {
        Self {
            size,
            line_size,
            taken: 0,
            held: BTreeMap::new(),
            names: HashMap::new(),
            line: VecDeque::new(),
            next: 0,
        }
    }

    /// A message comes: it is let in, waits (where it is in neither list) or is turned out.
    pub(super) fn come(&mut self, claim: Claim) -> (Id, Moves) {
        let id = self.next;
        self.next += 1;
        if claim.units > self.size {
            let turned_out = vec![id];
            return (
                id,
                Moves {
                    let_in: Vec::new(),
                    turned_out,
                },
            );
        }
        self.line.push_back((id, claim));
        let let_in = self.advance();
        let mut turned_out = Vec::new();
        while self.line.iter().map(|(_, claim)| claim.units).sum::<usize>() > self.line_size {
            let last = self.ranks().into_iter().max();
            let Some((id, _)) = last.and_then(|rank| self.line.remove(rank.at)) else {
                break;
            };
            turned_out.push(id);
        }
        (id, Moves { let_in, turned_out })
    }

    /// A message needs its place no longer.
    pub(super) fn leave(&mut self, id: Id) -> Moves {
        let Some(claim) = self.held.remove(&id) else {
            return Moves::default();
        };
        self.taken -= claim.units;
        if let Some(count) = self.names.get_mut(&claim.name) {
            *count -= 1;
            if *count == 0 {
                self.names.remove(&claim.name);
            }
        }
        Moves {
            let_in: self.advance(),
            turned_out: Vec::new(),
        }
    }

    /// A message waits no longer. Whoever waited for it alone is let in.
    pub(super) fn leave_line(&mut self, id: Id) -> Moves {
        self.line.retain(|(waits, _)| *waits != id);
        Moves {
            let_in: self.advance(),
            turned_out: Vec::new(),
        }
    }

    /// Lets in who goes first, for as long as there is a place for it: nobody passes by it to a smaller one.
    fn advance(&mut self) -> Vec<Id> {
        let mut let_in = Vec::new();
        while let Some(first) = self.ranks().into_iter().min() {
            let Some((id, claim)) = self.line.get(first.at).copied() else {
                break;
            };
            let bound = if self.names.contains_key(&claim.name) {
                self.size / 2
            } else {
                self.size
            };
            if self.taken + claim.units > bound {
                break;
            }
            self.line.remove(first.at);
            self.taken += claim.units;
            self.held.insert(id, claim);
            *self.names.entry(claim.name).or_default() += 1;
            let_in.push(id);
        }
        let_in
    }

    fn ranks(&self) -> Vec<Rank> {
        let mut names = HashSet::new();
        let mut peers: HashMap<PeerId, usize> = HashMap::new();
        let rank = |(at, (_, claim)): (usize, &(Id, Claim))| {
            let before = peers.entry(claim.peer).or_default();
            let of_peer = *before;
            *before += 1;
            Rank {
                again: !names.insert(claim.name) || self.names.contains_key(&claim.name),
                of_peer,
                at,
            }
        };
        self.line.iter().enumerate().map(rank).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_types::{Revision, Root};
    use proptest::prelude::*;

    fn claim(peer: PeerId, name: u8, units: usize) -> Claim {
        let name = ProofName {
            revision: Revision::Alpha,
            root: Root::from([name; 32]),
            proof_type: 1,
        };
        Claim { peer, name, units }
    }

    fn let_in(places: &mut Places, claim: Claim) -> Option<bool> {
        let (id, moves) = places.come(claim);
        if moves.let_in.contains(&id) {
            return Some(true);
        }
        (!moves.turned_out.contains(&id)).then_some(false)
    }

    /// A slow engine has a proof of name 0. Fresh identities bring false ones of it, one each, as large as can be.
    #[test]
    fn false_proofs_that_wait_for_a_slow_engine_keep_no_other_name_out() {
        let mut places = Places::new(32, 16);
        let honest = PeerId::random();
        assert_eq!(let_in(&mut places, claim(honest, 0, 4)), Some(true));
        let flood: Vec<_> = (0..30)
            .map(|_| let_in(&mut places, claim(PeerId::random(), 0, 4)))
            .collect();
        let of = |what| flood.iter().filter(|word| **word == what).count();
        assert_eq!((of(Some(true)), of(Some(false)), of(None)), (3, 4, 23));
        // The next slot's, from the one peer that brings them.
        for name in 1..=4 {
            assert_eq!(let_in(&mut places, claim(honest, name, 4)), Some(true), "{name}");
        }
        // No more room: in line, where one of the false ones gives way, and the first to be let in.
        assert_eq!(let_in(&mut places, claim(honest, 5, 4)), Some(false));
        assert_eq!(let_in(&mut places, claim(PeerId::random(), 0, 4)), None);
        let second = places.line.back().unwrap().0;
        assert_eq!(places.leave(31).let_in, [second]);
    }

    #[test]
    fn one_peer_does_not_fill_the_line() {
        let mut places = Places::new(8, 16);
        let (greedy, honest) = (PeerId::random(), PeerId::random());
        assert_eq!(let_in(&mut places, claim(greedy, 0, 8)), Some(true));
        for name in 1..=4 {
            assert_eq!(let_in(&mut places, claim(greedy, name, 4)), Some(false));
        }
        assert_eq!(let_in(&mut places, claim(greedy, 5, 4)), None);
        assert_eq!(let_in(&mut places, claim(honest, 6, 4)), Some(false));
        assert_eq!(let_in(&mut places, claim(honest, 7, 4)), Some(false));
        assert_eq!(
            places.line.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            [1, 2, 6, 7]
        );
        assert_eq!(places.leave(0).let_in, [1, 2]);
        assert!(places.leave_line(6).let_in.is_empty());
        assert_eq!(places.leave(1).let_in, [7]);
    }

    #[test]
    fn nobody_passes_by_who_goes_first_and_what_is_too_large_does_not_wait() {
        let mut places = Places::new(8, 16);
        let peer = PeerId::random;
        assert_eq!(let_in(&mut places, claim(peer(), 0, 9)), None);
        assert_eq!(let_in(&mut places, claim(peer(), 0, 6)), Some(true));
        assert_eq!(let_in(&mut places, claim(peer(), 1, 6)), Some(false));
        assert_eq!(let_in(&mut places, claim(peer(), 2, 1)), Some(false));
        // Whom it held up goes on when it hangs up.
        assert_eq!(places.leave_line(2).let_in, [3]);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_everybody_is_told_in_the_end(
            steps in proptest::collection::vec((0..4u8, 0..4u8, 1..12usize, 0..4u8), 1..80)
        ) {
            let peers: Vec<PeerId> = (0..4).map(|_| PeerId::random()).collect();
            let mut places = Places::new(16, 10);
            let (mut inside, mut waits) = (Vec::new(), HashSet::new());
            for (peer, name, units, leaves) in steps {
                let (id, mut moves) = places.come(claim(peers[usize::from(peer)], name, units));
                waits.insert(id);
                for _ in 0..leaves {
                    let more = match inside.pop() {
                        Some(id) => places.leave(id),
                        None => Moves::default(),
                    };
                    moves.let_in.extend(more.let_in);
                    moves.turned_out.extend(more.turned_out);
                }
                for id in moves.let_in {
                    prop_assert!(waits.remove(&id));
                    inside.push(id);
                }
                for id in moves.turned_out {
                    prop_assert!(waits.remove(&id));
                }
                let sum = |claims: &mut dyn Iterator<Item = &Claim>| claims.map(|c| c.units).sum::<usize>();
                prop_assert_eq!(places.taken, sum(&mut places.held.values()));
                prop_assert!(places.taken <= 16);
                prop_assert!(sum(&mut places.line.iter().map(|(_, c)| c)) <= 10);
                prop_assert_eq!(places.names.values().sum::<usize>(), places.held.len());
            }
            while let Some(id) = inside.pop() {
                for id in places.leave(id).let_in {
                    prop_assert!(waits.remove(&id));
                    inside.push(id);
                }
            }
            prop_assert!(waits.is_empty() && places.held.is_empty() && places.taken == 0);
        }
    }
}
