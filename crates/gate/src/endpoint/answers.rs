//! Answers of the endpoint's own. JSON-RPC errors go out with HTTP 200: every consensus client shows such an error's
//! text and tries again, while some take an HTTP error for a broken transport and say less.

use super::body::{Answer, full};
use assay_engine_api::{ErrorCode, ErrorObject, Id, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};

/// A JSON-RPC body.
pub(super) fn json(body: Vec<u8>) -> Answer {
    let mut answer = Answer::new(full(body));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// A JSON-RPC error.
pub(super) fn error(id: Id, error: ErrorObject) -> Answer {
    json(Response::error(id, error).to_json())
}

/// The execution client gave no answer: -32603.
pub(super) fn no_answer(why: &str) -> ErrorObject {
    ErrorObject::new(
        ErrorCode::InternalError,
        format!("the execution client gave no answer: {why}"),
    )
}

/// An HTTP error in plain text, for callers that are no JSON-RPC callers (yet).
pub(super) fn text(status: StatusCode, message: &str) -> Answer {
    let mut answer = Answer::new(full(format!("{message}\n").into_bytes()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    if status == StatusCode::UNAUTHORIZED {
        answer
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    answer
}
