//! The HTTP client of those that originate Engine API calls (simulator, proof engines, doctor). The endpoint that passes
//! a beacon node's own calls on does not use it: it keeps bytes as they are.

use crate::{
    ErrorObject, ForkchoiceStateV1, ForkchoiceUpdatedResponse, JwtSecret, NewPayloadParamsJson,
    PayloadAttributes, PayloadStatusV1,
    jsonrpc::{AnswerError, OutgoingRequest, read_answer},
    methods,
};
use assay_types::{ForkName, NewPayloadRequest};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use url::Url;

/// Largest answer that is read: what the Engine API allows for a request.
pub const MAX_ANSWER_BYTES: usize = 128 * 1024 * 1024;
/// Largest answer to the methods of EIP-8025: none of them is longer than an id or a status with its reason.
pub const MAX_PROOF_ANSWER_BYTES: usize = 64 * 1024;
/// Idle connections are closed before servers close them (Node's do after 5 s), so that no call meets a closing one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How much of an HTTP error's body is shown.
const SHOWN_BYTES: usize = 300;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No client could be built, or the URL is of no use.
    #[error("{0}")]
    Setup(String),
    /// No connection, or it broke.
    #[error("{url} not reachable: {why}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// No whole answer in time.
    #[error("{method}: no answer within {timeout:?}")]
    TimedOut {
        /// The call.
        method: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// An HTTP status other than 2xx; 401 means that the JWT was refused.
    #[error("{method}: HTTP {status}: {body}")]
    Http {
        /// The call.
        method: String,
        /// The status.
        status: u16,
        /// The beginning of what came with it.
        body: String,
    },
    /// The callee answered with an error.
    #[error("{method}: {error}")]
    Rpc {
        /// The call.
        method: String,
        /// The error.
        error: ErrorObject,
    },
    /// The answer cannot be understood.
    #[error("{method}: {why}")]
    Malformed {
        /// The call.
        method: String,
        /// Why.
        why: String,
    },
    /// The fork has no such call.
    #[error("{0} has no execution payloads")]
    NoPayload(ForkName),
}

/// Calls one Engine API endpoint. Cheap to clone.
#[derive(Clone)]
pub struct EngineClient {
    http: reqwest::Client,
    url: Url,
    jwt: Option<Arc<JwtSecret>>,
    next_id: Arc<AtomicU64>,
    timeout_factor: u32,
}

impl std::fmt::Debug for EngineClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineClient")
            .field("url", &shown_url(&self.url))
            .finish_non_exhaustive()
    }
}

/// A URL without credentials, query and fragment: for logs, metrics and errors.
pub fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    // A URL with a host takes both; without credentials there is nothing to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.as_str().trim_end_matches('/').to_owned()
}

/// Most that is read of the answer to a method.
fn answer_limit(method: &str) -> usize {
    if methods::ProofMethod::ALL.iter().any(|m| m.name() == method) {
        MAX_PROOF_ANSWER_BYTES
    } else {
        MAX_ANSWER_BYTES
    }
}

/// TLS on ring, for the whole process: before the first HTTP client is made. Another part of the process may have
/// installed it already: then this does nothing.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

impl EngineClient {
    /// A client of the endpoint at `url`; without `jwt` no token is sent.
    pub fn new(url: Url, jwt: Option<JwtSecret>) -> Result<Self, ClientError> {
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(ClientError::Setup(format!(
                "{}: an http or https URL is needed",
                shown_url(&url)
            )));
        }
        install_crypto_provider();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build()
            .map_err(|e| ClientError::Setup(format!("HTTP client: {e}")))?;
        Ok(Self {
            http,
            url,
            jwt: jwt.map(Arc::new),
            next_id: Arc::new(AtomicU64::new(1)),
            timeout_factor: 1,
        })
    }

    /// Waits `factor` times as long as the Engine API says for every call.
    pub fn with_timeout_factor(mut self, factor: u32) -> Self {
        self.timeout_factor = factor.max(1);
        self
    }

    /// Where it calls.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Calls a method, waiting as long as the Engine API says.
    pub async fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        params: P,
    ) -> Result<R, ClientError> {
        self.call_within(method, params, methods::timeout(method) * self.timeout_factor)
            .await
    }

    /// Calls a method, waiting for `timeout` at most.
    pub async fn call_within<P: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        params: P,
        timeout: Duration,
    ) -> Result<R, ClientError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let malformed = |why: String| ClientError::Malformed {
            method: method.to_owned(),
            why,
        };
        let body = serde_json::to_vec(&OutgoingRequest::new(id, method, params))
            .map_err(|e| malformed(e.to_string()))?;
        let (status, answer) = tokio::time::timeout(timeout, self.post(method, body))
            .await
            .map_err(|_| ClientError::TimedOut {
                method: method.to_owned(),
                timeout,
            })??;
        if !(200..300).contains(&status) {
            let shown = answer.get(..SHOWN_BYTES).unwrap_or(&answer);
            let body = String::from_utf8_lossy(shown).trim().to_owned();
            return Err(ClientError::Http {
                method: method.to_owned(),
                status,
                body,
            });
        }
        read_answer(id, &answer).map_err(|error| match error {
            AnswerError::Rpc(error) => ClientError::Rpc {
                method: method.to_owned(),
                error,
            },
            AnswerError::Malformed(why) => malformed(why),
        })
    }

    async fn post(&self, method: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>), ClientError> {
        let unreachable = |e: reqwest::Error| ClientError::Unreachable {
            url: shown_url(&self.url),
            why: chain(&e.without_url()),
        };
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body);
        if let Some(jwt) = &self.jwt {
            request = request.header(AUTHORIZATION, jwt.bearer(SystemTime::now()));
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let (mut answer, limit) = (Vec::new(), answer_limit(method));
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > limit {
                return Err(ClientError::Malformed {
                    method: method.to_owned(),
                    why: format!("an answer of more than {limit} bytes"),
                });
            }
            answer.extend_from_slice(&chunk);
        }
        Ok((response.status().as_u16(), answer))
    }

    /// `engine_newPayload*` of the request's fork.
    pub async fn new_payload(&self, request: &NewPayloadRequest) -> Result<PayloadStatusV1, ClientError> {
        let method = methods::new_payload(request.fork).ok_or(ClientError::NoPayload(request.fork))?;
        self.call(method, NewPayloadParamsJson(request)).await
    }

    /// `engine_forkchoiceUpdated*` of `fork`: with attributes, the fork of the payload to be built.
    pub async fn forkchoice_updated(
        &self,
        fork: ForkName,
        state: &ForkchoiceStateV1,
        attributes: Option<&PayloadAttributes>,
    ) -> Result<ForkchoiceUpdatedResponse, ClientError> {
        let method = methods::forkchoice_updated(fork).ok_or(ClientError::NoPayload(fork))?;
        self.call(method, (state, attributes)).await
    }

    /// `engine_exchangeCapabilities`.
    pub async fn exchange_capabilities(&self, ours: &[&str]) -> Result<Vec<String>, ClientError> {
        self.call("engine_exchangeCapabilities", (ours,)).await
    }
}

/// An error with its causes: reqwest's own text leaves out what the system said.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        cause = inner.source();
    }
    out
}
