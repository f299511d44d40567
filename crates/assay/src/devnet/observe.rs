//! What a node's HTTP API says: the only source of the live view and the summary.

use super::{Topology, child::NodeProcess};
use anyhow::{Context, bail};
use assay_types::{BlockHash, ProofType, Root};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Bound on one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long nodes may take to connect to those they know.
const PEER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long they may take to find others.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(90);
/// Peers that are enough where nodes find each other.
const ENOUGH_PEERS: usize = 5;

/// `GET /assay/v1/status`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    pub(super) proofs: ProofCounts,
    pub(super) network: NetworkCounts,
}

/// Proofs by where they came from.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ProofCounts {
    pub(super) accepted: u64,
    pub(super) by_source: BTreeMap<String, u64>,
}

/// Bytes on the wire.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NetworkCounts {
    pub(super) connected_peers: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

/// One row of `GET /assay/v1/payloads`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Payload {
    pub(super) block_hash: BlockHash,
    pub(super) new_payload_request_root: Option<Root>,
    pub(super) verdict: String,
    pub(super) told_syncing_first: bool,
    pub(super) told_valid: bool,
    pub(super) seen_at_ms: u64,
    pub(super) valid_at_ms: Option<u64>,
    pub(super) told_valid_at_ms: Option<u64>,
    pub(super) proofs: Vec<PayloadProof>,
}

/// A proof of a payload.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct PayloadProof {
    pub(super) proof_type: ProofType,
    pub(super) at_ms: u64,
}

/// Everything one node says.
#[derive(Debug, Clone)]
pub(super) struct NodeReport {
    pub(super) status: Status,
    pub(super) payloads: Vec<Payload>,
}

/// Payloads by block hash, each as it was last told.
pub(super) type SeenPayloads = BTreeMap<BlockHash, Payload>;

impl NodeReport {
    /// Adds what was told before and is told no more.
    pub(super) fn keep(&mut self, seen: &mut SeenPayloads) {
        for payload in self.payloads.drain(..) {
            seen.insert(payload.block_hash, payload);
        }
        self.payloads = seen.values().cloned().collect();
    }

    pub(super) fn payload(&self, block_hash: &BlockHash) -> Option<&Payload> {
        self.payloads.iter().find(|p| p.block_hash == *block_hash)
    }
}

impl Payload {
    pub(super) fn proof(&self, proof_type: ProofType) -> Option<&PayloadProof> {
        self.proofs.iter().find(|p| p.proof_type == proof_type)
    }

    /// Told SYNCING first and VALID later.
    pub(super) fn was_released(&self) -> bool {
        self.told_syncing_first && self.told_valid
    }
}

pub(super) fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(TIMEOUT).build()?)
}

async fn get<T: serde::de::DeserializeOwned>(http: &reqwest::Client, url: String) -> anyhow::Result<T> {
    #[derive(Deserialize)]
    struct Data<T> {
        data: T,
    }
    let answer = http.get(&url).send().await?.error_for_status()?;
    Ok(answer.json::<Data<T>>().await.with_context(|| url.clone())?.data)
}

/// Reports of all nodes.
pub(super) async fn all(http: &reqwest::Client, nodes: &[NodeProcess]) -> anyhow::Result<Vec<NodeReport>> {
    let mut reports = Vec::with_capacity(nodes.len());
    for node in nodes {
        let base = &node.endpoints.http;
        reports.push(NodeReport {
            status: get(http, format!("{base}/assay/v1/status")).await?,
            payloads: get(http, format!("{base}/assay/v1/payloads?limit=4096")).await?,
        });
    }
    Ok(reports)
}

/// Until every node has its neighbours, or has found some peers.
pub(super) async fn wait_for_peers(
    http: &reqwest::Client,
    nodes: &[NodeProcess],
    topology: Topology,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let timeout = match topology {
        Topology::Line => PEER_TIMEOUT,
        Topology::Discovery => DISCOVERY_TIMEOUT,
    };
    for node in nodes.iter().filter(|_| nodes.len() > 1) {
        let outer = node.index == 0 || node.index + 1 == nodes.len();
        let wanted = match topology {
            Topology::Line if outer => 1,
            Topology::Line => 2,
            Topology::Discovery => ENOUGH_PEERS.min(nodes.len() - 1) as u64,
        };
        loop {
            let status: Status = get(http, format!("{}/assay/v1/status", node.endpoints.http)).await?;
            let connected = status.network.connected_peers;
            if connected >= wanted {
                break;
            }
            if started.elapsed() > timeout {
                bail!(
                    "node {} has {connected} of {wanted} peers after {timeout:?}",
                    node.index + 1
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}
