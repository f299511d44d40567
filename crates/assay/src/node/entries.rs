//! What stands behind the numbers of proof types, kept beside the proofs: a restart with another key, guest or version under
//! the same number is found out.
//!
//! Proofs on disk were verified under what stood there then. Under another key they are proof of another statement, and the
//! gate would go on counting them: so the node does not start until the operator puts the entry back, gives the new program a
//! number of its own, or lets go of the old proofs by `assay db forget-type`. It is a command and no flag: a flag stays in the
//! settings and would let the next mistake through.

//!
//! Without proofs on disk the gate may still count some: those that came unsigned are kept by nobody else. They go before
//! the new entry is recorded, so a kill in between is made up for by the next start.

use crate::config::NodeConfig;
use anyhow::{Context, bail};
use assay_gate::{UnixMillis, forget_proof_types};
use assay_proof_engine::proof_types::{ProofTypeRecords, ProofTypes};
use assay_store::Store;
use assay_types::ProofType;

/// Proofs looked at in one go.
const PAGE: usize = 1024;

/// Holds the entries against what was kept, and keeps them.
///
/// # Errors
/// Where proofs are on disk that were verified under another entry of the same number.
pub(super) async fn keep(store: &Store, entries: &ProofTypes, config: &NodeConfig) -> anyhow::Result<()> {
    let datadir = config.datadir.display();
    let mut before = match store.node_value(ProofTypeRecords::NAME).await? {
        Some(bytes) => ProofTypeRecords::from_bytes(&bytes)
            .map_err(anyhow::Error::msg)
            .with_context(|| datadir.to_string())?,
        None => ProofTypeRecords::default(),
    };
    let now = config.records_of(entries)?;
    let kept = before.clone();
    let mut others = Vec::new();
    for (proof_type, differences) in before.differences(&now) {
        let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let what = all.join("; ");
        if has_proofs(store, proof_type).await? {
            bail!(
                "proof type {proof_type} has another entry than the proofs of it in {datadir} were verified under: {what}. They \
                 are no proof of what the number stands for now. Put the entry back as it was; or give the new program a number \
                 of its own; or remove these proofs, with the node stopped: `assay db forget-type {proof_type} --datadir \
                 {datadir}`"
            );
        }
        others.push((proof_type, what));
    }
    for (proof_type, what) in &others {
        let payloads = forget(store, *proof_type).await?;
        tracing::warn!(
            proof_type,
            differences = what,
            payloads,
            "this proof type has another entry than before; no proof of it is kept here, and those that the gate counted \
             for these payloads count no more"
        );
        before.0.remove(proof_type);
    }
    for (proof_type, difference) in before.other_judges(&now) {
        if has_proofs(store, proof_type).await? {
            tracing::warn!(
                proof_type,
                %difference,
                "the proofs of this type that are kept here were judged by others: the same number must stand for the same \
                 program there"
            );
        }
    }
    let updated = before.updated_with(now);
    if updated != kept {
        store
            .put_node_value(ProofTypeRecords::NAME, Some(updated.to_bytes()))
            .await?;
    }
    Ok(())
}

/// Proofs of the type count for nothing any more. For how many payloads one did.
async fn forget(store: &Store, proof_type: ProofType) -> anyhow::Result<usize> {
    let reader = store.clone();
    let records = tokio::task::spawn_blocking(move || reader.load_gate_records()).await??;
    let forgotten = forget_proof_types(records, &[proof_type], UnixMillis::now())?;
    if !forgotten.changes.is_empty() {
        store.put_gate_records(forgotten.changes).await?;
    }
    Ok(forgotten.payloads)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_proof_engine::proof_types::{Judge, ProofTypeRecord};
    use assay_store::{Editor, KeptAs, RecordKey, StoreConfig};
    use assay_types::{Root, Slot, Spec};

    const KEY: &str = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    /// Starts where a verifier in this process judged type 5 under a key; what is recorded then, or why it does not start.
    async fn started(
        endpoint: &str,
        definitions: &[&str],
        with_proof: bool,
    ) -> Result<ProofTypeRecord, String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("proofs.redb");
        let store_config = StoreConfig::new(&Spec::minimal(), Root::default());
        let record = ProofTypeRecord {
            key_sha256: Some(KEY.parse().unwrap()),
            judged_by: [Judge::Native].into(),
            ..ProofTypeRecord::default()
        };
        let records = ProofTypeRecords([(5, record)].into());
        let editor = Editor::create(&path, &store_config.identity).unwrap();
        editor
            .put_node_value(ProofTypeRecords::NAME, Some(&records.to_bytes()))
            .unwrap();
        if with_proof {
            let key = RecordKey {
                slot: Slot(1),
                root: Root::from([1; 32]),
                proof_type: 5,
                validator_index: 1,
            };
            editor
                .take_proofs(&[(key, KeptAs::Alpha, vec![0; 300].into())])
                .unwrap();
        }
        drop(editor);
        let config = NodeConfig {
            datadir: home.path().to_owned(),
            proof_types: vec![5],
            proof_engine_endpoint: vec![endpoint.to_owned()],
            proof_type: definitions.iter().map(|line| line.parse().unwrap()).collect(),
            ..NodeConfig::default()
        };
        let entries = config.provisional_entries().unwrap();
        let store = Store::open(path, store_config).unwrap();
        keep(&store, &entries, &config)
            .await
            .map_err(|error| error.to_string())?;
        let kept = store.node_value(ProofTypeRecords::NAME).await.unwrap().unwrap();
        Ok(ProofTypeRecords::from_bytes(&kept).unwrap().0[&5].clone())
    }

    #[tokio::test]
    async fn another_judge_says_the_key_or_the_node_does_not_start_on_what_the_first_one_judged() {
        let same_key = format!("5:sha256={KEY}");
        for endpoint in ["http://a:3000", "engine+http://a:3000"] {
            let why = started(endpoint, &[], true).await.unwrap_err();
            for says in [
                "who judges its proofs was a verifier in this process",
                KEY,
                "assay db forget-type 5",
            ] {
                assert!(why.contains(says), "{says}: {why}");
            }
            // Nothing is kept that it judged: the new one's entry begins.
            let kept = started(endpoint, &[], false).await.unwrap();
            assert_eq!(kept.key_sha256, None);
            // The key that it judges by is said to be the same.
            let kept = started(endpoint, &[&same_key], true).await.unwrap();
            assert!(!kept.judged_by.contains(&Judge::Native), "{kept:?}");
            assert_eq!(kept.key_sha256, Some(KEY.parse().unwrap()));
        }
    }
}
