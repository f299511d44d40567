//! The shape of every named container, by fork, preset, revision and form.
//!
//! In: a name of protocol.md section 2 or of the consensus specs, and a [`ContainerContext`]. Out: its [`Schema`].
//!
//! | file | which containers |
//! |---|---|
//! | `limits` | the presets' lengths and limits |
//! | `operations` | what blocks carry: attestations, slashings, deposits, exits, in their form at each fork |
//! | `payload` | execution payloads, their headers and requests, `NewPayloadRequest` |
//! | `block` | block bodies of every fork, the Gloas bid and envelope |
//! | `proof` | the EIP-8025 containers of both revisions |
//!
//! Sources: consensus-specs specs/{phase0,altair,bellatrix,capella,deneb,electra,fulu,gloas}/beacon-chain.md; for Gloas
//! EIP-7688 says which are progressive, EIP-8282 adds the builder requests. Checked against real blocks' roots.

mod block;
mod limits;
mod operations;
mod payload;
mod proof;
#[cfg(test)]
mod tests;

pub use limits::Limits;

use crate::{
    fork::{ForkName, NewPayloadRequestForm, Revision},
    proof::SszError,
    schema::{Field, Schema},
    spec::{ProofDataForm, Spec},
};

/// What a shape depends on besides the container's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerContext {
    /// The fork whose containers are meant.
    pub fork: ForkName,
    /// The preset's lengths and limits.
    pub limits: Limits,
    /// Which state of the EIP-8025 texts holds.
    pub revision: Revision,
    /// How a Gloas `NewPayloadRequest` merkleises.
    pub form: NewPayloadRequestForm,
    /// How `proof_data` merkleises.
    pub proof_data_form: ProofDataForm,
    /// `MAX_PROOF_SIZE` in bytes: the limit of the byte-list form.
    pub max_proof_size: u64,
    /// `MAX_EXECUTION_PROOFS_PER_PAYLOAD`: the limit of `ProofTypes`.
    pub max_execution_proofs_per_payload: u64,
    /// `MAX_REQUEST_BLOCKS_DENEB`: the limit of `ProofByRootIdentifiers`.
    pub max_request_blocks_deneb: u64,
}

impl ContainerContext {
    /// What a network's values say for a fork.
    pub fn new(fork: ForkName, spec: &Spec) -> Self {
        Self::with_revision(fork, spec, spec.revision_at(fork))
    }

    /// As `new`, for a revision other than the network's.
    pub fn with_revision(fork: ForkName, spec: &Spec, revision: Revision) -> Self {
        Self {
            fork,
            limits: Limits {
                max_withdrawals_per_payload: spec.max_withdrawals_per_payload,
                ..Limits::of(spec.preset)
            },
            revision,
            form: spec.new_payload_request_form,
            proof_data_form: spec.proof_data_form(revision),
            max_proof_size: spec.max_proof_size,
            max_execution_proofs_per_payload: spec.max_execution_proofs_per_payload,
            max_request_blocks_deneb: spec.max_request_blocks_deneb,
        }
    }
}

/// Why there is no shape of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownContainer {
    /// No container of any fork is called so.
    #[error("no container is called {name:?}; known: {}", names().collect::<Vec<_>>().join(", "))]
    Name {
        /// What was asked for.
        name: String,
    },
    /// The container exists, but not at that fork.
    #[error("there is no {name} in {fork}")]
    Fork {
        /// What was asked for.
        name: &'static str,
        /// The fork it was asked for.
        fork: ForkName,
    },
    /// The container exists, but not in that revision of EIP-8025.
    #[error("there is no {name} in revision {revision}")]
    Revision {
        /// What was asked for.
        name: &'static str,
        /// The revision it was asked for.
        revision: Revision,
    },
}

/// Builds a shape; `None` where the fork or revision has no such container.
type Build = fn(&ContainerContext) -> Option<Schema>;

/// A row of a table of containers.
type Row = (&'static str, Build);

/// Names by which vectors and other texts call a container of ours.
const ALIASES: &[(&str, &str)] = &[
    ("ExecutionProofsByRangeRequest", "ExecutionProofsByRange"),
    ("ExecutionProofsByRootRequest", "ProofByRootIdentifiers"),
    ("ExecutionProofStatusRequest", "ExecutionProofStatus"),
];

fn rows() -> impl Iterator<Item = &'static Row> {
    [proof::ROWS, payload::ROWS, block::ROWS, operations::ROWS]
        .into_iter()
        .flatten()
}

/// The shape of the container called `name`.
pub fn lookup(name: &str, context: &ContainerContext) -> Result<Schema, UnknownContainer> {
    let wanted = ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, name)| name);
    let (name, build) = rows()
        .find(|(known, _)| *known == wanted)
        .ok_or_else(|| UnknownContainer::Name {
            name: wanted.chars().take(LONGEST_NAME).collect(),
        })?;
    build(context).ok_or_else(|| {
        if proof::ROWS.iter().any(|(known, _)| known == name) {
            UnknownContainer::Revision {
                name,
                revision: context.revision,
            }
        } else {
            UnknownContainer::Fork {
                name,
                fork: context.fork,
            }
        }
    })
}

/// The shape of a container of this crate's own types, as an SSZ error where the fork has none.
pub(crate) fn shape(name: &'static str, fork: ForkName, spec: &Spec) -> Result<Schema, SszError> {
    lookup(name, &ContainerContext::new(fork, spec)).map_err(|e| SszError {
        container: name,
        why: e.to_string(),
    })
}

/// Every name `lookup` knows, aliases left out.
pub fn names() -> impl Iterator<Item = &'static str> {
    rows().map(|(name, _)| *name)
}

/// How much of an unknown name an error repeats.
const LONGEST_NAME: usize = 64;

/// A field, in short.
fn field(name: &'static str, schema: Schema) -> Field {
    Field::new(name, schema)
}

/// A length as a count of elements in memory; the presets' are all small.
fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// A list as a fork has it: progressive from Gloas on (EIP-7688), limited before.
fn list(context: &ContainerContext, element: Schema, limit: u64) -> Schema {
    if context.fork >= ForkName::Gloas {
        Schema::progressive_list(element)
    } else {
        Schema::list(element, limit)
    }
}

/// A container that EIP-7688 made progressive in Gloas.
fn container(context: &ContainerContext, name: &'static str, fields: Vec<Field>) -> Schema {
    if context.fork >= ForkName::Gloas {
        Schema::progressive_container(name, fields)
    } else {
        Schema::container(name, fields)
    }
}
