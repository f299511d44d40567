//! The node's blocks, calls and answers as the gate and the execution client name them.

use super::super::node::{Answer, Call, Id, LatestValid};
use assay_gate::{
    Decision, ElAnswer, ForkchoiceState, StatusWord,
    machine::{Action, CallId},
};
use assay_types::{BlockHash, Hash256, ProofKey, Root};

pub(super) fn named(call: Call) -> Id {
    match call {
        Call::NewPayload(id) | Call::Forkchoice { head: id, .. } => id,
    }
}

pub(super) fn bytes(id: Id, kind: u8) -> Hash256 {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&(id as u64 + 1).to_be_bytes());
    Hash256(bytes)
}

pub(super) fn hash(id: Id) -> BlockHash {
    bytes(id, 0xaa)
}

pub(super) fn root(id: Id) -> Root {
    bytes(id, 0xee)
}

pub(super) fn proof_of(id: Id) -> ProofKey {
    ProofKey {
        new_payload_request_root: root(id),
        proof_type: 1,
    }
}

pub(super) fn state_of(call: Call) -> ForkchoiceState {
    let (head, safe, finalized) = match call {
        Call::Forkchoice {
            head,
            safe,
            finalized,
        } => (head, safe, finalized),
        Call::NewPayload(id) => (id, None, None),
    };
    let or_zero = |id: Option<Id>| id.map_or(BlockHash::default(), hash);
    ForkchoiceState {
        head: hash(head),
        safe: or_zero(safe),
        finalized: or_zero(finalized),
    }
}

pub(super) fn word(answer: Answer) -> Option<StatusWord> {
    match answer {
        Answer::Valid => Some(StatusWord::Valid),
        Answer::NotValidated => Some(StatusWord::Syncing),
        Answer::Invalid(_) => Some(StatusWord::Invalid),
        Answer::None => None,
    }
}

pub(super) fn el_answer(call: Call, answer: Answer) -> ElAnswer {
    let latest_valid_hash = match answer {
        Answer::Valid => Some(hash(named(call))),
        Answer::Invalid(LatestValid::Hash(id)) => Some(hash(id)),
        Answer::Invalid(LatestValid::Zero) => Some(BlockHash::default()),
        Answer::Invalid(LatestValid::Null) | Answer::NotValidated | Answer::None => None,
    };
    match word(answer) {
        Some(status) => ElAnswer::Status {
            status,
            latest_valid_hash,
        },
        None => ElAnswer::Unavailable,
    }
}

pub(super) fn decided(actions: &[Action], call: CallId) -> (Decision, bool) {
    let found = actions.iter().find_map(|action| match action {
        Action::Answer {
            call: of,
            decision,
            waits,
        } if *of == call => Some((*decision, *waits)),
        _ => None,
    });
    found.expect("every call is answered")
}

/// What the node hears.
pub(super) fn heard(call: Call, decision: Decision, el: Answer) -> Answer {
    match decision {
        Decision::PassThrough => el,
        Decision::LowerToSyncing(_) => Answer::NotValidated,
        Decision::RaiseToValid(of) => {
            assert_eq!(of, hash(named(call)), "VALID names the payload asked about");
            Answer::Valid
        }
        Decision::Invalid => Answer::Invalid(LatestValid::Null),
        Decision::InvalidForkchoiceState => Answer::None,
    }
}
