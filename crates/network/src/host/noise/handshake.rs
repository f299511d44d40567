//! The handshake (noise XX): who the peer is, and keys that only the two have.

use super::{Channel, NoiseError, SIGNATURE_DOMAIN, keyed::Keyed, suite::Suite};
use futures::{
    AsyncReadExt, AsyncWriteExt,
    io::{AsyncRead, AsyncWrite},
};
use libp2p::{
    PeerId,
    identity::{Keypair, PublicKey},
};
use prost::Message;
use snow::HandshakeState;
use zeroize::Zeroizing;

/// Bytes that a message of the handshake has beside its payload, at most: two keys and two tags.
const OVERHEAD: usize = 2 * 32 + 2 * 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Who dialled: speaks first and last.
    Initiator,
    Responder,
}

/// libp2p's `NoiseHandshakePayload`; its extensions are not used on TCP and passed over.
#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "1")]
    identity_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    identity_sig: Vec<u8>,
}

/// What this node says of itself: whose the static key is.
pub(super) fn payload(identity: &Keypair, static_key: &[u8]) -> Result<Vec<u8>, NoiseError> {
    let payload = Payload {
        identity_key: identity.public().encode_protobuf(),
        identity_sig: identity.sign(&[SIGNATURE_DOMAIN, static_key].concat())?,
    };
    Ok(payload.encode_to_vec())
}

/// Says and hears the three messages. The peer, by its own signature, and the channel to it.
pub(super) async fn run<S>(
    mut socket: S,
    mut state: HandshakeState,
    suite: Suite,
    role: Role,
    ours: &[u8],
) -> Result<(PeerId, Channel<S>), NoiseError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let theirs = match role {
        Role::Initiator => {
            send(&mut socket, &mut state, &[]).await?;
            let theirs = receive(&mut socket, &mut state).await?;
            send(&mut socket, &mut state, ours).await?;
            theirs
        }
        Role::Responder => {
            if receive(&mut socket, &mut state).await? != Payload::default() {
                return Err(NoiseError::NotEmpty);
            }
            send(&mut socket, &mut state, ours).await?;
            receive(&mut socket, &mut state).await?
        }
    };
    let peer = identify(&theirs, state.get_remote_static())?;
    if !state.is_handshake_finished() {
        return Err(NoiseError::Unfinished);
    }
    let (initiators, responders) = state.dangerously_get_raw_split();
    let (initiators, responders) = (Zeroizing::new(initiators), Zeroizing::new(responders));
    let (ours, theirs) = match role {
        Role::Initiator => (initiators, responders),
        Role::Responder => (responders, initiators),
    };
    let channel = Channel::new(socket, Keyed::new(suite, &*ours)?, Keyed::new(suite, &*theirs)?);
    Ok((peer, channel))
}

/// Whose the static key is: the identity's that has signed it.
fn identify(payload: &Payload, static_key: Option<&[u8]>) -> Result<PeerId, NoiseError> {
    let identity = PublicKey::try_decode_protobuf(&payload.identity_key)?;
    let signed = [SIGNATURE_DOMAIN, static_key.ok_or(NoiseError::Unfinished)?].concat();
    if !identity.verify(&signed, &payload.identity_sig) {
        return Err(NoiseError::BadSignature);
    }
    Ok(identity.to_peer_id())
}

async fn send<S: AsyncWrite + Unpin>(
    socket: &mut S,
    state: &mut HandshakeState,
    payload: &[u8],
) -> Result<(), NoiseError> {
    let mut message = vec![0; 2 + payload.len() + OVERHEAD];
    let len = state.write_message(payload, &mut message[2..])?;
    // snow's messages have at most 65,535 bytes.
    message[..2].copy_from_slice(&(len as u16).to_be_bytes());
    socket.write_all(&message[..2 + len]).await?;
    socket.flush().await?;
    Ok(())
}

/// Reads one message and nothing behind it: what follows the last belongs to the channel.
async fn receive<S: AsyncRead + Unpin>(
    socket: &mut S,
    state: &mut HandshakeState,
) -> Result<Payload, NoiseError> {
    let mut len = [0; 2];
    socket.read_exact(&mut len).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(len))];
    socket.read_exact(&mut message).await?;
    let mut payload = vec![0; message.len()];
    let len = state.read_message(&message, &mut payload)?;
    Ok(Payload::decode(&payload[..len])?)
}
