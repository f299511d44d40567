//! A prover of the shape that proof nodes have from 0.10 on (protocol.md section 9) at Gloas: it proves what its Engine API
//! proxy sees, and has the node for its beacon endpoint. Its envelopes are written from the texts, not by the code under test.

use crate::support::{
    NodeProcess, PATIENCE, PROOFS, World,
    envelope_prover::{EnvelopeProver, Proxy, Settings, SignedEnvelope},
    until,
};
use assay_simulator::SimBlock;
use assay_types::{ForkName, Revision, Root, SecretKey, SignedProof};
use serde_json::Value;

const VALIDATOR: u64 = 5;

/// Two nodes, the second a peer of the first; the first node's execution client stands behind the prover.
struct House {
    world: World,
    one: NodeProcess,
    two: NodeProcess,
    prover: EnvelopeProver,
}

impl House {
    async fn new(spoil_every: u64) -> Self {
        let world = World::gloas(2).await;
        let upstream = world.simulation.execution(0).unwrap().url();
        let proxy = Proxy::start(([127, 0, 0, 1], 0).into(), upstream).await.unwrap();
        let mut flags = world.flags(0, "require-proofs", &[]);
        let at = flags.iter().position(|f| f == "--execution-endpoint").unwrap() + 1;
        flags[at].clone_from(&proxy.url);
        let one = NodeProcess::start(&world.datadir(1), &flags);
        let peer = [one.endpoints.p2p.clone()];
        let two = NodeProcess::start(&world.datadir(2), &world.flags(1, "require-proofs", &peer));
        world.connect(&[&one, &two]);
        let settings = Settings {
            beacon: one.endpoints.http.clone(),
            key: SecretKey::interop(VALIDATOR),
            proof_types: vec![1, 2],
            proof_size: 100_000,
            dev_seed: assay::config::DEFAULT_DEV_SEED.to_owned(),
            spoil_every,
        };
        let prover = EnvelopeProver::start(settings, proxy).await.unwrap();
        Self {
            world,
            one,
            two,
            prover,
        }
    }

    /// The prover's word on each of these blocks, in any order.
    async fn posted(&mut self, blocks: &[&SimBlock]) -> Vec<Value> {
        let mut reports = Vec::new();
        while reports.len() < blocks.len() {
            let report = tokio::time::timeout(PATIENCE, self.prover.reports.recv())
                .await
                .expect("the prover says what became of a payload")
                .unwrap();
            assert_eq!(report["event"], "posted", "{report}");
            reports.push(report);
        }
        for block in blocks {
            let root = block.block_root.to_string();
            assert!(
                reports.iter().any(|r| r["block_root"] == root),
                "{root}: {reports:?}"
            );
        }
        reports
    }

    /// Both nodes have both proofs of a block, in envelopes that name it, and its payload is VALID.
    async fn proven(&self, block: &SimBlock) {
        for node in [&self.one, &self.two] {
            let url = node.http(&format!("{PROOFS}/{}", block.block_root));
            let body = until("both proofs", &url, |status, body| {
                status == 200 && body["data"].as_array().is_some_and(|d| d.len() == 2)
            })
            .await;
            for (proof, proof_type) in body["data"].as_array().unwrap().iter().zip(["1", "2"]) {
                let message = &proof["message"];
                assert_eq!(message["beacon_block_root"], block.block_root.to_string());
                assert_eq!(message["proof_type"], proof_type);
                assert_eq!(message["public_input"], Value::Null);
                assert_eq!(proof["validator_index"], VALIDATOR.to_string());
            }
            let url = node.http(&format!("/assay/v1/payloads/{}", block.block_hash()));
            until("VALID", &url, |_, body| body["data"]["verdict"] == "VALID").await;
        }
    }

    fn end(self) {
        drop(self.prover);
        for node in [self.one, self.two] {
            let log = node.log();
            assert!(!log.contains("panicked"), "{log}");
            assert_eq!(node.terminate(), Some(0));
        }
        self.world.simulation.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_proves_gloas_payloads_through_the_node() {
    let mut house = House::new(2).await;
    let mut blocks = Vec::new();
    for _ in 0..4 {
        blocks.push(house.world.block().await);
    }
    // Two blocks on one parent: each payload is proven under its own block's name.
    blocks.push(house.world.block_on(blocks[2].block_root).await);
    assert!(blocks.iter().all(|block| block.fork == ForkName::Gloas));
    let all: Vec<&SimBlock> = blocks.iter().map(|block| &**block).collect();
    let reports = house.posted(&all).await;
    for report in &reports {
        let block = all
            .iter()
            .find(|b| report["block_root"] == b.block_root.to_string());
        let payload = block.unwrap().payload.as_ref().unwrap();
        assert_eq!(
            report["new_payload_request_root"],
            payload.request_root.to_string()
        );
    }
    // Beside every second one's a forged envelope was refused by its place, and the good ones kept.
    let spoiled: Vec<&Value> = reports
        .iter()
        .map(|report| &report["spoiled"])
        .filter(|spoiled| !spoiled.is_null())
        .collect();
    assert_eq!(spoiled.len(), 2, "{reports:?}");
    for refused in spoiled {
        assert_eq!(refused["index"], 2);
        assert!(
            refused["message"].as_str().unwrap().contains("signature"),
            "{refused}"
        );
    }
    for block in &all {
        house.proven(block).await;
    }
    // The second node had all of them by gossip, and asked nobody.
    let text = reqwest::get(house.two.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let accepted: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with("assay_verification_verdicts_total") && l.contains("verdict=\"accept\""))
        .collect();
    assert!(
        accepted.len() == 1 && accepted[0].contains("source=\"gossip\"") && accepted[0].ends_with(" 10"),
        "{accepted:?}"
    );
    house.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_in_a_list_is_named_by_its_index() {
    let mut house = House::new(0).await;
    let block = house.world.block().await;
    house.posted(&[&block]).await;
    let request_root = block.payload.as_ref().unwrap().request_root;
    let hand = house.prover.hand.clone();
    assert_eq!(hand.validator_index(), VALIDATOR);
    let sign = |block_root: Root, slot, root, proof_type| -> SignedEnvelope {
        hand.signed(block_root, slot, root, proof_type).unwrap()
    };
    let good = |proof_type| sign(block.block_root, block.slot, request_root, proof_type);
    // What was written from the texts is what the code under test reads and hashes.
    let read = SignedProof::from_ssz_bytes(&good(1).to_ssz().into(), Revision::Beta).unwrap();
    let (spec, genesis) = {
        let chain = house.world.simulation.chain().lock();
        (chain.spec().clone(), chain.genesis())
    };
    let epoch = spec.epoch_at_slot(block.slot);
    let root =
        spec.execution_proof_signing_root(&genesis, epoch, &spec.proof_message_root(epoch, &read.message));
    assert!(
        SecretKey::interop(VALIDATOR)
            .public_key()
            .verify(&root, &read.signature)
    );

    let edited = |edit: fn(&mut SignedEnvelope)| {
        let mut envelope = good(1);
        edit(&mut envelope);
        envelope
    };
    // A type outside the list of the text; no proof at all; a validator that there is not; another validator's index; a
    // block that nobody knows; a payload's name in the place of the block's; a domain of another fork.
    let bad = [
        ("forged", good(1).forged(), 400, "signature"),
        (
            "type",
            sign(block.block_root, block.slot, request_root, 9),
            400,
            "type",
        ),
        (
            "empty",
            edited(|e| e.message.proof_data = Vec::new().into()),
            400,
            "empty",
        ),
        ("index", edited(|e| e.validator_index = 1 << 40), 400, "validator"),
        ("another's", edited(|e| e.validator_index = 6), 400, "signature"),
        (
            "unknown",
            sign(Root::from([7; 32]), block.slot, request_root, 1),
            503,
            "not been seen",
        ),
        (
            "payload",
            sign(request_root, block.slot, request_root, 1),
            400,
            "another revision",
        ),
        (
            "fork",
            sign(block.block_root, assay_types::Slot(1), request_root, 1),
            400,
            "signature",
        ),
    ];
    for (what, wrong, status, says) in &bad {
        for place in 0..3 {
            let (a, b) = (good(1), good(2));
            let mut envelopes = vec![&a, &b];
            envelopes.insert(place, wrong);
            let answer = hand.post(&envelopes).await.unwrap();
            assert_eq!(answer.status, *status, "{what} at {place}: {answer:?}");
            let [(index, message)] = &answer.failures[..] else {
                panic!("{what} at {place}: {answer:?}")
            };
            assert_eq!(*index, place, "{what}");
            assert!(message.contains(says), "{what}: {message}");
        }
    }
    // Several at once, and the good between them is on the network.
    let answer = hand
        .post(&[&bad[0].1, &good(2), &bad[2].1, &bad[1].1])
        .await
        .unwrap();
    let places: Vec<usize> = answer.failures.iter().map(|(index, _)| *index).collect();
    assert_eq!((answer.status, places), (400, vec![0, 2, 3]));
    // None of it was the proof engine's to judge: the validator is not contained, and its next proofs are taken.
    let next = house.world.block().await;
    house.posted(&[&next]).await;
    for block in [&block, &next] {
        house.proven(block).await;
    }
    house.end();
}
