//! The handle: what waits for the disk, what does not, and what a disk that fails does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{
    writing::{WRITE_PATIENCE, WRITE_RETRY},
    *,
};
use crate::{
    InMemory,
    machine::{
        ImportPolicy, PayloadFacts, PayloadVerdict, Record, RecordChange, RequestCheck, StatusWord, Step,
    },
};
use assay_types::{ForkName, Hash256, Root};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize},
    time::Duration,
};

fn hash(n: u8) -> BlockHash {
    Hash256([n; 32])
}

fn root(n: u8) -> Root {
    Hash256([0x80 | n; 32])
}

fn asked(n: u8) -> AskedPayload {
    let payload = PayloadFacts {
        block_hash: hash(n),
        parent_hash: hash(n - 1),
        new_payload_request_root: root(n),
        slot: Slot(u64::from(n)),
        fork: ForkName::Fulu,
    };
    AskedPayload::Read {
        payload,
        check: RequestCheck::Matches,
    }
}

fn valid(n: u8) -> ElAnswer {
    ElAnswer::Status {
        status: StatusWord::Valid,
        latest_valid_hash: Some(hash(n)),
    }
}

fn state(n: u8) -> ForkchoiceState {
    ForkchoiceState {
        head: hash(n),
        safe: Hash256::ZERO,
        finalized: Hash256::ZERO,
    }
}

fn key(n: u8) -> ProofKey {
    ProofKey {
        new_payload_request_root: root(n),
        proof_type: 1,
    }
}

fn require() -> GateConfig {
    GateConfig {
        policy: ImportPolicy::RequireProofs,
        ..GateConfig::default()
    }
}

/// A disk that can be made to fail.
#[derive(Default)]
struct Disk {
    kept: InMemory,
    fails: AtomicBool,
    failed: AtomicUsize,
}

impl GatePersistence for Disk {
    fn load(&self) -> Result<Vec<Record>, PersistenceError> {
        self.kept.load()
    }
    fn write(&self, changes: &[RecordChange]) -> Result<(), PersistenceError> {
        if self.fails.load(Ordering::SeqCst) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(PersistenceError("no space left".to_owned()));
        }
        self.kept.write(changes)
    }
}

struct Open {
    gate: GateHandle,
    writer: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

fn open(config: GateConfig, disk: &Arc<Disk>) -> Open {
    let stop = CancellationToken::new();
    let disk = Arc::clone(disk) as Arc<dyn GatePersistence>;
    let (gate, writer) = GateHandle::open(config, disk, None, stop.clone()).unwrap();
    Open { gate, writer, stop }
}

async fn started(config: GateConfig, disk: &Arc<Disk>) -> Open {
    let open = open(config, disk);
    open.gate.forkchoice_updated(state(1)).await;
    let decision = open
        .gate
        .forkchoice_updated_answered(Some(state(1)), valid(1))
        .await;
    assert_eq!(decision, Decision::PassThrough);
    open
}

/// Time stands still but for waits: nothing here is timed.
#[tokio::test(start_paused = true)]
async fn valid_is_not_told_while_the_disk_fails() {
    let disk = Arc::new(Disk::default());
    let open = started(require(), &disk).await;
    open.gate.new_payload(asked(2)).await;
    open.gate.proof_verified(key(2)).await;
    disk.fails.store(true, Ordering::SeqCst);
    let held = open.gate.new_payload_answered(asked(2), valid(2)).await;
    assert_eq!(held, Decision::LowerToSyncing(HeldBy::NotPersisted));
    assert!(disk.failed.load(Ordering::SeqCst) > 1, "it is tried again");
    // Nor is it for the next one that asks, though nothing of the payload changed.
    let held = open
        .gate
        .forkchoice_updated_answered(Some(state(2)), valid(2))
        .await;
    assert_eq!(held, Decision::LowerToSyncing(HeldBy::NotPersisted));
    let view = open.gate.payload(&hash(2)).unwrap();
    assert!(!view.told_valid && view.times.told_valid_at.is_none() && view.first_told_syncing);
    disk.fails.store(false, Ordering::SeqCst);
    let told = open.gate.new_payload_answered(asked(2), valid(2)).await;
    assert_eq!(told, Decision::PassThrough);
    let again = super::tests::open(require(), &disk);
    assert!(again.gate.payload(&hash(2)).unwrap().told_valid);
}

fn invalid() -> ElAnswer {
    ElAnswer::Status {
        status: StatusWord::Invalid,
        latest_valid_hash: Some(hash(1)),
    }
}

/// What nobody heard is taken back by nothing: the execution client's INVALID passes.
#[tokio::test(start_paused = true)]
async fn a_valid_that_was_not_told_makes_no_conflict() {
    let disk = Arc::new(Disk::default());
    let open = started(require(), &disk).await;
    for n in [2, 3] {
        open.gate.new_payload(asked(n)).await;
        open.gate.proof_verified(key(n)).await;
        // Its parent is VALID by it, and is not told of either.
        let answer = if n == 3 { valid(3) } else { ElAnswer::Unavailable };
        disk.fails.store(n == 3, Ordering::SeqCst);
        let decision = open.gate.new_payload_answered(asked(n), answer).await;
        let held = Decision::LowerToSyncing(HeldBy::NotPersisted);
        assert_eq!(decision, if n == 3 { held } else { Decision::PassThrough });
    }
    disk.fails.store(false, Ordering::SeqCst);
    let decision = open.gate.new_payload_answered(asked(2), invalid()).await;
    assert_eq!(decision, Decision::PassThrough);
    assert!(open.gate.conflicts(9).is_empty() && open.gate.stats().alarms == 0);
    // One that was told is in conflict with the same answer.
    let told = Arc::new(Disk::default());
    let open = started(require(), &told).await;
    open.gate.new_payload(asked(2)).await;
    open.gate.proof_verified(key(2)).await;
    let decision = open.gate.new_payload_answered(asked(2), valid(2)).await;
    assert_eq!(decision, Decision::PassThrough);
    let decision = open.gate.new_payload_answered(asked(2), invalid()).await;
    assert_eq!(decision, Decision::LowerToSyncing(HeldBy::Conflict(hash(2))));
}

/// Two calls of one payload, a second apart, and a disk that is back between the ends of their waits: the second rests on the
/// mark that the first took back, so that it may be told only if the payload counts as told.
#[tokio::test(start_paused = true)]
async fn a_valid_is_not_told_on_a_mark_that_was_taken_back() {
    for back_after_ms in [1500, 1990, 2010, 2500, 2990, 3500] {
        let disk = Arc::new(Disk::default());
        let open = started(require(), &disk).await;
        open.gate.new_payload(asked(2)).await;
        open.gate.proof_verified(key(2)).await;
        disk.fails.store(true, Ordering::SeqCst);
        let first = open.gate.new_payload_answered(asked(2), valid(2));
        let second = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            open.gate
                .forkchoice_updated_answered(Some(state(2)), valid(2))
                .await
        };
        let disk_is_back = async {
            tokio::time::sleep(Duration::from_millis(back_after_ms)).await;
            disk.fails.store(false, Ordering::SeqCst);
        };
        let (first, second, ()) = tokio::join!(first, second, disk_is_back);
        let told = [first, second].contains(&Decision::PassThrough);
        assert_eq!(
            open.gate.payload(&hash(2)).unwrap().told_valid,
            told,
            "{back_after_ms}: {first:?}, {second:?}"
        );
    }
}

/// A caller that goes away, or a sink whose time is over, takes nothing of the event with it.
#[tokio::test(start_paused = true)]
async fn an_event_is_told_of_although_its_cause_has_gone() {
    let disk = Arc::new(Disk::default());
    let open = started(require(), &disk).await;
    open.gate.new_payload(asked(2)).await;
    open.gate.new_payload_answered(asked(2), valid(2)).await;
    disk.fails.store(true, Ordering::SeqCst);
    let mut events = open.gate.subscribe();
    let mut changes = open.gate.verdict_changes();
    changes.mark_unchanged();
    let anchor = Event::AnchorSet { block_hash: hash(2) };
    let gone = tokio::time::timeout(Duration::from_millis(100), open.gate.apply(anchor)).await;
    assert!(gone.is_err(), "it waits for the disk");
    assert!(
        events.try_recv().is_err(),
        "nothing is told before its record had its time"
    );
    let told = async {
        loop {
            if let GateEvent::VerdictChanged(change) = events.recv().await.unwrap() {
                return change;
            }
        }
    };
    let told = tokio::time::timeout(WRITE_PATIENCE * 2, told).await;
    let change = told.expect("in time");
    assert_eq!((change.block_hash, change.to), (hash(2), PayloadVerdict::Valid));
    assert!(changes.has_changed().unwrap());
    assert_eq!(open.gate.recent().last(), Some(&change));
}

#[tokio::test(start_paused = true)]
async fn observe_waits_for_no_disk() {
    let disk = Arc::new(Disk::default());
    let open = started(GateConfig::default(), &disk).await;
    disk.fails.store(true, Ordering::SeqCst);
    let before = tokio::time::Instant::now();
    open.gate.new_payload(asked(2)).await;
    let decision = open.gate.new_payload_answered(asked(2), valid(2)).await;
    assert_eq!(decision, Decision::PassThrough);
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_written_later_and_the_newest_wins() {
    let disk = Arc::new(Disk::default());
    let open = started(GateConfig::default(), &disk).await;
    disk.fails.store(true, Ordering::SeqCst);
    for n in 2..=6 {
        open.gate.new_payload(asked(n)).await;
        open.gate
            .new_payload_answered(asked(n), ElAnswer::Unavailable)
            .await;
        tokio::time::sleep(WRITE_RETRY).await;
        open.gate.new_payload_answered(asked(n), valid(n)).await;
        open.gate.proof_verified(key(n)).await;
    }
    assert!(disk.failed.load(Ordering::SeqCst) > 1);
    disk.fails.store(false, Ordering::SeqCst);
    // The end writes what is left.
    open.stop.cancel();
    open.writer.await.unwrap();
    let again = super::tests::open(GateConfig::default(), &disk);
    for n in 2..=6 {
        assert_eq!(again.gate.payload(&hash(n)), open.gate.payload(&hash(n)), "{n}");
    }
}

/// A change that came while an older one failed to be written is not written over by it.
#[tokio::test]
async fn what_is_put_back_gives_way_to_what_is_newer() {
    let disk = Arc::new(Disk::default());
    let open = started(require(), &disk).await;
    open.stop.cancel();
    open.writer.await.unwrap();
    let inner = &open.gate.0;
    let change = |value: u8| Action::Persist {
        changes: vec![([9; 32], Some(vec![value]))],
        durability: Durability::Soon,
    };
    inner.take_in(vec![change(1)]);
    let (older, _) = inner.take_unwritten().unwrap();
    inner.take_in(vec![change(2)]);
    inner.put_back(&older);
    let (left, _) = inner.take_unwritten().unwrap();
    assert_eq!(left, [([9; 32], Some(vec![2]))]);
}

#[tokio::test]
async fn events_and_numbers() {
    let disk = Arc::new(Disk::default());
    let open = started(require(), &disk).await;
    let mut events = open.gate.subscribe();
    open.gate.new_payload(asked(2)).await;
    let held = open.gate.new_payload_answered(asked(2), valid(2)).await;
    assert_eq!(
        held,
        Decision::LowerToSyncing(HeldBy::Proofs { have: 0, need: 1 })
    );
    open.gate.proof_verified(key(2)).await;
    let mut verdicts = Vec::new();
    let mut steps = Vec::new();
    while let Ok(event) = events.try_recv() {
        match event {
            GateEvent::VerdictChanged(change) => verdicts.push((change.block_hash, change.to)),
            GateEvent::Reached(milestone) => steps.push(milestone.step),
            GateEvent::Alarm(alarm) => panic!("{alarm:?}"),
        }
    }
    assert_eq!(
        steps,
        [Step::Payload, Step::FirstProof, Step::Proven, Step::Valid]
    );
    assert_eq!(
        verdicts,
        [
            (hash(2), PayloadVerdict::Syncing),
            (hash(2), PayloadVerdict::Valid)
        ]
    );
    let recent = open.gate.recent();
    assert!(
        recent
            .last()
            .is_some_and(|c| c.block_hash == hash(2) && c.first_told_syncing)
    );
    let stats = open.gate.stats();
    assert_eq!(
        (stats.lowered, stats.syncing_first_valid_later, stats.payloads),
        (1, 1, 2)
    );
    assert_eq!(open.gate.newest_proven().unwrap().block_hash, hash(1));
    open.gate.forkchoice_updated(state(2)).await;
    assert_eq!(open.gate.newest_proven().unwrap().block_hash, hash(2));
    assert_eq!(open.gate.payload_by_root(&root(2)), open.gate.payload(&hash(2)));
    let found = open.gate.payloads(Slot(0), Slot(9), 10);
    assert_eq!(found.iter().map(|v| v.block_hash).collect::<Vec<_>>(), [hash(2)]);
}

#[tokio::test]
async fn damaged_records_stop_the_start() {
    let disk = Arc::new(Disk::default());
    disk.write(&[([5; 32], Some(vec![2, 1, 0xff]))]).unwrap();
    let opened = GateHandle::open(require(), disk, None, CancellationToken::new());
    assert!(matches!(opened, Err(OpenError::Restore(RestoreError::Damaged { key })) if key == hash(5)));
}
