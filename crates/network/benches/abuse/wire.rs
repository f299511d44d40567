//! What attackers speak: bare libp2p over each transport, and gossipsub's messages as they are on the wire.

use crate::{
    attack::{Tally, Target},
    node::Failure,
};
use futures::StreamExt as _;
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, Transport as _,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use libp2p_stream::{Control, IncomingStreams};
use prost::Message;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Gossip's protocol.
pub(crate) const GOSSIP: &str = "/meshsub/1.1.0";
/// libp2p's ping: what is sent comes back.
const PING: &str = "/ipfs/ping/1.0.0";
/// Bytes of a ping.
pub(crate) const PING_BYTES: usize = 32;
/// Time to be let in, and for one stream to open.
const ENTRY: Duration = Duration::from_secs(10);

/// How a victim is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// TCP, noise, yamux.
    Yamux,
    /// TCP, noise, mplex.
    Mplex,
    /// QUIC.
    Quic,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::Yamux, Self::Mplex, Self::Quic];

    /// Whether what is sent on one stream comes after what was sent on another before.
    pub(crate) fn is_in_order(self) -> bool {
        self != Self::Quic
    }
}

fn transport(way: Way, key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Failure> {
    let encrypted = || {
        let sockets = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
        Ok::<_, Failure>(
            sockets
                .upgrade(Version::V1)
                .authenticate(noise::Config::new(key)?),
        )
    };
    Ok(match way {
        Way::Yamux => encrypted()?.multiplex(yamux::Config::default()).boxed(),
        Way::Mplex => encrypted()?.multiplex(libp2p_mplex::Config::new()).boxed(),
        Way::Quic => libp2p_quic::tokio::Transport::new(libp2p_quic::Config::new(key))
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
            .boxed(),
    })
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    streams: libp2p_stream::Behaviour,
    /// Whoever answers no ping is answered none.
    ping: ping::Behaviour,
}

/// One identity's connection.
pub(crate) struct Line {
    control: Control,
    victim: PeerId,
    pub(crate) way: Way,
    up: CancellationToken,
    closed: CancellationToken,
    driver: JoinHandle<()>,
    tally: Arc<Tally>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Line {
    /// A new identity dials. Gossip's streams that the victim opens come with it.
    pub(crate) fn dial(
        target: &Target,
        way: Way,
        tally: &Arc<Tally>,
    ) -> Result<(Self, IncomingStreams), Failure> {
        let key = Keypair::generate_ed25519();
        let mut swarm = SwarmBuilder::with_existing_identity(key.clone())
            .with_tokio()
            .with_other_transport(|_| transport(way, &key))?
            .with_behaviour(|_| Behaviour {
                streams: libp2p_stream::Behaviour::new(),
                ping: ping::Behaviour::default(),
            })?
            .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        let mut control = swarm.behaviour().streams.new_control();
        let incoming = control.accept(StreamProtocol::new(GOSSIP))?;
        let address: &Multiaddr = target.address(way);
        swarm.dial(address.clone())?;
        tally.identities[way as usize].fetch_add(1, Ordering::Relaxed);
        let (up, closed) = (CancellationToken::new(), CancellationToken::new());
        let (begun, ended, counts) = (up.clone(), closed.clone(), Arc::clone(tally));
        let driver = tokio::spawn(async move {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => {
                        counts.let_in[way as usize].fetch_add(1, Ordering::Relaxed);
                        begun.cancel();
                    }
                    SwarmEvent::ConnectionClosed {
                        num_established: 0, ..
                    }
                    | SwarmEvent::OutgoingConnectionError { .. } => {
                        return ended.cancel();
                    }
                    _ => {}
                }
            }
        });
        let line = Self {
            control,
            victim: target.peer,
            way,
            up,
            closed,
            driver,
            tally: Arc::clone(tally),
        };
        Ok((line, incoming))
    }

    /// Opens a stream, its protocol agreed on.
    pub(crate) async fn stream(&mut self, name: &'static str) -> Result<Stream, Failure> {
        let (up, closed) = (self.up.clone(), self.closed.clone());
        tokio::select! {
            () = up.cancelled() => {}
            () = closed.cancelled() => return Err("not let in".into()),
        }
        self.tally.streams_tried.fetch_add(1, Ordering::Relaxed);
        let opening = self.control.open_stream(self.victim, StreamProtocol::new(name));
        let stream = tokio::select! {
            opened = tokio::time::timeout(ENTRY, opening) => opened??,
            () = closed.cancelled() => return Err("the connection was closed".into()),
        };
        self.tally.streams_opened.fetch_add(1, Ordering::Relaxed);
        Ok(stream)
    }

    pub(crate) async fn ping(&mut self) -> Result<Stream, Failure> {
        self.stream(PING).await
    }

    /// Resolves when the connection is closed, by whomever.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

/// gossipsub's `RPC`, as far as it is used here.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Rpc {
    #[prost(message, repeated, tag = "1")]
    pub(crate) subscriptions: Vec<Subscription>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) publish: Vec<Published>,
    #[prost(message, optional, tag = "3")]
    pub(crate) control: Option<ControlMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Subscription {
    #[prost(bool, tag = "1")]
    subscribe: bool,
    #[prost(string, tag = "2")]
    topic: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Published {
    #[prost(bytes = "vec", optional, tag = "2")]
    data: Option<Vec<u8>>,
    #[prost(string, tag = "4")]
    topic: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ControlMessage {
    #[prost(message, repeated, tag = "1")]
    pub(crate) ihave: Vec<IHave>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) iwant: Vec<IWant>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IHave {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(crate) ids: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct IWant {
    #[prost(bytes = "vec", repeated, tag = "1")]
    ids: Vec<Vec<u8>>,
}

/// A subscription to a topic, as it goes out.
pub(crate) fn subscribe(topic: &str) -> Vec<u8> {
    let subscription = Subscription {
        subscribe: true,
        topic: topic.to_owned(),
    };
    Rpc {
        subscriptions: vec![subscription],
        ..Rpc::default()
    }
    .encode_length_delimited_to_vec()
}

/// A message, as it goes out.
pub(crate) fn publish(topic: &str, data: Vec<u8>) -> Vec<u8> {
    let published = Published {
        data: Some(data),
        topic: topic.to_owned(),
    };
    Rpc {
        publish: vec![published],
        ..Rpc::default()
    }
    .encode_length_delimited_to_vec()
}

/// A request for messages, as it goes out.
pub(crate) fn want(ids: Vec<Vec<u8>>) -> Vec<u8> {
    let control = ControlMessage {
        ihave: Vec::new(),
        iwant: vec![IWant { ids }],
    };
    Rpc {
        control: Some(control),
        ..Rpc::default()
    }
    .encode_length_delimited_to_vec()
}
