//! A small client of the Beacon API: JSON, SSZ where the node gives it, and server-sent events. Every body is bounded, every
//! request ends by itself.
//!
//! | file | what it holds |
//! |---|---|
//! | `node_api` | the client, its errors, blocks and envelopes in either form |
//! | `node_api/event_bytes` | the bytes of an event stream, bounded |
//! | `node_api/known_nodes` | the node's own record and its peers' |
//! | `node_api/validator` | one validator of one state |

mod event_bytes;
mod known_nodes;
mod validator;

use assay_types::{
    BeaconBlockSummary, ForkName, PayloadEnvelope, Root, Spec,
    block::{signed_block_ssz_from_json, signed_envelope_ssz_from_json},
    proof::SszError,
};
use bytes::{Bytes, BytesMut};
use eventsource_stream::Eventsource;
use futures::{StreamExt, stream::BoxStream};
use reqwest::{
    Client, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tracing::info;

/// Time to a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to a whole answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to a whole block, which may be megabytes, and to a validator, for which a node may rebuild a state.
pub const SLOW_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a JSON answer at most (a config is some 20 KB).
pub const MAX_JSON_BYTES: usize = 4 << 20;
/// Bytes of a block or envelope in SSZ at most: `MAX_PAYLOAD_SIZE` of today's networks is 10 MiB.
pub const MAX_BLOCK_BYTES: usize = 16 << 20;
/// Bytes of a block or envelope in JSON at most: hex and names double it and more.
pub const MAX_BLOCK_JSON_BYTES: usize = 48 << 20;
/// Bytes of one server-sent event at most.
pub const MAX_EVENT_BYTES: usize = 256 << 10;
/// Bytes of an error's body that are read, and of its text that are kept.
const MAX_ERROR_BYTES: usize = 64 << 10;
const MAX_ERROR_TEXT: usize = 300;

const JSON: &str = "application/json";
const SSZ: &str = "application/octet-stream";
const EVENT_STREAM: &str = "text/event-stream";
const CONSENSUS_VERSION: &str = "eth-consensus-version";

/// Why the beacon node gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The base URL cannot be used.
    #[error("{0}")]
    Url(String),
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The node answered with an error.
    #[error("{status} {message}")]
    Status {
        /// HTTP status code.
        status: u16,
        /// The node's own words, shortened.
        message: String,
    },
    /// An answer larger than any should be.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// An answer that is not what the API says.
    #[error("not the answer expected: {0}")]
    Body(String),
}

impl NodeError {
    /// 404: the node does not have it.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { status: 404, .. })
    }

    /// A status by which nodes refuse a form of request (accept header, topics).
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Status {
                status: 400 | 405 | 406 | 415 | 501,
                ..
            }
        )
    }
}

/// A block or envelope as it came.
#[derive(Debug, Clone)]
pub enum VersionedBody {
    /// SSZ.
    Ssz(Bytes),
    /// JSON, the `data` member.
    Json(serde_json::Value),
}

/// A block or envelope, and the fork it is of.
#[derive(Debug, Clone)]
pub struct Versioned {
    /// `Eth-Consensus-Version`, or `version` of JSON.
    pub fork: ForkName,
    /// What it says.
    pub body: VersionedBody,
    /// `execution_optimistic`, where the answer was JSON and said so.
    pub execution_optimistic: Option<bool>,
}

impl Versioned {
    /// Reads a `SignedBeaconBlock`. Hashes it: off the async threads.
    pub fn block(&self, spec: &Spec) -> Result<BeaconBlockSummary, SszError> {
        match &self.body {
            VersionedBody::Ssz(bytes) => BeaconBlockSummary::from_signed_block_ssz(self.fork, spec, bytes),
            VersionedBody::Json(data) => BeaconBlockSummary::from_signed_block_json(self.fork, spec, data),
        }
    }

    /// The SSZ bytes of a `SignedBeaconBlock`: as they came, or made from JSON. Bytes that came are not checked.
    pub fn block_ssz(&self, spec: &Spec) -> Result<Bytes, SszError> {
        match &self.body {
            VersionedBody::Ssz(bytes) => Ok(bytes.clone()),
            VersionedBody::Json(data) => signed_block_ssz_from_json(self.fork, spec, data),
        }
    }

    /// The SSZ bytes of a `SignedExecutionPayloadEnvelope`, as `block_ssz`.
    pub fn envelope_ssz(&self, spec: &Spec) -> Result<Bytes, SszError> {
        match &self.body {
            VersionedBody::Ssz(bytes) => Ok(bytes.clone()),
            VersionedBody::Json(data) => signed_envelope_ssz_from_json(self.fork, spec, data),
        }
    }

    /// Reads a `SignedExecutionPayloadEnvelope`.
    pub fn envelope(&self, spec: &Spec) -> Result<PayloadEnvelope, SszError> {
        match &self.body {
            VersionedBody::Ssz(bytes) => PayloadEnvelope::from_signed_envelope_ssz(self.fork, spec, bytes),
            VersionedBody::Json(data) => PayloadEnvelope::from_signed_envelope_json(self.fork, spec, data),
        }
    }
}

/// One server-sent event, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// The topic.
    pub topic: String,
    /// JSON.
    pub data: String,
}

/// A JSON answer's envelope.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer<T> {
    /// What was asked for.
    pub data: T,
    /// Whether it depends on blocks the node imported optimistically.
    #[serde(default)]
    pub execution_optimistic: bool,
}

#[derive(Deserialize)]
struct VersionedAnswer {
    version: ForkName,
    data: serde_json::Value,
    execution_optimistic: Option<bool>,
}

struct Received {
    headers: HeaderMap,
    body: Bytes,
}

impl Received {
    fn is_json(&self) -> bool {
        let content_type = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        content_type
            .is_some_and(|content_type| content_type.trim_start().to_ascii_lowercase().starts_with(JSON))
    }
}

/// A beacon node's API.
#[derive(Debug)]
pub struct NodeApi {
    client: Client,
    base: Url,
    shown: String,
    /// The node refuses SSZ: asked in JSON from then on, and said once.
    ssz_refused: AtomicBool,
    /// The path under which the node has envelopes, once one was found: the specification renamed it.
    plural_envelopes: AtomicBool,
}

impl NodeApi {
    /// For a base URL, with a path and credentials (basic) where it has them.
    pub fn new(base: &str) -> Result<Self, NodeError> {
        let mut base =
            Url::parse(base).map_err(|error| NodeError::Url(format!("beacon node URL: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(NodeError::Url(format!(
                "beacon node URL: {} is not http or https",
                base.scheme()
            )));
        }
        base.set_query(None);
        base.set_fragment(None);
        let mut shown = base.clone();
        // A URL with a host takes both; without credentials there is nothing to hide.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        // Someone else may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::limited(3))
            .user_agent(concat!("assay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| NodeError::Url(describe(error)))?;
        Ok(Self {
            client,
            base,
            shown: shown.to_string(),
            ssz_refused: AtomicBool::new(false),
            plural_envelopes: AtomicBool::new(false),
        })
    }

    /// The base URL without credentials.
    pub fn shown_url(&self) -> &str {
        &self.shown
    }

    fn url(&self, path: &str, query: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query((!query.is_empty()).then_some(query));
        url
    }

    async fn receive(
        &self,
        path: &str,
        query: &str,
        accept: &str,
        limit: usize,
        timeout: Duration,
    ) -> Result<Received, NodeError> {
        let request = self
            .client
            .get(self.url(path, query))
            .header(ACCEPT, accept)
            .send();
        let whole = async {
            let response = request.await.map_err(unreachable)?;
            let (status, headers) = (response.status(), response.headers().clone());
            if !status.is_success() {
                return Err(refused(status, response).await);
            }
            let body = collect(response, limit).await?;
            Ok(Received { headers, body })
        };
        tokio::time::timeout(timeout, whole)
            .await
            .map_err(|_| NodeError::Timeout(timeout))?
    }

    /// GET of JSON `{data: T, …}`; `path` begins with a slash.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &str,
    ) -> Result<Answer<T>, NodeError> {
        self.get_json_within(path, query, REQUEST_TIMEOUT).await
    }

    async fn get_json_within<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &str,
        timeout: Duration,
    ) -> Result<Answer<T>, NodeError> {
        let received = self.receive(path, query, JSON, MAX_JSON_BYTES, timeout).await?;
        serde_json::from_slice(&received.body).map_err(|error| NodeError::Body(format!("{path}: {error}")))
    }

    /// GET of a block or envelope: SSZ, or JSON where the node refuses SSZ or does not name the fork beside it.
    pub async fn get_versioned(&self, path: &str) -> Result<Versioned, NodeError> {
        if self.ssz_refused.load(Ordering::Relaxed) {
            return self.get_versioned_json(path).await;
        }
        let why = match self
            .receive(path, "", SSZ, MAX_BLOCK_JSON_BYTES, SLOW_REQUEST_TIMEOUT)
            .await
        {
            Ok(received) if received.is_json() => {
                let versioned = versioned_json(path, &received.body)?;
                self.refuses_ssz("it answers with JSON");
                return Ok(versioned);
            }
            Ok(received) => match received.headers.get(CONSENSUS_VERSION) {
                Some(version) => {
                    if received.body.len() > MAX_BLOCK_BYTES {
                        return Err(NodeError::TooLarge(MAX_BLOCK_BYTES));
                    }
                    let version = version.to_str().unwrap_or_default();
                    let fork = version
                        .parse()
                        .map_err(|error| NodeError::Body(format!("{path}: {error}")))?;
                    let body = VersionedBody::Ssz(received.body);
                    return Ok(Versioned {
                        fork,
                        body,
                        execution_optimistic: None,
                    });
                }
                None => "it does not name the fork beside it".to_owned(),
            },
            Err(error) if error.is_refusal() => error.to_string(),
            Err(error) => return Err(error),
        };
        // Only where JSON works was it SSZ that was wrong.
        let versioned = self.get_versioned_json(path).await?;
        self.refuses_ssz(&why);
        Ok(versioned)
    }

    async fn get_versioned_json(&self, path: &str) -> Result<Versioned, NodeError> {
        let received = self
            .receive(path, "", JSON, MAX_BLOCK_JSON_BYTES, SLOW_REQUEST_TIMEOUT)
            .await?;
        versioned_json(path, &received.body)
    }

    fn refuses_ssz(&self, why: &str) {
        if !self.ssz_refused.swap(true, Ordering::Relaxed) {
            info!(beacon_node = %self.shown, why, "the beacon node gives no SSZ; blocks are read as JSON");
        }
    }

    /// A block by root, slot, or name (`head`, `finalized`, `genesis`).
    pub async fn block(&self, block_id: &str) -> Result<Versioned, NodeError> {
        self.get_versioned(&format!("/eth/v2/beacon/blocks/{block_id}"))
            .await
    }

    /// The envelope of a Gloas block, under either of the paths that the specification has had for it.
    pub async fn envelope(&self, block_root: &Root) -> Result<Versioned, NodeError> {
        let path = |plural| {
            let name = if plural {
                "execution_payload_envelopes"
            } else {
                "execution_payload_envelope"
            };
            format!("/eth/v1/beacon/{name}/{block_root}")
        };
        let plural = self.plural_envelopes.load(Ordering::Relaxed);
        let first = self.get_versioned(&path(plural)).await;
        match &first {
            Err(error) if error.is_not_found() || error.is_refusal() => {
                // "No such envelope" and "no such route" are both 404.
                let second = self.get_versioned(&path(!plural)).await;
                if second.is_ok() {
                    self.plural_envelopes.store(!plural, Ordering::Relaxed);
                    return second;
                }
                first
            }
            _ => first,
        }
    }

    /// Opens the event stream; some nodes do not answer before the first event, so that this may take `idle` too. It ends
    /// with an error when the connection breaks, when nothing at all comes for `idle`
    /// (keep-alive comments count), or when an event is larger than `MAX_EVENT_BYTES`.
    pub async fn events(
        &self,
        query: &str,
        idle: Duration,
    ) -> Result<BoxStream<'static, Result<RawEvent, NodeError>>, NodeError> {
        let request = self
            .client
            .get(self.url("/eth/v1/events", query))
            .header(ACCEPT, EVENT_STREAM)
            .send();
        let opened = async {
            let response = request.await.map_err(unreachable)?;
            if !response.status().is_success() {
                return Err(refused(response.status(), response).await);
            }
            Ok(response)
        };
        let response = tokio::time::timeout(idle, opened)
            .await
            .map_err(|_| NodeError::Timeout(idle))??;
        let bytes = event_bytes::bounded(response.bytes_stream(), idle);
        let events = bytes.eventsource().map(|event| match event {
            Ok(event) => Ok(RawEvent {
                topic: event.event,
                data: event.data,
            }),
            Err(eventsource_stream::EventStreamError::Transport(error)) => Err(error),
            Err(error) => Err(NodeError::Body(format!("event stream: {error}"))),
        });
        Ok(events.boxed())
    }
}

fn versioned_json(path: &str, body: &[u8]) -> Result<Versioned, NodeError> {
    let answer: VersionedAnswer =
        serde_json::from_slice(body).map_err(|error| NodeError::Body(format!("{path}: {error}")))?;
    Ok(Versioned {
        fork: answer.version,
        body: VersionedBody::Json(answer.data),
        execution_optimistic: answer.execution_optimistic,
    })
}

async fn collect(response: reqwest::Response, limit: usize) -> Result<Bytes, NodeError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > limit as u64 {
        return Err(NodeError::TooLarge(limit));
    }
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(unreachable)?;
        if body.len() + chunk.len() > limit {
            return Err(NodeError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn refused(status: StatusCode, response: reqwest::Response) -> NodeError {
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let body = collect(response, MAX_ERROR_BYTES).await.unwrap_or_default();
    let text = match serde_json::from_slice::<Message>(&body) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
    };
    let text = if text.is_empty() {
        status.canonical_reason().unwrap_or_default().to_owned()
    } else {
        text
    };
    NodeError::Status {
        status: status.as_u16(),
        message: text.chars().take(MAX_ERROR_TEXT).collect(),
    }
}

fn unreachable(error: reqwest::Error) -> NodeError {
    NodeError::Unreachable(describe(error))
}

/// The error and what caused it, without the URL, which may hold credentials.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
