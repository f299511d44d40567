//! A peer as the API and other parts of the network see it.

use assay_types::{Epoch, ExecutionProofStatus, ForkDigest, Root, Slot};
use libp2p::{Multiaddr, PeerId};

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}

impl Direction {
    /// As the Beacon API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// How a peer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// At least one connection is open.
    Connected,
    /// Being dialled.
    Connecting,
    /// Told goodbye, the connection not yet closed.
    Disconnecting,
    /// Not connected.
    Disconnected,
}

impl PeerState {
    /// As the Beacon API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Disconnecting => "disconnecting",
            Self::Disconnected => "disconnected",
        }
    }
}

/// What a peer said in `status` (version 1 or 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its fork digest.
    pub fork_digest: ForkDigest,
    /// Root of its finalized checkpoint.
    pub finalized_root: Root,
    /// Epoch of its finalized checkpoint.
    pub finalized_epoch: Epoch,
    /// Root of its head.
    pub head_root: Root,
    /// Slot of its head.
    pub head_slot: Slot,
    /// The first slot it has blocks from; version 2 alone says it.
    pub earliest_available_slot: Option<Slot>,
}

/// A peer as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerInfo {
    /// Its libp2p id.
    pub peer_id: PeerId,
    /// Its record in text form, where one is known.
    pub enr: Option<String>,
    /// Where it was last seen, or where it is dialled.
    pub address: Option<Multiaddr>,
    /// How it is doing.
    pub state: PeerState,
    /// Who opened the (last) connection.
    pub direction: Option<Direction>,
    /// What it calls itself (identify), where it has said so.
    pub agent: Option<String>,
    /// Its score, gossip's share included: 0 is good, below -20 it is disconnected, below -50 banned.
    pub score: f64,
    /// `eproof` of its record: `None` where no record is known, 0 where the record has none.
    pub eproof: Option<u8>,
    /// Whether it takes part in proofs: by its record at first, by what it does once it is connected.
    pub proof_aware: bool,
    /// Whether it was given by `--peer`.
    pub trusted: bool,
    /// Its latest `status`.
    pub status: Option<PeerStatus>,
    /// Its latest `execution_proof_status`.
    pub proof_status: Option<ExecutionProofStatus>,
    /// Sequence number of its latest `metadata`.
    pub metadata_seq: Option<u64>,
}

/// How many peers are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCount {
    /// Connected.
    pub connected: usize,
    /// Being dialled.
    pub connecting: usize,
    /// Told goodbye, not yet closed.
    pub disconnecting: usize,
    /// Known and not connected.
    pub disconnected: usize,
}
