//! What is remembered and for how long, and what stages leave behind.

use super::world::{House, SLOT, gossip, key, root, signed};
use crate::{
    ParkReason, Source, Verdict, VerifierConfig,
    machine::{Action, Event, Outcome},
};
use assay_types::{Epoch, Slot};
use std::time::Duration;

fn bring(house: &mut House, data: &str, signer: u64, source: Source) -> String {
    let ticket = house.bring(signed(key(1, 1), data, signer), source);
    house.word(ticket)
}

#[test]
fn a_block_that_comes_while_the_engine_works_is_in_the_proof() {
    let mut house = House::new();
    let ticket = house.submit(signed(key(1, 1), "V", 1), gossip(1));
    while !matches!(house.pending.first(), Some(Action::AskEngine { .. })) {
        house.do_one(0);
    }
    house.world.payloads.get_mut(&root(1)).unwrap().block_root = Some(root(77));
    house.work();
    let [Verdict::Accept(proof)] = &house.said[&ticket].verdicts[..] else {
        panic!("not accepted")
    };
    assert_eq!(proof.block_root(), Some(root(77)));
}

#[test]
fn waiting_is_told_once() {
    let mut house = House::new();
    house.world.engine_up = false;
    let ticket = house.bring(signed(key(1, 1), "V", 1), gossip(1));
    for _ in 0..10 {
        house.wait(Duration::from_secs(5));
        house.work();
    }
    assert_eq!(house.said[&ticket].parked, [ParkReason::EngineUnavailable]);
}

#[test]
fn what_is_older_than_the_retention_is_too_old() {
    let config = VerifierConfig {
        retention_epochs: Some(1),
        ..Default::default()
    };
    let mut house = House::with(config);
    house.world.finalized = Epoch(6);
    assert_eq!(
        bring(&mut house, "V", 1, gossip(1)),
        "accept",
        "one epoch before finality"
    );
    house.world.finalized = Epoch(7);
    let ticket = house.bring(signed(key(1, 2), "V", 1), Source::Http);
    assert_eq!(house.word(ticket), "ignore too_old");
}

#[test]
fn a_crashed_stage_ends_its_candidate_alone() {
    let mut house = House::new();
    let first = house.submit(signed(key(1, 1), "V", 1), gossip(1));
    let Some(Action::Hash { id, .. }) = house.pending.pop() else {
        panic!("hashing comes first")
    };
    house.event(Event::Done {
        id,
        outcome: Outcome::Crashed,
    });
    assert_eq!(house.word(first), "ignore internal");
    assert_eq!(bring(&mut house, "V", 1, gossip(1)), "accept");
}

#[test]
fn finality_prunes_what_was_observed() {
    let mut house = House::new();
    house.learn_payload(2, Slot(60));
    assert_eq!(bring(&mut house, "V", 1, gossip(1)), "accept");
    house.bring(signed(key(2, 1), "I", 2), gossip(1));
    // What is valid by its name and by its payload, two tries, two messages.
    assert_eq!(house.machine.observed_len(), 6);
    house.finalize(Slot(48), &[]);
    assert_eq!(house.machine.observed_len(), 2);
    house.finalize(Slot(61), &[]);
    assert_eq!(house.machine.observed_len(), 0);
}

#[test]
fn observed_caches_are_bounded() {
    let config = VerifierConfig {
        observed_entries: 4,
        ..Default::default()
    };
    let mut house = House::with(config);
    for n in 10..30 {
        house.learn_payload(n, SLOT);
        let ticket = house.bring(signed(key(n, 1), "V", 1), gossip(1));
        assert_eq!(house.word(ticket), "accept");
    }
    assert_eq!(house.machine.observed_len(), 16);
}
