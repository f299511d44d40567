//! The proof engines that the settings name, behind one router.

use crate::config::{EngineKind, NodeConfig};
use anyhow::Context;
use assay_engine_api::JwtSecret;
use assay_proof_engine::{
    DevConfig, DevEngine, EngineApiConfig, EngineApiEngine, EngineError, EngineEvent, ProofEngine,
    ProofGenId, ProofNodeConfig, ProofNodeEngine, RequestBook, Route, Router, RouterConfig, RouterMetrics,
    Verification,
};
use assay_types::{ExecutionProof, NewPayloadRequest, ProofType, Root, Spec};
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// The router over what `--proof-engine-endpoint` names, whose requests `requests` remembers, and what it counts; without
/// one, an engine that verifies no type.
pub(crate) fn from_config(
    config: &NodeConfig,
    spec: &Spec,
    requests: &RequestBook,
) -> anyhow::Result<(Arc<dyn ProofEngine>, RouterMetrics)> {
    let endpoints = config.engine_endpoints()?;
    if endpoints.is_empty() {
        return Ok((
            Arc::new(NoEngine(broadcast::Sender::new(1))),
            RouterMetrics::default(),
        ));
    }
    let max_proof_size = usize::try_from(spec.max_proof_size)?;
    let jwt = match &config.proof_engine_jwt {
        Some(path) => Some(JwtSecret::from_file(path).context("--proof-engine-jwt")?),
        None => None,
    };
    let mut routes = Vec::new();
    for (endpoint, text) in endpoints.into_iter().zip(&config.proof_engine_endpoint) {
        let types = endpoint.proof_types.unwrap_or_else(|| config.proof_types.clone());
        let named = || format!("--proof-engine-endpoint {text}");
        let engine: Arc<dyn ProofEngine> = match endpoint.kind {
            EngineKind::Dev => {
                let dev = DevConfig {
                    allow_mainnet: config.unsafe_dev_proofs_on_mainnet,
                    proof_types: types,
                    verification_delay: Duration::from_millis(config.dev_delay_ms),
                    unavailable_rate: config.dev_failure_rate,
                    ..DevConfig::new(config.dev_seed.clone(), spec.chain_id, max_proof_size)
                };
                Arc::new(DevEngine::new(dev).with_context(named)?)
            }
            EngineKind::ProofNode(url) => {
                let node = ProofNodeConfig {
                    names: config.proof_type_names()?,
                    ..ProofNodeConfig::new(url, types, max_proof_size)
                };
                Arc::new(ProofNodeEngine::new(node).with_context(named)?)
            }
            EngineKind::EngineApi(url) => {
                let api = EngineApiConfig {
                    notify: config.proof_engine_notify,
                    ..EngineApiConfig::new(url, jwt.clone(), types)
                };
                // Its own ids: it posts what it has made under them, not under the router's.
                requests.noting(Arc::new(EngineApiEngine::new(api).with_context(named)?))
            }
        };
        routes.push(Route::from(engine));
    }
    let router_config = RouterConfig {
        preferred_types: config.proof_types.clone(),
        ..RouterConfig::default()
    };
    let router = Router::new(routes, router_config)?;
    let metrics = router.metrics().clone();
    Ok((requests.noting(Arc::new(router)), metrics))
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
