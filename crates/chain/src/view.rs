//! The `Chain` trait: what the rest of the house asks about the chain.

use assay_types::{BlockHash, Epoch, ForkName, PublicKey, Root, Slot, Spec, ValidatorIndex, spec::Genesis};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::broadcast;

/// A block root and epoch, as `finalized_checkpoint` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// The checkpoint's epoch.
    pub epoch: Epoch,
    /// The checkpoint's block.
    pub root: Root,
}

/// Who told us of a payload first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadSource {
    /// `engine_newPayload*`: before the beacon node imports the block.
    EngineApi,
    /// The beacon node's block (or Gloas envelope).
    BeaconApi,
    /// The embedder's own.
    Embedder,
}

/// A payload whose request has been seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadInfo {
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
    /// The beacon block that carries (Gloas: bids) it, once seen. One payload may be in several blocks; this is the
    /// canonical one where there is one.
    pub block_root: Option<Root>,
    /// Who told us first.
    pub source: PayloadSource,
}

/// A beacon block that has been seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockInfo {
    /// `hash_tree_root(BeaconBlock)`.
    pub block_root: Root,
    /// Its parent block.
    pub parent_root: Root,
    /// Its slot.
    pub slot: Slot,
    /// The payload that belongs to it, if it has one and it is known (Gloas: its envelope was seen).
    pub new_payload_request_root: Option<Root>,
    /// Whether the beacon node imported it optimistically.
    pub execution_optimistic: bool,
}

/// What happened on the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainEvent {
    /// A payload request became known (once per root).
    Payload(PayloadInfo),
    /// A block became known, or its payload did.
    Block(BlockInfo),
    /// The head moved.
    Head(BlockInfo),
    /// Finality moved.
    Finalized {
        /// The new checkpoint.
        checkpoint: Checkpoint,
        /// Slot of its block.
        slot: Slot,
        /// Payloads of branches that finality cut off.
        orphaned: Vec<Root>,
    },
    /// Two request roots were told for one block hash. From now on neither belongs to a block (design.md, gate rule 5):
    /// `payload_by_block_hash` answers nothing, and neither is canonical.
    Conflict {
        /// The block hash.
        block_hash: BlockHash,
        /// The root that was known, and the one told now.
        roots: [Root; 2],
        /// Who told the second.
        source: PayloadSource,
    },
    /// The beacon node can be asked again after it could not, or the reverse.
    Connected(bool),
}

/// A validator's record, as far as proofs need it.
#[derive(Clone)]
pub struct ValidatorRecord {
    /// Its key, validated.
    pub pubkey: PublicKey,
    /// `activation_epoch`.
    pub activation_epoch: Epoch,
    /// `exit_epoch`.
    pub exit_epoch: Epoch,
}

impl ValidatorRecord {
    /// `is_active_validator`: `activation_epoch <= epoch < exit_epoch`. A slashed validator may be active.
    pub fn is_active_at(&self, epoch: Epoch) -> bool {
        self.activation_epoch <= epoch && epoch < self.exit_epoch
    }
}

/// What is known of a validator in the state a payload's block builds (design.md, Chain view).
#[derive(Clone)]
pub enum ValidatorAnswer {
    /// The record. `decisive`: read from the state of the payload's block or a descendant, so that it may REJECT;
    /// else it may accept, and otherwise means IGNORE with retry.
    Known {
        /// The record.
        record: Arc<ValidatorRecord>,
        /// Whether it may REJECT.
        decisive: bool,
    },
    /// No such index in that state. Same meaning of `decisive`.
    Absent {
        /// Whether it may REJECT.
        decisive: bool,
    },
    /// The beacon node could not tell now: IGNORE with retry. The text says why.
    Unavailable(String),
}

/// The chain as verification, store, gate and network see it. All but `validator` answer from memory.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    /// The network's values.
    fn spec(&self) -> &Arc<Spec>;
    /// Its genesis.
    fn genesis(&self) -> Genesis;
    /// The slot by the wall clock; slot 0 before genesis.
    fn current_slot(&self) -> Slot;
    /// A payload whose request has been seen.
    fn payload(&self, new_payload_request_root: &Root) -> Option<PayloadInfo>;
    /// A payload by its execution block hash.
    fn payload_by_block_hash(&self, block_hash: &BlockHash) -> Option<PayloadInfo>;
    /// A block that has been seen.
    fn block(&self, block_root: &Root) -> Option<BlockInfo>;
    /// The canonical block of a slot, if any.
    fn canonical_block_at(&self, slot: Slot) -> Option<BlockInfo>;
    /// Whether a payload belongs to the canonical chain.
    fn is_canonical(&self, new_payload_request_root: &Root) -> bool;
    /// The head, once known.
    fn head(&self) -> Option<BlockInfo>;
    /// The finalized checkpoint; zero before any.
    fn finalized(&self) -> Checkpoint;
    /// First slot of the proof serve range: that of the finalized epoch (protocol.md section 5).
    fn proof_serve_range_start(&self) -> Slot {
        self.spec().start_slot(self.finalized().epoch)
    }
    /// Whether the view is caught up with the beacon node.
    fn is_synced(&self) -> bool;
    /// A validator's record for judging a proof of `payload` (bounded cache, one request under way per key).
    async fn validator(&self, index: ValidatorIndex, payload: &PayloadInfo) -> ValidatorAnswer;
    /// Events from now on. A receiver that lags is told so and must look again.
    fn subscribe(&self) -> broadcast::Receiver<ChainEvent>;
}
