//! What a plan holds at most.

use super::{
    SLOT,
    asking::{SECOND, block, planner, status},
    peer_id,
};
use crate::sync::{
    event::{Action, Event},
    limits::{MAX_BLOCKS, MAX_SOURCES},
};
use assay_types::Slot;

#[test]
fn the_plan_is_bounded_and_the_oldest_goes() {
    let most = MAX_BLOCKS as u64;
    let mut planner = planner(most + 100, (1..=most + 3).map(|slot| block(slot, &[])).collect());
    let state = planner.state();
    assert_eq!((state.blocks, state.beyond), (MAX_BLOCKS, 3));
    assert_eq!(planner.canonical_bottom(), Some(Slot(4)));
    let told = Event::Unreachable {
        from: Slot(0),
        to: Slot(3),
    };
    planner.on_event(told, SECOND);
    assert_eq!(planner.state().unreachable, Some((Slot(0), Slot(3))));
}

/// More peers than are told apart: who is connected is kept, and a place that changes hands brings no marks with it.
#[test]
fn the_table_of_peers_is_bounded() {
    let mut planner = planner(1000, vec![block(10, &[2])]);
    let mut asked = Vec::new();
    for n in 0..=MAX_SOURCES {
        let connected = Event::Connected(peer_id(n), status(1000));
        for action in planner.on_event(connected, SECOND) {
            if let Action::Request { id, peer, .. } = action {
                asked.push(peer);
                let actions = planner.on_event(Event::Ended { id, end: Ok(()) }, SECOND);
                assert_eq!(actions, [], "nobody else to ask");
            }
        }
    }
    assert_eq!(planner.state().sources, MAX_SOURCES);
    assert_eq!(asked.len(), 1, "the round is over with the first");
    planner.on_event(Event::Gone(peer_id(3)), SECOND);
    planner.on_event(Event::Connected(peer_id(1000), status(1000)), SECOND);
    assert_eq!(
        planner.state().sources,
        MAX_SOURCES,
        "the place of one that has gone"
    );
    let mut now = SECOND;
    let mut of_last = false;
    for _ in 0..MAX_SOURCES * 2 {
        now += SLOT;
        let mut actions = planner.on_event(Event::Tick, now);
        while let Some(Action::Request { id, peer, .. }) =
            actions.into_iter().find(|a| matches!(a, Action::Request { .. }))
        {
            of_last |= peer == peer_id(1000);
            actions = planner.on_event(Event::Ended { id, end: Ok(()) }, now);
        }
    }
    assert!(of_last);
}
