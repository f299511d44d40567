//! A table of claims in place of a guest program, for tests: real proofs of programs that know nothing of payloads are
//! said to stand for payloads. Nothing about execution follows from it.

use crate::judgement::{NotValid, Refusal};
use assay_types::Root;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// Largest table, in bytes.
pub const MAX_STATEMENTS_FILE: u64 = 1 << 20;

/// The file: a line for each claim with the request root and the SHA-256 of the public values that are to stand for it,
/// both as hex; `#` begins a comment. It is read anew for every proof, since roots of payloads are not known before.
#[derive(Debug, Clone)]
pub struct StatementTable(PathBuf);

impl StatementTable {
    /// A table that can be read now.
    pub fn new(path: &Path) -> Result<Self, String> {
        let table = Self(path.to_owned());
        table.read().map(|_| table)
    }

    pub(crate) fn check(&self, root: &Root, public_values: &[u8]) -> Result<(), NotValid> {
        let digest = Root::from(<[u8; 32]>::from(Sha256::digest(public_values)));
        // A table that cannot be read says nothing about the proof.
        let claims = self.read().map_err(NotValid::Undecided)?;
        if claims.contains(&(*root, digest)) {
            Ok(())
        } else {
            Err(Refusal::OtherStatement.into())
        }
    }

    fn read(&self) -> Result<Vec<(Root, Root)>, String> {
        let named = |why: String| format!("statements {}: {why}", self.0.display());
        let mut text = String::new();
        File::open(&self.0)
            .and_then(|file| file.take(MAX_STATEMENTS_FILE + 1).read_to_string(&mut text))
            .map_err(|error| named(error.to_string()))?;
        if text.len() as u64 > MAX_STATEMENTS_FILE {
            return Err(named(format!("larger than {MAX_STATEMENTS_FILE} bytes")));
        }
        let lines = text.lines().enumerate().map(|(at, line)| {
            let line = line.split('#').next().unwrap_or_default().trim();
            (at, line)
        });
        lines
            .filter(|(_, line)| !line.is_empty())
            .map(|(at, line)| {
                let claim = line
                    .split_once(char::is_whitespace)
                    .and_then(|(root, digest)| Some((root.parse().ok()?, digest.trim().parse().ok()?)));
                let wrong = || {
                    named(format!(
                        "line {} is not a request root and the SHA-256 of public values",
                        at + 1
                    ))
                };
                claim.ok_or_else(wrong)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_what_the_table_claims_and_what_it_claims_now() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("statements");
        assert!(StatementTable::new(&path).unwrap_err().contains("statements"));
        let digest = hex::encode(Sha256::digest(b"values"));
        let (one, two) = (Root::from([1; 32]), Root::from([2; 32]));
        std::fs::write(&path, format!("# claims\n\n  {one}  0x{digest} # test\n")).unwrap();
        let table = StatementTable::new(&path).unwrap();
        table.check(&one, b"values").unwrap();
        assert_eq!(table.check(&two, b"values"), Err(Refusal::OtherStatement.into()));
        assert_eq!(table.check(&one, b"valuez"), Err(Refusal::OtherStatement.into()));
        std::fs::write(&path, format!("{two} 0x{digest}\n")).unwrap();
        table.check(&two, b"values").unwrap();
        assert_eq!(table.check(&one, b"values"), Err(Refusal::OtherStatement.into()));
        // No verdict from what cannot be read.
        for text in ["0x01 0x02", "nothing", &"#".repeat(1 << 21)] {
            std::fs::write(&path, text).unwrap();
            assert!(
                matches!(table.check(&two, b"values"), Err(NotValid::Undecided(_))),
                "{text:.20}"
            );
            assert!(StatementTable::new(&path).is_err());
        }
    }
}
