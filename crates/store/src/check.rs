//! Everything in a database read and held against the rest: what a disk, a copy or a fault of memory may have spoiled.

use crate::{
    error::TxResult,
    index::BlockRow,
    open,
    record::{self, Found, RecordKey, header_len, header_revision},
    tables::{
        BLOCKS, BLOCKS_BY_SLOT, BOUND, BOUND_SINCE, CANONICAL, CHUNKS, Marks, PAYLOADS, PROOFS, Tables,
        be_u64,
    },
};
use assay_types::{Revision, Root, Slot};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::collections::BTreeSet;

/// Texts of findings kept; the rest is counted.
pub const MAX_FINDINGS: usize = 1000;
/// Damaged proofs that one check names.
const MAX_DAMAGED: usize = 1 << 20;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Proofs looked at.
    pub proofs: u64,
    /// Their SSZ bytes.
    pub bytes: u64,
    /// Blocks looked at.
    pub blocks: u64,
    /// What is wrong, in words, the first `MAX_FINDINGS`.
    pub texts: Vec<String>,
    /// How much is wrong.
    pub count: u64,
    /// Proofs that are not what was written, or not what their key says: they are of no use.
    pub damaged: Vec<RecordKey>,
}

impl Findings {
    /// Bytes of the file are not those that were written, and nothing else was found.
    pub(crate) fn pages_differ(&mut self) {
        self.add(|| {
            "a page's checksum does not match what is in it: blocks, verdicts or indexes may not be those that were written"
                .to_owned()
        });
    }

    /// A proof that is of no use.
    fn damage(&mut self, key: RecordKey, why: &str) {
        self.add(|| format!("{}: {why}", shown(&key)));
        if self.damaged.len() < MAX_DAMAGED {
            self.damaged.push(key);
        }
    }

    fn add(&mut self, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.texts.len() < MAX_FINDINGS {
            self.texts.push(text());
        }
    }
}

fn shown(key: &RecordKey) -> String {
    format!(
        "proof of slot {}, of {}, type {}, validator {}",
        key.slot.0, key.root, key.proof_type, key.validator_index
    )
}

pub(crate) fn check(tx: &ReadTransaction, mut progress: impl FnMut(u64, u64)) -> TxResult<Findings> {
    let mut findings = Findings::default();
    let marks = Marks::of(tx)?;
    check_proofs(tx, &mut findings, &mut progress)?;
    check_chunks(tx, &mut findings)?;
    check_bound(tx, &mut findings)?;
    check_blocks(tx, &mut findings)?;
    if (marks.proofs, marks.proof_bytes) != (findings.proofs, findings.bytes) {
        let (proofs, bytes) = (findings.proofs, findings.bytes);
        findings.add(|| {
            format!(
                "it counts {} proofs of {} bytes and holds {proofs} of {bytes}",
                marks.proofs, marks.proof_bytes
            )
        });
    }
    Ok(findings)
}

fn check_proofs(
    tx: &ReadTransaction,
    findings: &mut Findings,
    progress: &mut impl FnMut(u64, u64),
) -> TxResult<()> {
    let (proofs, chunks, payloads) = (
        tx.open_table(PROOFS)?,
        tx.open_table(CHUNKS)?,
        tx.open_table(PAYLOADS)?,
    );
    let all = proofs.len()?;
    for entry in proofs.iter()? {
        let (key, header) = entry?;
        let key = RecordKey::from_bytes(key.value());
        findings.proofs += 1;
        findings.bytes = findings.bytes.saturating_add(header_len(header.value()));
        let why = match record::read(&proofs, &chunks, key)? {
            Found::Good(proof) => match proof.signed() {
                Err(error) => Some(format!("it is no signed proof: {error}")),
                Ok(signed) if signed.validator_index != key.validator_index => {
                    Some(format!("validator {} signed it", signed.validator_index))
                }
                Ok(signed)
                    if (signed.message.root, signed.message.proof_type) != (key.root, key.proof_type) =>
                {
                    Some("it is of another payload or type".to_owned())
                }
                Ok(_) => None,
            },
            Found::Corrupt(why) => Some(why.to_owned()),
            Found::Absent => Some("it went while it was read".to_owned()),
        };
        if let Some(why) = why {
            findings.damage(key, &why);
        } else if payloads.get(&key.root.0)?.map(|s| s.value()) != Some(key.slot.0) {
            findings.add(|| format!("{}: the index of payloads does not lead to it", shown(&key)));
        }
        progress(findings.proofs, all);
    }
    Ok(())
}

/// Chunks that no proof names: they take room and are never read.
fn check_chunks(tx: &ReadTransaction, findings: &mut Findings) -> TxResult<()> {
    let proofs = tx.open_table(PROOFS)?;
    let mut last = None;
    for entry in tx.open_table(CHUNKS)?.iter()? {
        let (key, _) = entry?;
        let mut proof = [0; 49];
        proof.copy_from_slice(&key.value()[..49]);
        if last.replace(proof) != Some(proof) && proofs.get(&proof)?.is_none() {
            let key = RecordKey::from_bytes(&proof);
            findings.damage(key, "bytes are left of it, it is not there");
        }
    }
    Ok(())
}

/// What proofs of `beta` were verified for: each has a payload, each payload a proof, and the index leads to it.
fn check_bound(tx: &ReadTransaction, findings: &mut Findings) -> TxResult<()> {
    if open::schema_version(tx)? < BOUND_SINCE {
        return Ok(());
    }
    let (proofs, bound, payloads) = (
        tx.open_table(PROOFS)?,
        tx.open_table(BOUND)?,
        tx.open_table(PAYLOADS)?,
    );
    for entry in proofs.iter()? {
        let (key, header) = entry?;
        if header_revision(header.value()) == Revision::Beta && bound.get(key.value())?.is_none() {
            let key = RecordKey::from_bytes(key.value());
            findings.damage(key, "nothing says which payload it was verified for");
        }
    }
    for entry in bound.iter()? {
        let (key, payload) = entry?;
        let of = proofs
            .get(key.value())?
            .map(|header| header_revision(header.value()));
        let key = RecordKey::from_bytes(key.value());
        if of != Some(Revision::Beta) {
            findings.damage(
                key,
                "a payload is recorded for it, and it is no envelope or not there",
            );
        } else if payloads.get(payload.value())?.map(|slot| slot.value()) != Some(key.slot.0) {
            findings.damage(
                key,
                "the index does not lead to it from the payload it was verified for",
            );
        }
    }
    Ok(())
}

fn check_blocks(tx: &ReadTransaction, findings: &mut Findings) -> TxResult<()> {
    let blocks = tx.open_table(BLOCKS)?;
    let mut by_slot = BTreeSet::new();
    for entry in tx.open_table(BLOCKS_BY_SLOT)?.iter()? {
        let (key, _) = entry?;
        let mut root = [0; 32];
        root.copy_from_slice(&key.value()[8..]);
        let slot = be_u64(&key.value()[..8]);
        findings.blocks += 1;
        by_slot.insert((slot, root));
        if blocks
            .get(&root)?
            .is_none_or(|row| BlockRow::from_bytes(row.value()).slot != slot)
        {
            let root = Root::from(root);
            findings.add(|| format!("block {root} of slot {slot} is not there, or of another slot"));
        }
    }
    if blocks.len()? != findings.blocks {
        let (all, seen) = (blocks.len()?, findings.blocks);
        findings.add(|| format!("{all} blocks are kept and {seen} can be found by slot"));
    }
    for entry in tx.open_table(CANONICAL)?.iter()? {
        let (slot, root) = entry?;
        let (slot, root) = (Slot(slot.value()), *root.value());
        if !by_slot.contains(&(slot.0, root)) {
            let root = Root::from(root);
            findings.add(|| format!("block {root}, canonical in slot {}, is not there", slot.0));
        }
    }
    Ok(())
}

/// Counts the proofs anew.
pub(crate) fn recount(tables: &mut Tables<'_>, marks: &mut Marks) -> TxResult<()> {
    let (mut proofs, mut bytes) = (0, 0_u64);
    for entry in tables.proofs.iter()? {
        proofs += 1;
        bytes = bytes.saturating_add(header_len(entry?.1.value()));
    }
    (marks.proofs, marks.proof_bytes) = (proofs, bytes);
    Ok(())
}
