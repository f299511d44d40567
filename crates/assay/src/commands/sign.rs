//! `assay sign`: an ExecutionProof and a key file in, a SignedExecutionProof out; where revision `beta` holds, their envelopes.

use super::{files, signing_context::SigningContextArgs};
use anyhow::Context;
use assay_types::{
    ExecutionProof, ProofMessage, Revision, SecretKey, SignedProof, bls, proof_beta::ExecutionProofEnvelope,
};
use bytes::Bytes;
use clap::Args;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Flags of `assay sign`.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// ExecutionProof (in beta: ExecutionProofEnvelope) to sign: SSZ, .ssz_snappy or .json; - for standard input
    #[arg(value_name = "PROOF")]
    pub proof: PathBuf,
    /// File with the secret key: 32 bytes as hex. Keys are never taken as arguments
    #[arg(long, value_name = "FILE")]
    pub key_file: PathBuf,
    /// Index of the validator the key belongs to
    #[arg(long, value_name = "INDEX")]
    pub validator_index: u64,
    /// Where the SignedExecutionProof goes: SSZ, .ssz_snappy or .json by the ending; - for standard output
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// The domain.
    #[command(flatten)]
    pub context: SigningContextArgs,
}

/// Signs and writes.
pub fn run(args: &SignArgs) -> anyhow::Result<()> {
    let key = read_key(&args.key_file)?;
    let (encoding, bytes) = files::read(&args.proof)?;
    let context = args.context.resolve()?;
    let revision = context.spec.revision_at_epoch(context.epoch);
    let message = read_message(revision, encoding, Bytes::from(bytes))
        .with_context(|| args.proof.display().to_string())?;
    let size = message.proof_data.len() as u64;
    anyhow::ensure!(
        size > 0,
        "the proof is empty: every node would reject it (rule 7)"
    );
    anyhow::ensure!(
        size <= context.spec.max_proof_size,
        "the proof has {size} bytes, MAX_PROOF_SIZE is {}: every node would reject it (rule 7)",
        context.spec.max_proof_size
    );
    let root = context.spec.proof_message_root(context.epoch, &message);
    let signing_root = context
        .spec
        .execution_proof_signing_root(&context.genesis, context.epoch, &root);
    let signed = SignedProof {
        revision,
        message,
        validator_index: args.validator_index,
        signature: key.sign(&signing_root),
    };
    let out = match files::Encoding::of(&args.output) {
        files::Encoding::Json => Bytes::from(serde_json::to_vec(&signed)?),
        _ => signed.to_ssz_bytes(),
    };
    files::write(&args.output, &out)
}

/// An `ExecutionProof`, or in `beta` an `ExecutionProofEnvelope`.
fn read_message(revision: Revision, encoding: files::Encoding, bytes: Bytes) -> anyhow::Result<ProofMessage> {
    let is_json = matches!(encoding, files::Encoding::Json);
    Ok(match (revision, is_json) {
        (Revision::Alpha, true) => serde_json::from_slice::<ExecutionProof>(&bytes)?.into(),
        (Revision::Alpha, false) => ExecutionProof::from_ssz_bytes(&bytes)?.into(),
        (Revision::Beta, true) => serde_json::from_slice::<ExecutionProofEnvelope>(&bytes)?.into(),
        (Revision::Beta, false) => ExecutionProofEnvelope::from_ssz_bytes(&bytes)?.into(),
    })
}

/// Reads a secret key from a file of hex; the text is zeroized.
fn read_key(path: &Path) -> anyhow::Result<SecretKey> {
    let text = Zeroizing::new(std::fs::read_to_string(path).with_context(|| path.display().to_string())?);
    let digits = text.trim();
    let bytes = Zeroizing::new(
        hex::decode(digits.strip_prefix("0x").unwrap_or(digits))
            .map_err(|_| anyhow::anyhow!("{}: not a secret key in hex", path.display()))?,
    );
    SecretKey::from_bytes(&bytes).map_err(|e: bls::BlsError| anyhow::anyhow!("{}: {e}", path.display()))
}
