//! Calls whose answer waits: for a proof that is asked for (`--wait-for-proofs`, design.md gate rule 9), and for an
//! execution client that is silent, while proofs already say VALID (`accept-proofs`, `--execution-slow-after`).

use super::{
    Shared, answers,
    new_payload::Outcome,
    stats::count,
    verdict::{Judged, made},
};
use crate::machine::{Asked, AskedPayload, Decision, ImportPolicy, RequestCheck, StatusWord};
use assay_engine_api::{Id, methods::IMPORT_TIMEOUT, status_edit::Shape};
use assay_types::BlockHash;
use std::time::Duration;
use tokio::{sync::oneshot, time::Instant};

/// No call waits for a proof longer than this after it came, whatever the execution client took of it: the beacon node
/// would give up.
const LONGEST_CALL: Duration = Duration::from_millis(IMPORT_TIMEOUT.as_millis() as u64 * 3 / 4);

/// A call under way.
pub(super) struct Running {
    /// What comes of it.
    pub(super) told: oneshot::Receiver<Outcome>,
    /// Its id and what it asks about, as soon as that is known; nothing where it cannot be raised.
    pub(super) asked: oneshot::Receiver<(Id, Asked)>,
    pub(super) shape: Shape,
    pub(super) received: Instant,
}

impl Running {
    /// What the beacon node is told, and when: by the execution client, or before it where that is silent and proofs speak.
    pub(super) async fn outcome(self, shared: &Shared) -> Outcome {
        let Self {
            mut told,
            asked,
            shape,
            received,
        } = self;
        tokio::select! {
            biased;
            outcome = &mut told => outcome.unwrap_or_else(|_| {
                // The task ends without an answer only when the endpoint is ending.
                Outcome::Error(Id::null(), answers::no_answer("Assay is stopping"))
            }),
            raised = silence(shared, asked, received) => {
                let (id, decision) = raised;
                count(&shared.stats.answered_for_silent_client);
                Outcome::Own(made(shape, decision, &id))
            }
        }
    }
}

/// Ends when the execution client has been silent for long enough and proofs alone make the payload VALID.
async fn silence(
    shared: &Shared,
    asked: oneshot::Receiver<(Id, Asked)>,
    received: Instant,
) -> (Id, Decision) {
    let Ok((id, asked)) = asked.await else {
        return std::future::pending().await;
    };
    let Some(hash) = raisable(&asked) else {
        return std::future::pending().await;
    };
    let slow_after = Duration::from_millis(shared.gate.config().execution_slow_after_ms);
    tokio::time::sleep_until(received + slow_after).await;
    let mut changes = shared.gate.verdict_changes();
    loop {
        let accepts = shared.gate.config().policy == ImportPolicy::AcceptProofs;
        if accepts && shared.gate.is_raised(&hash) {
            let decision = shared.gate.asked_again(asked, None).await;
            if decision.is_valid(None) {
                return (id, decision);
            }
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// The payload a call asks about, where its request was found to be the one of its hash.
fn raisable(asked: &Asked) -> Option<BlockHash> {
    match asked {
        Asked::Head(head) => Some(*head),
        Asked::Payload(AskedPayload::Read {
            payload,
            check: RequestCheck::Matches,
        }) => Some(payload.block_hash),
        Asked::Payload(_) => None,
    }
}

/// Waits for proofs where the settings ask for it and they might change the answer; else, and at the end, gives the
/// decision. `first` is what was decided when the execution client had answered `status`, and whether it may wait.
pub(super) async fn for_proofs(
    shared: &Shared,
    asked: Asked,
    status: Option<StatusWord>,
    (first, waits): (Decision, bool),
    received: Instant,
) -> Decision {
    if !waits {
        return first;
    }
    count(&shared.stats.waited_for_proofs);
    let mut changes = shared.gate.verdict_changes();
    let patience = Duration::from_millis(shared.gate.config().wait_for_proofs_ms);
    let until = (Instant::now() + patience).min(received + LONGEST_CALL);
    let came =
        async { while shared.gate.waits_for_proofs(&asked, status) && changes.changed().await.is_ok() {} };
    // Either end is followed by the same question.
    let _ = tokio::time::timeout_at(until, came).await;
    let again = shared.gate.asked_again(asked, status).await;
    if again.is_valid(status) { again } else { first }
}

/// The answer of the gate's own to a call without an answer of the execution client's; `None` where that is an error.
pub(super) fn without_answer(shape: Shape, decision: Decision, id: &Id) -> Option<Judged> {
    match decision {
        Decision::PassThrough => None,
        decision => Some(made(shape, decision, id)),
    }
}
