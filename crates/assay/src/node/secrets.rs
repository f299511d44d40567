//! The secrets of the Engine API's two sides.

use crate::config::NodeConfig;
use anyhow::Context;
use assay_engine_api::JwtSecret;
use assay_gate::ImportPolicy;
use std::path::Path;

/// Secrets of the Engine API, read before anything is started.
pub(super) struct Secrets {
    /// One for each execution client; none under `proofs-only`.
    pub(super) execution: Vec<JwtSecret>,
    pub(super) engine: JwtSecret,
    /// One for each `--secondary-beacon-node`.
    pub(super) secondary: Vec<JwtSecret>,
}

impl Secrets {
    /// `None` where no Engine API is served.
    pub(super) fn read(config: &NodeConfig) -> anyhow::Result<Option<Self>> {
        let clients = config.execution_endpoint.len();
        let proofs_only = !ImportPolicy::from(config.import_policy).has_execution_client();
        if clients == 0 && !proofs_only {
            return Ok(None);
        }
        let read = |flag: &str, path: &Path| JwtSecret::from_file(path).with_context(|| format!("--{flag}"));
        let given = config.execution_jwt.iter();
        let given: Vec<JwtSecret> = given
            .map(|path| read("execution-jwt", Path::new(path)))
            .collect::<Result<_, _>>()?;
        let engine = match &config.engine_jwt {
            Some(path) => Some(read("engine-jwt", path)?),
            None => given.first().cloned(),
        };
        let secondary = config.secondary_engine_jwt.iter();
        let secondary = secondary
            .map(|path| read("secondary-engine-jwt", Path::new(path)))
            .collect::<Result<_, _>>()?;
        // One for all, or one for each.
        let execution = given.iter().cycle().take(clients).cloned().collect();
        Ok(Some(Self {
            engine: engine.context("--engine-jwt: needed where an Engine API is served")?,
            execution,
            secondary,
        }))
    }
}
