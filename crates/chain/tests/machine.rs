//! The follower's machine, one case each: what it asks for, when it connects again, what it tells.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use assay_chain::{
    ChainEvent, Checkpoint, PayloadSource,
    follower::{
        event::{NodeEvent, TopicsForm},
        machine::{ASK_AGAIN, EVENTS_AGAIN, HEAD_FAILURES, MAX_BACKOFF, Machine, WRONG_NETWORK_RECHECK},
        step::{Action, Health, Input, Reply, Request},
    },
    tree::{Insertion, Limits, Tree},
};
use assay_types::Epoch;
use common::*;
use std::time::{Duration, Instant};

const SLOT: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    max_blocks: 10_000,
    max_unlinked_payloads: 100,
    finalized_history_slots: 1000,
};

fn tree() -> Tree {
    Tree::new(LIMITS)
}

fn asks(actions: &[Action]) -> Vec<Request> {
    actions
        .iter()
        .filter_map(|action| {
            if let Action::Ask(request) = action {
                Some(*request)
            } else {
                None
            }
        })
        .collect()
}

/// A machine that is live at a head in slot 3, block 1 to 3 known.
fn live() -> (Machine, Tree, Instant) {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let mut tree = tree();
    for n in 1..=3 {
        tree.insert_block(fulu(n, n - 1, n));
    }
    tree.set_head(block_root(3), false);
    tree.set_floor(block_root(1));
    machine.on(Input::Tick, &tree, now);
    machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, now);
    machine.on(Input::StreamOpened, &tree, now);
    machine.on(
        Input::Reply(
            Request::Syncing,
            Reply::Syncing {
                is_syncing: false,
                distance: 0,
            },
        ),
        &tree,
        now,
    );
    machine.on(Input::Reply(Request::Finality, Reply::Done), &tree, now);
    let actions = machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now);
    assert_eq!(actions, [Action::Synced(true), Action::Report(Health::Following)]);
    let head = NodeEvent::Head {
        block_root: block_root(3),
        execution_optimistic: false,
    };
    assert_eq!(machine.on(Input::Event(head), &tree, now), []);
    (machine, tree, now)
}

#[test]
fn the_network_is_checked_before_anything_is_taken() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    assert_eq!(
        machine.on(Input::Tick, &tree(), now),
        [Action::Ask(Request::Network)]
    );
    let other = Reply::OtherNetwork("another".to_owned());
    let actions = machine.on(Input::Reply(Request::Network, other), &tree(), now);
    assert_eq!(
        actions,
        [
            Action::Report(Health::OtherNetwork("another".to_owned())),
            Action::Reset
        ]
    );
    assert_eq!(machine.next_tick(now), now + WRONG_NETWORK_RECHECK);
    let later = now + WRONG_NETWORK_RECHECK;
    assert_eq!(
        machine.on(Input::Tick, &tree(), later),
        [Action::Ask(Request::Network)]
    );
    let actions = machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree(), later);
    assert_eq!(
        asks(&actions),
        [Request::Syncing, Request::Finality, Request::Head]
    );
    assert!(
        actions.contains(&Action::OpenStream(TopicsForm::ALL[0]))
            && actions.contains(&Action::Connected(true))
    );
}

fn opened(actions: &[Action]) -> Option<TopicsForm> {
    actions.iter().find_map(|action| {
        if let Action::OpenStream(form) = action {
            Some(*form)
        } else {
            None
        }
    })
}

#[test]
fn forms_of_topics_are_tried_in_turn_and_the_one_that_works_is_kept() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let tree = tree();
    machine.on(Input::Tick, &tree, now);
    let actions = machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, now);
    assert_eq!(opened(&actions), Some(TopicsForm::ALL[0]));
    let refused = || Input::StreamRefused("400".to_owned());
    assert_eq!(
        opened(&machine.on(refused(), &tree, now)),
        Some(TopicsForm::ALL[1])
    );
    assert_eq!(
        opened(&machine.on(refused(), &tree, now)),
        Some(TopicsForm::ALL[2])
    );
    machine.on(Input::StreamOpened, &tree, now);
    let block = NodeEvent::Block {
        block_root: block_root(1),
        execution_optimistic: false,
    };
    machine.on(Input::Event(block), &tree, now);
    machine.on(Input::StreamEnded("end".to_owned()), &tree, now);
    let later = machine.next_tick(now);
    machine.on(Input::Tick, &tree, later);
    let actions = machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, later);
    assert_eq!(opened(&actions), Some(TopicsForm::ALL[2]));
}

#[test]
fn a_node_that_gives_no_events_is_followed_by_asking() {
    let (mut machine, mut tree, now) = live();
    machine.on(Input::StreamEnded("end".to_owned()), &tree, now);
    let mut at = machine.next_tick(now);
    machine.on(Input::Tick, &tree, at);
    machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, at);
    for form in 1..4 {
        assert_eq!(
            opened(&machine.on(Input::StreamRefused("400".to_owned()), &tree, at)),
            Some(TopicsForm::ALL[form])
        );
    }
    let actions = machine.on(Input::StreamRefused("400".to_owned()), &tree, at);
    assert_eq!(actions, [Action::CloseStream, Action::NoEvents("400".to_owned())]);
    let (mut polls, mut opens, end) = (0, 0, at + EVENTS_AGAIN + SLOT);
    while at < end {
        at = machine.next_tick(at);
        let mut actions = machine.on(Input::Tick, &tree, at);
        while let Some(action) = actions.pop() {
            match action {
                Action::Ask(Request::Head) => {
                    polls += 1;
                    tree.set_head(block_root(3 + polls), false);
                    actions.extend(machine.on(Input::Reply(Request::Head, Reply::Done), &tree, at));
                }
                Action::Ask(Request::Block(root)) => {
                    let n = u64::from_be_bytes(root.0[24..].try_into().unwrap());
                    let reply = Reply::Block(tree.insert_block(fulu(n, n - 1, n)));
                    actions.extend(machine.on(Input::Reply(Request::Block(root), reply), &tree, at));
                }
                Action::Ask(Request::Syncing) => {
                    let reply = Reply::Syncing {
                        is_syncing: false,
                        distance: 0,
                    };
                    actions.extend(machine.on(Input::Reply(Request::Syncing, reply), &tree, at));
                }
                Action::Ask(request) => {
                    actions.extend(machine.on(Input::Reply(request, Reply::Done), &tree, at))
                }
                Action::OpenStream(_) => {
                    opens += 1;
                    actions.extend(machine.on(Input::StreamRefused("400".to_owned()), &tree, at));
                }
                Action::Synced(_) | Action::Report(_) | Action::CloseStream => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(
        (200..300).contains(&polls),
        "{polls} polls in a minute of seconds-long slots"
    );
    assert_eq!(opens, 4, "all forms once more");
    assert_eq!(machine.health(), &Health::Following);
}

#[test]
fn a_stream_that_is_silent_about_new_heads_is_asked_for_in_another_form() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let mut tree = tree();
    machine.on(Input::Tick, &tree, now);
    machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, now);
    machine.on(Input::StreamOpened, &tree, now);
    let mut heads = |machine: &mut Machine, numbers: std::ops::RangeInclusive<u64>| {
        numbers
            .map(|n| {
                tree.insert_block(fulu(n, n - 1, n));
                tree.set_head(block_root(n), false);
                let mut actions = machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now);
                actions.extend(machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now));
                actions
            })
            .collect::<Vec<_>>()
    };
    let told = heads(&mut machine, 1..=3);
    assert_eq!(
        told.iter().map(|actions| opened(actions)).collect::<Vec<_>>(),
        [None, None, Some(TopicsForm::ALL[1])]
    );
    // One that was heard before is opened again in its form.
    machine.on(Input::StreamOpened, &Tree::new(LIMITS), now);
    let block = NodeEvent::Block {
        block_root: block_root(3),
        execution_optimistic: false,
    };
    machine.on(Input::Event(block), &Tree::new(LIMITS), now);
    let told = heads(&mut machine, 4..=6);
    assert!(
        told[2].contains(&Action::Reset) && !told[1].contains(&Action::Reset),
        "{told:?}"
    );
}

#[test]
fn a_node_that_cannot_tell_its_head_is_called_unreachable() {
    let (mut machine, tree, now) = live();
    let failed = || Input::Reply(Request::Head, Reply::Failed("503".to_owned()));
    assert_eq!(machine.on(failed(), &tree, now), []);
    machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now);
    for _ in 1..HEAD_FAILURES {
        assert_eq!(machine.on(failed(), &tree, now), []);
    }
    let actions = machine.on(failed(), &tree, now);
    assert!(
        actions.contains(&Action::Connected(false)) && actions.contains(&Action::Synced(false)),
        "{actions:?}"
    );
    assert_eq!(machine.health(), &Health::Unreachable("503".to_owned()));
}

#[test]
fn trouble_is_told_once_and_attempts_become_rarer() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let tree = tree();
    let (mut at, mut reports, mut waits) = (now, 0, Vec::new());
    for _ in 0..12 {
        machine.on(Input::Tick, &tree, at);
        let failed = Reply::Failed("refused".to_owned());
        let actions = machine.on(Input::Reply(Request::Network, failed), &tree, at);
        reports += actions
            .iter()
            .filter(|action| matches!(action, Action::Report(_)))
            .count();
        waits.push(machine.next_tick(at) - at);
        at = machine.next_tick(at);
    }
    assert_eq!(reports, 1);
    assert!(waits[0] < Duration::from_millis(300), "{waits:?}");
    assert!(
        waits[11] <= MAX_BACKOFF && waits[11] >= MAX_BACKOFF / 2,
        "{waits:?}"
    );
}

#[test]
fn a_new_head_every_slot_is_no_catching_up() {
    let (mut machine, mut tree, now) = live();
    tree.set_head(block_root(4), false);
    let head = || {
        Input::Event(NodeEvent::Head {
            block_root: block_root(4),
            execution_optimistic: false,
        })
    };
    let actions = machine.on(head(), &tree, now);
    assert_eq!(
        actions,
        [Action::Ask(Request::Block(block_root(4)))],
        "still synced"
    );
    assert_eq!(machine.on(head(), &tree, now), [], "asked for once");
    // It does not come: after a slot that is worth telling.
    let actions = machine.on(Input::Tick, &tree, now + SLOT);
    assert_eq!(
        actions,
        [Action::Synced(false), Action::Report(Health::CatchingUp)]
    );
    let insertion = tree.insert_block(fulu(4, 3, 4));
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(4)), Reply::Block(insertion)),
        &tree,
        now + SLOT,
    );
    assert_eq!(actions, [Action::Synced(true), Action::Report(Health::Following)]);
}

#[test]
fn a_gap_is_not_synced_and_is_walked_back() {
    let (mut machine, mut tree, now) = live();
    tree.insert_block(fulu(6, 5, 6));
    tree.set_head(block_root(6), false);
    let actions = machine.on(
        Input::Event(NodeEvent::Head {
            block_root: block_root(6),
            execution_optimistic: false,
        }),
        &tree,
        now,
    );
    assert_eq!(
        actions,
        [Action::Ask(Request::Block(block_root(5))), Action::Synced(false)]
    );
    let insertion = tree.insert_block(fulu(5, 4, 5));
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(5)), Reply::Block(insertion)),
        &tree,
        now,
    );
    assert_eq!(asks(&actions), [Request::Block(block_root(4))]);
    // The node does not have it: after another try the view begins above.
    let missing = || Input::Reply(Request::Block(block_root(4)), Reply::NotFound);
    let mut at = now;
    let mut all = machine.on(missing(), &tree, at);
    for _ in 0..5 {
        at += Duration::from_secs(1);
        let actions = machine.on(Input::Tick, &tree, at);
        if asks(&actions).contains(&Request::Block(block_root(4))) {
            all.extend(machine.on(missing(), &tree, at));
        }
    }
    assert!(all.contains(&Action::NoMoreAncestors(block_root(5))), "{all:?}");
}

#[test]
fn the_walk_back_waits_for_the_finalized_block() {
    let now = Instant::now();
    let mut machine = Machine::new(SLOT, 1, now);
    let mut tree = tree();
    machine.on(Input::Tick, &tree, now);
    machine.on(Input::Reply(Request::Network, Reply::SameNetwork), &tree, now);
    machine.on(Input::StreamOpened, &tree, now);
    tree.insert_block(fulu(9, 8, 9));
    tree.set_head(block_root(9), false);
    assert_eq!(
        asks(&machine.on(Input::Reply(Request::Head, Reply::Done), &tree, now)),
        []
    );
    tree.set_finalized(Checkpoint {
        epoch: Epoch(1),
        root: block_root(5),
    });
    let actions = machine.on(Input::Reply(Request::Finality, Reply::Done), &tree, now);
    assert_eq!(asks(&actions), [Request::Block(block_root(5))]);
    let insertion = tree.insert_block(fulu(5, 4, 5));
    assert!(
        matches!(tree.take_events().last(), Some(ChainEvent::Finalized { .. })),
        "{insertion:?}"
    );
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(5)), Reply::Block(insertion)),
        &tree,
        now,
    );
    assert_eq!(asks(&actions), [Request::Block(block_root(8))]);
}

#[test]
fn a_walk_that_is_too_long_begins_the_view_above() {
    let (mut machine, mut tree, now) = live();
    let far = 1_000_000;
    tree.insert_block(fulu(far, far - 1, far));
    tree.insert_block(fulu(far - 1, 100, far - 40_000));
    tree.set_head(block_root(far), false);
    let actions = machine.on(
        Input::Event(NodeEvent::Head {
            block_root: block_root(far),
            execution_optimistic: false,
        }),
        &tree,
        now,
    );
    assert!(
        actions.contains(&Action::NoMoreAncestors(block_root(far - 1))),
        "{actions:?}"
    );
}

#[test]
fn a_node_that_syncs_itself_is_followed_and_not_called_synced() {
    let (mut machine, tree, now) = live();
    let syncing = Reply::Syncing {
        is_syncing: true,
        distance: 50,
    };
    let actions = machine.on(Input::Reply(Request::Syncing, syncing), &tree, now);
    assert_eq!(
        actions,
        [
            Action::Synced(false),
            Action::Report(Health::NodeSyncing { distance: 50 })
        ]
    );
    let closer = Reply::Syncing {
        is_syncing: true,
        distance: 20,
    };
    assert_eq!(
        machine.on(Input::Reply(Request::Syncing, closer), &tree, now),
        [],
        "told once"
    );
}

#[test]
fn blocks_of_other_branches_are_fetched_with_their_parents() {
    let (mut machine, mut tree, now) = live();
    let told = Input::Event(NodeEvent::Block {
        block_root: block_root(15),
        execution_optimistic: false,
    });
    assert_eq!(
        asks(&machine.on(told, &tree, now)),
        [Request::Block(block_root(15))]
    );
    let insertion = tree.insert_block(fulu(15, 14, 5));
    assert_eq!(insertion, Insertion::New);
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(15)), Reply::Block(insertion)),
        &tree,
        now,
    );
    assert_eq!(asks(&actions), [Request::Block(block_root(14))]);
    let insertion = tree.insert_block(fulu(14, 2, 4));
    let actions = machine.on(
        Input::Reply(Request::Block(block_root(14)), Reply::Block(insertion)),
        &tree,
        now,
    );
    assert_eq!(actions, []);
}

#[test]
fn an_envelope_is_asked_for_when_told_else_by_the_clock_and_given_up_when_withheld() {
    let (mut machine, mut tree, now) = live();
    let insert = |machine: &mut Machine, tree: &mut Tree, n: u64, builds_on| {
        tree.set_head(block_root(n), false);
        let head = NodeEvent::Head {
            block_root: block_root(n),
            execution_optimistic: false,
        };
        machine.on(Input::Event(head), tree, now);
        let insertion = tree.insert_block(gloas(n, n - 1, n, builds_on));
        machine.on(
            Input::Reply(Request::Block(block_root(n)), Reply::Block(insertion)),
            tree,
            now,
        )
    };
    assert_eq!(
        asks(&insert(&mut machine, &mut tree, 4, 3)),
        [],
        "it is yet to come"
    );
    let told = Input::Event(NodeEvent::Envelope {
        block_root: block_root(4),
    });
    assert_eq!(
        asks(&machine.on(told, &tree, now)),
        [Request::Envelope(block_root(4))]
    );
    tree.insert_payload(payload(4, 3, 4), PayloadSource::BeaconApi);
    machine.on(
        Input::Reply(Request::Envelope(block_root(4)), Reply::Done),
        &tree,
        now,
    );

    // No event for the next: the clock.
    insert(&mut machine, &mut tree, 5, 4);
    let (mut at, mut tries) = (now, 0);
    for _ in 0..40 {
        at += SLOT / 4;
        for request in asks(&machine.on(Input::Tick, &tree, at)) {
            let reply = match request {
                Request::Envelope(_) => {
                    tries += 1;
                    Reply::NotFound
                }
                Request::Syncing => Reply::Syncing {
                    is_syncing: false,
                    distance: 0,
                },
                _ => Reply::Done,
            };
            machine.on(Input::Reply(request, reply), &tree, at);
        }
    }
    assert_eq!(tries, 3, "withheld");
    // A child that builds on it shows that it is there after all.
    let actions = insert(&mut machine, &mut tree, 6, 5);
    assert_eq!(asks(&actions), [Request::Envelope(block_root(5))]);
}

#[test]
fn finality_that_could_not_be_told_is_asked_for_again_while_events_flow() {
    let (mut machine, tree, now) = live();
    machine.on(
        Input::Reply(Request::Finality, Reply::Failed("503".to_owned())),
        &tree,
        now,
    );
    let head = NodeEvent::Head {
        block_root: block_root(3),
        execution_optimistic: false,
    };
    machine.on(Input::Event(head), &tree, now);
    assert_eq!(machine.next_tick(now), now + ASK_AGAIN);
    let actions = machine.on(Input::Tick, &tree, now + ASK_AGAIN);
    assert_eq!(asks(&actions), [Request::Finality, Request::Head]);
}

#[test]
fn what_there_is_no_room_for_wakes_nobody() {
    let (mut machine, tree, now) = live();
    let told: Vec<Request> = (20..30)
        .flat_map(|n| {
            let block = NodeEvent::Block {
                block_root: block_root(n),
                execution_optimistic: false,
            };
            asks(&machine.on(Input::Event(block), &tree, now))
        })
        .collect();
    assert_eq!(told.len(), 3, "few at once");
    // Some wait for another try, and become due while others are under way.
    machine.on(Input::Reply(told[0], Reply::Failed("503".to_owned())), &tree, now);
    let later = now + ASK_AGAIN;
    machine.on(Input::Tick, &tree, later);
    assert!(machine.next_tick(later) > later);
    // An answer makes room.
    let actions = machine.on(
        Input::Reply(told[1], Reply::Failed("503".to_owned())),
        &tree,
        later,
    );
    assert_eq!(asks(&actions).len(), 1);
}
