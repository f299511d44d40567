//! JWT secrets and execution clients.

use super::{TIMEOUT, beacon::Network, report::Report};
use crate::config::{ImportPolicyName, NodeConfig, shown_endpoint};
use assay_engine_api::{ClientError, EngineClient, ErrorCode, JwtSecret, methods};
use assay_types::Epoch;
use reqwest::Url;
use serde_json::{Value, json};
use std::path::Path;

pub(super) async fn look(config: &NodeConfig, network: Option<&Network>, report: &mut Report) {
    if config.execution_endpoint.is_empty() {
        if config.import_policy != ImportPolicyName::ProofsOnly {
            report.warn(
                "execution client",
                "no --execution-endpoint: no Engine API is served, so proofs change nothing at import",
                "give --execution-endpoint and --execution-jwt, and point the beacon node at Assay's Engine API",
            );
        }
    } else {
        // One secret for all, or one for each.
        let secrets = config.execution_jwt.iter().cycle();
        for (endpoint, file) in config.execution_endpoint.iter().zip(secrets) {
            client(config, endpoint, file, network, report).await;
        }
    }
    if let Some(file) = &config.engine_jwt {
        secret("--engine-jwt", file, report);
    }
    for file in &config.secondary_engine_jwt {
        secret("--secondary-engine-jwt", Path::new(file), report);
    }
}

/// A secret from its file; what is wrong with it is told.
pub(super) fn secret(flag: &str, file: &Path, report: &mut Report) -> Option<JwtSecret> {
    let check = format!("JWT secret {flag}");
    let secret = match JwtSecret::from_file(file) {
        Ok(secret) => secret,
        Err(error) => {
            let advice =
                "it is the file that both clients have, 64 hex digits; `openssl rand -hex 32` makes one";
            report.fail(check, error, advice);
            return None;
        }
    };
    if readable_by_others(file) {
        let found = format!("{} can be read by every user of this machine", file.display());
        report.warn(check, found, format_args!("chmod 640 {}", file.display()));
    } else {
        report.ok(check, file.display());
    }
    Some(secret)
}

fn readable_by_others(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.permissions().mode() & 0o004 != 0)
}

async fn client(
    config: &NodeConfig,
    endpoint: &str,
    file: &str,
    network: Option<&Network>,
    report: &mut Report,
) {
    let check = format!("execution client {}", shown_endpoint(endpoint));
    let Ok(url) = endpoint.parse::<Url>() else { return };
    if is_ourselves(config, &url) {
        report.fail(
            check,
            "that is the port of Assay's own Engine API (--engine-port): it would call itself",
            "--execution-endpoint is the execution client's port, 8551 for most",
        );
        return;
    }
    let Some(secret) = secret("--execution-jwt", Path::new(file), report) else {
        return;
    };
    let client = match EngineClient::new(url, Some(secret)) {
        Ok(client) => client,
        Err(error) => {
            report.fail(check, error, "see --execution-endpoint");
            return;
        }
    };
    let known = known_methods();
    let ours: Vec<&str> = known.iter().map(String::as_str).collect();
    let capabilities = match client
        .call_within::<_, Vec<String>>(methods::EXCHANGE_CAPABILITIES, json!([ours]), TIMEOUT)
        .await
    {
        Ok(capabilities) => capabilities,
        Err(error) => {
            let advice = advice(&error, file);
            report.fail(check, error, advice);
            return;
        }
    };
    let chain_id = client
        .call_within::<_, String>("eth_chainId", json!([]), TIMEOUT)
        .await
        .ok()
        .and_then(|hex| u64::from_str_radix(hex.trim_start_matches("0x"), 16).ok());
    if let (Some(theirs), Some(network)) = (chain_id, network)
        && theirs != network.spec.chain_id
    {
        let ours = network.spec.chain_id;
        report.fail(
            check,
            format_args!("its chain id is {theirs}, the beacon node's network has {ours}"),
            "both must be on one network: see the network flags of the two clients",
        );
        return;
    }
    let version = version(&client).await;
    if let Some(missing) = network.and_then(|network| missing(network, &capabilities)) {
        report.fail(
            check,
            format_args!("{version} lacks {missing}"),
            "use a version of it that knows the network's fork",
        );
        return;
    }
    // Not every Engine API port answers this; then nothing is known.
    let syncing = client
        .call_within::<_, Value>("eth_syncing", json!([]), TIMEOUT)
        .await;
    match syncing {
        Ok(Value::Object(_)) => report.warn(
            check,
            format_args!("{version}: it syncs"),
            "wait for it: until then it answers SYNCING, and only accept-proofs lets proofs stand in for it",
        ),
        _ => report.ok(check, format_args!("{version}, {} methods", capabilities.len())),
    }
}

/// An endpoint on this machine at the port that Assay's Engine API has.
fn is_ourselves(config: &NodeConfig, url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let local =
        matches!(host, "localhost" | "127.0.0.1" | "[::1]") || host == config.engine_address.to_string();
    local && url.port_or_known_default() == Some(config.engine_port)
}

fn known_methods() -> Vec<String> {
    let numbered = |name: &str, last: u8| (1..=last).map(move |n| format!("{name}V{n}")).collect::<Vec<_>>();
    [
        numbered("engine_newPayload", 5),
        numbered("engine_forkchoiceUpdated", 4),
        numbered("engine_getPayload", 6),
        numbered("engine_getClientVersion", 1),
    ]
    .concat()
}

/// The method that the network needs now, and its next fork within a week of epochs, and that is not there.
fn missing(network: &Network, capabilities: &[String]) -> Option<&'static str> {
    let Network { spec, epoch, .. } = network;
    let now = methods::new_payload(spec.fork_at_epoch(*epoch));
    let next = spec
        .next_fork(*epoch)
        .filter(|(_, _, at)| *at <= Epoch(epoch.0.saturating_add(SOON)))
        .and_then(|(fork, ..)| methods::new_payload(fork));
    let lacks = |method: &&'static str| !capabilities.iter().any(|known| known == method);
    [now, next].into_iter().flatten().find(lacks)
}

/// Some hours of epochs.
const SOON: u64 = 64;

async fn version(client: &EngineClient) -> String {
    let us = json!([{ "code": "AS", "name": "assay", "version": env!("CARGO_PKG_VERSION"), "commit": "0x00000000" }]);
    let answer = client
        .call_within::<_, Value>("engine_getClientVersionV1", us, TIMEOUT)
        .await;
    let told = answer.ok().and_then(|list| {
        let first = list.get(0)?;
        Some(format!(
            "{} {}",
            first["name"].as_str()?,
            first["version"].as_str()?
        ))
    });
    told.unwrap_or_else(|| "it answers".to_owned())
}

/// What to do about a call that failed.
pub(super) fn advice(error: &ClientError, file: &str) -> String {
    match error {
        ClientError::Unreachable { .. } => {
            "is it running, and does its Engine API listen there (geth, Erigon, Reth --authrpc.addr and --authrpc.port, \
             Nethermind --JsonRpc.EngineHost and --JsonRpc.EnginePort, Besu --engine-rpc-port)?"
                .to_owned()
        }
        ClientError::Http { status: 401, .. } => format!(
            "{file} is not the secret it has, or the two clocks are more than 60 s apart: give it the same file \
             (--authrpc.jwtsecret, --JsonRpc.JwtSecretFile, --engine-jwt-secret)"
        ),
        ClientError::Http { status: 403, .. } => {
            "it refuses this host name: allow it (--authrpc.vhosts, --engine-host-allowlist) or use its IP address".to_owned()
        }
        ClientError::TimedOut { .. } => "it is there and does not answer: see its log".to_owned(),
        ClientError::Rpc { error, .. } if ErrorCode::from(error.code) == ErrorCode::MethodNotFound => {
            "this is no Engine API, but perhaps its plain RPC port: the Engine API is at 8551 for most".to_owned()
        }
        _ => "is something else listening there? The Engine API is at 8551 for most".to_owned(),
    }
}
