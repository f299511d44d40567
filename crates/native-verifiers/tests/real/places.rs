//! Where things lie in a real proof (specs/native-verifiers.md).

use crate::{numbers::Numbers, samples::Sample};
use assay_native_verifiers::SystemName;

impl Numbers {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A byte that changes another by XOR.
    pub(crate) fn mask(&mut self) -> u8 {
        (self.next() % 255) as u8 + 1
    }
}

/// Where each byte of the public values lies in the proof.
pub(crate) fn public_value_places(system: SystemName, sample: &Sample) -> Vec<usize> {
    match system {
        // After the proof: a length, the bytes, the version's length, the version.
        SystemName::Sp1 => {
            let values = &sample.public_values;
            let at = sample
                .proof
                .windows(values.len())
                .rposition(|window| window == values)
                .unwrap();
            (at..at + values.len()).collect()
        }
        // After the proof's words: the number of public words, the key's four, then four bytes of output in eight.
        SystemName::Zisk => {
            let words = u64::from_le_bytes(sample.proof[..8].try_into().unwrap()) as usize;
            let at = 8 + 8 * words + 8 + 32;
            (0..sample.public_values.len())
                .map(|byte| at + byte / 4 * 8 + byte % 4)
                .collect()
        }
    }
}
