//! GET `/openapi.json`: what this API serves, as an OpenAPI document.

use crate::openapi::Operation;
use axum::{
    Extension,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::json;

/// The document as text, made once.
#[derive(Debug, Clone)]
pub(crate) struct Document(pub(crate) Bytes);

pub(crate) async fn get(Extension(document): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.0).into_response()
}

pub(crate) fn describe() -> Operation {
    Operation::new("getOpenApi", "This document").json(json!({ "type": "object", "required": ["openapi"] }))
}
