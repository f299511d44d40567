//! Who is dialled next, and how many more are looked for.

use super::{
    Dial, Peers, Wanted,
    limits::ip_of,
    peer::{Link, Peer},
    score::DISCONNECT_BELOW,
};
use libp2p::PeerId;
use std::{cmp::Reverse, hash::BuildHasher, time::Instant};

/// Dials under way at once, those of `--peer` aside.
pub(super) const MAX_DIALS: usize = 16;

/// Places that are taken.
#[derive(Debug, Default, Clone, Copy)]
struct Taken {
    aware: usize,
    others: usize,
    dialing: usize,
}

impl Peers {
    /// The peers to dial now; they count as being dialled. Proof-aware ones first, while there is room.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Dial> {
        let mut chosen: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.trusted && peer.is_due(now))
            .map(|(id, _)| *id)
            .collect();
        let mut taken = self.taken(now);
        let mut found: Vec<(&PeerId, &Peer)> = self
            .peers
            .iter()
            .filter(|(id, peer)| self.may_be_dialled(id, peer, now))
            .collect();
        if taken.dialing < MAX_DIALS && !found.is_empty() {
            found.sort_by_cached_key(|(id, peer)| {
                (
                    !peer.is_proof_aware(now),
                    peer.failures,
                    Reverse(peer.proven),
                    self.lots.hash_one(id),
                )
            });
            for (id, peer) in found {
                if taken.dialing >= MAX_DIALS {
                    break;
                }
                if self.has_room(&taken, peer.is_proof_aware(now)) {
                    taken.add(peer, now);
                    taken.dialing += 1;
                    chosen.push(*id);
                }
            }
        }
        chosen
            .into_iter()
            .filter_map(|id| {
                let peer = self.peers.get_mut(&id)?;
                peer.link = Link::Dialing;
                Some(Dial {
                    peer_id: id,
                    addresses: peer.addresses.clone(),
                })
            })
            .collect()
    }

    /// When the next peer of `--peer` is due. Peers that were found are looked at with every tick.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.peers
            .values()
            .filter_map(|peer| match peer.link {
                Link::Idle { due } if peer.trusted => Some(due),
                _ => None,
            })
            .min()
    }

    /// How many more peers there is room for, those that are known and untried counted as had.
    pub(crate) fn wanted(&self, now: Instant) -> Wanted {
        let taken = self.taken(now);
        let ready = |aware: bool| {
            self.peers
                .iter()
                .filter(|(id, peer)| self.may_be_dialled(id, peer, now) && peer.is_proof_aware(now) == aware)
                .count()
        };
        let target = self.limits.target;
        let aware = target.saturating_sub(taken.aware + ready(true));
        let others = self.limits.others().saturating_sub(taken.others + ready(false));
        Wanted {
            proof_aware: aware,
            others: others.min(target.saturating_sub(taken.aware + taken.others)),
        }
    }

    fn may_be_dialled(&self, id: &PeerId, peer: &Peer, now: Instant) -> bool {
        !peer.trusted
            && peer.is_due(now)
            && peer.score.at(now) >= DISCONNECT_BELOW
            && !self.bans.is_banned(id, now)
            && peer
                .addresses
                .iter()
                .all(|address| self.admits_site(ip_of(address), now).is_ok())
    }

    /// Proof-aware peers may take the place of others, which are then pruned.
    fn has_room(&self, taken: &Taken, aware: bool) -> bool {
        let all = taken.aware + taken.others;
        if all >= self.limits.most() {
            return false;
        }
        if aware {
            taken.aware < self.limits.target
        } else {
            all < self.limits.target && taken.others < self.limits.others()
        }
    }

    fn taken(&self, now: Instant) -> Taken {
        let mut taken = Taken::default();
        for peer in self.peers.values().filter(|peer| !peer.trusted) {
            if !peer.is_idle() {
                taken.add(peer, now);
                taken.dialing += usize::from(matches!(peer.link, Link::Dialing));
            }
        }
        taken
    }
}

impl Taken {
    fn add(&mut self, peer: &Peer, now: Instant) {
        if peer.is_proof_aware(now) {
            self.aware += 1;
        } else {
            self.others += 1;
        }
    }
}

impl Peer {
    fn is_due(&self, now: Instant) -> bool {
        !self.addresses.is_empty() && matches!(self.link, Link::Idle { due } if due <= now)
    }
}
