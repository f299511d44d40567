//! What stands behind the number of a proof type is one entry: shown, never changed while a node runs, and found out where it
//! is another at a restart.

use crate::support::{NodeProcess, World, assay, get, post_ssz, until};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio};

const PROOFS: &str = "/eth/v1/beacon/execution_proofs";
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_under_the_same_number_is_found_out_at_the_start() {
    let world = World::new(1).await;
    let datadir = world.datadir(1);
    let as_it_was = flags(&world, &[entry(1, KEY)]);
    let node = NodeProcess::start(&datadir, &as_it_was);
    world.connect(&[&node]);
    let block = world.block().await;
    let url = node.http(&format!("{PROOFS}/{}", block.block_root));
    until("the block", &url, |status, _| status == 200).await;
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
    assert!(code == Some(0) && text.contains("1 proofs"), "{text}");
    let (code, text) = run(&["db", "forget-type", "1"], &datadir, &[]);
    assert!(
        code == Some(0) && text.contains("1 proofs") && text.contains("removed"),
        "{text}"
    );
    let (code, text) = run(&["db", "verify"], &datadir, &[]);
    assert_eq!(code, Some(0), "{text}");
    let node = NodeProcess::start(&datadir, &changed);
    assert_eq!(shown(&node).await[0]["key_sha256"], OTHER_KEY);
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
