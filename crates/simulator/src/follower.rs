//! One beacon node's view of the invented chain: what it imported, and how the Engine API answered.

use crate::SimBlock;
use assay_types::{BlockHash, Root, Slot};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::broadcast;

/// Events a slow subscriber may lag behind.
const EVENT_BUFFER: usize = 256;

/// Most payloads whose answers are remembered; the oldest go first.
const MAX_PAYLOADS: usize = 16_384;

/// How the Engine API answered for one payload.
#[derive(Debug, Clone)]
pub struct PayloadAnswers {
    /// The block's slot.
    pub slot: Slot,
    /// The payload's hash.
    pub block_hash: BlockHash,
    /// When newPayload was first called.
    pub called: Instant,
    /// The first answer to newPayload (`VALID`, `SYNCING`, ...), once there is one.
    pub first: Option<String>,
    /// How long after the call VALID came, by newPayload or forkchoiceUpdated.
    pub valid_after: Option<Duration>,
    /// The newest answer.
    pub last: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    imported: HashMap<Root, Arc<SimBlock>>,
    revealed: HashSet<Root>,
    head: Option<Arc<SimBlock>>,
    answers: HashMap<BlockHash, PayloadAnswers>,
    finalized: Option<Root>,
}

/// A beacon node's view. Cheap to share.
#[derive(Debug)]
pub struct Follower {
    state: Mutex<State>,
    events: broadcast::Sender<(&'static str, Value)>,
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::channel(EVENT_BUFFER).0,
        }
    }
}

impl Follower {
    /// Events of `/eth/v1/events` from now on: topic and data.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<(&'static str, Value)> {
        self.events.subscribe()
    }

    fn send(&self, topic: &'static str, data: Value) {
        // No subscriber is no error.
        let _ = self.events.send((topic, data));
    }

    /// A newPayload goes out.
    pub(crate) fn calling(&self, block: &SimBlock) {
        let mut state = self.state.lock();
        if state.answers.len() >= MAX_PAYLOADS
            && let Some(oldest) = state
                .answers
                .values()
                .min_by_key(|a| a.slot)
                .map(|a| a.block_hash)
        {
            state.answers.remove(&oldest);
        }
        let hash = block.block_hash();
        state.answers.entry(hash).or_insert_with(|| PayloadAnswers {
            slot: block.slot,
            block_hash: hash,
            called: Instant::now(),
            first: None,
            valid_after: None,
            last: None,
        });
    }

    /// A status came for a payload, by newPayload or forkchoiceUpdated.
    pub(crate) fn answered(&self, hash: BlockHash, status: &str) {
        let mut state = self.state.lock();
        if let Some(answers) = state.answers.get_mut(&hash) {
            answers.first.get_or_insert_with(|| status.to_owned());
            answers.last = Some(status.to_owned());
            if status == "VALID" && answers.valid_after.is_none() {
                answers.valid_after = Some(answers.called.elapsed());
            }
        }
    }

    /// Imports a block and makes it the head; tells subscribers as a beacon node does.
    pub(crate) fn import(&self, block: &Arc<SimBlock>, make_head: bool, reorg: Option<Reorg>) {
        {
            let mut state = self.state.lock();
            state.imported.insert(block.block_root, block.clone());
            if make_head {
                state.head = Some(block.clone());
            }
        }
        let optimistic = self.is_optimistic(block);
        self.send(
            "block",
            json!({ "slot": block.slot, "block": block.block_root, "execution_optimistic": optimistic }),
        );
        if !make_head {
            return;
        }
        if let Some(reorg) = reorg {
            self.send(
                "chain_reorg",
                json!({
                    "slot": block.slot, "depth": reorg.depth.to_string(),
                    "old_head_block": reorg.old.block_root, "new_head_block": block.block_root,
                    "old_head_state": reorg.old.state_root, "new_head_state": block.state_root,
                    "epoch": "0", "execution_optimistic": optimistic,
                }),
            );
        }
        self.send(
            "head",
            json!({
                "slot": block.slot, "block": block.block_root, "state": block.state_root,
                "epoch_transition": false, "execution_optimistic": optimistic,
                "previous_duty_dependent_root": Root::ZERO, "current_duty_dependent_root": Root::ZERO,
            }),
        );
    }

    /// The payload of a Gloas block was imported: its envelope can be had from now on.
    pub(crate) fn reveal(&self, block: &SimBlock) {
        self.state.lock().revealed.insert(block.block_root);
        self.send(
            "execution_payload_available",
            json!({ "slot": block.slot, "block_root": block.block_root }),
        );
        self.send(
            "execution_payload",
            json!({
                "slot": block.slot, "builder_index": u64::MAX.to_string(), "block_hash": block.block_hash(),
                "block_root": block.block_root, "state_root": block.state_root,
                "execution_optimistic": self.is_optimistic(block),
            }),
        );
    }

    /// Whether the envelope of a block can be had.
    pub fn is_revealed(&self, root: &Root) -> bool {
        self.state.lock().revealed.contains(root)
    }

    /// Finality moved.
    pub(crate) fn finalize(&self, epoch: u64, block: &SimBlock) {
        {
            let mut state = self.state.lock();
            if state.finalized == Some(block.block_root) {
                return;
            }
            state.finalized = Some(block.block_root);
        }
        self.send(
            "finalized_checkpoint",
            json!({
                "epoch": epoch.to_string(), "block": block.block_root, "state": block.state_root,
                "execution_optimistic": self.is_optimistic(block),
            }),
        );
    }

    /// Whether a block was imported (genesis always is).
    pub fn is_imported(&self, root: &Root) -> bool {
        self.state.lock().imported.contains_key(root)
    }

    /// Whether the payload of a block still waits for VALID.
    pub fn is_optimistic(&self, block: &SimBlock) -> bool {
        block.payload.is_some()
            && self
                .state
                .lock()
                .answers
                .get(&block.block_hash())
                .is_none_or(|a| a.last.as_deref() != Some("VALID"))
    }

    /// Its head.
    pub fn head(&self) -> Option<Arc<SimBlock>> {
        self.state.lock().head.clone()
    }

    /// How the Engine API answered, by slot.
    pub fn answers(&self) -> Vec<PayloadAnswers> {
        let mut all: Vec<_> = self.state.lock().answers.values().cloned().collect();
        all.sort_by_key(|a| a.slot);
        all
    }
}

/// A head that left its branch.
pub(crate) struct Reorg {
    pub(crate) old: Arc<SimBlock>,
    pub(crate) depth: u64,
}
