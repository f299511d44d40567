//! A node whose proofs are judged by proof engines elsewhere: what they say counts, what goes wrong there loses nothing.

use crate::support::{NodeProcess, PROOFS, World, get, post_ssz, until};
use assay_proof_engine::{
    ProofTypeNames,
    testing::{Faults, StubConfig, StubProofNode},
};
use std::time::Duration;

const VERIFICATIONS: &str = "POST /v1/execution_proof_verifications";

async fn stub(world: &World) -> StubProofNode {
    let spec = world.simulation.chain().lock().spec().as_ref().clone();
    StubProofNode::start(StubConfig {
        seed: assay::config::DEFAULT_DEV_SEED.into(),
        names: ProofTypeNames::default(),
        spec,
        proof_size: 2000,
        proving_delay: Duration::ZERO,
    })
    .await
    .unwrap()
}

/// Flags of a node with these proof engines.
fn flags(world: &World, endpoints: &str, types: &str) -> Vec<String> {
    let mut flags = world.flags(0, "observe", &[]);
    for (flag, value) in [("--proof-engine-endpoint", endpoints), ("--proof-types", types)] {
        let at = flags.iter().position(|f| f == flag).unwrap() + 1;
        flags[at] = value.to_owned();
    }
    flags
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_nodes_word_counts_and_its_silence_loses_nothing() {
    let world = World::new(1).await;
    let (one, two) = (stub(&world).await, stub(&world).await);
    // The first does not answer at all at first; the second has one of the types only.
    one.set_faults(Faults {
        failing_calls: u32::MAX,
        ..Faults::default()
    });
    let endpoints = format!("{},5@{}", one.url(), two.url());
    let node = NodeProcess::start(&world.datadir(1), &flags(&world, &endpoints, "6,5"));
    world.connect(&[&node]);
    let (block, by_root) = world.block_known_to(&node).await;
    let stored =
        |n: usize| move |_: u16, b: &serde_json::Value| b["data"].as_array().is_some_and(|d| d.len() == n);

    // Judged by the second.
    let url = node.http(PROOFS);
    let (status, body) = post_ssz(&url, world.signed_proof(&block, 5, 200_000, 1).to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(two.calls(VERIFICATIONS), 1);
    // Of this type there is only the first: the proof waits for it.
    let six = world.signed_proof(&block, 6, 200_000, 2);
    let (status, body) = post_ssz(&url, six.to_ssz_bytes()).await;
    assert_eq!(status, 503, "{body}");
    assert_eq!(get(&by_root).await.1["data"].as_array().unwrap().len(), 1);
    one.set_faults(Faults::default());
    until("the proof that waited", &by_root, stored(2)).await;

    // INVALID is a rejection, and only that: what was accepted stays.
    let next = world.block().await;
    let by_root = node.http(&format!("{PROOFS}/{}", next.block_root));
    until("the next block", &by_root, |status, _| status == 200).await;
    let invalid = Faults {
        say_invalid: true,
        ..Faults::default()
    };
    one.set_faults(invalid.clone());
    two.set_faults(invalid);
    let (status, body) = post_ssz(&url, world.signed_proof(&next, 6, 1000, 4).to_ssz_bytes()).await;
    assert_eq!(status, 400, "{body}");
    assert!(
        body["failures"][0]["message"]
            .as_str()
            .unwrap()
            .contains("invalid"),
        "{body}"
    );
    assert!(stored(0)(200, &get(&by_root).await.1));

    let metrics = reqwest::get(node.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        format!(
            r#"assay_proof_engine_calls_total{{proof_engine="{}",call="verify",outcome="valid"}} 1"#,
            two.url()
        ),
        format!(r#"assay_proof_engine_healthy{{proof_engine="{}"}} 1"#, one.url()),
        "assay_proofs_prove_nothing 0".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_api_endpoint_that_has_no_such_methods_is_no_verdict() {
    let world = World::new(1).await;
    // The execution client of the simulation knows nothing of proofs.
    let endpoint = format!("engine+{}", world.simulation.execution(0).unwrap().url());
    let mut flags = flags(&world, &endpoint, "1");
    flags.extend(["--proof-engine-jwt".into(), world.jwt_file.display().to_string()]);
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);
    let (block, _) = world.block_known_to(&node).await;
    let signed = world.signed_proof(&block, 1, 1000, 1);
    let (status, body) = post_ssz(&node.http(PROOFS), signed.to_ssz_bytes()).await;
    assert_eq!(status, 503, "{body}");
    assert!(
        node.log().contains("proof engine does not answer"),
        "{}",
        node.log()
    );
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}
