//! The client against a server that says what the test wants, on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use assay_engine_api::{ClientError, EngineClient, ErrorCode, ForkchoiceStateV1, JwtSecret, PayloadStatusV1};
use assay_types::{ForkName, Hash256};
use std::time::{Duration, SystemTime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// Answers one connection with `answer` after `wait`, and returns the request's head and body.
async fn server(answer: String, wait: Duration) -> (url::Url, JoinHandle<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&read).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length: ")
                        .map(str::to_owned)
                });
                if body.len() == length.unwrap().parse::<usize>().unwrap() {
                    tokio::time::sleep(wait).await;
                    socket.write_all(answer.as_bytes()).await.unwrap();
                    return (head.to_owned(), body.to_owned());
                }
            }
            assert_ne!(socket.read_buf(&mut read).await.unwrap(), 0);
        }
    });
    (url, task)
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn client(url: url::Url) -> EngineClient {
    EngineClient::new(url, Some(JwtSecret::from([9; 32]))).unwrap()
}

#[tokio::test]
async fn a_call_carries_a_fresh_token_and_comes_back_typed() {
    let result = r#"{"payloadStatus":{"status":"SYNCING","latestValidHash":null,"validationError":null},"payloadId":null}"#;
    let (url, task) = server(
        http("200 OK", &format!(r#"{{"id":1,"result":{result}}}"#)),
        Duration::ZERO,
    )
    .await;
    let state = ForkchoiceStateV1 {
        head_block_hash: Hash256([1; 32]),
        safe_block_hash: Hash256::ZERO,
        finalized_block_hash: Hash256::ZERO,
    };
    let answer = client(url)
        .forkchoice_updated(ForkName::Fulu, &state, None)
        .await
        .unwrap();
    assert_eq!(answer.payload_status, PayloadStatusV1::syncing());
    let (head, body) = task.await.unwrap();
    let token = head
        .lines()
        .find_map(|l| l.strip_prefix("authorization: "))
        .unwrap();
    JwtSecret::from([9; 32])
        .verify_header(Some(token), SystemTime::now())
        .unwrap();
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["method"], "engine_forkchoiceUpdatedV3");
    assert_eq!(body["params"][1], serde_json::Value::Null);
    assert_eq!(body["params"][0]["headBlockHash"], Hash256([1; 32]).to_string());
}

#[tokio::test]
async fn every_failure_says_what_it_is() {
    let call = |url| async move {
        client(url)
            .call_within::<_, u64>("m", (), Duration::from_millis(300))
            .await
    };

    let (url, _task) = server(http("401 Unauthorized", "bad token"), Duration::ZERO).await;
    assert!(
        matches!(call(url).await, Err(ClientError::Http { status: 401, body, .. }) if body == "bad token")
    );

    let error = r#"{"id":1,"error":{"code":-38005,"message":"no"}}"#;
    let (url, _task) = server(http("200 OK", error), Duration::ZERO).await;
    assert!(
        matches!(call(url).await, Err(ClientError::Rpc { error, .. }) if error.kind() == ErrorCode::UnsupportedFork)
    );

    let (url, _task) = server(http("200 OK", "<html>"), Duration::ZERO).await;
    assert!(matches!(call(url).await, Err(ClientError::Malformed { .. })));

    let (url, _task) = server(
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into(),
        Duration::ZERO,
    )
    .await;
    assert!(matches!(call(url).await, Err(ClientError::Unreachable { .. })));

    let (url, _task) = server(http("200 OK", "{}"), Duration::from_secs(5)).await;
    assert!(matches!(call(url).await, Err(ClientError::TimedOut { .. })));

    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", gone.local_addr().unwrap()).parse().unwrap();
    drop(gone);
    let error = call(url).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }) && error.to_string().contains("refused"),
        "{error}"
    );

    assert!(EngineClient::new("ws://127.0.0.1:1/".parse().unwrap(), None).is_err());
}

/// An answer about a proof is small: what is longer is not read, and no error names credentials.
#[tokio::test]
async fn answers_about_proofs_are_bounded_and_credentials_are_not_shown() {
    let long = format!(r#"{{"id":1,"result":7,"pad":"{}"}}"#, "x".repeat(80 * 1024));
    for (method, fits) in [
        ("engine_requestProofsV1", false),
        ("engine_verifyExecutionProofV1", false),
        ("engine_verifyNewPayloadRequestHeaderV1", false),
        ("engine_getPayloadV5", true),
    ] {
        let (url, _task) = server(http("200 OK", &long), Duration::ZERO).await;
        let answer: Result<u64, _> = client(url).call_within(method, (), Duration::from_secs(20)).await;
        match answer {
            Ok(7) => assert!(fits, "{method}"),
            Err(ClientError::Malformed { why, .. }) => {
                assert!(!fits && why.contains("65536 bytes"), "{method}: {why}");
            }
            other => panic!("{method}: {other:?}"),
        }
    }
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut url: url::Url = format!("http://{}/?key=hidden", gone.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(gone);
    url.set_username("someone").unwrap();
    url.set_password(Some("secret")).unwrap();
    let client = client(url);
    let error: Result<u64, _> = client.call_within("m", (), Duration::from_secs(20)).await;
    for text in [format!("{} {client:?}", error.unwrap_err()), {
        let url = "ws://someone:secret@h/?hidden".parse().unwrap();
        EngineClient::new(url, None).unwrap_err().to_string()
    }] {
        assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
    }
}
