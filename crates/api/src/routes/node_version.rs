//! GET `/eth/v1/node/version`.

use crate::ApiState;
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub(crate) async fn get(State(state): State<ApiState>) -> Json<Value> {
    Json(json!({ "data": { "version": state.info.version } }))
}
