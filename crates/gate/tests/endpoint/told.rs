//! What counts as told (design.md gate rules 2 and 4) where nobody can know, or the policy changes meanwhile.

use crate::{
    http::{MockEl, eventually, ok, post},
    rig::{Rig, bearer, forkchoice, new_payload, valid},
};
use assay_gate::{GateConfig, ImportPolicy, PayloadVerdict};
use assay_types::BlockHash;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const ANCHOR: BlockHash = assay_types::Hash256([7; 32]);

/// VALID, after a while; INVALID of every payload once it is told to.
async fn el_that_changes_its_mind(says_invalid: &Arc<AtomicBool>) -> MockEl {
    let says_invalid = Arc::clone(says_invalid);
    MockEl::start(move |message| {
        let invalid = says_invalid.load(Ordering::SeqCst) && message.text().contains("engine_newPayload");
        async move {
            if invalid {
                let id = message.json()["id"].clone();
                return ok(&format!(
                    r#"{{"id":{id},"result":{{"status":"INVALID","latestValidHash":null,"validationError":"no"}}}}"#
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            valid(&message)
        }
    })
    .await
}

async fn status(rig: &Rig, call: String) -> String {
    let answer = rig.call(call).await.json();
    answer["result"]["status"].as_str().unwrap().to_owned()
}

/// A VALID whose caller hung up before its answer counts as told: INVALID is not said of it later. It makes nothing else VALID.
#[tokio::test]
async fn a_valid_that_nobody_waited_for_is_not_taken_back_and_raises_nothing() {
    let says_invalid = Arc::new(AtomicBool::new(false));
    let el = el_that_changes_its_mind(&says_invalid).await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    rig.call(forkchoice(ANCHOR, 1)).await;
    let payload = rig.payload(8, ANCHOR, 1000);
    let hash = payload.execution_payload.block_hash;
    rig.prove(&payload).await;
    let mut caller = rig.caller().await;
    caller
        .send(&post(&bearer(), "", new_payload(&payload, 2).as_bytes()))
        .await;
    eventually(|| rig.endpoint.counts().new_payload_calls == 1).await;
    drop(caller);
    eventually(|| rig.gate.payload(&hash).is_some_and(|p| p.told_valid)).await;
    let unproven = rig.payload(9, hash, 1000);
    assert_eq!(status(&rig, new_payload(&unproven, 3)).await, "SYNCING");
    says_invalid.store(true, Ordering::SeqCst);
    assert_eq!(status(&rig, new_payload(&payload, 4)).await, "SYNCING");
    assert_eq!(rig.gate.stats().alarms, 1);
}

/// `observe` ends between the answer, which passed as it came, and the gate's hearing of it.
#[tokio::test]
async fn what_passed_under_observe_stays_valid_when_the_policy_changes_under_it() {
    let says_invalid = Arc::new(AtomicBool::new(false));
    let el = el_that_changes_its_mind(&says_invalid).await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    rig.call(forkchoice(ANCHOR, 1)).await;
    // Large enough for its answer to be back before the gate has its root.
    let payload = rig.payload(8, ANCHOR, 4_000_000);
    let hash = payload.execution_payload.block_hash;
    // The network is not known yet: the gate's work waits for it.
    let known = rig.network.borrow().clone();
    rig.network.send_replace(None);
    assert_eq!(status(&rig, new_payload(&payload, 2)).await, "VALID");
    let require = GateConfig {
        policy: ImportPolicy::RequireProofs,
        ..GateConfig::default()
    };
    rig.gate.reconfigure(require).await;
    rig.network.send_replace(known);
    eventually(|| rig.gate.payload(&hash).is_some_and(|p| p.told_valid)).await;
    assert_eq!(rig.gate.payload(&hash).unwrap().verdict, PayloadVerdict::Valid);
    assert_eq!(status(&rig, new_payload(&payload, 3)).await, "VALID");
    says_invalid.store(true, Ordering::SeqCst);
    assert_eq!(
        status(&rig, new_payload(&payload, 4)).await,
        "SYNCING",
        "not INVALID"
    );
}
