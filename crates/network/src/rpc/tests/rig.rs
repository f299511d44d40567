//! A host with a server, a requester and talks; a chain, a store, blocks and a peers' table that the test makes up.

use crate::{
    Fault, PeerStatus,
    rpc::{
        Behaviour, Connections, ConversationParts, Conversations, LocalProofStatus, PeerBook, PeerMetadata,
        Protocol, Requester, RequesterParts, RpcConfig, RpcCounters, Server, ServerParts, behaviour::Host,
    },
};
use assay_chain::{
    BlockAt, BlockInfo, BlockSource, Chain, ChainEvent, ChainStatus, Checkpoint, KnownNodes, PayloadInfo,
    RawBlock, SourceError, ValidatorAnswer,
};
use assay_store::{BlockUpdate, Store, StoreConfig};
use assay_types::{
    BlockHash, ExecutionProofStatus, ProofKey, ProofType, Root, SignedExecutionProof, Slot, Spec,
    ValidatorIndex, spec::Genesis,
};
use assay_verification::{
    VerifiedProof,
    testing::{MemoryChain, sign, sign_envelope},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Multiaddr, PeerId, Stream, Swarm, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

/// More than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The slot it is in every test, of 8-slot epochs.
pub(crate) const NOW: Slot = Slot(40);

/// The types a host says it verifies.
pub(crate) const TYPES: [ProofType; 2] = [1, 2];

pub(crate) struct TestChain {
    pub(crate) memory: MemoryChain,
    pub(crate) synced: AtomicBool,
    /// Blocks of some slots.
    pub(crate) canonical: Mutex<HashMap<Slot, Root>>,
}

#[async_trait]
impl Chain for TestChain {
    fn spec(&self) -> &Arc<Spec> {
        self.memory.spec()
    }
    fn genesis(&self) -> Genesis {
        self.memory.genesis()
    }
    fn current_slot(&self) -> Slot {
        self.memory.current_slot()
    }
    fn payload(&self, root: &Root) -> Option<PayloadInfo> {
        self.memory.payload(root)
    }
    fn payload_by_block_hash(&self, hash: &BlockHash) -> Option<PayloadInfo> {
        self.memory.payload_by_block_hash(hash)
    }
    fn block(&self, _: &Root) -> Option<BlockInfo> {
        None
    }
    fn canonical_block_at(&self, slot: Slot) -> Option<BlockInfo> {
        let root = *self.canonical.lock().get(&slot)?;
        Some(BlockInfo {
            block_root: root,
            parent_root: Root::ZERO,
            slot,
            new_payload_request_root: None,
            execution_optimistic: false,
        })
    }
    fn is_canonical(&self, root: &Root) -> bool {
        self.memory.is_canonical(root)
    }
    fn head(&self) -> Option<BlockInfo> {
        None
    }
    fn finalized(&self) -> Checkpoint {
        self.memory.finalized()
    }
    fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Relaxed)
    }
    async fn validator(&self, index: ValidatorIndex, payload: &PayloadInfo) -> ValidatorAnswer {
        self.memory.validator(index, payload).await
    }
    fn subscribe(&self) -> broadcast::Receiver<ChainEvent> {
        self.memory.subscribe()
    }
}

/// A beacon node that has what it is given.
#[derive(Default)]
pub(crate) struct TestBlocks {
    pub(crate) status: Mutex<Option<ChainStatus>>,
    pub(crate) blocks: Mutex<Vec<RawBlock>>,
    pub(crate) envelopes: Mutex<Vec<RawBlock>>,
    pub(crate) fails: Mutex<Option<SourceError>>,
    /// Whether it answers nothing for as long as a test takes, of all blocks or of one.
    pub(crate) hangs: AtomicBool,
    pub(crate) hangs_at: Mutex<Option<Root>>,
    /// Whether what it gave is at hand from then on, and what that is.
    pub(crate) keeps: AtomicBool,
    pub(crate) kept: Mutex<Vec<RawBlock>>,
    /// Look-ups of blocks so far.
    pub(crate) asked: AtomicUsize,
}

#[async_trait]
impl BlockSource for TestBlocks {
    fn chain_status(&self) -> Option<ChainStatus> {
        *self.status.lock()
    }
    async fn block(&self, at: BlockAt) -> Result<Option<RawBlock>, SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let hangs = matches!((at, *self.hangs_at.lock()), (BlockAt::Root(at), Some(root)) if at == root);
        if hangs || self.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(2 * PATIENCE).await;
        }
        if let Some(error) = self.fails.lock().clone() {
            return Err(error);
        }
        let found = find(&self.blocks.lock(), at);
        if self.keeps.load(Ordering::Relaxed) {
            self.kept.lock().extend(found.clone());
        }
        Ok(found)
    }
    fn block_at_hand(&self, at: BlockAt) -> Option<RawBlock> {
        find(&self.kept.lock(), at)
    }
    async fn envelope(&self, root: Root) -> Result<Option<RawBlock>, SourceError> {
        Ok(self.envelopes.lock().iter().find(|e| e.root == root).cloned())
    }
    async fn known_nodes(&self) -> Result<KnownNodes, SourceError> {
        Ok(KnownNodes::default())
    }
}

fn find(blocks: &[RawBlock], at: BlockAt) -> Option<RawBlock> {
    let is_asked = |block: &&RawBlock| match at {
        BlockAt::Slot(slot) => block.slot == slot,
        BlockAt::Root(root) => block.root == root,
    };
    blocks.iter().find(is_asked).cloned()
}

/// What was told to the peers' table.
#[derive(Default)]
pub(crate) struct TestBook {
    pub(crate) statuses: Mutex<HashMap<PeerId, PeerStatus>>,
    pub(crate) metadata: Mutex<HashMap<PeerId, PeerMetadata>>,
    pub(crate) proof_statuses: Mutex<HashMap<PeerId, ExecutionProofStatus>>,
    pub(crate) goodbyes: Mutex<Vec<PeerId>>,
    pub(crate) faults: Mutex<Vec<(PeerId, Fault)>>,
    pub(crate) eproof: Mutex<Option<u8>>,
}

impl PeerBook for TestBook {
    fn status(&self, peer: &PeerId, status: PeerStatus) {
        self.statuses.lock().insert(*peer, status);
    }
    fn metadata(&self, peer: &PeerId, metadata: PeerMetadata) {
        self.metadata.lock().insert(*peer, metadata);
    }
    fn proof_status(&self, peer: &PeerId, status: ExecutionProofStatus) {
        self.proof_statuses.lock().insert(*peer, status);
    }
    fn said_goodbye(&self, peer: &PeerId) {
        self.goodbyes.lock().push(*peer);
    }
    fn report(&self, peer: &PeerId, fault: Fault) {
        self.faults.lock().push((*peer, fault));
    }
    fn eproof(&self, _: &PeerId) -> Option<u8> {
        *self.eproof.lock()
    }
}

pub(crate) struct TestProofStatus(pub(crate) Mutex<ExecutionProofStatus>);

impl LocalProofStatus for TestProofStatus {
    fn local_proof_status(&self) -> ExecutionProofStatus {
        self.0.lock().clone()
    }
}

/// What a host is started with.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) spec: Spec,
    pub(crate) config: RpcConfig,
    /// Whether it talks to peers of itself.
    pub(crate) talks: bool,
    /// What it answers; all by default.
    pub(crate) offered: Vec<Protocol>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            spec: spec(),
            config: RpcConfig::default(),
            talks: false,
            offered: Protocol::ALL.to_vec(),
        }
    }
}

/// Eight slots an epoch.
pub(crate) fn spec() -> Spec {
    Spec::minimal()
}

pub(crate) struct Rig {
    pub(crate) peer: PeerId,
    pub(crate) address: Multiaddr,
    pub(crate) chain: Arc<TestChain>,
    pub(crate) store: Store,
    pub(crate) blocks: Arc<TestBlocks>,
    pub(crate) book: Arc<TestBook>,
    pub(crate) metadata: Arc<Mutex<PeerMetadata>>,
    pub(crate) requester: Requester,
    pub(crate) connections: Connections,
    pub(crate) counters: RpcCounters,
    dial: mpsc::UnboundedSender<Multiaddr>,
    shutdown: CancellationToken,
    _dir: TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::from([7; 32]);
        let chain = Arc::new(TestChain {
            memory: MemoryChain::new(Arc::new(settings.spec.clone()), root),
            synced: AtomicBool::new(true),
            canonical: Mutex::default(),
        });
        chain.memory.set_slot(NOW);
        let store = Store::open(
            dir.path().join("proofs.redb"),
            StoreConfig::new(&settings.spec, root),
        )
        .unwrap();
        let blocks = Arc::new(TestBlocks::default());
        let book = Arc::new(TestBook::default());
        let proof_status = Arc::new(TestProofStatus(Mutex::new(ExecutionProofStatus {
            proof_types: TYPES.to_vec(),
            ..ExecutionProofStatus::default()
        })));
        let metadata = Arc::new(Mutex::new(PeerMetadata {
            seq_number: 0,
            attnets: [0; 8],
            syncnets: Some(0),
            custody_group_count: Some(4),
        }));
        let own_metadata = {
            let metadata = Arc::clone(&metadata);
            Arc::new(move || *metadata.lock())
        };
        let (counters, connections) = (RpcCounters::default(), Connections::default());
        let shutdown = CancellationToken::new();
        let conversations = Conversations::new(ConversationParts {
            chain: chain.clone(),
            blocks: blocks.clone(),
            proof_status: proof_status.clone(),
            metadata: own_metadata.clone(),
            peers: book.clone(),
            shutdown: shutdown.clone(),
        });
        let requester = Requester::new(RequesterParts {
            chain: chain.clone(),
            blocks: blocks.clone(),
            connections: connections.clone(),
            peers: book.clone(),
            counters: counters.clone(),
            timeouts: settings.config.timeouts,
        });
        if settings.talks {
            conversations.speak_through(requester.clone());
        }
        let server = Server::new(ServerParts {
            config: settings.config,
            chain: chain.clone(),
            store: store.clone(),
            blocks: blocks.clone(),
            proof_status,
            metadata: own_metadata,
            peers: book.clone(),
            connections: connections.clone(),
            conversations,
            counters: counters.clone(),
            shutdown: shutdown.clone(),
        });
        let (peer, address, dial) = launch(
            &settings.offered,
            connections.clone(),
            Arc::new(server),
            shutdown.clone(),
        )
        .await;
        Self {
            peer,
            address,
            chain,
            store,
            blocks,
            book,
            metadata,
            requester,
            connections,
            counters,
            dial,
            shutdown,
            _dir: dir,
        }
    }

    /// Connects to another, and waits until both know.
    pub(crate) async fn connect(&self, other: &Self) {
        self.dial.send(other.address.clone()).unwrap();
        wait_for(|| {
            let both =
                self.connections.is_connected(&other.peer) && other.connections.is_connected(&self.peer);
            both.then_some(())
        })
        .await;
    }

    /// A head, so that status can be told.
    pub(crate) fn has_head(&self, slot: Slot) {
        *self.blocks.status.lock() = Some(ChainStatus {
            finalized: self.chain.finalized(),
            head_root: Root::from([9; 32]),
            head_slot: slot,
            earliest_available_slot: Slot(8),
        });
    }

    /// The head of the store's index: canonical blocks from here down.
    pub(crate) async fn store_block(&self, slot: u64) {
        let update = block_update(slot);
        self.store.on_block(update).await.unwrap();
        self.store.on_head(update).await.unwrap();
    }

    /// A proof of the payload of the block at a slot, kept.
    pub(crate) async fn store_proof(&self, slot: u64, proof_type: ProofType, size: usize) -> Bytes {
        let proof = proof(self.chain.as_ref(), slot, proof_type, 3, size);
        self.keep(slot, proof).await
    }

    /// One of `beta`, which names the block.
    pub(crate) async fn store_envelope(&self, slot: u64, proof_type: ProofType, size: usize) -> Bytes {
        let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
        let data = noise_bytes(slot << 8 | u64::from(proof_type), size);
        let envelope = sign_envelope(spec, &genesis, block_root(slot), proof_type, Slot(slot), data, 3);
        let ssz = envelope.to_ssz_bytes();
        let verified =
            VerifiedProof::assume_verified_envelope(envelope, payload_root(slot), Root::ZERO, Slot(slot));
        self.store.put(&verified).await.unwrap();
        ssz
    }

    pub(crate) async fn keep(&self, slot: u64, proof: SignedExecutionProof) -> Bytes {
        let ssz = proof.to_ssz_bytes();
        let verified = VerifiedProof::assume_verified(ssz.clone(), proof, Root::ZERO, Slot(slot), None);
        self.store.put(&verified).await.unwrap();
        ssz
    }

    /// A stream to another host, to write on what the test likes.
    pub(crate) async fn open(&self, other: &Self, protocol: Protocol) -> Stream {
        self.connections.open(&other.peer, &[protocol]).await.unwrap().0
    }

    /// Writes bytes, ends the half, reads all that comes.
    pub(crate) async fn exchange(&self, other: &Self, protocol: Protocol, wire: &[u8]) -> Vec<u8> {
        let mut stream = self.open(other, protocol).await;
        // The other side may have said its word already.
        let _ = stream.write_all(wire).await;
        let _ = stream.close().await;
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }
}

/// A swarm that listens on loopback and carries requests alone.
async fn launch(
    offered: &[Protocol],
    connections: Connections,
    host: Arc<dyn Host>,
    shutdown: CancellationToken,
) -> (PeerId, Multiaddr, mpsc::UnboundedSender<Multiaddr>) {
    let behaviour = Behaviour::new(offered, connections, host);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| behaviour)
        .unwrap()
        .with_swarm_config(|c| c.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    let peer = *swarm.local_peer_id();
    let (dial, dials) = mpsc::unbounded_channel();
    tokio::spawn(run(swarm, dials, shutdown));
    (peer, address, dial)
}

/// What a liar does with a stream once it has read the request.
#[derive(Clone)]
pub(crate) enum Lie {
    /// Writes these bytes and ends.
    Say(Vec<u8>),
    /// Writes these bytes and nothing more.
    SayAndHold(Vec<u8>),
    /// Writes these bytes and drops the stream.
    SayAndReset(Vec<u8>),
    /// Closes the connection.
    HangUp,
}

/// A peer that answers every request with the same bytes.
pub(crate) struct Liar {
    pub(crate) peer: PeerId,
    address: Multiaddr,
    connections: Connections,
    lie: Arc<LiarHost>,
    shutdown: CancellationToken,
}

struct LiarHost {
    lie: Mutex<Lie>,
    streams: Mutex<usize>,
    connections: Connections,
}

impl Host for LiarHost {
    fn accept(&self, peer: PeerId, _: Protocol, mut stream: Stream) {
        *self.streams.lock() += 1;
        let lie = self.lie.lock().clone();
        let connections = self.connections.clone();
        tokio::spawn(async move {
            let mut request = Vec::new();
            let _ = stream.read_to_end(&mut request).await;
            match lie {
                Lie::Say(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.close().await;
                }
                Lie::SayAndHold(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.flush().await;
                    tokio::time::sleep(PATIENCE).await;
                }
                Lie::SayAndReset(bytes) => {
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.flush().await;
                }
                Lie::HangUp => {
                    connections.close(peer);
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        });
    }
    fn connected(&self, _: PeerId, _: bool) {}
    fn disconnected(&self, _: PeerId) {}
}

impl Liar {
    pub(crate) async fn start() -> Self {
        let (connections, shutdown) = (Connections::default(), CancellationToken::new());
        let lie = Arc::new(LiarHost {
            lie: Mutex::new(Lie::Say(vec![])),
            streams: Mutex::new(0),
            connections: connections.clone(),
        });
        let (peer, address, _) =
            launch(&Protocol::ALL, connections.clone(), lie.clone(), shutdown.clone()).await;
        Self {
            peer,
            address,
            connections,
            lie,
            shutdown,
        }
    }

    pub(crate) fn says(&self, lie: Lie) {
        *self.lie.lie.lock() = lie;
    }

    /// Streams opened to it so far.
    pub(crate) fn streams(&self) -> usize {
        *self.lie.streams.lock()
    }

    /// Lets `rig` connect to it.
    pub(crate) async fn connect_from(&self, rig: &Rig) {
        rig.dial.send(self.address.clone()).unwrap();
        wait_for(|| {
            let both = rig.connections.is_connected(&self.peer) && self.connections.is_connected(&rig.peer);
            both.then_some(())
        })
        .await;
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn run(
    mut swarm: Swarm<Behaviour>,
    mut dials: mpsc::UnboundedReceiver<Multiaddr>,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Some(address) = dials.recv() => swarm.dial(address).unwrap(),
            _ = swarm.select_next_some() => {}
        }
    }
}

/// The block of a slot; every slot has one, each on the one before.
pub(crate) fn block_update(slot: u64) -> BlockUpdate {
    BlockUpdate {
        block_root: block_root(slot),
        parent_root: block_root(slot.wrapping_sub(1)),
        slot: Slot(slot),
        new_payload_request_root: Some(payload_root(slot)),
    }
}

pub(crate) fn block_root(slot: u64) -> Root {
    numbered(1, slot)
}

pub(crate) fn payload_root(slot: u64) -> Root {
    numbered(2, slot)
}

fn numbered(kind: u8, n: u64) -> Root {
    let mut root = [kind; 32];
    root[..8].copy_from_slice(&n.to_le_bytes());
    Root::from(root)
}

/// A proof that proves nothing, of bytes that do not compress.
pub(crate) fn proof(
    chain: &TestChain,
    slot: u64,
    proof_type: ProofType,
    validator: ValidatorIndex,
    size: usize,
) -> SignedExecutionProof {
    let key = ProofKey {
        new_payload_request_root: payload_root(slot),
        proof_type,
    };
    let data = noise_bytes(slot << 8 | u64::from(proof_type), size);
    sign(chain.spec(), &chain.genesis(), key, Slot(slot), data, validator)
}

/// Bytes without a pattern (xorshift).
pub(crate) fn noise_bytes(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

/// Polls until something is there.
pub(crate) async fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "waited in vain");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
