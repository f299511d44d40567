//! What the endpoint does not handle passes byte for byte, both ways.

use crate::{
    http::{MockEl, Reply, ok, post, response},
    rig::{Rig, bearer, new_payload, upstream_secret, valid},
};
use assay_gate::ImportPolicy;
use assay_types::Hash256;
use std::{sync::atomic::Ordering, time::SystemTime};

#[tokio::test]
async fn bodies_and_headers_are_kept() {
    let gzip: Vec<u8> = [0x1f, 0x8b, 8, 0].into_iter().chain((0..=255).rev()).collect();
    let sent_back = gzip.clone();
    let el = MockEl::start(move |_| {
        let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\nx-served-by: el\r\n\
                       set-cookie: a=1\r\nset-cookie: b=2\r\nkeep-alive: timeout=5\r\n";
        let bytes = response("203 Whatever", headers, &sent_back);
        async move { Reply::Bytes(bytes) }
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let body = "\t{ \"params\" : [ \"\\u00e9\u{e9}\" ],\"method\":\"eth_call\" , \"id\":\"\\u0061\" }\n";
    let headers = "accept-encoding: gzip, br\r\nx-mine: 1\r\nx-mine: 2\r\nconnection: x-hop\r\nx-hop: 1\r\n\
                   user-agent: cl/1.0\r\n";
    let request = String::from_utf8(post(&bearer(), headers, body.as_bytes())).unwrap();
    let request = request.replace("POST / ", "POST /some/path?a=b&c=%20 ");
    let answer = rig.caller().await.exchange(request.as_bytes()).await;
    assert_eq!(answer.status(), 203);
    assert_eq!(answer.body, gzip);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("x-served-by"), Some("el"));
    assert_eq!(answer.header("set-cookie"), Some("a=1,b=2"));
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("date"), None, "nothing is added");

    let seen = el.received().remove(0);
    assert_eq!(seen.body, body.as_bytes());
    assert_eq!(seen.line, "POST /some/path?a=b&c=%20 HTTP/1.1");
    assert_eq!(seen.header("accept-encoding"), Some("gzip, br"));
    assert_eq!(seen.header("x-mine"), Some("1,2"));
    assert_eq!(seen.header("user-agent"), Some("cl/1.0"));
    assert_eq!(seen.header("x-hop"), None);
    assert_eq!(seen.header("host"), Some(el.address.to_string().as_str()));
    assert_eq!(
        seen.header("content-length"),
        Some(body.len().to_string().as_str())
    );
    let token = seen.header("authorization").unwrap();
    upstream_secret()
        .verify_header(Some(token), SystemTime::now())
        .unwrap();
}

#[tokio::test]
async fn bodies_of_every_length_and_framing_pass() {
    // Echoes in chunks of its own.
    let el = MockEl::start(|message| async move {
        let mut out = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for chunk in message.body.chunks(70_001) {
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n\r\n");
        Reply::Bytes(out)
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let mut caller = rig.caller().await;
    for length in [0usize, 1, 1000, 100_000, 3_000_000] {
        let body = format!(
            r#"{{"method":"eth_x","id":1,"params":["{}"]}}"#,
            "ab".repeat(length / 2)
        );
        let answer = caller.exchange(&post(&bearer(), "", body.as_bytes())).await;
        assert_eq!(answer.text(), body);

        let mut chunked = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\ntransfer-encoding: chunked\r\n\r\n",
            bearer()
        )
        .into_bytes();
        for chunk in body.as_bytes().chunks(1 + length / 3) {
            chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        let answer = caller.exchange(&chunked).await;
        assert_eq!(answer.text(), body);
    }
    assert_eq!(el.connections.load(Ordering::SeqCst), 1, "one connection is kept");
}

#[tokio::test]
async fn connections_are_kept_on_both_sides_with_a_fresh_token_each() {
    let el = MockEl::start(|message| async move { ok(&message.text().replace("method", "result")) }).await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let mut caller = rig.caller().await;
    for n in 0..4 {
        let body = format!(r#"{{"method":"m{n}","id":{n}}}"#);
        assert_eq!(
            caller
                .exchange(&post(&bearer(), "", body.as_bytes()))
                .await
                .json()["result"],
            format!("m{n}")
        );
        if n == 1 {
            tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        }
    }
    let received = el.received();
    assert!(received.iter().all(|m| m.connection == 0));
    assert_ne!(
        received[0].header("authorization"),
        received[3].header("authorization")
    );
}

#[tokio::test]
async fn requests_without_a_body_pass() {
    let el = MockEl::start(|_| async { Reply::Bytes(response("200 OK", "", b"healthy")) }).await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let request = format!(
        "GET /health HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\n\r\n",
        bearer()
    );
    let answer = rig.caller().await.exchange(request.as_bytes()).await;
    assert_eq!((answer.status(), answer.text()), (200, "healthy".to_owned()));
    assert_eq!(el.received()[0].line, "GET /health HTTP/1.1");
}

#[tokio::test]
async fn under_observe_a_payload_s_answer_passes_as_it_is() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let payload = rig.payload(8, Hash256([7; 32]), 1_000_000);
    let body = new_payload(&payload, 5);
    let answer = rig
        .caller()
        .await
        .exchange(&post(&bearer(), "accept-encoding: gzip\r\n", body.as_bytes()))
        .await;
    let seen = el.received().remove(0);
    assert_eq!(seen.body, body.as_bytes());
    assert_eq!(
        seen.header("accept-encoding"),
        Some("identity"),
        "the answer must be readable"
    );
    let Reply::Bytes(direct) = valid(&seen) else {
        panic!()
    };
    assert!(direct.ends_with(&answer.body));
    // The chain view and the machine hear of it.
    let root = rig.root(&payload);
    crate::http::eventually(|| !rig.observed.payloads.lock().unwrap().is_empty()).await;
    assert_eq!(*rig.observed.payloads.lock().unwrap(), [root]);
    crate::http::eventually(|| rig.gate.payload_by_root(&root).is_some()).await;
    assert_eq!(rig.endpoint.counts().new_payload_calls, 1);
    assert_eq!(rig.endpoint.counts().unreadable_payloads, 0);
}

#[tokio::test]
async fn a_payload_is_under_way_before_its_last_byte_has_come() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let body = new_payload(&rig.payload(8, Hash256([7; 32]), 1_000_000), 5);
    let request = post(&bearer(), "", body.as_bytes());
    let (first, rest) = request.split_at(request.len() / 2);
    let mut caller = rig.caller().await;
    caller.send(first).await;
    crate::http::eventually(|| el.connections.load(Ordering::SeqCst) == 1).await;
    assert!(el.received().is_empty());
    assert_eq!(caller.exchange(rest).await.json()["result"]["status"], "VALID");
}

#[tokio::test]
async fn without_a_secret_the_token_is_the_callers() {
    let el = MockEl::start(|message| async move {
        match message.header("authorization") {
            Some("Bearer theirs") => ok(r#"{"jsonrpc":"2.0","id":1,"result":[]}"#),
            _ => Reply::Bytes(response("401 Unauthorized", "", b"no")),
        }
    })
    .await;
    let rig = Rig::start_with(&el, ImportPolicy::Observe, |config| {
        config.jwt = None;
        config.upstreams[0].jwt = None;
    })
    .await;
    let call = |method: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[]}}"#);
    let mut caller = rig.caller().await;
    for (token, method, status, callers) in [
        ("Bearer other", "engine_exchangeCapabilities", 401, 0),
        ("Bearer theirs", "eth_chainId", 200, 0),
        ("Bearer theirs", "engine_exchangeCapabilities", 200, 1),
    ] {
        let answer = caller.exchange(&post(token, "", call(method).as_bytes())).await;
        assert_eq!(answer.status(), status, "{token} {method}");
        // Only a call of the Engine API that the execution client let through is one.
        assert_eq!(
            rig.observed.callers.lock().unwrap().len(),
            callers,
            "{token} {method}"
        );
    }
}
