//! `assay dev-proof`: an ExecutionProof of the development engine.

use super::files;
use assay_proof_engine::DevProver;
use assay_types::{ProofType, Root};
use bytes::Bytes;
use clap::Args;
use std::path::PathBuf;

/// Flags of `assay dev-proof`.
#[derive(Debug, Args)]
pub struct DevProofArgs {
    /// Root of the payload's NewPayloadRequest
    #[arg(long, value_name = "HEX")]
    pub new_payload_request_root: Root,
    /// Kind of proof
    #[arg(long, value_name = "TYPE", default_value_t = 1)]
    pub proof_type: ProofType,
    /// Bytes of proof data
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub size: usize,
    /// The network's seed: nodes verify with the same one
    #[arg(long, value_name = "TEXT", default_value = crate::config::DEFAULT_DEV_SEED)]
    pub dev_seed: String,
    /// Where the ExecutionProof goes: SSZ, .ssz_snappy or .json by the ending; - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// Makes and writes the proof.
pub fn run(args: &DevProofArgs) -> anyhow::Result<()> {
    let prover = DevProver::new(args.dev_seed.clone(), args.size);
    let proof = prover.prove_execution(args.new_payload_request_root, args.proof_type, args.size)?;
    let out = match files::Encoding::of(&args.output) {
        files::Encoding::Json => Bytes::from(serde_json::to_vec(&proof)?),
        _ => proof.to_ssz_bytes(),
    };
    files::write(&args.output, &out)
}
