//! Whole nodes in one process: real sockets on loopback, the real verifier, a chain the test makes up.

use assay_chain::{
    BlockInfo, BlockSource, Chain, ChainEvent, Checkpoint, PayloadInfo, PayloadSource, ValidatorAnswer,
    ValidatorRecord,
};
use assay_network::{
    Network, NetworkConfig, NetworkError, NetworkHandle, NetworkParts, PeerAddress, ProofSync,
    ProofSyncConfig, PublishQueue, Publisher, enr::Enr, publisher, rpc::NoBlocks,
};
use assay_proof_engine::{DevConfig, DevEngine, DevProver};
use assay_store::{Store, StoreConfig};
use assay_types::{
    BlockHash, Epoch, ExecutionProof, ForkDigest, ForkName, ProofKey, PublicInput, Root, SecretKey,
    SignedExecutionProof, Slot, Spec, ValidatorIndex,
    spec::{BlobParameters, Genesis},
};
use assay_verification::{
    Candidate, Intake, MemoryContainment, NoKnownProofs, ProofSink, SinkError, Source, Submission,
    VerifiedProof, Verifier, VerifierConfig, VerifierParts,
};
use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// The first epoch of the network's second fork digest.
pub(crate) const BOUNDARY: Epoch = Epoch(4);
const SEED: &[u8] = b"network tests";
const PROOF_TYPE: u8 = 1;
const VALIDATORS: u64 = 64;
/// More than anything here takes; what must not happen is waited for much shorter.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Slots of 6 s (a message stays in gossipsub's cache for 12), 8 an epoch, a blob-parameter fork at `BOUNDARY`.
pub(crate) fn spec() -> Spec {
    let mut spec = Spec::minimal();
    spec.slot_duration_ms = 6000;
    spec.blob_schedule = vec![BlobParameters {
        epoch: BOUNDARY,
        max_blobs_per_block: 12,
    }];
    spec
}

/// A chain of payloads the test tells of.
pub(crate) struct TestChain {
    spec: Arc<Spec>,
    genesis: Genesis,
    slot: AtomicU64,
    payloads: Mutex<HashMap<Root, PayloadInfo>>,
    blocks: Mutex<BTreeMap<Slot, BlockInfo>>,
    events: broadcast::Sender<ChainEvent>,
}

impl TestChain {
    pub(crate) fn new(spec: Spec, slot: u64) -> Arc<Self> {
        Arc::new(Self {
            spec: Arc::new(spec),
            genesis: Genesis {
                genesis_time: 0,
                genesis_validators_root: Root::from([7; 32]),
            },
            slot: AtomicU64::new(slot),
            payloads: Mutex::default(),
            blocks: Mutex::default(),
            events: broadcast::channel(64).0,
        })
    }

    /// The clock's slot from now on.
    pub(crate) fn set_slot(&self, slot: u64) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// The payload named by `root` is seen, at a slot.
    pub(crate) fn see_payload(&self, root: Root, slot: u64) {
        let info = PayloadInfo {
            new_payload_request_root: root,
            block_hash: BlockHash::from_slice(root.as_slice()).unwrap(),
            parent_hash: BlockHash::ZERO,
            slot: Slot(slot),
            fork: ForkName::Fulu,
            block_root: None,
            source: PayloadSource::EngineApi,
        };
        self.payloads.lock().insert(root, info.clone());
        let _ = self.events.send(ChainEvent::Payload(info));
    }

    /// The block that carries the payload is seen, and is the head.
    pub(crate) fn see_block(&self, payload: Root, slot: u64) {
        let mut blocks = self.blocks.lock();
        let parent = blocks.last_key_value().map(|(_, block)| block.block_root);
        let mut block_root = payload;
        block_root.0[31] ^= 0xff;
        let block = BlockInfo {
            block_root,
            parent_root: parent.unwrap_or(Root::ZERO),
            slot: Slot(slot),
            new_payload_request_root: Some(payload),
            execution_optimistic: false,
        };
        blocks.insert(Slot(slot), block.clone());
        drop(blocks);
        let _ = self.events.send(ChainEvent::Block(block.clone()));
        let _ = self.events.send(ChainEvent::Head(block));
    }

    pub(crate) fn digest_at(&self, epoch: Epoch) -> ForkDigest {
        self.spec
            .fork_digest(&self.genesis.genesis_validators_root, epoch)
    }
}

#[async_trait]
impl Chain for TestChain {
    fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }
    fn genesis(&self) -> Genesis {
        self.genesis
    }
    fn current_slot(&self) -> Slot {
        Slot(self.slot.load(Ordering::Relaxed))
    }
    fn payload(&self, root: &Root) -> Option<PayloadInfo> {
        self.payloads.lock().get(root).cloned()
    }
    fn payload_by_block_hash(&self, hash: &BlockHash) -> Option<PayloadInfo> {
        self.payloads
            .lock()
            .values()
            .find(|p| p.block_hash == *hash)
            .cloned()
    }
    fn block(&self, root: &Root) -> Option<BlockInfo> {
        let blocks = self.blocks.lock();
        blocks.values().find(|block| block.block_root == *root).cloned()
    }
    fn canonical_block_at(&self, slot: Slot) -> Option<BlockInfo> {
        self.blocks.lock().get(&slot).cloned()
    }
    fn is_canonical(&self, root: &Root) -> bool {
        self.payloads.lock().contains_key(root)
    }
    fn head(&self) -> Option<BlockInfo> {
        self.blocks.lock().values().next_back().cloned()
    }
    fn finalized(&self) -> Checkpoint {
        Checkpoint::default()
    }
    fn is_synced(&self) -> bool {
        true
    }
    async fn validator(&self, index: ValidatorIndex, _: &PayloadInfo) -> ValidatorAnswer {
        if index >= VALIDATORS {
            return ValidatorAnswer::Absent { decisive: true };
        }
        let record = Arc::new(ValidatorRecord {
            pubkey: SecretKey::interop(index).public_key(),
            activation_epoch: Epoch(0),
            exit_epoch: Epoch::FAR_FUTURE,
        });
        ValidatorAnswer::Known {
            record,
            decisive: true,
        }
    }
    fn subscribe(&self) -> broadcast::Receiver<ChainEvent> {
        self.events.subscribe()
    }
}

/// Stands before the store: notes what was accepted, and from whom.
pub(crate) struct Kept {
    sources: Mutex<HashMap<ProofKey, &'static str>>,
    slow: Mutex<Duration>,
    store: Store,
}

impl Kept {
    fn new(store: Store) -> Self {
        Self {
            sources: Mutex::default(),
            slow: Mutex::default(),
            store,
        }
    }

    pub(crate) fn source_of(&self, key: &ProofKey) -> Option<&'static str> {
        self.sources.lock().get(key).copied()
    }

    /// Keeping takes this long from now on, as on a busy disk.
    pub(crate) fn take_time(&self, time: Duration) {
        *self.slow.lock() = time;
    }
}

#[async_trait]
impl ProofSink for Kept {
    fn name(&self) -> &'static str {
        "kept"
    }
    async fn accepted(&self, proof: &Arc<VerifiedProof>, source: &Source) -> Result<(), SinkError> {
        let slow = *self.slow.lock();
        tokio::time::sleep(slow).await;
        self.store.accepted(proof, source).await?;
        self.sources.lock().insert(proof.key(), source.label());
        Ok(())
    }
}

/// A node: network, verifier, chain.
pub(crate) struct Node {
    pub(crate) network: NetworkHandle,
    pub(crate) chain: Arc<TestChain>,
    pub(crate) kept: Arc<Kept>,
    pub(crate) publisher: Publisher,
    verifier: Verifier,
    task: tokio::task::JoinHandle<()>,
    shutdown: CancellationToken,
    _store_dir: TempDir,
}

/// Settings of a node on loopback, on any port.
pub(crate) fn config(directory: &Path, peers: Vec<PeerAddress>) -> NetworkConfig {
    NetworkConfig {
        listen_addresses: vec!["127.0.0.1".parse().unwrap()],
        port: 0,
        peers,
        ..NetworkConfig::new(directory)
    }
}

/// What a network is made of here: no beacon node among it.
pub(crate) fn parts(
    chain: Arc<TestChain>,
    intake: Intake,
    publish: PublishQueue,
    store: Store,
    shutdown: CancellationToken,
) -> NetworkParts {
    let sync = ProofSync::new(chain.spec(), ProofSyncConfig::new(vec![PROOF_TYPE]));
    NetworkParts {
        chain,
        intake,
        publish,
        store,
        blocks: Arc::new(NoBlocks),
        sync,
        shutdown,
    }
}

/// A store of its own below `directory`.
pub(crate) fn open_store(chain: &TestChain, directory: &Path) -> Store {
    let config = StoreConfig::new(chain.spec(), chain.genesis().genesis_validators_root);
    Store::open(directory.join("proofs.redb"), config).unwrap()
}

impl Node {
    /// Starts a node whose clock stands in the epoch before `BOUNDARY`, so that both topics are joined.
    pub(crate) async fn start(peers: Vec<PeerAddress>) -> (Self, TempDir) {
        Self::start_on(spec(), peers).await
    }

    /// As `start`, on a network of the test's own.
    pub(crate) async fn start_on(spec: Spec, peers: Vec<PeerAddress>) -> (Self, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let chain = TestChain::new(spec, BOUNDARY.0 * 8 - 2);
        (Self::start_with(config(dir.path(), peers), chain).await, dir)
    }

    pub(crate) async fn start_with(config: NetworkConfig, chain: Arc<TestChain>) -> Self {
        Self::try_start(config, chain).await.unwrap()
    }

    pub(crate) async fn try_start(
        config: NetworkConfig,
        chain: Arc<TestChain>,
    ) -> Result<Self, NetworkError> {
        Self::try_start_beside(config, chain, Arc::new(NoBlocks)).await
    }

    /// As `try_start`, beside a beacon node.
    pub(crate) async fn try_start_beside(
        config: NetworkConfig,
        chain: Arc<TestChain>,
        blocks: Arc<dyn BlockSource>,
    ) -> Result<Self, NetworkError> {
        let engine = DevEngine::new(DevConfig {
            proof_types: vec![PROOF_TYPE],
            ..DevConfig::new(SEED, chain.spec.clone())
        });
        let store_dir = tempfile::tempdir().unwrap();
        let store = open_store(&chain, store_dir.path());
        let kept = Arc::new(Kept::new(store.clone()));
        let verifier = Verifier::start(
            VerifierConfig::default(),
            VerifierParts {
                chain: chain.clone(),
                engine: Arc::new(engine.unwrap()),
                known: Arc::new(NoKnownProofs),
                containment: Arc::new(MemoryContainment::default()),
                store: kept.clone(),
            },
        );
        let (publisher, queue) = publisher();
        verifier.add_sink(Arc::new(publisher.clone()));
        let shutdown = CancellationToken::new();
        let following = assay_store::follow(store.clone(), chain.clone());
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(following));
        let parts = NetworkParts {
            blocks,
            ..parts(chain.clone(), verifier.intake(), queue, store, shutdown.clone())
        };
        verifier.add_sink(Arc::new(parts.sync.clone()));
        let Network { handle, task } = assay_network::start(config, parts, &mut Registry::default()).await?;
        Ok(Self {
            network: handle,
            chain,
            kept,
            publisher,
            verifier,
            task,
            shutdown,
            _store_dir: store_dir,
        })
    }

    /// As `--peer` takes it.
    pub(crate) fn address(&self) -> PeerAddress {
        self.network.identity().p2p_addresses[0]
            .to_string()
            .parse()
            .unwrap()
    }

    /// As `--boot-nodes` takes it.
    pub(crate) fn enr(&self) -> Enr {
        self.network.identity().enr.parse().unwrap()
    }

    pub(crate) fn intake(&self) -> Intake {
        self.verifier.intake()
    }

    /// Posts a proof as the HTTP API would.
    pub(crate) async fn post(&self, proof: SignedExecutionProof) -> Submission {
        self.verifier
            .intake()
            .submit(Candidate::signed(proof), Source::Http)
            .await
    }

    /// Publishes what no verifier has seen, as a faulty or lying node would.
    pub(crate) async fn publish_unverified(&self, proof: SignedExecutionProof, slot: u64) {
        let ssz = proof.to_ssz_bytes();
        let lie = VerifiedProof::assume_verified(ssz, proof, Root::ZERO, Slot(slot), None);
        self.publisher
            .accepted(&Arc::new(lie), &Source::Http)
            .await
            .unwrap();
    }

    /// Whether the proof is kept before patience ends.
    pub(crate) async fn gets(&self, key: &ProofKey) -> Option<&'static str> {
        wait_for(|| self.kept.source_of(key)).await
    }

    pub(crate) async fn connected_to(&self, peers: usize) {
        wait_for(|| (self.network.peer_count().connected == peers).then_some(()))
            .await
            .unwrap();
    }

    /// Ends it, within seconds.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .unwrap()
            .unwrap();
        self.verifier.shutdown().await;
    }
}

/// Polls until something is there; `None` when patience ends.
pub(crate) async fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if tokio::time::Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A good proof of `size` bytes for a payload at `slot`, signed.
pub(crate) fn signed_proof(chain: &TestChain, root: Root, slot: u64, size: usize) -> SignedExecutionProof {
    let prover = DevProver::new(SEED, chain.spec.max_proof_size as usize);
    sign(chain, root, slot, prover.prove(&root, PROOF_TYPE, size).unwrap())
}

/// A proof that the engine will call invalid, properly signed.
pub(crate) fn invalid_proof(chain: &TestChain, root: Root, slot: u64) -> SignedExecutionProof {
    sign(chain, root, slot, vec![1; 100].into())
}

fn sign(chain: &TestChain, root: Root, slot: u64, proof_data: bytes::Bytes) -> SignedExecutionProof {
    let message = ExecutionProof {
        proof_data,
        proof_type: PROOF_TYPE,
        public_input: PublicInput {
            new_payload_request_root: root,
        },
    };
    let epoch = chain.spec.epoch_at_slot(Slot(slot));
    let proof_root = chain.spec.execution_proof_root(epoch, &message);
    let signing_root = chain
        .spec
        .execution_proof_signing_root(&chain.genesis, epoch, &proof_root);
    let validator_index = 3;
    let signature = SecretKey::interop(validator_index).sign(&signing_root);
    SignedExecutionProof {
        message,
        validator_index,
        signature,
    }
}

pub(crate) fn root(n: u8) -> Root {
    Root::from([n; 32])
}
