//! `--recursive-proofs` over invented public inputs that name an origin.

use super::*;
use crate::machine::recursive::MAX_RECURSIVE_PROOFS;

fn recursive(mut config: GateConfig) -> GateConfig {
    config.recursive_proofs = true;
    config
}

/// Payloads 2 to `last` on the anchor 1, all VALID for the execution client.
fn chain(config: GateConfig, last: u8) -> Bench {
    let mut bench = Bench::started(config);
    for n in 2..=last {
        bench.import(payload(n, n - 1), valid(n));
    }
    bench
}

impl Bench {
    fn prove_from(&mut self, origin: u8, n: u8, proof_type: ProofType) {
        let key = ProofKey {
            new_payload_request_root: root(n),
            proof_type,
        };
        let origin = root(origin);
        self.event(Event::RecursiveProofVerified { key, origin });
    }

    /// So many proofs of payload 5 whose origins nobody knows.
    fn wait_for_ever(&mut self, proofs: usize) {
        for n in 0..proofs {
            let key = ProofKey {
                new_payload_request_root: root(5),
                proof_type: (n % 256) as u8,
            };
            let mut origin = root(200);
            origin.0[8..16].copy_from_slice(&(n as u64).to_be_bytes());
            self.event(Event::RecursiveProofVerified { key, origin });
        }
    }

    fn verdicts(&self, payloads: std::ops::RangeInclusive<u8>) -> String {
        payloads
            .map(|n| match self.verdict(n) {
                PayloadVerdict::Valid => 'V',
                PayloadVerdict::Syncing => 's',
                _ => '?',
            })
            .collect()
    }
}

#[test]
fn without_the_flag_a_proof_covers_its_own_payload() {
    let mut bench = chain(require(1), 5);
    bench.prove(2, 1);
    bench.prove_from(2, 5, 1);
    assert_eq!(bench.verdicts(2..=5), "Vsss");
    // As every proof of today: nothing names an origin.
    let mut bench = chain(recursive(require(1)), 5);
    bench.prove(2, 1);
    bench.prove(5, 1);
    assert_eq!(bench.verdicts(2..=5), "Vsss");
}

#[test]
fn holes_close_from_an_anchor_or_a_proven_ancestor() {
    // The beacon node's own start is an anchor: its request root is known once the payload is.
    let mut bench = chain(recursive(require(1)), 6);
    bench.import(payload(1, 0), valid(1));
    bench.prove_from(1, 3, 1);
    assert_eq!(bench.verdicts(2..=6), "VVsss");
    bench.prove_from(3, 6, 1);
    assert_eq!(bench.verdicts(2..=6), "VVVVV");
}

#[test]
fn an_origin_that_is_not_proven_closes_nothing_until_it_is_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut bench = chain(recursive(require(1)), 7);
        for (step, what) in order.into_iter().enumerate() {
            match what {
                0 => drop(bench.prove(2, 1)),
                1 => bench.prove_from(2, 4, 1),
                _ => bench.prove_from(4, 7, 1),
            }
            let all = step == 2;
            assert_eq!(bench.verdict(7) == PayloadVerdict::Valid, all, "{order:?} {step}");
        }
        assert_eq!(bench.verdicts(2..=7), "VVVVVV", "{order:?}");
    }
}

#[test]
fn the_rules_stay_what_they_are() {
    // k distinct types: one recursive proof is one type.
    let mut bench = chain(recursive(require(2)), 4);
    for proof_type in [1, 2] {
        bench.prove(2, proof_type);
    }
    bench.prove_from(2, 4, 1);
    assert_eq!(bench.verdicts(2..=4), "Vss");
    bench.prove_from(2, 4, 2);
    assert_eq!(bench.verdicts(2..=4), "VVV");
    // Never better than the execution client (rule 7), and INVALID is its own (rule 1).
    let mut bench = Bench::started(recursive(require(1)));
    bench.import(payload(2, 1), valid(2));
    bench.import(payload(3, 2), SYNCING);
    bench.import(payload(4, 3), invalid(Some(2)));
    bench.prove(2, 1);
    bench.prove_from(2, 4, 1);
    assert_eq!(bench.verdict(2), PayloadVerdict::Valid);
    for n in [3, 4] {
        assert_ne!(bench.verdict(n), PayloadVerdict::Valid, "{n}");
    }
    // Another branch gains nothing (rule 6): its payload is no ancestor.
    let mut bench = chain(recursive(require(1)), 4);
    bench.import(payload(13, 2), valid(13));
    bench.prove(2, 1);
    bench.prove_from(2, 4, 1);
    assert_eq!(bench.verdict(13), PayloadVerdict::Syncing);
    bench.prove_from(13, 4, 2);
    assert_eq!(bench.verdicts(2..=4), "VVV");
}

#[test]
fn what_waits_for_its_origin_is_bounded_and_goes_when_the_flag_does() {
    let mut bench = chain(recursive(require(1)), 5);
    bench.wait_for_ever(MAX_RECURSIVE_PROOFS + 10);
    bench.prove_from(3, 5, 1);
    bench.event(Event::ConfigChanged(require(1)));
    bench.event(Event::ConfigChanged(recursive(require(1))));
    bench.prove(2, 1);
    bench.prove(3, 1);
    assert_eq!(bench.verdicts(2..=5), "VVss");
}

#[test]
fn the_oldest_that_waits_is_forgotten_for_the_newest() {
    for (others, verdicts) in [(MAX_RECURSIVE_PROOFS - 1, "VVVV"), (MAX_RECURSIVE_PROOFS, "VVss")] {
        let mut bench = chain(recursive(require(1)), 5);
        bench.prove_from(3, 5, 1);
        bench.wait_for_ever(others);
        bench.prove(2, 1);
        bench.prove(3, 1);
        assert_eq!(bench.verdicts(2..=5), verdicts, "{others}");
    }
}
