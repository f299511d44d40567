//! A proof node's HTTP API over development proofs, written from protocol.md section 9, with the faults that real ones have.

use crate::{DevProver, ProofTypeNames};
use assay_types::{
    ExecutionProof, ForkName, NewPayloadRequest, ProofKey, ProofType, PublicInput, Root, Spec,
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpSocket,
    sync::broadcast,
    task::{AbortHandle, JoinSet},
};

/// Largest body it takes.
const BODY_LIMIT: usize = 64 << 20;
/// Bytes a socket takes in unread, as asked of the system.
const RECEIVE_BUFFER: u32 = 32 << 10;
/// Connections that may wait to be taken.
const BACKLOG: u32 = 128;
/// Forks whose payload requests it reads; the first that fits has it.
const FORKS: [ForkName; 5] = [
    ForkName::Gloas,
    ForkName::Fulu,
    ForkName::Deneb,
    ForkName::Capella,
    ForkName::Bellatrix,
];

/// What the stub proves and how.
#[derive(Debug, Clone)]
pub struct StubConfig {
    /// Seed of the development proofs.
    pub seed: String,
    /// Its names; it has all types that have one.
    pub names: ProofTypeNames,
    /// The network, for the roots of payload requests.
    pub spec: Spec,
    /// Bytes of the proofs it makes.
    pub proof_size: usize,
    /// How long a proof takes to make.
    pub proving_delay: Duration,
}

/// What goes wrong. Everything off by default; can be changed while it runs.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// No `proof_complete` is sent.
    pub lose_events: bool,
    /// Event streams break after this many bytes of the first event.
    pub break_streams: bool,
    /// So many downloads of each proof are 404 although it was announced.
    pub absent_downloads: u32,
    /// So many calls are answered with 500.
    pub failing_calls: u32,
    /// Bodies of answers come in two halves with this pause between.
    pub slow_bodies: Option<Duration>,
    /// Every verification is INVALID.
    pub say_invalid: bool,
    /// Verifications are answered with this in place of {status}.
    pub verification_answer: Option<String>,
    /// Verifications are answered before the body was read.
    pub answer_early: bool,
    /// Requests are answered with another root.
    pub other_root: bool,
    /// Requests are failed by an event, with this reason.
    pub fail_proving: Option<String>,
    /// Downloads are this many bytes of nothing, without a length announced.
    pub endless_downloads: Option<usize>,
    /// Downloads are empty.
    pub empty_downloads: bool,
    /// Downloads are proofs of the payload of another type.
    pub other_type: bool,
}

/// Makes the bytes of proofs in place of the stub: request root and type in.
pub type ProofMaker = Arc<dyn Fn(Root, ProofType) -> Bytes + Send + Sync>;

struct Inner {
    config: StubConfig,
    maker: Mutex<Option<ProofMaker>>,
    prover: DevProver,
    faults: Mutex<Faults>,
    proofs: Mutex<HashMap<ProofKey, Bytes>>,
    downloads: Mutex<HashMap<ProofKey, u32>>,
    calls: Mutex<BTreeMap<String, u64>>,
    events: broadcast::Sender<(Root, String)>,
    proving: Mutex<JoinSet<()>>,
}

/// A running stub on loopback; ends when dropped.
pub struct StubProofNode {
    address: SocketAddr,
    inner: Arc<Inner>,
    server: AbortHandle,
}

impl StubProofNode {
    /// Starts it on a free port.
    pub async fn start(config: StubConfig) -> std::io::Result<Self> {
        let max_proof_size = usize::try_from(config.spec.max_proof_size).unwrap_or(usize::MAX);
        let inner = Arc::new(Inner {
            prover: DevProver::new(config.seed.clone(), max_proof_size),
            config,
            maker: Mutex::default(),
            faults: Mutex::default(),
            proofs: Mutex::default(),
            downloads: Mutex::default(),
            calls: Mutex::default(),
            events: broadcast::channel(64).0,
            proving: Mutex::default(),
        });
        let routes = Router::new()
            .route(
                "/v1/execution_proof_requests",
                post(request_proofs).get(stream_events),
            )
            .route("/v1/execution_proofs/{root}/{proof_type}", get(download))
            .route("/v1/execution_proof_verifications", post(verify))
            .route("/v1/proof_types", get(proof_types))
            .layer(middleware::from_fn_with_state(inner.clone(), misbehave))
            .layer(DefaultBodyLimit::max(BODY_LIMIT))
            .with_state(inner.clone());
        // A small window: a body of megabytes does not fit into sockets unread, so an early answer comes before its end.
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self {
            address,
            inner,
            server: server.abort_handle(),
        })
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        *self.inner.faults.lock() = faults;
    }

    /// Proofs are made by `maker` from now on; the stub itself can then verify none.
    pub fn set_maker(&self, maker: ProofMaker) {
        *self.inner.maker.lock() = Some(maker);
    }

    /// How often a route was called: "POST /v1/execution_proof_requests" and so on.
    pub fn calls(&self, method_and_path: &str) -> u64 {
        let calls = self.inner.calls.lock();
        let of_route = |(route, _): &(&String, &u64)| route.starts_with(method_and_path);
        calls.iter().filter(of_route).map(|(_, n)| n).sum()
    }
}

impl Drop for StubProofNode {
    fn drop(&mut self) {
        self.server.abort();
        self.inner.proving.lock().abort_all();
    }
}

fn error(status: StatusCode, message: &str) -> Response {
    let body = json!({"code": status.as_u16(), "message": message});
    (status, axum::Json(body)).into_response()
}

/// Counts calls; answers some with 500, some slowly, verifications perhaps before their body was read.
async fn misbehave(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let route = format!("{} {}", request.method(), request.uri().path());
    *inner.calls.lock().entry(route).or_default() += 1;
    let faults = {
        let mut faults = inner.faults.lock();
        if faults.failing_calls > 0 {
            faults.failing_calls -= 1;
            return error(StatusCode::INTERNAL_SERVER_ERROR, "a fault of the stub");
        }
        faults.clone()
    };
    let is_verification = request.uri().path().ends_with("verifications");
    if faults.answer_early && is_verification {
        return axum::Json(json!({"status": "INVALID"})).into_response();
    }
    let is_stream = request.method() == "GET" && request.uri().path().ends_with("requests");
    let response = next.run(request).await;
    match faults.slow_bodies {
        Some(pause) if !is_stream => slowly(response, pause).await,
        _ => response,
    }
}

async fn slowly(response: Response, pause: Duration) -> Response {
    let (parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, BODY_LIMIT).await else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "too large");
    };
    let half = bytes.len() / 2;
    let (first, second) = (bytes.slice(..half), bytes.slice(half..));
    let body = futures::stream::once(async move { Ok::<_, std::io::Error>(first) }).chain(
        futures::stream::once(async move {
            tokio::time::sleep(pause).await;
            Ok(second)
        }),
    );
    let mut slow = Response::new(Body::from_stream(body));
    *slow.status_mut() = parts.status;
    if let Some(kind) = parts.headers.get(CONTENT_TYPE) {
        slow.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    slow
}

fn read_types(inner: &Inner, text: &str) -> Result<Vec<ProofType>, String> {
    let types: Result<Vec<_>, _> = text
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| {
            let known = inner.config.names.proof_type(name);
            known.ok_or_else(|| format!("no zkVM configured for proof type '{name}'"))
        })
        .collect();
    match types {
        Ok(types) if types.is_empty() => Err("proof_types must contain at least one valid value".to_owned()),
        other => other,
    }
}

fn read_request(spec: &Spec, body: &Bytes) -> Option<Root> {
    let read = |fork: &ForkName| {
        let request = NewPayloadRequest::from_ssz_bytes(*fork, spec, body).ok()?;
        request.hash_tree_root(spec).ok()
    };
    FORKS.iter().find_map(read)
}

async fn request_proofs(
    State(inner): State<Arc<Inner>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let types = query.get("proof_types").map_or("", String::as_str);
    let types = match read_types(&inner, types) {
        Ok(types) => types,
        Err(why) => return error(StatusCode::BAD_REQUEST, &why),
    };
    let Some(root) = read_request(&inner.config.spec, &body) else {
        return error(StatusCode::BAD_REQUEST, "invalid SSZ body");
    };
    if inner.faults.lock().other_root {
        return axum::Json(json!({"new_payload_request_root": Root::from([0xee; 32])})).into_response();
    }
    let worker = inner.clone();
    inner.proving.lock().spawn(async move {
        tokio::time::sleep(worker.config.proving_delay).await;
        for proof_type in types {
            worker.prove(root, proof_type);
        }
    });
    axum::Json(json!({"new_payload_request_root": root})).into_response()
}

impl Inner {
    fn prove(&self, root: Root, proof_type: ProofType) {
        let name = self.config.names.name(proof_type).unwrap_or_default();
        let faults = self.faults.lock().clone();
        if let Some(reason) = faults.fail_proving {
            let data = json!({"new_payload_request_root": root, "proof_type": name, "reason": "proving_error",
                "error": reason});
            let _ = self.events.send((root, event("proof_failure", &data)));
            return;
        }
        let maker = self.maker.lock().clone();
        let proof_data = match maker {
            Some(make) => make(root, proof_type),
            None => match self.prover.prove(&root, proof_type, self.config.proof_size) {
                Ok(proof_data) => proof_data,
                Err(_) => return,
            },
        };
        let key = ProofKey {
            new_payload_request_root: root,
            proof_type,
        };
        self.proofs.lock().insert(key, proof_data);
        if !faults.lose_events {
            let _ = self.events.send((root, complete(&root, name)));
        }
    }
}

fn event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

fn complete(root: &Root, name: &str) -> String {
    let data = json!({"new_payload_request_root": root, "proof_type": name});
    event("proof_complete", &data)
}

/// Completed proofs are replayed only where a root is asked for.
async fn stream_events(
    State(inner): State<Arc<Inner>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let filter: Option<Root> = query.get("new_payload_request_root").and_then(|r| r.parse().ok());
    let mut live = inner.events.subscribe();
    let replay: Vec<String> = filter.map_or_else(Vec::new, |root| {
        let proofs = inner.proofs.lock();
        let of_root = proofs.keys().filter(|k| k.new_payload_request_root == root);
        of_root
            .filter_map(|k| Some(complete(&root, inner.config.names.name(k.proof_type)?)))
            .collect()
    });
    let break_streams = inner.faults.lock().break_streams;
    let (text, lines) = futures::channel::mpsc::unbounded::<std::io::Result<String>>();
    // Ends when the client is gone: the next keep-alive cannot be sent.
    tokio::spawn(async move {
        let _ = text.unbounded_send(Ok(":\n\n".to_owned()));
        for line in replay {
            let _ = text.unbounded_send(Ok(line));
        }
        loop {
            let line = tokio::select! {
                event = live.recv() => match event {
                    Ok((root, line)) if filter.is_none_or(|f| f == root) => line,
                    Ok(_) => continue,
                    // A slow reader loses events without a word.
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                () = tokio::time::sleep(Duration::from_secs(1)) => ":\n\n".to_owned(),
            };
            if break_streams && line.starts_with("event") {
                let _ = text.unbounded_send(Ok(line[..10].to_owned()));
                let _ = text.unbounded_send(Err(std::io::Error::other("a fault of the stub")));
                return;
            }
            if text.unbounded_send(Ok(line)).is_err() {
                return;
            }
        }
    });
    ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(lines)).into_response()
}

async fn download(State(inner): State<Arc<Inner>>, Path((root, name)): Path<(String, String)>) -> Response {
    let (Ok(new_payload_request_root), Some(proof_type)) =
        (root.parse::<Root>(), inner.config.names.proof_type(&name))
    else {
        return error(StatusCode::BAD_REQUEST, "no root or no proof type");
    };
    let key = ProofKey {
        new_payload_request_root,
        proof_type,
    };
    let Some(proof_data) = inner.proofs.lock().get(&key).cloned() else {
        return error(StatusCode::NOT_FOUND, "proof not found");
    };
    let faults = inner.faults.lock().clone();
    let before = {
        let mut downloads = inner.downloads.lock();
        let count = downloads.entry(key).or_default();
        *count += 1;
        *count - 1
    };
    if before < faults.absent_downloads {
        return error(StatusCode::NOT_FOUND, "proof not found");
    }
    let kind = [(CONTENT_TYPE, "application/octet-stream")];
    if let Some(bytes) = faults.endless_downloads {
        let piece = Bytes::from(vec![0; 1 << 20]);
        let pieces = std::iter::repeat_n(piece, bytes >> 20).map(Ok::<_, std::io::Error>);
        return (kind, Body::from_stream(futures::stream::iter(pieces))).into_response();
    }
    if faults.empty_downloads {
        return (kind, Bytes::new()).into_response();
    }
    if faults.other_type
        && let Ok(other) =
            inner
                .prover
                .prove(&new_payload_request_root, proof_type ^ 1, inner.config.proof_size)
    {
        return (kind, other).into_response();
    }
    (kind, proof_data).into_response()
}

async fn verify(
    State(inner): State<Arc<Inner>>,
    Query(query): Query<HashMap<String, String>>,
    proof_data: Bytes,
) -> Response {
    let faults = inner.faults.lock().clone();
    if let Some(answer) = faults.verification_answer {
        return ([(CONTENT_TYPE, "application/json")], answer).into_response();
    }
    let value = |name: &str| query.get(name).map_or("", String::as_str);
    let Ok(new_payload_request_root) = value("new_payload_request_root").parse() else {
        return error(StatusCode::BAD_REQUEST, "no request root");
    };
    let Some(proof_type) = inner.config.names.proof_type(value("proof_type")) else {
        return error(StatusCode::NOT_FOUND, "unknown proof_type");
    };
    let proof = ExecutionProof {
        proof_data,
        proof_type,
        public_input: PublicInput {
            new_payload_request_root,
        },
    };
    let valid = !faults.say_invalid && inner.prover.check(&proof.into()).is_ok();
    let status = if valid { "VALID" } else { "INVALID" };
    axum::Json(json!({"status": status})).into_response()
}

async fn proof_types(State(inner): State<Arc<Inner>>) -> Response {
    let names = (0..=u8::MAX).filter_map(|t| inner.config.names.name(t));
    let listed: Vec<_> = names
        .map(|name| json!({"proof_type": name, "kind": "dev", "can_prove": true, "can_verify": true}))
        .collect();
    axum::Json(json!({"proof_types": listed})).into_response()
}
