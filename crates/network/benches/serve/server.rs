//! The process that serves: a node, and a plain TCP listener beside it.

use crate::{Failure, Size, TYPES, say};
use assay_chain::Chain;
use assay_network::{
    Network, NetworkConfig, NetworkHandle, NetworkParts, PeerAddress, ProofSync, ProofSyncConfig, RpcConfig,
    publisher,
    rpc::{NoBlocks, Quotas},
};
use assay_store::{BlockUpdate, ChainUpdate, Store, StoreConfig};
use assay_types::{ProofKey, Root, Slot, Spec};
use assay_verification::{
    MemoryContainment, NoKnownProofs, VerifiedProof, Verifier, VerifierConfig, VerifierParts,
    testing::{MemoryChain, ScriptedEngine, sign},
};
use bytes::Bytes;
use prometheus_client::registry::Registry;
use std::{path::Path, sync::Arc};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// The first slot with proofs.
pub(crate) const FIRST_SLOT: u64 = 1;
/// The clock's slot.
const NOW: Slot = Slot(1000);
/// Bytes written to a plain socket at once.
const PLAIN_WRITE: usize = 256 * 1024;
/// Proofs put at the same time.
const PUTS: usize = 32;

/// A node, as measured on both sides: TCP alone, no discovery, limits out of the way.
pub(crate) async fn node(
    directory: &Path,
    peers: Vec<PeerAddress>,
    standard_noise_alone: bool,
) -> Result<(Store, Arc<MemoryChain>, NetworkHandle), Failure> {
    let mut spec = Spec::mainnet();
    spec.blob_schedule.clear();
    let chain = Arc::new(MemoryChain::new(Arc::new(spec), Root::from([7; 32])));
    chain.set_slot(NOW);
    let store = Store::open(
        directory.join("proofs.redb"),
        StoreConfig::new(chain.spec(), chain.genesis().genesis_validators_root),
    )?;
    let verifier = Verifier::start(
        VerifierConfig::default(),
        VerifierParts {
            chain: chain.clone(),
            engine: Arc::new(ScriptedEngine::new([1])),
            known: Arc::new(NoKnownProofs),
            containment: Arc::new(MemoryContainment::default()),
            store: Arc::new(store.clone()),
        },
    );
    let (_publisher, publish) = publisher();
    let Network { handle, .. } = assay_network::start(
        NetworkConfig {
            listen_addresses: vec!["127.0.0.1".parse()?],
            port: 0,
            disable_discovery: true,
            disable_quic: true,
            peers,
            standard_noise_alone,
            rpc: RpcConfig {
                quotas: Quotas::UNLIMITED,
                ..RpcConfig::default()
            },
            ..NetworkConfig::new(directory)
        },
        NetworkParts {
            chain: chain.clone(),
            intake: verifier.intake(),
            publish,
            store: store.clone(),
            blocks: Arc::new(NoBlocks),
            sync: ProofSync::new(chain.spec(), ProofSyncConfig::new(vec![1])),
            shutdown: CancellationToken::new(),
        },
        &mut Registry::default(),
    )
    .await?;
    Ok((store, chain, handle))
}

/// Serves until standard input ends.
pub(crate) async fn run(size: Size) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let (store, chain, network) = node(dir.path(), Vec::new(), false).await?;
    fill(&store, &chain, size).await?;
    let plain = TcpListener::bind("127.0.0.1:0").await?;
    let identity = network.identity();
    let address = identity.p2p_addresses.first().ok_or("it listens nowhere")?;
    say(&format!("ready {address} {}", plain.local_addr()?))?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = plain.accept().await {
            tokio::spawn(write_plain(socket, size));
        }
    });
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

async fn write_plain(mut socket: TcpStream, size: Size) -> std::io::Result<()> {
    let bytes = random(1, PLAIN_WRITE);
    let mut left = size.proofs as usize * size.bytes;
    while left > 0 {
        let n = left.min(bytes.len());
        socket.write_all(&bytes[..n]).await?;
        left -= n;
    }
    socket.shutdown().await
}

/// Blocks one after the other, each with proofs of every type.
async fn fill(store: &Store, chain: &Arc<MemoryChain>, size: Size) -> Result<(), Failure> {
    let blocks = size.proofs.div_ceil(TYPES);
    let mut updates: Vec<ChainUpdate> = (0..blocks)
        .map(|n| ChainUpdate::Block(block(FIRST_SLOT + n)))
        .collect();
    updates.push(ChainUpdate::Head(block(FIRST_SLOT + blocks - 1)));
    store.apply(updates).await?;
    let mut puts = JoinSet::new();
    for n in 0..size.proofs {
        if puts.len() >= PUTS {
            puts.join_next().await.ok_or("nothing put")???;
        }
        let (store, chain) = (store.clone(), chain.clone());
        puts.spawn(async move {
            let slot = FIRST_SLOT + n / TYPES;
            let key = ProofKey {
                new_payload_request_root: root(2, slot),
                proof_type: (n % TYPES) as u8,
            };
            // The container around the proof has some bytes of its own.
            let data = random(n, size.bytes - assay_types::proof::SIGNED_PROOF_OVERHEAD);
            let signed = sign(chain.spec(), &chain.genesis(), key, Slot(slot), data, 1);
            let ssz = signed.to_ssz_bytes();
            let proof = VerifiedProof::assume_verified(ssz, signed, Root::ZERO, Slot(slot), None);
            store.put(&proof).await.map(drop)
        });
    }
    while let Some(put) = puts.join_next().await {
        put??;
    }
    Ok(())
}

fn block(slot: u64) -> BlockUpdate {
    BlockUpdate {
        block_root: root(1, slot),
        parent_root: root(1, slot - 1),
        slot: Slot(slot),
        new_payload_request_root: Some(root(2, slot)),
    }
}

fn root(kind: u8, n: u64) -> Root {
    let mut root = [kind; 32];
    root[..8].copy_from_slice(&n.to_le_bytes());
    Root::from(root)
}

/// Bytes that do not compress (splitmix64).
fn random(seed: u64, len: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}
