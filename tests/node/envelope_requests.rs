//! `--envelope-requests`, the extension between Assay nodes: whoever comes late asks for envelopes by range and by root.

use crate::support::{NodeProcess, PROOFS, World, get, post_ssz, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelopes_are_asked_for_and_served_where_that_is_wanted() {
    let world = World::new(2).await;
    world.connect_past_nodes();
    let start = |index: usize, peers: &[String]| {
        let mut flags = world.flags(index, "observe", peers);
        flags.extend(["--revision", "beta", "--envelope-requests"].map(str::to_owned));
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
