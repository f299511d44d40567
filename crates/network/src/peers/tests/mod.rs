//! Tables for the rules by what they are about, and properties over any order of events.

#![allow(clippy::unwrap_used, clippy::panic)]

mod bounds;
mod conduct;
mod dialing;
mod orders;
mod store;

use super::{
    bans::{BAN_TIME, PART_TIME},
    dialing::MAX_DIALS,
    peer::{
        EVIDENCE_WAIT, FIRST_BACKOFF, FIRST_BACKOFF_FOUND, GOODBYE_BACKOFF, HOPELESS_AFTER, MAX_ADDRESSES,
        MAX_BACKOFF, STABLE_AFTER,
    },
    *,
};
use std::sync::atomic::{AtomicUsize, Ordering};

fn address(id: PeerId, port: u16) -> PeerAddress {
    format!("/ip4/127.0.0.1/tcp/{port}/p2p/{id}").parse().unwrap()
}

fn at(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

fn ip(text: &str) -> Multiaddr {
    format!("/ip4/{text}/tcp/9000").parse().unwrap()
}

fn found(id: PeerId, address: Multiaddr, eproof: u8) -> Candidate {
    Candidate {
        peer_id: id,
        addresses: vec![address],
        enr: None,
        eproof: Some(eproof),
        proven: false,
    }
}

fn peers(target: usize, trusted: &[PeerAddress], now: Instant) -> Peers {
    Peers::new(PeerId::random(), trusted, Limits { target }, now)
}

impl Peers {
    /// A connection of its own number.
    fn connects(
        &mut self,
        id: PeerId,
        address: Multiaddr,
        direction: Direction,
        now: Instant,
    ) -> ConnectionId {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let connection = ConnectionId::new_unchecked(NEXT.fetch_add(1, Ordering::Relaxed));
        self.connected(id, connection, address, direction, now);
        connection
    }

    /// All of its connections end.
    fn leaves(&mut self, id: &PeerId, now: Instant) {
        let connections = self.peers.get(id).map(Peer::connection_ids).unwrap_or_default();
        for connection in connections {
            self.disconnected(id, connection, now);
        }
    }
}

fn admit(peers: &Peers, id: PeerId, from: &Multiaddr, now: Instant) -> Result<(), &'static str> {
    peers
        .admits(&id, ip_of(from), Direction::Inbound, now)
        .map_err(|denied| denied.0)
}
