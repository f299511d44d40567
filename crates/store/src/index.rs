//! Blocks, and which of them are canonical.
//!
//! Canonical is a property of this index, never of a proof: a reorg rewrites slots here and moves no proof. Blocks may
//! come in any order and with holes. Where the canonical chain hangs on a block that is not known, that hole is
//! remembered (`Gaps`) and closed when the block comes; what the index said below the hole stands until then.

use crate::{
    error::TxResult,
    tables::{BlockBytes, Tables, be_u64, slot_root},
};
use assay_chain::{BlockInfo, Checkpoint};
use assay_types::{Root, Slot};
use redb::ReadableTable;
use std::collections::{BTreeSet, HashMap};

/// A block, as far as the index keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockUpdate {
    /// `hash_tree_root(BeaconBlock)`.
    pub block_root: Root,
    /// Its parent.
    pub parent_root: Root,
    /// Its slot.
    pub slot: Slot,
    /// Its payload, once known.
    pub new_payload_request_root: Option<Root>,
}

impl From<&BlockInfo> for BlockUpdate {
    fn from(block: &BlockInfo) -> Self {
        Self {
            block_root: block.block_root,
            parent_root: block.parent_root,
            slot: block.slot,
            new_payload_request_root: block.new_payload_request_root,
        }
    }
}

/// What the chain did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainUpdate {
    /// A block became known, or its payload did.
    Block(BlockUpdate),
    /// The head is now this block; it and its ancestors are canonical.
    Head(BlockUpdate),
    /// Finality moved.
    Finalized {
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// Slot of its block.
        slot: Slot,
        /// Payloads of branches that finality cut off.
        orphaned: Vec<Root>,
    },
    /// Neither of these payloads belongs to a block any more.
    Conflict([Root; 2]),
}

/// A block of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlock {
    /// `hash_tree_root(BeaconBlock)`.
    pub block_root: Root,
    /// Its parent.
    pub parent_root: Root,
    /// Its slot.
    pub slot: Slot,
    /// Its payload, once known.
    pub new_payload_request_root: Option<Root>,
    /// Whether it is on the canonical chain, as far as that is known.
    pub is_canonical: bool,
}

/// The value of the `blocks` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockRow {
    pub(crate) slot: u64,
    pub(crate) parent: Root,
    pub(crate) payload: Option<Root>,
}

impl BlockRow {
    fn of(block: &BlockUpdate) -> Self {
        Self {
            slot: block.slot.0,
            parent: block.parent_root,
            payload: block.new_payload_request_root,
        }
    }

    fn to_bytes(self) -> BlockBytes {
        let mut bytes = [0; 73];
        bytes[..8].copy_from_slice(&self.slot.to_be_bytes());
        bytes[8..40].copy_from_slice(self.parent.as_slice());
        if let Some(payload) = self.payload {
            bytes[40] = 1;
            bytes[41..].copy_from_slice(payload.as_slice());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &BlockBytes) -> Self {
        let root = |at: usize| {
            let mut root = [0; 32];
            root.copy_from_slice(&bytes[at..at + 32]);
            Root::from(root)
        };
        Self {
            slot: be_u64(&bytes[..8]),
            parent: root(8),
            payload: (bytes[40] == 1).then(|| root(41)),
        }
    }
}

/// Unknown parents of canonical blocks, each with the children that hang on it (slot, root): below a hole the index may
/// still have a branch left long ago, with the same hole. In memory: rebuilt from the tables.
pub(crate) type Gaps = HashMap<Root, BTreeSet<(u64, Root)>>;

/// Most holes remembered before those of branches left are swept out.
const MAX_GAPS: usize = 1024;

/// Finds the holes of the canonical chain.
pub(crate) fn find_gaps(tables: &Tables<'_>) -> TxResult<Gaps> {
    let mut gaps = Gaps::new();
    for entry in tables.canonical.iter()? {
        let (slot, root) = entry?;
        let root = Root::from(*root.value());
        if let Some(row) = row(tables, &root)?
            && tables.blocks.get(&row.parent.0)?.is_none()
        {
            gaps.entry(row.parent).or_default().insert((slot.value(), root));
        }
    }
    Ok(gaps)
}

pub(crate) fn row(tables: &Tables<'_>, block_root: &Root) -> TxResult<Option<BlockRow>> {
    Ok(tables
        .blocks
        .get(&block_root.0)?
        .map(|bytes| BlockRow::from_bytes(bytes.value())))
}

fn canonical(tables: &Tables<'_>, slot: u64) -> TxResult<Option<Root>> {
    Ok(tables.canonical.get(slot)?.map(|root| Root::from(*root.value())))
}

/// Takes note of a block. Blocks below `cutoff` are not kept.
pub(crate) fn on_block(
    tables: &mut Tables<'_>,
    gaps: &mut Gaps,
    cutoff: u64,
    block: &BlockUpdate,
) -> TxResult<()> {
    if block.slot.0 < cutoff {
        return Ok(());
    }
    if let Some(payload) = &block.new_payload_request_root
        && tables.payloads.get(&payload.0)?.is_none()
    {
        tables.payloads.insert(&payload.0, block.slot.0)?;
    }
    let known = row(tables, &block.block_root)?;
    if let Some(known) = known {
        // A root names one block: only its payload can become known later.
        let payload = block.new_payload_request_root.or(known.payload);
        if payload != known.payload {
            if let (Some(was), Some(is)) = (known.payload, payload) {
                // What was verified for the other root is kept, and counts neither for this one nor as known.
                tracing::warn!(block_root = %block.block_root, slot = known.slot, %was, %is,
                    "a block's payload has another request root than before");
            }
            let merged = BlockRow { payload, ..known };
            tables.blocks.insert(&block.block_root.0, &merged.to_bytes())?;
        }
        return Ok(());
    }
    let new = BlockRow::of(block);
    tables.blocks.insert(&block.block_root.0, &new.to_bytes())?;
    tables
        .blocks_by_slot
        .insert(&slot_root(new.slot, &block.block_root.0), ())?;
    // The highest is the one that the head hangs on.
    for (child_slot, child) in gaps.remove(&block.block_root).into_iter().flatten().rev() {
        if new.slot < child_slot && canonical(tables, child_slot)? == Some(child) {
            clear(tables, new.slot + 1, child_slot)?;
            return adopt(tables, gaps, block.block_root, new);
        }
    }
    Ok(())
}

/// The head moved: it and its ancestors are canonical, nothing above it is.
pub(crate) fn on_head(tables: &mut Tables<'_>, gaps: &mut Gaps, head: &Root) -> TxResult<()> {
    let Some(row) = row(tables, head)? else {
        return Ok(());
    };
    tables
        .canonical
        .retain_in(row.slot.saturating_add(1).., |_, _| false)?;
    adopt(tables, gaps, *head, row)
}

/// Makes a block and its ancestors canonical, down to where they already are, or to a hole.
pub(crate) fn adopt(
    tables: &mut Tables<'_>,
    gaps: &mut Gaps,
    mut at: Root,
    mut block: BlockRow,
) -> TxResult<()> {
    loop {
        if canonical(tables, block.slot)? == Some(at) {
            return Ok(());
        }
        tables.canonical.insert(block.slot, &at.0)?;
        match row(tables, &block.parent)? {
            Some(parent) if parent.slot < block.slot => {
                clear(tables, parent.slot + 1, block.slot)?;
                (at, block) = (block.parent, parent);
            }
            Some(parent) => {
                tracing::error!(block_root = %at, slot = block.slot, parent_slot = parent.slot, "a block's parent is not older than the block");
                return Ok(());
            }
            None => {
                gaps.entry(block.parent).or_default().insert((block.slot, at));
                if gaps.len() > MAX_GAPS {
                    *gaps = find_gaps(tables)?;
                }
                return Ok(());
            }
        }
    }
}

/// Nothing is canonical in slots `from..to`.
fn clear(tables: &mut Tables<'_>, from: u64, to: u64) -> TxResult<()> {
    Ok(tables.canonical.retain_in(from..to, |_, _| false)?)
}

/// Takes two payloads from the blocks that name them.
pub(crate) fn on_conflict(tables: &mut Tables<'_>, roots: &[Root; 2]) -> TxResult<()> {
    for root in roots {
        let Some(slot) = tables.payloads.get(&root.0)?.map(|slot| slot.value()) else {
            continue;
        };
        for block_root in blocks_at(tables, slot)? {
            if let Some(row) = row(tables, &block_root)?
                && row.payload == Some(*root)
            {
                let without = BlockRow { payload: None, ..row };
                tables.blocks.insert(&block_root.0, &without.to_bytes())?;
            }
        }
    }
    Ok(())
}

/// Roots of the blocks of a slot.
pub(crate) fn blocks_at(tables: &Tables<'_>, slot: u64) -> TxResult<Vec<Root>> {
    let (first, last) = (slot_root(slot, &[0; 32]), slot_root(slot, &[0xff; 32]));
    let mut roots = Vec::new();
    for entry in tables.blocks_by_slot.range::<&[u8; 40]>(&first..=&last)? {
        let mut root = [0; 32];
        root.copy_from_slice(&entry?.0.value()[8..]);
        roots.push(Root::from(root));
    }
    Ok(roots)
}
