//! A simulated beacon node and execution client: real HTTP, real BLS keys, real SSZ, an invented chain.
//!
//! In: settings, and what a test steers (`SimChain::produce`, forks, skipped slots, finality, faults). Out: one Beacon
//! API a follower, one execution client a follower, and the consensus side of the Engine API towards whatever stands
//! between them. For `assay devnet` and for tests; it takes no part in a real node.
//!
//! | file | what it holds |
//! |---|---|
//! | `chain` | the invented chain: blocks, payloads, validators, finality |
//! | `block_json` | what stands in an invented block, and in the envelope of its payload (Gloas) |
//! | `follower` | one beacon node's view: what it imported, and how the Engine API answered |
//! | `consensus` | calls the Engine API as a beacon node does |
//! | `beacon_api` | a follower's Beacon API |
//! | `execution` | an execution client that knows the invented chain |
//! | `prover` | proves and signs every payload and posts the proofs |
//! | `simulation` | all of it together, slot by slot |

mod beacon_api;
mod block_json;
pub mod chain;
pub mod consensus;
pub mod execution;
pub mod follower;
pub mod prover;
pub mod simulation;

pub use chain::{ChainConfig, SimBlock, SimChain, SimEnvelope, SimError};
pub use execution::{ExecutionClient, ExecutionFault};
pub use follower::{Follower, PayloadAnswers};
pub use prover::{ProofMaker, ProverConfig};
pub use simulation::{FollowerConfig, Simulation, SimulationConfig};
