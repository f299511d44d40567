//! The subcommands, and how their results become exit codes.

pub mod dev_proof;
pub mod files;
pub mod sign;
pub mod signing_context;
pub mod ssz;
pub mod verify;

use crate::cli::{Cli, Command};
use std::{io::Write, process::ExitCode};

/// Runs what was asked for: 0 where it went well, 1 where not, the reason on standard error.
pub fn run(cli: Cli) -> ExitCode {
    assay_engine_api::install_crypto_provider();
    let result = match cli.command {
        Command::Node(args) => crate::node::run(&args),
        Command::Devnet(args) => crate::devnet::run(&args),
        Command::DevProof(args) => dev_proof::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Ssz(args) => ssz::run(&args),
        Command::Verify(args) => verify::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error leaves nothing to tell and nobody to tell it to.
            let _ = writeln!(std::io::stderr(), "assay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
