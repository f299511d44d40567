//! The gate as an operator meets it: without an execution client, explained, and told other settings while it runs.

use crate::support::{NodeProcess, PATIENCE, PROOFS, World, get, post, post_ssz, until};
use assay_engine_api::{ClientError, EngineClient, JwtSecret};
use assay_simulator::SimBlock;
use assay_types::Hash256;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Flags of a node that has no execution client.
fn proofs_only(world: &World) -> Vec<String> {
    let mut flags = world.flags(0, "proofs-only", &[]);
    let at = flags.iter().position(|f| f == "--execution-endpoint").unwrap();
    flags.drain(at..at + 2);
    let at = flags.iter().position(|f| f == "--execution-jwt").unwrap();
    flags[at] = "--engine-jwt".into();
    flags
}

async fn payload(node: &NodeProcess, block: &SimBlock) -> Value {
    let (_, body) = get(&node.http(&format!("/assay/v1/payloads/{}", block.block_hash()))).await;
    body["data"].clone()
}

async fn prove(world: &World, node: &NodeProcess, block: &SimBlock, validator: u64) {
    let signed = world.signed_proof(block, 1, 1000, validator);
    let (status, body) = post_ssz(&node.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
}

/// What the follower was told last.
async fn told_valid(world: &World, block: &SimBlock) {
    let started = Instant::now();
    while world.simulation.follower(0).unwrap().is_optimistic(block) {
        assert!(started.elapsed() < PATIENCE, "the beacon node was not told VALID");
        world.simulation.repeat_forkchoice().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beacon_node_without_an_execution_client_follows_what_is_proven() {
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &proofs_only(&world));
    world.connect(&[&node]);
    let first = world.block().await;
    let second = world.block().await;
    for block in [&first, &second] {
        let at = node.http(&format!("/assay/v1/payloads/{}", block.block_hash()));
        let seen = until("the payload", &at, |status, _| status == 200).await;
        assert_eq!(seen["data"]["verdict"], "SYNCING");
    }
    prove(&world, &node, &second, 5).await;
    let held = payload(&node, &second).await;
    assert_eq!(held["held_by_detail"]["kind"], "ancestor", "{held}");
    assert_eq!(
        held["holding_ancestors"][0]["block_hash"],
        first.block_hash().to_string()
    );
    assert_eq!(
        held["holding_ancestors"][0]["held_by"],
        json!({ "kind": "proofs", "rule": 6, "have": 0, "need": 1 })
    );
    prove(&world, &node, &first, 3).await;
    told_valid(&world, &second).await;

    let shown = payload(&node, &second).await;
    assert_eq!(
        (&shown["verdict"], &shown["told_valid"]),
        (&json!("VALID"), &json!(true)),
        "{shown}"
    );
    let proof = &shown["proofs"][0];
    assert_eq!(
        (
            &proof["proof_type"],
            &proof["validator_index"],
            &proof["source"],
            &proof["counts"]
        ),
        (&json!(1), &json!("5"), &json!("http"), &json!(true))
    );
    let changes = shown["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{shown}");
    assert_eq!(
        (&changes[0]["to"], &changes[0]["held_by"]),
        (&json!("SYNCING"), &json!("proofs"))
    );
    assert_eq!(
        (&changes[1]["to"], &changes[1]["cause"]),
        (&json!("VALID"), &json!("proof"))
    );
    let (_, by_slot) = get(&node.http(&format!("/assay/v1/payloads/{}", second.slot.0))).await;
    assert_eq!(by_slot["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(by_slot["data"][0]["block_hash"], second.block_hash().to_string());
    for (id, status) in [
        ("9999", 404),
        (&format!("0x{}", "ab".repeat(32)) as &str, 404),
        ("0xab", 400),
    ] {
        assert_eq!(
            get(&node.http(&format!("/assay/v1/payloads/{id}"))).await.0,
            status,
            "{id}"
        );
    }
    let (_, gate) = get(&node.http("/assay/v1/gate")).await;
    let gate = &gate["data"];
    assert_eq!(
        (
            &gate["import_policy"],
            &gate["execution_client"],
            &gate["head_verdict"],
            &gate["conflicts"]
        ),
        (&json!("proofs-only"), &json!("none"), &json!("VALID"), &json!([]))
    );
    let conflict = node.http(&format!("/assay/v1/gate/conflicts/{}", second.block_hash()));
    for (body, status) in [
        (r#"{"resolution":"keep-valid"}"#, 404),
        (r#"{"resolution":"perhaps"}"#, 422),
    ] {
        assert_eq!(
            post(&conflict, "application/json", body).await.0,
            status,
            "{body}"
        );
    }
    assert_eq!(
        post(&conflict, "text/plain", r#"{"resolution":"keep-valid"}"#)
            .await
            .0,
        415,
        "no web page can"
    );
    let metrics = reqwest::get(node.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("assay_gate_slot_to_proven_seconds_count 2"),
        "{metrics}"
    );

    node.kill();
    let node = NodeProcess::start(&world.datadir(1), &proofs_only(&world));
    assert_eq!(
        payload(&node, &second).await["verdict"],
        "VALID",
        "no VALID has become less"
    );
    assert_eq!(
        payload(&node, &second).await["proofs"][0]["validator_index"],
        "5",
        "the store knows the signer"
    );
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}

/// Two beacon nodes behind one Engine API: the second follows what the first makes known, and one of another network gets
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_beacon_node_is_answered_from_the_tree_and_one_of_another_network_is_refused() {
    let world = World::new(1).await;
    // Its genesis is another second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let elsewhere = World::new(1).await;
    let secret = |name: &str| {
        let (jwt, file) = (JwtSecret::generate(), world.home.path().join(name));
        jwt.write_new_file(&file).unwrap();
        (jwt, file.display().to_string())
    };
    let ((second, second_file), (stranger, stranger_file)) = (secret("second.hex"), secret("stranger.hex"));
    let mut flags = world.flags(0, "require-proofs", &[]);
    for (flag, value) in [
        ("--secondary-beacon-node", world.simulation.beacon_url(0).unwrap()),
        ("--secondary-engine-jwt", second_file),
        (
            "--secondary-beacon-node",
            elsewhere.simulation.beacon_url(0).unwrap(),
        ),
        ("--secondary-engine-jwt", stranger_file),
    ] {
        flags.extend([flag.to_owned(), value]);
    }
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);
    let anchor = world.block().await;
    // It came by newPayload, so the beacon node started from its parent (rule 2).
    prove(&world, &node, &anchor, 3).await;
    told_valid(&world, &anchor).await;
    let engine = |jwt: &JwtSecret| {
        EngineClient::new(node.endpoints.engine.parse().unwrap(), Some(jwt.clone())).unwrap()
    };
    let head = |block: &SimBlock| json!([{ "headBlockHash": block.block_hash(), "safeBlockHash": Hash256::ZERO, "finalizedBlockHash": Hash256::ZERO }, null]);
    let fcu = "engine_forkchoiceUpdatedV3";
    // It is asked for its network first.
    let started = Instant::now();
    let answer: Value = loop {
        match engine(&second).call(fcu, &head(&anchor)).await {
            Ok(answer) => break answer,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(answer["payloadStatus"]["status"], "VALID");
    assert_eq!(
        answer["payloadStatus"]["latestValidHash"],
        anchor.block_hash().to_string()
    );
    let block = world.block().await;
    // The primary's own goes on beside this test.
    let mut calls = world.simulation.execution(0).unwrap().calls(fcu);
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = world.simulation.execution(0).unwrap().calls(fcu);
        if std::mem::replace(&mut calls, now) == now {
            break;
        }
    }
    let answer: Value = engine(&second).call(fcu, &head(&block)).await.unwrap();
    assert_eq!(answer["payloadStatus"]["status"], "SYNCING", "{answer}");
    prove(&world, &node, &block, 3).await;
    let answer: Value = engine(&second).call(fcu, &head(&block)).await.unwrap();
    assert_eq!(answer["payloadStatus"]["status"], "VALID", "{answer}");
    assert_eq!(answer["payloadId"], Value::Null);
    assert_eq!(
        world.simulation.execution(0).unwrap().calls(fcu),
        calls,
        "the execution client hears of the primary's head alone"
    );
    let refused = loop {
        match engine(&stranger).call::<_, Value>(fcu, &head(&block)).await {
            Err(ClientError::Http {
                status: 503, body, ..
            }) => {
                assert!(started.elapsed() < PATIENCE, "{body}");
            }
            other => break other,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(
        matches!(&refused, Err(ClientError::Http { status: 403, body, .. }) if body.contains("another network")),
        "{refused:?}"
    );
    assert!(
        node.log().contains("on another network and refused"),
        "{}",
        node.log()
    );
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
    elsewhere.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_change_while_it_runs_and_what_was_valid_stays_so() {
    let world = World::new(1).await;
    let file = world.home.path().join("assay.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let mut flags = world.flags(0, "observe", &[]);
    let at = flags.iter().position(|f| f == "--import-policy").unwrap();
    flags.drain(at..at + 2);
    flags.extend(["--config".into(), file.display().to_string()]);
    write("import-policy = \"observe\"\n");
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);
    let before = world.block().await;
    told_valid(&world, &before).await;

    let hup = async |text: &str, policy: &str| {
        write(text);
        let pid = node.endpoints.pid.to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-HUP", &pid])
                .status()
                .unwrap()
                .success()
        );
        until(policy, &node.http("/assay/v1/gate"), |_, b| {
            b["data"]["import_policy"] == policy
        })
        .await
    };
    hup("import-policy = \"require-proofs\"\n", "require-proofs").await;
    assert_eq!(payload(&node, &before).await["verdict"], "VALID", "gate rule 2");
    let after = world.block().await;
    let at = node.http(&format!("/assay/v1/payloads/{}", after.block_hash()));
    until("held back", &at, |_, b| b["data"]["held_by"] == "proofs").await;
    // One payload may be ahead of its proof from now on.
    let gate = hup(
        "import-policy = \"require-proofs\"\nproof-lag = 1\n",
        "require-proofs",
    )
    .await;
    assert_eq!(gate["data"]["conflicts"], json!([]));
    until("let go", &at, |_, b| b["data"]["verdict"] == "VALID").await;
    told_valid(&world, &after).await;
    // What cannot be used changes nothing, and the node goes on.
    hup("import-policy = \"proofs-only\"\n", "require-proofs").await;
    hup("import-policy = \"accept-proofs\"\n", "accept-proofs").await;
    assert_eq!(payload(&node, &after).await["verdict"], "VALID");
    let log = node.log();
    for said in ["gate settings changed", "SIGHUP: settings cannot be used"] {
        assert!(log.contains(said), "{log}");
    }
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}
