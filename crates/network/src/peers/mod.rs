//! The peers this node knows: whom to dial, whom to let in, whom to part with.
//!
//! A state machine without I/O: events and the time come in; dials, goodbyes and answers go out. Its rules:
//! - Peers given by `--peer` are dialled for ever, always let in, and never pruned or banned.
//! - Proof-aware peers come first; others are dialled up to a share, so that the mesh bridges to them and discovery
//!   stays part of the large network.
//! - Connections never exceed `Limits::most`, nor what one address or subnet may have; some are kept for outgoing
//!   ones, so that nobody fills a node from outside.
//! - Whoever misbehaves loses points, is disconnected, then banned; every ban ends, and every table has a bound.
//!
//! | file | what it holds |
//! |---|---|
//! | `info`, `fault` | what others see; what peers do wrong and what they are told |
//! | `score`, `bans`, `limits`, `arrivals` | the parts of the rules that stand alone |
//! | `peer` | one peer |
//! | `admitting`, `conduct` | who is let in; what conduct leads to |
//! | `dialing`, `pruning` | who is dialled next, who is let go |
//! | `file` | what is kept across restarts |

mod admitting;
mod arrivals;
mod bans;
mod conduct;
mod dialing;
mod fault;
mod file;
mod info;
mod limits;
mod peer;
mod pruning;
mod score;
#[cfg(test)]
mod tests;

pub(crate) use arrivals::Arrivals;
pub(crate) use fault::{Consequence, PeerReports};
pub use fault::{Fault, Goodbye};
pub(crate) use file::PeerFile;
pub use file::read_kept_peers;
pub use info::{Direction, PeerCount, PeerInfo, PeerState, PeerStatus};
pub(crate) use limits::{ip_of, is_exempt, is_host};

use crate::address::PeerAddress;
use assay_types::ExecutionProofStatus;
use bans::Bans;
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use peer::{Link, Peer};
use std::{
    collections::{HashMap, HashSet, hash_map::RandomState},
    time::{Duration, Instant},
};

/// Peers that are known and not connected; beyond them the least promising are forgotten.
const MAX_KNOWN: usize = 1000;
/// Peers told goodbye are closed on after this, should they not close themselves.
pub(crate) const GOODBYE_TIME: Duration = Duration::from_secs(2);

/// How many peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `--target-peers`: looked for up to this, pruned down to this.
    pub(crate) target: usize,
}

impl Limits {
    /// Most connected peers at any time, those of `--peer` aside.
    pub(crate) fn most(&self) -> usize {
        if self.target == 0 {
            0
        } else {
            self.target + (self.target / 10).max(2)
        }
    }

    /// Most that connected to us.
    fn most_inbound(&self) -> usize {
        self.most() - self.target / 5
    }

    /// Of the target, those that need not be proof-aware.
    fn others(&self) -> usize {
        self.target.div_ceil(4)
    }
}

/// A peer that discovery or the peer store brings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) peer_id: PeerId,
    /// Where to dial it, best first.
    pub(crate) addresses: Vec<Multiaddr>,
    /// Text form and sequence number of its record.
    pub(crate) enr: Option<(String, u64)>,
    pub(crate) eproof: Option<u8>,
    /// Whether this node was connected to it before.
    pub(crate) proven: bool,
}

/// A peer to dial now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) peer_id: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
}

/// What the host must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Say goodbye, then close all connections.
    Part { peer: PeerId, reason: Goodbye },
    /// Close all connections: goodbye was said, and the peer stayed.
    Close { peer: PeerId },
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Denied(pub(crate) &'static str);

/// How many more peers discovery should look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) proof_aware: usize,
    pub(crate) others: usize,
}

/// All peers known.
pub(crate) struct Peers {
    own: PeerId,
    limits: Limits,
    peers: HashMap<PeerId, Peer>,
    bans: Bans,
    actions: Vec<Action>,
    /// Orders those that are equal otherwise: by their ids, they could be made to come first.
    lots: RandomState,
}

impl Peers {
    /// Most connected peers at any time, those of `--peer` among them.
    pub(crate) fn most_connected(&self) -> usize {
        let trusted = self.peers.values().filter(|peer| peer.trusted).count();
        self.limits.most().saturating_add(trusted)
    }

    /// With the peers to stay connected to, all due now. The own id among them is passed over, and the same peer
    /// given twice is one with all its addresses.
    pub(crate) fn new(own: PeerId, trusted: &[PeerAddress], limits: Limits, now: Instant) -> Self {
        let mut peers: HashMap<PeerId, Peer> = HashMap::new();
        for given in trusted {
            if given.peer_id == own {
                tracing::warn!(peer_id = %own, "--peer names this very node");
                continue;
            }
            let peer = peers.entry(given.peer_id).or_insert_with(|| Peer::new(now));
            peer.trusted = true;
            for address in &given.addresses {
                if !peer.addresses.contains(address) {
                    peer.addresses.push(address.clone());
                }
            }
            if let Some(enr) = &given.enr {
                peer.set_record(enr.to_base64(), enr.seq(), crate::enr::EnrExt::eproof(enr));
            }
        }
        Self {
            own,
            limits,
            peers,
            bans: Bans::default(),
            actions: Vec::new(),
            lots: RandomState::new(),
        }
    }

    /// Whether a peer may be a node like this one: its record says that it is aware of proofs, or there is no record of
    /// one that was given by `--peer`.
    pub(crate) fn may_be_alike(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|peer| match peer.eproof {
            Some(eproof) => eproof != 0,
            None => peer.trusted,
        })
    }

    /// Discovery found a peer, or the store remembered one. Whether it is news.
    pub(crate) fn discovered(&mut self, candidate: Candidate, now: Instant) -> bool {
        if candidate.peer_id == self.own || self.bans.is_banned(&candidate.peer_id, now) {
            return false;
        }
        let known = self.peers.contains_key(&candidate.peer_id);
        if !known && !self.make_room(now) {
            return false;
        }
        let peer = self
            .peers
            .entry(candidate.peer_id)
            .or_insert_with(|| Peer::new(now));
        let newer = match (&candidate.enr, &peer.enr) {
            (Some((_, seq)), Some((_, had))) => seq > had,
            (Some(_), None) => true,
            (None, _) => !known,
        };
        peer.proven |= candidate.proven;
        if !newer {
            return false;
        }
        if let Some((text, seq)) = candidate.enr {
            peer.set_record(text, seq, candidate.eproof.unwrap_or(0));
        } else {
            peer.eproof = candidate.eproof;
        }
        // An operator's addresses stay; a record may add to them.
        if peer.trusted {
            for address in candidate.addresses {
                if !peer.addresses.contains(&address) && peer.addresses.len() < peer::MAX_ADDRESSES {
                    peer.addresses.push(address);
                }
            }
        } else {
            peer.addresses = candidate.addresses;
            peer.addresses.truncate(peer::MAX_ADDRESSES);
        }
        true
    }

    /// A connection was opened. A further one to the same peer counts at the place it comes from, and is nothing more.
    pub(crate) fn connected(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        address: Multiaddr,
        direction: Direction,
        now: Instant,
    ) {
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(now));
        if !peer.is_open() {
            peer.link = Link::Open { since: now };
            peer.forget_evidence();
        }
        peer.proven = true;
        peer.opened(connection, address, direction);
    }

    /// A connection was closed; the last to its peer ends more.
    pub(crate) fn disconnected(&mut self, id: &PeerId, connection: ConnectionId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if !peer.lost(connection) {
            return;
        }
        peer.closed(now);
        if peer.addresses.is_empty() && peer.score.at(now) >= 0.0 {
            self.peers.remove(id);
        }
        // Peers that found us may be many: those that left some points behind are remembered within the bound.
        while self.closed_count() > MAX_KNOWN && self.forget_one(now) {}
    }

    /// A dial failed. Whether the operator should be told: the first failure in a row of a peer of `--peer`.
    pub(crate) fn dial_failed(&mut self, id: &PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.get_mut(id) else {
            return false;
        };
        if !matches!(peer.link, Link::Dialing) {
            return false;
        }
        peer.back_off(now);
        let (trusted, first, hopeless) = (peer.trusted, peer.failures == 1, peer.is_hopeless());
        if hopeless && peer.score.at(now) >= 0.0 {
            self.peers.remove(id);
        }
        trusted && first
    }

    /// A peer said what it calls itself and what it speaks.
    pub(crate) fn identified(&mut self, id: &PeerId, agent: &str, speaks_proofs: bool) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.identified(agent, speaks_proofs);
        }
    }

    /// Connected peers that call themselves something that begins with one of these.
    pub(crate) fn called(&self, names: &[&str]) -> HashSet<PeerId> {
        let named = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_open() && peer.is_called(names));
        named.map(|(id, _)| *id).collect()
    }

    /// A peer's `status`.
    pub(crate) fn set_status(&mut self, id: &PeerId, status: PeerStatus) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.status = Some(status);
        }
    }

    /// A peer's `execution_proof_status`.
    pub(crate) fn set_proof_status(&mut self, id: &PeerId, status: ExecutionProofStatus) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.speaks_proofs = true;
            peer.proof_status = Some(status);
        }
    }

    /// The sequence number of a peer's `metadata`.
    pub(crate) fn set_metadata_seq(&mut self, id: &PeerId, seq: u64) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.metadata_seq = Some(seq);
        }
    }

    /// What is to be done since the last call.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// How many peers are in each state.
    pub(crate) fn count(&self) -> PeerCount {
        self.peers.values().fold(PeerCount::default(), |mut count, peer| {
            match peer.state() {
                PeerState::Connected => count.connected += 1,
                PeerState::Connecting => count.connecting += 1,
                PeerState::Disconnecting => count.disconnecting += 1,
                PeerState::Disconnected => count.disconnected += 1,
            }
            count
        })
    }

    /// Connected peers that are proof-aware.
    pub(crate) fn proof_aware_count(&self, now: Instant) -> usize {
        let aware = |peer: &&Peer| peer.is_open() && peer.is_proof_aware(now);
        self.peers.values().filter(aware).count()
    }

    /// How many bans are in force.
    pub(crate) fn ban_count(&self) -> usize {
        self.bans.peers().count() + self.bans.sites().count()
    }

    /// All peers, by id.
    pub(crate) fn list(&self) -> Vec<PeerInfo> {
        let now = Instant::now();
        let mut list: Vec<PeerInfo> = self.peers.iter().map(|(id, peer)| peer.info(*id, now)).collect();
        list.sort_by_key(|peer| peer.peer_id);
        list
    }

    /// One peer.
    pub(crate) fn get(&self, id: &PeerId) -> Option<PeerInfo> {
        self.peers.get(id).map(|peer| peer.info(*id, Instant::now()))
    }

    fn closed_count(&self) -> usize {
        self.peers.values().filter(|peer| peer.is_idle()).count()
    }

    /// Room for one more peer that is not connected.
    fn make_room(&mut self, now: Instant) -> bool {
        self.closed_count() < MAX_KNOWN || self.forget_one(now)
    }

    /// Forgets the least promising peer that is not connected.
    fn forget_one(&mut self, now: Instant) -> bool {
        let least = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_idle() && !peer.trusted)
            .min_by(|(_, a), (_, b)| a.promise(now).cmp(&b.promise(now)))
            .map(|(id, _)| *id);
        least.is_some_and(|id| self.peers.remove(&id).is_some())
    }
}
