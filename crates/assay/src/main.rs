//! The `assay` binary: parses the command line and runs one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    assay_allocator::give_back_freed_memory();
    if assay::snoop::is_meant(std::env::args_os().next().as_deref()) {
        return assay::commands::run_snooper(assay::cli::parse_snooper());
    }
    let cli = assay::cli::parse();
    assay::commands::run(cli)
}
