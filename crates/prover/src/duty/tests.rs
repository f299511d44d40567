#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> DutyConfig {
    DutyConfig {
        proof_types: vec![1],
        budget: SECOND * 24,
        max_payloads: 2,
        retry: (SECOND, SECOND * 8),
    }
}

fn root(n: u8) -> Root {
    Root::from([n; 32])
}

fn key(n: u8) -> ProofKey {
    ProofKey {
        new_payload_request_root: root(n),
        proof_type: 1,
    }
}

fn not_now() -> Outcome {
    Outcome::NotNow("busy".into())
}

fn refused() -> Outcome {
    Outcome::Refused("no".into())
}

struct World {
    duty: Duty,
    start: Instant,
    now: Instant,
}

impl World {
    fn new(config: DutyConfig) -> Self {
        let start = Instant::now();
        Self {
            duty: Duty::new(config),
            start,
            now: start,
        }
    }

    fn payload(&mut self, n: u8, slot: u64) -> Vec<Action> {
        let began = self.now;
        self.event(Event::Payload {
            root: root(n),
            slot: Slot(slot),
            began,
        })
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.duty.on_event(event, self.now, 0.5);
        self.duty.actions(self.now)
    }

    fn requested(&mut self, n: u8, outcome: Outcome) -> Vec<Action> {
        self.event(Event::Requested {
            root: root(n),
            types: vec![1],
            outcome,
        })
    }

    fn after(&mut self, pause: Duration) -> Vec<Action> {
        self.now += pause;
        self.duty.actions(self.now)
    }

    /// Through the steps until the proof has come.
    fn until_verify(&mut self, n: u8) {
        assert_eq!(self.payload(n, 10), [Action::Request(root(n), vec![1])]);
        assert_eq!(self.requested(n, Outcome::Done), []);
        assert_eq!(self.event(Event::Completed(key(n))), [Action::Verify(key(n))]);
    }
}

#[test]
fn the_way_of_one_proof() {
    let mut world = World::new(config());
    world.until_verify(1);
    assert!(
        !world.duty.is_waiting(&key(1)),
        "the bytes that came are the ones"
    );
    assert_eq!(
        world.event(Event::Completed(key(1))),
        [],
        "a second proof changes nothing"
    );
    assert_eq!(
        world.event(Event::Verified(key(1), Outcome::Done)),
        [Action::Sign(key(1))]
    );
    assert_eq!(
        world.event(Event::Signed(key(1), Outcome::Done)),
        [Action::Post(key(1))]
    );
    assert_eq!(
        world.event(Event::Posted(key(1), Outcome::Done)),
        [Action::Ended(key(1), End::Proved), Action::Forget(root(1))]
    );
    assert_eq!(world.payload(1, 10), [], "never twice");
    assert_eq!((world.duty.at_work(), world.duty.next_wake()), (0, None));
}

/// Every step that does not go now goes later, until the time is over.
#[test]
fn each_step_is_tried_again() {
    type Say = fn(Outcome) -> Event;
    type Act = fn(ProofKey) -> Action;
    let steps: [(Say, Act); 3] = [
        (|o| Event::Verified(key(1), o), Action::Verify),
        (|o| Event::Signed(key(1), o), Action::Sign),
        (|o| Event::Posted(key(1), o), Action::Post),
    ];
    let waited_for = ["its verification", "a signature", "the beacon endpoint"];
    for at in 0..steps.len() {
        let mut world = World::new(config());
        world.until_verify(1);
        for (say, _) in &steps[..at] {
            world.event(say(Outcome::Done));
        }
        let (say, action) = steps[at];
        let mut waits = Vec::new();
        loop {
            assert_eq!(world.event(say(not_now())), []);
            let wait = world.duty.next_wake().unwrap() - world.now;
            let next = world.after(wait);
            if next != [action(key(1))] {
                let late = End::TooLate(format!("its time is over; waited for {} (busy)", waited_for[at]));
                assert_eq!(next, [Action::Ended(key(1), late), Action::Forget(root(1))]);
                break;
            }
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 8], "step {at}");
    }
    let mut world = World::new(config());
    world.payload(1, 10);
    assert_eq!(world.requested(1, refused()), []);
    assert_eq!(world.after(SECOND), [Action::Request(root(1), vec![1])]);
}

/// What is on its way to the network when the time is over is not called late while it may still come there.
#[test]
fn a_post_under_way_has_a_grace() {
    let both = DutyConfig {
        proof_types: vec![1, 2],
        ..config()
    };
    let two = ProofKey {
        proof_type: 2,
        ..key(1)
    };
    let posting = || {
        let mut world = World::new(both.clone());
        world.payload(1, 10);
        world.event(Event::Requested {
            root: root(1),
            types: vec![1, 2],
            outcome: Outcome::Done,
        });
        world.event(Event::Completed(key(1)));
        world.event(Event::Verified(key(1), Outcome::Done));
        assert_eq!(
            world.event(Event::Signed(key(1), Outcome::Done)),
            [Action::Post(key(1))]
        );
        let late = End::TooLate("its time is over; waited for the proof".into());
        assert_eq!(world.after(SECOND * 24), [Action::Ended(two, late)]);
        world
    };
    type Ending = (Option<Outcome>, End);
    let endings: [Ending; 4] = [
        (Some(Outcome::Done), End::Proved),
        (Some(refused()), End::Failed("no".into())),
        (
            Some(not_now()),
            End::TooLate("its time is over; waited for the beacon endpoint (busy)".into()),
        ),
        (
            None,
            End::TooLate("its time is over; waited for the beacon endpoint".into()),
        ),
    ];
    for (outcome, end) in endings {
        let mut world = posting();
        let actions = match outcome {
            Some(outcome) => world.event(Event::Posted(key(1), outcome)),
            // Whoever posts must not hold the place for ever.
            None => {
                assert_eq!(world.duty.next_wake(), Some(world.now + POST_GRACE));
                assert_eq!(world.after(POST_GRACE - SECOND), []);
                world.after(SECOND)
            }
        };
        assert_eq!(actions, [Action::Ended(key(1), end), Action::Forget(root(1))]);
        assert_eq!((world.duty.at_work(), world.duty.next_wake()), (0, None));
    }
}

#[test]
fn what_is_refused_ends_and_what_is_invalid_is_made_anew() {
    let mut world = World::new(config());
    world.until_verify(1);
    assert_eq!(
        world.event(Event::Verified(key(1), refused())),
        [],
        "an invalid proof is never signed"
    );
    assert!(world.duty.is_waiting(&key(1)));
    assert_eq!(world.after(SECOND), [Action::Request(root(1), vec![1])]);
    world.requested(1, Outcome::Done);
    assert_eq!(world.event(Event::Completed(key(1))), [Action::Verify(key(1))]);
    world.event(Event::Verified(key(1), Outcome::Done));
    let failed = [
        Action::Ended(key(1), End::Failed("no".into())),
        Action::Forget(root(1)),
    ];
    assert_eq!(world.event(Event::Signed(key(1), refused())), failed);

    world.until_verify(2);
    world.event(Event::Verified(key(2), Outcome::Done));
    world.event(Event::Signed(key(2), Outcome::Done));
    let failed = [
        Action::Ended(key(2), End::Failed("no".into())),
        Action::Forget(root(2)),
    ];
    assert_eq!(world.event(Event::Posted(key(2), refused())), failed);
}

#[test]
fn events_before_their_answers_and_lost_events() {
    // The proof before the answer to its request.
    let mut world = World::new(config());
    world.payload(1, 10);
    assert_eq!(world.event(Event::Completed(key(1))), [Action::Verify(key(1))]);
    assert_eq!(world.requested(1, Outcome::Done), []);
    assert_eq!(
        world.event(Event::Verified(key(1), Outcome::Done)),
        [Action::Sign(key(1))]
    );
    // The failure before the answer.
    world.payload(2, 11);
    assert_eq!(world.event(Event::ProvingFailed(key(2), "no witness".into())), []);
    assert_eq!(world.requested(2, Outcome::Done), []);
    assert_eq!(world.after(SECOND), [Action::Request(root(2), vec![1])]);
    // A failure, and events that were lost.
    world.requested(2, Outcome::Done);
    assert_eq!(world.event(Event::ProvingFailed(key(2), "again".into())), []);
    assert_eq!(world.after(SECOND * 2), [Action::Request(root(2), vec![1])]);
    world.requested(2, Outcome::Done);
    assert_eq!(
        world.event(Event::EventsLost),
        [Action::Request(root(2), vec![1])]
    );
    // Answers that nobody waits for.
    for event in [
        Event::Verified(key(2), Outcome::Done),
        Event::Posted(key(2), Outcome::Done),
        Event::Signed(key(9), Outcome::Done),
        Event::Completed(key(9)),
    ] {
        assert_eq!(world.event(event), []);
    }
}

#[test]
fn the_newest_payloads_have_the_places() {
    let mut world = World::new(config());
    assert_eq!(world.payload(1, 10), [Action::Request(root(1), vec![1])]);
    assert_eq!(world.payload(2, 12), [Action::Request(root(2), vec![1])]);
    assert_eq!(
        world.payload(3, 13),
        [Action::SetAside(root(1)), Action::Request(root(3), vec![1])]
    );
    assert_eq!(world.payload(4, 11), [], "older than all at work");
    assert!(world.duty.has_payload(&root(1)) && world.duty.has_payload(&root(4)));
    assert!(!world.duty.is_at_work(&root(1)) && !world.duty.is_at_work(&root(4)));
    assert!(
        !world.duty.is_waiting(&key(1)),
        "bytes of what is not at work are not wanted"
    );
    assert_eq!(world.payload(4, 11), [], "it waits already");
    // A place that becomes free is the newest's; answers to what was done before change nothing.
    assert_eq!(world.requested(1, Outcome::Done), []);
    world.requested(3, Outcome::Done);
    world.event(Event::Completed(key(3)));
    world.event(Event::Verified(key(3), Outcome::Done));
    world.event(Event::Signed(key(3), Outcome::Done));
    assert_eq!(
        world.event(Event::Posted(key(3), Outcome::Done)),
        [
            Action::Ended(key(3), End::Proved),
            Action::Forget(root(3)),
            Action::Request(root(4), vec![1])
        ]
    );
    // The others wait until their time is over, which began when they came.
    assert!(world.duty.has_payload(&root(1)));
    let over = world.after(SECOND * 24);
    let never = End::TooLate("its time is over; waited for a place among the payloads at work".into());
    assert!(over.contains(&Action::Ended(key(1), never)), "{over:?}");
    assert!(!world.duty.has_payload(&root(1)));
    assert_eq!((world.duty.at_work(), world.duty.next_wake()), (0, None));

    let mut both = World::new(config());
    for (n, slot) in [(1, 10), (2, 11)] {
        let began = both.now;
        both.duty.on_event(
            Event::Payload {
                root: root(n),
                slot: Slot(slot),
                began,
            },
            began,
            0.5,
        );
    }
    let newest_first = [
        Action::Request(root(2), vec![1]),
        Action::Request(root(1), vec![1]),
    ];
    assert_eq!(both.duty.actions(both.now), newest_first);
    // What was over before it was seen is not begun.
    both.now += SECOND * 24;
    let began = both.start;
    let late = both.event(Event::Payload {
        root: root(5),
        slot: Slot(12),
        began,
    });
    assert!(!late.iter().any(|a| matches!(a, Action::Request(..))), "{late:?}");
}

/// More payloads at once than there are places: all are proven, the newest first.
#[test]
fn payloads_beyond_the_places_have_their_turn() {
    let mut world = World::new(config());
    for n in 1..=6 {
        world.payload(n, 10 + u64::from(n));
    }
    let mut order = Vec::new();
    let mut requested: Vec<u8> = vec![5, 6];
    while let Some(n) = requested.pop() {
        world.requested(n, Outcome::Done);
        world.event(Event::Completed(key(n)));
        world.event(Event::Verified(key(n), Outcome::Done));
        world.event(Event::Signed(key(n), Outcome::Done));
        let actions = world.event(Event::Posted(key(n), Outcome::Done));
        assert_eq!(actions[0], Action::Ended(key(n), End::Proved), "{n}");
        order.push(n);
        for action in actions {
            if let Action::Request(root, _) = action {
                requested.push(root.0[0]);
            }
        }
    }
    assert_eq!(order, [6, 4, 3, 2, 1, 5]);
    assert_eq!((world.duty.at_work(), world.duty.next_wake()), (0, None));
}

/// What is being posted keeps its place; when the endpoint does not take it, the newer payload has it.
#[test]
fn a_post_under_way_is_not_thrown_away() {
    let mut world = World::new(DutyConfig {
        max_payloads: 1,
        ..config()
    });
    world.until_verify(1);
    world.event(Event::Verified(key(1), Outcome::Done));
    world.event(Event::Signed(key(1), Outcome::Done));
    assert_eq!(world.payload(2, 11), []);
    assert_eq!(
        world.event(Event::Posted(key(1), not_now())),
        [Action::SetAside(root(1)), Action::Request(root(2), vec![1])]
    );
}

/// A type that has ended is not begun again with the rest.
#[test]
fn what_has_ended_stays_so_when_a_payload_loses_its_place() {
    let mut world = World::new(DutyConfig {
        max_payloads: 1,
        proof_types: vec![1, 2],
        ..config()
    });
    world.payload(1, 10);
    let ended = world.event(Event::OnTheNetwork(key(1)));
    assert_eq!(ended, [Action::Ended(key(1), End::Proved)]);
    assert_eq!(
        world.payload(2, 11),
        [Action::SetAside(root(1)), Action::Request(root(2), vec![1, 2])]
    );
    let two = |n| ProofKey {
        proof_type: 2,
        ..key(n)
    };
    world.event(Event::OnTheNetwork(key(2)));
    let freed = world.event(Event::OnTheNetwork(two(2)));
    assert_eq!(freed[2], Action::Request(root(1), vec![2]), "{freed:?}");
}

#[test]
fn payloads_that_wait_are_bounded() {
    let mut world = World::new(DutyConfig {
        max_payloads: 1,
        ..config()
    });
    let root_of = |n: u64| {
        let mut root = [0; 32];
        root[..8].copy_from_slice(&n.to_be_bytes());
        Root::from(root)
    };
    let most = MAX_WAITING_PAYLOADS as u64;
    let mut given_up = Vec::new();
    for n in 0..=most + 1 {
        let event = Event::Payload {
            root: root_of(n),
            slot: Slot(n),
            began: world.now,
        };
        given_up.extend(
            world
                .event(event)
                .into_iter()
                .filter(|a| matches!(a, Action::Ended(..))),
        );
    }
    assert_eq!(world.duty.waiting.len(), MAX_WAITING_PAYLOADS);
    let late =
        End::TooLate("too many newer payloads wait; waited for a place among the payloads at work".into());
    let oldest = ProofKey {
        new_payload_request_root: root_of(0),
        proof_type: 1,
    };
    assert_eq!(given_up, [Action::Ended(oldest, late)]);
}

/// An engine that speaks JSON-RPC brings its proof to the node around: nothing more is to be done.
#[test]
fn a_proof_that_came_to_the_network_by_another_way_ends_the_work() {
    let ended = [Action::Ended(key(1), End::Proved), Action::Forget(root(1))];
    let mut world = World::new(config());
    world.payload(1, 10);
    assert_eq!(world.event(Event::OnTheNetwork(key(2))), []);
    assert_eq!(
        world.event(Event::OnTheNetwork(key(1))),
        ended,
        "before the answer"
    );
    assert_eq!(world.requested(1, Outcome::Done), []);
    let mut world = World::new(config());
    world.payload(1, 10);
    world.requested(1, Outcome::Done);
    assert_eq!(world.event(Event::OnTheNetwork(key(1))), ended);
    // With bytes in hand the post has the last word.
    let mut world = World::new(config());
    world.until_verify(1);
    assert_eq!(world.event(Event::OnTheNetwork(key(1))), []);
    world.event(Event::Verified(key(1), Outcome::Done));
    world.event(Event::Signed(key(1), Outcome::Done));
    assert_eq!(world.event(Event::OnTheNetwork(key(1))), []);
    assert_eq!(world.event(Event::Posted(key(1), Outcome::Done)), ended);
}

proptest! {
    /// In any order of events: nothing is signed that was not verified, nothing ends twice, everything ends.
    #[test]
    fn any_order(steps in prop::collection::vec((0u8..10, 0u8..6, 0u8..3, 0u64..4000), 1..300)) {
        let mut world = World::new(DutyConfig { proof_types: vec![1, 2], ..config() });
        let mut verified: HashSet<ProofKey> = HashSet::new();
        let mut signed: HashSet<ProofKey> = HashSet::new();
        let mut ended: HashMap<ProofKey, End> = HashMap::new();
        let mut begun = HashSet::new();
        // Long after: an answer that nobody waits for.
        let last = (9u8, 0u8, 1u8, 3_600_000u64);
        for (what, n, how, pause) in steps.into_iter().chain([last]) {
            world.now += Duration::from_millis(pause);
            let key = ProofKey { proof_type: 1 + n % 2, ..key(n / 2) };
            let outcome = [Outcome::Done, not_now(), refused()][usize::from(how)].clone();
            let event = match what {
                0 => Event::Payload { root: root(n), slot: Slot(n.into()), began: world.now },
                1 => Event::Requested { root: root(n / 2), types: vec![1, 2], outcome },
                2 | 3 => Event::Completed(key),
                4 => Event::ProvingFailed(key, "x".into()),
                5 => Event::EventsLost,
                6 => Event::Verified(key, outcome),
                7 => Event::Signed(key, outcome),
                8 => Event::OnTheNetwork(key),
                _ => Event::Posted(key, outcome),
            };
            if let Event::Verified(key, Outcome::Done) = &event { verified.insert(*key); }
            if let Event::Signed(key, Outcome::Done) = &event { signed.insert(*key); }
            for action in world.event(event) {
                match action {
                    Action::Request(root, types) => for proof_type in types {
                        begun.insert(ProofKey { new_payload_request_root: root, proof_type });
                    },
                    Action::Verify(key) => { prop_assert!(begun.contains(&key)); verified.remove(&key); }
                    Action::Sign(key) => { prop_assert!(verified.contains(&key)); signed.remove(&key); }
                    Action::Post(key) => prop_assert!(signed.contains(&key)),
                    Action::Ended(key, end) => { prop_assert_eq!(ended.insert(key, end), None); }
                    Action::SetAside(_) | Action::Forget(_) => {}
                }
            }
            prop_assert!(world.duty.at_work() <= 4);
        }
        prop_assert_eq!(world.duty.at_work(), 0);
        prop_assert!(begun.iter().all(|key| ended.contains_key(key)));
    }
}
