//! `assay prover` beside a node: every payload is proven once a type, by the validator whose key it has.

use crate::support::{NodeProcess, PATIENCE, World, assay, get, until};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Instant,
};

const PROOFS: &str = "/eth/v1/beacon/execution_proofs";

/// Keystores (pbkdf2 with one round, password "password") of the interop keys of validator 3, and of 99, who is in no
/// registry here: encrypted key and checksum.
const VALIDATOR_3: (&str, &str) = (
    "60e9c3f6f93ef5cf11ffcf9eae9efb02357de6399336a5be4adde820d44abe5b",
    "892c905a4a1b13f590c4f4c9574e4e59d3ba066955dff0d14295c6cbcb92a90f",
);
const VALIDATOR_99: (&str, &str) = (
    "615c699bf116c5b5f23687a29f6ff55dd30fdca8a8bfbbc096e5432a011e6379",
    "2442ea5c3fead22447308ebe4c90a0dff9a9199acef4b6c05364648719249019",
);

fn keystore((message, checksum): (&str, &str)) -> String {
    json!({"crypto": {
            "kdf": {"function": "pbkdf2", "message": "",
                "params": {"dklen": 32, "c": 1, "prf": "hmac-sha256", "salt": "ab".repeat(32)}},
            "checksum": {"function": "sha256", "params": {}, "message": checksum},
            "cipher": {"function": "aes-128-ctr", "params": {"iv": "07".repeat(16)}, "message": message}},
        "path": "", "uuid": "1", "version": 4})
    .to_string()
}

/// A directory of keystores and a file with their password.
fn keys(home: &Path, password: &str) -> (PathBuf, PathBuf) {
    let (directory, file) = (home.join("keys"), home.join("password"));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("keystore-3.json"), keystore(VALIDATOR_3)).unwrap();
    std::fs::write(directory.join("keystore-99.json"), keystore(VALIDATOR_99)).unwrap();
    std::fs::write(&file, password).unwrap();
    (directory, file)
}

/// A prover's process; ended by its id when dropped.
struct ProverProcess {
    child: Child,
    log: PathBuf,
}

impl ProverProcess {
    fn start(home: &Path, beacon_node: &str, password: &str) -> Self {
        let (directory, file) = keys(home, password);
        let log = home.join("prover.log");
        let child = assay()
            .args([
                "prover",
                "--beacon-node",
                beacon_node,
                "--proof-engine-endpoint",
                "dev",
            ])
            .args(["--proof-types", "1,2", "--budget-slots", "1000"])
            .arg("--keystores")
            .arg(directory)
            .arg("--password-file")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn ended(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the prover did not end:\n{}",
                self.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for ProverProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_payload_is_proven_once_a_type() {
    let world = World::new(1).await;
    let node = NodeProcess::start(&world.datadir(1), &world.flags(0, "observe", &[]));
    world.connect(&[&node]);
    let before = world.block().await;
    // The node is the prover's beacon node too: what it does not serve itself passes through.
    let mut prover = ProverProcess::start(world.home.path(), &node.endpoints.http, "password\n");
    let proven =
        |status: u16, body: &Value| status == 200 && body["data"].as_array().is_some_and(|d| d.len() == 2);
    let mut blocks = vec![before];
    for _ in 0..4 {
        let block = blocks.last().unwrap();
        let at = node.http(&format!("{PROOFS}/{}", block.block_root));
        let body = until("both proofs", &at, proven).await;
        let mut types: Vec<&str> = Vec::new();
        for proof in body["data"].as_array().unwrap() {
            assert_eq!(proof["validator_index"], "3");
            types.push(proof["message"]["proof_type"].as_str().unwrap());
        }
        types.sort_unstable();
        assert_eq!(types, ["1", "2"]);
        blocks.push(world.block().await);
    }
    let log = prover.log();
    assert!(log.contains("the beacon node knows no such validator"), "{log}");
    assert!(log.contains("INSECURE proof engine"), "{log}");
    assert!(!log.contains("too late") && !log.contains("failed"), "{log}");
    // One line a proof: none was made twice.
    for block in &blocks[..4] {
        let root = block.payload.as_ref().unwrap().request_root.to_string();
        let lines = log
            .lines()
            .filter(|l| l.contains("proved") && l.contains(&root))
            .count();
        assert_eq!(lines, 2, "{log}");
    }
    assay::signals::terminate(prover.child.id());
    assert_eq!(prover.ended(), Some(0));
    // Nothing of a key is in the log.
    assert!(
        !log.contains(&VALIDATOR_3.0[..16]) && !log.contains("password"),
        "{log}"
    );
    let (status, _) = get(&node.http("/eth/v1/node/health")).await;
    assert_eq!(status, 200);
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}

#[test]
fn a_wrong_password_ends_it_with_the_files_named() {
    let home = tempfile::tempdir().unwrap();
    let mut prover = ProverProcess::start(home.path(), "http://127.0.0.1:1", "another");
    assert_eq!(prover.ended(), Some(1));
    let log = prover.log();
    for says in [
        "--keystores",
        "keystore-3.json: wrong password",
        "keystore-99.json: wrong password",
    ] {
        assert!(log.contains(says), "{says} is not in {log}");
    }
}
