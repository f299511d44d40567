//! A follower's Beacon API: what Assay's follower, provers and operators ask of a beacon node.

use crate::{SimBlock, SimChain, chain::SimValidator, follower::Follower, simulation::now_ms};
use assay_types::{Epoch, ForkName, PublicKeyBytes, Root, Slot};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};
use tokio_stream::wrappers::BroadcastStream;

#[derive(Clone)]
struct Api {
    chain: Arc<Mutex<SimChain>>,
    view: Arc<Follower>,
}

/// An error in the Beacon API's form.
struct ApiError(StatusCode, String);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (
            self.0,
            Json(json!({ "code": self.0.as_u16(), "message": self.1 })),
        )
            .into_response()
    }
}

type Answer = Result<Json<Value>, ApiError>;

const TOPICS: [&str; 6] = [
    "head",
    "block",
    "chain_reorg",
    "finalized_checkpoint",
    "execution_payload",
    "execution_payload_available",
];

/// The routes.
pub(crate) fn router(chain: Arc<Mutex<SimChain>>, view: Arc<Follower>) -> Router {
    Router::new()
        .route(
            "/eth/v1/node/version",
            get(|| async { data(json!({ "version": version() })) }),
        )
        .route("/eth/v1/node/health", get(health))
        .route("/eth/v1/node/syncing", get(syncing))
        .route("/eth/v1/node/identity", get(identity))
        .route(
            "/eth/v1/node/peers",
            get(|| async { Json(json!({ "data": [], "meta": { "count": 0 } })) }),
        )
        .route("/eth/v1/config/spec", get(spec))
        .route("/eth/v1/config/fork_schedule", get(fork_schedule))
        .route("/eth/v1/beacon/genesis", get(genesis))
        .route("/eth/v1/beacon/headers", get(headers))
        .route("/eth/v1/beacon/headers/{block_id}", get(header_of))
        .route("/eth/v1/beacon/blocks/{block_id}/root", get(block_root))
        .route("/eth/v2/beacon/blocks/{block_id}", get(block))
        .route(
            "/eth/v1/beacon/execution_payload_envelope/{block_id}",
            get(envelope),
        )
        .route("/eth/v1/beacon/states/{state_id}/root", get(state_root))
        .route("/eth/v1/beacon/states/{state_id}/fork", get(state_fork))
        .route(
            "/eth/v1/beacon/states/{state_id}/finality_checkpoints",
            get(finality_checkpoints),
        )
        .route("/eth/v1/beacon/states/{state_id}/validators", get(validators))
        .route(
            "/eth/v1/beacon/states/{state_id}/validators/{validator_id}",
            get(validator),
        )
        .route("/eth/v1/events", get(events))
        .fallback(|| async { ApiError(StatusCode::NOT_FOUND, "the simulator has no such route".into()) })
        .with_state(Api { chain, view })
}

fn version() -> String {
    format!("assay-simulator/{}", env!("CARGO_PKG_VERSION"))
}

fn data(value: Value) -> Json<Value> {
    Json(json!({ "data": value }))
}

fn not_found(what: &str) -> ApiError {
    ApiError(StatusCode::NOT_FOUND, format!("{what} not found"))
}

impl Api {
    /// A block this follower has imported, by the Beacon API's block id.
    fn block(&self, id: &str) -> Result<Arc<SimBlock>, ApiError> {
        let chain = self.chain.lock();
        let head = self.view.head();
        let canonical = |slot: Slot| {
            let head = head.as_ref()?;
            chain
                .branch(&head.block_root)
                .take_while(|b| b.slot >= slot)
                .find(|b| b.slot == slot)
                .cloned()
        };
        let found = match id {
            "head" => head.clone(),
            "genesis" => chain.block(&chain.genesis_root()).cloned(),
            "finalized" => chain.block(&self.finalized(&chain).1).cloned(),
            "justified" => chain.block(&self.justified(&chain).1).cloned(),
            id if id.starts_with("0x") => {
                let root: Root = id
                    .parse()
                    .map_err(|e| ApiError(StatusCode::BAD_REQUEST, format!("{id}: {e}")))?;
                chain
                    .block(&root)
                    .filter(|b| self.view.is_imported(&b.block_root))
                    .cloned()
            }
            id => {
                let slot = id
                    .parse()
                    .map_err(|_| ApiError(StatusCode::BAD_REQUEST, format!("invalid block id {id}")))?;
                canonical(Slot(slot))
            }
        };
        found.ok_or_else(|| not_found(&format!("block {id}")))
    }

    /// The block whose state an id names, and the slot of the state.
    fn state(&self, id: &str) -> Result<(Arc<SimBlock>, Slot), ApiError> {
        if id.starts_with("0x") {
            let root: Root = id
                .parse()
                .map_err(|e| ApiError(StatusCode::BAD_REQUEST, format!("{id}: {e}")))?;
            let chain = self.chain.lock();
            let block = chain
                .block_of_state(&root)
                .filter(|b| self.view.is_imported(&b.block_root))
                .cloned();
            return block
                .map(|b| (b.clone(), b.slot))
                .ok_or_else(|| not_found(&format!("state {id}")));
        }
        if let Ok(slot) = id.parse().map(Slot) {
            let chain = self.chain.lock();
            let head = self.view.head().ok_or_else(|| not_found("head"))?;
            let block = chain.branch(&head.block_root).find(|b| b.slot <= slot).cloned();
            return block
                .map(|b| (b, slot))
                .ok_or_else(|| not_found(&format!("state {id}")));
        }
        self.block(id).map(|b| (b.clone(), b.slot))
    }

    /// Checkpoints only as far as this follower's head.
    fn finalized(&self, chain: &SimChain) -> (Epoch, Root) {
        self.visible(chain, chain.finalized())
    }

    fn justified(&self, chain: &SimChain) -> (Epoch, Root) {
        self.visible(chain, chain.justified())
    }

    fn visible(&self, chain: &SimChain, (epoch, root): (Epoch, Root)) -> (Epoch, Root) {
        if root != Root::ZERO && self.view.is_imported(&root) {
            (epoch, root)
        } else {
            (Epoch(0), chain.genesis_root())
        }
    }

    fn flags(&self, block: &SimBlock) -> (bool, bool) {
        let chain = self.chain.lock();
        let finalized = self.finalized(&chain).1;
        let is_final = chain.branch(&finalized).any(|b| b.block_root == block.block_root);
        (self.view.is_optimistic(block), is_final)
    }
}

async fn health(State(api): State<Api>) -> StatusCode {
    match api.view.head() {
        Some(head) if !api.view.is_optimistic(&head) => StatusCode::OK,
        _ => StatusCode::PARTIAL_CONTENT,
    }
}

async fn syncing(State(api): State<Api>) -> Answer {
    let head = api.view.head().ok_or_else(|| not_found("head"))?;
    let current = {
        let chain = api.chain.lock();
        now_ms().saturating_sub(chain.genesis().genesis_time * 1000) / chain.spec().slot_duration_ms
    };
    Ok(data(json!({
        "head_slot": head.slot,
        "sync_distance": current.saturating_sub(head.slot.0).to_string(),
        "is_syncing": false,
        "is_optimistic": api.view.is_optimistic(&head),
        "el_offline": false,
    })))
}

async fn identity() -> Json<Value> {
    data(json!({
        "peer_id": "", "enr": "", "p2p_addresses": [], "discovery_addresses": [],
        "metadata": { "seq_number": "0", "attnets": "0x0000000000000000", "syncnets": "0x00" },
    }))
}

async fn spec(State(api): State<Api>) -> Json<Value> {
    data(Value::Object(api.chain.lock().spec().to_config()))
}

async fn fork_schedule(State(api): State<Api>) -> Json<Value> {
    let chain = api.chain.lock();
    let mut previous = None;
    let forks: Vec<Value> = chain
        .spec()
        .fork_schedule
        .iter()
        .filter(|(_, _, epoch)| *epoch != Epoch::FAR_FUTURE)
        .map(|(_, version, epoch)| {
            let before = previous.replace(*version).unwrap_or(*version);
            json!({ "previous_version": before, "current_version": version, "epoch": epoch })
        })
        .collect();
    data(Value::Array(forks))
}

async fn genesis(State(api): State<Api>) -> Json<Value> {
    let chain = api.chain.lock();
    let genesis = chain.genesis();
    data(json!({
        "genesis_time": genesis.genesis_time.to_string(),
        "genesis_validators_root": genesis.genesis_validators_root,
        "genesis_fork_version": chain.spec().fork_version_at_epoch(Epoch(0)),
    }))
}

fn header_json(api: &Api, block: &SimBlock) -> Value {
    let canonical = api.view.head().is_some_and(|head| {
        api.chain
            .lock()
            .branch(&head.block_root)
            .any(|b| b.block_root == block.block_root)
    });
    json!({
        "root": block.block_root,
        "canonical": canonical,
        "header": {
            "message": {
                "slot": block.slot,
                "proposer_index": block.proposer_index.to_string(),
                "parent_root": block.parent_root,
                "state_root": block.state_root,
                "body_root": block.body_root,
            },
            "signature": block.json["signature"],
        },
    })
}

async fn headers(State(api): State<Api>, Query(query): Query<HashMap<String, String>>) -> Answer {
    let bad = |what: &str| ApiError(StatusCode::BAD_REQUEST, format!("invalid {what}"));
    let slot = query
        .get("slot")
        .map(|s| s.parse().map(Slot).map_err(|_| bad("slot")))
        .transpose()?;
    let parent: Option<Root> = query
        .get("parent_root")
        .map(|r| r.parse().map_err(|_| bad("parent_root")))
        .transpose()?;
    let found: Vec<Arc<SimBlock>> = if slot.is_none() && parent.is_none() {
        vec![api.block("head")?]
    } else {
        let chain = api.chain.lock();
        let wanted = |b: &&Arc<SimBlock>| {
            slot.is_none_or(|s| b.slot == s)
                && parent.is_none_or(|p| b.parent_root == p)
                && api.view.is_imported(&b.block_root)
        };
        chain.blocks().filter(wanted).cloned().collect()
    };
    let optimistic = found.iter().any(|b| api.view.is_optimistic(b));
    let list: Vec<Value> = found.iter().map(|b| header_json(&api, b)).collect();
    Ok(Json(
        json!({ "execution_optimistic": optimistic, "finalized": false, "data": list }),
    ))
}

async fn header_of(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let block = api.block(&id)?;
    let (optimistic, finalized) = api.flags(&block);
    Ok(Json(json!({
        "execution_optimistic": optimistic, "finalized": finalized, "data": header_json(&api, &block),
    })))
}

async fn block_root(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let block = api.block(&id)?;
    let (optimistic, finalized) = api.flags(&block);
    Ok(Json(json!({
        "execution_optimistic": optimistic, "finalized": finalized, "data": { "root": block.block_root },
    })))
}

async fn block(
    State(api): State<Api>,
    Path(id): Path<String>,
    request_headers: HeaderMap,
) -> Result<Response, ApiError> {
    let block = api.block(&id)?;
    Ok(versioned(&api, &block, &request_headers, &block.ssz, &block.json))
}

/// Gloas: what a block's payload came in; 404 until it came.
async fn envelope(
    State(api): State<Api>,
    Path(id): Path<String>,
    request_headers: HeaderMap,
) -> Result<Response, ApiError> {
    let block = api.block(&id)?;
    let envelope = block
        .envelope
        .as_ref()
        .filter(|_| api.view.is_revealed(&block.block_root))
        .ok_or_else(|| not_found(&format!("execution payload envelope of block {id}")))?;
    Ok(versioned(
        &api,
        &block,
        &request_headers,
        &envelope.ssz,
        &envelope.json,
    ))
}

/// SSZ or JSON, as the client asks, with the fork beside it.
fn versioned(api: &Api, block: &SimBlock, request: &HeaderMap, ssz: &Bytes, data: &Value) -> Response {
    let (optimistic, finalized) = api.flags(block);
    let accept = request
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let version = [("eth-consensus-version", block.fork.as_str())];
    if accept.starts_with("application/octet-stream") {
        let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
        return (version, kind, ssz.clone()).into_response();
    }
    let body = json!({
        "version": block.fork, "execution_optimistic": optimistic, "finalized": finalized, "data": data,
    });
    (version, Json(body)).into_response()
}

async fn state_root(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let (block, _) = api.state(&id)?;
    let (optimistic, finalized) = api.flags(&block);
    Ok(Json(json!({
        "execution_optimistic": optimistic, "finalized": finalized, "data": { "root": block.state_root },
    })))
}

async fn state_fork(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let (block, slot) = api.state(&id)?;
    let (optimistic, finalized) = api.flags(&block);
    let chain = api.chain.lock();
    let spec = chain.spec();
    let fork = spec.fork_at_epoch(spec.epoch_at_slot(slot));
    let version_of = |f: ForkName| {
        spec.fork_schedule
            .iter()
            .find(|(name, _, _)| *name == f)
            .map(|(_, v, _)| *v)
    };
    let before = ForkName::ALL
        .iter()
        .copied()
        .rev()
        .find(|f| *f < fork)
        .unwrap_or(fork);
    Ok(Json(json!({
        "execution_optimistic": optimistic, "finalized": finalized,
        "data": {
            "previous_version": version_of(before), "current_version": version_of(fork),
            "epoch": spec.fork_epoch(fork).unwrap_or_default(),
        },
    })))
}

async fn finality_checkpoints(State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let (block, _) = api.state(&id)?;
    let (optimistic, finalized) = api.flags(&block);
    let chain = api.chain.lock();
    let checkpoint = |(epoch, root): (Epoch, Root)| {
        // Before any, the state holds a zero root.
        json!({ "epoch": epoch, "root": if epoch.0 == 0 { Root::ZERO } else { root } })
    };
    let justified = checkpoint(api.justified(&chain));
    Ok(Json(json!({
        "execution_optimistic": optimistic, "finalized": finalized,
        "data": {
            "previous_justified": justified, "current_justified": justified,
            "finalized": checkpoint(api.finalized(&chain)),
        },
    })))
}

/// The index an id names: a number, or a public key.
fn validator_index(chain: &SimChain, id: &str) -> Result<Option<u64>, ApiError> {
    let bad = || ApiError(StatusCode::BAD_REQUEST, format!("invalid validator id {id}"));
    if id.starts_with("0x") {
        let key = id.parse::<PublicKeyBytes>().map_err(|_| bad())?;
        return Ok(chain.validator_by_key(&key));
    }
    id.parse().map(Some).map_err(|_| bad())
}

fn validator_json(index: u64, validator: &SimValidator, epoch: Epoch) -> Value {
    json!({
        "index": index.to_string(),
        "balance": "32000000000",
        "status": validator_status(validator, epoch),
        "validator": {
            "pubkey": validator.pubkey,
            "withdrawal_credentials": Root::ZERO,
            "effective_balance": "32000000000",
            "slashed": false,
            "activation_eligibility_epoch": "0",
            "activation_epoch": validator.activation_epoch,
            "exit_epoch": validator.exit_epoch,
            "withdrawable_epoch": validator.exit_epoch,
        },
    })
}

async fn validator(State(api): State<Api>, Path((state, id)): Path<(String, String)>) -> Answer {
    let (block, slot) = api.state(&state)?;
    let (optimistic, finalized) = api.flags(&block);
    let chain = api.chain.lock();
    let (index, validator) = validator_index(&chain, &id)?
        .and_then(|i| chain.validator(i).map(|v| (i, v)))
        .ok_or_else(|| not_found(&format!("validator {id}")))?;
    let epoch = chain.spec().epoch_at_slot(slot);
    Ok(Json(json!({
        "execution_optimistic": optimistic, "finalized": finalized,
        "data": validator_json(index, validator, epoch),
    })))
}

/// Those asked for by `id` (repeated, or with commas); all where none is. What does not exist is left out.
async fn validators(
    State(api): State<Api>,
    Path(state): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let (block, slot) = api.state(&state)?;
    let (optimistic, finalized) = api.flags(&block);
    let chain = api.chain.lock();
    let epoch = chain.spec().epoch_at_slot(slot);
    let ids = query
        .iter()
        .filter(|(key, _)| key == "id")
        .flat_map(|(_, value)| value.split(','));
    let mut wanted = ids
        .map(|id| validator_index(&chain, id))
        .collect::<Result<Vec<_>, _>>()?;
    if wanted.is_empty() {
        wanted = (0..chain.validator_count()).map(Some).collect();
    }
    let data: Vec<Value> = wanted
        .into_iter()
        .flatten()
        .filter_map(|index| chain.validator(index).map(|v| validator_json(index, v, epoch)))
        .collect();
    Ok(Json(
        json!({ "execution_optimistic": optimistic, "finalized": finalized, "data": data }),
    ))
}

fn validator_status(validator: &SimValidator, epoch: Epoch) -> &'static str {
    if epoch < validator.activation_epoch {
        "pending_queued"
    } else if epoch >= validator.exit_epoch {
        "withdrawal_possible"
    } else if validator.exit_epoch == Epoch::FAR_FUTURE {
        "active_ongoing"
    } else {
        "active_exiting"
    }
}

async fn events(
    State(api): State<Api>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let wanted: Vec<String> = query
        .into_iter()
        .filter(|(key, _)| key == "topics")
        .flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    if let Some(unknown) = wanted.iter().find(|t| !TOPICS.contains(&t.as_str())) {
        return Err(ApiError(
            StatusCode::BAD_REQUEST,
            format!("unknown topic {unknown}"),
        ));
    }
    let stream = BroadcastStream::new(api.view.subscribe()).filter_map(move |event| {
        let event = event.ok().filter(|(topic, _)| wanted.iter().any(|w| w == topic));
        std::future::ready(
            event.map(|(topic, data)| Ok(Event::default().event(topic).data(data.to_string()))),
        )
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(10))))
}
