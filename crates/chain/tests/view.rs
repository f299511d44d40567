//! `ChainView` as gate, verifier and store see it: placing engine payloads, events, and which state a validator is read
//! from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use assay_chain::{
    Chain, ChainEvent, ChainView, Checkpoint, ManualClock, PayloadSeen, StateId, StateValidator,
    ValidatorAnswer, ValidatorSource,
    seen::Misplaced,
    tree::Insertion,
    validators::{MAX_NEW_REQUESTS, RawValidator, UNAVAILABLE_FOR},
};
use assay_types::{Epoch, ForkName, Root, SecretKey, Slot, Spec, ValidatorIndex, spec::Genesis};
use async_trait::async_trait;
use common::*;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const GENESIS_TIME: u64 = 1_000_000;

/// Answers from a table and keeps what it was asked.
#[derive(Default)]
struct Table {
    answers: Mutex<HashMap<(StateId, ValidatorIndex), StateValidator>>,
    asked: Mutex<Vec<(StateId, ValidatorIndex)>>,
    delay: Mutex<Duration>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Table {
    fn set(&self, state: StateId, index: ValidatorIndex, answer: StateValidator) {
        self.answers.lock().insert((state, index), answer);
    }
    fn take_asked(&self) -> Vec<(StateId, ValidatorIndex)> {
        std::mem::take(&mut *self.asked.lock())
    }
}

#[async_trait]
impl ValidatorSource for Table {
    async fn validator(&self, state: StateId, index: ValidatorIndex) -> StateValidator {
        self.asked.lock().push((state, index));
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let delay = *self.delay.lock();
        tokio::time::sleep(delay).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        self.answers
            .lock()
            .get(&(state, index))
            .cloned()
            .unwrap_or(StateValidator::NoState)
    }
}

fn active(index: u64) -> StateValidator {
    StateValidator::Found(RawValidator {
        pubkey: SecretKey::interop(index).public_key().to_bytes(),
        activation_epoch: Epoch(0),
        exit_epoch: Epoch::FAR_FUTURE,
    })
}

fn at(n: u64) -> StateId {
    StateId::Root(state_root(n))
}

/// A view with blocks 1 to 3 in slots 1 to 3, head at 3, and block 9 in slot 2 beside them.
fn view() -> (Arc<ChainView>, Arc<Table>) {
    let table = Arc::new(Table::default());
    let clock = Arc::new(ManualClock::new(Duration::from_secs(GENESIS_TIME)));
    let genesis = Genesis {
        genesis_time: GENESIS_TIME,
        genesis_validators_root: Root::ZERO,
    };
    let view = ChainView::new(Arc::new(Spec::minimal()), genesis, clock, table.clone());
    for (n, parent, slot) in [(1, 0, 1), (2, 1, 2), (3, 2, 3), (9, 1, 2)] {
        view.on_block(fulu(n, parent, slot));
    }
    view.on_head(block_root(3), false);
    (Arc::new(view), table)
}

async fn ask(view: &ChainView, index: ValidatorIndex, payload: u64) -> ValidatorAnswer {
    let info = view.payload(&request_root(payload)).unwrap();
    view.validator(index, &info).await
}

fn decisive(answer: &ValidatorAnswer) -> Option<bool> {
    match answer {
        ValidatorAnswer::Known { decisive, .. } | ValidatorAnswer::Absent { decisive } => Some(*decisive),
        ValidatorAnswer::Unavailable(_) => None,
    }
}

/// An engine payload of slot 4 on block 3's.
fn engine_payload(n: u64) -> PayloadSeen {
    PayloadSeen {
        new_payload_request_root: request_root(n),
        block_hash: block_hash(n),
        parent_hash: block_hash(3),
        timestamp: Spec::minimal().timestamp_at_slot(GENESIS_TIME, Slot(4)),
        fork: ForkName::Fulu,
    }
}

#[test]
fn engine_payloads_are_placed_by_their_timestamp() {
    let (view, _) = view();
    let seen = engine_payload(4);
    let mut events = view.subscribe();
    assert_eq!(view.on_engine_payload(seen), Ok(Insertion::New));
    assert_eq!(view.on_engine_payload(seen), Ok(Insertion::Known));
    assert_eq!(view.payload(&request_root(4)).unwrap().slot, Slot(4));
    assert!(matches!(events.try_recv(), Ok(ChainEvent::Payload(info)) if info.slot == Slot(4)));
    assert!(events.try_recv().is_err(), "once");

    for (timestamp, fork) in [
        (seen.timestamp + 1, ForkName::Fulu),
        (GENESIS_TIME - 1, ForkName::Fulu),
        (u64::MAX, ForkName::Fulu),
        (seen.timestamp, ForkName::Capella),
        (seen.timestamp, ForkName::Gloas),
    ] {
        let refused = view.on_engine_payload(PayloadSeen {
            timestamp,
            fork,
            ..engine_payload(5)
        });
        assert!(
            matches!(refused, Err(Misplaced::Timestamp { .. } | Misplaced::Fork { .. })),
            "{timestamp} {fork}"
        );
    }
    assert!(view.payload(&request_root(5)).is_none());
}

#[test]
fn the_view_answers_the_trait() {
    let (view, _) = view();
    let chain: Arc<dyn Chain> = view.clone();
    assert_eq!(chain.current_slot(), Slot(0));
    assert_eq!(chain.head().unwrap().slot, Slot(3));
    assert_eq!(
        chain.canonical_block_at(Slot(2)).unwrap().block_root,
        block_root(2)
    );
    assert!(chain.is_canonical(&request_root(2)) && !chain.is_canonical(&request_root(9)));
    assert_eq!(
        chain.payload_by_block_hash(&block_hash(2)).unwrap().block_root,
        Some(block_root(2))
    );
    assert!(!chain.is_synced());
    let mut events = chain.subscribe();
    view.on_finalized(Checkpoint {
        epoch: Epoch(2),
        root: block_root(3),
    });
    assert_eq!(chain.finalized().epoch, Epoch(2));
    assert_eq!(chain.proof_serve_range_start(), Slot(16));
    assert!(
        matches!(events.try_recv(), Ok(ChainEvent::Finalized { orphaned, .. }) if orphaned == [request_root(9)])
    );
    view.set_connected(true);
    view.set_connected(true);
    assert_eq!(events.try_recv(), Ok(ChainEvent::Connected(true)));
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn a_validator_is_read_from_the_state_of_the_payloads_block() {
    let (view, table) = view();
    table.set(at(3), 5, active(5));
    let ValidatorAnswer::Known {
        record,
        decisive: true,
    } = ask(&view, 5, 3).await
    else {
        panic!()
    };
    assert_eq!(
        record.pubkey.to_bytes(),
        SecretKey::interop(5).public_key().to_bytes()
    );
    assert_eq!(table.take_asked(), [(at(3), 5)]);
    // The same record answers for an ancestor, without another question, but not for another branch.
    assert_eq!(decisive(&ask(&view, 5, 2).await), Some(true));
    assert_eq!(table.take_asked(), []);
    table.set(at(9), 5, StateValidator::Absent);
    assert!(matches!(
        ask(&view, 5, 9).await,
        ValidatorAnswer::Absent { decisive: true }
    ));
    assert_eq!(table.take_asked(), [(at(9), 5)]);
    // Negative answers are kept too.
    assert!(matches!(
        ask(&view, 5, 9).await,
        ValidatorAnswer::Absent { decisive: true }
    ));
    assert_eq!(table.take_asked(), []);
}

#[tokio::test]
async fn an_ancestors_state_does_not_decide_about_an_imported_block() {
    let (view, table) = view();
    table.set(at(2), 5, active(5));
    view.on_head(block_root(2), false);
    assert_eq!(decisive(&ask(&view, 5, 2).await), Some(true));
    view.on_head(block_root(3), false);
    table.take_asked();
    assert_eq!(
        decisive(&ask(&view, 5, 3).await),
        None,
        "block 3's state is not there"
    );
    assert_eq!(table.take_asked(), [(at(3), 5)]);
}

#[tokio::test]
async fn a_descendants_state_decides_where_the_blocks_own_is_gone() {
    let (view, table) = view();
    table.set(at(3), 5, active(5));
    table.set(at(3), 6, StateValidator::Absent);
    assert_eq!(decisive(&ask(&view, 5, 1).await), Some(true));
    assert_eq!(table.take_asked(), [(at(1), 5), (at(3), 5)]);
    assert!(matches!(
        ask(&view, 6, 1).await,
        ValidatorAnswer::Absent { decisive: true }
    ));
    table.take_asked();
    // The head is no descendant of block 9.
    assert_eq!(decisive(&ask(&view, 7, 9).await), None);
    assert_eq!(table.take_asked(), [(at(9), 7)]);
}

#[tokio::test]
async fn before_import_the_head_may_only_accept() {
    let (view, table) = view();
    view.on_engine_payload(engine_payload(4)).unwrap();
    table.set(at(3), 5, active(5));
    table.set(at(3), 6, StateValidator::Absent);
    assert_eq!(decisive(&ask(&view, 5, 4).await), Some(false));
    assert!(matches!(
        ask(&view, 6, 4).await,
        ValidatorAnswer::Absent { decisive: false }
    ));
    table.take_asked();
    assert_eq!(
        decisive(&ask(&view, 5, 4).await),
        Some(false),
        "kept: the validator stays active for some epochs"
    );
    assert_eq!(table.take_asked(), []);

    // Once the block is imported its own state is asked.
    view.on_block(fulu(4, 3, 4));
    table.set(at(4), 5, active(5));
    assert_eq!(decisive(&ask(&view, 5, 4).await), Some(true));
    assert_eq!(table.take_asked(), [(at(4), 5)]);
}

#[tokio::test]
async fn before_import_a_kept_record_that_is_not_active_is_asked_for_anew() {
    let (view, table) = view();
    view.on_engine_payload(engine_payload(4)).unwrap();
    let pending = |exit_epoch| {
        StateValidator::Found(RawValidator {
            pubkey: SecretKey::interop(5).public_key().to_bytes(),
            activation_epoch: Epoch(0),
            exit_epoch,
        })
    };
    table.set(at(3), 5, pending(Epoch(0)));
    for _ in 0..2 {
        assert_eq!(decisive(&ask(&view, 5, 4).await), Some(false));
        assert_eq!(table.take_asked(), [(at(3), 5)]);
    }
    // Beyond the reach of MAX_SEED_LOOKAHEAD a kept record says nothing.
    table.set(at(3), 6, active(6));
    let far = PayloadSeen {
        timestamp: Spec::minimal().timestamp_at_slot(GENESIS_TIME, Slot(5 * 8)),
        ..engine_payload(8)
    };
    view.on_engine_payload(far).unwrap();
    ask(&view, 6, 4).await;
    table.take_asked();
    ask(&view, 6, 8).await;
    assert_eq!(table.take_asked(), [(at(3), 6)]);
}

#[tokio::test]
async fn before_import_the_parents_state_helps_where_the_heads_is_gone() {
    let (view, table) = view();
    view.on_engine_payload(PayloadSeen {
        parent_hash: block_hash(9),
        ..engine_payload(4)
    })
    .unwrap();
    table.set(at(9), 5, active(5));
    assert_eq!(decisive(&ask(&view, 5, 4).await), Some(false));
    assert_eq!(table.take_asked(), [(at(3), 5), (at(9), 5)]);
}

#[tokio::test]
async fn failures_are_unavailable_and_not_repeated_at_once() {
    let (view, table) = view();
    table.set(at(3), 5, StateValidator::Failed("503".to_owned()));
    let mut bad = RawValidator {
        pubkey: SecretKey::interop(6).public_key().to_bytes(),
        activation_epoch: Epoch(0),
        exit_epoch: Epoch::FAR_FUTURE,
    };
    bad.pubkey.0[0] ^= 1;
    table.set(at(3), 6, StateValidator::Found(bad));
    assert!(matches!(ask(&view, 6, 3).await, ValidatorAnswer::Unavailable(why) if why.contains("key")));
    table.take_asked();
    assert!(matches!(ask(&view, 5, 3).await, ValidatorAnswer::Unavailable(why) if why == "503"));
    assert!(matches!(ask(&view, 5, 3).await, ValidatorAnswer::Unavailable(_)));
    assert_eq!(table.take_asked().len(), 1);
    table.set(at(3), 5, active(5));
    tokio::time::sleep(UNAVAILABLE_FOR).await;
    assert_eq!(decisive(&ask(&view, 5, 3).await), Some(true));
}

#[tokio::test]
async fn one_question_is_under_way_for_a_key_and_few_at_once() {
    let (view, table) = view();
    *table.delay.lock() = Duration::from_millis(30);
    table.set(at(3), 5, active(5));
    let same = futures::future::join_all((0..20).map(|_| ask(&view, 5, 3))).await;
    assert!(same.iter().all(|answer| decisive(answer) == Some(true)));
    assert_eq!(table.take_asked().len(), 1);
    let many = futures::future::join_all((100..140).map(|index| ask(&view, index, 3))).await;
    assert_eq!(many.len(), 40);
    assert!(table.most_at_once.load(Ordering::SeqCst) <= MAX_NEW_REQUESTS);
}

#[tokio::test]
async fn a_known_prover_is_not_held_up_by_a_flood_of_others() {
    let (view, table) = view();
    table.set(at(3), 5, active(5));
    ask(&view, 5, 3).await;
    view.on_block(fulu(4, 3, 4));
    table.set(at(4), 5, active(5));
    *table.delay.lock() = Duration::from_secs(30);
    let flood: Vec<_> = (100..200)
        .map(|index| {
            let view = view.clone();
            tokio::spawn(async move { decisive(&ask(&view, index, 3).await) })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    *table.delay.lock() = Duration::ZERO;
    let answer = tokio::time::timeout(Duration::from_secs(5), ask(&view, 5, 4))
        .await
        .unwrap();
    assert_eq!(decisive(&answer), Some(true));
    for task in flood {
        task.abort();
    }
}

#[tokio::test]
async fn who_goes_away_leaves_the_question_to_the_next() {
    let (view, table) = view();
    *table.delay.lock() = Duration::from_millis(200);
    table.set(at(3), 5, active(5));
    let first = {
        let view = view.clone();
        tokio::spawn(async move { drop(ask(&view, 5, 3).await) })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = {
        let view = view.clone();
        tokio::spawn(async move { decisive(&ask(&view, 5, 3).await) })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.abort();
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(5), second)
            .await
            .unwrap()
            .unwrap(),
        Some(true)
    );
    // And a question that nobody waits for any more can be asked again.
    table.set(at(3), 6, active(6));
    let third = {
        let view = view.clone();
        tokio::spawn(async move { drop(ask(&view, 6, 3).await) })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    third.abort();
    *table.delay.lock() = Duration::ZERO;
    assert_eq!(decisive(&ask(&view, 6, 3).await), Some(true));
}
