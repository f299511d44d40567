//! GET `/eth/v1/node/health`: 200 ready, 206 while the chain view catches up, 503 while the beacon node is not there.

use crate::ApiState;
use crate::openapi::Operation;
use axum::{extract::State, http::StatusCode};

pub(crate) async fn get(State(state): State<ApiState>) -> StatusCode {
    match (state.chain.head(), state.chain.is_synced()) {
        (None, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Some(_), false) => StatusCode::PARTIAL_CONTENT,
        (Some(_), true) => StatusCode::OK,
    }
}

pub(crate) fn describe() -> Operation {
    Operation::new("getHealth", "Whether this node can be used")
        .empty(200, "ready")
        .empty(206, "the chain view catches up")
        .empty(503, "the beacon node has not been there yet")
}
