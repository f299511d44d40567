//! A beacon node's blocks for peers, from nodes with faults, over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use assay_chain::{
    BlockAt, BlockSource, Chain, ChainView, Follower, ManualClock, NodeBlocks, NodeBlocksConfig, RawBlock,
    SourceError, connect, node_api::MAX_BLOCK_BYTES,
};
use assay_types::{ForkName, Root, Slot, spec::ConfigMap};
use fake::{
    blocks::{Built, GENESIS_TIME},
    node::FakeNode,
};
use serde_json::json;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

/// A view of the node as it is now, and its blocks.
struct Serving {
    view: Arc<ChainView>,
    blocks: Arc<NodeBlocks>,
    cancel: CancellationToken,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Serving {
    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("not in time: {what}; {:?}", self.blocks.chain_status());
        }
    }

    fn earliest(&self) -> u64 {
        self.blocks.chain_status().unwrap().earliest_available_slot.0
    }

    async fn by_slot(&self, slot: u64) -> Result<Option<RawBlock>, SourceError> {
        self.blocks.block(BlockAt::Slot(Slot(slot))).await
    }

    async fn by_root(&self, root: Root) -> Result<Option<RawBlock>, SourceError> {
        self.blocks.block(BlockAt::Root(root)).await
    }
}

fn quick() -> NodeBlocksConfig {
    NodeBlocksConfig {
        timeout: Duration::from_secs(5),
        probe_pause: Duration::ZERO,
        probe_every: Duration::from_millis(30),
        ..NodeBlocksConfig::default()
    }
}

/// Follows the node until its head is here. The search for the earliest block is not started.
async fn serve(node: &FakeNode, config: NodeBlocksConfig) -> Serving {
    let found = timeout(PATIENCE, connect(&node.url(), &ConfigMap::new()))
        .await
        .unwrap()
        .unwrap();
    let clock = Arc::new(ManualClock::new(Duration::from_secs(GENESIS_TIME + 1000)));
    let view = Arc::new(ChainView::new(
        found.spec,
        found.genesis,
        clock,
        found.api.clone(),
    ));
    let cancel = CancellationToken::new();
    tokio::spawn(Follower::new(found.api.clone(), view.clone(), ConfigMap::new()).run(cancel.clone()));
    let serving = Serving {
        blocks: Arc::new(NodeBlocks::new(found.api, view.clone(), config)),
        view,
        cancel,
    };
    serving.until("synced", |serving| serving.view.is_synced()).await;
    serving
}

/// Blocks in slots 1 to 20 without 5 and 13, Gloas from 16 on, epoch 1 (slot 8) finalized: the view holds slots 8 to 20.
fn chain(node: &FakeNode) -> Vec<Built> {
    let blocks = node.extend((1..=20).filter(|slot| ![5, 13].contains(slot)));
    let anchor = blocks.iter().find(|block| block.slot == 8).unwrap();
    node.finalize(1, anchor);
    blocks
}

fn is_block(found: &RawBlock, block: &Built) -> bool {
    let spec = fake::blocks::spec();
    let digest = spec.fork_digest(
        &fake::blocks::genesis().genesis_validators_root,
        spec.epoch_at_slot(found.slot),
    );
    found.ssz == block.ssz
        && found.root == block.root
        && found.slot.0 == block.slot
        && found.fork == block.fork
        && found.fork_digest == digest
}

#[tokio::test]
async fn blocks_pass_as_they_are_by_slot_and_by_root() {
    let node = FakeNode::start();
    let blocks = chain(&node);
    let stale = node.add(Some(blocks[15].root), 20, 9, true);
    let serving = serve(&node, quick()).await;
    for block in &blocks {
        let found = serving.by_slot(block.slot).await.unwrap().unwrap();
        assert!(is_block(&found, block), "{}", block.slot);
    }
    // Within the view a slot is its canonical root; below it the node says.
    assert_eq!((node.asked("blocks/7"), node.asked("blocks/9")), (1, 0));
    for slot in [5, 13, 21, 1_000_000] {
        assert_eq!(serving.by_slot(slot).await, Ok(None), "{slot}");
    }
    assert!(is_block(
        &serving.by_root(stale.root).await.unwrap().unwrap(),
        &stale
    ));
    assert_eq!(serving.by_root(Root::from([3; 32])).await, Ok(None));

    // What was given is not asked for again, and is at hand; below the view it is not known whose slot it is.
    let asked = node.asked("/blocks/0x");
    let at_hand = |at| serving.blocks.block_at_hand(at);
    for block in &blocks {
        let by_slot = at_hand(BlockAt::Slot(Slot(block.slot)));
        assert_eq!(by_slot.is_some(), block.slot >= 8, "{}", block.slot);
        let found = at_hand(BlockAt::Root(block.root)).unwrap();
        assert!(is_block(&found, block), "{}", block.slot);
    }
    assert_eq!(at_hand(BlockAt::Root(Root::from([3; 32]))), None);
    assert_eq!(at_hand(BlockAt::Slot(Slot(13))), None);
    for block in blocks.iter().filter(|block| block.slot >= 8) {
        serving.by_root(block.root).await.unwrap().unwrap();
        serving.by_slot(block.slot).await.unwrap().unwrap();
    }
    assert_eq!(node.asked("/blocks/0x"), asked);
}

#[tokio::test]
async fn a_canonical_block_that_the_node_dropped_is_no_empty_slot() {
    let node = FakeNode::start();
    let blocks = chain(&node);
    let serving = serve(&node, quick()).await;
    let gone = &blocks[blocks.len() - 2];
    node.faults(|faults| faults.no_blocks = HashSet::from([gone.root]));
    assert!(matches!(
        serving.by_slot(gone.slot).await,
        Err(SourceError::Unavailable(_))
    ));
    assert_eq!(serving.by_root(gone.root).await, Ok(None));
}

#[tokio::test]
async fn envelopes_pass_for_blocks_that_have_one() {
    let node = FakeNode::start();
    let mut blocks = chain(&node);
    let withheld = node.add(Some(blocks[blocks.len() - 1].root), 21, 0, true);
    node.import_withheld(&withheld);
    let fulu = blocks.iter().position(|block| block.slot == 14).unwrap();
    let serving = serve(&node, quick()).await;
    serving
        .until("head", |serving| serving.view.head().unwrap().slot == Slot(21))
        .await;
    for block in blocks.split_off(fulu + 2) {
        let (ssz, _) = block.envelope.clone().unwrap();
        let found = serving.blocks.envelope(block.root).await.unwrap().unwrap();
        assert_eq!(
            (&found.ssz, found.root, found.slot.0, found.fork),
            (&ssz, block.root, block.slot, ForkName::Gloas)
        );
        serving.blocks.envelope(block.root).await.unwrap().unwrap();
    }
    let asked = node.asked("envelope");
    // Known to be of Fulu: nobody is asked.
    assert_eq!(serving.blocks.envelope(blocks[fulu].root).await, Ok(None));
    assert_eq!(node.asked("envelope"), asked);
    assert_eq!(serving.blocks.envelope(withheld.root).await, Ok(None));
}

#[tokio::test]
async fn a_node_without_ssz_gives_the_same_bytes() {
    for refuses in [200, 406] {
        let node = FakeNode::start();
        node.faults(|faults| faults.ssz = Some(refuses));
        let blocks = chain(&node);
        let serving = serve(&node, quick()).await;
        for block in &blocks {
            let found = serving.by_slot(block.slot).await.unwrap().unwrap();
            assert!(is_block(&found, block), "{refuses} {}", block.slot);
        }
        let last = &blocks[blocks.len() - 1];
        let found = serving.blocks.envelope(last.root).await.unwrap().unwrap();
        assert_eq!(found.ssz, last.envelope.as_ref().unwrap().0);
    }
}

#[tokio::test]
async fn what_is_not_what_was_asked_for_is_not_passed_on() {
    let node = FakeNode::start();
    let blocks = chain(&node);
    let serving = serve(&node, quick()).await;
    let (old, last) = (&blocks[2], &blocks[blocks.len() - 1]);
    let set = |change: &dyn Fn(&mut fake::node::Faults)| {
        node.faults(|faults| {
            *faults = fake::node::Faults::default();
            change(faults);
        })
    };
    let wrong = |found: Result<Option<RawBlock>, SourceError>, why: &str| match found {
        Err(SourceError::Wrong(text)) => assert!(text.contains(why), "{text}"),
        other => panic!("{why}: {other:?}"),
    };
    set(&|faults| faults.one_block = Some(old.root));
    wrong(serving.by_root(last.root).await, "asked for block");
    wrong(serving.by_slot(last.slot).await, "asked for block");
    wrong(serving.by_slot(4).await, "asked for block 4");
    set(&|faults| faults.nearest_block = true);
    wrong(serving.by_slot(5).await, "of slot 4");
    set(&|faults| faults.one_block = Some(last.root));
    wrong(
        serving.blocks.envelope(Root::from([9; 32])).await,
        "asked for the envelope",
    );
    set(&|faults| faults.block_bytes = Some(vec![7; 300]));
    wrong(serving.by_slot(3).await, "SignedBeaconBlock");
    set(&|faults| faults.block_bytes = Some(old.ssz[..old.ssz.len() - 1].to_vec()));
    wrong(serving.by_slot(3).await, "SignedBeaconBlock");
    // Blocks of Deneb and Electra are not told apart by every byte string; what the schedule says is.
    set(&|faults| faults.fork = Some("electra"));
    wrong(serving.by_slot(3).await, "is called one of electra");
    set(&|faults| faults.block_bytes = Some(vec![7; MAX_BLOCK_BYTES + 1]));
    wrong(serving.by_slot(3).await, "larger than");
    set(&|faults| faults.unavailable = true);
    assert!(matches!(
        serving.by_slot(3).await,
        Err(SourceError::Unavailable(_))
    ));
    // None of it was kept.
    set(&|_| {});
    assert!(is_block(&serving.by_slot(3).await.unwrap().unwrap(), old));
}

#[tokio::test]
async fn a_slow_node_is_given_up_and_asked_by_few_at_once() {
    let node = FakeNode::start();
    chain(&node);
    let config = NodeBlocksConfig {
        concurrent: 2,
        waiting: 3,
        timeout: Duration::from_millis(600),
        ..quick()
    };
    let serving = serve(&node, config).await;
    node.faults(|faults| faults.delay = Duration::from_secs(3));
    let before = node.asked("/blocks/0x");
    let asked: Vec<_> = (0..10u8)
        .map(|n| {
            let blocks = serving.blocks.clone();
            tokio::spawn(async move { blocks.block(BlockAt::Root(Root::from([n; 32]))).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let under_way = node.asked("/blocks/0x") - before;
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    let count = |error: &SourceError| {
        answers
            .iter()
            .filter(|answer| answer.as_ref().err() == Some(error))
            .count()
    };
    assert_eq!(under_way, 2);
    // Two are under way, three wait, all of them in vain; nobody else waits.
    assert_eq!(
        (count(&SourceError::TimedOut), count(&SourceError::Busy)),
        (5, 5),
        "{answers:?}"
    );
    // Those who gave up left their places.
    node.faults(|faults| faults.delay = Duration::ZERO);
    assert!(serving.by_slot(3).await.unwrap().is_some());
    assert!(serving.by_slot(4).await.unwrap().is_some());
}

#[tokio::test]
async fn the_status_says_what_is_so() {
    let mut node = FakeNode::start();
    // A view that never met its node.
    let found = connect(&node.url(), &ConfigMap::new()).await.unwrap();
    let clock = Arc::new(ManualClock::default());
    let view = Arc::new(ChainView::new(
        found.spec,
        found.genesis,
        clock,
        found.api.clone(),
    ));
    let nothing = NodeBlocks::new(found.api, view, quick());
    assert_eq!(nothing.chain_status(), None);
    assert!(matches!(
        nothing.block(BlockAt::Slot(Slot(1))).await,
        Err(SourceError::Unavailable(_))
    ));

    let blocks = chain(&node);
    let serving = serve(&node, quick()).await;
    let status = serving.blocks.chain_status().unwrap();
    let last = &blocks[blocks.len() - 1];
    assert_eq!((status.head_root, status.head_slot.0), (last.root, 20));
    assert_eq!(status.finalized, serving.view.finalized());
    assert_eq!(status.finalized.epoch.0, 1);
    // Before anything was looked for: what the view got from the node.
    assert_eq!(status.earliest_available_slot.0, 8);
    // Without an answer the claim stays.
    node.stop();
    let search = tokio::spawn(serving.blocks.clone().run(serving.cancel.clone()));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(serving.earliest(), 8);
    assert!(matches!(
        serving.by_slot(3).await,
        Err(SourceError::Unavailable(_) | SourceError::TimedOut)
    ));
    node.listen();
    serving
        .until("all of it", |serving| serving.earliest() == 1)
        .await;
    serving.cancel.cancel();
    timeout(PATIENCE, search).await.unwrap().unwrap();
}

#[tokio::test]
async fn no_root_is_told_of_epoch_0() {
    let node = FakeNode::start();
    let genesis = node.add(None, 0, 0, true);
    node.import(&genesis);
    node.extend(1..=3);
    // As nodes do that name genesis where there is no finality.
    node.finalize(0, &genesis);
    let serving = serve(&node, quick()).await;
    serving
        .until("what the node says", |serving| {
            serving.view.finalized().root == genesis.root
        })
        .await;
    assert!(serving.blocks.chain_status().unwrap().finalized.root.is_zero());
}

#[tokio::test]
async fn the_earliest_slot_follows_the_node() {
    let node = FakeNode::start();
    let genesis = node.add(None, 0, 0, true);
    node.import(&genesis);
    chain(&node);
    node.faults(|faults| faults.blocks_from = 6);
    let serving = serve(&node, quick()).await;
    tokio::spawn(serving.blocks.clone().run(serving.cancel.clone()));
    // Genesis is there, and says nothing.
    serving
        .until("its checkpoint", |serving| serving.earliest() == 6)
        .await;
    node.faults(|faults| faults.blocks_from = 3);
    serving
        .until("filled in", |serving| serving.earliest() == 3)
        .await;
    node.faults(|faults| faults.blocks_from = 0);
    serving
        .until("everything", |serving| serving.earliest() == 0)
        .await;
    // Blocks that come as something else are not there.
    node.faults(|faults| faults.nearest_block = true);
    node.faults(|faults| faults.block_bytes = Some(vec![1, 2, 3]));
    serving
        .until("only what the view has", |serving| serving.earliest() == 8)
        .await;
    // A 503 is no answer: nothing is learnt by it.
    node.faults(|faults| faults.block_bytes = None);
    serving.until("again", |serving| serving.earliest() == 0).await;
    node.faults(|faults| faults.unavailable = true);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(serving.earliest(), 0);
}

#[tokio::test]
async fn nodes_that_the_node_knows() {
    let node = FakeNode::start();
    chain(&node);
    let serving = serve(&node, quick()).await;
    assert!(matches!(
        serving.blocks.known_nodes().await,
        Err(SourceError::Unavailable(_))
    ));
    *node.shared.identity.lock() =
        json!({"peer_id": "16Uiu2", "enr": "enr:-own", "p2p_addresses": ["/ip4/10.0.0.1/tcp/9000"]});
    let known = serving.blocks.known_nodes().await.unwrap();
    let own = known.own.unwrap();
    assert_eq!(
        (own.enr.as_deref(), own.addresses),
        (Some("enr:-own"), vec!["/ip4/10.0.0.1/tcp/9000".to_owned()])
    );
    assert_eq!(known.peers, []);
    *node.shared.peers.lock() = json!([
        {"peer_id": "a", "enr": null, "last_seen_p2p_address": "/ip4/10.0.0.2/tcp/9", "state": "connected", "direction": "outbound"},
        {"peer_id": "b", "enr": "", "last_seen_p2p_address": "", "state": "connected"},
        {"peer_id": "c", "enr": "enr:-gone", "last_seen_p2p_address": "", "state": "disconnected"},
        {"peer_id": "d", "enr": "enr:-d", "last_seen_p2p_address": "/ip4/10.0.0.4/tcp/9", "state": "connected", "direction": "inbound"},
        5,
    ]);
    let peers = serving.blocks.known_nodes().await.unwrap().peers;
    let ids: Vec<_> = peers
        .iter()
        .map(|peer| (peer.peer_id.as_deref().unwrap(), peer.outbound))
        .collect();
    assert_eq!(ids, [("a", Some(true)), ("d", Some(false))]);
}
