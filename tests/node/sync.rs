//! Proof sync: whoever was away, came late, or did not listen holds in the end what its peers serve.

use crate::support::{NodeProcess, PROOFS, World, get, metric, post_ssz, until};
use assay_simulator::SimBlock;
use serde_json::Value;
use std::sync::Arc;

const STATUS: &str = "/assay/v1/status";
/// Bytes of a proof, as real ones: what a node that catches up does with them must not look like a flood.
const PROOF_SIZE: usize = 1_000_000;

fn count(body: &Value) -> usize {
    body["data"].as_array().map_or(0, Vec::len)
}

/// The next block, known to these nodes, and proofs of the types 1 and 2 posted to the first of them.
async fn proven_block(world: &World, nodes: &[&NodeProcess]) -> Arc<SimBlock> {
    let block = world.block().await;
    for node in nodes {
        knows(node, &block).await;
    }
    for proof_type in [1, 2] {
        let signed = world.signed_proof(&block, proof_type, PROOF_SIZE, 3);
        let (status, body) = post_ssz(&nodes[0].http(PROOFS), signed.to_ssz_bytes()).await;
        assert_eq!(status, 200, "{body}");
    }
    block
}

async fn knows(node: &NodeProcess, block: &SimBlock) {
    let slot = block.slot.0;
    until("the head", &node.http(STATUS), |_, b| {
        b["data"]["head_slot"] == slot
    })
    .await;
}

async fn holds(node: &NodeProcess, block: &SimBlock, proofs: usize) {
    let at = node.http(&format!("{PROOFS}/{}", block.block_root));
    until("the proofs", &at, |s, b| s == 200 && count(b) == proofs).await;
}

async fn brought_by(node: &NodeProcess, source: &str) -> u64 {
    let (_, status) = get(&node.http(STATUS)).await;
    status["data"]["proofs"]["by_source"][source].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_down_and_one_that_comes_late_hold_every_proof() {
    let world = World::new(3).await;
    world.connect_past_nodes();
    let one = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    let peers = [one.endpoints.p2p.clone()];
    let two = NodeProcess::start(&world.datadir(2), &world.flags(1, "observe", &peers));
    until("peers", &two.http(STATUS), |_, b| {
        b["data"]["network"]["connected_peers"] == 1
    })
    .await;
    let mut blocks = Vec::new();
    for _ in 0..2 {
        let block = proven_block(&world, &[&one, &two]).await;
        holds(&two, &block, 2).await;
        blocks.push(block);
    }
    two.kill();
    for _ in 0..9 {
        blocks.push(proven_block(&world, &[&one]).await);
    }
    // Of its last one nobody makes a second proof.
    let last = world.block().await;
    knows(&one, &last).await;
    let signed = world.signed_proof(&last, 1, 2000, 3);
    let (status, body) = post_ssz(&one.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");

    // What it holds for peers to come is gone with it: they have to ask.
    one.kill();
    let one = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    knows(&one, &last).await;
    let peers = [one.endpoints.p2p.clone()];

    // Back again, fed by its beacon node's HTTP API alone; and another one with nothing at all.
    let two = NodeProcess::start(&world.datadir(2), &world.flags(1, "observe", &peers));
    let three = NodeProcess::start(&world.datadir(3), &world.flags(2, "observe", &peers));
    for node in [&two, &three] {
        for block in &blocks {
            holds(node, block, 2).await;
        }
        holds(node, &last, 1).await;
        let done = until("what nobody has", &node.http(STATUS), |_, b| {
            let sync = &b["data"]["sync"];
            sync["held"] == 2 * 11 + 1 && sync["missing"] == 1 && sync["under_way"] == 0
        })
        .await;
        let sync = &done["data"]["sync"];
        assert_eq!(sync["unreachable_slots"], Value::Null, "{sync}");
        assert_eq!(
            get(&node.http("/eth/v1/node/syncing")).await.1["data"]["is_syncing"],
            false
        );
    }
    assert_eq!(brought_by(&two, "req_resp").await, 2 * 9 + 1);
    assert_eq!(brought_by(&three, "req_resp").await, 2 * 11 + 1);
    // What they were served they kept off gossip: who served it gets none of it back, judged or not.
    for node in [&two, &three] {
        assert_eq!(
            metric(node, "assay_network_gossip_messages_published_total").await,
            0
        );
    }
    for what in ["messages_received", "over_budget", "messages_undecodable"] {
        let came = metric(&one, &format!("assay_network_gossip_{what}_total")).await;
        assert_eq!(came, 0, "{what}");
    }
    assert!(metric(&one, "assay_network_received_bytes_total").await < PROOF_SIZE as u64);
    // Each is a source like any other.
    three.kill();
    one.kill();
    let only_two = [two.endpoints.p2p.clone()];
    let four = NodeProcess::start(&world.datadir(4), &world.flags(2, "observe", &only_two));
    for block in &blocks {
        holds(&four, block, 2).await;
    }
    until("its count", &four.http(STATUS), |_, b| {
        b["data"]["sync"]["held"] == 23
    })
    .await;
    let metrics = reqwest::get(four.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for name in [
        "held",
        "missing",
        "not_obtainable",
        "requests_total",
        "proofs_total",
    ] {
        let metric = format!("assay_network_sync_{name}");
        assert!(metrics.contains(&metric), "{metric}: {metrics}");
    }
    assert_eq!(four.terminate(), Some(0));
    assert_eq!(two.terminate(), Some(0));
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_missed_before_the_range_that_peers_keep_are_named_and_the_rest_is_fetched() {
    let world = World::from_slot(2, 8).await;
    world.connect_past_nodes();
    let one = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    let two = NodeProcess::start(&world.datadir(2), &world.flags(1, "observe", &[]));
    let first = world.block().await;
    knows(&two, &first).await;
    // On disk is what the node knows of when it comes back.
    let signed = world.signed_proof(&first, 1, 2000, 3);
    let (status, body) = post_ssz(&two.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    let by_root = format!("{PROOFS}/{}", first.block_root);
    until("the index", &two.http(&by_root), |s, b| s == 200 && count(b) == 1).await;
    two.kill();

    for _ in 9..60 {
        world.block().await;
    }
    let mut last = Vec::new();
    for _ in 60..64 {
        last.push(proven_block(&world, &[&one]).await);
    }
    let peers = [one.endpoints.p2p.clone()];
    let two = NodeProcess::start(&world.datadir(2), &world.flags(1, "observe", &peers));
    for block in &last {
        holds(&two, block, 2).await;
    }
    let told = until("what was missed", &two.http(STATUS), |_, b| {
        b["data"]["sync"]["unreachable_slots"]["from"] == 9
    })
    .await;
    let sync = &told["data"]["sync"];
    let to = sync["unreachable_slots"]["to"].as_u64().unwrap();
    assert!((16..60).contains(&to), "{sync}");
    assert_eq!(
        get(&two.http("/eth/v1/node/syncing")).await.1["data"]["is_syncing"],
        false
    );
    assert_eq!(two.terminate(), Some(0));
    assert_eq!(one.terminate(), Some(0));
    world.simulation.stop();
}

/// A payload that the gate holds back is asked for by its block's root, on the canonical chain or not: no range of
/// canonical slots would bring its proof, and gossip was over before this node was there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gate_waits_for_is_asked_for_by_root() {
    let world = World::new(2).await;
    let one = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    let two = NodeProcess::start(&world.datadir(2), &world.flags(1, "require-proofs", &[]));
    world.connect(&[&one, &two]);
    let canonical = world.block().await;
    let beside = world.block_on(canonical.parent_root).await;
    let hash = beside.block_hash().to_string();
    let says = |verdict: &'static str| {
        let hash = hash.clone();
        move |_: u16, body: &Value| {
            let payloads = body["data"].as_array();
            payloads.is_some_and(|all| {
                all.iter()
                    .any(|p| p["block_hash"] == hash && p["verdict"] == verdict)
            })
        }
    };
    let (at_one, at_two) = (one.http("/assay/v1/payloads"), two.http("/assay/v1/payloads"));
    until("the payload", &at_one, says("VALID")).await;
    until("held back", &at_two, says("SYNCING")).await;
    for block in [&canonical, &beside] {
        let signed = world.signed_proof(block, 1, 2000, 3);
        let (status, body) = post_ssz(&one.http(PROOFS), signed.to_ssz_bytes()).await;
        assert_eq!(status, 200, "{body}");
    }
    // What it holds for peers to come is gone with it: they have to ask.
    one.kill();
    let peers = [two.endpoints.p2p.clone()];
    let one = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &peers));
    until("proven beside the chain", &at_two, says("VALID")).await;
    assert_eq!(brought_by(&two, "req_resp").await, 2);
    assert_eq!(brought_by(&two, "gossip").await, 0);
    assert_eq!(two.terminate(), Some(0));
    assert_eq!(one.terminate(), Some(0));
    world.simulation.stop();
}

/// Containment is kept across restarts, and is for what comes by gossip without having been asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contained_validators_proof_is_not_taken_from_gossip_after_a_restart_but_asked_for() {
    let world = World::new(2).await;
    world.connect_past_nodes();
    let one = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    let peers = [one.endpoints.p2p.clone()];
    let flags = world.flags(1, "observe", &peers);
    let two = NodeProcess::start(&world.datadir(2), &flags);
    let block = world.block().await;
    knows(&two, &block).await;
    let forged = world.invalid_proof(&block, 1, 5);
    let (status, body) = post_ssz(&two.http(PROOFS), forged.to_ssz_bytes()).await;
    assert_eq!(status, 400, "{body}");
    // Once this is on disk, so is what came before.
    let signed = world.signed_proof(&block, 1, 2000, 3);
    let (status, body) = post_ssz(&two.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    two.kill();

    let two = NodeProcess::start(&world.datadir(2), &flags);
    until("peers", &two.http(STATUS), |_, b| {
        b["data"]["sync"]["sources"] == 1
    })
    .await;
    let block = world.block().await;
    knows(&one, &block).await;
    knows(&two, &block).await;
    let signed = world.signed_proof(&block, 2, 2000, 5);
    let (status, body) = post_ssz(&one.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    until("contained", &two.http(STATUS), |_, b| {
        b["data"]["proofs"]["ignored"]["contained"].as_u64() > Some(0)
    })
    .await;
    holds(&two, &block, 1).await;
    assert_eq!(brought_by(&two, "req_resp").await, 1);
    assert_eq!(two.terminate(), Some(0));
    assert_eq!(one.terminate(), Some(0));
    world.simulation.stop();
}
