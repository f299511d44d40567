//! Fork digests, topics, and gossip message ids.

use crate::{same, same_bytes, spec_with, target};
use assay_conformance::{Case, Failure, Outcome};
use assay_types::{
    Epoch, ForkDigest, ForkVersion, Root, SignedExecutionProof, Spec,
    digest::{compute_fork_digest, execution_proof_topic, message_id_invalid, message_id_valid},
    gossip::{compress, decompress},
    spec::{BlobParameters, ProofDataForm},
};
use bytes::Bytes;

fn blob_parameters(case: &Case<'_>) -> Result<BlobParameters, String> {
    Ok(BlobParameters {
        epoch: Epoch(case.number("epoch")?),
        max_blobs_per_block: case.number("max_blobs_per_block")?,
    })
}

#[test]
fn fork_digests() -> Result<(), Failure> {
    target()?.run("fork_digests", |file| {
        let mut schedule = Spec::mainnet().blob_schedule.into_iter();
        file.cases("blob_schedule_mainnet", |case| {
            same("entry", &Some(blob_parameters(&case)?), &schedule.next())?;
            Ok(Outcome::Run)
        })?;
        file.cases("cases", |case| {
            let root = Root::from(case.array("genesis_validators_root")?);
            let version = ForkVersion(case.array("fork_version")?);
            let digest = ForkDigest(case.array("fork_digest")?);
            let parameters = blob_parameters(&case.inner("blob_parameters")?)?;

            // From the case's own fields, whatever its config is.
            let base = compute_fork_digest(version, &root, None);
            same(
                "digest before Fulu",
                &base,
                &ForkDigest(case.array("base_digest_pre_fulu_rule")?),
            )?;
            let mixed = compute_fork_digest(version, &root, Some(parameters));
            if digest != base && digest != mixed {
                return Err(format!("{digest} is neither {base} nor, with blobs, {mixed}"));
            }
            same(
                "topic",
                &execution_proof_topic(digest).as_str(),
                &case.text("topic")?,
            )?;

            // By the schedule, where the config's words can be read.
            let Some(spec) = named_config(case.text("config")?)? else {
                return Ok(Outcome::Partial("its config is in words this test does not read"));
            };
            let epoch = Epoch(case.number("epoch")?);
            same(
                "version of the spec",
                &spec.fork_version_at_epoch(epoch),
                &version,
            )?;
            same("blobs of the spec", &spec.blob_parameters(epoch), &parameters)?;
            same("digest of the spec", &spec.fork_digest(&root, epoch), &digest)?;
            Ok(Outcome::Run)
        })
    })
}

/// The network that a case's `config` describes in words; `None`: words that are not understood.
fn named_config(words: &str) -> Result<Option<Spec>, String> {
    let mut overrides: Vec<(String, String)> = Vec::new();
    if let Some(rest) = words.strip_prefix("mainnet") {
        for part in rest
            .split(" with ")
            .flat_map(|p| p.split(" and "))
            .map(str::trim)
            .filter(|p| !p.is_empty())
        {
            if let Some((key, epoch)) = part.split_once("_FORK_EPOCH=") {
                overrides.push((format!("{key}_FORK_EPOCH"), epoch.to_owned()));
            } else if let Some(entries) = part.strip_prefix("a BPO {").and_then(|p| p.strip_suffix('}')) {
                let mut schedule = Spec::mainnet().to_config()["BLOB_SCHEDULE"].clone();
                for entry in entries.split(',') {
                    let Some((epoch, blobs)) = entry.split_once(':') else {
                        return Ok(None);
                    };
                    if let Some(list) = schedule.as_array_mut() {
                        list.push(
                            serde_json::json!({"EPOCH": epoch.trim(), "MAX_BLOBS_PER_BLOCK": blobs.trim()}),
                        );
                    }
                }
                overrides.push(("BLOB_SCHEDULE".to_owned(), schedule.to_string()));
            } else {
                return Ok(None);
            }
        }
    } else {
        // devnet: all forks at 0, gloas at <n>, versions 0x..<two bytes>, no BLOB_SCHEDULE
        let mut parts = words.strip_prefix("devnet: ").unwrap_or_default().split(", ");
        let gloas = match (parts.next(), parts.next()) {
            (Some("all forks at 0"), Some(gloas)) => gloas.strip_prefix("gloas at "),
            _ => None,
        };
        let version = parts.next().and_then(|p| p.strip_prefix("versions 0x.."));
        let (Some(gloas), Some(version), Some("no BLOB_SCHEDULE"), None) =
            (gloas, version, parts.next(), parts.next())
        else {
            return Ok(None);
        };
        let forks = [
            "GENESIS",
            "ALTAIR",
            "BELLATRIX",
            "CAPELLA",
            "DENEB",
            "ELECTRA",
            "FULU",
            "GLOAS",
        ];
        for (number, fork) in (1..).zip(forks) {
            overrides.push((format!("{fork}_FORK_VERSION"), format!("0x{number}{version:0>7}")));
            let epoch = if fork == "GLOAS" { gloas } else { "0" };
            if fork != "GENESIS" {
                overrides.push((format!("{fork}_FORK_EPOCH"), epoch.to_owned()));
            }
        }
        overrides.push(("BLOB_SCHEDULE".to_owned(), "[]".to_owned()));
    }
    let overrides: Vec<(&str, &str)> = overrides.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    spec_with(&Spec::mainnet(), &overrides).map(Some)
}

/// A message's data: inline or in a file, under one of the names it goes by.
fn message_data(case: &Case<'_>) -> Result<Option<Bytes>, String> {
    for key in ["message_data_raw_snappy", "message_data"] {
        if let Some(data) = case.optional_raw(key)? {
            return Ok(Some(data));
        }
    }
    case.raw_file(".raw_snappy")
}

#[test]
fn gossip() -> Result<(), Failure> {
    let spec = Spec::mainnet();
    target()?.run("gossip", |file| {
        let head = file.head();
        if head.has("max_size_ssz") {
            let most = spec.max_signed_proof_size() as u64;
            same("max_size_ssz", &most, &head.number("max_size_ssz")?)?;
        }
        if head.has("max_payload_size") {
            same(
                "max_payload_size",
                &spec.max_payload_size,
                &head.number("max_payload_size")?,
            )?;
        }
        let limit = spec.max_payload_size as usize;
        file.cases("cases", |case| {
            let topic = case.text("topic")?;
            let id = case.array::<20>("message_id")?;
            let data = message_data(&case)?;
            if !case.boolean("valid_snappy")? {
                let data = data.ok_or("the case has no message data")?;
                if decompress(&data, limit).is_ok() {
                    return Err("it decompresses".to_owned());
                }
                same("message id", &message_id_invalid(topic, &data), &id)?;
                return Ok(Outcome::Run);
            }
            let ssz = case.optional_ssz("ssz")?;
            let unpacked = match &data {
                Some(data) => Bytes::from(decompress(data, limit).map_err(|e| e.to_string())?),
                None => ssz.clone().ok_or("the case has neither data nor ssz")?,
            };
            if let Some(ssz) = ssz {
                same_bytes("uncompressed data", &unpacked, &ssz)?;
            }
            case.check_bytes("ssz", &unpacked)?;
            same("message id", &message_id_valid(topic, &unpacked), &id)?;
            // Another encoder's bytes, the same id.
            let ours = decompress(&compress(&unpacked), limit).map_err(|e| e.to_string())?;
            same("message id of our packing", &message_id_valid(topic, &ours), &id)?;
            if case.has("phase0_message_id_NOT_to_be_used") {
                let old = case.array::<20>("phase0_message_id_NOT_to_be_used")?;
                if old == id {
                    return Err("the id is phase 0's".to_owned());
                }
            }
            let roots = [("signed_proof_root", true), ("dedup_proof_root", false)];
            for (key, whole) in roots.into_iter().filter(|(key, _)| case.has(key)) {
                let signed = SignedExecutionProof::from_ssz_bytes(&unpacked).map_err(|e| e.to_string())?;
                let form = ProofDataForm::Progressive;
                let root = match whole {
                    true => signed.hash_tree_root(&spec, form),
                    false => signed.message.hash_tree_root(&spec, form),
                };
                same(key, &root, &case.array(key)?.into())?;
            }
            Ok(match data {
                Some(_) => Outcome::Run,
                None => Outcome::Partial("the packed data is not in the folder"),
            })
        })
    })
}
