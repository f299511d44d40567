//! The Fulu-based form of February 2026, by values of `Spec` alone.

use crate::{
    check_shape, february, same, same_bytes,
    signing::{check_domain, check_signature},
    spec_with, target,
};
use assay_conformance::{Failure, Outcome};
use assay_types::{
    Epoch, ExecutionProof, ForkDigest, ForkName, ForkVersion, Revision, Root, SignatureBytes,
    SignedExecutionProof, Spec, digest::compute_fork_digest, signing::signing_root, spec::ProofDataForm,
};

/// An epoch of Fulu at which the form is judged.
const EPOCH: u64 = 420_000;

#[test]
fn february_static() -> Result<(), Failure> {
    target()?.run("february_static", |file| {
        file.cases("cases", |case| {
            let spec = february()?;
            let form = spec.proof_data_form(Revision::Alpha);
            let ssz = case.ssz("execution_proof_ssz")?;
            let signed_ssz = case.ssz("signed_ssz")?;
            let signed = SignedExecutionProof::from_ssz_bytes_in_form(&signed_ssz, &spec, form)
                .map_err(|e| e.to_string())?;
            same_bytes("encoding", &signed.to_ssz_bytes(), &signed_ssz)?;
            same_bytes("encoding of the message", &signed.message.to_ssz_bytes(), &ssz)?;
            let len = signed.message.proof_data.len() as u64;
            same("proof_data_len", &len, &case.number("proof_data_len")?)?;

            let root = Root::from(case.array("execution_proof_root")?);
            same(
                "proof root",
                &spec.execution_proof_root(Epoch(EPOCH), &signed.message),
                &root,
            )?;
            check_shape(
                "ExecutionProof",
                ForkName::Fulu,
                &spec,
                Revision::Alpha,
                &ssz,
                &root,
            )?;
            let signed_root = Root::from(case.array("signed_root")?);
            same("signed root", &signed.hash_tree_root(&spec, form), &signed_root)?;
            check_shape(
                "SignedExecutionProof",
                ForkName::Fulu,
                &spec,
                Revision::Alpha,
                &signed_ssz,
                &signed_root,
            )?;

            // The limit is part of the root.
            let by_limit = case.inner("execution_proof_root_by_MAX_PROOF_SIZE")?;
            for limit in by_limit.value().as_object().ok_or("no roots by limit")?.keys() {
                let spec = spec_with(&spec, &[("MAX_PROOF_SIZE", limit)])?;
                let root = spec.execution_proof_root(Epoch(EPOCH), &signed.message);
                same(
                    &format!("root with limit {limit}"),
                    &root,
                    &by_limit.array(limit)?.into(),
                )?;
            }
            Ok(Outcome::Run)
        })
    })
}

#[test]
fn february_signing() -> Result<(), Failure> {
    target()?.run("february_signing", |file| {
        file.cases("fork_digests_mainnet", |case| {
            let (epoch, version) = (Epoch(case.number("epoch")?), case.text("fork_version")?);
            let mut spec = Spec::mainnet();
            let genesis = mainnet_genesis_validators_root()?;
            let digest = ForkDigest(case.array("fork_digest")?);
            if spec.fork_version_at_epoch(epoch).to_string() != version {
                // A feature's own fork, behind all others; "never" is no epoch at which anything is in force.
                let first = epoch.0.min(u64::MAX - 1).to_string();
                spec = spec_with(
                    &spec,
                    &[("GLOAS_FORK_VERSION", version), ("GLOAS_FORK_EPOCH", &first)],
                )?;
            }
            same(
                "fork version",
                &spec.fork_version_at_epoch(epoch).to_string().as_str(),
                &version,
            )?;
            same("fork digest", &spec.fork_digest(&genesis, epoch), &digest)?;
            let by_fields = compute_fork_digest(
                ForkVersion(case.array("fork_version")?),
                &genesis,
                Some(spec.blob_parameters(epoch)),
            );
            same("fork digest of the fields", &by_fields, &digest)?;
            Ok(Outcome::Run)
        })?;
        file.cases("cases", |case| {
            let spec = february()?;
            let domain_type = case.array("domain_type")?;
            same("domain type", &spec.domain_execution_proof, &domain_type)?;
            let domain = check_domain(&case, domain_type, EPOCH)?;
            let proof = ExecutionProof::from_ssz_bytes(&case.ssz("proof_ssz")?).map_err(|e| e.to_string())?;
            let root = proof.hash_tree_root(&spec, ProofDataForm::ByteList);
            same("proof root", &root, &case.array("proof_root")?.into())?;
            let message = signing_root(&root, &domain);
            same("signing root", &message, &case.array("signing_root")?.into())?;
            check_signature(&case, &message, &SignatureBytes(case.array("signature")?))?;
            Ok(Outcome::Run)
        })
    })
}

fn mainnet_genesis_validators_root() -> Result<Root, String> {
    "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"
        .parse()
        .map_err(|e| format!("{e}"))
}
