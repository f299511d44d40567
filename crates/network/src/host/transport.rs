//! How peers are reached: TCP (by name too), noise, yamux, with the bytes counted.

use super::counted_io::CountedIo;
use crate::{NetworkError, counters::Counters};
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::{
    PeerId, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    dns,
    identity::Keypair,
    noise, tcp, yamux,
};
use std::time::Duration;

/// Time for connecting, encrypting and agreeing on a multiplexer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

type Secured = Boxed<(PeerId, StreamMuxerBox)>;

/// The transport of a node with this key. Where the system has no name resolver, names cannot be dialled.
pub(super) fn build(keypair: &Keypair, counters: &Counters) -> Result<Secured, NetworkError> {
    let tcp = || {
        let (received, sent) = (counters.bytes_received.clone(), counters.bytes_sent.clone());
        tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .map(move |socket, _| CountedIo::new(socket, received.clone(), sent.clone()))
    };
    match dns::tokio::Transport::system(tcp()) {
        Ok(by_name) => secured(by_name, keypair),
        Err(error) => {
            tracing::warn!(%error, "no name resolver: peers can be dialled by IP address alone");
            secured(tcp(), keypair)
        }
    }
}

fn secured<T>(transport: T, keypair: &Keypair) -> Result<Secured, NetworkError>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
{
    let encrypted = noise::Config::new(keypair).map_err(|e| NetworkError::Settings(format!("noise: {e}")))?;
    Ok(transport
        .upgrade(Version::V1)
        .authenticate(encrypted)
        .multiplex(yamux::Config::default())
        .timeout(CONNECT_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed())
}
