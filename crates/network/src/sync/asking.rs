//! One request from its beginning to the verdicts on what it brought.

use super::{
    driver::Driver,
    event::{Ask, Event, Failure, Judged, RequestId, Taken},
    request,
};
use crate::Fault;
use assay_types::{ProofKey, Revision, SignedProof};
use assay_verification::{Candidate, IgnoreReason, PeerRef, Source, Submission, Verdict};
use bytes::Bytes;
use libp2p::PeerId;
use std::sync::Arc;

impl Judged {
    fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Accept(_) | Verdict::Ignore(IgnoreReason::AlreadyValid) => Self::Held,
            Verdict::Reject(_) => Self::Bad,
            Verdict::Ignore(IgnoreReason::TooOld | IgnoreReason::UnsupportedType) => Self::Unwanted,
            Verdict::Ignore(_) => Self::Undecided,
        }
    }
}

impl Driver {
    pub(super) async fn ask_status(self: Arc<Self>, peer: PeerId) {
        let ours = self.inner.look(super::planner::Planner::local_status);
        match self.requester.execution_proof_status(peer, ours).await {
            Ok(status) => self.tell(Event::Status(peer, status)),
            Err(error) => self.tell(Event::StatusFailed(peer, error.into())),
        }
    }

    /// Asks, and takes proofs one at a time: the next is read when this one is judged, or has to wait.
    pub(super) async fn ask(self: Arc<Self>, id: RequestId, peer: PeerId, ask: Ask) {
        let protocol = ask.label();
        let end = match request::send(&self.requester, peer, ask).await {
            Err(error) => Some(Err(error.into())),
            Ok(mut proofs) => loop {
                match proofs.next().await {
                    None => break Some(Ok(())),
                    Some(Err(error)) => break Some(Err(error.into())),
                    Some(Ok(ssz)) => match self.take(id, peer, ssz).await {
                        Taken::Judge | Taken::Skip => {}
                        // The planner has taken note of its end.
                        Taken::Stop => break None,
                    },
                }
            },
        };
        self.finished(id);
        let result = match end {
            Some(Ok(())) => "answered",
            Some(Err(Failure::Unsupported)) => "unsupported",
            Some(Err(Failure::Other)) => "failed",
            None => "wrong",
        };
        self.inner.counters.request(protocol, result);
        if let Some(end) = end {
            self.tell(Event::Ended { id, end });
        }
    }

    async fn take(self: &Arc<Self>, id: RequestId, peer: PeerId, ssz: Bytes) -> Taken {
        let bytes = ssz.len() as u64;
        self.inner.counters.came(bytes);
        // One frame for both revisions: what it names tells.
        let Ok(signed) = SignedProof::from_ssz_bytes(&ssz, Revision::Alpha) else {
            self.inner.counters.passed_over("undecodable");
            self.report(peer, Fault::InvalidResponse);
            self.tell(Event::Ended {
                id,
                end: Err(Failure::Other),
            });
            return Taken::Stop;
        };
        let (revision, key) = self.named(&signed);
        drop(signed);
        let (taken, actions) = self.inner.on_proof(id, key, bytes);
        self.perform(actions);
        match taken {
            Taken::Judge => {
                // A task of its own: the planner is owed a verdict, whatever becomes of the request.
                let _ = self
                    .tasks
                    .spawn(Arc::clone(self).judge(peer, key, Candidate::ssz(revision, ssz)))
                    .await;
            }
            Taken::Skip => self.inner.counters.passed_over("not_needed"),
            Taken::Stop => self.inner.counters.passed_over("wrong"),
        }
        taken
    }

    /// The payload that a proof is of: the one it names, or that of the block it names where envelopes are asked for.
    fn named(&self, signed: &SignedProof) -> (Revision, ProofKey) {
        let (root, proof_type) = (signed.message.root, signed.message.proof_type);
        let of_block = || {
            let is_other = self.inner.config.envelopes && self.chain.payload(&root).is_none();
            let block = is_other.then(|| self.chain.block(&root)).flatten()?;
            block.new_payload_request_root
        };
        let (revision, payload) = match of_block() {
            Some(payload) => (Revision::Beta, payload),
            None => (Revision::Alpha, root),
        };
        let key = ProofKey {
            new_payload_request_root: payload,
            proof_type,
        };
        (revision, key)
    }

    /// Returns once the verdict is known or the proof waits in the verifier's room, which has its own bounds.
    async fn judge(self: Arc<Self>, peer: PeerId, key: ProofKey, candidate: Candidate) {
        let source = Source::ReqResp {
            peer: PeerRef(peer.to_bytes().into()),
        };
        let told = move |driver: &Arc<Self>, verdict: &Verdict| {
            let judged = Judged::of(verdict);
            driver.inner.counters.judged(judged);
            driver.tell(Event::Judged { peer, key, judged });
        };
        match self.intake.submit(candidate, source).await {
            Submission::Decided(verdict) => told(&self, &verdict),
            Submission::Parked { reason, verdict } => {
                tracing::debug!(%peer, %reason, "a proof that was asked for waits");
                self.tell(Event::Parked);
                let tasks = self.tasks.clone();
                tasks.spawn(async move {
                    let verdict = verdict.await.unwrap_or(Verdict::Ignore(IgnoreReason::Internal));
                    told(&self, &verdict);
                });
            }
        }
    }
}
