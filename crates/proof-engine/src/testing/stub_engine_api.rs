//! An execution client that has the Engine API's proof methods (protocol.md section 7) over development proofs: it makes what
//! it is asked for and brings it, unsigned, to a node's relay route (section 8).

use crate::{DevProver, router::proof_gen_id};
use assay_engine_api::{
    ErrorCode, ErrorObject, Id, JwtSecret, Request, Response, block_hash,
    fields::data_text,
    methods::ProofMethod,
    proof_json::{ProofStatusV1, ProofValidity},
    proof_params::{RequestProofsParams, execution_proof},
};
use assay_types::{EngineInput, ExecutionProof, ForkName, PublicInput, Root, Spec, StatedInput, proof_beta};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::HeaderMap,
    routing::post,
};
use parking_lot::Mutex;
use serde_json::{Value, json, value::RawValue};
use std::{sync::Arc, time::SystemTime};
use tokio::task::AbortHandle;

/// Forks whose payloads it reads; the first that fits has it.
const FORKS: [ForkName; 5] = [
    ForkName::Gloas,
    ForkName::Fulu,
    ForkName::Deneb,
    ForkName::Capella,
    ForkName::Bellatrix,
];
/// Bytes of the proofs it makes.
const PROOF_SIZE: usize = 3000;

struct Inner {
    prover: DevProver,
    spec: Spec,
    jwt: JwtSecret,
    /// The node's HTTP API; without it nothing is made.
    relay: Mutex<Option<String>>,
    answers: Mutex<Vec<u16>>,
}

/// A running stub on loopback; ends when dropped.
pub struct StubEngineApi {
    url: String,
    inner: Arc<Inner>,
    server: AbortHandle,
}

impl StubEngineApi {
    /// Starts it on a free port.
    pub async fn start(seed: impl Into<Bytes>, spec: Spec, jwt: JwtSecret) -> std::io::Result<Self> {
        let max_proof_size = usize::try_from(spec.max_proof_size).unwrap_or(usize::MAX);
        let inner = Arc::new(Inner {
            prover: DevProver::new(seed, max_proof_size),
            spec,
            jwt,
            relay: Mutex::default(),
            answers: Mutex::default(),
        });
        let routes = Router::new()
            .route("/", post(answer))
            .layer(DefaultBodyLimit::disable())
            .with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self {
            url,
            inner,
            server: server.abort_handle(),
        })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Proofs are brought to this node's HTTP API from now on.
    pub fn set_relay(&self, base: &str) {
        *self.inner.relay.lock() = Some(base.to_owned());
    }

    /// What the node answered to the proofs that were brought, in their order.
    pub fn answers(&self) -> Vec<u16> {
        self.inner.answers.lock().clone()
    }
}

impl Drop for StubEngineApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let token = headers.get("authorization").and_then(|v| v.to_str().ok());
    if inner.jwt.verify_header(token, SystemTime::now()).is_err() {
        return Vec::new();
    }
    let (id, outcome) = match Request::parse(&body) {
        Ok(request) => (request.id(), outcome(&inner, &request)),
        Err(error) => (Id::null(), Err(error)),
    };
    Response::from_outcome(id, outcome).to_json()
}

fn outcome(inner: &Arc<Inner>, request: &Request<'_>) -> Result<Value, ErrorObject> {
    let params = request.params.map_or("[]", RawValue::get);
    let is = |method: ProofMethod| request.method == method.name();
    if is(ProofMethod::VerifyExecutionProof) {
        let mut proof = EngineInput::from(execution_proof(params, inner.prover.max_proof_size())?);
        if let Some(input) = beta_input(params, proof.new_payload_request_root()) {
            proof.public_input = StatedInput::Beta(input);
        }
        let error = inner.prover.check(&proof).err();
        let status = match error {
            None => ProofValidity::Valid,
            Some(_) => ProofValidity::Invalid,
        };
        return Ok(json!(ProofStatusV1 { status, error }));
    }
    if !is(ProofMethod::RequestProofs) {
        return Err(ErrorCode::MethodNotFound.into());
    }
    let Some(relay) = inner.relay.lock().clone() else {
        return Err(ErrorCode::ProofGenerationUnavailable.into());
    };
    let wanted = RequestProofsParams::from_params(params)?;
    let found = FORKS.iter().find_map(|fork| {
        let request = wanted.payload.clone().into_request(*fork, &inner.spec).ok()?;
        block_hash::check(&request).ok()?;
        Some((*fork, request.hash_tree_root(&inner.spec).ok()?))
    });
    let Some((fork, root)) = found else {
        return Err(ErrorCode::InvalidPayload.into());
    };
    // Another id than a router's own: under this one the proofs are brought.
    let mut id = proof_gen_id(&root).0;
    id.reverse();
    let id = data_text(id);
    for proof_type in wanted.proof_types {
        let input = StatedInput::new(&inner.spec, inner.spec.revision_at(fork), root);
        tokio::spawn(bring(inner.clone(), relay.clone(), id.clone(), input, proof_type));
    }
    Ok(json!(id))
}

/// What a proof of `beta` says beside the request root.
fn beta_input(params: &str, new_payload_request_root: Root) -> Option<proof_beta::PublicInput> {
    let params: Value = serde_json::from_str(params).ok()?;
    let input = &params[0]["publicInput"];
    let number = |name: &str| u64::from_str_radix(input[name].as_str()?.strip_prefix("0x")?, 16).ok();
    Some(proof_beta::PublicInput {
        new_payload_request_root,
        successful_validation: input["successfulValidation"].as_bool()?,
        chain_id: number("chainId")?,
        schema_id: number("schemaId")?.try_into().ok()?,
    })
}

async fn bring(inner: Arc<Inner>, relay: String, id: String, input: StatedInput, proof_type: u8) {
    let Ok(proof_data) = inner.prover.prove_stated(&input, proof_type, PROOF_SIZE) else {
        return;
    };
    let execution_proof = ExecutionProof {
        proof_data,
        proof_type,
        public_input: PublicInput {
            new_payload_request_root: input.new_payload_request_root(),
        },
    };
    let body = json!([{ "proof_gen_id": id, "execution_proof": execution_proof }]);
    let posted = reqwest::Client::new()
        .post(format!("{relay}/eth/v1/prover/execution_proofs"))
        .header("content-type", "application/json")
        .body(body.to_string());
    if let Ok(answer) = posted.send().await {
        inner.answers.lock().push(answer.status().as_u16());
    }
}
