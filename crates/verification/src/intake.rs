//! What comes through the one door (`verifier::Intake`), who brings it, and who is told.

use crate::{CheckedProof, ParkReason, Verdict, VerifiedProof};
use assay_types::{ProofKey, ProofName, Revision, Root, SignedProof, Slot, ValidatorIndex};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A peer, by the bytes of its libp2p id: this crate knows no libp2p.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerRef(pub Arc<[u8]>);

/// Where a candidate came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Unsolicited, from a peer; the gossip message stays unforwarded until the verdict.
    Gossip {
        /// Who forwarded it.
        peer: PeerRef,
    },
    /// Asked for, from a peer.
    ReqResp {
        /// Who answered.
        peer: PeerRef,
    },
    /// Beacon API POST.
    Http,
    /// This node's own prover.
    Prover,
}

impl Source {
    /// Every label.
    pub const LABELS: [&'static str; 4] = ["gossip", "req_resp", "http", "prover"];

    /// The metric label and the `source` of SSE `execution_proof`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Gossip { .. } => "gossip",
            Self::ReqResp { .. } => "req_resp",
            Self::Http => "http",
            Self::Prover => "prover",
        }
    }
}

/// What comes through the door.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// SSZ of a `SignedExecutionProof`, already unpacked; decoded here without a copy of the proof. A buffer of its own:
    /// a slice of a larger one would keep all of that in memory while budgets see the slice.
    Ssz(Bytes),
    /// The same of a `SignedExecutionProofEnvelope` (`beta`): one frame for both, so the bytes do not say which they are.
    Envelope(Bytes),
    /// A value that was read from JSON or made here.
    Signed(SignedProof),
}

impl Candidate {
    /// SSZ of the revision's container.
    pub fn ssz(revision: Revision, ssz: Bytes) -> Self {
        match revision {
            Revision::Alpha => Self::Ssz(ssz),
            Revision::Beta => Self::Envelope(ssz),
        }
    }

    /// A value of either revision.
    pub fn signed(signed: impl Into<SignedProof>) -> Self {
        Self::Signed(signed.into())
    }
}

/// What `submit` says at once.
#[derive(Debug)]
pub enum Submission {
    /// The last word.
    Decided(Verdict),
    /// It waits; the last word comes on the channel (`Ignore` at the latest when its place in the room runs out).
    Parked {
        /// What it waits for.
        reason: ParkReason,
        /// The last word.
        verdict: oneshot::Receiver<Verdict>,
    },
}

/// A sink could not take a proof.
#[derive(Debug, thiserror::Error)]
#[error("{sink}: {why}")]
pub struct SinkError {
    /// The sink's name.
    pub sink: &'static str,
    /// What went wrong.
    pub why: String,
}

/// Takes every accepted proof, in the order the binary registered: store, gate, publisher, events.
#[async_trait]
pub trait ProofSink: Send + Sync + 'static {
    /// A name for logs.
    fn name(&self) -> &'static str;
    /// Takes the proof. An error of the first sink (the store) turns the verdict into `Ignore(Internal)`: what is not
    /// durable is told to nobody. Errors of later ones are logged and counted.
    async fn accepted(&self, proof: &Arc<VerifiedProof>, source: &Source) -> Result<(), SinkError>;
    /// A valid proof came without a signature. It counts (gate), and is neither kept nor published. The store is not told.
    async fn verified_unsigned(&self, _proof: &CheckedProof) {}
}

/// What the store knows; asked for rules 3 and 9 after a restart.
pub trait KnownProofs: Send + Sync + 'static {
    /// Whether a valid signed proof of this payload and type is on disk, of whichever revision.
    fn has_valid(&self, key: &ProofKey) -> bool;
    /// Whether one is that goes by this name on the network and was verified as a proof of this payload (rules 3 and 9): what
    /// was verified when the named block's payload had another request root (`NEW_PAYLOAD_REQUEST_FORM`) proves nothing of
    /// it. Where the answer is no though there is one, the proof is verified once more, and nothing is lost.
    fn has_valid_named(&self, name: &ProofName, new_payload_request_root: &Root) -> bool {
        name.revision == Revision::Alpha
            && name.root == *new_payload_request_root
            && self.has_valid(&ProofKey {
                new_payload_request_root: name.root,
                proof_type: name.proof_type,
            })
    }
}

/// Validators that signed an invalid proof, kept across restarts (bounded by the implementor).
pub trait ContainmentRecord: Send + Sync + 'static {
    /// Contained until (not including) this slot.
    fn contained_until(&self, validator: ValidatorIndex) -> Option<Slot>;
    /// Contains a validator.
    fn contain(&self, validator: ValidatorIndex, until: Slot);
}
