//! Who makes and checks proofs: the `ProofEngine` trait, its backends and the router over several of them.
//!
//! In: proofs to judge (verification), payloads to prove (prover), notifications (gate). Out: `Verification` or an
//! `EngineError`, which is never a verdict on the proof, and `EngineEvent`s with finished proofs.
//!
//! | file | what it holds |
//! |---|---|
//! | `engine` | the trait, its answers and errors |
//! | `dev_proof` | development proofs as bytes, made and checked offline |
//! | `dev` | the development backend: proofs that prove nothing |
//! | `router` | types to backends, failover |
//! | `endpoint` | one backend under the router: time-outs, contained panics, bounds, health |

pub mod dev;
pub mod dev_proof;
mod endpoint;
pub mod engine;
pub mod router;
#[cfg(test)]
mod test_support;

pub use dev::{DevConfig, DevConfigError, DevEngine};
pub use dev_proof::{DevProofSizeError, DevProver, MIN_DEV_PROOF_SIZE};
pub use endpoint::{EndpointHealth, NOTIFICATION_BACKLOG};
pub use engine::{EngineError, EngineEvent, ProofEngine, ProofGenId, Verification};
pub use router::{Route, Router, RouterConfig, RouterError};
