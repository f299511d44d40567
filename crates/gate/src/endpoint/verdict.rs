//! From the execution client's answer and the machine's decision to the bytes that go back.

use super::{Shared, answers, body::Answer, stats::count, upstream::ReadAnswer};
use crate::machine::{Decision, ElAnswer, StatusWord};
use assay_engine_api::{
    ForkchoiceUpdatedResponse, Id, PayloadStatusV1, PayloadValidity, Response,
    status_edit::{self, NewStatus, Shape, StatusAnswer},
};

/// An answer of newPayload or fcU, read.
pub(super) struct ReadVerdict {
    /// What the machine is told.
    pub(super) said: ElAnswer,
    shape: Shape,
    /// The answer as it would be lowered; `None` where it has no status to lower.
    lowered: Option<Vec<u8>>,
}

/// What becomes of an answer.
pub(super) struct Judged {
    changed: Option<Vec<u8>>,
    /// Made here because the answer could not be read: none of its headers or status hold for it.
    own: bool,
}

/// Reads what the execution client said.
pub(super) fn judge(shape: Shape, answer: &ReadAnswer) -> ReadVerdict {
    let unreadable = || ReadVerdict {
        said: ElAnswer::Unreadable,
        shape,
        lowered: None,
    };
    if !answer.status().is_success() {
        // 401, 503 and the like: no answer to the call; clients take none from it either.
        return ReadVerdict {
            said: ElAnswer::Unavailable,
            shape,
            lowered: None,
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
            lowered: None,
        },
        Ok(StatusAnswer::Status(status)) => ReadVerdict {
            said: el_answer(status.status()),
            shape,
            lowered: Some(status.with(&NewStatus::SYNCING)),
        },
        // A notification's answer is empty.
        Err(_) if answer.body.is_empty() => ReadVerdict {
            said: ElAnswer::Unavailable,
            shape,
            lowered: None,
        },
        Err(why) => {
            tracing::warn!(%why, "execution client's answer passes only where proofs are not required");
            unreadable()
        }
    }
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
    /// What the decision makes of the answer.
    pub(super) fn edit(self, decision: Decision, id: &Id) -> Judged {
        match decision {
            Decision::PassThrough => Judged::pass(),
            Decision::LowerToSyncing(why) => {
                tracing::debug!(?why, "answer lowered to SYNCING");
                match self.lowered {
                    Some(lowered) => Judged {
                        changed: Some(lowered),
                        own: false,
                    },
                    None => Judged {
                        changed: Some(syncing(self.shape, id)),
                        own: true,
                    },
                }
            }
        }
    }
}

/// SYNCING in the place of an answer that could not be read.
fn syncing(shape: Shape, id: &Id) -> Vec<u8> {
    let status = PayloadStatusV1::syncing();
    match shape {
        Shape::NewPayload => Response::result(id.clone(), &status),
        Shape::ForkchoiceUpdated => Response::result(
            id.clone(),
            &ForkchoiceUpdatedResponse {
                payload_status: status,
                payload_id: None,
            },
        ),
    }
    .to_json()
}

impl Judged {
    /// The answer as it came.
    pub(super) fn pass() -> Self {
        Self {
            changed: None,
            own: false,
        }
    }

    /// The answer to the beacon node.
    pub(super) fn apply(self, shared: &Shared, answer: ReadAnswer) -> Answer {
        match self.changed {
            None => answer.unchanged(),
            Some(changed) => {
                count(&shared.stats.lowered_answers);
                if self.own {
                    answers::json(changed)
                } else {
                    answer.with_body(changed)
                }
            }
        }
    }
}
