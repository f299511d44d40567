//! One byte changed: in the public values, in the key, anywhere in the proof.

use crate::{
    encoding::small_numbers,
    numbers::Numbers,
    outcome::{Outcome, outcome},
    places::public_value_places,
    samples::{sample, with_key},
};
use assay_native_verifiers::SystemName;
use std::collections::BTreeMap;

/// Seed of masks and positions.
const SEED: u64 = 8025;
/// Positions in the proof.
const POSITIONS: usize = 300;
/// Small numbers of the encoding, at most.
const SMALL_NUMBERS: usize = 300;

/// Bytes from the end that nothing binds (specs/native-verifiers.md): the version of SP1's SDK, a text.
fn unbound_tail(system: SystemName) -> usize {
    match system {
        SystemName::Sp1 => "v6.1.0".len(),
        SystemName::Zisk => 0,
    }
}

#[test]
fn real_proofs_hold_with_their_public_values() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        assert_eq!(
            outcome(verifier.as_ref(), &sample.proof),
            Outcome::Holds(sample.public_values.clone()),
            "{system}"
        );
        let places = public_value_places(system, &sample);
        let there: Vec<u8> = places.iter().map(|at| sample.proof[*at]).collect();
        assert_eq!(there, sample.public_values, "{system}");
    }
}

#[test]
fn every_flipped_byte_of_the_public_values_is_refused() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        let mut numbers = Numbers(SEED);
        for at in public_value_places(system, &sample) {
            let mut proof = sample.proof.clone();
            proof[at] ^= numbers.mask();
            let said = outcome(verifier.as_ref(), &proof);
            assert!(!matches!(said, Outcome::Holds(_)), "{system} at {at}: {said:?}");
        }
        // What lies around them: their length before, and at ZisK the key's words and the upper halves of each word.
        let first = public_value_places(system, &sample)[0];
        let around: Vec<usize> = match system {
            SystemName::Sp1 => (first - 8..first).collect(),
            SystemName::Zisk => (first - 40..first)
                .chain((0..64).map(|word| first + 8 * word + 4))
                .collect(),
        };
        for at in around {
            let mut proof = sample.proof.clone();
            proof[at] ^= numbers.mask();
            let said = outcome(verifier.as_ref(), &proof);
            assert!(!matches!(said, Outcome::Holds(_)), "{system} at {at}: {said:?}");
        }
    }
}

#[test]
fn every_flipped_byte_of_the_key_is_refused() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let mut numbers = Numbers(SEED);
        let mut unusable = 0;
        for at in 0..sample.key.len() {
            let mut key = sample.key.clone();
            key[at] ^= numbers.mask();
            let Ok(verifier) = with_key(system, &key) else {
                unusable += 1;
                continue;
            };
            let said = outcome(verifier.as_ref(), &sample.proof);
            assert!(
                !matches!(said, Outcome::Holds(_)),
                "{system}, byte {at} of the key: {said:?}"
            );
        }
        assert!(unusable < sample.key.len(), "{system}");
        for length in [0, 31, 33, 64] {
            let error = with_key(system, &vec![1; length]).err().unwrap();
            assert!(error.contains("has 32 bytes"), "{error}");
        }
    }
    // Numbers that are no elements of the field.
    for (system, key) in [(SystemName::Sp1, [0xff; 32]), (SystemName::Zisk, [0xff; 32])] {
        assert!(
            with_key(system, &key)
                .err()
                .unwrap()
                .contains("elements of the field")
        );
    }
    let mut above = [0; 32];
    above[28..].copy_from_slice(&0x7f00_0001_u32.to_be_bytes());
    assert!(with_key(SystemName::Sp1, &above).is_err());
    above[28..].copy_from_slice(&0x7f00_0000_u32.to_be_bytes());
    assert!(with_key(SystemName::Sp1, &above).is_ok());
}

#[test]
fn flips_at_300_positions_of_the_proof_are_refused_or_change_nothing_and_are_listed() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        let (mut numbers, last) = (Numbers(SEED), sample.proof.len() - 1);
        let mut positions = vec![0, last];
        while positions.len() < POSITIONS {
            let at = numbers.below(sample.proof.len());
            if !positions.contains(&at) {
                positions.push(at);
            }
        }
        // And all that is listed as unbound.
        let tail = last + 1 - unbound_tail(system);
        positions.extend(
            (tail..last)
                .filter(|at| !positions.contains(at))
                .collect::<Vec<_>>(),
        );
        let mut counted: BTreeMap<String, usize> = BTreeMap::new();
        for at in positions {
            let mut proof = sample.proof.clone();
            // Of the low bits, lest the version stops being text.
            proof[at] ^= if at >= tail {
                1 + numbers.mask() % 7
            } else {
                numbers.mask()
            };
            let what = match outcome(verifier.as_ref(), &proof) {
                Outcome::Holds(public_values) => {
                    assert!(
                        at >= tail,
                        "{system}: a flip at {at} is not refused, and is not listed"
                    );
                    assert_eq!(public_values, sample.public_values, "{system} at {at}");
                    "unbound, statement unchanged".to_owned()
                }
                // The engine makes a refusal of it.
                Outcome::Panicked => "panicked".to_owned(),
                Outcome::Refused(why) => {
                    assert!(
                        at < tail,
                        "{system}: a flip at {at} is refused, but listed as unbound"
                    );
                    let short: String = why.chars().take(60).collect();
                    short
                }
            };
            *counted.entry(what).or_default() += 1;
        }
        eprintln!("{system}: {counted:#?}");
    }
}

/// Lengths and other small numbers of the encoding: few bytes of many, so that seeded positions seldom meet one.
#[test]
fn small_numbers_of_the_encoding_are_bound() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        let places = small_numbers(&sample.proof, SMALL_NUMBERS);
        for at in &places {
            let mut proof = sample.proof.clone();
            proof[*at] ^= 1;
            let said = outcome(verifier.as_ref(), &proof);
            assert!(!matches!(said, Outcome::Holds(_)), "{system} at {at}");
        }
        eprintln!(
            "{system}: {} small numbers changed by one, all refused",
            places.len()
        );
    }
}
