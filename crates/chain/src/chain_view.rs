//! `ChainView`: the tree behind a lock, fed by the gate (Engine API) and the follower (Beacon API); implements `Chain`.

use crate::{
    clock::{self, Clock},
    seen::{self, Misplaced, PayloadSeen},
    tree::{EngineForkchoice, Insertion, Limits, Missing, SeenBlock, SeenPayload, Tree, TreeCounters},
    validators::{Candidate, StateId, ValidatorSource, Validators},
    view::{BlockInfo, Chain, ChainEvent, Checkpoint, PayloadInfo, PayloadSource, ValidatorAnswer},
};
use assay_types::{BlockHash, Root, Slot, Spec, ValidatorIndex, spec::Genesis};
use async_trait::async_trait;
use parking_lot::RwLock;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::broadcast;
use tracing::{debug, error, info};

/// Events a subscriber may lag behind before it is told that it missed some.
pub const EVENT_CAPACITY: usize = 1024;

/// What a node knows of the chain.
pub struct ChainView {
    spec: Arc<Spec>,
    genesis: Genesis,
    clock: Arc<dyn Clock>,
    tree: RwLock<Tree>,
    events: broadcast::Sender<ChainEvent>,
    validators: Validators,
    synced: AtomicBool,
    connected: AtomicBool,
    /// Whether a contradiction of finality has been logged since finality last moved.
    finality_conflict_told: AtomicBool,
}

impl ChainView {
    /// An empty view of a network; `source` is asked for validators.
    pub fn new(
        spec: Arc<Spec>,
        genesis: Genesis,
        clock: Arc<dyn Clock>,
        source: Arc<dyn ValidatorSource>,
    ) -> Self {
        let limits = Limits::for_network(spec.slots_per_epoch);
        Self {
            spec,
            genesis,
            clock,
            tree: RwLock::new(Tree::new(limits)),
            events: broadcast::channel(EVENT_CAPACITY).0,
            validators: Validators::new(source),
            synced: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            finality_conflict_told: AtomicBool::new(false),
        }
    }

    /// A payload of `engine_newPayload*`, before its block is imported. An error: it has no place on this network, and
    /// nothing was taken. `Insertion::New` beside a contested hash is told by `is_contested` and the event.
    pub fn on_engine_payload(&self, payload: PayloadSeen) -> Result<Insertion, Misplaced> {
        let placed = seen::place_payload(payload, &self.spec, &self.genesis)?;
        Ok(self.change(|tree| tree.insert_payload(placed, PayloadSource::EngineApi)))
    }

    /// The hashes of `engine_forkchoiceUpdated*` of the primary beacon node; zero where it has none.
    pub fn on_engine_forkchoice(&self, head: BlockHash, safe: BlockHash, finalized: BlockHash) {
        self.change(|tree| {
            tree.set_engine_forkchoice(EngineForkchoice {
                head,
                safe,
                finalized,
            })
        });
    }

    /// A block of the beacon node.
    pub fn on_block(&self, block: SeenBlock) -> Insertion {
        self.change(|tree| tree.insert_block(block))
    }

    /// The payload of a Gloas block's envelope, as the beacon node has it.
    pub fn on_envelope(&self, payload: SeenPayload) -> Insertion {
        self.change(|tree| tree.insert_payload(payload, PayloadSource::BeaconApi))
    }

    /// The beacon node's head; it counts once its block is here.
    pub fn on_head(&self, block_root: Root, execution_optimistic: bool) {
        self.change(|tree| tree.set_head(block_root, execution_optimistic));
    }

    /// The beacon node's finalized checkpoint; it counts once its block is here and connected.
    pub fn on_finalized(&self, checkpoint: Checkpoint) {
        self.change(|tree| tree.set_finalized(checkpoint));
    }

    /// No ancestors of the lowest canonical block will come.
    pub fn on_no_more_ancestors(&self, block_root: Root) {
        self.change(|tree| tree.set_floor(block_root));
    }

    /// Whether the view is caught up with the beacon node.
    pub fn set_synced(&self, synced: bool) {
        self.synced.store(synced, Ordering::Release);
    }

    /// Whether the beacon node can be asked.
    pub fn set_connected(&self, connected: bool) {
        if self.connected.swap(connected, Ordering::AcqRel) != connected {
            // No receiver is no error.
            let _ = self.events.send(ChainEvent::Connected(connected));
        }
    }

    /// Whether the beacon node can be asked, as last told.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// What is missing between head and finalized block.
    pub fn missing(&self) -> Missing {
        self.tree.read().missing()
    }

    /// Looks at the tree. The view stands still meanwhile: be short, and ask the view nothing from within.
    pub fn with_tree<T>(&self, look: impl FnOnce(&Tree) -> T) -> T {
        look(&self.tree.read())
    }

    /// Whether two request roots were told for a block hash.
    pub fn is_contested(&self, block_hash: &BlockHash) -> bool {
        self.tree.read().is_contested(block_hash)
    }

    /// What happened so far, in numbers.
    pub fn counters(&self) -> TreeCounters {
        self.tree.read().counters()
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Changes the tree, and tells what happened in the order it happened.
    fn change<T>(&self, change: impl FnOnce(&mut Tree) -> T) -> T {
        let mut tree = self.tree.write();
        let before = tree.counters();
        let outcome = change(&mut tree);
        self.tell_finality_conflicts(before, tree.counters());
        // Sent under the lock: subscribers see events in the order of the changes.
        for event in tree.take_events() {
            self.log(&event);
            let _ = self.events.send(event);
        }
        outcome
    }

    fn tell_finality_conflicts(&self, before: TreeCounters, now: TreeCounters) {
        let more = now.finality_conflicts > before.finality_conflicts;
        if more && !self.finality_conflict_told.swap(true, Ordering::Relaxed) {
            error!(
                conflicts = now.finality_conflicts,
                "the beacon node tells of a chain without the block that it had finalized; that chain is not followed"
            );
        }
    }

    fn log(&self, event: &ChainEvent) {
        match event {
            ChainEvent::Conflict {
                block_hash,
                roots: [known, told],
                source,
            } => error!(
                %block_hash, %known, %told, ?source,
                "two request roots were told for one block hash; neither counts as this block's payload"
            ),
            ChainEvent::Head(head) => debug!(slot = %head.slot, block = %head.block_root, "head"),
            ChainEvent::Finalized {
                checkpoint,
                slot,
                orphaned,
            } => {
                self.finality_conflict_told.store(false, Ordering::Relaxed);
                info!(epoch = %checkpoint.epoch, %slot, orphaned = orphaned.len(), "finalized");
            }
            _ => {}
        }
    }

    /// What is kept of a validator that answers for this payload, else the states to ask, best first.
    fn look_up(
        &self,
        index: ValidatorIndex,
        payload: &PayloadInfo,
    ) -> Result<ValidatorAnswer, Vec<Candidate>> {
        let tree = self.tree.read();
        let epoch = self.spec.epoch_at_slot(payload.slot);
        let candidate = |block: BlockInfo, decisive| {
            let epoch = self.spec.epoch_at_slot(block.slot);
            let state = StateId::Root(tree.state_root(&block.block_root)?);
            Some(Candidate {
                state,
                block_root: Some(block.block_root),
                epoch,
                decisive,
            })
        };
        let head = tree.head();
        // The tree's own word: the payload's block may have come since the caller looked.
        let root = tree
            .payload(&payload.new_payload_request_root)
            .and_then(|payload| payload.block_root);
        if let Some(block) = root.and_then(|root| tree.block(&root)) {
            let root = block.block_root;
            if let Some(answer) = self
                .validators
                .decisive(index, |at| tree.is_ancestor_or_same(&root, at))
            {
                return Ok(answer);
            }
            let above = head
                .filter(|head| head.block_root != root && tree.is_ancestor_or_same(&root, &head.block_root));
            let states = [
                candidate(block, true),
                above.and_then(|head| candidate(head, true)),
            ];
            return Err(states.into_iter().flatten().collect());
        }
        let parent = tree
            .payload_by_block_hash(&payload.parent_hash)
            .and_then(|parent| parent.block_root);
        let below = |at: &Root| {
            let tips = [parent, head.as_ref().map(|head| head.block_root)];
            tips.into_iter()
                .flatten()
                .any(|tip| tree.is_ancestor_or_same(at, &tip))
        };
        if let Some(answer) = self.validators.active(index, epoch, below) {
            return Ok(answer);
        }
        let unknown_head = Candidate {
            state: StateId::Head,
            block_root: None,
            epoch,
            decisive: false,
        };
        let states = [
            head.and_then(|head| candidate(head, false))
                .or(Some(unknown_head)),
            parent
                .and_then(|parent| tree.block(&parent))
                .and_then(|parent| candidate(parent, false)),
        ];
        Err(states.into_iter().flatten().collect())
    }
}

#[async_trait]
impl Chain for ChainView {
    fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    fn genesis(&self) -> Genesis {
        self.genesis
    }

    fn current_slot(&self) -> Slot {
        clock::slot_at(&self.spec, &self.genesis, self.clock.now())
    }

    fn payload(&self, new_payload_request_root: &Root) -> Option<PayloadInfo> {
        self.tree.read().payload(new_payload_request_root)
    }

    fn payload_by_block_hash(&self, block_hash: &BlockHash) -> Option<PayloadInfo> {
        self.tree.read().payload_by_block_hash(block_hash)
    }

    fn block(&self, block_root: &Root) -> Option<BlockInfo> {
        self.tree.read().block(block_root)
    }

    fn canonical_block_at(&self, slot: Slot) -> Option<BlockInfo> {
        self.tree.read().canonical_block_at(slot)
    }

    fn is_canonical(&self, new_payload_request_root: &Root) -> bool {
        self.tree.read().is_canonical_payload(new_payload_request_root)
    }

    fn head(&self) -> Option<BlockInfo> {
        self.tree.read().head()
    }

    fn finalized(&self) -> Checkpoint {
        self.tree.read().finalized()
    }

    fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    async fn validator(&self, index: ValidatorIndex, payload: &PayloadInfo) -> ValidatorAnswer {
        match self.look_up(index, payload) {
            Ok(kept) => kept,
            Err(states) => self.validators.ask(index, &states).await,
        }
    }

    fn subscribe(&self) -> broadcast::Receiver<ChainEvent> {
        self.events.subscribe()
    }
}
