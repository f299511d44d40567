//! The one error every route answers with: JSON `{code, message}`, and `failures` where a list was sent.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// Why one of several was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexedFailure {
    /// Its place in the list that was sent, from 0.
    pub index: usize,
    /// Why.
    pub message: String,
}

/// An error in the Beacon API's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiError {
    /// The HTTP status.
    pub code: u16,
    /// What a caller can act on.
    pub message: String,
    /// Which of several were not taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<IndexedFailure>,
}

impl ApiError {
    /// An error of one status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code: status.as_u16(),
            message: message.into(),
            failures: Vec::new(),
        }
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 503: the node cannot tell now; the caller may try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 500: this node's own trouble.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The same with a list of failures.
    #[must_use]
    pub fn with_failures(mut self, failures: Vec<IndexedFailure>) -> Self {
        self.failures = failures;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
