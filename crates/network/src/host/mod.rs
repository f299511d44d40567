//! The libp2p host: one task owns the swarm; everybody else has a `NetworkHandle`.
//!
//! | file | what it holds |
//! |---|---|
//! | `task` | the task: it waits, and hands each event on |
//! | `gossiping` | topics, messages, verdicts, proofs to publish |
//! | `requests` | server and requester put together, goodbyes |
//! | `behaviour` | what runs on every connection |
//! | `admission`, `peering` | the peers' state machine, asked before a connection stands and told of all else |
//! | `transport`, `by_peer`, `noise`, `yamux`, `mplex`, `counted_io` | QUIC; TCP, noise, yamux, mplex, which cipher is proposed to whom; bytes counted |
//! | `listen`, `record` | listening, and the addresses and record to tell others |

mod admission;
mod behaviour;
mod by_peer;
mod counted_io;
mod gossip_streams;
mod gossiping;
mod listen;
mod mplex;
mod noise;
mod peering;
mod record;
mod requests;
mod task;
mod transport;
mod yamux;
pub(crate) use gossip_streams::GIVEN_UP_REASONS;
pub(crate) use yamux::FRAME_BODY;

use crate::{
    NetworkConfig, NetworkCounters, NetworkError, NodeKey, PeerCount, PeerInfo,
    counters::Counters,
    discovery::{self, Rules, Sockets},
    enr::{EnrExt, LocalEnr},
    gossip::{self, JoinedTopics, PublishQueue, TopicManager, TopicSchedule, Validation, Wanted},
    peers::{Limits, PeerFile, PeerReports, Peers},
    rpc::{PeerMetadata, Requester},
    sync::{self, DriverParts, ProofSync, SyncState},
};
use assay_chain::{BlockSource, Chain};
use assay_store::Store;
use assay_verification::Intake;
use behaviour::Behaviour;
use gossip_streams::{CountedGossip, GossipStreams};
use libp2p::{Multiaddr, PeerId, Swarm, multiaddr::Protocol, swarm};
pub(crate) use listen::probe;
use listen::{Learned, Reachability};
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;
use requests::RequestParts;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use task::Host;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Verdicts that may wait for the host; then the tasks that bring them wait.
const REPORT_QUEUE_LEN: usize = 256;
/// Connections stay open without a word: a peer outside the mesh is still one to publish to. Dead ones are found by
/// ping, unwanted ones by the connection limits.
const IDLE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
/// Events of one connection that wait for the host beside the one being handed over: each may be a message of 4 MiB, and
/// the library's seven of a hundred peers would be gigabytes. What all connections together bring of gossip is bounded
/// too (`gossip_streams::in_hand`).
const CONNECTION_EVENTS: usize = 1;
/// Streams of one connection whose protocol is not agreed on yet; further ones are dropped. Each may hold a window of
/// 256 KiB that nobody reads.
const MAX_NEGOTIATING_STREAMS: usize = 16;
/// `custody_group_count`: `CUSTODY_REQUIREMENT` (Fulu), the least a node may say.
const CUSTODY_GROUP_COUNT: u64 = 4;

/// `MetaData` of the base protocols: this node joins no subnets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Grows with every change.
    pub seq_number: u64,
    /// Attestation subnets, a bit each.
    pub attnets: [u8; 8],
    /// Sync committee subnets, a bit each.
    pub syncnets: u8,
    /// `cgc`.
    pub custody_group_count: u64,
}

/// This node's; none of it ever changes.
const METADATA: Metadata = Metadata {
    seq_number: 0,
    attnets: [0; 8],
    syncnets: 0,
    custody_group_count: CUSTODY_GROUP_COUNT,
};

impl From<Metadata> for PeerMetadata {
    fn from(metadata: Metadata) -> Self {
        Self {
            seq_number: metadata.seq_number,
            attnets: metadata.attnets,
            syncnets: Some(metadata.syncnets),
            custody_group_count: Some(metadata.custody_group_count),
        }
    }
}

/// Who this node is in the network, as `/eth/v1/node/identity` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The libp2p id.
    pub peer_id: PeerId,
    /// The node record in text form.
    pub enr: String,
    /// Where it listens, each with `/p2p/<id>`.
    pub p2p_addresses: Vec<Multiaddr>,
    /// Where its record says discovery finds it, each with `/p2p/<id>`.
    pub discovery_addresses: Vec<Multiaddr>,
    /// Its metadata.
    pub metadata: Metadata,
}

/// What the host's task shares with handles.
struct Shared {
    identity: RwLock<Identity>,
    peers: Arc<Mutex<Peers>>,
    counters: Counters,
    requester: Requester,
    sync: ProofSync,
}

/// The network as the rest of the node sees it. Cheap to clone; answers from memory.
#[derive(Clone)]
pub struct NetworkHandle {
    shared: Arc<Shared>,
}

impl NetworkHandle {
    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.shared.identity.read().clone()
    }

    /// Every peer known, by id.
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.shared.peers.lock().list()
    }

    /// One peer, where it is known.
    pub fn peer(&self, id: &PeerId) -> Option<PeerInfo> {
        self.shared.peers.lock().get(id)
    }

    /// How many peers are in each state.
    pub fn peer_count(&self) -> PeerCount {
        self.shared.peers.lock().count()
    }

    /// Asks peers.
    pub fn requester(&self) -> Requester {
        self.shared.requester.clone()
    }

    /// How proof sync stands.
    pub fn sync_state(&self) -> SyncState {
        self.shared.sync.state()
    }

    /// The counters now.
    pub fn counters(&self) -> NetworkCounters {
        self.shared.counters.snapshot()
    }
}

/// A network that was started.
pub struct Network {
    /// What it looks like from outside.
    pub handle: NetworkHandle,
    /// Ends soon after the token given to `start` is cancelled.
    pub task: JoinHandle<()>,
}

/// What the network is made of besides its settings.
pub struct NetworkParts {
    /// The chain's clock, forks, blocks.
    pub chain: Arc<dyn Chain>,
    /// The verifier's door: for gossip, and for what was asked for.
    pub intake: Intake,
    /// What the verifier accepts from elsewhere, to be published.
    pub publish: PublishQueue,
    /// Proofs to serve.
    pub store: Store,
    /// Blocks to serve, and what is said of the chain in `status`.
    pub blocks: Arc<dyn BlockSource>,
    /// Proof sync, which is also what is said in `execution_proof_status`.
    pub sync: ProofSync,
    /// Ends the network when it is cancelled.
    pub shutdown: CancellationToken,
}

/// Starts the network: reads or makes key and record, listens, and runs until `shutdown` is cancelled. Gossip goes to
/// `intake`; what the verifier accepts from elsewhere comes by `publish`. Metrics are registered with `registry`.
///
/// When it returns, the node listens, and `identity` names the ports really used. Errors are those of `NetworkError`;
/// nothing runs after one.
pub async fn start(
    config: NetworkConfig,
    parts: NetworkParts,
    registry: &mut Registry,
) -> Result<Network, NetworkError> {
    let NetworkParts {
        chain,
        intake,
        publish,
        store,
        blocks,
        sync,
        shutdown,
    } = parts;
    config.check()?;
    let known_nodes = Arc::clone(&blocks);
    let key = NodeKey::load_or_create(&config.directory)?;
    let keypair = key.keypair();
    let counters = Counters::default();
    counters.register(registry);

    let spec = Arc::clone(chain.spec());
    let genesis_validators_root = chain.genesis().genesis_validators_root;
    let schedule = TopicSchedule::new(&spec, &genesis_validators_root);
    let joined = JoinedTopics::default();
    let peer_file = PeerFile::new(&config.directory);
    let peers = known_peers(&config, key.peer_id(), &peer_file);
    let (peer_reports, faults) = PeerReports::new(counters.clone());
    let (request_behaviour, requests) = requests::build(
        RequestParts {
            config: config.rpc,
            chain: Arc::clone(&chain),
            store: store.clone(),
            blocks,
            proof_status: Arc::new(sync.clone()),
            metadata: Arc::new(|| PeerMetadata::from(METADATA)),
            peers: Arc::clone(&peers),
            reports: peer_reports.clone(),
            shutdown: shutdown.clone(),
        },
        registry,
    );
    let gossip = gossip::behaviour(
        &spec,
        &schedule,
        &config.gossip,
        Arc::clone(&joined),
        counters.clone(),
        registry,
    )?;
    let streams = GossipStreams::new(counters.clone());
    let behaviour = Behaviour::new(
        &config,
        &keypair,
        CountedGossip::new(gossip, streams.clone()),
        request_behaviour,
        Arc::clone(&peers),
        &counters,
    );
    let known = Arc::clone(&peers);
    let is_alike = move |peer: &PeerId| known.lock().may_be_alike(peer);
    let mut swarm = Swarm::new(
        transport::build(&config, &keypair, &counters, &streams, is_alike)?,
        behaviour,
        key.peer_id(),
        swarm_config(),
    );
    let listening = listen::listen(&mut swarm, &config).await?;

    let sockets = (!config.disable_discovery)
        .then(|| Sockets::bind(&config))
        .transpose()?;
    let udp = sockets.as_ref().map(Sockets::addresses).unwrap_or_default();
    let reach = Reachability::new(&config, &listening, udp);
    let learned = match &sockets {
        Some(_) if reach.may_learn() => reach.remembered(LocalEnr::kept(&config.directory).as_ref()),
        _ => Learned::default(),
    };
    let content = record::content(chain.as_ref(), config.eproof, &reach, &learned);
    let enr = LocalEnr::open(&config.directory, &key, content)?;
    let rules = Arc::new(RwLock::new(Rules {
        own: key.peer_id(),
        digests: schedule.joined_at_epoch(spec.epoch_at_slot(chain.current_slot())),
        families: [true, false].map(|is_v4| config.listen_addresses.iter().any(|ip| ip.is_ipv4() == is_v4)),
        quic: !config.disable_quic,
        global: discovery::is_global(enr.enr()),
    }));
    let shared = Arc::new(Shared {
        identity: RwLock::new(identity(key.peer_id(), &enr, &listening)),
        peers,
        counters: counters.clone(),
        requester: requests.requester.clone(),
        sync: sync.clone(),
    });
    let news = Arc::new(Notify::new());
    let discovery = match sockets {
        Some(sockets) => {
            let parts = discovery::Parts {
                enr: enr.enr().clone(),
                key: key.enr_key()?,
                sockets,
                boot_nodes: config.boot_nodes.clone(),
                votes: reach.may_learn(),
                rules: Arc::clone(&rules),
                peers: Arc::clone(&shared.peers),
                blocks: Some(known_nodes),
                news: Arc::clone(&news),
                counters: counters.clone(),
                shutdown: shutdown.clone(),
            };
            Some(discovery::start(parts).await?)
        }
        None => None,
    };
    sync.register(registry);
    let wanted = Wanted {
        known: Arc::new(store.clone()),
        proof_types: sync.proof_types().to_vec(),
    };
    let syncing = sync::run(
        DriverParts {
            sync,
            chain: Arc::clone(&chain),
            store,
            intake: intake.clone(),
            peers: Arc::clone(&shared.peers),
            reports: peer_reports,
            shutdown: shutdown.clone(),
        },
        requests.requester.clone(),
    );
    let (report_sender, reports) = mpsc::channel(REPORT_QUEUE_LEN);
    let validation = Validation::new(
        intake,
        Arc::clone(&chain),
        wanted,
        schedule.clone(),
        report_sender,
        counters,
    );
    tracing::info!(peer_id = %key.peer_id(), enr = %enr.enr(), addresses = ?listening, "network listens");

    let host = Host::new(task::Parts {
        swarm,
        streams,
        chain,
        topics: TopicManager::new(schedule),
        joined,
        validation,
        reports,
        publish: publish.0,
        faults,
        peer_file,
        news,
        record: record::Record {
            enr,
            eproof: config.eproof,
            reach,
            learned,
            rules,
            discovery,
            keeping: None,
        },
        shared: Arc::clone(&shared),
        requests,
        shutdown,
    });
    Ok(Network {
        handle: NetworkHandle { shared },
        task: tokio::spawn(async move {
            tokio::join!(host.run(), syncing);
        }),
    })
}

/// Those given, and those of the last run.
fn known_peers(config: &NetworkConfig, own: PeerId, file: &PeerFile) -> Arc<Mutex<Peers>> {
    let limits = Limits {
        target: usize::try_from(config.target_peers).unwrap_or(usize::MAX / 2),
    };
    let now = Instant::now();
    let mut peers = Peers::new(own, &config.peers, limits, now);
    let remembered = file.load(&mut peers, now);
    if remembered > 0 {
        tracing::info!(peers = remembered, "peers of the last run remembered");
    }
    Arc::new(Mutex::new(peers))
}

fn swarm_config() -> swarm::Config {
    swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING_STREAMS)
        .with_per_connection_event_buffer_size(CONNECTION_EVENTS)
}

fn identity(peer_id: PeerId, enr: &LocalEnr, listening: &[Multiaddr]) -> Identity {
    let mut p2p_addresses: Vec<Multiaddr> = enr.enr().tcp_multiaddrs();
    p2p_addresses.extend(enr.enr().quic_multiaddrs());
    for address in listening.iter().filter(|address| listen::is_specific(address)) {
        let named = address.clone().with(Protocol::P2p(peer_id));
        if !p2p_addresses.contains(&named) {
            p2p_addresses.push(named);
        }
    }
    Identity {
        peer_id,
        enr: enr.enr().to_base64(),
        p2p_addresses,
        discovery_addresses: enr.enr().udp_multiaddrs(),
        metadata: METADATA,
    }
}
