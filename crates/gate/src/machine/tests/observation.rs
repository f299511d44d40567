//! What can be seen of the gate: times, counts, alarms.

use super::*;

/// SYNCING first and VALID later can be counted, and when each happened is known.
#[test]
fn times_and_counts() {
    let mut bench = Bench::started(require(1));
    assert!(is_syncing(bench.import(payload(2, 1), valid(2))));
    let actions = bench.prove(2, 1);
    let proven = bench.now;
    let change = actions.iter().find_map(|a| match a {
        Action::VerdictChanged(change) => Some(*change),
        _ => None,
    });
    let change = change.expect("the proof turns it VALID");
    assert_eq!(
        (change.from, change.to),
        (Some(PayloadVerdict::Syncing), PayloadVerdict::Valid)
    );
    assert_eq!((change.cause, change.at), (Cause::Proof, UnixMillis(proven)));
    assert_eq!(change.proven_at, Some(UnixMillis(proven)));
    assert!(change.first_told_syncing);
    assert_eq!(bench.gate.stats().syncing_first_valid_later, 1);
    assert_eq!(bench.head(2, valid(2)), Decision::PassThrough);
    let view = bench.gate.payload(&hash(2)).unwrap();
    assert_eq!(view.times.valid_at, Some(UnixMillis(proven)));
    assert!(view.times.told_valid_at > view.times.valid_at);
    assert!(view.first_told_syncing);
    // One that is VALID at once is no such payload.
    bench.prove(3, 1);
    bench.import(payload(3, 2), valid(3));
    let stats = bench.gate.stats();
    assert_eq!(stats.syncing_first_valid_later, 1);
    assert_eq!(
        (stats.answered_valid, stats.answered_syncing, stats.lowered),
        (3, 1, 1)
    );
}

/// `--alert-after-slots`: one alarm for each canonical payload that lacks proofs by then, under either policy.
#[test]
fn unproven_canonical_payloads_raise_one_alarm() {
    for policy in [ImportPolicy::Observe, ImportPolicy::RequireProofs] {
        let config = GateConfig {
            policy,
            alert_after_slots: 2,
            ..require(1)
        };
        let mut bench = Bench::started(config);
        for (n, parent) in [(2, 1), (3, 2), (4, 3), (5, 3)] {
            bench.import(payload(n, parent), valid(n));
        }
        bench.prove(3, 1);
        bench.head(5, valid(5));
        // Slot by slot, with a restart after each: 4 is not canonical, 3 is proven.
        let mut alarms = Vec::new();
        for slot in [3, 4, 4, 5, 6, 7, 7, 8, 20] {
            bench = bench.restarted(config);
            bench.event(Event::SlotStarted(Slot(slot)));
            alarms.extend(bench.alarms().into_iter().map(|alarm| (slot, alarm)));
        }
        let expected = [(4, 2_u8), (7, 5)].map(|(at, n)| {
            let (block_hash, slot) = (hash(n), Slot(u64::from(n)));
            (
                at,
                Alarm::Unproven {
                    block_hash,
                    slot,
                    have: 0,
                    need: 1,
                },
            )
        });
        assert_eq!(alarms, expected, "{policy}");
    }
}

/// A payload that becomes canonical, or is seen at all, long after its slot is told of as well; each once.
#[test]
fn payloads_that_become_canonical_late_are_told_of() {
    let config = GateConfig {
        policy: ImportPolicy::Observe,
        alert_after_slots: 2,
        ..require(1)
    };
    let told = |bench: &mut Bench, slot: u64| -> Vec<u64> {
        let before = bench.alarms().len();
        bench.event(Event::SlotStarted(Slot(slot)));
        let of = |alarm: &Alarm| match alarm {
            Alarm::Unproven { slot, .. } => slot.as_u64(),
            other => panic!("{other:?}"),
        };
        bench.alarms()[before..].iter().map(of).collect()
    };
    // A branch of payloads 4 and 6 becomes canonical at slot 10.
    let mut bench = Bench::started(config);
    for (n, parent) in [(2, 1), (3, 2), (5, 3), (4, 3), (6, 4)] {
        bench.import(payload(n, parent), valid(n));
    }
    for n in [2, 3, 5] {
        bench.prove(n, 1);
    }
    bench.head(5, valid(5));
    for slot in 3..10 {
        assert_eq!(told(&mut bench, slot), [0_u64; 0], "{slot}");
    }
    bench.head(6, valid(6));
    assert_eq!(told(&mut bench, 10), [4, 6]);
    // And back, and there again.
    for (head, slot) in [(5, 11), (6, 12)] {
        bench.head(head, valid(head));
        assert_eq!(told(&mut bench, slot), [0_u64; 0], "{slot}");
    }
    // A beacon node that is behind: what it takes in is older than what was looked at last.
    let mut bench = Bench::started(config);
    assert_eq!(told(&mut bench, 60), [0_u64; 0]);
    for n in 2..8 {
        bench.import(payload(n, n - 1), valid(n));
        bench.head(n, valid(n));
    }
    bench.prove(5, 1);
    assert_eq!(told(&mut bench, 61), [2, 3, 4, 6, 7]);
    // A hole that is filled later.
    for n in [9, 10] {
        bench.import(payload(n, n - 1), valid(n));
    }
    bench.head(10, valid(10));
    assert_eq!(told(&mut bench, 62), [9, 10]);
    bench.import(payload(8, 7), valid(8));
    assert_eq!(told(&mut bench, 63), [8]);
    assert_eq!(told(&mut bench, 64), [0_u64; 0]);
    let mut bench = bench.restarted(config);
    assert_eq!(told(&mut bench, 65), [0_u64; 0]);
}

/// What was looked at is not looked at in each slot again.
#[test]
fn a_long_chain_is_looked_at_once() {
    let config = GateConfig {
        policy: ImportPolicy::Observe,
        alert_after_slots: 2,
        ..require(1)
    };
    let mut bench = Bench::started(config);
    for n in 2..50 {
        bench.import(payload(n, n - 1), valid(n));
        bench.head(n, valid(n));
        bench.event(Event::SlotStarted(Slot(u64::from(n))));
        assert_eq!(bench.gate.alerted_below, (n > 3).then(|| hash(n - 2)), "{n}");
    }
}
