//! Asks the peers' state machine before a connection is let in, and tells it of those that are.
//!
//! A behaviour, because the swarm asks behaviours before a connection stands and tells them in the same step that it
//! does: no connection can slip between the question and the count.

use super::behaviour::{MAX_CONNECTIONS_PER_PEER, MAX_PENDING};
use crate::{
    counters::Counters,
    peers::{Arrivals, Direction, Peers, ip_of},
};
use libp2p::{
    Multiaddr, PeerId,
    connection_limits::Exceeded,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenError, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};
use parking_lot::Mutex;
use std::{
    convert::Infallible,
    error::Error,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

/// Why an incoming connection came to nothing, where `Behaviour` here has not counted that: the library's own limits, and
/// what went wrong before anybody was asked.
pub(super) fn uncounted(error: &ListenError) -> Option<&'static str> {
    match error {
        ListenError::Denied { cause } => {
            let exceeded = cause.source()?.downcast_ref::<Exceeded>()?;
            Some(match exceeded.limit() {
                MAX_PENDING => "too_many_pending_in_all",
                MAX_CONNECTIONS_PER_PEER => "too_many_of_peer",
                _ => "other_limit",
            })
        }
        ListenError::Transport(_) => Some("handshake_failed"),
        ListenError::WrongPeerId { .. } => Some("wrong_peer_id"),
        ListenError::LocalPeerId { .. } => Some("own_peer_id"),
        ListenError::Aborted => Some("aborted"),
    }
}

pub(super) struct Behaviour {
    peers: Arc<Mutex<Peers>>,
    counters: Counters,
    /// Incoming connections that are being opened, and who came lately.
    arrivals: Arrivals,
}

impl Behaviour {
    pub(super) fn new(peers: Arc<Mutex<Peers>>, counters: Counters) -> Self {
        Self {
            peers,
            counters,
            arrivals: Arrivals::default(),
        }
    }

    fn judge(&self, verdict: Result<(), crate::peers::Denied>) -> Result<(), ConnectionDenied> {
        verdict.map_err(|denied| {
            self.counters.denied(denied.0);
            ConnectionDenied::new(denied)
        })
    }

    fn established(
        &mut self,
        peer: &PeerId,
        address: &Multiaddr,
        direction: Direction,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let verdict = self
            .peers
            .lock()
            .admits(peer, ip_of(address), direction, Instant::now());
        self.judge(verdict)?;
        Ok(dummy::ConnectionHandler)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(ip) = ip_of(remote) else { return Ok(()) };
        let now = Instant::now();
        let verdict = self.peers.lock().admits_address(ip, now);
        self.judge(verdict)?;
        let verdict = self.arrivals.begin(connection, ip, now);
        self.judge(verdict)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.arrivals.end(connection);
        self.established(&peer, remote, Direction::Inbound)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.established(&peer, address, Direction::Outbound)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                let (address, direction) = match event.endpoint {
                    ConnectedPoint::Dialer { address, .. } => (address.clone(), Direction::Outbound),
                    ConnectedPoint::Listener { send_back_addr, .. } => {
                        (send_back_addr.clone(), Direction::Inbound)
                    }
                };
                let (peer, connection) = (event.peer_id, event.connection_id);
                self.peers
                    .lock()
                    .connected(peer, connection, address, direction, Instant::now());
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                connection_id,
                ..
            }) => self
                .peers
                .lock()
                .disconnected(&peer_id, connection_id, Instant::now()),
            FromSwarm::ListenFailure(failure) => {
                self.arrivals.end(failure.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::peers::Denied;
    use libp2p::{
        connection_limits::{self, ConnectionLimits},
        core::transport::TransportError,
    };
    use std::io;

    /// What the library says to one connection more than it allows.
    fn exceeded(limits: ConnectionLimits) -> ListenError {
        let mut behaviour = connection_limits::Behaviour::new(limits);
        let (address, peer) = (Multiaddr::empty(), PeerId::random());
        let mut come = |n| {
            let id = ConnectionId::new_unchecked(n);
            behaviour.handle_pending_inbound_connection(id, &address, &address)?;
            if n == 0 {
                behaviour.handle_established_inbound_connection(id, peer, &address, &address)?;
            }
            Ok::<_, ConnectionDenied>(())
        };
        let cause = (0..1000).find_map(|n| come(n).err());
        ListenError::Denied {
            cause: cause.unwrap(),
        }
    }

    #[test]
    fn every_incoming_connection_that_fails_is_counted_once() {
        let limits = ConnectionLimits::default;
        let io = io::Error::other("no handshake");
        let ours = ConnectionDenied::new(Denied("banned"));
        let table = [
            (
                exceeded(limits().with_max_pending_incoming(Some(MAX_PENDING))),
                Some("too_many_pending_in_all"),
            ),
            (
                exceeded(limits().with_max_established_per_peer(Some(0))),
                Some("other_limit"),
            ),
            (
                ListenError::Transport(TransportError::Other(io)),
                Some("handshake_failed"),
            ),
            (ListenError::Aborted, Some("aborted")),
            (ListenError::Denied { cause: ours }, None),
        ];
        for (error, reason) in table {
            assert_eq!(uncounted(&error), reason, "{error}");
        }
    }
}
