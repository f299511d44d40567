//! Which proof types a node verifies is said once, by its settings: what they name is supported where `beta` holds, and where
//! nobody judges there is nothing that stands behind a number.

use crate::support::{NodeProcess, PROOFS, World, get, post_ssz};
use assay_proof_engine::{
    ProofTypeNames,
    testing::{StubConfig, StubProofNode},
};
use assay_types::{Revision, Spec};
use serde_json::json;

/// The world's flags with these in the place of one, or without it.
fn replaced(flags: Vec<String>, flag: &str, by: &[&str]) -> Vec<String> {
    let mut flags = flags;
    let at = flags.iter().position(|f| f == flag).unwrap();
    flags.splice(at..at + 2, by.iter().map(|word| (*word).to_owned()));
    flags
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_is_set_up_to_verify_is_supported_in_beta() {
    let world = World::gloas(1).await;
    let flags = replaced(
        world.flags(0, "observe", &[]),
        "--proof-types",
        &["--proof-types", "5"],
    );
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);
    let (block, _) = world.block_known_to(&node).await;
    let proof = world.envelope(&block, 5, 1000, 3);
    let (status, answer) = post_ssz(&node.http(PROOFS), proof.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    // Nobody else has to: a type that is neither the network's nor this node's is refused.
    let other = world.envelope(&block, 6, 1000, 4);
    let (status, answer) = post_ssz(&node.http(PROOFS), other.to_ssz_bytes()).await;
    assert_eq!(status, 400, "{answer}");
    let log = node.log();
    assert!(log.contains("are not among the network's"), "{log}");
    assert!(!log.contains("config has changed"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_proof_engine_nothing_stands_behind_a_number() {
    let world = World::new(1).await;
    let datadir = world.datadir(1);
    let flags = world.flags(0, "observe", &[]);
    let node = NodeProcess::start(&datadir, &flags);
    world.connect(&[&node]);
    let (block, _) = world.block_known_to(&node).await;
    let proof = world.signed_proof(&block, 1, 1000, 3);
    let (status, answer) = post_ssz(&node.http(PROOFS), proof.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    let (_, with) = get(&node.http("/assay/v1/proof_types")).await;
    assert_eq!(with["data"].as_array().unwrap().len(), 2, "{with}");
    assert_eq!(node.terminate(), Some(0));

    let without = replaced(flags.clone(), "--proof-engine-endpoint", &[]);
    let node = NodeProcess::start(&datadir, &without);
    let (_, shown) = get(&node.http("/assay/v1/proof_types")).await;
    assert_eq!(shown["data"], json!([]));
    let (_, dashboard) = get(&node.http("/assay/v1/dashboard")).await;
    assert_eq!(
        (&dashboard["data"]["entries"], &dashboard["data"]["proof_types"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(node.terminate(), Some(0));

    // What was kept of the entries is as before.
    let node = NodeProcess::start(&datadir, &flags);
    let (_, again) = get(&node.http("/assay/v1/proof_types")).await;
    assert_eq!(again, with);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_revision_is_no_other_entry_where_a_proof_node_is_asked() {
    let world = World::new(1).await;
    let node_of_proofs = StubProofNode::start(StubConfig {
        seed: assay::config::DEFAULT_DEV_SEED.into(),
        names: ProofTypeNames::of(Revision::Alpha),
        spec: Spec::minimal(),
        proof_size: 1000,
        proving_delay: std::time::Duration::ZERO,
    })
    .await
    .unwrap();
    let flags = |more: &[&str]| {
        let endpoint = ["--proof-engine-endpoint", &node_of_proofs.url()];
        let mut flags = replaced(
            world.flags(0, "observe", &[]),
            "--proof-engine-endpoint",
            &endpoint,
        );
        flags.extend(more.iter().map(|word| (*word).to_owned()));
        flags
    };
    let datadir = world.datadir(1);
    let node = NodeProcess::start(&datadir, &flags(&["--revision", "alpha"]));
    world.connect(&[&node]);
    let (block, _) = world.block_known_to(&node).await;
    let proof = world.signed_proof(&block, 1, 1000, 3);
    let (status, answer) = post_ssz(&node.http(PROOFS), proof.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(node.terminate(), Some(0));
    for (revision, name) in [("beta", "ethrex-openvm"), ("alpha", "ethrex-sp1")] {
        let node = NodeProcess::start(&datadir, &flags(&["--revision", revision]));
        let (_, shown) = get(&node.http("/assay/v1/proof_types")).await;
        assert_eq!(shown["data"][0]["name"], name, "{shown}");
        assert_eq!(node.terminate(), Some(0));
    }
    // Another name is another program.
    let mut refused = NodeProcess::spawn(&datadir, &flags(&["--proof-engine-types", "alpha:1=mine"]));
    assert_eq!(refused.wait(), Some(1));
    let log = refused.log();
    assert!(
        log.contains("the name was") && log.contains("alpha:mine"),
        "{log}"
    );
}
