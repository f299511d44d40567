//! What is asked, of whom, and when: tables.

use super::{SLOT, block_root, payload_root, peer_id, settings};
use crate::sync::{
    event::{Action, Ask, Block, Event, Failure, RequestId},
    limits::{ROUNDS, URGENT_SLOTS},
    planner::Planner,
};
use assay_types::{ExecutionProofStatus, ProofType, Slot};
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

pub(super) fn asks(actions: Vec<Action>) -> Vec<(RequestId, usize, Ask)> {
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

pub(super) fn connect(
    planner: &mut Planner,
    n: usize,
    claimed: u64,
    now: Duration,
) -> Vec<(RequestId, usize, Ask)> {
    asks(planner.on_event(Event::Connected(peer_id(n), status(claimed)), now))
}

pub(super) fn by_root(blocks: &[(u64, &[ProofType])]) -> Ask {
    Ask::Root(
        blocks
            .iter()
            .map(|(slot, types)| (block_root(0, Slot(*slot)), types.to_vec()))
            .collect(),
    )
}

pub(super) fn by_range(start: u64, count: u64, types: &[ProofType]) -> Ask {
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
