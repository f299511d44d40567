//! What goes, and when: orphaned payloads at finality, slots out of retention, the oldest beyond `--max-db-size`.
//!
//! Never inside the serve range (protocol.md section 5: from the first slot of the finalized epoch on), orphans
//! excepted. Done in steps, so that a proof waiting to be stored never waits for a long prune.

use crate::{
    config::StoreConfig,
    error::TxResult,
    index::{self, Gaps},
    offline::{PruneLimits, Removed},
    record::{self, RecordKey, header_revision},
    tables::{Marks, Tables, be_u64},
};
use assay_chain::Checkpoint;
use assay_types::{Revision, Root, Slot};
use redb::ReadableTable;
use std::collections::{BTreeMap, VecDeque};

/// Most proofs removed in one step.
pub(crate) const STEP_PROOFS: usize = 32;
/// Most blocks removed in one step.
const STEP_BLOCKS: usize = 512;

/// Pruning under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pruning {
    /// What proofs name that finality cut off, payloads and blocks, with their slots.
    orphans: VecDeque<(u64, Root)>,
    /// Whether finality moved, or a step left something.
    pub(crate) has_work: bool,
    /// Whether the log was told that the limit cannot be kept.
    over_limit_told: bool,
}

impl Pruning {
    /// Before the first commit: pruning may have been cut short, or the limits changed.
    pub(crate) fn at_start() -> Self {
        Self {
            has_work: true,
            ..Self::default()
        }
    }
}

/// Finality moved: sets the marks and finds the orphans. Finality never moves back.
pub(crate) fn on_finalized(
    tables: &mut Tables<'_>,
    gaps: &mut Gaps,
    marks: &mut Marks,
    pruning: &mut Pruning,
    config: &StoreConfig,
    (checkpoint, slot, orphaned): (&Checkpoint, Slot, &[Root]),
) -> TxResult<()> {
    let serve_range_start = config.start_slot(checkpoint.epoch).0;
    if serve_range_start < marks.serve_range_start || slot.0 < marks.finalized_slot {
        return Ok(());
    }
    // A finalized block is canonical whatever the last head was.
    if let Some(row) = index::row(tables, &checkpoint.root)? {
        index::adopt(tables, gaps, checkpoint.root, row)?;
    }
    let chain = linked(tables, &checkpoint.root, marks.finalized_slot)?;
    for root in orphaned {
        let is_on_chain = chain.values().any(|(_, payload)| payload.as_ref() == Some(root));
        let at = tables.payloads.get(&root.0)?.map(|at| at.value());
        if let (Some(at), false) = (at, is_on_chain) {
            pruning.orphans.push_back((at, *root));
            // Proofs of `beta` name its blocks.
            let blocks = bound_to(tables, at, root)?;
            pruning
                .orphans
                .extend(blocks.into_iter().map(|block| (at, block)));
        }
    }
    // What the chain view did not name: whatever of the finalized stretch is not on the chain.
    if let Some((first, _)) = chain.first_key_value() {
        let (first, last) = (Slot(*first), Slot(slot.0));
        let ((from, _), (_, to)) = (RecordKey::slot_bounds(first), RecordKey::slot_bounds(last));
        for entry in tables.proofs.range::<&[u8; 49]>(&from..=&to)? {
            let (key, header) = entry?;
            let (key, revision) = (
                RecordKey::from_bytes(key.value()),
                header_revision(header.value()),
            );
            let is_orphan = match (chain.get(&key.slot.0), revision) {
                // A skipped slot: nothing of it is canonical.
                (None, _) => true,
                (Some((block, _)), Revision::Beta) => *block != key.root,
                // A block whose payload is not known yet (Gloas) may turn out to be this one.
                (Some((_, None)), Revision::Alpha) => false,
                (Some((_, Some(payload))), Revision::Alpha) => *payload != key.root,
            };
            let orphan = (key.slot.0, key.root);
            if is_orphan && pruning.orphans.back() != Some(&orphan) {
                pruning.orphans.push_back(orphan);
            }
        }
    }
    marks.finalized_slot = slot.0;
    marks.serve_range_start = serve_range_start;
    // "Back to the finalized checkpoint": its block may be older than its epoch's first slot.
    let retained = config.retention_epochs.saturating_mul(config.slots_per_epoch);
    marks.cutoff = marks
        .cutoff
        .max(serve_range_start.min(slot.0).saturating_sub(retained));
    pruning.has_work = true;
    Ok(())
}

/// The finalized chain from `root` down to the block at or below `until` (the last finalized), or to a hole: slot →
/// block and payload.
fn linked(tables: &Tables<'_>, root: &Root, until: u64) -> TxResult<BTreeMap<u64, (Root, Option<Root>)>> {
    let mut chain = BTreeMap::new();
    let mut at = *root;
    while let Some(row) = index::row(tables, &at)? {
        if chain
            .first_key_value()
            .is_some_and(|(lowest, _)| row.slot >= *lowest)
        {
            break;
        }
        chain.insert(row.slot, (at, row.payload));
        if row.slot <= until {
            break;
        }
        at = row.parent;
    }
    Ok(chain)
}

/// Removes a bounded number of what has to go. Returns how many proofs it removed.
///
/// What is put from outside of the retention stays until finality moves again: what was acknowledged is there.
pub(crate) fn step(
    tables: &mut Tables<'_>,
    marks: &mut Marks,
    pruning: &mut Pruning,
    config: &StoreConfig,
) -> TxResult<u64> {
    let mut removed = 0;
    while removed < STEP_PROOFS {
        let next = match next_orphan(tables, pruning)? {
            Some(orphan) => Some(orphan),
            None => oldest_beyond(tables, marks, pruning, config)?,
        };
        let Some(key) = next else { break };
        remove_proof(tables, marks, key)?;
        removed += 1;
    }
    let blocks_left = remove_blocks_below(tables, marks.cutoff)?;
    let is_finished = removed < STEP_PROOFS && !blocks_left;
    if is_finished {
        tell_over_limit(marks, pruning, config);
    }
    pruning.has_work = !is_finished;
    Ok(removed as u64)
}

fn next_orphan(tables: &Tables<'_>, pruning: &mut Pruning) -> TxResult<Option<RecordKey>> {
    while let Some((slot, root)) = pruning.orphans.front() {
        let (first, last) = RecordKey::bounds(Slot(*slot), root, None);
        if let Some(entry) = tables.proofs.range::<&[u8; 49]>(&first..=&last)?.next() {
            return Ok(Some(RecordKey::from_bytes(entry?.0.value())));
        }
        pruning.orphans.pop_front();
    }
    Ok(None)
}

/// The oldest proof, if it is out of retention, or out of the serve range while there are too many bytes.
fn oldest_beyond(
    tables: &Tables<'_>,
    marks: &Marks,
    pruning: &Pruning,
    config: &StoreConfig,
) -> TxResult<Option<RecordKey>> {
    let Some(oldest) = tables
        .proofs
        .first()?
        .map(|(key, _)| RecordKey::from_bytes(key.value()))
    else {
        return Ok(None);
    };
    let is_out_of_retention = pruning.has_work && oldest.slot.0 < marks.cutoff;
    let is_over_limit = is_over_limit(marks, config);
    let may_go = oldest.slot.0 < marks.serve_range_start;
    Ok((is_out_of_retention || (is_over_limit && may_go)).then_some(oldest))
}

/// Whether a step would find something since proofs were added.
pub(crate) fn is_over_limit(marks: &Marks, config: &StoreConfig) -> bool {
    config.max_db_size.is_some_and(|max| marks.proof_bytes > max)
}

fn tell_over_limit(marks: &Marks, pruning: &mut Pruning, config: &StoreConfig) {
    let over = is_over_limit(marks, config);
    if over && !pruning.over_limit_told {
        tracing::warn!(
            bytes = marks.proof_bytes,
            max_db_size = config.max_db_size,
            serve_range_start = marks.serve_range_start,
            "the proofs that must be served are larger than --max-db-size; they are kept"
        );
    }
    pruning.over_limit_told = over;
}

/// Removes a bounded number of the oldest beyond `limits`, never of the serve range; what is below `limits.before` is not
/// kept from then on. Returns what went, and whether nothing is left to do.
pub(crate) fn offline_step(
    tables: &mut Tables<'_>,
    marks: &mut Marks,
    limits: PruneLimits,
) -> TxResult<(Removed, bool)> {
    let before = limits
        .before
        .map_or(0, |slot| slot.0.min(marks.serve_range_start));
    let (proofs, bytes) = (marks.proofs, marks.proof_bytes);
    let mut is_finished = false;
    for _ in 0..STEP_PROOFS {
        let oldest = tables
            .proofs
            .first()?
            .map(|(key, _)| RecordKey::from_bytes(key.value()));
        let goes = |key: &RecordKey| {
            let too_many = limits.max_bytes.is_some_and(|max| marks.proof_bytes > max);
            key.slot.0 < before || (too_many && key.slot.0 < marks.serve_range_start)
        };
        let Some(key) = oldest.filter(goes) else {
            is_finished = true;
            break;
        };
        remove_proof(tables, marks, key)?;
    }
    marks.cutoff = marks.cutoff.max(before);
    let blocks_left = remove_blocks_below(tables, marks.cutoff)?;
    let removed = Removed {
        proofs: proofs.saturating_sub(marks.proofs),
        bytes: bytes.saturating_sub(marks.proof_bytes),
    };
    Ok((removed, is_finished && !blocks_left))
}

/// Removes a proof, and its payload's entry where nothing else names it.
pub(crate) fn remove_proof(tables: &mut Tables<'_>, marks: &mut Marks, key: RecordKey) -> TxResult<()> {
    let (removed, bound) = record::remove(tables, key)?;
    if let Some(bytes) = removed {
        marks.proofs = marks.proofs.saturating_sub(1);
        marks.proof_bytes = marks.proof_bytes.saturating_sub(bytes);
    }
    if let Some(payload) = bound {
        forget_payload(tables, key.slot.0, &payload)?;
    }
    forget_payload(tables, key.slot.0, &key.root)
}

fn forget_payload(tables: &mut Tables<'_>, slot: u64, root: &Root) -> TxResult<()> {
    let (first, last) = RecordKey::bounds(Slot(slot), root, None);
    if tables.proofs.range::<&[u8; 49]>(&first..=&last)?.next().is_some() {
        return Ok(());
    }
    for block_root in index::blocks_at(tables, slot)? {
        if index::row(tables, &block_root)?.is_some_and(|row| row.payload.as_ref() == Some(root)) {
            return Ok(());
        }
    }
    if !bound_to(tables, slot, root)?.is_empty() {
        return Ok(());
    }
    tables.payloads.remove(&root.0)?;
    Ok(())
}

/// Blocks of a slot whose proofs were verified for this payload.
fn bound_to(tables: &Tables<'_>, slot: u64, payload: &Root) -> TxResult<Vec<Root>> {
    let mut blocks = Vec::new();
    let (first, last) = RecordKey::slot_bounds(Slot(slot));
    for entry in tables.bound.range::<&[u8; 49]>(&first..=&last)? {
        let (key, root) = entry?;
        if *root.value() == payload.0 {
            blocks.push(RecordKey::from_bytes(key.value()).root);
        }
    }
    blocks.dedup();
    Ok(blocks)
}

/// Returns whether more are left.
fn remove_blocks_below(tables: &mut Tables<'_>, cutoff: u64) -> TxResult<bool> {
    for _ in 0..STEP_BLOCKS {
        let Some(key) = tables.blocks_by_slot.first()?.map(|(key, _)| *key.value()) else {
            return Ok(false);
        };
        let slot = be_u64(&key[..8]);
        if slot >= cutoff {
            return Ok(false);
        }
        let mut root = [0; 32];
        root.copy_from_slice(&key[8..]);
        tables.blocks_by_slot.remove(&key)?;
        let payload = index::row(tables, &Root::from(root))?.and_then(|row| row.payload);
        tables.blocks.remove(&root)?;
        tables.canonical.remove(slot)?;
        if let Some(payload) = payload {
            forget_payload(tables, slot, &payload)?;
        }
    }
    Ok(true)
}
