//! The command line: one subcommand a file in `commands`.

use crate::commands;
use clap::{Parser, Subcommand};

/// Execution proofs (EIP-8025) beside any beacon node.
#[derive(Debug, Parser)]
#[command(
    name = "assay",
    version = env!("ASSAY_VERSION"),
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 110
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node: gossip, verify and keep execution proofs beside a beacon node, and gate its imports
    Node(Box<crate::config::NodeArgs>),
    /// Run a network of nodes over a simulated beacon chain, with a live view and a summary
    Devnet(crate::devnet::DevnetArgs),
    /// Print a completion script for a shell
    Completions(commands::about::CompletionsArgs),
    /// Look at and look after what a node keeps on disk
    Db(commands::db::DbArgs),
    /// Make a proof with the development engine: it proves nothing, and is for devnets and tests
    DevProof(commands::dev_proof::DevProofArgs),
    /// Look whether a node with these settings would run well, or does: a line for each thing, with what to do
    Doctor(commands::doctor::DoctorArgs),
    /// Read a node record (ENR), or make one from a key file
    Enr(commands::enr::EnrArgs),
    /// Print the annotated settings file of `assay node`
    ExampleConfig,
    /// Ask the node of a data directory whether it is well; the exit code says it
    Health(commands::health::HealthArgs),
    /// Print a man page, or write all of them
    Man(commands::about::ManArgs),
    /// Print every metric of a node and a prover as a table: name, type, labels, meaning
    Metrics(commands::metrics::MetricsArgs),
    /// Prove every payload beside a beacon node: request, verify, sign and post proofs
    Prover(Box<crate::prover::ProverArgs>),
    /// Sign an ExecutionProof with a key from a file
    Sign(commands::sign::SignArgs),
    /// Decode, encode or hash a container, or show a block's payload
    Ssz(commands::ssz::SszArgs),
    /// Check the signature of a SignedExecutionProof
    Verify(commands::verify::VerifyArgs),
}

/// As `parse`, under the name of a snooper.
pub fn parse_snooper() -> crate::snoop::SnoopArgs {
    crate::snoop::SnoopArgs::parse()
}

/// Parses the process's arguments; prints help, version or an error and exits where asked to.
pub fn parse() -> Cli {
    Cli::parse()
}
