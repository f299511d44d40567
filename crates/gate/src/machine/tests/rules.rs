//! A table per rule of design.md, Gate; rule 4 is in `conflict`.

use super::*;

const PASS: Decision = Decision::PassThrough;
const HELD: fn(HeldBy) -> Decision = Decision::LowerToSyncing;

/// `observe`: the EL's word, whatever it is and whatever is proven.
#[test]
fn observe_passes_every_answer() {
    let answers = [
        valid(2),
        status(StatusWord::Valid, Some(hash(9))),
        status(StatusWord::Valid, None),
        invalid(None),
        invalid(Some(1)),
        invalid(Some(0)),
        invalid(Some(77)),
        SYNCING,
        status(StatusWord::Syncing, Some(hash(2))),
        status(StatusWord::Accepted, None),
        status(StatusWord::Accepted, Some(hash(1))),
        ElAnswer::Error,
        ElAnswer::Unavailable,
        ElAnswer::Unreadable,
    ];
    for first in answers {
        for second in answers {
            for check in [
                RequestCheck::Matches,
                RequestCheck::NotChecked,
                RequestCheck::Mismatch,
            ] {
                let mut bench = Bench::started(observe());
                assert_eq!(
                    bench.import_checked(payload(2, 1), check, first),
                    PASS,
                    "{first:?}"
                );
                assert_eq!(bench.head(2, second), PASS, "{first:?} then {second:?}");
                assert_eq!(
                    bench.import_checked(payload(2, 1), check, second),
                    PASS,
                    "{first:?} then {second:?}"
                );
            }
        }
    }
}

/// Rule 1: no proof, missing or present, yields INVALID; the EL's own passes.
#[test]
fn rule_1_invalid_is_the_els_own() {
    for proven in [false, true] {
        for answer in [invalid(None), invalid(Some(1)), invalid(Some(0))] {
            let mut bench = Bench::started(require(1));
            // Nothing was told VALID but the start, whose VALID a zero hash takes back.
            bench.import(payload(2, 1), SYNCING);
            if proven {
                bench.prove(2, 1);
            }
            let decision = bench.import(payload(2, 1), answer);
            match answer == invalid(Some(0)) {
                true => assert!(is_syncing(decision)),
                false => assert_eq!(decision, PASS),
            }
        }
        let mut bench = Bench::started(require(1));
        if proven {
            bench.prove(2, 1);
        }
        let decision = bench.import(payload(2, 1), valid(2));
        assert_eq!(
            decision == PASS,
            proven,
            "a missing proof holds back, it does not refuse"
        );
    }
}

/// Rule 2: what the beacon node started from is trusted; nothing above it is.
#[test]
fn rule_2_the_beacon_nodes_start_is_an_anchor() {
    let mut bench = Bench::new(require(1));
    assert_eq!(bench.head(1, SYNCING), PASS);
    assert_eq!(bench.head(1, valid(1)), PASS);
    assert_eq!(
        bench.import(payload(2, 1), valid(2)),
        HELD(HeldBy::Proofs { have: 0, need: 1 })
    );
    assert_eq!(bench.head(2, valid(2)), HELD(HeldBy::Proofs { have: 0, need: 1 }));
    // A head that was never seen is not trusted a second time.
    assert_eq!(bench.head(9, valid(9)), HELD(HeldBy::UnknownPayload));
}

/// Rule 2: where the head of the first fcU came by newPayload, the start is the newest ancestor that did not, whether
/// or not the payloads found a place.
#[test]
fn rule_2_the_start_is_what_came_before_the_gate() {
    for (check, restart) in [
        (RequestCheck::Matches, false),
        (RequestCheck::NotChecked, false),
        (RequestCheck::Matches, true),
        (RequestCheck::NotChecked, true),
    ] {
        let mut bench = Bench::new(require(1));
        bench.import_checked(payload(2, 1), check, SYNCING);
        bench.import_checked(payload(3, 2), check, SYNCING);
        if restart {
            bench = bench.restarted(require(1));
        }
        assert!(is_syncing(bench.head(3, valid(3))), "{check:?} {restart}");
        assert!(
            bench.gate.payload(&hash(1)).unwrap().anchor,
            "{check:?} {restart}"
        );
        assert!(
            !bench.gate.payload(&hash(3)).unwrap().anchor,
            "{check:?} {restart}"
        );
    }
}

/// Rule 2: a payload that came before the network's values were known is no start either.
#[test]
fn rule_2_a_payload_that_could_not_be_read_is_no_start() {
    for restart in [false, true] {
        let mut bench = Bench::new(require(1));
        assert_eq!(
            bench.import_named(payload(2, 1), valid(2)),
            HELD(HeldBy::Unreadable)
        );
        if restart {
            bench = bench.restarted(require(1));
        }
        assert!(is_syncing(bench.head(2, valid(2))), "{restart}");
        assert!(bench.gate.payload(&hash(1)).unwrap().anchor, "{restart}");
    }
}

/// Rule 2: a trusted checkpoint, and the payloads before it, which are as trusted: a reorg below it is no hole.
#[test]
fn rule_2_a_checkpoint_is_an_anchor_with_its_ancestors() {
    let mut bench = Bench::started(require(1));
    bench.import(payload(5, 4), valid(5));
    bench.import(payload(6, 5), valid(6));
    assert_eq!(bench.verdict(5), PayloadVerdict::Syncing);
    bench.event(Event::AnchorSet { block_hash: hash(6) });
    assert_eq!(bench.verdict(6), PayloadVerdict::Valid);
    assert_eq!(bench.verdict(5), PayloadVerdict::Valid);
    // A sibling of 5, on 4, which was never seen.
    bench.prove(7, 1);
    assert_eq!(bench.import(payload(7, 4), valid(7)), PASS);
    // And one whose parent is unknown to all.
    bench.prove(8, 1);
    assert_eq!(
        bench.import(payload(8, 3), valid(8)),
        HELD(HeldBy::UnknownAncestor(hash(3)))
    );
}

/// Rule 2: what was VALID when the policy took effect; what was not stays unproven.
#[test]
fn rule_2_what_was_valid_before_the_policy_is_an_anchor() {
    let mut bench = Bench::started(observe());
    bench.import(payload(2, 1), valid(2));
    bench.import(payload(3, 2), SYNCING);
    bench.event(Event::ConfigChanged(require(1)));
    assert_eq!(bench.verdict(2), PayloadVerdict::Valid);
    assert_eq!(
        bench.import(payload(3, 2), valid(3)),
        HELD(HeldBy::Proofs { have: 0, need: 1 })
    );
    bench.prove(3, 1);
    assert_eq!(bench.import(payload(3, 2), valid(3)), PASS);
    // More proofs asked for: what was VALID stays so.
    bench.event(Event::ConfigChanged(require(2)));
    assert_eq!(bench.verdict(3), PayloadVerdict::Valid);
    assert_eq!(
        bench.import(payload(4, 3), valid(4)),
        HELD(HeldBy::Proofs { have: 0, need: 2 })
    );
}

/// Rule 2: finalization turns nothing VALID.
#[test]
fn rule_2_finality_turns_nothing_valid() {
    let mut bench = Bench::started(require(1));
    for n in 2..=6 {
        assert!(is_syncing(bench.import(payload(n, n - 1), valid(n))));
    }
    assert!(is_syncing(bench.head_finalized(6, 5, valid(6))));
    bench.event(Event::Finalized { block_hash: hash(6) });
    for n in 2..=6 {
        assert_eq!(bench.verdict(n), PayloadVerdict::Syncing, "{n}");
    }
}

/// Rule 2: a hole keeps its descendants SYNCING, filling it releases them all.
#[test]
fn rule_2_filling_a_hole_releases_all_descendants() {
    // What is missing of payload 3: its proof, the payload, the EL's status.
    for missing in ["proof", "payload"] {
        let mut bench = Bench::started(require(1));
        for n in 2..=8 {
            if n != 3 {
                bench.prove(n, 1);
            }
            if n != 3 || missing == "proof" {
                bench.import(payload(n, n - 1), valid(n));
            }
        }
        for n in 4..=8 {
            assert_eq!(bench.verdict(n), PayloadVerdict::Syncing, "{missing} {n}");
        }
        let held = match missing {
            "proof" => HeldBy::Ancestor(hash(3)),
            _ => HeldBy::UnknownAncestor(hash(3)),
        };
        assert_eq!(bench.head(8, valid(8)), HELD(held));
        bench.prove(3, 2);
        if missing == "payload" {
            bench.event(Event::PayloadSeen {
                payload: payload(3, 2),
                check: RequestCheck::Matches,
            });
        }
        for n in 2..=8 {
            assert_eq!(bench.verdict(n), PayloadVerdict::Valid, "{missing} {n}");
        }
        assert_eq!(bench.head(8, valid(8)), PASS);
    }
}

/// Rule 3: VALID carries the payload's own hash, SYNCING and ACCEPTED carry none.
#[test]
fn rule_3_latest_valid_hash() {
    let table = [
        (valid(2), PASS),
        (
            status(StatusWord::Valid, Some(hash(1))),
            HELD(HeldBy::OtherLatestValidHash),
        ),
        (
            status(StatusWord::Valid, None),
            HELD(HeldBy::OtherLatestValidHash),
        ),
        (SYNCING, PASS),
        (status(StatusWord::Accepted, None), PASS),
        (
            status(StatusWord::Syncing, Some(hash(2))),
            HELD(HeldBy::El(ElStatus::Syncing)),
        ),
        (
            status(StatusWord::Accepted, Some(hash(2))),
            HELD(HeldBy::El(ElStatus::Accepted)),
        ),
    ];
    for (answer, expected) in table {
        let mut bench = Bench::started(require(1));
        bench.prove(2, 1);
        assert_eq!(bench.import(payload(2, 1), answer), expected, "{answer:?}");
        let mut bench = Bench::started(require(1));
        bench.prove(2, 1);
        bench.import(payload(2, 1), SYNCING);
        assert_eq!(bench.head(2, answer), expected, "{answer:?}");
    }
}

/// Rule 5: a hash belongs to one root; a request of another root is never VALID.
#[test]
fn rule_5_a_hash_belongs_to_one_root() {
    let other = PayloadFacts {
        new_payload_request_root: root(99),
        ..payload(2, 1)
    };
    let conflict = Alarm::RequestRootConflict {
        block_hash: hash(2),
        known: root(2),
        claimed: root(99),
    };

    let mut bench = Bench::started(require(1));
    bench.prove(2, 1);
    bench.prove(99, 1);
    assert_eq!(bench.import(payload(2, 1), valid(2)), PASS);
    let decision = bench.import_checked(other, RequestCheck::NotChecked, valid(2));
    assert_eq!(decision, HELD(HeldBy::OtherRequestRoot));
    assert_eq!(bench.alarms(), [conflict]);
    // The EL's INVALID for the other request is no word on the payload.
    assert_eq!(
        bench.import_checked(other, RequestCheck::NotChecked, invalid(None)),
        PASS
    );
    assert_eq!(bench.verdict(2), PayloadVerdict::Valid);
    assert_eq!(bench.head(2, valid(2)), PASS);

    // A request whose hash check failed, whatever the EL says.
    let mut bench = Bench::started(require(1));
    bench.prove(2, 1);
    let decision = bench.import_checked(payload(2, 1), RequestCheck::Mismatch, valid(2));
    assert_eq!(decision, HELD(HeldBy::OtherRequestRoot));
    assert_eq!(
        bench.alarms(),
        [Alarm::HashCheckDisagrees { block_hash: hash(2) }]
    );
    assert_eq!(bench.gate.payload(&hash(2)), None, "it has no place in the tree");
}

/// Rule 5: without the hash check only the EL's VALID ties a request to its hash.
#[test]
fn rule_5_an_unchecked_request_takes_no_hash() {
    let other = PayloadFacts {
        new_payload_request_root: root(99),
        ..payload(2, 1)
    };
    let mut bench = Bench::started(require(1));
    bench.prove(2, 1);
    bench.prove(99, 1);
    assert_eq!(
        bench.import_checked(other, RequestCheck::NotChecked, SYNCING),
        PASS
    );
    bench.event(Event::PayloadSeen {
        payload: other,
        check: RequestCheck::NotChecked,
    });
    assert_eq!(
        bench.head(2, valid(2)),
        HELD(HeldBy::UnknownPayload),
        "whose proofs count is not known"
    );
    assert_eq!(
        bench.import_checked(payload(2, 1), RequestCheck::NotChecked, valid(2)),
        PASS
    );
    assert_eq!(
        bench.gate.payload(&hash(2)).unwrap().new_payload_request_root,
        Some(root(2))
    );
}

/// A call that could not be read is never VALID.
#[test]
fn an_unreadable_call_is_never_valid() {
    for (answer, expected) in [
        (valid(2), HELD(HeldBy::Unreadable)),
        (invalid(None), PASS),
        (SYNCING, PASS),
        (ElAnswer::Error, PASS),
        (ElAnswer::Unavailable, PASS),
        (ElAnswer::Unreadable, HELD(HeldBy::Unreadable)),
    ] {
        let mut bench = Bench::started(require(1));
        let call = bench.call();
        let payload = AskedPayload::Unread;
        let actions = bench.event(Event::NewPayloadAnswered {
            call,
            payload,
            answer,
        });
        assert_eq!(Bench::decided(&actions, call), expected, "{answer:?}");
        let call = bench.call();
        let actions = bench.event(Event::ForkchoiceUpdatedAnswered {
            call,
            state: None,
            answer,
        });
        assert_eq!(Bench::decided(&actions, call), expected, "{answer:?}");
    }
}

/// Rule 6: a proof counts for the payload it names; k distinct types, none twice; a reorg moves nothing.
#[test]
fn rule_6_a_proof_counts_for_its_payload_alone() {
    let mut bench = Bench::started(require(2));
    // Two branches on 1: 2–4 and 3–5.
    for (n, parent) in [(2, 1), (3, 1), (4, 2), (5, 3)] {
        bench.import(payload(n, parent), valid(n));
    }
    for n in [2, 4] {
        bench.prove(n, 1);
        bench.prove(n, 1);
        assert_eq!(bench.held_by(n), Some(HeldBy::Proofs { have: 1, need: 2 }), "{n}");
        bench.prove(n, 7);
    }
    bench.prove(5, 1);
    bench.prove(5, 2);
    for (n, verdict) in [
        (2, PayloadVerdict::Valid),
        (4, PayloadVerdict::Valid),
        (3, PayloadVerdict::Syncing),
        (5, PayloadVerdict::Syncing),
    ] {
        assert_eq!(bench.verdict(n), verdict, "{n}");
    }
    for (head, decision) in [
        (4, PASS),
        (5, HELD(HeldBy::Ancestor(hash(3)))),
        (4, PASS),
        (2, PASS),
    ] {
        assert_eq!(bench.head(head, valid(head)), decision, "{head}");
    }
}

/// Rule 6: proofs that came before their payload count when it comes.
#[test]
fn rule_6_early_proofs_count() {
    let mut bench = Bench::started(require(1));
    bench.prove(2, 3);
    assert_eq!(bench.import(payload(2, 1), valid(2)), PASS);
}

/// Rule 7: never better than the EL's present status.
#[test]
fn rule_7_never_better_than_the_el() {
    let mut bench = Bench::started(require(1));
    bench.prove(2, 1);
    assert_eq!(bench.import(payload(2, 1), SYNCING), PASS);
    assert_eq!(bench.verdict(2), PayloadVerdict::Syncing);
    assert_eq!(bench.import(payload(2, 1), valid(2)), PASS);
    assert_eq!(bench.verdict(2), PayloadVerdict::Valid);
    // The EL lost its database.
    assert_eq!(bench.head(2, SYNCING), PASS);
    assert_eq!(bench.verdict(2), PayloadVerdict::Syncing);
    bench.prove(3, 1);
    assert_eq!(bench.import(payload(3, 2), SYNCING), PASS);
    // Its VALID for a descendant is one for the ancestors.
    assert_eq!(bench.head(3, valid(3)), PASS);
    assert_eq!(bench.verdict(2), PayloadVerdict::Valid);
}

/// Rule 8: errors and missing answers pass, and change nothing.
#[test]
fn rule_8_errors_pass() {
    for answer in [ElAnswer::Error, ElAnswer::Unavailable] {
        let mut bench = Bench::started(require(1));
        bench.prove(2, 1);
        bench.import(payload(2, 1), valid(2));
        assert_eq!(bench.import(payload(2, 1), answer), PASS);
        assert_eq!(bench.head(2, answer), PASS);
        assert_eq!(bench.verdict(2), PayloadVerdict::Valid);
    }
}

/// Rule 10: an older or repeated head, as Gloas has them with an empty block, is a head as any other.
#[test]
fn rule_10_older_and_repeated_heads() {
    let mut bench = Bench::started(require(1));
    for n in 2..=4 {
        bench.prove(n, 1);
        bench.import(payload(n, n - 1), valid(n));
    }
    for head in [4, 4, 3, 2, 3, 4] {
        assert_eq!(bench.head_finalized(head, 2, valid(head)), PASS, "{head}");
    }
}

/// A payload known by its hash alone takes the EL's word with it when its request comes.
#[test]
fn a_head_known_by_hash_finds_its_place() {
    let mut bench = Bench::started(require(1));
    bench.prove(2, 1);
    bench.prove(3, 1);
    assert_eq!(
        bench.import_checked(payload(3, 2), RequestCheck::NotChecked, SYNCING),
        PASS
    );
    assert_eq!(bench.head(3, valid(3)), HELD(HeldBy::UnknownPayload));
    bench.event(Event::PayloadSeen {
        payload: payload(3, 2),
        check: RequestCheck::Matches,
    });
    assert_eq!(bench.held_by(3), Some(HeldBy::UnknownAncestor(hash(2))));
    bench.event(Event::PayloadSeen {
        payload: payload(2, 1),
        check: RequestCheck::Matches,
    });
    assert_eq!(
        bench.verdict(3),
        PayloadVerdict::Valid,
        "the EL's VALID of 3 was one of 2"
    );
}

/// What another beacon node brings says nothing of where the primary started, over a restart too.
#[test]
fn rule_11_another_node_does_not_say_where_the_primary_started() {
    let mut bench = Bench::new(require(1));
    let asked = AskedPayload::Read {
        payload: payload(2, 1),
        check: RequestCheck::Matches,
    };
    bench.event(Event::OtherPayload { payload: asked });
    let call = bench.call();
    let actions = bench.event(Event::NewPayloadAnswered {
        call,
        payload: asked,
        answer: valid(2),
    });
    assert!(is_syncing(Bench::decided(&actions, call)));
    let mut bench = bench.restarted(require(1));
    assert!(!bench.gate.payload(&hash(2)).unwrap().anchor);
    // It did not come from the primary: the primary started from it.
    assert_eq!(bench.head(2, valid(2)), Decision::PassThrough);
    assert!(bench.gate.payload(&hash(2)).unwrap().anchor);
}

/// Rule 4: what an answer tells for the first time can be taken back where it was not told; what a payload has from a
/// descendant that was told before it had its place cannot.
#[test]
fn rule_4_only_what_an_answer_itself_tells_is_taken_back() {
    let told_first = |actions: &[Action]| -> Vec<BlockHash> {
        let of = |action: &Action| match action {
            Action::ToldFirst(payloads) => Some(payloads.clone()),
            _ => None,
        };
        actions.iter().filter_map(of).flatten().collect()
    };
    // Payload 3 is where the beacon node started, by its hash alone; 2, on which it stands, came before it.
    let mut bench = Bench::started(require(1));
    bench.import(payload(2, 1), valid(2));
    bench.event(Event::AnchorSet { block_hash: hash(3) });
    bench.head(3, valid(3));
    let before = bench.actions.len();
    assert_eq!(
        bench.import_checked(payload(3, 2), RequestCheck::NotChecked, valid(3)),
        Decision::PassThrough
    );
    assert!(
        bench.gate.payload(&hash(2)).unwrap().told_valid,
        "with its descendant"
    );
    assert_eq!(told_first(&bench.actions[before..]), []);
    // A chain of its own: both, and both are taken back.
    for n in [4, 5] {
        bench.prove(n, 1);
        bench.import(payload(n, n - 1), SYNCING);
    }
    let before = bench.actions.len();
    assert_eq!(bench.head(5, valid(5)), Decision::PassThrough);
    let told = told_first(&bench.actions[before..]);
    assert_eq!(told, [hash(5), hash(4)]);
    bench.event(Event::NotTold { payloads: told });
    for (n, told) in [(5, false), (4, false), (3, true), (2, true)] {
        assert_eq!(bench.gate.payload(&hash(n)).unwrap().told_valid, told, "{n}");
    }
    // Kept so.
    let again = bench.restarted(require(1));
    assert!(!again.gate.payload(&hash(4)).unwrap().told_valid);
}
