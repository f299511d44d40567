//! Connections in the host: dials, peers that come and go, pings, identify; the node's record and identity.

use super::{identity, task::Host};
use crate::{
    Direction,
    enr::{EnrContent, EnrForkId},
};
use libp2p::{
    Multiaddr, PeerId,
    core::ConnectedPoint,
    identify, ping,
    swarm::{ConnectionError, ConnectionId, DialError, dial_opts::DialOpts},
};
use std::time::Instant;

/// Pings in a row without an answer after which a connection is given up (some 35 s each).
const MAX_FAILED_PINGS: u32 = 2;

impl Host {
    pub(super) fn dial_due(&mut self) {
        let due = self.parts.shared.peers.lock().take_due(Instant::now());
        for dial in due {
            // A port of its own: dialling from the listening port finds it still bound to the connection before.
            let options = DialOpts::peer_id(dial.peer_id)
                .addresses(dial.addresses)
                .allocate_new_port()
                .build();
            if let Err(error) = self.parts.swarm.dial(options) {
                self.on_dial_error(&dial.peer_id, &error);
            }
        }
    }

    pub(super) fn on_dial_error(&mut self, peer: &PeerId, error: &DialError) {
        self.parts.shared.counters.dial_failures.inc();
        if self.parts.shared.peers.lock().dial_failed(peer, Instant::now()) {
            tracing::warn!(%peer, %error, "cannot connect; trying again, further failures are told at debug level");
        } else {
            tracing::debug!(%peer, %error, "cannot connect");
        }
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, endpoint: ConnectedPoint) {
        let (address, direction) = match endpoint {
            ConnectedPoint::Dialer { address, .. } => (address, Direction::Outbound),
            ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr, Direction::Inbound),
        };
        tracing::debug!(%peer, %address, direction = direction.as_str(), "connected");
        self.parts
            .shared
            .peers
            .lock()
            .connected(peer, address, direction, Instant::now());
        self.count_peers();
    }

    /// `remaining`: connections to the peer that are left.
    pub(super) fn on_connection_closed(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        remaining: u32,
        cause: Option<ConnectionError>,
    ) {
        self.failed_pings.remove(&connection);
        if remaining == 0 {
            tracing::debug!(%peer, ?cause, "disconnected");
            self.parts.shared.peers.lock().disconnected(&peer, Instant::now());
            self.count_peers();
        }
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        if let identify::Event::Received { peer_id, info, .. } = event {
            self.parts
                .shared
                .peers
                .lock()
                .identified(&peer_id, info.agent_version);
        }
    }

    fn count_peers(&self) {
        let connected = self.parts.shared.peers.lock().count().connected;
        self.parts
            .shared
            .counters
            .peers_connected
            .set(i64::try_from(connected).unwrap_or(i64::MAX));
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(_) | Err(ping::Failure::Unsupported) => {
                self.failed_pings.remove(&event.connection);
            }
            Err(error) => {
                let failed = self.failed_pings.entry(event.connection).or_default();
                *failed += 1;
                if *failed >= MAX_FAILED_PINGS {
                    tracing::debug!(peer = %event.peer, %error, "connection is dead");
                    self.parts.swarm.close_connection(event.connection);
                }
            }
        }
    }

    /// The record's fork entry follows the chain.
    pub(super) fn refresh_record(&mut self) {
        let chain = &self.parts.chain;
        let epoch = chain.spec().epoch_at_slot(chain.current_slot());
        let fork_id = EnrForkId::at(chain.spec(), &chain.genesis().genesis_validators_root, epoch);
        let content = EnrContent {
            fork_id,
            ..self.parts.enr.content().clone()
        };
        match self.parts.enr.update(content) {
            Ok(false) => return,
            Ok(true) => tracing::info!(enr = %self.parts.enr.enr(), "node record changed"),
            // It holds all the same until the next start.
            Err(error) => tracing::error!(%error, "the node record changed and cannot be kept"),
        }
        self.refresh_identity();
    }

    pub(super) fn refresh_identity(&self) {
        let listening: Vec<Multiaddr> = self.parts.swarm.listeners().cloned().collect();
        let identity = identity(*self.parts.swarm.local_peer_id(), &self.parts.enr, &listening);
        *self.parts.shared.identity.write() = identity;
    }

    /// Scores of gossip, where the list of peers shows them.
    pub(super) fn read_scores(&mut self) {
        let gossip = &self.parts.swarm.behaviour().gossip;
        self.parts
            .shared
            .peers
            .lock()
            .set_scores(|peer| gossip.peer_score(peer).unwrap_or_default());
    }
}
