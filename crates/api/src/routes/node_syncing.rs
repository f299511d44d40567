//! GET `/eth/v1/node/syncing`: the chain view's, which follows the beacon node's.

use crate::ApiState;
use crate::openapi::{Operation, data, object, schema};
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub(crate) async fn get(State(state): State<ApiState>) -> Json<Value> {
    let head = state.chain.head();
    let head_slot = head.as_ref().map_or(0, |h| h.slot.0);
    let distance = state.chain.current_slot().0.saturating_sub(head_slot);
    Json(json!({ "data": {
        "head_slot": head_slot.to_string(),
        "sync_distance": distance.to_string(),
        "is_syncing": !state.chain.is_synced(),
        "is_optimistic": head.is_none_or(|h| h.execution_optimistic),
        "el_offline": (state.execution_offline)(),
    }}))
}

pub(crate) fn describe() -> Operation {
    let (number, flag) = (schema("Number"), json!({ "type": "boolean" }));
    Operation::new("getSyncingStatus", "The chain view's distance from the head").json(data(object(json!({
        "head_slot": number, "sync_distance": number, "is_syncing": flag, "is_optimistic": flag, "el_offline": flag,
    }))))
}
