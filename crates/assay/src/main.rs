//! The `assay` binary: parses the command line and runs one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = assay::cli::parse();
    assay::commands::run(cli)
}
