//! The methods of EIP-8025 (protocol.md section 7), answered here and never passed on: a proof that comes this way must
//! count for the gate, whatever the execution client would say of it.
//!
//! Their answers are small; what costs is on threads for blocking work, and bounded (`UnsignedProofs`).

use super::{
    Network, ProofService, Shared, answers,
    body::{Answer, Intake, full},
    service::intake_failed,
    stats::count,
};
use assay_engine_api::{
    ErrorCode, ErrorObject, Request, Response, block_hash, fields,
    methods::ProofMethod,
    proof_json::{ProofStatusV1, ProofValidity},
    proof_params::{HeaderParams, RequestProofsParams, execution_proof},
};
use assay_types::{ForkName, NewPayloadRequest, ProofType, Root};
use assay_verification::{UnsignedError, UnsignedVerdict};
use bytes::Bytes;
use serde_json::{Value, value::RawValue};
use std::{sync::Arc, time::Duration};

/// Longest wait for the network's values when a call comes before the beacon node has told them.
const NETWORK_PATIENCE: Duration = Duration::from_secs(2);

/// A call of its own.
pub(super) async fn single(shared: &Arc<Shared>, method: ProofMethod, mut intake: Intake) -> Answer {
    match intake.hold().await {
        Ok(held) => match work(shared, method, held.bytes.clone()).await {
            (response, true) => answers::json(response.to_json()),
            // A notification is worked on, and has no answer.
            (_, false) => Answer::new(full(Vec::new())),
        },
        Err(why) => intake_failed(shared, intake.id(), &why),
    }
}

/// The answer to the call in `body`.
pub(super) async fn answer(shared: &Arc<Shared>, method: ProofMethod, body: Bytes) -> Response {
    work(shared, method, body).await.0
}

/// The answer, and whether the caller wants one.
async fn work(shared: &Arc<Shared>, method: ProofMethod, body: Bytes) -> (Response, bool) {
    count(&shared.stats.proof_calls);
    let (id, wanted) = match Request::parse(&body) {
        Ok(request) => (request.id(), !request.is_notification()),
        Err(error) => return (Response::error(assay_engine_api::Id::null(), error), true),
    };
    let outcome = match (&shared.proofs, method) {
        (None, _) => Err(ErrorCode::MethodNotFound.into()),
        (Some(proofs), ProofMethod::RequestProofs) => request_proofs(shared, proofs, body).await,
        (Some(proofs), ProofMethod::VerifyExecutionProof) => verify_execution_proof(proofs, body).await,
        (Some(proofs), ProofMethod::VerifyNewPayloadRequestHeader) => {
            verify_new_payload_request_header(shared, proofs, body).await
        }
    };
    (Response::from_outcome(id, outcome), wanted)
}

fn internal(why: impl ToString) -> ErrorObject {
    ErrorObject::new(ErrorCode::InternalError, why.to_string())
}

fn status(status: ProofValidity, error: Option<String>) -> Result<Value, ErrorObject> {
    serde_json::to_value(ProofStatusV1 { status, error }).map_err(internal)
}

/// Reads a call's parameters, and works on them, off the async threads.
async fn blocking<T: Send + 'static>(
    body: Bytes,
    work: impl FnOnce(&str) -> Result<T, ErrorObject> + Send + 'static,
) -> Result<T, ErrorObject> {
    let done = tokio::task::spawn_blocking(move || {
        let request = Request::parse(&body)?;
        work(request.params.map_or("[]", RawValue::get))
    });
    done.await.map_err(internal)?
}

async fn network(shared: &Shared) -> Result<Network, ErrorObject> {
    let mut network = shared.network.clone();
    let told = tokio::time::timeout(NETWORK_PATIENCE, network.wait_for(Option::is_some)).await;
    match told {
        Ok(Ok(network)) => network.clone(),
        _ => None,
    }
    .ok_or_else(|| internal("the beacon node has not told its network's values yet"))
}

/// The fork of a payload by its timestamp.
fn fork_at(network: &Network, timestamp: u64) -> Result<ForkName, String> {
    let spec = &network.spec;
    let slot = spec
        .slot_at_timestamp(network.genesis.genesis_time, timestamp)
        .ok_or_else(|| format!("no slot begins at its timestamp {timestamp}"))?;
    Ok(spec.fork_at_epoch(spec.epoch_at_slot(slot)))
}

async fn request_proofs(
    shared: &Arc<Shared>,
    proofs: &ProofService,
    body: Bytes,
) -> Result<Value, ErrorObject> {
    let network = network(shared).await?;
    let (root, request, types) = blocking(body, move |params| {
        read_request(RequestProofsParams::from_params(params)?, &network)
    })
    .await?;
    let id = proofs.request(root, request, &types).await?;
    Ok(Value::String(fields::data_text(id.0)))
}

/// -39003 for a payload that is none, or whose hashes are not those of its fields.
fn read_request(
    params: RequestProofsParams,
    network: &Network,
) -> Result<(Root, NewPayloadRequest, Vec<ProofType>), ErrorObject> {
    let invalid = |why: String| ErrorObject::new(ErrorCode::InvalidPayload, why);
    let limit = network.spec.max_execution_proofs_per_payload;
    if params.proof_types.len() as u64 > limit {
        return Err(ErrorObject::new(
            ErrorCode::InvalidParams,
            format!("proofTypes: {} types, at most {limit}", params.proof_types.len()),
        ));
    }
    let fork = fork_at(network, params.payload.timestamp()).map_err(invalid)?;
    let mut payload = params.payload;
    if params.without_execution_requests {
        payload = payload.or_without_execution_requests(fork);
    }
    let request = payload
        .into_request(fork, &network.spec)
        .map_err(|e| invalid(e.to_string()))?;
    block_hash::check(&request).map_err(|mismatch| {
        let hint = if params.without_execution_requests && fork >= ForkName::Electra {
            " (a payload with execution requests needs them as the fourth of five parameters)"
        } else {
            ""
        };
        invalid(format!("{mismatch}{hint}"))
    })?;
    let root = request
        .hash_tree_root(&network.spec)
        .map_err(|e| invalid(e.to_string()))?;
    Ok((root, request, params.proof_types))
}

async fn verify_execution_proof(proofs: &ProofService, body: Bytes) -> Result<Value, ErrorObject> {
    let spec = Arc::clone(proofs.unsigned().intake().spec());
    let proof = blocking(body, move |params| {
        execution_proof(params, usize::try_from(spec.max_proof_size).unwrap_or(usize::MAX))
    })
    .await?;
    match proofs.unsigned().verify(proof).await {
        Ok(UnsignedVerdict::Valid(_)) => status(ProofValidity::Valid, None),
        Ok(UnsignedVerdict::Invalid(why)) => status(ProofValidity::Invalid, Some(why)),
        Ok(UnsignedVerdict::Unsupported) => status(
            ProofValidity::NotSupported,
            Some("no proof engine here verifies this proof type".to_owned()),
        ),
        Err(UnsignedError::Refused(reason)) => Err(ErrorObject::new(
            ErrorCode::InvalidProofFormat,
            reason.to_string(),
        )),
        // Nothing was judged; the caller may come again.
        Err(error) => Err(internal(error)),
    }
}

/// VALID once `MIN_REQUIRED_EXECUTION_PROOFS` proofs of different types of the header's payload were verified, signed or
/// not; the gate's own number of proofs is another matter.
async fn verify_new_payload_request_header(
    shared: &Arc<Shared>,
    proofs: &ProofService,
    body: Bytes,
) -> Result<Value, ErrorObject> {
    let network = network(shared).await?;
    let required = network.spec.min_required_execution_proofs;
    let root = blocking(body, move |params| {
        let params = HeaderParams::from_params(params)?;
        let invalid = |why: String| ErrorObject::new(ErrorCode::InvalidHeaderFormat, why);
        let fork = fork_at(&network, params.timestamp()).map_err(invalid)?;
        let header = params
            .into_header(fork, &network.spec)
            .map_err(|e| invalid(e.to_string()))?;
        header
            .hash_tree_root(&network.spec)
            .map_err(|e| invalid(e.to_string()))
    })
    .await?;
    // Asks the disk.
    let intake = proofs.unsigned().intake().clone();
    let proven = tokio::task::spawn_blocking(move || intake.proven_types(&root));
    let proven = proven.await.map_err(internal)? as u64;
    let verdict = if proven >= required {
        ProofValidity::Valid
    } else {
        ProofValidity::Syncing
    };
    status(verdict, None)
}
