//! The verifiers with real proofs, and with what is nearly one. The proofs lie beside the reference vectors.
//! Run by `testnet/native/run.sh`, which builds with the features `sp1` and `zisk`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "tests")]

#[path = "../support/encoding.rs"]
mod encoding;
mod engine;
mod flips;
mod garbage;
mod keys;
#[path = "../support/numbers.rs"]
mod numbers;
#[path = "../support/outcome.rs"]
mod outcome;
mod places;
#[path = "../support/samples.rs"]
mod samples;
