//! The honest prover's duty and its signers.
//!
//! In: blocks and payloads from a beacon node (`Chain`), finished proofs from a `ProofEngine`, keys from EIP-2335 keystores
//! as validator clients lay them out or behind a web3signer. Out: signed proofs, posted to a beacon endpoint or brought
//! through the door of the node around it (`ProofDoor`), and `ValidatorSigner`, the `ProofSigner` of crates/verification.
//! Nothing is signed that was not verified.
//!
//! | file | what it holds |
//! |---|---|
//! | `duty` | what is done when for each payload and proof type: a state machine without I/O |
//! | `prover` | the shell around it: chain events, engine, signer, door |
//! | `steps` | one step each: fetch and request, verify, sign |
//! | `recent_requests` | payload requests that the Engine API brought to the node around |
//! | `own_proofs` | what an engine brought to the node around, as the prover hears of it |
//! | `proof_door` | where signed proofs go: a beacon endpoint, or the `Intake` of this node |
//! | `metrics` | what is counted |
//! | `validator_signer` | `ValidatorSigner`: whose keys these are, whose turn it is, the signature verified |
//! | `validators` | validators by public key, and whether they are active |
//! | `key_signer` | the trait of those who hold keys |
//! | `web3signer` | keys behind web3signer's HTTP API |
//! | `local_keys` | the keys of a directory |
//! | `keystore` | one EIP-2335 keystore, decrypted |
//! | `keystore_files` | which keystores and passwords a directory holds |
//! | `lock_file` | whether another process uses a keystore |
//! | `testing` | a stub of web3signer, for tests (feature `testing`) |
//! | `http` | bounded bodies and errors in words |

pub mod duty;
mod http;
pub mod key_signer;
pub mod keystore;
pub mod keystore_files;
mod local_keys;
mod lock_file;
mod metrics;
mod own_proofs;
mod proof_door;
mod prover;
mod recent_requests;
mod steps;
#[cfg(feature = "testing")]
pub mod testing;
mod validator_signer;
pub mod validators;
pub mod web3signer;

pub use duty::{Duty, DutyConfig};
pub use key_signer::{KeyError, KeySigner};
pub use keystore::{Keystore, KeystoreError};
pub use keystore_files::{KeystorePlaces, Locks};
pub use local_keys::{LoadError, LocalKeys};
pub use metrics::{ProverCounts, ProverMetrics, SignerMetrics};
pub use own_proofs::OwnProofs;
pub use proof_door::{BeaconEndpoint, EndpointError, ProofDoor};
pub use prover::{Prover, ProverParts};
pub use recent_requests::RecentRequests;
pub use validator_signer::ValidatorSigner;
pub use web3signer::{Web3Signer, Web3SignerConfig, Web3SignerError};
