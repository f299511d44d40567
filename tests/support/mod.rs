//! Shared by the end-to-end tests: nodes as processes over the simulator, everything on loopback, ended by process id.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod envelope_prover;

use assay::endpoints::Endpoints;
use assay_engine_api::{EngineClient, JwtSecret};
use assay_proof_engine::DevProver;
use assay_simulator::{
    ChainConfig, FollowerConfig, ProverConfig, SimBlock, Simulation, SimulationConfig,
    consensus::ConsensusDriver,
    prover::{ProofMaker, SimProver},
    simulation::now_ms,
};
use assay_types::{
    ForkName, ProofMessage, ProofType, Revision, SecretKey, SignedExecutionProof, SignedProof, Slot, Spec,
    StatedInput, proof_beta::PublicInput,
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Bound of every wait: far more than a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test.
pub(crate) fn assay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("ASSAY_")) {
            command.env_remove(name);
        }
    }
    command
}

/// A node's process; ended by its id when dropped.
pub(crate) struct NodeProcess {
    child: Child,
    pub(crate) endpoints: Endpoints,
    pub(crate) datadir: PathBuf,
}

impl NodeProcess {
    /// Starts a node and waits until it listens.
    pub(crate) fn start(datadir: &Path, flags: &[String]) -> Self {
        let mut node = Self::spawn(datadir, flags);
        let started = Instant::now();
        loop {
            if let Some(status) = node.child.try_wait().unwrap() {
                panic!("the node ended with {status}:\n{}", node.log());
            }
            if let Some(endpoints) = Endpoints::read(datadir, Some(node.child.id())) {
                node.endpoints = endpoints;
                return node;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the node did not come up:\n{}",
                node.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts a node that may not come up.
    pub(crate) fn spawn(datadir: &Path, flags: &[String]) -> Self {
        std::fs::create_dir_all(datadir).unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(datadir.join("node.log"))
            .unwrap();
        let child = assay()
            .arg("node")
            .arg("--datadir")
            .arg(datadir)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self {
            child,
            endpoints: Endpoints::default(),
            datadir: datadir.to_owned(),
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.datadir.join("node.log")).unwrap_or_default()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        assay::signals::terminate(self.child.id());
        self.wait()
    }

    /// Waits for the end, bounded; the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the node did not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("{}{path}", self.endpoints.http)
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A simulated network without nodes yet.
pub(crate) struct World {
    pub(crate) simulation: Arc<Simulation>,
    pub(crate) home: tempfile::TempDir,
    pub(crate) jwt_file: PathBuf,
    next_slot: std::sync::atomic::AtomicU64,
}

/// Seconds of a slot: every block's slot lies in the past, so tests need not wait for the clock.
const SLOT_SECONDS: u64 = 2;

/// Slot of the first block: the first of an epoch.
const FIRST_SLOT: u64 = 40;

impl World {
    pub(crate) async fn new(followers: usize) -> Self {
        Self::from_slot(followers, FIRST_SLOT).await
    }

    /// A network whose first block is in the slot `first`: at most the 64th is not in the future.
    pub(crate) async fn from_slot(followers: usize, first: u64) -> Self {
        Self::with(followers, first, Spec::minimal()).await
    }

    /// A network that came to Gloas with its first block; genesis is of Fulu.
    pub(crate) async fn gloas(followers: usize) -> Self {
        let mut spec = Spec::minimal();
        let epoch = spec.epoch_at_slot(Slot(FIRST_SLOT));
        for entry in &mut spec.fork_schedule {
            if entry.0 == ForkName::Gloas {
                entry.2 = epoch;
            }
        }
        Self::with(followers, FIRST_SLOT, spec).await
    }

    async fn with(followers: usize, first: u64, spec: Spec) -> Self {
        assay_engine_api::install_crypto_provider();
        let home = tempfile::tempdir().unwrap();
        let jwt = JwtSecret::generate();
        let jwt_file = home.path().join("jwt.hex");
        jwt.write_new_file(&jwt_file).unwrap();
        let simulation = Simulation::start(SimulationConfig {
            chain: ChainConfig {
                spec: Spec {
                    slot_duration_ms: SLOT_SECONDS * 1000,
                    chain_id: 1337,
                    ..spec
                },
                genesis_time: now_ms() / 1000 - 64 * SLOT_SECONDS,
                validators: 16,
                payload_bytes: 5000,
                seed: now_ms(),
            },
            followers,
            listen: std::net::Ipv4Addr::LOCALHOST.into(),
            jwt,
        })
        .await
        .unwrap();
        Self {
            simulation: Arc::new(simulation),
            home,
            jwt_file,
            next_slot: first.into(),
        }
    }

    /// Flags of a node beside follower `index`.
    pub(crate) fn flags(&self, index: usize, policy: &str, peers: &[String]) -> Vec<String> {
        let mut flags: Vec<String> = [
            "--beacon-node",
            &self.simulation.beacon_url(index).unwrap(),
            "--execution-endpoint",
            &self.simulation.execution(index).unwrap().url(),
            "--execution-jwt",
            &self.jwt_file.display().to_string(),
            "--engine-port",
            "0",
            "--http-port",
            "0",
            "--listen-address",
            "127.0.0.1",
            "--port",
            "0",
            "--proof-engine-endpoint",
            "dev",
            "--proof-types",
            "1,2",
            "--import-policy",
            policy,
        ]
        .iter()
        .map(|s| (*s).to_owned())
        .collect();
        for peer in peers {
            flags.push("--peer".into());
            flags.push(peer.clone());
        }
        flags
    }

    pub(crate) fn datadir(&self, index: usize) -> PathBuf {
        self.home.path().join(format!("node-{index}"))
    }

    /// Lets the followers call these nodes.
    pub(crate) fn connect(&self, nodes: &[&NodeProcess]) {
        let engines = nodes
            .iter()
            .map(|n| FollowerConfig {
                engine_url: n.endpoints.engine.clone(),
            })
            .collect();
        self.simulation.connect(engines).unwrap();
    }

    /// Lets the only follower call what listens there.
    pub(crate) fn connect_to(&self, engine_url: String) {
        self.simulation
            .connect(vec![FollowerConfig { engine_url }])
            .unwrap();
    }

    /// The next block on the head, imported by a beacon node that has no answer of its Engine API: the execution client
    /// has the payload from its own peers.
    pub(crate) async fn block_past_the_node(&self, index: usize) -> Arc<SimBlock> {
        let slot = self.next_slot.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let block = self.simulation.chain().lock().produce(Slot(slot), None).unwrap();
        let url = self.simulation.execution(index).unwrap().url().parse().unwrap();
        let jwt = JwtSecret::from_file(&self.jwt_file).unwrap();
        let follower = self.simulation.follower(index).unwrap().clone();
        let driver = ConsensusDriver::new(EngineClient::new(url, Some(jwt)).unwrap(), follower);
        assert!(driver.new_payload(&block).await);
        driver.import(&block, true);
        block
    }

    /// Lets every follower call its execution client itself: nodes know the chain from the Beacon API alone.
    pub(crate) fn connect_past_nodes(&self) {
        let urls = (0..).map_while(|index| self.simulation.execution(index).map(|e| e.url()));
        let engines = urls.map(|engine_url| FollowerConfig { engine_url }).collect();
        self.simulation.connect(engines).unwrap();
    }

    /// The next block on the head.
    pub(crate) async fn block(&self) -> Arc<SimBlock> {
        let slot = self.next_slot.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.simulation.produce(Slot(slot), None).await.unwrap()
    }

    /// The next block on the head, once a node knows it, and where that node has its proofs.
    pub(crate) async fn block_known_to(&self, node: &NodeProcess) -> (Arc<SimBlock>, String) {
        let block = self.block().await;
        let url = node.http(&format!("{PROOFS}/{}", block.block_root));
        until("the block", &url, |status, _| status == 200).await;
        (block, url)
    }

    /// A block on `parent`, beside the head where another block is on it already.
    pub(crate) async fn block_on(&self, parent: assay_types::Root) -> Arc<SimBlock> {
        let slot = self.next_slot.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.simulation.produce(Slot(slot), Some(parent)).await.unwrap()
    }

    /// A development proof of a block's payload, signed by an interop key.
    pub(crate) fn signed_proof(
        &self,
        block: &SimBlock,
        proof_type: ProofType,
        size: usize,
        validator: u64,
    ) -> SignedExecutionProof {
        let dev = DevProver::new(assay::config::DEFAULT_DEV_SEED, 4 << 20);
        let maker =
            Arc::new(move |input: &StatedInput, kind, size| dev.prove_stated(input, kind, size).unwrap());
        self.signed(block, proof_type, size, validator, maker)
    }

    /// The same proof as an envelope of `beta`, which names the block.
    pub(crate) fn envelope(
        &self,
        block: &SimBlock,
        proof_type: ProofType,
        size: usize,
        validator: u64,
    ) -> SignedProof {
        let chain_id = self.simulation.chain().lock().spec().chain_id;
        self.envelope_of_chain(block, proof_type, size, validator, chain_id)
    }

    /// As `envelope`, with a proof made for the chain of this id.
    pub(crate) fn envelope_of_chain(
        &self,
        block: &SimBlock,
        proof_type: ProofType,
        size: usize,
        validator: u64,
        chain_id: u64,
    ) -> SignedProof {
        let dev = DevProver::new(assay::config::DEFAULT_DEV_SEED, 4 << 20);
        let payload = block.payload.as_ref().unwrap();
        let (mut spec, genesis) = {
            let chain = self.simulation.chain().lock();
            (Spec::clone(chain.spec()), chain.genesis())
        };
        spec.revision = Revision::Beta;
        let input = StatedInput::Beta(PublicInput {
            chain_id,
            ..PublicInput::of_valid_payload(&spec, payload.request_root)
        });
        let message = ProofMessage {
            proof_data: dev.prove_stated(&input, proof_type, size).unwrap(),
            proof_type,
            root: block.block_root,
        };
        let epoch = spec.epoch_at_slot(block.slot);
        let root = spec.proof_message_root(epoch, &message);
        let signing_root = spec.execution_proof_signing_root(&genesis, epoch, &root);
        SignedProof {
            revision: Revision::Beta,
            message,
            validator_index: validator,
            signature: SecretKey::interop(validator).sign(&signing_root),
        }
    }

    /// A proof that the engine calls invalid, signed as it should be.
    pub(crate) fn invalid_proof(
        &self,
        block: &SimBlock,
        proof_type: ProofType,
        validator: u64,
    ) -> SignedExecutionProof {
        let maker = Arc::new(|_: &StatedInput, _, size: usize| vec![1; size].into());
        self.signed(block, proof_type, 500, validator, maker)
    }

    fn signed(
        &self,
        block: &SimBlock,
        proof_type: ProofType,
        size: usize,
        validator: u64,
        maker: ProofMaker,
    ) -> SignedExecutionProof {
        let prover = SimProver::new(ProverConfig {
            targets: Vec::new(),
            proof_types: vec![proof_type],
            proof_size: size,
            delay: Duration::ZERO,
            validator_index: validator,
            maker,
        })
        .unwrap();
        prover
            .signed_proof(self.simulation.chain(), block, proof_type)
            .unwrap()
            .as_alpha()
            .unwrap()
    }
}

/// Posts SSZ; the status and the body.
pub(crate) async fn post_ssz(url: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    post(url, "application/octet-stream", body).await
}

pub(crate) async fn post(url: &str, kind: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .post(url)
        .header("content-type", kind)
        .body(body)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

pub(crate) async fn get(url: &str) -> (u16, Value) {
    let answer = reqwest::get(url).await.unwrap();
    let status = answer.status().as_u16();
    (
        status,
        serde_json::from_str(&answer.text().await.unwrap()).unwrap_or(Value::Null),
    )
}

/// A counter or gauge of a node's `/metrics`, all its label sets together; 0 where it is not there.
pub(crate) async fn metric(node: &NodeProcess, name: &str) -> u64 {
    let text = reqwest::get(node.http("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.split_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.parse::<f64>().ok()
    });
    values.sum::<f64>() as u64
}

/// Where proofs are posted, and by block served (protocol.md section 8).
pub(crate) const PROOFS: &str = "/eth/v1/beacon/execution_proofs";

/// Asks until an answer pleases; the answer. Panics with what was asked for after `PATIENCE`.
pub(crate) async fn until(what: &str, url: &str, pleases: impl Fn(u16, &Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let (status, body) = get(url).await;
        if pleases(status, &body) {
            return body;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "never: {what}; last {status}: {body}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
