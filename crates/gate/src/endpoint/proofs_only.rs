//! The whole Engine API where there is no execution client (`proofs-only`): newPayload and fcU by proofs, the few calls that
//! beacon nodes make at start from what is known, and for everything else the error that says what such a node cannot do.
//! No result is invented: what is not known is null where the method has a null, and an error where it has none.

use super::{
    Shared, answers,
    batch::{self, Part, parts},
    body::{Answer, Held, Intake},
    callers::{self, Caller},
    examine::{Unexamined, Unreadable},
    forkchoice::read_state,
    new_payload::work_on,
    proof_methods,
    service::intake_failed,
    sniff::Sniffed,
    stats::count,
    turns::{Turn, Turns, Unanswered},
    verdict::{Judged, made},
    waiting::for_proofs,
};
use crate::machine::{Asked, ElAnswer, ForkchoiceState};
use assay_engine_api::{
    ErrorCode, ErrorObject, Id, PayloadAttributes, Request, Response, methods,
    methods::{MethodKind, ProofMethod},
    status_edit::Shape,
};
use assay_types::{BlockHash, ForkName, NewPayloadRequest};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Value, json, value::RawValue};
use std::sync::Arc;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// Requests of one batch that are under way at once.
const PARTS_AT_ONCE: usize = 8;
/// Most payload bodies of one answer, as the Engine API has it.
const MAX_BODIES: usize = 32;
/// What is served here (rule 12: the list itself excluded).
const CAPABILITIES: [&str; 20] = [
    "engine_newPayloadV1",
    "engine_newPayloadV2",
    "engine_newPayloadV3",
    "engine_newPayloadV4",
    "engine_newPayloadV5",
    "engine_forkchoiceUpdatedV1",
    "engine_forkchoiceUpdatedV2",
    "engine_forkchoiceUpdatedV3",
    "engine_forkchoiceUpdatedV4",
    "engine_getPayloadV1",
    "engine_getPayloadV2",
    "engine_getPayloadV3",
    "engine_getPayloadV4",
    "engine_getPayloadV5",
    "engine_getPayloadV6",
    "engine_getPayloadBodiesByHashV1",
    "engine_getPayloadBodiesByRangeV1",
    "engine_getBlobsV1",
    "engine_getBlobsV2",
    "engine_getClientVersionV1",
];

/// Answers one HTTP request.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    is_post: bool,
    mut intake: Intake,
    caller: Caller,
    place: OwnedSemaphorePermit,
) -> Answer {
    if !is_post {
        return answers::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "there is no execution client; JSON-RPC is spoken by POST",
        );
    }
    let refuse = |id, code, why: &str| {
        count(&shared.stats.malformed_requests);
        answers::error(id, ErrorObject::new(code, why))
    };
    let sniffed = match intake.sniff().await {
        Ok(sniffed) => sniffed,
        Err(why) => return intake_failed(shared, intake.id(), &why),
    };
    match sniffed {
        Sniffed::Method | Sniffed::Batch => {}
        Sniffed::NoMethod => {
            return refuse(
                intake.id(),
                ErrorCode::InvalidRequest,
                "the request has no method",
            );
        }
        Sniffed::NotJsonRpc | Sniffed::Undecided => {
            return refuse(
                Id::null(),
                ErrorCode::ParseError,
                "the body is no JSON-RPC request",
            );
        }
        Sniffed::Ambiguous => {
            return intake_failed(shared, intake.id(), &super::body::IntakeError::Ambiguous);
        }
    }
    let held = match intake.hold().await {
        Ok(held) => Arc::new(held),
        Err(why) => return intake_failed(shared, intake.id(), &why),
    };
    // It goes on when the beacon node hangs up: a payload is not sent twice.
    let task = Arc::clone(shared);
    let is_batch = sniffed == Sniffed::Batch;
    let answered = shared.spawn(async move {
        let answer = match is_batch {
            true => whole_batch(&task, &held, caller).await,
            false => one(&task, held.bytes.clone(), (caller, None)).await,
        };
        drop(place);
        answer
    });
    match answered.await {
        Ok(Some(body)) => answers::json(body),
        _ => answers::error(Id::null(), answers::no_answer("Assay is stopping")),
    }
}

async fn whole_batch(shared: &Arc<Shared>, held: &Arc<Held>, caller: Caller) -> Vec<u8> {
    let parts = match parts(&held.bytes) {
        Ok(parts) => parts,
        Err(error) => return Response::error(Id::null(), error).to_json(),
    };
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
            let unjudged = match &turn {
                Some(turn) => Some(turn.come().await),
                None => None,
            };
            let answer = match part.kind {
                Ok(_) => one(shared, part.bytes, (caller, unjudged)).await,
                Err(error) => Response::error(part.id.clone().unwrap_or_else(Id::null), error).to_json(),
            };
            part.id.map(|_| answer)
        })
        .buffered(PARTS_AT_ONCE)
        .collect()
        .await;
    batch::joined(answers.into_iter().flatten().collect())
}

/// The answer to one request. `unjudged`: what comes after it in its batch waits until it is judged, not for proofs.
async fn one(shared: &Arc<Shared>, body: Bytes, (caller, unjudged): (Caller, Option<Unanswered>)) -> Vec<u8> {
    let received = Instant::now();
    let request = match Request::parse(&body) {
        Ok(request) => request,
        Err(error) => {
            count(&shared.stats.malformed_requests);
            return Response::error(Id::null(), error).to_json();
        }
    };
    let id = request.id();
    let outcome = match MethodKind::of(&request.method) {
        MethodKind::NewPayload => {
            let call = (caller, received, unjudged);
            new_payload(shared, &id, &request.method, body.clone(), call).await
        }
        MethodKind::ForkchoiceUpdated if caller == Caller::Other => {
            Ok(callers::forkchoice(shared, id.clone(), &body).await)
        }
        MethodKind::ForkchoiceUpdated => forkchoice(shared, &id, &request, &body, (received, unjudged)).await,
        MethodKind::Proofs(method) if shared.proofs.is_some() => {
            Ok(proof_methods::answer(shared, method, body.clone())
                .await
                .to_json())
        }
        // No witness can be had without execution.
        MethodKind::ExchangeCapabilities
        | MethodKind::Proofs(_)
        | MethodKind::NewPayloadWithWitness
        | MethodKind::Other => {
            count(&shared.stats.passed_calls);
            other(shared, &request).map(|result| Response::result(id.clone(), &result).to_json())
        }
    };
    outcome.unwrap_or_else(|error| Response::error(id, error).to_json())
}

async fn new_payload(
    shared: &Arc<Shared>,
    id: &Id,
    method: &str,
    body: Bytes,
    (caller, received, unjudged): (Caller, Instant, Option<Unanswered>),
) -> Result<Vec<u8>, ErrorObject> {
    count(&shared.stats.new_payload_calls);
    let invalid = |why: String| ErrorObject::new(ErrorCode::InvalidParams, why);
    let asked = match work_on(Arc::clone(shared), caller, method, body).await {
        Ok(examined) => {
            shared.payloads.keep_checked(&examined);
            examined.asked()
        }
        Err(Unexamined { why, asked }) => match why {
            Unreadable::Version { .. } => {
                return Err(ErrorObject::new(ErrorCode::UnsupportedFork, why.to_string()));
            }
            Unreadable::Params(_) | Unreadable::Fields(_) | Unreadable::Timestamp(_) => {
                return Err(invalid(why.to_string()));
            }
            Unreadable::Internal(_) => {
                return Err(ErrorObject::new(ErrorCode::InternalError, why.to_string()));
            }
            Unreadable::NetworkUnknown => asked,
        },
    };
    let judgement = shared.gate.new_payload_judged(asked, ElAnswer::Unavailable).await;
    drop(unjudged);
    let decision = for_proofs(shared, Asked::Payload(asked), None, judgement, received).await;
    Ok(bytes(made(Shape::NewPayload, decision, id)))
}

async fn forkchoice(
    shared: &Arc<Shared>,
    id: &Id,
    request: &Request<'_>,
    body: &Bytes,
    (received, unjudged): (Instant, Option<Unanswered>),
) -> Result<Vec<u8>, ErrorObject> {
    count(&shared.stats.forkchoice_updated_calls);
    let invalid = |why: &str| ErrorObject::new(ErrorCode::InvalidParams, why);
    let state = read_state(body).ok_or_else(|| invalid("params: forkchoiceState cannot be read"))?;
    check_attributes(shared, request)?;
    let Ok(mut ticket) = shared.lane.ticket() else {
        count(&shared.stats.refused_requests);
        let why = "too many fork choice updates at once";
        return Err(ErrorObject::new(ErrorCode::InternalError, why));
    };
    ticket.turn().await;
    shared.observer.on_forkchoice(&state);
    let state = ForkchoiceState {
        head: state.head_block_hash,
        safe: state.safe_block_hash,
        finalized: state.finalized_block_hash,
    };
    shared.gate.forkchoice_updated(state).await;
    let judgement = shared
        .gate
        .forkchoice_updated_judged(Some(state), ElAnswer::Unavailable)
        .await;
    drop((ticket, unjudged));
    let decision = for_proofs(shared, Asked::Head(state.head), None, judgement, received).await;
    Ok(bytes(made(Shape::ForkchoiceUpdated, decision, id)))
}

/// Attributes are for a payload that cannot be built here; what is wrong with them is said all the same.
fn check_attributes(shared: &Shared, request: &Request<'_>) -> Result<(), ErrorObject> {
    let invalid = |why: String| ErrorObject::new(ErrorCode::InvalidPayloadAttributes, why);
    let params: Vec<&RawValue> = request.params_as()?;
    let Some(attributes) = params.get(1).filter(|raw| raw.get() != "null") else {
        return Ok(());
    };
    let attributes: PayloadAttributes =
        serde_json::from_str(attributes.get()).map_err(|e| invalid(e.to_string()))?;
    let network = shared.network.borrow();
    let Some(network) = network.as_ref() else {
        return Ok(());
    };
    let slot = network
        .spec
        .slot_at_timestamp(network.genesis.genesis_time, attributes.timestamp)
        .ok_or_else(|| invalid(format!("no slot begins at {}", attributes.timestamp)))?;
    let fork = network.spec.fork_at_epoch(network.spec.epoch_at_slot(slot));
    if methods::takes_attributes(&request.method, fork) {
        Ok(())
    } else {
        let why = format!("{} is not for payloads of {fork}", request.method);
        Err(ErrorObject::new(ErrorCode::UnsupportedFork, why))
    }
}

fn bytes(judged: Judged) -> Vec<u8> {
    match judged {
        Judged::Own(body) | Judged::Edited(body) => body,
        // `made` always makes one.
        Judged::Passed => Vec::new(),
    }
}

fn param<T: DeserializeOwned>(request: &Request<'_>, index: usize, name: &str) -> Result<T, ErrorObject> {
    let invalid = |why: String| ErrorObject::new(ErrorCode::InvalidParams, why);
    let params: Vec<&RawValue> = request.params_as()?;
    let raw = params
        .get(index)
        .ok_or_else(|| invalid(format!("params: {name} is missing")))?;
    serde_json::from_str(raw.get()).map_err(|e| invalid(format!("params: {name}: {e}")))
}

fn quantity(text: &str) -> Result<u64, ErrorObject> {
    text.strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| ErrorObject::new(ErrorCode::InvalidParams, format!("{text:?} is no QUANTITY")))
}

/// Whatever a beacon node asks besides.
fn other(shared: &Shared, request: &Request<'_>) -> Result<Value, ErrorObject> {
    let method = request.method.as_ref();
    if method.starts_with("engine_getPayloadV") {
        return Err(ErrorObject::new(
            ErrorCode::UnknownPayload,
            "no payload is built here: there is no execution client",
        ));
    }
    match method {
        "engine_exchangeCapabilities" => {
            let ours = ProofMethod::ALL.iter().filter(|_| shared.proofs.is_some());
            let names: Vec<&str> = CAPABILITIES
                .into_iter()
                .chain(ours.map(|method| method.name()))
                .collect();
            Ok(json!(names))
        }
        "engine_getClientVersionV1" => Ok(json!([{
            "code": "AS", "name": "Assay", "version": env!("CARGO_PKG_VERSION"), "commit": "0x00000000",
        }])),
        // The values are the caller's own; there is no others' to hold against them.
        "engine_exchangeTransitionConfigurationV1" => param(request, 0, "transitionConfiguration"),
        "engine_getBlobsV1" => {
            let hashes: Vec<BlockHash> = param(request, 0, "versioned_hashes")?;
            Ok(Value::Array(vec![Value::Null; hashes.len()]))
        }
        "engine_getBlobsV2" | "engine_getBlobsV3" => Ok(Value::Null),
        "engine_getPayloadBodiesByHashV1" => {
            let hashes: Vec<BlockHash> = param(request, 0, "hashes")?;
            if hashes.len() > MAX_BODIES {
                return Err(ErrorCode::TooLargeRequest.into());
            }
            let bodies = hashes.iter().map(|hash| shared.payloads.by_hash(hash));
            Ok(bodies
                .map(|r| r.map_or(Value::Null, |r| payload_body(&r)))
                .collect())
        }
        "engine_getPayloadBodiesByRangeV1" => bodies_by_range(shared, request),
        "eth_syncing" => Ok(json!(false)),
        "eth_chainId" => shared.network.borrow().as_ref().map_or_else(
            || {
                Err(answers::no_answer(
                    "the beacon node has not told its network's values yet",
                ))
            },
            |network| Ok(json!(format!("{:#x}", network.spec.chain_id))),
        ),
        "eth_getBlockByHash" => {
            let hash: BlockHash = param(request, 0, "hash")?;
            Ok(shared.payloads.by_hash(&hash).map_or(Value::Null, |r| block(&r)))
        }
        "eth_getBlockByNumber" => {
            let number: String = param(request, 0, "number")?;
            let chain = shared
                .payloads
                .chain(shared.gate.stats().head.unwrap_or_default());
            let found = match number.as_str() {
                "latest" => chain.first(),
                text if text.starts_with("0x") => {
                    let number = quantity(text)?;
                    chain.iter().find(|r| r.execution_payload.block_number == number)
                }
                // `earliest`, `safe`, `finalized`, `pending`: not kept.
                _ => None,
            };
            Ok(found.map_or(Value::Null, |r| block(r)))
        }
        _ => Err(ErrorObject::new(
            ErrorCode::MethodNotFound,
            format!("{method} is not answered without an execution client"),
        )),
    }
}

/// By number along the head's chain, up to its newest; null where a body is not kept.
fn bodies_by_range(shared: &Shared, request: &Request<'_>) -> Result<Value, ErrorObject> {
    let start = quantity(&param::<String>(request, 0, "start")?)?;
    let wanted = quantity(&param::<String>(request, 1, "count")?)?;
    if start == 0 || wanted == 0 {
        return Err(ErrorCode::InvalidParams.into());
    }
    if wanted > MAX_BODIES as u64 {
        return Err(ErrorCode::TooLargeRequest.into());
    }
    let chain = shared
        .payloads
        .chain(shared.gate.stats().head.unwrap_or_default());
    let newest = chain.first().map_or(0, |r| r.execution_payload.block_number);
    let last = start.saturating_add(wanted - 1).min(newest);
    let body = |number: u64| {
        let found = chain.iter().find(|r| r.execution_payload.block_number == number);
        found.map_or(Value::Null, |r| payload_body(r))
    };
    Ok((start..=last).map(body).collect())
}

fn payload_value(request: &NewPayloadRequest) -> Value {
    let payload = assay_engine_api::ExecutionPayloadJson {
        payload: &request.execution_payload,
        fork: request.fork,
    };
    serde_json::to_value(payload).unwrap_or_default()
}

/// `ExecutionPayloadBodyV1`.
fn payload_body(request: &NewPayloadRequest) -> Value {
    let mut payload = payload_value(request);
    let withdrawals = match request.fork >= ForkName::Capella {
        true => payload["withdrawals"].take(),
        false => Value::Null,
    };
    json!({ "transactions": payload["transactions"].take(), "withdrawals": withdrawals })
}

/// A block as `eth_getBlockBy*` has it, of the fields a payload holds.
fn block(request: &NewPayloadRequest) -> Value {
    let mut block = payload_value(request);
    let mut renamed =
        json!({ "difficulty": "0x0", "totalDifficulty": "0x0", "nonce": "0x0000000000000000", "uncles": [] });
    for (from, to) in [
        ("blockHash", "hash"),
        ("parentHash", "parentHash"),
        ("blockNumber", "number"),
        ("feeRecipient", "miner"),
        ("prevRandao", "mixHash"),
        ("stateRoot", "stateRoot"),
        ("receiptsRoot", "receiptsRoot"),
        ("logsBloom", "logsBloom"),
        ("gasLimit", "gasLimit"),
        ("gasUsed", "gasUsed"),
        ("timestamp", "timestamp"),
        ("extraData", "extraData"),
        ("baseFeePerGas", "baseFeePerGas"),
    ] {
        renamed[to] = block[from].take();
    }
    renamed
}
