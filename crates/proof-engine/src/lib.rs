//! Who makes and checks proofs: the `ProofEngine` trait, its backends and the router over several of them.
//!
//! | file | what it holds |
//! |---|---|
//! | `engine` | the trait, its answers and errors |
//! | `dev` | the development backend: proofs that prove nothing |
//! | `router` | types to backends, failover, health |

pub mod engine;

pub use engine::{EngineError, EngineEvent, ProofEngine, ProofGenId, Verification};
