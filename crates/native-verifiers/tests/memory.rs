//! What decoding and verifying takes at its peak. A binary of its own: the peak is the process's.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "support/samples.rs"]
mod samples;

use assay_native_verifiers::SystemName;
use samples::{Numbers, Outcome, outcome, sample, with_key};

/// `MAX_PROOF_SIZE`.
const LARGEST: usize = 4 << 20;
/// Bytes that one proof may take beside its own: bound of what a hostile one can ask for.
const MOST: u64 = 96 << 20;

/// Peak of resident memory in bytes, since the last reset.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib << 10
}

fn reset() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

#[test]
fn no_bytes_take_much_more_memory_than_they_are() {
    for system in SystemName::ALL {
        let sample = sample(system);
        let verifier = with_key(system, &sample.key).unwrap();
        let mut numbers = Numbers(4);
        let mut inputs = vec![
            ("the proof".to_owned(), sample.proof.clone()),
            ("zeros".to_owned(), vec![0; LARGEST]),
            ("ones".to_owned(), vec![0xff; LARGEST]),
            ("1 as 64 bits".to_owned(), 1u64.to_le_bytes().repeat(LARGEST / 8)),
            (
                "noise".to_owned(),
                (0..LARGEST / 8)
                    .flat_map(|_| numbers.next().to_le_bytes())
                    .collect(),
            ),
        ];
        // The proof up to some place, a length there, then zeros: lists of as many empty lists as fit.
        for round in 0..200 {
            let at = if round < 100 {
                4 + numbers.below(2000)
            } else {
                numbers.below(sample.proof.len())
            };
            let mut bytes = sample.proof[..at].to_vec();
            let length = [1u64 << 62, 1 << 32, (LARGEST as u64 - at as u64) / 8 - 2][numbers.below(3)];
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.resize(LARGEST, 0);
            inputs.push((format!("a length of {length} at {at}"), bytes));
        }
        // What the allocator keeps from one input to the next counts too.
        reset();
        let before = peak();
        let mut most = (0, String::new());
        for (what, bytes) in inputs {
            reset();
            let said = outcome(verifier.as_ref(), &bytes);
            let grown = peak().saturating_sub(before);
            assert_eq!(matches!(said, Outcome::Holds(_)), what == "the proof", "{what}");
            assert!(grown < MOST, "{system}, {what}: {} MiB", grown >> 20);
            if what == "the proof" {
                eprintln!("{system}: a proof takes {} KiB", grown >> 10);
            } else if grown > most.0 {
                most = (grown, what);
            }
        }
        eprintln!(
            "{system}: at most {} KiB for anything else ({})",
            most.0 >> 10,
            most.1
        );
    }
}
