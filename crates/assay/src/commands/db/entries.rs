//! What the numbers of proof types stand for: recorded in a database, and listed with an export.

use super::explained;
use anyhow::{Context, bail};
use assay_proof_engine::proof_types::{Difference, ProofTypeRecords};
use assay_store::{Editor, Reader};
use assay_types::ProofType;
use std::{collections::BTreeMap, path::Path};

/// What a database has recorded.
pub(super) fn recorded(reader: &Reader) -> anyhow::Result<ProofTypeRecords> {
    match reader.node_value(ProofTypeRecords::NAME).map_err(explained)? {
        Some(bytes) => ProofTypeRecords::from_bytes(&bytes)
            .map_err(anyhow::Error::msg)
            .context("its record of proof types"),
        None => Ok(ProofTypeRecords::default()),
    }
}

/// Records the entries that proofs of an export were verified under, before they come. What the database has recorded stays
/// as it is.
///
/// # Errors
/// Where it has recorded another entry: the proofs would be served, and counted, as proofs of something else.
pub(super) fn adopt(editor: &Editor, path: &Path, listed: ProofTypeRecords) -> anyhow::Result<()> {
    let here = recorded(&editor.reader())?;
    let all = contradictions(&here, &listed);
    if !all.is_empty() {
        let numbers = |separator: &str| {
            let all: Vec<String> = all.keys().map(ToString::to_string).collect();
            all.join(separator)
        };
        let texts: Vec<String> = all
            .iter()
            .map(|(proof_type, what)| format!("proof type {proof_type}: {what}"))
            .collect();
        bail!(
            "{} has other entries of proof types than the export (there it was, in the export it is): {}. Its proofs are no proof of \
             what the numbers stand for here. Export without them (`assay db export --proof-types`), import into a database of \
             its own, or let go of what is kept here first: `assay db forget-type {}`",
            path.display(),
            texts.join("; "),
            numbers(" ")
        );
    }
    let updated = listed.updated_with(here.clone());
    if updated != here {
        editor
            .put_node_value(ProofTypeRecords::NAME, Some(&updated.to_bytes()))
            .map_err(explained)?;
    }
    Ok(())
}

/// In either direction: which was there first says nothing about who is right.
fn contradictions(here: &ProofTypeRecords, listed: &ProofTypeRecords) -> BTreeMap<ProofType, String> {
    let back = listed.differences(here).into_iter().map(|(proof_type, all)| {
        let turned = all.into_iter().map(|Difference { part, was, is }| Difference {
            part,
            was: is,
            is: was,
        });
        (proof_type, turned.collect())
    });
    let both = back.chain(here.differences(listed));
    both.map(|(proof_type, all): (ProofType, Vec<Difference>)| {
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        (proof_type, texts.join("; "))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_proof_engine::proof_types::{Judge, ProofTypeRecord};
    use assay_types::Root;

    #[test]
    fn a_key_on_one_side_alone_contradicts_where_others_judge() {
        let record = |key: Option<u8>, judge: Judge| {
            let record = ProofTypeRecord {
                key_sha256: key.map(|byte| Root::from([byte; 32])),
                judged_by: [judge].into(),
                ..ProofTypeRecord::default()
            };
            ProofTypeRecords([(5, record)].into())
        };
        let (keyed, asked) = (record(Some(1), Judge::Native), record(None, Judge::ProofNode));
        for (here, listed, contradict) in [
            (&keyed, &asked, true),
            (&asked, &keyed, true),
            (&keyed, &keyed, false),
            (&keyed, &record(Some(1), Judge::ProofNode), false),
            (&keyed, &record(Some(2), Judge::Native), true),
            (&keyed, &ProofTypeRecords::default(), false),
        ] {
            assert_eq!(
                !contradictions(here, listed).is_empty(),
                contradict,
                "{here:?} {listed:?}"
            );
        }
    }
}
