//! Several beacon nodes behind one endpoint (design.md gate rule 11): the primary's fork choice goes to the execution client,
//! that of others is answered from the tree; one of another network gets nothing.

use crate::{
    http::{Message, MockEl, eventually, ok, post},
    rig::{Rig, caller_secret, forkchoice, new_payload, valid},
};
use assay_engine_api::JwtSecret;
use assay_gate::{
    EndpointConfig, EndpointError, GateConfig, ImportPolicy, OtherNetwork, OtherNodeConfig, endpoint,
};
use assay_types::BlockHash;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

const ANCHOR: [u8; 32] = [7; 32];

fn second() -> JwtSecret {
    JwtSecret::from([3; 32])
}

/// A node called `second`, and what says which network it is on.
fn other(network: OtherNetwork) -> (OtherNodeConfig, watch::Sender<OtherNetwork>) {
    let (told, network) = watch::channel(network);
    let node = OtherNodeConfig {
        name: "second".into(),
        jwt: second(),
        network,
    };
    (node, told)
}

async fn rig(el: &MockEl, settings: GateConfig) -> Rig {
    let (node, _) = other(OtherNetwork::Same);
    let without_client = settings.policy == ImportPolicy::ProofsOnly;
    Rig::start_as(el, settings, |config| {
        config.others.push(node);
        if without_client {
            config.upstreams.clear();
        }
    })
    .await
}

fn under(policy: ImportPolicy) -> GateConfig {
    GateConfig {
        policy,
        ..GateConfig::default()
    }
}

async fn as_second(rig: &Rig, body: impl AsRef<[u8]>) -> Message {
    let token = second().bearer(SystemTime::now());
    rig.caller()
        .await
        .exchange(&post(&token, "", body.as_ref()))
        .await
}

fn status(answer: &Message) -> String {
    answer.json()["result"]["payloadStatus"]["status"]
        .as_str()
        .unwrap_or("none")
        .to_owned()
}

#[tokio::test]
async fn anothers_head_is_answered_from_the_tree_and_moves_nothing() {
    for (policy, unproven) in [
        (ImportPolicy::Observe, "VALID"),
        (ImportPolicy::AcceptProofs, "VALID"),
        (ImportPolicy::RequireProofs, "SYNCING"),
        (ImportPolicy::ProofsOnly, "SYNCING"),
    ] {
        let el = MockEl::start(|message| async move {
            match message.json()["method"] == "eth_x" {
                true => ok(r#"{"id":1,"result":1}"#),
                false => valid(&message),
            }
        })
        .await;
        let rig = rig(&el, under(policy)).await;
        let anchor = BlockHash::from(ANCHOR);
        assert_eq!(
            status(&as_second(&rig, forkchoice(anchor, 1)).await),
            "SYNCING",
            "{policy}: not known"
        );
        rig.call(forkchoice(anchor, 1)).await;
        let told = |hash| rig.gate.payload(&hash).is_some_and(|p| p.told_valid);
        // Under `observe` the answer goes before the note of it.
        eventually(|| told(anchor)).await;
        let attributes = forkchoice(anchor, 5).replace(",null]", r#",{"timestamp":"0x1"}]"#);
        let answer = as_second(&rig, attributes).await.json();
        assert_eq!(
            answer["result"],
            json!({
                "payloadStatus": { "status": "VALID", "latestValidHash": anchor, "validationError": null },
                "payloadId": null,
            }),
            "{policy}"
        );
        assert_eq!(answer["id"], 5);

        // Its payloads go the same way as the primary's.
        let payload = rig.payload(8, anchor, 100);
        let hash = payload.execution_payload.block_hash;
        let imported = as_second(&rig, new_payload(&payload, 2)).await.json();
        assert_eq!(imported["result"]["status"], unproven, "{policy}");
        eventually(|| unproven != "VALID" || told(hash)).await;
        assert_eq!(
            status(&as_second(&rig, forkchoice(hash, 3)).await),
            unproven,
            "{policy}"
        );
        let batch = format!(
            r#"[{},{{"id":1,"method":"eth_x","params":[]}}]"#,
            forkchoice(hash, 4)
        );
        let answers = as_second(&rig, batch).await.json();
        assert_eq!(
            answers[0]["result"]["payloadStatus"]["status"], unproven,
            "{policy}: {answers}"
        );
        assert_eq!(answers[0]["id"], 4);
        rig.prove(&payload).await;
        let answer = as_second(&rig, forkchoice(hash, 3)).await;
        assert_eq!(status(&answer), "VALID", "{policy}");
        assert!(told(hash), "{policy}: rule 4 holds for it too");
        let unknown = as_second(&rig, forkchoice(BlockHash::from([9; 32]), 3)).await;
        assert_eq!(status(&unknown), "SYNCING", "{policy}");
        let unreadable = as_second(
            &rig,
            r#"{"id":1,"method":"engine_forkchoiceUpdatedV3","params":[]}"#,
        )
        .await;
        assert_eq!(unreadable.json()["error"]["code"], -32602, "{policy}");

        let clients = el.received();
        let heads = clients
            .iter()
            .filter(|m| m.text().contains("engine_forkchoiceUpdated"));
        let heard = usize::from(policy != ImportPolicy::ProofsOnly);
        assert_eq!(heads.count(), heard, "{policy}: the primary's alone");
        assert_eq!(*rig.observed.forkchoices.lock().unwrap(), [anchor], "{policy}");
        assert_eq!(rig.gate.stats().head, Some(anchor), "{policy}");
        assert!(
            rig.gate.payload(&BlockHash::from([9; 32])).is_none(),
            "{policy}: nothing is kept of it"
        );
        assert_eq!(rig.endpoint.counts().other_nodes_forkchoices, 7, "{policy}");
    }
}

#[tokio::test]
async fn what_the_client_calls_invalid_is_invalid_to_another_too_but_never_what_was_valid() {
    let el = MockEl::start(|message| async move {
        let call = message.json();
        let number = call["params"][0]["blockNumber"].as_str().unwrap_or_default();
        if number == "0x9" || call["id"] == 99 {
            let parent = call["params"][0]["parentHash"].clone();
            return ok(
                &json!({ "id": 1, "result": { "status": "INVALID", "latestValidHash": parent } }).to_string(),
            );
        }
        valid(&message)
    })
    .await;
    let rig = rig(&el, under(ImportPolicy::RequireProofs)).await;
    let anchor = BlockHash::from(ANCHOR);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 100);
    let hash = payload.execution_payload.block_hash;
    rig.call(new_payload(&payload, 2)).await;
    rig.prove(&payload).await;
    let bad = rig.payload(9, hash, 100);
    assert_eq!(
        rig.call(new_payload(&bad, 3)).await.json()["result"]["status"],
        "INVALID"
    );
    let answer = as_second(&rig, forkchoice(bad.execution_payload.block_hash, 4)).await;
    assert_eq!(status(&answer), "INVALID");
    assert_eq!(
        answer.json()["result"]["payloadStatus"]["latestValidHash"],
        Value::Null
    );
    // Told VALID of it; then the client takes it back.
    assert_eq!(status(&as_second(&rig, forkchoice(hash, 5)).await), "VALID");
    assert_eq!(
        rig.call(new_payload(&payload, 99)).await.json()["result"]["status"],
        "SYNCING",
        "rule 4"
    );
    assert_eq!(
        status(&as_second(&rig, forkchoice(hash, 6)).await),
        "SYNCING",
        "rule 4"
    );
}

#[tokio::test]
async fn anothers_call_waits_for_a_proof_as_the_primarys_does() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let settings = GateConfig {
        wait_for_proofs_ms: 4000,
        ..under(ImportPolicy::RequireProofs)
    };
    let rig = rig(&el, settings).await;
    let anchor = BlockHash::from(ANCHOR);
    rig.call(forkchoice(anchor, 1)).await;
    let payload = rig.payload(8, anchor, 100);
    let hash = payload.execution_payload.block_hash;
    let answers = async {
        let imported = async { rig.call(new_payload(&payload, 2)).await };
        let head = async {
            eventually(|| rig.endpoint.counts().waited_for_proofs == 1).await;
            as_second(&rig, forkchoice(hash, 3)).await
        };
        tokio::join!(imported, head)
    };
    let proof = async {
        eventually(|| rig.endpoint.counts().waited_for_proofs == 2).await;
        rig.prove(&payload).await;
    };
    let ((_, head), ()) = tokio::join!(answers, proof);
    assert_eq!(status(&head), "VALID");
    assert!(!rig.gate.payload(&hash).unwrap().first_told_syncing);
}

#[tokio::test]
async fn one_of_another_network_is_refused_and_the_primary_is_not() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let (node, told) = other(OtherNetwork::Unknown);
    let rig = Rig::start_with(&el, ImportPolicy::Observe, |config| config.others.push(node)).await;
    let payload = rig.payload(8, BlockHash::from(ANCHOR), 100);
    let calls = [
        new_payload(&payload, 1),
        forkchoice(BlockHash::from(ANCHOR), 2),
        "[]".into(),
    ];
    for call in &calls {
        let answer = as_second(&rig, call).await;
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert!(answer.text().contains("second has not told"), "{}", answer.text());
    }
    told.send_replace(OtherNetwork::Different("its genesis is another".into()));
    for call in &calls {
        let answer = as_second(&rig, call).await;
        assert_eq!(answer.status(), 403, "{}", answer.text());
        assert!(
            answer.text().contains("its genesis is another"),
            "{}",
            answer.text()
        );
    }
    assert!(el.received().is_empty() && rig.gate.stats().payloads == 0);
    assert_eq!(rig.endpoint.counts().refused_requests, 6);
    assert_eq!(
        rig.call(forkchoice(BlockHash::from(ANCHOR), 1)).await.status(),
        200
    );
    told.send_replace(OtherNetwork::Same);
    assert_eq!(as_second(&rig, &calls[0]).await.status(), 200);

    // Tokens: whoever has none of the secrets, and the second's own that is old.
    let at = |secret: [u8; 32], ago: u64| {
        JwtSecret::from(secret).bearer(SystemTime::now() - Duration::from_secs(ago))
    };
    for (token, says) in [
        (at([4; 32], 0), "different JWT secrets"),
        (at([3; 32], 70), "behind"),
    ] {
        let answer = rig
            .caller()
            .await
            .exchange(&post(&token, "", calls[0].as_bytes()))
            .await;
        assert_eq!(answer.status(), 401);
        assert!(answer.text().contains(says), "{}", answer.text());
    }
}

#[tokio::test]
async fn each_has_a_secret_of_its_own() {
    let el = MockEl::start(|message| async move { valid(&message) }).await;
    let gate = Rig::start(&el, ImportPolicy::Observe).await;
    let node = |secret: JwtSecret| OtherNodeConfig {
        jwt: secret,
        ..other(OtherNetwork::Same).0
    };
    for others in [vec![node(caller_secret())], vec![node(second()), node(second())]] {
        let config = EndpointConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            others,
            ..EndpointConfig::new(el.url(), caller_secret())
        };
        let refused = endpoint::run(config, gate.context(), gate.stop.clone()).await;
        assert!(matches!(refused, Err(EndpointError::SameSecret { .. })));
    }
}

/// A beacon node of another network under the primary's secret: its payloads go where all go, and are told once.
#[tokio::test]
async fn payloads_of_another_network_are_told() {
    let el = MockEl::start(|m| async move { valid(&m) }).await;
    let rig = Rig::start(&el, ImportPolicy::Observe).await;
    for slot in [8, 9] {
        let mut payload = rig.payload(slot, BlockHash::from([9; 32]), 0);
        // EIP-1559, chain id 9, and nothing more.
        let foreign = vec![2, 0xc1, 9];
        payload.execution_payload.transactions.push(foreign.into());
        payload.execution_payload.block_hash = assay_engine_api::block_hash::of_request(&payload);
        assert_ne!(rig.spec.chain_id, 9);
        let answer = rig.call(new_payload(&payload, slot)).await.json();
        assert_eq!(answer["result"]["status"], "VALID");
        eventually(|| rig.gate.stats().alarms == 1).await;
    }
}

/// What might build a payload or move the execution client's head is the primary's.
#[tokio::test]
async fn of_everything_else_another_node_may_only_read() {
    let el = MockEl::start(|_| async { ok(r#"{"id":1,"result":"passed"}"#) }).await;
    let (node, _told) = other(OtherNetwork::Same);
    let rig = Rig::start_with(&el, ImportPolicy::Observe, |config| config.others.push(node)).await;
    let bearer = second().bearer(SystemTime::now());
    for (method, code) in [
        ("eth_chainId", 0),
        ("engine_getBlobsV2", 0),
        ("engine_getPayloadBodiesByHashV1", 0),
        ("engine_getPayloadV5", -38001),
        ("debug_setHead", -32601),
        ("engine_setHeadV1", -32601),
    ] {
        let before = el.received().len();
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": ["0x01"] }).to_string();
        for body in [body.clone(), format!("[{body}]")] {
            let mut caller = rig.caller().await;
            let answer = caller.exchange(&post(&bearer, "", body.as_bytes())).await.json();
            let answer = answer.get(0).unwrap_or(&answer);
            match code {
                0 => assert_eq!(answer["result"], "passed", "{method}: {answer}"),
                code => assert_eq!(answer["error"]["code"], code, "{method}: {answer}"),
            }
        }
        let passed = if code == 0 { 2 } else { 0 };
        assert_eq!(el.received().len() - before, passed, "{method}");
    }
}
