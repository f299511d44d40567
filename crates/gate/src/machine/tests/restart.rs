//! Records: written and read back, refused where they are damaged or newer.

use super::*;

fn busy() -> Bench {
    let mut bench = Bench::started(require(1));
    for n in 2..=6 {
        bench.prove(n, 1);
        bench.prove(n, 2);
        bench.import(payload(n, n - 1), valid(n));
    }
    bench.head_finalized(6, 3, valid(6));
    bench.import(payload(7, 6), SYNCING);
    bench.import(payload(6, 5), invalid(Some(5)));
    bench.head(50, valid(50));
    bench
}

fn pairs(bench: &Bench) -> Vec<Record> {
    bench.records.iter().map(|(k, v)| (*k, v.clone())).collect()
}

/// All that is shown of the gate is there again.
#[test]
fn everything_is_there_after_a_restart() {
    let bench = busy();
    let again = bench.restarted(require(1));
    for n in 1..=60 {
        assert_eq!(again.gate.payload(&hash(n)), bench.gate.payload(&hash(n)), "{n}");
        assert_eq!(again.held_by(n), bench.held_by(n), "{n}");
    }
    assert_eq!(again.gate.stats().head, bench.gate.stats().head);
    let recalled = again
        .actions
        .iter()
        .filter(|a| matches!(a, Action::RecallProofs { .. }))
        .count();
    assert_eq!(
        recalled, 5,
        "the store is asked for each payload: a crash may have come between it and the gate"
    );
    assert!(
        !again
            .actions
            .iter()
            .any(|a| matches!(a, Action::VerdictChanged(_))),
        "nothing changed"
    );
}

/// Settings that changed between two runs take effect as if they had changed while it ran.
#[test]
fn settings_changed_between_runs() {
    let mut bench = Bench::started(observe());
    bench.import(payload(2, 1), valid(2));
    bench.import(payload(3, 2), SYNCING);
    let mut again = bench.restarted(require(1));
    assert_eq!(again.verdict(2), PayloadVerdict::Valid);
    assert!(is_syncing(again.import(payload(3, 2), valid(3))));
    // And the other way round nothing is left behind.
    let mut back = again.restarted(observe());
    assert_eq!(back.import(payload(3, 2), valid(3)), Decision::PassThrough);
}

/// Every byte that is missing or added is noticed; a newer version is named.
#[test]
fn damaged_records_are_refused() {
    let bench = busy();
    let good = pairs(&bench);
    let open = |records| Gate::restore(records, require(1), UnixMillis(1)).map(|_| ());
    assert_eq!(open(good.clone()), Ok(()));
    for i in 0..good.len() {
        let key = Hash256(good[i].0);
        for cut in 0..good[i].1.len() {
            let mut records = good.clone();
            records[i].1.truncate(cut);
            assert_eq!(
                open(records),
                Err(RestoreError::Damaged { key }),
                "{key} cut to {cut}"
            );
        }
        let mut records = good.clone();
        records[i].1.push(0);
        assert_eq!(open(records), Err(RestoreError::Damaged { key }));
        for version in [1, 3] {
            let mut records = good.clone();
            records[i].1[0] = version;
            assert_eq!(open(records), Err(RestoreError::Version { key, version }));
        }
        let mut records = good.clone();
        records[i].1[1] = 9;
        assert_eq!(open(records), Err(RestoreError::Damaged { key }));
    }
}

/// Records that make a payload its own ancestor, or one root name two payloads, are damaged.
#[test]
fn circles_in_records_are_refused() {
    let bench = busy();
    let mut records = pairs(&bench);
    let (five, six) = (hash(5).0, hash(6).0);
    // Behind version, kind, flags, `rooted`, `waits_from` and the EL's status.
    let parent_at = 21;
    for (key, value) in &mut records {
        if *key == five {
            value[parent_at..parent_at + 32].copy_from_slice(&six);
        }
    }
    assert!(matches!(
        Gate::restore(records, require(1), UnixMillis(1)),
        Err(RestoreError::Damaged { .. })
    ));
    let mut records = pairs(&bench);
    for (key, value) in &mut records {
        if *key == five {
            value[parent_at + 32..parent_at + 64].copy_from_slice(root(6).as_slice());
        }
    }
    assert!(matches!(
        Gate::restore(records, require(1), UnixMillis(1)),
        Err(RestoreError::Damaged { .. })
    ));
}

/// What was told VALID is on disk before it is told.
#[test]
fn records_come_before_the_answer() {
    let mut bench = Bench::started(require(1));
    bench.prove(2, 1);
    bench.actions.clear();
    bench.import(payload(2, 1), valid(2));
    let answered = bench
        .actions
        .iter()
        .position(|a| matches!(a, Action::Answer { .. }))
        .unwrap();
    let written = bench.actions.iter().position(|a| {
        matches!(a, Action::Persist { durability: Durability::BeforeAnswer, changes } if changes.iter().any(|(k, _)| *k == hash(2).0))
    });
    assert!(written.is_some_and(|w| w < answered), "{:?}", bench.actions);
    // Asked again nothing is new, and nothing waits.
    bench.actions.clear();
    bench.head(2, valid(2));
    bench.actions.clear();
    bench.head(2, valid(2));
    assert!(
        !bench.actions.iter().any(|a| matches!(a, Action::Persist { .. })),
        "{:?}",
        bench.actions
    );
}

/// Before the beacon node named its head, a newPayload is on disk before it is answered: a crash must not make it the
/// start.
#[test]
fn claims_come_before_the_answer() {
    let mut bench = Bench::new(require(1));
    let asked = AskedPayload::Read {
        payload: payload(2, 1),
        check: RequestCheck::NotChecked,
    };
    let actions = bench.event(Event::NewPayload { payload: asked });
    let durable = |a: &Action| {
        matches!(
            a,
            Action::Persist {
                durability: Durability::BeforeAnswer,
                ..
            }
        )
    };
    assert!(actions.iter().any(durable), "{actions:?}");
    bench.head(2, valid(2));
    let claims = bench.records.values().filter(|r| r[1] == 3).count();
    assert_eq!(claims, 0, "their records go with the start");
}

/// Why a payload had its verdict can be asked after a restart and after finality took it out of the tree; of what is known
/// nowhere else nothing is kept.
#[test]
fn the_changes_of_a_verdict_outlive_restarts_and_finality() {
    let mut bench = Bench::started(require(1));
    for (n, parent) in [(2, 1), (3, 2), (4, 3), (9, 2)] {
        bench.import(payload(n, parent), valid(n));
    }
    for n in [2, 3, 4] {
        bench.prove(n, 1);
    }
    let of = |bench: &Bench, n: u8| bench.gate.changes(&hash(n)).to_vec();
    let seen = of(&bench, 2);
    let told: Vec<_> = seen.iter().map(|c| (c.from, c.to, c.cause, c.held_by)).collect();
    let proofs = HeldBy::Proofs { have: 0, need: 1 };
    use PayloadVerdict::{Syncing, Valid};
    assert_eq!(
        told.first().unwrap(),
        &(None, Syncing, Cause::Payload, Some(HeldBy::El(ElStatus::Unknown)))
    );
    assert_eq!(told.last().unwrap(), &(Some(Syncing), Valid, Cause::Proof, None));
    assert_eq!(
        of(&bench, 9).last().unwrap().held_by,
        Some(HeldBy::El(ElStatus::Unknown))
    );
    assert_eq!(bench.gate.holds_back(&hash(9)), Some(proofs));
    let mut bench = bench.restarted(require(1));
    assert_eq!(of(&bench, 2), seen);
    let with_branch = bench.records.len();
    bench.head_finalized(4, 3, valid(4));
    assert!(bench.gate.payload(&hash(2)).is_none() && bench.gate.remembered(&hash(2)).is_some());
    assert_eq!(of(&bench, 2), seen);
    assert!(of(&bench, 9).is_empty(), "its branch was cut off");
    assert!(
        bench.records.len() <= with_branch - 2,
        "with its record and that of its changes"
    );
    let mut bench = bench.restarted(require(1));
    assert_eq!(of(&bench, 2), seen);
    // The execution client goes back and forth: the newest are kept.
    for _ in 0..9 {
        bench.head(4, SYNCING);
        bench.head(4, valid(4));
    }
    let last = of(&bench, 4);
    assert_eq!(last.len(), super::super::history::MAX_CHANGES_KEPT);
    assert_eq!(last.last().unwrap().at, UnixMillis(bench.now));
    assert_eq!(of(&bench.restarted(require(1)), 4), last);
}

/// A record of changes without its payload, as an older version of this program may leave one, goes at the next start.
#[test]
fn changes_of_nothing_are_forgotten() {
    let mut bench = Bench::started(require(1));
    bench.import(payload(2, 1), valid(2));
    let before = bench.records.len();
    bench.records.remove(&hash(2).0);
    let again = bench.restarted(require(1));
    assert!(again.gate.changes(&hash(2)).is_empty());
    assert_eq!(again.records.len(), before - 2);
}
