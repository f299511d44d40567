//! `assay db list`.

use super::{
    Database, Lines,
    select::{Select, payload_of},
    size,
};
use assay_store::Offline;
use assay_types::{Revision, Root, Slot};
use clap::Args;
use serde_json::json;

/// Arguments of `assay db list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Which database.
    #[command(flatten)]
    pub database: Database,
    /// Which proofs.
    #[command(flatten)]
    pub select: Select,
    /// Proofs at most
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Whether payloads are canonical, one slot after the other.
struct Canonical<'a> {
    offline: &'a Offline,
    at: Option<(Slot, Option<Root>)>,
}

impl Canonical<'_> {
    fn is(&mut self, slot: Slot, payload: &Root) -> anyhow::Result<bool> {
        let known = match self.at {
            Some((at, known)) if at == slot => known,
            _ => {
                let block = self.offline.reader().canonical_block_at(slot)?;
                block.and_then(|block| block.new_payload_request_root)
            }
        };
        self.at = Some((slot, known));
        Ok(known.as_ref() == Some(payload))
    }
}

pub(super) fn run(args: &ListArgs) -> anyhow::Result<()> {
    args.select.check()?;
    let offline = args.database.read()?;
    let mut canonical = Canonical {
        offline: &offline,
        at: None,
    };
    let mut lines = Lines::new();
    let (mut proofs, mut bytes) = (0_u64, 0_u64);
    if !args.json {
        lines.line(format_args!(
            "{:>10} {:>4} {:>9} {:>9} {:>9}  new_payload_request_root",
            "slot", "type", "validator", "bytes", "canonical"
        ))?;
    }
    args.select.each(&offline, |summary| {
        if args.limit.is_some_and(|limit| proofs >= limit) {
            return Ok(false);
        }
        let key = summary.key;
        let payload = payload_of(&offline, &summary)?;
        let is_canonical = match &payload {
            Some(payload) => canonical.is(key.slot, payload)?,
            None => false,
        };
        if args.json {
            let mut line = json!({
                "slot": key.slot.0,
                "proof_type": key.proof_type,
                "validator_index": key.validator_index,
                "bytes": summary.bytes,
                "canonical": is_canonical,
                "new_payload_request_root": payload,
            });
            if summary.revision == Revision::Beta {
                line["beacon_block_root"] = json!(key.root);
            }
            lines.line(line)?;
        } else {
            lines.line(format_args!(
                "{:>10} {:>4} {:>9} {:>9} {:>9}  {}",
                key.slot.0,
                key.proof_type,
                key.validator_index,
                summary.bytes,
                if is_canonical { "yes" } else { "no" },
                payload.map_or_else(|| format!("of block {}", key.root), |root| root.to_string())
            ))?;
        }
        (proofs, bytes) = (proofs + 1, bytes + summary.bytes);
        Ok(lines.is_open())
    })?;
    if !args.json {
        lines.line(format_args!("{proofs} proofs, {}", size(bytes)))?;
    }
    lines.end()
}
