//! What comes into the machine, what goes out, and what it may look up.

use super::held::{CandidateId, Ticket};
use crate::{ParkReason, Source, Verdict, VerifiedProof, candidate::Parsed};
use assay_chain::{PayloadInfo, ValidatorAnswer, ValidatorRecord};
use assay_proof_engine::{EngineError, Verification};
use assay_types::{
    EngineInput, Epoch, ProofKey, ProofName, ProofType, Root, SignatureBytes, Slot, ValidatorIndex,
};
use std::{collections::HashSet, sync::Arc, time::Duration};

/// What happened.
#[allow(
    clippy::large_enum_variant,
    reason = "an event is made and taken apart at once; a box would be an allocation for every proof"
)]
pub(crate) enum Event {
    /// Somebody brought a candidate.
    Submitted {
        ticket: Ticket,
        parsed: Parsed,
        source: Source,
    },
    /// The proof engine called an unsigned proof valid. It is not known on gossip; a signed one of the same message needs no
    /// engine any more.
    UnsignedValid {
        key: ProofKey,
        proof_root: Root,
        slot: Slot,
    },
    /// The proof engine called a proof invalid that came without a signature: it is not asked for these bytes again.
    UnsignedInvalid {
        key: ProofKey,
        proof_root: Root,
        slot: Slot,
    },
    /// Work that an action asked for is done.
    Done { id: CandidateId, outcome: Outcome },
    /// A payload became known, or its block did (then its state can be asked).
    PayloadKnown(Root),
    /// A block became known, or its payload did: what `beta` proofs name.
    BlockKnown(Root),
    /// Finality moved to a block of this slot, and cut these payloads off.
    Finalized { slot: Slot, orphaned: HashSet<Root> },
    /// The chain view may know more than before, one cannot say what.
    LookAgain,
    /// Time has passed.
    Tick,
    /// The node ends: whatever is not on its way to the sinks is let go.
    Shutdown,
}

/// What came of a stage's work.
pub(crate) enum Outcome {
    /// The message's root; the candidate with its bytes, which a value that came as JSON has from now on.
    Hashed { parsed: Box<Parsed>, proof_root: Root },
    /// What the chain knows of the validator.
    Validator(ValidatorAnswer),
    /// Whether the signature verified.
    Signature(bool),
    /// What the proof engine said.
    Engine(Result<Verification, EngineError>),
    /// Whether the first sink took the proof; carries it on.
    Committed {
        proof: Arc<VerifiedProof>,
        durable: bool,
    },
    /// The work ended without a result (a panic in what is called).
    Crashed,
}

/// What has to be done.
pub(crate) enum Action {
    /// Tell the last word, `after` so long in the house.
    Reply {
        ticket: Ticket,
        source: Source,
        verdict: Verdict,
        after: Duration,
    },
    /// Tell that it waits.
    Parked {
        ticket: Ticket,
        source: Source,
        reason: ParkReason,
    },
    /// The payload that it waited for, told so, is known: its way goes on.
    PayloadFound { ticket: Ticket, payload: Root },
    /// Hash the message in the form that holds at `epoch`.
    Hash {
        id: CandidateId,
        parsed: Parsed,
        epoch: Epoch,
    },
    /// Ask the chain.
    ReadValidator {
        id: CandidateId,
        validator: ValidatorIndex,
        payload: PayloadInfo,
    },
    /// Check the signature under the domain of `epoch`.
    CheckSignature {
        id: CandidateId,
        record: Arc<ValidatorRecord>,
        proof_root: Root,
        epoch: Epoch,
        signature: SignatureBytes,
    },
    /// Ask the proof engine.
    AskEngine { id: CandidateId, input: EngineInput },
    /// Give it to the sinks.
    Commit {
        id: CandidateId,
        proof: Arc<VerifiedProof>,
        source: Source,
    },
    /// Contain a validator until (not including) this slot.
    Contain { validator: ValidatorIndex, until: Slot },
}

/// What is known at this moment; answers come from memory.
pub(crate) trait View {
    /// The payload that a proof of this name is of, if its request has been seen. In `beta`: the payload of the block it
    /// names, with that block.
    fn payload(&self, name: &ProofName) -> Option<PayloadInfo>;
    /// Whether a valid signed proof of this name is on disk, verified as one of the payload that the name stands for now.
    fn has_valid(&self, name: &ProofName) -> bool;
    /// Whether a valid signed proof of this payload and type is on disk, whatever its name.
    fn proves(&self, key: &ProofKey) -> bool;
    /// Whether a proof engine verifies this type.
    fn verifies(&self, proof_type: ProofType) -> bool;
    /// Until when the validator is contained.
    fn contained_until(&self, validator: ValidatorIndex) -> Option<Slot>;
    /// The slot by the wall clock.
    fn current_slot(&self) -> Slot;
    /// The finalized epoch.
    fn finalized_epoch(&self) -> Epoch;
}
