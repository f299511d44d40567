//! Discovery (discv5): finds nodes of our fork, proof-aware ones first, and lets them find us.
//!
//! Records come from queries, from nodes that talk to us, from `--boot-nodes`, from the peer store and from the beacon
//! node; all go through `record::Rules` into the peers' table, which decides whom to dial.
//!
//! | file | what it holds |
//! |---|---|
//! | `planner` | when to ask for whom: a state machine |
//! | `record` | which records are worth a dial |
//! | `sockets` | the UDP sockets |

mod planner;
mod record;
mod sockets;

pub(crate) use record::{Rules, is_global};
pub(crate) use sockets::Sockets;

use crate::{
    NetworkError,
    counters::Counters,
    enr::{Enr, EnrExt},
    peers::{Candidate, Peers},
};
use assay_chain::{BlockSource, KnownNode};
use discv5::{ConfigBuilder, Discv5, Event, PermitBanList, RateLimiterBuilder};
use enr::{CombinedKey, NodeId};
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use parking_lot::{Mutex, RwLock};
use planner::{Planner, Query};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

/// How often the planner is asked.
const TICK: Duration = Duration::from_millis(500);
/// Nodes a query ends with.
const NODES_PER_QUERY: usize = 16;
/// How often the beacon node is asked for its peers, while any are wanted.
const ASK_BEACON_NODE_EVERY: Duration = Duration::from_secs(300);
/// Of the beacon node's peers no more are looked at.
const MAX_BEACON_NODE_PEERS: usize = 256;
/// Nodes that must agree on our address. Two could be one's own other node and a liar.
const VOTES: usize = 3;
/// How often discv5 pings the nodes of its table, each pong a vote.
const PING_EVERY: Duration = Duration::from_secs(300);
/// Known nodes that are asked at once while the table is empty.
const MAX_CONTACTS: usize = 64;
/// Packets a second that nobody asked for, in all: what is above is dropped. From one address: what is above is dropped,
/// and so is all from there for `PACKET_BAN`, before it is looked at; else one host that sends some kilobytes a second
/// would leave no room for others. Loopback has neither limit. Answers to what we asked for pass in any case, so our own
/// queries go on; so does whatever comes from an address and port whose proof is awaited, for a second or two.
///
/// Neither limit may be turned against others, for nothing of such a packet is proven. discv5's limit by node goes by the
/// id that a packet names: anybody could ban anybody's node with 31 packets, so there is none. An address can be
/// another's where its sender's network lets such packets out: so the ban of an address at which we know a node is taken
/// back every `BANS_LIFTED_EVERY`, and is a rate limit. What is left to who can send under any address: to have packets
/// dropped of whom he names while he goes on, or of everybody by using up the total; and of nodes that we do not know
/// yet, for `PACKET_BAN` and up to 5 min more, which is how often discv5 looks.
const PACKETS_IN_ALL: u64 = 500;
const PACKETS_PER_ADDRESS: u64 = 100;
const PACKET_BAN: Duration = Duration::from_secs(60);
const BANS_LIFTED_EVERY: Duration = Duration::from_secs(1);

/// What discovery is started with.
pub(crate) struct Parts {
    pub(crate) enr: Enr,
    pub(crate) key: CombinedKey,
    pub(crate) sockets: Sockets,
    pub(crate) boot_nodes: Vec<Enr>,
    /// Whether our record follows what others say our address is.
    pub(crate) votes: bool,
    pub(crate) rules: Arc<RwLock<Rules>>,
    pub(crate) peers: Arc<Mutex<Peers>>,
    pub(crate) blocks: Option<Arc<dyn BlockSource>>,
    /// Told when there is somebody new to dial.
    pub(crate) news: Arc<Notify>,
    pub(crate) counters: Counters,
    pub(crate) shutdown: CancellationToken,
}

/// Discovery as the host sees it.
pub(crate) struct Discovery {
    enr: Arc<RwLock<Enr>>,
    pub(crate) task: JoinHandle<()>,
}

impl Discovery {
    /// Our record as discovery has it: its votes may have changed and signed it.
    pub(crate) fn enr(&self) -> Enr {
        self.enr.read().clone()
    }

    /// From now on this is our record.
    pub(crate) fn set_enr(&self, enr: Enr) {
        *self.enr.write() = enr;
    }
}

/// Starts discovery; it runs until the shutdown token is cancelled.
pub(crate) async fn start(parts: Parts) -> Result<Discovery, NetworkError> {
    let failed = |why: String| NetworkError::Settings(format!("discovery: {why}"));
    let limiter = RateLimiterBuilder::new()
        .total_n_every(PACKETS_IN_ALL, Duration::from_secs(1))
        .ip_n_every(PACKETS_PER_ADDRESS, Duration::from_secs(1))
        .build()
        .map_err(|e| failed(e.to_owned()))?;
    let mut permitted = PermitBanList::default();
    permitted.permit_ips.insert(IpAddr::V4(Ipv4Addr::LOCALHOST));
    permitted.permit_ips.insert(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let mut config = ConfigBuilder::new(parts.sockets.into_config());
    config
        .enable_packet_filter()
        .filter_rate_limiter(Some(limiter))
        .filter_max_nodes_per_ip(None)
        .filter_max_bans_per_ip(None)
        .ban_duration(Some(PACKET_BAN))
        .permit_ban_list(permitted)
        .enr_peer_update_min(VOTES)
        .ping_interval(PING_EVERY)
        .query_parallelism(5);
    if !parts.votes {
        config.disable_enr_update();
    }
    if record::limits_subnets(parts.rules.read().global, &parts.boot_nodes) {
        // One /24 must not fill the table.
        config.ip_limit();
    }
    let mut config = config.build();
    // Or votes of a small network would end before they are enough.
    config.vote_duration = PING_EVERY * 2;
    let mut discv5 = Discv5::new(parts.enr, parts.key, config).map_err(|e| failed(e.to_owned()))?;
    discv5.start().await.map_err(|e| failed(format!("{e:?}")))?;
    let events = discv5
        .event_stream()
        .await
        .map_err(|e| failed(format!("{e:?}")))?;
    let enr = discv5.external_enr();
    let now = Instant::now();
    let search = Search {
        discv5,
        events,
        boot_nodes: parts.boot_nodes,
        rules: parts.rules,
        peers: parts.peers,
        blocks: parts.blocks,
        news: parts.news,
        counters: parts.counters,
        planner: Planner::new(now),
        found: 0,
        ask_beacon_node: now,
        bans_lifted: now,
    };
    let shutdown = parts.shutdown;
    let task = tokio::spawn(async move {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = search.run() => tracing::error!("discovery ended by itself"),
        }
    });
    Ok(Discovery { enr, task })
}

type Found = Vec<Enr>;

struct Search {
    discv5: Discv5,
    events: mpsc::Receiver<Event>,
    boot_nodes: Vec<Enr>,
    rules: Arc<RwLock<Rules>>,
    peers: Arc<Mutex<Peers>>,
    blocks: Option<Arc<dyn BlockSource>>,
    news: Arc<Notify>,
    counters: Counters,
    planner: Planner,
    /// New peers since the last query began.
    found: usize,
    ask_beacon_node: Instant,
    /// When bans were taken back last.
    bans_lifted: Instant,
}

impl Search {
    async fn run(mut self) {
        for enr in &self.boot_nodes {
            if !has_udp(enr) {
                tracing::warn!(%enr, "--boot-nodes: no UDP address, so nobody can be asked there");
            }
        }
        let mut query: Option<BoxFuture<'static, Found>> = None;
        let mut beacon_node: Option<BoxFuture<'static, Vec<KnownNode>>> = None;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => return,
                },
                found = ended(&mut query) => {
                    query = None;
                    for enr in &found {
                        self.take(enr);
                    }
                    if self.found == 0 {
                        self.counters.discovery_queries_empty.inc();
                    }
                    self.planner.ended(self.found, Instant::now());
                }
                nodes = ended(&mut beacon_node) => {
                    beacon_node = None;
                    self.take_known_nodes(&nodes);
                }
                _ = ticks.tick() => {
                    self.lift_bans();
                    if let Some(begun) = self.plan() {
                        query = Some(begun);
                    }
                    if beacon_node.is_none() {
                        beacon_node = self.ask_beacon_node();
                    }
                }
            }
        }
    }

    /// Begins a query if one is due.
    fn plan(&mut self) -> Option<BoxFuture<'static, Found>> {
        let now = Instant::now();
        let (wanted, connected) = {
            let peers = self.peers.lock();
            (peers.wanted(now), peers.count().connected)
        };
        let query = self.planner.next(wanted, connected, now)?;
        let contacts = self.contacts();
        self.counters.discovery_queries.inc();
        self.found = 0;
        let rules = self.rules.read().clone();
        let predicate =
            move |enr: &Enr| rules.is_ours(enr).is_ok() && (query == Query::Any || enr.eproof() != 0);
        let search = self
            .discv5
            .find_node_predicate(NodeId::random(), Box::new(predicate), NODES_PER_QUERY);
        Some(
            async move {
                join_all(contacts).await;
                search.await.unwrap_or_else(|error| {
                    tracing::debug!(%error, "query of discovery");
                    Vec::new()
                })
            }
            .boxed(),
        )
    }

    /// While the table is empty: boot nodes and known peers are pinged before a query begins. Those that answer get
    /// into the table as nodes that we have asked, whose word on our address counts.
    fn contacts(&mut self) -> Vec<impl Future<Output = ()> + use<>> {
        if self.discv5.connected_peers() > 0 {
            return Vec::new();
        }
        for enr in self.boot_nodes.clone() {
            self.take(&enr);
        }
        let known = self.peers.lock().list();
        let known = known.into_iter().filter_map(|peer| peer.enr?.parse::<Enr>().ok());
        let mut contacts: Vec<Enr> = self.boot_nodes.iter().cloned().chain(known).collect();
        let mut met = HashSet::new();
        contacts.retain(|enr| has_udp(enr) && met.insert(enr.node_id()));
        contacts.truncate(MAX_CONTACTS);
        contacts
            .into_iter()
            .map(|enr| self.discv5.send_ping(enr).map(drop))
            .collect()
    }

    /// Takes back what was done to nodes that we know, for packets under their addresses (`PACKETS_PER_ADDRESS`).
    fn lift_bans(&mut self) {
        let now = Instant::now();
        if now < self.bans_lifted + BANS_LIFTED_EVERY {
            return;
        }
        self.bans_lifted = now;
        for enr in self.discv5.table_entries_enr().iter().chain(&self.boot_nodes) {
            let v4 = enr.ip4().map(IpAddr::V4);
            for address in v4.into_iter().chain(enr.ip6().map(IpAddr::V6)) {
                self.discv5.ban_ip_remove(&address);
            }
        }
    }

    fn add(&self, enr: &Enr) {
        // discv5 would tell of records without at warning level each time.
        if has_udp(enr)
            && let Err(why) = self.discv5.add_enr(enr.clone())
        {
            tracing::debug!(node = %enr.node_id(), why, "record not taken into the table");
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Discovered(enr) | Event::SessionEstablished(enr, _) => self.take(&enr),
            Event::SocketUpdated(socket) => {
                tracing::info!(%socket, "other nodes agree on this address of ours");
            }
            _ => {}
        }
    }

    /// A record, from wherever.
    fn take(&mut self, enr: &Enr) {
        let judged = self.rules.read().judge(enr);
        match judged {
            Ok(candidate) => self.take_candidate(candidate),
            Err(reason) => self.counters.record(reason),
        }
    }

    fn take_candidate(&mut self, candidate: Candidate) {
        if self.peers.lock().discovered(candidate, Instant::now()) {
            self.counters.record("new");
            self.found += 1;
            self.news.notify_one();
        } else {
            self.counters.record("known");
        }
    }

    /// Asks the beacon node for its own record and its peers, now and then, while any are wanted.
    fn ask_beacon_node(&mut self) -> Option<BoxFuture<'static, Vec<KnownNode>>> {
        let now = Instant::now();
        if now < self.ask_beacon_node {
            return None;
        }
        let blocks = Arc::clone(self.blocks.as_ref()?);
        let wanted = self.peers.lock().wanted(now);
        if wanted.proof_aware + wanted.others == 0 {
            return None;
        }
        self.ask_beacon_node = now + ASK_BEACON_NODE_EVERY;
        Some(
            async move {
                match blocks.known_nodes().await {
                    Ok(known) => known.own.into_iter().chain(known.peers).collect(),
                    Err(error) => {
                        tracing::debug!(%error, "the beacon node's peers are not known");
                        Vec::new()
                    }
                }
            }
            .boxed(),
        )
    }

    fn take_known_nodes(&mut self, nodes: &[KnownNode]) {
        for node in nodes.iter().take(MAX_BEACON_NODE_PEERS) {
            if let Some(enr) = node.enr.as_deref().and_then(|text| text.parse::<Enr>().ok()) {
                self.add(&enr);
                self.take(&enr);
            } else if node.outbound != Some(false)
                && let Some(candidate) = self.by_addresses(node)
            {
                self.take_candidate(candidate);
            }
        }
    }

    /// A node of which the beacon node tells no record, but where it listens.
    fn by_addresses(&self, node: &KnownNode) -> Option<Candidate> {
        let peer_id: PeerId = node.peer_id.as_ref()?.parse().ok()?;
        let rules = self.rules.read();
        let addresses: Vec<Multiaddr> = node
            .addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .map(|address: Multiaddr| {
                address
                    .into_iter()
                    .filter(|part| !matches!(part, Protocol::P2p(_)))
                    .collect()
            })
            .filter(|address| rules.is_dialable(address))
            .collect();
        (!addresses.is_empty() && peer_id != rules.own).then_some(Candidate {
            peer_id,
            addresses,
            enr: None,
            eproof: None,
            proven: false,
        })
    }
}

fn has_udp(enr: &Enr) -> bool {
    enr.udp4_socket().is_some() || enr.udp6_socket().is_some()
}

/// The end of what is under way; never, while nothing is.
async fn ended<T>(work: &mut Option<BoxFuture<'static, T>>) -> T {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
