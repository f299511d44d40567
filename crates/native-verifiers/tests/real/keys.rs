//! Key files that are none, as an operator may name them: each is told by its name and ends the start.

use crate::samples::{sample, sha256};
use assay_native_verifiers::{SystemName, VerifierSetting};
use std::path::Path;

fn setting(system: SystemName, vk: &Path, digest_of: &[u8]) -> VerifierSetting {
    let line = format!(
        "5:{system}:vk={}:sha256={}:guest=output",
        vk.display(),
        sha256(digest_of)
    );
    line.parse().unwrap()
}

#[test]
fn a_key_file_that_is_none_says_why() {
    let home = tempfile::tempdir().unwrap();
    for system in SystemName::ALL {
        let key = sample(system).key;
        let path = home.path().join(format!("{system}.vk"));
        let load = |contents: &[u8], digest_of: &[u8]| {
            std::fs::write(&path, contents).unwrap();
            setting(system, &path, digest_of)
                .load(1, false)
                .map(drop)
                .map_err(|error| error.to_string())
        };
        assert_eq!(load(&key, &key), Ok(()));
        let mut other = key.clone();
        other[0] ^= 1;
        for (contents, says) in [(other, "has SHA-256"), (key[..31].to_vec(), "has SHA-256")] {
            let said = load(&contents, &key).unwrap_err();
            assert!(said.contains(says), "{system}, {says}: {said}");
        }
        // With the digest that belongs to them.
        let hex = format!("0x{}\n", hex::encode(&key)).into_bytes();
        let none = |length: usize| format!("a program key of {system} has 32 bytes, this one {length}");
        for (contents, says) in [
            (key[..31].to_vec(), none(31)),
            (Vec::new(), none(0)),
            (hex.clone(), none(hex.len())),
            (vec![0xff; 32], "not elements of the field".to_owned()),
            (vec![0; 1 << 20], "not a program key".to_owned()),
        ] {
            let said = load(&contents, &contents).unwrap_err();
            assert!(said.contains(&says), "{system}, {says}: {said}");
        }
        std::fs::remove_file(&path).unwrap();
        let said = setting(system, &path, &key)
            .load(1, false)
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(said.contains("cannot be read") && said.contains(".vk"), "{said}");
    }
}
