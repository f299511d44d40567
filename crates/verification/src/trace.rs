//! A proof's way as spans: one for each submission, from its arrival to its verdict, and one below it for each stage. They
//! cost nothing where nobody listens to `TRACE_TARGET`.

use crate::{ParkReason, Source, Verdict, candidate::Parsed, machine::Stage, metrics::verdict_labels};
use tracing::{Span, field::Empty};

/// The target of these spans and events. They are for traces; a log does not want them.
pub const TRACE_TARGET: &str = "assay_trace";

/// The span of a submission.
pub(crate) fn arrival(parsed: &Parsed, source: &Source) -> Span {
    let name = parsed.name();
    tracing::info_span!(
        target: TRACE_TARGET,
        parent: None,
        "proof",
        names = %name.root,
        revision = name.revision.as_str(),
        proof_type = name.proof_type,
        validator_index = parsed.validator_index(),
        source = source.label(),
        bytes = parsed.ssz_len(),
        verdict = Empty,
        reason = Empty,
        "otel.status_code" = Empty,
    )
}

/// Whether anybody listens: a look at what is cached for this place in the program.
pub(crate) fn is_on() -> bool {
    tracing::enabled!(target: TRACE_TARGET, tracing::Level::INFO)
}

/// The span of a stage of a submission.
pub(crate) fn stage(submission: &Span, stage: Stage) -> Span {
    tracing::info_span!(target: TRACE_TARGET, parent: submission, "stage", "otel.name" = stage.label())
}

/// It waits for something outside.
pub(crate) fn parked(submission: &Span, reason: ParkReason) {
    tracing::info!(target: TRACE_TARGET, parent: submission, reason = reason.label(), "waits");
}

/// The last word.
pub(crate) fn ended(submission: &Span, verdict: &Verdict) {
    let (word, reason) = verdict_labels(verdict);
    submission.record("verdict", word);
    submission.record("reason", reason);
    if matches!(verdict, Verdict::Reject(_)) {
        submission.record("otel.status_code", "ERROR");
    }
}
