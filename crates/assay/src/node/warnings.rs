//! What an operator must know at start, in plain words.

use crate::{
    config::{ImportPolicyName, NodeConfig},
    endpoints::Endpoints,
};
use assay_proof_engine::ProofEngine;

/// Says it in the log.
pub(super) fn tell(config: &NodeConfig, engine: &dyn ProofEngine, endpoints: &Endpoints) {
    if config.proof_engine_endpoint.is_empty() {
        tracing::warn!(
            "no --proof-engine-endpoint: no proof type is verified, so proofs are neither kept nor forwarded"
        );
    }
    if config.execution_endpoint.is_none() {
        tracing::warn!(
            "no --execution-endpoint: no Engine API is served, so proofs change nothing at import"
        );
    }
    if config.import_policy == ImportPolicyName::RequireProofs {
        tracing::warn!(
            "require-proofs: payloads stay SYNCING until they are proven, and turn VALID only when the beacon node asks \
             again; a head that is optimistic costs a validating node its attestations and proposals. Do not run \
             validators on this beacon node"
        );
    }
    tracing::info!(
        http = %endpoints.http,
        engine = %endpoints.engine,
        p2p = %endpoints.p2p,
        proof_types = ?engine.proof_types(),
        import_policy = %config.import_policy,
        "node runs"
    );
}
