//! POST `/eth/v1/beacon/execution_proofs` and `/eth/v1/beacon/pool/execution_proofs` (protocol.md sections 8 and 11).
//!
//! Each proof is judged on its own: good ones are kept and published whatever becomes of the others. 200 when every one
//! is on the network, now or already; 400 with `failures` where one is not and will not be; 503 with `failures` where
//! the node cannot judge one now (its payload is not known yet, the validator or the proof engine cannot be asked).

use crate::{
    ApiError, ApiState, IndexedFailure,
    proof_body::{BodyEncoding, candidates},
};
use assay_types::SignedExecutionProof;
use assay_verification::{Candidate, IgnoreReason, KnownProofs, Source, Verdict, Waited};
use axum::{
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::time::{Duration, Instant};

/// How long all proofs of a request together may wait for payloads, validators or the engine before the caller is told
/// to come again. They go on waiting in the waiting room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Proofs of one request that are judged at the same time.
const AT_ONCE: usize = 4;

/// What became of one proof.
enum Outcome {
    OnTheNetwork,
    Refused(String),
    NotNow(String),
}

pub(crate) async fn post(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(), ApiError> {
    let body = body.map_err(|e| ApiError::new(e.status(), e.body_text()))?;
    let found = candidates(BodyEncoding::of(&headers)?, &body)?;
    let deadline = Instant::now() + PATIENCE;
    let judging = found
        .into_iter()
        .map(|candidate| judge(&state, candidate, deadline));
    let outcomes: Vec<Outcome> = stream::iter(judging).buffered(AT_ONCE).collect().await;
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

async fn judge(state: &ApiState, candidate: Result<Candidate, String>, deadline: Instant) -> Outcome {
    let candidate = match candidate {
        Ok(candidate) => candidate,
        Err(why) => return Outcome::Refused(why),
    };
    let key = match &candidate {
        Candidate::Signed(signed) => Some(signed.key()),
        // Without a copy of the proof.
        Candidate::Ssz(bytes) => SignedExecutionProof::from_ssz_bytes(bytes)
            .ok()
            .map(|signed| signed.key()),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    match state.intake.submit_and_wait(candidate, Source::Http, left).await {
        Waited::Decided(Verdict::Accept(_)) => Outcome::OnTheNetwork,
        Waited::Decided(Verdict::Reject(reason)) => Outcome::Refused(reason.to_string()),
        Waited::Decided(Verdict::Ignore(reason)) => match reason {
            IgnoreReason::AlreadyValid => Outcome::OnTheNetwork,
            IgnoreReason::UnknownPayload
            | IgnoreReason::ValidatorUnavailable
            | IgnoreReason::EngineUnavailable
            | IgnoreReason::Overloaded
            | IgnoreReason::Internal => Outcome::NotNow(reason.to_string()),
            // This very proof, or another of the same validator: on the network if a valid one is.
            IgnoreReason::SeenProof | IgnoreReason::SeenFromValidator
                if key.is_some_and(|key| KnownProofs::has_valid(&state.store, &key)) =>
            {
                Outcome::OnTheNetwork
            }
            reason => Outcome::Refused(reason.to_string()),
        },
        Waited::StillWaiting(reason) => Outcome::NotNow(reason.map_or_else(
            || "it is still being judged".to_owned(),
            |reason| reason.to_string(),
        )),
    }
}
