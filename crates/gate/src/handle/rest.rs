//! What an event leaves to be done once the machine's lock is free.

use super::{GateEvent, Inner};
use crate::machine::{CallId, Decision, Event};
use assay_types::{BlockHash, ProofKey, ProofType, Root};
use std::sync::Arc;

/// What is left of an event's actions after the machine's lock is free.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) answers: Vec<(CallId, Decision, bool)>,
    pub(super) events: Vec<GateEvent>,
    /// Number of the change to wait for.
    pub(super) wait_for: Option<u64>,
    /// Payloads whose proofs are to be asked for, with the types that are known.
    pub(super) recalls: Vec<(Root, Vec<ProofType>)>,
    /// Payloads that are VALID to the beacon node for the first time by the answer.
    pub(super) told_first: Vec<BlockHash>,
    /// `Inner::untold` at the event.
    pub(super) untold: u64,
    /// The policy at the event is `observe`.
    pub(super) observes: bool,
}

/// What an event leaves to be done: wait for its records, tell of it, bring proofs that it asks for. Where whoever caused the
/// event goes away in between (a caller hangs up, a sink's time is over) it is done all the same.
pub(super) struct Rest {
    inner: Arc<Inner>,
    outcome: Option<Outcome>,
    /// Nobody is there to go away.
    detached: bool,
}

impl Rest {
    pub(super) fn new(inner: &Arc<Inner>, outcome: Outcome) -> Self {
        Self {
            inner: Arc::clone(inner),
            outcome: Some(outcome),
            detached: false,
        }
    }

    /// Says whether the records are on disk.
    pub(super) async fn carry_out(&mut self) -> bool {
        let wait_for = self.outcome.as_ref().and_then(|o| o.wait_for);
        let durable = self.inner.durable(wait_for).await;
        self.tell();
        while let Some(key) = self.next_recall() {
            // After a start there may be one for each payload of a full tree: the writer shares the task.
            tokio::task::yield_now().await;
            if self
                .inner
                .recall
                .as_ref()
                .is_some_and(|r| r.known.has_valid(&key))
            {
                let outcome = self.inner.run(Event::ProofVerified { key });
                let mut rest = Self::new(&self.inner, outcome);
                rest.detached = self.detached;
                self.inner
                    .durable(rest.outcome.as_ref().and_then(|o| o.wait_for))
                    .await;
                rest.tell();
                // A proof asks for no others.
                rest.forget();
            }
        }
        self.forget();
        durable
    }

    fn tell(&mut self) {
        if let Some(outcome) = &mut self.outcome {
            self.inner.tell(&std::mem::take(&mut outcome.events));
        }
    }

    /// A proof whose way from the store to the gate was cut off, by a crash or by a payload that came late, is found by this.
    fn next_recall(&mut self) -> Option<ProofKey> {
        let recall = self.inner.recall.as_ref()?;
        let recalls = &mut self.outcome.as_mut()?.recalls;
        loop {
            let (new_payload_request_root, known) = recalls.first_mut()?;
            let next = recall.proof_types.iter().copied().find(|t| !known.contains(t));
            if let Some(proof_type) = next {
                known.push(proof_type);
                return Some(ProofKey {
                    new_payload_request_root: *new_payload_request_root,
                    proof_type,
                });
            }
            recalls.remove(0);
        }
    }

    /// There is nothing left to do.
    pub(super) fn forget(&mut self) {
        self.outcome = None;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let Some(outcome) = self.outcome.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if !self.detached => {
                let mut rest = Self::new(&self.inner, outcome);
                rest.detached = true;
                runtime.spawn(async move { rest.carry_out().await });
            }
            // The program ends.
            _ => self.inner.tell(&outcome.events),
        }
    }
}
