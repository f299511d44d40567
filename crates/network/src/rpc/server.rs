//! Answers to peers' requests.
//!
//! Every stream is a task of its own, within bounds (`streams`). A request is read within its time, judged, and answered
//! chunk by chunk as fast as the peer's limits and the peer itself let it, while nothing may follow it (the requester
//! closes its half, or writes no more). What is in memory for responses is bounded over all of them together, and nobody
//! waits for what another peer takes slowly (`Room`).

mod base;
mod blocks;
mod proofs;
mod room;
mod section;

use super::{
    Connections, Conversations, DROP_ENDING, DROP_READ_FAILED, DROP_READ_TIMED_OUT, LocalProofStatus,
    PeerBook, PeerMetadata, Protocol, RpcConfig, RpcCounters, THEIRS,
    behaviour::Host,
    rate::RateLimits,
    streams::{Full, Place, Streams},
    wire::{ChunkWriter, Pace, RequestReadError, WriteError, nothing_more, read_request},
};
use crate::{
    Fault,
    framing::{ErrorCode, FramingError, max_frames_len},
};
use assay_chain::{BlockSource, Chain};
use assay_store::Store;
use futures::{AsyncReadExt, io::WriteHalf};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use room::{Division, Room, Shares, SlowReaders, Taken, is_slow};
use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Most frames of a proof in a small place: 256 KiB, of which the multiplexer makes two writes.
const PROOF_FRAMES: usize = 4;
/// And of a block: most blocks have fewer bytes.
const BLOCK_FRAMES: usize = 2;
/// Proofs being read for small places at once, and what each takes beside them: a page of the store, and what packs it.
const READS: usize = 4;
const READ_BYTES: usize = 512 * 1024;
/// Blocks being fetched at once; each may be as large as any.
const FETCHES: usize = 2;
/// A request without content is no bytes at all; its length, one byte, is no fault.
const EMPTY_REQUEST_LEN: usize = 1;

/// What answers are made from.
pub(crate) struct ServerParts {
    pub(crate) config: RpcConfig,
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) store: Store,
    pub(crate) blocks: Arc<dyn BlockSource>,
    pub(crate) proof_status: Arc<dyn LocalProofStatus>,
    /// This node's own metadata, as it is now.
    pub(crate) metadata: Arc<dyn Fn() -> PeerMetadata + Send + Sync>,
    pub(crate) peers: Arc<dyn PeerBook>,
    pub(crate) connections: Connections,
    pub(crate) conversations: Conversations,
    pub(crate) counters: RpcCounters,
    pub(crate) shutdown: CancellationToken,
}

/// Takes peers' streams.
#[derive(Clone)]
pub(crate) struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    parts: ServerParts,
    streams: Streams,
    limits: Arc<Mutex<RateLimits>>,
    /// For proofs and for blocks apart: a slow beacon node holds up no proofs.
    room: Room,
    block_room: Room,
    /// One place in each room for each peer, whatever it has under way.
    shares: Shares,
    block_shares: Shares,
    /// Who holds room for long: these get no large places.
    slow_readers: SlowReaders,
}

/// A request that gets an error chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: ErrorCode,
    /// At most 256 bytes go out (protocol.md section 5).
    message: String,
}

impl Refusal {
    fn invalid(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::InvalidRequest,
            message: message.into(),
        }
    }

    fn server_error(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::ServerError,
            message: message.into(),
        }
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self {
            code: ErrorCode::ResourceUnavailable,
            message: message.into(),
        }
    }
}

/// Why a response ended before its end.
enum Stop {
    /// With an error chunk.
    Refused(Refusal),
    /// The peer wrote on behind its request: with an error chunk where nothing has been answered yet.
    WroteOn(FramingError),
    /// The peer is gone, or too slow.
    Lost(WriteError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RequestReadError> for Stop {
    fn from(error: RequestReadError) -> Self {
        match error {
            RequestReadError::Framing(error) => Self::WroteOn(error),
            RequestReadError::Io(error) => Self::Lost(WriteError::Io(error)),
            RequestReadError::TimedOut => Self::Lost(WriteError::TimedOut),
        }
    }
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        Self::Lost(error)
    }
}

type Writer = ChunkWriter<WriteHalf<Stream>>;

impl Server {
    pub(crate) fn new(parts: ServerParts) -> Self {
        let config = parts.config;
        let (bytes, peers) = (config.response_memory / 2, config.peers);
        let block = usize::try_from(parts.chain.spec().max_payload_size).unwrap_or(usize::MAX);
        Self {
            inner: Arc::new(Inner {
                streams: Streams::new(config.streams),
                limits: Arc::new(Mutex::new(RateLimits::new(config.quotas))),
                shares: Shares::default(),
                block_shares: Shares::default(),
                slow_readers: SlowReaders::default(),
                room: Room::new(Division::new(bytes, peers, PROOF_FRAMES, READS, READ_BYTES)),
                block_room: Room::new(Division::new(bytes, peers, BLOCK_FRAMES, FETCHES, block)),
                parts,
            }),
        }
    }
}

impl Host for Server {
    fn accept(&self, peer: PeerId, protocol: Protocol, stream: Stream) {
        let inner = &self.inner;
        match inner.streams.enter(peer, protocol) {
            Ok(place) => {
                inner.gauge_streams();
                tokio::spawn(Arc::clone(inner).serve(peer, protocol, stream, place));
            }
            // The stream is dropped here, which resets it.
            Err(full) => {
                inner.parts.counters.dropped(protocol, full.label());
                // Where all places are taken, that is no peer's fault.
                if full != Full::Total {
                    inner.parts.peers.report(&peer, Fault::Flooding);
                }
            }
        }
    }

    fn connected(&self, peer: PeerId, dialled: bool) {
        self.inner.parts.conversations.begin(peer, dialled);
    }

    fn disconnected(&self, peer: PeerId) {
        self.inner.streams.leave(&peer);
        self.inner.parts.conversations.end(&peer);
    }
}

impl Inner {
    fn gauge_streams(&self) {
        let open = i64::try_from(self.streams.len()).unwrap_or(i64::MAX);
        self.parts.counters.streams.set(open);
    }

    async fn serve(self: Arc<Self>, peer: PeerId, protocol: Protocol, stream: Stream, mut place: Place) {
        tokio::select! {
            () = self.parts.shutdown.cancelled() => self.parts.counters.dropped(protocol, DROP_ENDING),
            lost = place.lost() => self.parts.counters.dropped(protocol, lost.label()),
            () = self.answer(peer, protocol, stream) => {}
        }
        drop(place);
        self.gauge_streams();
    }

    async fn answer(&self, peer: PeerId, protocol: Protocol, stream: Stream) {
        let parts = &self.parts;
        let bounds = protocol.request_bounds(parts.chain.spec());
        let count = |n| parts.counters.read(protocol, THEIRS, n);
        let (mut incoming, outgoing) = stream.split();
        let request = if protocol.has_request() {
            match read_request(&mut incoming, bounds, parts.config.timeouts.request_read, count).await {
                Ok(request) => Ok(request),
                Err(RequestReadError::Framing(error)) => Err(Refusal::invalid(error.to_string())),
                Err(RequestReadError::TimedOut) => {
                    parts.counters.dropped(protocol, DROP_READ_TIMED_OUT);
                    parts.peers.report(&peer, Fault::TimedOut);
                    return;
                }
                Err(RequestReadError::Io(error)) => {
                    tracing::trace!(%peer, protocol = protocol.label(), %error, "request not read");
                    parts.counters.dropped(protocol, DROP_READ_FAILED);
                    return;
                }
            }
        } else {
            Ok(Vec::new())
        };
        let passed_over = match &request {
            Ok(_) if protocol.has_request() => 0,
            Ok(_) => EMPTY_REQUEST_LEN,
            // The rest of what was refused at its first wrong byte.
            Err(_) => max_frames_len(bounds.max),
        };
        let pace = Pace {
            peer,
            protocol,
            limits: Arc::clone(&self.limits),
            timeouts: parts.config.timeouts,
            counters: parts.counters.clone(),
        };
        let mut writer = ChunkWriter::new(outgoing, pace.clone());
        let outcome = tokio::select! {
            // What has come is looked at first.
            biased;
            behind = async {
                match nothing_more(&mut incoming, passed_over, count).await {
                    // A goodbye is heard although its peer hangs up behind it.
                    RequestReadError::Io(_) if protocol == Protocol::Goodbye => pending().await,
                    behind => behind,
                }
            } => Err(behind.into()),
            outcome = async {
                pace.wait(1, 0).await;
                self.respond(&peer, protocol, &request?, &mut writer).await
            } => outcome,
        };
        let says_goodbye = protocol == Protocol::Goodbye && outcome.is_ok();
        let result = match outcome {
            Ok(()) => writer.finish().await.map_or_else(|e| e.label(), |()| "ok"),
            Err(Stop::Refused(refusal)) => {
                let Refusal { code, message } = refusal;
                tracing::debug!(%peer, protocol = protocol.label(), ?code, message, "request refused");
                let result = match code {
                    ErrorCode::InvalidRequest => {
                        parts.peers.report(&peer, Fault::InvalidRequest);
                        "invalid_request"
                    }
                    ErrorCode::ResourceUnavailable => "resource_unavailable",
                    _ => "server_error",
                };
                match writer.error(code, &message).await {
                    Ok(()) => result,
                    Err(error) => error.label(),
                }
            }
            Err(Stop::WroteOn(error)) => {
                tracing::debug!(%peer, protocol = protocol.label(), %error, "request refused");
                parts.peers.report(&peer, Fault::InvalidRequest);
                // Nothing is in its way then; later, one that takes nothing would keep what it wrote unread.
                if writer.is_untouched() {
                    let _ = writer.error(ErrorCode::InvalidRequest, &error.to_string()).await;
                }
                "invalid_request"
            }
            Err(Stop::Lost(error)) => {
                tracing::debug!(%peer, protocol = protocol.label(), %error, "response not taken");
                // No fault: over yamux, a peer that wants no more of a response cannot say so once its half is closed.
                error.label()
            }
        };
        parts.counters.request(protocol, THEIRS, result);
        if says_goodbye {
            parts.connections.close(peer);
        }
    }

    async fn respond(
        &self,
        peer: &PeerId,
        protocol: Protocol,
        request: &[u8],
        writer: &mut Writer,
    ) -> Result<(), Stop> {
        match protocol {
            Protocol::StatusV1 | Protocol::StatusV2 => self.status(peer, protocol, request, writer).await,
            Protocol::Ping => self.ping(peer, request, writer).await,
            Protocol::MetadataV1 | Protocol::MetadataV2 | Protocol::MetadataV3 => {
                self.metadata(protocol, writer).await
            }
            Protocol::Goodbye => self.goodbye(peer, request, writer).await,
            Protocol::BlocksByRangeV2 => self.blocks_by_range(request, writer).await,
            Protocol::BlocksByRootV2 => self.blocks_by_root(request, writer).await,
            Protocol::BlocksByHead => self.blocks_by_head(request, writer).await,
            Protocol::EnvelopesByRange => self.envelopes_by_range(request, writer).await,
            Protocol::EnvelopesByRoot => self.envelopes_by_root(request, writer).await,
            Protocol::ExecutionProofsByRange => self.proofs_by_range(request, writer).await,
            Protocol::ExecutionProofsByRoot => self.proofs_by_root(request, writer).await,
            Protocol::ExecutionProofStatus => self.proof_status(peer, request, writer).await,
        }
    }

    /// Writes one chunk whose bytes are this node's own.
    async fn reply(&self, writer: &mut Writer, ssz: &[u8]) -> Result<(), Stop> {
        writer.success(None, ssz).await?;
        Ok(())
    }

    /// Notes who was slow to take a chunk of so many bytes.
    fn sent(&self, peer: PeerId, len: usize, taken: Result<Duration, WriteError>) -> Result<(), Stop> {
        let slow = match &taken {
            Ok(time) => is_slow(*time, len),
            Err(WriteError::TimedOut) => true,
            Err(WriteError::Io(_) | WriteError::Gone) => false,
        };
        if slow {
            self.parts.counters.slow_chunks.inc();
            self.slow_readers.note(peer, Instant::now());
        }
        taken?;
        Ok(())
    }

    /// A large place, if there is one and the peer was not slow lately.
    fn large_place(&self, peer: &PeerId, room: &Room, most: usize) -> Option<Taken> {
        room.large(most).filter(|_| !self.is_slow(peer))
    }

    fn is_slow(&self, peer: &PeerId) -> bool {
        self.slow_readers.contains(peer, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `StreamLimits` reckons with.
    #[test]
    fn a_stream_that_waits_takes_little() {
        fn size_of_future<F>(_: impl Fn(Arc<Inner>, PeerId, Protocol, Stream, Place) -> F) -> usize {
            size_of::<F>()
        }
        let size = size_of_future(Inner::serve);
        assert!(size <= 16 * 1024, "{size} bytes");
    }
}
