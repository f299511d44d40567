//! The Engine API's socket and tokens, and how it is served before the beacon node has told its network: the beacon node
//! may start after us, and must find its execution client.

use super::secrets::Secrets;
use crate::config::NodeConfig;
use anyhow::Context;
use assay_engine_api::{ForkchoiceStateV1, JwtSecret};
use assay_gate::{
    EndpointConfig, EndpointContext, EndpointError, EngineObserver, GateHandle, InMemory, UpstreamConfig,
    endpoint,
};
use assay_types::{NewPayloadRequest, Root};
use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long calls may take that were under way when the node's own endpoint took over: as long as their callers wait.
const HANDOVER_GRACE: Duration = Duration::from_secs(10);

/// Both sides of the Engine API.
#[derive(Clone)]
pub(super) struct EngineSide {
    listener: Arc<TcpListener>,
    jwt: Option<JwtSecret>,
    upstreams: Vec<UpstreamConfig>,
    secondary: Vec<JwtSecret>,
    held_bytes: usize,
}

impl EngineSide {
    /// Takes the address that the settings name.
    pub(super) fn bind(config: &NodeConfig, secrets: Secrets) -> anyhow::Result<Self> {
        let address = SocketAddr::new(config.engine_address, config.engine_port);
        let listener =
            TcpListener::bind(address).map_err(|source| EndpointError::Bind { address, source })?;
        let mut upstreams = Vec::new();
        for (url, jwt) in config.execution_endpoint.iter().zip(secrets.execution) {
            let url = url
                .parse()
                .with_context(|| format!("--execution-endpoint {url}"))?;
            upstreams.push(UpstreamConfig { url, jwt });
        }
        Ok(Self {
            listener: Arc::new(listener),
            jwt: secrets.engine,
            upstreams,
            secondary: secrets.secondary,
            held_bytes: endpoint::DEFAULT_HELD_BYTES,
        })
    }

    /// With less memory for requests.
    pub(super) fn holding(self, held_bytes: usize) -> Self {
        Self { held_bytes, ..self }
    }

    /// Whether callers' tokens are judged here.
    pub(super) fn judges_tokens(&self) -> bool {
        self.jwt.is_some()
    }

    /// The secrets of further beacon nodes, which are not served before their network is known.
    pub(super) fn secondary(&self) -> Vec<JwtSecret> {
        self.secondary.clone()
    }

    /// The settings of an endpoint on it.
    pub(super) fn config(&self) -> EndpointConfig {
        EndpointConfig {
            listener: Some(self.listener.clone()),
            upstreams: self.upstreams.clone(),
            held_bytes: self.held_bytes,
            ..EndpointConfig::proofs_only(self.jwt.clone())
        }
    }
}

/// An endpoint that knows no network: every call passes, and where proofs are required none is answered VALID (design.md
/// gate rule 7). It remembers nothing; what passes it reaches the gate by the beacon node's blocks.
pub(super) struct Early(CancellationToken);

impl Early {
    /// Serves until `end`, or until `stop` is cancelled.
    pub(super) async fn start(
        side: &EngineSide,
        config: &NodeConfig,
        observer: Arc<dyn EngineObserver>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let stop = stop.child_token();
        // Nothing is verified yet, so nothing is missing.
        let (gate, _) = GateHandle::open(
            config.gate(false)?,
            Arc::new(InMemory::default()),
            None,
            stop.clone(),
        )?;
        // Without a sender nobody waits for the values.
        let (_, network) = watch::channel(None);
        let context = EndpointContext {
            gate,
            network,
            observer,
            proofs: None,
        };
        let config = EndpointConfig {
            shutdown_grace: HANDOVER_GRACE,
            ..side.config()
        };
        endpoint::run(config, context, stop.clone()).await?;
        Ok(Self(stop))
    }

    /// Another endpoint serves now; calls under way here are answered here.
    pub(super) fn end(self) {
        self.0.cancel();
    }
}

/// Hears nothing.
pub(super) struct Deaf;

impl EngineObserver for Deaf {
    fn on_payload(&self, _: &Root, _: &Arc<NewPayloadRequest>) {}
    fn on_forkchoice(&self, _: &ForkchoiceStateV1) {}
}
