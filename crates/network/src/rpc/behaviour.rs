//! Streams to and from peers: what runs on every connection for requests and responses.
//!
//! A stream of a peer's goes to the server the moment its protocol is agreed on, in the same call: no queue stands
//! between in which one could be lost or wait. Streams of ours are opened over a channel to a connection.

use super::Protocol;
use futures::task::AtomicWaker;
use libp2p::{
    Multiaddr, PeerId, Stream,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    },
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent,
        ConnectionId, FromSwarm, NetworkBehaviour, StreamUpgradeError, SubstreamProtocol, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        behaviour::ConnectionEstablished,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Streams of ours that may wait for one connection to open them; then whoever asks waits.
const OPEN_QUEUE_LEN: usize = 16;
/// Time for opening a stream and agreeing on its protocol.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Who takes peers' streams and is told of connections. Called from the swarm's tasks: must not block.
pub(crate) trait Host: Send + Sync + 'static {
    /// A peer opened a stream.
    fn accept(&self, peer: PeerId, protocol: Protocol, stream: Stream);
    /// The first connection to a peer is open; `dialled` by us or by it.
    fn connected(&self, peer: PeerId, dialled: bool);
    /// The last connection to a peer is closed.
    fn disconnected(&self, peer: PeerId);
}

/// Why a stream was not opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    NotConnected,
    Unsupported,
    TimedOut,
    Io(std::io::Error),
}

type Opened = Result<(Stream, Protocol), OpenError>;

/// A stream to open: the first of the protocols that the peer speaks.
pub(crate) struct Open {
    protocols: Vec<Protocol>,
    reply: oneshot::Sender<Opened>,
}

#[derive(Default)]
struct Registry {
    /// Open connections, oldest first.
    connections: HashMap<PeerId, Vec<(ConnectionId, mpsc::Sender<Open>)>>,
    /// Connections that are being set up.
    starting: HashMap<ConnectionId, mpsc::Sender<Open>>,
    /// Peers to hang up on; each is connected.
    closing: HashSet<PeerId>,
}

#[derive(Default)]
struct Shared {
    registry: Mutex<Registry>,
    closing: AtomicWaker,
}

/// Opens streams, and hangs up.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

impl Connections {
    /// Opens a stream to a connected peer by the first of these protocols that it speaks.
    pub(crate) async fn open(&self, peer: &PeerId, protocols: &[Protocol]) -> Opened {
        let queue = {
            let registry = self.shared.registry.lock();
            registry
                .connections
                .get(peer)
                .and_then(|all| all.first())
                .map(|(_, queue)| queue.clone())
                .ok_or(OpenError::NotConnected)?
        };
        let (reply, opened) = oneshot::channel();
        let open = Open {
            protocols: protocols.to_vec(),
            reply,
        };
        queue.send(open).await.map_err(|_| OpenError::NotConnected)?;
        opened.await.unwrap_or(Err(OpenError::NotConnected))
    }

    /// Whether a connection to the peer is open.
    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.shared.registry.lock().connections.contains_key(peer)
    }

    /// Closes every connection to a peer.
    pub(crate) fn close(&self, peer: PeerId) {
        let mut registry = self.shared.registry.lock();
        if registry.connections.contains_key(&peer) && registry.closing.insert(peer) {
            drop(registry);
            self.shared.closing.wake();
        }
    }
}

/// The part of the swarm's behaviour that carries requests.
pub(crate) struct Behaviour {
    offered: Arc<[Protocol]>,
    connections: Connections,
    host: Arc<dyn Host>,
}

impl Behaviour {
    /// Answers the protocols `offered`.
    pub(crate) fn new(offered: &[Protocol], connections: Connections, host: Arc<dyn Host>) -> Self {
        Self {
            offered: offered.into(),
            connections,
            host,
        }
    }

    fn handler(&self, peer: PeerId, connection: ConnectionId) -> Handler {
        let (sender, opens) = mpsc::channel(OPEN_QUEUE_LEN);
        self.connections
            .shared
            .registry
            .lock()
            .starting
            .insert(connection, sender);
        Handler {
            peer,
            offered: Arc::clone(&self.offered),
            opens,
            host: Arc::clone(&self.host),
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let is_first = {
                    let mut registry = self.connections.shared.registry.lock();
                    // Connections that others of the behaviours denied are never established: their senders' handlers
                    // are gone.
                    registry
                        .starting
                        .retain(|id, queue| *id == connection_id || !queue.is_closed());
                    let Some(queue) = registry.starting.remove(&connection_id) else {
                        return;
                    };
                    let all = registry.connections.entry(peer_id).or_default();
                    all.push((connection_id, queue));
                    all.len() == 1
                };
                if is_first {
                    self.host.connected(peer_id, endpoint.is_dialer());
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                ..
            }) => {
                let is_last = {
                    let mut registry = self.connections.shared.registry.lock();
                    let Some(all) = registry.connections.get_mut(&peer_id) else {
                        return;
                    };
                    all.retain(|(id, _)| *id != connection_id);
                    let is_last = all.is_empty();
                    if is_last {
                        registry.connections.remove(&peer_id);
                        registry.closing.remove(&peer_id);
                    }
                    is_last
                };
                if is_last {
                    self.host.disconnected(peer_id);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.connections.shared.closing.register(cx.waker());
        let mut registry = self.connections.shared.registry.lock();
        let Some(peer_id) = registry.closing.iter().next().copied() else {
            return Poll::Pending;
        };
        registry.closing.remove(&peer_id);
        Poll::Ready(ToSwarm::CloseConnection {
            peer_id,
            connection: CloseConnection::All,
        })
    }
}

/// One connection.
pub(crate) struct Handler {
    peer: PeerId,
    offered: Arc<[Protocol]>,
    opens: mpsc::Receiver<Open>,
    host: Arc<dyn Host>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Opened>;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.offered.to_vec()), ()).with_timeout(OPEN_TIMEOUT)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Offer, Self::OutboundOpenInfo, Infallible>> {
        match self.opens.poll_recv(cx) {
            Poll::Ready(Some(open)) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Offer(open.protocols), open.reply)
                    .with_timeout(OPEN_TIMEOUT),
            }),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), Self::OutboundOpenInfo>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => self.host.accept(self.peer, protocol, stream),
            // Where nobody waits any more, the stream is dropped here, which resets it.
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(match error {
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(error) => OpenError::Io(error),
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }
}

/// Agrees on one of these protocols; the earlier is the better.
pub(crate) struct Offer(Vec<Protocol>);

impl UpgradeInfo for Offer {
    type Info = Protocol;
    type InfoIter = std::vec::IntoIter<Protocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: Protocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: Protocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
