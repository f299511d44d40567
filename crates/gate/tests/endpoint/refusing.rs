//! Callers that get no further: wrong tokens, bodies that are too large or no JSON-RPC, and endpoints that cannot start.

use crate::{
    http::{Caller, MockEl, eventually, ok, post},
    rig::{Rig, bearer, caller_secret, forkchoice, valid},
};
use assay_engine_api::JwtSecret;
use assay_gate::{EndpointConfig, EndpointError, ImportPolicy, endpoint};
use assay_types::Hash256;
use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

async fn el() -> MockEl {
    MockEl::start(|_| async { ok(r#"{"id":1,"result":true}"#) }).await
}

#[tokio::test]
async fn tokens_are_checked_as_an_execution_client_does() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let now = SystemTime::now();
    let body = br#"{"id":1,"method":"eth_chainId"}"#;
    for (token, says) in [
        ("".to_owned(), "no JWT"),
        ("Basic YTpi".to_owned(), "no JWT"),
        ("Bearer nonsense".to_owned(), "cannot be read"),
        (JwtSecret::from([3; 32]).bearer(now), "different JWT secrets"),
        (caller_secret().bearer(now - Duration::from_secs(70)), "behind"),
        (caller_secret().bearer(now + Duration::from_secs(70)), "ahead"),
    ] {
        let answer = rig.caller().await.exchange(&post(&token, "", body)).await;
        assert_eq!(answer.status(), 401, "{token}");
        assert!(answer.text().contains(says), "{token}: {}", answer.text());
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let none = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(rig.caller().await.exchange(none.as_bytes()).await.status(), 401);
    assert!(el.received().is_empty());
    for seconds in [0, 55] {
        let token = caller_secret().bearer(now - Duration::from_secs(seconds));
        assert_eq!(
            rig.caller()
                .await
                .exchange(&post(&token, "", body))
                .await
                .status(),
            200
        );
    }
    assert_eq!(rig.endpoint.counts().unauthorized_requests, 7);
}

#[tokio::test]
async fn what_is_no_request_is_said_to_be_none() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    for (body, code) in [
        ("", -32700),
        ("hello", -32700),
        ("\"x\"", -32700),
        ("[", -32700),
        ("[{\"method\":\"engine_newPayloadV4\"", -32700),
        ("{\"id\":7,\"params\":[]}", -32600),
        ("{\"id\":7,\"method\":4}", -32600),
        ("[]", -32600),
        (
            "{\"id\":7,\"method\":\"eth_a\",\"params\":[],\"method\":\"engine_newPayloadV4\"}",
            -32600,
        ),
        (
            "{\"id\":7,\"method\":\"eth_a\"}{\"method\":\"engine_newPayloadV4\"}",
            -32600,
        ),
    ] {
        let answer = rig.call(body).await;
        assert_eq!(answer.status(), 200, "{body}");
        assert_eq!(answer.json()["error"]["code"], code, "{body}");
        if body.contains("\"id\":7") && body.ends_with('}') {
            assert_eq!(answer.json()["id"], 7, "{body}");
        }
    }
    assert!(el.received().is_empty(), "{:?}", el.received());
    assert_eq!(rig.endpoint.counts().malformed_requests, 10);
    assert!(
        rig.endpoint.execution_client_is_up(),
        "none of this is the execution client's fault"
    );

    let compressed = rig
        .caller()
        .await
        .exchange(&post(&bearer(), "content-encoding: gzip\r\n", b"x"))
        .await;
    assert_eq!(compressed.status(), 415);
    let socket = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        bearer()
    );
    assert_eq!(rig.caller().await.exchange(socket.as_bytes()).await.status(), 501);
}

#[tokio::test]
async fn larger_bodies_than_the_limit_are_refused() {
    let el = el().await;
    let rig = Rig::start_with(&el, ImportPolicy::Observe, |config| config.body_limit = 10_000).await;
    for method in ["eth_x", "engine_newPayloadV4", "engine_forkchoiceUpdatedV3"] {
        let call = |length: usize| {
            let frame = format!(r#"{{"id":1,"method":"{method}","params":[""]}}"#).len();
            format!(
                r#"{{"id":1,"method":"{method}","params":["{}"]}}"#,
                "a".repeat(length - frame)
            )
        };
        assert_eq!(rig.call(call(10_000)).await.status(), 200, "{method}");
        let before = el.received().len();
        let answer = rig.call(call(10_001)).await;
        assert_eq!(
            (answer.status(), answer.header("connection")),
            (413, Some("close")),
            "{method}"
        );
        // Chunked: it shows only on the way.
        let body = call(30_000);
        let mut chunked = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\ntransfer-encoding: chunked\r\n\r\n",
            bearer()
        )
        .into_bytes();
        for chunk in body.as_bytes().chunks(5000) {
            chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
        assert_eq!(
            rig.caller().await.exchange(&chunked).await.status(),
            413,
            "{method}"
        );
        assert_eq!(
            el.received().len(),
            before,
            "the execution client saw no whole request of {method}"
        );
    }
    assert_eq!(rig.endpoint.counts().oversize_requests, 6);
}

#[tokio::test]
async fn requests_count_against_the_budget_until_their_calls_are_over() {
    let large = |id: u64| {
        let filler = format!(",{{\"x\":\"{}\"}}]", "a".repeat(40_000));
        forkchoice(Hash256([7; 32]), id).replace(",null]", &filler)
    };
    for body in [large(1), format!("[{}]", large(1))] {
        let (release, released) = tokio::sync::watch::channel(false);
        let el = MockEl::start(move |message| {
            let mut released = released.clone();
            async move {
                released.wait_for(|r| *r).await.unwrap();
                valid(&message)
            }
        })
        .await;
        let rig = Rig::start_with(&el, ImportPolicy::RequireProofs, |config| {
            config.held_bytes = 64 * 1024;
        })
        .await;
        // Under way, its caller gone.
        let mut caller = rig.caller().await;
        caller.send(&post(&bearer(), "", body.as_bytes())).await;
        el.wait_for(1).await;
        drop(caller);
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let refused = rig.call(large(2)).await;
            assert_eq!(
                (refused.status(), refused.header("connection")),
                (503, Some("close")),
                "{}",
                refused.text()
            );
        }
        release.send_replace(true);
        let mut given_back = false;
        for _ in 0..200 {
            given_back = rig.call(large(3)).await.status() == 200;
            if given_back {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(given_back, "{body:.60}");
    }
}

/// A body whose method comes last is held until then: it counts like any other.
#[tokio::test]
async fn what_comes_before_the_method_counts_against_the_budget() {
    let el = el().await;
    let rig = Rig::start_with(&el, ImportPolicy::Observe, |config| {
        config.held_bytes = 256 * 1024;
    })
    .await;
    let body = |length: usize| {
        format!(
            r#"{{"params":["{}"],"id":1,"method":"eth_x"}}"#,
            "a".repeat(length)
        )
    };
    let large = post(&bearer(), "", body(8_000_000).as_bytes());
    let mut caller = rig.caller().await;
    // Most of it does not come.
    caller.send(&large[..2_000_000]).await;
    let refused = caller.answer().await.unwrap().unwrap();
    assert_eq!(
        (refused.status(), refused.header("connection")),
        (503, Some("close")),
        "{}",
        refused.text()
    );
    for _ in 0..10 {
        assert_eq!(rig.call(body(50_000)).await.status(), 200);
    }
}

/// Callers that hang up leave calls that go on: those count as under way.
#[tokio::test]
async fn calls_whose_callers_are_gone_are_under_way_still() {
    let el = MockEl::start(|_| async { crate::http::Reply::Nothing }).await;
    let call = r#"{"id":1,"method":"engine_newPayloadV4","params":[]}"#;
    for body in [call.to_owned(), format!("[{call}]")] {
        let rig = Rig::start(&el, ImportPolicy::Observe).await;
        let before = el.received().len();
        for n in 1..=256 {
            let mut caller = rig.caller().await;
            caller.send(&post(&bearer(), "", body.as_bytes())).await;
            el.wait_for(before + n).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(rig.call(&body).await.status(), 503, "{body}");
    }
}

#[tokio::test]
async fn a_caller_that_dies_in_its_request_leaves_none_at_the_execution_client() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    for method in ["eth_x", "engine_newPayloadV4"] {
        let body = format!(
            r#"{{"id":1,"method":"{method}","params":["{}"]}}"#,
            "a".repeat(100_000)
        );
        let request = post(&bearer(), "", body.as_bytes());
        // The last chunk, which says that it is the last, does not come.
        let chunked = format!(
            "POST / HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n",
            bearer(),
            body.len()
        );
        for part in [&request[..request.len() - 1], chunked.as_bytes()] {
            let broken = el.broken.load(Ordering::SeqCst);
            let connections = el.connections.load(Ordering::SeqCst);
            let mut caller = rig.caller().await;
            caller.send(part).await;
            eventually(|| el.connections.load(Ordering::SeqCst) > connections).await;
            drop(caller);
            eventually(|| el.broken.load(Ordering::SeqCst) > broken).await;
        }
    }
    assert!(el.received().is_empty());
    assert!(rig.endpoint.execution_client_is_up());
    assert_eq!(rig.endpoint.counts().unanswered_calls, 0);
}

#[tokio::test]
async fn endpoints_that_cannot_start_say_why() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let context = || endpoint::EndpointContext {
        gate: rig.gate.clone(),
        network: rig.network.subscribe(),
        observer: rig.observed.clone(),
        proofs: None,
    };
    let mut config = EndpointConfig::new(el.url(), caller_secret());
    config.listen = rig.endpoint.local_addr();
    let error = endpoint::run(config.clone(), context(), rig.stop.clone())
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, EndpointError::Bind { .. }) && error.to_string().contains("another port"),
        "{error}"
    );
    config.listen = "127.0.0.1:0".parse().unwrap();
    for (url, says) in [
        ("https://127.0.0.1:8551", "http://"),
        ("ws://a:1", "http://"),
        ("http://u:p@a:1", "JWT"),
    ] {
        config.upstreams[0].url = url.parse().unwrap();
        let error = endpoint::run(config.clone(), context(), rig.stop.clone())
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn stopping_lets_calls_end_and_then_closes() {
    let el = MockEl::start(|_| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        ok(r#"{"id":1,"result":true}"#)
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let address = rig.endpoint.local_addr();
    let mut idle = rig.caller().await;
    let mut busy = rig.caller().await;
    busy.send(&post(&bearer(), "", br#"{"id":1,"method":"eth_x"}"#))
        .await;
    el.wait_for(1).await;
    rig.stop.cancel();
    let last = busy.answer().await.unwrap().unwrap();
    assert_eq!(
        (last.json()["result"].as_bool(), last.header("connection")),
        (Some(true), Some("close"))
    );
    assert!(busy.answer().await.unwrap().is_none(), "then the connection ends");
    assert!(!matches!(idle.answer().await, Ok(Some(_))));
    tokio::time::timeout(Duration::from_secs(5), rig.endpoint.ended())
        .await
        .unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_call_that_hangs() {
    let el = MockEl::start(|_| async { crate::http::Reply::Nothing }).await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let payload = rig.payload(8, assay_types::Hash256([7; 32]), 0);
    let mut caller: Caller = rig.caller().await;
    caller
        .send(&post(
            &bearer(),
            "",
            crate::rig::new_payload(&payload, 1).as_bytes(),
        ))
        .await;
    el.wait_for(1).await;
    rig.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), rig.endpoint.ended())
        .await
        .unwrap();
}

/// Connections that are only held open keep nobody out who has the secret.
#[tokio::test]
async fn strangers_keep_no_beacon_node_out() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let body = br#"{"id":1,"method":"eth_chainId"}"#;
    let mut known = rig.caller().await;
    assert_eq!(known.exchange(&post(&bearer(), "", body)).await.status(), 200);
    let mut strangers = Vec::new();
    for n in 0..300 {
        let mut stranger = rig.caller().await;
        if n % 2 == 0 {
            stranger.send(b"POST / HTTP/1.1\r\nhost: a\r\n").await;
        }
        strangers.push(stranger);
    }
    assert_eq!(rig.call(body).await.status(), 200, "a new connection");
    assert_eq!(
        known.exchange(&post(&bearer(), "", body)).await.status(),
        200,
        "one from before"
    );
}

/// A call by another HTTP method is read by nobody here: it does not pass where the gate has a say.
#[tokio::test]
async fn calls_come_by_post_alone() {
    let el = el().await;
    for (policy, status) in [(ImportPolicy::Observe, 200), (ImportPolicy::RequireProofs, 405)] {
        let rig = Rig::start(&el, policy).await;
        let call = forkchoice(Hash256([7; 32]), 1);
        let request = String::from_utf8(post(&bearer(), "", call.as_bytes())).unwrap();
        let request = request.replace("POST / ", "GET / ");
        assert_eq!(
            rig.caller().await.exchange(request.as_bytes()).await.status(),
            status,
            "{policy}"
        );
    }
    assert_eq!(el.received().len(), 1);
}
