//! The prover over real blocks from Electra to Gloas, recorded from real consensus code (shared/realnet/capture beside the
//! vectors): skipped with a word where they are not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use assay_chain::{
    Chain, ChainView, ManualClock, NodeApi, clock,
    node_api::{Versioned, VersionedBody},
    seen,
};
use assay_proof_engine::{DevConfig, DevEngine};
use assay_prover::{
    DutyConfig, LocalKeys, ProofDoor, Prover, ProverParts, RecentRequests, ValidatorSigner, duty::Outcome,
};
use assay_types::{
    BeaconBlockSummary, ForkName, ProofType, Revision, Root, SecretKey, SignedProof, Slot, Spec,
    spec::Genesis,
};
use async_trait::async_trait;
use axum::{
    Router,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

const PATIENCE: Duration = Duration::from_secs(30);
const TYPES: [ProofType; 2] = [5, 6];
/// Less than an epoch of six-second slots, and less than what late blocks are late by.
const BUDGET: Duration = Duration::from_secs(40);
const LATE: Duration = Duration::from_secs(45);
/// Whose key the prover has.
const VALIDATOR: u64 = 7;

fn capture() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let vectors = std::env::var_os("ASSAY_VECTORS").map_or(beside, PathBuf::from);
    let folder = vectors.parent()?.join("realnet/capture/electra-fulu-gloas");
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no realnet/capture/electra-fulu-gloas beside the vectors");
    None
}

fn json_file(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap()
}

/// A recorded block: what the beacon node gives for it.
struct Recorded {
    slot: Slot,
    fork: ForkName,
    request_root: Root,
    ssz: Vec<u8>,
    envelope: Option<Vec<u8>>,
}

type Blocks = Arc<HashMap<Root, Recorded>>;

/// What a beacon node has, and how often blocks were asked of it.
#[derive(Clone)]
struct Node {
    blocks: Blocks,
    asked: Arc<AtomicUsize>,
}

fn recorded(folder: &Path) -> Blocks {
    let roots = json_file(folder, "roots.json");
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap().to_owned();
    let blocks = roots.as_array().unwrap().iter().filter_map(|entry| {
        let file = text(entry, "file");
        if !file.starts_with("block-") {
            return None;
        }
        let (slot, fork) = (
            entry["slot"].as_u64().unwrap(),
            text(entry, "fork").parse().unwrap(),
        );
        let block = Recorded {
            slot: Slot(slot),
            fork,
            request_root: text(entry, "new_payload_request_root").parse().unwrap(),
            ssz: fs::read(folder.join(file)).unwrap(),
            envelope: fs::read(folder.join(format!("envelope-{slot}-gloas.ssz"))).ok(),
        };
        assert_eq!(block.envelope.is_some(), fork.has_envelope());
        Some((text(entry, "block_root").parse().unwrap(), block))
    });
    Arc::new(blocks.collect())
}

fn in_ssz(fork: ForkName, bytes: &[u8]) -> Response {
    let headers = [
        ("content-type", "application/octet-stream".to_owned()),
        ("eth-consensus-version", fork.to_string()),
    ];
    (headers, bytes.to_vec()).into_response()
}

async fn block(State(node): State<Node>, UrlPath(root): UrlPath<Root>) -> Response {
    node.asked.fetch_add(1, Ordering::Relaxed);
    match node.blocks.get(&root) {
        Some(block) => in_ssz(block.fork, &block.ssz),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn envelope(State(node): State<Node>, UrlPath(root): UrlPath<Root>) -> Response {
    match node
        .blocks
        .get(&root)
        .and_then(|b| Some((b.fork, b.envelope.as_ref()?)))
    {
        Some((fork, envelope)) => in_ssz(fork, envelope),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn validator(UrlPath(key): UrlPath<String>) -> Response {
    axum::Json(
        json!({"execution_optimistic": false, "finalized": false, "data": {"index": VALIDATOR.to_string(),
        "validator": {"pubkey": key, "activation_epoch": "0", "exit_epoch": u64::MAX.to_string()}}}),
    )
    .into_response()
}

async fn beacon_node(node: Node) -> Arc<NodeApi> {
    let routes = Router::new()
        .route("/eth/v2/beacon/blocks/{root}", get(block))
        .route("/eth/v1/beacon/execution_payload_envelope/{root}", get(envelope))
        .route("/eth/v1/beacon/states/head/validators/{key}", get(validator))
        .with_state(node);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Arc::new(NodeApi::new(&url).unwrap())
}

/// Hands every proof to the test.
struct Door(mpsc::UnboundedSender<SignedProof>);

#[async_trait]
impl ProofDoor for Door {
    async fn post(&self, proof: &SignedProof) -> Outcome {
        self.0.send(proof.clone()).unwrap();
        Outcome::Done
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_payload_from_electra_to_gloas_once_a_type_under_its_forks_version() {
    let Some(folder) = capture() else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = json_file(&folder, "spec.json");
    let spec = Arc::new(Spec::from_config(config.as_object().unwrap(), &Map::new()).unwrap());
    let meta = json_file(&folder, "meta.json");
    let genesis = Genesis {
        genesis_time: meta["genesisTime"].as_u64().unwrap(),
        genesis_validators_root: meta["genesisValidatorsRoot"].as_str().unwrap().parse().unwrap(),
    };
    let blocks = recorded(&folder);
    let node = Node {
        blocks: blocks.clone(),
        asked: Arc::default(),
    };
    let api = beacon_node(node.clone()).await;
    let clock = Arc::new(ManualClock::new(Duration::from_secs(genesis.genesis_time)));
    let view = Arc::new(ChainView::new(spec.clone(), genesis, clock.clone(), api.clone()));
    let dev = DevConfig {
        proof_types: TYPES.to_vec(),
        ..DevConfig::new("seed".to_owned(), spec.clone())
    };
    let key = SecretKey::interop(VALIDATOR);
    let public_key = key.public_key();
    let chain: Arc<dyn Chain> = view.clone();
    let signer = Arc::new(ValidatorSigner::new(
        chain.clone(),
        vec![Arc::new(LocalKeys::from_keys([key]))],
    ));
    let (door, mut proofs) = mpsc::unbounded_channel();
    let recent = Arc::new(RecentRequests::default());
    let prover = Prover::new(
        DutyConfig {
            proof_types: TYPES.to_vec(),
            budget: BUDGET,
            max_payloads: 4,
            retry: (Duration::from_millis(50), Duration::from_millis(200)),
        },
        ProverParts {
            chain,
            clock: clock.clone(),
            api: api.clone(),
            engine: Arc::new(DevEngine::new(dev).unwrap()),
            signer: signer.clone(),
            door: Arc::new(Door(door)),
            recent: recent.clone(),
            own_proofs: Arc::default(),
        },
    );
    let metrics = prover.metrics().clone();
    let mut looked_up = signer.changes();
    let running = tokio::spawn(async move {
        tokio::select! {
            () = prover.run() => {}
            () = signer.keep_up(&api) => {}
        }
    });
    timeout(PATIENCE, looked_up.changed()).await.unwrap().unwrap();

    view.set_synced(true);
    let mut order: Vec<&Root> = blocks.keys().collect();
    order.sort_by_key(|root| blocks[*root].slot);
    let (mut forks, mut total, mut fetched) = (Vec::new(), 0, 0);
    let last = order.pop().unwrap();
    for (at, root) in order.into_iter().enumerate() {
        let block = &blocks[root];
        let slot_start = clock::slot_start(&spec, &genesis, block.slot);
        // Every third block is of a branch that comes when the time of its slots is long over: it is proven too.
        let late = if at % 3 == 1 { LATE } else { Duration::ZERO };
        clock.set(slot_start + late);
        let ssz = |bytes: &Vec<u8>| Versioned {
            fork: block.fork,
            body: VersionedBody::Ssz(bytes.clone().into()),
            execution_optimistic: None,
        };
        let summary: BeaconBlockSummary = ssz(&block.ssz).block(&spec).unwrap();
        view.on_block(seen::block(&summary, false, &spec, &genesis).unwrap());
        view.on_head(*root, false);
        if let Some(envelope) = &block.envelope {
            // A block whose payload has not come is nothing to prove.
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(proofs.try_recv().is_err(), "slot {}", block.slot);
            let envelope = ssz(envelope).envelope(&spec).unwrap();
            // The Engine API brought it before the beacon node has it.
            if at % 5 == 0 {
                recent.insert(block.request_root, Arc::new(envelope.request(&summary).unwrap()));
                fetched -= 1;
            }
            view.on_envelope(seen::envelope(&envelope, &summary, &spec, &genesis).unwrap());
        }
        let mut types = Vec::new();
        for _ in TYPES {
            let proof = timeout(PATIENCE, proofs.recv()).await.unwrap().unwrap();
            // As the revision of the block's fork has it.
            let revision = spec.revision_at(block.fork);
            let named = match revision {
                Revision::Alpha => block.request_root,
                Revision::Beta => *root,
            };
            assert_eq!(proof.revision, revision, "slot {}", block.slot);
            assert_eq!(proof.message.root, named, "slot {}", block.slot);
            assert_eq!(proof.validator_index, VALIDATOR);
            let epoch = spec.epoch_at_slot(block.slot);
            let proof_root = spec.proof_message_root(epoch, &proof.message);
            let signing_root = spec.execution_proof_signing_root(&genesis, epoch, &proof_root);
            assert!(
                public_key.verify(&signing_root, &proof.signature),
                "slot {}",
                block.slot
            );
            types.push(proof.message.proof_type);
        }
        types.sort_unstable();
        assert_eq!(types, TYPES, "slot {}", block.slot);
        // The head again, and a block that is known: nothing is proven twice.
        view.on_head(*root, false);
        total += 2;
        fetched += 1;
        assert_eq!(node.asked.load(Ordering::Relaxed), fetched, "slot {}", block.slot);
        forks.push(block.fork);
    }
    // What is older than an epoch when it comes is left alone.
    let block = &blocks[last];
    let epoch = Duration::from_millis(spec.slot_duration_ms * spec.slots_per_epoch);
    clock.set(clock::slot_start(&spec, &genesis, block.slot) + epoch + Duration::from_secs(1));
    let versioned = |bytes: &Vec<u8>| Versioned {
        fork: block.fork,
        body: VersionedBody::Ssz(bytes.clone().into()),
        execution_optimistic: None,
    };
    let summary = versioned(&block.ssz).block(&spec).unwrap();
    view.on_block(seen::block(&summary, false, &spec, &genesis).unwrap());
    view.on_head(*last, false);
    let envelope = versioned(block.envelope.as_ref().unwrap())
        .envelope(&spec)
        .unwrap();
    view.on_envelope(seen::envelope(&envelope, &summary, &spec, &genesis).unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(proofs.try_recv().is_err(), "a proof more");
    let counts = metrics.counts();
    assert_eq!(
        (counts.requested, counts.proved, counts.proving),
        (total, total, 0)
    );
    assert_eq!((counts.too_late, counts.failed), (0, 0));
    forks.dedup();
    assert_eq!(forks, [ForkName::Electra, ForkName::Fulu, ForkName::Gloas]);
    running.abort();
}
