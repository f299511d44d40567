//! `BlockSource`: what peers may be served from a beacon node, and what may be said of it in `status`.

use crate::{node_api::NodeError, view::Checkpoint};
use assay_types::{ForkDigest, ForkName, Root, Slot};
use async_trait::async_trait;
use bytes::Bytes;

/// What `status` (phase0, fulu p2p-interface) says of the chain. Each value was seen, none is hoped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainStatus {
    /// The finalized checkpoint; zero before any.
    pub finalized: Checkpoint,
    /// The head's block.
    pub head_root: Root,
    /// Its slot.
    pub head_slot: Slot,
    /// From this slot on the source gives the canonical blocks.
    pub earliest_available_slot: Slot,
}

/// Which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockAt {
    /// The canonical block of a slot.
    Slot(Slot),
    /// A block by its root, canonical or not.
    Root(Root),
}

/// A block or envelope as bytes, with what was checked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBlock {
    /// The block's slot.
    pub slot: Slot,
    /// The block's root; of an envelope, its block's.
    pub root: Root,
    /// The root of the block's parent; none of an envelope.
    pub parent_root: Option<Root>,
    /// The fork at that slot.
    pub fork: ForkName,
    /// The fork digest at that slot's epoch: the context bytes of a response.
    pub fork_digest: ForkDigest,
    /// `SignedBeaconBlock` or `SignedExecutionPayloadEnvelope`.
    pub ssz: Bytes,
}

/// Why there is no answer. None of it is the asking peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The beacon node cannot be asked, or cannot answer now.
    #[error("the beacon node cannot answer: {0}")]
    Unavailable(String),
    /// No answer in time.
    #[error("the beacon node did not answer in time")]
    TimedOut,
    /// Too many requests wait already.
    #[error("too many requests to the beacon node wait already")]
    Busy,
    /// The answer is not what was asked for, and is not passed on.
    #[error("the beacon node's answer cannot be used: {0}")]
    Wrong(String),
}

impl From<NodeError> for SourceError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Timeout(_) => Self::TimedOut,
            NodeError::TooLarge(_) | NodeError::Body(_) => Self::Wrong(error.to_string()),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// A node of the network. Texts are the teller's, bounded but not read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownNode {
    /// Its libp2p id.
    pub peer_id: Option<String>,
    /// Its node record.
    pub enr: Option<String>,
    /// Multiaddresses; of an inbound connection the port is the connection's, not one that listens.
    pub addresses: Vec<String>,
    /// Whether the beacon node dialled it; unknown of the node itself.
    pub outbound: Option<bool>,
}

/// Nodes that the beacon node knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownNodes {
    /// The beacon node itself, where it tells.
    pub own: Option<KnownNode>,
    /// Its connected peers.
    pub peers: Vec<KnownNode>,
}

/// Where blocks for peers come from.
#[async_trait]
pub trait BlockSource: Send + Sync + 'static {
    /// What is true of the chain now; `None` while there is no head, as before the beacon node was first reached.
    fn chain_status(&self) -> Option<ChainStatus>;
    /// A block. `None`: the slot is empty, or the source does not have it.
    async fn block(&self, at: BlockAt) -> Result<Option<RawBlock>, SourceError>;
    /// A block that is at hand: in memory whose bound is the source's, so that it costs nobody a request and, held for a
    /// moment, no more memory. `None`: `block` knows.
    fn block_at_hand(&self, _at: BlockAt) -> Option<RawBlock> {
        None
    }
    /// As `block_at_hand`, of the envelope of a Gloas block.
    fn envelope_at_hand(&self, _block_root: Root) -> Option<RawBlock> {
        None
    }
    /// The envelope of a Gloas block. `None`: it has none, or the source does not have it.
    async fn envelope(&self, block_root: Root) -> Result<Option<RawBlock>, SourceError>;
    /// Nodes to begin discovery with.
    async fn known_nodes(&self) -> Result<KnownNodes, SourceError>;
}
