//! The dashboard of a running node: the page and its headers, and what the one route behind it says of each state. Its
//! metrics are those of the table.

use crate::support::{NodeProcess, PATIENCE, PROOFS, World, get, post_ssz};
use assay::commands::metrics::{all, read};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Asks until it is so.
async fn until(node: &NodeProcess, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let (status, answer) = get(&node.http("/assay/v1/dashboard")).await;
        assert_eq!(status, 200, "{answer}");
        if is(&answer["data"]) {
            return answer["data"].clone();
        }
        assert!(started.elapsed() < PATIENCE, "{what}: {answer:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The payload of a block, where it is shown.
fn payload<'a>(data: &'a Value, block_hash: &Value) -> Option<&'a Value> {
    let slots = data["slots"].as_array().unwrap();
    let mut payloads = slots.iter().flat_map(|slot| slot["payloads"].as_array().unwrap());
    payloads.find(|payload| payload["block_hash"] == *block_hash)
}

fn cell(payload: &Value, proof_type: u64) -> &Value {
    let cells = payload["proofs"].as_array().unwrap();
    cells
        .iter()
        .find(|cell| cell["proof_type"] == proof_type)
        .unwrap()
}

fn kinds(data: &Value) -> Vec<&str> {
    let problems = data["problems"].as_array().unwrap();
    problems
        .iter()
        .map(|problem| problem["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_and_what_it_shows_of_proofs() {
    let world = World::new(1).await;
    let mut flags = world.flags(0, "require-proofs", &[]);
    flags.extend(["--required-proofs", "2", "--alert-after-slots", "1"].map(str::to_owned));
    let node = NodeProcess::start(&world.datadir(1), &flags);
    world.connect(&[&node]);

    // The page, all that it loads, and the way to it.
    for (path, kind) in [
        ("/dashboard", "text/html"),
        ("/dashboard/style.css", "text/css"),
        ("/dashboard/script.js", "text/javascript"),
        ("/", "text/html"),
    ] {
        let answer = reqwest::get(node.http(path)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let header = |name| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(answer.bytes().await.unwrap().len() > 1000, "{path}");
    }

    // One proof of each kind of end.
    let block = world.block().await;
    let hash = json!(block.block_hash());
    let data = until(&node, "the payload", |data| payload(data, &hash).is_some()).await;
    let shown = payload(&data, &hash).unwrap();
    // Its slot lies behind: nothing has come in its time.
    assert_eq!(cell(shown, 1)["state"], "missing");
    assert_eq!(
        (&shown["verdict"], &shown["held_by"]),
        (&json!("SYNCING"), &json!("proofs"))
    );
    assert!(kinds(&data).contains(&"proofs_missing"), "{:?}", kinds(&data));
    assert!(kinds(&data).contains(&"no_peers"), "{:?}", kinds(&data));

    let bad = world.invalid_proof(&block, 1, 5);
    assert_eq!(post_ssz(&node.http(PROOFS), bad.to_ssz_bytes()).await.0, 400);
    let data = until(&node, "the invalid proof", |data| {
        payload(data, &hash).is_some_and(|p| cell(p, 1)["state"] == "invalid")
    })
    .await;
    assert_eq!(
        cell(payload(&data, &hash).unwrap(), 1)["invalid"][0]["validator_index"],
        "5"
    );
    assert!(kinds(&data).contains(&"invalid_proofs"), "{:?}", kinds(&data));
    let signer = data["provers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["validator_index"] == "5");
    assert_eq!(signer.unwrap()["invalid"], 1);
    assert!(signer.unwrap()["contained_until_slot"].is_u64(), "{signer:?}");

    for proof_type in [1, 2] {
        let good = world.signed_proof(&block, proof_type, 500, 3);
        assert_eq!(post_ssz(&node.http(PROOFS), good.to_ssz_bytes()).await.0, 200);
    }
    let data = until(&node, "proofs", |data| {
        payload(data, &hash).is_some_and(|p| p["verdict"] == "VALID" && cell(p, 2)["state"] == "verified")
    })
    .await;
    let shown = payload(&data, &hash).unwrap();
    let first = cell(shown, 1);
    assert_eq!(
        (&first["state"], &first["validator_index"], &first["source"]),
        (&json!("verified"), &json!("3"), &json!("http"))
    );
    assert!(first["after_ms"].as_i64().unwrap() > 0 && first["on_disk"] == true);
    assert_eq!(
        first["invalid"][0]["validator_index"], "5",
        "what was wrong stays to be seen"
    );
    let prover = data["provers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["validator_index"] == "3")
        .unwrap();
    assert_eq!(
        (&prover["accepted"], &prover["proof_types"]),
        (&json!(2), &json!([1, 2]))
    );
    assert_eq!(data["engines"][0]["healthy"], true);
    assert_eq!(data["store"]["proofs"], 2);
    assert!(data["store"]["disk_free_bytes"].as_u64().unwrap() > 0);
    assert!(!kinds(&data).contains(&"proofs_missing"), "{:?}", kinds(&data));

    // The beacon node asks again, is told VALID, and the execution client turns against it.
    world.simulation.repeat_forkchoice().await;
    until(&node, "VALID told", |data| {
        payload(data, &hash).is_some_and(|p| p["told_valid"] == true)
    })
    .await;
    world
        .simulation
        .execution(0)
        .unwrap()
        .set_fault(assay_simulator::ExecutionFault::Invalid);
    world.simulation.repeat_forkchoice().await;
    // The alarm is told once the conflict is on disk, a moment after it can be seen.
    let data = until(&node, "the conflict and its alarm", |data| {
        kinds(data).contains(&"conflict") && data["gate"]["alarms"][0]["kind"] == "valid_called_invalid"
    })
    .await;
    assert_eq!(
        (&data["problems"][0]["level"], &data["problems"][0]["block_hash"]),
        (&json!("critical"), &hash)
    );

    // As many slots as are asked for, and no more than there may be.
    for (query, slots) in [("?slots=3", Some(3)), ("?slots=0", Some(1)), ("?slots=x", None)] {
        let (status, answer) = get(&node.http(&format!("/assay/v1/dashboard{query}"))).await;
        assert_eq!(
            answer["data"]["slots"].as_array().map(Vec::len),
            slots,
            "{query}: {status}"
        );
        assert_eq!(status, if slots.is_some() { 200 } else { 400 });
    }

    // Every metric of the node is in the table, with its labels.
    let text = reqwest::get(node.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let (table, told) = (all().unwrap(), read(&text).unwrap());
    assert!(told.len() > 60, "{}", told.len());
    // `gossipsub_*` are libp2p's own.
    for (name, metric) in told.iter().filter(|(name, _)| !name.starts_with("gossipsub_")) {
        let known = table
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in the table"));
        assert_eq!((&known.kind, &known.help), (&metric.kind, &metric.help), "{name}");
        for (label, values) in &metric.labels {
            let known = known
                .labels
                .get(label)
                .unwrap_or_else(|| panic!("{name} has {label}"));
            let listed = known.contains("…") || values.is_subset(known);
            assert!(listed, "{name}: {label}: {values:?} of {known:?}");
        }
    }
}
