//! What the planner is told, and what it wants done.

use assay_types::{ExecutionProofStatus, ProofKey, ProofType, Root, Slot};
use libp2p::PeerId;

/// A block, as far as sync needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) slot: Slot,
    pub(crate) root: Root,
    /// Its payload; `None` where it has none, where none is known, or where the chain does not take it.
    pub(crate) payload: Option<Root>,
    /// Types of its payload on disk.
    pub(crate) held: Vec<ProofType>,
}

/// A number of ours for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RequestId(pub(crate) u64);

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The present slot.
    Slot(Slot),
    /// Nothing is canonical above `above` but these blocks, in rising order; `None`: nothing but these at all.
    Canonical { above: Option<Slot>, blocks: Vec<Block> },
    /// A block's payload, or what is held of it, became known or changed. A block that is not planned for is passed over.
    Block(Block),
    /// What is kept begins at `start`; the finalized block, the anchor of this node's status, is at `anchor`.
    Finalized { start: Slot, anchor: Slot },
    /// Slots that were missed and that no chain view reaches any more.
    Unreachable { from: Slot, to: Slot },
    /// Blocks whose payloads the gate holds back for want of proofs, canonical or not: all of them.
    Waiting(Vec<Block>),
    /// A proof is on disk, whoever brought it.
    Held { key: ProofKey, bytes: u64 },
    /// A peer is connected, and what it has said that it has. Again after `Gone` only.
    Connected(PeerId, Option<ExecutionProofStatus>),
    /// A peer is not connected any more, or may not be asked.
    Gone(PeerId),
    /// What a peer says it has.
    Status(PeerId, ExecutionProofStatus),
    /// A peer did not say.
    StatusFailed(PeerId, Failure),
    /// The verdict on a proof that `Planner::on_proof` let in.
    Judged {
        peer: PeerId,
        key: ProofKey,
        judged: Judged,
    },
    /// The verifier holds a proof until something outside comes: its block, the proof engine, the beacon node.
    Parked,
    /// A response came to its end.
    Ended { id: RequestId, end: Result<(), Failure> },
    /// Time passed.
    Tick,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The peer does not speak the protocol.
    Unsupported,
    /// Anything else: time-out, error chunk, broken stream, malformed answer.
    Other,
}

/// What became of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It, or another of its payload and type, is on disk.
    Held,
    /// It is bad.
    Bad,
    /// Nothing this node keeps.
    Unwanted,
    /// This node could not judge it.
    Undecided,
}

/// What to ask a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Canonical blocks of `count` slots from `start`.
    Range {
        start: Slot,
        count: u64,
        types: Vec<ProofType>,
    },
    /// Blocks by root, each with types.
    Root(Vec<(Root, Vec<ProofType>)>),
}

impl Ask {
    /// The protocol's name in metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Range { .. } => "by_range",
            Self::Root(_) => "by_root",
        }
    }
}

/// What a peer did wrong in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// A proof that was not asked for.
    NotAskedFor,
    /// Slots of a range not in rising order.
    Order,
    /// A proof that the verifier rejects.
    Rejected,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ask a peer for proofs.
    Request { id: RequestId, peer: PeerId, ask: Ask },
    /// Give a request up; its end need not be told.
    Cancel(RequestId),
    /// Ask a peer what it has.
    AskStatus(PeerId),
    /// Report a peer.
    Fault(PeerId, Wrong),
}

/// What to do with a proof of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It goes to the verifier, and its verdict to `Event::Judged`.
    Judge,
    /// It is not needed; the response goes on.
    Skip,
    /// It is wrong; the response is dropped, and its end has been taken note of.
    Stop,
}
