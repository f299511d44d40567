//! What the routes share.

use crate::{EventSink, Upstream};
use assay_chain::Chain;
use assay_gate::GateHandle;
use assay_network::NetworkHandle;
use assay_proof_engine::{EndpointHealth, ProofTypes, RequestBook};
use assay_store::Store;
use assay_types::ProofType;
use assay_verification::{Intake, UnsignedProofs};
use axum::extract::FromRef;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// What a node says of itself.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// `assay/<version>/<platform>`.
    pub version: String,
    /// Types it verifies, preferred first.
    pub proof_types: Vec<ProofType>,
    /// What stands behind the number of each.
    pub entries: Arc<ProofTypes>,
    /// Whether its proofs prove nothing (development engine).
    pub insecure_proofs: bool,
    /// Whether an Engine API is served.
    pub serves_engine_api: bool,
    /// `--max-db-size`, bytes.
    pub max_db_size: Option<u64>,
}

/// What the routes share. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The chain view.
    pub chain: Arc<dyn Chain>,
    /// The one door for proofs.
    pub intake: Intake,
    /// Proofs on disk.
    pub store: Store,
    /// The gate.
    pub gate: GateHandle,
    /// The network.
    pub network: NetworkHandle,
    /// Requests for proofs that this node made.
    pub requests: RequestBook,
    /// Where unsigned proofs are judged and, with a signer, signed.
    pub unsigned: UnsignedProofs,
    /// Accepted proofs, as they come.
    pub events: Arc<EventSink>,
    /// The beacon node behind.
    pub upstream: Upstream,
    /// What is measured.
    pub registry: Arc<Mutex<Registry>>,
    /// What the node says of itself.
    pub info: Arc<NodeInfo>,
    /// Whether the execution client behind the gate does not answer.
    pub execution_offline: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The proof engines' health.
    pub engines: Arc<dyn Fn() -> Vec<EndpointHealth> + Send + Sync>,
    /// Bytes that are free on the store's disk, where the system says it.
    pub disk_free: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
}

/// For routes that need no node around them.
impl FromRef<ApiState> for Arc<Mutex<Registry>> {
    fn from_ref(state: &ApiState) -> Self {
        state.registry.clone()
    }
}
