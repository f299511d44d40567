//! One verification per payload and type at a time, and who comes next.

use super::world::{House, Registry, SLOT, forged, gossip, key, req_resp, signed};
use crate::{
    Source,
    config::{MAX_SHARERS, MAX_SHARERS_PER_PEER},
};
use std::time::Duration;

#[test]
fn others_of_a_key_wait_and_are_dropped_when_one_succeeds() {
    let mut house = House::new();
    let tickets: Vec<_> = (1..6)
        .map(|n| house.submit(signed(key(1, 1), &format!("V{n}"), n), gossip(n as u8)))
        .collect();
    assert_eq!(house.pending.len(), 1, "one under way");
    house.work();
    let words: Vec<_> = tickets.iter().map(|t| house.word(*t)).collect();
    assert_eq!(words[0], "accept");
    assert!(
        words[1..].iter().all(|w| w == "ignore already_valid"),
        "{words:?}"
    );
    assert_eq!(
        house.log.iter().filter(|l| l.starts_with("hash")).count(),
        1,
        "the others cost nothing"
    );
    assert_eq!(house.machine.held(), (0, 0));
}

#[test]
fn the_next_is_tried_when_one_fails() {
    let mut house = House::new();
    let bad = house.submit(forged(signed(key(1, 1), "V1", 1), 1), gossip(1));
    let invalid = house.submit(signed(key(1, 1), "I", 2), gossip(2));
    let absent = house.submit(signed(key(1, 1), "V3", 77), gossip(3));
    let good = house.submit(signed(key(1, 1), "V4", 4), gossip(4));
    house.work();
    let words = [bad, invalid, absent, good].map(|t| house.word(t));
    assert_eq!(
        words,
        [
            "reject bad_signature",
            "reject invalid_proof",
            "reject unknown_validator",
            "accept"
        ]
    );
}

#[test]
fn different_keys_go_side_by_side() {
    let mut house = House::with(crate::VerifierConfig {
        cpu_jobs: 4,
        ..Default::default()
    });
    house.learn_payload(2, SLOT);
    for k in [key(1, 1), key(1, 2), key(2, 1), key(2, 2)] {
        house.submit(signed(k, "V", 1), gossip(1));
    }
    assert_eq!(house.pending.len(), 4);
}

#[test]
fn the_same_bytes_share_one_verification_and_one_verdict() {
    for (data, word) in [("V", "accept"), ("I", "reject invalid_proof")] {
        let mut house = House::new();
        let proof = signed(key(1, 1), data, 1);
        let tickets = [gossip(1), gossip(2), req_resp(3), Source::Http, Source::Prover]
            .map(|s| house.submit(proof.clone(), s));
        assert_eq!(house.machine.held().0, 1, "held once");
        house.work();
        for ticket in tickets {
            assert_eq!(house.word(ticket), word);
        }
        assert_eq!(house.log.iter().filter(|l| l.starts_with("engine")).count(), 1);
    }
}

#[test]
fn who_shares_a_parked_candidate_is_told_that_it_is_parked() {
    let mut house = House::new();
    let proof = signed(key(2, 1), "V", 1);
    let first = house.bring(proof.clone(), gossip(1));
    let second = house.bring(proof, Source::Http);
    assert_eq!(
        [house.word(first), house.word(second)],
        ["parked unknown_payload", "parked unknown_payload"]
    );
    house.learn_payload(2, SLOT);
    house.work();
    assert_eq!([house.word(first), house.word(second)], ["accept", "accept"]);
}

#[test]
fn sharing_is_bounded_in_all_and_by_peer() {
    let mut house = House::new();
    let proof = signed(key(2, 1), "V", 1);
    let greedy: Vec<_> = (0..=MAX_SHARERS_PER_PEER)
        .map(|_| house.bring(proof.clone(), req_resp(1)))
        .collect();
    assert_eq!(
        house.word(greedy[MAX_SHARERS_PER_PEER - 1]),
        "parked unknown_payload"
    );
    assert_eq!(house.word(greedy[MAX_SHARERS_PER_PEER]), "ignore overloaded");
    let other = house.bring(proof.clone(), gossip(2));
    assert_eq!(house.word(other), "parked unknown_payload");
    let left = MAX_SHARERS - MAX_SHARERS_PER_PEER - 1;
    let local: Vec<_> = (0..=left)
        .map(|_| house.bring(proof.clone(), Source::Http))
        .collect();
    assert_eq!(house.word(local[left - 1]), "parked unknown_payload");
    assert_eq!(house.word(local[left]), "ignore overloaded");
}

#[test]
fn a_copy_with_another_signature_is_another_candidate() {
    let mut house = House::new();
    let honest = signed(key(2, 1), "V", 1);
    let before = house.bring(forged(honest.clone(), 7), gossip(1));
    let ticket = house.bring(honest.clone(), gossip(2));
    let after = house.bring(forged(honest, 8), gossip(3));
    house.learn_payload(2, SLOT);
    house.work();
    assert_eq!(
        [before, ticket, after].map(|t| house.word(t)),
        ["reject bad_signature", "accept", "ignore already_valid"]
    );
}

#[test]
fn gossip_of_what_the_operator_brought_is_accepted_with_it() {
    // Rule 4 would ignore the copy; but it is the very message that is under way, and gossip shall forward it.
    let mut house = House::new();
    house.world.engine_up = false;
    let proof = signed(key(1, 1), "V", 1);
    let operator = house.bring(proof.clone(), Source::Http);
    let peer = house.bring(proof, gossip(1));
    house.world.engine_up = true;
    house.wait(Duration::from_secs(1));
    house.work();
    assert_eq!([operator, peer].map(|t| house.word(t)), ["accept", "accept"]);
}

#[test]
fn a_proof_that_the_engine_chokes_on_does_not_hold_the_turn() {
    let mut house = House::new();
    house.world.engine_up = false;
    let poison = house.bring(signed(key(1, 1), "V poison", 1), gossip(1));
    let honest = house.submit(signed(key(1, 1), "V honest", 2), gossip(2));
    house.world.engine_up = true;
    house.work();
    assert_eq!(
        [poison, honest].map(|t| house.word(t)),
        ["ignore already_valid", "accept"]
    );
}

#[test]
fn retries_and_newcomers_take_turns() {
    // Three that wait for the engine and are due again, and forgeries that keep coming: neither shuts the other out.
    let mut house = House::new();
    house.world.engine_up = false;
    for n in 1..4 {
        house.bring(signed(key(1, 1), &format!("V{n}"), n), gossip(n as u8));
    }
    house.log.clear();
    let first = house.submit(forged(signed(key(1, 1), "V5", 5), 1), gossip(5));
    for n in 6..9 {
        house.submit(forged(signed(key(1, 1), &format!("V{n}"), n), 1), gossip(n as u8));
    }
    house.wait(Duration::from_millis(500));
    house.work();
    assert_eq!(house.word(first), "reject bad_signature");
    let order: Vec<_> = house
        .log
        .iter()
        .filter(|l| l.starts_with("hash") || l.starts_with("engine"))
        .map(String::as_str)
        .collect();
    let expected = [
        "hash V5",
        "engine V1",
        "hash V6",
        "engine V2",
        "hash V7",
        "engine V3",
        "hash V8",
    ];
    assert_eq!(order, expected);
}

#[test]
fn the_operators_own_goes_first_and_a_flood_stands_behind_a_single_proof() {
    let config = crate::VerifierConfig {
        cpu_jobs: 2,
        ..Default::default()
    };
    let mut house = House::with(config);
    for n in 10..20 {
        house.learn_payload(n, SLOT);
    }
    // Peer 1 floods nine keys, then peer 2 brings one, then the operator.
    for n in 10..18 {
        house.submit(signed(key(n, 1), &format!("V flood{n}"), 1), gossip(1));
    }
    house.submit(signed(key(18, 1), "V peer 2", 2), gossip(2));
    house.submit(signed(key(19, 1), "V operator", 3), Source::Http);
    house.work();
    let hashes: Vec<_> = house
        .log
        .iter()
        .filter(|l| l.starts_with("hash"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        &hashes[..4],
        [
            "hash V flood10",
            "hash V flood11",
            "hash V operator",
            "hash V peer 2"
        ]
    );
}

#[test]
fn work_at_once_is_bounded() {
    let config = crate::VerifierConfig {
        engine_calls: 3,
        cpu_jobs: 2,
        ..Default::default()
    };
    let mut house = House::with(config);
    for n in 10..30 {
        house.learn_payload(n, SLOT);
        house.submit(signed(key(n, 1), "V", 1), gossip(1));
    }
    let mut most = std::collections::BTreeMap::new();
    while !house.pending.is_empty() {
        let count = |name: &str| {
            house
                .pending
                .iter()
                .filter(|a| format!("{:?}", std::mem::discriminant(*a)) == name)
                .count()
        };
        for action in &house.pending {
            let name = format!("{:?}", std::mem::discriminant(action));
            let now = count(&name);
            let most = most.entry(name).or_insert(0);
            *most = now.max(*most);
        }
        // The last first, so that engine calls pile up while hashing goes on.
        let engine = |a: &crate::machine::Action| matches!(a, crate::machine::Action::AskEngine { .. });
        let place = house.pending.iter().position(|a| !engine(a)).unwrap_or(0);
        house.do_one(place);
    }
    assert_eq!(most.values().max(), Some(&3), "{most:?}");
    assert_eq!(house.commits.len(), 20);
}

/// Proofs whose engine does not answer take the places of their type alone.
#[test]
fn a_type_whose_engine_hangs_holds_up_no_other() {
    let mut house = House::with(crate::VerifierConfig {
        engine_calls: 4,
        cpu_jobs: 2,
        ..Default::default()
    });
    let engine = |a: &crate::machine::Action| matches!(a, crate::machine::Action::AskEngine { .. });
    for n in 10..18 {
        house.learn_payload(n, SLOT);
        house.submit(signed(key(n, 1), "V", 1), gossip(1));
    }
    let all_but_engine = |house: &mut House| {
        while let Some(place) = house.pending.iter().position(|a| !engine(a)) {
            house.do_one(place);
        }
    };
    all_but_engine(&mut house);
    assert_eq!(house.pending.len(), 4, "at the engine, and there they stay");
    let other = house.submit(signed(key(10, 2), "V", 1), gossip(2));
    all_but_engine(&mut house);
    let asked = house
        .pending
        .iter()
        .position(|a| matches!(a, crate::machine::Action::AskEngine { input, .. } if input.proof_type == 2));
    house.do_one(asked.unwrap());
    all_but_engine(&mut house);
    assert_eq!(house.word(other), "accept");
}

/// What the engine cannot read is tried a few times and let go, without a word against anybody.
#[test]
fn a_proof_that_the_engine_cannot_read_is_let_go() {
    let mut house = House::new();
    let strange = house.submit(signed(key(1, 1), "X", 1), gossip(1));
    let mut waited = Duration::ZERO;
    while house.machine.held().0 > 0 {
        house.work();
        house.wait(Duration::from_secs(12));
        waited += Duration::from_secs(12);
        assert!(waited < Duration::from_secs(100), "kept for ever");
    }
    assert_eq!(house.word(strange), "ignore engine_unavailable");
    let asked = house.log.iter().filter(|l| l.starts_with("engine")).count();
    assert_eq!(asked, 1 + crate::machine::stages::UNREADABLE_TRIES as usize);
    assert!(house.world.contained.is_empty());
    // It may come again, and another of the validator's is judged.
    let good = house.submit(signed(key(1, 1), "V", 1), gossip(1));
    house.work();
    assert_eq!(house.word(good), "accept");
}

#[test]
fn an_undecided_forgery_does_not_stand_in_the_way() {
    let mut house = House::new();
    house.world.registry = Registry::NotDecisive;
    let forgery = house.submit(forged(signed(key(1, 1), "V", 1), 1), gossip(1));
    let honest = house.submit(signed(key(1, 1), "V", 1), gossip(2));
    house.work();
    assert_eq!(
        [forgery, honest].map(|t| house.word(t)),
        ["ignore already_valid", "accept"]
    );
}
