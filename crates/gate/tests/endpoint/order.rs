//! Fork choice updates go one after another in the order received; everything else runs beside.

use crate::{
    http::{MockEl, Reply, eventually, post},
    rig::{Rig, bearer, forkchoice, hash_in, new_payload, short, valid},
};
use assay_gate::{ImportPolicy, machine::ElStatus};
use assay_types::{BlockHash, Hash256};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

fn head(n: u8) -> BlockHash {
    Hash256([n; 32])
}

#[tokio::test]
async fn the_next_fork_choice_goes_after_the_answer_to_the_one_before() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, high) = (Arc::clone(&under_way), Arc::clone(&most));
    let el = MockEl::start(move |message| {
        let (now, high) = (Arc::clone(&now), Arc::clone(&high));
        async move {
            high.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            valid(&message)
        }
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let mut callers = Vec::new();
    for n in 1..=8 {
        let mut caller = rig.caller().await;
        caller
            .send(&post(&bearer(), "", forkchoice(head(n), u64::from(n)).as_bytes()))
            .await;
        // Received, in this order.
        eventually(|| rig.endpoint.counts().forkchoice_updated_calls == u64::from(n)).await;
        callers.push(caller);
    }
    for (n, mut caller) in (1u64..).zip(callers) {
        let answer = caller.answer().await.unwrap().unwrap();
        assert_eq!(answer.json()["id"], n);
    }
    let order: Vec<String> = el.received().iter().map(hash_in).collect();
    assert_eq!(order, (1..=8).map(|n| head(n).to_string()).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 1, "never two at once");
    assert_eq!(
        *rig.observed.forkchoices.lock().unwrap(),
        (1..=8).map(head).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn payloads_and_reads_run_beside_a_fork_choice_that_hangs() {
    let el = MockEl::start(|message| async move {
        if message.text().contains("engine_forkchoiceUpdated") {
            Reply::Nothing
        } else {
            valid_or_echo(&message)
        }
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let mut hanging = rig.caller().await;
    hanging
        .send(&post(&bearer(), "", forkchoice(head(1), 1).as_bytes()))
        .await;
    el.wait_for(1).await;
    let payload = rig.payload(8, head(7), 1000);
    assert_eq!(
        rig.call(new_payload(&payload, 2)).await.json()["result"]["status"],
        "VALID"
    );
    assert_eq!(
        rig.call(r#"{"id":3,"method":"engine_getPayloadV4"}"#)
            .await
            .json()["id"],
        3
    );
}

fn valid_or_echo(message: &crate::http::Message) -> Reply {
    if message.text().contains("engine_newPayload") {
        valid(message)
    } else {
        crate::http::ok(&message.text())
    }
}

#[tokio::test]
async fn after_its_time_out_a_fork_choice_lets_the_next_one_go_and_still_waits_for_its_own_answer() {
    let el = MockEl::start(|message| async move {
        if hash_in(&message) == head(1).to_string() {
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        valid(&message)
    })
    .await;
    let rig = Rig::start_with(&el, ImportPolicy::Observe, |config| {
        config.forkchoice_patience = short()
    })
    .await;
    let mut slow = rig.caller().await;
    slow.send(&post(&bearer(), "", forkchoice(head(1), 1).as_bytes()))
        .await;
    el.wait_for(1).await;
    let started = tokio::time::Instant::now();
    assert_eq!(rig.call(forkchoice(head(2), 2)).await.json()["id"], 2);
    let waited = started.elapsed();
    assert!(
        waited > short() / 2 && waited < Duration::from_millis(1400),
        "{waited:?}"
    );
    assert_eq!(slow.answer().await.unwrap().unwrap().json()["id"], 1);
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_its_calls_to_be_made() {
    let el = MockEl::start(|message| async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        valid(&message)
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let payload = rig.payload(8, head(7), 1000);
    let calls = [
        new_payload(&payload, 1),
        forkchoice(head(1), 2),
        forkchoice(head(2), 3),
    ];
    for (n, call) in (1u64..).zip(&calls) {
        let mut caller = rig.caller().await;
        caller.send(&post(&bearer(), "", call.as_bytes())).await;
        let counts = || rig.endpoint.counts();
        eventually(|| counts().new_payload_calls + counts().forkchoice_updated_calls == n).await;
    }
    // All three callers are gone; the last call has not even been forwarded yet.
    assert_eq!(el.wait_for(2).await.len(), 2);
    let received = el.wait_for(3).await;
    assert_eq!(hash_in(&received[2]), head(2).to_string());
    // What the execution client said is noted all the same.
    let hash = payload.execution_payload.block_hash;
    eventually(|| {
        rig.gate
            .payload(&hash)
            .is_some_and(|p| p.el_status == ElStatus::Valid)
    })
    .await;
}

/// Fork choices that are never answered do not pile up: one that waited for its turn has no whole patience of its own left.
#[tokio::test]
async fn fork_choices_that_hang_do_not_queue_up_behind_each_other() {
    let el = MockEl::start(|_| async { Reply::Nothing }).await;
    let rig = Rig::start_with(&el, ImportPolicy::AcceptProofs, |config| {
        config.forkchoice_patience = Duration::from_secs(2)
    })
    .await;
    let mut callers = Vec::new();
    for n in 1..=6 {
        let mut caller = rig.caller().await;
        let call = forkchoice(head(n), u64::from(n));
        caller.send(&post(&bearer(), "", call.as_bytes())).await;
        eventually(|| rig.endpoint.counts().forkchoice_updated_calls == u64::from(n)).await;
        callers.push(caller);
    }
    let started = tokio::time::Instant::now();
    let received = el.wait_for(6).await;
    // Each by itself: 10 s.
    assert!(
        started.elapsed() < Duration::from_secs(7),
        "{:?}",
        started.elapsed()
    );
    let heads: Vec<String> = received.iter().map(hash_in).collect();
    let sent: Vec<String> = (1..=6).map(|n| head(n).to_string()).collect();
    assert_eq!(heads, sent, "in their order");
}
