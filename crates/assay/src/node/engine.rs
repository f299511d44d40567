//! The proof engine that the settings name.

use crate::config::NodeConfig;
use anyhow::Context;
use assay_proof_engine::{DevConfig, DevEngine, ProofEngine, Route, Router, RouterConfig};
use assay_proof_engine::{EngineError, EngineEvent, ProofGenId, Verification};
use assay_types::{ExecutionProof, NewPayloadRequest, ProofType, Root, Spec};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// The router over what `--proof-engine-endpoint` names; without one, an engine that verifies no type.
pub(super) fn from_config(config: &NodeConfig, spec: &Spec) -> anyhow::Result<Arc<dyn ProofEngine>> {
    if config.proof_engine_endpoint.is_none() {
        return Ok(Arc::new(NoEngine(broadcast::Sender::new(1))));
    }
    let dev = DevEngine::new(DevConfig {
        allow_mainnet: config.unsafe_dev_proofs_on_mainnet,
        proof_types: config.proof_types.clone(),
        verification_delay: Duration::from_millis(config.dev_delay_ms),
        unavailable_rate: config.dev_failure_rate,
        ..DevConfig::new(
            config.dev_seed.clone(),
            spec.chain_id,
            usize::try_from(spec.max_proof_size)?,
        )
    })
    .context("--proof-engine-endpoint dev")?;
    let dev: Arc<dyn ProofEngine> = Arc::new(dev);
    Ok(Arc::new(Router::new(
        vec![Route::from(dev)],
        RouterConfig::default(),
    )?))
}

/// No proof engine: every type is unsupported, so proofs are neither kept nor forwarded.
struct NoEngine(broadcast::Sender<EngineEvent>);

#[async_trait]
impl ProofEngine for NoEngine {
    fn name(&self) -> &str {
        "none"
    }

    fn proof_types(&self) -> Vec<ProofType> {
        Vec::new()
    }

    async fn verify(&self, _: &ExecutionProof) -> Result<Verification, EngineError> {
        Ok(Verification::Unsupported)
    }

    async fn request(
        &self,
        _: Root,
        _: Arc<NewPayloadRequest>,
        _: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        Err(EngineError::Unavailable("no proof engine is configured".into()))
    }

    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.0.subscribe()
    }

    async fn notify_new_payload(&self, _: Root, _: Arc<NewPayloadRequest>) {}

    async fn notify_forkchoice_updated(&self, _: Root, _: Root, _: Root) {}
}
