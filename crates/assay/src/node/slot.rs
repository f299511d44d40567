//! A node in a snooper's slot: started in front of an execution client's port before the beacon node is there, with nothing
//! but its environment. Until the beacon node has called and its HTTP API answers, everything passes; in front of a port
//! that is no Engine API, everything passes for ever, and nothing else is started.

use super::{
    Node,
    engine_side::{Deaf, Early, EngineSide},
    secrets::Secrets,
};
use crate::config::NodeConfig;
use anyhow::Context;
use assay_engine_api::ForkchoiceStateV1;
use assay_gate::EngineObserver;
use assay_types::{NewPayloadRequest, Root};
use reqwest::Url;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Bytes of requests in memory at once: such a slot has 600 MB for everything.
const HELD_BYTES: usize = 128 * 1024 * 1024;
/// Stands in a beacon node's URL for the address that calls the Engine API.
const CALLER: &str = "caller";
/// Where beacon nodes serve their HTTP API: as ethereum-package sets them, then by their own defaults.
const BEACON_PORTS: [u16; 6] = [4000, 3500, 5052, 5051, 5555, 9596];
/// Longest wait for one of them to answer, and pause after none did.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Hears who calls first.
struct Ear(watch::Sender<Option<IpAddr>>);

impl EngineObserver for Ear {
    fn on_payload(&self, root: &Root, request: &Arc<NewPayloadRequest>) {
        Deaf.on_payload(root, request);
    }
    fn on_forkchoice(&self, state: &ForkchoiceStateV1) {
        Deaf.on_forkchoice(state);
    }
    fn on_engine_call(&self, caller: IpAddr) {
        self.0.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(caller);
            }
            first
        });
    }
}

/// Runs until `stop` is cancelled.
pub(crate) async fn run(config: NodeConfig, stop: CancellationToken) -> anyhow::Result<()> {
    assay_engine_api::install_crypto_provider();
    let side = EngineSide::bind(&config, Secrets::in_slot(&config)?)?.holding(HELD_BYTES);
    let (told, mut first_caller) = watch::channel(None);
    let early = Early::start(&side, &config, Arc::new(Ear(told)), &stop).await?;
    tracing::info!("passing through; a node starts with the first call of the Engine API");
    let node_stop = stop.child_token();
    let starting = async {
        let caller = first_caller.wait_for(Option::is_some).await.map(|caller| *caller);
        let Ok(Some(caller)) = caller else {
            return std::future::pending().await;
        };
        let beacon_node = beacon_node(&config.beacon_node, caller).await?;
        tracing::info!(%caller, beacon_node, "the beacon node has called");
        let config = NodeConfig {
            beacon_node,
            ..config.clone()
        };
        Node::start_behind(config, Some((side, early)), node_stop.clone()).await
    };
    let started = tokio::select! {
        started = starting => started,
        () = stop.cancelled() => return Ok(()),
    };
    let mut node = match started {
        Ok(node) => node,
        Err(error) => {
            node_stop.cancel();
            // A beacon node without an execution client would be worse.
            tracing::error!(
                error = format!("{error:#}"),
                "no node could be started; passing through from now on"
            );
            stop.cancelled().await;
            return Ok(());
        }
    };
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        _ = node.tasks.join_next() => Err(anyhow::anyhow!("a part of the node ended by itself; see the log")),
    };
    stop.cancel();
    node.ended().await;
    outcome
}

/// The beacon node's HTTP API: as given; with its caller's address for the host `caller`; where none is given, at the first
/// port of its caller's address that beacon nodes are known to use and that answers.
async fn beacon_node(given: &str, caller: IpAddr) -> anyhow::Result<String> {
    if given != NodeConfig::default().beacon_node {
        let mut url: Url = given.parse().context("--beacon-node")?;
        if url.host_str() == Some(CALLER) {
            url.set_ip_host(caller)
                .map_err(|()| anyhow::anyhow!("--beacon-node {given}: no host can stand there"))?;
        }
        return Ok(url.to_string());
    }
    let client = reqwest::Client::builder().timeout(ASK_TIMEOUT).build()?;
    loop {
        for port in BEACON_PORTS {
            let url = format!("http://{}", SocketAddr::new(caller, port));
            let answer = client.get(format!("{url}/eth/v1/beacon/genesis")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(url);
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_beacon_node_is_where_it_is_said_to_be() {
        for (given, caller, expected) in [
            ("http://cl-1:4000", "172.16.0.9", "http://cl-1:4000/"),
            ("http://caller:4000", "172.16.0.9", "http://172.16.0.9:4000/"),
            ("http://caller:3500/base", "fd00::9", "http://[fd00::9]:3500/base"),
        ] {
            assert_eq!(
                beacon_node(given, caller.parse().unwrap()).await.unwrap(),
                expected
            );
        }
    }
}
