//! What becomes of several proofs that were posted, as one answer (protocol.md section 8): 200 when every one is on the
//! network, now or already; 400 with `failures` where one is not and will not be; 503 with `failures` and `Retry-After`
//! where the node cannot judge one now.

use crate::{ApiError, IndexedFailure};
use axum::http::StatusCode;

/// What became of one proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    OnTheNetwork,
    /// It will never be taken as it is.
    Refused(String),
    /// It cannot be judged now; the caller may come again.
    NotNow(String),
}

/// The answer to all of them, in the order they were sent.
pub(crate) fn answer(outcomes: Vec<Outcome>) -> Result<(), ApiError> {
    let (mut failures, mut refused) = (Vec::new(), false);
    for (index, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Outcome::OnTheNetwork => {}
            Outcome::Refused(message) => {
                refused = true;
                failures.push(IndexedFailure { index, message });
            }
            Outcome::NotNow(message) => failures.push(IndexedFailure { index, message }),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let error = if refused {
        ApiError::new(StatusCode::BAD_REQUEST, "some proofs were not accepted")
    } else {
        ApiError::unavailable("some proofs cannot be judged now; send them again")
    };
    Err(error.with_failures(failures))
}
