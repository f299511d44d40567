//! Requests in the host: server, requester and talks are put together here, and told what the peers' table decides.

use super::task::Host;
use crate::{
    Fault, Goodbye, PeerStatus,
    peers::{PeerReports, Peers},
    rpc::{
        self, Connections, ConversationParts, Conversations, LocalProofStatus, PeerBook, PeerMetadata,
        Protocol, Requester, RequesterParts, RpcConfig, RpcCounters, Server, ServerParts,
    },
};
use assay_chain::{BlockSource, Chain};
use assay_store::Store;
use assay_types::ExecutionProofStatus;
use futures::StreamExt;
use libp2p::PeerId;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Time at the end of the node for telling peers goodbye.
const FAREWELL: Duration = Duration::from_millis(500);

/// What requests are made from and served with.
pub(super) struct RequestParts {
    pub(super) config: RpcConfig,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) store: Store,
    pub(super) blocks: Arc<dyn BlockSource>,
    pub(super) proof_status: Arc<dyn LocalProofStatus>,
    pub(super) metadata: Arc<dyn Fn() -> PeerMetadata + Send + Sync>,
    pub(super) peers: Arc<Mutex<Peers>>,
    pub(super) reports: PeerReports,
    pub(super) shutdown: CancellationToken,
}

/// What the host keeps of them.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) requester: Requester,
    conversations: Conversations,
}

/// The part of the swarm's behaviour that carries requests, and what the host keeps.
pub(super) fn build(parts: RequestParts, registry: &mut Registry) -> (rpc::Behaviour, Requests) {
    let counters = RpcCounters::default();
    counters.register(registry);
    let connections = Connections::default();
    let config = parts.config.for_peers(parts.peers.lock().most_connected());
    let peers: Arc<dyn PeerBook> = Arc::new(Book {
        peers: parts.peers,
        reports: parts.reports,
    });
    let conversations = Conversations::new(ConversationParts {
        chain: Arc::clone(&parts.chain),
        blocks: Arc::clone(&parts.blocks),
        proof_status: Arc::clone(&parts.proof_status),
        metadata: Arc::clone(&parts.metadata),
        peers: Arc::clone(&peers),
        shutdown: parts.shutdown.clone(),
    });
    let requester = Requester::new(RequesterParts {
        chain: Arc::clone(&parts.chain),
        blocks: Arc::clone(&parts.blocks),
        connections: connections.clone(),
        peers: Arc::clone(&peers),
        counters: counters.clone(),
        timeouts: config.timeouts,
    });
    conversations.speak_through(requester.clone());
    let served = Protocol::served(parts.chain.spec());
    let server = Server::new(ServerParts {
        config,
        chain: parts.chain,
        store: parts.store,
        blocks: parts.blocks,
        proof_status: parts.proof_status,
        metadata: parts.metadata,
        peers,
        connections: connections.clone(),
        conversations: conversations.clone(),
        counters,
        shutdown: parts.shutdown,
    });
    let behaviour = rpc::Behaviour::new(&served, connections, Arc::new(server));
    let requests = Requests {
        requester,
        conversations,
    };
    (behaviour, requests)
}

/// The peers' state machine, as requests tell it.
struct Book {
    peers: Arc<Mutex<Peers>>,
    reports: PeerReports,
}

impl PeerBook for Book {
    fn status(&self, peer: &PeerId, status: PeerStatus) {
        self.peers.lock().set_status(peer, status);
    }

    fn metadata(&self, peer: &PeerId, metadata: PeerMetadata) {
        self.peers.lock().set_metadata_seq(peer, metadata.seq_number);
    }

    fn proof_status(&self, peer: &PeerId, status: ExecutionProofStatus) {
        self.peers.lock().set_proof_status(peer, status);
    }

    fn said_goodbye(&self, peer: &PeerId) {
        self.peers.lock().said_goodbye(peer, Instant::now());
    }

    fn report(&self, peer: &PeerId, fault: Fault) {
        self.reports.report(*peer, fault);
    }

    fn eproof(&self, peer: &PeerId) -> Option<u8> {
        self.peers.lock().get(peer).and_then(|peer| peer.eproof)
    }
}

impl Host {
    /// Says goodbye beside the task; the connection is closed when it was said, or after seconds all the same.
    pub(super) fn goodbye(&self, peer: PeerId, reason: Goodbye) {
        let requester = self.parts.requests.requester.clone();
        tokio::spawn(async move { requester.goodbye(peer, reason).await });
    }

    /// Tells every peer that this node ends, for a moment at most.
    pub(super) async fn farewell(&mut self) {
        let conversations = self.parts.requests.conversations.clone();
        let swarm = &mut self.parts.swarm;
        let _ = tokio::time::timeout(FAREWELL, async {
            tokio::select! {
                () = conversations.say_goodbye_to_all() => {}
                // Connections are only driven while the swarm is.
                () = async { while swarm.next().await.is_some() {} } => {}
            }
        })
        .await;
    }
}
