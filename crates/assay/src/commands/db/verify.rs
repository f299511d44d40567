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
    let removed = match args.repair && findings.count > 0 {
        true => Some(args.database.edit()?.repair(&findings)?),
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
            "removed": removed,
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
        if let Some(removed) = removed {
            lines.line(format_args!("{removed} damaged proofs removed; verify again"))?;
        }
    }
    lines.end()?;
    ensure!(
        findings.count == 0 || removed.is_some(),
        "the database is damaged; --repair removes damaged proofs, and where more is wrong the file can be moved away: \
         proofs come again from peers"
    );
    Ok(())
}
