//! Proof engines, and keys.

use super::{TIMEOUT, beacon::Network, execution, http, report::Report};
use crate::{
    config::{EngineKind, NodeConfig, shown_endpoint},
    node::guests::under_beta,
};
use assay_engine_api::{EngineClient, methods};
use assay_proof_engine::{ProofTypes, RevisionNames};
use assay_types::ProofType;
use reqwest::Url;
use serde_json::{Value, json};

/// The chain whose proofs must prove something.
const MAINNET: u64 = 1;

pub(super) async fn look(config: &NodeConfig, network: Option<&Network>, report: &mut Report) {
    if config.proof_engine_endpoint.is_empty() {
        report.warn(
            "proof engine",
            "no --proof-engine-endpoint: no proof is verified, kept or forwarded",
            "name one: a proof node (http://…), engine+http://…, native, or dev on a devnet",
        );
    }
    let Ok(endpoints) = config.engine_endpoints() else {
        return;
    };
    let entries = match network {
        Some(network) => config.entries_on(&network.spec),
        None => config.provisional_entries(),
    };
    let entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            report.fail("proof types", error, "see --proof-type and --proof-engine-types");
            return;
        }
    };
    if let Some(text) = config.never_proven() {
        report.warn(
            "required proofs",
            text,
            "lower --required-proofs, or let more types count by --proof-types and --required-proof-types",
        );
    }
    for entry in entries.iter().filter(|_| !endpoints.is_empty()) {
        report.ok(format_args!("proof type {}", entry.proof_type()), entry);
    }
    for (endpoint, text) in endpoints.iter().zip(&config.proof_engine_endpoint) {
        let check = format!("proof engine {}", shown_endpoint(text));
        let types = endpoint.types(config);
        match &endpoint.kind {
            EngineKind::Dev => dev(&check, config, network, report),
            EngineKind::Native => {
                native(&check, config, &entries, network, report);
                guests(&types, &entries, network, report);
            }
            EngineKind::ProofNode(url) => {
                let names = match network {
                    Some(network) => config.proof_type_names_on(&network.spec),
                    None => config.proof_type_names(),
                };
                match names {
                    Ok(names) => proof_node(&check, &names, url, &types, report).await,
                    Err(error) => report.fail(&check, error, "name it: --proof-engine-types TYPE=NAME"),
                }
            }
            EngineKind::EngineApi(url) => engine_api(&check, config, url, report).await,
        }
    }
    keys(config, report).await;
}

fn dev(check: &str, config: &NodeConfig, network: Option<&Network>, report: &mut Report) {
    let is_mainnet = network.is_some_and(|network| network.spec.chain_id == MAINNET);
    if is_mainnet && !config.unsafe_dev_proofs_on_mainnet {
        report.fail(
            check,
            "development proofs prove nothing, and this is chain id 1: it does not start",
            "use a proof node or the Engine API's proof methods",
        );
    } else {
        report.warn(
            check,
            "its proofs prove nothing",
            "it is for devnets and tests alone",
        );
    }
}

fn native(
    check: &str,
    config: &NodeConfig,
    entries: &ProofTypes,
    network: Option<&Network>,
    report: &mut Report,
) {
    let chain_id = network.map_or(0, |network| network.spec.chain_id);
    match crate::node::engine::native_verifiers(config, entries, chain_id) {
        Ok(verifiers) => report.ok(
            check,
            format_args!("{} verifiers with their keys", verifiers.len()),
        ),
        Err(error) => report.fail(check, format_args!("{error:#}"), "see --native-verifier"),
    }
}

/// What the guests state, where `beta` asks for more.
fn guests(types: &[ProofType], entries: &ProofTypes, network: Option<&Network>, report: &mut Report) {
    let Some(network) = network else { return };
    for finding in under_beta(entries, types, &network.spec) {
        let check = format!("guest of proof type {}", finding.proof_type);
        match finding.contradicts {
            true => report.fail(
                check,
                finding.text,
                "the node does not start so: see --proof-type",
            ),
            false => report.warn(
                check,
                finding.text,
                "a guest of the family validation-result states both (specs/native-verifiers.md)",
            ),
        }
    }
}

/// A proof node tells its proof types; each that is asked of it must be among them.
async fn proof_node(check: &str, names: &RevisionNames, url: &Url, types: &[ProofType], report: &mut Report) {
    let shown = shown_endpoint(url.as_str());
    let mut asked = url.clone();
    asked.set_path(&format!("{}/v1/proof_types", url.path().trim_end_matches('/')));
    let answer = async {
        let answer = http()?.get(asked).send().await?.error_for_status()?;
        answer.json::<Value>().await
    };
    let body = match answer.await {
        Ok(body) => body,
        Err(error) => {
            let why = if error.is_connect() {
                "nobody listens there".to_owned()
            } else {
                error.without_url().to_string()
            };
            let advice = "is the proof node running, and is this its base URL (/v1/proof_types must answer)?";
            report.fail(check, format_args!("{shown}: {why}"), advice);
            return;
        }
    };
    let list = body
        .get("proof_types")
        .unwrap_or(&body)
        .as_array()
        .cloned()
        .unwrap_or_default();
    let name_of = |entry: &Value| {
        let named = entry["proof_type"].as_str();
        named.or(entry.as_str()).unwrap_or_default().to_owned()
    };
    let listed: Vec<String> = list.iter().map(name_of).collect();
    let is_listed = |name: &str| listed.iter().any(|known| known == name);
    let missing = |t: &ProofType| {
        let proof_type = *t;
        let missing = names.in_use(proof_type).filter(|(_, name)| !is_listed(name));
        missing
            .map(|(revision, name)| format!("{proof_type} ({name} in {revision})"))
            .collect::<Vec<_>>()
    };
    let missing: Vec<String> = types.iter().flat_map(missing).collect();
    let has_one = |t: &ProofType| names.in_use(*t).any(|(_, name)| is_listed(name));
    let text = format!(
        "it has not the types {}; it has: {}",
        missing.join(", "),
        listed.join(", ")
    );
    let advice = "its names of the types are given with --proof-engine-types TYPE=NAME, of one revision as beta:TYPE=NAME";
    if missing.is_empty() {
        report.ok(check, format_args!("it has {}", listed.join(", ")));
    } else if types.iter().all(has_one) {
        // Of a network that goes from one revision to another: those of the one are there.
        report.warn(check, text, advice);
    } else {
        report.fail(check, text, advice);
    }
}

async fn engine_api(check: &str, config: &NodeConfig, url: &Url, report: &mut Report) {
    let Some(file) = &config.proof_engine_jwt else {
        return;
    };
    let Some(secret) = execution::secret("--proof-engine-jwt", file, report) else {
        return;
    };
    let method = "engine_verifyExecutionProofV1";
    let client = match EngineClient::new(url.clone(), Some(secret)) {
        Ok(client) => client,
        Err(error) => {
            report.fail(check, error, "see --proof-engine-endpoint");
            return;
        }
    };
    match client
        .call_within::<_, Vec<String>>(methods::EXCHANGE_CAPABILITIES, json!([[method]]), TIMEOUT)
        .await
    {
        Ok(theirs) if theirs.iter().any(|m| m == method) => report.ok(check, format_args!("it has {method}")),
        Ok(_) => report.fail(
            check,
            format_args!("it does not name {method}"),
            "this endpoint verifies no proofs: is it one that knows EIP-8025, and are its proof methods on?",
        ),
        Err(error) => {
            let advice = execution::advice(&error, &file.display().to_string());
            report.fail(check, error, advice);
        }
    }
}

/// Keys are looked for where they would be used; they are not decrypted here, and nothing is signed.
async fn keys(config: &NodeConfig, report: &mut Report) {
    const CHECK: &str = "keys";
    if let Some(path) = &config.keystores {
        match path.exists() {
            true => report.ok(CHECK, format_args!("keystores in {}", path.display())),
            false => report.fail(
                CHECK,
                format_args!("--keystores {}: not there", path.display()),
                "name the keystore file or the directory of keystores",
            ),
        }
    }
    let Some(url) = &config.web3_signer_url else {
        return;
    };
    let shown = shown_endpoint(url);
    if config.web3_signer_client_cert.is_some() || config.web3_signer_ca.is_some() {
        report.ok(
            CHECK,
            format_args!("remote signer {shown}; it is not asked with the certificates here"),
        );
        return;
    }
    let asked = async {
        let url = format!("{}/upcheck", url.trim_end_matches('/'));
        http()?.get(url).send().await?.error_for_status()
    };
    match asked.await {
        Ok(_) => report.ok(CHECK, format_args!("remote signer {shown} answers")),
        Err(error) => report.fail(
            CHECK,
            format_args!("remote signer {shown}: {}", error.without_url()),
            "is it running, and is --web3-signer-url its address (/upcheck must answer)?",
        ),
    }
}
