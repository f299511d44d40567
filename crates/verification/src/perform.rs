//! What each stage's work is. A panic in what is called is a crash of that stage alone, never of the verifier.

use crate::{
    VerifiedProof,
    machine::{Action, CandidateId, Outcome, Stage},
    trace,
    verifier::Inner,
};
use assay_chain::ValidatorAnswer;
use assay_proof_engine::{EngineError, Verification};
use assay_types::EngineInput;
use futures::FutureExt;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};
use tracing::{Instrument, Span};

impl Inner {
    /// Does the work of a stage; `None` for actions that are none.
    pub(crate) async fn run_stage(self: &Arc<Self>, action: Action) -> Option<(CandidateId, Outcome)> {
        let began = Instant::now();
        let (id, stage) = match &action {
            Action::Hash { id, .. } => (*id, Stage::Hash),
            Action::ReadValidator { id, .. } => (*id, Stage::Validator),
            Action::CheckSignature { id, .. } => (*id, Stage::Signature),
            Action::AskEngine { id, .. } => (*id, Stage::Engine),
            Action::Commit { id, .. } => (*id, Stage::Commit),
            Action::Reply { .. }
            | Action::Parked { .. }
            | Action::PayloadFound { .. }
            | Action::Contain { .. } => return None,
        };
        // Where nobody traces, not even the lock is taken.
        let span = match trace::is_on() {
            true => trace::stage(&self.span_of(id), stage),
            false => Span::none(),
        };
        let outcome = AssertUnwindSafe(self.outcome(action).instrument(span))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| {
                tracing::error!(stage = stage.label(), "a stage of verification panicked");
                Outcome::Crashed
            });
        self.metrics.stage(stage, began.elapsed());
        Some((id, outcome))
    }

    async fn outcome(self: &Arc<Self>, action: Action) -> Outcome {
        match action {
            Action::Hash { parsed, epoch, .. } => {
                let spec = Arc::clone(self.parts.chain.spec());
                self.on_a_core(move || {
                    let parsed = Box::new(parsed.with_ssz());
                    let proof_root = spec.proof_message_root(epoch, &parsed.signed.message);
                    Outcome::Hashed { parsed, proof_root }
                })
                .await
            }
            Action::ReadValidator {
                validator, payload, ..
            } => {
                let answer = self.parts.chain.validator(validator, &payload);
                let limit = self.config.validator_timeout;
                let answer = tokio::time::timeout(limit, answer)
                    .await
                    .unwrap_or_else(|_| ValidatorAnswer::Unavailable(format!("no answer within {limit:?}")));
                if let ValidatorAnswer::Unavailable(why) = &answer {
                    tracing::debug!(validator, %why, "validator's record not available");
                }
                Outcome::Validator(answer)
            }
            Action::CheckSignature {
                record,
                proof_root,
                epoch,
                signature,
                ..
            } => {
                let (spec, genesis) = (Arc::clone(self.parts.chain.spec()), self.parts.chain.genesis());
                self.on_a_core(move || {
                    let signing_root = spec.execution_proof_signing_root(&genesis, epoch, &proof_root);
                    Outcome::Signature(record.pubkey.verify(&signing_root, &signature))
                })
                .await
            }
            Action::AskEngine { input, .. } => {
                let answer = self.ask_engine(&input).await;
                if let Err(error) = &answer {
                    tracing::debug!(engine = self.parts.engine.name(), %error, "proof not judged");
                }
                Outcome::Engine(answer)
            }
            Action::Commit { proof, source, .. } => {
                let durable = self.commit(&proof, &source).await;
                Outcome::Committed { proof, durable }
            }
            Action::Reply { .. }
            | Action::Parked { .. }
            | Action::PayloadFound { .. }
            | Action::Contain { .. } => Outcome::Crashed,
        }
    }

    /// The proof engine's word, in time. An engine that panics is one that could not judge: the proof is not lost.
    pub(crate) async fn ask_engine(&self, input: &EngineInput) -> Result<Verification, EngineError> {
        let limit = self.config.engine_timeout;
        let asked = AssertUnwindSafe(tokio::time::timeout(limit, self.parts.engine.verify(input)));
        match asked.catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(EngineError::TimedOut(limit)),
            Err(_) => Err(EngineError::Protocol("it panicked".to_owned())),
        }
    }

    /// Off the async threads; the machine lets only `cpu_jobs` in at once.
    async fn on_a_core(&self, work: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a stage of verification panicked");
            Outcome::Crashed
        })
    }

    /// The store first: what it did not take, nobody is told of. Then the others in order; what goes wrong there is
    /// logged and counted, and changes nothing: the proof is valid and on disk.
    async fn commit(&self, proof: &Arc<VerifiedProof>, source: &crate::Source) -> bool {
        let store = &self.parts.store;
        if let Err(error) = store.accepted(proof, source).await {
            tracing::error!(sink = store.name(), %error, "proof could not be stored");
            self.metrics.sink_error(store.name());
            return false;
        }
        let sinks = self.sinks.read().clone();
        for sink in sinks {
            let told = AssertUnwindSafe(tokio::time::timeout(
                self.config.sink_timeout,
                sink.accepted(proof, source),
            ));
            let error = match told.catch_unwind().await {
                Ok(Ok(Ok(()))) => continue,
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => format!("nothing within {:?}", self.config.sink_timeout),
                Err(_) => "it panicked".to_owned(),
            };
            tracing::warn!(sink = sink.name(), error, "accepted proof not taken");
            self.metrics.sink_error(sink.name());
        }
        true
    }
}
