//! Noise as libp2p speaks it, for streams of megabytes.
//!
//! Every peer speaks "/noise", with ChaCha20-Poly1305. Nodes like this one agree on AES-256-GCM instead where both have
//! it in hardware: the same handshake and the same messages under another name, at a quarter of the cipher's cost, which
//! is the largest part of what serving proofs costs; at an eighth where the processor has AVX-512's forms of it, which
//! aws-lc has and ring has not. It is proposed to peers that may be such nodes (`by_peer`); one that
//! is not answers that it does not know that name and is asked for the usual one, a round trip later.
//!
//! The handshake is snow's. What follows it is a channel of our own over such a cipher: bytes are encrypted and decrypted
//! where they lie, in one buffer each way, and go to the socket and come from it many messages at once. libp2p's channel
//! copies each byte four times a side and reads 8 KiB at a time.
//!
//! | file | what it holds |
//! |---|---|
//! | `handshake` | the three messages, and who the peer is by them |
//! | `suite` | the two ciphers: names, nonces, and whether they are offered |
//! | `crypto` | what snow computes with |
//! | `keyed` | a channel's keys |
//! | `channel` | the encrypted bytes |

mod channel;
mod crypto;
mod handshake;
mod keyed;
mod suite;
#[cfg(test)]
mod tests;

pub(super) use channel::{Channel, MAX_TEXT};
use crypto::Resolver;
use futures::{
    FutureExt,
    future::BoxFuture,
    io::{AsyncRead, AsyncWrite},
};
use handshake::Role;
use libp2p::{
    PeerId,
    core::{
        UpgradeInfo,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
    },
    identity::Keypair,
};
use std::{io, sync::Arc};
pub(super) use suite::Offer;
use suite::Suite;

/// What the identity's key signs in front of the static key.
const SIGNATURE_DOMAIN: &[u8] = b"noise-libp2p-static-key:";
/// Most bytes of one message on the wire, its length of two bytes not counted.
const MAX_MESSAGE: usize = 65_535;

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoiseError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("noise: {0}")]
    Handshake(#[from] snow::Error),
    #[error("the message is no handshake payload: {0}")]
    Payload(#[from] prost::DecodeError),
    #[error("bytes where the first message has none")]
    NotEmpty,
    #[error("the identity key cannot be read: {0}")]
    IdentityKey(#[from] libp2p::identity::DecodingError),
    #[error("the identity's key has not signed the static key")]
    BadSignature,
    #[error("the static key cannot be signed: {0}")]
    Signing(#[from] libp2p::identity::SigningError),
    #[error("the handshake is not at its end")]
    Unfinished,
}

/// The upgrade to noise: this node's keys, and what it offers.
#[derive(Clone)]
pub(super) struct Noise {
    keys: Arc<Keys>,
    offer: Offer,
}

/// A static key for all channels of this node's run, and what proves whose it is.
struct Keys {
    static_key: snow::Keypair,
    /// The handshake's payload.
    payload: Vec<u8>,
}

impl Noise {
    /// A new static key, signed by the identity's.
    pub(super) fn new(identity: &Keypair, offer: Offer) -> Result<Self, NoiseError> {
        let static_key = builder(Suite::ChaChaPoly)?.generate_keypair()?;
        let payload = handshake::payload(identity, &static_key.public)?;
        let keys = Arc::new(Keys { static_key, payload });
        Ok(Self { keys, offer })
    }

    fn handshake(&self, suite: Suite, role: Role) -> Result<snow::HandshakeState, NoiseError> {
        let builder = builder(suite)?.local_private_key(&self.keys.static_key.private)?;
        Ok(match role {
            Role::Initiator => builder.build_initiator()?,
            Role::Responder => builder.build_responder()?,
        })
    }

    async fn upgrade<S>(self, socket: S, suite: Suite, role: Role) -> Result<(PeerId, Channel<S>), NoiseError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let state = self.handshake(suite, role)?;
        handshake::run(socket, state, suite, role, &self.keys.payload).await
    }
}

fn builder<'a>(suite: Suite) -> Result<snow::Builder<'a>, snow::Error> {
    Ok(snow::Builder::with_resolver(
        suite.pattern().parse()?,
        Box::new(Resolver),
    ))
}

impl UpgradeInfo for Noise {
    type Info = Suite;
    type InfoIter = std::iter::Copied<std::slice::Iter<'static, Suite>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.offer.suites().iter().copied()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<S> for Noise {
    type Output = (PeerId, Channel<S>);
    type Error = NoiseError;
    type Future = BoxFuture<'static, Result<Self::Output, NoiseError>>;

    fn upgrade_inbound(self, socket: S, suite: Suite) -> Self::Future {
        self.upgrade(socket, suite, Role::Responder).boxed()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<S> for Noise {
    type Output = (PeerId, Channel<S>);
    type Error = NoiseError;
    type Future = BoxFuture<'static, Result<Self::Output, NoiseError>>;

    fn upgrade_outbound(self, socket: S, suite: Suite) -> Self::Future {
        self.upgrade(socket, suite, Role::Initiator).boxed()
    }
}
