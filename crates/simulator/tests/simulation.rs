//! The simulator against itself: followers in front of the execution client, without anything between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use assay_engine_api::JwtSecret;
use assay_simulator::{ChainConfig, ExecutionFault, FollowerConfig, Simulation, SimulationConfig};
use assay_types::{BeaconBlockSummary, Epoch, ForkName, PayloadEnvelope, Slot, Spec, block::BlockPayload};
use bytes::Bytes;
use serde_json::Value;
use std::time::Duration;

fn config(followers: usize) -> SimulationConfig {
    SimulationConfig {
        chain: ChainConfig {
            spec: Spec {
                slots_per_epoch: 4,
                ..Spec::minimal()
            },
            genesis_time: 1_700_000_000,
            validators: 8,
            payload_bytes: 1000,
            seed: 7,
        },
        followers,
        listen: std::net::Ipv4Addr::LOCALHOST.into(),
        jwt: JwtSecret::generate(),
    }
}

async fn connected(followers: usize) -> Simulation {
    let simulation = Simulation::start(config(followers)).await.unwrap();
    let engines = (0..followers)
        .map(|f| FollowerConfig {
            engine_url: simulation.execution(f).unwrap().url(),
        })
        .collect();
    simulation.connect(engines).unwrap();
    simulation
}

async fn get(url: &str) -> Value {
    reqwest::get(url).await.unwrap().json().await.unwrap()
}

/// Waits for a condition, at most ten seconds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..200 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

#[tokio::test]
async fn followers_import_what_is_produced_and_serve_it() {
    let simulation = connected(2).await;
    for slot in 1..=12 {
        simulation.produce(Slot(slot), None).await.unwrap();
    }
    let head = simulation.chain().lock().head().unwrap();
    for follower in 0..2 {
        let view = simulation.follower(follower).unwrap();
        until("the head is imported and valid", || {
            view.head().is_some_and(|h| h.block_root == head.block_root) && !view.is_optimistic(&head)
        })
        .await;
        let base = simulation.beacon_url(follower).unwrap();
        let ssz = reqwest::Client::new()
            .get(format!("{base}/eth/v2/beacon/blocks/head"))
            .header("accept", "application/octet-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(ssz.headers()["eth-consensus-version"], "fulu");
        let spec = simulation.chain().lock().spec().clone();
        let bytes: Bytes = ssz.bytes().await.unwrap();
        let summary = BeaconBlockSummary::from_signed_block_ssz(ForkName::Fulu, &spec, &bytes).unwrap();
        assert_eq!(summary.block_root, head.block_root);
        let BlockPayload::Request(request) = summary.payload else {
            panic!("no payload")
        };
        let root = head.payload.as_ref().unwrap().request_root;
        assert_eq!(request.hash_tree_root(&spec).unwrap(), root);

        let json = get(&format!("{base}/eth/v2/beacon/blocks/head")).await;
        let from_json =
            BeaconBlockSummary::from_signed_block_json(ForkName::Fulu, &spec, &json["data"]).unwrap();
        assert_eq!(from_json.block_root, head.block_root);
        assert_eq!(json["execution_optimistic"], false);

        let served = Spec::from_config(
            get(&format!("{base}/eth/v1/config/spec")).await["data"]
                .as_object()
                .unwrap(),
            &serde_json::Map::new(),
        )
        .unwrap();
        assert_eq!(served, *spec);
        let final_points = get(&format!("{base}/eth/v1/beacon/states/head/finality_checkpoints")).await;
        assert_eq!(final_points["data"]["finalized"]["epoch"], "1");
        let state = head.state_root;
        let validator = get(&format!("{base}/eth/v1/beacon/states/{state}/validators/3")).await;
        assert_eq!(validator["data"]["status"], "active_ongoing");
        let absent = reqwest::get(format!("{base}/eth/v1/beacon/states/{state}/validators/8"))
            .await
            .unwrap();
        assert_eq!(absent.status(), 404);
    }
    simulation.stop();
}

#[tokio::test]
async fn a_branch_becomes_the_head_and_faults_make_followers_optimistic() {
    let simulation = connected(1).await;
    let view = simulation.follower(0).unwrap().clone();
    let one = simulation.produce(Slot(1), None).await.unwrap();
    let two = simulation.produce(Slot(2), None).await.unwrap();
    let fork = simulation.produce(Slot(3), Some(one.block_root)).await.unwrap();
    until("the branch is imported", || view.is_imported(&fork.block_root)).await;
    assert_eq!(
        simulation.chain().lock().head().unwrap().block_root,
        two.block_root
    );
    simulation.chain().lock().set_head(fork.block_root).unwrap();
    assert_eq!(
        simulation
            .chain()
            .lock()
            .canonical_at(Slot(2))
            .map(|b| b.block_root),
        None
    );

    simulation
        .execution(0)
        .unwrap()
        .set_fault(ExecutionFault::Syncing);
    let four = simulation.produce(Slot(4), None).await.unwrap();
    assert_eq!(four.parent_root, fork.block_root);
    until("imported optimistically", || {
        view.head().is_some_and(|h| h.block_root == four.block_root)
    })
    .await;
    assert!(view.is_optimistic(&four));
    simulation.execution(0).unwrap().set_fault(ExecutionFault::None);
    // The client answered SYNCING for the payload, so it does not know it; it is given again with the next.
    simulation.repeat_forkchoice().await;
    simulation.stop();
}

#[test]
fn finality_may_stall_and_go_on() {
    let mut chain = assay_simulator::SimChain::new(config(1).chain).unwrap();
    let spec = chain.spec().clone();
    let mut slot = 1;
    let mut epochs = |chain: &mut assay_simulator::SimChain, count: u64| {
        for _ in 0..count * spec.slots_per_epoch {
            chain.produce(Slot(slot), None).unwrap();
            slot += 1;
        }
        (chain.justified().0.0, chain.finalized().0.0)
    };
    assert_eq!(epochs(&mut chain, 4), (3, 2));
    chain.stall_finality(true);
    assert_eq!(epochs(&mut chain, 4), (3, 2));
    chain.stall_finality(false);
    assert_eq!(epochs(&mut chain, 1), (8, 7));
}

/// At Gloas the payload comes after its block, in an envelope.
#[tokio::test]
async fn the_chain_goes_on_into_gloas() {
    let mut config = config(1);
    for entry in &mut config.chain.spec.fork_schedule {
        if entry.0 == ForkName::Gloas {
            entry.2 = Epoch(2);
        }
    }
    let simulation = Simulation::start(config).await.unwrap();
    let engine_url = simulation.execution(0).unwrap().url();
    simulation.connect(vec![FollowerConfig { engine_url }]).unwrap();
    let base = simulation.beacon_url(0).unwrap();
    let mut stream = reqwest::get(format!("{base}/eth/v1/events?topics=execution_payload"))
        .await
        .unwrap();
    let mut blocks = Vec::new();
    for slot in 6..=9 {
        blocks.push(simulation.produce(Slot(slot), None).await.unwrap());
    }
    let head = blocks.last().unwrap();
    let view = simulation.follower(0).unwrap();
    until("the head is imported, and its payload valid", || {
        view.is_revealed(&head.block_root) && !view.is_optimistic(head)
    })
    .await;
    assert_eq!(simulation.execution(0).unwrap().calls("engine_newPayloadV4"), 2);
    assert_eq!(simulation.execution(0).unwrap().calls("engine_newPayloadV5"), 2);
    let heard = stream.chunk().await.unwrap().unwrap();
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(heard.contains(&blocks[2].block_root.to_string()), "{heard}");

    let spec = simulation.chain().lock().spec().clone();
    for (n, block) in blocks.iter().enumerate() {
        let url = |what: &str| format!("{base}/eth/{what}/{}", block.block_root);
        let envelope_at = url("v1/beacon/execution_payload_envelope");
        let json = get(&url("v2/beacon/blocks")).await;
        let Some(sealed) = &block.envelope else {
            assert!(n < 2 && block.fork == ForkName::Fulu);
            assert_eq!(reqwest::get(envelope_at).await.unwrap().status(), 404);
            continue;
        };
        assert_eq!(json["version"], "gloas");
        let summary =
            BeaconBlockSummary::from_signed_block_json(ForkName::Gloas, &spec, &json["data"]).unwrap();
        assert_eq!(summary.block_root, block.block_root);
        let BlockPayload::Bid {
            parent_block_hash, ..
        } = &summary.payload
        else {
            panic!("no bid")
        };
        assert_eq!(*parent_block_hash, blocks[n - 1].block_hash());
        let envelope = PayloadEnvelope::from_signed_envelope_json(
            ForkName::Gloas,
            &spec,
            &get(&envelope_at).await["data"],
        )
        .unwrap();
        let request = envelope.request(&summary).unwrap();
        assert_eq!(assay_engine_api::block_hash::check(&request), Ok(()));
        let payload = block.payload.as_ref().unwrap();
        assert_eq!(request.hash_tree_root(&spec).unwrap(), payload.request_root);
        let ssz = PayloadEnvelope::from_signed_envelope_ssz(ForkName::Gloas, &spec, &sealed.ssz).unwrap();
        assert_eq!(ssz.partial_request, envelope.partial_request);
    }
    simulation.stop();
}
