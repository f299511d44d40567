//! Revision `beta`: a prover of the shape that proof nodes have from 0.10 on (protocol.md section 9), which has the node's HTTP
//! API for its beacon endpoint; and a node whose revision is changed while it lives.

use crate::support::{NodeProcess, PATIENCE, World, get, post, post_ssz, until};
use assay_simulator::SimBlock;
use assay_types::{Root, SecretKey, SignedProof};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};

const PROOFS: &str = "/eth/v1/beacon/execution_proofs";

/// SSZ of `List[SignedExecutionProofEnvelope, 4]`.
fn list(proofs: &[&SignedProof]) -> Vec<u8> {
    assert!(proofs.len() <= 4);
    let elements: Vec<Bytes> = proofs.iter().map(|proof| proof.to_ssz_bytes()).collect();
    let mut offset = 4 * elements.len();
    let mut out = Vec::new();
    for element in &elements {
        out.extend_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
        offset += element.len();
    }
    elements.iter().for_each(|element| out.extend_from_slice(element));
    out
}

fn flags(world: &World, index: usize, policy: &str, peers: &[String], revision: &str) -> Vec<String> {
    let mut flags = world.flags(index, policy, peers);
    flags.extend(["--revision".to_owned(), revision.to_owned()]);
    flags
}

async fn verdict(node: &NodeProcess, block: &SimBlock) -> Value {
    let (_, body) = get(&node.http(&format!("/assay/v1/payloads/{}", block.block_hash()))).await;
    body["data"]["verdict"].clone()
}

/// The proofs of a block, as the node has them.
async fn proofs_of(node: &NodeProcess, block: &SimBlock) -> Vec<Value> {
    let (status, body) = get(&node.http(&format!("{PROOFS}/{}", block.block_root))).await;
    assert_eq!(status, 200, "{body}");
    body["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prover_of_envelopes_has_the_node_for_its_beacon_endpoint() {
    let world = World::new(2).await;
    let one = NodeProcess::start(
        &world.datadir(1),
        &flags(&world, 0, "require-proofs", &[], "beta"),
    );
    let two = NodeProcess::start(
        &world.datadir(2),
        &flags(
            &world,
            1,
            "require-proofs",
            std::slice::from_ref(&one.endpoints.p2p),
            "beta",
        ),
    );
    world.connect(&[&one, &two]);
    let parent = world.block().await;

    // What such a prover reads at its start: the network, and its validator by its key.
    for (path, holds) in [
        ("/eth/v1/config/spec", "DEPOSIT_CHAIN_ID"),
        ("/eth/v1/beacon/genesis", "genesis_validators_root"),
    ] {
        let (status, body) = get(&one.http(path)).await;
        assert_eq!(status, 200, "{path}");
        assert!(body["data"][holds].is_string(), "{path}: {body}");
    }
    let key = serde_json::to_value(SecretKey::interop(3).public_key().to_bytes()).unwrap();
    let path = format!("/eth/v1/beacon/states/head/validators/{}", key.as_str().unwrap());
    let (status, validator) = get(&one.http(&path)).await;
    assert_eq!(
        (status, &validator["data"]["index"]),
        (200, &json!("3")),
        "{validator}"
    );

    // Its stream, and the block of a payload by its parent.
    let answer =
        reqwest::get(one.http("/eth/v1/events?topics=execution_payload,block&topics=execution_proof"))
            .await
            .unwrap();
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
    let path = format!("/eth/v1/beacon/headers?parent_root={}", parent.block_root);
    let headers = until("the header", &one.http(&path), |status, body| {
        status == 200 && body["data"][0]["root"].is_string()
    })
    .await;
    assert_eq!(headers["data"][0]["root"], block.block_root.to_string());
    let (status, _) = get(&one.http(&format!("/eth/v2/beacon/blocks/{}", block.block_root))).await;
    assert_eq!(status, 200);
    for node in [&one, &two] {
        until(
            "the block",
            &node.http(&format!("{PROOFS}/{}", block.block_root)),
            |status, _| status == 200,
        )
        .await;
    }

    // All its types in one body of SSZ; a second time they are there already.
    let [a, b] = [1, 2].map(|proof_type| world.envelope(&block, proof_type, 100_000, 3));
    for time in ["first", "second"] {
        let (status, answer) = post_ssz(&one.http(PROOFS), list(&[&a, &b])).await;
        assert_eq!(status, 200, "{time}: {answer}");
    }
    heard("event: execution_proof").await;
    assert!(text.contains(&block.block_root.to_string()));
    // Served in the containers they came in; the other node has them by gossip.
    for node in [&one, &two] {
        let url = node.http(&format!("{PROOFS}/{}", block.block_root));
        until("both proofs", &url, |_, body| {
            body["data"].as_array().is_some_and(|d| d.len() == 2)
        })
        .await;
        let kept = proofs_of(node, &block).await;
        assert_eq!(kept[0], serde_json::to_value(&a).unwrap());
        assert_eq!(
            kept[0]["message"]["beacon_block_root"],
            block.block_root.to_string()
        );
        let answer = reqwest::Client::new()
            .get(&url)
            .header("accept", "application/octet-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.bytes().await.unwrap(), list(&[&a, &b]));
    }
    // The payload is proven by them: its ancestor is not yet.
    let of_parent = world.envelope(&parent, 1, 1000, 4);
    let (status, answer) = post(
        &two.http("/eth/v1/beacon/pool/execution_proofs"),
        "application/json",
        serde_json::to_string(&[&of_parent]).unwrap(),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    for node in [&one, &two] {
        let url = node.http(&format!("/assay/v1/payloads/{}", block.block_hash()));
        until("VALID", &url, |_, body| body["data"]["verdict"] == "VALID").await;
    }

    // Errors that it reads by their index.
    let mut forged = b.clone();
    forged.signature.0[7] ^= 1;
    let undefined = world.envelope(&block, 9, 1000, 3);
    let mut unknown = a.clone();
    unknown.message.root = Root::from([0x77; 32]);
    let alpha = SignedProof::from(world.signed_proof(&block, 1, 1000, 3));
    for (bad, status, says) in [
        (&forged, 400, "signature"),
        (&undefined, 400, "no such proof type"),
        (&unknown, 503, "not been seen"),
    ] {
        let (code, answer) = post_ssz(&one.http(PROOFS), list(&[&a, bad])).await;
        let failure = &answer["failures"][0];
        assert_eq!((code, &failure["index"]), (status, &json!(1)), "{answer}");
        assert!(failure["message"].as_str().unwrap().contains(says), "{answer}");
    }
    // A prover of `alpha` is told why.
    let (code, answer) = post_ssz(&one.http(PROOFS), list(&[&alpha])).await;
    assert_eq!(code, 400, "{answer}");
    let why = answer["failures"][0]["message"].as_str().unwrap();
    assert!(why.contains("another revision"), "{why}");
    assert!(one.log().contains("no req/resp"), "said at start");
    for node in [one, two] {
        assert_eq!(node.terminate(), Some(0));
    }
}

/// Each run of the node sees what the runs before it were given, whatever their revision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_revision_loses_nothing() {
    let world = World::new(1).await;
    let start = |revision: &str| {
        let node = NodeProcess::start(
            &world.datadir(1),
            &flags(&world, 0, "require-proofs", &[], revision),
        );
        world.connect(&[&node]);
        node
    };
    let node = start("alpha");
    let first = world.block().await;
    let url = node.http(&format!("{PROOFS}/{}", first.block_root));
    until("the block", &url, |status, _| status == 200).await;
    let alpha = world.signed_proof(&first, 1, 50_000, 3);
    let (status, answer) = post_ssz(&node.http(PROOFS), alpha.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(verdict(&node, &first).await, "VALID");
    assert_eq!(node.terminate(), Some(0));

    let node = start("beta");
    let second = world.block().await;
    let url = node.http(&format!("{PROOFS}/{}", second.block_root));
    until("the block", &url, |status, _| status == 200).await;
    let envelope = world.envelope(&second, 1, 50_000, 3);
    let (status, answer) = post_ssz(&node.http(PROOFS), envelope.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    // The first payload is proven by what `alpha` brought, and the second hangs on it.
    let of_gate = node.http(&format!("/assay/v1/payloads/{}", second.block_hash()));
    until("VALID", &of_gate, |_, body| body["data"]["verdict"] == "VALID").await;
    let shown = proofs_of(&node, &second).await;
    assert_eq!(shown, [serde_json::to_value(&envelope).unwrap()]);
    // What names the payload is none of this revision's, and is kept: the pool has it.
    assert!(proofs_of(&node, &first).await.is_empty());
    let (_, pool) = get(&node.http("/eth/v1/beacon/pool/execution_proofs")).await;
    assert_eq!(pool["data"].as_array().map(Vec::len), Some(2), "{pool}");
    // An envelope of a payload that is proven already is news to peers of this revision.
    let again = world.envelope(&first, 1, 2000, 4);
    let (status, answer) = post_ssz(&node.http(PROOFS), again.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(proofs_of(&node, &first).await.len(), 1);
    node.kill();

    let node = start("alpha");
    until(
        "the view",
        &node.http(&format!("{PROOFS}/{}", first.block_root)),
        |status, body| status == 200 && body["data"][0] == serde_json::to_value(&alpha).unwrap(),
    )
    .await;
    let of_gate = node.http(&format!("/assay/v1/payloads/{}", second.block_hash()));
    until("VALID", &of_gate, |_, body| body["data"]["verdict"] == "VALID").await;
    let (_, pool) = get(&node.http("/eth/v1/beacon/pool/execution_proofs")).await;
    assert_eq!(pool["data"].as_array().map(Vec::len), Some(3), "{pool}");
    assert_eq!(node.terminate(), Some(0));
}

/// The extension between Assay nodes: whoever comes late asks for envelopes by range and by root.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelopes_are_asked_for_and_served_where_that_is_wanted() {
    let world = World::new(2).await;
    world.connect_past_nodes();
    let start = |index: usize, peers: &[String]| {
        let mut flags = flags(&world, index, "observe", peers, "beta");
        flags.push("--envelope-requests".to_owned());
        NodeProcess::start(&world.datadir(index + 1), &flags)
    };
    let one = start(0, &[]);
    let mut blocks = Vec::new();
    for _ in 0..3 {
        let block = world.block().await;
        let url = one.http(&format!("{PROOFS}/{}", block.block_root));
        until("the block", &url, |status, _| status == 200).await;
        for proof_type in [1, 2] {
            let envelope = world.envelope(&block, proof_type, 20_000, 3);
            let (status, answer) = post_ssz(&one.http(PROOFS), envelope.to_ssz_bytes()).await;
            assert_eq!(status, 200, "{answer}");
        }
        blocks.push(block);
    }
    // What it held for peers to come goes with this run: they have to ask.
    one.kill();
    let one = start(0, &[]);
    let two = start(1, std::slice::from_ref(&one.endpoints.p2p));
    for block in &blocks {
        let url = two.http(&format!("{PROOFS}/{}", block.block_root));
        let kept = until("both proofs", &url, |status, body| {
            status == 200 && body["data"].as_array().is_some_and(|d| d.len() == 2)
        })
        .await;
        let named = &kept["data"][0]["message"]["beacon_block_root"];
        assert_eq!(*named, block.block_root.to_string());
    }
    let (_, status) = get(&two.http("/assay/v1/status")).await;
    assert_eq!(status["data"]["proofs"]["by_source"]["req_resp"], 6, "{status}");
}
