//! The network as the beacon node told it last, in the data directory: a node that starts again serves its Engine API
//! even where the beacon node's HTTP API is not there, so that Assay is never why a beacon node has no execution client.

use crate::config::setting_of;
use anyhow::Context;
use assay_chain::{
    NodeApi,
    follower::{self, Bootstrap, ConnectError},
};
use assay_types::{
    Root, Spec,
    spec::{ConfigMap, Genesis},
};
use serde::{Deserialize, Serialize};
use std::{path::Path, sync::Arc, time::Duration};

/// The file's name in the data directory.
const FILE: &str = "network.json";
/// How long the beacon node may take before a network that is known already is used.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct NetworkFile {
    #[serde(with = "assay_types::primitives::quoted")]
    genesis_time: u64,
    genesis_validators_root: Root,
    config: ConfigMap,
}

/// Asks the beacon node for its network. Waits for as long as it takes where none is known from before; else for
/// `PATIENCE`, and goes on with what is known: the follower finds out whether the node is still on it.
/// `pairs` are those of `--spec`, for an error to name what it comes from.
pub(super) async fn connect(
    datadir: &Path,
    url: &str,
    overrides: &ConfigMap,
    pairs: &[String],
) -> anyhow::Result<Bootstrap> {
    let connecting = follower::connect(url, overrides);
    let Some(known) = read(datadir, url, overrides) else {
        let told = connecting.await;
        let told = told.map_err(|error| {
            let setting = setting_of(&error, overrides, pairs);
            anyhow::Error::new(error).context(setting)
        })?;
        return keep(datadir, told);
    };
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(Ok(told)) => keep(datadir, told),
        Ok(Err(error @ ConnectError::Url(_))) => Err(error).context("--beacon-node"),
        Ok(Err(error)) => {
            tracing::error!(%error, "the beacon node's network cannot be used; going on with what it told before");
            Ok(known)
        }
        Err(_) => {
            tracing::warn!("the beacon node does not answer; going on with the network it told before");
            Ok(known)
        }
    }
}

fn keep(datadir: &Path, told: Bootstrap) -> anyhow::Result<Bootstrap> {
    let file = NetworkFile {
        genesis_time: told.genesis.genesis_time,
        genesis_validators_root: told.genesis.genesis_validators_root,
        config: told.spec.to_config(),
    };
    let draft = datadir.join(format!("{FILE}.new"));
    std::fs::write(&draft, serde_json::to_vec_pretty(&file)?)
        .and_then(|()| std::fs::rename(&draft, datadir.join(FILE)))
        .with_context(|| format!("--datadir {}", datadir.display()))?;
    Ok(told)
}

/// What was kept; nothing where there is no such file, or none that can be used (said).
fn read(datadir: &Path, url: &str, overrides: &ConfigMap) -> Option<Bootstrap> {
    let text = std::fs::read(datadir.join(FILE)).ok()?;
    let usable = || -> anyhow::Result<Bootstrap> {
        let mut file: NetworkFile = serde_json::from_slice(&text)?;
        // Whose choice that was is not known any more: a flag of the last run, or an older version's default.
        file.config.retain(|key, _| !key.starts_with("EIP8025_REVISION"));
        Ok(Bootstrap {
            api: Arc::new(NodeApi::new(url)?),
            spec: Arc::new(Spec::from_config(&file.config, overrides)?),
            genesis: Genesis {
                genesis_time: file.genesis_time,
                genesis_validators_root: file.genesis_validators_root,
            },
            node_version: None,
            anchor: None,
        })
    };
    usable()
        .inspect_err(|error| tracing::warn!(%error, "{FILE} cannot be used; waiting for the beacon node"))
        .ok()
}
