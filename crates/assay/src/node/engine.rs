//! The proof engines that the settings name, behind one router.

use super::guests;
use crate::config::{EngineKind, NodeConfig, shown_endpoint};
use anyhow::{Context, bail};
use assay_engine_api::JwtSecret;
use assay_native_verifiers::{NativeEngine, NativeLimits, NativeMetrics, NativeVerifier, ProgramKey};
use assay_proof_engine::{
    DevConfig, DevEngine, EndpointHealth, EngineApiConfig, EngineApiEngine, EngineError, EngineEvent,
    ProofEngine, ProofGenId, ProofNodeConfig, ProofNodeEngine, ProofTypes, RequestBook, Route, Router,
    RouterConfig, RouterMetrics, Verification,
};
use assay_types::{EngineInput, NewPayloadRequest, ProofType, Root, Spec};
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// What the engines count.
#[derive(Default)]
pub(crate) struct EngineMetrics {
    /// For its endpoints' health; none where no engine is configured.
    health: Option<Arc<Router>>,
    router: RouterMetrics,
    native: Option<NativeMetrics>,
}

impl EngineMetrics {
    /// Each endpoint's health.
    pub(crate) fn health(&self) -> Vec<EndpointHealth> {
        self.health
            .as_ref()
            .map(|router| router.health())
            .unwrap_or_default()
    }

    /// Registers what there is.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.router.register(registry);
        if let Some(native) = &self.native {
            native.register(registry.sub_registry_with_prefix("native"));
        }
    }
}

/// Reads the keys of the types that `native` is asked for: at start, so that a wrong one is told before anything is waited
/// for. A key whose proofs others judge is held against its SHA-256 too.
pub(crate) fn native_verifiers(
    config: &NodeConfig,
    entries: &ProofTypes,
    chain_id: u64,
) -> anyhow::Result<Vec<(ProofType, NativeVerifier)>> {
    let endpoints = config.engine_endpoints()?;
    let native = endpoints.iter().filter(|e| e.kind == EngineKind::Native);
    let asked: Vec<ProofType> = native.flat_map(|e| e.types(config)).collect();
    let mut verifiers = Vec::new();
    for entry in entries.iter() {
        let proof_type = entry.proof_type();
        let setting = config.native_setting(proof_type);
        let of = || format!("--{setting} of type {proof_type}");
        if asked.contains(&proof_type) {
            let verifier = NativeVerifier::load(entry, chain_id, config.unsafe_native_statements);
            verifiers.push((proof_type, verifier.with_context(of)?));
        } else if let Some(key) = entry.key() {
            ProgramKey::of(key).with_context(of)?;
        }
    }
    Ok(verifiers)
}

/// The router over what `--proof-engine-endpoint` names, whose requests `requests` remembers, and what it counts; without
/// one, an engine that verifies no type.
pub(crate) fn from_config(
    config: &NodeConfig,
    entries: &ProofTypes,
    spec: &Spec,
    requests: &RequestBook,
) -> anyhow::Result<(Arc<dyn ProofEngine>, EngineMetrics)> {
    let endpoints = config.engine_endpoints()?;
    if endpoints.is_empty() {
        return Ok((
            Arc::new(NoEngine(broadcast::Sender::new(1))),
            EngineMetrics::default(),
        ));
    }
    let mut native_metrics = None;
    let jwt = match &config.proof_engine_jwt {
        Some(path) => Some(JwtSecret::from_file(path).context("--proof-engine-jwt")?),
        None => None,
    };
    let mut routes = Vec::new();
    for (endpoint, text) in endpoints.into_iter().zip(&config.proof_engine_endpoint) {
        let types = endpoint.types(config);
        let named = || format!("--proof-engine-endpoint {}", shown_endpoint(text));
        let engine: Arc<dyn ProofEngine> = match endpoint.kind {
            EngineKind::Dev => {
                let dev = DevConfig {
                    allow_mainnet: config.unsafe_dev_proofs_on_mainnet,
                    proof_types: types,
                    verification_delay: Duration::from_millis(config.dev_delay_ms),
                    unavailable_rate: config.dev_failure_rate,
                    ..DevConfig::new(config.dev_seed.clone(), Arc::new(spec.clone()))
                };
                Arc::new(DevEngine::new(dev).with_context(named)?)
            }
            EngineKind::Native => {
                let findings = guests::under_beta(entries, &types, spec);
                if let Some(wrong) = findings.iter().find(|finding| finding.contradicts) {
                    bail!("{}", wrong.text);
                }
                let mut verifiers = native_verifiers(config, entries, spec.chain_id)?;
                verifiers.retain(|(proof_type, _)| types.contains(proof_type));
                let metrics = native_metrics.get_or_insert_with(NativeMetrics::default).clone();
                let limits = NativeLimits::default();
                Arc::new(NativeEngine::new(verifiers, spec.chain_id, limits, metrics).with_context(named)?)
            }
            EngineKind::ProofNode(url) => {
                let node = ProofNodeConfig {
                    names: config.proof_type_names_on(spec)?,
                    ..ProofNodeConfig::new(url, types, Arc::new(spec.clone()))
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
    let router = Arc::new(Router::new(routes, router_config)?);
    let metrics = EngineMetrics {
        health: Some(router.clone()),
        router: router.metrics().clone(),
        native: native_metrics,
    };
    Ok((requests.noting(router), metrics))
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

    async fn verify(&self, _: &EngineInput) -> Result<Verification, EngineError> {
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
