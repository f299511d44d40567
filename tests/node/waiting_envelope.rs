//! An envelope that comes before its block is not lost to sight: what it waits for is shown.

use crate::support::{NodeProcess, PROOFS, World, get, post_ssz, until};
use assay_types::Root;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_that_waits_for_its_block_is_shown() {
    let world = World::new(1).await;
    let mut flags = world.flags(0, "require-proofs", &[]);
    flags.extend(["--revision".to_owned(), "beta".to_owned()]);
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);
    let block = world.block().await;
    let of_block = node.http(&format!("{PROOFS}/{}", block.block_root));
    let (_, known) = (
        until("the block", &of_block, |status, _| status == 200).await,
        get(&of_block).await.1,
    );
    assert!(known["version"].is_string(), "{known}");
    let (_, none) = get(&node.http("/assay/v1/payloads")).await;
    assert_eq!(
        (&none["awaited"], &none["awaited_roots"]),
        (&json!([]), &json!(0))
    );

    let awaited = Root::from([0x77; 32]);
    let mut early = world.envelope(&block, 1, 1000, 3);
    early.message.root = awaited;
    let (status, answer) = post_ssz(&node.http(PROOFS), early.to_ssz_bytes()).await;
    assert_eq!(status, 503, "{answer}");
    let (_, shown) = get(&node.http("/assay/v1/payloads?limit=1")).await;
    assert_eq!(shown["awaited_roots"], 1, "{shown}");
    let waits = &shown["awaited"][0];
    assert_eq!(waits["beacon_block_root"], awaited.to_string(), "{shown}");
    assert_eq!((&waits["revision"], &waits["count"]), (&json!("beta"), &json!(1)));
    assert!(waits["since_ms"].as_u64().unwrap() > 0);
    let proof = &waits["proofs"][0];
    assert_eq!(
        (&proof["proof_type"], &proof["validator_index"], &proof["source"]),
        (&json!(1), &json!("3"), &json!("http"))
    );
    assert_eq!(proof["waits_for"], "unknown_payload");
    let (_, dashboard) = get(&node.http("/assay/v1/dashboard")).await;
    let queues = &dashboard["data"]["queues"];
    assert_eq!(
        (&queues["awaited_roots"], &queues["awaited_since_ms"]),
        (&json!(1), &waits["since_ms"])
    );
    let (status, explained) = get(&node.http(&format!("/assay/v1/payloads/{awaited}"))).await;
    assert_eq!(
        (status, &explained["data"]["awaited"]),
        (200, waits),
        "{explained}"
    );
    let metrics = reqwest::get(node.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let counted = "assay_verification_waiting{reason=\"unknown_payload\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    // A header that says another fork than what is posted is refused, and nothing waits for it.
    let answer = reqwest::Client::new()
        .post(node.http(PROOFS))
        .header("content-type", "application/octet-stream")
        .header("eth-consensus-version", "no such fork")
        .body(early.to_ssz_bytes())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(node.terminate(), Some(0));
}
