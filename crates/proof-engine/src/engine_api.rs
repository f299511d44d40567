//! The `engine-api` backend: an execution client or proof engine that speaks the Engine API's proof methods (protocol.md
//! section 7), JSON-RPC over HTTP with a JWT.
//!
//! Proofs that were requested this way are not answered here: the other side posts them to the HTTP API.

use crate::{
    BackendConfigError, EngineError, EngineEvent, ProofEngine, ProofGenId, Verification,
    proof_node::check_url,
};
use assay_engine_api::{
    ClientError, EngineClient, ErrorCode, ForkchoiceStateV1, JwtSecret, fields,
    proof_json::{
        ExecutionProofJson, NewPayloadRequestHeaderJson, ProofStatusV1, ProofValidity, REQUEST_PROOFS,
        RequestProofsParamsJson, VERIFY_EXECUTION_PROOF, VERIFY_NEW_PAYLOAD_REQUEST_HEADER,
    },
    shown_url,
};
use assay_types::{EngineInput, ForkName, NewPayloadRequest, NewPayloadRequestHeader, ProofType, Root};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::broadcast;
use url::Url;

/// How much of the other side's own words is kept.
const MAX_WORDS: usize = 200;

/// Settings of the `engine-api` backend.
#[derive(Debug, Clone)]
pub struct EngineApiConfig {
    /// Where it listens, http or https.
    pub url: Url,
    /// The secret shared with it; `None`: no token is sent.
    pub jwt: Option<JwtSecret>,
    /// Types it is asked for, preferred first.
    pub proof_types: Vec<ProofType>,
    /// Longest one call takes.
    pub call_timeout: Duration,
    /// Whether payloads and fork choice are passed on to it (`engine_newPayload*`, `engine_forkchoiceUpdated*` without
    /// attributes): for a proof engine that starts to work on what it sees. Not for the execution client behind the gate,
    /// which has them already.
    pub notify: bool,
}

impl EngineApiConfig {
    /// The defaults, for an endpoint at `url`.
    pub fn new(url: Url, jwt: Option<JwtSecret>, proof_types: Vec<ProofType>) -> Self {
        Self {
            url,
            jwt,
            proof_types,
            call_timeout: Duration::from_secs(10),
            notify: false,
        }
    }
}

/// Asks by JSON-RPC for proofs and for verdicts.
#[derive(Debug)]
pub struct EngineApiEngine {
    name: String,
    client: EngineClient,
    proof_types: Vec<ProofType>,
    call_timeout: Duration,
    notify: bool,
    /// It takes `engine_requestProofsV1` without the execution requests only.
    four_params: AtomicBool,
    /// The fork of the last payload that was passed on.
    fork: Mutex<Option<ForkName>>,
    events: broadcast::Sender<EngineEvent>,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct ProofGenIdData(#[serde(with = "fields::data")] [u8; 8]);

impl EngineApiEngine {
    /// Sends nothing yet.
    pub fn new(config: EngineApiConfig) -> Result<Self, BackendConfigError> {
        check_url(&config.url)?;
        let name = shown_url(&config.url);
        let client = EngineClient::new(config.url, config.jwt)
            .map_err(|e| BackendConfigError::Client(e.to_string()))?;
        Ok(Self {
            name,
            client,
            proof_types: config.proof_types,
            call_timeout: config.call_timeout,
            notify: config.notify,
            four_params: AtomicBool::new(false),
            fork: Mutex::default(),
            events: broadcast::channel(1).0,
        })
    }

    async fn call<P: Serialize, R: DeserializeOwned>(
        &self,
        method: &str,
        params: P,
    ) -> Result<R, ClientError> {
        self.client.call_within(method, params, self.call_timeout).await
    }

    /// `engine_verifyNewPayloadRequestHeaderV1`: whether enough proofs of this payload were verified over there. `Ok(false)`
    /// is "not yet".
    pub async fn verify_new_payload_request_header(
        &self,
        header: &NewPayloadRequestHeader,
    ) -> Result<bool, EngineError> {
        let params = (NewPayloadRequestHeaderJson(header),);
        let answer: ProofStatusV1 = self
            .call(VERIFY_NEW_PAYLOAD_REQUEST_HEADER, params)
            .await
            .map_err(no_answer)?;
        match answer.status {
            ProofValidity::Valid => Ok(true),
            ProofValidity::Syncing => Ok(false),
            other => Err(EngineError::Protocol(format!("status {other:?} of a header"))),
        }
    }

    async fn request_proofs(
        &self,
        request: &NewPayloadRequest,
        proof_types: &[ProofType],
        with_execution_requests: bool,
    ) -> Result<ProofGenId, ClientError> {
        let params = RequestProofsParamsJson {
            request,
            proof_types,
            with_execution_requests,
        };
        let id: ProofGenIdData = self.call(REQUEST_PROOFS, params).await?;
        Ok(ProofGenId(id.0))
    }
}

/// No error is a verdict, `-39001` included.
fn no_answer(error: ClientError) -> EngineError {
    let text = clean(&error.to_string());
    match error {
        error if has_code(&error, ErrorCode::InvalidProofFormat) => EngineError::Unreadable(text),
        ClientError::TimedOut { timeout, .. } => EngineError::TimedOut(timeout),
        ClientError::Malformed { .. } => EngineError::Protocol(text),
        _ => EngineError::Unavailable(text),
    }
}

/// The beginning of the other side's words, on one line.
fn clean(words: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().take(MAX_WORDS).map(clean).collect()
}

fn has_code(error: &ClientError, code: ErrorCode) -> bool {
    matches!(error, ClientError::Rpc { error, .. } if error.kind() == code)
}

#[async_trait]
impl ProofEngine for EngineApiEngine {
    fn name(&self) -> &str {
        &self.name
    }

    fn proof_types(&self) -> Vec<ProofType> {
        self.proof_types.clone()
    }

    async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
        let answer: ProofStatusV1 = self
            .call(VERIFY_EXECUTION_PROOF, (ExecutionProofJson(proof),))
            .await
            .map_err(no_answer)?;
        let error = || clean(answer.error.as_deref().unwrap_or("no reason given"));
        match answer.status {
            ProofValidity::Valid => Ok(Verification::Valid),
            ProofValidity::Invalid => Ok(Verification::Invalid(error())),
            ProofValidity::NotSupported => Ok(Verification::Unsupported),
            ProofValidity::Syncing => Err(EngineError::Protocol("status SYNCING of a proof".into())),
        }
    }

    /// With the execution requests first, and without them where the other side knows four parameters only.
    async fn request(
        &self,
        _: Root,
        request: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        if self.four_params.load(Ordering::Relaxed) {
            return self
                .request_proofs(&request, types, false)
                .await
                .map_err(no_answer);
        }
        match self.request_proofs(&request, types, true).await {
            Err(error) if has_code(&error, ErrorCode::InvalidParams) => {
                // Only where four work was it the fifth that was wrong.
                let id = self
                    .request_proofs(&request, types, false)
                    .await
                    .map_err(|_| no_answer(error))?;
                self.four_params.store(true, Ordering::Relaxed);
                Ok(id)
            }
            other => other.map_err(no_answer),
        }
    }

    /// Nothing ever comes: proofs requested here are posted to the HTTP API.
    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.events.subscribe()
    }

    async fn notify_new_payload(&self, _: Root, request: Arc<NewPayloadRequest>) {
        if !self.notify {
            return;
        }
        *self.fork.lock() = Some(request.fork);
        if let Err(error) = self.client.new_payload(&request).await {
            tracing::debug!(proof_engine = self.name, %error, "a payload was not taken");
        }
    }

    async fn notify_forkchoice_updated(&self, head: Root, safe: Root, finalized: Root) {
        let fork = *self.fork.lock();
        let (true, Some(fork)) = (self.notify, fork) else {
            return;
        };
        let state = ForkchoiceStateV1 {
            head_block_hash: head,
            safe_block_hash: safe,
            finalized_block_hash: finalized,
        };
        if let Err(error) = self.client.forkchoice_updated(fork, &state, None).await {
            tracing::debug!(proof_engine = self.name, %error, "a fork choice was not taken");
        }
    }
}
