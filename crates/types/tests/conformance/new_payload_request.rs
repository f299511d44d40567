//! Payload requests of every fork and form: bytes, roots, headers, and the way from block and envelope to them.

use crate::{check_shape, same, same_bytes, spec_with, target};
use assay_conformance::{Case, Failure, Outcome};
use assay_types::{
    BeaconBlockSummary, BlockPayload, ForkName, NewPayloadRequest, NewPayloadRequestForm,
    NewPayloadRequestHeader, PayloadEnvelope, Revision, Root, Schema, Spec, SszError,
    containers::{ContainerContext, lookup},
    inspect::{self, Encoded},
    payload::kzg_commitment_to_versioned_hash,
};
use bytes::Bytes;

fn text(e: SszError) -> String {
    e.to_string()
}

fn shape(name: &str, fork: ForkName, spec: &Spec) -> Result<Schema, String> {
    lookup(name, &ContainerContext::new(fork, spec)).map_err(|e| e.to_string())
}

fn expected(case: &Case<'_>, key: &str) -> Result<Root, String> {
    Ok(Root::from(case.array(key)?))
}

/// Compares with the root under `key`, where the case has one.
fn same_if_given(case: &Case<'_>, key: &str, ours: Root) -> Result<(), String> {
    if case.has(key) {
        same(key, &ours, &expected(case, key)?)?;
    }
    Ok(())
}

/// Through the Rust type, through the shape, through JSON: one encoding, one root.
fn check_request(fork: ForkName, spec: &Spec, ssz: &Bytes, root: &Root) -> Result<NewPayloadRequest, String> {
    let request = NewPayloadRequest::from_ssz_bytes(fork, spec, ssz).map_err(text)?;
    same_bytes("encoding", &request.to_ssz_bytes(), ssz)?;
    same("root", &request.hash_tree_root(spec).map_err(text)?, root)?;
    check_shape("NewPayloadRequest", fork, spec, Revision::Alpha, ssz, root)?;
    Ok(request)
}

/// The header in `ssz` is the one of `request`, and has the same root.
fn check_header(request: &NewPayloadRequest, spec: &Spec, ssz: &Bytes, root: &Root) -> Result<(), String> {
    let fork = request.fork;
    let header = NewPayloadRequestHeader::from_ssz_bytes(fork, spec, ssz).map_err(text)?;
    same(
        "the request's header",
        &request.header(spec).map_err(text)?,
        &header,
    )?;
    same_bytes("header's encoding", &header.to_ssz_bytes(), ssz)?;
    same("header's root", &header.hash_tree_root(spec).map_err(text)?, root)?;
    check_shape("NewPayloadRequestHeader", fork, spec, Revision::Alpha, ssz, root)
}

/// Roots of parts that a case may give.
fn check_parts(case: &Case<'_>, request: &NewPayloadRequest, spec: &Spec, ssz: &Bytes) -> Result<(), String> {
    let schema = shape("NewPayloadRequest", request.fork, spec)?;
    let view = schema.view(ssz).map_err(|e| e.to_string())?;
    let root = |path: &str| {
        view.at(path)
            .map(|v| v.hash_tree_root())
            .ok_or_else(|| format!("no {path}"))
    };
    same_if_given(case, "execution_payload_root", root("execution_payload")?)?;
    same_if_given(case, "execution_requests_root", root("execution_requests")?)?;
    let requests = request
        .execution_requests
        .hash_tree_root(request.fork, spec)
        .map_err(text)?;
    same_if_given(case, "execution_requests_root", requests)?;
    same_if_given(case, "transactions_root", root("execution_payload.transactions")?)?;
    same_if_given(case, "withdrawals_root", root("execution_payload.withdrawals")?)?;
    if case.has("n_versioned_hashes") {
        let count = request.versioned_hashes.len() as u64;
        same("n_versioned_hashes", &count, &case.number("n_versioned_hashes")?)?;
    }
    Ok(())
}

fn fork_of(head: &Case<'_>) -> Result<ForkName, String> {
    match head.text("fork") {
        Ok(name) => name.parse().map_err(|e| format!("{e}")),
        Err(_) => Ok(ForkName::Fulu),
    }
}

fn spec_of(head: &Case<'_>) -> Result<Spec, String> {
    match head.text("preset") {
        Ok("minimal") => Ok(Spec::minimal()),
        Ok("mainnet") | Err(_) => Ok(Spec::mainnet()),
        Ok(other) => Err(format!("no preset is called {other}")),
    }
}

/// Electra and Fulu, with headers; and the cases that give the same bytes' roots under both presets.
#[test]
fn new_payload_request() -> Result<(), Failure> {
    target()?.run("new_payload_request", |file| {
        let head = file.head();
        let (fork, spec) = (fork_of(&head)?, spec_of(&head)?);
        file.cases("cases", |case| {
            if case.has("root_minimal") {
                return both_presets(&case, fork);
            }
            let (ssz, root) = (case.ssz("ssz")?, expected(&case, "root")?);
            let request = check_request(fork, &spec, &ssz, &root)?;
            check_parts(&case, &request, &spec, &ssz)?;
            if let Some(header) = case.optional_ssz("header_ssz")? {
                let header_root = expected(&case, "header_root")?;
                check_header(&request, &spec, &header, &header_root)?;
                same("root of the header and of the request", &header_root, &root)?;
                let schema = shape("NewPayloadRequestHeader", fork, &spec)?;
                let view = schema.view(&header).map_err(|e| e.to_string())?;
                let payload_header = view
                    .field("execution_payload_header")
                    .ok_or("no header in the header")?;
                same_if_given(
                    &case,
                    "execution_payload_header_root",
                    payload_header.hash_tree_root(),
                )?;
            }
            Ok(Outcome::Run)
        })
    })
}

fn both_presets(case: &Case<'_>, fork: ForkName) -> Result<Outcome, String> {
    let ssz = match case.optional_ssz("ssz")? {
        Some(ssz) => Some(ssz),
        None => case.ssz_beside(&format!("new_payload_request/{fork}.json"), &case.name(), "ssz")?,
    };
    let Some(ssz) = ssz else {
        return Ok(Outcome::Skipped("the case of the same name is not in the folder"));
    };
    check_request(fork, &Spec::minimal(), &ssz, &expected(case, "root_minimal")?)?;
    if case.has("root_mainnet") {
        check_request(fork, &Spec::mainnet(), &ssz, &expected(case, "root_mainnet")?)?;
    }
    Ok(Outcome::Run)
}

/// The forms of a Gloas request and their roots: `roots` names each by its letter first.
fn forms(case: &Case<'_>, base: &Spec) -> Result<Vec<(Spec, Root)>, String> {
    let roots = case.inner("roots")?;
    let names = roots.value().as_object().ok_or("roots is no object")?.keys();
    names
        .map(|name| {
            let letter = name.split('_').next().unwrap_or_default();
            let form: NewPayloadRequestForm = letter.parse().map_err(|e| format!("{name}: {e}"))?;
            let spec = spec_with(base, &[("NEW_PAYLOAD_REQUEST_FORM", form.as_str())])?;
            Ok((spec, expected(&roots, name)?))
        })
        .collect()
}

#[test]
fn new_payload_request_gloas() -> Result<(), Failure> {
    target()?.run("new_payload_request_gloas", |file| {
        let base = spec_of(&file.head())?;
        file.cases("cases", |case| {
            let ssz = case.ssz("ssz")?;
            let forms = forms(&case, &base)?;
            if forms.is_empty() {
                return Err("no roots".to_owned());
            }
            for (spec, root) in &forms {
                let request = check_request(ForkName::Gloas, spec, &ssz, root)
                    .map_err(|why| format!("form {}: {why}", spec.new_payload_request_form))?;
                check_parts(&case, &request, spec, &ssz)?;
            }
            Ok(Outcome::Run)
        })
    })
}

/// From a block and its envelope, in SSZ and in JSON, to the request.
#[test]
fn new_payload_request_e2e() -> Result<(), Failure> {
    target()?.run("new_payload_request_e2e", |file| {
        let head = file.head();
        let base = spec_of(&head)?;
        file.whole(&["blob_kzg_commitments", "versioned_hashes"], |case| {
            let fork = ForkName::Gloas;
            let (block_ssz, envelope_ssz) = (case.ssz("signed_block_ssz")?, case.ssz("signed_envelope_ssz")?);
            let request_ssz = case.ssz("new_payload_request_ssz")?;
            let block_shape = shape("SignedBeaconBlock", fork, &base)?;
            let block_view = block_shape.view(&block_ssz).map_err(|e| e.to_string())?;
            let bid = block_view
                .at("message.body.signed_execution_payload_bid.message")
                .ok_or("no bid in the block")?;
            same_bytes("bid", bid.bytes(), &case.ssz("bid_ssz")?)?;
            check_shape(
                "ExecutionPayloadBid",
                fork,
                &base,
                Revision::Alpha,
                bid.bytes(),
                &bid.hash_tree_root(),
            )?;
            let envelope_shape = shape("SignedExecutionPayloadEnvelope", fork, &base)?;
            let envelope_json = envelope_shape
                .view(&envelope_ssz)
                .map_err(|e| e.to_string())?
                .to_json();

            let from_ssz = (
                BeaconBlockSummary::from_signed_block_ssz(fork, &base, &block_ssz).map_err(text)?,
                PayloadEnvelope::from_signed_envelope_ssz(fork, &base, &envelope_ssz).map_err(text)?,
            );
            let from_json = (
                BeaconBlockSummary::from_signed_block_json(fork, &base, &block_view.to_json())
                    .map_err(text)?,
                PayloadEnvelope::from_signed_envelope_json(fork, &base, &envelope_json).map_err(text)?,
            );
            for (block, envelope) in [from_ssz, from_json] {
                same(
                    "block root",
                    &block.block_root,
                    &expected(&case, "beacon_block_root")?,
                )?;
                same(
                    "parent beacon block root",
                    &envelope.partial_request.parent_beacon_block_root,
                    &expected(&case, "parent_beacon_block_root")?,
                )?;
                let request = envelope.request(&block).map_err(text)?;
                same_bytes("request", &request.to_ssz_bytes(), &request_ssz)?;
                check_commitments(&case, &request)?;
                for (spec, root) in forms(&case, &base)? {
                    same("root", &request.hash_tree_root(&spec).map_err(text)?, &root)?;
                    check_request(fork, &spec, &request_ssz, &root)?;
                    let summary = inspect::payload_summary(
                        None,
                        &spec,
                        Encoded::Ssz(block_ssz.clone()),
                        Some(Encoded::Ssz(envelope_ssz.clone())),
                    );
                    let summary = summary.map_err(|e| e.to_string())?;
                    same("root of the summary", &summary.new_payload_request_root, &root)?;
                }
            }
            Ok(Outcome::Run)
        })
    })
}

/// The commitments of the case and the versioned hashes that follow from them are the request's.
fn check_commitments(case: &Case<'_>, request: &NewPayloadRequest) -> Result<(), String> {
    let hashes: Vec<Root> = serde_json::from_value(case.value()["versioned_hashes"].clone())
        .map_err(|e| format!("versioned_hashes: {e}"))?;
    same("versioned hashes", &request.versioned_hashes, &hashes)?;
    let commitments: Vec<String> = serde_json::from_value(case.value()["blob_kzg_commitments"].clone())
        .map_err(|e| format!("blob_kzg_commitments: {e}"))?;
    let from_commitments: Vec<Root> = commitments
        .iter()
        .map(|hex| {
            assay_types::primitives::parse_hex(hex).map(|bytes| kzg_commitment_to_versioned_hash(&bytes))
        })
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    same("hashes of the commitments", &from_commitments, &hashes)
}

/// February's request of an unsigned Fulu block.
#[test]
fn february_new_payload_request() -> Result<(), Failure> {
    target()?.run("february_new_payload_request", |file| {
        let base = spec_of(&file.head())?;
        file.whole(&[], |case| {
            let fork = ForkName::Fulu;
            let block_ssz = case.ssz("beacon_block_ssz")?;
            let block_root = expected(&case, "beacon_block_root")?;
            check_shape(
                "BeaconBlock",
                fork,
                &base,
                Revision::Alpha,
                &block_ssz,
                &block_root,
            )?;
            // The vector's block is unsigned: offset of the message, signature, message.
            let signed: Bytes = [&100u32.to_le_bytes()[..], &[0; 96], &block_ssz].concat().into();
            let block = BeaconBlockSummary::from_signed_block_ssz(fork, &base, &signed).map_err(text)?;
            same("block root", &block.block_root, &block_root)?;
            let BlockPayload::Request(request) = block.payload else {
                return Err("the block has no payload".to_owned());
            };
            let (ssz, root) = (
                case.ssz("new_payload_request_ssz")?,
                expected(&case, "new_payload_request_root")?,
            );
            same_bytes("request", &request.to_ssz_bytes(), &ssz)?;
            let decoded = check_request(fork, &base, &ssz, &root)?;
            let header_root = expected(&case, "header_root")?;
            same("root of the header and of the request", &header_root, &root)?;
            check_header(&decoded, &base, &case.ssz("header_ssz")?, &header_root)?;
            Ok(Outcome::Run)
        })
    })
}
