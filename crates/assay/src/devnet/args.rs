//! The flags of `assay devnet`.

use crate::config::ImportPolicyName;
use assay_types::ProofType;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Who is told of whom at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Topology {
    /// Each node of the one before it alone: 1-2-3; nobody looks for others, so that what reaches the last was forwarded by all
    Line,
    /// All of the first, their boot node: they find each other
    Discovery,
}

/// How the network is set up and how long it runs.
#[derive(Debug, Clone, Args)]
pub struct DevnetArgs {
    /// Nodes
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub nodes: usize,
    /// Who is told of whom at the start
    #[arg(long, value_name = "TOPOLOGY", default_value = "line")]
    pub topology: Topology,
    /// Slots, one payload each
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub slots: u64,
    /// Epoch (of 8 slots, at least 1) from which on the network is of Gloas, where proofs travel as envelopes [default: never]
    #[arg(long, value_name = "EPOCH")]
    pub gloas_epoch: Option<u64>,
    /// Length of a slot, whole seconds
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    pub slot_ms: u64,
    /// Kinds of proof, one of each for every payload, comma-separated
    #[arg(long, value_name = "TYPES", value_parser = crate::config::proof_type, value_delimiter = ',', default_value = "1")]
    pub proof_types: Vec<ProofType>,
    /// Bytes of each proof
    #[arg(long, value_name = "BYTES", default_value_t = 262_144)]
    pub proof_size: usize,
    /// From a payload to its proofs
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub proof_delay_ms: u64,
    /// What a proof is worth at import
    #[arg(long, value_name = "POLICY", default_value = "require-proofs")]
    pub import_policy: ImportPolicyName,
    /// Distinct proof types a payload needs to count as proven
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub required_proofs: usize,
    /// Bytes of transactions in each payload
    #[arg(long, value_name = "BYTES", default_value_t = 20_000)]
    pub payload_bytes: usize,
    /// Where the summary goes, as JSON
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Where the nodes keep their data and logs; kept afterwards [default: a temporary directory, removed on success]
    #[arg(long, value_name = "DIR")]
    pub datadir: Option<PathBuf>,
}
