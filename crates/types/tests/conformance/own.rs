//! The repository's own vectors (specs/vectors), which an independent implementation made: always replayed.

use crate::{
    check_shape,
    containers::by_type,
    same, same_bytes,
    signing::{check_domain, check_signature},
    spec_with,
    upstream::check_type,
};
use assay_conformance::{Case, Failure, Outcome, Target};
use assay_types::{
    Epoch, ExecutionProof, ForkDigest, ForkName, ForkVersion, PublicInput, Revision, Root, SignatureBytes,
    Spec,
    digest::{compute_fork_digest, execution_proof_topic, message_id_invalid, message_id_valid},
    signing::signing_root,
    spec::BlobParameters,
};
use bytes::Bytes;
use sha2::{Digest, Sha256};

fn run(file: &str, check: impl FnMut(Case<'_>) -> Result<Outcome, String>) -> Result<(), Failure> {
    Target::run_own(env!("CARGO_MANIFEST_DIR"), file, check)
}

/// Mainnet with the case's settings.
fn spec_of(case: &Case<'_>) -> Result<Spec, String> {
    let mut overrides = Vec::new();
    let limit;
    for (key, setting) in [
        ("EIP8025_REVISION", "revision"),
        ("PROOF_DATA_FORM", "proof_data_form"),
    ] {
        if case.has(setting) {
            overrides.push((key, case.text(setting)?));
        }
    }
    if case.has("max_proof_size") {
        limit = case.number("max_proof_size")?.to_string();
        overrides.push(("MAX_PROOF_SIZE", &limit));
    }
    spec_with(&Spec::mainnet(), &overrides)
}

/// The proof of a case that gives its parts: data as a block repeated.
fn large_proof(case: &Case<'_>) -> Result<Bytes, String> {
    let data = case.inner("proof_data")?;
    let block = data.hex("block")?;
    let len = data.number("len")? as usize;
    let proof = ExecutionProof {
        proof_data: block.iter().copied().cycle().take(len).collect(),
        proof_type: case.number("proof_type")? as u8,
        public_input: PublicInput {
            new_payload_request_root: case.array("new_payload_request_root")?.into(),
        },
    };
    let ssz = proof.to_ssz_bytes();
    same_bytes(
        "hash of the encoding",
        &Sha256::digest(&ssz),
        &case.array::<32>("ssz_sha256")?,
    )?;
    Ok(ssz)
}

#[test]
fn own_containers() -> Result<(), Failure> {
    run("containers.json", |case| {
        let (name, spec) = (case.text("type")?, spec_of(&case)?);
        let root = Root::from(case.array("root")?);
        let ssz = match case.optional_ssz("ssz")? {
            Some(ssz) => ssz,
            None => large_proof(&case)?,
        };
        check_shape(name, ForkName::Fulu, &spec, spec.revision, &ssz, &root)?;
        if spec.revision == Revision::Beta {
            return check_type(name, &spec, &ssz, &root).map(|_| Outcome::Run);
        }
        let (encoded, ours) = by_type(name, &spec, &ssz).ok_or("no type of that name")??;
        same_bytes("encoding", &encoded, &ssz)?;
        same("root", &ours, &root)?;
        Ok(Outcome::Run)
    })
}

#[test]
fn own_signatures() -> Result<(), Failure> {
    run("signing.json", |case| {
        let domain = check_domain(&case, case.array("domain_type")?, 3)?;
        let proof = ExecutionProof::from_ssz_bytes(&case.ssz("proof_ssz")?).map_err(|e| e.to_string())?;
        let root = Spec::mainnet().execution_proof_root(Epoch(3), &proof);
        same("proof root", &root, &case.array("proof_root")?.into())?;
        let message = signing_root(&root, &domain);
        same("signing root", &message, &case.array("signing_root")?.into())?;
        check_signature(&case, &message, &SignatureBytes(case.array("signature")?))?;
        Ok(Outcome::Run)
    })
}

#[test]
fn own_digests() -> Result<(), Failure> {
    run("digests.json", |case| {
        let blobs = case.inner("blob_parameters")?;
        let blobs = match blobs.value().is_null() {
            true => None,
            false => Some(BlobParameters {
                epoch: Epoch(blobs.number("epoch")?),
                max_blobs_per_block: blobs.number("max_blobs_per_block")?,
            }),
        };
        let digest = compute_fork_digest(
            ForkVersion(case.array("fork_version")?),
            &case.array("genesis_validators_root")?.into(),
            blobs,
        );
        same("fork digest", &digest, &ForkDigest(case.array("fork_digest")?))?;
        let topic = execution_proof_topic(digest);
        same("topic", &topic.as_str(), &case.text("topic")?)?;
        let data = case.hex("data")?;
        same(
            "id if valid",
            &message_id_valid(&topic, &data),
            &case.array("message_id_if_valid_snappy")?,
        )?;
        same(
            "id if invalid",
            &message_id_invalid(&topic, &data),
            &case.array("message_id_if_invalid_snappy")?,
        )?;
        Ok(Outcome::Run)
    })
}
