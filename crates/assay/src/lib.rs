//! Assay: execution proofs (EIP-8025) beside any beacon node. The binary, and the facade for embedders.
//!
//! | file | what it holds |
//! |---|---|
//! | `cli` | the command line |
//! | `config` | `assay node`'s settings: file, environment, flags, in one precedence |
//! | `node` | the wiring of a node |
//! | `prover` | `assay prover`: the honest prover's duty as a process of its own |
//! | `signer` | the keys that the settings name |
//! | `endpoints` | where a running node listens, written into its data directory |
//! | `snoop` | the binary under a snooper's name, in a snooper's slot |
//! | `signals` | SIGINT and SIGTERM |
//! | `devnet` | a network of nodes over the simulator |
//! | `commands` | one file a subcommand |
//! | `logging` | what is printed, and how |
//! | `traces` | proofs' ways as OTLP traces |
//!
//! The crates of the house are re-exported under their short names.

pub mod cli;
pub mod commands;
pub mod config;
pub mod devnet;
pub mod endpoints;
pub mod logging;
pub mod node;
pub mod prover;
pub mod signals;
mod signer;
pub mod snoop;
mod traces;

pub use assay_api as api;
pub use assay_chain as chain;
pub use assay_engine_api as engine_api;
pub use assay_gate as gate;
pub use assay_network as network;
pub use assay_proof_engine as proof_engine;
pub use assay_store as store;
pub use assay_types as types;
pub use assay_verification as verification;
