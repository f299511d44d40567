//! The flags of keys and of the prover's duty: the same for `assay node` and `assay prover`.

use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// What was given on the command line.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SignerArgs {
    /// Directory of EIP-2335 keystores, as a validator client or the deposit tool lays it out
    #[arg(long, value_name = "DIR", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystores: Option<PathBuf>,
    /// Directory of their passwords [default: `secrets` or `passwords` beside --keystores]
    #[arg(long, value_name = "DIR", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<PathBuf>,
    /// File with the password of all keystores that have none of their own
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Use keystores that another process has locked: proofs cannot be slashed for
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_keystore_locks: Option<bool>,
    /// Remote signer with web3signer's HTTP API, beside keystores or in their place
    #[arg(long, value_name = "URL", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web3_signer_url: Option<String>,
    /// Public keys to sign with, comma-separated [default: all that the signer lists, asked again every minute]
    #[arg(long, value_name = "KEY,...", value_delimiter = ',', help_heading = "Keys")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub web3_signer_public_keys: Vec<String>,
    /// PEM of the authorities that the signer's certificate is held against [default: the system's]
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web3_signer_ca: Option<PathBuf>,
    /// PEM of the certificate that the signer knows this client by
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web3_signer_client_cert: Option<PathBuf>,
    /// PEM of that certificate's private key [default: in the same file]
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web3_signer_client_key: Option<PathBuf>,
    /// Longest one call of the signer takes [default: 5000]
    #[arg(long, value_name = "MS", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web3_signer_timeout_ms: Option<u64>,
    /// What signing requests for proofs are called [default: EXECUTION_PROOF]
    #[arg(long, value_name = "TYPE", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web3_signer_type: Option<String>,
    /// Send the signing root without the proof, for signers that sign the root they are given
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", help_heading = "Keys")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web3_signer_omit_proof: Option<bool>,

    /// A payload is given up after the time of so many slots [default: 2]
    #[arg(long, value_name = "SLOTS", help_heading = "Prover")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_slots: Option<u32>,
    /// Payloads at work at once, the newest first, 64 at most [default: 4]
    #[arg(long, value_name = "N", help_heading = "Prover")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_payloads: Option<usize>,
}
