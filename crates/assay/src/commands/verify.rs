//! `assay verify`: the signature of a SignedExecutionProof, and where a seed is given the development proof in it.

use super::{files, signing_context::SigningContextArgs};
use anyhow::{Context, bail};
use assay_types::{PublicKey, PublicKeyBytes, Revision, SignedProof};
use bytes::Bytes;
use clap::Args;
use std::path::PathBuf;

/// Flags of `assay verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// SignedExecutionProof (in beta: SignedExecutionProofEnvelope) to check: SSZ, .ssz_snappy or .json; - for standard input
    #[arg(value_name = "SIGNED_PROOF")]
    pub signed_proof: PathBuf,
    /// The validator's public key, as 0x and 96 hex digits
    #[arg(long, value_name = "HEX")]
    pub public_key: PublicKeyBytes,
    /// The domain.
    #[command(flatten)]
    pub context: SigningContextArgs,
}

/// Prints what was checked; an error where it does not hold.
pub fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let (encoding, bytes) = files::read(&args.signed_proof)?;
    let context = args.context.resolve()?;
    let revision = context.spec.revision_at_epoch(context.epoch);
    let signed: SignedProof = match encoding {
        files::Encoding::Json => {
            serde_json::from_slice(&bytes).with_context(|| args.signed_proof.display().to_string())?
        }
        _ => SignedProof::from_ssz_bytes(&Bytes::from(bytes), revision)?,
    };
    if signed.revision != revision {
        bail!(
            "a proof of revision {}, and {revision} holds there",
            signed.revision
        );
    }
    let size = signed.message.proof_data.len() as u64;
    if size == 0 {
        bail!("proof_data is empty (rule 7)");
    }
    if size > context.spec.max_proof_size {
        bail!(
            "proof_data has {size} bytes, MAX_PROOF_SIZE is {} (rule 7)",
            context.spec.max_proof_size
        );
    }
    let key = PublicKey::from_bytes(&args.public_key)?;
    let root = context.spec.proof_message_root(context.epoch, &signed.message);
    let signing_root = context
        .spec
        .execution_proof_signing_root(&context.genesis, context.epoch, &root);
    if !key.verify(&signing_root, &signed.signature) {
        bail!("the signature does not verify (rule 6)");
    }
    let named = match signed.revision {
        Revision::Alpha => "new_payload_request_root",
        Revision::Beta => "beacon_block_root",
    };
    let line = serde_json::json!({
        "signature": "valid",
        "validator_index": signed.validator_index.to_string(),
        "proof_type": signed.message.proof_type.to_string(),
        named: signed.message.root,
        "proof_root": root,
        "proof_bytes": size.to_string(),
    });
    files::print_line(line)
}
