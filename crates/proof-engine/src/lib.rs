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
//! | `proof_node` | the backend over a proof node's HTTP API |
//! | `engine_api` | the backend over the Engine API's JSON-RPC methods |
//! | `proof_type_names` | numbers of proof types to the names proof nodes have for them |
//! | `revision_names` | such a map for each revision of the texts |
//! | `proof_types` | what stands behind each number: one entry, from what the operator wrote to what a database keeps of it |
//! | `router` | types to backends, failover |
//! | `endpoint` | one backend under the router: time-outs, contained panics, bounds, health |
//! | `notifications` | payloads and fork choice on their way to an endpoint |
//! | `metrics` | what the router counts |
//! | `requests` | requests this node made, by their `ProofGenId` |
//! | `testing` | a stub of the proof node's HTTP API with faults (feature `testing`) |

pub mod dev;
pub mod dev_proof;
mod endpoint;
pub mod engine;
pub mod engine_api;
mod metrics;
mod notifications;
pub mod proof_node;
mod proof_type_names;
pub mod proof_types;
pub mod requests;
mod revision_names;
pub mod router;
#[cfg(test)]
mod test_support;
#[cfg(feature = "testing")]
pub mod testing;

pub use dev::{DevConfig, DevConfigError, DevEngine};
pub use dev_proof::{DevProofSizeError, DevProver, MIN_DEV_PROOF_SIZE};
pub use endpoint::EndpointHealth;
pub use engine::{EngineError, EngineEvent, ProofEngine, ProofGenId, Verification};
pub use engine_api::{EngineApiConfig, EngineApiEngine};
pub use metrics::RouterMetrics;
pub use notifications::NOTIFICATION_BACKLOG;
pub use proof_node::{BackendConfigError, ProofNodeConfig, ProofNodeEngine};
pub use proof_type_names::{NamesError, ProofTypeNames};
pub use proof_types::{ProofTypeEntry, ProofTypes};
pub use requests::{ProofRequests, RequestBook, RequestMismatch};
pub use revision_names::RevisionNames;
pub use router::{Route, Router, RouterConfig, RouterError};
