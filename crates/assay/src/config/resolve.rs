//! From file, environment and flags to checked settings.

use super::{
    DEFAULT_DEV_SEED, EngineEndpoint, EngineKind, NodeArgs, ProverIs, check_engines, check_signer,
    forms::{addresses, one_or_many, size, text, types},
    shown_endpoint,
};
use crate::logging::LogFormat;
use assay_gate::{
    GateConfig, ImportPolicy, OnMissingProofs, ProofTypeSet,
    machine::{DEFAULT_EXECUTION_SLOW_AFTER_MS, MAX_PROOF_LAG, MAX_WAIT_FOR_PROOFS_MS},
};
use assay_native_verifiers::VerifierSetting;
use assay_proof_engine::{NamesError, ProofTypeNames};
use assay_types::{Epoch, ProofType, Revision, Root, Slot, Spec};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU8,
    path::{Path, PathBuf},
};

/// Beacon nodes beside the primary at most.
const MAX_SECONDARY_BEACON_NODES: usize = 8;
/// Execution clients at most.
const MAX_EXECUTION_ENDPOINTS: usize = 8;

/// Names of `--import-policy` that this version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportPolicyName {
    /// The execution client's answer, always
    Observe,
    /// VALID only what the execution client calls VALID and is proven, ancestors included
    RequireProofs,
    /// The execution client's VALID; while it is SYNCING or silent, what is proven
    AcceptProofs,
    /// No execution client: VALID what is proven, ancestors included
    ProofsOnly,
}

/// Names of `--on-missing-proofs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissingProofsName {
    /// The payload and its descendants stay SYNCING
    Wait,
    /// After --missing-proofs-grace-slots the execution client's VALID is enough for it
    TrustExecution,
}

impl From<ImportPolicyName> for ImportPolicy {
    fn from(name: ImportPolicyName) -> Self {
        match name {
            ImportPolicyName::Observe => Self::Observe,
            ImportPolicyName::RequireProofs => Self::RequireProofs,
            ImportPolicyName::AcceptProofs => Self::AcceptProofs,
            ImportPolicyName::ProofsOnly => Self::ProofsOnly,
        }
    }
}

impl std::fmt::Display for ImportPolicyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(ImportPolicy::from(*self).as_str())
    }
}

/// `assay node`'s settings, all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "each field is the flag of the same name in `NodeArgs`, where it is explained"
)]
pub struct NodeConfig {
    pub datadir: PathBuf,
    pub beacon_node: String,
    pub network_config: Option<PathBuf>,
    pub revision: Option<Revision>,
    #[serde(deserialize_with = "one_or_many")]
    pub spec: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub execution_endpoint: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub execution_jwt: Vec<String>,
    pub engine_address: IpAddr,
    pub engine_port: u16,
    pub engine_jwt: Option<PathBuf>,
    #[serde(deserialize_with = "one_or_many")]
    pub secondary_beacon_node: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub secondary_engine_jwt: Vec<String>,
    pub import_policy: ImportPolicyName,
    pub required_proofs: usize,
    #[serde(deserialize_with = "types")]
    pub required_proof_types: Vec<ProofType>,
    pub proof_lag: u32,
    pub on_missing_proofs: OnMissingProofsName,
    pub missing_proofs_grace_slots: u64,
    pub wait_for_proofs: u64,
    pub execution_slow_after: u64,
    pub recursive_proofs: bool,
    pub trusted_checkpoint: Option<String>,
    pub alert_after_slots: u64,
    #[serde(rename = "listen-address", deserialize_with = "addresses")]
    pub listen_addresses: Vec<IpAddr>,
    pub port: u16,
    pub discovery_port: Option<u16>,
    pub quic_port: Option<u16>,
    pub disable_quic: bool,
    pub enable_mplex: bool,
    pub envelope_requests: bool,
    #[serde(deserialize_with = "one_or_many")]
    pub boot_nodes: Vec<String>,
    pub disable_discovery: bool,
    pub target_peers: u32,
    #[serde(rename = "peer", deserialize_with = "one_or_many")]
    pub peers: Vec<String>,
    #[serde(rename = "enr-address", deserialize_with = "addresses")]
    pub enr_addresses: Vec<IpAddr>,
    pub enr_tcp_port: Option<u16>,
    pub enr_udp_port: Option<u16>,
    pub enr_quic_port: Option<u16>,
    pub http_address: IpAddr,
    pub http_port: u16,
    pub metrics_address: IpAddr,
    pub metrics_port: Option<u16>,
    #[serde(deserialize_with = "one_or_many")]
    pub proof_engine_endpoint: Vec<String>,
    pub proof_engine_jwt: Option<PathBuf>,
    #[serde(deserialize_with = "one_or_many")]
    pub proof_engine_types: Vec<String>,
    pub proof_engine_notify: bool,
    #[serde(deserialize_with = "VerifierSetting::several")]
    pub native_verifier: Vec<VerifierSetting>,
    pub unsafe_native_statements: bool,
    #[serde(deserialize_with = "types")]
    pub proof_types: Vec<ProofType>,
    #[serde(deserialize_with = "text")]
    pub dev_seed: String,
    pub dev_delay_ms: u64,
    pub dev_failure_rate: f64,
    pub unsafe_dev_proofs_on_mainnet: bool,
    pub prover: bool,
    #[serde(deserialize_with = "types")]
    pub prove_types: Vec<ProofType>,
    pub keystores: Option<PathBuf>,
    pub secrets: Option<PathBuf>,
    pub password_file: Option<PathBuf>,
    pub ignore_keystore_locks: bool,
    pub web3_signer_url: Option<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub web3_signer_public_keys: Vec<String>,
    pub web3_signer_ca: Option<PathBuf>,
    pub web3_signer_client_cert: Option<PathBuf>,
    pub web3_signer_client_key: Option<PathBuf>,
    pub web3_signer_timeout_ms: u64,
    pub web3_signer_type: String,
    pub web3_signer_omit_proof: bool,
    pub budget_slots: u32,
    pub max_payloads: usize,
    pub retention_epochs: u64,
    #[serde(deserialize_with = "size")]
    pub max_db_size: Option<u64>,
    pub containment_epochs: u64,
    pub log_level: String,
    pub log_format: LogFormat,
    pub otlp_endpoint: Option<String>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            datadir: default_datadir(),
            beacon_node: "http://127.0.0.1:5052".into(),
            network_config: None,
            revision: None,
            spec: Vec::new(),
            execution_endpoint: Vec::new(),
            execution_jwt: Vec::new(),
            engine_address: loopback,
            engine_port: 8651,
            engine_jwt: None,
            secondary_beacon_node: Vec::new(),
            secondary_engine_jwt: Vec::new(),
            import_policy: ImportPolicyName::Observe,
            required_proofs: 1,
            required_proof_types: Vec::new(),
            proof_lag: 0,
            on_missing_proofs: OnMissingProofsName::Wait,
            missing_proofs_grace_slots: 8,
            wait_for_proofs: 0,
            execution_slow_after: DEFAULT_EXECUTION_SLOW_AFTER_MS,
            recursive_proofs: false,
            trusted_checkpoint: None,
            alert_after_slots: 4,
            listen_addresses: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            port: 9100,
            discovery_port: None,
            quic_port: None,
            disable_quic: false,
            enable_mplex: false,
            envelope_requests: false,
            boot_nodes: Vec::new(),
            disable_discovery: false,
            target_peers: 100,
            peers: Vec::new(),
            enr_addresses: Vec::new(),
            enr_tcp_port: None,
            enr_udp_port: None,
            enr_quic_port: None,
            http_address: loopback,
            http_port: 5152,
            metrics_address: loopback,
            metrics_port: None,
            proof_engine_endpoint: Vec::new(),
            proof_engine_jwt: None,
            proof_engine_types: Vec::new(),
            proof_engine_notify: false,
            native_verifier: Vec::new(),
            unsafe_native_statements: false,
            proof_types: vec![1],
            dev_seed: DEFAULT_DEV_SEED.into(),
            dev_delay_ms: 0,
            dev_failure_rate: 0.0,
            unsafe_dev_proofs_on_mainnet: false,
            prover: false,
            prove_types: Vec::new(),
            keystores: None,
            secrets: None,
            password_file: None,
            ignore_keystore_locks: false,
            web3_signer_url: None,
            web3_signer_public_keys: Vec::new(),
            web3_signer_ca: None,
            web3_signer_client_cert: None,
            web3_signer_client_key: None,
            web3_signer_timeout_ms: 5000,
            web3_signer_type: assay_prover::web3signer::EXECUTION_PROOF_TYPE.into(),
            web3_signer_omit_proof: false,
            budget_slots: 2,
            max_payloads: 4,
            retention_epochs: 0,
            max_db_size: None,
            containment_epochs: 4,
            log_level: "info".into(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
        }
    }
}

/// `~/.assay`.
pub(crate) fn default_datadir() -> PathBuf {
    std::env::var_os("HOME").map_or_else(
        || PathBuf::from(".assay"),
        |home| PathBuf::from(home).join(".assay"),
    )
}

/// Settings that do not hold together, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, a variable or a flag cannot be read as what it should be.
    #[error("settings: {0}")]
    Read(String),
    /// The settings file is not there.
    #[error("settings file {0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    /// A value that no node could run with.
    #[error("--{flag}: {why}")]
    Value {
        /// The flag's name.
        flag: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// The settings' names, as the file and (in capitals) the environment have them.
pub fn keys() -> Vec<String> {
    let defaults = serde_json::to_value(NodeConfig::default()).unwrap_or_default();
    defaults
        .as_object()
        .map(|o| o.keys().cloned().collect())
        .unwrap_or_default()
}

/// Variables beginning with `ASSAY_` that no setting is called after, tests' own aside.
fn unknown_variables() -> Vec<String> {
    const OTHERS: [&str; 3] = ["config", "vectors", "jwt-secret"];
    let keys = keys();
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            name.strip_prefix("ASSAY_").is_some_and(|rest| {
                let key = rest.to_ascii_lowercase().replace('_', "-");
                !keys.contains(&key) && !OTHERS.contains(&key.as_str())
            })
        })
        .collect()
}

/// Logs the variables that look like settings and are none.
pub fn warn_of_unknown_variables() {
    for name in unknown_variables() {
        tracing::warn!(variable = name, "no setting is called so");
    }
}

/// Flags over environment over file over defaults; then checked.
pub fn resolve(args: &NodeArgs) -> Result<NodeConfig, ConfigError> {
    let config = read(args)?;
    check(&config)?;
    Ok(config)
}

/// As `resolve`, for a node that stands in a snooper's slot: callers' tokens may do for the secret that no file holds there.
pub(crate) fn resolve_in_slot(args: &NodeArgs) -> Result<NodeConfig, ConfigError> {
    let config = read(args)?;
    check_but_secrets(&config)?;
    Ok(config)
}

fn read(args: &NodeArgs) -> Result<NodeConfig, ConfigError> {
    let mut figment = Figment::from(Serialized::defaults(NodeConfig::default()));
    if let Some(path) = &args.config {
        // Read here, so that a file that is not there is an error and not an empty one.
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError::File(path.clone(), e))?;
        figment = figment.merge(Toml::string(&text));
    }
    let known = keys();
    let env = Env::prefixed("ASSAY_")
        .map(|key| key.as_str().to_ascii_lowercase().replace('_', "-").into())
        .filter(move |key| known.iter().any(|k| k == key.as_str()));
    figment
        .merge(env)
        .merge(Serialized::defaults(args))
        .extract()
        .map_err(|e| ConfigError::Read(explain(e, args.config.as_deref())))
}

/// What is wrong with which setting, and where it was given.
fn explain(errors: figment::Error, file: Option<&Path>) -> String {
    let one = |error: figment::Error| {
        let given_by = error.metadata.as_ref().map_or("", |m| m.name.as_ref());
        let setting = error.path.join(".");
        let place = if given_by.starts_with("TOML") {
            let key = if setting.is_empty() {
                String::new()
            } else {
                format!("{setting} in ")
            };
            format!(
                "{key}{}",
                file.unwrap_or(Path::new("the settings file")).display()
            )
        } else if given_by.contains("environment") {
            format!("ASSAY_{}", setting.to_ascii_uppercase().replace('-', "_"))
        } else {
            format!("--{setting}")
        };
        format!("{place}: {}", error.kind.to_string().trim_end())
    };
    let all: Vec<String> = errors.into_iter().map(one).collect();
    all.join("; ")
}

fn check(config: &NodeConfig) -> Result<(), ConfigError> {
    check_secrets(config)?;
    check_but_secrets(config)
}

/// A secret for each execution client.
fn check_secrets(config: &NodeConfig) -> Result<(), ConfigError> {
    let wrong = |why: &str| {
        Err(ConfigError::Value {
            flag: "execution-jwt",
            why: why.to_owned(),
        })
    };
    match (config.execution_endpoint.len(), config.execution_jwt.len()) {
        (0, _) => Ok(()),
        (_, 0) => wrong("needed with --execution-endpoint: the file the execution client has too"),
        (endpoints, files) if files != 1 && files != endpoints => {
            wrong("one for all of --execution-endpoint, or one for each")
        }
        _ => Ok(()),
    }
}

fn check_but_secrets(config: &NodeConfig) -> Result<(), ConfigError> {
    let wrong = |flag, why: &str| {
        Err(ConfigError::Value {
            flag,
            why: why.to_owned(),
        })
    };
    let url = |flag, text: &str| match reqwest::Url::parse(text) {
        Ok(u) if matches!(u.scheme(), "http" | "https") && u.has_host() => Ok(()),
        _ => Err(ConfigError::Value {
            flag,
            why: format!("{text:?} is not an http or https URL"),
        }),
    };
    url("beacon-node", &config.beacon_node)?;
    for endpoint in &config.execution_endpoint {
        url("execution-endpoint", endpoint)?;
    }
    if let Some(collector) = &config.otlp_endpoint {
        url("otlp-endpoint", collector)?;
    }
    if config.execution_endpoint.len() > MAX_EXECUTION_ENDPOINTS {
        return wrong("execution-endpoint", "more than 8");
    }
    for node in &config.secondary_beacon_node {
        url("secondary-beacon-node", node)?;
    }
    if config.secondary_beacon_node.len() != config.secondary_engine_jwt.len() {
        return wrong(
            "secondary-engine-jwt",
            "one for each --secondary-beacon-node, in their order: the secret tells who calls",
        );
    }
    if config.secondary_beacon_node.len() > MAX_SECONDARY_BEACON_NODES {
        return wrong("secondary-beacon-node", "more than 8");
    }
    let served =
        !config.execution_endpoint.is_empty() || config.import_policy == ImportPolicyName::ProofsOnly;
    if !config.secondary_beacon_node.is_empty() && !served {
        return wrong(
            "secondary-beacon-node",
            "no Engine API is served without --execution-endpoint",
        );
    }
    if config.required_proofs == 0 {
        return wrong("required-proofs", "at least 1");
    }
    check_proof_types(config)?;
    check_engines(config)?;
    check_signer(config, ProverIs::InNode)?;
    check_gate(config)?;
    if !(0.0..=1.0).contains(&config.dev_failure_rate) {
        return wrong("dev-failure-rate", "between 0 and 1");
    }
    Ok(())
}

/// What the import policy needs, and what has no meaning under it.
fn check_gate(config: &NodeConfig) -> Result<(), ConfigError> {
    use ImportPolicyName::{AcceptProofs, Observe, ProofsOnly, RequireProofs};
    let policy = config.import_policy;
    let wrong = |flag, why: String| Err(ConfigError::Value { flag, why });
    match (policy, config.execution_endpoint.is_empty()) {
        (RequireProofs | AcceptProofs, true) => {
            let why = format!("needed with --import-policy {policy}: the gate stands in front of it");
            return wrong("execution-endpoint", why);
        }
        (ProofsOnly, false) => {
            let why = "none with --import-policy proofs-only; accept-proofs goes by both".to_owned();
            return wrong("execution-endpoint", why);
        }
        (ProofsOnly, true) if config.engine_jwt.is_none() && config.execution_jwt.is_empty() => {
            let why =
                "needed with --import-policy proofs-only: the secret the beacon node has too".to_owned();
            return wrong("engine-jwt", why);
        }
        _ => {}
    }
    if policy != Observe && config.proof_engine_endpoint.is_empty() {
        let why = format!("needed with --import-policy {policy}: nothing could be proven");
        return wrong("proof-engine-endpoint", why);
    }
    let counted = config.counted_types();
    if let Some(other) = counted.iter().find(|t| !config.proof_types.contains(t)) {
        let why = format!("{other} is none of --proof-types, so it is never verified");
        return wrong("required-proof-types", why);
    }
    let distinct: std::collections::BTreeSet<_> = counted.iter().collect();
    if distinct.len() != counted.len() {
        return wrong("required-proof-types", "a type stands there twice".to_owned());
    }
    if policy != Observe && config.required_proofs > counted.len() {
        let why = "more than there are types that count: no payload could ever be proven".to_owned();
        return wrong("required-proofs", why);
    }
    if policy != RequireProofs && config.proof_lag > 0 {
        let why = format!("only with --import-policy require-proofs, this is {policy}");
        return wrong("proof-lag", why);
    }
    if config.proof_lag > MAX_PROOF_LAG {
        return wrong("proof-lag", format!("{MAX_PROOF_LAG} at most"));
    }
    if policy != RequireProofs && config.on_missing_proofs != OnMissingProofsName::Wait {
        let why = format!("only with --import-policy require-proofs, this is {policy}");
        return wrong("on-missing-proofs", why);
    }
    if config.missing_proofs_grace_slots == 0 {
        let why = "at least 1; without any grace --import-policy observe is the same".to_owned();
        return wrong("missing-proofs-grace-slots", why);
    }
    if policy == Observe && config.wait_for_proofs > 0 {
        let why = "under --import-policy observe no answer depends on a proof".to_owned();
        return wrong("wait-for-proofs", why);
    }
    if config.wait_for_proofs > MAX_WAIT_FOR_PROOFS_MS {
        let why = format!("{MAX_WAIT_FOR_PROOFS_MS} at most: the beacon node gives up after 8000");
        return wrong("wait-for-proofs", why);
    }
    if config.execution_slow_after == 0 || config.execution_slow_after > MAX_WAIT_FOR_PROOFS_MS {
        return wrong("execution-slow-after", format!("1 to {MAX_WAIT_FOR_PROOFS_MS}"));
    }
    config.checkpoint().map(drop)
}

/// `--trusted-checkpoint`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedCheckpoint {
    /// The beacon block's root.
    pub root: Root,
    /// Its slot.
    pub slot: Slot,
}

impl NodeConfig {
    /// Proof types that count for `--required-proofs`.
    pub fn counted_types(&self) -> &[ProofType] {
        match self.required_proof_types.as_slice() {
            [] => &self.proof_types,
            types => types,
        }
    }

    /// The gate's settings. `verifies`: whether any proof can be verified; where none can, none is missing.
    pub fn gate(&self, verifies: bool) -> Result<GateConfig, ConfigError> {
        let required_proofs = u8::try_from(self.required_proofs).ok().and_then(NonZeroU8::new);
        Ok(GateConfig {
            policy: self.import_policy.into(),
            required_proofs: required_proofs.ok_or(ConfigError::Value {
                flag: "required-proofs",
                why: "1 to 255".into(),
            })?,
            counted_types: match self.required_proof_types.is_empty() {
                true => ProofTypeSet::ALL,
                false => self.required_proof_types.iter().copied().collect(),
            },
            proof_lag: self.proof_lag,
            on_missing_proofs: match self.on_missing_proofs {
                OnMissingProofsName::Wait => OnMissingProofs::Wait,
                OnMissingProofsName::TrustExecution => OnMissingProofs::TrustExecution {
                    grace_slots: self.missing_proofs_grace_slots,
                },
            },
            alert_after_slots: if verifies {
                self.alert_after_slots
            } else {
                u64::MAX
            },
            wait_for_proofs_ms: self.wait_for_proofs,
            execution_slow_after_ms: self.execution_slow_after,
            recursive_proofs: self.recursive_proofs,
        })
    }

    /// `--trusted-checkpoint`, read.
    pub fn checkpoint(&self) -> Result<Option<TrustedCheckpoint>, ConfigError> {
        let Some(text) = &self.trusted_checkpoint else {
            return Ok(None);
        };
        let read = text
            .split_once(':')
            .and_then(|(root, slot)| Some((root.trim().parse().ok()?, slot.trim().parse().ok()?)));
        let Some((root, slot)) = read else {
            return Err(ConfigError::Value {
                flag: "trusted-checkpoint",
                why: format!("{text:?}: a block root (0x and 64 hex digits), a colon, a slot"),
            });
        };
        Ok(Some(TrustedCheckpoint {
            root,
            slot: Slot(slot),
        }))
    }

    /// `--proof-engine-endpoint`, read.
    pub fn engine_endpoints(&self) -> Result<Vec<EngineEndpoint>, ConfigError> {
        let read = |text: &String| {
            text.parse().map_err(|why| ConfigError::Value {
                flag: "proof-engine-endpoint",
                why,
            })
        };
        self.proof_engine_endpoint.iter().map(read).collect()
    }

    /// `--proof-engine-types` over the names proof nodes have by default: of `--revision`, without it of `alpha`.
    pub fn proof_type_names(&self) -> Result<ProofTypeNames, ConfigError> {
        self.names_over(self.revision.unwrap_or(Revision::Alpha))
    }

    /// The same on a network (`spec` has the flags laid over it): the names are `beta`'s where no other revision ever holds,
    /// else `alpha`'s, before and after the boundary. An error where a proof node is asked for a type without a name.
    pub fn proof_type_names_on(&self, spec: &Spec) -> Result<ProofTypeNames, ConfigError> {
        let names = self.names_over(sole_revision(spec).unwrap_or(Revision::Alpha))?;
        for endpoint in self.engine_endpoints()? {
            let types = endpoint.types(self);
            let unnamed = types.iter().find(|t| names.name(**t).is_none());
            if let (EngineKind::ProofNode(url), Some(t)) = (&endpoint.kind, unnamed) {
                return Err(ConfigError::Value {
                    flag: "proof-engine-types",
                    why: format!(
                        "{}: proof type {t} needs a name, as {t}=NAME",
                        shown_endpoint(url.as_str())
                    ),
                });
            }
        }
        Ok(names)
    }

    fn names_over(&self, revision: Revision) -> Result<ProofTypeNames, ConfigError> {
        let wrong = |error: NamesError| ConfigError::Value {
            flag: "proof-engine-types",
            why: error.to_string(),
        };
        if self.proof_engine_types.is_empty() {
            return Ok(ProofTypeNames::of(revision));
        }
        let given: ProofTypeNames = self.proof_engine_types.join(",").parse().map_err(wrong)?;
        Ok(ProofTypeNames::of(revision).overlaid_with(&given))
    }
}

/// The revision that holds for every payload there is and will be on a network; `None` where it changes.
pub(crate) fn sole_revision(spec: &Spec) -> Option<Revision> {
    let epochs = spec.fork_schedule.iter().map(|(_, _, epoch)| *epoch);
    let mut revisions: Vec<Revision> = epochs
        .filter(|epoch| *epoch != Epoch::FAR_FUTURE && spec.fork_at_epoch(*epoch).has_payload())
        .map(|epoch| spec.revision_at_epoch(epoch))
        .collect();
    revisions.dedup();
    match revisions[..] {
        [only] => Some(only),
        _ => None,
    }
}

/// At least one, and none twice.
pub(crate) fn check_proof_types(config: &NodeConfig) -> Result<(), ConfigError> {
    let mut types = config.proof_types.clone();
    types.sort_unstable();
    types.dedup();
    let why = match types.len() {
        0 => "at least one",
        n if n != config.proof_types.len() => "a type stands there twice",
        _ => return Ok(()),
    };
    Err(ConfigError::Value {
        flag: "proof-types",
        why: why.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn defaults_hold_together() {
        check(&NodeConfig::default()).unwrap();
    }

    #[test]
    fn engines_that_can_run() {
        let config = NodeConfig {
            proof_types: vec![5, 2, 77],
            proof_engine_endpoint: vec![
                "5+2@http://a:3000".into(),
                "5@http://b".into(),
                "77@engine+http://c:8551".into(),
            ],
            proof_engine_jwt: Some("jwt.hex".into()),
            // The name that was number 1.
            proof_engine_types: vec!["2=ethrex-sp1".into()],
            ..NodeConfig::default()
        };
        check(&config).unwrap();
        let names = config.proof_type_names().unwrap();
        assert_eq!(
            (names.name(2), names.name(1), names.name(5)),
            (Some("ethrex-sp1"), None, Some("reth-sp1"))
        );
    }

    #[test]
    fn proof_nodes_types_have_the_names_of_the_revision_that_holds_throughout() {
        let scheduled = |gloas: Epoch, revision: Option<Revision>| {
            let mut spec = Spec::minimal();
            for entry in &mut spec.fork_schedule {
                entry.2 = if entry.0 == assay_types::ForkName::Gloas {
                    gloas
                } else {
                    Epoch(0)
                };
            }
            if let Some(revision) = revision {
                (spec.revision, spec.revision_by_fork) = (revision, Default::default());
            }
            spec
        };
        let config = |revision, types: &[u8], names: &[&str]| NodeConfig {
            revision,
            proof_types: types.to_vec(),
            proof_engine_endpoint: vec!["http://a:3000".into()],
            proof_engine_types: names.iter().map(|name| (*name).to_owned()).collect(),
            ..NodeConfig::default()
        };
        use Revision::{Alpha, Beta};
        for (gloas, revision, name) in [
            (Epoch(0), None, "ethrex-openvm"),
            (Epoch(5), None, "ethrex-sp1"),
            (Epoch::FAR_FUTURE, None, "ethrex-sp1"),
            (Epoch(0), Some(Alpha), "ethrex-sp1"),
            (Epoch(5), Some(Beta), "ethrex-openvm"),
        ] {
            let names = config(revision, &[1], &[])
                .proof_type_names_on(&scheduled(gloas, revision))
                .unwrap();
            assert_eq!(names.name(1), Some(name), "{gloas} {revision:?}");
        }
        // Type 0 has a name before `beta`, 7 from then on.
        let beta = scheduled(Epoch(0), None);
        let error = config(None, &[0], &[])
            .proof_type_names_on(&beta)
            .unwrap_err()
            .to_string();
        assert!(error.contains("proof type 0 needs a name"), "{error}");
        config(None, &[0], &["0=mine"])
            .proof_type_names_on(&beta)
            .unwrap();
        check(&config(Some(Beta), &[7], &[])).unwrap();
        check(&config(None, &[7], &[])).unwrap_err();
    }

    fn with_client(c: &mut NodeConfig) {
        c.execution_endpoint = vec!["http://127.0.0.1:8551".into()];
        c.execution_jwt = vec!["jwt.hex".into()];
    }

    fn requires(c: &mut NodeConfig) {
        with_client(c);
        c.proof_engine_endpoint = vec!["dev".into()];
        c.import_policy = ImportPolicyName::RequireProofs;
    }

    #[test]
    fn a_trusted_checkpoint_is_read() {
        let config = NodeConfig {
            trusted_checkpoint: Some(format!("0x{}:123", "ab".repeat(32))),
            ..NodeConfig::default()
        };
        check(&config).unwrap();
        let read = config.checkpoint().unwrap().unwrap();
        assert_eq!((read.root, read.slot), (Root::from([0xab; 32]), Slot(123)));
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_flag_named() {
        type Change = fn(&mut NodeConfig);
        let table: &[(&str, Change)] = &[
            ("beacon-node", |c| c.beacon_node = "localhost".into()),
            ("execution-jwt", |c| {
                c.execution_endpoint = vec!["http://127.0.0.1:8551".into()]
            }),
            ("execution-jwt", |c| {
                c.execution_endpoint = vec!["http://a".into(), "http://b".into(), "http://c".into()];
                c.execution_jwt = vec!["a".into(), "b".into()];
            }),
            ("secondary-engine-jwt", |c| {
                with_client(c);
                c.secondary_beacon_node = vec!["http://a".into(), "http://b".into()];
                c.secondary_engine_jwt = vec!["a".into()];
            }),
            ("secondary-beacon-node", |c| {
                c.secondary_beacon_node = vec!["http://a".into()];
                c.secondary_engine_jwt = vec!["a".into()];
            }),
            ("secondary-beacon-node", |c| {
                with_client(c);
                c.secondary_beacon_node = vec!["a".into()];
                c.secondary_engine_jwt = vec!["a".into()];
            }),
            ("execution-endpoint", |c| {
                c.import_policy = ImportPolicyName::RequireProofs
            }),
            ("required-proofs", |c| c.required_proofs = 0),
            ("execution-endpoint", |c| {
                c.import_policy = ImportPolicyName::AcceptProofs
            }),
            ("execution-endpoint", |c| {
                with_client(c);
                c.import_policy = ImportPolicyName::ProofsOnly;
            }),
            ("engine-jwt", |c| c.import_policy = ImportPolicyName::ProofsOnly),
            ("proof-engine-endpoint", |c| {
                with_client(c);
                c.import_policy = ImportPolicyName::AcceptProofs;
            }),
            ("required-proofs", |c| {
                requires(c);
                c.proof_types = vec![1, 2];
                c.required_proof_types = vec![2];
                c.required_proofs = 2;
            }),
            ("required-proof-types", |c| c.required_proof_types = vec![9]),
            ("required-proof-types", |c| c.required_proof_types = vec![1, 1]),
            ("proof-lag", |c| c.proof_lag = 1),
            ("proof-lag", |c| {
                requires(c);
                c.proof_lag = MAX_PROOF_LAG + 1;
            }),
            ("on-missing-proofs", |c| {
                c.on_missing_proofs = OnMissingProofsName::TrustExecution
            }),
            ("missing-proofs-grace-slots", |c| c.missing_proofs_grace_slots = 0),
            ("wait-for-proofs", |c| c.wait_for_proofs = 1),
            ("wait-for-proofs", |c| {
                requires(c);
                c.wait_for_proofs = MAX_WAIT_FOR_PROOFS_MS + 1;
            }),
            ("execution-slow-after", |c| c.execution_slow_after = 0),
            ("trusted-checkpoint", |c| {
                c.trusted_checkpoint = Some("0x00:1".into())
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_engine_endpoint = vec!["ftp://x".into()]
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_engine_endpoint = vec!["300@dev".into()]
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_engine_endpoint = vec!["1+2@dev".into()]
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_engine_endpoint = vec!["dev".into(), "dev".into()]
            }),
            ("proof-engine-endpoint", |c| {
                c.proof_types = vec![1, 2];
                c.proof_engine_endpoint = vec!["1+2@dev".into(), "2@dev".into()]
            }),
            ("proof-engine-jwt", |c| {
                c.proof_engine_endpoint = vec!["dev".into(), "engine+http://x".into()]
            }),
            ("proof-engine-types", |c| {
                c.proof_types = vec![1, 200];
                c.proof_engine_endpoint = vec!["http://x".into()];
            }),
            ("proof-engine-types", |c| c.proof_engine_types = vec!["5".into()]),
            ("proof-engine-types", |c| {
                c.proof_engine_types = vec!["5=a".into(), "6=a".into()]
            }),
            ("proof-types", |c| {
                c.proof_types = vec![1, 2];
                c.proof_engine_endpoint = vec!["1@dev".into()];
            }),
            ("proof-types", |c| c.proof_types = vec![1, 2, 1]),
            ("proof-types", |c| c.proof_types.clear()),
            ("dev-failure-rate", |c| c.dev_failure_rate = 1.5),
            ("otlp-endpoint", |c| {
                c.otlp_endpoint = Some("127.0.0.1:4318".into())
            }),
        ];
        for (flag, change) in table {
            let mut config = NodeConfig::default();
            change(&mut config);
            let error = check(&config).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--{flag}:")), "{error}");
        }
    }
}
