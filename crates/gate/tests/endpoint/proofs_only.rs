//! The Engine API without an execution client.

use crate::{
    http::{Message, MockEl, Reply},
    rig::{GENESIS_TIME, Rig, bearer, forkchoice, new_payload},
};
use assay_engine_api::block_hash;
use assay_gate::{GateConfig, ImportPolicy};
use assay_types::{BlockHash, ForkName, Hash256, NewPayloadRequest};
use serde_json::{Value, json};

async fn rig(wait_for_proofs_ms: u64) -> Rig {
    let nobody = MockEl::start(|_| async { Reply::Nothing }).await;
    let settings = GateConfig {
        policy: ImportPolicy::ProofsOnly,
        wait_for_proofs_ms,
        ..GateConfig::default()
    };
    Rig::start_as(&nobody, settings, |config| config.upstreams.clear()).await
}

async fn ask(rig: &Rig, method: &str, params: Value) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    rig.call(call.to_string()).await.json()
}

fn payload_status(message: &Message) -> Value {
    let result = &message.json()["result"];
    if result["payloadStatus"].is_null() {
        result.clone()
    } else {
        result["payloadStatus"].clone()
    }
}

const ANCHOR: [u8; 32] = [7; 32];

#[tokio::test]
async fn a_chain_is_followed_by_its_proofs() {
    let rig = rig(0).await;
    let anchor = BlockHash::from(ANCHOR);
    let valid =
        |hash: BlockHash| json!({ "status": "VALID", "latestValidHash": hash, "validationError": null });
    let syncing = json!({ "status": "SYNCING", "latestValidHash": null, "validationError": null });
    assert_eq!(
        payload_status(&rig.call(forkchoice(anchor, 1)).await),
        valid(anchor),
        "where the beacon node starts"
    );
    assert_eq!(
        payload_status(&rig.call(forkchoice(BlockHash::from([9; 32]), 2)).await),
        syncing,
        "an unknown head"
    );
    let first = rig.payload(8, anchor, 1000);
    let hash = first.execution_payload.block_hash;
    let second = rig.payload(9, hash, 1000);
    assert_eq!(payload_status(&rig.call(new_payload(&first, 3)).await), syncing);
    rig.prove(&second).await;
    assert_eq!(
        payload_status(&rig.call(new_payload(&second, 4)).await),
        syncing,
        "a hole below it"
    );
    rig.prove(&first).await;
    assert_eq!(
        payload_status(&rig.call(new_payload(&first, 5)).await),
        valid(hash)
    );
    let head = rig.call(forkchoice(second.execution_payload.block_hash, 6)).await;
    assert_eq!(payload_status(&head), valid(second.execution_payload.block_hash));
    assert!(head.json()["result"]["payloadId"].is_null());
    assert_eq!(rig.observed.payloads.lock().unwrap().len(), 3);
    // In one batch, with a notification that gets no answer.
    let batch = format!(
        r#"[{},{{"method":"eth_syncing","params":[]}},{{"id":8,"method":"eth_syncing","params":[]}},5]"#,
        new_payload(&first, 7)
    );
    let answers = rig.call(batch).await.json();
    assert_eq!(answers[0]["result"], valid(hash));
    assert_eq!(answers[1], json!({ "jsonrpc": "2.0", "id": 8, "result": false }));
    assert_eq!(answers[2]["error"]["code"], -32600);
}

/// Large enough that the work on it is not done before what comes after it is judged, if that does not wait.
#[tokio::test]
async fn a_batch_is_judged_in_its_order() {
    let rig = rig(0).await;
    let anchor = BlockHash::from(ANCHOR);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 1_000_000);
    rig.prove(&payload).await;
    let head = payload.execution_payload.block_hash;
    let batch = format!("[{},{}]", new_payload(&payload, 2), forkchoice(head, 3));
    let answers = rig.call(batch).await.json();
    assert_eq!(answers[0]["result"]["status"], "VALID");
    assert_eq!(
        answers[1]["result"]["payloadStatus"]["status"], "VALID",
        "{answers}"
    );
}

#[tokio::test]
async fn a_call_may_wait_for_its_proof() {
    let rig = rig(4000).await;
    let anchor = BlockHash::from(ANCHOR);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 1000);
    let body = new_payload(&payload, 2);
    let (answer, ()) = tokio::join!(rig.call(&body), async {
        crate::http::eventually(|| rig.endpoint.counts().waited_for_proofs == 1).await;
        rig.prove(&payload).await;
    });
    assert_eq!(payload_status(&answer)["status"], "VALID");
}

/// Rule 1: what every client must see at once, and nothing else, is INVALID.
#[tokio::test]
async fn what_is_not_what_its_hash_names_is_invalid() {
    let rig = rig(0).await;
    let anchor = BlockHash::from(ANCHOR);
    rig.call(forkchoice(anchor, 1)).await;
    let good = rig.payload(8, anchor, 100);
    type Change = fn(&mut NewPayloadRequest);
    let changes: [Change; 3] = [
        |r| r.execution_payload.gas_used += 1,
        |r| {
            r.execution_payload.transactions.push(Vec::new().into());
            r.execution_payload.block_hash = block_hash::of_request(r);
        },
        |r| r.versioned_hashes.push(Hash256([1; 32])),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        rig.prove(&bad).await;
        let status = payload_status(&rig.call(new_payload(&bad, 2)).await);
        assert_eq!(
            (&status["status"], &status["latestValidHash"]),
            (&json!("INVALID"), &Value::Null),
            "{status}"
        );
    }
    rig.prove(&good).await;
    assert_eq!(
        payload_status(&rig.call(new_payload(&good, 3)).await)["status"],
        "VALID"
    );
}

/// -38002 only where the head is VALID and the other payload is known to be no ancestor of it.
#[tokio::test]
async fn a_fork_choice_that_contradicts_itself_is_refused() {
    let rig = rig(0).await;
    let anchor = BlockHash::from(ANCHOR);
    rig.call(forkchoice(anchor, 1)).await;
    let one = rig.payload(8, anchor, 100);
    let other = rig.payload(9, anchor, 100);
    for payload in [&one, &other] {
        rig.prove(payload).await;
        rig.call(new_payload(payload, 2)).await;
    }
    let (one, other) = (
        one.execution_payload.block_hash,
        other.execution_payload.block_hash,
    );
    let state = |head: BlockHash, safe: BlockHash, finalized: BlockHash| json!([{ "headBlockHash": head, "safeBlockHash": safe, "finalizedBlockHash": finalized }, null]);
    let zero = Hash256::ZERO;
    let unknown = BlockHash::from([0xaa; 32]);
    for (safe, finalized, code) in [
        (one, zero, Value::Null),
        (anchor, anchor, Value::Null),
        (zero, unknown, Value::Null),
        (other, zero, json!(-38002)),
        (zero, other, json!(-38002)),
    ] {
        let answer = ask(&rig, "engine_forkchoiceUpdatedV3", state(one, safe, finalized)).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
    let answer = ask(&rig, "engine_forkchoiceUpdatedV3", state(unknown, other, zero)).await;
    assert_eq!(
        answer["result"]["payloadStatus"]["status"], "SYNCING",
        "the head is not VALID"
    );
}

#[tokio::test]
async fn what_beacon_nodes_ask_is_answered_from_what_is_known() {
    let rig = rig(0).await;
    let anchor = BlockHash::from(ANCHOR);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 1000);
    let hash = payload.execution_payload.block_hash;
    rig.prove(&payload).await;
    rig.call(new_payload(&payload, 2)).await;
    rig.call(forkchoice(hash, 3)).await;
    let unknown = BlockHash::from([0xaa; 32]);
    let chain_id = format!("{:#x}", rig.spec.chain_id);
    for (method, params, result) in [
        ("eth_syncing", json!([]), json!(false)),
        ("eth_chainId", json!([]), json!(chain_id)),
        ("eth_getBlockByHash", json!([unknown, false]), Value::Null),
        ("eth_getBlockByNumber", json!(["finalized", false]), Value::Null),
        ("eth_getBlockByNumber", json!(["0x7", false]), Value::Null),
        ("engine_getBlobsV1", json!([[unknown, hash]]), json!([null, null])),
        ("engine_getBlobsV2", json!([[unknown]]), Value::Null),
        (
            "engine_getPayloadBodiesByHashV1",
            json!([[unknown]]),
            json!([null]),
        ),
        (
            "engine_getPayloadBodiesByRangeV1",
            json!(["0x7", "0x1"]),
            json!([null]),
        ),
        (
            "engine_getPayloadBodiesByRangeV1",
            json!(["0x9", "0x5"]),
            json!([]),
        ),
    ] {
        let answer = ask(&rig, method, params).await;
        assert_eq!(
            answer,
            json!({ "jsonrpc": "2.0", "id": 1, "result": result }),
            "{method}"
        );
    }
    for params in [json!(["latest", false]), json!(["0x8", false])] {
        let block = ask(&rig, "eth_getBlockByNumber", params).await["result"].clone();
        assert_eq!(
            (&block["hash"], &block["number"]),
            (&json!(hash), &json!("0x8")),
            "{block}"
        );
        assert_eq!(block["parentHash"], json!(anchor));
    }
    let bodies = ask(&rig, "engine_getPayloadBodiesByHashV1", json!([[hash]])).await["result"].clone();
    assert_eq!(bodies[0]["transactions"].as_array().map(Vec::len), Some(1));
    assert_eq!(bodies[0]["withdrawals"], json!([]));
    assert_eq!(
        ask(&rig, "engine_getPayloadBodiesByRangeV1", json!(["0x8", "0x3"])).await["result"],
        bodies
    );
    let served = ask(&rig, "engine_exchangeCapabilities", json!([[]])).await["result"].clone();
    let served: Vec<String> = serde_json::from_value(served).unwrap();
    assert!(served.contains(&"engine_newPayloadV5".to_owned()));
    assert!(
        !served.contains(&"engine_exchangeCapabilities".to_owned()),
        "rule 12"
    );
}

#[tokio::test]
async fn what_cannot_be_had_is_an_error() {
    let rig = rig(0).await;
    for (method, params, code) in [
        ("engine_getPayloadV4", json!(["0x0000000000000001"]), -38001),
        ("eth_getLogs", json!([{}]), -32601),
        ("eth_call", json!([{}, "latest"]), -32601),
        ("engine_newPayloadWithWitnessV5", json!([{}]), -32601),
        ("engine_getPayloadBodiesByRangeV1", json!(["0x0", "0x1"]), -32602),
        (
            "engine_getPayloadBodiesByRangeV1",
            json!(["0x1", "0x100"]),
            -38004,
        ),
        ("engine_getBlobsV1", json!([]), -32602),
        ("engine_forkchoiceUpdatedV3", json!([null]), -32602),
        ("engine_newPayloadV4", json!([]), -32602),
    ] {
        let answer = ask(&rig, method, params).await;
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
    }
    let get = format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: {}\r\n\r\n", bearer());
    assert_eq!(rig.caller().await.exchange(get.as_bytes()).await.status(), 405);
}

/// Method versions are held against the timestamp's fork, fields against the method.
#[tokio::test]
async fn versions_and_fields_are_checked() {
    let rig = rig(0).await;
    let anchor = BlockHash::from(ANCHOR);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 100);
    assert_eq!(payload.fork, ForkName::Fulu);
    let call = new_payload(&payload, 2);
    for (from, to, code) in [
        ("engine_newPayloadV4", "engine_newPayloadV3", -38005),
        ("engine_newPayloadV4", "engine_newPayloadV5", -38005),
        (r#""blobGasUsed":"0x0","#, "", -32602),
        (r#""blockHash":"#, r#""slotNumber":"0x8","blockHash":"#, -32602),
        (r#""gasLimit":"0x"#, r#""gasLimit":"0x0"#, -32602),
    ] {
        assert!(call.contains(from), "{call}");
        let answer = rig.call(call.replace(from, to)).await.json();
        assert_eq!(answer["error"]["code"], code, "{from}: {answer}");
    }
    // Out of order, of unknown type, empty.
    for requests in [json!(["0x0200", "0x0100"]), json!(["0x7700"]), json!(["0x00"])] {
        let mut changed: Value = serde_json::from_str(&call).unwrap();
        changed["params"][3] = requests;
        let answer = rig.call(changed.to_string()).await.json();
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let mut changed: Value = serde_json::from_str(&call).unwrap();
    changed["params"][0]["timestamp"] = json!("0x1");
    assert_eq!(
        rig.call(changed.to_string()).await.json()["error"]["code"],
        -32602,
        "before genesis"
    );
    // Attributes of another fork.
    let attributes = json!({
        "timestamp": format!("{:#x}", rig.spec.timestamp_at_slot(GENESIS_TIME, assay_types::Slot(9))),
        "prevRandao": Hash256::ZERO, "suggestedFeeRecipient": format!("0x{}", "00".repeat(20)),
        "withdrawals": [], "parentBeaconBlockRoot": Hash256::ZERO,
    });
    let state = json!({ "headBlockHash": anchor, "safeBlockHash": Hash256::ZERO, "finalizedBlockHash": Hash256::ZERO });
    for (method, code) in [
        ("engine_forkchoiceUpdatedV3", Value::Null),
        ("engine_forkchoiceUpdatedV4", json!(-38005)),
    ] {
        let answer = ask(&rig, method, json!([state, attributes])).await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
    }
}
