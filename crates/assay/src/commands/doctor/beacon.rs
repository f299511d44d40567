//! The beacon node, and what network it is on.

use super::{
    TIMEOUT,
    clock::{self, Clocks},
    http,
    report::Report,
};
use crate::config::{NodeConfig, spec_overrides};
use assay_chain::NodeApi;
use assay_types::{
    Epoch, ForkName, Root, Spec,
    spec::{ConfigMap, Genesis},
};
use serde::Deserialize;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

const CHECK: &str = "beacon node";

#[derive(Deserialize)]
struct GenesisData {
    #[serde(with = "assay_types::primitives::quoted")]
    genesis_time: u64,
    genesis_validators_root: Root,
}

/// What the beacon node is on.
pub(super) struct Network {
    pub(super) spec: Spec,
    pub(super) genesis_validators_root: Root,
    pub(super) epoch: Epoch,
    pub(super) api: NodeApi,
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A number as the Beacon API has it.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

pub(super) async fn look(config: &NodeConfig, report: &mut Report) -> Option<Network> {
    let advice = "is it running, with its HTTP API on (Lighthouse --http, Teku --rest-api-enabled, Nimbus --rest), and is \
                  --beacon-node its address?";
    let api = match NodeApi::new(&config.beacon_node) {
        Ok(api) => api,
        Err(error) => {
            report.fail(CHECK, error, "--beacon-node is the URL of its HTTP API");
            return None;
        }
    };
    let shown = api.shown_url().to_owned();
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let answer = tokio::time::timeout(TIMEOUT, api.get_json::<Version>("/eth/v1/node/version", "")).await;
    let version = match answer {
        Ok(Ok(answer)) => answer.data.version,
        Ok(Err(error)) => {
            report.fail(CHECK, format_args!("{shown}: {error}"), advice);
            return None;
        }
        Err(_) => {
            report.fail(
                CHECK,
                format_args!("{shown}: no answer within {TIMEOUT:?}"),
                advice,
            );
            return None;
        }
    };
    if version.to_ascii_lowercase().starts_with("assay/") {
        let found = format!("{shown} is Assay's own HTTP API ({version})");
        report.fail(CHECK, found, "--beacon-node is the beacon node's own address");
        return None;
    }
    report.ok(CHECK, format_args!("{version} at {shown}"));
    let (spec, genesis) = network(config, &api, report).await?;
    sync(config, &spec, genesis, report).await;
    let slot = now_ms()
        .saturating_sub(genesis.genesis_time.saturating_mul(1000))
        .checked_div(spec.slot_duration_ms)
        .unwrap_or_default();
    let epoch = spec.epoch_at_slot(assay_types::Slot(slot));
    forks(&spec, epoch, report);
    let root = genesis.genesis_validators_root;
    for node in &config.secondary_beacon_node {
        secondary(node, &root, report).await;
    }
    Some(Network {
        spec,
        genesis_validators_root: root,
        epoch,
        api,
    })
}

/// A further beacon node: there, and of the same network. It is served nothing before it has told which.
async fn secondary(url: &str, root: &Root, report: &mut Report) {
    let check = format!("secondary beacon node {}", crate::config::shown_endpoint(url));
    let asked = async {
        let api = NodeApi::new(url)?;
        api.get_json::<GenesisData>("/eth/v1/beacon/genesis", "").await
    };
    match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(answer)) if answer.data.genesis_validators_root == *root => {
            report.ok(check, "of the same network")
        }
        Ok(Ok(answer)) => report.fail(
            check,
            format_args!(
                "it is on another network (genesis validators root {})",
                answer.data.genesis_validators_root
            ),
            "its calls get HTTP 403: take it out of --secondary-beacon-node, or see its network flag",
        ),
        Ok(Err(error)) => report.warn(check, error, "until it tells its network, its calls get HTTP 503"),
        Err(_) => report.warn(
            check,
            format_args!("no answer within {TIMEOUT:?}"),
            "until it tells its network, its calls get HTTP 503",
        ),
    }
}

/// Its config and genesis, with what the settings lay over them.
async fn network(config: &NodeConfig, api: &NodeApi, report: &mut Report) -> Option<(Spec, Genesis)> {
    const CHECK: &str = "network";
    let told = async {
        let genesis = api
            .get_json::<GenesisData>("/eth/v1/beacon/genesis", "")
            .await?
            .data;
        let genesis = Genesis {
            genesis_time: genesis.genesis_time,
            genesis_validators_root: genesis.genesis_validators_root,
        };
        let config = api.get_json::<ConfigMap>("/eth/v1/config/spec", "").await?.data;
        Ok::<_, assay_chain::node_api::NodeError>((genesis, config))
    };
    let (genesis, told) = match told.await {
        Ok(told) => told,
        Err(error) => {
            report.fail(
                CHECK,
                error,
                "the beacon node must tell /eth/v1/beacon/genesis and /eth/v1/config/spec",
            );
            return None;
        }
    };
    let spec = spec_overrides(config.network_config.as_deref(), config.revision, &config.spec)
        .and_then(|overrides| Ok(Spec::from_config(&told, &overrides)?));
    let spec = match spec {
        Ok(spec) => spec,
        Err(error) => {
            report.fail(
                CHECK,
                format_args!("{error:#}"),
                "see --network-config and --spec",
            );
            return None;
        }
    };
    let found = format!(
        "{}, chain id {}, MAX_PROOF_SIZE {}",
        spec.config_name, spec.chain_id, spec.max_proof_size
    );
    report.ok(CHECK, found);
    Some((spec, genesis))
}

/// Whether it is at its head, and whether its clock is ours.
async fn sync(config: &NodeConfig, spec: &Spec, genesis: Genesis, report: &mut Report) {
    const CHECK: &str = "beacon node's sync";
    let url = format!("{}/eth/v1/node/syncing", config.beacon_node.trim_end_matches('/'));
    let asked = async {
        let answer = http()?.get(url).send().await?.error_for_status()?;
        let date = answer
            .headers()
            .get("date")
            .and_then(|d| d.to_str().ok())
            .and_then(seconds_of);
        Ok::<_, reqwest::Error>((date, answer.json::<Value>().await?))
    };
    let (date, body) = match asked.await {
        Ok(told) => told,
        Err(error) => {
            report.fail(CHECK, error.without_url(), "/eth/v1/node/syncing must answer");
            return;
        }
    };
    let now_ms = now_ms();
    let data = &body["data"];
    let (Some(head_slot), Some(sync_distance)) = (number(&data["head_slot"]), number(&data["sync_distance"]))
    else {
        report.fail(
            CHECK,
            "its answer has no head_slot and sync_distance",
            "is this a beacon node?",
        );
        return;
    };
    if data["is_syncing"] == true {
        let found = format!("it syncs, {sync_distance} slots behind");
        report.warn(
            CHECK,
            found,
            "wait for it; until then nothing new can be verified",
        );
    } else if data["el_offline"] == true {
        report.warn(
            CHECK,
            "it says that its execution client is offline",
            "does its execution endpoint point at Assay's Engine API, with the secret of --engine-jwt, and does Assay run?",
        );
    } else if data["is_optimistic"] == true {
        report.warn(
            CHECK,
            format_args!("at slot {head_slot}, optimistic: no execution client has called its head VALID to it"),
            "/assay/v1/payloads of a running node says what holds payloads back; under require-proofs this is what a \
             missing proof looks like",
        );
    } else {
        report.ok(
            CHECK,
            format_args!("at slot {head_slot}, {sync_distance} behind its clock"),
        );
    }
    clock::look(
        Clocks {
            now_ms,
            genesis_time: genesis.genesis_time,
            slot_ms: spec.slot_duration_ms,
            head_slot,
            sync_distance,
            date,
        },
        report,
    );
}

/// Seconds since 1970 of an HTTP date.
fn seconds_of(date: &str) -> Option<u64> {
    let time = httpdate::parse_http_date(date).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn forks(spec: &Spec, epoch: Epoch, report: &mut Report) {
    const CHECK: &str = "forks";
    let fork = spec.fork_at_epoch(epoch);
    let update = "a version of Assay that knows it is needed by then";
    if let Some((name, at)) = spec.unknown_forks.iter().find(|(_, at)| *at <= epoch) {
        let found = format!("{name} began at epoch {at}, and this version does not know it");
        report.fail(CHECK, found, "use a version of Assay that knows it");
    } else if let Some((name, at)) = spec.unknown_forks.first() {
        report.warn(
            CHECK,
            format_args!("{name} begins at epoch {at}, and this version does not know it"),
            update,
        );
    } else if fork < ForkName::Bellatrix {
        report.warn(
            CHECK,
            format_args!("{fork}: blocks have no payloads"),
            "nothing to prove before Bellatrix",
        );
    } else if let Some((next, _, at)) = spec.next_fork(epoch) {
        let mut found = format!("{fork} now (epoch {epoch}), {next} from epoch {at}");
        let (now, then) = (spec.revision_at(fork), spec.revision_at(next));
        if now != then {
            found.push_str(&format!("; revision {then} of EIP-8025 from there, {now} before"));
        }
        report.ok(CHECK, found);
    } else {
        report.ok(
            CHECK,
            format_args!("{fork} now (epoch {epoch}), no further one is scheduled"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_epoch_is_not_the_forks_own() {
        let mut spec = Spec::minimal();
        for (gloas, says) in [
            (0, "gloas now (epoch 18), no further one is scheduled"),
            (19, "fulu now (epoch 18), gloas from epoch 19; revision beta"),
        ] {
            for (fork, _, epoch) in &mut spec.fork_schedule {
                *epoch = Epoch(if *fork == ForkName::Gloas { gloas } else { 0 });
            }
            let mut report = Report::default();
            forks(&spec, Epoch(18), &mut report);
            assert!(format!("{report:?}").contains(says), "{report:?}");
        }
    }

    #[test]
    fn dates_of_answers() {
        assert_eq!(seconds_of("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
        assert_eq!(seconds_of("yesterday"), None);
    }
}
