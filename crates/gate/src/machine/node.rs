//! One payload of the tree.

use super::{
    action::PayloadVerdict,
    config::{GateConfig, ProofTypeSet},
    event::{PayloadFacts, UnixMillis},
};
use assay_types::{BlockHash, ProofType, Slot};
use std::collections::BTreeMap;

/// What the EL said last of a payload, directly or by a VALID or INVALID that implies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ElStatus {
    /// Nothing yet.
    #[default]
    Unknown,
    /// SYNCING
    Syncing,
    /// ACCEPTED
    Accepted,
    /// VALID
    Valid,
    /// INVALID
    Invalid,
}

impl ElStatus {
    /// The name in APIs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Syncing => "SYNCING",
            Self::Accepted => "ACCEPTED",
            Self::Valid => "VALID",
            Self::Invalid => "INVALID",
        }
    }
}

/// What follows for a payload from itself and its ancestors. Computed, never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    /// How many payloads back the newest lies that is proven (or released) with all its ancestors up to an anchor; 0: it
    /// is itself. `None` where that is farther than `--proof-lag`, or there is none.
    pub(crate) behind: Option<u32>,
    /// `accept-proofs`: it is EL-VALID, an anchor, or proven on ancestors that are such.
    pub(crate) supported: bool,
    /// It and every ancestor that is known are EL-VALID.
    pub(crate) el_valid: bool,
    /// It or an ancestor is in conflict (rule 4).
    pub(crate) conflict: bool,
}

impl Standing {
    /// It and its ancestors up to an anchor are proven (or released).
    pub(crate) fn proven(&self) -> bool {
        self.behind == Some(0)
    }
}

/// A payload. Known by hash alone while `facts` is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it says of itself: bound to its hash by the hash check or by the EL's VALID (rule 5).
    pub(crate) facts: Option<PayloadFacts>,
    /// The EL's last word.
    pub(crate) el: ElStatus,
    /// Proof types that were verified, and when each came (rule 6: of this root only).
    pub(crate) proofs: BTreeMap<ProofType, UnixMillis>,
    /// Rule 2: trusted, as an anchor or the ancestor of one.
    pub(crate) anchor: bool,
    /// What its parent gave it when that left the tree: `Standing::behind`, 0 too where VALID was the EL's word.
    pub(crate) rooted: Option<u32>,
    /// `--on-missing-proofs trust-execution`: its grace is over.
    pub(crate) released: bool,
    /// From when its grace counts: its slot, or the one it was first seen in.
    pub(crate) waits_from: Slot,
    /// The beacon node was told that it is VALID, or that a descendant is.
    pub(crate) told_valid: bool,
    /// Told VALID, then called INVALID by the EL: SYNCING until the operator decides (rule 4).
    pub(crate) conflict: bool,
    /// The operator was told that it lacks proofs.
    pub(crate) alerted: bool,
    /// Its times.
    pub(crate) times: Times,
    /// See `Standing`.
    pub(crate) standing: Standing,
    /// What it would be answered; `None` before it was ever computed.
    pub(crate) verdict: Option<PayloadVerdict>,
}

/// When what happened to a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// First heard of.
    pub seen_at: UnixMillis,
    /// `engine_newPayload*` first came.
    pub new_payload_at: Option<UnixMillis>,
    /// The EL first said VALID.
    pub el_valid_at: Option<UnixMillis>,
    /// Its k-th distinct proof type came.
    pub proven_at: Option<UnixMillis>,
    /// Its verdict first turned VALID.
    pub valid_at: Option<UnixMillis>,
    /// The beacon node was first told SYNCING of it.
    pub told_syncing_at: Option<UnixMillis>,
    /// The beacon node was first told VALID of it.
    pub told_valid_at: Option<UnixMillis>,
}

impl Node {
    pub(crate) fn new(facts: Option<PayloadFacts>, now: UnixMillis) -> Self {
        Self {
            facts,
            el: ElStatus::Unknown,
            proofs: BTreeMap::new(),
            anchor: false,
            rooted: None,
            released: false,
            waits_from: facts.map_or(Slot(0), |f| f.slot),
            told_valid: false,
            conflict: false,
            alerted: false,
            times: Times {
                seen_at: now,
                ..Times::default()
            },
            standing: Standing::default(),
            verdict: None,
        }
    }

    pub(crate) fn parent(&self) -> Option<BlockHash> {
        self.facts.map(|f| f.parent_hash)
    }

    /// Distinct proof types that count.
    pub(crate) fn proof_count(&self, counted: &ProofTypeSet) -> u8 {
        let counts = self.proofs.keys().filter(|t| counted.contains(**t)).count();
        u8::try_from(counts).unwrap_or(u8::MAX)
    }

    /// Whether it has the proofs it needs.
    pub(crate) fn is_proven(&self, config: &GateConfig) -> bool {
        self.proof_count(&config.counted_types) >= config.required_proofs.get()
    }

    /// Whether the beacon node was told SYNCING before it was told VALID.
    pub(crate) fn first_told_syncing(&self) -> bool {
        match (self.times.told_syncing_at, self.times.told_valid_at) {
            (Some(syncing), Some(valid)) => syncing <= valid,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}
