//! `assay db prune`.

use super::{Database, Lines, progress::Progress, size};
use anyhow::{Context, ensure};
use assay_store::{Offline, PruneLimits, Removed};
use assay_types::Slot;
use clap::Args;
use serde_json::json;

/// Arguments of `assay db prune`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("limit").args(["before_slot", "max_size", "compact"]).required(true).multiple(true))]
pub struct PruneArgs {
    /// Which database.
    #[command(flatten)]
    pub database: Database,
    /// Remove what is of earlier slots; refused beyond the start of the range that peers are served
    #[arg(long, value_name = "SLOT")]
    pub before_slot: Option<u64>,
    /// Remove the oldest while there are more bytes of proofs, with a unit (20GiB); the serve range stays
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Say what would go, and change nothing
    #[arg(long, conflicts_with = "compact")]
    pub dry_run: bool,
    /// Give the room back to the disk afterwards: the file keeps it for new proofs otherwise
    #[arg(long)]
    pub compact: bool,
    /// What went, as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &PruneArgs) -> anyhow::Result<()> {
    let max_bytes = args
        .max_size
        .as_deref()
        .map(|text| {
            crate::config::parse_size(text).with_context(|| {
                format!("--max-size {text:?}: a whole number of bytes, KiB, MiB, GiB or TiB")
            })
        })
        .transpose()?;
    let limits = PruneLimits {
        before: args.before_slot.map(Slot),
        max_bytes,
    };
    let before = std::fs::metadata(args.database.path()).map_or(0, |m| m.len());
    let planned = plan(&args.database.read()?, limits)?;
    let removed = if args.dry_run {
        planned
    } else {
        prune(args, limits, planned)?
    };
    let after = std::fs::metadata(args.database.path()).map_or(0, |m| m.len());
    let mut lines = Lines::new();
    if args.json {
        lines.line(json!({
            "dry_run": args.dry_run,
            "proofs": removed.proofs,
            "bytes": removed.bytes,
            "file_bytes_before": before,
            "file_bytes": after,
        }))?;
    } else {
        let verb = if args.dry_run { "would go" } else { "removed" };
        lines.line(format_args!(
            "{} proofs, {}, {verb}; the file has {}",
            removed.proofs,
            size(removed.bytes),
            size(after)
        ))?;
    }
    lines.end()
}

/// What goes. Refuses what would take proofs from peers.
fn plan(offline: &Offline, limits: PruneLimits) -> anyhow::Result<Removed> {
    let summary = offline.summary()?;
    let start = summary.serve_range_start;
    if let Some(before) = limits.before {
        ensure!(
            before <= start,
            "--before-slot {}: peers are served from slot {} on, and what they may ask for is not removed (finalized: {})",
            before.0,
            start.0,
            summary.finalized_slot.0
        );
    }
    let mut left = offline.reader().stats()?.proof_bytes;
    let mut removed = Removed::default();
    super::select::Select::default().each(offline, |proof| {
        let too_many = limits.max_bytes.is_some_and(|max| left > max) && proof.key.slot < start;
        let goes = too_many || limits.before.is_some_and(|before| proof.key.slot < before);
        if goes {
            removed.proofs += 1;
            removed.bytes += proof.bytes;
            left = left.saturating_sub(proof.bytes);
        }
        Ok(goes)
    })?;
    Ok(removed)
}

fn prune(args: &PruneArgs, limits: PruneLimits, planned: Removed) -> anyhow::Result<Removed> {
    let editor = args.database.edit()?;
    let mut progress = Progress::new("prune");
    let removed = editor.prune(limits, |so_far| progress.at(so_far.proofs, planned.proofs))?;
    drop(progress);
    if args.compact {
        let mut progress = Progress::new("compact");
        progress.at(0, 1);
        editor.compact()?;
        progress.at(1, 1);
    }
    Ok(removed)
}
