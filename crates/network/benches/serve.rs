//! `cargo bench -p assay-network --bench serve`: proofs by range against plain TCP on the same loopback.
//!
//! A node in a process of its own keeps 512 proofs of 1 MiB on disk; this one asks for them, by the requester that nodes
//! ask with: read from disk and checked, packed, encrypted, sent; received, decrypted, unpacked, checksums and SSZ checked,
//! each in a buffer of its own (what is not in it: verdicts and the asking node's disk). Beside it as many bytes are moved
//! over plain TCP between the same two processes, from one buffer in memory to another. By turns: plain TCP; by range as
//! two nodes do it; by range with the cipher that every peer speaks. Printed: MiB/s and processor time of both processes
//! together for each MiB, the median of the ratios of each turn, and by how much the serving process's resident memory
//! grew over what it was before the first request. Arguments after `--`: proofs (512), bytes of each (1048576), turns (5);
//! `--check` ends with 1 where a goal is missed, `--ours-alone` leaves the standard cipher out.

#[path = "serve/client.rs"]
mod client;
#[path = "serve/server.rs"]
mod server;

use std::io::Write as _;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Proof types of every block: as many as one response has of a payload.
const TYPES: u64 = 4;

/// What is measured.
#[derive(Debug, Clone, Copy)]
struct Size {
    proofs: u64,
    bytes: usize,
    runs: usize,
    /// Whether the standard cipher has its turns.
    with_standard: bool,
    /// Whether a missed goal is a failure.
    is_check: bool,
}

fn main() -> Result<(), Failure> {
    // As `assay` does.
    assay_allocator::give_back_freed_memory();
    // Cargo adds `--bench`.
    let mut args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let mut flag = |name: &str| {
        let all = args.len();
        args.retain(|arg| arg != name);
        args.len() < all
    };
    let (is_check, ours_alone) = (flag("--check"), flag("--ours-alone"));
    let (is_server, numbers) = match args.split_first() {
        Some((first, rest)) if first == "server" => (true, rest),
        _ => (false, &args[..]),
    };
    let number = |at: usize, default: usize| {
        numbers
            .get(at)
            .map_or(Ok(default), |text| text.parse())
            .map_err(|e| Failure::from(format!("argument {}: {e}", at + 1)))
    };
    let size = Size {
        proofs: number(0, 512)? as u64,
        bytes: number(1, 1 << 20)?,
        runs: number(2, 5)?,
        with_standard: !ours_alone,
        is_check,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if is_server {
        runtime.block_on(server::run(size))
    } else {
        runtime.block_on(client::run(size))
    }
}

/// A line on standard output, at once.
fn say(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
