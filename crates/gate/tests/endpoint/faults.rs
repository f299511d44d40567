//! An execution client that is down, dies or closes: a clear error with the caller's id, and calls go on when it is back.

use crate::{
    http::{MockEl, Reply, eventually, ok, post, response},
    rig::{Rig, bearer, forkchoice, new_payload, valid},
};
use assay_gate::ImportPolicy;
use assay_types::Hash256;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

#[tokio::test]
async fn down_and_up_again() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let address = el.address;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    el.stop().await;
    let payload = rig.payload(8, Hash256([7; 32]), 300_000);
    // The id comes after the parameters: it is found all the same.
    let calls = [
        new_payload(&payload, 41),
        forkchoice(Hash256([7; 32]), 42),
        format!(
            r#"{{"method":"eth_x","params":["{}"],"id":"forty-three"}}"#,
            "a".repeat(500_000)
        ),
    ];
    for call in &calls {
        let answer = rig.call(call).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json()["error"]["code"], -32603, "{}", answer.text());
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains("execution client") && message.contains("refused"),
            "{message}"
        );
        let call: serde_json::Value = serde_json::from_str(call).unwrap();
        assert_eq!(answer.json()["id"], call["id"]);
    }
    let get = format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\n\r\n", bearer());
    assert_eq!(rig.caller().await.exchange(get.as_bytes()).await.status(), 502);
    assert!(!rig.endpoint.execution_client_is_up());
    assert_eq!(rig.endpoint.counts().unanswered_calls, 4);

    let el = MockEl::start_at(address, |message| async move { valid(&message) }).await;
    assert_eq!(rig.call(&calls[0]).await.json()["result"]["status"], "SYNCING");
    assert!(rig.endpoint.execution_client_is_up());
    assert_eq!(el.received().len(), 1);
}

#[tokio::test]
async fn dying_in_the_middle_of_an_answer() {
    let el = MockEl::start(|_| async {
        let whole = response("200 OK", "", br#"{"id":1,"result":{"status":"VALID"}}"#);
        Reply::Last(whole[..whole.len() - 5].to_vec())
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let payload = rig.payload(8, Hash256([7; 32]), 1000);
    for call in [new_payload(&payload, 1), forkchoice(Hash256([7; 32]), 1)] {
        let answer = rig.call(&call).await;
        assert_eq!(answer.json()["error"]["code"], -32603, "{}", answer.text());
    }
    assert_eq!(
        el.received().len(),
        2,
        "what was answered in part is not asked again"
    );
    // A call that only passes breaks off as it would without us: no end is made up.
    let mut caller = rig.caller().await;
    caller
        .send(&post(&bearer(), "", br#"{"id":1,"method":"eth_x"}"#))
        .await;
    assert!(caller.answer().await.is_err());
}

#[tokio::test]
async fn a_connection_that_closes_under_a_call_is_tried_once_more() {
    let count = Arc::new(AtomicUsize::new(0));
    let number = Arc::clone(&count);
    // The first request over each of the first two connections gets no answer at all.
    let el = MockEl::start(move |message| {
        let dies = number.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        async move {
            if dies {
                Reply::Last(Vec::new())
            } else {
                valid(&message)
            }
        }
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let payload = rig.payload(8, Hash256([7; 32]), 300_000);
    let call = new_payload(&payload, 1);
    assert_eq!(rig.call(&call).await.json()["result"]["status"], "VALID");
    let received = el.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|m| m.body == call.as_bytes()));
    // The pool may hold the connection that answered: then the next call's first try is over it.
    let answer = rig.call(forkchoice(Hash256([7; 32]), 2)).await;
    assert_eq!(answer.json()["result"]["payloadStatus"]["status"], "VALID");
    assert_eq!(rig.endpoint.counts().retried_calls, 2);
    // What might not be harmless twice is not.
    let answer = rig.call(r#"{"id":3,"method":"eth_sendRawTransaction"}"#).await;
    assert_eq!(answer.json()["error"]["code"], -32603);
    assert_eq!(el.received().len(), 5);
}

#[tokio::test]
async fn hanging_for_as_long_as_the_caller_waits() {
    let el = MockEl::start(|message| async move {
        if message.text().contains("engine_newPayload") {
            Reply::Nothing
        } else {
            ok(&message.text())
        }
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let payload = rig.payload(8, Hash256([7; 32]), 1000);
    let mut caller = rig.caller().await;
    caller
        .send(&post(&bearer(), "", new_payload(&payload, 1).as_bytes()))
        .await;
    el.wait_for(1).await;
    // The chain view hears of the payload while the execution client is silent.
    eventually(|| rig.observed.payloads.lock().unwrap().len() == 1).await;
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(300), caller.socket.readable()).await;
    assert!(waiting.is_err(), "no answer is made up");
    assert_eq!(rig.call(r#"{"id":3,"method":"eth_x"}"#).await.json()["id"], 3);
}

/// The caller's token was right: told 401, it would look for the fault in its own secret.
#[tokio::test]
async fn an_execution_client_that_refuses_our_token_is_an_error_of_ours() {
    let refuses = Arc::new(AtomicBool::new(true));
    let of_client = Arc::clone(&refuses);
    for status in ["401 Unauthorized", "403 Forbidden"] {
        refuses.store(true, Ordering::SeqCst);
        let refuses = Arc::clone(&of_client);
        let el = MockEl::start(move |message| {
            let refuses = refuses.load(Ordering::SeqCst);
            async move {
                if refuses {
                    Reply::Bytes(response(status, "", b"token"))
                } else if message.text().contains("engine_") {
                    valid(&message)
                } else {
                    ok(r#"{"id":1,"result":"r"}"#)
                }
            }
        })
        .await;
        let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
        let payload = rig.payload(8, Hash256([7; 32]), 1000);
        let calls = [
            new_payload(&payload, 1),
            forkchoice(Hash256([7; 32]), 1),
            r#"{"id":1,"method":"m"}"#.to_owned(),
        ];
        let told_by = |answer: &serde_json::Value| {
            assert_eq!(answer["error"]["code"], -32603, "{answer}");
            let why = answer["error"]["message"].as_str().unwrap().to_owned();
            assert!(why.contains("refuses Assay's JWT"), "{why}");
        };
        for call in &calls {
            let answer = rig.call(call).await;
            assert_eq!(answer.status(), 200);
            told_by(&answer.json());
            let batch = rig.call(format!("[{call}]")).await.json();
            told_by(&batch[0]);
        }
        let get = format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\n\r\n", bearer());
        assert_eq!(rig.caller().await.exchange(get.as_bytes()).await.status(), 502);
        assert!(!rig.endpoint.execution_client_is_up());
        of_client.store(false, Ordering::SeqCst);
        for call in &calls {
            assert!(rig.call(call).await.json()["error"].is_null());
        }
        assert!(rig.endpoint.execution_client_is_up());
    }
}

/// An answer that comes before the request has ended, and byte by byte, is told when the payload is known: no sooner, and judged.
#[tokio::test]
async fn an_answer_before_the_end_of_the_request_waits_for_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    for (policy, says) in [
        (ImportPolicy::Observe, "VALID"),
        (ImportPolicy::RequireProofs, "SYNCING"),
    ] {
        let el = MockEl::start(|message| async move { valid(&message) }).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rig = Rig::start_with(&el, policy, |config| {
            config.upstreams[0].url = format!("http://{address}/").parse().unwrap();
        })
        .await;
        let payload = rig.payload(8, Hash256([7; 32]), 1_000_000);
        let hash = payload.execution_payload.block_hash;
        let (answered, is_answered) = tokio::sync::oneshot::channel();
        let hasty = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut some = [0; 1000];
            socket.read_exact(&mut some).await.unwrap();
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":5,"result":{{"status":"VALID","latestValidHash":"{hash}","validationError":null}}}}"#
            );
            for byte in response("200 OK", "", body.as_bytes()) {
                socket.write_all(&[byte]).await.unwrap();
            }
            answered.send(()).unwrap();
            let mut rest = Vec::new();
            let _ = socket.read_to_end(&mut rest).await;
        });
        let request = post(&bearer(), "", new_payload(&payload, 5).as_bytes());
        let (first, rest) = request.split_at(request.len() / 2);
        let mut caller = rig.caller().await;
        caller.send(first).await;
        is_answered.await.unwrap();
        let told = tokio::time::timeout(crate::rig::short(), caller.socket.readable()).await;
        assert!(told.is_err(), "{policy}: told before it is known what of");
        let answer = caller.exchange(rest).await.json();
        assert_eq!(answer["result"]["status"], says, "{policy}");
        eventually(|| rig.gate.payload(&hash).is_some()).await;
        hasty.abort();
    }
}
