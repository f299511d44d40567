//! The Beacon API client: URLs, credentials, bounds, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use assay_chain::{
    NodeApi,
    node_api::{MAX_EVENT_BYTES, MAX_JSON_BYTES, NodeError},
};
use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};

/// A server that answers every request with `answer`, on a port of its own.
async fn serve(answer: impl Fn(Request) -> Response + Clone + Send + Sync + 'static) -> String {
    let app = Router::new().fallback(move |request: Request| {
        let answer = answer(request);
        async move { answer }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address.to_string()
}

fn stream(chunks: Vec<String>) -> Body {
    let chunks = futures::stream::iter(
        chunks
            .into_iter()
            .map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk))),
    );
    Body::from_stream(chunks.chain(futures::stream::pending()))
}

#[tokio::test]
async fn a_base_url_may_have_a_path_and_credentials() {
    let address = serve(|request| {
        let authorization = request
            .headers()
            .get(header::AUTHORIZATION)
            .map(|value| value.to_str().unwrap().to_owned());
        Json(json!({"data": {"path": request.uri().to_string(), "authorization": authorization}}))
            .into_response()
    })
    .await;
    for (base, path, authorization) in [
        ("http://{}", "/eth/v1/x?a=1", Value::Null),
        ("http://{}/", "/eth/v1/x?a=1", Value::Null),
        ("http://{}/some/key/", "/some/key/eth/v1/x?a=1", Value::Null),
        (
            "http://user:p%20w@{}/key?q#f",
            "/key/eth/v1/x?a=1",
            json!("Basic dXNlcjpwIHc="),
        ),
    ] {
        let api = NodeApi::new(&base.replace("{}", &address)).unwrap();
        let answer = api.get_json::<Value>("/eth/v1/x", "a=1").await.unwrap();
        assert_eq!(
            answer.data,
            json!({"path": path, "authorization": authorization}),
            "{base}"
        );
        assert!(!api.shown_url().contains("user") && !format!("{:?}", api.shown_url()).contains("p%20w"));
    }
}

#[tokio::test]
async fn errors_are_in_the_nodes_words_and_never_show_credentials() {
    let address = serve(|request| match request.uri().path() {
        "/json" => (
            StatusCode::NOT_FOUND,
            Json(json!({"code": 404, "message": "no such state"})),
        )
            .into_response(),
        "/text" => (StatusCode::SERVICE_UNAVAILABLE, "x".repeat(5000)).into_response(),
        "/empty" => StatusCode::NOT_ACCEPTABLE.into_response(),
        _ => "not json".into_response(),
    })
    .await;
    let api = NodeApi::new(&format!("http://me:secret@{address}")).unwrap();
    let error = api.get_json::<Value>("/json", "").await.unwrap_err();
    assert_eq!(
        error,
        NodeError::Status {
            status: 404,
            message: "no such state".to_owned()
        }
    );
    assert!(error.is_not_found() && !error.is_refusal());
    let error = api.get_json::<Value>("/text", "").await.unwrap_err();
    assert!(error.to_string().len() < 400, "shortened");
    let error = api.get_json::<Value>("/empty", "").await.unwrap_err();
    assert!(
        error.is_refusal() && error.to_string().contains("Not Acceptable"),
        "{error}"
    );
    assert!(matches!(
        api.get_json::<Value>("/other", "").await,
        Err(NodeError::Body(_))
    ));

    let nobody = NodeApi::new("http://me:secret@127.0.0.1:1").unwrap();
    let error = nobody.get_json::<Value>("/x", "").await.unwrap_err();
    assert!(
        matches!(&error, NodeError::Unreachable(why) if !why.contains("secret") && why.contains("refused")),
        "{error}"
    );
    for url in ["", "http//x", "file:///etc", "localhost:5052"] {
        assert!(matches!(NodeApi::new(url), Err(NodeError::Url(_))), "{url}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_whether_announced_or_not() {
    let address = serve(|request| {
        let chunk = "x".repeat(1 << 20);
        let chunks = vec![chunk; (MAX_JSON_BYTES >> 20) + 1];
        if request.uri().path() == "/announced" {
            chunks.concat().into_response()
        } else {
            stream(chunks).into_response()
        }
    })
    .await;
    let api = NodeApi::new(&format!("http://{address}")).unwrap();
    for path in ["/announced", "/endless"] {
        let error = api.get_json::<Value>(path, "").await.unwrap_err();
        assert_eq!(error, NodeError::TooLarge(MAX_JSON_BYTES), "{path}");
    }
}

#[tokio::test]
async fn events_are_read_across_chunks_and_bounded() {
    let address = serve(|request| {
        let data = "y".repeat(MAX_EVENT_BYTES / 2);
        let chunks: Vec<String> = match request.uri().query() {
            Some("good") => [
                "event: he",
                "ad\r\ndata: 1\r",
                "\n\r\n: keep\n\n",
                "event: block\ndata: 2\ndata: 3\n\n",
            ]
            .map(str::to_owned)
            .to_vec(),
            Some("many") => vec![format!("event: a\ndata: {data}\n\n"); 10],
            Some("long") => vec![format!("data: {data}\n"); 10],
            _ => vec![": hello\n\n".to_owned()],
        };
        ([(header::CONTENT_TYPE, "text/event-stream")], stream(chunks)).into_response()
    })
    .await;
    let api = NodeApi::new(&format!("http://{address}")).unwrap();
    let long = Duration::from_secs(20);
    let good: Vec<_> = api
        .events("good", long)
        .await
        .unwrap()
        .take(2)
        .map(Result::unwrap)
        .collect()
        .await;
    let read: Vec<_> = good
        .iter()
        .map(|event| (event.topic.as_str(), event.data.as_str()))
        .collect();
    assert_eq!(read, [("head", "1"), ("block", "2\n3")]);
    let many: Vec<_> = api.events("many", long).await.unwrap().take(10).collect().await;
    assert!(many.iter().all(Result::is_ok), "each is within the bound");
    let mut endless = api.events("long", long).await.unwrap();
    assert_eq!(
        endless.next().await,
        Some(Err(NodeError::TooLarge(MAX_EVENT_BYTES)))
    );
    assert_eq!(endless.next().await, None);
    let idle = Duration::from_millis(100);
    let mut silent = api.events("silent", idle).await.unwrap();
    assert_eq!(silent.next().await, Some(Err(NodeError::Timeout(idle))));
    assert_eq!(silent.next().await, None);
}
