//! Records under request roots of another form than today's.

use super::*;

const PASS: Decision = Decision::PassThrough;
const HELD: fn(HeldBy) -> Decision = Decision::LowerToSyncing;

/// Payload `n` as another form of the request root names it.
fn renamed(n: u8, parent: u8, to: u8) -> PayloadFacts {
    PayloadFacts {
        new_payload_request_root: root(to),
        ..payload(n, parent)
    }
}

/// Payloads 2 and 3 proven and VALID; then a restart, from where on roots may be others.
fn restarted() -> Bench {
    let mut bench = Bench::started(require(1));
    for n in [2, 3] {
        bench.prove(n, 1);
        assert_eq!(bench.import(payload(n, n - 1), valid(n)), PASS);
    }
    let mut again = bench.restarted(require(1));
    again.gate.roots_may_be_of_other_forms();
    again.actions.clear();
    again
}

#[test]
fn a_checked_request_takes_the_records_root_s_place_once_and_its_proofs_count_anew() {
    let mut bench = restarted();
    assert_eq!(bench.verdict(3), PayloadVerdict::Valid);
    assert!(is_syncing(bench.import(renamed(2, 1, 92), valid(2))));
    assert!(is_syncing(bench.import(renamed(3, 2, 93), valid(3))));
    assert!(bench.alarms().is_empty(), "{:?}", bench.alarms());
    let asked: Vec<Root> = bench
        .actions
        .iter()
        .filter_map(|a| match a {
            Action::RecallProofs {
                new_payload_request_root,
                known,
            } if known.is_empty() => Some(*new_payload_request_root),
            _ => None,
        })
        .collect();
    assert!(
        asked.contains(&root(92)) && asked.contains(&root(93)),
        "{asked:?}"
    );
    // What was proven under the roots before counts no more; under these it does, and the children follow.
    bench.prove(2, 1);
    assert_eq!(bench.verdict(2), PayloadVerdict::Syncing);
    bench.prove(92, 1);
    bench.prove(93, 1);
    assert_eq!(bench.import(renamed(3, 2, 93), valid(3)), PASS);
    assert_eq!(bench.verdict(3), PayloadVerdict::Valid);
    // Rule 5 again: a third root is a conflict, the first one too.
    for other in [94, 3] {
        let decision = bench.import(renamed(3, 2, other), valid(3));
        assert_eq!(decision, HELD(HeldBy::OtherRequestRoot), "{other}");
    }
    assert!(!bench.alarms().is_empty());
    // What was written is the new root.
    let again = bench.restarted(require(1));
    let kept = again.gate.payload(&hash(3)).unwrap();
    assert_eq!(kept.new_payload_request_root, Some(root(93)));
    assert_eq!(again.verdict(3), PayloadVerdict::Valid);
}

#[test]
fn a_request_whose_hash_was_not_checked_takes_nothings_place() {
    for check in [RequestCheck::NotChecked, RequestCheck::Mismatch] {
        let mut bench = restarted();
        bench.prove(93, 1);
        let decision = bench.import_checked(renamed(3, 2, 93), check, valid(3));
        assert_eq!(decision, HELD(HeldBy::OtherRequestRoot), "{check:?}");
        assert_eq!(bench.verdict(3), PayloadVerdict::Valid);
        // The same root is no change, and ends it.
        assert_eq!(bench.import(payload(3, 2), valid(3)), PASS);
        let decision = bench.import(renamed(3, 2, 93), valid(3));
        assert_eq!(decision, HELD(HeldBy::OtherRequestRoot), "{check:?}");
    }
}

/// A beacon block's payload, and one that has left the tree.
#[test]
fn payloads_seen_in_blocks_and_those_behind_finality_take_their_new_roots_too() {
    let mut bench = restarted();
    bench.event(Event::PayloadSeen {
        payload: renamed(3, 2, 93),
        check: RequestCheck::Matches,
    });
    let seen = bench.gate.payload(&hash(3)).unwrap();
    assert_eq!(
        (seen.new_payload_request_root, seen.proofs.len()),
        (Some(root(93)), 0)
    );

    let mut bench = Bench::started(require(1));
    for n in 2..=4 {
        bench.prove(n, 1);
        bench.import(payload(n, n - 1), valid(n));
    }
    bench.head_finalized(4, 3, valid(4));
    assert_eq!(bench.gate.payload(&hash(2)), None, "it left the tree");
    let mut again = bench.restarted(require(1));
    again.gate.roots_may_be_of_other_forms();
    again.actions.clear();
    assert_eq!(again.import(renamed(2, 1, 92), valid(2)), PASS);
    assert!(again.alarms().is_empty(), "{:?}", again.alarms());
    let decision = again.import(payload(2, 1), valid(2));
    assert_eq!(decision, HELD(HeldBy::OtherRequestRoot));
}
