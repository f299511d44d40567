//! Answers that wait for a proof, and answers by proofs while the execution client is silent.

use crate::{
    http::{Message, MockEl, Reply, ok, post},
    rig::{Rig, bearer, forkchoice, new_payload, valid},
};
use assay_gate::{GateConfig, ImportPolicy};
use assay_types::BlockHash;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Long enough that no test waits for its end; beyond three quarters of a caller's patience nothing waits.
const LONG: u64 = 6000;
/// Tries of what has to happen within it, for machines that do much else.
const TRIES: u64 = 3;

fn settings(policy: ImportPolicy, wait_for_proofs_ms: u64, execution_slow_after_ms: u64) -> GateConfig {
    GateConfig {
        policy,
        wait_for_proofs_ms,
        execution_slow_after_ms,
        ..GateConfig::default()
    }
}

fn status(message: &Message) -> String {
    let json = message.json();
    let result = &json["result"];
    let status = if result["payloadStatus"].is_null() {
        result
    } else {
        &result["payloadStatus"]
    };
    status["status"].as_str().unwrap_or("none").to_owned()
}

#[tokio::test]
async fn a_call_waits_for_the_proof_and_is_valid_when_it_comes() {
    for n in 1..=TRIES {
        if waits_and_is_valid(n).await {
            return;
        }
    }
    panic!("the machine is too slow for a wait of {LONG} ms");
}

/// False where so much time was gone that the wait had ended by itself.
async fn waits_and_is_valid(id: u64) -> bool {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let rig = Rig::start_as(&el, settings(ImportPolicy::RequireProofs, LONG, 1000), |_| ()).await;
    let anchor = BlockHash::from([7; 32]);
    rig.call(forkchoice(anchor, id)).await;
    let payload = rig.payload(8, anchor, 1000);
    let hash = payload.execution_payload.block_hash;
    let begun = std::time::Instant::now();
    let (imported, head) = {
        let (body, fcu) = (new_payload(&payload, 2), forkchoice(hash, 3));
        let imported = async { rig.call(&body).await };
        let head = async {
            el.wait_for(2).await;
            rig.call(&fcu).await
        };
        let proof = async {
            // Both calls have been answered by the execution client, and a third one does not stand behind them.
            el.wait_for(3).await;
            let older = rig.call(forkchoice(anchor, 4)).await;
            assert_eq!(status(&older), "VALID", "a call that waits holds nobody up");
            rig.prove(&payload).await;
        };
        let (imported, head, ()) = tokio::join!(imported, head, proof);
        (imported, head)
    };
    if begun.elapsed() >= Duration::from_millis(LONG) {
        return false;
    }
    assert_eq!(status(&imported), "VALID");
    assert_eq!(imported.json()["result"]["latestValidHash"], hash.to_string());
    assert_eq!(status(&head), "VALID");
    assert_eq!(head.json()["result"]["payloadId"], "0x0102030405060708");
    let view = rig.gate.payload(&hash).unwrap();
    assert!(!view.first_told_syncing, "nobody was told SYNCING");
    let stats = rig.gate.stats();
    assert_eq!(
        (stats.answered_valid, stats.answered_syncing),
        (4, 0),
        "each call is counted once"
    );
    true
}

#[tokio::test]
async fn a_wait_ends_without_a_proof_and_what_no_proof_can_change_does_not_wait() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let rig = Rig::start_as(&el, settings(ImportPolicy::RequireProofs, 100, 1000), |_| ()).await;
    let anchor = BlockHash::from([7; 32]);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 1000);
    assert_eq!(status(&rig.call(new_payload(&payload, 2)).await), "SYNCING");
    assert_eq!(rig.endpoint.counts().waited_for_proofs, 1);
    // A hole, and a head nobody knows.
    let apart = rig.payload(20, BlockHash::from([9; 32]), 100);
    assert_eq!(status(&rig.call(new_payload(&apart, 3)).await), "SYNCING");
    assert_eq!(
        status(&rig.call(forkchoice(BlockHash::from([5; 32]), 4)).await),
        "SYNCING"
    );
    assert_eq!(
        rig.endpoint.counts().waited_for_proofs,
        2,
        "the payload over a hole may wait for its own proof"
    );
    let stats = rig.gate.stats();
    assert_eq!((stats.answered_valid, stats.answered_syncing), (1, 3));
}

/// An execution client that answers the first `count` calls with VALID and the others as `then` says.
async fn el_then(count: usize, then: fn(&Message) -> Reply) -> MockEl {
    let calls = Arc::new(AtomicUsize::new(0));
    MockEl::start(move |message: Message| {
        let reply = match calls.fetch_add(1, Ordering::SeqCst) < count {
            true => valid(&message),
            false => then(&message),
        };
        async move { reply }
    })
    .await
}

fn syncing(message: &Message) -> Reply {
    let call = message.json();
    let (id, status) = (
        &call["id"],
        r#"{"status":"SYNCING","latestValidHash":null,"validationError":null}"#,
    );
    if call["method"].as_str().unwrap().starts_with("engine_newPayload") {
        ok(&format!(r#"{{"id":{id},"more":1,"result":{status}}}"#))
    } else {
        ok(&format!(
            r#"{{"id":{id},"result":{{"payloadStatus":{status},"payloadId":null}}}}"#
        ))
    }
}

#[tokio::test]
async fn accept_proofs_raises_what_is_proven_while_the_client_syncs() {
    let el = el_then(1, syncing).await;
    let rig = Rig::start_as(&el, settings(ImportPolicy::AcceptProofs, 0, 1000), |_| ()).await;
    let anchor = BlockHash::from([7; 32]);
    assert_eq!(status(&rig.call(forkchoice(anchor, 1)).await), "VALID");
    let first = rig.payload(8, anchor, 1000);
    let hash = first.execution_payload.block_hash;
    let second = rig.payload(9, hash, 1000);
    assert_eq!(
        rig.call(new_payload(&first, 2)).await.text(),
        r#"{"id":2,"more":1,"result":{"status":"SYNCING","latestValidHash":null,"validationError":null}}"#
    );
    rig.prove(&second).await;
    assert_eq!(
        status(&rig.call(new_payload(&second, 3)).await),
        "SYNCING",
        "its parent is not proven"
    );
    rig.prove(&first).await;
    assert_eq!(
        rig.call(new_payload(&first, 4)).await.text(),
        format!(
            r#"{{"id":4,"more":1,"result":{{"status":"VALID","latestValidHash":"{hash}","validationError":null}}}}"#
        )
    );
    let head = rig.call(forkchoice(second.execution_payload.block_hash, 5)).await;
    assert_eq!(status(&head), "VALID");
    assert!(
        head.json()["result"]["payloadId"].is_null(),
        "rule 8: never invented"
    );
}

#[tokio::test]
async fn accept_proofs_answers_for_a_silent_client_and_still_tells_it_everything() {
    let el = el_then(1, |_| Reply::Nothing).await;
    let rig = Rig::start_as(&el, settings(ImportPolicy::AcceptProofs, 0, 50), |_| ()).await;
    let anchor = BlockHash::from([7; 32]);
    rig.call(forkchoice(anchor, 1)).await;
    // On a slow machine the first call may have taken as long as that, too.
    let before = rig.endpoint.counts().answered_for_silent_client;
    let payload = rig.payload(8, anchor, 1000);
    let hash = payload.execution_payload.block_hash;
    rig.prove(&payload).await;
    let imported = rig.call(new_payload(&payload, 2)).await;
    assert_eq!(
        (status(&imported), imported.json()["id"].clone()),
        ("VALID".to_owned(), 2.into())
    );
    // The client has not answered newPayload; it hears of the head all the same.
    assert_eq!(status(&rig.call(forkchoice(hash, 3)).await), "VALID");
    el.wait_for(3).await;
    assert_eq!(rig.endpoint.counts().answered_for_silent_client - before, 2);
    // In a batch too.
    let batch = format!("[{},{}]", new_payload(&payload, 4), forkchoice(hash, 5));
    let answers = rig.call(batch).await.json();
    assert_eq!(answers[0]["result"]["status"], "VALID");
    assert_eq!(answers[1]["result"]["payloadStatus"]["status"], "VALID");
    // A proof that comes while the client is silent ends the wait.
    let next = rig.payload(9, hash, 1000);
    let mut caller = rig.caller().await;
    caller
        .send(&post(&bearer(), "", new_payload(&next, 6).as_bytes()))
        .await;
    el.wait_for(5).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    rig.prove(&next).await;
    assert_eq!(status(&caller.answer().await.unwrap().unwrap()), "VALID");
}

#[tokio::test]
async fn accept_proofs_speaks_for_a_client_that_is_gone_only_where_proofs_do() {
    let el = el_then(1, |_| Reply::Last(Vec::new())).await;
    let rig = Rig::start_as(&el, settings(ImportPolicy::AcceptProofs, 0, 1000), |_| ()).await;
    let anchor = BlockHash::from([7; 32]);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 1000);
    assert_eq!(
        rig.call(new_payload(&payload, 2)).await.json()["error"]["code"],
        -32603
    );
    rig.prove(&payload).await;
    assert_eq!(status(&rig.call(new_payload(&payload, 3)).await), "VALID");
    // The anchor needs no proof: the client itself called it VALID.
    assert_eq!(status(&rig.call(forkchoice(anchor, 4)).await), "VALID");
    assert_eq!(
        rig.call(forkchoice(BlockHash::from([9; 32]), 5)).await.json()["error"]["code"],
        -32603
    );
}

#[tokio::test]
async fn what_a_silent_client_says_at_last_of_a_payload_told_valid_is_an_alarm() {
    let release = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&release);
    let calls = Arc::new(Mutex::new(0));
    let el = MockEl::start(move |message: Message| {
        let (held, calls) = (Arc::clone(&held), Arc::clone(&calls));
        async move {
            let number = {
                let mut calls = calls.lock().unwrap();
                *calls += 1;
                *calls
            };
            if number == 1 {
                return valid(&message);
            }
            held.notified().await;
            let id = message.json()["id"].clone();
            ok(&format!(
                r#"{{"id":{id},"result":{{"status":"INVALID","latestValidHash":null}}}}"#
            ))
        }
    })
    .await;
    let rig = Rig::start_as(&el, settings(ImportPolicy::AcceptProofs, 0, 20), |_| ()).await;
    let anchor = BlockHash::from([7; 32]);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 1000);
    let hash = payload.execution_payload.block_hash;
    rig.prove(&payload).await;
    assert_eq!(status(&rig.call(new_payload(&payload, 2)).await), "VALID");
    release.notify_one();
    crate::http::eventually(|| rig.gate.payload(&hash).unwrap().conflict).await;
    assert_eq!(rig.gate.stats().alarms, 1);
    // Rule 4: SYNCING until the operator decides.
    let asked = rig.call(forkchoice(hash, 3));
    release.notify_one();
    let answer = asked.await.json();
    assert_ne!(answer["result"]["payloadStatus"]["status"], "VALID", "{answer}");
}

/// A client that takes connections and not a byte, as one that is stopped: the gate reads the call all the same.
#[tokio::test]
async fn a_client_that_reads_nothing_keeps_no_proof_from_speaking() {
    let started = MockEl::start(|message| async move { valid(&message) }).await;
    let address = started.address;
    let rig = Rig::start_as(&started, settings(ImportPolicy::AcceptProofs, 0, 50), |_| ()).await;
    let anchor = BlockHash::from([7; 32]);
    rig.call(forkchoice(anchor, 1)).await;
    started.stop().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(16).unwrap();
    let stopped = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    // More than the kernel takes for it.
    let payload = rig.payload(8, anchor, 12_000_000);
    rig.prove(&payload).await;
    let answer = rig.call(new_payload(&payload, 2)).await;
    assert_eq!(status(&answer), "VALID");
    let head = rig
        .call(forkchoice(payload.execution_payload.block_hash, 3))
        .await;
    assert_eq!(status(&head), "VALID");
    stopped.abort();
}
