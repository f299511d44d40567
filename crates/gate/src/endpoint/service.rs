//! One HTTP request: who asks, what is asked, and which way it goes.

use super::{
    Shared, answers, batch,
    body::{Answer, Intake, IntakeError, relay},
    callers::{self, Caller, Refusal},
    capabilities, forkchoice, headers, new_payload, proof_methods, proofs_only,
    server::Stranger,
    sniff::Sniffed,
    stats::count,
    upstream::{Head, NoAnswer, pass, pass_when_here},
};
use crate::machine::ImportPolicy;
use assay_engine_api::{ErrorCode, ErrorObject, Id, Request as RpcRequest, methods::MethodKind};
use bytes::Bytes;
use http::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_ENCODING, HeaderValue, UPGRADE},
};
use hyper::body::{Body, Incoming};
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What the Engine API's own methods begin with; the `eth_*` methods it serves too are those of every JSON-RPC port.
const ENGINE_NAMESPACE: &str = "engine_";

/// Answers one request. Whoever has no valid token learns that and nothing else.
pub(super) async fn serve(shared: Arc<Shared>, request: Request<Incoming>, connection: &Stranger) -> Answer {
    let caller = match authorize(&shared, &request) {
        Ok(caller) => caller,
        Err(Refusal::Network(status, why)) => {
            count(&shared.stats.refused_requests);
            return answers::text(status, &why);
        }
        Err(Refusal::Token(error)) => {
            count(&shared.stats.unauthorized_requests);
            shared.note_unauthorized(&error);
            return answers::text(StatusCode::UNAUTHORIZED, &error);
        }
    };
    connection.is_known();
    // Any other upgrade offered (h2c) is not taken, and the request answered as it is.
    if request
        .headers()
        .get(UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
    {
        return answers::text(
            StatusCode::NOT_IMPLEMENTED,
            "WebSocket is not spoken here; use an http:// URL",
        );
    }
    let encoded = request
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity");
    if encoded && request.method() == Method::POST {
        // It could not be judged, and no execution client takes one.
        return answers::text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "compressed requests are not taken",
        );
    }
    if request.body().size_hint().lower() > u64::try_from(shared.body_limit).unwrap_or(u64::MAX) {
        return intake_failed(&shared, Id::null(), &IntakeError::TooLarge(shared.body_limit));
    }
    let Ok(place) = Arc::clone(&shared.in_flight).try_acquire_owned() else {
        count(&shared.stats.refused_requests);
        return answers::text(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once");
    };
    let with_token = shared.jwt.is_some() || request.headers().contains_key(AUTHORIZATION);
    let (answer, is_engine_call) = route(&shared, request, caller, place).await;
    if with_token && is_engine_call && answer.status().is_success() {
        shared.observer.on_engine_call(connection.address());
    }
    answer
}

fn authorize(shared: &Shared, request: &Request<Incoming>) -> Result<Caller, Refusal> {
    let header = request
        .headers()
        .get(AUTHORIZATION)
        .map(HeaderValue::to_str)
        .transpose();
    let header = header.map_err(|_| Refusal::Token("the Authorization header is no text".to_owned()))?;
    callers::identify(shared, header)
}

/// The answer, and whether the request was a call of the Engine API's own. `place` is kept for as long as the call is under
/// way, its caller gone or not.
async fn route(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
    caller: Caller,
    place: OwnedSemaphorePermit,
) -> (Answer, bool) {
    let (parts, body) = request.into_parts();
    let is_post = parts.method == Method::POST;
    let head = Head {
        method: parts.method,
        path: parts.uri.into_parts().path_and_query,
        headers: headers::of_request(parts.headers, shared.jwt.is_none()),
    };
    let mut intake = Intake::new(body, shared.body_limit, shared.budget.clone());
    if shared.upstream.is_empty() {
        return (
            proofs_only::serve(shared, is_post, intake, caller, place).await,
            false,
        );
    }
    if !is_post {
        // Some execution clients take a call by any method; here only POST is read.
        if intake.declared != Some(0) && shared.gate.config().policy != ImportPolicy::Observe {
            let answer = answers::text(StatusCode::METHOD_NOT_ALLOWED, "JSON-RPC is spoken by POST");
            return (answer, false);
        }
        return (relayed(shared, head, intake).await, false);
    }
    let sniffed = match intake.sniff().await {
        Ok(sniffed) => sniffed,
        Err(why) => return (intake_failed(shared, intake.id(), &why), false),
    };
    let is_engine_call = intake.method().starts_with(ENGINE_NAMESPACE);
    let refuse = |code, why: &str| {
        count(&shared.stats.malformed_requests);
        answers::error(intake.id(), ErrorObject::new(code, why))
    };
    let answer = match sniffed {
        Sniffed::Method => match kind_of(shared, intake.method()) {
            MethodKind::NewPayload | MethodKind::NewPayloadWithWitness => {
                new_payload::streamed(Arc::clone(shared), head, intake, caller, place).await
            }
            MethodKind::ForkchoiceUpdated if caller == Caller::Other => {
                callers::forkchoice_single(shared, intake).await
            }
            MethodKind::ForkchoiceUpdated => {
                forkchoice::single(Arc::clone(shared), head, intake, place).await
            }
            MethodKind::Proofs(method) if shared.proofs.is_some() => {
                proof_methods::single(shared, method, intake).await
            }
            MethodKind::ExchangeCapabilities if shared.proofs.is_some() => {
                capabilities::single(shared, head, intake).await
            }
            MethodKind::Other if !callers::may_call(caller, intake.method()) => {
                answers::error(intake.id(), callers::not_for_others(intake.method()))
            }
            MethodKind::Other if shared.upstream.are_several() && is_get_payload(intake.method()) => {
                get_payload(shared, head, intake).await
            }
            MethodKind::ExchangeCapabilities | MethodKind::Proofs(_) | MethodKind::Other
                if shared.upstream.are_several() && only_reads(intake.method()) =>
            {
                asked_of_any(shared, head, intake).await
            }
            MethodKind::ExchangeCapabilities | MethodKind::Proofs(_) | MethodKind::Other => {
                relayed(shared, head, intake).await
            }
        },
        Sniffed::Batch => batch::batch(Arc::clone(shared), head, intake, caller, place).await,
        Sniffed::NoMethod => refuse(ErrorCode::InvalidRequest, "the request has no method"),
        Sniffed::NotJsonRpc | Sniffed::Undecided => {
            refuse(ErrorCode::ParseError, "the body is no JSON-RPC request")
        }
        Sniffed::Ambiguous => intake_failed(shared, intake.id(), &IntakeError::Ambiguous),
    };
    (answer, is_engine_call)
}

/// What a method is to be treated as: under `observe` an answer with a witness passes without being held in memory.
pub(super) fn kind_of(shared: &Shared, method: &str) -> MethodKind {
    match MethodKind::of(method) {
        MethodKind::NewPayloadWithWitness if shared.gate.config().policy == ImportPolicy::Observe => {
            MethodKind::Other
        }
        kind => kind,
    }
}

/// Not `engine_getPayloadBodies*`.
pub(super) fn is_get_payload(method: &str) -> bool {
    method.starts_with("engine_getPayloadV")
}

/// `engine_getPayload*` with several execution clients: to the one that issued the id (design.md gate rule 11).
async fn get_payload(shared: &Arc<Shared>, head: Head, mut intake: Intake) -> Answer {
    count(&shared.stats.passed_calls);
    let held = match intake.hold().await {
        Ok(held) => held,
        Err(why) => return intake_failed(shared, intake.id(), &why),
    };
    get_payload_held(shared, &head, intake.id(), &held.bytes).await
}

/// As `get_payload`, of a body that is here.
pub(super) async fn get_payload_held(shared: &Arc<Shared>, head: &Head, id: Id, body: &Bytes) -> Answer {
    let payload_id = RpcRequest::parse(body)
        .and_then(|request| request.params_as::<Vec<&RawValue>>())
        .ok()
        .and_then(|params| serde_json::from_str::<String>(params.first()?.get()).ok());
    let Some(payload_id) = payload_id else {
        let error = ErrorObject::new(ErrorCode::InvalidParams, "params: payloadId is missing");
        return answers::error(id, error);
    };
    match shared.upstream.send_to_issuer(&payload_id, head, body).await {
        Some(Ok(response)) => pass(response),
        Some(Err(no_answer)) => {
            shared.upstream.note_no_answer(&no_answer);
            answers::error(id, answers::no_answer(&no_answer.why))
        }
        None => {
            let why = "no execution client here builds a payload under this id";
            answers::error(id, ErrorObject::new(ErrorCode::UnknownPayload, why))
        }
    }
}

/// Methods by their beginnings that may be asked of two execution clients without harm.
const READS: [&str; 5] = ["engine_get", "engine_exchange", "eth_", "net_", "web3_"];
/// What begins like one of `READS` and does more than read.
const DEEDS: [&str; 3] = ["eth_send", "eth_submit", "eth_sign"];

/// Whether a method only reads: where one execution client gives no answer to it, another may be asked.
pub(super) fn only_reads(method: &str) -> bool {
    let begins = |with: &&str| method.starts_with(with);
    READS.iter().any(begins) && !DEEDS.iter().any(begins)
}

/// As `relayed`, of a call that only reads, where there are several execution clients: it is held, so that it can go to the
/// next one.
async fn asked_of_any(shared: &Arc<Shared>, head: Head, mut intake: Intake) -> Answer {
    count(&shared.stats.passed_calls);
    let held = match intake.hold().await {
        Ok(held) => held,
        Err(why) => return intake_failed(shared, intake.id(), &why),
    };
    let here = |response| pass_when_here(response, &shared.budget);
    let head = head.with_new_length();
    match shared.upstream.ask(&head, &held.bytes, here).await {
        Ok(answer) => answer,
        Err(no_answer) => {
            shared.upstream.note_no_answer(&no_answer);
            answers::error(intake.id(), answers::no_answer(&no_answer.why))
        }
    }
}

/// Byte for byte, both ways, as it comes.
async fn relayed(shared: &Arc<Shared>, head: Head, mut intake: Intake) -> Answer {
    count(&shared.stats.passed_calls);
    let has_body = intake.declared != Some(0);
    let (sender, body) = relay(intake.declared);
    let (sent, refused) = {
        let sending = shared.upstream.send(&head, body);
        let taking = intake.pass_on(has_body.then_some(sender));
        tokio::pin!(sending, taking);
        let mut taken = None;
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                // It would never answer what it does not read.
                outcome = &mut taking, if taken.is_none() => match outcome.err() {
                    Some(why @ IntakeError::NotTaken) => {
                        let no_answer = NoAnswer::because(why.to_string());
                        taken = Some(Some(why));
                        break Err(no_answer);
                    }
                    outcome => taken = Some(outcome),
                },
            }
        };
        // Without an answer, the rest of the request holds the id to answer with, or the fault that stopped it.
        let refused = match taken {
            None if sent.is_err() => taking.await.err(),
            taken => taken.flatten(),
        };
        (sent, refused)
    };
    let no_answer = match (sent, refused) {
        (Ok(response), _) => return pass(response),
        (Err(no_answer), Some(why @ IntakeError::NotTaken)) => {
            shared.upstream.note_no_answer(&no_answer);
            return intake_failed(shared, intake.id(), &why);
        }
        (Err(_), Some(why)) => return intake_failed(shared, intake.id(), &why),
        (Err(no_answer), None) => no_answer,
    };
    shared.upstream.note_no_answer(&no_answer);
    if head.method == Method::POST {
        answers::error(intake.id(), answers::no_answer(&no_answer.why))
    } else {
        answers::text(
            StatusCode::BAD_GATEWAY,
            &format!("execution client: {}", no_answer.why),
        )
    }
}

/// The answer to a request that was not taken to its end. The connection ends with it: bytes of the request may be left
/// on it.
pub(super) fn intake_failed(shared: &Shared, id: Id, why: &IntakeError) -> Answer {
    let text = why.to_string();
    let mut answer = match why {
        IntakeError::TooLarge(_) => {
            count(&shared.stats.oversize_requests);
            answers::text(StatusCode::PAYLOAD_TOO_LARGE, &text)
        }
        IntakeError::Busy => {
            count(&shared.stats.refused_requests);
            answers::text(StatusCode::SERVICE_UNAVAILABLE, &text)
        }
        IntakeError::Broken(_) => answers::text(StatusCode::BAD_REQUEST, &text),
        IntakeError::TimedOut => answers::text(StatusCode::REQUEST_TIMEOUT, &text),
        IntakeError::NotTaken => answers::error(id, answers::no_answer(&text)),
        IntakeError::Ambiguous => {
            count(&shared.stats.malformed_requests);
            answers::error(id, ErrorObject::new(ErrorCode::InvalidRequest, text))
        }
    };
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
