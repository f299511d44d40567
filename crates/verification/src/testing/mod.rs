//! For tests, this crate's and others', behind the feature `testing`: a chain, an engine and a sink in memory, and a
//! proof that says it passed and did not. Only ever a dev-dependency's feature; nothing that ships enables it.
//!
//! | file | what it holds |
//! |---|---|
//! | `chain` | `MemoryChain`: payloads and validators as the test tells it |
//! | `engine` | `ScriptedEngine`: proofs say in their first byte what they are worth |
//! | `sink` | `MemorySink`: keeps what it is given |
//! | `proof` | signing proofs, `VerifiedProof::assume_verified` |

mod chain;
mod engine;
mod proof;
mod sink;

pub use chain::{MemoryChain, Registry};
pub use engine::ScriptedEngine;
pub use proof::{sign, sign_envelope};
pub use sink::MemorySink;
