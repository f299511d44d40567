//! What makes an entry the same one: its digest, what is kept of it on disk, and how two differ.

use crate::revision_names::TypeNames;
use assay_types::{ProofType, Root};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The part that is compared by revision.
const NAME: &str = "the name";
/// The part that is hashed where it is said alone: digests of all other entries are as they were without it.
const DEV_SEED: &str = "the SHA-256 of the development proofs' seed";
const DIGEST_DOMAIN: &[u8] = b"assay proof type entry";

/// By whom proofs of a type are judged: no part of what the number stands for, but what vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judge {
    /// A verifier in this process, under the key.
    Native,
    /// A proof node, by the type's name.
    ProofNode,
    /// The Engine API's proof methods, by the number.
    EngineApi,
    /// The development engine.
    Dev,
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "a verifier in this process",
            Self::ProofNode => "a proof node",
            Self::EngineApi => "the Engine API's proof methods",
            Self::Dev => "the development engine",
        })
    }
}

/// What is kept of an entry beside the proofs that were verified under it. `None`: not said so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProofTypeRecord {
    /// The name, where proofs are judged by it or the operator gave it: `alpha:NAME,beta:NAME`, as far as there is one; kept
    /// by earlier versions, a name alone.
    pub name: Option<String>,
    /// The proof system.
    pub system: Option<String>,
    /// SHA-256 of the verification key's file.
    pub key_sha256: Option<Root>,
    /// What the guest commits to.
    pub guest: Option<String>,
    /// The guest's version.
    pub version: Option<String>,
    /// Development proofs, or a table of statements in place of a guest.
    pub proves_nothing: bool,
    /// SHA-256 of the seed, where the development engine judges: another seed's proofs are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dev_seed_sha256: Option<Root>,
    /// By whom such proofs are judged; empty: by nobody, or it was not recorded. No part of the digest.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub judged_by: BTreeSet<Judge>,
}

/// A part that two entries of one number have otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which part.
    pub part: &'static str,
    /// What it was.
    pub was: String,
    /// What it is.
    pub is: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, was, is } = self;
        write!(f, "{part} was {was} and is {is}")
    }
}

impl ProofTypeRecord {
    fn parts(&self) -> [(&'static str, Option<String>); 7] {
        let worth = match self.proves_nothing {
            true => "proofs that prove nothing",
            false => "proofs of execution",
        };
        [
            (NAME, self.name.clone()),
            ("the system", self.system.clone()),
            (
                "the verification key's SHA-256",
                self.key_sha256.map(|digest| digest.to_string()),
            ),
            ("the guest", self.guest.clone()),
            ("the version", self.version.clone()),
            ("what it stands for", Some(worth.to_owned())),
            (DEV_SEED, self.dev_seed_sha256.map(|digest| digest.to_string())),
        ]
    }

    /// Where `now` contradicts this: a part that both say, otherwise. What only one of them says is no contradiction, but
    /// where somebody else judges now and nothing says that it is under the key that was recorded.
    pub fn differences(&self, now: &Self) -> Vec<Difference> {
        let pairs = self.parts().into_iter().zip(now.parts());
        let parts = pairs.filter_map(|((part, was), (_, is))| {
            let (was, is) = (was?, is?);
            // A name holds for a revision: that another revision has another is no contradiction.
            let agree = part == NAME && TypeNames::read(&was).agrees_with(&TypeNames::read(&is));
            (was != is && !agree).then_some(Difference { part, was, is })
        });
        let lost = self
            .key_sha256
            .filter(|_| now.key_sha256.is_none())
            .and_then(|key| {
                let Difference { part, was, is } = self.other_judges(now)?;
                Some(Difference {
                    part,
                    was: format!("{was} under the key {key}"),
                    is: format!("{is}, under no key that is said (--proof-type says it, by sha256=)"),
                })
            });
        parts.chain(lost).collect()
    }

    /// Where others judge by `now` than did by this.
    pub fn other_judges(&self, now: &Self) -> Option<Difference> {
        let (was, is) = (&self.judged_by, &now.judged_by);
        let shown = |judges: &BTreeSet<Judge>| {
            let all: Vec<String> = judges.iter().map(ToString::to_string).collect();
            all.join(" and ")
        };
        let is_other = was != is && !was.is_empty() && !is.is_empty();
        is_other.then(|| Difference {
            part: "who judges its proofs",
            was: shown(was),
            is: shown(is),
        })
    }

    /// This, with what only `before` says: a part once said stays said.
    pub fn with(self, before: Self) -> Self {
        Self {
            name: match (self.name, before.name) {
                (Some(now), Some(before)) => TypeNames::read(&now).with(TypeNames::read(&before)).to_text(),
                (now, before) => now.or(before),
            },
            system: self.system.or(before.system),
            key_sha256: self.key_sha256.or(before.key_sha256),
            guest: self.guest.or(before.guest),
            version: self.version.or(before.version),
            proves_nothing: self.proves_nothing,
            dev_seed_sha256: self.dev_seed_sha256.or(before.dev_seed_sha256),
            judged_by: match self.judged_by.is_empty() {
                true => before.judged_by,
                false => self.judged_by,
            },
        }
    }

    /// SHA-256 over the number and every part, each with its length.
    pub fn digest(&self, proof_type: ProofType) -> Root {
        let mut hash = Sha256::new()
            .chain_update(DIGEST_DOMAIN)
            .chain_update([proof_type]);
        let said = |(part, value): &(&str, Option<String>)| *part != DEV_SEED || value.is_some();
        for (_, value) in self.parts().into_iter().filter(said) {
            // A part that is not said is another thing than an empty one.
            hash.update([u8::from(value.is_some())]);
            let value = value.unwrap_or_default();
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        Root::from(<[u8; 32]>::from(hash.finalize()))
    }
}

/// Records by number, as a database keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProofTypeRecords(pub BTreeMap<ProofType, ProofTypeRecord>);

impl ProofTypeRecords {
    /// The name they are kept under.
    pub const NAME: &str = "proof-types";

    /// From what was kept.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("the record of proof types: {error}"))
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// To be kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Numbers of which `now` says otherwise than this.
    pub fn differences(&self, now: &Self) -> Vec<(ProofType, Vec<Difference>)> {
        let both = self.0.iter().filter_map(|(proof_type, before)| {
            let differences = before.differences(now.0.get(proof_type)?);
            (!differences.is_empty()).then_some((*proof_type, differences))
        });
        both.collect()
    }

    /// Numbers whose proofs others judge by `now`.
    pub fn other_judges(&self, now: &Self) -> Vec<(ProofType, Difference)> {
        let both = self.0.iter().filter_map(|(proof_type, before)| {
            let other = before.other_judges(now.0.get(proof_type)?)?;
            Some((*proof_type, other))
        });
        both.collect()
    }

    /// `now`, with what only this says: numbers that are not verified any more, and parts that are not said any more.
    pub fn updated_with(mut self, now: Self) -> Self {
        for (proof_type, record) in now.0 {
            let before = self.0.remove(&proof_type).unwrap_or_default();
            self.0.insert(proof_type, record.with(before));
        }
        self
    }
}
