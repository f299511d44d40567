//! The task that keeps the index in step with a chain view.

use super::support::{TestStore, block, block_root, config, key, payload, root};
use crate::{BlockUpdate, follow};
use assay_chain::{BlockInfo, Chain, ChainEvent, Checkpoint, PayloadInfo, ValidatorAnswer};
use assay_types::{BlockHash, Epoch, Root, Slot, Spec, ValidatorIndex, spec::Genesis};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// A chain view by hand.
struct HandChain {
    spec: Arc<Spec>,
    state: Mutex<State>,
    events: broadcast::Sender<ChainEvent>,
}

#[derive(Default)]
struct State {
    blocks: HashMap<Root, BlockInfo>,
    head: Option<BlockInfo>,
    finalized: Checkpoint,
}

fn info(update: &BlockUpdate) -> BlockInfo {
    BlockInfo {
        block_root: update.block_root,
        parent_root: update.parent_root,
        slot: update.slot,
        new_payload_request_root: update.new_payload_request_root,
        execution_optimistic: false,
    }
}

impl HandChain {
    fn new(backlog: usize) -> Arc<Self> {
        Arc::new(Self {
            spec: Arc::new(Spec::minimal()),
            state: Mutex::default(),
            events: broadcast::channel(backlog).0,
        })
    }

    fn block(&self, block: &BlockUpdate) {
        self.state.lock().blocks.insert(block.block_root, info(block));
        let _ = self.events.send(ChainEvent::Block(info(block)));
    }

    fn head(&self, head: &BlockUpdate) {
        self.state.lock().head = Some(info(head));
        let _ = self.events.send(ChainEvent::Head(info(head)));
    }

    fn finalize(&self, epoch: u64, block: &BlockUpdate) {
        let checkpoint = Checkpoint {
            epoch: Epoch(epoch),
            root: block.block_root,
        };
        self.state.lock().finalized = checkpoint;
        let _ = self.events.send(ChainEvent::Finalized {
            checkpoint,
            slot: block.slot,
            orphaned: Vec::new(),
        });
    }
}

#[async_trait]
impl Chain for HandChain {
    fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }
    fn genesis(&self) -> Genesis {
        Genesis {
            genesis_time: 0,
            genesis_validators_root: root(1, 1),
        }
    }
    fn current_slot(&self) -> Slot {
        Slot(0)
    }
    fn payload(&self, _: &Root) -> Option<PayloadInfo> {
        None
    }
    fn payload_by_block_hash(&self, _: &BlockHash) -> Option<PayloadInfo> {
        None
    }
    fn block(&self, block_root: &Root) -> Option<BlockInfo> {
        self.state.lock().blocks.get(block_root).cloned()
    }
    fn canonical_block_at(&self, _: Slot) -> Option<BlockInfo> {
        None
    }
    fn is_canonical(&self, _: &Root) -> bool {
        false
    }
    fn head(&self) -> Option<BlockInfo> {
        self.state.lock().head.clone()
    }
    fn finalized(&self) -> Checkpoint {
        self.state.lock().finalized
    }
    fn is_synced(&self) -> bool {
        true
    }
    async fn validator(&self, _: ValidatorIndex, _: &PayloadInfo) -> ValidatorAnswer {
        ValidatorAnswer::Unavailable("not asked here".into())
    }
    fn subscribe(&self) -> broadcast::Receiver<ChainEvent> {
        self.events.subscribe()
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 30 s");
}

#[tokio::test]
async fn the_index_follows_from_before_the_start_through_events_to_the_end() {
    let t = TestStore::new(config());
    let chain = HandChain::new(64);
    // Known before the task starts.
    for n in 1..=9 {
        chain.block(&block(n, n - 1, n));
    }
    chain.head(&block(9, 8, 9));
    let reader = t.store().reader().clone();
    let canonical = |slot| {
        reader
            .canonical_block_at(Slot(slot))
            .unwrap()
            .map(|b| b.block_root)
    };
    let task = tokio::spawn(follow(t.store().clone(), chain.clone()));
    until("what was known at the start", || {
        canonical(9) == Some(block_root(9))
    })
    .await;
    assert_eq!(canonical(1), Some(block_root(1)));

    let fork = [block(20, 8, 10), block(21, 20, 11)];
    fork.iter().for_each(|b| chain.block(b));
    chain.head(&fork[1]);
    until("the reorg", || canonical(11) == Some(block_root(21))).await;
    assert_eq!(canonical(9), None);

    t.store()
        .put_raw(key(9, 9, 1, 0), vec![1; 200].into())
        .await
        .unwrap();
    t.store()
        .put_raw(key(10, 20, 1, 0), vec![1; 200].into())
        .await
        .unwrap();
    chain.finalize(2, &block(20, 8, 10));
    until("finality", || t.keys() == [key(10, 20, 1, 0)]).await;

    let event = ChainEvent::Conflict {
        block_hash: root(9, 9),
        roots: [payload(20), payload(99)],
        source: assay_chain::PayloadSource::EngineApi,
    };
    chain.events.send(event).unwrap();
    until("the conflict", || {
        reader
            .block(&block_root(20))
            .unwrap()
            .unwrap()
            .new_payload_request_root
            .is_none()
    })
    .await;

    // The chain view goes away: the task ends.
    task.abort();
    let _ = task.await;
}

#[tokio::test]
async fn having_fallen_behind_is_made_good_from_the_view() {
    let t = TestStore::new(config());
    let chain = HandChain::new(2);
    chain.block(&block(1, 0, 1));
    chain.head(&block(1, 0, 1));
    let reader = t.store().reader().clone();
    let task = tokio::spawn(follow(t.store().clone(), chain.clone()));
    until("the start", || {
        reader.canonical_block_at(Slot(1)).unwrap().is_some()
    })
    .await;
    // Many more events than the channel keeps, without letting the task run between them.
    for n in 2..=60 {
        chain.block(&block(n, n - 1, n));
        chain.head(&block(n, n - 1, n));
    }
    until("all of it", || {
        (2..=60).all(|n| reader.canonical_block_at(Slot(n)).unwrap().is_some())
    })
    .await;
    task.abort();
    let _ = task.await;
}
