//! What becomes of the status of newPayload and fcU where proofs are required.

use crate::{
    http::{Message, MockEl, Reply, eventually, ok, response},
    rig::{Rig, forkchoice, hash_in, new_payload, valid},
};
use assay_engine_api::ForkchoiceStateV1;
use assay_gate::ImportPolicy;
use assay_types::{BlockHash, Hash256, NewPayloadRequest, ProofKey};
use std::sync::{Arc, Mutex};

/// The block the beacon node starts from, VALID, and the payload after it.
async fn started(rig: &Rig) -> NewPayloadRequest {
    let anchor = BlockHash::from([7; 32]);
    rig.call(forkchoice(anchor, 1)).await;
    rig.payload(8, anchor, 1000)
}

#[tokio::test]
async fn valid_waits_for_the_proof_and_nothing_else_changes() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let payload = started(&rig).await;
    let hash = payload.execution_payload.block_hash;

    let lowered = rig.call(new_payload(&payload, 2)).await;
    assert_eq!(
        lowered.text(),
        r#"{"jsonrpc":"2.0","extra":[1],"id":2,"result":{"status":"SYNCING","witness":"0x00","latestValidHash":null,"validationError":null}}"#
    );
    assert_eq!(lowered.header("content-type"), Some("application/json"));
    let lowered = rig.call(forkchoice(hash, 3)).await;
    assert_eq!(
        lowered.text(),
        r#"{"id":3,"result":{"payloadStatus":{"status":"SYNCING","latestValidHash":null,"validationError":null},"payloadId":null}}"#
    );

    rig.gate
        .proof_verified(ProofKey {
            new_payload_request_root: rig.root(&payload),
            proof_type: 1,
        })
        .await;
    let raised = rig.call(forkchoice(hash, 4)).await;
    assert_eq!(raised.json()["result"]["payloadStatus"]["status"], "VALID");
    assert_eq!(raised.json()["result"]["payloadId"], "0x0102030405060708");
    let raised = rig.call(new_payload(&payload, 5)).await;
    assert_eq!(raised.json()["result"]["status"], "VALID");
    assert_eq!(rig.endpoint.counts().changed_answers, 2);
    assert_eq!(
        *rig.observed.forkchoices.lock().unwrap(),
        [BlockHash::from([7; 32]), hash, hash]
    );
}

/// Answers fcU with VALID and newPayload with what is set.
async fn el_saying(says: &Arc<Mutex<Vec<u8>>>) -> MockEl {
    let says = Arc::clone(says);
    MockEl::start(move |message: Message| {
        let reply = if message.text().contains("engine_forkchoiceUpdated") {
            valid(&message)
        } else {
            Reply::Bytes(says.lock().unwrap().clone())
        };
        async move { reply }
    })
    .await
}

fn json(body: &str) -> Vec<u8> {
    response("200 OK", "content-type: application/json\r\n", body.as_bytes())
}

#[tokio::test]
async fn errors_and_invalid_pass_and_what_cannot_be_read_is_syncing() {
    let says = Arc::new(Mutex::new(Vec::new()));
    let el = el_saying(&says).await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let payload = started(&rig).await;
    let hash = payload.execution_payload.block_hash;
    let valid_status = format!(r#"{{"status":"VALID","latestValidHash":"{hash}"}}"#);
    for (answer, status, expected) in [
        // Unchanged.
        (
            json(r#"{"id":2,"error":{"code":-38002,"message":"m","data":{"a":1}}}"#),
            200,
            None,
        ),
        (json(r#"{"id":2,"result":{"status":"SYNCING"}}"#), 200, None),
        (
            json(r#"{"id":2, "result":{"status":"ACCEPTED","latestValidHash":null}}"#),
            200,
            None,
        ),
        (response("503 Busy", "retry-after: 1\r\n", b"busy"), 503, None),
        (
            response("500 No", "", br#"{"result":{"status":"SYNCING"}}"#),
            500,
            None,
        ),
        // Never VALID.
        (
            response("502 No", "", format!(r#"{{"result":{valid_status}}}"#).as_bytes()),
            200,
            Some("SYNCING"),
        ),
        (
            json(&format!(
                r#"{{"id":2,"result":{valid_status},"result":{{"status":"SYNCING"}}}}"#
            )),
            200,
            Some("SYNCING"),
        ),
        (json("<html>VALID</html>"), 200, Some("SYNCING")),
        (
            json(r#"{"id":2,"result":{"status":"FINE"}}"#),
            200,
            Some("SYNCING"),
        ),
        (
            response(
                "200 OK",
                "content-encoding: gzip\r\n",
                format!(r#"{{"result":{valid_status}}}"#).as_bytes(),
            ),
            200,
            Some("SYNCING"),
        ),
        // VALID, but naming another hash.
        (
            json(r#"{"id":2,"result":{"status":"VALID","latestValidHash":null}}"#),
            200,
            Some("SYNCING"),
        ),
    ] {
        *says.lock().unwrap() = answer.clone();
        let got = rig.call(new_payload(&payload, 2)).await;
        assert_eq!(got.status(), status);
        match expected {
            None => assert!(
                answer.ends_with(&got.body) && !got.body.is_empty(),
                "{}",
                got.text()
            ),
            Some(word) => {
                assert_eq!(
                    got.json()["result"]["status"],
                    word,
                    "{}",
                    String::from_utf8_lossy(&answer)
                );
                assert_eq!(got.json()["result"]["latestValidHash"], serde_json::Value::Null);
                assert_eq!(got.json()["id"], 2);
                assert_eq!(got.header("content-encoding"), None);
            }
        }
    }
    // INVALID is the execution client's own; last, since the payload stays INVALID.
    let invalid = r#"{"id":2,"result":{"status":"INVALID","latestValidHash":"0x0707070707070707070707070707070707070707070707070707070707070707","validationError":"bad"}}"#;
    *says.lock().unwrap() = json(invalid);
    assert_eq!(rig.call(new_payload(&payload, 2)).await.text(), invalid);
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_passes_and_is_never_valid() {
    for (policy, expected) in [
        (ImportPolicy::RequireProofs, "SYNCING"),
        (ImportPolicy::Observe, "VALID"),
    ] {
        let el = MockEl::start(|message| async move {
            let hash = hash_in(&message);
            ok(&format!(
                r#"{{"id":2,"result":{{"status":"VALID","latestValidHash":"{hash}"}}}}"#
            ))
        })
        .await;
        let rig = Rig::start(&el, policy).await;
        let payload = started(&rig).await;
        let timestamp = |more| {
            format!(
                r#""timestamp":"{:#x}""#,
                payload.execution_payload.timestamp + more
            )
        };
        let calls = [
            // A leading zero, a version nobody knows yet with a field of its own, a time between slots.
            new_payload(&payload, 2).replace(r#""gasUsed":"0x0""#, r#""gasUsed":"0x00""#),
            new_payload(&payload, 2)
                .replace("engine_newPayloadV4", "engine_newPayloadV6")
                .replace("],\"id\"", ",{}],\"id\""),
            new_payload(&payload, 2).replace(&timestamp(0), &timestamp(1)),
        ];
        for (n, call) in calls.iter().enumerate() {
            assert_ne!(*call, new_payload(&payload, 2), "call {n} is changed");
            assert_eq!(
                rig.call(call).await.json()["result"]["status"],
                expected,
                "call {n}"
            );
            assert_eq!(el.wait_for(n + 2).await[n + 1].body, call.as_bytes(), "it passes");
        }
        eventually(|| rig.endpoint.counts().unreadable_payloads == 3).await;
        assert!(rig.observed.payloads.lock().unwrap().is_empty());

        // Fields that do not make its hash: judged by nobody's root.
        let mut other = payload.clone();
        other.execution_payload.gas_used = 1;
        assert_eq!(
            rig.call(new_payload(&other, 2)).await.json()["result"]["status"],
            expected
        );
        eventually(|| rig.endpoint.counts().mismatched_payloads == 1).await;
        assert!(rig.observed.payloads.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn without_the_networks_values_payloads_pass_unproven() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let payload = started(&rig).await;
    let network = rig.network.send_replace(None);
    assert_eq!(
        rig.call(new_payload(&payload, 2)).await.json()["result"]["status"],
        "SYNCING"
    );
    assert_eq!(rig.endpoint.counts().unreadable_payloads, 1);
    // They come while the payload waits for them.
    let (answer, ()) = tokio::join!(rig.call(new_payload(&payload, 3)), async {
        el.wait_for(3).await;
        rig.network.send_replace(network);
    });
    assert_eq!(answer.json()["result"]["status"], "SYNCING");
    assert_eq!(rig.observed.payloads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_fork_choice_that_cannot_be_read_passes_and_is_never_valid() {
    let el = MockEl::start(|_| async {
        let hash = Hash256([7; 32]);
        ok(&format!(
            r#"{{"id":1,"result":{{"payloadStatus":{{"status":"VALID","latestValidHash":"{hash}"}},"payloadId":"0x01"}}}}"#
        ))
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::RequireProofs).await;
    let state = ForkchoiceStateV1 {
        head_block_hash: Hash256([7; 32]),
        safe_block_hash: Hash256::ZERO,
        finalized_block_hash: Hash256::ZERO,
    };
    let state = serde_json::to_string(&state)
        .unwrap()
        .replace("safeBlockHash", "saveBlockHash");
    let call = format!(r#"{{"id":1,"method":"engine_forkchoiceUpdatedV3","params":[{state}]}}"#);
    let answer = rig.call(&call).await.json();
    assert_eq!(answer["result"]["payloadStatus"]["status"], "SYNCING");
    assert_eq!(answer["result"]["payloadId"], serde_json::Value::Null);
    assert_eq!(el.received()[0].body, call.as_bytes());
}

/// An execution client that lets a wrong version or a field that is missing pass: what it says is not handed on as if the call
/// had been right. Where its VALID is all that is asked for it stands, and so do its INVALID and its errors.
#[tokio::test]
async fn a_call_that_is_plainly_wrong_is_an_error_where_the_client_lets_it_pass() {
    let result =
        |status: &str| format!(r#"{{"id":2,"result":{{"status":"{status}","latestValidHash":null}}}}"#);
    let error = r#"{"id":2,"error":{"code":-32000,"message":"its own"}}"#.to_owned();
    for policy in [
        ImportPolicy::RequireProofs,
        ImportPolicy::AcceptProofs,
        ImportPolicy::Observe,
    ] {
        let says = Arc::new(Mutex::new(Vec::new()));
        let el = el_saying(&says).await;
        let rig = Rig::start(&el, policy).await;
        let payload = started(&rig).await;
        let hash = payload.execution_payload.block_hash;
        let said_valid = format!(r#"{{"id":2,"result":{{"status":"VALID","latestValidHash":"{hash}"}}}}"#);
        let call = new_payload(&payload, 2);
        for (from, to, code) in [
            ("engine_newPayloadV4", "engine_newPayloadV3", -38005),
            ("engine_newPayloadV4", "engine_newPayloadV5", -38005),
            ("engine_newPayloadV4", "engine_newPayloadWithWitnessV5", -38005),
            (r#""blobGasUsed":"0x0","#, "", -32602),
            (r#""blockHash":"#, r#""slotNumber":"0x8","blockHash":"#, -32602),
        ] {
            assert!(call.contains(from), "{call}");
            let wrong = call.replace(from, to);
            for (answer, refused) in [
                (said_valid.clone(), policy == ImportPolicy::RequireProofs),
                (result("SYNCING"), policy != ImportPolicy::Observe),
                (result("ACCEPTED"), policy != ImportPolicy::Observe),
                (error.clone(), false),
            ] {
                *says.lock().unwrap() = json(&answer);
                for body in [wrong.clone(), format!("[{wrong}]")] {
                    if policy == ImportPolicy::Observe && body.starts_with('[') {
                        continue;
                    }
                    let got = rig.call(&body).await.json();
                    let got = if got.is_array() { got[0].clone() } else { got };
                    match refused {
                        true => assert_eq!(
                            (&got["error"]["code"], &got["id"]),
                            (&code.into(), &2.into()),
                            "{policy} {to:?} {answer}: {got}"
                        ),
                        false => assert_eq!(got.to_string(), rebuilt(&answer), "{policy} {to:?}"),
                    }
                }
            }
        }
        // INVALID is the execution client's own, last as the payload stays so.
        *says.lock().unwrap() = json(&result("INVALID"));
        let wrong = call.replace("engine_newPayloadV4", "engine_newPayloadV3");
        let expected = match policy {
            // Told VALID before: rule 4.
            ImportPolicy::AcceptProofs => "SYNCING",
            _ => "INVALID",
        };
        assert_eq!(
            rig.call(&wrong).await.json()["result"]["status"],
            expected,
            "{policy}"
        );
    }
}

fn rebuilt(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json)
        .unwrap()
        .to_string()
}

/// `engine_newPayloadWithWitness*` asks what newPayload asks: it gets no better an answer, witness or not. Under `observe` it
/// passes as it comes.
#[tokio::test]
async fn a_call_for_a_witness_is_no_way_around_the_gate() {
    let witness = format!("0x{}", "ab".repeat(1_500_000));
    for policy in [ImportPolicy::RequireProofs, ImportPolicy::Observe] {
        let held = witness.clone();
        let el = MockEl::start(move |message: Message| {
            let (call, held) = (message.json(), held.clone());
            async move {
                if !call["method"].as_str().unwrap().starts_with("engine_newPayload") {
                    return valid(&message);
                }
                let (id, hash) = (&call["id"], &call["params"][0]["blockHash"]);
                ok(&format!(
                    r#"{{"id":{id}, "result":{{"status":"VALID","witness":"{held}","latestValidHash":{hash},"validationError":null}}}}"#
                ))
            }
        })
        .await;
        let rig = Rig::start(&el, policy).await;
        let payload = started(&rig).await;
        let hash = payload.execution_payload.block_hash;
        let call = new_payload(&payload, 2).replace("engine_newPayloadV4", "engine_newPayloadWithWitnessV4");
        assert!(call.contains("WithWitness"));
        let unproven = match policy {
            ImportPolicy::Observe => "VALID",
            _ => "SYNCING",
        };
        let bodies = |text: String| text.replace(&witness, "w");
        let got = bodies(rig.call(&call).await.text());
        let latest = if unproven == "VALID" {
            format!("\"{hash}\"")
        } else {
            "null".to_owned()
        };
        assert_eq!(
            got,
            format!(
                r#"{{"id":2, "result":{{"status":"{unproven}","witness":"w","latestValidHash":{latest},"validationError":null}}}}"#
            ),
            "{policy}"
        );
        if policy != ImportPolicy::Observe {
            let got = rig.call(format!("[{call}]")).await.json();
            assert_eq!(got[0]["result"]["status"], unproven, "{policy}");
        }
        let head = forkchoice(hash, 3).replace("UpdatedV3", "UpdatedWithWitnessV3");
        let got = rig.call(&head).await.json();
        assert_eq!(got["result"]["payloadStatus"]["status"], unproven, "{policy}");
        rig.prove(&payload).await;
        assert_eq!(
            rig.call(&call).await.json()["result"]["status"],
            "VALID",
            "{policy}"
        );
        assert_eq!(
            rig.call(&head).await.json()["result"]["payloadStatus"]["status"],
            "VALID",
            "{policy}"
        );
    }
}

/// Proofs do not make up a witness.
#[tokio::test]
async fn a_call_for_a_witness_is_not_raised() {
    let el = MockEl::start(|message: Message| async move {
        match message.text().contains("engine_newPayload") {
            true => ok(r#"{"id":2,"result":{"status":"SYNCING","latestValidHash":null,"witness":null}}"#),
            false => valid(&message),
        }
    })
    .await;
    let rig = Rig::start(&el, ImportPolicy::AcceptProofs).await;
    let payload = started(&rig).await;
    rig.prove(&payload).await;
    let call = new_payload(&payload, 2);
    let with_witness = call.replace("engine_newPayloadV4", "engine_newPayloadWithWitnessV4");
    assert_eq!(
        rig.call(&with_witness).await.json()["result"]["status"],
        "SYNCING"
    );
    assert_eq!(rig.call(&call).await.json()["result"]["status"], "VALID");
}
