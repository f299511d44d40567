//! The honest prover's signers.
//!
//! In: EIP-2335 keystores as validator clients lay them out, and their passwords. Out: `LocalSigner`, the `ProofSigner` of
//! crates/verification.
//!
//! | file | what it holds |
//! |---|---|
//! | `keystore` | one EIP-2335 keystore, decrypted |
//! | `keystore_files` | which keystores and passwords a directory holds |
//! | `lock_file` | whether another process uses a keystore |
//! | `local_signer` | the keys of a directory, and signing with them |

pub mod keystore;
pub mod keystore_files;
mod local_signer;
mod lock_file;

pub use keystore::{Keystore, KeystoreError};
pub use keystore_files::{KeystorePlaces, Locks};
pub use local_signer::{LoadError, LocalKeys, LocalSigner};
