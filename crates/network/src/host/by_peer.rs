//! What is proposed to whom: a peer that may be a node like this one is dialled with what only such nodes speak first,
//! any other with what everybody speaks.
//!
//! A name that the other side does not know costs a round trip, so it is not proposed to most beacon nodes. Whoever dials
//! this node is taken by either name.

use super::transport::Secured;
use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        multiaddr::Protocol,
        transport::{DialOpts, ListenerId, TransportError, TransportEvent},
    },
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

/// Two transports that differ in what they propose.
pub(super) struct ByPeer<F> {
    /// To nodes like this one; it listens too.
    ours: Secured,
    /// To all others.
    standard: Secured,
    /// Whether a peer may be a node like this one.
    is_alike: F,
}

impl<F> ByPeer<F> {
    pub(super) fn new(ours: Secured, standard: Secured, is_alike: F) -> Self {
        Self {
            ours,
            standard,
            is_alike,
        }
    }
}

impl<F: Fn(&PeerId) -> bool + Unpin> Transport for ByPeer<F> {
    type Output = <Secured as Transport>::Output;
    type Error = io::Error;
    type ListenerUpgrade = <Secured as Transport>::ListenerUpgrade;
    type Dial = <Secured as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.ours.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.ours.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let is_alike = match address.iter().last() {
            Some(Protocol::P2p(peer)) => (self.is_alike)(&peer),
            _ => false,
        };
        let transport = if is_alike {
            &mut self.ours
        } else {
            &mut self.standard
        };
        transport.dial(address, options)
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        // The other one has no listener.
        Pin::new(&mut self.get_mut().ours).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::{
        NetworkConfig, NodeKey,
        counters::Counters,
        host::{gossip_streams::GossipStreams, noise::Offer, transport::by_address},
    };
    use libp2p::{
        PeerId, Transport,
        core::{
            Endpoint,
            transport::{DialOpts, PortUse},
        },
    };
    use std::time::Duration;
    use tokio::{io::AsyncReadExt, net::TcpListener, time::timeout};

    /// What a node proposes first, read from its socket.
    #[tokio::test]
    async fn only_nodes_like_this_one_are_asked_for_what_only_they_speak() {
        if Offer::of_this_machine() == Offer::Standard {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let alike = PeerId::random();
        for (peer, standard_alone, special) in [
            (Some(alike), false, true),
            (Some(alike), true, false),
            (Some(PeerId::random()), false, false),
            (None, false, false),
        ] {
            let config = NetworkConfig {
                disable_quic: true,
                standard_noise_alone: standard_alone,
                ..NetworkConfig::new(dir.path())
            };
            let (key, counters) = (NodeKey::generate().keypair(), Counters::default());
            let is_alike = move |peer: &PeerId| *peer == alike;
            let mut transport =
                by_address(&config, &key, &counters, &GossipStreams::default(), is_alike).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let suffix = peer.map(|peer| format!("/p2p/{peer}")).unwrap_or_default();
            let address = format!("/ip4/127.0.0.1/tcp/{port}{suffix}").parse().unwrap();
            let options = DialOpts {
                role: Endpoint::Dialer,
                port_use: PortUse::New,
            };
            let dial = tokio::spawn(transport.dial(address, options).unwrap());
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"\n") || !said.windows(5).any(|part| part == b"noise") {
                let read = socket.read_buf(&mut said);
                assert!(timeout(Duration::from_secs(20), read).await.unwrap().unwrap() > 0);
            }
            let has = |name: &[u8]| said.windows(name.len()).any(|part| part == name);
            assert_eq!(has(b"/assay/noise-aesgcm/1\n"), special, "{peer:?}");
            assert_eq!(has(b"/noise\n"), !special);
            dial.abort();
        }
    }
}
