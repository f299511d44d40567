//! `assay db verify`.

use super::{Database, Lines, progress::Progress, size};
use anyhow::ensure;
use clap::Args;
use serde_json::json;

/// Arguments of `assay db verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Which database.
    #[command(flatten)]
    pub database: Database,
    /// Remove the proofs that are damaged, and count anew: peers give them again. For a stopped node's database
    #[arg(long)]
    pub repair: bool,
    /// What was found, as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &VerifyArgs) -> anyhow::Result<()> {
    let offline = args.database.read()?;
    let mut progress = Progress::new("verify");
    let findings = offline.check(|done, all| progress.at(done, all))?;
    drop(progress);
    // The lock is shared with nobody who writes.
    drop(offline);
    let mended = match args.repair && findings.count > 0 {
        true => {
            let removed = args.database.edit()?.repair(&findings)?;
            let mut progress = Progress::new("verify again");
            let left = args.database.read()?.check(|done, all| progress.at(done, all))?;
            Some((removed, left))
        }
        false => None,
    };
    let mut lines = Lines::new();
    if args.json {
        lines.line(json!({
            "proofs": findings.proofs,
            "bytes": findings.bytes,
            "blocks": findings.blocks,
            "wrong": findings.count,
            "findings": findings.texts,
            "removed": mended.as_ref().map(|(removed, _)| removed),
            "left": mended.as_ref().map(|(_, left)| left.count),
        }))?;
    } else {
        for text in &findings.texts {
            lines.line(text)?;
        }
        let told = findings.texts.len() as u64;
        if findings.count > told {
            lines.line(format_args!("and {} more", findings.count - told))?;
        }
        lines.line(format_args!(
            "{} proofs, {}, {} blocks looked at; {} wrong",
            findings.proofs,
            size(findings.bytes),
            findings.blocks,
            findings.count
        ))?;
        if let Some((removed, left)) = &mended {
            lines.line(format_args!(
                "{removed} damaged proofs removed; {} wrong now",
                left.count
            ))?;
        }
    }
    lines.end()?;
    match mended {
        None => ensure!(
            findings.count == 0,
            "the database is damaged; --repair removes damaged proofs, and where more is wrong the file can be moved away: \
             proofs come again from peers"
        ),
        Some((_, left)) => ensure!(
            left.count == 0,
            "more is damaged than proofs, and that cannot be repaired; move the file away: proofs come again from peers, \
             the gate's recorded verdicts are lost with the file ({})",
            left.texts.first().map_or("", String::as_str)
        ),
    }
    Ok(())
}
