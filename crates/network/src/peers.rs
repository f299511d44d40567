//! The peers this node knows: who is connected, and when those it must stay connected to are dialled again.
//!
//! A state machine without I/O: events and the time come in, dials go out.

use crate::address::PeerAddress;
use libp2p::{Multiaddr, PeerId};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Wait after the first failure to connect; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait between attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// A connection that lasted this long counts as one: what comes after begins with the first back-off again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}

impl Direction {
    /// As the Beacon API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// How a peer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// At least one connection is open.
    Connected,
    /// Being dialled.
    Connecting,
    /// Not connected; dialled again after a back-off.
    Disconnected,
}

impl PeerState {
    /// As the Beacon API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Disconnected => "disconnected",
        }
    }
}

/// A peer as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerInfo {
    /// Its libp2p id.
    pub peer_id: PeerId,
    /// Its record in text form, where it was given by one.
    pub enr: Option<String>,
    /// Where it was last seen, or where it is dialled.
    pub address: Option<Multiaddr>,
    /// How it is doing.
    pub state: PeerState,
    /// Who opened the (last) connection.
    pub direction: Option<Direction>,
    /// What it calls itself (identify), where it has said so.
    pub agent: Option<String>,
    /// Its gossip score; negative after misbehaviour.
    pub score: f64,
}

/// How many peers are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCount {
    /// Connected.
    pub connected: usize,
    /// Being dialled.
    pub connecting: usize,
    /// Known and not connected.
    pub disconnected: usize,
}

/// A peer to dial now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) peer_id: PeerId,
    pub(crate) addresses: Vec<Multiaddr>,
}

enum Link {
    Idle { due: Instant },
    Dialing,
    Open { since: Instant },
}

struct Peer {
    /// Empty for peers that found us: they are forgotten when they leave.
    addresses: Vec<Multiaddr>,
    enr: Option<String>,
    link: Link,
    failures: u32,
    last_seen: Option<(Multiaddr, Direction)>,
    agent: Option<String>,
    score: f64,
}

/// All peers known.
pub(crate) struct Peers {
    peers: HashMap<PeerId, Peer>,
}

impl Peers {
    /// With the peers to stay connected to, all due now. The own id among them is passed over, and the same peer
    /// given twice is one with all its addresses.
    pub(crate) fn new(own: PeerId, stay_connected: &[PeerAddress], now: Instant) -> Self {
        let mut peers: HashMap<PeerId, Peer> = HashMap::new();
        for given in stay_connected {
            if given.peer_id == own {
                tracing::warn!(peer_id = %own, "--peer names this very node");
                continue;
            }
            let peer = peers
                .entry(given.peer_id)
                .or_insert_with(|| Peer::new(Link::Idle { due: now }));
            for address in &given.addresses {
                if !peer.addresses.contains(address) {
                    peer.addresses.push(address.clone());
                }
            }
            if let Some(enr) = &given.enr {
                peer.enr = Some(enr.to_base64());
            }
        }
        Self { peers }
    }

    /// The peers to dial now; they count as being dialled.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Dial> {
        self.peers
            .iter_mut()
            .filter(|(_, peer)| matches!(peer.link, Link::Idle { due } if due <= now))
            .map(|(id, peer)| {
                peer.link = Link::Dialing;
                Dial {
                    peer_id: *id,
                    addresses: peer.addresses.clone(),
                }
            })
            .collect()
    }

    /// When the next peer is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.peers
            .values()
            .filter_map(|peer| match peer.link {
                Link::Idle { due } => Some(due),
                Link::Dialing | Link::Open { .. } => None,
            })
            .min()
    }

    /// A connection was opened; further ones to the same peer change nothing but where it was last seen.
    pub(crate) fn connected(&mut self, id: PeerId, address: Multiaddr, direction: Direction, now: Instant) {
        let peer = self
            .peers
            .entry(id)
            .or_insert_with(|| Peer::new(Link::Open { since: now }));
        if !matches!(peer.link, Link::Open { .. }) {
            peer.link = Link::Open { since: now };
        }
        peer.last_seen = Some((address, direction));
    }

    /// The last connection to a peer was closed.
    pub(crate) fn disconnected(&mut self, id: &PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        if peer.addresses.is_empty() {
            self.peers.remove(id);
            return;
        }
        if matches!(peer.link, Link::Open { since } if now.saturating_duration_since(since) >= STABLE_AFTER) {
            peer.failures = 0;
        }
        peer.back_off(now);
    }

    /// A dial failed. Whether it is the first in a row, which is worth telling the operator.
    pub(crate) fn dial_failed(&mut self, id: &PeerId, now: Instant) -> bool {
        match self.peers.get_mut(id) {
            Some(peer) if matches!(peer.link, Link::Dialing) => {
                peer.back_off(now);
                peer.failures == 1
            }
            _ => false,
        }
    }

    /// A peer said what it calls itself.
    pub(crate) fn identified(&mut self, id: &PeerId, agent: String) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.agent = Some(agent);
        }
    }

    /// Takes the scores of all peers anew.
    pub(crate) fn set_scores(&mut self, score: impl Fn(&PeerId) -> f64) {
        for (id, peer) in &mut self.peers {
            peer.score = score(id);
        }
    }

    /// How many peers are in each state.
    pub(crate) fn count(&self) -> PeerCount {
        self.peers.values().fold(PeerCount::default(), |mut count, peer| {
            match peer.state() {
                PeerState::Connected => count.connected += 1,
                PeerState::Connecting => count.connecting += 1,
                PeerState::Disconnected => count.disconnected += 1,
            }
            count
        })
    }

    /// All peers, by id.
    pub(crate) fn list(&self) -> Vec<PeerInfo> {
        let mut list: Vec<PeerInfo> = self
            .peers
            .iter()
            .map(|(id, peer)| PeerInfo {
                peer_id: *id,
                enr: peer.enr.clone(),
                address: peer
                    .last_seen
                    .as_ref()
                    .map(|(address, _)| address.clone())
                    .or_else(|| peer.addresses.first().cloned()),
                state: peer.state(),
                direction: peer.last_seen.as_ref().map(|(_, direction)| *direction),
                agent: peer.agent.clone(),
                score: peer.score,
            })
            .collect();
        list.sort_by_key(|peer| peer.peer_id);
        list
    }
}

impl Peer {
    fn new(link: Link) -> Self {
        Self {
            addresses: Vec::new(),
            enr: None,
            link,
            failures: 0,
            last_seen: None,
            agent: None,
            score: 0.0,
        }
    }

    fn state(&self) -> PeerState {
        match self.link {
            Link::Open { .. } => PeerState::Connected,
            Link::Dialing => PeerState::Connecting,
            Link::Idle { .. } => PeerState::Disconnected,
        }
    }

    fn back_off(&mut self, now: Instant) {
        let wait = FIRST_BACKOFF
            .saturating_mul(2u32.saturating_pow(self.failures))
            .min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Idle { due: now + wait };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(id: PeerId, port: u16) -> PeerAddress {
        format!("/ip4/127.0.0.1/tcp/{port}/p2p/{id}").parse().unwrap()
    }

    fn at(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_starts_anew_after_a_stable_connection() {
        let (own, id, start) = (PeerId::random(), PeerId::random(), Instant::now());
        let mut peers = Peers::new(
            own,
            &[address(id, 1), address(own, 3), address(id, 2), address(id, 1)],
            start,
        );
        let mut now = start;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(
                peers.take_due(now),
                [Dial {
                    peer_id: id,
                    addresses: vec![at(1), at(2)]
                }]
            );
            assert_eq!(peers.take_due(now), []);
            assert_eq!(peers.dial_failed(&id, now), wait == 1);
            now += Duration::from_secs(wait);
            assert_eq!(peers.next_due(), Some(now));
            assert_eq!(peers.take_due(now - Duration::from_millis(1)), []);
        }
        peers.take_due(now);
        peers.connected(id, at(1), Direction::Outbound, now);
        assert_eq!(peers.next_due(), None);
        now += Duration::from_secs(9);
        peers.disconnected(&id, now);
        assert_eq!(
            peers.next_due(),
            Some(now + MAX_BACKOFF),
            "a connection that did not last changes nothing"
        );
        peers.connected(id, at(2), Direction::Inbound, now);
        now += Duration::from_secs(10);
        peers.disconnected(&id, now);
        assert_eq!(peers.next_due(), Some(now + FIRST_BACKOFF));
    }

    #[test]
    fn peers_that_found_us_are_forgotten_when_they_leave() {
        let (own, kept, guest, now) = (
            PeerId::random(),
            PeerId::random(),
            PeerId::random(),
            Instant::now(),
        );
        let mut peers = Peers::new(own, &[address(kept, 1)], now);
        peers.connected(guest, at(9), Direction::Inbound, now);
        peers.identified(&guest, "guest/1".to_owned());
        assert_eq!(
            peers.count(),
            PeerCount {
                connected: 1,
                connecting: 0,
                disconnected: 1
            }
        );
        let seen = peers.list().into_iter().find(|p| p.peer_id == guest).unwrap();
        assert_eq!(
            (seen.state, seen.direction),
            (PeerState::Connected, Some(Direction::Inbound))
        );
        assert_eq!(
            (seen.agent.as_deref(), seen.address),
            (Some("guest/1"), Some(at(9)))
        );
        peers.disconnected(&guest, now);
        assert_eq!(peers.list().iter().map(|p| p.peer_id).collect::<Vec<_>>(), [kept]);
        assert!(!peers.dial_failed(&guest, now));
    }

    /// A peer that connects to us while we dial it: our dial's failure must not lose the open connection.
    #[test]
    fn a_failed_dial_beside_an_open_connection_changes_nothing() {
        let (own, id, now) = (PeerId::random(), PeerId::random(), Instant::now());
        let mut peers = Peers::new(own, &[address(id, 1)], now);
        peers.take_due(now);
        peers.connected(id, at(9), Direction::Inbound, now);
        assert!(!peers.dial_failed(&id, now));
        assert_eq!((peers.count().connected, peers.next_due()), (1, None));
    }
}
