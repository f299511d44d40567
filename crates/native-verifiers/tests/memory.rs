//! What decoding and verifying allocates at its peak. A binary of its own with one test: the peak is the process's.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "support/encoding.rs"]
mod encoding;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/outcome.rs"]
mod outcome;
#[path = "support/samples.rs"]
mod samples;

use assay_native_verifiers::SystemName;
use encoding::small_numbers;
use numbers::Numbers;
use outcome::{Outcome, outcome};
use peak_alloc::PeakAlloc;
use samples::{sample, with_key};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// `MAX_PROOF_SIZE`.
const LARGEST: usize = 4 << 20;
/// Bytes that one proof may take beside its own: bound of what a hostile one can ask for.
const MOST: usize = 96 << 20;
/// Lengths in a proof that are tried with other values.
const LENGTHS: usize = 120;

#[test]
fn no_bytes_take_much_more_memory_than_they_are() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        let mut numbers = Numbers(4);
        let noise: Vec<u8> = (0..LARGEST / 8)
            .flat_map(|_| numbers.next().to_le_bytes())
            .collect();
        let mut most = (0, String::new());
        let mut try_one = |what: String, bytes: &[u8]| {
            HEAP.reset_peak_usage();
            let before = HEAP.current_usage();
            let said = outcome(verifier.as_ref(), bytes);
            let grown = HEAP.peak_usage().saturating_sub(before);
            if what == "the proof" {
                assert_eq!(said, Outcome::Holds(sample.public_values.clone()));
                eprintln!("{system}: a proof takes {} KiB", grown >> 10);
            } else {
                assert!(!matches!(said, Outcome::Holds(_)), "{what}");
                if grown > most.0 {
                    most = (grown, what.clone());
                }
            }
            assert!(grown < MOST, "{system}, {what}: {} MiB", grown >> 20);
        };
        try_one("the proof".to_owned(), &sample.proof);
        for (what, bytes) in [
            ("zeros", vec![0; LARGEST]),
            ("ones", vec![0xff; LARGEST]),
            ("1 as 64 bits", 1u64.to_le_bytes().repeat(LARGEST / 8)),
            ("noise", noise),
        ] {
            try_one(what.to_owned(), &bytes);
        }
        // The proof up to a length, another length there, then zeros: lists of as many empty lists as fit, among others.
        for at in small_numbers(&sample.proof, LENGTHS) {
            let rest = (LARGEST - at - 8) as u64;
            for length in [1 << 62, 1 << 32, rest, rest / 4, rest / 8, rest / 16, rest / 48] {
                let mut bytes = sample.proof[..at].to_vec();
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.resize(LARGEST, 0);
                try_one(format!("a length of {length} at {at}"), &bytes);
            }
        }
        eprintln!(
            "{system}: at most {} KiB for anything else ({})",
            most.0 >> 10,
            most.1
        );
    }
}
