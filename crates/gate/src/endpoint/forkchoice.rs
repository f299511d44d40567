//! One `engine_forkchoiceUpdated*` call: forwarded whole, in the order received, the next only after the answer to the
//! one before or its time-out (design.md gate rule 8). The call itself goes on for as long as its caller waits (rule 9),
//! and some time longer when the caller has hung up: the execution client must not miss a head.

use super::{
    Shared, answers,
    body::{Answer, HeldPart, Intake},
    clients::{heard, tell_others, too_long},
    lane::{self, Ticket},
    new_payload::{ABANDONED_PATIENCE, Outcome, to_answer},
    service::intake_failed,
    stats::count,
    turns::Unanswered,
    upstream::{Head, read},
    verdict::{Judged, judge},
    waiting::{Running, for_proofs, without_answer},
};
use crate::machine::{Asked, ElAnswer, ForkchoiceState, ImportPolicy};
use assay_engine_api::{ErrorCode, ErrorObject, ForkchoiceStateV1, Id, Request, status_edit::Shape};
use assay_types::BlockHash;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot, watch},
    time::Instant,
};

/// A call of its own.
pub(super) async fn single(
    shared: Arc<Shared>,
    head: Head,
    mut intake: Intake,
    place: OwnedSemaphorePermit,
) -> Answer {
    let taken = intake.hold().await;
    let id = intake.id();
    let held = match taken {
        Ok(held) => Arc::new(held),
        Err(why) => return intake_failed(&shared, id, &why),
    };
    // The place in the order is taken here, before anything is awaited: it is that of the last byte's arrival.
    match start(&shared, head, id, held.all(), (Some(place), None)) {
        Ok(running) => {
            let outcome = running.outcome(&shared).await;
            to_answer(&shared, outcome)
        }
        Err((id, error)) => answers::error(id, error),
    }
}

/// Takes the next place in the order and starts the call. `place` is kept until its end, `unanswered` until the execution client
/// has answered.
pub(super) fn start(
    shared: &Arc<Shared>,
    head: Head,
    id: Id,
    body: HeldPart,
    (place, unanswered): (Option<OwnedSemaphorePermit>, Option<Unanswered>),
) -> Result<Running, (Id, ErrorObject)> {
    count(&shared.stats.forkchoice_updated_calls);
    let Ok(ticket) = shared.lane.ticket() else {
        count(&shared.stats.refused_requests);
        let why = "too many fork choice updates wait for the execution client";
        return Err((id, ErrorObject::new(ErrorCode::InternalError, why)));
    };
    let (reply, told) = oneshot::channel();
    let (asked, asked_of) = oneshot::channel();
    let received = Instant::now();
    let running = Running {
        told,
        asked: asked_of,
        shape: Shape::ForkchoiceUpdated,
        received,
    };
    let call = Call {
        shared: Arc::clone(shared),
        head: head.uncompressed(),
        id,
        body,
        asked,
        received,
    };
    shared.spawn(async move {
        call.run(ticket, unanswered, reply).await;
        drop(place);
    });
    Ok(running)
}

struct Call {
    shared: Arc<Shared>,
    head: Head,
    id: Id,
    /// Counted against the budget for as long as the call is under way, its caller gone or not.
    body: HeldPart,
    /// Told of the head once it is read.
    asked: oneshot::Sender<(Id, Asked)>,
    received: Instant,
}

impl Call {
    async fn run(
        self,
        mut ticket: Ticket,
        unanswered: Option<Unanswered>,
        mut reply: oneshot::Sender<Outcome>,
    ) {
        let Self {
            shared,
            head,
            id,
            body,
            asked,
            received,
        } = self;
        let shared = &shared;
        let state = read_state(&body.bytes);
        if let Some(state) = &state {
            // Nobody may be waiting any more.
            let _ = asked.send((id.clone(), Asked::Head(state.head_block_hash)));
        }
        ticket.turn().await;
        match &state {
            Some(state) => shared.observer.on_forkchoice(state),
            None => tracing::warn!(
                "fork choice update cannot be read; it passes to the execution client unjudged"
            ),
        }
        let state = state.map(|s| ForkchoiceState {
            head: s.head_block_hash,
            safe: s.safe_block_hash,
            finalized: s.finalized_block_hash,
        });
        if let Some(state) = state {
            let (_, about) = watch::channel(Some(state.head));
            let asked = shared.upstream.active();
            tell_others(shared, asked, Shape::ForkchoiceUpdated, &head, &body, &about);
        }
        let mut ticket = Some(ticket);
        let sent = {
            let answered = shared.upstream.ask(&head, &body.bytes, read);
            // The machine hears of the call before its answer.
            let heard = async {
                if let Some(state) = state {
                    shared.gate.forkchoice_updated(state).await;
                }
            };
            let call = async { tokio::join!(answered, heard).0 };
            let next_may_go = async {
                lane::next_may_go(received, shared.forkchoice_patience).await;
                ticket = None;
                std::future::pending::<()>().await;
            };
            let given_up = async {
                reply.closed().await;
                tokio::time::sleep(ABANDONED_PATIENCE).await;
            };
            tokio::select! {
                sent = call => Some(sent),
                () = next_may_go => None,
                () = given_up => None,
                () = too_long(shared) => None,
            }
        };
        match sent {
            Some(Ok(answer)) => {
                let verdict = judge(Shape::ForkchoiceUpdated, &answer);
                if let Some(state) = state {
                    heard(shared, answer.client(), state.head, verdict.said).await;
                }
                if let Some(payload_id) = payload_id(&answer.body) {
                    shared.upstream.issued(payload_id, answer.client());
                }
                // The beacon node may have hung up: then nobody is told.
                if shared.gate.config().policy == ImportPolicy::Observe {
                    let said = verdict.said;
                    let _ = reply.send(Outcome::Answered(answer, Judged::Passed));
                    shared.gate.forkchoice_updated_answered(state, said).await;
                    if let Some(state) = state {
                        shared.gate.passed(state.head, said).await;
                    }
                } else {
                    let judgement = shared.gate.forkchoice_updated_judged(state, verdict.said).await;
                    // The execution client has answered: the next one may go, whatever this one waits for.
                    drop((ticket.take(), unanswered));
                    let asked = Asked::Head(state.map_or_else(BlockHash::default, |s| s.head));
                    let decision = for_proofs(shared, asked, verdict.said.word(), judgement, received).await;
                    let judged = match verdict.said {
                        ElAnswer::Unavailable => {
                            without_answer(Shape::ForkchoiceUpdated, decision, &id).unwrap_or(Judged::Passed)
                        }
                        _ => verdict.edit(decision, &answer.body, &id),
                    };
                    let _ = reply.send(Outcome::Answered(answer, judged));
                }
            }
            Some(Err(no_answer)) => {
                shared.upstream.note_no_answer(&no_answer);
                let decision = shared
                    .gate
                    .forkchoice_updated_answered(state, ElAnswer::Unavailable)
                    .await;
                let _ = reply.send(match without_answer(Shape::ForkchoiceUpdated, decision, &id) {
                    Some(own) => {
                        count(&shared.stats.answered_for_silent_client);
                        Outcome::Own(own)
                    }
                    None => Outcome::NoAnswer(id, no_answer.why),
                });
            }
            None => {}
        }
        drop(ticket);
    }
}

/// The id of the payload that is built, where an answer has one.
fn payload_id(answer: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        result: Built,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Built {
        payload_id: Option<String>,
    }
    serde_json::from_slice::<Answer>(answer).ok()?.result.payload_id
}

/// The state of a call, `None` where it is none.
pub(super) fn read_state(body: &[u8]) -> Option<ForkchoiceStateV1> {
    let request = Request::parse(body).ok()?;
    let params: Vec<&RawValue> = request.params_as().ok()?;
    serde_json::from_str(params.first()?.get()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let hash = |n: u8| format!("0x{}", format!("{n:02x}").repeat(32));
        let state = format!(
            r#"{{"headBlockHash":"{}","safeBlockHash":"{}","finalizedBlockHash":"{}","x":1}}"#,
            hash(1),
            hash(2),
            hash(0)
        );
        let call =
            |params: &str| format!(r#"{{"id":1,"method":"engine_forkchoiceUpdatedV3","params":{params}}}"#);
        let read = read_state(call(&format!("[{state},null]")).as_bytes()).unwrap();
        assert_eq!(read.head_block_hash.to_string(), hash(1));
        assert_eq!(read.safe_block_hash.to_string(), hash(2));
        assert!(read.finalized_block_hash.is_zero());
        for bad in ["[]", "[null]", "{}", "[{\"headBlockHash\":\"0x\"}]", "["] {
            assert!(read_state(call(bad).as_bytes()).is_none(), "{bad}");
        }
    }
}
