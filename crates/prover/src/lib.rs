//! The honest prover's duty and its signers.
//!
//! In: blocks and payloads from a beacon node (`Chain`), finished proofs from a `ProofEngine`, EIP-2335 keystores as
//! validator clients lay them out. Out: signed proofs, posted to a beacon endpoint, and `LocalSigner`, the `ProofSigner` of
//! crates/verification. Nothing is signed that was not verified.
//!
//! | file | what it holds |
//! |---|---|
//! | `duty` | what is done when for each payload and proof type: a state machine without I/O |
//! | `prover` | the shell around it: chain events, engine, signer, posts |
//! | `steps` | one step each: fetch and request, verify, sign, post |
//! | `beacon_endpoint` | posting proofs, and validators by public key |
//! | `validators` | whose keys these are, and whether they are active |
//! | `metrics` | what is counted |
//! | `keystore` | one EIP-2335 keystore, decrypted |
//! | `keystore_files` | which keystores and passwords a directory holds |
//! | `lock_file` | whether another process uses a keystore |
//! | `local_signer` | the keys of a directory, and signing with them |

mod beacon_endpoint;
pub mod duty;
pub mod keystore;
pub mod keystore_files;
mod local_signer;
mod lock_file;
mod metrics;
mod prover;
mod steps;
pub mod validators;

pub use beacon_endpoint::{BeaconEndpoint, EndpointError};
pub use duty::{Duty, DutyConfig};
pub use keystore::{Keystore, KeystoreError};
pub use keystore_files::{KeystorePlaces, Locks};
pub use local_signer::{LoadError, LocalKeys, LocalSigner};
pub use metrics::{ProverCounts, ProverMetrics};
pub use prover::{Prover, ProverParts};
