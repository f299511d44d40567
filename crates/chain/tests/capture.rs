//! Real blocks and events, recorded from real consensus code (shared/realnet/capture beside the vectors): skipped with a
//! word where they are not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use assay_chain::{
    Chain, ChainView, ManualClock, StateId, StateValidator, ValidatorSource,
    follower::event::NodeEvent,
    node_api::{RawEvent, Versioned, VersionedBody},
    seen,
    tree::Insertion,
};
use assay_types::{BeaconBlockSummary, ForkName, Root, Spec, ValidatorIndex, spec::Genesis};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

struct NoSource;

#[async_trait]
impl ValidatorSource for NoSource {
    async fn validator(&self, _: StateId, _: ValidatorIndex) -> StateValidator {
        StateValidator::NoState
    }
}

fn capture(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors");
    let vectors = std::env::var_os("ASSAY_VECTORS").map_or(beside, PathBuf::from);
    let folder = vectors.parent()?.join("realnet/capture").join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: no realnet/capture/{name} beside the vectors");
    None
}

fn json(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap()
}

fn spec(config: &Value) -> Spec {
    Spec::from_config(config.as_object().unwrap(), &Map::new()).unwrap()
}

fn view(spec: &Spec, genesis: Genesis) -> ChainView {
    ChainView::new(
        Arc::new(spec.clone()),
        genesis,
        Arc::new(ManualClock::new(Duration::ZERO)),
        Arc::new(NoSource),
    )
}

fn events(folder: &Path, file: &str) -> Vec<NodeEvent> {
    let text = fs::read_to_string(folder.join(file)).unwrap();
    let events = text.split("\n\n").filter_map(|event| {
        let (topic, data) = event.trim().split_once('\n')?;
        let raw = RawEvent {
            topic: topic.strip_prefix("event: ").unwrap().to_owned(),
            data: data.strip_prefix("data: ").unwrap().to_owned(),
        };
        NodeEvent::read(&raw).unwrap_or_else(|error| panic!("{raw:?}: {error}"))
    });
    events.collect()
}

fn ssz(fork: ForkName, bytes: Bytes) -> Versioned {
    Versioned {
        fork,
        body: VersionedBody::Ssz(bytes),
        execution_optimistic: None,
    }
}

#[test]
fn a_chain_from_electra_to_gloas_is_replayed() {
    let Some(folder) = capture("electra-fulu-gloas") else {
        return;
    };
    let spec = spec(&json(&folder, "spec.json"));
    let meta = json(&folder, "meta.json");
    let genesis = Genesis {
        genesis_time: meta["genesisTime"].as_u64().unwrap(),
        genesis_validators_root: meta["genesisValidatorsRoot"].as_str().unwrap().parse().unwrap(),
    };
    let roots = json(&folder, "roots.json");
    let mut expected: HashMap<Root, &Value> = HashMap::new();
    let mut blocks: HashMap<Root, (ForkName, BeaconBlockSummary)> = HashMap::new();
    for entry in roots.as_array().unwrap() {
        let block_root = entry["block_root"].as_str().unwrap().parse().unwrap();
        let file = entry["file"].as_str().unwrap();
        let fork: ForkName = entry["fork"].as_str().unwrap().parse().unwrap();
        expected.insert(block_root, entry);
        if file.starts_with("block-") {
            let summary = ssz(fork, fs::read(folder.join(file)).unwrap().into())
                .block(&spec)
                .unwrap();
            assert_eq!(summary.block_root, block_root, "{file}");
            blocks.insert(block_root, (fork, summary));
        }
    }
    assert!(blocks.len() > 20);

    let view = view(&spec, genesis);
    let (mut heads, mut envelopes) = (0, 0);
    for event in events(&folder, "events.txt") {
        match event {
            NodeEvent::Block {
                block_root,
                execution_optimistic,
            } => {
                // Every other block was kept.
                let Some((_, summary)) = blocks.get(&block_root) else {
                    continue;
                };
                let block = seen::block(summary, execution_optimistic, &spec, &genesis).unwrap();
                assert_eq!(view.on_block(block), Insertion::New);
            }
            NodeEvent::Head {
                block_root,
                execution_optimistic,
            } => {
                view.on_head(block_root, execution_optimistic);
                let Some((fork, summary)) = blocks.get(&block_root) else {
                    continue;
                };
                heads += 1;
                let head = view.head().unwrap();
                assert_eq!((head.block_root, head.slot), (block_root, summary.slot));
                let root = expected[&block_root]["new_payload_request_root"]
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                let known = head.new_payload_request_root;
                assert_eq!(
                    known,
                    (!fork.has_envelope()).then_some(root),
                    "slot {}",
                    head.slot
                );
            }
            NodeEvent::Envelope { block_root } => {
                let Some((fork, summary)) = blocks.get(&block_root) else {
                    continue;
                };
                envelopes += 1;
                let file = format!("envelope-{}-gloas.ssz", summary.slot);
                let envelope = ssz(*fork, fs::read(folder.join(file)).unwrap().into())
                    .envelope(&spec)
                    .unwrap();
                let payload = seen::envelope(&envelope, summary, &spec, &genesis).unwrap();
                view.on_envelope(payload);
                let root: Root = expected[&block_root]["new_payload_request_root"]
                    .as_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                assert_eq!(
                    view.block(&block_root).unwrap().new_payload_request_root,
                    Some(root)
                );
                assert!(view.is_canonical(&root), "the head's own, once it is there");
                assert_eq!(
                    view.payload(&root).unwrap().block_hash.to_string(),
                    expected[&block_root]["block_hash"].as_str().unwrap()
                );
            }
            NodeEvent::Finalized(checkpoint) => view.on_finalized(checkpoint),
            NodeEvent::Reorg { .. } => {}
        }
    }
    assert_eq!((heads, envelopes), (22, 15));
    assert!(view.finalized().epoch.0 > 0);
    assert_eq!(view.counters(), Default::default());
    println!("replayed {heads} heads and {envelopes} envelopes");
}

#[test]
fn capella_blocks_are_one_in_ssz_and_json() {
    let Some(folder) = capture("capella-lodestar-1.5.1") else {
        return;
    };
    let config = json(&folder, "config_spec.json");
    let spec = spec(config.get("data").unwrap_or(&config));
    let genesis = json(&folder, "beacon_genesis.json");
    let genesis = Genesis {
        genesis_time: genesis["data"]["genesis_time"].as_str().unwrap().parse().unwrap(),
        genesis_validators_root: genesis["data"]["genesis_validators_root"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap(),
    };
    let view = view(&spec, genesis);
    for slot in [56, 58, 60, 62, 64] {
        let bytes = fs::read(folder.join(format!("block-{slot}.ssz"))).unwrap();
        let from_ssz = ssz(ForkName::Capella, bytes.into()).block(&spec).unwrap();
        let mut body = json(&folder, &format!("block-{slot}.json"));
        let data = if body.get("data").is_some() {
            body["data"].take()
        } else {
            body
        };
        let versioned = Versioned {
            fork: ForkName::Capella,
            body: VersionedBody::Json(data),
            execution_optimistic: None,
        };
        let from_json = versioned.block(&spec).unwrap();
        let block = seen::block(&from_ssz, false, &spec, &genesis).unwrap();
        assert_eq!(block, seen::block(&from_json, false, &spec, &genesis).unwrap());
        assert_eq!(block.slot.0, slot);
        view.on_block(block);
    }
    let mut seen_events = 0;
    for event in events(&folder, "events-lodestar-1.5.1.txt") {
        seen_events += 1;
        if let NodeEvent::Head { block_root, .. } = event {
            view.on_head(block_root, false);
        }
    }
    assert!(seen_events > 4);
    assert_eq!(
        view.head().unwrap().slot.0,
        64,
        "the last head whose block was kept"
    );
}
