//! What each policy and each of its settings makes of the same chain.

use super::*;

const PASS: Decision = Decision::PassThrough;

fn accept() -> GateConfig {
    GateConfig {
        policy: ImportPolicy::AcceptProofs,
        ..require(1)
    }
}

fn proofs_only() -> GateConfig {
    GateConfig {
        policy: ImportPolicy::ProofsOnly,
        ..require(1)
    }
}

fn lagging(proof_lag: u32) -> GateConfig {
    GateConfig {
        proof_lag,
        ..require(1)
    }
}

fn trusting(grace_slots: u64) -> GateConfig {
    GateConfig {
        on_missing_proofs: OnMissingProofs::TrustExecution { grace_slots },
        ..require(1)
    }
}

const SILENT: ElAnswer = ElAnswer::Unavailable;

fn raised(n: u8) -> Decision {
    Decision::RaiseToValid(hash(n))
}

/// `--required-proof-types`: others are kept, and do not count.
#[test]
fn only_types_that_count_count() {
    let config = GateConfig {
        counted_types: [2, 3].into_iter().collect(),
        ..require(2)
    };
    let mut bench = Bench::started(config);
    bench.import(payload(2, 1), valid(2));
    for (proof_type, have) in [(1, 0), (2, 1), (9, 1)] {
        bench.prove(2, proof_type);
        assert_eq!(
            bench.held_by(2),
            Some(HeldBy::Proofs { have, need: 2 }),
            "{proof_type}"
        );
    }
    bench.prove(2, 3);
    assert_eq!(bench.verdict(2), PayloadVerdict::Valid);
    assert_eq!(bench.gate.payload(&hash(2)).unwrap().proofs.len(), 4);
    // Others count now: what was VALID stays so.
    let mut bench = bench.restarted(GateConfig {
        counted_types: [5].into_iter().collect(),
        ..require(1)
    });
    assert_eq!(bench.head(2, valid(2)), PASS);
    assert!(is_syncing(bench.import(payload(3, 2), valid(3))));
}

/// `--proof-lag n`: the ancestor n payloads back is proven, with all before it.
#[test]
fn a_lag_asks_for_the_proof_of_an_ancestor() {
    for lag in 0..4_u8 {
        let mut bench = Bench::started(lagging(u32::from(lag)));
        // 1 is the anchor; 2 to 6 have no proofs.
        for n in 2..=6 {
            let decision = bench.import(payload(n, n - 1), valid(n));
            assert_eq!(decision == PASS, n - 1 <= lag, "lag {lag}: {n}");
            let behind = bench.restarted(lagging(u32::from(lag)));
            assert_eq!(
                behind.verdict(n),
                bench.verdict(n),
                "lag {lag}: {n} after a restart"
            );
        }
        // Each proof moves it on by one; one out of its order moves nothing.
        bench.prove(4, 1);
        let valid_upto = |bench: &Bench| {
            (2..=6)
                .filter(|n| bench.verdict(*n) == PayloadVerdict::Valid)
                .count()
        };
        assert_eq!(
            valid_upto(&bench),
            usize::from(lag.min(5)),
            "lag {lag}: 3 and 2 are not proven"
        );
        bench.prove(2, 1);
        assert_eq!(valid_upto(&bench), usize::from((lag + 1).min(5)), "lag {lag}");
        bench.prove(3, 1);
        assert_eq!(valid_upto(&bench), usize::from((lag + 3).min(5)), "lag {lag}");
        if lag == 1 {
            assert_eq!(bench.held_by(5), None);
            assert_eq!(bench.held_by(6), Some(HeldBy::Ancestor(hash(5))));
        }
        // Rule 7 all the same.
        bench.prove(5, 1);
        bench.prove(6, 1);
        assert_eq!(
            bench.import(payload(6, 5), SYNCING),
            PASS,
            "lag {lag}: the EL's SYNCING"
        );
        assert_eq!(bench.verdict(6), PayloadVerdict::Syncing);
    }
}

/// A lag is no way round a hole, and finality does not shorten it.
#[test]
fn a_lag_is_counted_from_what_is_proven() {
    let mut bench = Bench::started(lagging(2));
    for n in 2..=5 {
        bench.import(payload(n, n - 1), valid(n));
    }
    assert_eq!(
        [3, 4, 5].map(|n| bench.verdict(n) == PayloadVerdict::Valid),
        [true, false, false]
    );
    // 3 is final, and VALID by the lag alone: what follows it waits for its proof, and gets it.
    bench.head_finalized(5, 3, valid(5));
    assert_eq!(
        [4, 5].map(|n| bench.verdict(n)),
        [PayloadVerdict::Syncing; 2],
        "nothing turns VALID by finality"
    );
    bench.prove(2, 1);
    bench.prove(3, 1);
    assert_eq!([4, 5].map(|n| bench.verdict(n)), [PayloadVerdict::Valid; 2]);
    // A hole.
    bench.import(payload(8, 7), valid(8));
    assert!(is_syncing(bench.import(payload(9, 8), valid(9))));
}

/// `--on-missing-proofs trust-execution`: after its grace the EL's VALID is enough, and nothing less.
#[test]
fn a_grace_lets_go_what_the_client_calls_valid() {
    let mut bench = Bench::started(trusting(3));
    bench.event(Event::SlotStarted(Slot(2)));
    bench.import(payload(2, 1), valid(2));
    bench.import(payload(3, 2), SYNCING);
    for slot in [3, 4] {
        bench.event(Event::SlotStarted(Slot(slot)));
        assert_eq!(bench.verdict(2), PayloadVerdict::Syncing, "{slot}");
    }
    let actions = bench.event(Event::SlotStarted(Slot(5)));
    let change = actions.iter().find_map(|a| match a {
        Action::VerdictChanged(change) => Some(*change),
        _ => None,
    });
    assert_eq!(
        change.map(|c| (c.block_hash, c.cause)),
        Some((hash(2), Cause::Grace))
    );
    assert!(bench.gate.payload(&hash(2)).unwrap().released);
    assert_eq!(bench.head(2, valid(2)), PASS);
    // 3: the EL does not say VALID (rule 7).
    bench.event(Event::SlotStarted(Slot(6)));
    assert_eq!(bench.verdict(3), PayloadVerdict::Syncing);
    assert_eq!(bench.import(payload(3, 2), valid(3)), PASS);
    // One that comes late has its grace from when it came; a restart takes none of it back.
    bench.event(Event::SlotStarted(Slot(20)));
    bench.import(payload(4, 3), valid(4));
    let mut bench = bench.restarted(trusting(3));
    bench.event(Event::SlotStarted(Slot(22)));
    assert_eq!(bench.verdict(4), PayloadVerdict::Syncing);
    bench.event(Event::SlotStarted(Slot(23)));
    assert_eq!(bench.verdict(4), PayloadVerdict::Valid);
    let mut bench = bench.restarted(trusting(3));
    assert_eq!(bench.verdict(4), PayloadVerdict::Valid);
    // Taken off, it lets nothing new go.
    bench.event(Event::ConfigChanged(require(1)));
    assert_eq!(bench.verdict(4), PayloadVerdict::Valid, "rule 2");
    bench.import(payload(5, 4), valid(5));
    bench.event(Event::SlotStarted(Slot(90)));
    assert_eq!(bench.verdict(5), PayloadVerdict::Syncing);
}

/// `accept-proofs`: the EL's status, whether the payload and its parent are proven, and what is answered.
#[test]
fn accept_proofs_by_table() {
    for parent_valid in [false, true] {
        for parent_proven in [false, true] {
            for proven in [false, true] {
                let mut bench = Bench::started(accept());
                bench.import(payload(2, 1), if parent_valid { valid(2) } else { SYNCING });
                if parent_proven {
                    bench.prove(2, 1);
                }
                if proven {
                    bench.prove(3, 1);
                }
                let carried = proven && (parent_proven || parent_valid);
                let context = format!("parent valid {parent_valid} proven {parent_proven}, proven {proven}");
                let expected = if carried { raised(3) } else { PASS };
                assert_eq!(bench.import(payload(3, 2), SYNCING), expected, "{context}");
                assert_eq!(bench.head(3, SYNCING), expected, "{context}");
                assert_eq!(bench.import(payload(3, 2), SILENT), expected, "{context}");
                assert_eq!(bench.head(3, SILENT), expected, "{context}");
                // Errors pass, ACCEPTED is not SYNCING, and VALID is the EL's.
                assert_eq!(bench.import(payload(3, 2), ElAnswer::Error), PASS, "{context}");
                assert_eq!(
                    bench.import(payload(3, 2), status(StatusWord::Accepted, None)),
                    PASS,
                    "{context}"
                );
                assert_eq!(bench.import(payload(3, 2), valid(3)), PASS, "{context}");
                assert_eq!(bench.import_named(payload(4, 3), valid(4)), PASS, "{context}");
                // What was told by proofs is on disk.
                let mut bench = bench.restarted(accept());
                assert_eq!(bench.verdict(3), PayloadVerdict::Valid, "{context}");
                assert!(
                    is_syncing(bench.import(payload(3, 2), invalid(Some(2)))),
                    "{context}: rule 4"
                );
                assert!(
                    is_syncing(bench.import(payload(3, 2), valid(3))),
                    "{context}: rule 4"
                );
            }
        }
    }
}

/// `accept-proofs`: an INVALID of the EL's own is passed on, and no proof outweighs it.
#[test]
fn accept_proofs_never_outvotes_the_clients_invalid() {
    let mut bench = Bench::started(accept());
    for n in 2..=4 {
        bench.prove(n, 1);
    }
    bench.event(Event::NewPayload {
        payload: AskedPayload::Read {
            payload: payload(2, 1),
            check: RequestCheck::Matches,
        },
    });
    assert_eq!(bench.import(payload(2, 1), invalid(Some(1))), PASS);
    for _ in 0..2 {
        assert_eq!(bench.import(payload(2, 1), SILENT), PASS);
        assert_eq!(
            bench.import(payload(3, 2), SYNCING),
            PASS,
            "nor does what stands on it"
        );
        assert_eq!(bench.head(3, SILENT), PASS);
        bench = bench.restarted(accept());
    }
}

/// `proofs-only`: no EL, whatever is said in its name.
#[test]
fn proofs_only_goes_by_proofs_alone() {
    let mut bench = Bench::new(proofs_only());
    assert_eq!(bench.head(1, SILENT), raised(1), "where the beacon node started");
    bench.prove(3, 1);
    assert!(
        is_syncing(bench.import(payload(2, 1), valid(2))),
        "nobody can have said VALID"
    );
    assert!(is_syncing(bench.import(payload(3, 2), SILENT)));
    assert_eq!(bench.held_by(3), Some(HeldBy::Ancestor(hash(2))));
    bench.prove(2, 1);
    assert_eq!(bench.import(payload(3, 2), SILENT), raised(3));
    assert_eq!(bench.head(3, SILENT), raised(3));
    assert!(is_syncing(bench.head(9, SILENT)));
    assert_eq!(
        bench.import_checked(payload(5, 3), RequestCheck::Mismatch, SILENT),
        Decision::Invalid
    );
    let mut bench = bench.restarted(proofs_only());
    assert_eq!(bench.head(3, SILENT), raised(3));
    // An EL comes: what was VALID stays.
    let mut bench = bench.restarted(require(1));
    assert_eq!(bench.head(3, valid(3)), PASS);
    assert!(is_syncing(bench.import(payload(4, 3), valid(4))));
    assert_eq!(bench.gate.stats().alarms, 0);
}

/// A call that waits is told what holds when its wait is over, and is counted once.
#[test]
fn calls_wait_only_for_what_a_proof_can_change() {
    let config = GateConfig {
        wait_for_proofs_ms: 500,
        ..require(1)
    };
    let waits = |actions: &[Action]| {
        actions
            .iter()
            .any(|a| matches!(a, Action::Answer { waits: true, .. }))
    };
    let mut bench = Bench::started(config);
    let asked = |n: u8| AskedPayload::Read {
        payload: payload(n, n - 1),
        check: RequestCheck::Matches,
    };
    let answered = |bench: &mut Bench, n: u8, answer| {
        bench.event(Event::NewPayload { payload: asked(n) });
        let call = bench.call();
        bench.event(Event::NewPayloadAnswered {
            call,
            payload: asked(n),
            answer,
        })
    };
    assert!(waits(&answered(&mut bench, 2, valid(2))));
    assert!(!waits(&answered(&mut bench, 2, SYNCING)), "rule 7");
    assert!(!waits(&answered(&mut bench, 2, ElAnswer::Error)));
    assert!(waits(&answered(&mut bench, 2, valid(2))));
    let counted = bench.gate.stats();
    assert_eq!((counted.answered_valid, counted.answered_syncing), (1, 1));
    let again = |bench: &mut Bench, status| {
        let call = bench.call();
        let actions = bench.event(Event::AskedAgain {
            call,
            asked: Asked::Payload(asked(2)),
            status,
        });
        Bench::decided(&actions, call)
    };
    assert_eq!(
        again(&mut bench, Some(StatusWord::Valid)),
        Decision::LowerToSyncing(HeldBy::Proofs { have: 0, need: 1 })
    );
    bench.prove(2, 1);
    assert_eq!(again(&mut bench, Some(StatusWord::Valid)), PASS);
    assert!(bench.gate.payload(&hash(2)).unwrap().told_valid);
    // The EL changed its mind in between: its present status counts (rule 7).
    bench.import(payload(2, 1), SYNCING);
    assert!(is_syncing(again(&mut bench, Some(StatusWord::Valid))));
    assert!(!waits(&answered(&mut bench, 2, valid(2))), "it is VALID now");
}
