//! The secrets of the Engine API's two sides.

use crate::config::NodeConfig;
use anyhow::Context;
use assay_engine_api::JwtSecret;
use assay_gate::ImportPolicy;
use std::path::Path;

/// Secrets of the Engine API, read before anything is started.
pub(super) struct Secrets {
    /// `None` under `proofs-only`.
    pub(super) execution: Option<JwtSecret>,
    pub(super) engine: JwtSecret,
}

impl Secrets {
    /// `None` where no Engine API is served.
    pub(super) fn read(config: &NodeConfig) -> anyhow::Result<Option<Self>> {
        let has_client = config.execution_endpoint.is_some();
        let proofs_only = !ImportPolicy::from(config.import_policy).has_execution_client();
        if !has_client && !proofs_only {
            return Ok(None);
        }
        let read = |flag: &str, path: &Path| JwtSecret::from_file(path).with_context(|| format!("--{flag}"));
        let execution = match &config.execution_jwt {
            Some(path) => Some(read("execution-jwt", path)?),
            None => None,
        };
        let engine = match &config.engine_jwt {
            Some(path) => Some(read("engine-jwt", path)?),
            None => execution.clone(),
        };
        Ok(Some(Self {
            engine: engine.context("--engine-jwt: needed where an Engine API is served")?,
            execution: execution.filter(|_| has_client),
        }))
    }
}
