//! `assay db`: what a node keeps on disk, looked at and looked after without the node.
//!
//! | file | what it does |
//! |---|---|
//! | `list`, `show` | what is there |
//! | `export`, `import` | proofs as files, and back |
//! | `prune`, `verify` | less of it; whether it is as it was written |
//! | `forget_type` | the proofs of a number that stands for another program from now on |
//! | `entries` | what the numbers of proof types stand for, of a database and of an export |
//! | `manifest` | the list that an export has beside its files |
//! | `select`, `progress` | which proofs are meant; how far long work is |
//!
//! Reading changes no byte of the file and goes beside other readers. Nothing works on the file that a running node has open:
//! on a copy of it everything does.

mod entries;
mod export;
mod forget_type;
mod import;
mod list;
mod manifest;
mod progress;
mod prune;
mod select;
mod show;
mod verify;

use crate::config::default_datadir;
use anyhow::Context;
use assay_store::{Editor, Offline, StoreError};
use clap::{Args, Subcommand};
use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

/// The database's name in a data directory.
const FILE: &str = "proofs.redb";

/// Arguments of `assay db`.
#[derive(Debug, Args)]
pub struct DbArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: DbCommand,
}

/// What `assay db` can do.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// List the proofs: slot, type, validator, bytes, payload
    List(list::ListArgs),
    /// Show what the database is of and what it holds, or what it knows of one payload or block
    Show(show::ShowArgs),
    /// Write proofs into a new directory: a file each, which `assay ssz` and curl can read, and a list with their hashes
    Export(export::ExportArgs),
    /// Take in an export: through a running node, which verifies each proof, or as it is into a stopped node's database
    Import(import::ImportArgs),
    /// Remove old proofs from a stopped node's database, never those that peers must be served
    Prune(prune::PruneArgs),
    /// Remove every proof of these types from a stopped node's database, those that peers must be served too, and what is
    /// recorded of their entries: for a number that is to stand for another program. Payloads that were answered VALID stay so
    ForgetType(forget_type::ForgetTypeArgs),
    /// Read everything and say what is not as it was written
    Verify(verify::VerifyArgs),
}

/// Which database.
#[derive(Debug, Args)]
pub struct Database {
    /// Data directory of the node [default: ~/.assay]
    #[arg(long, value_name = "DIR", env = "ASSAY_DATADIR")]
    pub datadir: Option<PathBuf>,
    /// The file itself, such as a copy of a running node's; wins over --datadir
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
}

impl Database {
    /// Its file. A file that is named wins over a directory, which the environment may name too: clap takes that for a flag
    /// that was given, and would call the two a conflict.
    fn path(&self) -> PathBuf {
        match (&self.database, &self.datadir) {
            (Some(file), _) => file.clone(),
            (None, Some(datadir)) => datadir.join(FILE),
            (None, None) => default_datadir().join(FILE),
        }
    }

    /// Opens it for reading.
    fn read(&self) -> anyhow::Result<Offline> {
        let path = self.path();
        anyhow::ensure!(path.exists(), "{}: no database is there", path.display());
        Offline::open(&path).map_err(explained)
    }

    /// Opens it for changes.
    fn edit(&self) -> anyhow::Result<Editor> {
        let path = self.path();
        anyhow::ensure!(path.exists(), "{}: no database is there", path.display());
        Editor::open(&path).map_err(explained)
    }
}

/// What a running node means for these commands.
fn explained(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Locked { path } => anyhow::anyhow!(
            "{}: a running process has it open (a node, or another `assay db`): stop the node, or work on a copy with \
             --database COPY (a snapshot of the file system: what `cp` takes of a running node's may be torn)",
            path.display()
        ),
        other => other.into(),
    }
}

/// Runs one of them.
pub fn run(args: &DbArgs) -> anyhow::Result<()> {
    match &args.command {
        DbCommand::List(args) => list::run(args),
        DbCommand::Show(args) => show::run(args),
        DbCommand::Export(args) => export::run(args),
        DbCommand::Import(args) => import::run(args),
        DbCommand::Prune(args) => prune::run(args),
        DbCommand::ForgetType(args) => forget_type::run(args),
        DbCommand::Verify(args) => verify::run(args),
    }
}

/// Standard output, by lines; whoever reads may stop.
struct Lines(Option<BufWriter<std::io::StdoutLock<'static>>>);

impl Lines {
    fn new() -> Self {
        Self(Some(BufWriter::new(std::io::stdout().lock())))
    }

    /// Whether anybody still reads.
    fn is_open(&self) -> bool {
        self.0.is_some()
    }

    fn line(&mut self, line: impl std::fmt::Display) -> anyhow::Result<()> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        let written = writeln!(out, "{line}");
        self.after(written)
    }

    fn end(mut self) -> anyhow::Result<()> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        let written = out.flush();
        self.after(written)
    }

    fn after(&mut self, written: std::io::Result<()>) -> anyhow::Result<()> {
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.0 = None;
                Ok(())
            }
            other => other.context("standard output"),
        }
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    match unit {
        "bytes" => format!("{bytes} bytes"),
        unit => format!("{value:.1} {unit}"),
    }
}
