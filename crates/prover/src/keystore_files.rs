//! Which keystores a directory holds and where their passwords are, as validator clients lay them out:
//!
//! | client | keystores | passwords |
//! |---|---|---|
//! | Lighthouse | `validators/validator_definitions.yml`, `validators/0x…/voting-keystore.json` | `secrets/0x…`, or in the definitions |
//! | Lodestar | `keystores/0x…/voting-keystore.json` | `secrets/0x…` |
//! | Nimbus | `validators/0x…/keystore.json` | `secrets/0x…` |
//! | Teku | `keys/NAME.json` | `passwords/NAME.txt` |
//! | the deposit tool | `validator_keys/keystore-….json` | one, given as a file |

use assay_types::PublicKeyBytes;
use serde::{Deserialize, Deserializer};
use std::{
    io,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Keystores of one directory at most.
pub const MAX_KEYSTORES: usize = 1000;
/// Bytes of a password file at most.
const MAX_PASSWORD_BYTES: u64 = 4096;
/// Bytes of Lighthouse's definitions at most.
const MAX_DEFINITIONS_BYTES: u64 = 16 << 20;
const DEFINITIONS: &str = "validator_definitions.yml";
/// Names of keystores in a directory of their own.
const OWN_DIRECTORY: [&str; 2] = ["voting-keystore.json", "keystore.json"];
/// Directories beside the keystores' in which passwords are looked for where none is named.
const PASSWORD_DIRECTORIES: [&str; 2] = ["secrets", "passwords"];

/// Whether locks of other processes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locks {
    /// A keystore in use elsewhere is not used here.
    Respect,
    /// It is used all the same: the operator says so.
    Ignore,
}

/// Where keystores and passwords are.
#[derive(Debug, Clone)]
pub struct KeystorePlaces {
    /// The directory of the keystores, in any of the layouts.
    pub keystores: PathBuf,
    /// The directory of the passwords; `None`: `secrets` or `passwords` beside that of the keystores.
    pub secrets: Option<PathBuf>,
    /// One password for all that have none of their own.
    pub password_file: Option<PathBuf>,
    /// Whether locks count.
    pub locks: Locks,
}

/// A keystore file and what is known of its password.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// Named by Lighthouse's definitions.
    pub(crate) password_path: Option<PathBuf>,
    pub(crate) password: Option<Zeroizing<String>>,
}

/// Why the files could not be listed or read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The system says so.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// Larger than any such file.
    #[error("{0}: larger than {1} bytes")]
    TooLarge(PathBuf, u64),
    /// The definitions cannot be read.
    #[error("{0}: {1}")]
    Definitions(PathBuf, String),
    /// Nothing there.
    #[error("{0}: no keystores there")]
    None(PathBuf),
    /// Too much there.
    #[error("{0}: more than {MAX_KEYSTORES} keystores")]
    TooMany(PathBuf),
    /// No password for this one.
    #[error("no password: none of {0} is there, and no password file is given")]
    NoPassword(String),
}

#[derive(Deserialize)]
struct Definition {
    #[serde(default = "enabled")]
    enabled: bool,
    #[serde(rename = "type")]
    kind: Option<String>,
    voting_keystore_path: Option<PathBuf>,
    voting_keystore_password_path: Option<PathBuf>,
    #[serde(default, deserialize_with = "secret")]
    voting_keystore_password: Option<Zeroizing<String>>,
}

fn secret<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(d)?.map(Zeroizing::new))
}

fn enabled() -> bool {
    true
}

/// A file's text, bounded; zeroized when dropped.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FilesError> {
    use io::Read;
    let failed = |e| FilesError::Io(path.to_owned(), e);
    let file = std::fs::File::open(path).map_err(failed)?;
    // No reallocation leaves a copy behind: one byte more than allowed is all that is ever read.
    let length = file.metadata().map_err(failed)?.len().min(limit) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0)));
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(FilesError::TooLarge(path.to_owned(), limit));
    }
    Ok(bytes)
}

/// A password file: its text without the line's end.
fn read_password(path: &Path) -> Result<Zeroizing<String>, FilesError> {
    let bytes = read(path, MAX_PASSWORD_BYTES)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        FilesError::Io(
            path.to_owned(),
            io::Error::new(io::ErrorKind::InvalidData, "no UTF-8"),
        )
    })?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

impl KeystorePlaces {
    /// The keystores of the directory, in the order of their paths.
    pub(crate) fn list(&self) -> Result<Vec<Found>, FilesError> {
        let definitions = self.keystores.join(DEFINITIONS);
        let mut found = if definitions.is_file() {
            self.defined(&definitions)?
        } else {
            self.listed()?
        };
        found.sort_by(|a, b| a.path.cmp(&b.path));
        match found.len() {
            0 => Err(FilesError::None(self.keystores.clone())),
            1..=MAX_KEYSTORES => Ok(found),
            _ => Err(FilesError::TooMany(self.keystores.clone())),
        }
    }

    /// What Lighthouse's definitions name: enabled keystores on this machine.
    fn defined(&self, definitions: &Path) -> Result<Vec<Found>, FilesError> {
        let wrong = |why: String| FilesError::Definitions(definitions.to_owned(), why);
        let bytes = read(definitions, MAX_DEFINITIONS_BYTES)?;
        let text = std::str::from_utf8(&bytes).map_err(|e| wrong(e.to_string()))?;
        let entries: Vec<Definition> = serde_saphyr::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let local = |d: &Definition| d.enabled && d.kind.as_deref().is_none_or(|k| k == "local_keystore");
        entries
            .into_iter()
            .filter(local)
            .map(|d| {
                let path = d
                    .voting_keystore_path
                    .ok_or_else(|| wrong("a local keystore without voting_keystore_path".to_owned()))?;
                Ok(Found {
                    path: self.keystores.join(path),
                    password_path: d.voting_keystore_password_path.map(|p| self.keystores.join(p)),
                    password: d.voting_keystore_password,
                })
            })
            .collect()
    }

    /// Keystores in directories of their own, and keystores beside each other.
    fn listed(&self) -> Result<Vec<Found>, FilesError> {
        let failed = |e| FilesError::Io(self.keystores.clone(), e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.keystores).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if path.is_dir() {
                found.extend(OWN_DIRECTORY.iter().map(|n| path.join(n)).find(|p| p.is_file()));
            } else if name.ends_with(".json") && !name.starts_with("deposit_data") && path.is_file() {
                found.push(path);
            }
            if found.len() > MAX_KEYSTORES {
                break;
            }
        }
        let unnamed = |path| Found {
            path,
            password_path: None,
            password: None,
        };
        Ok(found.into_iter().map(unnamed).collect())
    }

    /// The password of a keystore: its own, else the one for all.
    pub(crate) fn password(
        &self,
        found: &Found,
        public_key: Option<PublicKeyBytes>,
    ) -> Result<Zeroizing<String>, FilesError> {
        if let Some(password) = &found.password {
            return Ok(password.clone());
        }
        if let Some(path) = &found.password_path {
            return read_password(path);
        }
        let mut looked = Vec::new();
        for directory in self.password_directories() {
            for name in password_names(&found.path, public_key) {
                let path = directory.join(name);
                if path.is_file() {
                    return read_password(&path);
                }
                looked.push(path.display().to_string());
            }
        }
        match &self.password_file {
            Some(path) => read_password(path),
            None => Err(FilesError::NoPassword(looked.join(", "))),
        }
    }

    fn password_directories(&self) -> Vec<PathBuf> {
        match (&self.secrets, self.keystores.parent()) {
            (Some(directory), _) => vec![directory.clone()],
            (None, Some(parent)) => PASSWORD_DIRECTORIES.map(|name| parent.join(name)).into(),
            (None, None) => Vec::new(),
        }
    }
}

/// Names under which a keystore's password may be kept.
fn password_names(path: &Path, public_key: Option<PublicKeyBytes>) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(key) = public_key {
        names.push(format!("0x{}", hex::encode(key.0)));
        names.push(hex::encode(key.0));
    }
    let stem = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    names.push(format!("{stem}.txt"));
    names.push(stem);
    names
}
