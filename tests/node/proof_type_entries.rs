//! What stands behind the number of a proof type is one entry: shown, never changed while a node runs, and found out where it
//! is another at a restart.

use crate::support::{NodeProcess, PROOFS, World, assay, get, post_ssz, until};
use assay_engine_api::{
    EngineClient, JwtSecret,
    proof_json::{ExecutionProofJson, ProofStatusV1, ProofValidity},
};
use assay_proof_engine::DevProver;
use assay_types::{ExecutionProof, PublicInput, Root};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio};

const KEY: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER_KEY: &str = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn flags(world: &World, entries: &[String]) -> Vec<String> {
    let mut flags = world.flags(0, "observe", &[]);
    for entry in entries {
        flags.extend(["--proof-type".to_owned(), entry.clone()]);
    }
    flags
}

fn entry(number: u8, key: &str) -> String {
    format!("{number}:sp1:name=mine-{number}:sha256={key}:guest=output:version=1")
}

/// A command on the data directory; its exit code and all it said.
fn run(words: &[&str], datadir: &Path, flags: &[String]) -> (Option<i32>, String) {
    let mut command = assay();
    command.args(words).arg("--datadir").arg(datadir).args(flags);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

async fn shown(node: &NodeProcess) -> Vec<Value> {
    let (status, body) = get(&node.http("/assay/v1/proof_types")).await;
    assert_eq!(status, 200, "{body}");
    body["data"].as_array().unwrap().clone()
}

/// The types that the gate counts for a payload, and whether it is proven.
async fn counted(node: &NodeProcess, request_root: &Root) -> (Vec<u64>, bool) {
    let root = json!(request_root);
    let url = node.http("/assay/v1/payloads?limit=8");
    let of = |body: &Value| -> Option<Value> {
        let rows = body["data"].as_array()?;
        let row = rows.iter().find(|row| row["new_payload_request_root"] == root)?;
        Some(row.clone())
    };
    let body = until("the payload", &url, |_, body| of(body).is_some()).await;
    let row = of(&body).unwrap();
    let proofs = row["proofs"].as_array().unwrap();
    let types = proofs.iter().map(|proof| proof["proof_type"].as_u64().unwrap());
    (types.collect(), row["proven"].as_bool().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_under_the_same_number_is_found_out_at_the_start() {
    let world = World::new(1).await;
    let datadir = world.datadir(1);
    let as_it_was = flags(&world, &[entry(1, KEY)]);
    let node = NodeProcess::start(&datadir, &as_it_was);
    world.connect(&[&node]);
    let (block, _) = world.block_known_to(&node).await;
    for proof_type in [1, 2] {
        let proof = world.signed_proof(&block, proof_type, 3000, 3);
        let (status, answer) = post_ssz(&node.http(PROOFS), proof.to_ssz_bytes()).await;
        assert_eq!(status, 200, "{answer}");
    }
    // In one place, with all that is known.
    let entries = shown(&node).await;
    let [one, two] = &entries[..] else {
        panic!("{entries:?}")
    };
    assert_eq!(
        (
            &one["name"],
            &one["system"],
            &one["key_sha256"],
            &one["guest"],
            &one["version"]
        ),
        (
            &json!("mine-1"),
            &json!("sp1"),
            &json!(KEY),
            &json!("output"),
            &json!("1")
        )
    );
    assert_eq!(
        (&one["proves_nothing"], &two["name"]),
        (&json!(true), &Value::Null)
    );
    assert_ne!(one["entry"], two["entry"]);
    let (_, dashboard) = get(&node.http("/assay/v1/dashboard")).await;
    assert_eq!(dashboard["data"]["entries"], json!(entries));
    let digest = one["entry"].as_str().unwrap().to_owned();
    assert!(node.log().contains(&digest), "said at start");
    let root = block.payload.as_ref().unwrap().request_root;
    assert_eq!(counted(&node, &root).await, (vec![1, 2], true));
    let pid_before = node.endpoints.pid;
    assert_eq!(node.terminate(), Some(0));

    // Another key: the node does not start, and says what to do. So does the doctor.
    let changed = flags(&world, &[entry(1, OTHER_KEY)]);
    let mut refused = NodeProcess::spawn(&datadir, &changed);
    assert_eq!(refused.wait(), Some(1));
    let log = refused.log();
    for says in [
        "proof type 1 has another entry",
        KEY,
        OTHER_KEY,
        "assay db forget-type 1",
    ] {
        assert!(log.contains(says), "{says}: {log}");
    }
    let (code, text) = run(&["doctor"], &datadir, &changed);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("FAIL proof type 1 in the database") && text.contains(OTHER_KEY),
        "{text}"
    );
    let (_, text) = run(&["doctor"], &datadir, &as_it_was);
    assert!(
        !text.contains("in the database") && text.contains(&digest),
        "{text}"
    );

    // What is not said any more is remembered; a number more is no change; the same entry starts.
    let node = NodeProcess::start(&datadir, &flags(&world, &[]));
    assert_ne!(node.endpoints.pid, pid_before);
    assert_eq!(node.terminate(), Some(0));
    let mut refused = NodeProcess::spawn(&datadir, &changed);
    assert_eq!(refused.wait(), Some(1));

    // The old proofs are let go of: those of the other type stay, and the new entry holds.
    let (code, text) = run(&["db", "forget-type", "1", "--dry-run"], &datadir, &[]);
    assert!(
        code == Some(0) && text.contains("1 proofs") && text.contains("counted one for 1 payloads"),
        "{text}"
    );
    let (code, text) = run(&["db", "forget-type", "1"], &datadir, &[]);
    assert!(
        code == Some(0) && text.contains("1 proofs") && text.contains("removed"),
        "{text}"
    );
    let (code, text) = run(&["db", "verify"], &datadir, &[]);
    assert_eq!(code, Some(0), "{text}");
    let node = NodeProcess::start(&datadir, &changed);
    assert_eq!(shown(&node).await[0]["key_sha256"], OTHER_KEY);
    // Nor does the gate count the old ones.
    assert_eq!(counted(&node, &root).await, (vec![2], true));
    let url = node.http(&format!("{PROOFS}/{}", block.block_root));
    let kept = until("the block", &url, |status, _| status == 200).await;
    let types: Vec<&Value> = kept["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|proof| &proof["message"]["proof_type"])
        .collect();
    assert_eq!(types, ["2"]);
}

/// A proof that came unsigned is on no disk but in the gate's records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_unsigned_under_another_key_counts_no_more() {
    let world = World::new(1).await;
    let datadir = world.datadir(1);
    let as_it_was = flags(&world, &[entry(1, KEY)]);
    let node = NodeProcess::start(&datadir, &as_it_was);
    world.connect(&[&node]);
    let block = world.block().await;
    let root = block.payload.as_ref().unwrap().request_root;
    let url = node.http(&format!("{PROOFS}/{}", block.block_root));
    until("the block", &url, |status, _| status == 200).await;
    let jwt = JwtSecret::from_file(&world.jwt_file).unwrap();
    let engine = EngineClient::new(node.endpoints.engine.parse().unwrap(), Some(jwt)).unwrap();
    let dev = DevProver::new(assay::config::DEFAULT_DEV_SEED, 4 << 20);
    let proof = ExecutionProof {
        proof_data: dev.prove(&root, 1, 5000).unwrap(),
        proof_type: 1,
        public_input: PublicInput {
            new_payload_request_root: root,
        },
    };
    let answer: ProofStatusV1 = engine
        .call_within(
            "engine_verifyExecutionProofV1",
            (ExecutionProofJson(&proof.into()),),
            crate::support::PATIENCE,
        )
        .await
        .unwrap();
    assert_eq!(answer.status, ProofValidity::Valid);
    let url = node.http("/assay/v1/payloads?limit=8");
    until("it counts", &url, |_, body| {
        let rows = body["data"].as_array().cloned().unwrap_or_default();
        rows.iter().any(|row| row["proven"] == true)
    })
    .await;
    assert_eq!(node.terminate(), Some(0));
    let node = NodeProcess::start(&datadir, &as_it_was);
    assert_eq!(counted(&node, &root).await, (vec![1], true));
    assert_eq!(node.terminate(), Some(0));

    // Nothing that is kept is in the way of the new key: it starts, says so, and counts nothing.
    let node = NodeProcess::start(&datadir, &flags(&world, &[entry(1, OTHER_KEY)]));
    assert_eq!(counted(&node, &root).await, (vec![], false));
    assert!(
        node.log()
            .contains("this proof type has another entry than before"),
        "{}",
        node.log()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_says_what_its_proofs_are_of() {
    let world = World::new(1).await;
    let datadir = world.datadir(1);
    let as_it_was = flags(&world, &[entry(1, KEY)]);
    let node = NodeProcess::start(&datadir, &as_it_was);
    world.connect(&[&node]);
    let (block, _) = world.block_known_to(&node).await;
    let proof = world.signed_proof(&block, 1, 3000, 3);
    let (status, answer) = post_ssz(&node.http(PROOFS), proof.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(node.terminate(), Some(0));
    let out = world.home.path().join("export");
    let out = out.to_str().unwrap();
    let (code, text) = run(&["db", "export", out], &datadir, &[]);
    assert_eq!(code, Some(0), "{text}");
    let list = std::fs::read(Path::new(out).join("export.json")).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(
        (&list["proof_types"]["1"]["key_sha256"], &list["format"]),
        (&json!(KEY), &json!(1)),
    );
    // Only of what is in it.
    assert_eq!(list["proof_types"]["2"], Value::Null);

    // A number that stands for something else there: nothing is taken.
    let import = ["db", "import", out, "--unverified"];
    let (code, text) = run(&["db", "forget-type", "1"], &datadir, &[]);
    assert_eq!(code, Some(0), "{text}");
    let node = NodeProcess::start(&datadir, &flags(&world, &[entry(1, OTHER_KEY)]));
    assert_eq!(node.terminate(), Some(0));
    let (code, text) = run(&import, &datadir, &[]);
    assert_eq!(code, Some(1), "{text}");
    for says in [KEY, OTHER_KEY, "proof type 1", "assay db forget-type 1"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    let (_, text) = run(&["db", "list", "--json"], &datadir, &[]);
    assert!(!text.contains("\"proof_type\":1"), "{text}");
    // Let go of, it is the export's.
    let (code, text) = run(&["db", "forget-type", "1"], &datadir, &[]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = run(&import, &datadir, &[]);
    assert!(code == Some(0) && text.contains("1 taken"), "{text}");

    // So is a database that it makes: its first start does not take any key.
    let fresh = world.home.path().join("fresh");
    let (code, text) = run(&import, &fresh, &[]);
    assert!(code == Some(0) && text.contains("1 taken"), "{text}");
    for datadir in [&datadir, &fresh] {
        let mut refused = NodeProcess::spawn(datadir, &flags(&world, &[entry(1, OTHER_KEY)]));
        assert_eq!(refused.wait(), Some(1));
        assert!(
            refused.log().contains("proof type 1 has another entry"),
            "{}",
            refused.log()
        );
        let node = NodeProcess::start(datadir, &as_it_was);
        assert_eq!(node.terminate(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_keeps_its_entries_and_its_revision() {
    let world = World::new(1).await;
    let file = world.home.path().join("assay.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    let table = |version: u8| format!("[[proof-type]]\ntype = 1\nname = \"mine\"\nversion = \"{version}\"\n");
    write(&format!("alert-after-slots = 4\n{}", table(1)));
    let mut flags = world.flags(0, "observe", &[]);
    flags.extend(["--config".into(), file.display().to_string()]);
    let node = NodeProcess::start(&world.datadir(1), &flags);
    let before = shown(&node).await;
    assert_eq!(
        (&before[0]["name"], &before[0]["version"]),
        (&json!("mine"), &json!("1"))
    );
    let hup = async |text: &str, says: &str| {
        write(text);
        let pid = node.endpoints.pid.to_string();
        let sent = std::process::Command::new("kill").args(["-HUP", &pid]).status();
        assert!(sent.unwrap().success());
        // Whatever it does, it goes on answering.
        let started = std::time::Instant::now();
        while !node.log().contains(says) {
            assert!(
                started.elapsed() < crate::support::PATIENCE,
                "{says}: {}",
                node.log()
            );
            assert_eq!(shown(&node).await, before);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    hup(
        &format!("alert-after-slots = 5\n{}", table(2)),
        "SIGHUP: the entry of a proof type never changes",
    )
    .await;
    hup(
        &format!("revision = \"beta\"\nalert-after-slots = 6\n{}", table(1)),
        "SIGHUP: this setting takes effect at the next start",
    )
    .await;
    let log = node.log();
    let said = log
        .lines()
        .find(|line| line.contains("takes effect at the next start"));
    assert!(said.unwrap().contains("revision"), "{log}");
    assert_eq!(shown(&node).await, before);
}
