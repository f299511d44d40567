//! What goes into the follower's machine and what comes out of it.

use super::event::{NodeEvent, TopicsForm};
use crate::tree::Insertion;
use assay_types::Root;

/// What can be asked of the beacon node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// Genesis and config: whether it is still the same network.
    Network,
    /// The finalized checkpoint.
    Finality,
    /// The head.
    Head,
    /// The sync state.
    Syncing,
    /// A block.
    Block(Root),
    /// A Gloas block's envelope.
    Envelope(Root),
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It was answered, and the view has what it brought.
    Done,
    /// The same network (`Network`).
    SameNetwork,
    /// Another network (`Network`). The text says what differs.
    OtherNetwork(String),
    /// The node's sync state (`Syncing`).
    Syncing {
        /// `is_syncing`.
        is_syncing: bool,
        /// `sync_distance` in slots.
        distance: u64,
    },
    /// A block was put into the tree, or refused by it.
    Block(Insertion),
    /// The node does not have it.
    NotFound,
    /// It came and cannot be used; asking again brings the same.
    Unusable,
    /// No answer now.
    Failed(String),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// The event stream is open.
    StreamOpened,
    /// The node refused the form of topics, or did not answer to it.
    StreamRefused(String),
    /// The stream could not be opened, or ended.
    StreamEnded(String),
    /// An event; the view has been told.
    Event(NodeEvent),
    /// An answer.
    Reply(Request, Reply),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a request; its reply comes back once.
    Ask(Request),
    /// Open the event stream, in place of the one before.
    OpenStream(TopicsForm),
    /// Close the stream.
    CloseStream,
    /// The node gives no events in any form; the view follows by asking. Once per change.
    NoEvents(String),
    /// Close the stream and give up all requests; no reply of theirs counts any more.
    Reset,
    /// No ancestors will come below this block. A `Tick` at once lets the machine see the tree after it.
    NoMoreAncestors(Root),
    /// Whether the view is caught up.
    Synced(bool),
    /// Whether the node can be asked.
    Connected(bool),
    /// How things stand, once per change.
    Report(Health),
}

/// How things stand with the beacon node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not asked yet.
    Starting,
    /// It answers; blocks are still missing here.
    CatchingUp,
    /// The view is the node's.
    Following,
    /// The view is the node's, which is itself not synced.
    NodeSyncing {
        /// Slots it is behind.
        distance: u64,
    },
    /// It cannot be reached.
    Unreachable(String),
    /// It is on another network than before; nothing of it is taken.
    OtherNetwork(String),
}

impl Health {
    pub(super) fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}
