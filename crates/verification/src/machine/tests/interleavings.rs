//! Properties over random orders of messages, work, faults and time.

use super::world::{House, Registry, SLOT, forged, gossip, key, req_resp, signed};
use crate::{Source, machine::Event};
use assay_types::{ProofName, SignedProof};
use proptest::prelude::*;
use std::{collections::BTreeSet, time::Duration};

/// Payload 1 is known from the start, payload 2 is learnt.
const KEYS: [(u8, u8); 4] = [(1, 1), (1, 2), (2, 1), (2, 2)];
/// Signs invalid proofs, and whatever else an active validator may.
const BAD_VALIDATOR: u64 = 9;

fn honest_validator(place: usize) -> u64 {
    place as u64
}

fn honest(place: usize) -> SignedProof {
    let (payload, proof_type) = KEYS[place];
    signed(key(payload, proof_type), "V honest", honest_validator(place))
}

/// Messages of an outsider: none of them has a signature that verifies, all of them touch an honest proof's keys.
fn forgery(place: usize, kind: u8) -> SignedProof {
    let (payload, proof_type) = KEYS[place];
    let own = honest(place);
    match kind % 6 {
        // The honest message, the honest validator, another signature: same root, same try.
        0 => forged(own, 1 + kind),
        // The same, claimed by another active validator.
        1 => forged(
            SignedProof {
                validator_index: 8,
                ..own
            },
            1,
        ),
        // The honest validator's "first try" with other data.
        2 => forged(
            signed(
                key(payload, proof_type),
                &format!("I forged {kind}"),
                own.validator_index,
            ),
            1,
        ),
        // An index outside the registry.
        3 => signed(key(payload, proof_type), "V honest", 1000 + u64::from(kind)),
        // The honest message under an index outside the registry, with the honest signature.
        4 => SignedProof {
            validator_index: 500,
            ..own
        },
        // A validator that is not active.
        _ => signed(key(payload, proof_type), "I forged", 7),
    }
}

/// What a validator gone bad can do besides.
fn betrayal(place: usize, kind: u8) -> SignedProof {
    let (payload, proof_type) = KEYS[place];
    let data = ["I bad", "I bad too", "U bad", "I honest"][usize::from(kind % 4)];
    signed(key(payload, proof_type), data, BAD_VALIDATOR)
}

#[derive(Debug, Clone)]
enum Step {
    Honest { place: usize, from: u8 },
    Forged { place: usize, kind: u8, from: u8 },
    Betrayed { place: usize, kind: u8, from: u8 },
    Work { pick: usize },
    WorkAll,
    Wait { millis: u64 },
    Engine { up: bool },
    Registry { how: u8 },
    LearnPayload,
}

fn source(from: u8) -> Source {
    match from % 6 {
        0..=3 => gossip(from),
        4 => req_resp(from),
        _ => Source::Http,
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0..KEYS.len();
    let step = prop_oneof![
        4 => (place.clone(), any::<u8>()).prop_map(|(place, from)| Step::Honest { place, from }),
        8 => (place.clone(), any::<u8>(), any::<u8>())
            .prop_map(|(place, kind, from)| Step::Forged { place, kind, from }),
        3 => (place, any::<u8>(), any::<u8>()).prop_map(|(place, kind, from)| Step::Betrayed { place, kind, from }),
        12 => any::<usize>().prop_map(|pick| Step::Work { pick }),
        1 => Just(Step::WorkAll),
        2 => (0_u64..1500).prop_map(|millis| Step::Wait { millis }),
        1 => any::<bool>().prop_map(|up| Step::Engine { up }),
        1 => any::<u8>().prop_map(|how| Step::Registry { how }),
        1 => Just(Step::LearnPayload),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Everything up again, all work done.
fn rest(house: &mut House) {
    house.world.engine_up = true;
    house.world.registry = Registry::Decisive;
    house.learn_payload(2, SLOT);
    house.event(Event::LookAgain);
    house.work();
    // The longest backoff.
    house.wait(Duration::from_secs(12));
    house.work();
}

fn no_key_twice(house: &House) -> bool {
    let keys = house.pending_keys();
    keys.iter().collect::<BTreeSet<&ProofName>>().len() == keys.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// No order of messages lets an unauthenticated message, or one of a bad validator, suppress an honest proof.
    #[test]
    fn an_honest_proof_gets_through(steps in steps()) {
        let mut house = House::new();
        house.world.validators.insert(7, (assay_types::Epoch(0), assay_types::Epoch(1)));
        let mut brought: Vec<(usize, u64)> = Vec::new();
        let mut bad: Vec<u64> = Vec::new();
        let mut posted: Vec<u64> = Vec::new();
        let mut waited = 0;
        for step in steps {
            match step {
                Step::Honest { place, from } => {
                    let ticket = house.submit(honest(place), source(from));
                    brought.push((place, ticket));
                }
                Step::Forged { place, kind, from } => {
                    bad.push(house.submit(forgery(place, kind), source(from)));
                    posted.extend(bad.last().filter(|_| source(from) == Source::Http));
                }
                Step::Betrayed { place, kind, from } => {
                    bad.push(house.submit(betrayal(place, kind), source(from)));
                    posted.extend(bad.last().filter(|_| source(from) == Source::Http));
                }
                Step::Work { pick } if !house.pending.is_empty() => house.do_one(pick % house.pending.len()),
                Step::WorkAll => house.work(),
                // Below an epoch in all: nothing is let go for having waited too long.
                Step::Wait { millis } if waited + millis < 30_000 => {
                    waited += millis;
                    house.wait(Duration::from_millis(millis));
                }
                Step::Engine { up } => house.world.engine_up = up,
                Step::Registry { how } => {
                    house.world.registry =
                        [Registry::Decisive, Registry::NotDecisive, Registry::Unavailable][usize::from(how % 3)];
                }
                Step::LearnPayload => house.learn_payload(2, SLOT),
                Step::Work { .. } | Step::Wait { .. } => {}
            }
            prop_assert!(no_key_twice(&house), "two verifications of one key at once");
        }
        rest(&mut house);
        prop_assert_eq!(house.machine.held(), (0, 0), "everybody was answered");

        for (place, ticket) in &brought {
            let (payload, proof_type) = KEYS[*place];
            prop_assert!(house.commits.contains(&key(payload, proof_type)), "honest proof {place} was lost");
            let word = house.word(*ticket);
            let fine = ["accept", "ignore already_valid", "ignore seen_from_validator"];
            prop_assert!(fine.contains(&word.as_str()), "honest proof {}: {}", place, word);
        }
        for place in 0..KEYS.len() {
            // Brought or not before: after the storm it is known or gets through.
            let ticket = house.bring(honest(place), gossip(200));
            let word = house.word(ticket);
            prop_assert!(word == "accept" || word == "ignore already_valid", "after the storm {}: {}", place, word);
        }
        for ticket in bad {
            prop_assert_ne!(house.word(ticket), "accept");
        }
        for ticket in posted {
            prop_assert_ne!(house.word(ticket), "ignore already_valid", "a bad proof that was posted");
        }
        let once: BTreeSet<_> = house.commits.iter().collect();
        prop_assert_eq!(once.len(), house.commits.len(), "accepted twice");
    }

    /// Nothing an outsider sends is remembered.
    #[test]
    fn forgeries_leave_no_mark(
        sent in proptest::collection::vec((0..KEYS.len(), any::<u8>(), any::<u8>()), 1..60)
    ) {
        let mut house = House::new();
        house.world.validators.insert(7, (assay_types::Epoch(0), assay_types::Epoch(1)));
        for (place, kind, from) in sent {
            let ticket = house.bring(forgery(place, kind), source(from));
            prop_assert_ne!(house.word(ticket), "accept");
        }
        rest(&mut house);
        prop_assert_eq!(house.machine.observed_len(), 0);
        prop_assert!(house.world.contained.is_empty());
        prop_assert_eq!(house.machine.held(), (0, 0));
    }

    /// A store that fails at times loses no proof that is brought again, and none is accepted without it.
    #[test]
    fn a_failing_store_loses_nothing(fails in proptest::collection::vec(any::<bool>(), 1..20)) {
        let mut house = House::new();
        let mut accepted = 0;
        for fail in &fails {
            house.world.store_up = !fail;
            let ticket = house.bring(honest(0), gossip(1));
            match house.word(ticket).as_str() {
                "accept" => accepted += 1,
                "ignore internal" => prop_assert!(fail),
                "ignore already_valid" => prop_assert_eq!(accepted, 1),
                word => prop_assert!(false, "{}", word),
            }
        }
        prop_assert_eq!(accepted, usize::from(fails.contains(&false)));
        prop_assert_eq!(house.commits.len(), accepted);
    }
}

#[test]
fn a_copied_signature_burns_nothing() {
    // The honest message with the honest signature under another index: the same proof root, refused for its signer.
    let mut house = House::new();
    house.world.validators.remove(&500);
    let copy = house.bring(forgery(0, 4), gossip(1));
    let own = house.bring(honest(0), gossip(2));
    assert_eq!(
        [house.word(copy), house.word(own)],
        ["reject unknown_validator", "accept"]
    );
    assert!(house.commits.contains(&key(1, 1)));
}
