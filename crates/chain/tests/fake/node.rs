//! The node: routes over a chain, and its faults.

use super::blocks::{Built, build, genesis, spec};
use assay_types::{Root, SecretKey, Spec};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{runtime::Runtime, sync::broadcast};

pub(crate) const VALIDATORS: u64 = 4;

/// What is wrong with the node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Status of blocks asked for in SSZ (406, 415); 200: JSON all the same.
    pub(crate) ssz: Option<u16>,
    pub(crate) no_version_header: bool,
    /// 400 for topics with a comma; for topics of Gloas; for everything.
    pub(crate) no_commas: bool,
    pub(crate) no_gloas_topics: bool,
    pub(crate) no_events: bool,
    /// Topics with a comma are taken for one that does not exist: no answer at all (Lodestar 1.5.1).
    pub(crate) mute_commas: bool,
    /// The stream opens and never says a word.
    pub(crate) mute: bool,
    /// Every route answers 503.
    pub(crate) unavailable: bool,
    pub(crate) delay: Duration,
    /// Only the plural path for envelopes.
    pub(crate) plural_envelopes: bool,
    /// States that are gone, blocks that are gone.
    pub(crate) no_states: HashSet<Root>,
    pub(crate) no_blocks: HashSet<Root>,
    /// Another network.
    pub(crate) genesis_validators_root: Option<Root>,
    /// Bytes that blocks are answered with.
    pub(crate) block_bytes: Option<Vec<u8>>,
    /// The fork that blocks are said to be of.
    pub(crate) fork: Option<&'static str>,
    /// Slots below have no blocks, genesis excepted: a checkpoint, or pruning.
    pub(crate) blocks_from: u64,
    /// An empty slot is answered with the block below it.
    pub(crate) nearest_block: bool,
    /// Every block and envelope is answered with this one.
    pub(crate) one_block: Option<Root>,
}

#[derive(Default)]
pub(crate) struct Chain {
    pub(crate) blocks: HashMap<Root, Built>,
    /// Blocks whose envelope is there.
    pub(crate) revealed: HashSet<Root>,
    pub(crate) head: Option<Root>,
    pub(crate) finalized: Option<(u64, Root)>,
}

pub(crate) struct Shared {
    pub(crate) spec: Spec,
    pub(crate) chain: Mutex<Chain>,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) asked: Mutex<Vec<String>>,
    /// `data` of identity and peers; 404 where null.
    pub(crate) identity: Mutex<Value>,
    pub(crate) peers: Mutex<Value>,
    events: broadcast::Sender<Option<String>>,
}

pub(crate) struct FakeNode {
    pub(crate) shared: Arc<Shared>,
    runtime: Option<Runtime>,
    addr: SocketAddr,
}

impl FakeNode {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared {
            spec: spec(),
            chain: Mutex::default(),
            faults: Mutex::default(),
            asked: Mutex::default(),
            identity: Mutex::default(),
            peers: Mutex::default(),
            events: broadcast::channel(1024).0,
        });
        let mut node = Self {
            shared,
            runtime: None,
            addr: ([127, 0, 0, 1], 0).into(),
        };
        node.listen();
        node
    }

    /// Opens the port: the same one after a stop.
    pub(crate) fn listen(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (addr, app) = (self.addr, router(self.shared.clone()));
        let (told, tell) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let listener = loop {
                match tokio::net::TcpListener::bind(addr).await {
                    Ok(listener) => break listener,
                    // Connections of before may still be closing.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            told.send(listener.local_addr().unwrap()).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
        self.addr = tell.recv_timeout(Duration::from_secs(10)).unwrap();
        self.runtime = Some(runtime);
    }

    /// Ends the node: every connection breaks.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.faults.lock());
    }

    /// Ends every event stream.
    pub(crate) fn break_streams(&self) {
        let _ = self.shared.events.send(None);
    }

    pub(crate) fn emit(&self, topic: &str, data: Value) {
        self.emit_raw(format!("event: {topic}\ndata: {data}\n\n"));
    }

    pub(crate) fn emit_raw(&self, text: String) {
        let _ = self.shared.events.send(Some(text));
    }

    pub(crate) fn asked(&self, part: &str) -> usize {
        self.shared
            .asked
            .lock()
            .iter()
            .filter(|path| path.contains(part))
            .count()
    }

    pub(crate) fn block(&self, root: &Root) -> Built {
        self.shared.chain.lock().blocks[root].clone()
    }

    /// A block on `parent`, without a word.
    pub(crate) fn add(&self, parent: Option<Root>, slot: u64, seed: u8, takes: bool) -> Built {
        let mut chain = self.shared.chain.lock();
        let parent = parent.map(|parent| chain.blocks[&parent].clone());
        let block = build(&self.shared.spec, parent.as_ref(), slot, seed, takes);
        chain.blocks.insert(block.root, block.clone());
        block
    }

    /// The block is imported and becomes the head; its envelope is there.
    pub(crate) fn import(&self, block: &Built) {
        self.import_withheld(block);
        self.reveal(block);
    }

    pub(crate) fn import_withheld(&self, block: &Built) {
        self.shared.chain.lock().head = Some(block.root);
        self.emit(
            "block",
            json!({"slot": block.slot.to_string(), "block": block.root, "execution_optimistic": false}),
        );
        self.emit("head", json!({"slot": block.slot.to_string(), "block": block.root, "state": block.state_root, "execution_optimistic": false}));
    }

    pub(crate) fn reveal(&self, block: &Built) {
        if block.envelope.is_some() {
            self.shared.chain.lock().revealed.insert(block.root);
            self.emit(
                "execution_payload_available",
                json!({"slot": block.slot.to_string(), "block_root": block.root}),
            );
        }
    }

    pub(crate) fn finalize(&self, epoch: u64, block: &Built) {
        self.shared.chain.lock().finalized = Some((epoch, block.root));
        self.emit(
            "finalized_checkpoint",
            json!({"block": block.root, "state": block.state_root, "epoch": epoch.to_string(), "execution_optimistic": false}),
        );
    }

    /// A chain of blocks in these slots on the head, each imported.
    pub(crate) fn extend(&self, slots: impl IntoIterator<Item = u64>) -> Vec<Built> {
        let mut parent = self.shared.chain.lock().head;
        let blocks = slots.into_iter().map(|slot| {
            let block = self.add(parent, slot, 0, true);
            self.import(&block);
            parent = Some(block.root);
            block
        });
        blocks.collect()
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.stop();
    }
}

type Node = State<Arc<Shared>>;

fn error(status: u16, message: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, Json(json!({"code": status.as_u16(), "message": message}))).into_response()
}

fn data(data: Value) -> Response {
    Json(json!({"execution_optimistic": false, "finalized": false, "data": data})).into_response()
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/eth/v1/beacon/genesis", get(genesis_route))
        .route(
            "/eth/v1/config/spec",
            get(|State(node): Node| async move { data(Value::Object(node.spec.to_config())) }),
        )
        .route(
            "/eth/v1/node/version",
            get(|| async { data(json!({"version": "fake/1"})) }),
        )
        .route("/eth/v1/node/syncing", get(syncing))
        .route(
            "/eth/v1/node/identity",
            get(|State(node): Node| async move { told(&node.identity) }),
        )
        .route("/eth/v1/node/peers", get(peers))
        .route("/eth/v1/beacon/headers/head", get(head))
        .route("/eth/v1/beacon/states/head/finality_checkpoints", get(finality))
        .route("/eth/v2/beacon/blocks/{id}", get(block))
        .route("/eth/v1/beacon/execution_payload_envelope/{id}", get(envelope))
        .route("/eth/v1/beacon/execution_payload_envelopes/{id}", get(envelopes))
        .route("/eth/v1/beacon/states/{state}/validators/{index}", get(validator))
        .route("/eth/v1/beacon/states/{state}/validators", get(validators))
        .route("/eth/v1/events", get(events))
        .layer(axum::middleware::from_fn_with_state(shared.clone(), trouble))
        .with_state(shared)
}

async fn trouble(
    State(node): Node,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    node.asked.lock().push(request.uri().to_string());
    let faults = node.faults.lock().clone();
    tokio::time::sleep(faults.delay).await;
    if faults.unavailable {
        error(503, "syncing")
    } else {
        next.run(request).await
    }
}

async fn genesis_route(State(node): Node) -> Response {
    let root = node
        .faults
        .lock()
        .genesis_validators_root
        .unwrap_or(genesis().genesis_validators_root);
    data(json!({
        "genesis_time": genesis().genesis_time.to_string(), "genesis_validators_root": root, "genesis_fork_version": "0x00000001"
    }))
}

async fn syncing(State(node): Node) -> Response {
    let chain = node.chain.lock();
    let slot = chain.head.map_or(0, |head| chain.blocks[&head].slot);
    data(
        json!({"head_slot": slot.to_string(), "sync_distance": "0", "is_syncing": false, "is_optimistic": false}),
    )
}

async fn head(State(node): Node) -> Response {
    match node.chain.lock().head {
        Some(root) => data(json!({"root": root, "canonical": true, "header": {}})),
        None => error(404, "no head"),
    }
}

async fn finality(State(node): Node) -> Response {
    let (epoch, root) = node.chain.lock().finalized.unwrap_or((0, Root::ZERO));
    let checkpoint = json!({"epoch": epoch.to_string(), "root": root});
    data(json!({"previous_justified": checkpoint, "current_justified": checkpoint, "finalized": checkpoint}))
}

fn versioned(node: &Shared, headers: &HeaderMap, fork: &str, ssz: Bytes, json: Value) -> Response {
    let faults = node.faults.lock().clone();
    let wants_ssz = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"application/octet"));
    match faults.ssz {
        Some(status) if wants_ssz && status != 200 => return error(status, "no SSZ here"),
        None if wants_ssz => {
            let ssz = faults.block_bytes.map_or(ssz, Bytes::from);
            let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], ssz).into_response();
            if !faults.no_version_header {
                response
                    .headers_mut()
                    .insert("Eth-Consensus-Version", fork.parse().unwrap());
            }
            return response;
        }
        _ => {}
    }
    Json(json!({"version": fork, "execution_optimistic": false, "finalized": false, "data": json}))
        .into_response()
}

fn told(data_of: &Mutex<Value>) -> Response {
    match data_of.lock().clone() {
        Value::Null => error(404, "no such route"),
        value => data(value),
    }
}

/// Knows no filters: those who use one are refused.
async fn peers(State(node): Node, RawQuery(query): RawQuery) -> Response {
    if query.is_some() {
        return error(400, "unknown query");
    }
    told(&node.peers)
}

/// The block of a slot on the head's chain.
fn canonical(chain: &Chain, slot: u64, nearest: bool) -> Option<Root> {
    let mut at = chain.blocks.get(&chain.head?);
    while let Some(block) = at.filter(|block| block.slot > slot) {
        at = chain.blocks.get(&block.parent);
    }
    at.filter(|block| nearest || block.slot == slot)
        .map(|block| block.root)
}

async fn block(State(node): Node, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let faults = node.faults.lock().clone();
    let root = match (faults.one_block, id.parse::<Root>(), id.parse::<u64>()) {
        (Some(root), ..) | (None, Ok(root), _) => Some(root),
        (None, _, Ok(slot)) => canonical(&node.chain.lock(), slot, faults.nearest_block),
        _ => return error(400, "block id"),
    };
    let found = root.and_then(|root| node.chain.lock().blocks.get(&root).cloned());
    let gone = |block: &Built| {
        faults.no_blocks.contains(&block.root) || (1..faults.blocks_from).contains(&block.slot)
    };
    match found.filter(|block| !gone(block)) {
        Some(block) => {
            let fork = faults.fork.unwrap_or(block.fork.as_str());
            versioned(&node, &headers, fork, block.ssz, block.json)
        }
        None => error(404, "block not found"),
    }
}

async fn envelope(node: Node, id: Path<Root>, headers: HeaderMap) -> Response {
    if node.faults.lock().plural_envelopes {
        error(404, "no such route")
    } else {
        either_envelope(node, id, headers)
    }
}

async fn envelopes(node: Node, id: Path<Root>, headers: HeaderMap) -> Response {
    if node.faults.lock().plural_envelopes {
        either_envelope(node, id, headers)
    } else {
        error(404, "no such route")
    }
}

fn either_envelope(State(node): Node, Path(id): Path<Root>, headers: HeaderMap) -> Response {
    let id = node.faults.lock().one_block.unwrap_or(id);
    let chain = node.chain.lock();
    let block = chain
        .blocks
        .get(&id)
        .filter(|block| chain.revealed.contains(&block.root))
        .cloned();
    drop(chain);
    match block.and_then(|block| Some((block.fork, block.envelope?))) {
        Some((fork, (ssz, json))) => versioned(&node, &headers, fork.as_str(), ssz, json),
        None => error(404, "envelope not found"),
    }
}

fn entry(index: u64) -> Value {
    json!({"index": index.to_string(), "balance": "32", "status": "active_ongoing", "validator": {
        "pubkey": SecretKey::interop(index).public_key().to_bytes(), "activation_epoch": "0", "exit_epoch": u64::MAX.to_string(),
        "slashed": false,
    }})
}

fn has_state(node: &Shared, id: &str) -> bool {
    let Ok(root) = id.parse::<Root>() else {
        return id == "head";
    };
    let known = node
        .chain
        .lock()
        .blocks
        .values()
        .any(|block| block.state_root == root);
    known && !node.faults.lock().no_states.contains(&root)
}

async fn validator(State(node): Node, Path((state, index)): Path<(String, u64)>) -> Response {
    if !has_state(&node, &state) || index >= VALIDATORS {
        error(404, "not found")
    } else {
        data(entry(index))
    }
}

async fn validators(State(node): Node, Path(state): Path<String>, RawQuery(query): RawQuery) -> Response {
    if !has_state(&node, &state) {
        return error(404, "state not found");
    }
    let index: Option<u64> = query.and_then(|query| query.strip_prefix("id=")?.parse().ok());
    data(
        index
            .filter(|index| *index < VALIDATORS)
            .map(entry)
            .into_iter()
            .collect(),
    )
}

async fn events(State(node): Node, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let faults = node.faults.lock().clone();
    if faults.no_events
        || (faults.no_commas && query.contains(','))
        || (faults.no_gloas_topics && query.contains("execution_payload"))
    {
        return error(400, "topics");
    }
    if faults.mute_commas && query.contains(',') {
        std::future::pending::<()>().await;
    }
    if faults.mute {
        let silence = futures::stream::pending::<Result<Bytes, std::convert::Infallible>>();
        return (
            [(header::CONTENT_TYPE, "text/event-stream")],
            Body::from_stream(silence),
        )
            .into_response();
    }
    let told = node.events.subscribe();
    let lines = futures::stream::unfold(told, |mut told| async move {
        let text = told.recv().await.ok()??;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), told))
    });
    // A comment at once, as nodes send to keep the stream open.
    let hello = futures::stream::once(async { Ok(Bytes::from(":\n\n")) });
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(hello.chain(lines)),
    )
        .into_response()
}
