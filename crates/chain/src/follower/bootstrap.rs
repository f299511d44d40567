//! `connect`: which network the beacon node is on, before anything else can start.

use super::fetch::{self, read_block};
use crate::{
    node_api::{NodeApi, NodeError},
    tree::SeenBlock,
    view::Checkpoint,
};
use assay_types::{
    Epoch, ForkVersion, Spec,
    spec::{ConfigMap, Genesis, SpecError},
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tracing::{info, warn};

/// Wait between attempts at a beacon node that is not there.
pub const RETRY: Duration = Duration::from_secs(1);

/// What a beacon node said when it was first asked.
#[derive(Debug)]
pub struct Bootstrap {
    /// Its API.
    pub api: Arc<NodeApi>,
    /// The network's values, overrides last.
    pub spec: Arc<Spec>,
    /// The network's genesis.
    pub genesis: Genesis,
    /// `/eth/v1/node/version`, where it tells.
    pub node_version: Option<String>,
    /// Its finalized block at this time: the block the beacon node itself stands on. `None` before any finality, or where
    /// the node does not give the block.
    pub anchor: Option<Anchor>,
}

/// A finalized block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Its block, with the block hash of its payload (Gloas: of its bid, and of the payload it builds on).
    pub block: SeenBlock,
}

/// Why nothing is known of the network, and, of `connect`, why there is no point in trying again.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The node does not answer, or not as it should: of `ask_network` alone.
    #[error(transparent)]
    Node(NodeError),
    /// The URL cannot be used.
    #[error(transparent)]
    Url(NodeError),
    /// The node's config, or an override, cannot be used.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// Asks a beacon node for its network, and waits for as long as it is not there (said once). Dropping the future ends it.
/// An error needs the operator: a URL, a config or an override that cannot be used.
pub async fn connect(url: &str, overrides: &ConfigMap) -> Result<Bootstrap, ConnectError> {
    let api = Arc::new(NodeApi::new(url).map_err(ConnectError::Url)?);
    let mut waiting = false;
    let (genesis, config) = loop {
        match told(&api).await {
            Ok(told) => break told,
            Err(error) => {
                if !std::mem::replace(&mut waiting, true) {
                    warn!(beacon_node = api.shown_url(), %error, "waiting for the beacon node");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    let spec = Arc::new(Spec::from_config(&config, overrides)?);
    compare_fork_schedule(&api, &spec).await;
    let node_version = node_version(&api).await;
    let anchor = match anchor(&api, &spec, genesis).await {
        Ok(anchor) => anchor,
        Err(why) => {
            info!(why, "the beacon node does not give its finalized block");
            None
        }
    };
    info!(
        beacon_node = api.shown_url(),
        version = node_version.as_deref().unwrap_or("unknown"),
        network = spec.config_name,
        genesis_validators_root = %genesis.genesis_validators_root,
        finalized_epoch = anchor.map(|anchor| anchor.checkpoint.epoch.0),
        "found the beacon node"
    );
    Ok(Bootstrap {
        api,
        spec,
        genesis,
        node_version,
        anchor,
    })
}

/// Asks a beacon node once for its network's values, overrides last, and for its genesis.
///
/// Errors: those of `connect`, and whatever the node does not answer.
pub async fn ask_network(url: &str, overrides: &ConfigMap) -> Result<(Spec, Genesis), ConnectError> {
    let api = NodeApi::new(url).map_err(ConnectError::Url)?;
    let (genesis, config) = told(&api).await.map_err(ConnectError::Node)?;
    Ok((Spec::from_config(&config, overrides)?, genesis))
}

async fn told(api: &NodeApi) -> Result<(Genesis, ConfigMap), NodeError> {
    let genesis = fetch::genesis(api).await?;
    Ok((genesis, fetch::config(api).await?))
}

async fn node_version(api: &NodeApi) -> Option<String> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    Some(
        api.get_json::<Version>("/eth/v1/node/version", "")
            .await
            .ok()?
            .data
            .version,
    )
}

async fn anchor(api: &NodeApi, spec: &Arc<Spec>, genesis: Genesis) -> Result<Option<Anchor>, String> {
    let checkpoint = fetch::finality(api).await.map_err(|error| error.to_string())?;
    if checkpoint.root.is_zero() {
        return Ok(None);
    }
    let versioned = api
        .block(&checkpoint.root.to_string())
        .await
        .map_err(|error| error.to_string())?;
    let (_, block) = read_block(versioned, false, spec.clone(), genesis).await?;
    if block.block_root != checkpoint.root {
        return Err(format!("the root of what it gives is {}", block.block_root));
    }
    Ok(Some(Anchor { checkpoint, block }))
}

/// The node's own schedule and the one read from its config must agree (an override may differ on purpose, so it is said,
/// not refused).
async fn compare_fork_schedule(api: &NodeApi, spec: &Spec) {
    #[derive(Deserialize)]
    struct Fork {
        current_version: ForkVersion,
        epoch: Epoch,
    }
    // A node without this route has only its config.
    let Ok(answer) = api
        .get_json::<Vec<Fork>>("/eth/v1/config/fork_schedule", "")
        .await
    else {
        return;
    };
    for fork in answer.data.iter().filter(|fork| fork.epoch != Epoch::FAR_FUTURE) {
        let known = spec
            .fork_schedule
            .iter()
            .any(|(_, version, epoch)| *version == fork.current_version && *epoch == fork.epoch);
        if !known {
            warn!(
                version = %fork.current_version, epoch = %fork.epoch,
                "the beacon node's fork schedule has a fork that its config (with overrides) does not"
            );
        }
    }
}
