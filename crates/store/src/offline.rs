//! A database that no node has open, for those who look after it: what it holds, read without changing a byte of it, and
//! the few changes that do no harm.
//!
//! `Offline` shares the file with other readers and refuses where a node has it. `Editor` has it alone. What an `Editor`
//! takes in was not verified here: its caller answers for that.

use crate::{
    check::{self, Findings},
    config::ChainIdentity,
    error::{StoreError, TxResult},
    index::{self, BlockRow, BlockUpdate, StoredBlock},
    open,
    prune::{self, STEP_PROOFS},
    reader::Reader,
    record::{KeptAs, MAX_RECORD_BYTES, RecordKey},
    store::PutOutcome,
    tables::{BLOCKS, BLOCKS_BY_SLOT, CANONICAL, CONTAINED, GATE, Marks, Tables, be_u64, meta},
    writer::{self, State},
};
use assay_types::{Root, Slot, ValidatorIndex};
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::{path::Path, sync::Arc};

/// What a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its schema.
    pub schema_version: u32,
    /// The chain it is of.
    pub identity: ChainIdentity,
    /// Slot of the finalized checkpoint's block, as the node knew it.
    pub finalized_slot: Slot,
    /// First slot of what peers are served; nothing from here on is ever pruned for room.
    pub serve_range_start: Slot,
    /// Nothing below this slot is kept.
    pub kept_from: Slot,
    /// Blocks of the index.
    pub blocks: u64,
    /// Slots that have a canonical block.
    pub canonical_blocks: u64,
    /// The newest of them.
    pub newest_canonical_slot: Option<Slot>,
    /// Validators contained for an invalid proof, and until which slot.
    pub contained: Vec<(ValidatorIndex, Slot)>,
    /// The gate's records: what was answered VALID.
    pub gate_records: u64,
}

/// A database, to be read.
pub struct Offline {
    reader: Reader,
    identity: ChainIdentity,
}

impl Offline {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Each says what the user can do: a node has it, a newer schema, damage, no access.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (shared, identity) = open::open_reading(path)?;
        let reader = Reader {
            shared: Arc::new(shared),
        };
        Ok(Self { reader, identity })
    }

    /// The chain it is of.
    pub fn identity(&self) -> &ChainIdentity {
        &self.identity
    }

    /// What is in it.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What it says of itself.
    pub fn summary(&self) -> Result<Summary, StoreError> {
        self.reader.shared.read(|tx| summary(tx, &self.identity))
    }

    /// Blocks of the index after this slot and root (from the oldest where `None`), at most `limit`.
    pub fn blocks(&self, after: Option<(Slot, Root)>, limit: usize) -> Result<Vec<StoredBlock>, StoreError> {
        self.reader.shared.read(|tx| blocks(tx, after, limit))
    }

    /// Reads everything and says what is wrong. `progress` is told of the proofs looked at, and how many there are.
    pub fn check(&self, progress: impl FnMut(u64, u64)) -> Result<Findings, StoreError> {
        let mut findings = self.reader.shared.read(|tx| check::check(tx, progress))?;
        // What hangs together may still not be what was written: the gate's records, the payload that a block names. The
        // pages' own checksums tell that, though not where.
        if findings.count == 0 {
            match self.reader.shared.is_whole() {
                Ok(true) => {}
                Ok(false) => findings.pages_differ(),
                Err(StoreError::Corrupted { .. }) => findings.pages_differ(),
                Err(other) => return Err(other),
            }
        }
        Ok(findings)
    }
}

fn summary(tx: &ReadTransaction, identity: &ChainIdentity) -> TxResult<Summary> {
    let marks = Marks::of(tx)?;
    let canonical = tx.open_table(CANONICAL)?;
    let mut contained = Vec::new();
    for entry in tx.open_table(CONTAINED)?.iter()?.take(crate::MAX_CONTAINED) {
        let (validator, until) = entry?;
        contained.push((validator.value(), Slot(until.value())));
    }
    Ok(Summary {
        schema_version: open::schema_version(tx)?,
        identity: identity.clone(),
        finalized_slot: Slot(marks.finalized_slot),
        serve_range_start: Slot(marks.serve_range_start),
        kept_from: Slot(marks.cutoff),
        blocks: tx.open_table(BLOCKS)?.len()?,
        canonical_blocks: canonical.len()?,
        newest_canonical_slot: canonical.last()?.map(|(slot, _)| Slot(slot.value())),
        contained,
        gate_records: tx.open_table(GATE)?.len()?,
    })
}

fn blocks(tx: &ReadTransaction, after: Option<(Slot, Root)>, limit: usize) -> TxResult<Vec<StoredBlock>> {
    use std::ops::Bound::{Excluded, Unbounded};
    let after = after.map(|(slot, root)| crate::tables::slot_root(slot.0, &root.0));
    let from = after.as_ref().map_or(Unbounded, Excluded);
    let (rows, canonical) = (tx.open_table(BLOCKS)?, tx.open_table(CANONICAL)?);
    let mut found = Vec::new();
    for entry in tx
        .open_table(BLOCKS_BY_SLOT)?
        .range::<&[u8; 40]>((from, Unbounded))?
        .take(limit)
    {
        let (key, ()) = entry.map(|(key, _)| (key, ()))?;
        let mut root = [0; 32];
        root.copy_from_slice(&key.value()[8..]);
        let slot = be_u64(&key.value()[..8]);
        let Some(row) = rows.get(&root)?.map(|bytes| BlockRow::from_bytes(bytes.value())) else {
            continue;
        };
        let is_canonical = canonical.get(slot)?.is_some_and(|at| *at.value() == root);
        found.push(StoredBlock {
            block_root: Root::from(root),
            parent_root: row.parent,
            slot: Slot(slot),
            new_payload_request_root: row.payload,
            is_canonical,
        });
    }
    Ok(found)
}

/// What pruning removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Proofs.
    pub proofs: u64,
    /// Their SSZ bytes.
    pub bytes: u64,
}

/// What to prune.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneLimits {
    /// Proofs and blocks of earlier slots go.
    pub before: Option<Slot>,
    /// The oldest proofs go while there are more SSZ bytes than this.
    pub max_bytes: Option<u64>,
}

/// A database that this process alone has open, to be changed.
pub struct Editor {
    shared: Arc<crate::shared::Shared>,
    identity: ChainIdentity,
}

impl Editor {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// As `Offline::open`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (shared, identity) = open::open_exclusive(path)?;
        Ok(Self {
            shared: Arc::new(shared),
            identity,
        })
    }

    /// Makes an empty database of this chain at `path`, where none is, and opens it.
    ///
    /// # Errors
    /// As `open`, and where a file is there already.
    pub fn create(path: &Path, identity: &ChainIdentity) -> Result<Self, StoreError> {
        open::create(path, identity)?;
        Self::open(path)
    }

    /// The chain it is of.
    pub fn identity(&self) -> &ChainIdentity {
        &self.identity
    }

    /// What is in it.
    pub fn reader(&self) -> Reader {
        let shared = Arc::clone(&self.shared);
        Reader { shared }
    }

    /// A block of the index.
    pub fn block(&self, block_root: &Root) -> Result<Option<StoredBlock>, StoreError> {
        self.reader().block(block_root)
    }

    /// One transaction, on disk when this returns.
    pub(crate) fn transaction<T>(
        &self,
        work: impl FnOnce(&mut Tables<'_>, &mut State) -> TxResult<T>,
    ) -> Result<T, StoreError> {
        self.shared.with(|database| {
            let mut tx = database.begin_write()?;
            tx.set_quick_repair(true);
            tx.set_durability(redb::Durability::Immediate)?;
            let result = {
                let mut tables = Tables::open(&tx)?;
                let mut state = State {
                    marks: Marks::read(&tables.meta)?,
                    gaps: index::find_gaps(&tables)?,
                    ..State::default()
                };
                let result = work(&mut tables, &mut state)?;
                tables.meta.insert(meta::MARKS, &state.marks.to_bytes()[..])?;
                result
            };
            tx.commit()?;
            Ok(result)
        })
    }

    /// Removes the oldest proofs beyond the limits, never one of the serve range, in steps; `progress` is told what is gone
    /// after each.
    pub fn prune(
        &self,
        limits: PruneLimits,
        mut progress: impl FnMut(Removed),
    ) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        loop {
            let (step, is_finished) =
                self.transaction(|tables, state| prune::offline_step(tables, &mut state.marks, limits))?;
            removed.proofs += step.proofs;
            removed.bytes += step.bytes;
            progress(removed);
            if is_finished {
                return Ok(removed);
            }
        }
    }

    /// Takes in blocks of the index, oldest first; `head` becomes the head where there is no canonical block yet. Elsewhere
    /// what is canonical stays, but for what hangs on a block that was missing.
    pub fn take_blocks(&self, blocks: &[BlockUpdate], head: Option<Root>) -> Result<(), StoreError> {
        self.transaction(|tables, state| {
            let is_new = tables.canonical.is_empty()?;
            for block in blocks {
                index::on_block(tables, &mut state.gaps, state.marks.cutoff, block)?;
            }
            match head {
                Some(head) if is_new => index::on_head(tables, &mut state.gaps, &head),
                _ => Ok(()),
            }
        })
    }

    /// Takes in proofs that nobody verifies, in one commit: the caller answers for them. What became of each; `None`: its
    /// slot is below what is kept.
    pub fn take_proofs(
        &self,
        proofs: &[(RecordKey, KeptAs, Bytes)],
    ) -> Result<Vec<Option<PutOutcome>>, StoreError> {
        for (_, _, ssz) in proofs {
            crate::store::check_size("a proof", ssz.len(), MAX_RECORD_BYTES)?;
        }
        self.transaction(|tables, state| {
            let mut outcomes = Vec::with_capacity(proofs.len());
            for (key, kept_as, ssz) in proofs {
                let kept = key.slot.0 >= state.marks.cutoff;
                outcomes.push(match kept {
                    true => Some(writer::put(tables, state, *key, *kept_as, ssz)?),
                    false => None,
                });
            }
            Ok(outcomes)
        })
    }

    /// Removes what was found damaged and counts anew. Returns how many proofs went.
    pub fn repair(&self, findings: &Findings) -> Result<u64, StoreError> {
        let mut removed = 0;
        for keys in findings.damaged.chunks(STEP_PROOFS) {
            removed += self.transaction(|tables, state| {
                let before = state.marks.proofs;
                for key in keys {
                    prune::remove_proof(tables, &mut state.marks, *key)?;
                }
                Ok(before.saturating_sub(state.marks.proofs))
            })?;
        }
        self.transaction(|tables, state| check::recount(tables, &mut state.marks))?;
        Ok(removed)
    }

    /// Gives the room of what was removed back to the disk. May take as long as reading everything.
    pub fn compact(&self) -> Result<(), StoreError> {
        // It moves some pages at a time and says whether it found any.
        while self.shared.compact()? {}
        Ok(())
    }
}
