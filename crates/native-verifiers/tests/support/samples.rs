//! The real proofs, and numbers that come the same again.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support; each binary uses its part"
)]

use assay_native_verifiers::{ProgramKey, ProofSystem, SystemName};
use assay_types::Root;
use sha2::{Digest, Sha256};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A real proof of a test program.
pub(crate) struct Sample {
    pub(crate) system: SystemName,
    pub(crate) folder: PathBuf,
    pub(crate) key: Vec<u8>,
    pub(crate) proof: Vec<u8>,
    pub(crate) public_values: Vec<u8>,
}

/// `proofs` beside the vectors: those that `ASSAY_VECTORS` names, else `shared/vectors` beside the repository.
pub(crate) fn sample(system: SystemName) -> Sample {
    let vectors = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let folder = vectors.join("../proofs").join(system.to_string());
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    Sample {
        system,
        key: read("program_vk.bin"),
        proof: read("proof.bin"),
        public_values: read("public_values.bin"),
        folder,
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Root {
    Root::from(<[u8; 32]>::from(Sha256::digest(bytes)))
}

/// The system with these bytes as key, or why not.
pub(crate) fn with_key(system: SystemName, key: &[u8]) -> Result<Arc<dyn ProofSystem>, String> {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("key");
    std::fs::write(&path, key).unwrap();
    let key = ProgramKey::from_file(&path, sha256(key)).unwrap();
    system.with_key(&key).map_err(|error| error.to_string())
}

/// What a system says of bytes, whatever they state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Refused(String),
    Panicked,
    /// It verifies, with these public values.
    Holds(Vec<u8>),
}

pub(crate) fn outcome(system: &dyn ProofSystem, proof: &[u8]) -> Outcome {
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let opened = system.open(proof).map_err(|refusal| refusal.to_string())?;
        opened.verify().map_err(|refusal| refusal.to_string())?;
        Ok(opened.public_values().to_vec())
    }));
    match judged {
        Ok(Ok(public_values)) => Outcome::Holds(public_values),
        Ok(Err(why)) => Outcome::Refused(why),
        Err(_) => Outcome::Panicked,
    }
}

/// SplitMix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A byte that changes another by XOR.
    pub(crate) fn mask(&mut self) -> u8 {
        (self.next() % 255) as u8 + 1
    }
}

/// Where the public values lie in the proof: from where, how many bytes each takes there.
pub(crate) fn public_value_places(sample: &Sample) -> Vec<usize> {
    match sample.system {
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
