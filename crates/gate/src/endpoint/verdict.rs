//! From the execution client's answer and the machine's decision to the bytes that go back.

use super::{Shared, answers, body::Answer, stats::count, upstream::ReadAnswer};
use crate::machine::{Decision, ElAnswer, StatusWord};
use assay_engine_api::{
    ErrorCode, ErrorObject, ForkchoiceUpdatedResponse, Id, PayloadStatusV1, PayloadValidity, Response,
    status_edit::{self, NewStatus, Shape, StatusAnswer},
};

/// An answer of newPayload or fcU, read.
pub(super) struct ReadVerdict {
    /// What the machine is told.
    pub(super) said: ElAnswer,
    shape: Shape,
}

/// What becomes of an answer.
pub(super) enum Judged {
    /// It passes as it came.
    Passed,
    /// The same answer with another status.
    Edited(Vec<u8>),
    /// Made here because the answer could not be read, or there is none: no header or status of its holds.
    Own(Vec<u8>),
}

/// Reads what the execution client said.
pub(super) fn judge(shape: Shape, answer: &ReadAnswer) -> ReadVerdict {
    let unreadable = || ReadVerdict {
        said: ElAnswer::Unreadable,
        shape,
    };
    if !answer.status().is_success() {
        // 401, 503 and the like: no answer to the call; clients take none from it either. VALID under such a status is
        // nothing that anybody should find in it.
        if says_valid(shape, &answer.body) {
            return unreadable();
        }
        return ReadVerdict {
            said: ElAnswer::Unavailable,
            shape,
        };
    }
    if !answer.is_plain_success() {
        tracing::warn!(
            "execution client compresses an answer that was asked for uncompressed; it cannot be read"
        );
        return unreadable();
    }
    match status_edit::read(shape, &answer.body) {
        Ok(StatusAnswer::Error(_)) => ReadVerdict {
            said: ElAnswer::Error,
            shape,
        },
        Ok(StatusAnswer::Status(status)) => ReadVerdict {
            said: el_answer(status.status()),
            shape,
        },
        // A notification's answer is empty.
        Err(_) if answer.body.is_empty() => ReadVerdict {
            said: ElAnswer::Unavailable,
            shape,
        },
        Err(why) => {
            tracing::warn!(%why, "execution client's answer passes only where proofs are not required");
            unreadable()
        }
    }
}

fn says_valid(shape: Shape, body: &[u8]) -> bool {
    let read = status_edit::read(shape, body);
    matches!(read, Ok(StatusAnswer::Status(status)) if status.status().status == PayloadValidity::Valid)
}

fn el_answer(status: &PayloadStatusV1) -> ElAnswer {
    ElAnswer::Status {
        status: match status.status {
            PayloadValidity::Valid => StatusWord::Valid,
            PayloadValidity::Invalid | PayloadValidity::InvalidBlockHash => StatusWord::Invalid,
            PayloadValidity::Syncing => StatusWord::Syncing,
            PayloadValidity::Accepted => StatusWord::Accepted,
        },
        latest_valid_hash: status.latest_valid_hash,
    }
}

/// What the execution client says in a body that is passed on whatever that is.
pub(super) fn said(shape: Shape, body: &[u8]) -> ElAnswer {
    match status_edit::read(shape, body) {
        Ok(StatusAnswer::Error(_)) => ElAnswer::Error,
        Ok(StatusAnswer::Status(status)) => el_answer(status.status()),
        Err(why) => {
            tracing::warn!(%why, "execution client's answer passes as it is");
            ElAnswer::Unreadable
        }
    }
}

impl ReadVerdict {
    /// What the decision makes of the answer in `body`.
    pub(super) fn edit(&self, decision: Decision, body: &[u8], id: &Id) -> Judged {
        let new = match decision {
            Decision::PassThrough => return Judged::Passed,
            Decision::LowerToSyncing(why) => {
                tracing::debug!(?why, "answer lowered to SYNCING");
                NewStatus::SYNCING
            }
            Decision::RaiseToValid(hash) => NewStatus {
                status: PayloadValidity::Valid,
                latest_valid_hash: Some(hash),
                keep_payload_id: true,
            },
            // Only where there is no execution client.
            Decision::Invalid | Decision::InvalidForkchoiceState => return made(self.shape, decision, id),
        };
        let has_status = matches!(self.said, ElAnswer::Status { .. });
        match has_status.then(|| status_edit::read(self.shape, body)) {
            Some(Ok(StatusAnswer::Status(status))) => Judged::Edited(status.with(&new)),
            _ => made(self.shape, decision, id),
        }
    }
}

/// An answer of the gate's own, where the execution client gave none that could be read, or there is none.
pub(super) fn made(shape: Shape, decision: Decision, id: &Id) -> Judged {
    let status = match decision {
        Decision::RaiseToValid(hash) => PayloadStatusV1::valid(hash),
        Decision::Invalid => PayloadStatusV1::invalid(
            None,
            "the block hash or the versioned hashes are not those of the fields",
        ),
        Decision::InvalidForkchoiceState => {
            let error = ErrorObject::new(
                ErrorCode::InvalidForkchoiceState,
                "the safe or the finalized payload is no ancestor of the head",
            );
            return Judged::Own(Response::error(id.clone(), error).to_json());
        }
        Decision::PassThrough | Decision::LowerToSyncing(_) => PayloadStatusV1::syncing(),
    };
    let response = match shape {
        Shape::NewPayload => Response::result(id.clone(), &status),
        Shape::ForkchoiceUpdated => Response::result(
            id.clone(),
            &ForkchoiceUpdatedResponse {
                payload_status: status,
                // Rule 8: never invented.
                payload_id: None,
            },
        ),
    };
    Judged::Own(response.to_json())
}

impl Judged {
    /// An answer that was made here, there being none to change.
    pub(super) fn by_itself(self, shared: &Shared) -> Answer {
        match self {
            Self::Own(body) | Self::Edited(body) => {
                count(&shared.stats.changed_answers);
                answers::json(body)
            }
            // Nothing passed: not reached, and answered as a call without an answer.
            Self::Passed => answers::error(Id::null(), answers::no_answer("none")),
        }
    }

    /// The answer to the beacon node.
    pub(super) fn apply(self, shared: &Shared, answer: ReadAnswer) -> Answer {
        match self {
            Self::Passed => answer.unchanged(),
            Self::Edited(changed) => {
                count(&shared.stats.changed_answers);
                answer.with_body(changed)
            }
            Self::Own(made) => {
                count(&shared.stats.changed_answers);
                answers::json(made)
            }
        }
    }
}
