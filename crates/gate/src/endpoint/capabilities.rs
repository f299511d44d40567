//! `engine_exchangeCapabilities`: the execution client's list, and what the gate serves (design.md gate rule 12). An
//! answer that holds no list passes as it is.

use super::{
    Shared, answers,
    body::{Answer, Intake},
    service::intake_failed,
    stats::count,
    upstream::{Head, read},
};
use assay_engine_api::{Id, capabilities::with_methods, methods::ProofMethod};
use bytes::Bytes;
use std::sync::Arc;

/// A call of its own.
pub(super) async fn single(shared: &Arc<Shared>, head: Head, mut intake: Intake) -> Answer {
    match intake.hold().await {
        Ok(body) => held(shared, &head, intake.id(), &body.bytes).await,
        Err(why) => intake_failed(shared, intake.id(), &why),
    }
}

/// A call whose body is here.
pub(super) async fn held(shared: &Arc<Shared>, head: &Head, id: Id, body: &Bytes) -> Answer {
    count(&shared.stats.passed_calls);
    // The list is read: it must not come compressed.
    let head = head.clone().uncompressed();
    let answer = match shared.upstream.ask(&head, body, read).await {
        Ok(answer) => answer,
        Err(no_answer) => {
            shared.upstream.note_no_answer(&no_answer);
            return answers::error(id, answers::no_answer(&no_answer.why));
        }
    };
    if !answer.is_plain_success() {
        return answer.unchanged();
    }
    let ours: Vec<&str> = ProofMethod::ALL.iter().map(|method| method.name()).collect();
    match with_methods(&answer.body, &ours) {
        Ok(body) => answer.with_body(body),
        Err(why) => {
            tracing::debug!(%why, "the execution client's list of capabilities passes as it is");
            answer.unchanged()
        }
    }
}
