//! End to end over the built binary: nodes as processes, a simulated beacon chain on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod chain_id;
mod dashboard;
mod devnet;
mod doctor;
mod envelope_prover;
mod envelope_requests;
mod foreign_prover;
mod gate;
mod openapi;
mod passwords;
mod peers;
mod proof_engines;
mod proof_travels;
mod proof_type_entries;
mod proof_type_settings;
mod prover;
mod revision_change;
mod snoop;
mod sync;
mod traces;
mod waiting_envelope;
