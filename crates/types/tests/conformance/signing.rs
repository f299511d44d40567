//! Domains, signing roots, signatures; signatures that must not verify.

use crate::{same, spec_at, spec_with, target};
use assay_conformance::{Case, Failure, Outcome};
use assay_types::{
    Epoch, ExecutionProof, ForkVersion, PublicKey, PublicKeyBytes, Root, SecretKey, SignatureBytes, Spec,
    primitives::to_hex,
    signing::{compute_domain, fork_data_root, signing_root},
    spec::Genesis,
};

fn genesis_of(case: &Case<'_>) -> Result<Genesis, String> {
    Ok(Genesis {
        genesis_time: 0,
        genesis_validators_root: Root::from(case.array("genesis_validators_root")?),
    })
}

/// What a case's signature is over, checked on the way: by the functions, and through a `Spec` with the case's fork.
pub(crate) fn check_domain(case: &Case<'_>, domain_type: [u8; 4], epoch: u64) -> Result<[u8; 32], String> {
    let genesis = genesis_of(case)?;
    let version = ForkVersion(case.array("fork_version")?);
    let domain = case.array("domain")?;
    let root = genesis.genesis_validators_root;
    same("domain", &compute_domain(domain_type, version, &root), &domain)?;
    let spec = spec_at("0xabcdef01", &version.to_string(), epoch)?;
    let spec = spec_with(&spec, &[("DOMAIN_EXECUTION_PROOF", &to_hex(&domain_type))])?;
    same(
        "domain of the spec",
        &spec.execution_proof_domain(&genesis, Epoch(epoch)),
        &domain,
    )?;
    Ok(domain)
}

/// Key, public key and signature of a case over a signing root.
pub(crate) fn check_signature(
    case: &Case<'_>,
    message: &Root,
    signature: &SignatureBytes,
) -> Result<(), String> {
    let key = SecretKey::from_bytes(&case.hex("privkey")?).map_err(|e| e.to_string())?;
    let pubkey = PublicKeyBytes(case.array("pubkey")?);
    same("pubkey", &key.public_key().to_bytes(), &pubkey)?;
    same("signature", &key.sign(message), signature)?;
    let verified = verifies(&pubkey, message, signature);
    same("the signature verifies", &verified, &true)
}

fn verifies(pubkey: &PublicKeyBytes, message: &Root, signature: &SignatureBytes) -> bool {
    PublicKey::from_bytes(pubkey).is_ok_and(|key| key.verify(message, signature))
}

#[test]
fn signing() -> Result<(), Failure> {
    target()?.run("signing", |file| {
        file.cases("get_domain", |case| {
            let fork = case.inner("fork")?;
            let spec = spec_at(
                fork.text("previous_version")?,
                fork.text("current_version")?,
                fork.number("epoch")?,
            )?;
            let epoch = Epoch(case.number("epoch")?);
            let domain = spec.execution_proof_domain(&genesis_of(&case)?, epoch);
            same("domain", &domain, &case.array("domain")?)?;
            Ok(Outcome::Run)
        })?;
        file.cases("cases", |case| {
            let epoch = case.number("epoch")?;
            let version = ForkVersion(case.array("fork_version")?);
            if case.has("fork_data_root") {
                let root = fork_data_root(version, &genesis_of(&case)?.genesis_validators_root);
                same("fork data root", &root, &case.array("fork_data_root")?.into())?;
            }
            let domain = check_domain(&case, case.array("domain_type")?, epoch)?;
            let proof = ExecutionProof::from_ssz_bytes(&case.ssz("proof_ssz")?).map_err(|e| e.to_string())?;
            let root = Spec::mainnet().execution_proof_root(Epoch(epoch), &proof);
            same("proof root", &root, &case.array("proof_root")?.into())?;
            let message = signing_root(&root, &domain);
            same("signing root", &message, &case.array("signing_root")?.into())?;
            same("expected", &case.boolean("expected")?, &true)?;
            check_signature(&case, &message, &SignatureBytes(case.array("signature")?))?;
            Ok(Outcome::Run)
        })?;
        file.nested_cases("cases", "invalid", |parent, case| {
            same("expected", &case.boolean("expected")?, &false)?;
            // What an entry does not say is its parent's.
            let holder = |key| if case.has(key) { case } else { parent };
            let message = Root::from(holder("signing_root").array("signing_root")?);
            let pubkey = holder("pubkey").hex("pubkey")?;
            let signature = holder("signature").hex("signature")?;
            let verified = PublicKeyBytes::from_slice(&pubkey).and_then(|pubkey| {
                Ok(verifies(
                    &pubkey,
                    &message,
                    &SignatureBytes::from_slice(&signature)?,
                ))
            });
            match verified == Ok(true) {
                true => Err("it verifies".to_owned()),
                false => Ok(Outcome::Run),
            }
        })
    })
}
