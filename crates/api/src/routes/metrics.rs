//! GET `/metrics`: Prometheus text (OpenMetrics).

use crate::{ApiError, openapi::Operation};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::json;
use std::sync::Arc;

pub(crate) async fn get(State(registry): State<Arc<Mutex<Registry>>>) -> Result<Response, ApiError> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry.lock())
        .map_err(|e| ApiError::internal(format!("metrics: {e}")))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

pub(crate) fn describe() -> Operation {
    let text = json!({ "type": "string" });
    Operation::new("getMetrics", "Prometheus text").answer(
        200,
        "OpenMetrics",
        &[("application/openmetrics-text", text)],
    )
}
