//! What stands behind the number of a proof type: one entry for each, made once and never changed.
//!
//! In: what the operator wrote in several places (`ProofTypeDefinition`), and the names of protocol.md section 9. Out:
//! `ProofTypes`, which everybody reads who has to know: proof engines, verifiers in this process, the API, the doctor. What
//! a database keeps of an entry is a `ProofTypeRecord`: a proof that was verified under another key, guest or version is a
//! proof of something else.
//!
//! | file | what it holds |
//! |---|---|
//! | `definition` | an entry, or part of one, as the operator writes it |
//! | `guest` | what a guest program commits to, by name |
//! | `record` | what makes an entry the same one: its digest, what is kept of it on disk, and how two differ |

mod definition;
mod guest;
mod record;

pub use definition::{DefinitionError, ProofTypeDefinition};
pub use guest::{GuestFamily, GuestFamilyError};
pub use record::{Difference, Judge, ProofTypeRecord, ProofTypeRecords};

use crate::{RevisionNames, revision_names::TypeNames};
use assay_types::{ProofType, Revision, Root};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

/// A guest program's verification key: its file, and the SHA-256 that the file must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationKey {
    file: Option<PathBuf>,
    sha256: Root,
}

impl VerificationKey {
    /// The file; `None` where another program has it and only its digest is known here.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The file's SHA-256.
    pub fn sha256(&self) -> Root {
        self.sha256
    }
}

/// How proofs of a type are judged, as far as it changes what stands behind its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JudgedBy {
    /// A proof node is asked, and by the type's name: so the name is part of what the number stands for.
    pub name: bool,
    /// The development engine is, with a seed of this digest (`dev_seed_digest`): such proofs prove nothing.
    pub dev: Option<Root>,
    /// Anything else is.
    pub other: bool,
}

/// SHA-256 of a seed of development proofs: proofs of one seed are none of another.
pub fn dev_seed_digest(seed: &str) -> Root {
    Root::from(<[u8; 32]>::from(Sha256::digest(seed)))
}

/// What stands behind a number: name, verifier, verification key, guest and version. Made with the settings, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofTypeEntry {
    proof_type: ProofType,
    /// For people.
    name: Option<String>,
    /// In both revisions, whichever hold.
    names: Option<TypeNames>,
    /// The name is more than a label: the operator's own, or what a proof node is asked by.
    name_binds: bool,
    system: Option<String>,
    key: Option<VerificationKey>,
    guest: Option<GuestFamily>,
    version: Option<String>,
    is_insecure: bool,
    dev_seed: Option<Root>,
}

impl ProofTypeEntry {
    /// The number.
    pub fn proof_type(&self) -> ProofType {
        self.proof_type
    }

    /// The name that provers and proof nodes have for it: the operator's, else that of protocol.md section 9; where two
    /// revisions hold on the network and have two, each with its revision.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The proof system: `sp1`, `zisk`, or another's name where somebody else verifies.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// The guest program's key.
    pub fn key(&self) -> Option<&VerificationKey> {
        self.key.as_ref()
    }

    /// What the guest program commits to.
    pub fn guest(&self) -> Option<&GuestFamily> {
        self.guest.as_ref()
    }

    /// The guest program's version, in its makers' words.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Whether its proofs prove nothing: development proofs, or a table of statements for a guest program.
    pub fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    /// What makes it this entry and no other; by whom its proofs are judged is for its caller to add.
    pub fn record(&self) -> ProofTypeRecord {
        ProofTypeRecord {
            name: self
                .names
                .as_ref()
                .filter(|_| self.name_binds)
                .and_then(TypeNames::to_text),
            system: self.system.clone(),
            key_sha256: self.key.as_ref().map(|key| key.sha256),
            guest: self.guest.as_ref().map(ToString::to_string),
            version: self.version.clone(),
            proves_nothing: self.is_insecure,
            dev_seed_sha256: self.dev_seed,
            ..ProofTypeRecord::default()
        }
    }

    /// SHA-256 of what makes it this entry: the same on nodes that hold the same for this number.
    pub fn digest(&self) -> Root {
        self.record().digest(self.proof_type)
    }
}

/// One line for people: `reth-sp1, sp1, key 0x…, guest output-sha256, version 1.2, entry 0x…`.
impl fmt::Display for ProofTypeEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name().unwrap_or("no name"))?;
        if let Some(system) = &self.system {
            write!(f, ", {system}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ", key {}", key.sha256)?;
        }
        if let Some(guest) = &self.guest {
            write!(f, ", guest {guest}")?;
        }
        if let Some(version) = &self.version {
            write!(f, ", version {version}")?;
        }
        if self.is_insecure {
            f.write_str(", its proofs prove nothing")?;
        }
        write!(f, ", entry {}", self.digest())
    }
}

/// Two settings that say different things of one number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "proof type {proof_type} is defined twice: {part} is {first_value:?} by --{first} and {second_value:?} by --{second}; a number \
     stands for one program"
)]
pub struct DefinedTwice {
    /// The number.
    pub proof_type: ProofType,
    /// Which part of the definition.
    pub part: &'static str,
    /// The setting that came first.
    pub first: &'static str,
    /// What it says.
    pub first_value: String,
    /// The other.
    pub second: &'static str,
    /// What that says.
    pub second_value: String,
}

/// The entries, one for each type that is verified, preferred first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProofTypes(Vec<ProofTypeEntry>);

impl ProofTypes {
    /// An entry for each of `types`, of what `definitions` say (each with the setting it comes from), named by `names`;
    /// `judged_by`: by what proofs of a type are judged.
    ///
    /// # Errors
    /// Where two definitions of one number say different things of the same part.
    pub fn new(
        types: &[ProofType],
        names: impl Into<RevisionNames>,
        definitions: &[(&'static str, ProofTypeDefinition)],
        judged_by: impl Fn(ProofType) -> JudgedBy,
    ) -> Result<Self, DefinedTwice> {
        let merged = merge(definitions)?;
        let names = names.into();
        let entry = |proof_type: &ProofType| {
            let proof_type = *proof_type;
            let defined = merged.get(&proof_type).cloned().unwrap_or_default();
            let judged = judged_by(proof_type);
            let only_dev = judged.dev.is_some() && !judged.name && !judged.other;
            let name_binds = defined.name.is_some() || judged.name;
            // Development proofs are no proofs of the program that has the name.
            let names = match only_dev {
                true => RevisionNames::none(),
                false => names.clone(),
            };
            let (label, named) = (names.label(proof_type), names.of_type(proof_type).to_text());
            let given = |name: &String| format!("{}:{name},{}:{name}", Revision::Alpha, Revision::Beta);
            let named = named.or_else(|| defined.name.as_ref().map(given));
            ProofTypeEntry {
                proof_type,
                names: named.as_deref().map(TypeNames::read),
                name: label.or(defined.name),
                name_binds,
                system: defined.system,
                key: defined.sha256.map(|sha256| VerificationKey {
                    file: defined.vk,
                    sha256,
                }),
                is_insecure: judged.dev.is_some()
                    || defined.guest.as_ref().is_some_and(GuestFamily::is_insecure),
                guest: defined.guest,
                version: defined.version,
                dev_seed: judged.dev,
            }
        };
        Ok(Self(types.iter().map(entry).collect()))
    }

    /// The entry of a number.
    pub fn get(&self, proof_type: ProofType) -> Option<&ProofTypeEntry> {
        self.0.iter().find(|entry| entry.proof_type == proof_type)
    }

    /// All of them, preferred first.
    pub fn iter(&self) -> impl Iterator<Item = &ProofTypeEntry> {
        self.0.iter()
    }

    /// What is kept of them on disk.
    pub fn records(&self) -> ProofTypeRecords {
        let records = self.0.iter().map(|entry| (entry.proof_type, entry.record()));
        ProofTypeRecords(records.collect())
    }
}

/// Definitions by number, each part said once or said the same.
pub fn merge(
    definitions: &[(&'static str, ProofTypeDefinition)],
) -> Result<BTreeMap<ProofType, ProofTypeDefinition>, DefinedTwice> {
    let mut merged: BTreeMap<ProofType, ProofTypeDefinition> = BTreeMap::new();
    let mut said: BTreeMap<(ProofType, &'static str), (&'static str, String)> = BTreeMap::new();
    for (source, definition) in definitions {
        let proof_type = definition.proof_type;
        for (part, value) in definition.parts().into_iter().filter(|(part, _)| *part != "type") {
            match said.get(&(proof_type, part)) {
                Some((first, first_value)) if *first_value != value => {
                    return Err(DefinedTwice {
                        proof_type,
                        part,
                        first,
                        first_value: first_value.clone(),
                        second: source,
                        second_value: value,
                    });
                }
                Some(_) => {}
                None => {
                    said.insert((proof_type, part), (source, value));
                }
            }
        }
        let into = merged.entry(proof_type).or_default();
        into.fill(definition);
    }
    Ok(merged)
}

#[cfg(test)]
mod tests;
