//! Several execution clients: one answers, all hear, and another takes its place (design.md gate rule 11).

use crate::{
    http::{Message, MockEl, Reply, eventually, ok, post, response},
    rig::{Rig, bearer, forkchoice, new_payload, short, upstream_secret, valid},
};
use assay_gate::{GateConfig, ImportPolicy, UpstreamConfig};
use assay_types::BlockHash;

async fn rig(clients: &[&MockEl], policy: ImportPolicy) -> Rig {
    let settings = GateConfig {
        policy,
        ..GateConfig::default()
    };
    let others: Vec<UpstreamConfig> = clients[1..]
        .iter()
        .map(|el| UpstreamConfig {
            url: el.url(),
            jwt: Some(upstream_secret()),
        })
        .collect();
    Rig::start_as(clients[0], settings, |config| config.upstreams.extend(others)).await
}

/// VALID, with a payload id of its own.
fn building(message: &Message, payload_id: &str) -> Reply {
    if message.text().contains("engine_getPayload") {
        return ok(&format!(r#"{{"id":9,"result":"built by {payload_id}"}}"#));
    }
    if message.text().contains("eth_a") {
        return ok(r#"{"id":4,"result":"r"}"#);
    }
    let Reply::Bytes(bytes) = valid(message) else {
        panic!()
    };
    Reply::Bytes(
        String::from_utf8(bytes)
            .unwrap()
            .replace("0x0102030405060708", payload_id)
            .into_bytes(),
    )
}

const A: &str = "0x00000000000000aa";
const B: &str = "0x00000000000000bb";

fn get_payload(payload_id: &str) -> String {
    format!(r#"{{"id":9,"method":"engine_getPayloadV5","params":["{payload_id}"]}}"#)
}

#[tokio::test]
async fn all_hear_one_answers_and_another_takes_over() {
    for policy in [ImportPolicy::Observe, ImportPolicy::RequireProofs] {
        let first = MockEl::start(|m| async move { building(&m, A) }).await;
        let second = MockEl::start(|m| async move { building(&m, B) }).await;
        let rig = rig(&[&first, &second], policy).await;
        let anchor = BlockHash::from([7; 32]);
        let answer = rig.call(forkchoice(anchor, 1)).await.json();
        assert_eq!(answer["result"]["payloadId"], A, "{policy}");
        let payload = rig.payload(8, anchor, 300_000);
        rig.prove(&payload).await;
        assert_eq!(
            rig.call(new_payload(&payload, 2)).await.json()["result"]["status"],
            "VALID"
        );
        let head = forkchoice(payload.execution_payload.block_hash, 3);
        let batch = format!("[{},{}]", head, get_payload(A));
        let answers = rig.call(batch).await.json();
        assert_eq!(answers[0]["result"]["payloadId"], A, "{policy}: {answers}");
        assert_eq!(answers[1]["result"], format!("built by {A}"), "{policy}");
        // The other one heard the same, in the same order, and is asked for nothing else.
        rig.call(r#"{"id":4,"method":"eth_a","params":[]}"#).await;
        let heard: Vec<String> = second.wait_for(3).await.iter().map(Message::text).collect();
        assert_eq!(
            heard,
            [forkchoice(anchor, 1), new_payload(&payload, 2), head.clone()],
            "{policy}"
        );
        // Ids go to whoever issued them, or are unknown.
        assert_eq!(
            rig.call(get_payload(A)).await.json()["result"],
            format!("built by {A}")
        );
        assert_eq!(
            rig.call(get_payload(B)).await.json()["error"]["code"],
            -38001,
            "{policy}"
        );

        first.stop().await;
        let next = rig.payload(9, payload.execution_payload.block_hash, 300_000);
        rig.prove(&next).await;
        assert_eq!(
            rig.call(new_payload(&next, 5)).await.json()["result"]["status"],
            "VALID",
            "{policy}"
        );
        let answer = rig
            .call(forkchoice(next.execution_payload.block_hash, 6))
            .await
            .json();
        assert_eq!(answer["result"]["payloadId"], B, "{policy}: {answer}");
        assert_eq!(
            rig.call(get_payload(B)).await.json()["result"],
            format!("built by {B}")
        );
        assert!(rig.endpoint.execution_client_is_up(), "{policy}");
    }
}

#[tokio::test]
async fn valid_against_invalid_is_an_alarm() {
    let first = MockEl::start(|m| async move { valid(&m) }).await;
    let second = MockEl::start(|message: Message| async move {
        let id = message.json()["id"].clone();
        let status = r#"{"status":"INVALID","latestValidHash":null}"#;
        match message.text().contains("engine_newPayload") {
            true => ok(&format!(r#"{{"id":{id},"result":{status}}}"#)),
            false => ok(&format!(
                r#"{{"id":{id},"result":{{"payloadStatus":{status},"payloadId":null}}}}"#
            )),
        }
    })
    .await;
    let rig = rig(&[&first, &second], ImportPolicy::Observe).await;
    let payload = rig.payload(8, BlockHash::from([7; 32]), 1000);
    let answer = rig.call(new_payload(&payload, 1)).await.json();
    assert_eq!(answer["result"]["status"], "VALID", "the active one's word");
    eventually(|| rig.gate.stats().alarms == 1).await;
    rig.call(forkchoice(payload.execution_payload.block_hash, 2))
        .await;
    second.wait_for(2).await;
    assert_eq!(rig.gate.stats().alarms, 1, "once");
}

#[tokio::test]
async fn one_that_hangs_holds_nobody_up() {
    let first = MockEl::start(|m| async move { valid(&m) }).await;
    let second = MockEl::start(|_| async { Reply::Nothing }).await;
    let rig = rig(&[&first, &second], ImportPolicy::RequireProofs).await;
    let mut parent = BlockHash::from([7; 32]);
    rig.call(forkchoice(parent, 1)).await;
    for slot in 8..40 {
        let payload = rig.payload(slot, parent, 1000);
        rig.prove(&payload).await;
        assert_eq!(
            rig.call(new_payload(&payload, slot)).await.json()["result"]["status"],
            "VALID"
        );
        parent = payload.execution_payload.block_hash;
    }
    assert!(
        rig.endpoint.counts().calls_kept_from_others > 0,
        "what waits for it is bounded"
    );
}

/// The active client hangs: once a caller's time is over another takes its place.
#[tokio::test]
async fn an_active_one_that_hangs_is_replaced() {
    let first = MockEl::start(|_| async { Reply::Nothing }).await;
    let second = MockEl::start(|m| async move { valid(&m) }).await;
    for as_head in [false, true] {
        let rig = Rig::start_with(&first, ImportPolicy::RequireProofs, |config| {
            config.forkchoice_patience = short();
            let mut other = config.upstreams[0].clone();
            other.url = second.url();
            config.upstreams.push(other);
        })
        .await;
        let anchor = BlockHash::from([7; 32]);
        let payload = rig.payload(8, anchor, 100);
        let call = if as_head {
            forkchoice(anchor, 1)
        } else {
            new_payload(&payload, 1)
        };
        let mut waiting = rig.caller().await;
        waiting.send(&post(&bearer(), "", call.as_bytes())).await;
        eventually(|| rig.endpoint.counts().unanswered_calls == 1).await;
        let answer = rig.call(forkchoice(anchor, 2)).await.json();
        assert_eq!(
            answer["result"]["payloadStatus"]["status"], "VALID",
            "{as_head}: {answer}"
        );
    }
}

/// A client that is still working off what it was told gets a fork choice after the payloads that came before.
#[tokio::test]
async fn one_that_takes_over_hears_things_in_their_order() {
    let first = MockEl::start(|m: Message| async move {
        match m.text().contains("forkchoice") {
            true => Reply::Bytes(response("503 Service Unavailable", "", b"{}")),
            false => valid(&m),
        }
    })
    .await;
    let second = MockEl::start(|m: Message| async move {
        if m.text().contains("newPayload") {
            tokio::time::sleep(short()).await;
        }
        valid(&m)
    })
    .await;
    let rig = rig(&[&first, &second], ImportPolicy::AcceptProofs).await;
    let one = rig.payload(8, BlockHash::from([7; 32]), 1000);
    let two = rig.payload(9, one.execution_payload.block_hash, 1000);
    rig.call(new_payload(&one, 1)).await;
    rig.call(new_payload(&two, 2)).await;
    let head = forkchoice(two.execution_payload.block_hash, 3);
    let answer = rig.call(&head).await.json();
    assert_eq!(answer["result"]["payloadStatus"]["status"], "VALID", "{answer}");
    let mut heard: Vec<String> = second.received().iter().map(Message::text).collect();
    heard.truncate(3);
    assert_eq!(heard, [new_payload(&one, 1), new_payload(&two, 2), head]);
}

/// Another client takes over while a payload is still coming: each hears of the payload once.
#[tokio::test]
async fn a_payload_that_comes_during_a_failover_goes_to_all() {
    let first = MockEl::start(|m: Message| async move {
        match m.text().contains("forkchoice") {
            true => Reply::Bytes(response("503 Service Unavailable", "", b"{}")),
            false => valid(&m),
        }
    })
    .await;
    let second = MockEl::start(|m| async move { valid(&m) }).await;
    let rig = rig(&[&first, &second], ImportPolicy::AcceptProofs).await;
    let anchor = BlockHash::from([7; 32]);
    let payload = rig.payload(8, anchor, 1_000_000);
    let request = post(&bearer(), "", new_payload(&payload, 1).as_bytes());
    let (begin, rest) = request.split_at(request.len() / 2);
    let mut caller = rig.caller().await;
    caller.send(begin).await;
    eventually(|| first.connections.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    let answer = rig.call(forkchoice(anchor, 2)).await.json();
    assert_eq!(answer["result"]["payloadStatus"]["status"], "VALID", "{answer}");
    assert_eq!(caller.exchange(rest).await.json()["result"]["status"], "VALID");
    let payloads = |el: &MockEl| {
        let received = el.received();
        received
            .iter()
            .filter(|m| m.text().contains("newPayload"))
            .count()
    };
    eventually(|| payloads(&second) > 0).await;
    assert_eq!((payloads(&first), payloads(&second)), (1, 1));
}

/// What only reads, and what may be told twice, is answered by the next client, whatever the active one does in place of
/// answering.
#[tokio::test]
async fn what_the_active_one_does_not_answer_another_does() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fault {
        Closes,
        BreaksOff,
        Status(&'static str),
    }
    for fault in [
        Fault::Closes,
        Fault::BreaksOff,
        Fault::Status("503 Service Unavailable"),
        Fault::Status("401 Unauthorized"),
    ] {
        let first = MockEl::start(move |_| async move {
            let whole = response("200 OK", "", br#"{"id":1,"result":"first"}"#);
            match fault {
                Fault::Closes => Reply::Last(Vec::new()),
                Fault::BreaksOff => Reply::Last(whole[..whole.len() - 3].to_vec()),
                Fault::Status(status) => Reply::Bytes(response(status, "", b"{}")),
            }
        })
        .await;
        let second = MockEl::start(|message: Message| async move {
            let text = message.text();
            if text.contains("newPayload") || text.contains("forkchoice") {
                valid(&message)
            } else if text.starts_with('[') {
                ok(r#"[{"id":1,"result":"second"}]"#)
            } else {
                ok(r#"{"id":1,"result":"second"}"#)
            }
        })
        .await;
        let anchor = BlockHash::from([7; 32]);
        for n in 0..9 {
            let rig = rig(&[&first, &second], ImportPolicy::AcceptProofs).await;
            let payload = rig.payload(8, anchor, 300_000);
            let with_head = |other: &str| format!("[{},{other}]", forkchoice(anchor, 2));
            let call = match n {
                0 => new_payload(&payload, 1),
                1 => forkchoice(anchor, 1),
                2 => r#"{"id":1,"method":"engine_exchangeCapabilities","params":[[]]}"#.to_owned(),
                3 => format!("[{}]", new_payload(&payload, 1)),
                4 => with_head(r#"{"id":1,"method":"eth_call"}"#),
                5 => r#"{"id":1,"method":"eth_blockNumber"}"#.to_owned(),
                6 => r#"{"id":1,"method":"engine_getBlobsV2","params":[[]]}"#.to_owned(),
                7 => r#"[{"id":1,"method":"eth_a"},{"id":2,"method":"net_b"}]"#.to_owned(),
                _ => format!(
                    r#"{{"id":1,"method":"eth_call","params":["{}"]}}"#,
                    "a".repeat(300_000)
                ),
            };
            let answer = rig.call(&call).await;
            assert_eq!(answer.status(), 200, "{fault:?} {n}");
            let text = answer.text();
            assert!(
                text.contains("VALID") || text.contains("second"),
                "{fault:?} {n}: {text}"
            );
            assert!(!text.contains("error\""), "{fault:?} {n}: {text}");
            // And from then on.
            assert!(rig.call(forkchoice(anchor, 3)).await.text().contains("VALID"));
            assert!(rig.endpoint.execution_client_is_up(), "{fault:?} {n}");
        }
        // What does something is not done twice.
        let rig = rig(&[&first, &second], ImportPolicy::AcceptProofs).await;
        let send = r#"{"id":1,"method":"eth_sendRawTransaction","params":["0x00"]}"#;
        let mut caller = rig.caller().await;
        caller.send(&post(&bearer(), "", send.as_bytes())).await;
        // Whatever the answer is.
        let _ = caller.answer().await;
        assert!(
            second.received().iter().all(|m| !m.text().contains("eth_send")),
            "{fault:?}"
        );
    }
}

/// What passes is passed on as it comes once it is more than is held; the parts of a batch may be large too.
#[tokio::test]
async fn large_answers_come_whole() {
    for bytes in [3_000_000_usize, 20_000_000] {
        let large = move |id: u64| format!(r#"{{"id":{id},"result":"{}"}}"#, "a".repeat(bytes));
        let el = move |m: Message| async move {
            match m.text() {
                text if text.contains("forkchoice") && !text.starts_with('[') => valid(&m),
                text if text.starts_with('[') => ok(&format!("[{}]", large(7))),
                _ => ok(&large(7)),
            }
        };
        let (first, second) = (MockEl::start(el).await, MockEl::start(el).await);
        let rig = rig(&[&first, &second], ImportPolicy::RequireProofs).await;
        let read = r#"{"id":7,"method":"eth_getLogs","params":[]}"#;
        assert_eq!(rig.call(read).await.text(), large(7), "{bytes}");
        assert_eq!(
            rig.call(format!("[{read}]")).await.text(),
            format!("[{}]", large(7))
        );
        let head = forkchoice(BlockHash::from([7; 32]), 1);
        let answers = rig.call(format!("[{head},{read}]")).await.json();
        assert_eq!(answers[1]["result"].as_str().map(str::len), Some(bytes));
        assert_eq!(rig.endpoint.counts().unanswered_calls, 0, "{bytes}");
    }
}

/// What finds no room here is no fault of the client's: it stays the active one, and no other is asked.
#[tokio::test]
async fn an_answer_without_room_moves_nobody() {
    let el = |m: Message| async move {
        match m.text().contains("eth_getLogs") {
            true => ok(&format!(r#"{{"id":7,"result":"{}"}}"#, "a".repeat(3_000_000))),
            false => valid(&m),
        }
    };
    let (first, second) = (MockEl::start(el).await, MockEl::start(el).await);
    let rig = Rig::start_with(&first, ImportPolicy::RequireProofs, |config| {
        let mut other = config.upstreams[0].clone();
        other.url = second.url();
        config.upstreams.push(other);
        config.held_bytes = 1_000_000;
    })
    .await;
    let head = forkchoice(BlockHash::from([7; 32]), 1);
    let batch = format!(r#"[{head},{{"id":7,"method":"eth_getLogs","params":[]}}]"#);
    let answers = rig.call(batch).await.json();
    assert_eq!(answers[0]["result"]["payloadStatus"]["status"], "VALID");
    assert_eq!(answers[1]["error"]["code"], -32603, "{answers}");
    assert!(rig.endpoint.execution_client_is_up());
    assert!(
        second
            .received()
            .iter()
            .all(|m| !m.text().contains("eth_getLogs"))
    );
}

/// The first of the settings has its place back once it has kept up with the chain for some slots, not before.
#[tokio::test]
async fn one_that_is_back_and_in_step_has_its_place_again() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };
    let away = Arc::new(AtomicBool::new(true));
    let heard = Arc::new(AtomicUsize::new(0));
    let (is_away, hears) = (Arc::clone(&away), Arc::clone(&heard));
    let first = MockEl::start(move |m: Message| {
        let (away, n) = (is_away.load(Ordering::SeqCst), hears.fetch_add(1, Ordering::SeqCst));
        async move {
            if away {
                return Reply::Bytes(response("503 Service Unavailable", "", b"{}"));
            }
            // It catches up first.
            match n % 40 == 5 {
                true => ok(&format!(
                    r#"{{"id":{},"result":{{"payloadStatus":{{"status":"SYNCING","latestValidHash":null}},"payloadId":null}}}}"#,
                    m.json()["id"]
                )),
                false => building(&m, A),
            }
        }
    })
    .await;
    let second = MockEl::start(|m| async move { building(&m, B) }).await;
    let rig = rig(&[&first, &second], ImportPolicy::Observe).await;
    let head = BlockHash::from([7; 32]);
    for n in 1..4 {
        assert_eq!(
            rig.call(forkchoice(head, n)).await.json()["result"]["payloadId"],
            B
        );
    }
    eventually(|| heard.load(Ordering::SeqCst) >= 3).await;
    away.store(false, Ordering::SeqCst);
    let mut by_second = 0;
    loop {
        let before = heard.load(Ordering::SeqCst);
        let answer = rig.call(forkchoice(head, 10 + by_second)).await.json();
        if answer["result"]["payloadId"] == A {
            break;
        }
        by_second += 1;
        assert!(by_second < 40, "{answer}");
        eventually(|| heard.load(Ordering::SeqCst) > before).await;
    }
    assert!(by_second >= 8 + 2, "SYNCING is not in step: {by_second}");
}
