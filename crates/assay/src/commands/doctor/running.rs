//! The node that runs with these settings, where one does; and whether there are peers that know of proofs.

use super::{TIMEOUT, beacon::Network, http, report::Report};
use crate::commands::health::reachable;
use crate::{
    config::{ImportPolicyName, NodeConfig},
    endpoints::Endpoints,
};
use assay_network::{
    PeerAddress,
    enr::{Enr, EnrExt},
};
use serde_json::Value;

/// A node that answers at the addresses that the data directory names.
pub(super) struct Running {
    endpoints: Endpoints,
    version: String,
}

impl Running {
    /// Whether a port that is taken may be this node's. Where it listens over UDP it does not write down.
    pub(super) fn may_have(&self, kind: &str, port: u16) -> bool {
        let told = &self.endpoints;
        let urls = [Some(&told.http), Some(&told.engine), told.metrics.as_ref()];
        let mut urls = urls
            .into_iter()
            .flatten()
            .filter_map(|url| reqwest::Url::parse(url).ok());
        kind == "UDP"
            || urls.any(|url| url.port_or_known_default() == Some(port))
            || told.p2p.contains(&format!("/tcp/{port}/"))
    }
}

/// JSON of a GET.
async fn get(url: &str) -> Option<Value> {
    let answer = http().ok()?.get(url).send().await.ok()?;
    answer.json().await.ok()
}

/// The node that wrote its addresses there, if it still answers as one.
pub(super) async fn find(config: &NodeConfig) -> Option<Running> {
    let endpoints = Endpoints::read(&config.datadir, None)?;
    let endpoints = Endpoints {
        http: reachable(&endpoints.http),
        ..endpoints
    };
    let answer = get(&format!("{}/eth/v1/node/version", endpoints.http)).await?;
    let version = answer["data"]["version"].as_str()?.to_owned();
    version
        .starts_with("assay/")
        .then_some(Running { endpoints, version })
}

pub(super) async fn look(
    config: &NodeConfig,
    node: Option<&Running>,
    network: Option<&Network>,
    report: &mut Report,
) {
    addresses("peer", &config.peers, report);
    addresses("boot-nodes", &config.boot_nodes, report);
    match node {
        Some(node) => {
            itself(config, node, report).await;
            its_peers(node, report).await;
        }
        None => {
            report.ok("node", format_args!("none runs in {}", config.datadir.display()));
            peers_to_be(config, network, report).await;
        }
    }
}

fn addresses(flag: &str, given: &[String], report: &mut Report) {
    for text in given {
        let error = match flag {
            "peer" => text.parse::<PeerAddress>().err().map(|e| e.to_string()),
            _ => text.trim().parse::<Enr>().err(),
        };
        if let Some(error) = error {
            report.fail(
                format_args!("--{flag}"),
                error,
                "`assay enr decode` reads node records",
            );
        }
    }
}

async fn itself(config: &NodeConfig, node: &Running, report: &mut Report) {
    const CHECK: &str = "node";
    let http = &node.endpoints.http;
    let this = crate::node::version();
    let health = async {
        let answer = super::http()?
            .get(format!("{http}/eth/v1/node/health"))
            .send()
            .await?;
        Ok::<_, reqwest::Error>(answer.status().as_u16())
    };
    let found = format!(
        "{} runs as process {} at {http}",
        node.version, node.endpoints.pid
    );
    match health.await {
        Ok(200) if node.version == this => report.ok(CHECK, found),
        Ok(200) => report.warn(
            CHECK,
            found,
            format_args!("this program is {this}: restart the node to run it"),
        ),
        Ok(206) => report.warn(
            CHECK,
            format_args!("{found}; it catches up with the chain"),
            "wait for it",
        ),
        Ok(status) => report.fail(
            CHECK,
            format_args!("{found}; its health is {status}"),
            "it has not heard of the chain yet: see the beacon node above, and its log",
        ),
        Err(error) => report.fail(CHECK, format_args!("{found}; its health: {error}"), "see its log"),
    }
    let Some(status) = get(&format!("{http}/assay/v1/status")).await else {
        report.fail(CHECK, "it gives no /assay/v1/status", "see its log");
        return;
    };
    let gate = &status["data"]["gate"];
    let count = |name: &str| gate[name].as_u64().unwrap_or_default();
    let calls = [
        "answered_valid",
        "answered_syncing",
        "answered_invalid",
        "unanswered",
    ]
    .map(count);
    let calls: u64 = calls.iter().sum();
    if !node.endpoints.engine.is_empty() {
        if calls == 0 {
            report.fail(
                "Engine API calls",
                format_args!("no beacon node has brought a payload to {}", node.endpoints.engine),
                "set the beacon node's execution endpoint to this address, with the secret of --engine-jwt or \
                 --execution-jwt, and restart it",
            );
        } else {
            report.ok(
                "Engine API calls",
                format_args!(
                    "{calls} answered, policy {}",
                    gate["import_policy"].as_str().unwrap_or_default()
                ),
            );
        }
    }
    match count("alarms") {
        0 => report.ok("alarms", "none since its start"),
        alarms => report.warn(
            "alarms",
            format_args!("{alarms} since its start"),
            format_args!(
                "{http}/dashboard and the log at level error say which, docs/monitoring.md what they mean"
            ),
        ),
    }
    if config.import_policy == ImportPolicyName::RequireProofs && gate["head_verdict"] == "SYNCING" {
        report.warn(
            "head",
            "it is SYNCING for the beacon node",
            format_args!("{http}/assay/v1/payloads says what holds it back"),
        );
    }
}

async fn its_peers(node: &Running, report: &mut Report) {
    let url = format!("{}/eth/v1/node/peers?state=connected", node.endpoints.http);
    let list = get(&url)
        .await
        .and_then(|answer| answer["data"].as_array().cloned());
    let Some(list) = list else {
        report.fail("peers", "it gives no list of peers", "see its log");
        return;
    };
    let aware = list.iter().filter(|peer| peer["proof_aware"] == true).count();
    told(list.len(), aware, report);
}

fn told(connected: usize, aware: usize, report: &mut Report) {
    const CHECK: &str = "peers";
    let found = format!("{connected} connected, {aware} of them proof-aware (eproof)");
    match (connected, aware) {
        (0, _) => report.warn(
            CHECK,
            found,
            "give --boot-nodes or --peer; UDP and TCP of --port must be open to the world, and --enr-address be the \
             address they come to",
        ),
        (_, 0) => report.warn(
            CHECK,
            found,
            "proofs come from proof-aware nodes alone: give one with --peer or --boot-nodes",
        ),
        _ => report.ok(CHECK, found),
    }
}

/// Without a node: whom one would begin with.
async fn peers_to_be(config: &NodeConfig, network: Option<&Network>, report: &mut Report) {
    const CHECK: &str = "peers";
    let given = config.peers.len() + config.boot_nodes.len();
    let Some(network) = network else { return };
    let asked = network
        .api
        .get_json::<Vec<Value>>("/eth/v1/node/peers", "state=connected");
    let list = match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(answer)) => answer.data,
        _ => Vec::new(),
    };
    let records = list
        .iter()
        .filter_map(|peer| peer["enr"].as_str()?.parse::<Enr>().ok());
    let aware = records.filter(|enr| enr.eproof() > 0).count();
    let found = format!(
        "the beacon node has {}, {aware} of them proof-aware by their records; {given} given by --peer and --boot-nodes",
        list.len()
    );
    if list.is_empty() && given == 0 {
        report.warn(
            CHECK,
            found,
            "discovery has nowhere to begin: give --boot-nodes or --peer",
        );
    } else {
        report.ok(CHECK, found);
    }
}
