//! What comes of answers and verdicts: tables.

use super::{
    asking::{SECOND, asks, block, by_range, by_root, connect, planner},
    key, peer_id,
};
use crate::sync::{
    event::{Action, Event, Judged, Taken, Wrong},
    limits::UNJUDGED_IN_A_ROW,
};
use assay_types::Slot;

#[test]
fn wrong_answers() {
    let blocks = || vec![block(10, &[]), block(11, &[]), block(12, &[]), block(50, &[1, 2])];
    let at = |slot, proof_type| key(0, Slot(slot), proof_type);
    for (what, proofs, last, fault) in [
        ("good", vec![at(10, 1), at(11, 2)], Taken::Judge, None),
        ("twice", vec![at(10, 1), at(10, 1)], Taken::Skip, None),
        (
            "types of a block in any order",
            vec![at(10, 2), at(10, 1)],
            Taken::Judge,
            None,
        ),
        ("another chain's", vec![key(1, Slot(10), 1)], Taken::Skip, None),
        (
            "backwards",
            vec![at(11, 1), at(10, 1)],
            Taken::Stop,
            Some(Wrong::Order),
        ),
        (
            "a type not asked for",
            vec![at(10, 3)],
            Taken::Stop,
            Some(Wrong::NotAskedFor),
        ),
        (
            "outside the range",
            vec![at(50, 1)],
            Taken::Stop,
            Some(Wrong::NotAskedFor),
        ),
    ] {
        let mut planner = planner(1000, blocks());
        let (id, _, ask) = connect(&mut planner, 0, 1000, SECOND).remove(0);
        assert_eq!(ask, by_range(10, 3, &[1, 2]));
        let mut said = Vec::new();
        for proof in proofs {
            said = vec![planner.on_proof(id, proof, 1000, SECOND)];
        }
        let (taken, actions) = said.remove(0);
        assert_eq!(taken, last, "{what}");
        let faults: Vec<Action> = actions
            .into_iter()
            .filter(|a| matches!(a, Action::Fault(..)))
            .collect();
        let expected: Vec<Action> = fault.map(|f| Action::Fault(peer_id(0), f)).into_iter().collect();
        assert_eq!(faults, expected, "{what}");
        assert_eq!(
            planner.state().requests,
            usize::from(last != Taken::Stop),
            "{what}"
        );
    }
    // By root: nothing but what was named.
    for (proof, taken) in [
        (at(11, 1), Taken::Judge),
        (at(11, 2), Taken::Stop),
        (at(10, 1), Taken::Stop),
    ] {
        let mut planner = planner(1000, vec![block(10, &[1, 2]), block(11, &[2])]);
        let (id, _, ask) = connect(&mut planner, 0, 1000, SECOND).remove(0);
        assert_eq!(ask, by_root(&[(11, &[1])]));
        assert_eq!(planner.on_proof(id, proof, 1000, SECOND).0, taken);
    }
}

#[test]
fn verdicts() {
    for (judged, missing, faults, paused) in [
        (Judged::Held, 0, 0, false),
        (Judged::Bad, 1, 1, false),
        (Judged::Unwanted, 1, 0, false),
        (Judged::Undecided, 1, 0, false),
    ] {
        let mut planner = planner(1000, vec![block(10, &[2])]);
        let (id, ..) = connect(&mut planner, 0, 1000, SECOND).remove(0);
        let proof = key(0, Slot(10), 1);
        assert_eq!(planner.on_proof(id, proof, 1000, SECOND).0, Taken::Judge);
        planner.on_event(Event::Ended { id, end: Ok(()) }, SECOND);
        assert_eq!(planner.state().under_way, 1, "with the verifier");
        let actions = planner.on_event(
            Event::Judged {
                peer: peer_id(0),
                key: proof,
                judged,
            },
            SECOND,
        );
        let reported = actions.iter().filter(|a| matches!(a, Action::Fault(..))).count();
        assert_eq!(reported, faults, "{judged:?}");
        planner.on_event(Event::Tick, SECOND);
        let state = planner.state();
        assert_eq!((state.missing, state.paused), (missing, paused), "{judged:?}");
        // Undecided: from whoever, when its pause is over.
        let again = asks(planner.on_event(Event::Tick, SECOND * 2));
        assert_eq!(
            again.len(),
            usize::from(judged == Judged::Undecided),
            "{judged:?}"
        );
    }
}

#[test]
fn a_request_that_brings_nothing_is_given_up() {
    let mut planner = planner(1000, vec![block(10, &[])]);
    let (id, ..) = connect(&mut planner, 0, 1000, SECOND).remove(0);
    assert_eq!(connect(&mut planner, 1, 1000, SECOND), []);
    assert_eq!(planner.on_event(Event::Tick, SECOND * 40), []);
    let actions = planner.on_event(Event::Tick, SECOND * 41);
    assert_eq!(actions[0], Action::Cancel(id));
    assert_eq!(asks(actions)[0].1, 1, "the other one is asked");
    assert_eq!(
        planner.on_proof(id, key(0, Slot(10), 1), 10, SECOND * 42).0,
        Taken::Stop
    );
}

#[test]
fn an_engine_that_is_away_is_asked_for_one_proof_at_a_time() {
    let mut planner = planner(1000, (10..60).map(|slot| block(slot, &[])).collect());
    let (id, ..) = connect(&mut planner, 0, 1000, SECOND).remove(0);
    for slot in 10..10 + UNJUDGED_IN_A_ROW as u64 {
        assert!(!planner.state().paused);
        planner.on_proof(id, key(0, Slot(slot), 1), 1000, SECOND);
        planner.on_event(Event::Parked, SECOND);
    }
    assert_eq!(
        connect(&mut planner, 1, 1000, SECOND),
        [],
        "nothing is asked while it is away"
    );
    let undecided = Event::Judged {
        peer: peer_id(0),
        key: key(0, Slot(10), 1),
        judged: Judged::Undecided,
    };
    assert_eq!(planner.on_event(undecided, SECOND * 2), [Action::Cancel(id)]);
    let asked = asks(planner.on_event(Event::Tick, SECOND * 10));
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].2, by_root(&[(10, &[1])]));
    let held = Event::Held {
        key: key(0, Slot(30), 1),
        bytes: 1000,
    };
    planner.on_event(held, SECOND * 10);
    assert_eq!(
        asks(planner.on_event(Event::Tick, SECOND * 10)).len(),
        1,
        "it is back"
    );
}

/// A peer whose proofs wait for ever (of a validator that the beacon node cannot tell of) is not the only one asked.
#[test]
fn while_one_proof_at_a_time_is_asked_for_it_is_asked_of_all_in_turn() {
    let mut planner = planner(1000, (10..60).map(|slot| block(slot, &[])).collect());
    let (id, ..) = connect(&mut planner, 0, 1000, SECOND).remove(0);
    for n in 1..3 {
        connect(&mut planner, n, 1000, SECOND);
    }
    for slot in 10..10 + UNJUDGED_IN_A_ROW as u64 {
        planner.on_proof(id, key(0, Slot(slot), 1), 1000, SECOND);
        planner.on_event(Event::Parked, SECOND);
    }
    let undecided = |n, slot| Event::Judged {
        peer: peer_id(n),
        key: key(0, Slot(slot), 1),
        judged: Judged::Undecided,
    };
    planner.on_event(undecided(0, 10), SECOND);
    let (mut now, mut turns) = (SECOND, Vec::new());
    for _ in 0..6 {
        // Longer than the longest pause.
        now += SECOND * 70;
        let asked = asks(planner.on_event(Event::Tick, now));
        assert_eq!(asked.len(), 1, "one at a time");
        let (_, n, ask) = &asked[0];
        turns.push(*n);
        let slot = (10..60).find(|slot| *ask == by_root(&[(*slot, &[1])])).unwrap();
        planner.on_event(Event::Parked, now);
        planner.on_event(undecided(*n, slot), now);
    }
    for n in 0..3 {
        assert_eq!(turns.iter().filter(|turn| **turn == n).count(), 2, "{turns:?}");
    }
}

/// What waits for its block, or for a beacon node's answer about one validator, holds up nothing but itself.
#[test]
fn a_proof_that_cannot_be_judged_waits_alone() {
    let blocks = vec![block(10, &[2]), block(11, &[1, 2]), block(12, &[2])];
    let mut planner = planner(1000, blocks);
    let (id, _, ask) = connect(&mut planner, 0, 1000, SECOND).remove(0);
    assert_eq!(ask, by_root(&[(10, &[1]), (12, &[1])]));
    assert_eq!(
        connect(&mut planner, 1, 1000, SECOND),
        [],
        "all of it is asked for"
    );
    let undecidable = key(0, Slot(10), 1);
    assert_eq!(planner.on_proof(id, undecidable, 1000, SECOND).0, Taken::Judge);
    planner.on_event(Event::Parked, SECOND);
    assert!(!planner.state().paused);
    // The response ends early: the other is asked for at once, of the next.
    let ended = Event::Ended { id, end: Ok(()) };
    let (id, n, ask) = asks(planner.on_event(ended, SECOND)).remove(0);
    assert_eq!((n, ask), (1, by_root(&[(12, &[1])])));
    // Undecided again and again: its pause grows, and the other request goes on.
    let mut now = SECOND;
    for pause in [1, 2, 4] {
        let undecided = Event::Judged {
            peer: peer_id(0),
            key: undecidable,
            judged: Judged::Undecided,
        };
        assert_eq!(planner.on_event(undecided, now), []);
        let held = Event::Held {
            key: key(0, Slot(500), 1),
            bytes: 1000,
        };
        planner.on_event(held, now);
        assert_eq!(
            planner.on_event(Event::Tick, now + SECOND * pause - SECOND / 100),
            []
        );
        now += SECOND * pause;
        let (again, _, ask) = asks(planner.on_event(Event::Tick, now)).remove(0);
        assert_eq!(ask, by_root(&[(10, &[1])]));
        assert_eq!(planner.on_proof(again, undecidable, 1000, now).0, Taken::Judge);
        let ended = Event::Ended {
            id: again,
            end: Ok(()),
        };
        planner.on_event(ended, now);
    }
    assert_eq!(
        planner.on_proof(id, key(0, Slot(12), 1), 1000, now).0,
        Taken::Judge
    );
}
