//! The key of a guest program: a file, and the SHA-256 it must have.

use assay_types::Root;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Largest file that is read as a key; those known have 32 bytes.
const MAX_KEY_FILE: u64 = 64 * 1024;

/// Why a key was not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is not there or cannot be read.
    #[error("program key {0} cannot be read: {1}")]
    Read(PathBuf, std::io::Error),
    /// Far larger than any key.
    #[error("{0} is larger than {MAX_KEY_FILE} bytes: not a program key")]
    TooLarge(PathBuf),
    /// Another file than the one the operator checked.
    #[error("program key {path} has SHA-256 {found}, not {expected} as the settings say: not used")]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// As configured.
        expected: Root,
        /// What the file has.
        found: Root,
    },
}

/// The bytes of a program key that has the digest it was said to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramKey(Vec<u8>);

impl ProgramKey {
    /// Reads `path` and holds it against `sha256`, which the operator has from where the guest program was published.
    pub fn from_file(path: &Path, sha256: Root) -> Result<Self, KeyError> {
        let unreadable = |error| KeyError::Read(path.to_owned(), error);
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_KEY_FILE + 1).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        if bytes.len() as u64 > MAX_KEY_FILE {
            return Err(KeyError::TooLarge(path.to_owned()));
        }
        let found = Root::from(<[u8; 32]>::from(Sha256::digest(&bytes)));
        if found != sha256 {
            return Err(KeyError::OtherFile {
                path: path.to_owned(),
                expected: sha256,
                found,
            });
        }
        Ok(Self(bytes))
    }

    /// The key's bytes, as the proof system encodes them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_the_file_that_was_checked_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key.bin");
        let sha256 = Root::from(<[u8; 32]>::from(Sha256::digest([7; 32])));
        let missing = ProgramKey::from_file(&path, sha256).unwrap_err().to_string();
        assert!(missing.contains("key.bin cannot be read"), "{missing}");

        std::fs::write(&path, [7; 32]).unwrap();
        assert_eq!(ProgramKey::from_file(&path, sha256).unwrap().as_bytes(), [7; 32]);
        for at in 0..32 {
            let mut other = [7; 32];
            other[at] ^= 1;
            std::fs::write(&path, other).unwrap();
            let error = ProgramKey::from_file(&path, sha256).unwrap_err().to_string();
            assert!(error.contains(&sha256.to_string()), "{error}");
        }
        std::fs::write(&path, vec![7; 64 * 1024 + 1]).unwrap();
        assert!(matches!(
            ProgramKey::from_file(&path, sha256),
            Err(KeyError::TooLarge(_))
        ));
        assert!(matches!(
            ProgramKey::from_file(home.path(), sha256),
            Err(KeyError::Read(..))
        ));
    }
}
