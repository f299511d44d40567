//! For tests of those who use this crate: nothing here is in a node.

mod stub_engine_api;
mod stub_proof_node;

pub use stub_engine_api::StubEngineApi;
pub use stub_proof_node::{Faults, ProofMaker, StubConfig, StubProofNode};
