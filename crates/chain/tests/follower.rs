//! The follower against a beacon node with faults, over real HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use assay_chain::{
    Chain, ChainEvent, ChainView, Follower, ManualClock, PayloadInfo, PayloadSeen, ValidatorAnswer, connect,
};
use assay_types::{Root, SecretKey, Slot, spec::ConfigMap};
use fake::{
    blocks::{Built, GENESIS_TIME},
    node::{FakeNode, VALIDATORS},
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::broadcast, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);

struct Following {
    view: Arc<ChainView>,
    events: broadcast::Receiver<ChainEvent>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

async fn follow(node: &FakeNode) -> Following {
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
    let events = view.subscribe();
    let cancel = CancellationToken::new();
    let follower = Follower::new(found.api, view.clone(), ConfigMap::new());
    let task = tokio::spawn(follower.run(cancel.clone()));
    Following {
        view,
        events,
        cancel,
        task,
    }
}

impl Following {
    async fn until(&self, what: &str, done: impl Fn(&ChainView) -> bool) {
        let wait = async {
            while !done(&self.view) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(PATIENCE, wait).await.is_err() {
            panic!(
                "not in time: {what}; head {:?} missing {:?}",
                self.view.head(),
                self.view.missing()
            );
        }
    }

    /// The view is at this head, with nothing missing and every payload below it.
    async fn at(&self, head: &Built) {
        self.until(&format!("head in slot {}", head.slot), |view| {
            view.is_synced()
                && view.head().is_some_and(|now| now.block_root == head.root)
                && view.payload(&head.request_root).is_some()
        })
        .await;
    }

    fn connections(&mut self) -> Vec<bool> {
        let mut connections = Vec::new();
        loop {
            match self.events.try_recv() {
                Ok(ChainEvent::Connected(connected)) => connections.push(connected),
                Ok(_) => {}
                Err(broadcast::error::TryRecvError::Empty) => return connections,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn end(self) {
        self.cancel.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
        assert!(!self.view.is_synced() && !self.view.is_connected());
    }
}

fn assert_known(view: &ChainView, blocks: &[Built]) {
    for block in blocks {
        let info = view
            .block(&block.root)
            .unwrap_or_else(|| panic!("block in slot {}", block.slot));
        assert_eq!(
            info.new_payload_request_root,
            Some(block.request_root),
            "slot {}",
            block.slot
        );
        assert_eq!(view.canonical_block_at(Slot(block.slot)), Some(info));
        assert!(view.is_canonical(&block.request_root), "slot {}", block.slot);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catches_up_and_follows_from_fulu_into_gloas() {
    let node = FakeNode::start();
    let mut blocks = node.extend([1, 2, 3, 5, 6, 8, 9]);
    let mut following = follow(&node).await;
    following.at(&blocks[6]).await;
    blocks.extend(node.extend([10, 15, 16, 17, 20]));
    following.at(&blocks[11]).await;
    following
        .until("every payload", |view| {
            blocks.iter().all(|block| view.is_canonical(&block.request_root))
        })
        .await;
    assert_known(&following.view, &blocks);
    assert_eq!(following.view.canonical_block_at(Slot(4)), None);

    node.finalize(1, &blocks[5]);
    following
        .until("finality", |view| view.finalized().root == blocks[5].root)
        .await;
    assert_eq!(following.connections(), [true]);
    assert_eq!(following.view.counters(), Default::default());
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begins_at_the_finalized_block() {
    let node = FakeNode::start();
    let blocks = node.extend(1..=14);
    node.finalize(1, &blocks[7]);
    let following = follow(&node).await;
    following.at(&blocks[13]).await;
    assert_known(&following.view, &blocks[7..]);
    assert_eq!(
        following.view.block(&blocks[6].root),
        None,
        "what is below is not asked for"
    );
    let found = timeout(PATIENCE, connect(&node.url(), &ConfigMap::new()))
        .await
        .unwrap()
        .unwrap();
    let anchor = found.anchor.unwrap();
    assert_eq!(
        (anchor.checkpoint.epoch.0, anchor.block.block_root),
        (1, blocks[7].root)
    );
    assert_eq!(found.node_version.as_deref(), Some("fake/1"));
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorg_and_a_withheld_payload() {
    let node = FakeNode::start();
    let mut blocks = node.extend([1, 16, 17]);
    let following = follow(&node).await;
    following.at(&blocks[2]).await;
    // 18 comes without its envelope, and 19 passes it over.
    let withheld = node.add(Some(blocks[2].root), 18, 0, true);
    node.import_withheld(&withheld);
    let over = node.add(Some(withheld.root), 19, 0, false);
    node.import(&over);
    following.at(&over).await;
    assert_eq!(
        following
            .view
            .block(&withheld.root)
            .unwrap()
            .new_payload_request_root,
        None
    );
    assert_known(&following.view, &[blocks[2].clone(), over.clone()]);
    // It is revealed after all: known, not canonical.
    node.reveal(&withheld);
    following
        .until("the late envelope", |view| {
            view.payload(&withheld.request_root).is_some()
        })
        .await;
    assert!(!following.view.is_canonical(&withheld.request_root));

    // Another branch from 17 on, told by its head alone.
    let rival = node.add(Some(blocks[2].root), 18, 7, true);
    let tip = node.add(Some(rival.root), 20, 7, true);
    node.reveal(&rival);
    node.import(&tip);
    following.at(&tip).await;
    blocks.extend([rival, tip]);
    following
        .until("the rival's payload", |view| {
            blocks.iter().all(|block| view.is_canonical(&block.request_root))
        })
        .await;
    assert_known(&following.view, &blocks);
    assert!(!following.view.is_canonical(&over.request_root));
    assert_eq!(following.view.counters().reorgs, 1);
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_give_no_ssz() {
    type Fault = fn(&mut fake::node::Faults);
    let faults: [(&str, Fault); 4] = [
        ("406", |faults| faults.ssz = Some(406)),
        ("415", |faults| faults.ssz = Some(415)),
        ("JSON all the same", |faults| faults.ssz = Some(200)),
        ("no fork beside it", |faults| faults.no_version_header = true),
    ];
    for (name, fault) in faults {
        let node = FakeNode::start();
        node.faults(fault);
        let blocks = node.extend([1, 2, 16, 17]);
        let following = follow(&node).await;
        following.at(&blocks[3]).await;
        following
            .until(name, |view| {
                blocks.iter().all(|block| view.is_canonical(&block.request_root))
            })
            .await;
        assert_known(&following.view, &blocks);
        following.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_refuse_topics() {
    type Fault = fn(&mut fake::node::Faults);
    let faults: [(Fault, usize); 3] = [
        (|faults| faults.no_commas = true, 2),
        (|faults| faults.no_gloas_topics = true, 3),
        (
            |faults| (faults.no_commas, faults.no_gloas_topics) = (true, true),
            4,
        ),
    ];
    for (fault, tries) in faults {
        let mut node = FakeNode::start();
        node.faults(fault);
        let blocks = node.extend([1, 16]);
        let following = follow(&node).await;
        following.at(&blocks[1]).await;
        assert_eq!(node.asked("/events"), tries);
        // Without the topics of Gloas its envelopes are asked for by the clock.
        let more = node.extend([17, 18]);
        following.at(&more[1]).await;
        following
            .until("payloads", |view| {
                more.iter().all(|block| view.is_canonical(&block.request_root))
            })
            .await;
        // What worked is asked for first from then on.
        node.stop();
        node.listen();
        following
            .until("asked again", |_| node.asked("/events") > tries)
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(node.asked("/events"), tries + 1);
        following.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_refuse_events_or_keep_silent_are_followed_by_asking() {
    type Fault = fn(&mut fake::node::Faults);
    let faults: [Fault; 3] = [
        |faults| faults.no_events = true,
        |faults| faults.mute_commas = true,
        |faults| faults.mute = true,
    ];
    for fault in faults {
        let node = FakeNode::start();
        node.faults(fault);
        let mut blocks = node.extend([1, 2]);
        let following = follow(&node).await;
        following.at(&blocks[1]).await;
        for slot in 3..=6 {
            blocks.extend(node.extend([slot]));
            following.at(blocks.last().unwrap()).await;
        }
        assert!(node.asked("/events") >= 2, "other forms are tried");
        assert_known(&following.view, &blocks);
        following.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_stream_is_opened_again_and_nothing_is_missed() {
    let node = FakeNode::start();
    let mut blocks = node.extend([1, 2]);
    let mut following = follow(&node).await;
    following.at(&blocks[1]).await;
    for round in 0..3 {
        node.break_streams();
        // Imported while nobody listens.
        blocks.extend(node.extend([3 + round * 3, 4 + round * 3]));
        following.at(blocks.last().unwrap()).await;
    }
    assert_known(&following.view, &blocks);
    assert_eq!(
        following.connections(),
        [true],
        "a stream that comes back at once is no disconnection"
    );
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_node_is_survived() {
    let mut node = FakeNode::start();
    let mut blocks = node.extend([1, 2]);
    let mut following = follow(&node).await;
    following.at(&blocks[1]).await;
    node.stop();
    following.until("gone", |view| !view.is_connected()).await;
    assert!(!following.view.is_synced());
    assert_eq!(
        following.view.head().unwrap().block_root,
        blocks[1].root,
        "what is known stays known"
    );
    blocks.extend(node.extend(3..=12));
    node.finalize(1, &blocks[7]);
    node.listen();
    following.at(&blocks[11]).await;
    // Finality has moved while the node was away: the blocks up to it are filled in all the same.
    following
        .until("finality", |view| view.finalized().root == blocks[7].root)
        .await;
    assert_known(&following.view, &blocks);
    assert_eq!(following.connections(), [true, false, true]);
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_and_slow_answers_are_survived() {
    let node = FakeNode::start();
    let mut blocks = node.extend([1, 2]);
    node.faults(|faults| faults.delay = Duration::from_millis(150));
    let following = follow(&node).await;
    following.at(&blocks[1]).await;
    node.faults(|faults| (faults.delay, faults.unavailable) = (Duration::ZERO, true));
    blocks.extend(node.extend([3, 4, 5]));
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(following.view.head().unwrap().block_root, blocks[1].root);
    let asked = node.asked("/blocks/");
    assert!(asked < 40, "{asked} requests in half a second");
    node.faults(|faults| faults.unavailable = false);
    following.at(&blocks[4]).await;
    assert_known(&following.view, &blocks);
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_network_is_never_mixed_in() {
    let mut node = FakeNode::start();
    let blocks = node.extend([1, 2]);
    let following = follow(&node).await;
    following.at(&blocks[1]).await;
    node.stop();
    following.until("gone", |view| !view.is_connected()).await;
    node.faults(|faults| faults.genesis_validators_root = Some(Root::from([9; 32])));
    let foreign = node.extend([3]);
    let before = node.asked("/genesis");
    node.listen();
    following
        .until("looked at", |_| node.asked("/genesis") > before)
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!following.view.is_connected() && !following.view.is_synced());
    assert_eq!(following.view.block(&foreign[0].root), None);
    assert_eq!(following.view.head().unwrap().block_root, blocks[1].root);
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_the_connection_broke_is_not_taken() {
    let node = FakeNode::start();
    let blocks = node.extend([1, 2]);
    let following = follow(&node).await;
    following.at(&blocks[1]).await;
    // The head is asked for every two slots: one question is under way when the stream breaks, and another network's node
    // answers it.
    node.faults(|faults| faults.delay = Duration::from_millis(2200));
    let before = node.asked("/headers/head");
    following
        .until("asked", |_| node.asked("/headers/head") > before)
        .await;
    node.faults(|faults| faults.genesis_validators_root = Some(Root::from([9; 32])));
    let foreign = node.add(Some(blocks[1].root), 3, 9, true);
    node.shared.chain.lock().head = Some(foreign.root);
    node.break_streams();
    following
        .until("another network", |view| !view.is_connected())
        .await;
    assert_eq!(following.view.missing().head, None);
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_whose_past_the_node_does_not_have_begins_where_it_can() {
    let node = FakeNode::start();
    let blocks = node.extend(1..=6);
    node.faults(|faults| faults.no_blocks.extend([blocks[2].root]));
    let following = follow(&node).await;
    following.at(&blocks[5]).await;
    assert_known(&following.view, &blocks[3..]);
    assert_eq!(following.view.block(&blocks[1].root), None);
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_block_are_passed_over() {
    let node = FakeNode::start();
    let blocks = node.extend([1, 2]);
    let following = follow(&node).await;
    following.at(&blocks[1]).await;
    node.faults(|faults| faults.block_bytes = Some(vec![0xff; 500]));
    let bad = node.extend([3]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(following.view.block(&bad[0].root), None);
    // A block under another's root is no better.
    node.faults(|faults| faults.block_bytes = Some(blocks[0].ssz.to_vec()));
    let before = node.asked("/blocks/");
    let wrong = node.extend([4]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = node.asked("/blocks/") - before;
    assert!(asked <= 4, "asked {asked} times for what is of no use");
    assert_eq!(following.view.block(&wrong[0].root), None);
    node.faults(|faults| faults.block_bytes = None);
    let good = node.extend([5]);
    following
        .until("the next head", |view| {
            view.head().is_some_and(|head| head.block_root == good[0].root)
        })
        .await;
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_events_are_survived() {
    let node = FakeNode::start();
    let blocks = node.extend([1, 2]);
    let following = follow(&node).await;
    following.at(&blocks[1]).await;
    for text in [
        "event: head\ndata: {}\n\n".to_owned(),
        "event: head\ndata: not json\n\n".to_owned(),
        "event: unheard_of\ndata: {\"a\":1}\n\n".to_owned(),
        "data: {}\n\n".to_owned(),
        format!(
            "event: block\ndata: {{\"block\":\"{}\"}}\n\n",
            Root::from([3; 32])
        ),
        // Larger than any event: the stream is closed and opened again.
        format!("event: head\ndata: {}", "x".repeat(600 << 10)),
    ] {
        node.emit_raw(text);
    }
    following
        .until("opened again", |_| node.asked("/events") >= 2)
        .await;
    let more = node.extend([3]);
    following.at(&more[0]).await;
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plural_path_of_envelopes_is_found() {
    let node = FakeNode::start();
    node.faults(|faults| faults.plural_envelopes = true);
    let blocks = node.extend([16, 17, 18]);
    let following = follow(&node).await;
    following.at(&blocks[2]).await;
    following
        .until("payloads", |view| {
            blocks.iter().all(|block| view.is_canonical(&block.request_root))
        })
        .await;
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_api_and_the_beacon_api_must_agree() {
    let node = FakeNode::start();
    let blocks = node.extend([1, 2]);
    let following = follow(&node).await;
    following.at(&blocks[1]).await;
    let seen = |block: &Built, new_payload_request_root| PayloadSeen {
        new_payload_request_root,
        block_hash: block.block_hash,
        parent_hash: block.parent_hash,
        timestamp: GENESIS_TIME + block.slot,
        fork: block.fork,
    };
    let good = node.add(Some(blocks[1].root), 3, 0, true);
    following
        .view
        .on_engine_payload(seen(&good, good.request_root))
        .unwrap();
    node.import(&good);
    following.at(&good).await;
    assert_known(&following.view, std::slice::from_ref(&good));
    assert_eq!(following.view.counters().payload_conflicts, 0);

    let bad = node.add(Some(good.root), 16, 0, true);
    following
        .view
        .on_engine_payload(seen(&bad, Root::from([1; 32])))
        .unwrap();
    node.import(&bad);
    following
        .until("the envelope", |view| view.counters().payload_conflicts == 1)
        .await;
    assert!(following.view.is_contested(&bad.block_hash));
    assert!(
        !following.view.is_canonical(&bad.request_root) && !following.view.is_canonical(&Root::from([1; 32]))
    );
    assert_eq!(
        following.view.block(&bad.root).unwrap().new_payload_request_root,
        None
    );
    following.end().await;
}

async fn ask(view: &ChainView, index: u64, payload: &PayloadInfo) -> (Option<bool>, bool) {
    match view.validator(index, payload).await {
        ValidatorAnswer::Known { record, decisive } => {
            assert_eq!(
                record.pubkey.to_bytes(),
                SecretKey::interop(index).public_key().to_bytes()
            );
            (Some(true), decisive)
        }
        ValidatorAnswer::Absent { decisive } => (Some(false), decisive),
        ValidatorAnswer::Unavailable(_) => (None, false),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validators_are_asked_for_one_at_a_time() {
    let node = FakeNode::start();
    let blocks = node.extend([1, 2, 3]);
    let following = follow(&node).await;
    following.at(&blocks[2]).await;
    let view = &following.view;
    let payload = |i: usize| view.payload(&blocks[i].request_root).unwrap();
    assert_eq!(ask(view, 0, &payload(2)).await, (Some(true), true));
    assert_eq!(
        ask(view, VALIDATORS, &payload(2)).await,
        (Some(false), true),
        "no such index in a state that is there"
    );
    // A state that is gone is not an absent validator.
    node.faults(|faults| {
        faults
            .no_states
            .extend(blocks.iter().map(|block| block.state_root))
    });
    assert_eq!(ask(view, 1, &payload(2)).await, (None, false));
    assert_eq!(ask(view, VALIDATORS + 1, &payload(2)).await, (None, false));
    // The head's state answers for a block below it.
    node.faults(|faults| faults.no_states.retain(|state| *state != blocks[2].state_root));
    assert_eq!(ask(view, 2, &payload(0)).await, (Some(true), true));
    node.faults(|faults| faults.unavailable = true);
    assert_eq!(ask(view, 3, &payload(2)).await, (None, false));
    assert_eq!(
        node.asked("/validators?"),
        4,
        "whole registries are never asked for"
    );
    assert_eq!(node.asked("/validators?id="), 4);
    following.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_waits_for_the_node_and_refuses_what_cannot_work() {
    let mut node = FakeNode::start();
    node.stop();
    let url = node.url();
    let waiting =
        tokio::spawn(async move { connect(&url, &ConfigMap::new()).await.map(|found| found.genesis) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    node.faults(|faults| faults.unavailable = true);
    node.listen();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(!waiting.is_finished());
    node.faults(|faults| faults.unavailable = false);
    let genesis = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(genesis, fake::blocks::genesis());

    for url in ["not a url", "ftp://127.0.0.1", "127.0.0.1:5052"] {
        assert!(connect(url, &ConfigMap::new()).await.is_err(), "{url}");
    }
    let mut unknown = ConfigMap::new();
    unknown.insert("NO_SUCH_SETTING".to_owned(), "1".into());
    assert!(
        timeout(PATIENCE, connect(&node.url(), &unknown))
            .await
            .unwrap()
            .is_err()
    );
    let mut known = ConfigMap::new();
    known.insert("MAX_PROOF_SIZE".to_owned(), "1000".into());
    let found = timeout(PATIENCE, connect(&node.url(), &known))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.spec.max_proof_size, 1000);
}
