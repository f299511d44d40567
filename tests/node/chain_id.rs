//! The chain's id is part of what a proof of revision `beta` states: made for another chain it is invalid, however well it is
//! signed.

use crate::support::{NodeProcess, PROOFS, World, get, post_ssz, until};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_made_for_another_chain_is_invalid() {
    let world = World::new(2).await;
    let ours = world.simulation.chain().lock().spec().chain_id;
    let theirs = ours + 1;
    // The second node is told another id, and is no peer of the first.
    let start = |index: usize, chain_id: u64| {
        let mut flags = world.flags(index, "observe", &[]);
        let more = ["--revision", "beta", "--spec"].map(str::to_owned);
        flags.extend(more);
        flags.push(format!("DEPOSIT_CHAIN_ID={chain_id}"));
        NodeProcess::start(&world.datadir(index + 1), &flags)
    };
    let nodes = [(start(0, ours), ours, theirs), (start(1, theirs), theirs, ours)];
    world.connect(&[&nodes[0].0, &nodes[1].0]);
    let block = world.block().await;
    for (node, right, wrong) in &nodes {
        let url = node.http(&format!("{PROOFS}/{}", block.block_root));
        until("the block", &url, |status, _| status == 200).await;
        // Of another validator: one that signed an invalid proof is not heard for a while.
        let bad = world.envelope_of_chain(&block, 1, 3000, 4, *wrong);
        let (status, answer) = post_ssz(&node.http(PROOFS), bad.to_ssz_bytes()).await;
        let why = answer["failures"][0]["message"].as_str().unwrap_or_default();
        assert!(
            status == 400 && why.contains("the proof engine says the proof is invalid"),
            "{answer}"
        );
        let good = world.envelope_of_chain(&block, 1, 3000, 3, *right);
        let (status, answer) = post_ssz(&node.http(PROOFS), good.to_ssz_bytes()).await;
        assert_eq!(status, 200, "{answer}");
        let (_, kept) = get(&url).await;
        assert_eq!(kept["data"], json!([good]));
    }
}
