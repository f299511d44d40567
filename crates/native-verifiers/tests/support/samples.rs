//! The real proofs, and verifiers with their keys.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test support")]

use assay_native_verifiers::{ProgramKey, ProofSystem, SystemName};
use assay_types::Root;
use sha2::{Digest, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A real proof of a test program.
pub(crate) struct Sample {
    pub(crate) key: Vec<u8>,
    pub(crate) proof: Vec<u8>,
    pub(crate) public_values: Vec<u8>,
}

/// A file of `proofs` beside the vectors: those that `ASSAY_VECTORS` names, else `shared/vectors` beside the repository.
fn file(system: SystemName, name: &str) -> PathBuf {
    let vectors = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    vectors.join("../proofs").join(system.to_string()).join(name)
}

/// Where the sample's program key lies.
pub(crate) fn key_file(system: SystemName) -> PathBuf {
    file(system, "program_vk.bin")
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn sample(system: SystemName) -> Sample {
    Sample {
        key: read(&key_file(system)),
        proof: read(&file(system, "proof.bin")),
        public_values: read(&file(system, "public_values.bin")),
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
