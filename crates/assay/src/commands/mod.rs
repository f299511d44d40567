//! The subcommands, and how their results become exit codes.

pub mod about;
pub mod db;
pub mod dev_proof;
pub mod doctor;
pub mod enr;
pub mod files;
pub mod health;
pub mod metrics;
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
        Command::Completions(args) => about::completions(&args),
        Command::Devnet(args) => crate::devnet::run(&args),
        Command::Db(args) => db::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::DevProof(args) => dev_proof::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Enr(args) => enr::run(&args),
        Command::ExampleConfig => about::example_config(),
        Command::Health(args) => health::run(&args),
        Command::Man(args) => about::man(&args),
        Command::Prover(args) => crate::prover::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Ssz(args) => ssz::run(&args),
        Command::Verify(args) => verify::run(&args),
    };
    exit_code(result)
}

/// Runs in a snooper's place.
pub fn run_snooper(args: crate::snoop::SnoopArgs) -> ExitCode {
    exit_code(crate::snoop::run(args))
}

fn exit_code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error leaves nothing to tell and nobody to tell it to.
            let _ = writeln!(std::io::stderr(), "assay: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each once: many errors already end with the words of their cause.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn each_cause_is_told_once() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let own_words = assay_engine_api::JwtSecret::from_file("/nonexistent/jwt.hex".as_ref())
            .map(drop)
            .context("--execution-jwt");
        let own_words = told(&own_words.err().unwrap_or_else(|| anyhow::anyhow!("it is there")));
        assert_eq!(own_words.matches("os error 2").count(), 1, "{own_words}");
        assert!(own_words.starts_with("--execution-jwt: "), "{own_words}");
        let chained = Err::<(), _>(missing()).context("b").context("a");
        assert_eq!(chained.map_err(|e| told(&e)), Err(format!("a: b: {}", missing())));
    }
}
