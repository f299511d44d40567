//! GET `/eth/v1/node/version`.

use crate::ApiState;
use crate::openapi::{Operation, data, object};
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub(crate) async fn get(State(state): State<ApiState>) -> Json<Value> {
    Json(json!({ "data": { "version": state.info.version } }))
}

pub(crate) fn describe() -> Operation {
    Operation::new("getNodeVersion", "This node's version")
        .json(data(object(json!({ "version": { "type": "string" } }))))
}
