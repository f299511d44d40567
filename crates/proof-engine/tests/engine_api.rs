//! The `engine-api` backend against an endpoint that records what it is asked and answers from a script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use assay_engine_api::JwtSecret;
use assay_proof_engine::{
    DevProver, EngineApiConfig, EngineApiEngine, EngineError, ProofEngine, ProofGenId, Verification,
};
use assay_types::{ExecutionPayload, ExecutionRequests, ForkName, NewPayloadRequest, Root, Spec};
use axum::{Json, extract::State, http::HeaderMap, routing::post};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What is answered to a call.
type Script = fn(&Value) -> Value;

#[derive(Clone)]
struct Endpoint {
    calls: Arc<Mutex<Vec<Value>>>,
    answer: Arc<Mutex<Script>>,
    jwt: Arc<JwtSecret>,
}

async fn answer(
    State(endpoint): State<Endpoint>,
    headers: HeaderMap,
    Json(call): Json<Value>,
) -> Json<Value> {
    let token = headers.get("authorization").and_then(|v| v.to_str().ok());
    endpoint.jwt.verify_header(token, SystemTime::now()).unwrap();
    let mut said = (*endpoint.answer.lock())(&call);
    said["jsonrpc"] = json!("2.0");
    said["id"] = call["id"].clone();
    endpoint.calls.lock().push(call);
    Json(said)
}

async fn start(notify: bool, first: Script) -> (Endpoint, EngineApiEngine) {
    let jwt = JwtSecret::generate();
    let endpoint = Endpoint {
        calls: Arc::default(),
        answer: Arc::new(Mutex::new(first)),
        jwt: Arc::new(jwt.clone()),
    };
    let routes = axum::Router::new()
        .route("/", post(answer))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(endpoint.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let config = EngineApiConfig {
        notify,
        call_timeout: Duration::from_secs(20),
        ..EngineApiConfig::new(url, Some(jwt), vec![1, 16])
    };
    (endpoint, EngineApiEngine::new(config).unwrap())
}

fn request() -> Arc<NewPayloadRequest> {
    let execution_payload = ExecutionPayload {
        parent_hash: Root::ZERO,
        fee_recipient: [0; 20],
        state_root: Root::ZERO,
        receipts_root: Root::ZERO,
        logs_bloom: Bytes::from_static(&[0; 256]),
        prev_randao: Root::ZERO,
        block_number: 1,
        gas_limit: 0,
        gas_used: 0,
        timestamp: 12,
        extra_data: Bytes::new(),
        base_fee_per_gas: Default::default(),
        block_hash: Root::from([3; 32]),
        transactions: vec![Bytes::from_static(&[1, 2])],
        withdrawals: Vec::new(),
        blob_gas_used: 0,
        excess_blob_gas: 0,
        block_access_list: Bytes::new(),
        slot_number: 0,
    };
    Arc::new(NewPayloadRequest {
        fork: ForkName::Fulu,
        execution_payload,
        versioned_hashes: vec![Root::from([4; 32])],
        parent_beacon_block_root: Root::from([5; 32]),
        execution_requests: ExecutionRequests::default(),
    })
}

#[tokio::test]
async fn verdicts() {
    let (endpoint, engine) = start(false, |_| json!({"result": {"status": "VALID"}})).await;
    let proof = DevProver::new("seed", 4 << 20)
        .prove_execution(Root::from([7; 32]), 16, 4 << 20)
        .unwrap();
    assert_eq!(
        engine.verify(&proof.clone().into()).await.unwrap(),
        Verification::Valid
    );
    let call = endpoint.calls.lock()[0].clone();
    assert_eq!(call["method"], "engine_verifyExecutionProofV1");
    let sent = &call["params"][0];
    assert_eq!(sent["proofType"], "0x10");
    assert_eq!(
        sent["publicInput"]["newPayloadRequestRoot"],
        Root::from([7; 32]).to_string()
    );
    assert_eq!(sent["proofData"].as_str().unwrap().len(), 2 + 2 * (4 << 20));

    let invalid = Verification::Invalid("n  o".into());
    let table: [(Script, Option<Verification>); 10] = [
        (
            |_| json!({"result": {"status": "INVALID", "error": "n\u{1b}\no"}}),
            Some(invalid),
        ),
        (
            |_| json!({"result": {"status": "NOT_SUPPORTED", "error": null}}),
            Some(Verification::Unsupported),
        ),
        (|_| json!({"result": {"status": "SYNCING"}}), None),
        (|_| json!({"result": {"status": "invalid"}}), None),
        (|_| json!({"result": "INVALID"}), None),
        (|_| json!({"result": null}), None),
        (|_| json!({}), None),
        (
            |_| json!({"error": {"code": -39001, "message": "Invalid proof format"}}),
            None,
        ),
        (
            |_| json!({"error": {"code": -32601, "message": "Method not found"}}),
            None,
        ),
        (|_| json!({"error": {"code": 1e300, "message": 7}}), None),
    ];
    for (answer, verdict) in table {
        *endpoint.answer.lock() = answer;
        let got = engine.verify(&proof.clone().into()).await;
        assert_eq!(got.clone().ok(), verdict, "{got:?} of {}", answer(&json!(null)));
        let said = answer(&json!(null));
        let unreadable = matches!(got, Err(EngineError::Unreadable(_)));
        assert_eq!(unreadable, said["error"]["code"] == -39001, "{got:?} of {said}");
    }
}

#[tokio::test]
async fn requests_with_five_parameters_or_four() {
    let (endpoint, engine) = start(false, |_| json!({"result": "0x0102030405060708"})).await;
    let id = engine.request(Root::ZERO, request(), &[1, 16]).await.unwrap();
    assert_eq!(id, ProofGenId([1, 2, 3, 4, 5, 6, 7, 8]));
    let call = endpoint.calls.lock()[0].clone();
    assert_eq!(call["method"], "engine_requestProofsV1");
    let params = call["params"].as_array().unwrap();
    assert_eq!(params.len(), 5);
    assert_eq!(params[0]["transactions"], json!(["0x0102"]));
    assert_eq!(params[1], json!([Root::from([4; 32]).to_string()]));
    assert_eq!(params[2], Root::from([5; 32]).to_string());
    assert_eq!(params[3], json!([]));
    assert_eq!(params[4], json!({"proofTypes": ["0x1", "0x10"]}));

    // One that knows the text's four parameters: found out once.
    *endpoint.answer.lock() = |call| {
        if call["params"].as_array().unwrap().len() == 4 {
            json!({"result": "0x0000000000000001"})
        } else {
            json!({"error": {"code": -32602, "message": "Invalid params"}})
        }
    };
    endpoint.calls.lock().clear();
    for _ in 0..2 {
        let id = engine.request(Root::ZERO, request(), &[1]).await.unwrap();
        assert_eq!(id, ProofGenId([0, 0, 0, 0, 0, 0, 0, 1]));
    }
    let lengths: Vec<usize> = endpoint
        .calls
        .lock()
        .iter()
        .map(|c| c["params"].as_array().unwrap().len())
        .collect();
    assert_eq!(lengths, [5, 4, 4]);

    for answer in [
        (|_| json!({"error": {"code": -39004, "message": "none"}})) as Script,
        |_| json!({"result": "0x01"}),
        |_| json!({"result": 7}),
    ] {
        *endpoint.answer.lock() = answer;
        let got = engine.request(Root::ZERO, request(), &[1]).await;
        assert!(got.is_err(), "{got:?}");
    }
}

#[tokio::test]
async fn headers() {
    let (endpoint, engine) = start(false, |_| json!({"result": {"status": "SYNCING"}})).await;
    let header = request().header(&Spec::minimal()).unwrap();
    assert!(!engine.verify_new_payload_request_header(&header).await.unwrap());
    let call = endpoint.calls.lock()[0].clone();
    assert_eq!(call["method"], "engine_verifyNewPayloadRequestHeaderV1");
    let sent = &call["params"][0];
    let roots = &header.execution_payload_header;
    assert_eq!(
        sent["executionPayloadHeader"]["transactionsRoot"],
        roots.transactions_root.to_string()
    );
    assert_eq!(
        sent["executionPayloadHeader"]["withdrawalsRoot"],
        roots.withdrawals_root.to_string()
    );
    assert_eq!(
        sent["executionPayloadHeader"]["blockHash"],
        Root::from([3; 32]).to_string()
    );
    assert!(sent["executionPayloadHeader"].get("transactions").is_none());
    assert_eq!(sent["parentBeaconBlockRoot"], Root::from([5; 32]).to_string());
    *endpoint.answer.lock() = |_| json!({"result": {"status": "VALID"}});
    assert!(engine.verify_new_payload_request_header(&header).await.unwrap());
    *endpoint.answer.lock() = |_| json!({"result": {"status": "INVALID"}});
    let got = engine.verify_new_payload_request_header(&header).await;
    assert!(matches!(got, Err(EngineError::Protocol(_))), "{got:?}");
}

#[tokio::test]
async fn notifications_only_where_they_are_wanted() {
    for notify in [true, false] {
        let (endpoint, engine) = start(notify, |_| json!({"result": {"status": "VALID"}})).await;
        let hash = |n: u8| Root::from([n; 32]);
        // Before a payload its fork is not known.
        engine.notify_forkchoice_updated(hash(1), hash(2), hash(3)).await;
        engine.notify_new_payload(Root::ZERO, request()).await;
        engine.notify_forkchoice_updated(hash(3), hash(2), hash(1)).await;
        let calls = endpoint.calls.lock();
        let methods: Vec<&str> = calls.iter().map(|c| c["method"].as_str().unwrap()).collect();
        if notify {
            assert_eq!(methods, ["engine_newPayloadV4", "engine_forkchoiceUpdatedV3"]);
            assert_eq!(calls[1]["params"][0]["headBlockHash"], hash(3).to_string());
            assert_eq!(calls[1]["params"][1], Value::Null);
        } else {
            assert!(methods.is_empty(), "{methods:?}");
        }
    }
}

#[tokio::test]
async fn nobody_there() {
    let url = "http://user:secret@127.0.0.1:1".parse().unwrap();
    let engine = EngineApiEngine::new(EngineApiConfig::new(url, None, vec![1])).unwrap();
    let proof = DevProver::new("seed", 4096)
        .prove_execution(Root::ZERO, 1, 64)
        .unwrap();
    let got = engine.verify(&proof.clone().into()).await;
    assert!(matches!(got, Err(EngineError::Unavailable(_))), "{got:?}");
    assert!(
        !format!("{got:?} {engine:?}").contains("secret"),
        "{got:?} {engine:?}"
    );
    assert!(EngineApiEngine::new(EngineApiConfig::new("ftp://x/".parse().unwrap(), None, vec![1])).is_err());
}
