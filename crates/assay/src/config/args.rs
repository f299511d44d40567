//! The flags of `assay node`, grouped as beacon clients group theirs.

use super::{ImportPolicyName, OnMissingProofsName, SignerArgs};
use crate::logging::LogFormat;
use assay_types::{ProofType, Revision};
use clap::Args;
use serde::Serialize;
use std::{net::IpAddr, path::PathBuf};

/// What was given on the command line; `None` leaves it to environment, file and default.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(
    after_help = "Every flag is also an environment variable (--http-port: ASSAY_HTTP_PORT) and a key of the TOML file \
                  (http-port). Flags win over the environment, the environment over the file, the file over defaults. \
                  What they say of proof types' numbers (--proof-type, --native-verifier, --proof-engine-types) is put \
                  together instead."
)]
pub struct NodeArgs {
    /// Settings file (TOML)
    #[arg(long, value_name = "FILE", env = "ASSAY_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// End when standard input ends: with the process that holds its other end, whatever ends that
    #[arg(long, hide = true)]
    #[serde(skip)]
    pub exit_with_stdin: bool,
    /// Where proofs, verdicts and the node's key are kept [default: ~/.assay]
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub datadir: Option<PathBuf>,

    /// Beacon node's HTTP API [default: http://127.0.0.1:5052]
    #[arg(long, value_name = "URL", help_heading = "Beacon node")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beacon_node: Option<String>,
    /// The network's config.yaml, laid over what the beacon node says
    #[arg(long, value_name = "FILE", help_heading = "Beacon node")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_config: Option<PathBuf>,
    /// The state of the EIP-8025 texts, alpha or beta, for every fork [default: beta from Gloas on, alpha before]
    #[arg(long, value_name = "REVISION", help_heading = "Beacon node")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// One protocol value by its upper-case name, e.g. MAX_PROOF_SIZE=409600; comes last, may be repeated
    #[arg(long = "spec", value_name = "KEY=VALUE", help_heading = "Beacon node")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spec: Vec<String>,

    /// Execution client's Engine API; without it none is served, but by --import-policy proofs-only. Several, by commas or
    /// repeated: the first that answers is active, the others follow
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Execution client and gate"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub execution_endpoint: Vec<String>,
    /// File with the JWT secret shared with the execution client; one for all, or one for each in their order
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        help_heading = "Execution client and gate"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub execution_jwt: Vec<String>,
    /// Address the beacon node finds the Engine API at [default: 127.0.0.1]
    #[arg(long, value_name = "IP", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_address: Option<IpAddr>,
    /// Port the beacon node finds the Engine API at [default: 8651]
    #[arg(long, value_name = "PORT", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_port: Option<u16>,
    /// File with the JWT secret the beacon node uses [default: the first of --execution-jwt]
    #[arg(long, value_name = "FILE", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_jwt: Option<PathBuf>,
    /// HTTP API of a further beacon node behind the same Engine API, which must be on the same network: its fork choice is
    /// answered from what the gate knows and not passed on, nothing is built for it; several, by commas or repeated
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        help_heading = "Execution client and gate"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secondary_beacon_node: Vec<String>,
    /// File with the JWT secret of each --secondary-beacon-node, in their order; each has its own
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        help_heading = "Execution client and gate"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secondary_engine_jwt: Vec<String>,
    /// What a proof is worth at import [default: observe]
    #[arg(long, value_name = "POLICY", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_policy: Option<ImportPolicyName>,
    /// Distinct proof types a payload needs to count as proven [default: 1]
    #[arg(long, value_name = "K", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_proofs: Option<usize>,
    /// Proof types that count for --required-proofs, comma-separated [default: all of --proof-types]
    #[arg(
        long,
        value_name = "TYPES",
        value_parser = super::proof_type,
        value_delimiter = ',',
        help_heading = "Execution client and gate"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_proof_types: Vec<ProofType>,
    /// require-proofs: VALID where the ancestor so many payloads back is proven [default: 0]
    #[arg(long, value_name = "PAYLOADS", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_lag: Option<u32>,
    /// require-proofs: what becomes of a payload whose proofs do not come [default: wait]
    #[arg(long, value_name = "WHAT", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_missing_proofs: Option<OnMissingProofsName>,
    /// Slots after which trust-execution lets the execution client's word be enough [default: 8]
    #[arg(long, value_name = "SLOTS", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_proofs_grace_slots: Option<u64>,
    /// Milliseconds that newPayload and forkchoiceUpdated may wait for a proof, 4000 at most [default: 0]
    #[arg(long, value_name = "MS", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_for_proofs: Option<u64>,
    /// accept-proofs: milliseconds after which the execution client counts as silent [default: 1000]
    #[arg(long, value_name = "MS", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution_slow_after: Option<u64>,
    /// A proof whose public input names an origin closes the holes from there to its payload, once that origin is proven or
    /// an anchor. No proof of today names one [default: false]
    #[arg(
        long,
        num_args = 0..=1,
        default_missing_value = "true",
        value_name = "BOOL",
        help_heading = "Execution client and gate"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive_proofs: Option<bool>,
    /// Beacon block that is trusted, with all before it: its root and slot
    #[arg(long, value_name = "ROOT:SLOT", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_checkpoint: Option<String>,
    /// Alarm when a canonical payload lacks its proofs after so many slots [default: 4]
    #[arg(long, value_name = "SLOTS", help_heading = "Execution client and gate")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert_after_slots: Option<u64>,

    /// Address to listen on; twice for IPv4 and IPv6 [default: 0.0.0.0]
    #[arg(
        long = "listen-address",
        value_name = "IP",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    #[serde(rename = "listen-address", skip_serializing_if = "Vec::is_empty")]
    pub listen_addresses: Vec<IpAddr>,
    /// TCP port libp2p listens on; 0 lets the system choose [default: 9100]
    #[arg(long, value_name = "PORT", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// UDP port of discovery; 0 lets the system choose [default: that of --port]
    #[arg(long, value_name = "PORT", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery_port: Option<u16>,
    /// UDP port of QUIC; 0 lets the system choose [default: that of --port plus 1]
    #[arg(long, value_name = "PORT", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quic_port: Option<u16>,
    /// Speak TCP alone
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_quic: Option<bool>,
    /// Extension, between Assay nodes alone: ask peers for beta's proofs by range and by root, and serve them; beta's text
    /// has no req/resp [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope_requests: Option<bool>,
    /// Offer mplex beside yamux, for peers that know nothing newer (Lodestar 1.5)
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_mplex: Option<bool>,
    /// Where discovery begins: ENRs, comma-separated or repeated; the beacon node's peers are asked beside them
    #[arg(long, value_name = "ENR,...", value_delimiter = ',', help_heading = "Network")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub boot_nodes: Vec<String>,
    /// Look for no peers: those of --peer, and those that come
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_discovery: Option<bool>,
    /// Peers to look for; a tenth more may connect, those of --peer on top [default: 100]
    #[arg(long, value_name = "COUNT", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_peers: Option<u32>,
    /// Peer to stay connected to, as multiaddr or ENR; may be repeated
    #[arg(long = "peer", value_name = "MULTIADDR|ENR", help_heading = "Network")]
    #[serde(rename = "peer", skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Address others reach this node by, for the ENR; twice for IPv4 and IPv6. Without it discovery finds it out
    #[arg(
        long = "enr-address",
        value_name = "IP",
        value_delimiter = ',',
        help_heading = "Network"
    )]
    #[serde(rename = "enr-address", skip_serializing_if = "Vec::is_empty")]
    pub enr_addresses: Vec<IpAddr>,
    /// TCP port others reach, where it is not --port
    #[arg(long, value_name = "PORT", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enr_tcp_port: Option<u16>,
    /// UDP port of discovery others reach, where it is not --discovery-port
    #[arg(long, value_name = "PORT", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enr_udp_port: Option<u16>,
    /// UDP port of QUIC others reach, where it is not --quic-port
    #[arg(long, value_name = "PORT", help_heading = "Network")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enr_quic_port: Option<u16>,

    /// Address the HTTP API listens on [default: 127.0.0.1]
    #[arg(long, value_name = "IP", help_heading = "HTTP API and metrics")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_address: Option<IpAddr>,
    /// Port of the HTTP API; 0 lets the system choose [default: 5152]
    #[arg(long, value_name = "PORT", help_heading = "HTTP API and metrics")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_port: Option<u16>,
    /// Address of the metrics server of its own [default: 127.0.0.1]
    #[arg(long, value_name = "IP", help_heading = "HTTP API and metrics")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_address: Option<IpAddr>,
    /// Port of a metrics server of its own; /metrics of the HTTP API is always there
    #[arg(long, value_name = "PORT", help_heading = "HTTP API and metrics")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_port: Option<u16>,

    /// Proof engines, preferred first, comma-separated or repeated: `dev` (proofs that prove nothing), `native` (verifiers
    /// in this program: --native-verifier), http://… (a proof node) or engine+http://… (the Engine API's proof methods);
    /// `5+6@http://…` asks it for these types only
    #[arg(
        long,
        value_name = "[TYPES@]ENDPOINT",
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proof_engine_endpoint: Vec<String>,
    /// File with the JWT secret of engine+http endpoints
    #[arg(long, value_name = "FILE", help_heading = "Proof engine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_engine_jwt: Option<PathBuf>,
    /// Verifier in this program for a proof type, of a build with --features native-sp1,native-zisk: system (sp1 or zisk),
    /// the guest program's key and that file's SHA-256, and what the program commits to (output, output-sha256,
    /// validation-result, validation-result-sha256); may be repeated
    #[arg(
        long,
        value_name = "TYPE:SYSTEM:vk=FILE:sha256=HEX:guest=FAMILY",
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub native_verifier: Vec<String>,
    /// Allow guest=unsafe-statements, a table that stands for a guest program in tests: such proofs prove nothing
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Proof engine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsafe_native_statements: Option<bool>,
    /// Names that proof nodes have for proof types, laid over those of zkboost 0.9 for alpha's payloads and of 0.10 for beta's:
    /// 5=reth-sp1,6=reth-zisk for both, beta:1=ethrex-openvm for one
    #[arg(
        long,
        value_name = "[REVISION:]TYPE=NAME",
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proof_engine_types: Vec<String>,
    /// Pass payloads and fork choice on to engine+http endpoints, for those that start proving what they see
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Proof engine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_engine_notify: Option<bool>,
    /// What stands behind the number of a proof type: its name, and of the guest program the verification key's file and
    /// SHA-256, what it commits to and its version, each as far as it is known; may be repeated. In the file a table
    /// [[proof-type]]. What --native-verifier and --proof-engine-types say of a number has to be the same
    #[arg(
        long,
        value_name = "TYPE:SYSTEM:name=NAME:vk=FILE:sha256=HEX:guest=FAMILY:version=TEXT",
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proof_type: Vec<String>,
    /// Proof types to verify, preferred first, comma-separated [default: those that --proof-type and --native-verifier
    /// define, and where each endpoint names its types those; else 1,2,3 where beta holds now or later, 1 where it never
    /// does]
    #[arg(
        long,
        value_name = "TYPES",
        value_parser = super::proof_type,
        value_delimiter = ',',
        help_heading = "Proof engine"
    )]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proof_types: Vec<ProofType>,
    /// Development engine: the seed its proofs are made and checked with [default: assay-dev]
    #[arg(long, value_name = "TEXT", help_heading = "Proof engine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_seed: Option<String>,
    /// Development engine: how long a verification takes [default: 0]
    #[arg(long, value_name = "MS", help_heading = "Proof engine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_delay_ms: Option<u64>,
    /// Development engine: share of verifications that end in `unavailable`, 0 to 1 [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Proof engine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_failure_rate: Option<f64>,
    /// Let the development engine run on chain id 1, where its proofs prove nothing
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Proof engine")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsafe_dev_proofs_on_mainnet: Option<bool>,

    /// Prove every payload: request, verify, sign and publish proofs, with the keys named below
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Prover")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prover: Option<bool>,
    /// Proof types to prove, one proof of each for every payload [default: --proof-types]
    #[arg(long, value_name = "TYPES", value_parser = super::proof_type, value_delimiter = ',', help_heading = "Prover")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prove_types: Vec<ProofType>,
    /// Keys, and the prover's bounds; keys are of use without --prover too: for proofs that others bring unsigned.
    #[command(flatten)]
    #[serde(flatten)]
    pub signer: SignerArgs,

    /// Epochs behind finality for which proofs are kept [default: 0]
    #[arg(long, value_name = "EPOCHS", help_heading = "Store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_epochs: Option<u64>,
    /// Bytes of proofs at most, with a unit (20GiB); the oldest go first, never inside the serve range
    #[arg(long, value_name = "SIZE", help_heading = "Store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_db_size: Option<String>,
    /// Epochs for which a validator that signed an invalid proof is ignored on gossip [default: 4]
    #[arg(long, value_name = "EPOCHS", help_heading = "Store")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containment_epochs: Option<u64>,

    /// error, warn, info, debug, trace, or a filter [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = "Log")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// Log lines for people or as JSON [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = "Log")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// Collector that traces of proofs' ways go to, by OTLP over HTTP: http://127.0.0.1:4318; without it there are none
    #[arg(long, value_name = "URL", help_heading = "Log")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
}
