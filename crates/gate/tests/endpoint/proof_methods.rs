//! The methods of EIP-8025, answered by the gate itself.

use crate::{
    http::{Message, MockEl, PATIENCE, Reply, ok, post},
    rig::{GENESIS_TIME, Rig, new_payload, valid},
};
use assay_gate::{GateConfig, GateHandle, ImportPolicy, InMemory, ProofService};
use assay_proof_engine::{EngineEvent, RequestBook};
use assay_types::{ExecutionProof, Hash256, NewPayloadRequest, ProofKey, PublicInput, Root, Slot, Spec};
use assay_verification::{
    MemoryContainment, NoKnownProofs, ProofSink, UnsignedProofs, Verifier, VerifierConfig, VerifierParts,
    testing::{MemoryChain, MemorySink, ScriptedEngine},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Answers everything, and says what it was asked.
async fn el() -> MockEl {
    MockEl::start(|message: Message| async move {
        let text = message.text();
        if text.contains("engine_exchangeCapabilities") && !text.trim_start().starts_with('[') {
            ok(&format!(
                r#"{{"jsonrpc":"2.0","id":{}, "result" : ["engine_newPayloadV4","engine_requestProofsV1"],"more":1}}"#,
                message.json()["id"]
            ))
        } else if text.trim_start().starts_with('[') {
            ok("[\"the whole batch\"]")
        } else if text.contains("engine_newPayload") {
            valid(&message)
        } else {
            ok(&format!(
                r#"{{"id":{},"result":"the client's"}}"#,
                message.json()["id"]
            ))
        }
    })
    .await
}

struct House {
    el: MockEl,
    rig: Rig,
    engine: Arc<ScriptedEngine>,
    store: Arc<MemorySink>,
    book: RequestBook,
    service: ProofService,
}

impl House {
    async fn new(policy: ImportPolicy) -> Self {
        let el = el().await;
        let stop = CancellationToken::new();
        let settings = GateConfig {
            policy,
            ..GateConfig::default()
        };
        let (gate, _writer) =
            GateHandle::open(settings, Arc::new(InMemory::default()), None, stop.clone()).unwrap();
        let chain = Arc::new(MemoryChain::new(Arc::new(Spec::minimal()), Root::ZERO));
        let engine = Arc::new(ScriptedEngine::new([1, 2]));
        engine.set_makes_proofs(true);
        let store = Arc::new(MemorySink::new("store"));
        let verifier = Verifier::start(
            VerifierConfig::default(),
            VerifierParts {
                chain,
                engine: engine.clone(),
                known: Arc::new(NoKnownProofs),
                containment: Arc::new(MemoryContainment::default()),
                store: store.clone(),
            },
        );
        verifier.add_sink(Arc::new(gate.clone()) as Arc<dyn ProofSink>);
        let book = RequestBook::default();
        let unsigned = UnsignedProofs::new(verifier.intake(), None);
        let service = ProofService::new(book.noting(engine.clone()), unsigned);
        let rig = Rig::start_serving(&el, gate, stop, |_| (), Some(service.clone())).await;
        Self {
            el,
            rig,
            engine,
            store,
            book,
            service,
        }
    }

    async fn call(&self, method: &str, params: &Value) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": "x", "method": method, "params": params});
        let answer = self.rig.call(body.to_string()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let answer = answer.json();
        assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!("x")));
        answer
    }

    fn counted(&self, request: &NewPayloadRequest) -> Vec<u8> {
        let view = self.rig.gate.payload(&request.execution_payload.block_hash);
        view.map(|v| v.proofs.iter().map(|(t, _)| *t).collect())
            .unwrap_or_default()
    }
}

fn proof(root: &Root, proof_type: u64, data: &[u8]) -> Value {
    json!([{
        "proofData": format!("0x{}", hex::encode(data)),
        "proofType": format!("{proof_type:#x}"),
        "publicInput": {"newPayloadRequestRoot": root.to_string()},
    }])
}

fn params(request: &NewPayloadRequest, types: &[u8], with_requests: bool) -> Value {
    serde_json::to_value(assay_engine_api::proof_json::RequestProofsParamsJson {
        request,
        proof_types: types,
        with_execution_requests: with_requests,
    })
    .unwrap()
}

fn header(rig: &Rig, request: &NewPayloadRequest) -> Value {
    let header = request.header(&rig.spec).unwrap();
    json!([assay_engine_api::proof_json::NewPayloadRequestHeaderJson(&header)])
}

const VERIFY: &str = "engine_verifyExecutionProofV1";
const HEADER: &str = "engine_verifyNewPayloadRequestHeaderV1";
const REQUEST: &str = "engine_requestProofsV1";

#[tokio::test]
async fn a_proof_that_comes_unsigned_counts_for_the_gate_and_for_its_header() {
    let house = House::new(ImportPolicy::RequireProofs).await;
    let request = house.rig.payload(8, Hash256([7; 32]), 1000);
    let root = house.rig.root(&request);
    house.rig.call(new_payload(&request, 1)).await;
    let received = house.el.received().len();
    let header = header(&house.rig, &request);
    assert_eq!(
        house.call(HEADER, &header).await["result"],
        json!({"status": "SYNCING"})
    );

    let invalid = house.call(VERIFY, &proof(&root, 1, b"Inot")).await;
    assert_eq!(
        invalid["result"],
        json!({"status": "INVALID", "error": "it says so"})
    );
    assert_eq!(house.call(HEADER, &header).await["result"]["status"], "SYNCING");
    let unknown = house.call(VERIFY, &proof(&root, 9, b"V")).await;
    assert_eq!(unknown["result"]["status"], "NOT_SUPPORTED");
    assert!(house.counted(&request).is_empty());

    let valid = house.call(VERIFY, &proof(&root, 1, b"Valid")).await;
    assert_eq!(valid["result"], json!({"status": "VALID"}));
    assert_eq!(house.counted(&request), [1]);
    assert_eq!(
        house.call(HEADER, &header).await["result"],
        json!({"status": "VALID"})
    );
    // The same bytes again cost the proof engine nothing.
    let asked = house.engine.calls().0;
    house.call(VERIFY, &proof(&root, 1, b"Valid")).await;
    assert_eq!(house.engine.calls().0, asked);
    assert!(house.store.proofs().is_empty(), "what is unsigned is not kept");
    assert_eq!(
        house.el.received().len(),
        received,
        "none of them went to the client"
    );
    assert_eq!(house.rig.endpoint.counts().proof_calls, 7);
}

#[tokio::test]
async fn an_engine_that_is_down_is_an_error_and_no_verdict() {
    let house = House::new(ImportPolicy::Observe).await;
    house.engine.set_down(true);
    let root = Root::from([5; 32]);
    let answer = house.call(VERIFY, &proof(&root, 1, b"V")).await;
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    house.engine.set_down(false);
    let answer = house.call(VERIFY, &proof(&root, 1, b"V")).await;
    assert_eq!(answer["result"]["status"], "VALID");
}

#[tokio::test]
async fn proofs_are_requested_of_the_proof_engine_and_taken_when_they_are_made() {
    let house = House::new(ImportPolicy::RequireProofs).await;
    let stop = house.rig.stop.clone();
    let taking = tokio::spawn(house.service.clone().take_finished(stop.clone()));
    let request = house.rig.payload(8, Hash256([7; 32]), 1000);
    let root = house.rig.root(&request);
    house.rig.call(new_payload(&request, 1)).await;
    for with_requests in [false, true] {
        let answer = house
            .call(REQUEST, &params(&request, &[2, 1, 2], with_requests))
            .await;
        let id = format!("0x{}", hex::encode(&root.0[..8]));
        assert_eq!(answer["result"], json!(id), "{answer}");
    }
    assert_eq!(house.engine.requested(), [(root, vec![2, 1]), (root, vec![2, 1])]);
    let key = |root, proof_type| ProofKey {
        new_payload_request_root: root,
        proof_type,
    };
    let mut id = [0; 8];
    id.copy_from_slice(&root.0[..8]);
    let id = assay_proof_engine::ProofGenId(id);
    let now = tokio::time::Instant::now();
    assert_eq!(house.book.check(id, &key(root, 2), now).await, Ok(()));
    assert!(house.book.check(id, &key(root, 3), now).await.is_err());

    let finished = |key, data: &'static [u8]| EngineEvent::Completed {
        proof_gen_id: None,
        key,
        proof_data: Bytes::from_static(data),
    };
    let others = Root::from([0x44; 32]);
    house.engine.tell(finished(key(others, 2), b"V"));
    house.engine.tell(finished(key(root, 2), b"V"));
    tokio::time::timeout(PATIENCE, async {
        while house.counted(&request) != [2] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(
        house.engine.calls().0,
        1,
        "what nobody asked for here is not judged"
    );
    stop.cancel();
    taking.await.unwrap();
}

/// The engine tells of a finished proof once: it is kept while nothing can be said of it.
#[tokio::test]
async fn finished_proofs_wait_for_an_engine_that_is_down() {
    let house = House::new(ImportPolicy::RequireProofs).await;
    let stop = CancellationToken::new();
    let taking = tokio::spawn(house.service.clone().take_finished(stop.clone()));
    let request = house.rig.payload(8, Hash256([7; 32]), 1000);
    let root = house.rig.root(&request);
    house.rig.call(new_payload(&request, 1)).await;
    let answer = house.call(REQUEST, &params(&request, &[1], true)).await;
    assert!(answer["result"].is_string(), "{answer}");
    house.engine.set_down(true);
    let key = ProofKey {
        new_payload_request_root: root,
        proof_type: 1,
    };
    // Until the task hears of events.
    while house.engine.calls().0 == 0 {
        house.engine.tell(EngineEvent::Completed {
            proof_gen_id: None,
            key,
            proof_data: Bytes::from_static(b"Vmade"),
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(house.counted(&request).is_empty());
    house.engine.set_down(false);
    let counted = async {
        while house.counted(&request) != [1] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.unwrap();
    stop.cancel();
    taking.await.unwrap();
}

#[tokio::test]
async fn requests_that_cannot_be_served_are_errors_with_their_codes() {
    let house = House::new(ImportPolicy::Observe).await;
    let request = house.rig.payload(8, Hash256([7; 32]), 100);
    let root = house.rig.root(&request);
    let mut other_hash = request.clone();
    other_hash.execution_payload.gas_used += 1;
    let mut between_slots = request.clone();
    between_slots.execution_payload.timestamp = GENESIS_TIME - 5;
    let mut no_root = header(&house.rig, &request);
    no_root[0]["executionPayloadHeader"]
        .as_object_mut()
        .unwrap()
        .remove("withdrawalsRoot");
    let mut gloas = header(&house.rig, &request);
    gloas[0]["executionPayloadHeader"]["timestamp"] = json!("0xffffffffffffffff");
    for (method, params, code, names) in [
        (VERIFY, json!({}), -32602, "engine_verifyExecutionProofV1"),
        (VERIFY, json!([{}]), -39001, "proofType"),
        (VERIFY, proof(&root, 1, b""), -39001, "empty"),
        (VERIFY, proof(&root, 256, b"V"), -39001, "255"),
        (HEADER, json!([1]), -39002, "newPayloadRequestHeader"),
        (HEADER, no_root, -39002, "withdrawalsRoot"),
        (HEADER, gloas, -39002, ""),
        (REQUEST, json!([1, 2]), -32602, "4 or 5"),
        (REQUEST, params(&request, &[], true), -32602, "empty"),
        (
            REQUEST,
            params(&request, &[1, 2, 3, 4, 5], true),
            -32602,
            "at most 4",
        ),
        (REQUEST, params(&request, &[1, 7], true), -39004, "proof type 7"),
        (REQUEST, params(&other_hash, &[1], true), -39003, "hash"),
        (
            REQUEST,
            params(&other_hash, &[1], false),
            -39003,
            "five parameters",
        ),
        (REQUEST, params(&between_slots, &[1], true), -39003, "timestamp"),
    ] {
        let answer = house.call(method, &params).await;
        let (got, message) = (&answer["error"]["code"], answer["error"]["message"].as_str());
        assert_eq!(got, &json!(code), "{method} {answer}");
        assert!(message.is_some_and(|m| m.contains(names)), "{method} {answer}");
    }
    house.engine.set_makes_proofs(false);
    let answer = house.call(REQUEST, &params(&request, &[1], true)).await;
    assert_eq!(answer["error"]["code"], -39004, "{answer}");
    // No token, no answer.
    let body = format!(r#"{{"id":1,"method":"{VERIFY}","params":[]}}"#);
    let caller = house.rig.caller().await;
    let mut caller = caller;
    let refused = caller.exchange(&post("Bearer x", "", body.as_bytes())).await;
    assert_eq!(refused.status(), 401);
    assert!(house.el.received().is_empty());
}

#[tokio::test]
async fn the_list_of_capabilities_is_a_union() {
    let house = House::new(ImportPolicy::Observe).await;
    let body = r#"{"method":"engine_exchangeCapabilities","id":3,"params":[["engine_newPayloadV4"]]}"#;
    let answer = house.rig.call(body).await;
    let expected = r#"{"jsonrpc":"2.0","id":3, "result" : ["engine_newPayloadV4","engine_requestProofsV1","engine_verifyExecutionProofV1","engine_verifyNewPayloadRequestHeaderV1"],"more":1}"#;
    assert_eq!(answer.text(), expected);
    assert_eq!(house.el.received()[0].body, body.as_bytes());

    // What is no list passes as it is.
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let error = r#"{"id":3,"error":{"code":-32601,"message":"the method does not exist"}}"#;
    let el = MockEl::start(move |_: Message| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match n {
                0 => ok(error),
                _ => Reply::Bytes(crate::http::response("503 Service Unavailable", "", b"not now")),
            }
        }
    })
    .await;
    let (gate, stop) = (house.rig.gate.clone(), house.rig.stop.clone());
    let rig = Rig::start_serving(&el, gate, stop, |_| (), Some(house.service.clone())).await;
    assert_eq!(rig.call(body).await.text(), error);
    let refused = rig.call(body).await;
    assert_eq!((refused.status(), refused.text()), (503, "not now".to_owned()));
}

#[tokio::test]
async fn batches_are_taken_apart_for_them_under_every_policy() {
    for policy in [ImportPolicy::Observe, ImportPolicy::RequireProofs] {
        let house = House::new(policy).await;
        let root = Root::from([5; 32]);
        let call =
            |id: u64, method: &str, params: &Value| json!({"id": id, "method": method, "params": params});
        let request = house.rig.payload(8, Hash256([7; 32]), 100);
        let body = json!([
            call(1, VERIFY, &proof(&root, 1, b"V")),
            call(2, "eth_chainId", &json!([])),
            call(3, "engine_exchangeCapabilities", &json!([[]])),
            call(4, VERIFY, &json!([])),
            {"method": VERIFY, "params": proof(&root, 2, b"V")},
            serde_json::from_str::<Value>(&new_payload(&request, 5)).unwrap(),
        ]);
        let answer = house.rig.call(body.to_string()).await.json();
        let ids: Vec<_> = answer
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["id"].clone())
            .collect();
        assert_eq!(
            ids,
            [json!(1), json!(2), json!(3), json!(4), json!(5)],
            "{answer}"
        );
        assert_eq!(answer[0]["result"]["status"], "VALID");
        assert_eq!(answer[1]["result"], "the client's");
        assert_eq!(answer[2]["result"].as_array().unwrap().len(), 4);
        assert_eq!(answer[3]["error"]["code"], -32602);
        assert!(answer[4]["result"]["status"].is_string());
        assert_eq!(house.rig.endpoint.counts().split_batches, 1);
        assert_eq!(house.engine.calls().0, 2, "the notification was worked on too");
    }
}

#[tokio::test]
async fn a_notification_is_worked_on_and_not_answered() {
    let house = House::new(ImportPolicy::Observe).await;
    let body = json!({"method": VERIFY, "params": proof(&Root::from([5; 32]), 1, b"V")});
    let answer = house.rig.call(body.to_string()).await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, ""));
    assert_eq!(house.engine.calls().0, 1);
    assert!(house.el.received().is_empty());
}

#[tokio::test]
async fn without_a_proof_engine_they_are_the_clients() {
    let el = el().await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    let body = format!(r#"{{ "id":1, "method":"{VERIFY}","params":[]}}"#);
    assert_eq!(rig.call(&body).await.json()["result"], "the client's");
    let batch = format!("[{body}]");
    assert_eq!(rig.call(&batch).await.text(), "[\"the whole batch\"]");
    let received = el.received();
    assert_eq!(received[0].body, body.as_bytes());
    assert_eq!(received[1].body, batch.as_bytes());
    let list = r#"{"method":"engine_exchangeCapabilities","id":3,"params":[[]]}"#;
    let names = rig.call(list).await.json()["result"].clone();
    assert_eq!(names, json!(["engine_newPayloadV4", "engine_requestProofsV1"]));
}

#[tokio::test]
async fn a_valid_proof_of_a_payload_that_comes_later_counts_then() {
    let house = House::new(ImportPolicy::RequireProofs).await;
    let request = house.rig.payload(8, Hash256([7; 32]), 100);
    let proof_of_it = ExecutionProof {
        proof_data: Bytes::from_static(b"V"),
        proof_type: 2,
        public_input: PublicInput {
            new_payload_request_root: house.rig.root(&request),
        },
    };
    let text = json!([assay_engine_api::proof_json::ExecutionProofJson(
        &proof_of_it.clone().into()
    )]);
    assert_eq!(house.call(VERIFY, &text).await["result"]["status"], "VALID");
    house.rig.call(new_payload(&request, 1)).await;
    assert_eq!(house.counted(&request), [2]);
    assert_eq!(request.execution_payload.timestamp, {
        house.rig.spec.timestamp_at_slot(GENESIS_TIME, Slot(8))
    });
}

#[tokio::test]
async fn without_an_execution_client_they_are_served_as_well() {
    let house = House::new(ImportPolicy::ProofsOnly).await;
    let (gate, stop) = (house.rig.gate.clone(), house.rig.stop.clone());
    let alone = |config: &mut assay_gate::EndpointConfig| config.upstreams.clear();
    let rig = Rig::start_serving(&house.el, gate, stop, alone, Some(house.service.clone())).await;
    let list = r#"{"method":"engine_exchangeCapabilities","id":3,"params":[[]]}"#;
    let names = rig.call(list).await.json()["result"].clone();
    for name in [VERIFY, HEADER, REQUEST, "engine_newPayloadV4"] {
        assert!(
            names.as_array().unwrap().contains(&json!(name)),
            "{name}: {names}"
        );
    }
    let params = proof(&Root::from([5; 32]), 1, b"V");
    let call = json!({"id": 1, "method": VERIFY, "params": params});
    let answer = rig.call(call.to_string()).await.json();
    assert_eq!(answer["result"]["status"], "VALID", "{answer}");
    let batch = rig.call(json!([call]).to_string()).await.json();
    assert_eq!(batch[0]["result"]["status"], "VALID", "{batch}");
    assert!(house.el.received().is_empty());
}
