//! Gossip, with every RPC counted as in hand from when its connection hands it on until it is handled.

use super::GossipStreams;
use crate::gossip::GossipBehaviour;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, handler::MapOutEvent,
    },
};
use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
    task::{Context, Poll},
};

/// What gossipsub's connections bring.
type FromConnection = THandlerOutEvent<GossipBehaviour>;
/// Counts what is brought.
type Count = Box<dyn FnMut(FromConnection) -> Brought + Send>;
/// The memory that one piece of an RPC (a text, a number, some bytes) is taken to need besides its bytes.
const PIECE: usize = 24;

/// What a connection brings, counted while it is there: wherever it ends, it is taken off.
#[derive(Debug)]
pub(in crate::host) struct Brought {
    event: FromConnection,
    in_hand: Option<InHand>,
}

/// So many bytes in hand.
pub(super) struct InHand {
    streams: GossipStreams,
    bytes: usize,
}

impl InHand {
    pub(super) fn new(streams: GossipStreams, bytes: usize) -> Self {
        streams.comes(bytes);
        Self { streams, bytes }
    }
}

impl fmt::Debug for InHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.fmt(f)
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.streams.goes(self.bytes);
    }
}

/// Adds up the pieces of what is hashed: the one way to look at all of an RPC, whose control gossipsub shows to nobody.
struct Weight(usize);

impl Hasher for Weight {
    fn write(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() + PIECE;
    }

    fn finish(&self) -> u64 {
        self.0 as u64
    }
}

/// The memory that an RPC takes, about. Its length on the wire would say little of it: 512 KiB of control may be 250,000
/// ids without a byte, or as many grafts of 72 bytes each.
pub(super) fn weight(event: &FromConnection) -> usize {
    let FromConnection::Message {
        rpc,
        invalid_messages,
    } = event
    else {
        return 0;
    };
    let mut weight = Weight(0);
    rpc.hash(&mut weight);
    for (message, _) in invalid_messages {
        message.hash(&mut weight);
    }
    weight.0
}

/// Gossip, whose streams wait while too much of it is in hand.
pub(in crate::host) struct CountedGossip {
    gossip: GossipBehaviour,
    streams: GossipStreams,
}

impl CountedGossip {
    pub(in crate::host) fn new(gossip: GossipBehaviour, streams: GossipStreams) -> Self {
        Self { gossip, streams }
    }

    fn counted(&self, handler: THandler<GossipBehaviour>) -> THandler<Self> {
        let streams = self.streams.clone();
        handler.map_out_event(Box::new(move |event| {
            let bytes = weight(&event);
            let in_hand = (bytes > 0).then(|| InHand::new(streams.clone(), bytes));
            Brought { event, in_hand }
        }))
    }
}

impl Deref for CountedGossip {
    type Target = GossipBehaviour;

    fn deref(&self) -> &GossipBehaviour {
        &self.gossip
    }
}

impl DerefMut for CountedGossip {
    fn deref_mut(&mut self) -> &mut GossipBehaviour {
        &mut self.gossip
    }
}

impl NetworkBehaviour for CountedGossip {
    type ConnectionHandler = MapOutEvent<THandler<GossipBehaviour>, Count>;
    type ToSwarm = <GossipBehaviour as NetworkBehaviour>::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.gossip
            .handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler = self
            .gossip
            .handle_established_inbound_connection(connection, peer, local, remote)?;
        Ok(self.counted(handler))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.gossip
            .handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let handler = self
            .gossip
            .handle_established_outbound_connection(connection, peer, address, role, port)?;
        Ok(self.counted(handler))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.gossip.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        brought: THandlerOutEvent<Self>,
    ) {
        let Brought { event, in_hand } = brought;
        self.gossip.on_connection_handler_event(peer, connection, event);
        drop(in_hand);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.gossip.poll(cx)
    }
}
