//! Rule 4: a payload answered VALID never becomes INVALID by the gate.

use super::*;

const PASS: Decision = Decision::PassThrough;

/// Rule 4: INVALID for what was told VALID, or for an ancestor of it, is an alarm and SYNCING for it and all that
/// descends from it, by newPayload and by fcU, and after a restart too.
#[test]
fn rule_4_valid_is_not_taken_back() {
    // Payloads 1 to 4 are told VALID; 5 is not. What the EL calls INVALID, its latestValidHash, who is in conflict.
    let table: &[(u8, Option<u8>, &[u8])] = &[
        (4, None, &[4]),
        (4, Some(3), &[4]),
        (4, Some(2), &[3, 4]),
        (3, Some(2), &[3]),
        (2, Some(1), &[2]),
        (5, Some(3), &[4]),
        (5, Some(2), &[3, 4]),
        (4, Some(0), &[1, 2, 3, 4]),
    ];
    for (called, named, in_conflict) in table {
        for restart in [false, true] {
            for by_head in [false, true] {
                let mut bench = Bench::started(require(1));
                for n in 2..=4 {
                    bench.prove(n, 1);
                    bench.import(payload(n, n - 1), valid(n));
                }
                bench.import(payload(5, 4), SYNCING);
                if restart {
                    bench = bench.restarted(require(1));
                }
                let context = format!("{called} {named:?} restart {restart} fcU {by_head}");
                let decision = match by_head {
                    true => bench.head(*called, invalid(*named)),
                    false => bench.import(payload(*called, *called - 1), invalid(*named)),
                };
                assert!(is_syncing(decision), "{context}");
                for n in 1..=4 {
                    let view = bench.gate.payload(&hash(n)).unwrap();
                    assert_eq!(view.conflict, in_conflict.contains(&n), "{context}: {n}");
                }
                assert_eq!(
                    bench.alarms().len(),
                    in_conflict.len(),
                    "{context}: {:?}",
                    bench.alarms()
                );
                // Whatever comes then, it and its descendants are SYNCING, after another restart too.
                let mut bench = bench.restarted(require(1));
                let first = in_conflict[0];
                bench.prove(5, 1);
                bench.prove(6, 1);
                for n in first.max(2)..=6 {
                    assert!(
                        is_syncing(bench.import(payload(n, n - 1), valid(n))),
                        "{context}: {n}"
                    );
                    assert!(is_syncing(bench.head(n, valid(n))), "{context}: {n}");
                    assert!(
                        is_syncing(bench.import(payload(n, n - 1), invalid(Some(n - 1)))),
                        "{context}: {n}"
                    );
                    assert_eq!(bench.verdict(n), PayloadVerdict::Syncing, "{context}: {n}");
                    assert_eq!(
                        bench.held_by(n),
                        Some(HeldBy::Conflict(hash(first))),
                        "{context}: {n}"
                    );
                }
            }
        }
    }
}

/// Rule 4: a `latestValidHash` that is no known ancestor does not slip an INVALID past a VALID.
#[test]
fn rule_4_an_unknown_latest_valid_hash_takes_nothing_back() {
    let mut bench = Bench::started(require(1));
    bench.prove(2, 1);
    bench.import(payload(2, 1), valid(2));
    // Before the start, for all that the gate knows.
    assert!(is_syncing(bench.import(payload(3, 2), invalid(Some(99)))));
    assert_eq!(
        bench.alarms(),
        [Alarm::UnknownLatestValidHash {
            block_hash: hash(3),
            latest_valid_hash: hash(99)
        }]
    );
    assert_eq!(bench.verdict(2), PayloadVerdict::Valid, "what was told stays");
    assert_eq!(bench.verdict(3), PayloadVerdict::Syncing);
    // Beyond a hole: 7 stands on what the gate never saw, which may be above 2.
    assert!(is_syncing(bench.import(payload(7, 6), invalid(Some(1)))));
    assert_eq!(
        bench.import(payload(8, 6), invalid(Some(6))),
        PASS,
        "its parent is named"
    );
    assert_eq!(bench.import(payload(9, 6), invalid(None)), PASS, "it alone");
}

/// Rule 4: the operator decides.
#[test]
fn rule_4_the_operator_decides() {
    for (resolution, then_valid, then_invalid) in [
        (ConflictResolution::KeepValid, true, false),
        (ConflictResolution::AcceptInvalid, true, true),
    ] {
        let mut bench = Bench::started(require(1));
        for n in 2..=3 {
            bench.prove(n, 1);
            bench.import(payload(n, n - 1), valid(n));
        }
        assert!(is_syncing(bench.import(payload(2, 1), invalid(Some(1)))));
        bench.event(Event::ConflictResolved {
            block_hash: hash(2),
            resolution,
        });
        let mut other = bench.restarted(require(1));
        assert_eq!(bench.head(3, valid(3)) == PASS, then_valid, "{resolution:?}");
        assert_eq!(
            other.import(payload(3, 2), invalid(Some(1))) == PASS,
            then_invalid,
            "{resolution:?}"
        );
    }
}

/// Rule 4: nor where the call can be read no further than its hashes, as just after a restart.
#[test]
fn rule_4_holds_for_calls_that_cannot_be_read() {
    for (called, named) in [(2, None), (2, Some(1)), (3, Some(1)), (1, Some(0))] {
        let mut bench = Bench::started(require(1));
        bench.prove(2, 1);
        bench.import(payload(2, 1), valid(2));
        let mut bench = bench.restarted(require(1));
        let parent = if called == 1 { 100 } else { called - 1 };
        assert!(
            is_syncing(bench.import_named(payload(called, parent), invalid(named))),
            "{called} {named:?}"
        );
        assert_eq!(
            bench.alarms().len(),
            1,
            "{called} {named:?}: {:?}",
            bench.alarms()
        );
        assert!(is_syncing(bench.head(2, valid(2))), "{called} {named:?}");
    }
    let mut bench = Bench::started(require(1));
    assert_eq!(
        bench.import_named(payload(2, 1), invalid(Some(1))),
        PASS,
        "nothing was told of it"
    );
}

/// Rule 4: nor where the payload called INVALID is forgotten, but what stands on it was told VALID.
#[test]
fn rule_4_holds_above_what_is_forgotten() {
    for read in [true, false] {
        let mut bench = Bench::started(require(1));
        for n in 2..=5 {
            bench.prove(n, 1);
            bench.import(payload(n, n - 1), valid(n));
        }
        bench.head_finalized(5, 4, valid(5));
        for n in 1..=3 {
            bench.records.remove(&hash(n).0);
        }
        let mut bench = bench.restarted(require(1));
        assert_eq!(bench.head(5, valid(5)), PASS);
        let decision = match read {
            true => bench.import_checked(payload(3, 2), RequestCheck::NotChecked, invalid(Some(2))),
            false => bench.import_named(payload(3, 2), invalid(Some(2))),
        };
        assert!(is_syncing(decision), "{read}");
        // One that is named is known by its hash from then on; else the first that stands on it is.
        let block_hash = hash(if read { 4 } else { 3 });
        assert_eq!(
            bench.alarms(),
            [Alarm::ValidCalledInvalid { block_hash }],
            "{read}"
        );
        assert!(is_syncing(bench.head(5, valid(5))), "{read}");
    }
}
