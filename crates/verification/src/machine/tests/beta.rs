//! What is `beta`'s own: proofs are known by their block, and the engine's input comes from the chain. The rules that both
//! revisions share are rows of `rules`, run in each.

use super::world::{House, SLOT, gossip, in_both_revisions, key, payload_key, request_root, root, signed};
use crate::machine::Event;
use assay_types::{ForkName, Revision, StatedInput};

fn in_beta(test: impl Fn()) {
    in_both_revisions(|| {
        if key(1, 1).revision == Revision::Beta {
            test();
        }
    });
}

#[test]
fn two_blocks_with_one_payload_are_two_names_and_one_payload_proven() {
    in_beta(|| {
        let mut house = House::new();
        let payload = house.world.payloads[&root(1)].clone();
        let twin = assay_chain::PayloadInfo {
            block_root: Some(root(2)),
            ..payload
        };
        house.world.payloads.insert(root(2), twin);
        assert!(!house.machine.is_proven(&payload_key(1, 1), &house.world));
        for n in [1, 2] {
            let ticket = house.bring(signed(key(n, 1), "V", 1), gossip(1));
            assert_eq!(house.word(ticket), "accept", "block {n}");
        }
        assert!(house.machine.is_proven(&payload_key(1, 1), &house.world));
        // The engine is asked about the payload, which both have.
        for asked in &house.asked {
            assert_eq!(asked.key(), payload_key(1, 1));
            assert!(matches!(&asked.public_input, StatedInput::Beta(input) if input.successful_validation));
        }
        let again = house.bring(signed(key(2, 1), "V more", 3), gossip(1));
        assert_eq!(house.word(again), "ignore already_valid");
    });
}

#[test]
fn a_proof_waits_for_its_block_and_then_for_the_payload() {
    in_beta(|| {
        let mut house = House::new();
        let ticket = house.bring(signed(key(5, 1), "V", 1), gossip(1));
        assert_eq!(house.word(ticket), "parked unknown_payload");
        // Its payload alone says nothing: nobody knows yet that it is this block's.
        house.event(Event::PayloadKnown(request_root(5)));
        house.work();
        assert_eq!(house.word(ticket), "parked unknown_payload");
        assert!(house.said[&ticket].found.is_empty());
        house.learn_payload(5, SLOT);
        // Told once, whatever it waits for next.
        assert_eq!(house.said[&ticket].found, [request_root(5)]);
        house.work();
        assert_eq!(house.word(ticket), "accept");
        assert_eq!(house.said[&ticket].found.len(), 1);
    });
}

#[test]
fn the_fork_of_the_payload_says_which_revision_its_proofs_are_of() {
    in_both_revisions(|| {
        let mut house = House::with_boundary();
        let own = house.world.payloads[&root(1)].clone();
        let other = assay_chain::PayloadInfo {
            fork: match own.fork {
                ForkName::Gloas => ForkName::Fulu,
                _ => ForkName::Gloas,
            },
            ..own
        };
        house.world.payloads.insert(root(2), other);
        for (n, word) in [(1, "accept"), (2, "ignore wrong_revision")] {
            let ticket = house.bring(signed(key(n, 1), "V", 1), gossip(1));
            assert_eq!(house.word(ticket), word);
        }
    });
}

#[test]
fn an_orphaned_payloads_proofs_go_by_whatever_name() {
    in_both_revisions(|| {
        let mut house = House::new();
        house.world.engine_up = false;
        let ticket = house.bring(signed(key(1, 1), "V", 1), gossip(1));
        let other = house.bring(signed(key(9, 1), "V", 1), gossip(1));
        house.finalize(SLOT, &[1]);
        assert_eq!(house.word(ticket), "ignore too_old");
        assert_eq!(house.word(other), "parked unknown_payload");
    });
}
