//! Real proofs from end to end: `assay prover` gets them from a proof node, verifies them in its own process, signs and
//! posts them to a node; they go by gossip to a second node; both nodes verify them in theirs. Run by
//! `testnet/native/run.sh`: needs the features `native-sp1` and `native-zisk`.
//!
//! The proofs at hand are of test programs that know no payload. What they stand for is claimed by a table of statements
//! (specs/native-verifiers.md), in the one place where a block validator's commitment would be checked; everything else is
//! as it is in the field, and every surface says that these proofs prove nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

use assay_proof_engine::{
    ProofTypeNames,
    testing::{StubConfig, StubProofNode},
};
use assay_simulator::{
    ProverConfig, SimBlock,
    prover::{ProofMaker, SimProver},
};
use assay_types::{ProofType, Root, SignedExecutionProof};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};
use support::{NodeProcess, PROOFS, World, assay, post_ssz, until};

const SP1: ProofType = 5;
const ZISK: ProofType = 6;
/// Payloads that are proven.
const PAYLOADS: usize = 4;

/// A keystore (pbkdf2 with one round, password "password") of the interop key of validator 3: encrypted key, checksum.
const VALIDATOR_3: (&str, &str) = (
    "60e9c3f6f93ef5cf11ffcf9eae9efb02357de6399336a5be4adde820d44abe5b",
    "892c905a4a1b13f590c4f4c9574e4e59d3ba066955dff0d14295c6cbcb92a90f",
);

/// A real proof, and where its key lies.
struct Sample {
    system: &'static str,
    key: PathBuf,
    proof: Bytes,
    public_values: Vec<u8>,
}

/// `proofs` beside the reference vectors.
fn sample(system: &'static str) -> Sample {
    let vectors = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let folder = vectors.join("../proofs").join(system);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    Sample {
        system,
        key: folder.join("program_vk.bin"),
        proof: read("proof.bin").into(),
        public_values: read("public_values.bin"),
    }
}

fn sha256(bytes: &[u8]) -> Root {
    Root::from(<[u8; 32]>::from(Sha256::digest(bytes)))
}

/// The samples by type, and the table of what they are claimed to stand for.
struct Claims {
    samples: BTreeMap<ProofType, Sample>,
    table: PathBuf,
    writing: Mutex<()>,
}

impl Claims {
    fn new(home: &Path) -> Arc<Self> {
        let table = home.join("statements");
        std::fs::write(&table, "# request root, SHA-256 of public values\n").unwrap();
        Arc::new(Self {
            samples: [(SP1, sample("sp1")), (ZISK, sample("zisk"))].into(),
            table,
            writing: Mutex::new(()),
        })
    }

    /// From now on the sample of this type stands for this payload.
    fn claim(&self, root: Root, proof_type: ProofType) {
        let _one_at_a_time = self.writing.lock();
        let mut table = std::fs::OpenOptions::new()
            .append(true)
            .open(&self.table)
            .unwrap();
        // In one piece: verifiers read at any moment.
        let line = format!("{root} {}\n", sha256(&self.samples[&proof_type].public_values));
        table.write_all(line.as_bytes()).unwrap();
    }

    /// Flags of verifiers for both types, whose keys have the digests they have, the last hex digit changed by `off`.
    fn flags(&self, endpoints: &str, off: bool) -> Vec<String> {
        let mut flags = vec![
            "--proof-engine-endpoint".to_owned(),
            endpoints.to_owned(),
            "--proof-types".into(),
            format!("{SP1},{ZISK}"),
            "--unsafe-native-statements".into(),
        ];
        for (proof_type, sample) in &self.samples {
            let mut digest = sha256(&std::fs::read(&sample.key).unwrap()).0;
            digest[31] ^= u8::from(off);
            flags.push("--native-verifier".into());
            flags.push(format!(
                "{proof_type}:{}:vk={}:sha256={}:guest=unsafe-statements:statements={}",
                sample.system,
                sample.key.display(),
                Root::from(digest),
                self.table.display()
            ));
        }
        flags
    }
}

/// The node's flags, with these proof engines in place of `dev`.
fn node_flags(world: &World, index: usize, peers: &[String], engines: Vec<String>) -> Vec<String> {
    let mut flags = world.flags(index, "require-proofs", peers);
    for flag in ["--proof-engine-endpoint", "--proof-types"] {
        let at = flags.iter().position(|f| f == flag).unwrap();
        flags.drain(at..at + 2);
    }
    flags.extend(engines);
    flags
}

/// `assay prover`; ended by its id when dropped.
struct ProverProcess(Child);

impl ProverProcess {
    fn start(home: &Path, beacon_node: &str, engines: &[String]) -> Self {
        let (keys, password) = (home.join("keys"), home.join("password"));
        let (message, checksum) = VALIDATOR_3;
        let keystore = json!({"crypto": {
                "kdf": {"function": "pbkdf2", "message": "",
                    "params": {"dklen": 32, "c": 1, "prf": "hmac-sha256", "salt": "ab".repeat(32)}},
                "checksum": {"function": "sha256", "params": {}, "message": checksum},
                "cipher": {"function": "aes-128-ctr", "params": {"iv": "07".repeat(16)}, "message": message}},
            "path": "", "uuid": "1", "version": 4});
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join("keystore-3.json"), keystore.to_string()).unwrap();
        std::fs::write(&password, "password").unwrap();
        let log = std::fs::File::create(home.join("prover.log")).unwrap();
        let child = assay()
            .args(["prover", "--beacon-node", beacon_node, "--budget-slots", "1000"])
            .arg("--keystores")
            .arg(keys)
            .arg("--password-file")
            .arg(password)
            .args(engines)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for ProverProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The sample of a type signed for a block by validator 5, bytes as `change` leaves them.
fn signed(
    world: &World,
    claims: &Claims,
    block: &SimBlock,
    proof_type: ProofType,
    change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
) -> SignedExecutionProof {
    let sample = claims.samples[&proof_type].proof.clone();
    let maker: ProofMaker = Arc::new(move |_, _, _| {
        let mut bytes = sample.to_vec();
        change(&mut bytes);
        bytes.into()
    });
    let prover = SimProver::new(ProverConfig {
        targets: Vec::new(),
        proof_types: vec![proof_type],
        proof_size: 0,
        delay: Duration::ZERO,
        validator_index: 5,
        maker,
    })
    .unwrap();
    prover
        .signed_proof(world.simulation.chain(), block, proof_type)
        .unwrap()
        .as_alpha()
        .unwrap()
}

async fn metrics(node: &NodeProcess) -> String {
    reqwest::get(node.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap()
}

/// The value of the line that begins so.
fn counted(metrics: &str, line: &str) -> u64 {
    let value = metrics.lines().find_map(|l| l.strip_prefix(line)).map(str::trim);
    value.map_or(0, |value| value.parse().unwrap())
}

const VALID: &str = r#"assay_proof_engine_calls_total{proof_engine="native",call="verify",outcome="valid"}"#;
const INVALID: &str =
    r#"assay_proof_engine_calls_total{proof_engine="native",call="verify",outcome="invalid"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_proofs_go_from_a_prover_over_a_node_and_gossip_to_a_second_node() {
    let world = World::new(2).await;
    let claims = Claims::new(world.home.path());
    let one = NodeProcess::start(
        &world.datadir(1),
        &node_flags(&world, 0, &[], claims.flags("native", false)),
    );
    let peer = one.endpoints.p2p.clone();
    let two = NodeProcess::start(
        &world.datadir(2),
        &node_flags(
            &world,
            1,
            std::slice::from_ref(&peer),
            claims.flags("native", false),
        ),
    );
    until("peers", &two.http("/assay/v1/status"), |_, b| {
        b["data"]["network"]["connected_peers"] == 1
    })
    .await;
    world.connect(&[&one, &two]);
    for node in [&one, &two] {
        let log = node.log();
        assert!(log.contains("INSECURE native verifier"), "{log}");
        assert_eq!(counted(&metrics(node).await, "assay_proofs_prove_nothing"), 1);
    }

    // A proof node that makes the same proofs for every payload, each claimed to stand for it.
    let spec = world.simulation.chain().lock().spec().as_ref().clone();
    let proof_node = StubProofNode::start(StubConfig {
        seed: "unused".into(),
        names: ProofTypeNames::default(),
        spec,
        proof_size: 0,
        proving_delay: Duration::from_millis(200),
    })
    .await
    .unwrap();
    let making = claims.clone();
    proof_node.set_maker(Arc::new(move |root, proof_type| {
        making.claim(root, proof_type);
        making.samples[&proof_type].proof.clone()
    }));
    let engines = claims.flags(&format!("native,{}", proof_node.url()), false);
    let prover = ProverProcess::start(world.home.path(), &one.endpoints.http, &engines);

    let proven =
        |status: u16, body: &Value| status == 200 && body["data"].as_array().is_some_and(|d| d.len() == 2);
    let mut blocks = Vec::new();
    for _ in 0..PAYLOADS {
        let block = world.block().await;
        for node in [&one, &two] {
            let at = node.http(&format!("{PROOFS}/{}", block.block_root));
            let body = until("both proofs", &at, proven).await;
            for proof in body["data"].as_array().unwrap() {
                assert_eq!(proof["validator_index"], "3", "signed by the prover");
            }
        }
        blocks.push(block);
    }
    // Each node verified each proof itself, once; the second had them from its peer alone.
    for node in [&one, &two] {
        let metrics = metrics(node).await;
        assert_eq!(counted(&metrics, VALID), 2 * PAYLOADS as u64, "{metrics}");
        assert_eq!(counted(&metrics, INVALID), 0, "{metrics}");
    }
    // The prover's own verifier judged them, and not the proof node.
    assert_eq!(proof_node.calls("POST /v1/execution_proof_verifications"), 0);
    drop(prover);

    // The same proofs where nothing claims them for the payload, and with a byte changed where something does.
    let block = world.block().await;
    let root = block.payload.as_ref().unwrap().request_root;
    let at = one.http(&format!("{PROOFS}/{}", block.block_root));
    until("the block", &at, |status, _| status == 200).await;
    let url = one.http(PROOFS);
    let foreign = signed(&world, &claims, &block, SP1, |_| {});
    let (status, body) = post_ssz(&url, foreign.to_ssz_bytes()).await;
    assert_eq!(status, 400, "{body}");
    claims.claim(root, ZISK);
    let changed = signed(&world, &claims, &block, ZISK, |bytes| bytes[100_000] ^= 1);
    let (status, body) = post_ssz(&url, changed.to_ssz_bytes()).await;
    assert_eq!(status, 400, "{body}");
    // What is no proof of the system: the other system's, 4 MiB of anything, an empty one (refused before any verifier).
    let other = claims.samples[&ZISK].proof.clone();
    let foreign = signed(&world, &claims, &block, SP1, move |bytes| *bytes = other.to_vec());
    let garbage = signed(&world, &claims, &block, SP1, |bytes| {
        *bytes = 1u32.to_le_bytes().repeat(1 << 20);
    });
    let empty = signed(&world, &claims, &block, SP1, Vec::clear);
    for bad in [foreign, garbage, empty] {
        let (status, body) = post_ssz(&url, bad.to_ssz_bytes()).await;
        assert_eq!(status, 400, "{body}");
    }
    let whole = signed(&world, &claims, &block, ZISK, |_| {});
    let (status, body) = post_ssz(&url, whole.to_ssz_bytes()).await;
    assert_eq!(status, 200, "{body}");
    let at = two.http(&format!("{PROOFS}/{}", block.block_root));
    until("the whole one at the second node", &at, |_, b| {
        b["data"].as_array().is_some_and(|d| d.len() == 1)
    })
    .await;
    let metrics = metrics(&one).await;
    for line in [
        format!(
            r#"assay_proof_engine_native_refused_total{{proof_type="{SP1}",reason="other_statement"}} 1"#
        ),
        format!(r#"assay_proof_engine_native_refused_total{{proof_type="{SP1}",reason="malformed"}} 2"#),
        format!(
            r#"assay_proof_engine_native_refused_total{{proof_type="{ZISK}",reason="does_not_verify"}} 1"#
        ),
        "assay_proof_engine_native_overdue_total 0".to_owned(),
        "assay_proof_engine_native_under_way 0".to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    eprintln!(
        "{PAYLOADS} payloads, a proof of SP1 and one of ZisK each: made, verified and signed by the prover, verified by \
         node 1, by gossip to node 2, verified there; a proof of another payload, a changed one, one of another system, 4 MiB of garbage and an empty one \
         refused"
    );
    assert_eq!(one.terminate(), Some(0));
    assert_eq!(two.terminate(), Some(0));
    world.simulation.stop();
}

/// What is wrong with keys is told at start, before the beacon node is waited for.
#[test]
fn a_key_that_is_not_the_one_named_ends_the_start() {
    let home = tempfile::tempdir().unwrap();
    let claims = Claims::new(home.path());
    let start = |name: &str, flags: &[String]| {
        let mut all = vec!["--beacon-node".to_owned(), "http://127.0.0.1:1".to_owned()];
        all.extend_from_slice(flags);
        let mut node = NodeProcess::spawn(&home.path().join(name), &all);
        (node.wait(), node.log())
    };
    let (code, log) = start("other", &claims.flags("native", true));
    assert_eq!(code, Some(1), "{log}");
    assert!(
        log.contains("--native-verifier of type 5") && log.contains("has SHA-256"),
        "{log}"
    );

    // A file that is not there, one cut short under its own digest, and a digest that is none.
    let cut = home.path().join("cut.vk");
    std::fs::write(&cut, &std::fs::read(&claims.samples[&SP1].key).unwrap()[..31]).unwrap();
    let missing = home.path().join("missing.vk");
    for (name, vk, digest, says) in [
        (
            "missing",
            &missing,
            sha256(&[]).to_string(),
            "missing.vk cannot be read",
        ),
        (
            "cut",
            &cut,
            sha256(&std::fs::read(&cut).unwrap()).to_string(),
            "a program key of sp1 has 32 bytes, this one 31",
        ),
        ("digest", &cut, "0x00".to_owned(), "64 hex digits"),
    ] {
        let verifier = format!("5:sp1:vk={}:sha256={digest}:guest=output", vk.display());
        let flags = [
            "--proof-engine-endpoint",
            "native",
            "--proof-types",
            "5",
            "--native-verifier",
            &verifier,
        ];
        let (code, log) = start(name, &flags.map(str::to_owned));
        assert_eq!(code, Some(1), "{name}: {log}");
        assert!(log.contains(says), "{name}: {log}");
    }

    let mut flags = claims.flags("native", false);
    flags.retain(|flag| flag != "--unsafe-native-statements");
    let (code, log) = start("safe", &flags);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("only with --unsafe-native-statements"), "{log}");
}
