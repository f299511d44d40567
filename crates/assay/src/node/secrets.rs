//! The secrets of the Engine API's two sides.

use crate::config::NodeConfig;
use anyhow::Context;
use assay_engine_api::JwtSecret;
use assay_gate::ImportPolicy;
use std::path::Path;

/// The secret itself, in hex: for slots that mount no files.
const SECRET_VARIABLE: &str = "ASSAY_JWT_SECRET";

/// Secrets of the Engine API, read before anything is started. `None`: the callers' tokens pass through.
pub(super) struct Secrets {
    /// One for each execution client; none under `proofs-only`.
    pub(super) execution: Vec<Option<JwtSecret>>,
    pub(super) engine: Option<JwtSecret>,
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
        let execution = given.iter().cycle().take(clients).cloned().map(Some).collect();
        Ok(Some(Self {
            engine: Some(engine.context("--engine-jwt: needed where an Engine API is served")?),
            execution,
            secondary,
        }))
    }

    /// In a snooper's slot, where no file may be: those of the settings where they name files, else the one that the
    /// environment holds for both sides, else none.
    pub(super) fn in_slot(config: &NodeConfig) -> anyhow::Result<Self> {
        if !config.execution_jwt.is_empty()
            && let Some(secrets) = Self::read(config)?
        {
            return Ok(secrets);
        }
        anyhow::ensure!(
            config.secondary_beacon_node.is_empty(),
            "ASSAY_SECONDARY_BEACON_NODE: which beacon node calls is told by its secret, so in a slot \
             ASSAY_EXECUTION_JWT is needed with it"
        );
        let secret = match std::env::var(SECRET_VARIABLE) {
            Ok(hex) => {
                Some(JwtSecret::from_hex(hex.trim()).map_err(|e| anyhow::anyhow!("{SECRET_VARIABLE}: {e}"))?)
            }
            Err(_) => None,
        };
        Ok(Self {
            execution: config.execution_endpoint.iter().map(|_| secret.clone()).collect(),
            engine: secret,
            // Which beacon node calls is told by its secret, so a slot has one.
            secondary: Vec::new(),
        })
    }
}
