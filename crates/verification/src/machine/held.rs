//! One candidate that is held: what it is, who brought it, how far it is.

use crate::{ParkReason, PeerRef, Source, candidate::Parsed, config::CANDIDATE_OVERHEAD};
use assay_chain::{PayloadInfo, ValidatorRecord};
use assay_types::{ProofName, Root};
use std::{sync::Arc, time::Duration};

/// Names a held candidate; rises with arrival.
pub(crate) type CandidateId = u64;
/// Names one submission that waits for its verdict.
pub(crate) type Ticket = u64;

/// Whose budget a candidate is charged to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Peer(PeerRef),
    /// The Beacon API and this node's prover.
    Local,
}

impl From<&Source> for Holder {
    fn from(source: &Source) -> Self {
        match source {
            Source::Gossip { peer } | Source::ReqResp { peer } => Self::Peer(peer.clone()),
            Source::Http | Source::Prover => Self::Local,
        }
    }
}

/// Who goes first where work has to wait: the operator's own, then what the network waits for, then what fills gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Local,
    Gossip,
    ReqResp,
}

impl From<&Source> for Class {
    fn from(source: &Source) -> Self {
        match source {
            Source::Http | Source::Prover => Self::Local,
            Source::Gossip { .. } => Self::Gossip,
            Source::ReqResp { .. } => Self::ReqResp,
        }
    }
}

/// What a candidate is worth when the room is full; the least is let go first. Compared field by field in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Worth {
    /// Its signature verified: an active validator stands behind it.
    pub(crate) authenticated: bool,
    /// The operator brought it.
    pub(crate) local: bool,
    /// Its payload is known, so it can be judged soon.
    pub(crate) payload_known: bool,
    /// A peer brought it that brought a valid proof before.
    pub(crate) vouched: bool,
}

/// The work a candidate needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// `hash_tree_root` of the message (rule 1).
    Hash,
    /// The validator's record (rule 5).
    Validator,
    /// The signature (rule 6).
    Signature,
    /// The proof engine (rule 8).
    Engine,
    /// The sinks.
    Commit,
}

/// Where a candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for its turn among those of its payload and type.
    Queued,
    /// Has the turn; its work waits for a free hand.
    Ready(Stage),
    /// Has the turn; its work is being done.
    Running(Stage),
    /// Waits for something outside.
    Parked(ParkReason),
}

/// One submission of the candidate.
#[derive(Debug, Clone)]
pub(crate) struct Sharer {
    pub(crate) ticket: Ticket,
    pub(crate) source: Source,
}

/// A held candidate.
pub(crate) struct Held {
    pub(crate) parsed: Parsed,
    /// Everybody who submitted these bytes, the first first; never empty.
    pub(crate) sharers: Vec<Sharer>,
    /// Charged to; one of the sharers.
    pub(crate) holder: Holder,
    pub(crate) worth: Worth,
    pub(crate) state: State,
    pub(crate) arrived: Duration,
    /// When it must be looked at again, if it waits.
    pub(crate) timer: Option<Duration>,
    /// Failed tries for the reason it is (or was last) parked for.
    pub(crate) tries: u32,
    pub(crate) last_park: Option<ParkReason>,
    /// From its turn on.
    pub(crate) payload: Option<PayloadInfo>,
    /// Once hashed.
    pub(crate) proof_root: Option<Root>,
    /// Once read: the record, and whether it may reject.
    pub(crate) record: Option<(Arc<ValidatorRecord>, bool)>,
}

impl Held {
    pub(crate) fn key(&self) -> ProofName {
        self.parsed.name()
    }

    /// Bytes charged.
    pub(crate) fn bytes(&self) -> usize {
        self.parsed.ssz_len() + CANDIDATE_OVERHEAD
    }

    /// Whether nobody but gossip brought it: then rules 1 and 4 and containment apply. What was asked for, or came from
    /// the operator, is judged on its own merits.
    pub(crate) fn is_unsolicited(&self) -> bool {
        self.sharers.iter().all(|s| is_unsolicited(&s.source))
    }

    /// The best class among those who brought it.
    pub(crate) fn class(&self) -> Class {
        self.sharers
            .iter()
            .map(|s| Class::from(&s.source))
            .min()
            .unwrap_or(Class::ReqResp)
    }

    /// Whether it can be let go: what is being worked on cannot.
    pub(crate) fn is_evictable(&self) -> bool {
        !matches!(self.state, State::Running(_))
    }
}

pub(crate) fn is_unsolicited(source: &Source) -> bool {
    matches!(source, Source::Gossip { .. })
}
