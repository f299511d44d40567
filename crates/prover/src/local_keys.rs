//! The keys of a directory, and signing with them.

use crate::{
    key_signer::{KeyError, KeySigner, SigningMessage},
    keystore::{Keystore, KeystoreError, MAX_KEYSTORE_BYTES},
    keystore_files::{FilesError, Found, KeystorePlaces, Locks, read},
    lock_file,
};
use assay_types::{PublicKeyBytes, SecretKey, SignatureBytes};
use async_trait::async_trait;
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

/// What is wrong with one keystore.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    /// No file, or no password.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// No key in it.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// Another process has it.
    #[error("in use by another process (lock {0}): stop it, or ignore locks")]
    Locked(PathBuf),
    /// The same key twice.
    #[error("holds the key of {0} again")]
    Duplicate(PathBuf),
}

/// Keys that could not be loaded: all problems at once, so that an operator need not find them one by one.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The directory itself.
    #[error(transparent)]
    Directory(#[from] FilesError),
    /// Some of its keystores.
    #[error("{}", list(.0))]
    Keystores(Vec<(PathBuf, KeyProblem)>),
}

fn list(problems: &[(PathBuf, KeyProblem)]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|(path, why)| format!("{}: {why}", path.display()))
        .collect();
    lines.join("\n")
}

/// Secret keys by public key. They are zeroized when dropped and printed nowhere.
#[derive(Clone)]
pub struct LocalKeys(Arc<BTreeMap<PublicKeyBytes, SecretKey>>);

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl LocalKeys {
    /// Decrypts every keystore, one after the other: seconds each. Off the async threads. One that cannot be used is an
    /// error: a prover that silently lacks a key misses duties.
    pub fn load(places: &KeystorePlaces) -> Result<Self, LoadError> {
        let mut keys = BTreeMap::new();
        let mut from: BTreeMap<PublicKeyBytes, PathBuf> = BTreeMap::new();
        let mut problems = Vec::new();
        for found in places.list()? {
            match load_one(places, &found) {
                Ok((public_key, _)) if from.contains_key(&public_key) => {
                    let first = from.get(&public_key).cloned().unwrap_or_default();
                    problems.push((found.path, KeyProblem::Duplicate(first)));
                }
                Ok((public_key, key)) => {
                    keys.insert(public_key, key);
                    from.insert(public_key, found.path);
                }
                Err(problem) => problems.push((found.path, problem)),
            }
        }
        if problems.is_empty() {
            return Ok(Self(Arc::new(keys)));
        }
        Err(LoadError::Keystores(problems))
    }

    /// From keys in hand.
    pub fn from_keys(keys: impl IntoIterator<Item = SecretKey>) -> Self {
        let named = keys.into_iter().map(|key| (key.public_key().to_bytes(), key));
        Self(Arc::new(named.collect()))
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty, reason = "a directory without keys is an error")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Their public keys.
    pub fn public_keys(&self) -> Vec<PublicKeyBytes> {
        self.0.keys().copied().collect()
    }
}

fn load_one(places: &KeystorePlaces, found: &Found) -> Result<(PublicKeyBytes, SecretKey), KeyProblem> {
    if places.locks == Locks::Respect
        && let Some(lock) = lock_file::held_by_another(&found.path)
    {
        return Err(KeyProblem::Locked(lock));
    }
    let keystore = Keystore::from_json(&read(&found.path, MAX_KEYSTORE_BYTES)?)?;
    let password = places.password(found, keystore.public_key())?;
    let key = keystore.decrypt(&password)?;
    Ok((key.public_key().to_bytes(), key))
}

#[async_trait]
impl KeySigner for LocalKeys {
    fn name(&self) -> &str {
        "keystores"
    }

    async fn public_keys(&self) -> Result<Vec<PublicKeyBytes>, KeyError> {
        Ok(LocalKeys::public_keys(self))
    }

    async fn sign(&self, key: &PublicKeyBytes, message: &SigningMessage) -> Result<SignatureBytes, KeyError> {
        let key = self.0.get(key).ok_or(KeyError::NoKey)?;
        Ok(key.sign(&message.signing_root))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::keystore::tests::cheap;
    use std::{fs, path::Path};

    fn secret(n: u8) -> [u8; 32] {
        [n; 32]
    }

    fn public(n: u8) -> PublicKeyBytes {
        SecretKey::from_bytes(&secret(n)).unwrap().public_key().to_bytes()
    }

    fn named(n: u8) -> String {
        format!("0x{}", hex::encode(public(n).0))
    }

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn keystore(n: u8, password: &str) -> String {
        cheap(&secret(n), password, n.is_multiple_of(2)).to_string()
    }

    fn places(root: &Path, keystores: &str) -> KeystorePlaces {
        KeystorePlaces {
            keystores: root.join(keystores),
            secrets: None,
            password_file: None,
            locks: Locks::Respect,
        }
    }

    fn problems(places: &KeystorePlaces) -> String {
        LocalKeys::load(places).unwrap_err().to_string()
    }

    #[test]
    fn every_clients_layout() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        let both = |keys: LocalKeys, what: &str| {
            let mut expected = vec![public(1), public(2)];
            expected.sort();
            assert_eq!(keys.public_keys(), expected, "{what}");
        };
        // Directories by public key, secrets beside (Lighthouse without definitions, Lodestar, Nimbus).
        for (at, file) in [("a", "voting-keystore.json"), ("b", "keystore.json")] {
            for n in [1, 2] {
                write(
                    &root.join(at).join("validators").join(named(n)).join(file),
                    &keystore(n, &format!("pw{n}")),
                );
                write(&root.join(at).join("secrets").join(named(n)), &format!("pw{n}\n"));
            }
            both(
                LocalKeys::load(&places(&root.join(at), "validators")).unwrap(),
                file,
            );
        }
        // Flat, a password each (Teku).
        for n in [1, 2] {
            write(
                &root.join(format!("t/keys/key{n}.json")),
                &keystore(n, &format!("pw{n}")),
            );
            write(
                &root.join(format!("t/passwords/key{n}.txt")),
                &format!("pw{n}\r\n"),
            );
        }
        both(LocalKeys::load(&places(&root.join("t"), "keys")).unwrap(), "teku");
        // Flat, one password (the deposit tool).
        for n in [1, 2] {
            write(
                &root.join(format!("d/keystore-m_{n}.json")),
                &keystore(n, "one for all"),
            );
        }
        write(&root.join("d/deposit_data-1.json"), "[]");
        write(&root.join("pw"), "one for all");
        let mut deposit = places(root, "d");
        deposit.password_file = Some(root.join("pw"));
        both(LocalKeys::load(&deposit).unwrap(), "deposit tool");
        // Lighthouse's definitions: what is enabled and local.
        let definitions = format!(
            "---\n- enabled: true\n  voting_public_key: \"{}\"\n  type: local_keystore\n  voting_keystore_path: {}\n  \
             voting_keystore_password_path: {}\n- enabled: true\n  type: local_keystore\n  voting_keystore_path: \
             elsewhere/x.json\n  voting_keystore_password: \"pw2\"\n- enabled: false\n  type: local_keystore\n  \
             voting_keystore_path: none.json\n- enabled: true\n  type: web3signer\n  url: \"https://127.0.0.1\"\n",
            named(1),
            root.join("a/validators")
                .join(named(1))
                .join("voting-keystore.json")
                .display(),
            root.join("a/secrets").join(named(1)).display(),
        );
        write(&root.join("l/validator_definitions.yml"), &definitions);
        write(&root.join("l/elsewhere/x.json"), &keystore(2, "pw2"));
        both(LocalKeys::load(&places(root, "l")).unwrap(), "definitions");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once_with_its_file() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        let at = |name: &str| root.join("k").join(name);
        write(&at("a-good.json"), &keystore(1, "pw"));
        write(&at("b-same.json"), &keystore(1, "pw"));
        write(&at("c-password.json"), &keystore(2, "another"));
        write(&at("d-cut.json"), &keystore(3, "pw")[..200]);
        write(&at("e-locked.json"), &keystore(4, "pw"));
        write(&at("e-locked.json.lock"), &std::process::id().to_string());
        write(&at("f-large.json"), &" ".repeat(70_000));
        write(&at("g-none.json"), &keystore(5, "pw"));
        write(&root.join("passwords/g-none.txt"), "not this one");
        write(&root.join("pw"), "pw");
        let mut places = places(root, "k");
        places.password_file = Some(root.join("pw"));
        let all = problems(&places);
        let lines: Vec<&str> = all.lines().collect();
        assert_eq!(lines.len(), 6, "{all}");
        for (line, name, says) in [
            (0, "b-same", "a-good.json again"),
            (1, "c-password", "wrong password"),
            (2, "d-cut", "cut off"),
            (3, "e-locked", "in use by another process"),
            (4, "f-large", "larger than 65536"),
            (5, "g-none", "wrong password"),
        ] {
            assert!(
                lines[line].contains(name) && lines[line].contains(says),
                "{says}: {}",
                lines[line]
            );
            assert!(!lines[line].contains("another\""), "no password in an error");
        }
        places.password_file = None;
        let all = problems(&places);
        assert!(
            all.contains("no password: none of ") && all.contains("secrets/0x"),
            "{all}"
        );
        let none = self::places(root, "nowhere");
        assert!(problems(&none).contains("nowhere"));
        fs::create_dir(root.join("empty")).unwrap();
        assert!(problems(&self::places(root, "empty")).contains("no keystores there"));
        write(&root.join("y/validator_definitions.yml"), "- enabled: [");
        assert!(problems(&self::places(root, "y")).contains("validator_definitions.yml"));
    }

    #[test]
    fn locks_can_be_ignored() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("k/a.json");
        write(&path, &keystore(1, "pw"));
        write(
            &home.path().join("k/a.json.lock"),
            &std::process::id().to_string(),
        );
        write(&home.path().join("secrets/a"), "pw");
        let mut places = places(home.path(), "k");
        assert!(LocalKeys::load(&places).is_err());
        places.locks = Locks::Ignore;
        assert_eq!(LocalKeys::load(&places).unwrap().public_keys(), [public(1)]);
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = LocalKeys::from_keys([SecretKey::from_bytes(&secret(1)).unwrap()]);
        let shown = format!("{keys:?}");
        assert!(!shown.contains("0101") && shown.contains(&named(1)), "{shown}");
    }
}
