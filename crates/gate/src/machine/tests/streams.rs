//! Whose finality may prune, and what two beacon nodes under one secret look like (rule 11).

use super::*;

/// 1–2, and on 2 the lines 3–4–5–6–7 and 13–14–15–16–17, all proven and EL-VALID.
fn two_lines() -> Bench {
    let mut bench = Bench::started(require(1));
    for (n, parent) in [(2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6)] {
        bench.prove(n, 1);
        bench.import(payload(n, parent), valid(n));
    }
    for (n, parent) in [(13, 2), (14, 13), (15, 14), (16, 15), (17, 16)] {
        bench.prove(n, 1);
        bench.import(payload(n, parent), valid(n));
    }
    bench
}

fn there(bench: &Bench, n: u8) -> bool {
    bench.gate.payload(&hash(n)).is_some()
}

fn told(bench: &Bench) -> Vec<&'static str> {
    bench.alarms().iter().map(Alarm::label).collect()
}

#[test]
fn finality_that_is_no_ancestor_of_its_head_prunes_nothing_and_is_told_once() {
    let mut bench = two_lines();
    for _ in 0..3 {
        assert_eq!(bench.head_finalized(5, 14, valid(5)), Decision::PassThrough);
    }
    assert!((2..=7).chain(13..=17).all(|n| there(&bench, n)));
    assert_eq!(told(&bench), ["foreign_finality"]);
    // Its own does.
    bench.head_finalized(6, 4, valid(6));
    assert!(!there(&bench, 3) && !there(&bench, 14) && there(&bench, 4));
}

#[test]
fn finality_of_a_branch_does_not_cut_off_the_one_that_is_followed_too() {
    let mut bench = two_lines();
    // Two beacon nodes with one secret: each with finality of its own.
    for (head, finalized) in [
        (5, 1),
        (15, 1),
        (5, 3),
        (15, 13),
        (6, 4),
        (16, 14),
        (7, 4),
        (17, 14),
    ] {
        assert_eq!(
            bench.head_finalized(head, finalized, valid(head)),
            Decision::PassThrough
        );
        bench.now += 6_000;
    }
    assert!(
        (3..=7).chain(13..=17).all(|n| there(&bench, n)),
        "neither is cut off"
    );
    // One of them is gone: the other's finality counts when the head of the first is old.
    bench.head_finalized(17, 14, valid(17));
    assert!(there(&bench, 7));
    bench.now += 300_000;
    bench.head_finalized(17, 14, valid(17));
    assert!(!there(&bench, 7) && there(&bench, 17));
}

#[test]
fn two_beacon_nodes_under_one_secret_are_told_and_a_reorg_is_not() {
    // Reorgs, there and back, and a deep one with finality: no alarm.
    let mut bench = two_lines();
    for (head, finalized) in [
        (3, 1),
        (13, 1),
        (4, 1),
        (14, 1),
        (15, 2),
        (15, 2),
        (5, 2),
        (16, 2),
        (17, 2),
    ] {
        bench.head_finalized(head, finalized, valid(head));
        bench.now += 6_000;
    }
    assert_eq!(told(&bench), [""; 0]);

    // Older and repeated heads of one line: none either (rule 10).
    let mut bench = two_lines();
    for head in [3, 2, 3, 3, 4, 3, 5, 4, 5, 6, 5, 6, 7, 6, 7, 6, 7, 6, 7, 6, 7] {
        bench.head_finalized(head, 1, valid(head));
    }
    assert_eq!(told(&bench), [""; 0]);

    // Two lines, call by call.
    let mut bench = two_lines();
    for _ in 0..8 {
        bench.head_finalized(7, 1, valid(7));
        bench.head_finalized(17, 1, valid(17));
        bench.now += 12_000;
    }
    assert_eq!(told(&bench), ["two_beacon_nodes"], "once while it goes on");

    // One line, of which one node is behind.
    let mut bench = two_lines();
    for _ in 0..6 {
        bench.head_finalized(7, 4, valid(7));
        bench.head_finalized(6, 2, valid(6));
        bench.now += 12_000;
    }
    assert_eq!(told(&bench), ["two_beacon_nodes"]);

    // A restart from an older state, once.
    let mut bench = two_lines();
    for (head, finalized) in [(6, 2), (7, 4), (6, 2), (6, 2), (7, 4), (7, 4)] {
        bench.head_finalized(head, finalized, valid(head));
    }
    assert_eq!(told(&bench), [""; 0]);

    // What takes hours is no second node.
    let mut bench = two_lines();
    for _ in 0..8 {
        bench.head_finalized(7, 1, valid(7));
        bench.now += 200_000;
        bench.head_finalized(17, 1, valid(17));
        bench.now += 200_000;
    }
    assert_eq!(told(&bench), [""; 0]);
}

#[test]
fn a_head_that_is_called_invalid_finalizes_nothing() {
    let mut bench = two_lines();
    bench.head_finalized(7, 1, valid(7));
    bench.import(payload(8, 7), invalid(Some(7)));
    bench.head_finalized(8, 4, invalid(Some(7)));
    assert!(there(&bench, 3));
    bench.head_finalized(7, 4, valid(7));
    assert!(!there(&bench, 3));
}
