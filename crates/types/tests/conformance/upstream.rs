//! The containers of `beta`, in both forms of proof_data.

use crate::{
    check_shape, same, same_bytes,
    signing::{check_domain, check_signature},
    spec_with, target,
};
use assay_conformance::{Case, Failure, Outcome};
use assay_types::{
    Epoch, ForkName, Revision, Root, Spec, SszError,
    proof_beta::{ExecutionProof, ExecutionProofEnvelope, PublicInput, SignedExecutionProofEnvelope},
    signing::signing_root,
};
use bytes::Bytes;

/// An epoch of the fork that a signed case names.
const EPOCH: u64 = 450_000;

/// The container and form of proof_data that an array's name stands for: `PublicInput`, `ExecutionProof/progressive`,
/// `ExecutionProof/bytelist_<limit>`.
fn container_and_spec(array: &str) -> Result<(&str, Spec), String> {
    let (container, form) = array.split_once('/').unwrap_or((array, ""));
    let mainnet = spec_with(&Spec::mainnet(), &[("EIP8025_REVISION", "beta")])?;
    let spec = match form.split_once('_') {
        None if form.is_empty() => mainnet,
        None if form == "progressive" => spec_with(&mainnet, &[("PROOF_DATA_FORM", form)])?,
        Some(("bytelist", limit)) => spec_with(
            &mainnet,
            &[("PROOF_DATA_FORM", "bytelist"), ("MAX_PROOF_SIZE", limit)],
        )?,
        _ => return Err(format!("{array:?} is no form this test knows")),
    };
    Ok((container, spec))
}

#[test]
fn upstream_post_snapshot() -> Result<(), Failure> {
    target()?.run("upstream_post_snapshot", |file| {
        for array in file.arrays() {
            let (container, spec) = container_and_spec(&array)?;
            file.cases(&array, |case| {
                let (ssz, root) = (case.ssz("ssz")?, Root::from(case.array("root")?));
                check_shape(container, ForkName::Gloas, &spec, Revision::Beta, &ssz, &root)?;
                check_type(container, &spec, &ssz, &root)?;
                if container == "SignedExecutionProofEnvelope" {
                    check_signed(&spec, &case, &ssz)?;
                }
                Ok(Outcome::Run)
            })?;
        }
        Ok(())
    })
}

/// Through the Rust type of `beta`.
pub(crate) fn check_type(container: &str, spec: &Spec, ssz: &Bytes, root: &Root) -> Result<(), String> {
    let form = spec.proof_data_form(Revision::Beta);
    let text = |e: SszError| e.to_string();
    let (encoded, ours) = match container {
        "PublicInput" => {
            let value = PublicInput::from_ssz_bytes(ssz).map_err(text)?;
            (value.to_ssz_bytes().into(), value.hash_tree_root())
        }
        "ExecutionProof" => {
            let value = ExecutionProof::from_ssz_bytes(ssz).map_err(text)?;
            (value.to_ssz_bytes(), value.hash_tree_root(spec, form))
        }
        "ExecutionProofEnvelope" => {
            let value = ExecutionProofEnvelope::from_ssz_bytes(ssz).map_err(text)?;
            (value.to_ssz_bytes(), value.hash_tree_root(spec, form))
        }
        "SignedExecutionProofEnvelope" => {
            let value = SignedExecutionProofEnvelope::from_ssz_bytes(ssz).map_err(text)?;
            (value.to_ssz_bytes(), value.hash_tree_root(spec, form))
        }
        other => return Err(format!("{other} is no container of beta")),
    };
    same_bytes("encoding", &encoded, ssz)?;
    same("root", &ours, root)
}

fn check_signed(spec: &Spec, case: &Case<'_>, ssz: &Bytes) -> Result<(), String> {
    let value = SignedExecutionProofEnvelope::from_ssz_bytes(ssz).map_err(|e| e.to_string())?;
    let domain = check_domain(case, spec.domain_execution_proof, EPOCH)?;
    let root = spec.execution_proof_envelope_root(Epoch(EPOCH), &value.message);
    let message = signing_root(&root, &domain);
    same("signing root", &message, &case.array("signing_root")?.into())?;
    check_signature(case, &message, &value.signature)
}
