//! What leaves the tree, and that nothing turns VALID or is forgotten by it.

use super::*;
use crate::machine::settled::MAX_SETTLED;
use crate::machine::tree::MAX_HASH_ONLY;

fn wide(n: u64) -> Hash256 {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    Hash256(bytes)
}

fn wide_payload(n: u64, parent: BlockHash) -> PayloadFacts {
    PayloadFacts {
        block_hash: wide(n),
        parent_hash: parent,
        new_payload_request_root: wide(n | 1 << 40),
        slot: Slot(100 + n),
        fork: ForkName::Fulu,
    }
}

/// Ancestors of the newest proven finalized payload and branches cut off leave; what was told of them does not.
#[test]
fn finality_prunes_what_is_decided() {
    let mut bench = Bench::started(require(1));
    // 1–2–3–4–5, and 6–7 on 2.
    for (n, parent) in [(2, 1), (3, 2), (4, 3), (5, 4), (6, 2), (7, 6)] {
        bench.prove(n, 1);
        assert_eq!(bench.import(payload(n, parent), valid(n)), Decision::PassThrough);
    }
    assert_eq!(bench.head_finalized(5, 4, valid(5)), Decision::PassThrough);
    for (n, there) in [
        (1, false),
        (2, false),
        (3, false),
        (4, true),
        (5, true),
        (6, false),
        (7, false),
    ] {
        assert_eq!(bench.gate.payload(&hash(n)).is_some(), there, "{n}");
    }
    let records = bench.records.len();
    assert_eq!(
        records,
        1 + 2 * 7,
        "one record of each payload, one of its changes, and one of the gate"
    );
    for mut bench in [bench.restarted(require(1)), bench] {
        bench.prove(8, 1);
        assert_eq!(bench.import(payload(8, 5), valid(8)), Decision::PassThrough);
        // Asked again of what left: as before, and never INVALID.
        assert_eq!(bench.import(payload(3, 2), valid(3)), Decision::PassThrough);
        assert_eq!(bench.head(3, valid(3)), Decision::PassThrough);
        let other = PayloadFacts {
            new_payload_request_root: root(88),
            ..payload(3, 2)
        };
        assert!(is_syncing(bench.import_checked(
            other,
            RequestCheck::NotChecked,
            valid(3)
        )));
        assert!(is_syncing(bench.import(payload(7, 6), invalid(Some(6)))));
        assert_eq!(bench.verdict(8), PayloadVerdict::Valid, "7 is of another branch");
        assert!(is_syncing(bench.import(payload(3, 2), invalid(Some(2)))));
        assert_eq!(bench.verdict(8), PayloadVerdict::Syncing, "8 stands on 3");
        assert!(is_syncing(bench.head(8, valid(8))));
        let resolution = ConflictResolution::KeepValid;
        bench.event(Event::ConflictResolved {
            block_hash: hash(3),
            resolution,
        });
        assert_eq!(bench.head(8, valid(8)), Decision::PassThrough);
    }
}

/// What stands on payloads that were proven when they left stays VALID also when they are forgotten altogether.
#[test]
fn what_is_rooted_outlives_what_it_stood_on() {
    let mut bench = Bench::started(require(1));
    for n in 2..=5 {
        bench.prove(n, 1);
        bench.import(payload(n, n - 1), valid(n));
    }
    bench.head_finalized(5, 4, valid(5));
    for n in 1..=3 {
        assert!(bench.records.remove(&hash(n).0).is_some(), "{n}");
    }
    let mut bench = bench.restarted(require(1));
    assert_eq!(bench.gate.stats().settled, 0);
    assert_eq!(bench.head(5, valid(5)), Decision::PassThrough);
    bench.prove(6, 1);
    assert_eq!(bench.import(payload(6, 5), valid(6)), Decision::PassThrough);
}

/// An INVALID whose latestValidHash left the tree speaks of all that is in it.
#[test]
fn latest_valid_hash_before_finality() {
    let mut bench = Bench::started(require(1));
    for n in 2..=5 {
        bench.prove(n, 1);
        bench.import(payload(n, n - 1), valid(n));
    }
    bench.head_finalized(5, 4, valid(5));
    assert!(bench.gate.payload(&hash(2)).is_none());
    assert!(is_syncing(bench.import(payload(6, 5), invalid(Some(2)))));
    assert!(bench.gate.payload(&hash(4)).unwrap().conflict);
    assert!(bench.gate.payload(&hash(5)).unwrap().conflict);
}

/// Unproven finalized payloads stay and hold their descendants; proven late, they release them and leave.
#[test]
fn finality_over_a_hole() {
    let mut bench = Bench::started(require(1));
    for n in 2..=6 {
        if n != 3 {
            bench.prove(n, 1);
        }
        bench.import(payload(n, n - 1), valid(n));
    }
    assert!(is_syncing(bench.head_finalized(6, 5, valid(6))));
    assert!(
        bench.gate.payload(&hash(1)).is_none(),
        "2 is proven: what is before it may go"
    );
    assert_eq!(bench.gate.stats().payloads, 5);
    assert_eq!(bench.verdict(6), PayloadVerdict::Syncing);
    bench.prove(3, 1);
    assert_eq!(bench.verdict(6), PayloadVerdict::Valid);
    assert_eq!(bench.gate.stats().payloads, 2);
}

/// A parent that the EL does not call VALID any more holds its children also when it leaves.
#[test]
fn finality_does_not_lift_the_els_status() {
    let mut bench = Bench::started(require(1));
    for n in 2..=4 {
        bench.prove(n, 1);
        bench.import(payload(n, n - 1), valid(n));
    }
    // The EL lost 2; it said nothing yet of 3 and 4.
    bench.import(payload(2, 1), SYNCING);
    assert_eq!(bench.verdict(4), PayloadVerdict::Syncing);
    bench.event(Event::Finalized { block_hash: hash(3) });
    assert!(bench.gate.payload(&hash(2)).is_none());
    assert_eq!(bench.verdict(3), PayloadVerdict::Syncing);
    assert_eq!(bench.verdict(4), PayloadVerdict::Syncing);
    assert_eq!(bench.head(4, valid(4)), Decision::PassThrough);
}

/// Weeks without finality: the tree keeps its limit, a proven chain stays VALID, an unproven one does not become it.
#[test]
fn a_full_tree_sheds_its_oldest() {
    for proven in [true, false] {
        let mut bench = Bench::started(require(1));
        bench.gate.max_payloads = 64;
        let mut parent = hash(1);
        for n in 1..500 {
            let facts = wide_payload(n, parent);
            if proven || n != 1 {
                let key = ProofKey {
                    new_payload_request_root: facts.new_payload_request_root,
                    proof_type: 1,
                };
                bench.event(Event::ProofVerified { key });
            }
            let answer = status(StatusWord::Valid, Some(facts.block_hash));
            let decision = bench.import(facts, answer);
            assert_eq!(decision == Decision::PassThrough, proven, "{n}: {decision:?}");
            assert!(bench.gate.stats().payloads <= 64);
            parent = facts.block_hash;
        }
        assert!(bench.alarms().iter().any(|a| matches!(a, Alarm::TreeFull { .. })));
        let mut bench = bench.restarted(require(1));
        let facts = wide_payload(500, parent);
        let key = ProofKey {
            new_payload_request_root: facts.new_payload_request_root,
            proof_type: 1,
        };
        bench.event(Event::ProofVerified { key });
        let decision = bench.import(facts, status(StatusWord::Valid, Some(facts.block_hash)));
        assert_eq!(decision == Decision::PassThrough, proven);
    }
}

/// Heads and proofs that never find a payload are bounded.
#[test]
fn hashes_and_proofs_without_a_payload_are_bounded() {
    let mut bench = Bench::started(require(1));
    for n in 1..=(MAX_EARLY_ROOTS as u64 + 50) {
        let head = wide(n);
        let state = ForkchoiceState {
            head,
            safe: Hash256::ZERO,
            finalized: Hash256::ZERO,
        };
        let call = CallId(1_000_000 + n);
        let answer = status(StatusWord::Valid, Some(head));
        bench.event(Event::ForkchoiceUpdatedAnswered {
            call,
            state: Some(state),
            answer,
        });
        let key = ProofKey {
            new_payload_request_root: wide(n | 1 << 41),
            proof_type: 1,
        };
        bench.event(Event::ProofVerified { key });
    }
    assert!(
        bench.gate.stats().payloads <= MAX_HASH_ONLY + 2,
        "{}",
        bench.gate.stats().payloads
    );
    assert!(
        bench.records.len() <= 2 * (MAX_HASH_ONLY + 2) + 1,
        "records go with them"
    );
    assert_eq!(bench.gate.early.by_root.len(), MAX_EARLY_ROOTS);
    assert_eq!(bench.gate.early.order.len(), MAX_EARLY_ROOTS);
}

/// What is remembered of payloads that left is bounded, on disk too.
#[test]
fn settled_payloads_are_bounded() {
    let mut settled = Settled::default();
    let payload = crate::machine::settled::SettledPayload {
        root: None,
        slot: None,
        valid: true,
        behind: Some(0),
        told_valid: true,
        canonical: true,
        conflict: false,
    };
    for n in 0..(MAX_SETTLED as u64) {
        assert_eq!(settled.insert(wide(n), payload), None);
    }
    assert_eq!(settled.insert(wide(0), payload), None, "known already");
    assert_eq!(settled.insert(wide(u64::MAX), payload), Some(wide(0)));
    assert_eq!(settled.len(), MAX_SETTLED);
}

/// Two weeks without finality: tree, memory of what left it and records keep their bounds, and VALID stays VALID.
#[test]
fn two_weeks_without_finality_keep_every_bound() {
    let mut bench = Bench::started(require(1));
    let mut parent = hash(1);
    for n in 1..=(MAX_PAYLOADS + MAX_SETTLED + 8192) as u64 {
        let facts = wide_payload(n, parent);
        let key = ProofKey {
            new_payload_request_root: facts.new_payload_request_root,
            proof_type: 1,
        };
        bench.event(Event::ProofVerified { key });
        let answer = status(StatusWord::Valid, Some(facts.block_hash));
        assert_eq!(bench.import(facts, answer), Decision::PassThrough, "{n}");
        parent = facts.block_hash;
        bench.actions.clear();
    }
    let stats = bench.gate.stats();
    assert!(stats.payloads <= MAX_PAYLOADS && stats.payloads > MAX_PAYLOADS / 2);
    assert_eq!(stats.settled, MAX_SETTLED);
    assert!(
        bench.records.len() <= 2 * (MAX_PAYLOADS + MAX_SETTLED) + 2,
        "{}",
        bench.records.len()
    );
}

/// A hole far back, and everything on it proven: a list of it walks the chain once, and says of each what asking for it alone
/// does.
#[test]
fn a_list_over_a_hole_is_explained_in_steps_linear_in_it() {
    const PAYLOADS: u64 = 600;
    for lag in [0, 3] {
        let mut bench = Bench::started(GateConfig {
            proof_lag: lag,
            ..require(1)
        });
        let mut parent = wide(0);
        for n in 1..=PAYLOADS {
            let facts = wide_payload(n, parent);
            let key = ProofKey {
                new_payload_request_root: facts.new_payload_request_root,
                proof_type: 1,
            };
            bench.event(Event::ProofVerified { key });
            bench.import(facts, status(StatusWord::Valid, Some(facts.block_hash)));
            parent = facts.block_hash;
        }
        let mut known = crate::machine::explain::Holders::default();
        let all = bench.gate.payloads_among(Slot(0), Slot(10_000), 4096, &mut known);
        assert_eq!(all.len(), PAYLOADS as usize);
        assert!(known.steps < 3 * PAYLOADS as usize, "{} steps", known.steps);
        for payload in &all {
            assert_eq!(
                payload.held_by,
                Some(HeldBy::UnknownAncestor(wide(0))),
                "lag {lag}"
            );
            assert_eq!(payload.held_by, bench.gate.holds_back(&payload.block_hash));
        }
        // The oldest, whatever the limit.
        let proven = |n: u64| wide_payload(n, wide(0)).new_payload_request_root;
        for n in [700, 701, 702, 703] {
            bench.import(wide_payload(n, wide(n - 1)), SYNCING);
        }
        assert_eq!(bench.gate.unproven(2), [proven(700), proven(701)]);
        assert_eq!(bench.gate.unproven(100).len(), 4);
    }
}

/// What left the tree is found by its slot too.
#[test]
fn what_is_settled_is_found_by_slot() {
    let mut bench = Bench::started(require(1));
    for n in 2..=5 {
        bench.prove(n, 1);
        bench.import(payload(n, n - 1), valid(n));
    }
    bench.head_finalized(5, 4, valid(5));
    for bench in [bench.restarted(require(1)), bench] {
        let found = bench.gate.remembered_at(Slot(3), 16);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].block_hash, found[0].valid), (hash(3), true));
        assert_eq!(bench.gate.remembered_at(Slot(5), 16), [], "in the tree");
    }
}
