//! What the gate asks for.

use super::{
    event::{CallId, StatusWord, UnixMillis},
    node::ElStatus,
};
use assay_types::{BlockHash, ProofType, Root, Slot};

/// What a call is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// What the EL answered, byte for byte; where it gave none, the endpoint's own error.
    PassThrough,
    /// `status: SYNCING` with `latestValidHash`, `validationError` and `payloadId` null (rules 3 and 8), other fields
    /// as the EL sent them. Says why.
    LowerToSyncing(HeldBy),
    /// `status: VALID` with this `latestValidHash`, by proofs (`accept-proofs`, `proofs-only`), other fields as the EL sent
    /// them; a `payloadId` stays as it is, and is never invented (rule 8).
    RaiseToValid(BlockHash),
    /// `status: INVALID`, `latestValidHash` null: there is no EL, and the request is not what its block hash names (rule 1).
    Invalid,
    /// Error -38002: there is no EL, the head is VALID, and the safe or the finalized payload is not its ancestor.
    InvalidForkchoiceState,
}

impl Decision {
    /// Whether the beacon node is told VALID, the EL having said `status`.
    pub fn is_valid(&self, status: Option<StatusWord>) -> bool {
        match self {
            Self::PassThrough => status == Some(StatusWord::Valid),
            Self::RaiseToValid(_) => true,
            Self::LowerToSyncing(_) | Self::Invalid | Self::InvalidForkchoiceState => false,
        }
    }
}

/// What keeps a payload from VALID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// The EL does not say VALID.
    El(ElStatus),
    /// Too few distinct proof types.
    Proofs {
        /// Types it has.
        have: u8,
        /// Types it needs.
        need: u8,
    },
    /// An ancestor that is not VALID; the nearest one whose own state is the cause.
    Ancestor(BlockHash),
    /// An ancestor that has not been seen: a hole (rule 2).
    UnknownAncestor(BlockHash),
    /// It, or an ancestor, was answered VALID and then called INVALID by the EL (rule 4).
    Conflict(BlockHash),
    /// Its request is not the one that belongs to its block hash (rule 5).
    OtherRequestRoot,
    /// The request, or the EL's answer, could not be read.
    Unreadable,
    /// The EL's VALID names another payload (rule 3).
    OtherLatestValidHash,
    /// The payload itself has not been seen.
    UnknownPayload,
    /// Its records are not on disk, so its VALID is not told (rule 4).
    NotPersisted,
}

impl HeldBy {
    /// The metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::El(_) => "execution_client",
            Self::Proofs { .. } => "proofs",
            Self::Ancestor(_) => "ancestor",
            Self::UnknownAncestor(_) => "unknown_ancestor",
            Self::Conflict(_) => "conflict",
            Self::OtherRequestRoot => "other_request_root",
            Self::Unreadable => "unreadable",
            Self::OtherLatestValidHash => "other_latest_valid_hash",
            Self::UnknownPayload => "unknown_payload",
            Self::NotPersisted => "not_persisted",
        }
    }
}

impl HeldBy {
    /// The rule of design.md (Gate) it follows from.
    pub const fn rule(&self) -> u8 {
        match self {
            // The policy itself: `require-proofs` is never better than the EL.
            Self::El(_) => 7,
            Self::Proofs { .. } => 6,
            Self::Ancestor(_) | Self::UnknownAncestor(_) => 2,
            Self::Conflict(_) | Self::NotPersisted => 4,
            Self::OtherRequestRoot | Self::Unreadable | Self::UnknownPayload => 5,
            Self::OtherLatestValidHash => 3,
        }
    }
}

/// What the gate would answer for a payload if it were asked now and the EL said what it said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadVerdict {
    /// VALID
    Valid,
    /// SYNCING
    Syncing,
    /// The EL's own INVALID.
    Invalid,
}

impl PayloadVerdict {
    /// As the Engine API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Syncing => "SYNCING",
            Self::Invalid => "INVALID",
        }
    }
}

/// What changed a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A proof of it or of an ancestor.
    Proof,
    /// The EL's answer.
    ExecutionClient,
    /// A payload filled a hole or found its place.
    Payload,
    /// An anchor (rule 2).
    Anchor,
    /// The operator's settings, or decision of a conflict.
    Operator,
    /// The grace of `--on-missing-proofs trust-execution` is over.
    Grace,
    /// The tree dropped what was finalized or too much.
    Pruning,
}

impl Cause {
    /// The name in logs, events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proof => "proof",
            Self::ExecutionClient => "execution_client",
            Self::Payload => "payload",
            Self::Anchor => "anchor",
            Self::Operator => "operator",
            Self::Grace => "grace",
            Self::Pruning => "pruning",
        }
    }
}

impl Cause {
    /// The rule of design.md (Gate) by which it makes a payload VALID; the others' are those of `HeldBy`.
    pub const fn rule_of_valid(self) -> u8 {
        match self {
            Self::Proof => 6,
            Self::ExecutionClient => 7,
            // What was released, or had its place found, stands on what was VALID.
            Self::Payload | Self::Anchor | Self::Pruning | Self::Grace => 2,
            Self::Operator => 4,
        }
    }
}

/// A verdict that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerdictChange {
    /// Whose.
    pub block_hash: BlockHash,
    /// Its request root, where known.
    pub new_payload_request_root: Option<Root>,
    /// Its slot, where known.
    pub slot: Option<Slot>,
    /// Before; `None` where the payload was new.
    pub from: Option<PayloadVerdict>,
    /// Now.
    pub to: PayloadVerdict,
    /// What changed it.
    pub cause: Cause,
    /// When.
    pub at: UnixMillis,
    /// When the payload was first seen.
    pub seen_at: UnixMillis,
    /// When its first proof came.
    pub first_proof_at: Option<UnixMillis>,
    /// When it had its k distinct types.
    pub proven_at: Option<UnixMillis>,
    /// What keeps it from VALID now.
    pub held_by: Option<HeldBy>,
    /// Whether the beacon node was told SYNCING before it was told VALID.
    pub first_told_syncing: bool,
}

/// What a payload came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// It got its place in the tree.
    Payload,
    /// Its first proof that counts.
    FirstProof,
    /// Its k-th distinct proof type.
    Proven,
    /// Its verdict turned VALID for the first time.
    Valid,
}

/// A payload came to something, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone {
    /// Which payload.
    pub block_hash: BlockHash,
    /// Its slot.
    pub slot: Slot,
    /// To what.
    pub step: Step,
    /// When.
    pub at: UnixMillis,
}

/// Something an operator must see: logged, counted, sent as an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Rule 4: answered VALID, now called INVALID by the EL.
    ValidCalledInvalid {
        /// The payload that was answered VALID.
        block_hash: BlockHash,
    },
    /// The EL's INVALID names a `latestValidHash` that is no known ancestor, above payloads that were answered VALID.
    UnknownLatestValidHash {
        /// The payload it called INVALID.
        block_hash: BlockHash,
        /// What it named.
        latest_valid_hash: BlockHash,
    },
    /// Rule 5: a request of another root claims a hash that is taken.
    RequestRootConflict {
        /// The hash.
        block_hash: BlockHash,
        /// Whose it is.
        known: Root,
        /// What claims it.
        claimed: Root,
    },
    /// The EL's VALID does not name the payload as `latestValidHash` (rule 3).
    ValidForOtherHash {
        /// The payload that was asked about.
        block_hash: BlockHash,
    },
    /// Rule 11: one execution client says VALID, another INVALID.
    ClientsDisagree {
        /// The payload.
        block_hash: BlockHash,
    },
    /// Rule 11: the calls under one JWT secret are those of two beacon nodes, of which one is behind or on another branch.
    /// Give each but the primary one a secret of its own (`--secondary-engine-jwt`).
    TwoBeaconNodes {
        /// The head named last.
        head: BlockHash,
        /// The head of the other line; the same one where only their finality differs.
        other_head: BlockHash,
    },
    /// Rule 11: a finalized payload that is no ancestor of the head it was named with. It prunes nothing.
    ForeignFinality {
        /// The head.
        head: BlockHash,
        /// What was called finalized.
        finalized: BlockHash,
    },
    /// Rule 11: a payload of another network, as its transactions' chain id says. It has no place here.
    ForeignPayload {
        /// The payload.
        block_hash: BlockHash,
        /// Its chain id.
        chain_id: u64,
    },
    /// Rule 5: the EL says VALID of a request whose hash check failed here.
    HashCheckDisagrees {
        /// The payload that was asked about.
        block_hash: BlockHash,
    },
    /// A canonical payload lacks its proofs after `--alert-after-slots`.
    Unproven {
        /// The payload.
        block_hash: BlockHash,
        /// Its slot.
        slot: Slot,
        /// Types it has.
        have: u8,
        /// Types it needs.
        need: u8,
    },
    /// The tree reached its limit and dropped its oldest payloads.
    TreeFull {
        /// How many.
        dropped: usize,
    },
}

impl Alarm {
    /// Every label.
    pub const LABELS: [&'static str; 11] = [
        "valid_called_invalid",
        "unknown_latest_valid_hash",
        "request_root_conflict",
        "valid_for_other_hash",
        "clients_disagree",
        "two_beacon_nodes",
        "foreign_finality",
        "foreign_payload",
        "hash_check_disagrees",
        "unproven",
        "tree_full",
    ];

    /// The payload it is about, where it is about one.
    pub const fn block_hash(&self) -> Option<BlockHash> {
        match self {
            Self::ValidCalledInvalid { block_hash }
            | Self::UnknownLatestValidHash { block_hash, .. }
            | Self::RequestRootConflict { block_hash, .. }
            | Self::ValidForOtherHash { block_hash }
            | Self::ClientsDisagree { block_hash }
            | Self::HashCheckDisagrees { block_hash }
            | Self::ForeignPayload { block_hash, .. }
            | Self::Unproven { block_hash, .. } => Some(*block_hash),
            Self::TwoBeaconNodes { head, .. } | Self::ForeignFinality { head, .. } => Some(*head),
            Self::TreeFull { .. } => None,
        }
    }

    /// The metric label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::ValidCalledInvalid { .. } => "valid_called_invalid",
            Self::UnknownLatestValidHash { .. } => "unknown_latest_valid_hash",
            Self::RequestRootConflict { .. } => "request_root_conflict",
            Self::ValidForOtherHash { .. } => "valid_for_other_hash",
            Self::ClientsDisagree { .. } => "clients_disagree",
            Self::TwoBeaconNodes { .. } => "two_beacon_nodes",
            Self::ForeignFinality { .. } => "foreign_finality",
            Self::ForeignPayload { .. } => "foreign_payload",
            Self::HashCheckDisagrees { .. } => "hash_check_disagrees",
            Self::Unproven { .. } => "unproven",
            Self::TreeFull { .. } => "tree_full",
        }
    }
}

/// When records must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// In the order written; losing the newest of them loses nothing that was told.
    Soon,
    /// Before any later action of the same event is carried out, and everything written earlier with it.
    BeforeAnswer,
}

/// Key and value of a record.
pub type Record = ([u8; 32], Vec<u8>);
/// Key and value of a record; `None` deletes it.
pub type RecordChange = ([u8; 32], Option<Vec<u8>>);

/// What the gate asks for. Carried out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write these records.
    Persist {
        /// The records.
        changes: Vec<RecordChange>,
        /// When.
        durability: Durability,
    },
    /// Answer a call.
    Answer {
        /// Which.
        call: CallId,
        /// What.
        decision: Decision,
        /// Whether the answer is to wait for proofs, and to be asked for once more (`Event::AskedAgain`) before it is given.
        waits: bool,
    },
    /// Tell whoever listens.
    VerdictChanged(VerdictChange),
    /// Tell whoever measures.
    Reached(Milestone),
    /// Tell the operator.
    Alarm(Alarm),
    /// A payload came: any proof of it that is in the store is to be brought as `Event::ProofVerified`.
    RecallProofs {
        /// Its request root.
        new_payload_request_root: Root,
        /// The types that are known here already.
        known: Vec<ProofType>,
    },
    /// The event's answer is the first VALID that the beacon node is told of these. Where it does not reach it,
    /// `Event::NotTold` is to follow.
    ToldFirst(Vec<BlockHash>),
}
