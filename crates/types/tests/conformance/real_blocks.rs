//! Blocks recorded from real beacon nodes: their roots and their payload requests' roots, from SSZ and from JSON.

use crate::{same, spec_with, target};
use assay_conformance::Failure;
use assay_types::{
    BeaconBlockSummary, BlockPayload, ForkName, PayloadEnvelope, Root, Spec,
    containers::{ContainerContext, lookup},
    inspect::{self, Encoded, PayloadSummary},
    spec::ConfigMap,
};
use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
};

/// The folder of recorded blocks: beside the vectors, else beside the repository's root.
fn folder(name: &str) -> Result<Option<PathBuf>, Failure> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/realnet/capture");
    let dir = target()?.capture_dir().unwrap_or(default).join(name);
    if dir.is_dir() {
        return Ok(Some(dir));
    }
    say(&format!(
        "{name}: skipped, no recorded blocks at {}",
        dir.display()
    ));
    Ok(None)
}

/// Past the test harness's capture, as the vectors' account.
fn say(line: &str) {
    // Nobody listening is no failure of a test.
    let _ = writeln!(std::io::stdout().lock(), "conformance assay-types {line}");
}

fn bytes_of(path: &Path) -> Result<Bytes, String> {
    std::fs::read(path)
        .map(Bytes::from)
        .map_err(|e| format!("{}: {e}", path.display()))
}

fn json_of(path: &Path) -> Result<Value, String> {
    serde_json::from_slice(&bytes_of(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

/// A row of roots.json.
#[derive(serde::Deserialize)]
struct Row {
    file: String,
    slot: u64,
    fork: ForkName,
    block_root: Root,
    block_hash: Root,
    parent_hash: Root,
    new_payload_request_root: Root,
    form_b_root: Option<Root>,
}

#[test]
fn electra_fulu_gloas() -> Result<(), Failure> {
    let Some(dir) = folder("electra-fulu-gloas")? else {
        return Ok(());
    };
    let config: ConfigMap =
        serde_json::from_value(json_of(&dir.join("spec.json"))?).map_err(|e| e.to_string())?;
    let spec = Spec::from_config(&config, &ConfigMap::new()).map_err(|e| e.to_string())?;
    let form_b = spec_with(&spec, &[("NEW_PAYLOAD_REQUEST_FORM", "B")])?;
    let rows: Vec<Row> =
        serde_json::from_value(json_of(&dir.join("roots.json"))?).map_err(|e| e.to_string())?;
    if rows.is_empty() {
        return Err("roots.json names no blocks".to_owned().into());
    }
    let mut in_json = 0;
    for row in &rows {
        let fails = |why: String| format!("{}: {why}", row.file);
        let block = dir.join(&row.file);
        let envelope = row
            .fork
            .has_envelope()
            .then(|| dir.join(row.file.replace("block-", "envelope-")));
        let ssz = |path: &Path| bytes_of(path).map(Encoded::Ssz);
        let expected = |root: Root| PayloadSummary {
            block_root: row.block_root,
            slot: row.slot.into(),
            block_hash: row.block_hash,
            parent_hash: row.parent_hash,
            new_payload_request_root: root,
        };
        for (spec, root) in [
            (&spec, Some(row.new_payload_request_root)),
            (&form_b, row.form_b_root),
        ] {
            let Some(root) = root else { continue };
            for fork in [Some(row.fork), None] {
                let envelope = envelope.as_deref().map(ssz).transpose()?;
                let ours = inspect::payload_summary(fork, spec, ssz(&block)?, envelope)
                    .map_err(|e| fails(e.to_string()))?;
                same("summary", &ours, &expected(root)).map_err(fails)?;
            }
        }
        same(
            "fork at the slot",
            &spec.fork_at_epoch(spec.epoch_at_slot(row.slot.into())),
            &row.fork,
        )
        .map_err(fails)?;

        // Some blocks were recorded as JSON too; every one has a JSON of ours.
        let recorded = block.with_extension("json");
        let envelope_json = dir.join(format!("envelope-{}.json", row.slot));
        if recorded.is_file() && (envelope.is_none() || envelope_json.is_file()) {
            in_json += 1;
            let envelope = match &envelope {
                Some(_) => Some(Encoded::Json(json_of(&envelope_json)?)),
                None => None,
            };
            let ours = inspect::payload_summary(None, &spec, Encoded::Json(json_of(&recorded)?), envelope)
                .map_err(|e| fails(e.to_string()))?;
            same(
                "summary of the JSON",
                &ours,
                &expected(row.new_payload_request_root),
            )
            .map_err(fails)?;
        }
        own_json_agrees(row.fork, &spec, &bytes_of(&block)?).map_err(fails)?;
        if let Some(envelope) = &envelope {
            let bytes = bytes_of(envelope)?;
            let from_ssz = PayloadEnvelope::from_signed_envelope_ssz(row.fork, &spec, &bytes);
            let json = inspect::decode(
                "SignedExecutionPayloadEnvelope",
                &ContainerContext::new(row.fork, &spec),
                &bytes,
            )
            .map_err(|e| e.to_string())?;
            let from_json = PayloadEnvelope::from_signed_envelope_json(row.fork, &spec, &json);
            same("envelope", &format!("{from_ssz:?}"), &format!("{from_json:?}")).map_err(fails)?;
        }
    }
    say(&format!(
        "electra-fulu-gloas: run {}, {in_json} of them from recorded JSON too",
        rows.len()
    ));
    Ok(())
}

/// A block's own JSON leads back to it.
fn own_json_agrees(fork: ForkName, spec: &Spec, ssz: &Bytes) -> Result<BeaconBlockSummary, String> {
    let schema =
        lookup("SignedBeaconBlock", &ContainerContext::new(fork, spec)).map_err(|e| e.to_string())?;
    let json = schema.view(ssz).map_err(|e| e.to_string())?.to_json();
    same(
        "bytes of the JSON",
        &schema.encode_json(&json).map_err(|e| e.to_string())?,
        &ssz.to_vec(),
    )?;
    let from_ssz = BeaconBlockSummary::from_signed_block_ssz(fork, spec, ssz).map_err(|e| e.to_string())?;
    let from_json =
        BeaconBlockSummary::from_signed_block_json(fork, spec, &json).map_err(|e| e.to_string())?;
    same("block", &format!("{from_ssz:?}"), &format!("{from_json:?}"))?;
    Ok(from_ssz)
}

/// Lodestar 1.5.1's blocks of Capella: SSZ and JSON of every block, roots from the recorded events.
#[test]
fn capella() -> Result<(), Failure> {
    let Some(dir) = folder("capella-lodestar-1.5.1")? else {
        return Ok(());
    };
    let config = json_of(&dir.join("config_spec.json"))?;
    let config: ConfigMap = serde_json::from_value(config["data"].clone()).map_err(|e| e.to_string())?;
    let spec = Spec::from_config(&config, &ConfigMap::new()).map_err(|e| e.to_string())?;
    let roots = block_roots_of_events(&dir.join("events-lodestar-1.5.1.txt"))?;
    let (mut run, mut with_root) = (0, 0);
    for entry in std::fs::read_dir(&dir).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !(name.starts_with("block-") && name.ends_with(".ssz")) {
            continue;
        }
        let fails = |why: String| format!("{name}: {why}");
        let block = own_json_agrees(ForkName::Capella, &spec, &bytes_of(&path)?).map_err(fails)?;
        let json = json_of(&path.with_extension("json"))?;
        let recorded = BeaconBlockSummary::from_signed_block_json(ForkName::Capella, &spec, &json["data"])
            .map_err(|e| fails(e.to_string()))?;
        same("recorded JSON", &format!("{recorded:?}"), &format!("{block:?}")).map_err(fails)?;
        if let Some(root) = roots.get(&block.slot.as_u64()) {
            same("block root", &block.block_root, root).map_err(fails)?;
            with_root += 1;
        }
        run += 1;
        let BlockPayload::Request(request) = &block.payload else {
            return Err(fails("no payload".to_owned()).into());
        };
        // protocol.md section 2: a container of the payload alone, which has the payload's own root.
        let context = ContainerContext::new(ForkName::Capella, &spec);
        let payload = lookup("ExecutionPayload", &context).map_err(|e| e.to_string())?;
        let ssz = request.to_ssz_bytes();
        let payload_root = payload
            .hash_tree_root(ssz.get(4..).unwrap_or_default())
            .map_err(|e| e.to_string())?;
        same(
            "request root",
            &request.hash_tree_root(&spec).map_err(|e| e.to_string())?,
            &payload_root,
        )
        .map_err(fails)?;
    }
    if with_root == 0 {
        return Err("no recorded block has a recorded root".to_owned().into());
    }
    say(&format!(
        "capella-lodestar-1.5.1: run {run}, {with_root} of them with a recorded root"
    ));
    Ok(())
}

/// Block roots by slot, from the `block` events of a recorded stream.
fn block_roots_of_events(path: &Path) -> Result<BTreeMap<u64, Root>, String> {
    #[derive(serde::Deserialize)]
    struct Event {
        slot: String,
        block: Root,
    }
    let text = bytes_of(path)?;
    let text = std::str::from_utf8(&text).map_err(|e| e.to_string())?;
    let mut roots = BTreeMap::new();
    let mut is_block = false;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("event: ") {
            is_block = kind == "block";
        } else if let Some(data) = line.strip_prefix("data: ").filter(|_| is_block) {
            let event: Event = serde_json::from_str(data).map_err(|e| e.to_string())?;
            roots.insert(event.slot.parse().map_err(|e| format!("{e}"))?, event.block);
        }
    }
    Ok(roots)
}
