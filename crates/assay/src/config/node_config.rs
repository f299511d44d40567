//! All settings of a node, and what each is by default.

use super::{
    DEFAULT_DEV_SEED,
    forms::{addresses, one_or_many, size, text, types},
    policy::{ImportPolicyName, OnMissingProofsName},
};
use crate::logging::LogFormat;
use assay_gate::machine::DEFAULT_EXECUTION_SLOW_AFTER_MS;
use assay_native_verifiers::VerifierSetting;
use assay_proof_engine::proof_types::ProofTypeDefinition;
use assay_types::{ProofType, Revision};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

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
    #[serde(deserialize_with = "ProofTypeDefinition::several")]
    pub proof_type: Vec<ProofTypeDefinition>,
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
            proof_type: Vec::new(),
            proof_types: Vec::new(),
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
