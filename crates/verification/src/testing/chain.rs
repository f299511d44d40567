//! A `Chain` that knows what it is told.

use assay_chain::{
    BlockInfo, Chain, ChainEvent, Checkpoint, PayloadInfo, PayloadSource, ValidatorAnswer, ValidatorRecord,
};
use assay_types::{BlockHash, Epoch, Root, SecretKey, Slot, Spec, ValidatorIndex, spec::Genesis};
use async_trait::async_trait;
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// How a `MemoryChain` answers about validators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registry {
    /// From a state that decides.
    Decisive,
    /// From one that does not.
    NotDecisive,
    /// Not at all.
    Unavailable,
    /// The call does not return.
    Hangs,
}

struct State {
    payloads: HashMap<Root, PayloadInfo>,
    blocks: HashMap<Root, BlockInfo>,
    validators: HashMap<ValidatorIndex, Arc<ValidatorRecord>>,
    registry: Registry,
    slot: Slot,
    finalized: Checkpoint,
    asked: usize,
}

/// A chain in memory: payloads by their roots, validators by index.
pub struct MemoryChain {
    spec: Arc<Spec>,
    genesis: Genesis,
    state: RwLock<State>,
    events: broadcast::Sender<ChainEvent>,
}

impl MemoryChain {
    /// Knows nothing yet; the genesis is at time 0 and the present slot 0.
    pub fn new(spec: Arc<Spec>, genesis_validators_root: Root) -> Self {
        let state = State {
            payloads: HashMap::new(),
            blocks: HashMap::new(),
            validators: HashMap::new(),
            registry: Registry::Decisive,
            slot: Slot(0),
            finalized: Checkpoint::default(),
            asked: 0,
        };
        Self {
            spec,
            genesis: Genesis {
                genesis_time: 0,
                genesis_validators_root,
            },
            state: RwLock::new(state),
            events: broadcast::channel(64).0,
        }
    }

    /// Learns a payload and tells it.
    pub fn add_payload(&self, root: Root, slot: Slot) {
        let payload = PayloadInfo {
            new_payload_request_root: root,
            block_hash: root,
            parent_hash: Root::ZERO,
            slot,
            fork: self.spec.fork_at_epoch(self.spec.epoch_at_slot(slot)),
            block_root: None,
            source: PayloadSource::Embedder,
        };
        self.state.write().payloads.insert(root, payload.clone());
        self.tell(ChainEvent::Payload(payload));
    }

    /// Learns a block without a payload.
    pub fn add_block(&self, block_root: Root, slot: Slot) {
        let block = BlockInfo {
            block_root,
            parent_root: Root::ZERO,
            slot,
            new_payload_request_root: None,
            execution_optimistic: false,
        };
        self.state.write().blocks.insert(block_root, block);
    }

    /// Learns a block with its payload, which is known already or comes now, and tells it.
    pub fn add_block_of(&self, block_root: Root, slot: Slot, new_payload_request_root: Root) {
        if self.payload(&new_payload_request_root).is_none() {
            self.add_payload(new_payload_request_root, slot);
        }
        let block = BlockInfo {
            block_root,
            parent_root: Root::ZERO,
            slot,
            new_payload_request_root: Some(new_payload_request_root),
            execution_optimistic: false,
        };
        {
            let mut state = self.state.write();
            state.blocks.insert(block_root, block.clone());
            if let Some(payload) = state.payloads.get_mut(&new_payload_request_root) {
                payload.block_root.get_or_insert(block_root);
            }
        }
        self.tell(ChainEvent::Block(block));
    }

    /// Learns validators with their interop keys, active for ever.
    pub fn add_interop_validators(&self, indices: std::ops::Range<ValidatorIndex>) {
        for index in indices {
            let record = ValidatorRecord {
                pubkey: SecretKey::interop(index).public_key(),
                activation_epoch: Epoch(0),
                exit_epoch: Epoch::FAR_FUTURE,
            };
            self.add_validator(index, record);
        }
    }

    /// Learns a validator.
    pub fn add_validator(&self, index: ValidatorIndex, record: ValidatorRecord) {
        self.state.write().validators.insert(index, Arc::new(record));
    }

    /// How it answers about validators from now on.
    pub fn set_registry(&self, registry: Registry) {
        self.state.write().registry = registry;
    }

    /// The present slot from now on.
    pub fn set_slot(&self, slot: Slot) {
        self.state.write().slot = slot;
    }

    /// Moves finality to a block of `slot`, forgets orphaned payloads, and tells it.
    pub fn finalize(&self, checkpoint: Checkpoint, slot: Slot, orphaned: Vec<Root>) {
        {
            let mut state = self.state.write();
            state.finalized = checkpoint;
            state.payloads.retain(|root, _| !orphaned.contains(root));
        }
        self.tell(ChainEvent::Finalized {
            checkpoint,
            slot,
            orphaned,
        });
    }

    /// How often it was asked about validators.
    pub fn times_asked(&self) -> usize {
        self.state.read().asked
    }

    /// Tells an event.
    pub fn tell(&self, event: ChainEvent) {
        // Nobody listening is fine.
        drop(self.events.send(event));
    }
}

#[async_trait]
impl Chain for MemoryChain {
    fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }
    fn genesis(&self) -> Genesis {
        self.genesis
    }
    fn current_slot(&self) -> Slot {
        self.state.read().slot
    }
    fn payload(&self, new_payload_request_root: &Root) -> Option<PayloadInfo> {
        self.state.read().payloads.get(new_payload_request_root).cloned()
    }
    fn payload_by_block_hash(&self, block_hash: &BlockHash) -> Option<PayloadInfo> {
        self.state
            .read()
            .payloads
            .values()
            .find(|p| p.block_hash == *block_hash)
            .cloned()
    }
    fn block(&self, block_root: &Root) -> Option<BlockInfo> {
        self.state.read().blocks.get(block_root).cloned()
    }
    fn canonical_block_at(&self, _: Slot) -> Option<BlockInfo> {
        None
    }
    fn is_canonical(&self, new_payload_request_root: &Root) -> bool {
        self.payload(new_payload_request_root).is_some()
    }
    fn head(&self) -> Option<BlockInfo> {
        None
    }
    fn finalized(&self) -> Checkpoint {
        self.state.read().finalized
    }
    fn is_synced(&self) -> bool {
        true
    }
    async fn validator(&self, index: ValidatorIndex, _: &PayloadInfo) -> ValidatorAnswer {
        let (registry, record) = {
            let mut state = self.state.write();
            state.asked += 1;
            (state.registry, state.validators.get(&index).cloned())
        };
        let decisive = match registry {
            Registry::Decisive => true,
            Registry::NotDecisive => false,
            Registry::Unavailable => return ValidatorAnswer::Unavailable("as the test wants it".to_owned()),
            Registry::Hangs => {
                tokio::time::sleep(Duration::MAX).await;
                false
            }
        };
        match record {
            Some(record) => ValidatorAnswer::Known { record, decisive },
            None => ValidatorAnswer::Absent { decisive },
        }
    }
    fn subscribe(&self) -> broadcast::Receiver<ChainEvent> {
        self.events.subscribe()
    }
}
