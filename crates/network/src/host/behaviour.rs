//! What runs on every connection.

use super::{admission, gossip_streams::CountedGossip};
use crate::{NetworkConfig, counters::Counters, peers::Peers, rpc};
use libp2p::{
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    ping,
    swarm::NetworkBehaviour,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// What identify calls the protocol family, as beacon nodes do.
const IDENTIFY_PROTOCOL: &str = "eth2/1.0.0";
/// Connections to one peer. Two that dial each other at once both succeed, and neither knows which of the two the other
/// would close: with one, each may close the other's, and both are gone. What the second makes this node hold is bounded
/// as for the first: it counts against the limits of its place (`peers::limits`), and streams, unfinished messages and
/// queues of gossip are bounded over all peers or by peer, not by connection, but for its share of what is received and
/// not read (`yamux`, `transport`).
pub(super) const MAX_CONNECTIONS_PER_PEER: u32 = 2;
/// Connections that are being opened, each way.
pub(super) const MAX_PENDING: u32 = 128;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// First, so that what it refuses reaches no other.
    limits: connection_limits::Behaviour,
    /// Who may connect, by address, number and conduct.
    admission: admission::Behaviour,
    pub(super) gossip: CountedGossip,
    requests: rpc::Behaviour,
    identify: identify::Behaviour,
    /// Finds connections that died without a word. Peers that do not know the protocol (Lighthouse) are let be.
    ping: ping::Behaviour,
}

impl Behaviour {
    pub(super) fn new(
        config: &NetworkConfig,
        keypair: &Keypair,
        gossip: CountedGossip,
        requests: rpc::Behaviour,
        peers: Arc<Mutex<Peers>>,
        counters: &Counters,
    ) -> Self {
        let mut limits = connection_limits::Behaviour::new(
            ConnectionLimits::default()
                .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER))
                .with_max_pending_incoming(Some(MAX_PENDING))
                .with_max_pending_outgoing(Some(MAX_PENDING)),
        );
        for peer in &config.peers {
            limits.bypass_peer_id(&peer.peer_id);
        }
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
            .with_agent_version(format!("assay/{}", env!("CARGO_PKG_VERSION")))
            .with_cache_size(0);
        Self {
            limits,
            admission: admission::Behaviour::new(peers, counters.clone()),
            gossip,
            requests,
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::default(),
        }
    }
}
