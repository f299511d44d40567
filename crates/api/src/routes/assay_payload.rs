//! GET `/assay/v1/payloads/{id}`, by execution block hash or by slot: why a payload has its verdict. Its proofs with who
//! signed them and how they came, proofs that have no verdict yet or were not accepted, what it lacks, the ancestors that hold it back, and each change of its verdict with time,
//! cause and rule of design.md (Gate). By slot a list: there may be one on each of several branches. By the root that proofs
//! name and nobody here has seen: what waits for it.

use crate::{
    ApiError, ApiState,
    openapi::{Operation, data, list_of},
    routes::assay_payloads::{awaited, row, unix_ms, without_verdict},
};
use assay_gate::{HeldBy, PastChange, PayloadVerdict, PayloadView, RememberedPayload};
use assay_types::{BlockHash, ProofType, Root, Slot, ValidatorIndex};
use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Ancestors named at most, the nearest.
const MAX_ANCESTORS: usize = 32;
/// Payloads of one slot shown at most.
const MAX_PAYLOADS: usize = 16;

pub(crate) async fn get(
    State(state): State<ApiState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if let Ok(slot) = id.parse::<u64>() {
        let payloads = state.gate.payloads(Slot(slot), Slot(slot), MAX_PAYLOADS);
        let left = state.gate.remembered_at(Slot(slot), MAX_PAYLOADS);
        if payloads.is_empty() && left.is_empty() {
            return Err(ApiError::not_found(format!(
                "the gate has no payload of slot {slot}"
            )));
        }
        let mut shown = Vec::with_capacity(payloads.len());
        for payload in &payloads {
            shown.push(explained(&state, payload).await?);
        }
        for payload in &left {
            shown.push(remembered(&state, payload).await?);
        }
        return Ok(Json(json!({ "data": shown })));
    }
    let block_hash: BlockHash = id.parse().map_err(|_| {
        ApiError::bad_request(format!("{id:?} is neither an execution block hash nor a slot"))
    })?;
    if let Some(payload) = state.gate.payload(&block_hash) {
        return Ok(Json(json!({ "data": explained(&state, &payload).await? })));
    }
    match state.gate.remembered(&block_hash) {
        Some(payload) => Ok(Json(json!({ "data": remembered(&state, &payload).await? }))),
        // No root is a hash of another kind, so this is what proofs name.
        None => match state.intake.awaited_by(&block_hash) {
            Some(found) => Ok(Json(
                json!({ "data": { "in_tree": false, "awaited": awaited(&found) } }),
            )),
            None => Err(ApiError::not_found("the gate does not know this payload")),
        },
    }
}

async fn explained(state: &ApiState, payload: &PayloadView) -> Result<Value, ApiError> {
    let mut data = row(payload);
    if let Some(root) = payload.new_payload_request_root {
        let signers = signers_of(state, root).await?;
        let origins = state.gate.proof_origins(&root);
        let counted = state.gate.config().counted_types;
        data["proofs"] = payload
            .proofs
            .iter()
            .map(|(proof_type, at)| {
                let origin = origins.get(proof_type);
                let signer = origin
                    .map(|o| o.validator_index)
                    .or(signers.get(proof_type).copied());
                json!({
                    "proof_type": proof_type,
                    "at_ms": at.0,
                    "counts": counted.contains(*proof_type),
                    "validator_index": signer.map(|v| v.to_string()),
                    "source": origin.map(|o| o.source),
                })
            })
            .collect();
    }
    let roots = Vec::from_iter(payload.new_payload_request_root);
    let trails = state.intake.trail(&roots);
    let under_way = trails.iter().flat_map(|(key, trail)| {
        let proofs = trail.under_way.iter();
        proofs.map(|proof| without_verdict(key.proof_type, proof))
    });
    data["without_verdict"] = under_way.collect();
    let refused = trails
        .iter()
        .filter(|(_, trail)| !trail.invalid.is_empty() || trail.refused > 0);
    data["not_accepted"] = refused
        .map(|(key, trail)| {
            let invalid: Vec<Value> = trail
                .invalid
                .iter()
                .map(|i| {
                    json!({
                        "validator_index": i.validator_index.to_string(),
                        "source": i.source,
                        "at_ms": unix_ms(i.at),
                    })
                })
                .collect();
            json!({ "proof_type": key.proof_type, "invalid": invalid, "refused": trail.refused })
        })
        .collect();
    let ancestors = state.gate.holding_ancestors(&payload.block_hash, MAX_ANCESTORS);
    data["held_by_detail"] = payload.held_by.map_or(Value::Null, |held| detail(&held));
    data["holding_ancestors"] = ancestors
        .iter()
        .map(|a| json!({ "block_hash": a.block_hash, "slot": a.slot.map(|s| s.0), "held_by": detail(&a.held_by) }))
        .collect();
    data["changes"] = changes_of(state, &payload.block_hash);
    data["in_tree"] = true.into();
    Ok(data)
}

/// The last changes of its verdict, oldest first.
fn changes_of(state: &ApiState, block_hash: &BlockHash) -> Value {
    state.gate.changes(block_hash).iter().map(changed).collect()
}

/// Who signed what is on disk.
async fn signers_of(state: &ApiState, root: Root) -> Result<BTreeMap<ProofType, ValidatorIndex>, ApiError> {
    let reader = state.store.reader().clone();
    let keys = tokio::task::spawn_blocking(move || reader.keys_of(&root)).await;
    let keys = keys
        .map_err(|e| ApiError::internal(e.to_string()))?
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let signers = keys.into_iter().map(|key| (key.proof_type, key.validator_index));
    Ok(signers.collect())
}

fn changed(change: &PastChange) -> Value {
    json!({
        "at_ms": change.at.0,
        "from": change.from.map(|v| v.as_str()),
        "to": change.to.as_str(),
        "cause": change.cause.as_str(),
        "held_by": change.held_by.map(|h| h.label()),
        "rule": match (change.held_by, change.to) {
            (Some(held), _) => Some(held.rule()),
            (None, PayloadVerdict::Valid) => Some(change.cause.rule_of_valid()),
            (None, _) => None,
        },
    })
}

/// What holds a payload back, with its numbers.
fn detail(held: &HeldBy) -> Value {
    let (kind, rule) = (held.label(), held.rule());
    match held {
        HeldBy::El(status) => json!({ "kind": kind, "rule": rule, "execution_status": status.as_str() }),
        HeldBy::Proofs { have, need } => json!({ "kind": kind, "rule": rule, "have": have, "need": need }),
        HeldBy::Ancestor(hash) | HeldBy::UnknownAncestor(hash) | HeldBy::Conflict(hash) => {
            json!({ "kind": kind, "rule": rule, "block_hash": hash })
        }
        HeldBy::OtherRequestRoot
        | HeldBy::Unreadable
        | HeldBy::OtherLatestValidHash
        | HeldBy::UnknownPayload
        | HeldBy::NotPersisted => json!({ "kind": kind, "rule": rule }),
    }
}

/// A payload that finality took out of the tree.
async fn remembered(state: &ApiState, payload: &RememberedPayload) -> Result<Value, ApiError> {
    // The store keeps what was proven of it.
    let signers = match payload.new_payload_request_root {
        Some(root) => signers_of(state, root).await?,
        None => BTreeMap::new(),
    };
    let counted = state.gate.config().counted_types;
    let proofs: Vec<Value> = signers
        .iter()
        .map(|(proof_type, signer)| {
            json!({
                "proof_type": proof_type,
                "counts": counted.contains(*proof_type),
                "validator_index": signer.to_string(),
            })
        })
        .collect();
    Ok(json!({
        "in_tree": false,
        "proofs": proofs,
        "changes": changes_of(state, &payload.block_hash),
        "block_hash": payload.block_hash,
        "new_payload_request_root": payload.new_payload_request_root,
        "slot": payload.slot.map(|s| s.0),
        "verdict": if payload.valid && !payload.conflict { "VALID" } else { "SYNCING" },
        "told_valid": payload.told_valid,
        "conflict": payload.conflict,
    }))
}

pub(crate) fn describe() -> Operation {
    let explained = json!({ "type": "object" });
    let either = json!({ "anyOf": [explained, list_of(explained.clone())] });
    Operation::new(
        "getPayload",
        "Why a payload has its verdict; by slot a list, for there may be one on each branch",
    )
    .path(
        "id",
        "an execution block hash, a slot, or the root that proofs name which wait for it",
        &json!({ "type": "string", "minLength": 1 }),
    )
    .json(data(either))
    .error(400, "neither a hash nor a slot")
    .error(404, "the gate does not know it")
}
