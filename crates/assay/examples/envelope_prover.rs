//! A prover of revision `beta` as a process, for `testnet/beta`: an Engine API proxy in front of an execution client, which
//! proves what `engine_newPayloadV5` brings and posts lists of envelopes to its beacon endpoint. The client itself is that of
//! the end-to-end tests.
//!
//! Out: one JSON object a line on standard output: `up` with the proxy's address, `ready` with the validator's index, then
//! `posted` or `failed` for each payload. It ends with its standard input.
#![allow(clippy::print_stdout, reason = "an example that prints")]

#[path = "../../../tests/support/envelope_prover/mod.rs"]
mod envelope_prover;

use assay::config::DEFAULT_DEV_SEED;
use assay_types::{ProofType, SecretKey};
use clap::Parser;
use envelope_prover::{EnvelopeProver, Proxy, Settings};
use serde_json::json;
use std::net::SocketAddr;

/// Flags.
#[derive(Debug, Parser)]
struct Args {
    /// Where the Engine API is listened for
    #[arg(long)]
    listen: SocketAddr,
    /// Execution client that calls go to
    #[arg(long)]
    upstream: String,
    /// Beacon endpoint: chain data is read there and envelopes are posted there
    #[arg(long)]
    beacon: String,
    /// Interop validator that signs
    #[arg(long)]
    interop: u64,
    /// Kinds of proof, one of each for every payload
    #[arg(long, value_delimiter = ',', default_value = "1")]
    proof_types: Vec<ProofType>,
    /// Bytes of each proof
    #[arg(long, default_value_t = 20_000)]
    proof_size: usize,
    /// Seed of the development proofs
    #[arg(long, default_value = DEFAULT_DEV_SEED)]
    dev_seed: String,
    /// Every so many payloads a forged envelope goes with the good ones
    #[arg(long, default_value_t = 0)]
    spoil_every: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let proxy = Proxy::start(args.listen, args.upstream).await?;
    println!("{}", json!({ "event": "up", "engine": proxy.url }));
    let settings = Settings {
        beacon: args.beacon,
        key: SecretKey::interop(args.interop),
        proof_types: args.proof_types,
        proof_size: args.proof_size,
        dev_seed: args.dev_seed,
        spoil_every: args.spoil_every,
    };
    let mut prover = tokio::select! {
        prover = EnvelopeProver::start(settings, proxy) => prover?,
        () = assay::signals::stdin_ended() => return Ok(()),
    };
    let validator = prover.hand.validator_index();
    println!("{}", json!({ "event": "ready", "validator_index": validator }));
    let ended = assay::signals::stdin_ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            report = prover.reports.recv() => match report {
                Some(report) => println!("{report}"),
                None => return Ok(()),
            },
            () = &mut ended => return Ok(()),
        }
    }
}
