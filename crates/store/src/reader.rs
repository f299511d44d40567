//! Reading: every call sees the last commit, waits for no write, and holds nothing afterwards.

use crate::{
    error::{StoreError, TxResult},
    index::{BlockRow, StoredBlock},
    open,
    record::{self, Found, ProofPiece, RecordKey, StoredProof, header_len, header_revision},
    shared::Shared,
    store::StoredGateRecord,
    tables::{
        BLOCKS, BLOCKS_BY_SLOT, BOUND, BOUND_SINCE, CANONICAL, CHUNKS, GATE, Marks, NODE, PAYLOADS, PROOFS,
        slot_root,
    },
};
use assay_types::{ProofKey, ProofName, ProofType, Revision, Root, Slot};
use redb::{ReadTransaction, ReadableTable};
use std::sync::{Arc, atomic::Ordering};

/// Reads the store from a thread that may block. `Store` has the same for async callers.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

/// A proof without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofSummary {
    /// Where it is kept.
    pub key: RecordKey,
    /// The revision it is of.
    pub revision: Revision,
    /// Bytes of its SSZ.
    pub bytes: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStats {
    /// Proofs.
    pub proofs: u64,
    /// Their SSZ bytes; what `--max-db-size` bounds.
    pub proof_bytes: u64,
    /// Length of the database file. It grows in steps and keeps the room of removed proofs for new ones; what was never
    /// written takes no disk.
    pub file_bytes: u64,
    /// Slot of the oldest proof.
    pub oldest_slot: Option<Slot>,
    /// Slot of the newest proof.
    pub newest_slot: Option<Slot>,
    /// First slot of the proof serve range.
    pub serve_range_start: Slot,
    /// Damaged records found since start; each was removed and never served.
    pub corrupted: u64,
    /// Proofs pruned since start.
    pub pruned: u64,
    /// Whether the last write reached the disk.
    pub is_healthy: bool,
}

impl Reader {
    /// A proof of this payload and type, from whichever validator has the lowest index.
    pub fn get(&self, key: &ProofKey) -> Result<Option<StoredProof>, StoreError> {
        let keys = self.shared.read(|tx| {
            let keys = keys_of(tx, &key.new_payload_request_root, Some(key.proof_type))?;
            Ok(keys)
        })?;
        for key in keys {
            if let Some(proof) = self.read(&key)? {
                return Ok(Some(proof));
            }
        }
        Ok(None)
    }

    /// The proof under this key. A damaged one is reported, counted, and not there.
    pub fn read(&self, key: &RecordKey) -> Result<Option<StoredProof>, StoreError> {
        match self
            .shared
            .read(|tx| record::read(&tx.open_table(PROOFS)?, &tx.open_table(CHUNKS)?, *key))?
        {
            Found::Good(proof) => Ok(Some(proof)),
            Found::Absent => Ok(None),
            Found::Corrupt(why) => {
                self.shared.report_corrupt(*key, why);
                Ok(None)
            }
        }
    }

    /// As `read`, in pieces. What `take` got is the proof only where this is true; a damaged one is reported, counted, and
    /// not there.
    pub fn read_pieces(
        &self,
        key: &RecordKey,
        mut take: impl FnMut(ProofPiece<'_>),
    ) -> Result<bool, StoreError> {
        let found = self.shared.read(|tx| {
            let (proofs, chunks) = (tx.open_table(PROOFS)?, tx.open_table(CHUNKS)?);
            record::read_pieces(&proofs, &chunks, *key, &mut take)
        })?;
        Ok(match found {
            Found::Good(_) => true,
            Found::Absent => false,
            Found::Corrupt(why) => {
                self.shared.report_corrupt(*key, why);
                false
            }
        })
    }

    /// The proof under this key, without its bytes.
    pub fn summary(&self, key: &RecordKey) -> Result<Option<ProofSummary>, StoreError> {
        self.shared.read(|tx| {
            let proofs = tx.open_table(PROOFS)?;
            let header = proofs.get(&key.to_bytes())?;
            Ok(header.map(|header| ProofSummary {
                key: *key,
                revision: header_revision(header.value()),
                bytes: header_len(header.value()),
            }))
        })
    }

    /// Where the proofs of a payload are, of whichever revision: `alpha`'s first, each by type and validator index.
    pub fn keys_of(&self, new_payload_request_root: &Root) -> Result<Vec<RecordKey>, StoreError> {
        self.shared.read(|tx| keys_of(tx, new_payload_request_root, None))
    }

    /// Request root of the payload that a proof was verified as a proof of.
    pub fn payload_of(&self, key: &RecordKey) -> Result<Option<Root>, StoreError> {
        let Some(summary) = self.summary(key)? else {
            return Ok(None);
        };
        match summary.revision {
            Revision::Alpha => Ok(Some(key.root)),
            Revision::Beta => self.shared.read(|tx| bound_payload(tx, key)),
        }
    }

    /// Where the proofs of a block's payload are that are of this revision. A proof of `beta` that was verified when that
    /// payload had another request root is none of them.
    pub fn keys_of_block(
        &self,
        block: &StoredBlock,
        revision: Revision,
    ) -> Result<Vec<RecordKey>, StoreError> {
        let named = match revision {
            Revision::Alpha => block.new_payload_request_root,
            Revision::Beta => Some(block.block_root),
        };
        let Some(root) = named else {
            return Ok(Vec::new());
        };
        self.shared.read(|tx| {
            let mut keys = named_keys(tx, &root, None)?;
            if let (Revision::Beta, Some(payload)) = (revision, &block.new_payload_request_root) {
                retain_bound(tx, &mut keys, payload)?;
            }
            Ok(keys)
        })
    }

    /// The proofs of a block's payload that are of this revision.
    pub fn proofs_of_block(
        &self,
        block: &StoredBlock,
        revision: Revision,
    ) -> Result<Vec<StoredProof>, StoreError> {
        let mut proofs = Vec::new();
        for key in self.keys_of_block(block, revision)? {
            proofs.extend(self.read(&key)?);
        }
        Ok(proofs)
    }

    /// Whether a proof that goes by this name is kept as one of this payload.
    pub fn has_named(&self, name: &ProofName, new_payload_request_root: &Root) -> Result<bool, StoreError> {
        self.shared.read(|tx| {
            let mut keys = named_keys(tx, &name.root, Some(name.proof_type))?;
            match name.revision {
                Revision::Alpha => keys.retain(|key| key.root == *new_payload_request_root),
                Revision::Beta => retain_bound(tx, &mut keys, new_payload_request_root)?,
            }
            Ok(!keys.is_empty())
        })
    }

    /// The types a payload is proven by, ascending.
    pub fn proof_types_of(&self, new_payload_request_root: &Root) -> Result<Vec<ProofType>, StoreError> {
        let mut types: Vec<_> = self
            .keys_of(new_payload_request_root)?
            .iter()
            .map(|key| key.proof_type)
            .collect();
        types.sort_unstable();
        types.dedup();
        Ok(types)
    }

    /// Every proof of a payload: one of 4 MiB for each type and validator, so mind the memory.
    pub fn proofs_for(&self, new_payload_request_root: &Root) -> Result<Vec<StoredProof>, StoreError> {
        let mut proofs = Vec::new();
        for key in self.keys_of(new_payload_request_root)? {
            proofs.extend(self.read(&key)?);
        }
        Ok(proofs)
    }

    /// Whether a proof of this payload and type is kept.
    pub fn has_valid(&self, key: &ProofKey) -> Result<bool, StoreError> {
        self.shared
            .read(|tx| Ok(!keys_of(tx, &key.new_payload_request_root, Some(key.proof_type))?.is_empty()))
    }

    /// A block of the index.
    pub fn block(&self, block_root: &Root) -> Result<Option<StoredBlock>, StoreError> {
        self.shared.read(|tx| block(tx, block_root))
    }

    /// The canonical block of a slot.
    pub fn canonical_block_at(&self, slot: Slot) -> Result<Option<StoredBlock>, StoreError> {
        self.shared.read(|tx| {
            let root = tx
                .open_table(CANONICAL)?
                .get(slot.0)?
                .map(|root| Root::from(*root.value()));
            root.map_or(Ok(None), |root| block(tx, &root))
        })
    }

    /// The newest slot that has a canonical block.
    pub fn newest_canonical_slot(&self) -> Result<Option<Slot>, StoreError> {
        self.shared.read(|tx| {
            let table = tx.open_table(CANONICAL)?;
            let newest = table.last()?.map(|(slot, _)| Slot(slot.value()));
            Ok(newest)
        })
    }

    /// The first canonical block in `from..end`.
    pub fn next_canonical(&self, from: Slot, end: Slot) -> Result<Option<StoredBlock>, StoreError> {
        self.shared.read(|tx| {
            let table = tx.open_table(CANONICAL)?;
            let root = match table.range(from.0..end.0.max(from.0))?.next() {
                Some(entry) => Some(Root::from(*entry?.1.value())),
                None => None,
            };
            root.map_or(Ok(None), |root| block(tx, &root))
        })
    }

    /// Proofs after `after` (from the oldest where `None`), at most `limit`, without their bytes.
    pub fn list(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<ProofSummary>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.shared.read(|tx| {
            let after = after.map(|key| key.to_bytes());
            let from = after.as_ref().map_or(Unbounded, Excluded);
            let mut list = Vec::new();
            for entry in tx
                .open_table(PROOFS)?
                .range::<&[u8; 49]>((from, Unbounded))?
                .take(limit)
            {
                let (key, header) = entry?;
                list.push(ProofSummary {
                    key: RecordKey::from_bytes(key.value()),
                    revision: header_revision(header.value()),
                    bytes: header_len(header.value()),
                });
            }
            Ok(list)
        })
    }

    /// All of the gate's records.
    pub fn load_gate_records(&self) -> Result<Vec<StoredGateRecord>, StoreError> {
        self.shared.read(|tx| {
            let mut records = Vec::new();
            for entry in tx.open_table(GATE)?.iter()? {
                let (key, value) = entry?;
                records.push((*key.value(), value.value().to_vec()));
            }
            Ok(records)
        })
    }

    /// A small value of the node.
    pub fn node_value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.read(|tx| {
            Ok(tx
                .open_table(NODE)?
                .get(name)?
                .map(|value| value.value().to_vec()))
        })
    }

    /// What the store holds.
    pub fn stats(&self) -> Result<StoreStats, StoreError> {
        let file_bytes = std::fs::metadata(&self.shared.path).map_or(0, |m| m.len());
        self.shared.read(|tx| {
            let marks = Marks::of(tx)?;
            let proofs = tx.open_table(PROOFS)?;
            let oldest = proofs
                .first()?
                .map(|(key, _)| RecordKey::from_bytes(key.value()).slot);
            let newest = proofs
                .last()?
                .map(|(key, _)| RecordKey::from_bytes(key.value()).slot);
            Ok(StoreStats {
                proofs: marks.proofs,
                proof_bytes: marks.proof_bytes,
                file_bytes,
                oldest_slot: oldest,
                newest_slot: newest,
                serve_range_start: Slot(marks.serve_range_start),
                corrupted: self.shared.corrupted.load(Ordering::Relaxed),
                pruned: self.shared.pruned.load(Ordering::Relaxed),
                is_healthy: self.shared.is_healthy.load(Ordering::Relaxed),
            })
        })
    }
}

/// Keys of a payload's proofs: those that name it, and those that name a block and were verified as proofs of it.
fn keys_of(tx: &ReadTransaction, root: &Root, proof_type: Option<ProofType>) -> TxResult<Vec<RecordKey>> {
    let mut keys = named_keys(tx, root, proof_type)?;
    let Some(slot) = tx.open_table(PAYLOADS)?.get(&root.0)?.map(|slot| slot.value()) else {
        return Ok(keys);
    };
    if !is_bound(tx)? {
        return by_blocks(tx, slot, root, proof_type, keys);
    }
    let (first, last) = RecordKey::slot_bounds(Slot(slot));
    for entry in tx.open_table(BOUND)?.range::<&[u8; 49]>(&first..=&last)? {
        let (key, payload) = entry?;
        let key = RecordKey::from_bytes(key.value());
        if *payload.value() == root.0 && proof_type.is_none_or(|t| t == key.proof_type) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// Whether the request roots are there that proofs of `beta` were verified for: not in a database of an earlier schema that is
/// only read.
fn is_bound(tx: &ReadTransaction) -> TxResult<bool> {
    Ok(open::schema_version(tx)? >= BOUND_SINCE)
}

/// The payload that is recorded with a proof.
fn bound_payload(tx: &ReadTransaction, key: &RecordKey) -> TxResult<Option<Root>> {
    if !is_bound(tx)? {
        let row = tx
            .open_table(BLOCKS)?
            .get(&key.root.0)?
            .map(|row| BlockRow::from_bytes(row.value()));
        return Ok(row.and_then(|row| row.payload));
    }
    let bound = tx.open_table(BOUND)?;
    let payload = bound.get(&key.to_bytes())?;
    Ok(payload.map(|root| Root::from(*root.value())))
}

/// Leaves those that were verified as proofs of this payload.
fn retain_bound(tx: &ReadTransaction, keys: &mut Vec<RecordKey>, payload: &Root) -> TxResult<()> {
    let mut kept = Vec::with_capacity(keys.len());
    for key in keys.drain(..) {
        if bound_payload(tx, &key)?.as_ref() == Some(payload) {
            kept.push(key);
        }
    }
    *keys = kept;
    Ok(())
}

/// As schema 2 had it: the block that a proof names says which payload that is.
fn by_blocks(
    tx: &ReadTransaction,
    slot: u64,
    root: &Root,
    proof_type: Option<ProofType>,
    mut keys: Vec<RecordKey>,
) -> TxResult<Vec<RecordKey>> {
    let blocks = tx.open_table(BLOCKS)?;
    let (first, last) = (slot_root(slot, &[0; 32]), slot_root(slot, &[0xff; 32]));
    for entry in tx
        .open_table(BLOCKS_BY_SLOT)?
        .range::<&[u8; 40]>(&first..=&last)?
    {
        let mut block_root = [0; 32];
        block_root.copy_from_slice(&entry?.0.value()[8..]);
        let row = blocks
            .get(&block_root)?
            .map(|row| BlockRow::from_bytes(row.value()));
        if row.is_some_and(|row| row.payload == Some(*root)) {
            keys.extend(named_keys(tx, &Root::from(block_root), proof_type)?);
        }
    }
    Ok(keys)
}

/// Keys of the proofs that name this root.
fn named_keys(tx: &ReadTransaction, root: &Root, proof_type: Option<ProofType>) -> TxResult<Vec<RecordKey>> {
    let Some(slot) = tx
        .open_table(PAYLOADS)?
        .get(&root.0)?
        .map(|slot| Slot(slot.value()))
    else {
        return Ok(Vec::new());
    };
    let (first, last) = RecordKey::bounds(slot, root, proof_type);
    let mut keys = Vec::new();
    for entry in tx.open_table(PROOFS)?.range::<&[u8; 49]>(&first..=&last)? {
        keys.push(RecordKey::from_bytes(entry?.0.value()));
    }
    Ok(keys)
}

fn block(tx: &ReadTransaction, block_root: &Root) -> TxResult<Option<StoredBlock>> {
    let Some(row) = tx
        .open_table(BLOCKS)?
        .get(&block_root.0)?
        .map(|bytes| BlockRow::from_bytes(bytes.value()))
    else {
        return Ok(None);
    };
    let is_canonical = tx
        .open_table(CANONICAL)?
        .get(row.slot)?
        .is_some_and(|root| *root.value() == block_root.0);
    Ok(Some(StoredBlock {
        block_root: *block_root,
        parent_root: row.parent,
        slot: Slot(row.slot),
        new_payload_request_root: row.payload,
        is_canonical,
    }))
}
