//! What is asked, of whom, and when: tables.

use super::{SLOT, block_root, key, payload_root, peer_id, settings};
use crate::sync::{
    event::{Action, Ask, Block, Event, Failure, Judged, RequestId, Taken, Wrong},
    limits::{ROUNDS, UNJUDGED_IN_A_ROW, URGENT_SLOTS},
    planner::Planner,
};
use assay_types::{ExecutionProofStatus, ProofType, Root, Slot};
use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn block(slot: u64, held: &[ProofType]) -> Block {
    Block {
        slot: Slot(slot),
        root: block_root(0, Slot(slot)),
        payload: Some(payload_root(0, Slot(slot))),
        held: held.to_vec(),
    }
}

pub(super) fn status(slot: u64) -> Option<ExecutionProofStatus> {
    Some(ExecutionProofStatus {
        block_root: block_root(0, Slot(slot)),
        slot: Slot(slot),
        proof_types: vec![1, 2],
    })
}

/// A planner that wants types 1 and 2 of these blocks, in slot `current`.
pub(super) fn planner(current: u64, blocks: Vec<Block>) -> Planner {
    let mut planner = Planner::new(settings(&[1, 2]));
    planner.on_event(Event::Slot(Slot(current)), SECOND);
    let anchored = Event::Finalized {
        start: Slot(0),
        anchor: Slot(0),
    };
    planner.on_event(anchored, SECOND);
    let actions = planner.on_event(Event::Canonical { above: None, blocks }, SECOND);
    assert_eq!(actions, [], "there is nobody to ask");
    planner
}

fn asks(actions: Vec<Action>) -> Vec<(RequestId, usize, Ask)> {
    actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Request { id, peer, ask } => {
                Some((id, (0..10).find(|n| peer_id(*n) == peer).unwrap(), ask))
            }
            _ => None,
        })
        .collect()
}

fn connect(planner: &mut Planner, n: usize, claimed: u64, now: Duration) -> Vec<(RequestId, usize, Ask)> {
    asks(planner.on_event(Event::Connected(peer_id(n), status(claimed)), now))
}

fn by_root(blocks: &[(u64, &[ProofType])]) -> Ask {
    Ask::Root(
        blocks
            .iter()
            .map(|(slot, types)| (block_root(0, Slot(*slot)), types.to_vec()))
            .collect(),
    )
}

fn by_range(start: u64, count: u64, types: &[ProofType]) -> Ask {
    Ask::Range {
        start: Slot(start),
        count,
        types: types.to_vec(),
    }
}

#[test]
fn the_cheaper_of_range_and_roots() {
    for (what, blocks, expected) in [
        (
            "all of it is missing",
            vec![block(10, &[]), block(11, &[]), block(13, &[])],
            by_range(10, 4, &[1, 2]),
        ),
        (
            "one type is missing everywhere",
            vec![block(10, &[1]), block(11, &[1]), block(13, &[1])],
            by_range(10, 4, &[2]),
        ),
        (
            "a gap in what is held",
            vec![
                block(10, &[1, 2]),
                block(11, &[]),
                block(12, &[1, 2]),
                block(13, &[2]),
            ],
            by_root(&[(11, &[1, 2]), (13, &[1])]),
        ),
        (
            "one held proof among the missing costs more than identifiers",
            vec![block(10, &[]), block(11, &[1]), block(12, &[])],
            by_root(&[(10, &[1, 2]), (11, &[2]), (12, &[1, 2])]),
        ),
        ("a single block", vec![block(10, &[])], by_root(&[(10, &[1, 2])])),
        (
            "farther apart than a range reaches",
            vec![block(10, &[]), block(138, &[])],
            by_root(&[(10, &[1, 2]), (138, &[1, 2])]),
        ),
    ] {
        let mut planner = planner(1000, blocks);
        let asked = connect(&mut planner, 0, 1000, SECOND);
        assert_eq!(asked.len(), 1, "{what}");
        assert_eq!(asked[0].2, expected, "{what}");
    }
}

#[test]
fn a_protocol_that_a_peer_does_not_speak_is_left_for_the_other() {
    let mut planner = planner(1000, vec![block(10, &[]), block(11, &[])]);
    let (id, _, ask) = connect(&mut planner, 0, 1000, SECOND).remove(0);
    assert_eq!(ask, by_range(10, 2, &[1, 2]));
    let end = Err(Failure::Unsupported);
    let (id, _, ask) = asks(planner.on_event(Event::Ended { id, end }, SECOND)).remove(0);
    assert_eq!(ask, by_root(&[(10, &[1, 2]), (11, &[1, 2])]));
    assert_eq!(asks(planner.on_event(Event::Ended { id, end }, SECOND)), []);
    assert_eq!((planner.state().open(), planner.state().sources), (4, 0));
}

#[test]
fn what_does_not_come_is_asked_of_the_next_and_in_rounds() {
    let mut planner = planner(1000, vec![block(10, &[2])]);
    let mut now = SECOND;
    let mut asked = connect(&mut planner, 0, 1000, now);
    assert_eq!(connect(&mut planner, 1, 1000, now), [], "one at a time");
    let mut of = Vec::new();
    let mut pauses = Vec::new();
    let mut paused = Duration::ZERO;
    for _ in 0..100_000 {
        if let Some((id, peer, ask)) = asked.pop() {
            assert_eq!(ask, by_root(&[(10, &[1])]));
            of.push(peer);
            if !paused.is_zero() {
                pauses.push(paused.as_secs());
            }
            paused = Duration::ZERO;
            asked = asks(planner.on_event(Event::Ended { id, end: Ok(()) }, now));
        } else {
            now += SECOND;
            paused += SECOND;
            asked = asks(planner.on_event(Event::Tick, now));
        }
        if planner.state().not_obtainable == 1 {
            break;
        }
    }
    assert_eq!(of.len(), 2 * usize::from(ROUNDS), "each peer once a round");
    assert_eq!(of.iter().filter(|peer| **peer == 0).count(), usize::from(ROUNDS));
    assert_eq!(pauses, [12, 24, 48, 96]);
    // Who comes later is asked too, once.
    let (id, peer, _) = connect(&mut planner, 2, 1000, now).remove(0);
    assert_eq!((peer, planner.state().not_obtainable), (2, 0));
    assert_eq!(asks(planner.on_event(Event::Ended { id, end: Ok(()) }, now)), []);
    assert_eq!(planner.state().not_obtainable, 1);
}

#[test]
fn who_claims_the_slot_is_asked_first() {
    let mut planner = planner(1000, vec![block(10, &[])]);
    assert_eq!(
        planner.on_event(Event::Connected(peer_id(0), None), SECOND),
        [Action::AskStatus(peer_id(0))],
        "its status first"
    );
    let told = Event::Status(
        peer_id(0),
        ExecutionProofStatus {
            slot: Slot(9),
            ..status(0).unwrap()
        },
    );
    let first = asks(planner.on_event(told, SECOND));
    assert_eq!(first[0].1, 0, "nobody claims more");
    let end = Event::Ended {
        id: first[0].0,
        end: Err(Failure::Other),
    };
    planner.on_event(end, SECOND);
    let second = connect(&mut planner, 1, 10, SECOND);
    assert_eq!(second[0].1, 1);
    // Its answer lacks them: then those who claim less, once their pause is over.
    let end = Event::Ended {
        id: second[0].0,
        end: Ok(()),
    };
    assert_eq!(asks(planner.on_event(end, SECOND)), []);
    assert_eq!(asks(planner.on_event(Event::Tick, SECOND * 3))[0].1, 0);
}

#[test]
fn types_that_a_peer_does_not_verify_are_not_asked_of_it() {
    let mut planner = planner(1000, vec![block(10, &[])]);
    let told = ExecutionProofStatus {
        proof_types: vec![2],
        ..status(1000).unwrap()
    };
    let asked = asks(planner.on_event(Event::Connected(peer_id(0), Some(told)), SECOND));
    assert_eq!(asked[0].2, by_root(&[(10, &[2])]));
    assert_eq!(planner.state().not_obtainable, 1);
}

#[test]
fn gossip_has_its_time_and_what_waits_goes_before_back_fill() {
    let old: Vec<Block> = (10..400).map(|slot| block(slot, &[])).collect();
    let mut planner = planner(1000, old);
    let asked = connect(&mut planner, 0, 1000, SECOND);
    assert_eq!(asked.len(), 1, "back-fill");
    let new = Event::Canonical {
        above: Some(Slot(999)),
        blocks: vec![block(1000, &[])],
    };
    assert_eq!(asks(planner.on_event(new, SECOND)), []);
    let before = SECOND + SLOT - Duration::from_millis(1);
    assert_eq!(asks(planner.on_event(Event::Tick, before)), []);
    let asked = asks(planner.on_event(Event::Tick, SECOND + SLOT));
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].2,
        by_root(&[(1000, &[1, 2])]),
        "beside the one under way"
    );

    // A second peer is asked too after a quarter of a slot: what is farther than the newest slots waits its turn.
    let later = SECOND + SLOT + SLOT / 4;
    let asked = connect(&mut planner, 1, 1000, later);
    assert_eq!(asked[0].2, by_root(&[(1000, &[1, 2])]));
    assert_eq!(asked[1].2, by_range(14, 4, &[1, 2]));
    assert_eq!(asked.len(), 2);
    assert_eq!(
        (planner.state().requests, planner.state().under_way),
        (4, 8 + 8 + 2),
        "back-fill and urgent, of both"
    );
    const { assert!(URGENT_SLOTS < 10) };
}

#[test]
fn what_the_gate_holds_back_is_urgent_on_any_branch() {
    let mut planner = planner(1000, (10..400).map(|slot| block(slot, &[])).collect());
    connect(&mut planner, 0, 1000, SECOND);
    let fork = Block {
        root: block_root(1, Slot(300)),
        payload: Some(payload_root(1, Slot(300))),
        ..block(300, &[])
    };
    let asked = asks(planner.on_event(Event::Waiting(vec![fork.clone(), block(200, &[])]), SECOND));
    let expected = Ask::Root(vec![
        (block_root(0, Slot(200)), vec![1, 2]),
        (fork.root, vec![1, 2]),
    ]);
    assert_eq!(asked[0].2, expected);
    let missing = planner.state().missing;
    planner.on_event(Event::Waiting(Vec::new()), SECOND);
    assert_eq!(
        planner.state().missing,
        missing - 2,
        "the canonical one stays wanted"
    );
}

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

/// A proposer that signs two blocks with one payload: its proof is an answer to either.
#[test]
fn a_payload_in_two_blocks_is_asked_for_by_either() {
    let twin = Block {
        root: block_root(1, Slot(10)),
        ..block(10, &[2])
    };
    for twin_waits_first in [true, false] {
        let mut planner = planner(1000, Vec::new());
        let waiting = Event::Waiting(vec![twin.clone()]);
        let canonical = Event::Canonical {
            above: None,
            blocks: vec![block(10, &[2])],
        };
        let events = if twin_waits_first {
            [waiting, canonical]
        } else {
            [canonical, waiting]
        };
        for event in events {
            planner.on_event(event, SECOND);
        }
        let (id, ..) = connect(&mut planner, 0, 1000, SECOND).remove(0);
        let proof = key(0, Slot(10), 1);
        let (taken, actions) = planner.on_proof(id, proof, 1000, SECOND);
        assert_eq!((taken, asks(actions)), (Taken::Judge, vec![]));
        let held = Event::Held {
            key: proof,
            bytes: 1000,
        };
        planner.on_event(held, SECOND);
        planner.on_event(Event::Tick, SECOND);
        assert_eq!(planner.state().missing, 0, "it is held for both");
        // One of them leaves the plan: the other still has its name.
        planner.on_event(Event::Waiting(Vec::new()), SECOND);
        assert_eq!(planner.state().blocks, 1);
        assert_eq!(planner.local_status().slot, Slot(10));
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
fn reorgs_and_finality_change_what_is_wanted() {
    let mut planner = planner(1000, (10..20).map(|slot| block(slot, &[])).collect());
    assert_eq!(planner.state().missing, 20);
    let other: Vec<Block> = (15..18)
        .map(|slot| Block {
            root: block_root(1, Slot(slot)),
            payload: Some(payload_root(1, Slot(slot))),
            ..block(slot, &[1])
        })
        .collect();
    let reorg = Event::Canonical {
        above: Some(Slot(14)),
        blocks: other,
    };
    planner.on_event(reorg, SECOND);
    assert_eq!(planner.state().missing, 2 * 5 + 3);
    assert_eq!(planner.canonical_root(Slot(16)), Some(block_root(1, Slot(16))));
    assert_eq!(planner.canonical_bottom(), Some(Slot(10)));
    assert_eq!(planner.canonical_root(Slot(18)), None);
    let finality = Event::Finalized {
        start: Slot(14),
        anchor: Slot(14),
    };
    planner.on_event(finality, SECOND);
    assert_eq!(planner.state().missing, 2 + 3);
    // A payload that turns out not to be taken is not wanted; one that becomes known is.
    let untaken = Block {
        root: block_root(1, Slot(16)),
        payload: None,
        ..block(16, &[])
    };
    planner.on_event(Event::Block(untaken.clone()), SECOND);
    assert_eq!(planner.state().missing, 2 + 2);
    let known = Block {
        payload: Some(payload_root(1, Slot(16))),
        ..untaken
    };
    planner.on_event(Event::Block(known), SECOND);
    assert_eq!(planner.state().missing, 2 + 2 + 2);
}

#[test]
fn the_status_of_this_node() {
    let mut planner = planner(1000, vec![block(10, &[]), block(11, &[2]), block(12, &[])]);
    let nothing = planner.local_status();
    assert_eq!((nothing.block_root, nothing.slot), (Root::ZERO, Slot(0)));
    assert_eq!(nothing.proof_types, [1, 2]);
    for (slot, named) in [(12, None), (10, Some(12))] {
        let held = Event::Held {
            key: key(0, Slot(slot), 1),
            bytes: 10,
        };
        planner.on_event(held, SECOND);
        let status = planner.local_status();
        assert_eq!(status.slot, Slot(named.unwrap_or(0)));
        assert_eq!(
            status.block_root,
            named.map_or(Root::ZERO, |n| block_root(0, Slot(n)))
        );
    }
}

#[test]
fn the_status_of_this_node_follows_what_counts() {
    let mut planner = planner(1000, (10..14).map(|slot| block(slot, &[])).collect());
    let all_of_one = (10..14).map(|slot| (slot, 1));
    for (slot, proof_type) in all_of_one.chain([(10, 2), (11, 2)]) {
        let held = Event::Held {
            key: key(0, Slot(slot), proof_type),
            bytes: 10,
        };
        planner.on_event(held, SECOND);
    }
    assert_eq!(planner.local_status().slot, Slot(13));
    for (required, counted, newest) in [
        (2, vec![1, 2], 11),
        (1, vec![2], 11),
        (1, vec![1], 13),
        (2, vec![2], 0),
        (1, vec![1, 2], 13),
    ] {
        planner.count(required, counted.clone());
        assert_eq!(
            planner.local_status().slot,
            Slot(newest),
            "{required} of {counted:?}"
        );
        assert_eq!(planner.local_status().proof_types, [1, 2], "what is verified");
    }
}
