//! What attackers speak: bare libp2p over each transport, and gossipsub's messages as they are on the wire.

use crate::{
    attack::{Tally, Target},
    node::Failure,
};
use assay_network::{PeerStatus, framing::encode_success_chunk, rpc::Protocol};
use assay_types::{Epoch, ForkDigest, Root, Slot};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, SwarmBuilder, Transport as _,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise,
    swarm::SwarmEvent,
    tcp, yamux,
};
use libp2p_stream::{Control, IncomingStreams};
use prost::Message;
use std::{
    sync::{Arc, OnceLock, atomic::Ordering},
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
/// Most bytes of an mplex frame.
pub(crate) const MPLEX_FRAME: usize = 1 << 20;
/// What attackers let come over QUIC before they read it: as little as over yamux.
const QUIC_WINDOW: u32 = 256 * 1024;
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

    /// By its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let is_it = |way: &Self| format!("{way:?}").eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it)
    }

    /// Whether what is sent on one stream comes after what was sent on another before.
    pub(crate) fn is_in_order(self) -> bool {
        self != Self::Quic
    }
}

/// Frames of mplex are as large as may be, and what is not read of QUIC soon stops coming.
pub(crate) fn transport(way: Way, key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Failure> {
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
        Way::Mplex => {
            let mut mplex = libp2p_mplex::Config::new();
            mplex.set_split_send_size(MPLEX_FRAME);
            encrypted()?.multiplex(mplex).boxed()
        }
        Way::Quic => {
            let mut config = libp2p_quic::Config::new(key);
            (config.max_stream_data, config.max_connection_data) = (QUIC_WINDOW, QUIC_WINDOW);
            libp2p_quic::tokio::Transport::new(config)
                .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
                .boxed()
        }
    })
}

/// One identity's connection.
pub(crate) struct Line {
    control: Control,
    victim: PeerId,
    pub(crate) way: Way,
    up: CancellationToken,
    closed: CancellationToken,
    why: Arc<OnceLock<String>>,
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
        Self::dial_as(Keypair::generate_ed25519(), target, way, tally)
    }

    /// As `dial`, of this identity.
    pub(crate) fn dial_as(
        key: Keypair,
        target: &Target,
        way: Way,
        tally: &Arc<Tally>,
    ) -> Result<(Self, IncomingStreams), Failure> {
        let mut swarm = SwarmBuilder::with_existing_identity(key.clone())
            .with_tokio()
            .with_other_transport(|_| transport(way, &key))?
            .with_behaviour(|_| libp2p_stream::Behaviour::new())?
            .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        let mut control = swarm.behaviour().new_control();
        let incoming = control.accept(StreamProtocol::new(GOSSIP))?;
        let asked = control.accept(StreamProtocol::new(Protocol::StatusV2.id()))?;
        let address: &Multiaddr = target.address(way);
        swarm.dial(address.clone())?;
        tally.identities[way as usize].fetch_add(1, Ordering::Relaxed);
        let (up, closed) = (CancellationToken::new(), CancellationToken::new());
        let why = Arc::new(OnceLock::new());
        let (begun, ended, counts) = (up.clone(), closed.clone(), Arc::clone(tally));
        let cause = Arc::clone(&why);
        // Pings are answered by hand: libp2p's own behaviour pings too, and of two streams for pings the victim serves the
        // later.
        let pings = control.accept(StreamProtocol::new(PING))?;
        let status: Arc<[u8]> = status_of(target.digest).into();
        let answering = each(pings, echo);
        let telling = each(asked, move |stream| tell(stream, Arc::clone(&status)));
        let driving = async move {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { .. } => {
                        counts.let_in[way as usize].fetch_add(1, Ordering::Relaxed);
                        begun.cancel();
                    }
                    SwarmEvent::ConnectionClosed {
                        num_established: 0,
                        cause: of,
                        ..
                    } => {
                        let _ = cause.set(format!("closed: {of:?}"));
                        return ended.cancel();
                    }
                    SwarmEvent::OutgoingConnectionError { error, .. } => {
                        let _ = cause.set(error.to_string());
                        return ended.cancel();
                    }
                    _ => {}
                }
            }
        };
        let driver = tokio::spawn(async move {
            tokio::select! {
                () = driving => {}
                () = answering => {}
                () = telling => {}
            }
        });
        let line = Self {
            control,
            victim: target.peer,
            way,
            up,
            closed,
            why,
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

    /// Why the connection is closed, if it is.
    pub(crate) fn why_closed(&self) -> &str {
        self.why.get().map_or("it stands", String::as_str)
    }

    /// Resolves when the connection is closed, by whomever.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

/// The answer to a request for a status: one that any node of the network might tell.
fn status_of(fork_digest: ForkDigest) -> Vec<u8> {
    let status = PeerStatus {
        fork_digest,
        finalized_root: Root::ZERO,
        finalized_epoch: Epoch(0),
        head_root: Root::ZERO,
        head_slot: Slot(0),
        earliest_available_slot: Some(Slot(0)),
    };
    encode_success_chunk(&status.to_v2_bytes())
}

/// Does this with each stream that the victim opens, all at once, for ever.
async fn each<F: Future<Output = ()>>(mut streams: IncomingStreams, what: impl Fn(Stream) -> F) {
    let mut under_way = futures::stream::FuturesUnordered::new();
    loop {
        tokio::select! {
            Some((_, stream)) = streams.next() => under_way.push(what(stream)),
            Some(()) = under_way.next() => {}
            else => std::future::pending().await,
        }
    }
}

/// Answers pings.
async fn echo(mut stream: Stream) {
    let mut ping = [0; PING_BYTES];
    while stream.read_exact(&mut ping).await.is_ok() {
        let _ = stream.write_all(&ping).await;
        let _ = stream.flush().await;
    }
}

/// Tells a status: nobody stays who tells none. What the victim says of itself is of no interest.
async fn tell(mut stream: Stream, status: Arc<[u8]>) {
    let _ = stream.read(&mut [0; 256]).await;
    let _ = stream.write_all(&status).await;
    let _ = stream.close().await;
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

/// Messages in one RPC, as it goes out.
pub(crate) fn publish(topic: &str, messages: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let published = messages.into_iter().map(|data| Published {
        data: Some(data),
        topic: topic.to_owned(),
    });
    Rpc {
        publish: published.collect(),
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
