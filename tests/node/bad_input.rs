//! What is wrong is said to whoever caused it, and nothing else is lost.

use crate::support::{NodeProcess, PROOFS, World, get, post, post_ssz, until};
use futures::StreamExt;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_wrong_get_indexed_failures_and_good_ones_are_kept() {
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    world.connect(&[&node]);
    let block = world.block().await;
    let root = block.block_root;
    until(
        "the block",
        &node.http(&format!("{PROOFS}/{root}")),
        |status, _| status == 200,
    )
    .await;
    let url = node.http(PROOFS);
    let good = world.signed_proof(&block, 1, 5000, 1);
    let mut unsigned = world.signed_proof(&block, 2, 5000, 2);
    unsigned.validator_index = 3;
    let mut empty = good.clone();
    empty.message.proof_data = bytes::Bytes::new();
    let mut oversize = good.clone();
    oversize.message.proof_data = vec![7; (4 << 20) + 1].into();
    let mut flipped = world.signed_proof(&block, 2, 5000, 4);
    let mut data = flipped.message.proof_data.to_vec();
    data[77] ^= 1;
    flipped.message.proof_data = data.into();
    let mut elsewhere = good.clone();
    elsewhere.validator_index = 99_999;
    elsewhere.message.proof_type = 2;
    let mut unsupported = good.clone();
    unsupported.message.proof_type = 9;

    for (what, body, status, says) in [
        ("no SSZ", b"nonsense".to_vec(), 400, "SSZ"),
        ("empty body", Vec::new(), 400, "offset"),
        (
            "wrong signature",
            unsigned.to_ssz_bytes().to_vec(),
            400,
            "signature",
        ),
        ("empty proof", empty.to_ssz_bytes().to_vec(), 400, "empty"),
        (
            "oversize proof",
            oversize.to_ssz_bytes().to_vec(),
            400,
            "MAX_PROOF_SIZE",
        ),
        (
            "flipped after signing",
            flipped.to_ssz_bytes().to_vec(),
            400,
            "signature",
        ),
        (
            "no such validator",
            elsewhere.to_ssz_bytes().to_vec(),
            400,
            "validator",
        ),
        (
            "a type nobody verifies",
            unsupported.to_ssz_bytes().to_vec(),
            400,
            "type",
        ),
    ] {
        let (got, answer) = post_ssz(&url, body).await;
        assert_eq!(got, status, "{what}: {answer}");
        assert_eq!(answer["code"], status, "{what}");
        assert!(answer.to_string().contains(says), "{what}: {answer}");
    }
    for (what, kind, body, status) in [
        ("not JSON", "application/json", "{", 400),
        ("another shape", "application/json", "{\"a\":1}", 400),
        ("an empty list", "application/json", "[]", 400),
        (
            "integers that are no strings",
            "application/json",
            "[{\"message\":{\"proof_data\":\"0x00\",\"proof_type\":1}}]",
            400,
        ),
        ("another content type", "text/plain", "x", 415),
    ] {
        let (got, answer) = post(&url, kind, body).await;
        assert_eq!(got, status, "{what}: {answer}");
    }

    // One good among bad ones is kept.
    let list = serde_json::to_string(&[&unsigned, &good]).unwrap();
    let (status, answer) = post(&url, "application/json", list).await;
    assert_eq!(status, 400);
    assert_eq!(answer["failures"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["failures"][0]["index"], 0);
    let (_, served) = get(&node.http(&format!("{PROOFS}/{root}"))).await;
    assert_eq!(served["data"].as_array().unwrap().len(), 1);

    // The pool in both encodings.
    let pool = node.http("/eth/v1/beacon/pool/execution_proofs");
    let answer = reqwest::Client::new()
        .get(&pool)
        .header("accept", "application/octet-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    let ssz = [&4_u32.to_le_bytes()[..], &good.to_ssz_bytes()].concat();
    assert_eq!(answer.bytes().await.unwrap(), ssz);
    assert_eq!(get(&pool).await.1["data"], json!([&good]));
    // Methods that a route of ours does not have are refused here, not at the beacon node.
    for path in ["/eth/v1/node/identity", PROOFS, "/metrics", "/assay/v1/status"] {
        let refused = reqwest::Client::new()
            .delete(node.http(path))
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), 405, "{path}");
        assert!(refused.headers().contains_key("allow"), "{path}");
        let body: serde_json::Value = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
        assert_eq!(body["code"], 405, "{path}");
    }

    // What is proven already makes no forgery good: each is judged by itself, in both encodings and at both paths.
    let mut forgery = good.clone();
    forgery.signature.0[40] ^= 1;
    let stolen = assay_types::SignedExecutionProof {
        validator_index: 2,
        ..good.clone()
    };
    for wrong in [&forgery, &stolen, &unsigned] {
        let mut wrong = wrong.clone();
        wrong.message.proof_type = 1;
        let (status, answer) = post_ssz(&url, wrong.to_ssz_bytes()).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.to_string().contains("signature"), "{answer}");
        let list = serde_json::to_string(&[&good, &wrong]).unwrap();
        let pool = node.http("/eth/v1/beacon/pool/execution_proofs");
        let (status, answer) = post(&pool, "application/json", list).await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(answer["failures"].as_array().unwrap().len(), 1, "{answer}");
        assert_eq!(answer["failures"][0]["index"], 1, "{answer}");
    }
    let (status, answer) = post_ssz(&url, good.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    let another = world.signed_proof(&block, 1, 6000, 5);
    let (status, answer) = post_ssz(&url, another.to_ssz_bytes()).await;
    assert_eq!(
        status, 200,
        "a valid one of the payload is there already: {answer}"
    );

    // A payload nobody has seen: 503, and the proof is kept until it comes.
    let mut early = good.clone();
    early.message.public_input.new_payload_request_root = assay_types::Root::from([9; 32]);
    let (status, answer) = post_ssz(&url, early.to_ssz_bytes()).await;
    assert_eq!(status, 503, "{answer}");
    assert_eq!(answer["failures"][0]["index"], 0);

    for (path, status) in [
        (format!("{PROOFS}/nonsense"), 400),
        (format!("{PROOFS}/0x1234"), 400),
        (format!("{PROOFS}/99999"), 404),
        (format!("{PROOFS}/0x{}", "ab".repeat(32)), 404),
        ("/eth/v1/events".to_owned(), 400),
        ("/assay/v1/payloads?limit=x".to_owned(), 400),
        ("/assay/v1/nothing".to_owned(), 404),
    ] {
        let (got, answer) = get(&node.http(&path)).await;
        assert_eq!(got, status, "{path}: {answer}");
        assert_eq!(answer["code"], status, "{path}: {answer}");
    }
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_start_says_why_and_exits_with_1() {
    let world = World::new(2).await;
    let running = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    let port = running.endpoints.http.rsplit(':').next().unwrap().to_owned();

    let with = |index: usize, extra: &[&str]| {
        let mut flags = world.flags(index, "observe", &[]);
        flags.extend(extra.iter().map(|s| (*s).to_owned()));
        flags
    };
    let fails = |datadir: std::path::PathBuf, flags: Vec<String>, says: &'static str| {
        let mut node = NodeProcess::spawn(&datadir, &flags);
        assert_eq!(node.wait(), Some(1), "{says}");
        let log = node.log();
        assert!(log.contains(says), "{says:?} is not in:\n{log}");
    };
    // Two processes on one data directory.
    fails(world.datadir(1), with(0, &[]), "another process");
    assert_eq!(
        get(&running.http("/eth/v1/node/version")).await.0,
        200,
        "the first goes on"
    );
    // A port in use.
    let mut taken = world.flags(0, "observe", &[]);
    let at = taken.iter().position(|f| f == "--http-port").unwrap();
    taken[at + 1] = port;
    fails(world.datadir(3), taken, "cannot be listened on");
    // A secret that is none.
    let bad = world.home.path().join("bad.hex");
    std::fs::write(&bad, "0x1234\n").unwrap();
    fails(
        world.datadir(4),
        with(0, &["--engine-jwt", bad.to_str().unwrap()]),
        "--engine-jwt",
    );
    fails(world.datadir(5), with(0, &["--peer", "nonsense"]), "--peer");
    fails(
        world.datadir(6),
        with(0, &["--spec", "MAX_PROF_SIZE=1"]),
        "MAX_PROF_SIZE",
    );
    fails(
        world.datadir(7),
        with(0, &["--spec", "DEPOSIT_CHAIN_ID=1"]),
        "unsafe-dev-proofs-on-mainnet",
    );

    // A database of another chain.
    let other = World::new(1).await;
    assert_eq!(running.terminate(), Some(0));
    fails(
        world.datadir(1),
        other.flags(0, "observe", &[]),
        "holds proofs of",
    );
    other.simulation.stop();
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_calls_without_the_secret_are_refused() {
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "engine_exchangeCapabilities", "params": [[]] })
        .to_string();
    for token in [None, Some("Bearer nonsense"), Some("Bearer a.b.c")] {
        let mut request = reqwest::Client::new()
            .post(&node.endpoints.engine)
            .header("content-type", "application/json")
            .body(call.clone());
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        assert_eq!(request.send().await.unwrap().status(), 401, "{token:?}");
    }
    world.simulation.stop();
}

/// A prover that posts without an end: every one is answered, none is kept, and an honest proof gets through meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_posts_are_each_answered_and_keep_nobody_out() {
    const POSTS: u32 = 2000;
    const AT_ONCE: usize = 64;
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    world.connect(&[&node]);
    let (block, by_root) = world.block_known_to(&node).await;
    let url = node.http(PROOFS);
    let template = world.signed_proof(&block, 2, 3000, 5);
    let client = reqwest::Client::new();
    let flood = futures::stream::iter(0..POSTS).map(|n| {
        let mut forged = template.clone();
        let mut data = forged.message.proof_data.to_vec();
        data[100..104].copy_from_slice(&n.to_le_bytes());
        // One in five is the same again and again.
        if n % 5 > 0 {
            forged.message.proof_data = data.into();
            forged.validator_index = u64::from(n % 16);
        } else {
            forged.signature = assay_types::SignatureBytes([7; 96]);
        }
        let post = client
            .post(&url)
            .header("content-type", "application/octet-stream");
        let post = post.body(forged.to_ssz_bytes());
        async move { post.send().await.unwrap().status().as_u16() }
    });
    let flood = flood.buffer_unordered(AT_ONCE).collect::<Vec<u16>>();
    let honest = async {
        let signed = world.signed_proof(&block, 1, 100_000, 3);
        post_ssz(&url, signed.to_ssz_bytes()).await
    };
    let (answers, (status, body)) = tokio::join!(flood, honest);
    assert_eq!(status, 200, "{body}");
    assert_eq!(answers.len(), 2000);
    assert!(answers.iter().all(|status| *status == 400), "{answers:?}");
    let held = get(&by_root).await.1;
    assert_eq!(held["data"].as_array().unwrap().len(), 1, "{held}");
    // The validator that the flood named is not shut out by it.
    let (status, body) = post_ssz(&url, template.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}
