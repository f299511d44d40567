//! `Requester`: what this node asks of peers.

mod response;

pub use response::ProofResponse;

use super::{
    Connections, OURS, PeerBook, PeerMetadata, Protocol, RpcCounters, RpcTimeouts, behaviour::OpenError,
    conversation::local_status, messages::decode_uint64,
};
use crate::{
    Fault, Goodbye, PeerStatus,
    framing::{ErrorCode, FramingError, encode_request},
};
use assay_chain::{BlockSource, Chain};
use assay_types::{ExecutionProofStatus, ExecutionProofsByRange, ProofByRootIdentifiers, SszContainer};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use response::Response;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Requests of ours under way at a time, of one protocol to one peer (phase0 p2p, `MAX_CONCURRENT_REQUESTS`).
const MAX_CONCURRENT_REQUESTS: usize = 2;
/// Requests that may wait behind them.
const MAX_WAITING: usize = 64;
/// Turnstiles kept before those nobody stands at are forgotten.
const MAX_TURNSTILES: usize = 1024;
/// Time for a goodbye to go out before the connection is closed all the same.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a request stood when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Opening the stream, agreeing on the protocol, sending the request.
    Open,
    /// Waiting for the first byte.
    FirstByte,
    /// Waiting for the next chunk, or for its end.
    Chunk,
}

/// Why a request has no answer, or a response ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No connection to this peer.
    #[error("not connected")]
    NotConnected,
    /// The peer does not speak the protocol.
    #[error("the peer does not speak the protocol")]
    Unsupported,
    /// Too many requests of this protocol to this peer wait already.
    #[error("too many requests to this peer wait already")]
    Busy,
    /// This node has nothing true to say yet.
    #[error("the own chain's head is not known yet")]
    NotReady,
    /// A stage took too long.
    #[error("no progress in time ({0:?})")]
    TimedOut(Stage),
    /// The connection or the stream broke, or ended before the answer: over yamux a reset stream, a closed connection and
    /// a half that the peer ended all read as the end. No fault: peers at their limits, and those that leave, do so.
    #[error("the stream was closed")]
    Closed,
    /// The peer said no.
    #[error("refused, code {}: {message}", code.as_byte())]
    Refused {
        /// Its result byte.
        code: ErrorCode,
        /// Its words, for logs: not to be trusted.
        message: String,
    },
    /// Bytes that are no response.
    #[error("malformed response: {0}")]
    Malformed(String),
    /// More chunks than were asked for.
    #[error("more chunks than were asked for")]
    TooMany,
    /// A proof of a type that was not asked for, or the same proof twice.
    #[error("a proof that was not asked for")]
    NotAskedFor,
}

impl RequestError {
    /// What the peer did wrong, if it did. The `Requester` has reported it already.
    pub const fn fault(&self) -> Option<Fault> {
        match self {
            Self::TimedOut(_) => Some(Fault::TimedOut),
            Self::Malformed(_) => Some(Fault::InvalidResponse),
            Self::TooMany | Self::NotAskedFor => Some(Fault::WrongProof),
            // A server's own trouble, and limits of its own, are no fault.
            Self::Refused { .. }
            | Self::NotConnected
            | Self::Unsupported
            | Self::Busy
            | Self::NotReady
            | Self::Closed => None,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Unsupported => "unsupported",
            Self::Busy => "busy",
            Self::NotReady => "not_ready",
            Self::TimedOut(Stage::Open) => "open_timed_out",
            Self::TimedOut(Stage::FirstByte) => "first_byte_timed_out",
            Self::TimedOut(Stage::Chunk) => "chunk_timed_out",
            Self::Closed => "closed",
            Self::Refused { .. } => "refused",
            Self::Malformed(_) => "malformed",
            Self::TooMany => "too_many",
            Self::NotAskedFor => "not_asked_for",
        }
    }
}

impl From<FramingError> for RequestError {
    fn from(error: FramingError) -> Self {
        match error {
            FramingError::TooManyChunks { .. } => Self::TooMany,
            error => Self::Malformed(error.to_string()),
        }
    }
}

impl From<OpenError> for RequestError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotConnected => Self::NotConnected,
            OpenError::Unsupported => Self::Unsupported,
            OpenError::TimedOut => Self::TimedOut(Stage::Open),
            OpenError::Io(error) => {
                tracing::trace!(%error, "stream not opened");
                Self::Closed
            }
        }
    }
}

/// What requests are made with.
pub(crate) struct RequesterParts {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) blocks: Arc<dyn BlockSource>,
    pub(crate) connections: Connections,
    pub(crate) peers: Arc<dyn PeerBook>,
    pub(crate) counters: RpcCounters,
    pub(crate) timeouts: RpcTimeouts,
}

/// Asks peers. At most two requests of a protocol are under way to a peer; further ones wait, up to a bound. Faults are
/// reported to the peers' table here, once. Cheap to clone.
#[derive(Clone)]
pub struct Requester {
    inner: Arc<Inner>,
}

struct Inner {
    parts: RequesterParts,
    turnstiles: Mutex<HashMap<(PeerId, Protocol), Arc<Turnstile>>>,
}

/// Two may pass; others wait in line.
struct Turnstile {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Turnstile {
    async fn pass(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::new(&self.waiting)?;
        // The semaphore is never closed.
        Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(|_| RequestError::Closed)
    }
}

/// One that waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Result<Self, RequestError> {
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            return Err(RequestError::Busy);
        }
        Ok(place)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Requester {
    pub(crate) fn new(parts: RequesterParts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                turnstiles: Mutex::default(),
            }),
        }
    }

    /// Exchanges status, version 2 or else 1.
    pub async fn status(&self, peer: PeerId) -> Result<PeerStatus, RequestError> {
        let parts = &self.inner.parts;
        let ours = local_status(parts.chain.as_ref(), parts.blocks.as_ref()).ok_or(RequestError::NotReady)?;
        let request = |protocol| match protocol {
            Protocol::StatusV1 => ours.to_v1_bytes(),
            _ => ours.to_v2_bytes(),
        };
        self.single(
            peer,
            &[Protocol::StatusV2, Protocol::StatusV1],
            request,
            PeerStatus::from_ssz_bytes,
        )
        .await
    }

    /// Says which metadata this node has, and learns the sequence number of the peer's.
    pub async fn ping(&self, peer: PeerId, seq_number: u64) -> Result<u64, RequestError> {
        let request = |_| seq_number.to_le_bytes().to_vec();
        self.single(peer, &[Protocol::Ping], request, decode_uint64).await
    }

    /// The peer's metadata, in the latest version it speaks.
    pub async fn metadata(&self, peer: PeerId) -> Result<PeerMetadata, RequestError> {
        let protocols = [Protocol::MetadataV3, Protocol::MetadataV2, Protocol::MetadataV1];
        self.single(peer, &protocols, |_| Vec::new(), PeerMetadata::from_ssz_bytes)
            .await
    }

    /// Exchanges proof status.
    pub async fn execution_proof_status(
        &self,
        peer: PeerId,
        ours: ExecutionProofStatus,
    ) -> Result<ExecutionProofStatus, RequestError> {
        let request = |_| ours.to_ssz_bytes();
        let limits = self.inner.parts.chain.spec().list_limits();
        let decode = |ssz: &[u8]| ExecutionProofStatus::from_ssz_bytes_within(ssz, &limits).ok();
        self.single(peer, &[Protocol::ExecutionProofStatus], request, decode)
            .await
    }

    /// Asks for the proofs of a range of canonical blocks. They come one by one from the response.
    pub async fn execution_proofs_by_range(
        &self,
        peer: PeerId,
        request: ExecutionProofsByRange,
    ) -> Result<ProofResponse, RequestError> {
        let spec = self.inner.parts.chain.spec();
        let most = request
            .count
            .saturating_mul(spec.max_execution_proofs_per_payload)
            .min(spec.max_request_execution_proofs());
        let response = self
            .begin(
                peer,
                &[Protocol::ExecutionProofsByRange],
                |_| request.to_ssz_bytes(),
                most,
            )
            .await?;
        Ok(ProofResponse::new(response, request.proof_types))
    }

    /// Asks for the proofs of blocks. An identifier without types is not to be sent (protocol.md section 5).
    pub async fn execution_proofs_by_root(
        &self,
        peer: PeerId,
        request: ProofByRootIdentifiers,
    ) -> Result<ProofResponse, RequestError> {
        let most = request.0.iter().map(|id| id.proof_types.len() as u64).sum();
        let mut types: Vec<_> = request
            .0
            .iter()
            .flat_map(|id| id.proof_types.iter().copied())
            .collect();
        types.sort_unstable();
        types.dedup();
        let response = self
            .begin(
                peer,
                &[Protocol::ExecutionProofsByRoot],
                |_| request.to_ssz_bytes(),
                most,
            )
            .await?;
        Ok(ProofResponse::new(response, types))
    }

    /// Says goodbye and hangs up. The connection is closed within seconds, whatever the peer does; what it does is no
    /// fault, and what it answers means nothing.
    pub async fn goodbye(&self, peer: PeerId, reason: Goodbye) {
        let parts = &self.inner.parts;
        let request = |_| reason.code().to_le_bytes().to_vec();
        let told = async {
            let (mut stream, protocol, _place) = self.open(peer, &[Protocol::Goodbye], request).await?;
            parts.counters.goodbye(OURS, reason.label());
            // Whatever comes, the end included, says that the peer has read it: closed at once, a connection may take
            // what is under way with it.
            match stream.read(&mut [0; 64]).await {
                Ok(n) => parts.counters.read(protocol, OURS, n),
                Err(error) => tracing::trace!(%peer, %error, "goodbye was told"),
            }
            Ok(())
        };
        let result: Result<(), RequestError> = timeout(GOODBYE_TIMEOUT, told)
            .await
            .unwrap_or(Err(RequestError::TimedOut(Stage::FirstByte)));
        let label = result.as_ref().map_or_else(RequestError::label, |()| "ok");
        parts.counters.request(Protocol::Goodbye, OURS, label);
        parts.connections.close(peer);
    }

    /// Whether the peer is connected.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.inner.parts.connections.is_connected(peer)
    }

    /// Asks for what has one chunk.
    async fn single<T>(
        &self,
        peer: PeerId,
        protocols: &[Protocol],
        request: impl Fn(Protocol) -> Vec<u8>,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<T, RequestError> {
        let response = self.begin(peer, protocols, request, 1).await?;
        response.single(decode).await
    }

    /// Sends a request by the first of these protocols that the peer speaks, and says how that went.
    async fn begin(
        &self,
        peer: PeerId,
        protocols: &[Protocol],
        request: impl Fn(Protocol) -> Vec<u8>,
        most_chunks: u64,
    ) -> Result<Response, RequestError> {
        let Some(first) = protocols.first().copied() else {
            return Err(RequestError::Unsupported);
        };
        match self.open(peer, protocols, request).await {
            Ok((stream, protocol, place)) => Ok(Response::new(
                Arc::clone(&self.inner),
                peer,
                protocol,
                stream,
                most_chunks,
                place,
            )),
            Err(error) => {
                self.inner.ended(&peer, first, &error);
                Err(error)
            }
        }
    }

    /// Opens a stream by the first of these protocols that the peer speaks, and sends a request.
    async fn open(
        &self,
        peer: PeerId,
        protocols: &[Protocol],
        request: impl Fn(Protocol) -> Vec<u8>,
    ) -> Result<(Stream, Protocol, OwnedSemaphorePermit), RequestError> {
        let Some(first) = protocols.first().copied() else {
            return Err(RequestError::Unsupported);
        };
        let parts = &self.inner.parts;
        let place = self.inner.turnstile(peer, first).pass().await?;
        let opening = async {
            let (mut stream, protocol) = parts.connections.open(&peer, protocols).await?;
            send(&mut stream, protocol, &request(protocol), &parts.counters).await?;
            Ok::<_, RequestError>((stream, protocol))
        };
        let (stream, protocol) = timeout(parts.timeouts.open, opening)
            .await
            .unwrap_or(Err(RequestError::TimedOut(Stage::Open)))?;
        Ok((stream, protocol, place))
    }
}

async fn send(
    stream: &mut Stream,
    protocol: Protocol,
    ssz: &[u8],
    counters: &RpcCounters,
) -> Result<(), RequestError> {
    if protocol.has_request() {
        let wire = encode_request(ssz);
        stream.write_all(&wire).await.map_err(|_| RequestError::Closed)?;
        counters.written(protocol, OURS, wire.len());
    }
    // Ends our half: nothing more is asked on this stream.
    stream.close().await.map_err(|_| RequestError::Closed)
}

impl Inner {
    fn turnstile(&self, peer: PeerId, protocol: Protocol) -> Arc<Turnstile> {
        let mut turnstiles = self.turnstiles.lock();
        if turnstiles.len() >= MAX_TURNSTILES && !turnstiles.contains_key(&(peer, protocol)) {
            turnstiles.retain(|_, turnstile| {
                Arc::strong_count(turnstile) > 1
                    || turnstile.places.available_permits() < MAX_CONCURRENT_REQUESTS
            });
        }
        Arc::clone(turnstiles.entry((peer, protocol)).or_insert_with(|| {
            Arc::new(Turnstile {
                places: Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)),
                waiting: AtomicUsize::new(0),
            })
        }))
    }

    /// A request ended in vain: counted, and reported where it is the peer's fault.
    fn ended(&self, peer: &PeerId, protocol: Protocol, error: &RequestError) {
        self.parts.counters.request(protocol, OURS, error.label());
        if let Some(fault) = error.fault() {
            tracing::debug!(%peer, %error, "request failed by the peer's fault");
            self.parts.peers.report(peer, fault);
        }
    }
}
