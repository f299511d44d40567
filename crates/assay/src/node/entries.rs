//! What stands behind the numbers of proof types, kept beside the proofs: a restart with another key, guest or version under
//! the same number is found out.
//!
//! Proofs on disk were verified under what stood there then. Under another key they are proof of another statement, and the
//! gate would go on counting them: so the node does not start until the operator puts the entry back, gives the new program a
//! number of its own, or lets go of the old proofs by `assay db forget-type`. It is a command and no flag: a flag stays in the
//! settings and would let the next mistake through.

use anyhow::{Context, bail};
use assay_proof_engine::proof_types::{ProofTypeRecords, ProofTypes};
use assay_store::Store;
use assay_types::ProofType;
use std::path::Path;

/// Proofs looked at in one go.
const PAGE: usize = 1024;

/// Holds the entries against what was kept, and keeps them.
///
/// # Errors
/// Where proofs are on disk that were verified under another entry of the same number.
pub(super) async fn keep(store: &Store, entries: &ProofTypes, datadir: &Path) -> anyhow::Result<()> {
    let mut before = match store.node_value(ProofTypeRecords::NAME).await? {
        Some(bytes) => ProofTypeRecords::from_bytes(&bytes)
            .map_err(anyhow::Error::msg)
            .with_context(|| datadir.display().to_string())?,
        None => ProofTypeRecords::default(),
    };
    let now = entries.records();
    let kept = before.clone();
    for (proof_type, differences) in before.differences(&now) {
        let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let what = all.join("; ");
        if has_proofs(store, proof_type).await? {
            bail!(
                "proof type {proof_type} has another entry than the proofs of it in {} were verified under: {what}. They are no \
                 proof of what the number stands for now. Put the entry back as it was; or give the new program a number of \
                 its own; or remove these proofs, with the node stopped: `assay db forget-type {proof_type} --datadir {}`",
                datadir.display(),
                datadir.display()
            );
        }
        tracing::warn!(
            proof_type,
            differences = what,
            "this proof type has another entry than before; no proof of it is kept here"
        );
        before.0.remove(&proof_type);
    }
    let updated = before.updated_with(now);
    if updated != kept {
        store
            .put_node_value(ProofTypeRecords::NAME, Some(updated.to_bytes()))
            .await?;
    }
    Ok(())
}

/// Whether a proof of the type is on disk. Looks at every key, so only where something is wrong.
async fn has_proofs(store: &Store, proof_type: ProofType) -> anyhow::Result<bool> {
    let mut after = None;
    loop {
        let page = store.list(after, PAGE).await?;
        if page.iter().any(|proof| proof.key.proof_type == proof_type) {
            return Ok(true);
        }
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.key),
            _ => return Ok(false),
        }
    }
}
