//! Execution proofs on disk, kept as data-column sidecars are kept (design.md, Store).
//!
//! In: proofs that passed the verifier, blocks, heads and finality from the chain view, the gate's records, contained
//! validators. Out: `StoredProof`s (checksum verified; they can be served and counted, and never become verified
//! again), the canonical index, and what a restarted node must still know.
//!
//! One thread writes; concurrent writes share a commit; every write is on disk before its caller is told. Reads see
//! the last commit and never wait for a write.
//!
//! | file | what it holds |
//! |---|---|
//! | `store` | `Store`: the handle, and what other crates' traits ask of it |
//! | `config`, `error` | settings and chain identity; errors, each with its way out |
//! | `tables` | every table: key, value, pruning rule |
//! | `record` | one proof on disk: its key, its chunks, its checksum |
//! | `open` | opening, creating, schema, identity |
//! | `writer` | the writing thread: batches, commits, recovery after a failing disk |
//! | `index` | blocks and which of them are canonical |
//! | `prune` | finality, retention, `--max-db-size` |
//! | `reader`, `stream` | reading; one proof at a time for req/resp |
//! | `offline`, `check`, `overlay` | a database that no node has open: read without a change, checked, pruned, filled |
//! | `forget` | what an operator lets go of in a database that no node has open |
//! | `follow` | keeps the index in step with the chain view |

mod check;
mod config;
mod error;
mod follow;
mod forget;
mod index;
mod offline;
mod open;
mod overlay;
mod prune;
mod reader;
mod record;
mod shared;
mod store;
mod stream;
mod tables;
mod writer;

#[cfg(test)]
mod tests;

pub use check::{Findings, MAX_FINDINGS};
pub use config::{ChainIdentity, StoreConfig};
pub use error::StoreError;
pub use follow::follow;
pub use index::{BlockUpdate, ChainUpdate, StoredBlock};
pub use offline::{Editor, Offline, PruneLimits, Removed, Summary};
pub use reader::{ProofSummary, Reader, StoreStats};
pub use record::{KeptAs, MAX_RECORD_BYTES, ProofPiece, RecordKey, StoredProof};
pub use shared::MAX_CONTAINED;
pub use store::{GateRecord, PutOutcome, Store, StoredGateRecord};
pub use stream::ProofStream;
pub use tables::{OLDEST_SCHEMA_VERSION, SCHEMA_VERSION, Table};
pub use writer::{BATCH_BYTES, BATCH_COMMANDS, MAX_SMALL_RECORD_BYTES, QUEUE_COMMANDS};
