//! Batches pass as they are unless one of their requests is the gate's to judge.

use crate::{
    http::{Message, MockEl, Reply, ok, post},
    rig::{Rig, bearer, forkchoice, hash_in, new_payload, valid},
};
use assay_gate::{GateConfig, ImportPolicy};
use assay_types::Hash256;
use serde_json::json;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

async fn el() -> MockEl {
    MockEl::start(|message: Message| async move {
        let text = message.text();
        if text.trim_start().starts_with('[') {
            ok("[\"the whole batch\"]")
        } else if text.contains("engine_newPayload") {
            // Slower than what comes after it.
            tokio::time::sleep(Duration::from_millis(100)).await;
            valid(&message)
        } else if text.contains("engine_forkchoiceUpdated") {
            valid(&message)
        } else if text.contains("eth_broken") {
            ok("nonsense")
        } else if text.contains("\"id\"") {
            ok(&format!(r#"{{"id":{},"result":"r"}}"#, message.json()["id"]))
        } else {
            Reply::Bytes(crate::http::response("200 OK", "", b""))
        }
    })
    .await
}

#[tokio::test]
async fn a_batch_without_payloads_passes_as_it_is() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let body = " [ {\"id\":1, \"method\":\"eth_a\"},5,{\"method\":\"engine_getPayloadV4\"} ]\n";
    assert_eq!(rig.call(body).await.text(), "[\"the whole batch\"]");
    assert_eq!(el.received()[0].body, body.as_bytes());
    assert_eq!(rig.endpoint.counts().split_batches, 0);
}

#[tokio::test]
async fn a_batch_with_payloads_is_taken_apart_and_put_together_in_order() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    // The block the beacon node starts from.
    rig.call(forkchoice(Hash256([7; 32]), 0)).await;
    let payload = rig.payload(8, Hash256([7; 32]), 1000);
    let body = format!(
        r#"[{{"id":"a","method":"eth_a"}},{},7,{{"method":"eth_note"}},{},{{"id":9,"method":"eth_broken"}},{},{{"id":10,"method":"eth_b"}}]"#,
        new_payload(&payload, 1),
        forkchoice(payload.execution_payload.block_hash, 2),
        forkchoice(Hash256([7; 32]), 3),
    );
    let answer = rig.call(&body).await;
    let got = answer.json();
    let ids: Vec<_> = got.as_array().unwrap().iter().map(|a| a["id"].clone()).collect();
    assert_eq!(
        ids,
        [
            json!("a"),
            json!(1),
            json!(null),
            json!(2),
            json!(9),
            json!(3),
            json!(10)
        ]
    );
    assert_eq!(got[0]["result"], "r");
    assert_eq!(got[1]["result"]["status"], "SYNCING");
    assert_eq!(got[1]["extra"], json!([1]));
    assert_eq!(got[2]["error"]["code"], -32600);
    assert_eq!(got[3]["result"]["payloadStatus"]["status"], "SYNCING");
    assert_eq!(got[4]["error"]["code"], -32603);
    assert_eq!(got[6]["result"], "r");
    let bodies: Vec<String> = el.received().iter().map(Message::text).collect();
    assert_eq!(bodies.len(), 8);
    assert!(
        bodies.contains(&new_payload(&payload, 1)),
        "each goes as it stood in the batch"
    );
    let choices: Vec<usize> = [2, 3]
        .map(|id| {
            bodies
                .iter()
                .position(|b| b.contains(&format!("\"id\":{id},\"method\":\"engine_f")))
                .unwrap()
        })
        .into();
    assert!(choices.is_sorted());
    assert_eq!(rig.endpoint.counts().split_batches, 1);
}

#[tokio::test]
async fn a_batch_of_notifications_gets_no_answer() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let payload = rig.payload(8, Hash256([7; 32]), 1000);
    let note = new_payload(&payload, 1).replace(",\"id\":1}", "}");
    let answer = rig.call(format!("[{{\"method\":\"eth_note\"}},{note}]")).await;
    assert_eq!((answer.status(), answer.text()), (200, String::new()));
    el.wait_for(2).await;
}

#[tokio::test]
async fn a_batch_to_a_dead_execution_client_is_answered_one_by_one() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    el.stop().await;
    let payload = rig.payload(8, Hash256([7; 32]), 1000);
    for second in [
        "{\"id\":2,\"method\":\"eth_a\"}".to_owned(),
        new_payload(&payload, 2),
    ] {
        let answer = rig
            .call(format!(
                "[{{\"id\":1,\"method\":\"eth_a\"}},{second},{{\"method\":\"eth_note\"}}]"
            ))
            .await;
        let got = answer.json();
        assert_eq!(got.as_array().unwrap().len(), 2);
        for n in 0..2 {
            assert_eq!(got[n]["id"], n + 1);
            assert_eq!(got[n]["error"]["code"], -32603);
        }
    }
}

#[tokio::test]
async fn under_observe_a_batch_passes_whole_and_what_was_said_is_noted() {
    let head = Hash256([7; 32]);
    let el = MockEl::start(move |message: Message| async move {
        let calls = message.json();
        let hash = calls[1]["params"][0]["blockHash"].as_str().unwrap().to_owned();
        // In another order, with what nobody here reads, and an answer that nobody asked for.
        ok(&format!(
            "[ {{\"id\":\"x\",\"result\":7}},{{\"id\":2,\"result\":{{\"payloadStatus\":{{\"status\":\"VALID\",\"latestValidHash\":\"{head}\"}}}}}},\n\
             {{\"id\":1,\"result\":{{\"status\":\"VALID\",\"latestValidHash\":\"{hash}\"}}}},{{\"id\":99,\"result\":0}} ] "
        ))
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let payload = rig.payload(8, head, 1000);
    let body = format!(
        r#"[{{"id":"x","method":"eth_a"}}, {},{{"method":"eth_note"}},{}]"#,
        new_payload(&payload, 1),
        forkchoice(head, 2)
    );
    let answer = rig.call(&body).await;
    let hash = payload.execution_payload.block_hash;
    let text = answer.text();
    assert!(
        text.starts_with("[ {\"id\":\"x\",\"result\":7},") && text.ends_with(",{\"id\":99,\"result\":0} ] "),
        "{text}"
    );
    assert_eq!(el.received().len(), 1);
    assert_eq!(el.received()[0].body, body.as_bytes());
    let told = |hash| rig.gate.payload(hash).is_some_and(|p| p.told_valid);
    crate::http::eventually(|| told(&hash) && told(&head)).await;
    assert_eq!(*rig.observed.forkchoices.lock().unwrap(), [head]);
    assert_eq!(*rig.observed.payloads.lock().unwrap(), [rig.root(&payload)]);
    assert_eq!(rig.endpoint.counts().split_batches, 0);
}

#[tokio::test]
async fn under_observe_answers_that_cannot_be_told_apart_are_noted_for_nobody() {
    let head = Hash256([7; 32]);
    for answer in [
        "nonsense".to_owned(),
        format!(
            r#"[{{"id":1,"result":{{"payloadStatus":{{"status":"VALID","latestValidHash":"{head}"}}}}}},{{"id":1,"result":{{"payloadStatus":{{"status":"VALID","latestValidHash":"{head}"}}}}}}]"#
        ),
        "[]".to_owned(),
    ] {
        let said = answer.clone();
        let el = MockEl::start(move |_| {
            let said = said.clone();
            async move { ok(&said) }
        })
        .await;
        let rig = Rig::start(&el, ImportPolicy::Observe).await;
        let got = rig.call(format!("[{}]", forkchoice(head, 1))).await;
        assert_eq!(got.text(), answer);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(rig.gate.payload(&head).is_none_or(|p| !p.told_valid), "{answer}");
        // The order goes on.
        assert_eq!(rig.call(forkchoice(head, 2)).await.text(), answer);
    }
}

/// What the gate reads as no request, or as another than some execution client would, does not reach one in a batch.
#[tokio::test]
async fn no_element_of_a_batch_is_two_things_to_two_readers() {
    let el = MockEl::start(|_| async { ok(r#"{"id":1,"result":"r"}"#) }).await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let payload = rig.payload(8, Hash256([7; 32]), 100);
    let call = new_payload(&payload, 1);
    for (n, element) in [
        call.replace("\"method\"", "\"Method\""),
        call.replace("\"method\"", "\"method\":\"eth_a\",\"Method\""),
        call.replace("\"method\"", "\"method\":\"eth_a\",\"method\""),
        call.replace("\"method\"", "\"METHOD\":\"eth_a\",\"method\""),
        format!("[{call}]"),
    ]
    .iter()
    .enumerate()
    {
        assert_ne!(*element, call);
        let got = rig
            .call(format!(r#"[{element},{{"id":1,"method":"eth_b"}}]"#))
            .await
            .json();
        assert_eq!(got[0]["error"]["code"], -32600, "{n}: {got}");
        assert_eq!(got[1]["result"], "r", "{n}: {got}");
        let received = el.wait_for(n + 1).await;
        assert_eq!(received.len(), n + 1, "{n}");
        assert_eq!(received[n].text(), r#"{"id":1,"method":"eth_b"}"#, "{n}");
    }
}

/// A client that works a batch off by itself knows each payload when it comes to what names it.
#[tokio::test]
async fn what_a_batch_says_of_one_payload_is_told_in_its_order() {
    let anchor = Hash256([7; 32]);
    let known = Arc::new(Mutex::new(HashSet::from([anchor.to_string()])));
    let of_client = Arc::clone(&known);
    let el = MockEl::start(move |message: Message| {
        let known = Arc::clone(&of_client);
        async move {
            let call = message.json();
            let hash = hash_in(&message);
            if call["method"].as_str().unwrap().starts_with("engine_newPayload") {
                let parent = call["params"][0]["parentHash"].as_str().unwrap();
                let on_known = known.lock().unwrap().contains(parent);
                tokio::time::sleep(Duration::from_millis(60)).await;
                if on_known {
                    known.lock().unwrap().insert(hash);
                    return valid(&message);
                }
                let id = &call["id"];
                return ok(&format!(r#"{{"id":{id},"result":{{"status":"SYNCING","latestValidHash":null}}}}"#));
            }
            if known.lock().unwrap().contains(&hash) {
                return valid(&message);
            }
            let id = &call["id"];
            ok(&format!(
                r#"{{"id":{id},"result":{{"payloadStatus":{{"status":"SYNCING","latestValidHash":null}},"payloadId":null}}}}"#
            ))
        }
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    rig.call(forkchoice(anchor, 0)).await;
    let first = rig.payload(8, anchor, 200_000);
    let second = rig.payload(9, first.execution_payload.block_hash, 100);
    rig.prove(&first).await;
    rig.prove(&second).await;
    let batch = format!(
        "[{},{},{},{}]",
        new_payload(&first, 1),
        forkchoice(first.execution_payload.block_hash, 2),
        new_payload(&second, 3),
        forkchoice(second.execution_payload.block_hash, 4),
    );
    let answers = rig.call(batch).await.json();
    for (n, answer) in answers.as_array().unwrap().iter().enumerate() {
        let result = &answer["result"];
        let status = result.get("payloadStatus").unwrap_or(result);
        assert_eq!(status["status"], "VALID", "{n}: {answers}");
    }
    assert_eq!(el.received().len(), 5);
}

/// Calls after one that waits for a proof do not wait with it, and those after one that is never answered go on once its time
/// is over.
#[tokio::test]
async fn a_call_that_waits_keeps_the_rest_of_its_batch_no_longer_than_the_execution_client() {
    let anchor = Hash256([7; 32]);
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let settings = GateConfig {
        policy: ImportPolicy::RequireProofs,
        wait_for_proofs_ms: 4000,
        ..GateConfig::default()
    };
    let rig = Rig::start_as(&el, settings, |_| ()).await;
    rig.call(forkchoice(anchor, 0)).await;
    let payload = rig.payload(8, anchor, 100);
    let head = payload.execution_payload.block_hash;
    let batch = format!("[{},{}]", new_payload(&payload, 1), forkchoice(head, 2));
    let calling = rig.call(batch);
    let proving = async {
        // Both are with the execution client before either is proven.
        el.wait_for(3).await;
        rig.prove(&payload).await;
    };
    let (answers, ()) = tokio::join!(calling, proving);
    let answers = answers.json();
    assert_eq!(answers[0]["result"]["status"], "VALID", "{answers}");
    assert_eq!(
        answers[1]["result"]["payloadStatus"]["status"], "VALID",
        "{answers}"
    );
}

/// A payload is not sent twice: the rest of a batch goes on when its caller hangs up.
#[tokio::test]
async fn a_batch_goes_on_when_its_caller_hangs_up() {
    let anchor = Hash256([7; 32]);
    let el = MockEl::start(|message: Message| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        valid(&message)
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let first = rig.payload(8, anchor, 100);
    let second = rig.payload(9, first.execution_payload.block_hash, 100);
    let batch = format!("[{},{}]", new_payload(&first, 1), new_payload(&second, 2));
    let mut caller = rig.caller().await;
    caller.send(&post(&bearer(), "", batch.as_bytes())).await;
    el.wait_for(1).await;
    drop(caller);
    assert_eq!(el.wait_for(2).await[1].text(), new_payload(&second, 2));
}
