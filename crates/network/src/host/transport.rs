//! How peers are reached: TCP (by name too), noise, yamux, with the bytes counted.

use super::counted_io::CountedIo;
use crate::{NetworkError, counters::Counters};
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

/// The transport of a node with this key.
pub(super) fn build(
    keypair: &Keypair,
    counters: &Counters,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetworkError> {
    let (received, sent) = (counters.bytes_received.clone(), counters.bytes_sent.clone());
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .map(move |socket, _| CountedIo::new(socket, received.clone(), sent.clone()));
    let by_name = dns::tokio::Transport::system(tcp)
        .map_err(|e| NetworkError::Settings(format!("the system's name resolver: {e}")))?;
    let encrypted = noise::Config::new(keypair).map_err(|e| NetworkError::Settings(format!("noise: {e}")))?;
    Ok(by_name
        .upgrade(Version::V1)
        .authenticate(encrypted)
        .multiplex(yamux::Config::default())
        .timeout(CONNECT_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed())
}
