//! The node's signer, and the prover's duty inside the node: proofs go through the node's own door, not over HTTP.

use crate::{config::NodeConfig, prover};
use assay_chain::{Chain, NodeApi, SystemClock};
use assay_proof_engine::ProofEngine;
use assay_prover::{KeySigner, OwnProofs, Prover, ProverParts, RecentRequests, ValidatorSigner};
use assay_verification::Intake;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What signer and prover work with.
pub(super) struct ProvingParts {
    pub(super) chain: Arc<dyn Chain>,
    pub(super) beacon: Arc<NodeApi>,
    pub(super) engine: Arc<dyn ProofEngine>,
    pub(super) intake: Intake,
    pub(super) recent: Arc<RecentRequests>,
    pub(super) own_proofs: Arc<OwnProofs>,
    pub(super) key_signers: Vec<Arc<dyn KeySigner>>,
}

/// Starts the signer, and the prover with `--prover`. `None`: no keys are configured, and what comes unsigned stays so.
pub(super) fn start(
    config: &NodeConfig,
    parts: ProvingParts,
    registry: &mut Registry,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Option<Arc<ValidatorSigner>> {
    if parts.key_signers.is_empty() {
        return None;
    }
    let signer = Arc::new(ValidatorSigner::new(parts.chain.clone(), parts.key_signers));
    signer
        .metrics()
        .register(registry.sub_registry_with_prefix("assay_signer"));
    let (kept_up, api) = (signer.clone(), parts.beacon.clone());
    tasks.spawn(super::until(stop, async move { kept_up.keep_up(&api).await }));
    if config.prover {
        let duty = prover::duty(config, parts.chain.spec());
        let prover = Prover::new(
            duty,
            ProverParts {
                chain: parts.chain,
                clock: Arc::new(SystemClock),
                api: parts.beacon,
                engine: parts.engine,
                signer: signer.clone(),
                door: Arc::new(parts.intake),
                recent: parts.recent,
                own_proofs: parts.own_proofs,
            },
        );
        let metrics = prover.metrics().clone();
        metrics.register(registry.sub_registry_with_prefix("assay_prover"));
        tracing::info!(proof_types = ?config.types_to_prove(), "this node is a prover");
        tasks.spawn(super::until(stop, async move {
            tokio::select! {
                () = prover.run() => {}
                () = prover::tell_progress(&metrics) => {}
            }
        }));
    }
    Some(signer)
}
