//! A prover that was not written here: it has the node's HTTP API for its beacon endpoint (protocol.md section 9), reads
//! what it needs from there, and posts what it has made. And one that asks over the Engine API and brings proofs unsigned.

use crate::support::{NodeProcess, PATIENCE, PROOFS, World, get, post, post_ssz, until};
use assay_engine_api::{
    EngineClient, JwtSecret,
    proof_json::{
        ExecutionProofJson, NewPayloadRequestHeaderJson, ProofStatusV1, ProofValidity,
        RequestProofsParamsJson,
    },
};
use assay_proof_engine::DevProver;
use assay_types::{ExecutionProof, PublicInput, SecretKey, SignedExecutionProof, Spec};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};

const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// A list in SSZ.
fn list(proofs: &[SignedExecutionProof]) -> Vec<u8> {
    let elements: Vec<Bytes> = proofs.iter().map(SignedExecutionProof::to_ssz_bytes).collect();
    let mut offset = 4 * elements.len();
    let mut out = Vec::new();
    for element in &elements {
        out.extend_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
        offset += element.len();
    }
    elements.iter().for_each(|element| out.extend_from_slice(element));
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prover_of_another_kind_has_the_node_for_its_beacon_endpoint() {
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &world.flags(0, "require-proofs", &[]));
    world.connect(&[&node]);
    let parent = world.block().await;

    // The network, and the validator it signs for, by its key.
    let (status, spec) = get(&node.http("/eth/v1/config/spec")).await;
    assert_eq!(status, 200);
    assert_eq!(spec["data"]["DEPOSIT_CHAIN_ID"], "1337");
    let (status, genesis) = get(&node.http("/eth/v1/beacon/genesis")).await;
    assert_eq!(status, 200);
    assert!(genesis["data"]["genesis_validators_root"].is_string());
    let key = serde_json::to_value(SecretKey::interop(3).public_key().to_bytes()).unwrap();
    let key = key.as_str().unwrap();
    let path = format!("/eth/v1/beacon/states/head/validators/{key}");
    let (status, validator) = get(&node.http(&path)).await;
    assert_eq!(
        (status, &validator["data"]["index"]),
        (200, &json!("3")),
        "{validator}"
    );

    // Its stream, with one of ours in it: both come, whole, as they happen.
    let url = node.http("/eth/v1/events?topics=execution_payload,block&topics=execution_proof");
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut stream = answer.bytes_stream();
    let mut text = String::new();
    let block = world.block().await;
    let mut heard = async |what: &str| {
        let waiting = async {
            while !text.contains(what) {
                text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    };
    heard("event: block").await;

    // The block by its parent, then its bytes.
    let path = format!("/eth/v1/beacon/headers?parent_root={}", parent.block_root);
    let headers = until("the header", &node.http(&path), |status, body| {
        status == 200 && body["data"][0]["root"].is_string()
    })
    .await;
    let root = headers["data"][0]["root"].as_str().unwrap().to_owned();
    assert_eq!(root, block.block_root.to_string());
    let answer = reqwest::Client::new()
        .get(node.http(&format!("/eth/v2/beacon/blocks/{root}")))
        .header("accept", "application/octet-stream")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/octet-stream");
    let fork = answer.headers()["eth-consensus-version"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(fork, block.fork.as_str());
    assert_eq!(answer.bytes().await.unwrap(), block.ssz);

    // The proofs of all its types in one body of SSZ; a second time they are there already.
    let proofs = [
        world.signed_proof(&block, 1, 300_000, 3),
        world.signed_proof(&block, 2, 1000, 3),
    ];
    let url = node.http(PROOFS);
    until(
        "the block",
        &node.http(&format!("{PROOFS}/{root}")),
        |status, _| status == 200,
    )
    .await;
    for time in ["first", "second"] {
        let (status, answer) = post_ssz(&url, list(&proofs)).await;
        assert_eq!(status, 200, "{time}: {answer}");
    }
    heard("event: execution_proof").await;
    // One of them wrong: which, and why.
    let mut forged = proofs[1].clone();
    forged.signature.0[7] ^= 1;
    let (status, answer) = post_ssz(&url, list(&[proofs[0].clone(), forged])).await;
    assert_eq!(
        (status, &answer["failures"][0]["index"]),
        (400, &json!(1)),
        "{answer}"
    );
    // Of a block that this node has not seen: not now.
    let unknown = {
        let mut proof = proofs[0].clone();
        proof.message.public_input.new_payload_request_root = assay_types::Root::from([0x77; 32]);
        proof
    };
    let answer = reqwest::Client::new()
        .post(&url)
        .header("content-type", "application/octet-stream")
        .body(list(&[unknown]))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body["failures"][0]["index"], 0, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_asked_for_over_the_engine_api_and_brought_unsigned() {
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &world.flags(0, "require-proofs", &[]));
    world.connect(&[&node]);
    world.block().await;
    let block = world.block().await;
    let payload = block.payload.as_ref().unwrap();
    let (root, request) = (payload.request_root, &payload.request);
    let jwt = JwtSecret::from_file(&world.jwt_file).unwrap();
    let engine = EngineClient::new(node.endpoints.engine.parse().unwrap(), Some(jwt)).unwrap();

    let names: Vec<String> = engine
        .call_within("engine_exchangeCapabilities", (Vec::<String>::new(),), TIMEOUT)
        .await
        .unwrap();
    assert!(
        names.iter().any(|n| n == "engine_verifyExecutionProofV1"),
        "{names:?}"
    );

    let spec = Spec::minimal();
    let header = request.header(&spec).unwrap();
    let proven = async || -> ProofValidity {
        let answer: ProofStatusV1 = engine
            .call_within(
                "engine_verifyNewPayloadRequestHeaderV1",
                (NewPayloadRequestHeaderJson(&header),),
                TIMEOUT,
            )
            .await
            .unwrap();
        answer.status
    };
    assert_eq!(proven().await, ProofValidity::Syncing);
    let dev = DevProver::new(assay::config::DEFAULT_DEV_SEED, 4 << 20);
    let proof = |proof_type| ExecutionProof {
        proof_data: dev.prove(&root, proof_type, 5000).unwrap(),
        proof_type,
        public_input: PublicInput {
            new_payload_request_root: root,
        },
    };
    let answer: ProofStatusV1 = engine
        .call_within(
            "engine_verifyExecutionProofV1",
            (ExecutionProofJson(&proof(1).into()),),
            TIMEOUT,
        )
        .await
        .unwrap();
    assert_eq!(answer.status, ProofValidity::Valid);
    assert_eq!(proven().await, ProofValidity::Valid);
    // It counts for the gate, and it is neither kept nor served.
    let url = node.http("/assay/v1/payloads?limit=8");
    let hash = json!(request.execution_payload.block_hash);
    until("it counts", &url, |_, body| {
        let rows = body["data"].as_array().cloned().unwrap_or_default();
        rows.iter()
            .any(|row| row["block_hash"] == hash && row["proofs"][0]["proof_type"] == 1)
    })
    .await;
    let served = node.http(&format!("{PROOFS}/{}", block.block_root));
    // The block itself may come after its payload.
    let nothing = until("the block", &served, |status, _| status == 200).await;
    assert_eq!(nothing["data"], json!([]));

    // A request, and the relay: this node has no keys, so what is valid cannot go on the network, and it says so.
    let id: String = engine
        .call_within(
            "engine_requestProofsV1",
            RequestProofsParamsJson {
                request,
                proof_types: &[2],
                with_execution_requests: true,
            },
            TIMEOUT,
        )
        .await
        .unwrap();
    assert_eq!(id.len(), 2 + 16, "{id}");
    let relay = node.http("/eth/v1/prover/execution_proofs");
    let generated =
        |id: &str, proof_type| json!([{ "proof_gen_id": id, "execution_proof": proof(proof_type) }]);
    for (what, body, says) in [
        ("no keys", generated(&id, 2), "no validator keys"),
        ("not asked for", generated(&id, 1), "did not ask"),
        ("unknown", generated("0x0000000000000000", 2), "expired"),
    ] {
        let (status, answer) = post(&relay, "application/json", body.to_string()).await;
        assert_eq!(status, 400, "{what}: {answer}");
        let message = answer["failures"][0]["message"].as_str().unwrap();
        assert!(message.contains(says), "{what}: {answer}");
    }
    let (status, _) = post(&relay, "application/octet-stream", vec![0; 10]).await;
    assert_eq!(status, 415);
    // Signed by somebody it is taken at once.
    let (status, answer) = post_ssz(
        &node.http(PROOFS),
        world.signed_proof(&block, 1, 5000, 2).to_ssz_bytes(),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(get(&served).await.1["data"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_node_with_keys_what_comes_unsigned_is_signed_and_published() {
    let world = World::new(2).await;
    let (keystores, password) = crate::prover::keys(world.home.path(), "password");
    let mut flags = world.flags(0, "observe", &[]);
    flags.extend([
        "--keystores".to_owned(),
        keystores.display().to_string(),
        "--password-file".to_owned(),
        password.display().to_string(),
    ]);
    let node = NodeProcess::start(&world.datadir(1), &flags);
    let peer = vec![node.endpoints.p2p.clone()];
    let other = NodeProcess::start(&world.datadir(2), &world.flags(1, "observe", &peer));
    world.connect(&[&node, &other]);
    world.block().await;
    let block = world.block().await;
    let (root, request) = {
        let payload = block.payload.as_ref().unwrap();
        (payload.request_root, payload.request.clone())
    };
    let jwt = JwtSecret::from_file(&world.jwt_file).unwrap();
    let engine = EngineClient::new(node.endpoints.engine.parse().unwrap(), Some(jwt)).unwrap();
    let dev = DevProver::new(assay::config::DEFAULT_DEV_SEED, 4 << 20);
    let proof = |proof_type| ExecutionProof {
        proof_data: dev.prove(&root, proof_type, 5000).unwrap(),
        proof_type,
        public_input: PublicInput {
            new_payload_request_root: root,
        },
    };
    let held_by = async |node: &NodeProcess, proof_type: &str| {
        let url = node.http(&format!("{PROOFS}/{}", block.block_root));
        until(&format!("type {proof_type} signed"), &url, |status, body| {
            let proofs = body["data"].as_array().cloned().unwrap_or_default();
            status == 200
                && proofs
                    .iter()
                    .any(|p| p["message"]["proof_type"] == proof_type && p["validator_index"] == "3")
        })
        .await;
    };
    // A proof to be verified, once: signed behind the answer by the validator whose key is here, though the signer may learn
    // of its validators from the beacon node only now, and told to the other node.
    let params = (ExecutionProofJson(&proof(1).into()),);
    let answer: ProofStatusV1 = engine
        .call_within("engine_verifyExecutionProofV1", params, TIMEOUT)
        .await
        .unwrap();
    assert_eq!(answer.status, ProofValidity::Valid);
    held_by(&node, "1").await;
    held_by(&other, "1").await;
    // A request: what the node's own proof engine makes is taken, signed and published; brought by another prover it is
    // there already, and a second time it is a duplicate.
    let params = RequestProofsParamsJson {
        request: &request,
        proof_types: &[2],
        with_execution_requests: true,
    };
    let id: String = engine
        .call_within("engine_requestProofsV1", params, TIMEOUT)
        .await
        .unwrap();
    held_by(&other, "2").await;
    let relay = node.http("/eth/v1/prover/execution_proofs");
    let generated = json!([{ "proof_gen_id": id, "execution_proof": proof(2) }]).to_string();
    let (status, answer) = post(&relay, "application/json", generated.clone()).await;
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = post(&relay, "application/json", generated).await;
    assert_eq!(status, 400, "{answer}");
    let message = answer["failures"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("duplicate"), "{message}");
}
