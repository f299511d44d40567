//! What is no proof at all, or only part of one.

use crate::{
    numbers::Numbers,
    outcome::{Outcome, outcome},
    samples::{sample, with_key},
};
use assay_native_verifiers::{ProofSystem, SystemName};

const SEED: u64 = 48;
/// `MAX_PROOF_SIZE`.
const LARGEST: usize = 4 << 20;

/// A panic counts: the engine makes a refusal of it (its own tests show that).
fn refused(system: &dyn ProofSystem, bytes: &[u8], what: &str) {
    let said = outcome(system, bytes);
    assert!(!matches!(said, Outcome::Holds(_)), "{what}: {said:?}");
}

#[test]
fn parts_and_more_than_a_proof_are_refused() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        let (mut numbers, length) = (Numbers(SEED), sample.proof.len());
        let mut cuts: Vec<usize> = (0..16).chain(length - 128..length).collect();
        cuts.extend((0..64).map(|_| numbers.below(length)));
        for cut in cuts {
            refused(
                verifier.as_ref(),
                &sample.proof[..cut],
                &format!("{system} cut to {cut}"),
            );
            refused(
                verifier.as_ref(),
                &sample.proof[length - cut..],
                &format!("{system}, the last {cut}"),
            );
        }
        for more in [1, 8, 4096, LARGEST - length] {
            let longer = [&sample.proof[..], &vec![0; more]].concat();
            refused(verifier.as_ref(), &longer, &format!("{system} and {more} bytes"));
        }
    }
}

#[test]
fn four_mebibytes_of_anything_are_refused() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        let mut numbers = Numbers(SEED);
        let noise: Vec<u8> = (0..LARGEST / 8)
            .flat_map(|_| numbers.next().to_le_bytes())
            .collect();
        let mut begun = noise.clone();
        begun[..4096].copy_from_slice(&sample.proof[..4096]);
        let other = SystemName::ALL
            .into_iter()
            .find(|other| *other != system)
            .unwrap();
        let inputs = [
            ("nothing", Vec::new()),
            ("zeros", vec![0; LARGEST]),
            ("ones", vec![0xff; LARGEST]),
            ("1 as 32 bits", 1u32.to_le_bytes().repeat(LARGEST / 4)),
            ("1 as 64 bits", 1u64.to_le_bytes().repeat(LARGEST / 8)),
            ("noise", noise),
            ("a proof's beginning, then noise", begun),
            ("a proof of the other system", crate::samples::sample(other).proof),
        ];
        for (what, bytes) in inputs {
            refused(verifier.as_ref(), &bytes, &format!("{system}: {what}"));
        }
    }
}

/// Lengths in a proof that promise more than there is.
#[test]
fn lengths_that_are_not_there_are_refused() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        let mut numbers = Numbers(SEED);
        for round in 0..200 {
            let mut proof = sample.proof.clone();
            // Where the encoding begins and ends are most of the lengths.
            let at = match round % 4 {
                0 => numbers.below(512),
                1 => proof.len() - 8 - numbers.below(1024),
                _ => numbers.below(proof.len() - 8),
            };
            let length = [u64::MAX, 1 << 40, 1 << 32, 1 << 20][numbers.below(4)];
            proof[at..at + 8].copy_from_slice(&length.to_le_bytes());
            if proof != sample.proof {
                refused(verifier.as_ref(), &proof, &format!("{system}, {length} at {at}"));
            }
        }
    }
}
