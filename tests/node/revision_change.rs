//! `--revision` changed node by node while the chain goes on at Gloas: nothing that was stored or decided is lost, whichever
//! way, and what a block's proofs are served as follows the revision of the day.

use crate::support::{NodeProcess, PROOFS, World, get, post, post_ssz, until};
use assay_proof_engine::DevProver;
use assay_simulator::SimBlock;
use assay_types::{ProofMessage, Revision, SecretKey, SignedProof, StatedInput};
use serde_json::{Value, json};
use std::sync::Arc;

const POOL: &str = "/eth/v1/beacon/pool/execution_proofs";

/// A proof of a block's payload as a prover of `revision` makes it.
fn proof(world: &World, block: &SimBlock, revision: Revision, proof_type: u8) -> SignedProof {
    let dev = DevProver::new(assay::config::DEFAULT_DEV_SEED, 4 << 20);
    let request_root = block.payload.as_ref().unwrap().request_root;
    let (mut spec, genesis) = {
        let chain = world.simulation.chain().lock();
        (chain.spec().as_ref().clone(), chain.genesis())
    };
    spec.revision_by_fork.clear();
    spec.revision = revision;
    let input = StatedInput::new(&spec, revision, request_root);
    let message = ProofMessage {
        proof_data: dev.prove_stated(&input, proof_type, 60_000).unwrap(),
        proof_type,
        root: match revision {
            Revision::Alpha => request_root,
            Revision::Beta => block.block_root,
        },
    };
    let epoch = spec.epoch_at_slot(block.slot);
    let root = spec.proof_message_root(epoch, &message);
    let root = spec.execution_proof_signing_root(&genesis, epoch, &root);
    SignedProof {
        revision,
        message,
        validator_index: 3,
        signature: SecretKey::interop(3).sign(&root),
    }
}

/// A node that is started again and again at the same place, each time with a revision.
struct Seat {
    index: usize,
    flags: Vec<String>,
    node: Option<NodeProcess>,
}

impl Seat {
    /// At the ports that the system gave it at its first start.
    fn start(world: &World, index: usize, peer: Option<&Self>) -> Self {
        let peers: Vec<String> = peer
            .iter()
            .map(|seat| seat.node().endpoints.p2p.clone())
            .collect();
        let mut flags = world.flags(index, "require-proofs", &peers);
        let node = NodeProcess::start(&world.datadir(index), &with(&flags, Revision::Alpha));
        let port = |url: &str| url.rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
        let p2p = node
            .endpoints
            .p2p
            .split('/')
            .skip_while(|part| *part != "tcp")
            .nth(1)
            .unwrap();
        for (flag, port) in [
            ("--engine-port", port(&node.endpoints.engine)),
            ("--port", p2p.to_owned()),
        ] {
            let at = flags.iter().position(|f| f == flag).unwrap() + 1;
            flags[at] = port;
        }
        Self {
            index,
            flags,
            node: Some(node),
        }
    }

    fn node(&self) -> &NodeProcess {
        self.node.as_ref().unwrap()
    }

    /// Ends the node, cleanly or not, and starts it with another revision.
    fn change(&mut self, world: &World, revision: Revision, kill: bool) {
        let node = self.node.take().unwrap();
        if kill {
            node.kill();
        } else {
            assert_eq!(node.terminate(), Some(0));
        }
        let flags = with(&self.flags, revision);
        self.node = Some(NodeProcess::start(&world.datadir(self.index), &flags));
    }

    fn url(&self, block: &SimBlock) -> String {
        self.node().http(&format!("{PROOFS}/{}", block.block_root))
    }

    async fn knows(&self, block: &SimBlock) {
        until("the block", &self.url(block), |status, _| status == 200).await;
    }

    async fn post(&self, proof: &SignedProof) {
        let (status, answer) = post_ssz(&self.node().http(PROOFS), proof.to_ssz_bytes()).await;
        assert_eq!(status, 200, "node {}: {answer}", self.index);
    }

    /// Both in one body of JSON at the demo's path: the good one is taken, the other refused by its place.
    async fn post_json(&self, good: &SignedProof, bad: &SignedProof) {
        let body = json!([good, bad]).to_string();
        let (status, answer) = post(&self.node().http(POOL), "application/json", body).await;
        let failures = answer["failures"].as_array().cloned().unwrap_or_default();
        assert_eq!((status, failures.len()), (400, 1), "{answer}");
        assert_eq!(failures[0]["index"], 1, "{answer}");
        assert!(
            failures[0]["message"].as_str().unwrap().contains("signature"),
            "{answer}"
        );
    }

    /// Serves exactly these proofs of a block, in JSON and byte for byte.
    async fn serves(&self, block: &SimBlock, proofs: &[&SignedProof]) {
        let expected = json!(proofs);
        let what = format!(
            "{} proofs of slot {} at node {}",
            proofs.len(),
            block.slot,
            self.index
        );
        until(&what, &self.url(block), |status, body| {
            status == 200 && body["data"] == expected
        })
        .await;
        let request = reqwest::Client::new()
            .get(self.url(block))
            .header("accept", "application/octet-stream");
        let ssz = request.send().await.unwrap().bytes().await.unwrap();
        let whole: usize = proofs.iter().map(|proof| 4 + proof.to_ssz_bytes().len()).sum();
        assert_eq!(ssz.len(), whole, "{what}");
        assert!(
            proofs
                .last()
                .is_none_or(|last| ssz.ends_with(&last.to_ssz_bytes())),
            "{what}"
        );
    }

    /// The payloads are VALID.
    async fn valid(&self, blocks: &[&Arc<SimBlock>]) {
        for block in blocks {
            let url = self
                .node()
                .http(&format!("/assay/v1/payloads/{}", block.block_hash()));
            let what = format!("VALID of slot {} at node {}", block.slot, self.index);
            until(&what, &url, |_, body| body["data"]["verdict"] == "VALID").await;
        }
    }

    /// All that it has, of either revision; as SSZ, which does not say which, those of the revision of the day.
    async fn pool(&self, now: Revision, expected: &[&SignedProof]) {
        let (status, body) = get(&self.node().http(POOL)).await;
        assert_eq!(status, 200, "{body}");
        let has = body["data"].as_array().unwrap();
        let missing: Vec<Value> = expected
            .iter()
            .map(|proof| json!(proof))
            .filter(|proof| !has.contains(proof))
            .collect();
        assert_eq!(has.len(), expected.len(), "node {}", self.index);
        assert!(
            missing.is_empty(),
            "node {}: {} missing",
            self.index,
            missing.len()
        );
        let request = reqwest::Client::new()
            .get(self.node().http(POOL))
            .header("accept", "application/octet-stream");
        let ssz = request.send().await.unwrap().bytes().await.unwrap();
        let of_now = expected.iter().filter(|proof| proof.revision == now);
        let whole: usize = of_now.map(|proof| 4 + proof.to_ssz_bytes().len()).sum();
        assert_eq!(ssz.len(), whole, "node {}", self.index);
    }
}

fn with(flags: &[String], revision: Revision) -> Vec<String> {
    let mut flags = flags.to_vec();
    flags.extend(["--revision".to_owned(), revision.as_str().to_owned()]);
    flags
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_gloas_there_and_back_node_by_node() {
    use Revision::{Alpha, Beta};
    let world = World::gloas(2).await;
    let mut one = Seat::start(&world, 0, None);
    let mut two = Seat::start(&world, 1, Some(&one));
    world.connect(&[one.node(), two.node()]);

    // Both speak `alpha`.
    let a = world.block().await;
    for seat in [&one, &two] {
        seat.knows(&a).await;
    }
    let alpha_a = proof(&world, &a, Alpha, 1);
    one.post(&alpha_a).await;
    for seat in [&one, &two] {
        seat.serves(&a, &[&alpha_a]).await;
        seat.valid(&[&a]).await;
    }

    // The second is changed; a block comes while it is away. Each is told in its own words: what the other says names what
    // it does not know, and nobody is blamed for it.
    assert_eq!(two.node.take().and_then(NodeProcess::terminate), Some(0));
    let b = world.block().await;
    two.node = Some(NodeProcess::start(&world.datadir(1), &with(&two.flags, Beta)));
    for seat in [&one, &two] {
        seat.knows(&b).await;
    }
    let (alpha_b, beta_b) = (proof(&world, &b, Alpha, 1), proof(&world, &b, Beta, 1));
    one.post(&alpha_b).await;
    two.post(&beta_b).await;
    one.serves(&b, &[&alpha_b]).await;
    two.serves(&b, &[&beta_b]).await;
    // The second no longer shows what names the payload, but has it, and counts it.
    two.serves(&a, &[]).await;
    two.pool(Beta, &[&alpha_a, &beta_b]).await;
    for seat in [&one, &two] {
        seat.valid(&[&a, &b]).await;
    }
    let (_, status) = get(&one.node().http("/assay/v1/status")).await;
    assert_eq!(status["data"]["network"]["connected_peers"], 1, "{status}");

    // The first follows, from a crash.
    one.change(&world, Beta, true);
    let c = world.block().await;
    for seat in [&one, &two] {
        seat.knows(&c).await;
    }
    one.valid(&[&a, &b]).await;
    one.serves(&b, &[]).await;
    let (beta_c, beta_c2) = (proof(&world, &c, Beta, 1), proof(&world, &c, Beta, 2));
    let url = one.node().http("/assay/v1/status");
    until("the peer", &url, |_, body| {
        body["data"]["network"]["connected_peers"] == 1
    })
    .await;
    two.post(&beta_c).await;
    let mut forged = proof(&world, &c, Beta, 3);
    forged.message.proof_type = 1;
    two.post_json(&beta_c2, &forged).await;
    for seat in [&one, &two] {
        seat.serves(&c, &[&beta_c, &beta_c2]).await;
        seat.valid(&[&a, &b, &c]).await;
    }
    // An envelope of a payload that is proven here in the other words is news to this network.
    one.post(&beta_b).await;
    one.serves(&b, &[&beta_b]).await;
    one.pool(Beta, &[&alpha_a, &alpha_b, &beta_b, &beta_c, &beta_c2])
        .await;

    // And back, both.
    one.change(&world, Alpha, false);
    two.change(&world, Alpha, true);
    for seat in [&one, &two] {
        seat.serves(&a, &[&alpha_a]).await;
        seat.serves(&c, &[]).await;
        seat.valid(&[&a, &b, &c]).await;
    }
    one.serves(&b, &[&alpha_b]).await;
    let d = world.block().await;
    for seat in [&one, &two] {
        seat.knows(&d).await;
    }
    let alpha_d = proof(&world, &d, Alpha, 2);
    two.post(&alpha_d).await;
    two.serves(&d, &[&alpha_d]).await;
    two.valid(&[&d]).await;

    // Once more: the envelopes of before are served as they came.
    one.change(&world, Beta, false);
    two.change(&world, Beta, false);
    for seat in [&one, &two] {
        seat.serves(&b, &[&beta_b]).await;
        seat.serves(&c, &[&beta_c, &beta_c2]).await;
        seat.valid(&[&a, &b, &c]).await;
    }
    for seat in [one, two] {
        let node = seat.node.unwrap();
        let log = node.log();
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(node.terminate(), Some(0));
    }
    world.simulation.stop();
}
