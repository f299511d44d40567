//! `assay db show`.

use super::{Database, Lines, size};
use anyhow::bail;
use assay_store::{Offline, StoredBlock};
use assay_types::{Root, Slot};
use clap::Args;
use serde_json::{Value, json};

/// Blocks of one slot that are shown.
const MAX_BLOCKS_OF_A_SLOT: usize = 1024;

/// Arguments of `assay db show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A slot, a block root, or a payload's new_payload_request_root: what is known of it [default: the database itself]
    #[arg(value_name = "SLOT|ROOT")]
    pub what: Option<String>,
    /// Which database.
    #[command(flatten)]
    pub database: Database,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<()> {
    let offline = args.database.read()?;
    let value = match &args.what {
        None => whole(&offline)?,
        Some(what) => one(&offline, what)?,
    };
    let mut lines = Lines::new();
    if args.json {
        lines.line(format_args!("{value:#}"))?;
    } else {
        tell(&mut lines, &value, 0)?;
    }
    lines.end()
}

fn whole(offline: &Offline) -> anyhow::Result<Value> {
    let (summary, stats) = (offline.summary()?, offline.reader().stats()?);
    let contained: Vec<Value> = summary
        .contained
        .iter()
        .map(|(validator, until)| json!({ "validator_index": validator, "until_slot": until.0 }))
        .collect();
    Ok(json!({
        "schema_version": summary.schema_version,
        "network": summary.identity.config_name,
        "chain_id": summary.identity.chain_id,
        "genesis_validators_root": summary.identity.genesis_validators_root,
        "proofs": stats.proofs,
        "proof_bytes": stats.proof_bytes,
        "file_bytes": stats.file_bytes,
        "oldest_slot": stats.oldest_slot.map(|slot| slot.0),
        "newest_slot": stats.newest_slot.map(|slot| slot.0),
        "finalized_slot": summary.finalized_slot.0,
        "serve_range_start": summary.serve_range_start.0,
        "kept_from_slot": summary.kept_from.0,
        "blocks": summary.blocks,
        "canonical_blocks": summary.canonical_blocks,
        "newest_canonical_slot": summary.newest_canonical_slot.map(|slot| slot.0),
        "gate_records": summary.gate_records,
        "contained_validators": contained,
    }))
}

fn one(offline: &Offline, what: &str) -> anyhow::Result<Value> {
    let blocks = if let Ok(slot) = what.parse::<u64>() {
        offline.blocks(below(slot), MAX_BLOCKS_OF_A_SLOT).map(|blocks| {
            let of_slot = blocks.into_iter().take_while(|block| block.slot.0 == slot);
            of_slot.collect::<Vec<_>>()
        })?
    } else if let Ok(root) = what.parse::<Root>() {
        match offline.reader().block(&root)? {
            Some(block) => vec![block],
            // Then it is a payload's.
            None => return payload(offline, &root, what),
        }
    } else {
        bail!("{what:?} is neither a slot nor a root of 0x and 64 hex digits");
    };
    if blocks.is_empty() {
        bail!("nothing is known of slot {what}");
    }
    let blocks: Vec<Value> = blocks
        .iter()
        .map(|found| block(offline, found))
        .collect::<Result<_, _>>()?;
    Ok(json!({ "blocks": blocks }))
}

/// What a slot's blocks come after.
fn below(slot: u64) -> Option<(Slot, Root)> {
    let before = slot.checked_sub(1)?;
    Some((Slot(before), Root::from([0xff; 32])))
}

fn block(offline: &Offline, block: &StoredBlock) -> anyhow::Result<Value> {
    let proofs = match &block.new_payload_request_root {
        Some(root) => proofs(offline, root)?,
        None => Vec::new(),
    };
    Ok(json!({
        "slot": block.slot.0,
        "block_root": block.block_root,
        "parent_root": block.parent_root,
        "canonical": block.is_canonical,
        "new_payload_request_root": block.new_payload_request_root,
        "proofs": proofs,
    }))
}

fn payload(offline: &Offline, root: &Root, what: &str) -> anyhow::Result<Value> {
    let proofs = proofs(offline, root)?;
    if proofs.is_empty() {
        bail!("{what}: neither a block of the index nor a payload with proofs");
    }
    Ok(json!({ "new_payload_request_root": root, "proofs": proofs }))
}

fn proofs(offline: &Offline, payload: &Root) -> anyhow::Result<Vec<Value>> {
    let mut proofs = Vec::new();
    for key in offline.reader().keys_of(payload)? {
        let summary = offline.reader().summary(&key)?;
        let is_intact = offline.reader().read(&key)?.is_some();
        proofs.push(json!({
            "revision": summary.map(|summary| summary.revision.as_str()),
            "names": key.root,
            "proof_type": key.proof_type,
            "validator_index": key.validator_index,
            "bytes": summary.map(|summary| summary.bytes),
            "intact": is_intact,
        }));
    }
    Ok(proofs)
}

/// For people: a line a value, lists indented.
fn tell(lines: &mut Lines, value: &Value, depth: usize) -> anyhow::Result<()> {
    let Value::Object(fields) = value else {
        return lines.line(format_args!("{:depth$}{value}", ""));
    };
    for (name, value) in fields {
        let name = name.replace('_', " ");
        match value {
            Value::Array(list) if list.iter().all(Value::is_object) && !list.is_empty() => {
                lines.line(format_args!("{:depth$}{name}:", ""))?;
                for (at, entry) in list.iter().enumerate() {
                    if at > 0 {
                        lines.line("")?;
                    }
                    tell(lines, entry, depth + 2)?;
                }
            }
            Value::Array(list) if list.is_empty() => lines.line(format_args!("{:depth$}{name}: none", ""))?,
            Value::Null => lines.line(format_args!("{:depth$}{name}: none", ""))?,
            Value::String(text) => lines.line(format_args!("{:depth$}{name}: {text}", ""))?,
            Value::Number(bytes) if name.ends_with("bytes") => {
                let bytes = bytes.as_u64().unwrap_or_default();
                lines.line(format_args!("{:depth$}{name}: {bytes} ({})", "", size(bytes)))?;
            }
            other => lines.line(format_args!("{:depth$}{name}: {other}", ""))?,
        }
    }
    Ok(())
}
