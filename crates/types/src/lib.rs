//! Containers, `Spec`, digests, domains, signing roots and request roots of EIP-8025.
//!
//! In: bytes and JSON. Out: checked values and their roots. No I/O, no clock.
//!
//! | file | what it holds |
//! |---|---|
//! | `primitives` | `Root`, `Slot`, `Epoch`, keys and signatures as bytes, hex |
//! | `fork` | fork, preset, revision, form: what a root depends on besides the bytes |
//! | `spec` | every number and rule value of the protocol, per network (`Spec`) |
//! | `merkle` | merkleising over hashtree-rs, progressive forms included |
//! | `schema` | SSZ shapes as data: strict checking, roots from bytes, JSON both ways |
//! | `containers` | the shape of every named container, by fork, preset, revision and form |
//! | `proof` | the proof containers as Rust types; proof bytes are shared, never copied |
//! | `proof_beta` | the proof containers of the `beta` revision |
//! | `signed_proof` | a signed proof of either revision, what it is known by, and what an engine judges |
//! | `requests` | the small containers of req/resp: identifiers, ranges, status |
//! | `codec` | SSZ and roots of what all proof containers have in common |
//! | `payload` | `ExecutionPayload`, `ExecutionRequests`, `NewPayloadRequest` and its header |
//! | `block` | beacon blocks and Gloas envelopes: their roots and the payload in them |
//! | `inspect` | containers by name, for `assay ssz` |
//! | `digest` | fork digests, topics, gossip message ids |
//! | `gossip` | raw snappy, bounded before it is unpacked |
//! | `signing` | domains and signing roots |
//! | `bls` | keys, signing and verifying over blst |

pub mod block;
pub mod bls;
mod codec;
pub mod containers;
pub mod digest;
pub mod fork;
pub mod gossip;
pub mod inspect;
pub mod merkle;
pub mod payload;
pub mod primitives;
pub mod proof;
pub mod proof_beta;
pub mod requests;
pub mod schema;
pub mod signed_proof;
pub mod signing;
pub mod spec;

pub use block::{BeaconBlockSummary, BlockIdentity, BlockPayload, PayloadEnvelope};
pub use bls::{PublicKey, SecretKey};
pub use containers::ContainerContext;
pub use digest::ForkDigest;
pub use fork::{ForkName, NewPayloadRequestForm, Preset, Revision};
pub use payload::{ExecutionPayload, ExecutionRequests, NewPayloadRequest, NewPayloadRequestHeader};
pub use primitives::{
    BlockHash, Epoch, ForkVersion, Hash256, ProofType, PublicKeyBytes, Root, SignatureBytes, Slot,
    ValidatorIndex,
};
pub use proof::{
    ExecutionProof, ExecutionProofStatus, ExecutionProofsByRange, ListLimits, ProofByRootIdentifier,
    ProofByRootIdentifiers, ProofKey, ProofTypes, PublicInput, SignedExecutionProof, SszContainer, SszError,
};
pub use schema::Schema;
pub use signed_proof::{EngineInput, ProofMessage, ProofName, SignedProof, StatedInput};
pub use spec::Spec;
