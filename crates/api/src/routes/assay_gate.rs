//! GET `/assay/v1/gate`: the gate's settings and state in numbers, and the payloads that wait for the operator.

use crate::{
    ApiState,
    openapi::{Operation, data},
};
use assay_gate::OnMissingProofs;
use assay_types::ProofType;
use axum::{Json, extract::State};
use serde_json::{Value, json};

/// Payloads in conflict named at most.
const MAX_CONFLICTS: usize = 64;
/// Payloads that lack proofs counted at most.
const MAX_UNPROVEN: usize = 65_536;

pub(crate) async fn get(State(state): State<ApiState>) -> Json<Value> {
    let (config, stats) = (state.gate.config(), state.gate.stats());
    let counted: Vec<ProofType> = state
        .info
        .proof_types
        .iter()
        .copied()
        .filter(|t| config.counted_types.contains(*t))
        .collect();
    let grace_slots = match config.on_missing_proofs {
        OnMissingProofs::Wait => None,
        OnMissingProofs::TrustExecution { grace_slots } => Some(grace_slots),
    };
    let client = match (config.policy.has_execution_client(), (state.execution_offline)()) {
        (false, _) => "none",
        (true, true) => "offline",
        (true, false) => "online",
    };
    let newest_proven = state.gate.newest_proven();
    Json(json!({ "data": {
        "import_policy": config.policy,
        "required_proofs": config.required_proofs,
        "required_proof_types": counted,
        "proof_lag": config.proof_lag,
        "on_missing_proofs": if grace_slots.is_some() { "trust-execution" } else { "wait" },
        "missing_proofs_grace_slots": grace_slots,
        "wait_for_proofs_ms": config.wait_for_proofs_ms,
        "execution_slow_after_ms": config.execution_slow_after_ms,
        "recursive_proofs": config.recursive_proofs,
        "alert_after_slots": (config.alert_after_slots < u64::MAX).then_some(config.alert_after_slots),
        "execution_client": client,
        "head": stats.head,
        "head_verdict": stats.head_verdict.map(|v| v.as_str()),
        "newest_proven": newest_proven.as_ref().map(|p| p.block_hash),
        "newest_proven_slot": newest_proven.and_then(|p| p.slot).map(|s| s.0),
        "payloads": stats.payloads,
        "remembered": stats.settled,
        "unproven": state.gate.unproven(MAX_UNPROVEN).len(),
        "conflicts": state.gate.conflicts(MAX_CONFLICTS),
        "answered_valid": stats.answered_valid,
        "answered_syncing": stats.answered_syncing,
        "answered_invalid": stats.answered_invalid,
        "lowered": stats.lowered,
        "raised": stats.raised,
        "unanswered": stats.unanswered,
        "alarms": stats.alarms,
        "syncing_first_valid_later": stats.syncing_first_valid_later,
    } }))
}

pub(crate) fn describe() -> Operation {
    Operation::new("getGate", "The gate's settings and state in numbers")
        .json(data(json!({ "type": "object" })))
}
