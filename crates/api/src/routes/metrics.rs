//! GET `/metrics`: Prometheus text (OpenMetrics).

use crate::{ApiError, ApiState};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

pub(crate) async fn get(State(state): State<ApiState>) -> Result<Response, ApiError> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &state.registry.lock())
        .map_err(|e| ApiError::internal(format!("metrics: {e}")))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
