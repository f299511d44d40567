//! An execution client that knows the invented chain: Engine API over HTTP with JWT, faults on demand.
//!
//! A payload whose parent is known is VALID, any other SYNCING, as an execution client without peers answers.

use crate::{SimError, simulation::Bound};
use assay_engine_api::{ErrorCode, ErrorObject, Id, Incoming, JwtSecret, Request, Response};
use assay_types::BlockHash;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response as HttpResponse},
    routing::post,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// Most bytes of one request (design.md: bodies to 128 MiB).
const MAX_BODY_BYTES: usize = 128 << 20;

/// Most payloads kept; the oldest go first.
const MAX_PAYLOADS: usize = 65_536;

/// What an execution client can be made to do wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ExecutionFault {
    /// Nothing.
    #[default]
    None,
    /// Every payload and head is SYNCING.
    Syncing,
    /// Every payload and head is INVALID.
    Invalid,
    /// Answers come this much later.
    Slow(Duration),
    /// No answer ever comes.
    Hang,
    /// Every call gets a JSON-RPC error.
    Error,
}

#[derive(Debug, Default)]
struct Chain {
    /// Known payloads: hash to parent.
    payloads: HashMap<BlockHash, BlockHash>,
    order: std::collections::VecDeque<BlockHash>,
    fault: ExecutionFault,
    calls: HashMap<String, u64>,
}

/// An execution client.
#[derive(Debug, Clone)]
pub struct ExecutionClient {
    chain: Arc<Mutex<Chain>>,
    secret: JwtSecret,
    address: SocketAddr,
}

impl ExecutionClient {
    /// Listens on a port of the system's choice until `stop`; knows the genesis block alone.
    pub async fn start(
        genesis: BlockHash,
        listen: IpAddr,
        secret: JwtSecret,
        stop: CancellationToken,
    ) -> Result<Self, SimError> {
        let bound = Bound::at(listen).await?;
        let chain = Chain {
            payloads: HashMap::from([(genesis, BlockHash::ZERO)]),
            ..Chain::default()
        };
        let client = Self {
            chain: Arc::new(Mutex::new(chain)),
            secret,
            address: bound.address,
        };
        let router = Router::new()
            .route("/", post(serve))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(client.clone());
        bound.serve(router, stop);
        Ok(client)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it does wrong from now on.
    pub fn set_fault(&self, fault: ExecutionFault) {
        self.chain.lock().fault = fault;
    }

    /// How often a method was called.
    pub fn calls(&self, method: &str) -> u64 {
        self.chain.lock().calls.get(method).copied().unwrap_or(0)
    }

    fn status_of(&self, hash: BlockHash, parent: Option<BlockHash>) -> Value {
        let mut chain = self.chain.lock();
        match chain.fault {
            ExecutionFault::Syncing => return status("SYNCING", None),
            ExecutionFault::Invalid => {
                return json!({ "status": "INVALID", "latestValidHash": parent, "validationError": "made to say so" });
            }
            _ => {}
        }
        match parent {
            Some(parent) if chain.payloads.contains_key(&parent) => {
                if chain.payloads.insert(hash, parent).is_none() {
                    chain.order.push_back(hash);
                    if chain.order.len() > MAX_PAYLOADS
                        && let Some(oldest) = chain.order.pop_front()
                    {
                        chain.payloads.remove(&oldest);
                    }
                }
                status("VALID", Some(hash))
            }
            None if chain.payloads.contains_key(&hash) => status("VALID", Some(hash)),
            _ => status("SYNCING", None),
        }
    }

    async fn answer(&self, request: &Request<'_>) -> Response {
        let method = request.method.as_ref();
        let fault = {
            let mut chain = self.chain.lock();
            *chain.calls.entry(method.chars().take(64).collect()).or_default() += 1;
            chain.fault.clone()
        };
        match fault {
            ExecutionFault::Slow(delay) => tokio::time::sleep(delay).await,
            ExecutionFault::Hang => std::future::pending().await,
            ExecutionFault::Error => {
                return Response::error(
                    request.id(),
                    ErrorObject::new(ErrorCode::ServerError, "made to fail"),
                );
            }
            _ => {}
        }
        let outcome = self.dispatch(method, request);
        Response::from_outcome(request.id(), outcome)
    }

    fn dispatch(&self, method: &str, request: &Request<'_>) -> Result<Value, ErrorObject> {
        if method.starts_with("engine_newPayloadV") {
            let params: Vec<Value> = request.params_as()?;
            let payload = params.first().ok_or_else(|| invalid_params("no payload"))?;
            let hash = hash_at(payload, "blockHash")?;
            let parent = hash_at(payload, "parentHash")?;
            return Ok(self.status_of(hash, Some(parent)));
        }
        if method.starts_with("engine_forkchoiceUpdatedV") {
            let params: Vec<Value> = request.params_as()?;
            let state = params
                .first()
                .ok_or_else(|| invalid_params("no forkchoice state"))?;
            let head = hash_at(state, "headBlockHash")?;
            return Ok(json!({ "payloadStatus": self.status_of(head, None), "payloadId": null }));
        }
        match method {
            "engine_exchangeCapabilities" => Ok(json!([
                "engine_newPayloadV1",
                "engine_newPayloadV2",
                "engine_newPayloadV3",
                "engine_newPayloadV4",
                "engine_newPayloadV5",
                "engine_forkchoiceUpdatedV1",
                "engine_forkchoiceUpdatedV2",
                "engine_forkchoiceUpdatedV3",
                "engine_forkchoiceUpdatedV4",
                "engine_getClientVersionV1",
            ])),
            "engine_getClientVersionV1" => Ok(json!([
                { "code": "AS", "name": "assay-simulator", "version": env!("CARGO_PKG_VERSION"), "commit": "0x00000000" }
            ])),
            "eth_syncing" => Ok(json!(false)),
            _ => Err(ErrorObject::new(
                ErrorCode::MethodNotFound,
                "the simulator's execution client does not have this method",
            )),
        }
    }
}

fn status(status: &str, latest_valid: Option<BlockHash>) -> Value {
    json!({ "status": status, "latestValidHash": latest_valid, "validationError": null })
}

fn invalid_params(message: &str) -> ErrorObject {
    ErrorObject::new(ErrorCode::InvalidParams, message)
}

fn hash_at(object: &Value, field: &str) -> Result<BlockHash, ErrorObject> {
    object[field]
        .as_str()
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| invalid_params(field))
}

async fn serve(State(client): State<ExecutionClient>, headers: HeaderMap, body: Bytes) -> HttpResponse {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if let Err(error) = client.secret.verify_header(authorization, SystemTime::now()) {
        return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
    }
    let json = [(header::CONTENT_TYPE, "application/json")];
    match Incoming::parse(&body) {
        Ok(Incoming::Single(request)) => (json, client.answer(&request).await.to_json()).into_response(),
        Ok(_) => (
            json,
            Response::error(
                Id::null(),
                ErrorObject::new(ErrorCode::InvalidRequest, "no batches here"),
            )
            .to_json(),
        )
            .into_response(),
        Err(e) => (json, Response::error(Id::null(), e).to_json()).into_response(),
    }
}
