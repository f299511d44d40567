//! Reference vectors (specs/conformance.toml) against this crate: shapes, roots, signatures, digests and message ids.

mod containers;
mod february;
mod network;
mod new_payload_request;
mod own;
mod own_blocks;
mod real_blocks;
mod signing;
mod upstream;

use assay_conformance::{Failure, Target};
use assay_types::{
    ForkName, Revision, Root, Spec,
    containers::{ContainerContext, UnknownContainer, lookup},
    spec::ConfigMap,
};

fn target() -> Result<Target, Failure> {
    Target::open(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_NAME"))
}

/// Every JSON file is some test's, every array in it too, and no word in it is unknown to all tests.
#[test]
fn guard() -> Result<(), Failure> {
    let spec = Spec::mainnet();
    let context = ContainerContext::new(ForkName::Gloas, &spec);
    target()?.guard(|name| !matches!(lookup(name, &context), Err(UnknownContainer::Name { .. })))
}

/// `base` with values of a network's config on top, as a user sets them.
fn spec_with(base: &Spec, overrides: &[(&str, &str)]) -> Result<Spec, String> {
    let overrides: ConfigMap = overrides
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).into()))
        .collect();
    Spec::from_config(&base.to_config(), &overrides).map_err(|e| e.to_string())
}

/// February's form of the Fulu-based texts (protocol.md section 1): a byte list, another limit and domain.
fn february() -> Result<Spec, String> {
    spec_with(
        &Spec::mainnet(),
        &[
            ("MAX_PROOF_SIZE", "307200"),
            ("PROOF_DATA_FORM", "bytelist"),
            ("DOMAIN_EXECUTION_PROOF", "0x0d000000"),
        ],
    )
}

/// A network on which `version` is in force from `epoch` on and `before` ahead of it.
fn spec_at(before: &str, version: &str, epoch: u64) -> Result<Spec, String> {
    let epoch = epoch.to_string();
    let overrides = [
        ("ALTAIR_FORK_EPOCH", "0"),
        ("BELLATRIX_FORK_EPOCH", "0"),
        ("CAPELLA_FORK_EPOCH", "0"),
        ("DENEB_FORK_EPOCH", "0"),
        ("ELECTRA_FORK_EPOCH", "0"),
        ("FULU_FORK_EPOCH", "0"),
        ("FULU_FORK_VERSION", before),
        ("GLOAS_FORK_EPOCH", &epoch),
        ("GLOAS_FORK_VERSION", version),
    ];
    spec_with(&Spec::mainnet(), &overrides)
}

/// The shape's root and re-encoding of `bytes`: through the schema, and through JSON and back.
fn check_shape(
    name: &str,
    fork: ForkName,
    spec: &Spec,
    revision: Revision,
    bytes: &[u8],
    root: &Root,
) -> Result<(), String> {
    let context = ContainerContext::with_revision(fork, spec, revision);
    let schema = lookup(name, &context).map_err(|e| e.to_string())?;
    let view = schema.view(bytes).map_err(|e| e.to_string())?;
    same("root by shape", &view.hash_tree_root(), root)?;
    let encoded = schema
        .encode_json(&view.to_json())
        .map_err(|e| format!("its own JSON: {e}"))?;
    same_bytes("through JSON and back", &encoded, bytes)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, ours: &T, theirs: &T) -> Result<(), String> {
    if ours == theirs {
        Ok(())
    } else {
        Err(format!("{what}: {ours:?}, not {theirs:?}"))
    }
}

/// As `same`, without printing megabytes.
fn same_bytes(what: &str, ours: &[u8], theirs: &[u8]) -> Result<(), String> {
    if ours == theirs {
        return Ok(());
    }
    let at = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
    Err(format!(
        "{what}: {} bytes against {}, the same up to byte {at}",
        ours.len(),
        theirs.len()
    ))
}
