//! A batch with newPayload or fcU under `observe`: it goes to the execution client whole, and the answer back byte for byte.
//! The gate's work runs beside; what was said of each call is found in the answer by its id.

use super::{
    Shared, answers,
    batch::{Part, all_failed},
    body::{Answer, Held, HeldPart},
    callers::Caller,
    forkchoice::read_state,
    lane::{Ticket, next_may_go},
    new_payload::{hash_asked, while_wanted, work_on_part},
    stats::count,
    upstream::{Head, MAX_LARGE_ANSWER_BYTES, NoAnswer, ReadAnswer, read_counted},
    verdict::said,
};
use crate::machine::{AskedPayload, ElAnswer, ForkchoiceState};
use assay_engine_api::{Id, methods::MethodKind, status_edit::Shape};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

/// What the gate has to note of one call.
enum Noted {
    Payload(super::new_payload::Work),
    Forkchoice(Option<ForkchoiceState>),
}

/// A call of the gate's, and its id in the answer.
struct Call {
    id: Option<Id>,
    noted: Noted,
}

/// Passes the batch on and notes what is said. It goes on when the beacon node hangs up, as single calls do.
pub(super) async fn observed(
    shared: Arc<Shared>,
    head: Head,
    held: Arc<Held>,
    parts: Vec<Part>,
    place: OwnedSemaphorePermit,
) -> Answer {
    let moves_head = |part: &Part| matches!(part.kind, Ok(MethodKind::ForkchoiceUpdated));
    let received = Instant::now();
    let ids: Vec<Id> = parts.iter().filter_map(|part| part.id.clone()).collect();
    let ticket = match parts.iter().any(moves_head).then(|| shared.lane.ticket()) {
        Some(Err(_full)) => {
            count(&shared.stats.refused_requests);
            return all_failed(&ids, "too many fork choice updates wait for it");
        }
        Some(Ok(ticket)) => Some(ticket),
        None => None,
    };
    count(&shared.stats.passed_calls);
    let (reply, told) = oneshot::channel();
    let task = Arc::clone(&shared);
    shared.spawn(async move {
        run(task, head, held, parts, (ticket, received), reply).await;
        drop(place);
    });
    match told.await {
        Ok(Ok(answer)) => answer.unchanged(),
        Ok(Err(why)) => all_failed(&ids, &why),
        Err(_) => answers::error(Id::null(), answers::no_answer("Assay is stopping")),
    }
}

type Told = Result<ReadAnswer, String>;

async fn run(
    shared: Arc<Shared>,
    head: Head,
    held: Arc<Held>,
    parts: Vec<Part>,
    (mut ticket, received): (Option<Ticket>, Instant),
    reply: oneshot::Sender<Told>,
) {
    if let Some(ticket) = &mut ticket {
        ticket.turn().await;
    }
    let mut calls = Vec::new();
    for part in parts {
        let noted = match part.kind {
            Ok(MethodKind::NewPayload) => {
                count(&shared.stats.new_payload_calls);
                let part_method = part.method;
                let part: HeldPart = held.part(part.bytes);
                Noted::Payload(shared.spawn(work_on_part(
                    Arc::clone(&shared),
                    Caller::Primary,
                    part_method,
                    part,
                )))
            }
            Ok(MethodKind::ForkchoiceUpdated) => {
                count(&shared.stats.forkchoice_updated_calls);
                let state = read_state(&part.bytes);
                if let Some(state) = &state {
                    shared.observer.on_forkchoice(state);
                }
                let state = state.map(|s| ForkchoiceState {
                    head: s.head_block_hash,
                    safe: s.safe_block_hash,
                    finalized: s.finalized_block_hash,
                });
                if let Some(state) = state {
                    shared.gate.forkchoice_updated(state).await;
                }
                Noted::Forkchoice(state)
            }
            _ => continue,
        };
        calls.push(Call { id: part.id, noted });
    }
    let head = head.uncompressed();
    let next_goes = async {
        next_may_go(received, shared.forkchoice_patience).await;
        ticket = None;
        std::future::pending::<()>().await;
    };
    let sending = async {
        let read = |response| read_counted(response, MAX_LARGE_ANSWER_BYTES, &shared.budget);
        shared.upstream.ask(&head, &held.all().bytes, read).await
    };
    let call = async {
        tokio::select! {
            sent = sending => Some(sent),
            () = next_goes => None,
        }
    };
    let (mut reply, sent) = while_wanted(&shared, reply, call).await;
    let answer: Result<ReadAnswer, NoAnswer> = match sent.flatten() {
        Some(answer) => answer,
        None => return,
    };
    let told = match answer {
        Ok(answer) => {
            let elements = Elements::of(&answer);
            let said: Vec<ElAnswer> = calls.iter().map(|call| elements.said(call)).collect();
            (Ok(answer), said)
        }
        Err(no_answer) => {
            shared.upstream.note_no_answer(&no_answer);
            (Err(no_answer.why), vec![ElAnswer::Unavailable; calls.len()])
        }
    };
    if let Some(reply) = reply.take() {
        // The beacon node may have hung up.
        let _ = reply.send(told.0);
    }
    for (call, said) in calls.into_iter().zip(told.1) {
        match call.noted {
            Noted::Payload(work) => {
                let asked = match work.await.ok().flatten() {
                    Some(Ok(examined)) => examined.asked(),
                    Some(Err(unexamined)) => unexamined.asked,
                    None => AskedPayload::Unread,
                };
                shared.gate.new_payload_answered(asked, said).await;
                if let Some(hash) = hash_asked(&asked) {
                    shared.gate.passed(hash, said).await;
                }
            }
            Noted::Forkchoice(state) => {
                shared.gate.forkchoice_updated_answered(state, said).await;
                if let Some(state) = state {
                    shared.gate.passed(state.head, said).await;
                }
            }
        }
    }
    drop(ticket);
}

/// The answer's elements with their ids.
enum Elements<'a> {
    /// An HTTP error: no answer to any of them.
    None,
    /// No array that can be read.
    Unreadable,
    Read(Vec<(String, &'a RawValue)>),
}

impl<'a> Elements<'a> {
    fn of(answer: &'a ReadAnswer) -> Self {
        #[derive(Deserialize)]
        struct Element<'b> {
            #[serde(borrow)]
            id: Option<&'b RawValue>,
        }
        if !answer.status().is_success() {
            return Self::None;
        }
        let elements: Option<Vec<&RawValue>> = answer
            .is_plain_success()
            .then(|| serde_json::from_slice(&answer.body).ok())
            .flatten();
        let Some(elements) = elements else {
            tracing::warn!("execution client's answer to a batch cannot be read; it passes as it is");
            return Self::Unreadable;
        };
        let with_id = |raw: &'a RawValue| {
            let element: Element<'a> = serde_json::from_str(raw.get()).ok()?;
            Some((element.id?.get().to_owned(), raw))
        };
        Self::Read(elements.into_iter().filter_map(with_id).collect())
    }

    fn said(&self, call: &Call) -> ElAnswer {
        let shape = match call.noted {
            Noted::Payload(_) => Shape::NewPayload,
            Noted::Forkchoice(_) => Shape::ForkchoiceUpdated,
        };
        let elements = match self {
            Self::None => return ElAnswer::Unavailable,
            Self::Unreadable => return ElAnswer::Unreadable,
            Self::Read(elements) => elements,
        };
        let Some(id) = call.id.as_ref().map(ToString::to_string) else {
            return ElAnswer::Unavailable;
        };
        let mut found = elements.iter().filter(|(of, _)| *of == id);
        match (found.next(), found.next()) {
            (Some((_, raw)), None) => said(shape, raw.get().as_bytes()),
            (None, _) => ElAnswer::Unavailable,
            // Two calls of one id, or two answers to one: whose is whose nobody knows.
            (Some(_), Some(_)) => ElAnswer::Unreadable,
        }
    }
}
