//! `assay db forget-type`.

use super::{Database, Lines, progress::Progress, select::Select, size};
use anyhow::Context;
use assay_gate::{UnixMillis, forget_proof_types};
use assay_proof_engine::proof_types::ProofTypeRecords;
use assay_types::ProofType;
use clap::Args;
use serde_json::json;

/// Arguments of `assay db forget-type`.
#[derive(Debug, Args)]
pub struct ForgetTypeArgs {
    /// Proof types whose number stands for another program from now on
    #[arg(value_name = "TYPE", required = true)]
    pub proof_types: Vec<ProofType>,
    /// Which database.
    #[command(flatten)]
    pub database: Database,
    /// Say what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What went, as JSON
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &ForgetTypeArgs) -> anyhow::Result<()> {
    let select = Select {
        proof_types: args.proof_types.clone(),
        ..Select::default()
    };
    let (mut keys, mut bytes) = (Vec::new(), 0);
    let (record, gate) = {
        let offline = args.database.read()?;
        select.each(&offline, |proof| {
            keys.push(proof.key);
            bytes += proof.bytes;
            Ok(true)
        })?;
        // What the gate counted goes too, of payloads whose proofs are not kept as of others.
        let counted = offline.reader().load_gate_records()?;
        let gate = forget_proof_types(counted, &args.proof_types, UnixMillis::now())?;
        (offline.reader().node_value(ProofTypeRecords::NAME)?, gate)
    };
    let mut removed = (keys.len() as u64, bytes);
    if !args.dry_run {
        let editor = args.database.edit()?;
        let mut progress = Progress::new("forget-type");
        let gone = editor.remove_proofs(&keys, |so_far| progress.at(so_far.proofs, keys.len() as u64))?;
        drop(progress);
        removed = (gone.proofs, gone.bytes);
        let records = match record {
            Some(bytes) => {
                let read = ProofTypeRecords::from_bytes(&bytes).map_err(anyhow::Error::msg);
                let mut records = read.context("its record of proof types")?;
                records
                    .0
                    .retain(|proof_type, _| !args.proof_types.contains(proof_type));
                Some(records.to_bytes())
            }
            None => None,
        };
        // Last, in one commit: where this is cut short, the old entry is still recorded, and what is left is found out.
        editor.put_with_gate_records(ProofTypeRecords::NAME, records.as_deref(), &gate.changes)?;
    }
    let mut lines = Lines::new();
    if args.json {
        lines.line(json!({
            "dry_run": args.dry_run,
            "proof_types": args.proof_types,
            "proofs": removed.0,
            "bytes": removed.1,
            "payloads": gate.payloads,
        }))?;
    } else {
        let verb = if args.dry_run { "would go" } else { "removed" };
        lines.line(format_args!(
            "{} proofs, {}, {verb}; the gate counted one for {} payloads",
            removed.0,
            size(removed.1),
            gate.payloads
        ))?;
    }
    lines.end()
}
