//! GET `/assay/v1/payloads?from_slot=&to_slot=&limit=`: payloads of the gate's tree by slot: proofs, verdict, what holds
//! it back, and when what happened (Unix milliseconds). Beside them what proofs wait for that nobody here has seen: payloads
//! that are not in the tree, or blocks that are not known.

use crate::openapi::{Operation, list_of, object, schema};
use crate::{ApiError, ApiState};
use assay_gate::PayloadView;
use assay_types::{ProofType, Revision, Slot};
use assay_verification::{Awaited, UnderWay};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most payloads of one answer.
const MAX_LIMIT: usize = 4096;
/// How many where nothing is asked for.
const DEFAULT_LIMIT: usize = 64;
/// Roots that are waited for, named at most.
const MAX_AWAITED: usize = 64;

#[derive(Deserialize)]
pub(crate) struct Range {
    from_slot: Option<u64>,
    to_slot: Option<u64>,
    limit: Option<usize>,
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    range: Result<Query<Range>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(range) = range.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let (from, to) = (range.from_slot.unwrap_or(0), range.to_slot.unwrap_or(u64::MAX));
    let limit = range.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let payloads = state.gate.payloads(Slot(from), Slot(to), limit);
    let (longest, all) = state.intake.awaited(MAX_AWAITED);
    Ok(Json(json!({
        "data": payloads.iter().map(row).collect::<Vec<_>>(),
        "awaited": longest.iter().map(awaited).collect::<Vec<_>>(),
        "awaited_roots": all,
    })))
}

/// What proofs wait for, as both routes of payloads show it.
pub(crate) fn awaited(awaited: &Awaited) -> Value {
    let names = match awaited.revision {
        Revision::Alpha => "new_payload_request_root",
        Revision::Beta => "beacon_block_root",
    };
    let proofs: Vec<Value> = awaited
        .proofs
        .iter()
        .map(|(proof_type, proof)| without_verdict(*proof_type, proof))
        .collect();
    json!({
        "revision": awaited.revision.as_str(),
        names: awaited.root,
        "since_ms": unix_ms(awaited.since),
        "count": awaited.count,
        "proofs": proofs,
    })
}

/// A proof that has no verdict yet.
pub(crate) fn without_verdict(proof_type: ProofType, proof: &UnderWay) -> Value {
    json!({
        "proof_type": proof_type,
        // By the proof's own word: its signature may not be verified yet.
        "validator_index": proof.validator_index.to_string(),
        "source": proof.source,
        "arrived_at_ms": unix_ms(proof.arrived_at),
        "waits_for": proof.waits_for.map(|reason| reason.label()),
    })
}

pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A payload as both routes of payloads show it.
pub(crate) fn row(payload: &PayloadView) -> Value {
    let proofs: Vec<Value> = payload
        .proofs
        .iter()
        .map(|(proof_type, at)| json!({ "proof_type": proof_type, "at_ms": at.0 }))
        .collect();
    let times = &payload.times;
    json!({
        "slot": payload.slot.map(|s| s.0),
        "fork": payload.fork,
        "block_hash": payload.block_hash,
        "parent_hash": payload.parent_hash,
        "new_payload_request_root": payload.new_payload_request_root,
        "execution_status": payload.el_status.as_str(),
        "required_proofs": payload.required_proofs,
        "proofs": proofs,
        "proven": payload.proven,
        "proven_chain": payload.proven_chain,
        "released": payload.released,
        "anchor": payload.anchor,
        "conflict": payload.conflict,
        "verdict": payload.verdict.as_str(),
        "held_by": payload.held_by.as_ref().map(|h| h.label()),
        "rule": payload.held_by.as_ref().map(|h| h.rule()),
        "told_syncing_first": payload.first_told_syncing,
        "told_valid": payload.told_valid,
        "seen_at_ms": times.seen_at.0,
        "new_payload_at_ms": times.new_payload_at.map(|t| t.0),
        "execution_valid_at_ms": times.el_valid_at.map(|t| t.0),
        "proven_at_ms": times.proven_at.map(|t| t.0),
        "valid_at_ms": times.valid_at.map(|t| t.0),
        "told_syncing_at_ms": times.told_syncing_at.map(|t| t.0),
        "told_valid_at_ms": times.told_valid_at.map(|t| t.0),
    })
}

pub(crate) fn describe() -> Operation {
    let number = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
    Operation::new(
        "getPayloads",
        "Payloads of the gate's tree by slot, the newest where there are more than `limit`; and what proofs wait for that is not known",
    )
    .query("from_slot", "first slot", &number)
    .query("to_slot", "last slot", &number)
    .query(
        "limit",
        "most payloads; 64 where nothing is said, never more than 4096",
        &number,
    )
    .json(object(json!({
        "data": list_of(schema("Payload")),
        "awaited": list_of(schema("Awaited")),
        "awaited_roots": number,
    })))
    .error(400, "a number that is none")
}
