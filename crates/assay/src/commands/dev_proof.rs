//! `assay dev-proof`: an ExecutionProof of the development engine; for revision `beta` the envelope of one.

use super::files;
use assay_proof_engine::DevProver;
use assay_types::{
    ProofType, Root, StatedInput,
    proof_beta::{ExecutionProofEnvelope, PublicInput, SCHEMA_ID},
};
use bytes::Bytes;
use clap::Args;
use std::path::PathBuf;

/// Flags of `assay dev-proof`.
#[derive(Debug, Args)]
pub struct DevProofArgs {
    /// Root of the payload's NewPayloadRequest
    #[arg(long, value_name = "HEX")]
    pub new_payload_request_root: Root,
    /// Revision beta: the block whose payload it is. An ExecutionProofEnvelope is made, which names it
    #[arg(long, value_name = "HEX", requires = "chain_id")]
    pub beacon_block_root: Option<Root>,
    /// Revision beta: the execution chain's id, which is part of what is proven there
    #[arg(long, value_name = "NUMBER", requires = "beacon_block_root")]
    pub chain_id: Option<u64>,
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
    let (json, ssz) = match (args.beacon_block_root, args.chain_id) {
        (Some(beacon_block_root), Some(chain_id)) => {
            let input = StatedInput::Beta(PublicInput {
                new_payload_request_root: args.new_payload_request_root,
                successful_validation: true,
                chain_id,
                schema_id: SCHEMA_ID,
            });
            let envelope = ExecutionProofEnvelope {
                proof_data: prover.prove_stated(&input, args.proof_type, args.size)?,
                proof_type: args.proof_type,
                beacon_block_root,
            };
            (serde_json::to_vec(&envelope)?, envelope.to_ssz_bytes())
        }
        _ => {
            let proof = prover.prove_execution(args.new_payload_request_root, args.proof_type, args.size)?;
            (serde_json::to_vec(&proof)?, proof.to_ssz_bytes())
        }
    };
    let out = match files::Encoding::of(&args.output) {
        files::Encoding::Json => Bytes::from(json),
        _ => ssz,
    };
    files::write(&args.output, &out)
}
