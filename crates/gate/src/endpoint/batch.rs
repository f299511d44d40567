//! A batch that holds newPayload or fcU is taken apart where proofs are required: each request goes to the execution client
//! by itself, handled as if it had come alone, newPayload and fcU one after the other (`turns`), and the answers are put
//! together in the batch's order. Under `observe` it passes whole, its answer byte for byte (`observed_batch`). One that holds a method the gate serves is taken apart
//! always. Any other batch passes as it is.

use super::{
    Shared, answers,
    body::{Answer, Held, Intake, IntakeError, full},
    callers::{self, Caller},
    capabilities, forkchoice,
    new_payload::{self, ABANDONED_PATIENCE},
    observed_batch, proof_methods,
    service::{get_payload_held, intake_failed, is_get_payload, kind_of, only_reads},
    sniff::{Sniffed, Sniffer},
    stats::count,
    turns::{Turn, Turns, Unanswered},
    upstream::{Head, MAX_LARGE_ANSWER_BYTES, pass, pass_when_here, read_counted},
};
use crate::machine::ImportPolicy;
use assay_engine_api::{ErrorCode, ErrorObject, Id, Incoming, Response, methods::MethodKind};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::CONTENT_LENGTH;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Requests of one batch that are under way at once.
const PARTS_AT_ONCE: usize = 8;

/// One request of a batch.
pub(super) struct Part {
    pub(super) id: Option<Id>,
    pub(super) bytes: Bytes,
    pub(super) kind: Result<MethodKind, ErrorObject>,
    /// Empty where it is no request.
    pub(super) method: String,
}

/// A batch.
pub(super) async fn batch(
    shared: Arc<Shared>,
    head: Head,
    mut intake: Intake,
    caller: Caller,
    place: OwnedSemaphorePermit,
) -> Answer {
    let held = match intake.hold().await {
        Ok(held) => Arc::new(held),
        Err(why) => return intake_failed(&shared, Id::null(), &why),
    };
    let mut parts = match parts(&held.bytes) {
        Ok(parts) => parts,
        Err(error) => {
            count(&shared.stats.malformed_requests);
            return answers::error(Id::null(), error);
        }
    };
    for part in &mut parts {
        if matches!(part.kind, Ok(MethodKind::NewPayloadWithWitness)) {
            part.kind = Ok(kind_of(&shared, &part.method));
        }
    }
    let served = |part: &Part| {
        matches!(
            part.kind,
            Ok(MethodKind::Proofs(_) | MethodKind::ExchangeCapabilities)
        )
    };
    if shared.proofs.is_some() && parts.iter().any(served) {
        return split(shared, head, held, parts, (caller, place)).await;
    }
    // What is no request to us may be one to the execution client.
    let observes = shared.gate.config().policy == ImportPolicy::Observe;
    let unclear = |part: &Part| {
        let holds_members = matches!(part.bytes.first(), Some(b'{' | b'['));
        part.kind.is_err() && holds_members && !observes
    };
    let builds = |part: &Part| shared.upstream.are_several() && is_get_payload(&part.method);
    if caller == Caller::Primary
        && !parts
            .iter()
            .any(|part| part.is_ordered() || builds(part) || unclear(part))
    {
        count(&shared.stats.passed_calls);
        let reads = parts.iter().all(|part| only_reads(&part.method));
        let sent = match shared.upstream.are_several() && reads {
            true => {
                let here = |response| pass_when_here(response, &shared.budget);
                let head = head.with_new_length();
                shared.upstream.ask(&head, &held.bytes, here).await
            }
            false => shared
                .upstream
                .send(&head, full(held.bytes.clone()))
                .await
                .map(pass),
        };
        return match sent {
            Ok(answer) => answer,
            Err(no_answer) => {
                shared.upstream.note_no_answer(&no_answer);
                all_failed(parts.iter().filter_map(|part| part.id.as_ref()), &no_answer.why)
            }
        };
    }
    // With several execution clients, or beacon nodes, each call goes its own way.
    if observes && !shared.upstream.are_several() && caller == Caller::Primary {
        return observed_batch::observed(shared, head, held, parts, place).await;
    }
    split(shared, head, held, parts, (caller, place)).await
}

impl Part {
    /// Whether it is to be handled in the batch's order.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(
            self.kind,
            Ok(MethodKind::NewPayload | MethodKind::NewPayloadWithWitness | MethodKind::ForkchoiceUpdated)
        )
    }
}

pub(super) fn parts(body: &Bytes) -> Result<Vec<Part>, ErrorObject> {
    let incoming = match Incoming::parse(body)? {
        Incoming::Batch(elements) => elements,
        Incoming::Single(_) => return Err(ErrorCode::InvalidRequest.into()),
    };
    Ok(incoming
        .into_iter()
        .map(|element| Part {
            bytes: body.slice_ref(element.raw.get().as_bytes()),
            id: match &element.request {
                Ok(request) => request.id.map(Id::from),
                Err(_) => Some(Id::null()),
            },
            method: element
                .request
                .as_ref()
                .map(|request| request.method.to_string())
                .unwrap_or_default(),
            kind: element
                .request
                .and_then(|request| one_method(element.raw.get(), &request.method)),
        })
        .collect())
}

/// The kind of a request whose method every reader finds to be this one.
fn one_method(raw: &str, method: &str) -> Result<MethodKind, ErrorObject> {
    let mut sniffer = Sniffer::new();
    sniffer.feed(raw.as_bytes());
    match sniffer.end() {
        Sniffed::Method if sniffer.method() == Some(method) => Ok(MethodKind::of(method)),
        _ => Err(ErrorObject::new(
            ErrorCode::InvalidRequest,
            IntakeError::Ambiguous.to_string(),
        )),
    }
}

pub(super) fn all_failed<'a>(ids: impl IntoIterator<Item = &'a Id>, why: &str) -> Answer {
    let failed = |id: &Id| Response::error(id.clone(), answers::no_answer(why)).to_json();
    join(ids.into_iter().map(failed).collect())
}

/// Takes a batch apart. It goes on when the beacon node hangs up, as single calls do: a payload is not sent twice.
async fn split(
    shared: Arc<Shared>,
    mut head: Head,
    held: Arc<Held>,
    parts: Vec<Part>,
    (caller, place): (Caller, OwnedSemaphorePermit),
) -> Answer {
    count(&shared.stats.split_batches);
    head.headers.remove(CONTENT_LENGTH);
    let head = head.uncompressed();
    let (mut reply, told) = oneshot::channel();
    let task = Arc::clone(&shared);
    shared.spawn(async move {
        let answers = tokio::select! {
            answers = one_by_one(&task, &head, &held, parts, caller) => Some(answers),
            () = async {
                reply.closed().await;
                tokio::time::sleep(ABANDONED_PATIENCE).await;
            } => None,
        };
        if let Some(answers) = answers {
            // The beacon node may have hung up.
            let _ = reply.send(answers);
        }
        drop(place);
    });
    match told.await {
        Ok(answers) => join(answers),
        Err(_) => answers::error(Id::null(), answers::no_answer("Assay is stopping")),
    }
}

async fn one_by_one(
    shared: &Arc<Shared>,
    head: &Head,
    held: &Arc<Held>,
    parts: Vec<Part>,
    caller: Caller,
) -> Vec<Vec<u8>> {
    let mut turns = Turns::default();
    let parts: Vec<(Part, Option<Turn>)> = parts
        .into_iter()
        .map(|part| {
            let turn = part.is_ordered().then(|| turns.next());
            (part, turn)
        })
        .collect();
    let answers: Vec<Option<Vec<u8>>> = stream::iter(parts)
        .map(|(part, turn)| async move {
            let id = part.id.clone();
            let answer = match turn {
                Some(turn) => {
                    let unanswered = turn.come().await;
                    let answer = ordered(shared, head, held, part, (caller, unanswered)).await;
                    turn.end();
                    answer
                }
                None => other(shared, head, part, caller).await,
            };
            let id = id?;
            let readable = answer.and_then(|body| match serde_json::from_slice::<&RawValue>(&body) {
                Ok(_) => Ok(body),
                Err(e) => Err(answers::no_answer(&format!("its answer is no JSON: {e}"))),
            });
            Some(readable.unwrap_or_else(|error| Response::error(id, error).to_json()))
        })
        .buffered(PARTS_AT_ONCE)
        .collect()
        .await;
    answers.into_iter().flatten().collect()
}

/// The answer to newPayload or fcU, whose turn it is.
async fn ordered(
    shared: &Arc<Shared>,
    head: &Head,
    held: &Arc<Held>,
    part: Part,
    (caller, unanswered): (Caller, Unanswered),
) -> Result<Vec<u8>, ErrorObject> {
    let id = part.id.unwrap_or_else(Id::null);
    let body = held.part(part.bytes);
    let running = match (part.kind?, caller) {
        (MethodKind::ForkchoiceUpdated, Caller::Other) => {
            return Ok(callers::forkchoice(shared, id, &body.bytes).await);
        }
        (MethodKind::ForkchoiceUpdated, Caller::Primary) => {
            let kept = (None, Some(unanswered));
            forkchoice::start(shared, head.clone(), id, body, kept).map_err(|(_, error)| error)?
        }
        _ => {
            let (call, running) = new_payload::new_call(caller, Some(unanswered));
            let shared_by_call = Arc::clone(shared);
            let head = head.clone();
            shared.spawn(new_payload::held(
                shared_by_call,
                head,
                id,
                (part.method, body),
                call,
            ));
            running
        }
    };
    let outcome = running.outcome(shared).await;
    body_of(new_payload::to_answer(shared, outcome)).await
}

/// The answer to any other request.
async fn other(
    shared: &Arc<Shared>,
    head: &Head,
    part: Part,
    caller: Caller,
) -> Result<Vec<u8>, ErrorObject> {
    let id = part.id.unwrap_or_else(Id::null);
    let bytes = part.bytes;
    match part.kind? {
        MethodKind::Proofs(method) if shared.proofs.is_some() => {
            Ok(proof_methods::answer(shared, method, bytes).await.to_json())
        }
        MethodKind::ExchangeCapabilities if shared.proofs.is_some() => {
            body_of(capabilities::held(shared, head, id, &bytes).await).await
        }
        MethodKind::Other if !callers::may_call(caller, &part.method) => {
            Err(callers::not_for_others(&part.method))
        }
        _ if shared.upstream.are_several() && is_get_payload(&part.method) => {
            body_of(get_payload_held(shared, head, id, &bytes).await).await
        }
        _ => {
            let read = |response| read_counted(response, MAX_LARGE_ANSWER_BYTES, &shared.budget);
            let answer = match only_reads(&part.method) && shared.upstream.are_several() {
                true => shared.upstream.ask(head, &bytes, read).await,
                false => match shared.upstream.send(head, full(bytes)).await {
                    Ok(response) => read(response).await,
                    Err(no_answer) => Err(no_answer),
                },
            };
            match answer {
                Ok(answer) if answer.is_plain_success() => Ok(answer.body.to_vec()),
                Ok(answer) => Err(answers::no_answer(&format!("HTTP {}", answer.status()))),
                Err(no_answer) => {
                    shared.upstream.note_no_answer(&no_answer);
                    Err(answers::no_answer(&no_answer.why))
                }
            }
        }
    }
}

async fn body_of(answer: Answer) -> Result<Vec<u8>, ErrorObject> {
    use http_body_util::BodyExt;
    let status = answer.status();
    if !status.is_success() {
        return Err(answers::no_answer(&format!("HTTP {status}")));
    }
    let collected = answer.into_body().collect().await;
    collected
        .map(|body| body.to_bytes().to_vec())
        .map_err(|e| answers::no_answer(&e.to_string()))
}

/// Answers in an array; nothing at all where there are none, as JSON-RPC asks.
fn join(answers: Vec<Vec<u8>>) -> Answer {
    answers::json(joined(answers))
}

/// The body of `join`.
pub(super) fn joined(answers: Vec<Vec<u8>>) -> Vec<u8> {
    if answers.is_empty() {
        return Vec::new();
    }
    let mut out = vec![b'['];
    out.extend_from_slice(&answers.join(&b','));
    out.push(b']');
    out
}
