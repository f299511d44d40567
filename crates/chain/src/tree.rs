//! The block tree as a state machine without I/O: blocks, payloads, head and finality in; views and `ChainEvent`s out.
//!
//! Two sources tell of payloads: the Engine API before a block is imported, the Beacon API with the block (Gloas: its
//! envelope). A payload and the blocks that name it meet over the execution block hash, in whichever order they come, so
//! the view does not depend on the order of the messages.
//!
//! One hash belongs to one request root. When two roots are told for a hash, at least one source (or one of our own
//! conversions) is wrong, and nothing here can say which. The hash is then *contested* until it is pruned: both payloads
//! stay known, so that proofs that name them are judged by their own root (design.md, gate rule 5), but neither belongs
//! to a block, neither is canonical, and neither is reported as orphaned, because what must be deleted is as unknown as
//! what must be served. Every such case is an event and is counted.
//!
//! | file | what it holds |
//! |---|---|
//! | `tree` | the data, its bounds, and what can be asked |
//! | `tree/insert` | taking in blocks and payloads, and the bounds at work |
//! | `tree/canonical` | the head, the canonical chain, and which Gloas payloads it takes |
//! | `tree/finality` | finality: what it keeps, cuts off and reports |

mod canonical;
mod finality;
mod insert;

use crate::view::{BlockInfo, ChainEvent, Checkpoint, PayloadInfo, PayloadSource};
use assay_types::{BlockHash, ForkName, Root, Slot};
use std::collections::{BTreeMap, HashMap};

/// Blocks kept at most (about 45 MB): nine days of mainnet without finality. Beyond it the oldest are forgotten and the
/// lowest that is left becomes the floor; nothing forgotten so is called orphaned.
pub const MAX_BLOCKS: usize = 65_536;
/// Payloads of the Engine API kept at most while no block that names them has come; the oldest told go first.
pub const MAX_UNLINKED_PAYLOADS: usize = 4096;
/// Request roots kept at most for one contested block hash; more are refused and counted.
pub const MAX_ROOTS_PER_HASH: usize = 4;
/// Epochs of finalized chain that stay readable behind the finalized block, for whoever indexes it on `Finalized`.
pub const FINALIZED_HISTORY_EPOCHS: u64 = 4;

/// The bounds of a tree. Tests choose small ones.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Blocks kept at most.
    pub max_blocks: usize,
    /// Payloads without a block kept at most.
    pub max_unlinked_payloads: usize,
    /// Slots of finalized chain kept behind the finalized block.
    pub finalized_history_slots: u64,
}

impl Limits {
    /// The bounds a node runs with.
    pub fn for_network(slots_per_epoch: u64) -> Self {
        Self {
            max_blocks: MAX_BLOCKS,
            max_unlinked_payloads: MAX_UNLINKED_PAYLOADS,
            finalized_history_slots: FINALIZED_HISTORY_EPOCHS.saturating_mul(slots_per_epoch),
        }
    }
}

/// A payload as a source tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenPayload {
    /// `hash_tree_root(NewPayloadRequest)`.
    pub new_payload_request_root: Root,
    /// The execution block's hash.
    pub block_hash: BlockHash,
    /// Its parent's hash.
    pub parent_hash: BlockHash,
    /// The slot, from the payload's timestamp.
    pub slot: Slot,
    /// The fork at that slot.
    pub fork: ForkName,
}

/// A block as the Beacon API tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenBlock {
    /// `hash_tree_root(BeaconBlock)`.
    pub block_root: Root,
    /// Its parent block.
    pub parent_root: Root,
    /// Its slot.
    pub slot: Slot,
    /// The state it builds.
    pub state_root: Root,
    /// Its payload part.
    pub payload: SeenBlockPayload,
    /// Whether the beacon node imported it optimistically.
    pub execution_optimistic: bool,
}

/// The payload part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenBlockPayload {
    /// Before the merge.
    None,
    /// Bellatrix to Fulu: the payload is in the block.
    Carried(SeenPayload),
    /// Gloas: the payload comes in an envelope, or never.
    Bid {
        /// The payload the bid promises.
        block_hash: BlockHash,
        /// The execution parent it builds on: the parent block's payload if that was taken, else an older one.
        parent_block_hash: BlockHash,
    },
}

impl SeenBlockPayload {
    fn execution(&self) -> Execution {
        match *self {
            Self::None => Execution::None,
            Self::Carried(payload) => Execution::Carried(payload.block_hash),
            Self::Bid {
                block_hash,
                parent_block_hash,
            } => Execution::Bid {
                block_hash,
                parent_block_hash,
            },
        }
    }
}

/// What became of a block or payload that was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// It is new, and in the tree.
    New,
    /// It was in the tree already.
    Known,
    /// It is not in the tree, and the reason is counted.
    Refused(Refusal),
}

/// Why a block or payload was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Refusal {
    /// Older than what the tree keeps.
    #[error("older than what is kept")]
    TooOld,
    /// Not a descendant of the finalized block.
    #[error("not on the finalized chain")]
    ConflictsWithFinality,
    /// A slot that is not after its parent's.
    #[error("its slot is not after its parent's")]
    BadSlot,
    /// Another payload of the same root, or too many roots of one block hash.
    #[error("contradicts what was told of the same payload")]
    Contradiction,
}

/// What happened in a tree since it was made; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeCounters {
    /// Request roots told for a block hash that had another (design.md: "logged and counted, never hidden").
    pub payload_conflicts: u64,
    /// Blocks, heads and checkpoints that contradict the finalized block.
    pub finality_conflicts: u64,
    /// Blocks not taken, for whatever reason.
    pub refused_blocks: u64,
    /// Payloads not taken, for whatever reason.
    pub refused_payloads: u64,
    /// Blocks forgotten because of `Limits::max_blocks`.
    pub evicted_blocks: u64,
    /// Payloads forgotten because of `Limits::max_unlinked_payloads`.
    pub evicted_payloads: u64,
    /// Times the head moved to a block that does not descend from the one before.
    pub reorgs: u64,
}

/// The hashes of the last `engine_forkchoiceUpdated`; zero where the beacon node has none yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineForkchoice {
    /// `headBlockHash`.
    pub head: BlockHash,
    /// `safeBlockHash`.
    pub safe: BlockHash,
    /// `finalizedBlockHash`.
    pub finalized: BlockHash,
}

/// Blocks the tree lacks, for whoever can ask for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Missing {
    /// The head that was told and is not here.
    pub head: Option<Root>,
    /// The finalized block that was told and is not here.
    pub finalized: Option<Root>,
    /// The next ancestor of the canonical chain down to the finalized block, and the slot of its child.
    pub ancestor: Option<(Root, Slot)>,
}

impl Missing {
    /// Whether nothing is missing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// The payload part of a block in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Execution {
    None,
    Carried(BlockHash),
    Bid {
        block_hash: BlockHash,
        parent_block_hash: BlockHash,
    },
}

impl Execution {
    fn block_hash(&self) -> Option<BlockHash> {
        match *self {
            Self::None => None,
            Self::Carried(block_hash) | Self::Bid { block_hash, .. } => Some(block_hash),
        }
    }
}

#[derive(Debug)]
struct Block {
    parent_root: Root,
    slot: Slot,
    state_root: Root,
    execution: Execution,
    execution_optimistic: bool,
}

#[derive(Debug)]
struct Payload {
    seen: SeenPayload,
    source: PayloadSource,
    /// Whether the beacon node's block or envelope told it too.
    beacon: bool,
    /// Its place in `unlinked` while no block names it.
    unlinked: Option<u64>,
}

/// What is known of an execution block hash: its request root (more than one: contested) and the blocks that name it.
#[derive(Debug, Default, PartialEq, Eq)]
struct HashEntry {
    roots: Vec<Root>,
    blocks: Vec<Root>,
}

impl HashEntry {
    /// The one root, where there is one and only one.
    fn root(&self) -> Option<Root> {
        match self.roots.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Finalized {
    checkpoint: Checkpoint,
    slot: Slot,
}

/// The block tree.
#[derive(Debug)]
pub struct Tree {
    limits: Limits,
    blocks: HashMap<Root, Block>,
    blocks_by_slot: BTreeMap<Slot, Vec<Root>>,
    payloads: HashMap<Root, Payload>,
    hashes: HashMap<BlockHash, HashEntry>,
    /// Payloads that no block names, in the order told.
    unlinked: BTreeMap<u64, Root>,
    next_unlinked: u64,
    /// From the head down to the lowest ancestor that is here without a gap. Every entry but the lowest has its parent
    /// as the entry before it.
    canonical: BTreeMap<Slot, Root>,
    head: Option<Root>,
    pending_head: Option<(Root, bool)>,
    /// The head before, while a gap hides whether the new head descends from it.
    left: Option<Root>,
    finalized: Option<Finalized>,
    pending_finalized: Option<Checkpoint>,
    /// A block below which no ancestors will come.
    floor: Option<Root>,
    /// Slots below it are not kept.
    horizon: Slot,
    engine: Option<EngineForkchoice>,
    counters: TreeCounters,
    events: Vec<ChainEvent>,
}

impl Tree {
    /// An empty tree.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            blocks: HashMap::new(),
            blocks_by_slot: BTreeMap::new(),
            payloads: HashMap::new(),
            hashes: HashMap::new(),
            unlinked: BTreeMap::new(),
            next_unlinked: 0,
            canonical: BTreeMap::new(),
            head: None,
            pending_head: None,
            left: None,
            finalized: None,
            pending_finalized: None,
            floor: None,
            horizon: Slot(0),
            engine: None,
            counters: TreeCounters::default(),
            events: Vec::new(),
        }
    }

    /// What happened since this was last called, in order.
    pub fn take_events(&mut self) -> Vec<ChainEvent> {
        std::mem::take(&mut self.events)
    }

    /// What happened since the tree was made, in numbers.
    pub fn counters(&self) -> TreeCounters {
        self.counters
    }

    /// Blocks held.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Payloads held.
    pub fn payload_count(&self) -> usize {
        self.payloads.len()
    }

    /// A payload by its request root.
    pub fn payload(&self, new_payload_request_root: &Root) -> Option<PayloadInfo> {
        let payload = self.payloads.get(new_payload_request_root)?;
        Some(PayloadInfo {
            new_payload_request_root: payload.seen.new_payload_request_root,
            block_hash: payload.seen.block_hash,
            parent_hash: payload.seen.parent_hash,
            slot: payload.seen.slot,
            fork: payload.seen.fork,
            block_root: self.block_of(payload),
            source: payload.source,
        })
    }

    /// A payload by its block hash; nothing while the hash is contested.
    pub fn payload_by_block_hash(&self, block_hash: &BlockHash) -> Option<PayloadInfo> {
        self.payload(&self.hashes.get(block_hash)?.root()?)
    }

    /// Whether more than one request root was told for a block hash.
    pub fn is_contested(&self, block_hash: &BlockHash) -> bool {
        self.hashes
            .get(block_hash)
            .is_some_and(|entry| entry.roots.len() > 1)
    }

    /// Whether the beacon node's block or envelope has told this payload (not only the Engine API).
    pub fn is_told_by_beacon(&self, new_payload_request_root: &Root) -> bool {
        self.payloads
            .get(new_payload_request_root)
            .is_some_and(|payload| payload.beacon)
    }

    /// A block.
    pub fn block(&self, block_root: &Root) -> Option<BlockInfo> {
        self.blocks
            .get(block_root)
            .map(|block| self.block_info(*block_root, block))
    }

    /// Whether a block is here.
    pub fn has_block(&self, block_root: &Root) -> bool {
        self.blocks.contains_key(block_root)
    }

    /// The state a block builds.
    pub fn state_root(&self, block_root: &Root) -> Option<Root> {
        self.blocks.get(block_root).map(|block| block.state_root)
    }

    /// The hash of the payload a block carries or (Gloas) bids for, whether or not that payload has been seen.
    pub fn block_hash_of(&self, block_root: &Root) -> Option<BlockHash> {
        self.blocks.get(block_root)?.execution.block_hash()
    }

    /// Whether a block is a Gloas block whose envelope the Beacon API has not brought yet.
    pub fn lacks_envelope(&self, block_root: &Root) -> bool {
        let Some(Block {
            execution: Execution::Bid { block_hash, .. },
            ..
        }) = self.blocks.get(block_root)
        else {
            return false;
        };
        let told = self
            .hashes
            .get(block_hash)
            .map_or(&[][..], |entry| entry.roots.as_slice());
        !told.iter().any(|root| self.is_told_by_beacon(root))
    }

    /// Whether a block is the other's ancestor or the block itself, as far as the tree reaches.
    pub fn is_ancestor_or_same(&self, ancestor: &Root, descendant: &Root) -> bool {
        let Some(ancestor_slot) = self.blocks.get(ancestor).map(|block| block.slot) else {
            return false;
        };
        let mut at = Some(*descendant);
        while let Some((root, block)) = at.and_then(|root| self.blocks.get_key_value(&root)) {
            if block.slot <= ancestor_slot {
                return root == ancestor;
            }
            if self.is_canonical_block(root) {
                // The rest of the way down is the canonical chain.
                return self.is_canonical_block(ancestor);
            }
            at = self.parent_of(block);
        }
        false
    }

    /// A block's parent, if it is here. Slots descend along every walk, whatever was told.
    fn parent_of(&self, block: &Block) -> Option<Root> {
        self.blocks
            .get(&block.parent_root)
            .filter(|parent| parent.slot < block.slot)
            .map(|_| block.parent_root)
    }

    /// Whether a Gloas block builds on the payload that its parent bids for.
    pub fn builds_on_parents_payload(&self, block_root: &Root) -> bool {
        let block = self.blocks.get(block_root);
        let parent = block.and_then(|block| self.blocks.get(&block.parent_root));
        match (
            block.map(|block| block.execution),
            parent.map(|parent| parent.execution),
        ) {
            (
                Some(Execution::Bid {
                    parent_block_hash, ..
                }),
                Some(Execution::Bid { block_hash, .. }),
            ) => parent_block_hash == block_hash,
            _ => false,
        }
    }

    /// What is missing between the head and the finalized block.
    pub fn missing(&self) -> Missing {
        let pending = self.pending_finalized.map(|checkpoint| checkpoint.root);
        Missing {
            head: self
                .pending_head
                .map(|(root, _)| root)
                .filter(|root| !self.has_block(root)),
            finalized: pending.filter(|root| !self.has_block(root)),
            ancestor: self.missing_ancestor(),
        }
    }

    fn missing_ancestor(&self) -> Option<(Root, Slot)> {
        let (slot, root) = self.canonical.first_key_value()?;
        let reached =
            self.floor == Some(*root) || self.finalized.is_some_and(|finalized| *slot <= finalized.slot);
        if reached {
            None
        } else {
            self.blocks.get(root).map(|block| (block.parent_root, *slot))
        }
    }

    fn block_info(&self, block_root: Root, block: &Block) -> BlockInfo {
        BlockInfo {
            block_root,
            parent_root: block.parent_root,
            slot: block.slot,
            new_payload_request_root: block
                .execution
                .block_hash()
                .and_then(|block_hash| self.hashes.get(&block_hash)?.root()),
            execution_optimistic: block.execution_optimistic,
        }
    }

    /// The block a payload belongs to: the canonical one, else the one with the smallest root, so that the answer does
    /// not depend on the order in which they came.
    fn block_of(&self, payload: &Payload) -> Option<Root> {
        let entry = self.hashes.get(&payload.seen.block_hash)?;
        entry.root()?;
        let canonical = entry.blocks.iter().find(|root| self.is_canonical_block(root));
        canonical.or_else(|| entry.blocks.iter().min()).copied()
    }
}
