//! One node of the measurement, told what to do by lines on its standard input.

use assay_chain::Chain;
use assay_network::{
    GossipParameters, Network, NetworkConfig, NetworkParts, PeerAddress, ProofSync, ProofSyncConfig,
    publisher, rpc::NoBlocks,
};
use assay_store::{BlockUpdate, ChainUpdate, Store, StoreConfig};
use assay_types::{ProofKey, Root, SignedExecutionProof, Slot, Spec};
use assay_verification::{
    Candidate, Intake, MemoryContainment, NoKnownProofs, ProofSink, SinkError, Source, VerifiedProof,
    Verifier, VerifierConfig, VerifierParts,
    testing::{MemoryChain, ScriptedEngine, sign},
};
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use std::{
    collections::HashMap,
    error::Error,
    io::{self, BufRead as _, Write as _},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio_util::sync::CancellationToken;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// The slot of every payload, and the clock's: nothing here crosses a fork.
const SLOT: Slot = Slot(1000);
/// Those that sign proofs; there is one more.
pub(crate) const VALIDATORS: u64 = 64;

/// Payloads of kept proofs have numbers from here on; those of others are below.
const KEPT: u32 = 1 << 30;

/// Says which proof came when.
struct Told;

#[async_trait]
impl ProofSink for Told {
    fn name(&self) -> &'static str {
        "told"
    }
    async fn accepted(&self, proof: &Arc<VerifiedProof>, source: &Source) -> Result<(), SinkError> {
        if matches!(source, Source::Gossip { .. }) {
            let root = proof.key().new_payload_request_root;
            let told = say(&format!("got {} {}", number(&root), now_us()));
            return told.map_err(|e| SinkError {
                sink: self.name(),
                why: e.to_string(),
            });
        }
        Ok(())
    }
}

fn now_us() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_micros())
}

/// A chain without blocks, and its validators.
pub(crate) fn chain() -> MemoryChain {
    let mut spec = Spec::mainnet();
    spec.blob_schedule.clear();
    let chain = MemoryChain::new(Arc::new(spec), Root::from([7; 32]));
    chain.set_slot(SLOT);
    chain.add_interop_validators(0..VALIDATORS + 1);
    chain
}

/// A proof of the payload with a number, signed.
pub(crate) fn signed(chain: &MemoryChain, n: u32, data: Vec<u8>, validator: u64) -> SignedExecutionProof {
    let key = ProofKey {
        new_payload_request_root: root(n),
        proof_type: 1,
    };
    sign(chain.spec(), &chain.genesis(), key, SLOT, data.into(), validator)
}

/// The payload with a number, and back.
pub(crate) fn root(number: u32) -> Root {
    let mut bytes = [1; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Root::from(bytes)
}

fn number(root: &Root) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&root.as_slice()[..4]);
    u32::from_be_bytes(bytes)
}

/// Bytes that do not compress (splitmix64). The first says to the engine that the proof is good.
pub(crate) fn random_bytes(seed: u32, len: usize) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    if let Some(first) = bytes.first_mut() {
        *first = b'V';
    }
    bytes
}

/// Arguments: listen address, set of parameters, engine's milliseconds, directory, `--open` to run discovery, QUIC and mplex
/// too, peers.
pub(crate) fn run(args: &[String]) -> Result<(), Failure> {
    let [listen, set, verify_ms, directory, peers @ ..] = args else {
        return Err("a node's arguments are the measurement's business".into());
    };
    let (open, peers) = match peers {
        [first, rest @ ..] if first == "--open" => (true, rest),
        all => (false, all),
    };
    let config = NetworkConfig {
        listen_addresses: vec![listen.parse()?],
        port: 0,
        disable_discovery: !open,
        disable_quic: !open,
        enable_mplex: open,
        peers: peers
            .iter()
            .map(|p| p.parse::<PeerAddress>())
            .collect::<Result<_, _>>()?,
        gossip: parameters(set)?,
        ..NetworkConfig::new(directory)
    };
    let verify = Duration::from_millis(verify_ms.parse()?);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(serve(config, verify))
}

async fn serve(config: NetworkConfig, verify: Duration) -> Result<(), Failure> {
    let chain = Arc::new(chain());
    // What is to be served from it is put there by `keep`; what comes by gossip is told and not kept.
    let store = Store::open(
        config.directory.join("proofs.redb"),
        StoreConfig::new(chain.spec(), chain.genesis().genesis_validators_root),
    )?;
    let engine = ScriptedEngine::new([1]);
    engine.set_delay(verify);
    let verifier = Verifier::start(
        VerifierConfig::default(),
        VerifierParts {
            chain: chain.clone(),
            engine: Arc::new(engine),
            known: Arc::new(NoKnownProofs),
            containment: Arc::new(MemoryContainment::default()),
            store: Arc::new(Told),
        },
    );
    let (publisher, queue) = publisher();
    verifier.add_sink(Arc::new(publisher));
    let mut registry = Registry::default();
    let shutdown = CancellationToken::new();
    let Network { handle, task } = assay_network::start(
        config,
        NetworkParts {
            chain: chain.clone(),
            intake: verifier.intake(),
            publish: queue,
            store: store.clone(),
            blocks: Arc::new(NoBlocks),
            sync: ProofSync::new(chain.spec(), ProofSyncConfig::new(vec![1])),
            shutdown: shutdown.clone(),
        },
        &mut registry,
    )
    .await?;
    let identity = handle.identity();
    let address = identity.p2p_addresses.first().ok_or("it listens nowhere")?;
    say(&format!("ready {address} {}", identity.enr))?;

    let mut lines = commands();
    let mut prepared: HashMap<u32, SignedExecutionProof> = HashMap::new();
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["payload", n] => chain.add_payload(root(n.parse()?), SLOT),
            ["prepare", n, bytes] => {
                let n: u32 = n.parse()?;
                let data = random_bytes(n, bytes.parse()?);
                let validator = u64::from(n) % VALIDATORS;
                prepared.insert(n, signed(&chain, n, data, validator));
                say(&format!("prepared {n}"))?;
            }
            ["go", n] => {
                let n: u32 = n.parse()?;
                let proof = prepared.remove(&n).ok_or("not prepared")?;
                tokio::spawn(post(verifier.intake(), n, proof));
            }
            ["keep", first, count, bytes] => {
                keep(&store, &chain, first.parse()?, count.parse()?, bytes.parse()?).await?;
                say("kept")?;
            }
            ["count"] => {
                let c = handle.counters();
                let peers = handle.peer_count().connected;
                say(&format!("count {} {} {peers}", c.bytes_sent, c.bytes_received))?;
            }
            ["metrics"] => {
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &registry)?;
                for line in text.lines().filter(|line| line.starts_with("assay_network")) {
                    say(&format!("metric {line}"))?;
                }
                say("metrics")?;
            }
            _ => return Err(format!("not understood: {line}").into()),
        }
    }
    shutdown.cancel();
    task.await?;
    Ok(())
}

/// The block of a slot for which proofs are kept.
pub(crate) fn block_root(slot: u32) -> Root {
    let mut bytes = [2; 32];
    bytes[..4].copy_from_slice(&slot.to_be_bytes());
    Root::from(bytes)
}

/// Fills the store: a block in each of these slots, and a proof of its payload.
async fn keep(
    store: &Store,
    chain: &MemoryChain,
    first: u32,
    count: u32,
    bytes: usize,
) -> Result<(), Failure> {
    let slots = first..first + count;
    let block = |slot: u32| BlockUpdate {
        block_root: block_root(slot),
        parent_root: block_root(slot - 1),
        slot: Slot(u64::from(slot)),
        new_payload_request_root: Some(root(KEPT + slot)),
    };
    let mut updates: Vec<ChainUpdate> = slots
        .clone()
        .map(|slot| ChainUpdate::Block(block(slot)))
        .collect();
    updates.extend(slots.clone().last().map(|slot| ChainUpdate::Head(block(slot))));
    store.apply(updates).await?;
    for slot in slots {
        let n = KEPT + slot;
        let proof = signed(chain, n, random_bytes(n, bytes), 0);
        let (ssz, slot) = (proof.to_ssz_bytes(), Slot(u64::from(slot)));
        store
            .put(&VerifiedProof::assume_verified(
                ssz,
                proof,
                Root::ZERO,
                slot,
                None,
            ))
            .await?;
    }
    Ok(())
}

/// Brings a proof in as the HTTP API would; it is published once it is verified.
async fn post(intake: Intake, n: u32, proof: SignedExecutionProof) {
    if say(&format!("published {n} {}", now_us())).is_ok() {
        let _verdict = intake.submit(Candidate::signed(proof), Source::Http).await;
    }
}

/// Reads a set: `shipped`, `eth2`, `without` (eth2's without IDONTWANT), or `[-]D/low/high/out/lazy[/heartbeat
/// in milliseconds[/heartbeats announced]]`.
pub(crate) fn parameters(set: &str) -> Result<GossipParameters, Failure> {
    let (idontwant, numbers) = match set {
        "shipped" => return Ok(GossipParameters::default()),
        "eth2" => return Ok(GossipParameters::ETH2),
        "without" => {
            return Ok(GossipParameters {
                idontwant: false,
                ..GossipParameters::ETH2
            });
        }
        own => own.strip_prefix('-').map_or((true, own), |rest| (false, rest)),
    };
    let numbers = numbers
        .split('/')
        .map(str::parse)
        .collect::<Result<Vec<usize>, _>>()?;
    let ([mesh_n, mesh_n_low, mesh_n_high, mesh_outbound_min, gossip_lazy], timing) = numbers
        .split_first_chunk()
        .ok_or_else(|| format!("{set} is no set of parameters"))?;
    let shipped = GossipParameters::default();
    let heartbeat = timing
        .first()
        .map_or(shipped.heartbeat, |ms| Duration::from_millis(*ms as u64));
    let announced = timing.get(1).copied().unwrap_or(shipped.announced);
    Ok(GossipParameters {
        mesh_n: *mesh_n,
        mesh_n_low: *mesh_n_low,
        mesh_n_high: *mesh_n_high,
        mesh_outbound_min: *mesh_outbound_min,
        gossip_lazy: *gossip_lazy,
        idontwant,
        heartbeat,
        announced,
    })
}

/// A line on standard output.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn commands() -> tokio::sync::mpsc::UnboundedReceiver<String> {
    let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
