//! One file a route, named after method and path.

pub(crate) mod assay_dashboard;
pub(crate) mod assay_gate;
pub(crate) mod assay_gate_conflicts;
pub(crate) mod assay_payload;
pub(crate) mod assay_payloads;
pub(crate) mod assay_proof_types;
pub(crate) mod assay_status;
pub(crate) mod dashboard;
pub(crate) mod events;
pub(crate) mod get_execution_proofs;
pub(crate) mod get_pool_execution_proofs;
pub(crate) mod metrics;
pub(crate) mod node_health;
pub(crate) mod node_identity;
pub(crate) mod node_peer_count;
pub(crate) mod node_peers;
pub(crate) mod node_syncing;
pub(crate) mod node_version;
pub(crate) mod openapi_json;
pub(crate) mod post_execution_proofs;
pub(crate) mod post_prover_execution_proofs;

/// Places of posts of proofs whose work may go on without their callers: each holds a body.
#[derive(Debug, Clone)]
pub(crate) struct PostPlaces(pub(crate) std::sync::Arc<tokio::sync::Semaphore>);

/// Most bytes of a body that holds proofs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub(crate) usize);
