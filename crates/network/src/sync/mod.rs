//! Proof sync: what the range that is kept lacks is asked of peers, until this node holds every proof that they serve.
//!
//! In: the canonical chain (`Chain`), what is on disk (`Store`, and every accepted proof), peers and their status. Out:
//! requests by range and by root, proofs for the verifier like any other, faults of peers, this node's own status.
//!
//! | file | what it holds |
//! |---|---|
//! | `planner`, `planner/assigning` | the state machine: requests, their answers, verdicts; who is asked next |
//! | `wanted`, `wanted/missing` | blocks, what is held and missing; whom that was asked of |
//! | `sources` | peers: what they claim, how they did, when they may be asked |
//! | `cost` | by range or by root |
//! | `proven` | this node's own status, kept as the chain grows |
//! | `handle` | `ProofSync`: sink of accepted proofs, own status, state |
//! | `driver` | the shell: chain, disk, peers and clock around the planner |
//! | `asking`, `request` | one request to its verdicts; as `rpc` sends it |
//! | `counters` | what is counted |
//! | `event`, `state`, `limits` | what goes in and out; numbers for API and metrics; every bound |

mod asking;
mod cost;
mod counters;
mod driver;
mod event;
mod handle;
mod limits;
mod planner;
mod proven;
mod request;
mod sources;
mod state;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use counters::SyncCounters;
pub(crate) use driver::{DriverParts, run};
pub use handle::{ProofSync, ProofSyncConfig, WaitingPayloads};
pub use state::SyncState;
