//! Budgets of the waiting room, and who is let go.

use super::world::{House, Registry, SLOT, gossip, key, signed};
use crate::{PeerRef, RoomLimits, Source, VerifierConfig, config::CANDIDATE_OVERHEAD};
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Arc};

const KIB: usize = 1024;

/// A proof of about `kib` KiB charged, with a text of its own.
fn sized(payload: u8, proof_type: u8, tag: u64, kib: usize) -> assay_types::SignedProof {
    let data = format!(
        "V{tag:0>width$}",
        width = kib * KIB - CANDIDATE_OVERHEAD - 145 - 1
    );
    signed(key(payload, proof_type), &data, tag % 10)
}

/// 32 candidates of 4 KiB; half for unknown payloads, 4 a peer, 8 a payload.
fn small() -> VerifierConfig {
    let room = RoomLimits {
        bytes: 128 * KIB,
        bytes_unknown_payload: 64 * KIB,
        bytes_per_peer: 16 * KIB,
        bytes_per_payload: 32 * KIB,
        candidates: 32,
        candidates_per_peer: 16,
        ..RoomLimits::default()
    };
    VerifierConfig {
        room,
        ..VerifierConfig::default()
    }
}

fn peer(n: u64) -> Source {
    Source::Gossip {
        peer: PeerRef(Arc::from(n.to_le_bytes())),
    }
}

#[test]
fn a_peer_that_floods_loses_its_own() {
    let mut house = House::with(small());
    let honest = house.bring(sized(100, 1, 0, 4), peer(0));
    let flood: Vec<_> = (0..20)
        .map(|n| house.bring(sized(n as u8 + 10, 1, n, 4), peer(1)))
        .collect();
    assert_eq!(house.word(honest), "parked unknown_payload");
    let kept = flood
        .iter()
        .filter(|t| house.word(**t) == "parked unknown_payload")
        .count();
    assert_eq!(kept, 4, "its budget, the first come");
    assert!(flood[4..].iter().all(|t| house.word(*t) == "ignore overloaded"));
}

#[test]
fn a_flood_over_one_payload_loses_the_newest_of_who_holds_most() {
    let mut house = House::with(small());
    // Peers 1 to 3 flood the payload that peer 0's proof names as well.
    let flood: Vec<_> = (0..9)
        .map(|n| house.bring(sized(100, 1, n, 4), peer(1 + n % 3)))
        .collect();
    let honest = house.bring(sized(100, 1, 99, 4), peer(0));
    assert_eq!(house.word(honest), "parked unknown_payload");
    assert_eq!(
        flood
            .iter()
            .filter(|t| house.word(**t) == "ignore overloaded")
            .count(),
        2
    );
    assert!(house.machine.held().1 <= 32 * KIB);
}

#[test]
fn unknown_payloads_leave_room_for_known_ones() {
    let mut house = House::with(small());
    for n in 0..40 {
        house.bring(sized(10 + n as u8, 1, n, 4), peer(n / 2));
    }
    assert!(house.machine.held().1 <= 64 * KIB, "{:?}", house.machine.held());
    house.world.registry = Registry::Unavailable;
    for n in 100..108 {
        house.learn_payload(n, SLOT);
        let ticket = house.bring(sized(n, 1, 1, 4), peer(u64::from(n)));
        assert_eq!(house.word(ticket), "parked validator_unavailable");
    }
}

#[test]
fn a_full_room_keeps_signed_proofs_and_the_operators() {
    let mut house = House::with(small());
    house.world.engine_up = false;
    let mut keep = Vec::new();
    for n in 0..4_u8 {
        house.learn_payload(100 + n, SLOT);
        keep.push(house.bring(sized(100 + n, 1, 1, 4), peer(0)));
    }
    keep.push(house.bring(sized(200, 1, 5, 4), Source::Http));
    // Forgeries and unknown payloads from a hundred peers.
    for n in 0..200_u64 {
        house.bring(sized(10 + (n % 50) as u8, 1, n, 4), peer(n % 100 + 1));
    }
    assert!(house.machine.held().1 <= 128 * KIB);
    for ticket in &keep[..4] {
        assert_eq!(house.word(*ticket), "parked engine_unavailable");
    }
    assert_eq!(house.word(keep[4]), "parked unknown_payload");
}

#[test]
fn a_peer_that_brought_a_valid_proof_is_worth_more_than_a_stranger() {
    let mut house = House::with(small());
    let proven = house.bring(sized(1, 1, 1, 4), peer(7));
    assert_eq!(house.word(proven), "accept");
    // Sixteen strangers fill the room for unknown payloads first, each with as much as the proven peer brings.
    let strangers: Vec<_> = (0..16)
        .map(|n| house.bring(sized(10 + n as u8, 1, n, 4), peer(100 + n)))
        .collect();
    let ticket = house.bring(sized(60, 1, 2, 4), peer(7));
    assert_eq!(house.word(ticket), "parked unknown_payload");
    assert_eq!(
        strangers
            .iter()
            .filter(|t| house.word(**t) == "ignore overloaded")
            .count(),
        1
    );
}

#[test]
fn a_copy_sent_by_a_flooder_does_not_go_with_its_flood() {
    let mut house = House::with(small());
    let honest = sized(60, 1, 1, 4);
    // The flooder fills its budget, the honest proof's copy last: its newest.
    for n in 0..3 {
        house.bring(sized(10 + n as u8, 1, n, 4), peer(1));
    }
    house.bring(honest.clone(), peer(1));
    let ticket = house.bring(honest, peer(2));
    for n in 0..13 {
        house.bring(sized(30 + n as u8, 1, n, 4), peer(10 + n));
    }
    assert_eq!(house.word(ticket), "parked unknown_payload");
}

#[test]
fn tiny_proofs_are_counted_too() {
    let mut house = House::with(small());
    for n in 0..100 {
        house.bring(signed(key(10 + n, 1), "V", 1), gossip(1));
    }
    assert_eq!(house.machine.held().0, 14, "by bytes, each with its overhead");
    let mut house = House::with(VerifierConfig {
        room: RoomLimits {
            candidates_per_peer: 5,
            ..small().room
        },
        ..small()
    });
    for n in 0..100 {
        house.bring(signed(key(10 + n, 1), "V", 1), gossip(1));
    }
    assert_eq!(house.machine.held().0, 5);
}

#[test]
fn the_operator_has_half_of_the_room() {
    let mut house = House::with(small());
    for n in 0..40 {
        house.bring(sized(10 + n as u8, 1, n, 4), Source::Http);
    }
    assert_eq!(house.machine.held().1, 64 * KIB);
}

#[test]
fn a_network_of_huge_proofs_gets_room_for_a_few() {
    let limits = RoomLimits::default();
    assert_eq!(limits.clone().fit(4_194_449), limits);
    let raised = limits.fit(256 * KIB * KIB);
    assert!(raised.bytes_per_peer >= 512 * KIB * KIB && raised.bytes >= raised.bytes_unknown_payload);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever comes, budgets hold after every event, everybody is answered in the end, and as long as signed proofs
    /// alone fit, none of them is let go.
    #[test]
    fn budgets_hold(
        brought in proptest::collection::vec((0_u64..6, 0_u8..4, 1_u8..3, 0_u64..30, 1_usize..9, any::<bool>()), 1..120)
    ) {
        let mut house = House::with(small());
        house.world.engine_up = false;
        house.world.add_payload(100, SLOT);
        house.world.add_payload(101, SLOT);
        let mut signed_bytes = BTreeMap::new();
        let mut tickets = Vec::new();
        for (from, payload, proof_type, tag, kib, forge) in brought {
            let payload = [100, 101, 10, 11][usize::from(payload)];
            let mut proof = sized(payload, proof_type, tag, 2 + kib);
            if forge {
                proof = super::world::forged(proof, 1);
            }
            let ticket = house.bring(proof, peer(from));
            let (candidates, bytes) = house.machine.held();
            prop_assert!(candidates <= 32 && bytes <= 128 * KIB);
            if house.word(ticket) == "parked engine_unavailable" {
                signed_bytes.insert(ticket, (from, payload, (2 + kib) * KIB));
            }
            tickets.push(ticket);
        }
        let fits = |of: &dyn Fn(&(u64, u8, usize)) -> bool, limit: usize| {
            signed_bytes.values().filter(|s| of(s)).map(|(_, _, bytes)| bytes).sum::<usize>() <= limit
        };
        let all_fit = (0..6).all(|p| fits(&|s| s.0 == p, 16 * KIB))
            && [100, 101].iter().all(|p| fits(&|s| s.1 == *p, 32 * KIB));
        if all_fit {
            for ticket in signed_bytes.keys() {
                prop_assert_eq!(house.word(*ticket), "parked engine_unavailable");
            }
        }
        for _ in 0..8 {
            house.wait(std::time::Duration::from_secs(48));
            house.work();
        }
        prop_assert_eq!(house.machine.held(), (0, 0));
        prop_assert_eq!(house.machine.next_tick(), None);
        for ticket in tickets {
            prop_assert!(house.word(ticket) != "waits" && !house.word(ticket).starts_with("parked"));
        }
    }
}
