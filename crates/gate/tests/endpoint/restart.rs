//! The whole gate on its database: SYNCING, a proof, VALID, and all of it again after a crash.

use crate::{
    http::{MockEl, eventually, ok},
    rig::{GENESIS_TIME, Rig, forkchoice, hash_in, new_payload, valid},
};
use assay_gate::{
    GateConfig, GateHandle, ImportPolicy, PayloadVerdict, ProofRecall,
    machine::{ConflictResolution, Event},
};
use assay_store::{Store, StoreConfig};
use assay_types::{
    BlockHash, ExecutionProof, ForkName, NewPayloadRequest, ProofKey, PublicInput, Revision, Root,
    SignatureBytes, SignedExecutionProof, Slot, Spec,
};
use assay_verification::{ProofSink, Source, VerifiedProof};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio_util::sync::CancellationToken;

const PROOF_TYPE: u8 = 3;

fn require() -> GateConfig {
    GateConfig {
        policy: ImportPolicy::RequireProofs,
        ..GateConfig::default()
    }
}

fn open_store(path: &Path) -> Store {
    Store::open(path, StoreConfig::new(&Spec::minimal(), Root::ZERO)).unwrap()
}

fn open_gate(store: &Store, config: GateConfig) -> (GateHandle, CancellationToken) {
    let stop = CancellationToken::new();
    let recall = ProofRecall {
        known: Arc::new(store.clone()),
        proof_types: vec![1, 2, PROOF_TYPE],
    };
    let (gate, _) = GateHandle::open(config, Arc::new(store.clone()), Some(recall), stop.clone()).unwrap();
    (gate, stop)
}

/// One life of the process on a database file.
struct Life {
    rig: Rig,
    store: Store,
}

impl Life {
    async fn begin(el: &MockEl, path: &Path) -> Self {
        let store = open_store(path);
        let (gate, stop) = open_gate(&store, require());
        Self {
            rig: Rig::start_on(el, gate, stop, |_| ()).await,
            store,
        }
    }

    /// What a crash would leave: the file as it is now, in use.
    fn crash(&self, from: &Path, to: &Path) {
        std::fs::copy(from, to).unwrap();
    }

    async fn status(&self, call: String) -> String {
        let answer = self.rig.call(call).await.json();
        let result = &answer["result"];
        let status = result.get("payloadStatus").unwrap_or(result);
        status["status"].as_str().unwrap().to_owned()
    }

    fn proof(&self, request: &NewPayloadRequest) -> Arc<VerifiedProof> {
        let message = ExecutionProof {
            proof_data: vec![1; 64].into(),
            proof_type: PROOF_TYPE,
            public_input: PublicInput {
                new_payload_request_root: self.rig.root(request),
            },
        };
        let signed = SignedExecutionProof {
            message,
            validator_index: 5,
            signature: SignatureBytes::ZERO,
        };
        let slot = Slot((request.execution_payload.timestamp - GENESIS_TIME) / 6);
        Arc::new(VerifiedProof::assume_verified(
            signed.to_ssz_bytes(),
            signed,
            Root::ZERO,
            slot,
            None,
        ))
    }
}

impl Life {
    /// As `proof`, of `beta`.
    fn envelope(&self, request: &NewPayloadRequest, block_root: Root) -> Arc<VerifiedProof> {
        let alpha = self.proof(request);
        let mut envelope = alpha.signed().clone();
        envelope.revision = Revision::Beta;
        envelope.message.root = block_root;
        let payload = self.rig.root(request);
        Arc::new(VerifiedProof::assume_verified_envelope(
            envelope,
            payload,
            Root::ZERO,
            alpha.slot(),
        ))
    }
}

/// Says VALID, and INVALID of everything once it is told to.
async fn el_that_changes_its_mind(says_invalid: &Arc<AtomicBool>) -> MockEl {
    let says_invalid = Arc::clone(says_invalid);
    MockEl::start(move |message| {
        let reply = if says_invalid.load(Ordering::SeqCst) && message.text().contains("engine_newPayload") {
            let (id, _) = (message.json()["id"].clone(), hash_in(&message));
            let parent = message.json()["params"][0]["parentHash"].clone();
            ok(&format!(r#"{{"id":{id},"result":{{"status":"INVALID","latestValidHash":{parent},"validationError":"no"}}}}"#))
        } else {
            valid(&message)
        };
        async move { reply }
    })
    .await
}

#[tokio::test]
async fn syncing_then_a_proof_then_valid_and_valid_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first.redb"), dir.path().join("second.redb"));
    let says_invalid = Arc::new(AtomicBool::new(false));
    let el = el_that_changes_its_mind(&says_invalid).await;

    let life = Life::begin(&el, &first).await;
    life.rig.call(forkchoice(BlockHash::from([7; 32]), 1)).await;
    let payload = life.rig.payload(8, BlockHash::from([7; 32]), 1000);
    let hash = payload.execution_payload.block_hash;
    assert_eq!(life.status(new_payload(&payload, 2)).await, "SYNCING");
    assert_eq!(life.status(forkchoice(hash, 3)).await, "SYNCING");

    let proof = life.proof(&payload);
    let sinks: [&dyn ProofSink; 2] = [&life.store, &life.rig.gate];
    for sink in sinks {
        sink.accepted(&proof, &Source::Http).await.unwrap();
    }
    assert_eq!(
        life.rig.gate.payload(&hash).unwrap().verdict,
        PayloadVerdict::Valid
    );
    assert_eq!(life.status(forkchoice(hash, 4)).await, "VALID");
    life.crash(&first, &second);

    let life = Life::begin(&el, &second).await;
    let view = life.rig.gate.payload(&hash).unwrap();
    assert_eq!(
        (view.verdict, view.told_valid, view.first_told_syncing),
        (PayloadVerdict::Valid, true, true)
    );
    assert_eq!(life.status(forkchoice(hash, 5)).await, "VALID");
    assert_eq!(life.status(new_payload(&payload, 6)).await, "VALID");
    // The payload after it has no proof, and nothing that went before makes it an anchor.
    let next = life.rig.payload(9, hash, 10);
    assert_eq!(life.status(new_payload(&next, 7)).await, "SYNCING");
    assert_eq!(
        life.status(forkchoice(next.execution_payload.block_hash, 8))
            .await,
        "SYNCING"
    );

    // Rule 4: what was told in the life before is not taken back in this one, and not in the next.
    says_invalid.store(true, Ordering::SeqCst);
    assert_eq!(life.status(new_payload(&next, 9)).await, "INVALID");
    assert_eq!(life.status(new_payload(&payload, 10)).await, "SYNCING");
    let third = dir.path().join("third.redb");
    life.crash(&second, &third);
    let life = Life::begin(&el, &third).await;
    assert_eq!(life.status(new_payload(&payload, 11)).await, "SYNCING");
    says_invalid.store(false, Ordering::SeqCst);
    assert_eq!(life.status(forkchoice(hash, 12)).await, "SYNCING");
    let resolution = ConflictResolution::KeepValid;
    life.rig
        .gate
        .apply(Event::ConflictResolved {
            block_hash: hash,
            resolution,
        })
        .await;
    assert_eq!(life.status(forkchoice(hash, 13)).await, "VALID");
}

#[tokio::test]
async fn a_proof_that_only_the_store_got_is_found_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first.redb"), dir.path().join("second.redb"));
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let life = Life::begin(&el, &first).await;
    life.rig.call(forkchoice(BlockHash::from([7; 32]), 1)).await;
    let payload = life.rig.payload(8, BlockHash::from([7; 32]), 1000);
    let hash = payload.execution_payload.block_hash;
    assert_eq!(life.status(new_payload(&payload, 2)).await, "SYNCING");
    // The process dies after the store had the proof and before the gate had it.
    let proof = life.proof(&payload);
    life.store.accepted(&proof, &Source::Http).await.unwrap();
    eventually(|| {
        // The payload's own record is written behind its answer.
        life.store
            .load_gate_records()
            .unwrap()
            .iter()
            .any(|(key, _)| *key == hash.0)
    })
    .await;
    life.crash(&first, &second);

    let life = Life::begin(&el, &second).await;
    // What the EL said last may be lost with the crash; it says it again.
    eventually(|| life.rig.gate.payload(&hash).is_some_and(|v| v.proven_chain)).await;
    assert_eq!(life.status(forkchoice(hash, 3)).await, "VALID");
    // A proof that is there before its payload counts at once.
    let next = life.rig.payload(9, hash, 10);
    life.store
        .accepted(&life.proof(&next), &Source::Http)
        .await
        .unwrap();
    assert_eq!(life.status(new_payload(&next, 4)).await, "VALID");
}

/// An envelope names a beacon block. Killed before that is in the store's index, and before the gate heard of the proof.
#[tokio::test]
async fn an_envelope_that_only_the_store_got_is_found_after_a_crash_without_its_block() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first.redb"), dir.path().join("second.redb"));
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let life = Life::begin(&el, &first).await;
    life.rig.call(forkchoice(BlockHash::from([7; 32]), 1)).await;
    let payload = life.rig.payload(8, BlockHash::from([7; 32]), 1000);
    let next = life.rig.payload(9, payload.execution_payload.block_hash, 10);
    let hash = next.execution_payload.block_hash;
    assert_eq!(life.status(new_payload(&payload, 2)).await, "SYNCING");
    for (payload, block) in [(&payload, 1), (&next, 2)] {
        let proof = life.envelope(payload, Root::from([block; 32]));
        life.store.accepted(&proof, &Source::Http).await.unwrap();
    }
    assert_eq!(life.status(forkchoice(hash, 3)).await, "SYNCING");
    eventually(|| {
        let records = life.store.load_gate_records().unwrap();
        records
            .iter()
            .any(|(key, _)| *key == payload.execution_payload.block_hash.0)
    })
    .await;
    life.crash(&first, &second);

    let life = Life::begin(&el, &second).await;
    // One payload that the gate knew, and one that comes now.
    assert_eq!(life.status(new_payload(&next, 4)).await, "VALID");
    assert_eq!(life.status(forkchoice(hash, 5)).await, "VALID");
}

#[tokio::test]
async fn a_payload_that_comes_before_the_network_is_known_is_no_anchor() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let network = rig.network.send_replace(None).unwrap();
    let start = BlockHash::from([7; 32]);
    let payload = rig.payload(8, start, 10);
    let hash = payload.execution_payload.block_hash;
    let answer = rig.call(new_payload(&payload, 1)).await.json();
    assert_eq!(answer["result"]["status"], "SYNCING");
    let answer = rig.call(forkchoice(hash, 2)).await.json();
    assert_eq!(answer["result"]["payloadStatus"]["status"], "SYNCING");
    rig.network.send_replace(Some(network));
    let answer = rig.call(new_payload(&payload, 3)).await.json();
    assert_eq!(answer["result"]["status"], "SYNCING", "nothing proves it");
    let new_payload_request_root = rig.root(&payload);
    rig.gate
        .proof_verified(ProofKey {
            new_payload_request_root,
            proof_type: PROOF_TYPE,
        })
        .await;
    let answer = rig.call(forkchoice(hash, 4)).await.json();
    assert_eq!(
        answer["result"]["payloadStatus"]["status"], "VALID",
        "the start is what came before it"
    );
    assert_eq!(rig.gate.payload(&hash).unwrap().fork, Some(ForkName::Fulu));
    assert!(rig.gate.payload(&start).unwrap().anchor);
}
