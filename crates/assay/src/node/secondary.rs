//! Beacon nodes beside the primary (design.md, gate rule 11): each is asked over its HTTP API which network it is on, and has
//! no Engine API here unless it is the primary's.

use crate::config::NodeConfig;
use anyhow::Context;
use assay_chain::{NodeApi, node_api::NodeError};
use assay_engine_api::JwtSecret;
use assay_gate::{OtherNetwork, OtherNodeConfig};
use assay_types::{Root, spec::Genesis};
use serde::Deserialize;
use std::time::Duration;
use tokio::sync::watch;

/// Wait between two questions to a node that has not told its network yet.
const RETRY: Duration = Duration::from_secs(2);
/// Wait before a node that has told is asked again: another may be started in its place.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The nodes, and what asks each for as long as it runs.
pub(super) fn nodes(
    config: &NodeConfig,
    secrets: Vec<JwtSecret>,
    genesis: Genesis,
) -> anyhow::Result<Vec<(OtherNodeConfig, impl Future<Output = ()> + Send + use<>)>> {
    let node = |(url, jwt): (&String, JwtSecret)| {
        let api = NodeApi::new(url).context("--secondary-beacon-node")?;
        let (told, network) = watch::channel(OtherNetwork::Unknown);
        let name = api.shown_url().to_owned();
        let node = OtherNodeConfig { name, jwt, network };
        Ok((node, follow(api, genesis, told)))
    };
    config
        .secondary_beacon_node
        .iter()
        .zip(secrets)
        .map(node)
        .collect()
}

async fn follow(api: NodeApi, ours: Genesis, told: watch::Sender<OtherNetwork>) {
    loop {
        match genesis(&api).await {
            Ok(theirs) => {
                let network = compare(theirs, ours);
                told.send_if_modified(|before| {
                    let changed = *before != network;
                    if changed {
                        log(api.shown_url(), &network);
                    }
                    *before = network;
                    changed
                });
            }
            // What it told holds until it tells something else.
            Err(error) => tracing::debug!(beacon_node = api.shown_url(), %error, "secondary beacon node"),
        }
        let known = *told.borrow() != OtherNetwork::Unknown;
        tokio::time::sleep(if known { ASK_AGAIN } else { RETRY }).await;
    }
}

fn log(beacon_node: &str, network: &OtherNetwork) {
    match network {
        OtherNetwork::Different(why) => {
            tracing::error!(
                beacon_node,
                why,
                "secondary beacon node is on another network and refused"
            );
        }
        _ => tracing::info!(beacon_node, "secondary beacon node is on this network"),
    }
}

fn compare(theirs: Genesis, ours: Genesis) -> OtherNetwork {
    if theirs == ours {
        return OtherNetwork::Same;
    }
    OtherNetwork::Different(format!(
        "genesis_validators_root {} at {}, here {} at {}",
        theirs.genesis_validators_root, theirs.genesis_time, ours.genesis_validators_root, ours.genesis_time
    ))
}

async fn genesis(api: &NodeApi) -> Result<Genesis, NodeError> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(with = "assay_types::primitives::quoted")]
        genesis_time: u64,
        genesis_validators_root: Root,
    }
    let told: Told = api.get_json("/eth/v1/beacon/genesis", "").await?.data;
    Ok(Genesis {
        genesis_time: told.genesis_time,
        genesis_validators_root: told.genesis_validators_root,
    })
}
