//! Requests and responses over streams (protocol.md section 5, and the base protocols of phase0, altair, fulu, gloas).
//!
//! In: streams of peers, and what this node wants to ask. Out: answers from the store, the chain view and the beacon
//! node; answers of peers, checked; what peers say of themselves and do wrong, told to the peers' table (`PeerBook`).
//!
//! | file | what it holds |
//! |---|---|
//! | `protocol` | the table of protocols: ids, sizes, context bytes |
//! | `messages` | the containers of the base protocols |
//! | `behaviour` | streams to and from peers on every connection |
//! | `streams`, `rate` | bounds of what is served at once, and how fast |
//! | `wire` | reading requests, writing chunks |
//! | `server`, `server/*` | answers, by kind of protocol |
//! | `client`, `client/response` | `Requester`: what this node asks, and responses as they come |
//! | `relevance` | whether a peer's status is of this network and fork |
//! | `handshake` | what is asked of a peer when: a state machine |
//! | `conversation` | the task that asks it, one for each connected peer |
//! | `counters` | what is counted |

pub(crate) mod behaviour;
mod client;
mod conversation;
mod counters;
mod handshake;
mod messages;
mod protocol;
mod rate;
mod relevance;
mod server;
mod streams;
mod wire;

#[cfg(test)]
mod tests;

pub use client::{ProofResponse, RequestError, Requester, Stage};
pub use messages::{BlocksByRange, PeerMetadata, decode_head, decode_range, decode_roots, decode_uint64};
pub use protocol::Protocol;
pub use rate::{Quota, Quotas, Rate};
pub use streams::StreamLimits;

pub(crate) use behaviour::{Behaviour, Connections};
pub(crate) use client::RequesterParts;
pub(crate) use conversation::{ConversationParts, Conversations};
pub(crate) use counters::RpcCounters;
pub(crate) use server::{Server, ServerParts};

use crate::{Direction, Fault, PeerStatus};
use assay_chain::{BlockAt, BlockSource, ChainStatus, KnownNodes, RawBlock, SourceError};
use assay_types::{ExecutionProofStatus, Root};
use async_trait::async_trait;
use libp2p::PeerId;
use std::time::Duration;
use streams::USUAL_PEERS;

/// Time for each stage of a request, ours or a peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RpcTimeouts {
    /// Serving: from the stream's opening to the whole request.
    pub request_read: Duration,
    /// Serving: for each chunk to be taken, what its limits delay it by not counted. 4 MiB in this time is the slowest
    /// that a peer may be.
    pub chunk_write: Duration,
    /// Serving: for a block to come from the beacon node before its chunk begins, the wait behind others included; after it
    /// the block is unavailable. Less than the 10 s that clients wait for an answer.
    pub block_fetch: Duration,
    /// Asking: until the stream is open, its protocol agreed on and the request sent.
    pub open: Duration,
    /// Asking: until the first byte of the response. A peer that delays by its own limits is waited for.
    pub first_byte: Duration,
    /// Asking: for each further chunk.
    pub chunk_read: Duration,
}

impl Default for RpcTimeouts {
    fn default() -> Self {
        Self {
            request_read: Duration::from_secs(10),
            chunk_write: Duration::from_secs(20),
            block_fetch: Duration::from_secs(8),
            open: Duration::from_secs(10),
            first_byte: Duration::from_secs(20),
            chunk_read: Duration::from_secs(30),
        }
    }
}

/// How requests are served and asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RpcConfig {
    /// Streams served at once.
    pub streams: StreamLimits,
    /// How fast each peer is served.
    pub quotas: Quotas,
    /// Time for each stage.
    pub timeouts: RpcTimeouts,
    /// Bytes of proofs and blocks that may be in memory for responses, half of it for each; more where the smallest places
    /// of `peers` take more.
    pub response_memory: usize,
    /// Peers that may be connected: each has a place in that memory, whatever the others do.
    pub peers: usize,
    /// An extension of Assay's: proofs of `beta` are served by range and by root beside those of `alpha`, in the same
    /// protocols. No text of `beta` has any.
    pub envelopes: bool,
}

impl Default for RpcConfig {
    fn default() -> Self {
        Self {
            streams: StreamLimits::default(),
            quotas: Quotas::default(),
            timeouts: RpcTimeouts::default(),
            response_memory: 96 * 1024 * 1024,
            peers: USUAL_PEERS,
            envelopes: false,
        }
    }
}

impl RpcConfig {
    /// With places for as many peers, or those there are.
    #[must_use]
    pub fn for_peers(self, most: usize) -> Self {
        Self {
            streams: self.streams.for_peers(most),
            peers: self.peers.max(most),
            ..self
        }
    }
}

/// Reasons for which a peer's stream is dropped without an answer, beside the bounds of `streams::Full`.
pub(crate) const DROP_READ_TIMED_OUT: &str = "request_timed_out";
pub(crate) const DROP_READ_FAILED: &str = "request_not_read";
pub(crate) const DROP_ENDING: &str = "node_ends";

/// What this node says in `ExecutionProofStatus`.
pub trait LocalProofStatus: Send + Sync + 'static {
    /// The newest block sufficiently proven, and the types verified; the zero root and slot 0 before any is proven.
    fn local_proof_status(&self) -> ExecutionProofStatus;
}

/// Of a network without a beacon node: no head, no blocks. Peers are told that they are unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoBlocks;

#[async_trait]
impl BlockSource for NoBlocks {
    fn chain_status(&self) -> Option<ChainStatus> {
        None
    }
    async fn block(&self, _: BlockAt) -> Result<Option<RawBlock>, SourceError> {
        Ok(None)
    }
    async fn envelope(&self, _: Root) -> Result<Option<RawBlock>, SourceError> {
        Ok(None)
    }
    async fn known_nodes(&self) -> Result<KnownNodes, SourceError> {
        Ok(KnownNodes::default())
    }
}

/// The peers' table, as far as requests tell it. Never blocks.
pub(crate) trait PeerBook: Send + Sync + 'static {
    /// A peer told its status.
    fn status(&self, peer: &PeerId, status: PeerStatus);
    /// A peer told its metadata.
    fn metadata(&self, peer: &PeerId, metadata: PeerMetadata);
    /// A peer told its proof status.
    fn proof_status(&self, peer: &PeerId, status: ExecutionProofStatus);
    /// A peer said goodbye; the connection is being closed.
    fn said_goodbye(&self, peer: &PeerId);
    /// A peer did something wrong. What follows (goodbye, disconnection, ban) is decided there.
    fn report(&self, peer: &PeerId, fault: Fault);
    /// `eproof` of a peer's record: 0 where the record has none, `None` where no record is known.
    fn eproof(&self, peer: &PeerId) -> Option<u8>;
}

/// The direction of a peer's request.
pub(crate) const THEIRS: Direction = Direction::Inbound;
/// The direction of a request of this node's.
pub(crate) const OURS: Direction = Direction::Outbound;
