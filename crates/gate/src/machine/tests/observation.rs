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
