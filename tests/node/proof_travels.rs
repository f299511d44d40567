//! One proof's whole way: posted to one node, seen at the other, a verdict that changes, and everything there after
//! both were killed.

use crate::support::{NodeProcess, PROOFS, World, get, post, post_ssz, until};
use serde_json::{Value, json};
use std::time::Duration;

fn payload<'a>(body: &'a Value, block_hash: &str) -> Option<&'a Value> {
    body["data"]
        .as_array()?
        .iter()
        .find(|p| p["block_hash"] == block_hash)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posted_seen_elsewhere_valid_and_still_there_after_a_kill() {
    let world = World::new(2).await;
    let one = NodeProcess::start(&world.datadir(1), &world.flags(0, "require-proofs", &[]));
    let peer = one.endpoints.p2p.clone();
    let two = NodeProcess::start(
        &world.datadir(2),
        &world.flags(1, "require-proofs", std::slice::from_ref(&peer)),
    );
    world.connect(&[&one, &two]);
    until("peers", &two.http("/assay/v1/status"), |_, b| {
        b["data"]["network"]["connected_peers"] == 1
    })
    .await;

    let block = world.block().await;
    let hash = block.block_hash().to_string();
    for node in [&one, &two] {
        let at = node.http("/assay/v1/payloads");
        let seen = until("the payload", &at, |_, b| payload(b, &hash).is_some()).await;
        assert_eq!(payload(&seen, &hash).unwrap()["verdict"], "SYNCING");
        // Both ways give one root.
        let root = block.payload.as_ref().unwrap().request_root.to_string();
        assert_eq!(
            payload(&seen, &hash).unwrap()["new_payload_request_root"],
            json!(root)
        );
    }

    let mut stream = reqwest::get(two.http("/eth/v1/events?topics=execution_proof,head"))
        .await
        .unwrap();
    let mut verdicts = reqwest::get(one.http("/eth/v1/events?topics=gate_verdict,gate_alarm"))
        .await
        .unwrap();
    let signed = world.signed_proof(&block, 1, 100_000, 3);
    let (status, body) = post_ssz(&one.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    // Again, in JSON and as a list: on the network already.
    let again = serde_json::to_string(&[&signed]).unwrap();
    let (status, body) = post(
        &one.http("/eth/v1/beacon/pool/execution_proofs"),
        "application/json",
        again,
    )
    .await;
    assert_eq!(status, 200, "{body}");

    let mut heard = String::new();
    let hear = async {
        while let Some(chunk) = stream.chunk().await.unwrap() {
            heard.push_str(&String::from_utf8_lossy(&chunk));
            if let Some(at) = heard.find("event: execution_proof")
                && heard[at..].contains("\n\n")
            {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), hear)
        .await
        .expect("an event");
    let at = heard.find("event: execution_proof").unwrap();
    let data = heard[at..]
        .lines()
        .nth(1)
        .unwrap()
        .strip_prefix("data: ")
        .unwrap()
        .to_owned();
    let event: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(event["source"], "gossip");
    assert_eq!(event["proof_type"], "1");
    assert_eq!(event["validator_index"], "3");
    assert_eq!(event["slot"], block.slot.0.to_string());

    let mut told = String::new();
    let hear = async {
        while !told.contains("\n\n") || !told.contains("event: gate_verdict") {
            told.push_str(&String::from_utf8_lossy(
                &verdicts.chunk().await.unwrap().unwrap(),
            ));
        }
    };
    tokio::time::timeout(Duration::from_secs(30), hear)
        .await
        .expect("a verdict");
    let at = told.find("data: ").unwrap() + 6;
    let change: Value = serde_json::from_str(told[at..].lines().next().unwrap()).unwrap();
    assert_eq!(change["block_hash"], hash);
    assert_eq!(
        (&change["from"], &change["to"], &change["cause"]),
        (&json!("SYNCING"), &json!("VALID"), &json!("proof"))
    );
    assert!(!told.contains("execution_proof"), "not asked for: {told}");

    // The beacon node asks again in the next empty slot, and is told VALID.
    world.simulation.repeat_forkchoice().await;
    for node in [&one, &two] {
        until("VALID", &node.http("/assay/v1/payloads"), |_, b| {
            payload(b, &hash).is_some_and(|p| p["verdict"] == "VALID" && p["told_valid"] == true)
        })
        .await;
    }
    let follower = world.simulation.follower(1).unwrap();
    let started = std::time::Instant::now();
    while follower.is_optimistic(&block) {
        assert!(
            started.elapsed() < crate::support::PATIENCE,
            "the beacon node was not told VALID"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stored = |body: &Value| body["data"].as_array().map_or(0, Vec::len);
    for id in [
        block.block_root.to_string(),
        block.slot.0.to_string(),
        "head".into(),
    ] {
        let served = until("served", &two.http(&format!("{PROOFS}/{id}")), |s, b| {
            s == 200 && stored(b) == 1
        })
        .await;
        let read: assay_types::SignedExecutionProof =
            serde_json::from_value(served["data"][0].clone()).unwrap();
        assert_eq!(read, signed);
    }

    // Killed, both; started again with nothing but their directories.
    one.kill();
    two.kill();
    let one = NodeProcess::start(&world.datadir(1), &world.flags(0, "require-proofs", &[]));
    let two = NodeProcess::start(&world.datadir(2), &world.flags(1, "require-proofs", &[]));
    for node in [&one, &two] {
        let at = node.http(&format!("{PROOFS}/{}", block.block_root));
        until("still there", &at, |s, b| s == 200 && stored(b) == 1).await;
        let (_, payloads) = get(&node.http("/assay/v1/payloads")).await;
        assert_eq!(
            payload(&payloads, &hash).unwrap()["verdict"],
            "VALID",
            "no VALID has become less"
        );
        let (_, pool) = get(&node.http("/eth/v1/beacon/pool/execution_proofs")).await;
        assert_eq!(stored(&pool), 1);
    }
    assert_eq!(
        one.endpoints.p2p.rsplit('/').next(),
        peer.rsplit('/').next(),
        "the node's key is kept"
    );
    assert_eq!(one.terminate(), Some(0));
    assert_eq!(two.terminate(), Some(0));
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observe_changes_nothing_and_other_routes_are_the_beacon_nodes() {
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    world.connect(&[&node]);
    let block = world.block().await;
    let hash = block.block_hash().to_string();
    until(
        "VALID without a proof",
        &node.http("/assay/v1/payloads"),
        |_, b| payload(b, &hash).is_some_and(|p| p["told_valid"] == true && p["proofs"] == json!([])),
    )
    .await;
    let follower = world.simulation.follower(0).unwrap();
    assert_eq!(
        follower
            .answers()
            .first()
            .and_then(|a| a.first.clone())
            .as_deref(),
        Some("VALID")
    );

    let beacon = world.simulation.beacon_url(0).unwrap();
    for path in [
        "/eth/v1/config/spec",
        "/eth/v1/beacon/genesis",
        "/eth/v1/beacon/headers/head",
        "/eth/v1/no/such/route",
    ] {
        assert_eq!(
            get(&node.http(path)).await,
            get(&format!("{beacon}{path}")).await,
            "{path}"
        );
    }
    let (_, version) = get(&node.http("/eth/v1/node/version")).await;
    assert!(version["data"]["version"].as_str().unwrap().starts_with("assay/"));
    let (_, identity) = get(&node.http("/eth/v1/node/identity")).await;
    assert!(identity["data"]["enr"].as_str().unwrap().starts_with("enr:"));
    let ready = until("synced", &node.http("/eth/v1/node/syncing"), |_, b| {
        b["data"]["is_syncing"] == false
    })
    .await;
    assert_eq!(ready["data"]["head_slot"], block.slot.0.to_string());
    assert_eq!(get(&node.http("/eth/v1/node/health")).await.0, 200);
    let metrics = reqwest::get(node.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("assay_") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_proof_is_served_behind_finality_after_a_restart() {
    let world = World::from_slot(1, 8).await;
    let mut flags = world.flags(0, "observe", &[]);
    flags.extend(["--retention-epochs".into(), "64".into()]);
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);
    let block = world.block().await;
    let signed = world.signed_proof(&block, 1, 1000, 3);
    until("the payload", &node.http("/assay/v1/payloads"), |_, b| {
        payload(b, &block.block_hash().to_string()).is_some()
    })
    .await;
    let (status, body) = post_ssz(&node.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    // Far enough that the view leaves the block out, before and after a restart.
    for _ in 0..55 {
        world.block().await;
    }
    let finalized = |status: u16, body: &Value| {
        status == 200 && body["finalized"] == true && body["data"].as_array().is_some_and(|d| d.len() == 1)
    };
    let by_root = format!("{PROOFS}/{}", block.block_root);
    until("behind finality", &node.http(&by_root), finalized).await;
    let at_head = |_: u16, body: &Value| body["data"]["head_slot"] == 63;
    until("the head", &node.http("/assay/v1/status"), at_head).await;
    node.kill();

    let node = NodeProcess::start(&world.datadir(1), &flags);
    until("the head again", &node.http("/assay/v1/status"), at_head).await;
    for id in [block.block_root.to_string(), block.slot.0.to_string()] {
        let (status, body) = get(&node.http(&format!("{PROOFS}/{id}"))).await;
        assert!(finalized(status, &body), "{id}: {status} {body}");
        assert_eq!(body["execution_optimistic"], false, "{id}");
    }
    // Neither a slot without a block nor a root that nobody knows.
    for id in ["5".to_owned(), assay_types::Root::from([9; 32]).to_string()] {
        let (status, _) = get(&node.http(&format!("{PROOFS}/{id}"))).await;
        assert_eq!(status, 404, "{id}");
    }
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_serves_the_engine_api_without_its_beacon_node() {
    let world = World::new(1).await;
    let flags = world.flags(0, "observe", &[]);
    let first = NodeProcess::start(&world.datadir(1), &flags);
    assert_eq!(first.terminate(), Some(0));
    let mut alone = flags.clone();
    let at = alone.iter().position(|f| f == "--beacon-node").unwrap() + 1;
    // Nobody listens there.
    alone[at] = "http://127.0.0.1:1".to_owned();
    let node = NodeProcess::start(&world.datadir(1), &alone);
    world.connect(&[&node]);
    let block = world.block().await;
    let follower = world.simulation.follower(0).unwrap();
    let started = std::time::Instant::now();
    while follower.is_optimistic(&block) {
        assert!(started.elapsed() < crate::support::PATIENCE, "{}", node.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_from_while_the_node_was_down_is_filled_from_the_beacon_nodes_blocks() {
    let world = World::new(1).await;
    let flags = world.flags(0, "require-proofs", &[]);
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);
    let verdict = |block: &str, says: &'static str| {
        let hash = block.to_owned();
        move |_: u16, body: &Value| payload(body, &hash).is_some_and(|p| p["verdict"] == says)
    };
    let before = world.block().await;
    let hash = before.block_hash().to_string();
    let seen = verdict(&hash, "SYNCING");
    until("the payload", &node.http("/assay/v1/payloads"), seen).await;
    let signed = world.signed_proof(&before, 1, 3000, 1);
    let (status, body) = post_ssz(&node.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    let valid = verdict(&hash, "VALID");
    until("the first VALID", &node.http("/assay/v1/payloads"), valid).await;

    node.kill();
    let missed = [
        world.block_past_the_node(0).await,
        world.block_past_the_node(0).await,
    ];
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);
    let after = world.block().await;
    let at = node.http("/assay/v1/payloads");
    for block in missed.iter().chain([&after]) {
        let hash = block.block_hash().to_string();
        until("seen, unproven", &at, verdict(&hash, "SYNCING")).await;
        let signed = world.signed_proof(block, 1, 3000, 1);
        let (status, body) = post_ssz(&node.http(PROOFS), signed.to_ssz_bytes()).await;
        assert_eq!(status, 200, "{body}");
    }
    world.simulation.repeat_forkchoice().await;
    for block in missed.iter().chain([&after]) {
        let hash = block.block_hash().to_string();
        let told = |_: u16, body: &Value| {
            payload(body, &hash).is_some_and(|p| p["verdict"] == "VALID" && p["told_valid"] == true)
        };
        until("VALID behind the hole", &at, told).await;
    }
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}
