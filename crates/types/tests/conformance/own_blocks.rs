//! The repository's own vectors of whole blocks, requests and envelopes, every fork in both presets: always replayed.

use crate::{check_shape, same, same_bytes, spec_with};
use assay_conformance::{Case, Failure, Outcome, Target};
use assay_types::{
    BeaconBlockSummary, BlockPayload, ForkName, NewPayloadRequest, PayloadEnvelope, Root, Spec,
    containers::ContainerContext, inspect,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// JSON with sorted keys, in lower case: what `json_sha256` is of.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            let members: Vec<_> = members
                .into_iter()
                .map(|(key, member)| format!("\"{key}\":{}", canonical(member)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        plain => plain.to_string().to_lowercase(),
    }
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

#[test]
fn own_blocks() -> Result<(), Failure> {
    Target::run_own(env!("CARGO_MANIFEST_DIR"), "blocks.json", |case| {
        let spec = match case.text("preset")? {
            "minimal" => Spec::minimal(),
            _ => Spec::mainnet(),
        };
        let fork: ForkName = case.text("fork")?.parse().map_err(text)?;
        let (name, ssz, root) = (
            case.text("type")?,
            case.ssz("ssz")?,
            Root::from(case.array("root")?),
        );
        check_shape(name, fork, &spec, spec.revision, &ssz, &root)?;
        let json = inspect::decode(name, &ContainerContext::new(fork, &spec), &ssz).map_err(text)?;
        same(
            "hash of the JSON",
            &Sha256::digest(canonical(&json).as_bytes()).to_vec(),
            &case.hex("json_sha256")?,
        )?;
        match name {
            "SignedBeaconBlock" => block(&case, fork, &spec, &json)?,
            "NewPayloadRequest" => {
                let request = NewPayloadRequest::from_ssz_bytes(fork, &spec, &ssz).map_err(text)?;
                same_bytes("encoding", &request.to_ssz_bytes(), &ssz)?;
                same("root", &request.hash_tree_root(&spec).map_err(text)?, &root)?;
                let other_form = spec_with(&spec, &[("NEW_PAYLOAD_REQUEST_FORM", "A")])?;
                let other = request.hash_tree_root(&other_form).map_err(text)?;
                same("whether the form matters", &(other != root), &fork.has_envelope())?;
            }
            "SignedExecutionPayloadEnvelope" => {
                PayloadEnvelope::from_signed_envelope_ssz(fork, &spec, &ssz).map_err(text)?;
            }
            _ => {}
        }
        Ok(Outcome::Run)
    })
}

/// The block's root and its payload request's, from SSZ and from JSON.
fn block(case: &Case<'_>, fork: ForkName, spec: &Spec, json: &Value) -> Result<(), String> {
    let ssz = case.ssz("ssz")?;
    for block in [
        BeaconBlockSummary::from_signed_block_ssz(fork, spec, &ssz).map_err(text)?,
        BeaconBlockSummary::from_signed_block_json(fork, spec, json).map_err(text)?,
    ] {
        same("block root", &block.block_root, &case.array("block_root")?.into())?;
        let request_root = match &block.payload {
            BlockPayload::Request(request) => Some(request.hash_tree_root(spec).map_err(text)?),
            _ => None,
        };
        let expected = case
            .has("new_payload_request_root")
            .then(|| case.array("new_payload_request_root"));
        same(
            "request root",
            &request_root,
            &expected.transpose()?.map(Root::from),
        )?;
    }
    Ok(())
}
