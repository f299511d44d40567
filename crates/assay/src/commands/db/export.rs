//! `assay db export`.

use super::{
    Database, Lines,
    manifest::{Block, Manifest, Proof},
    progress::Progress,
    select::Select,
    size,
};
use anyhow::{Context, ensure};
use assay_store::Offline;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Blocks read in one go.
const PAGE: usize = 1024;

/// Arguments of `assay db export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Directory that the export becomes; it is made, or empty
    #[arg(value_name = "DIR")]
    pub output: PathBuf,
    /// Which database.
    #[command(flatten)]
    pub database: Database,
    /// Which proofs.
    #[command(flatten)]
    pub select: Select,
    /// What was written, as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    args.select.check()?;
    let offline = args.database.read()?;
    let output = &args.output;
    let shown = output.display().to_string();
    std::fs::create_dir_all(output).with_context(|| shown.clone())?;
    let mut entries = std::fs::read_dir(output).with_context(|| shown.clone())?;
    ensure!(
        entries.next().is_none(),
        "{shown} is not empty: an export gets a directory of its own"
    );
    let (count, bytes) = args.select.count(&offline)?;
    room(output, bytes)?;
    let mut manifest = Manifest::of(offline.identity());
    manifest.proof_types = super::entries::recorded(offline.reader())?;
    blocks(&offline, &args.select, &mut manifest)?;
    let (mut damaged, mut seen) = (0_u64, 0);
    let mut progress = Progress::new("export");
    args.select.each(&offline, |summary| {
        match offline.reader().read(&summary.key)? {
            Some(stored) => {
                let payload = offline.reader().payload_of(&summary.key)?;
                let proof = Proof::of(&summary.key, stored.revision(), payload, stored.ssz());
                crate::commands::files::write(&output.join(&proof.file), stored.ssz())?;
                manifest.push(proof);
            }
            None => damaged += 1,
        }
        seen += 1;
        progress.at(seen, count);
        Ok(true)
    })?;
    drop(progress);
    manifest.proof_types = manifest.entries();
    manifest.write(output)?;
    let written = manifest.proofs.len();
    let bytes: u64 = manifest.proofs.iter().map(|proof| proof.bytes).sum();
    let mut lines = Lines::new();
    if args.json {
        lines.line(json!({
            "directory": shown,
            "proofs": written,
            "bytes": bytes,
            "blocks": manifest.blocks.len(),
            "damaged": damaged,
        }))?;
    } else {
        lines.line(format_args!(
            "{shown}: {written} proofs, {}, {} blocks",
            size(bytes),
            manifest.blocks.len()
        ))?;
    }
    lines.end()?;
    ensure!(
        damaged == 0,
        "{damaged} proofs are damaged and were left out: `assay db verify` names them"
    );
    Ok(())
}

/// Refuses where the disk would be full before it is done.
fn room(directory: &Path, bytes: u64) -> anyhow::Result<()> {
    let Ok(disk) = rustix::fs::statvfs(directory) else {
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        bytes < free,
        "{}: the proofs have {}, its disk has {} free",
        directory.display(),
        size(bytes),
        size(free)
    );
    Ok(())
}

/// The index of the slots that are exported: without it nobody knows whose payloads the proofs are of.
fn blocks(offline: &Offline, select: &Select, manifest: &mut Manifest) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = offline.blocks(after, PAGE)?;
        let is_last = page.len() < PAGE;
        for block in page {
            after = Some((block.slot, block.block_root));
            let slot = block.slot.0;
            let is_meant = select.from_slot.is_none_or(|first| slot >= first)
                && select.to_slot.is_none_or(|last| slot <= last);
            if !is_meant {
                continue;
            }
            if block.is_canonical {
                manifest.head = Some(block.block_root);
            }
            manifest.blocks.push(Block {
                slot,
                block_root: block.block_root,
                parent_root: block.parent_root,
                new_payload_request_root: block.new_payload_request_root,
            });
        }
        if is_last {
            return Ok(());
        }
    }
}
