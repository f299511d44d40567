//! GET `/assay/v1/status`: the node in numbers, for people, scripts and `assay devnet`.

use crate::ApiState;
use crate::openapi::{Operation, data, list_of, object, or_null};
use assay_verification::{IgnoreReason, RejectReason, Source};
use axum::{Json, extract::State};
use serde_json::{Map, Value, json};

pub(crate) async fn get(State(state): State<ApiState>) -> Json<Value> {
    let proofs = state.intake.metrics().snapshot();
    let gate = state.gate.stats();
    let network = state.network.counters();
    let peers = state.network.peer_count();
    let sync = state.network.sync_state();
    let by_source: Map<String, Value> = Source::LABELS
        .iter()
        .map(|label| ((*label).to_owned(), proofs.accepted(label).into()))
        .collect();
    let accepted: u64 = Source::LABELS.iter().map(|label| proofs.accepted(label)).sum();
    let ignored: Map<String, Value> = IgnoreReason::ALL
        .iter()
        .map(|r| (r.label().to_owned(), proofs.ignored(*r).into()))
        .collect();
    let rejected: Map<String, Value> = RejectReason::ALL
        .iter()
        .map(|r| (r.label().to_owned(), proofs.rejected(*r).into()))
        .collect();
    Json(json!({ "data": {
        "version": state.info.version,
        "proof_types": state.info.proof_types,
        "proofs_prove_nothing": state.info.insecure_proofs,
        "head_slot": state.chain.head().map(|h| h.slot.0),
        "current_slot": state.chain.current_slot().0,
        "synced": state.chain.is_synced(),
        "gate": {
            "import_policy": gate.policy,
            "required_proofs": gate.required_proofs,
            "head": gate.head,
            "head_verdict": gate.head_verdict.map(|v| v.as_str()),
            "payloads": gate.payloads,
            "answered_valid": gate.answered_valid,
            "answered_syncing": gate.answered_syncing,
            "answered_invalid": gate.answered_invalid,
            "lowered": gate.lowered,
            "unanswered": gate.unanswered,
            "alarms": gate.alarms,
            "syncing_first_valid_later": gate.syncing_first_valid_later,
        },
        "proofs": { "accepted": accepted, "by_source": by_source, "ignored": ignored, "rejected": rejected },
        "network": {
            "connected_peers": peers.connected,
            "bytes_sent": network.bytes_sent,
            "bytes_received": network.bytes_received,
            "messages_received": network.messages_received,
            "messages_published": network.messages_published,
            "messages_forwarded": network.messages_forwarded,
            "late_accepts": network.late_accepts,
        },
        // Proofs of the range that is kept, one a payload and type.
        "sync": {
            "blocks": sync.blocks,
            "held": sync.held,
            "missing": sync.missing,
            "under_way": sync.under_way,
            "not_obtainable": sync.not_obtainable,
            "requests": sync.requests,
            "sources": sync.sources,
            "paused": sync.paused,
            "unreachable_slots": sync.unreachable.map(|(from, to)| json!({ "from": from.0, "to": to.0 })),
        },
    }}))
}

pub(crate) fn describe() -> Operation {
    let (number, text) = (json!({ "type": "integer" }), json!({ "type": "string" }));
    let counts = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
    Operation::new("getStatus", "The node in numbers").json(data(object(json!({
        "version": text,
        "proof_types": list_of(number.clone()),
        "proofs_prove_nothing": { "type": "boolean" },
        "head_slot": or_null("integer"),
        "current_slot": number,
        "synced": { "type": "boolean" },
        "gate": { "type": "object", "required": ["import_policy", "required_proofs", "head_verdict"] },
        "proofs": object(json!({ "accepted": number, "by_source": counts, "ignored": counts, "rejected": counts })),
        "network": counts,
        "sync": { "type": "object", "required": ["blocks", "held", "missing"] },
    }))))
}
