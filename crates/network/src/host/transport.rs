//! How peers are reached: QUIC, and TCP with noise and yamux (mplex where asked for), by name too, with the bytes
//! counted.

use super::{
    by_peer::ByPeer,
    counted_io::{CountedIo, CountedMuxer},
    gossip_streams::{GossipStreams, Watched},
    mplex::Mplex,
    noise::{Noise, Offer},
    yamux::Yamux,
};
use crate::{NetworkConfig, NetworkError, counters::Counters};
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::Boxed,
        upgrade::{SelectUpgrade, Version},
    },
    dns,
    identity::Keypair,
    tcp,
};
use libp2p_quic as quic;
use std::time::Duration;

/// Time for connecting, encrypting and agreeing on a multiplexer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// What a peer may send on one QUIC stream before it is read: 31 Mbit/s over 100 ms, 50 over 63 ms.
const QUIC_STREAM_WINDOW: u32 = 384 << 10;
/// And on all streams of a connection: two that nobody reads leave a third of 256 KiB. Proof sync has two requests at a
/// peer, and reads no further while a proof is judged; with a gossip stream that waits for the host beside both the
/// connection waits, as long as verifier or host do. 110 MiB of 110 connections: no account over all is possible here, as
/// quinn's windows are given once.
const QUIC_CONNECTION_WINDOW: u32 = 1 << 20;

pub(super) type Secured = Boxed<(PeerId, StreamMuxerBox)>;

/// The transport of a node with this key. Where the system has no name resolver, names cannot be dialled.
pub(super) fn build(
    config: &NetworkConfig,
    keypair: &Keypair,
    counters: &Counters,
    streams: &GossipStreams,
    is_alike: impl Fn(&PeerId) -> bool + Clone + Send + Unpin + 'static,
) -> Result<Secured, NetworkError> {
    let by_address = || by_address(config, keypair, counters, streams, is_alike.clone());
    match dns::tokio::Transport::system(by_address()?) {
        Ok(by_name) => Ok(by_name.boxed()),
        Err(error) => {
            tracing::warn!(%error, "no name resolver: peers can be dialled by IP address alone");
            by_address()
        }
    }
}

/// As `build`, of addresses without names.
pub(super) fn by_address(
    config: &NetworkConfig,
    keypair: &Keypair,
    counters: &Counters,
    streams: &GossipStreams,
    is_alike: impl Fn(&PeerId) -> bool + Send + Unpin + 'static,
) -> Result<Secured, NetworkError> {
    // One for all connections: so are the bounds of what they hold.
    let yamux = Yamux::default();
    let tcp = |offer| {
        let (received, sent) = (counters.bytes_received.clone(), counters.bytes_sent.clone());
        let sockets = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .map(move |socket, _| CountedIo::new(socket, received.clone(), sent.clone()));
        let encrypted =
            Noise::new(keypair, offer).map_err(|e| NetworkError::Settings(format!("noise: {e}")))?;
        Ok::<_, NetworkError>(secured(sockets, encrypted, yamux.clone(), config.enable_mplex))
    };
    let standard = tcp(Offer::Standard)?;
    let tcp = match Offer::of_this_machine() {
        Offer::AesFirst if !config.standard_noise_alone => {
            ByPeer::new(tcp(Offer::AesFirst)?, standard, is_alike).boxed()
        }
        _ => standard,
    };
    if config.disable_quic {
        return Ok(watched(tcp, streams));
    }
    let mut settings = quic::Config::new(keypair);
    settings.max_stream_data = QUIC_STREAM_WINDOW;
    settings.max_connection_data = QUIC_CONNECTION_WINDOW;
    let (received, sent) = (counters.bytes_received.clone(), counters.bytes_sent.clone());
    let quic = quic::tokio::Transport::new(settings).map(move |(peer, connection), _| {
        let muxer = CountedMuxer::new(StreamMuxerBox::new(connection), received.clone(), sent.clone());
        (peer, StreamMuxerBox::new(muxer))
    });
    let either = quic.or_transport(tcp).map(|either, _| either.into_inner());
    Ok(watched(either.boxed(), streams))
}

/// Gossip's streams are looked at.
fn watched(transport: Secured, streams: &GossipStreams) -> Secured {
    let streams = streams.clone();
    transport
        .map(move |(peer, muxer), _| {
            let muxer = Watched::new(muxer, peer, streams.clone());
            (peer, StreamMuxerBox::new(muxer))
        })
        .boxed()
}

fn secured<T>(transport: T, encrypted: Noise, yamux: Yamux, with_mplex: bool) -> Secured
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
{
    let transport = transport.upgrade(Version::V1).authenticate(encrypted);
    if with_mplex {
        return transport
            .multiplex(SelectUpgrade::new(yamux, Mplex::default()))
            .timeout(CONNECT_TIMEOUT)
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
            .boxed();
    }
    transport
        .multiplex(yamux)
        .timeout(CONNECT_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{
        super::mplex::{MAX_BUFFERED, MAX_HELD, MAX_PART, MAX_STREAMS},
        *,
    };
    use crate::NodeKey;
    use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::poll_fn};
    use libp2p::{
        Multiaddr,
        core::{
            Endpoint,
            muxing::{StreamMuxer, SubstreamBox},
            transport::{DialOpts, ListenerId, PortUse, TransportEvent},
        },
        noise,
    };
    use std::{pin::Pin, task::Context};
    use tokio::sync::mpsc;

    const MIB: usize = 1 << 20;

    /// What nobody reads of an mplex stream stops coming, whatever the peer has to say.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn unread_mplex_frames_stop_the_connection() {
        let dir = tempfile::tempdir().unwrap();
        let config = NetworkConfig {
            enable_mplex: true,
            disable_quic: true,
            ..NetworkConfig::new(dir.path())
        };
        let (key, counters) = (NodeKey::generate().keypair(), Counters::default());
        let mut listener =
            by_address(&config, &key, &counters, &GossipStreams::default(), |_| false).unwrap();
        let any: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().unwrap();
        listener.listen_on(ListenerId::next(), any).unwrap();
        let Some(TransportEvent::NewAddress { listen_addr, .. }) = listener.next().await else {
            panic!("does not listen");
        };
        let mut mplex = libp2p_mplex::Config::new();
        mplex.set_split_send_size(MIB);
        let mut dialler = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&NodeKey::generate().keypair()).unwrap())
            .multiplex(mplex)
            .boxed();
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let dialled = dialler.dial(listen_addr, options).unwrap();
        let taken = async {
            loop {
                if let Some(TransportEvent::Incoming { upgrade, .. }) = listener.next().await {
                    return upgrade.await.unwrap().1;
                }
            }
        };
        let (dialled, mut taken) = tokio::join!(dialled, taken);
        let mut theirs = dialled.unwrap().1;
        let mut stream = poll_fn(|cx| Pin::new(&mut theirs).poll_outbound(cx))
            .await
            .unwrap();
        let sent = tokio::spawn(async move {
            let _muxer = theirs;
            for _ in 0..64 {
                stream.write_all(&[7; MIB]).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        // The connection is driven, streams are taken, none is read.
        let driven = tokio::spawn(async move {
            let mut streams = Vec::new();
            loop {
                let stream = poll_fn(|cx| {
                    let _ = Pin::new(&mut taken).poll(cx);
                    Pin::new(&mut taken).poll_inbound(cx)
                });
                streams.push(stream.await.unwrap());
            }
        });
        let received = || usize::try_from(counters.bytes_received.get()).unwrap();
        let mut last = 0;
        let stops = async {
            while received() > last || last < MAX_BUFFERED * MAX_PART {
                last = received();
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), stops)
            .await
            .unwrap();
        assert!(!sent.is_finished());
        // Of one stream, and what encryption has read and not handed on.
        assert!(last <= MAX_HELD / MAX_STREAMS + 256 * 1024, "{last} bytes taken");
        driven.abort();
        sent.abort();
    }

    /// Drives a connection and gives the streams that the peer opens.
    fn arriving(
        mut muxer: StreamMuxerBox,
    ) -> (mpsc::UnboundedReceiver<SubstreamBox>, tokio::task::JoinHandle<()>) {
        let (arrived, arriving) = mpsc::unbounded_channel();
        let driven = tokio::spawn(async move {
            let next = |muxer: &mut StreamMuxerBox, cx: &mut Context<'_>| {
                let _ = Pin::new(&mut *muxer).poll(cx);
                Pin::new(muxer).poll_inbound(cx)
            };
            while let Ok(stream) = poll_fn(|cx| next(&mut muxer, cx)).await {
                let _ = arrived.send(stream);
            }
        });
        (arriving, driven)
    }

    /// Two QUIC streams that nobody reads hold up no third.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn unread_quic_streams_leave_room_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let side = || {
            let key = NodeKey::generate().keypair();
            let (config, counters) = (NetworkConfig::new(dir.path()), Counters::default());
            by_address(&config, &key, &counters, &GossipStreams::default(), |_| false).unwrap()
        };
        let (mut listener, mut dialler) = (side(), side());
        let any: Multiaddr = "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap();
        listener.listen_on(ListenerId::next(), any).unwrap();
        let Some(TransportEvent::NewAddress { listen_addr, .. }) = listener.next().await else {
            panic!("does not listen");
        };
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let dialled = dialler.dial(listen_addr, options).unwrap();
        let taken = async {
            loop {
                if let Some(TransportEvent::Incoming { upgrade, .. }) = listener.next().await {
                    return upgrade.await.unwrap().1;
                }
            }
        };
        let (dialled, taken) = tokio::join!(dialled, taken);
        let mut theirs = dialled.unwrap().1;
        let mut open = async || {
            poll_fn(|cx| Pin::new(&mut theirs).poll_outbound(cx))
                .await
                .unwrap()
        };
        let mut streams = [open().await, open().await, open().await];
        let (mut arriving, taken) = arriving(taken);
        let (_, theirs) = self::arriving(theirs);
        let [first, second, third] = &mut streams;
        let unread = async {
            // As much as ever goes: a write that does not end.
            let all = vec![7; 3 * MIB];
            tokio::join!(first.write_all(&all), second.write_all(&all))
        };
        let written = tokio::time::timeout(Duration::from_secs(1), unread).await;
        assert!(written.is_err(), "no window");
        let mut kept = [arriving.recv().await.unwrap(), arriving.recv().await.unwrap()];
        for stream in &mut kept {
            stream.read_exact(&mut [0]).await.unwrap();
        }
        let read = async {
            let mut last = arriving.recv().await.unwrap();
            let mut bytes = Vec::new();
            last.read_to_end(&mut bytes).await.unwrap();
            bytes.len()
        };
        let written = async {
            third.write_all(&vec![9; 2 * MIB]).await.unwrap();
            third.close().await.unwrap();
        };
        let passed = async { tokio::join!(read, written).0 };
        let passed = tokio::time::timeout(Duration::from_secs(20), passed).await;
        assert_eq!(passed.unwrap(), 2 * MIB);
        taken.abort();
        theirs.abort();
    }
}
