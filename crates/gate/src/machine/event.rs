//! What happens to the gate.

use assay_types::{BlockHash, ForkName, ProofKey, Root, Slot};
use std::fmt;

use super::config::GateConfig;

/// Milliseconds since the Unix epoch. The machine has no clock: whoever calls it brings the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The system clock; 0 where it stands before 1970.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds from `earlier` to `self`; 0 where the clock went back.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One call of the beacon node; the caller chooses the numbers, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What a payload says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadFacts {
    /// Its execution block's hash.
    pub block_hash: BlockHash,
    /// The parent execution block's hash.
    pub parent_hash: BlockHash,
    /// `hash_tree_root(NewPayloadRequest)` of the request as it was received.
    pub new_payload_request_root: Root,
    /// Its slot, from the timestamp.
    pub slot: Slot,
    /// The fork at that slot.
    pub fork: ForkName,
}

/// Whether a request was held against its block hash (rule 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestCheck {
    /// The block hash is that of the header (requests hash and parent beacon root included) and the versioned hashes
    /// are those of the transactions: no other request can belong to this hash.
    Matches,
    /// One of them does not fit: this request belongs to no hash, and is never VALID.
    Mismatch,
    /// Not checked: only the EL's VALID ties the request to its hash.
    NotChecked,
}

/// What a newPayload call asks about, as far as it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedPayload {
    /// All of it.
    Read {
        /// What it says of itself.
        payload: PayloadFacts,
        /// Whether its hash was checked.
        check: RequestCheck,
    },
    /// Its hashes alone, as before the network's values are known: never VALID.
    Named {
        /// The hash it claims.
        block_hash: BlockHash,
        /// Its parent's.
        parent_hash: BlockHash,
    },
    /// Nothing: never VALID.
    Unread,
}

/// What a call asks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// newPayload: this request.
    Payload(AskedPayload),
    /// fcU: this head.
    Head(BlockHash),
}

/// `PayloadStatusV1.status` as the EL sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusWord {
    /// `VALID`
    Valid,
    /// `INVALID`, or `INVALID_BLOCK_HASH` of older versions.
    Invalid,
    /// `SYNCING`
    Syncing,
    /// `ACCEPTED`
    Accepted,
}

/// What came back from the EL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElAnswer {
    /// A payload status.
    Status {
        /// `status`
        status: StatusWord,
        /// `latestValidHash`
        latest_valid_hash: Option<BlockHash>,
    },
    /// A JSON-RPC error.
    Error,
    /// No answer: refused, broken off, timed out. The endpoint answers as a client without a server would.
    Unavailable,
    /// A result that is no payload status.
    Unreadable,
}

impl ElAnswer {
    /// The status, where there is one.
    pub const fn word(&self) -> Option<StatusWord> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Error | Self::Unavailable | Self::Unreadable => None,
        }
    }
}

/// The hashes of `forkchoiceState`; zero means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForkchoiceState {
    /// `headBlockHash`
    pub head: BlockHash,
    /// `safeBlockHash`
    pub safe: BlockHash,
    /// `finalizedBlockHash`; in Gloas the parent payload of the finalized block (rule 10).
    pub finalized: BlockHash,
}

/// What an operator says about a payload that was answered VALID and that the EL calls INVALID (rule 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictResolution {
    /// The EL was wrong: the payload is judged as any other again; VALID as soon as the EL says so.
    KeepValid,
    /// The EL is right: its INVALID is passed on from now on.
    AcceptInvalid,
}

/// What happens to the gate. Events of one call come in this order: received, then answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// `engine_newPayload*` was received; it is on its way to the EL.
    NewPayload {
        /// What it carries.
        payload: AskedPayload,
    },
    /// The EL's answer to `engine_newPayload*`, or that there is none.
    NewPayloadAnswered {
        /// The call to be answered.
        call: CallId,
        /// What it carries.
        payload: AskedPayload,
        /// What the EL said.
        answer: ElAnswer,
    },
    /// `engine_forkchoiceUpdated*` was received.
    ForkchoiceUpdated {
        /// Its state.
        state: ForkchoiceState,
    },
    /// The EL's answer to `engine_forkchoiceUpdated*`, or that there is none.
    ForkchoiceUpdatedAnswered {
        /// The call to be answered.
        call: CallId,
        /// Its state; `None` where it could not be read: such a call is never VALID.
        state: Option<ForkchoiceState>,
        /// `payloadStatus` of what the EL said.
        answer: ElAnswer,
    },
    /// A call whose answer waits is judged anew: for a proof (`--wait-for-proofs`), or because the EL is silent. Tells the
    /// machine nothing of the EL.
    AskedAgain {
        /// The call to be answered.
        call: CallId,
        /// What it asks about.
        asked: Asked,
        /// What the EL said of it; `None` while it is silent.
        status: Option<StatusWord>,
    },
    /// `engine_newPayload*` was received from a beacon node that is not the primary (rule 11): it says nothing of where the
    /// primary started.
    OtherPayload {
        /// What it carries.
        payload: AskedPayload,
    },
    /// A beacon node that is not the primary named its head (rule 11): answered from the tree, which does not hear of it.
    OtherHead {
        /// The call to be answered.
        call: CallId,
        /// `headBlockHash`
        head: BlockHash,
    },
    /// A payload was seen in a beacon block (or envelope): it gives the tree what the Engine API did not bring.
    PayloadSeen {
        /// What it says of itself.
        payload: PayloadFacts,
        /// Whether its hash was checked; a payload that was not is left out of the tree.
        check: RequestCheck,
    },
    /// As `ProofVerified`, of a proof whose public input names an origin: what it starts from.
    RecursiveProofVerified {
        /// The payload and kind.
        key: ProofKey,
        /// Request root of the payload that it takes for granted.
        origin: Root,
    },
    /// A proof passed the verifier, or is known from the store.
    ProofVerified {
        /// Which payload, which type.
        key: ProofKey,
    },
    /// Finality as the chain view has it (fcU's own is taken from `ForkchoiceUpdatedAnswered`).
    Finalized {
        /// The finalized payload.
        block_hash: BlockHash,
    },
    /// A slot began.
    SlotStarted(Slot),
    /// The operator's settings changed.
    ConfigChanged(GateConfig),
    /// A payload the operator trusts (`--trusted-checkpoint`), or that the beacon node is known to have started from.
    AnchorSet {
        /// The trusted payload.
        block_hash: BlockHash,
    },
    /// One execution client says VALID of a payload, another INVALID (rule 11).
    ClientsDisagree {
        /// The payload.
        block_hash: BlockHash,
    },
    /// A payload came whose transactions are of another network (rule 11).
    ForeignPayload {
        /// The payload.
        block_hash: BlockHash,
        /// The chain id its transactions have.
        chain_id: u64,
    },
    /// The beacon node heard the EL's VALID as it came, under `observe`, while the policy changed: it was VALID when that took
    /// effect (rules 2 and 4).
    PassedValid {
        /// The payload.
        block_hash: BlockHash,
    },
    /// The VALID of `Action::ToldFirst` was not told: SYNCING was, its records not being on disk.
    NotTold {
        /// The payloads of that action.
        payloads: Vec<BlockHash>,
    },
    /// The operator decided a conflict (rule 4).
    ConflictResolved {
        /// The payload whose `conflict` is decided.
        block_hash: BlockHash,
        /// How.
        resolution: ConflictResolution,
    },
}
