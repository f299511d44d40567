//! Provers, in processes of their own and inside a node: every payload is proven once a type, by the validator whose key
//! they have, whatever goes wrong on the way.

use crate::support::{NodeProcess, PATIENCE, PROOFS, World, assay, get, until};
use assay_engine_api::JwtSecret;
use assay_proof_engine::{
    ProofTypeNames,
    testing::{Faults, StubConfig, StubEngineApi, StubProofNode},
};
use assay_prover::testing::{SignerFaults, StubWeb3Signer};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

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
pub(crate) fn keys(home: &Path, password: &str) -> (PathBuf, PathBuf) {
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
        let flags = [
            "--proof-engine-endpoint",
            "dev",
            "--proof-types",
            "1,2",
            "--metrics-port",
            "0",
            "--keystores",
            &directory.display().to_string(),
            "--password-file",
            &file.display().to_string(),
        ];
        Self::with(home, beacon_node, &flags.map(str::to_owned))
    }

    /// Time is no matter here: the budget is an hour.
    fn with(home: &Path, beacon_node: &str, flags: &[String]) -> Self {
        let log = home.join("prover.log");
        let child = assay()
            .args(["prover", "--beacon-node", beacon_node, "--budget-slots", "1000"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// What its metrics server says; the address is in the log.
    async fn metrics(&self) -> String {
        let log = self.log();
        let line = log
            .lines()
            .find(|l| l.contains("metrics server listens"))
            .unwrap();
        let at = line.find("127.0.0.1:").unwrap();
        let address: String = line[at..]
            .chars()
            .take_while(|c| c.is_ascii_digit() || ".:".contains(*c))
            .collect();
        let answer = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
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

/// A beacon node of today has no route for proofs: that is no reason to try until it is too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_without_the_route_for_proofs_is_told_with_what_to_do() {
    let world = World::new(1).await;
    let beacon_node = world.simulation.beacon_url(0).unwrap();
    let mut prover = ProverProcess::start(world.home.path(), &beacon_node, "password\n");
    assert_eq!(prover.ended(), Some(1));
    let log = prover.log();
    assert!(
        log.contains("--beacon-node: HTTP 404") && log.contains("--post-to"),
        "{log}"
    );

    // One that loses the route: empty bodies it still knows how to refuse.
    let answer = |body: axum::body::Bytes| async move {
        if body.is_empty() {
            axum::http::StatusCode::BAD_REQUEST
        } else {
            axum::http::StatusCode::NOT_FOUND
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(axum::routing::any(answer));
    tokio::spawn(std::future::IntoFuture::into_future(axum::serve(
        listener, router,
    )));
    let (directory, file) = keys(world.home.path(), "password\n");
    let flags = [
        "--proof-engine-endpoint",
        "dev",
        "--post-to",
        &url,
        "--keystores",
        &directory.display().to_string(),
        "--password-file",
        &file.display().to_string(),
    ];
    world.connect_past_nodes();
    let prover = ProverProcess::with(world.home.path(), &beacon_node, &flags.map(str::to_owned));
    let started = Instant::now();
    while !prover.log().contains("it has no route for execution proofs") {
        assert!(started.elapsed() < PATIENCE, "{}", prover.log());
        world.block().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let log = prover.log();
    assert!(
        log.contains("failed") && log.contains("--post-to") && !log.contains("too late"),
        "{log}"
    );
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
    let metrics = prover.metrics().await;
    let count = |name: &str| -> u64 {
        let line = metrics.lines().find(|l| l.starts_with(&format!("{name} ")));
        let value = line.and_then(|l| l.split(' ').nth(1));
        value
            .unwrap_or_else(|| panic!("{name} is not in {metrics}"))
            .parse()
            .unwrap()
    };
    assert!(count("assay_prover_proved_total") >= 8, "{metrics}");
    assert!(count("assay_prover_requested_total") >= 8, "{metrics}");
    assert!(count("assay_prover_proved_after_seconds_count") >= 8, "{metrics}");
    assert_eq!(
        count("assay_prover_too_late_total") + count("assay_prover_failed_total"),
        0
    );
    assert_eq!(count("assay_signer_active_validators"), 1);
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

fn held(n: usize) -> impl Fn(u16, &Value) -> bool {
    move |status, body| status == 200 && body["data"].as_array().is_some_and(|d| d.len() == n)
}

/// Flags of a node whose proofs of types 5 and 6 are judged by this proof node.
fn judged_by(world: &World, index: usize, proof_node: &str, peers: &[String]) -> Vec<String> {
    let mut flags = world.flags(index, "observe", peers);
    for (flag, value) in [("--proof-engine-endpoint", proof_node), ("--proof-types", "5,6")] {
        let at = flags.iter().position(|f| f == flag).unwrap() + 1;
        flags[at] = value.to_owned();
    }
    flags
}

async fn proof_node(world: &World) -> StubProofNode {
    let spec = world.simulation.chain().lock().spec().as_ref().clone();
    let config = StubConfig {
        seed: assay::config::DEFAULT_DEV_SEED.into(),
        names: ProofTypeNames::default(),
        spec,
        proof_size: 300_000,
        proving_delay: Duration::from_millis(50),
    };
    StubProofNode::start(config).await.unwrap()
}

/// Prover, node, gossip, second node; the prover's proof node has one fault after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_goes_the_whole_way_past_every_fault() {
    let world = World::new(2).await;
    let (makes, judges) = (proof_node(&world).await, proof_node(&world).await);
    let first = NodeProcess::start(&world.datadir(1), &judged_by(&world, 0, &judges.url(), &[]));
    let peer = [first.endpoints.p2p.clone()];
    let second = NodeProcess::start(&world.datadir(2), &judged_by(&world, 1, &judges.url(), &peer));
    world.connect(&[&first, &second]);
    let (directory, password) = keys(world.home.path(), "password");
    let flags = [
        "--proof-engine-endpoint",
        &makes.url(),
        "--proof-types",
        "5,6",
        "--keystores",
        &directory.display().to_string(),
        "--password-file",
        &password.display().to_string(),
    ];
    let prover = ProverProcess::with(
        world.home.path(),
        &first.endpoints.http,
        &flags.map(str::to_owned),
    );
    let faults = [
        Faults::default(),
        Faults {
            lose_events: true,
            ..Faults::default()
        },
        Faults {
            break_streams: true,
            ..Faults::default()
        },
        Faults {
            absent_downloads: 3,
            ..Faults::default()
        },
        Faults {
            failing_calls: 4,
            ..Faults::default()
        },
        Faults {
            slow_bodies: Some(Duration::from_millis(700)),
            ..Faults::default()
        },
    ];
    let mut blocks = Vec::new();
    for fault in faults {
        let what = format!("{fault:?}");
        makes.set_faults(fault);
        let block = world.block().await;
        let at = format!("{PROOFS}/{}", block.block_root);
        until(&what, &second.http(&at), held(2)).await;
        blocks.push(block);
    }
    // What is not good is not signed: INVALID, empty, a gigabyte, of another payload, of another type. It is made anew.
    let bad = [
        Faults {
            say_invalid: true,
            ..Faults::default()
        },
        Faults {
            empty_downloads: true,
            ..Faults::default()
        },
        Faults {
            endless_downloads: Some(1 << 30),
            ..Faults::default()
        },
        Faults {
            other_root: true,
            ..Faults::default()
        },
        Faults {
            other_type: true,
            ..Faults::default()
        },
        Faults {
            fail_proving: Some("out of gas".into()),
            ..Faults::default()
        },
    ];
    for fault in bad {
        let what = format!("{fault:?}");
        // Asked for again, or fetched again.
        let asked = || {
            let calls = ["POST /v1/execution_proof_requests", "GET /v1/execution_proofs/"];
            calls.map(|call| makes.calls(call)).iter().sum::<u64>()
        };
        let before = asked();
        makes.set_faults(fault);
        let block = world.block().await;
        let started = Instant::now();
        while asked() < before + 4 && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let at = format!("{PROOFS}/{}", block.block_root);
        let (_, body) = get(&first.http(&at)).await;
        assert!(held(0)(200, &body), "{what}: {body}");
        makes.set_faults(Faults::default());
        until(&what, &second.http(&at), held(2)).await;
        blocks.push(block);
    }
    // Every proof came by gossip, once: nothing was posted twice, nothing was refused.
    let expected = 2 * blocks.len();
    let verdicts = |text: &str, label: &str| -> Vec<String> {
        let ours = |l: &&str| l.starts_with("assay_verification_verdicts_total") && l.contains(label);
        text.lines().filter(ours).map(str::to_owned).collect()
    };
    for (node, label) in [(&first, "source=\"http\""), (&second, "source=\"gossip\"")] {
        let text = reqwest::get(node.http("/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let found = verdicts(&text, label);
        let all_good =
            found.len() == 1 && found[0].contains("accept") && found[0].ends_with(&format!(" {expected}"));
        assert!(all_good, "{found:?}, {expected} expected");
    }
    let log = prover.log();
    for says in ["says INVALID", "out of gas", "computes the request root"] {
        assert!(log.contains(says), "{says} is not in {log}");
    }
    drop(prover);
    assert_eq!(first.terminate(), Some(0));
    assert_eq!(second.terminate(), Some(0));
    world.simulation.stop();
}

/// The prover inside the node, its key behind a remote signer that knows its clients by certificates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_proves_with_a_remote_signer() {
    let world = World::new(2).await;
    let (signer, files) = StubWeb3Signer::start_tls(&[3, 99], world.home.path())
        .await
        .unwrap();
    let mut flags = world.flags(0, "require-proofs", &[]);
    let path = |path: &Path| path.display().to_string();
    flags.extend(
        [
            "--prover",
            "--prove-types",
            "2",
            "--budget-slots",
            "1000",
            "--web3-signer-url",
            signer.url(),
            "--web3-signer-ca",
            &path(&files.ca),
            "--web3-signer-client-cert",
            &path(&files.client.0),
            "--web3-signer-client-key",
            &path(&files.client.1),
            "--web3-signer-timeout-ms",
            "2000",
        ]
        .map(str::to_owned),
    );
    let node = NodeProcess::start(&world.datadir(1), &flags);
    let peer = [node.endpoints.p2p.clone()];
    let second = NodeProcess::start(&world.datadir(2), &world.flags(1, "observe", &peer));
    world.connect(&[&node, &second]);
    let none = SignerFaults::default;
    let passing = [
        none(),
        SignerFaults {
            failing_calls: 4,
            ..none()
        },
        SignerFaults {
            plain_text: true,
            ..none()
        },
    ];
    for fault in passing {
        let what = format!("{fault:?}");
        signer.set_faults(fault);
        let block = world.block().await;
        let at = format!("{PROOFS}/{}", block.block_root);
        let body = until(&what, &second.http(&at), held(1)).await;
        assert_eq!(body["data"][0]["validator_index"], "3");
        assert_eq!(body["data"][0]["message"]["proof_type"], "2");
    }
    let stopping = [
        SignerFaults {
            other_key: true,
            ..none()
        },
        SignerFaults {
            unknown_type: true,
            ..none()
        },
        SignerFaults {
            endless: Some(1024),
            ..none()
        },
        SignerFaults {
            silent: true,
            ..none()
        },
    ];
    for fault in stopping {
        let what = format!("{fault:?}");
        let asked = signer.sign_calls();
        signer.set_faults(fault);
        let block = world.block().await;
        let started = Instant::now();
        while signer.sign_calls() < asked + 2 && started.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(signer.sign_calls() >= asked + 2, "{what}: not asked again");
        let at = format!("{PROOFS}/{}", block.block_root);
        let (_, body) = get(&node.http(&at)).await;
        assert!(held(0)(200, &body), "{what}: {body}");
        signer.set_faults(none());
        until(&what, &second.http(&at), held(1)).await;
    }
    let metrics = reqwest::get(node.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for line in [
        "assay_prover_proved_total 7",
        "assay_prover_too_late_total 0",
        "assay_prover_failed_total 0",
        "assay_signer_active_validators 1",
        "assay_verification_verdicts_total{source=\"prover\",verdict=\"accept\",reason=\"\"} 7",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let log = node.log();
    for says in [
        "does not verify",
        "unknown type id",
        "no signature",
        "timed out",
        "this node is a prover",
    ] {
        assert!(log.contains(says), "{says} is not in {log}");
    }
    // The gate counts what this node proved itself.
    let rows = get(&node.http("/assay/v1/payloads")).await.1;
    let proven = |row: &&Value| row["proven_at_ms"].is_u64() && row["proven_chain"] == true;
    assert_eq!(
        rows["data"].as_array().unwrap().iter().filter(proven).count(),
        7,
        "{rows}"
    );
    assert_eq!(node.terminate(), Some(0));
    assert_eq!(second.terminate(), Some(0));
    world.simulation.stop();
}

/// An execution client that makes proofs posts them to the node that asked, not to the prover inside: the prover hears of
/// them, and none is too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_proves_with_an_execution_client_takes_what_it_brings() {
    let world = World::new(1).await;
    let jwt = JwtSecret::from_file(&world.jwt_file).unwrap();
    let spec = world.simulation.chain().lock().spec().as_ref().clone();
    let client = StubEngineApi::start(assay::config::DEFAULT_DEV_SEED, spec, jwt)
        .await
        .unwrap();
    let (directory, password) = keys(world.home.path(), "password");
    let mut flags = world.flags(0, "observe", &[]);
    for (flag, value) in [
        ("--proof-engine-endpoint", format!("engine+{}", client.url())),
        ("--proof-types", "1,2".to_owned()),
    ] {
        let at = flags.iter().position(|f| f == flag).unwrap() + 1;
        flags[at] = value;
    }
    let path = |p: &Path| p.display().to_string();
    flags.extend([
        "--proof-engine-jwt".to_owned(),
        path(&world.jwt_file),
        "--prover".to_owned(),
        "--budget-slots".to_owned(),
        "1000".to_owned(),
        "--keystores".to_owned(),
        path(&directory),
        "--password-file".to_owned(),
        path(&password),
    ]);
    let node = NodeProcess::start(&world.datadir(1), &flags);
    client.set_relay(&node.endpoints.http);
    world.connect(&[&node]);
    for _ in 0..3 {
        let block = world.block().await;
        let at = node.http(&format!("{PROOFS}/{}", block.block_root));
        let body = until("both proofs", &at, held(2)).await;
        assert_eq!(body["data"][0]["validator_index"], "3");
    }
    // A few moments later the duty has heard of the last.
    let started = Instant::now();
    loop {
        let answer = reqwest::get(node.http("/metrics")).await.unwrap();
        let metrics = answer.text().await.unwrap();
        let none_left = metrics.contains("assay_prover_proving 0");
        if none_left || started.elapsed() > PATIENCE {
            let count = |name: &str| -> u64 {
                let line = metrics.lines().find(|l| l.starts_with(&format!("{name} ")));
                line.and_then(|l| l.split(' ').nth(1)).unwrap().parse().unwrap()
            };
            assert!(none_left, "{metrics}");
            assert!(count("assay_prover_proved_total") >= 6, "{metrics}");
            assert_eq!(count("assay_prover_too_late_total"), 0, "{metrics}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        client.answers().iter().all(|status| *status == 200),
        "{:?}",
        client.answers()
    );
    assert_eq!(node.terminate(), Some(0));
    world.simulation.stop();
}
