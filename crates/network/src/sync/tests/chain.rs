//! What the chain makes of what is wanted, and of what this node says it has: tables.

use super::{
    asking::{SECOND, asks, block, connect, planner},
    block_root, key, payload_root,
};
use crate::sync::event::{Block, Event, Taken};
use assay_types::{Root, Slot};

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
