//! Peers, as the host's task sees them: dials, goodbyes, scores, and the peer store.

use super::task::Host;
use crate::{
    gossip,
    peers::{Action, Fault, Goodbye},
};
use libp2p::{
    PeerId,
    core::ConnectedPoint,
    identify, ping,
    swarm::{
        ConnectionError, ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::{
    collections::HashMap,
    num::NonZeroU8,
    time::{Duration, Instant},
};

/// How often peers are written down.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// Pings in a row without an answer after which a connection is given up (some 35 s each).
const MAX_FAILED_PINGS: u32 = 2;
/// What the names of the proofs' req/resp protocols have in common.
const PROOF_PROTOCOLS: &str = "/eth2/beacon_chain/req/execution_proof";

/// What peering remembers between events.
pub(super) struct Peering {
    failed_pings: HashMap<ConnectionId, u32>,
    save_due: Instant,
    saved: String,
}

impl Peering {
    pub(super) fn new() -> Self {
        Self {
            failed_pings: HashMap::new(),
            save_due: Instant::now() + SAVE_EVERY,
            saved: String::new(),
        }
    }
}

impl Host {
    /// Time passes: scores are taken anew, bans end, excess peers are let go, the found ones dialled.
    pub(super) fn tick_peers(&mut self) {
        let now = Instant::now();
        let gossip = &self.parts.swarm.behaviour().gossip;
        let in_topic: std::collections::HashSet<PeerId> = gossip
            .all_peers()
            .filter(|(_, topics)| !topics.is_empty())
            .map(|(peer, _)| *peer)
            .collect();
        {
            let mut peers = self.parts.shared.peers.lock();
            peers.set_gossip(
                gossip::graylist_threshold(),
                |peer| {
                    let score = gossip.peer_score(peer).unwrap_or_default();
                    (score, in_topic.contains(peer))
                },
                now,
            );
            peers.tick(now);
        }
        self.act();
        self.dial_due();
        self.count_peers();
        if now >= self.peering.save_due {
            self.peering.save_due = now + SAVE_EVERY;
            self.save_peers();
        }
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, endpoint: &ConnectedPoint) {
        tracing::debug!(%peer, ?endpoint, "connected");
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
        self.peering.failed_pings.remove(&connection);
        if remaining == 0 {
            tracing::debug!(%peer, ?cause, "disconnected");
            self.count_peers();
        }
    }

    /// Does what the state machine asks for.
    pub(super) fn act(&mut self) {
        let actions = self.parts.shared.peers.lock().take_actions();
        for action in actions {
            match action {
                Action::Part { peer, reason } => self.say_goodbye(peer, reason),
                Action::Close { peer } => {
                    let _ = self.parts.swarm.disconnect_peer_id(peer);
                }
            }
        }
    }

    fn say_goodbye(&mut self, peer: PeerId, reason: Goodbye) {
        tracing::debug!(%peer, reason = reason.label(), "goodbye");
        self.goodbye(peer, reason);
    }

    /// A report from any part of the network.
    pub(super) fn on_fault(&mut self, peer: PeerId, fault: Fault) {
        tracing::debug!(%peer, fault = fault.label(), "fault");
        self.parts.shared.counters.fault(fault.label());
        self.parts.shared.peers.lock().fault(&peer, fault, Instant::now());
        self.act();
    }

    /// Dials whoever is due.
    pub(super) fn dial_due(&mut self) {
        let due = self.parts.shared.peers.lock().take_due(Instant::now());
        for dial in due {
            // A port of its own: dialling from the listening port finds it still bound to the connection before. One
            // address after the other, QUIC first: a peer that answers by it need not be bothered by TCP too.
            let options = DialOpts::peer_id(dial.peer_id)
                .addresses(dial.addresses)
                .condition(PeerCondition::DisconnectedAndNotDialing)
                .override_dial_concurrency_factor(NonZeroU8::MIN)
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

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        if let identify::Event::Received { peer_id, info, .. } = event {
            let speaks_proofs = info
                .protocols
                .iter()
                .any(|protocol| protocol.as_ref().starts_with(PROOF_PROTOCOLS));
            self.parts
                .shared
                .peers
                .lock()
                .identified(&peer_id, &info.agent_version, speaks_proofs);
        }
    }

    pub(super) fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(_) | Err(ping::Failure::Unsupported) => {
                self.peering.failed_pings.remove(&event.connection);
            }
            Err(error) => {
                let failed = self.peering.failed_pings.entry(event.connection).or_default();
                *failed += 1;
                if *failed >= MAX_FAILED_PINGS {
                    tracing::debug!(peer = %event.peer, %error, "connection is dead");
                    self.parts.swarm.close_connection(event.connection);
                }
            }
        }
    }

    pub(super) fn count_peers(&self) {
        let now = Instant::now();
        let (count, aware, bans) = {
            let peers = self.parts.shared.peers.lock();
            (peers.count(), peers.proof_aware_count(now), peers.ban_count())
        };
        let known = count.connected + count.connecting + count.disconnecting + count.disconnected;
        let counters = &self.parts.shared.counters;
        for (gauge, value) in [
            (&counters.peers_connected, count.connected),
            (&counters.peers_proof_aware, aware),
            (&counters.peers_known, known),
            (&counters.bans, bans),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    /// Writes the peers down if they changed, beside the task.
    fn save_peers(&mut self) {
        let text = self.parts.shared.peers.lock().to_text(Instant::now());
        if text != self.peering.saved {
            self.peering.saved.clone_from(&text);
            let file = self.parts.peer_file.clone();
            tokio::task::spawn_blocking(move || file.save(&text));
        }
    }

    /// Writes the peers down, the last time.
    pub(super) fn save_peers_at_end(&self) {
        let text = self.parts.shared.peers.lock().to_text(Instant::now());
        self.parts.peer_file.save(&text);
    }
}
