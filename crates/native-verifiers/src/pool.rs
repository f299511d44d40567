//! Where verifications run: threads of their own, so many at once, each given up by its caller after a time.
//!
//! A thread cannot be ended from outside, so a verification that runs over its time goes on, and keeps its place until
//! it ends. That bounds it: at most `NativeLimits::concurrent` threads, each with one proof of `MAX_PROOF_SIZE` at most,
//! whose verification has no loop that is longer than the proof. What it finds late is kept for the next try, and a try
//! that comes earlier waits for the same run: a proof that takes too long costs one verification, not one for each try.

use crate::{
    engine::{NativeLimits, NativeVerifier},
    judgement::{NotValid, judge},
    metrics::NativeMetrics,
};
use assay_proof_engine::{EngineError, Verification};
use assay_types::{EngineInput, ProofType, StatedInput};
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{collections::VecDeque, sync::Arc, time::Instant};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout_at,
};

/// Late verdicts that are kept (72 bytes and a text of 200 each).
const LATE_VERDICTS: usize = 64;

type Verdict = Result<Verification, EngineError>;

/// What is judged.
#[derive(Clone, PartialEq, Eq)]
struct Subject {
    proof_type: ProofType,
    asked: StatedInput,
    proof_data: Bytes,
}

impl Subject {
    fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update([self.proof_type]);
        hasher.update(self.asked.new_payload_request_root().as_slice());
        // What `beta` asks for beyond that; the first byte tells the revisions apart.
        match &self.asked {
            StatedInput::Alpha(_) => hasher.update([0]),
            StatedInput::Beta(input) => {
                hasher.update([1, u8::from(input.successful_validation)]);
                hasher.update(input.chain_id.to_le_bytes());
                hasher.update(input.schema_id.to_le_bytes());
            }
        }
        hasher.update(&self.proof_data);
        hasher.finalize().into()
    }
}

#[derive(Default)]
struct State {
    /// At most `concurrent`.
    running: Vec<(Subject, watch::Receiver<Option<Verdict>>)>,
    /// By digest of the subject, oldest first.
    late: VecDeque<([u8; 32], Verdict)>,
}

pub(crate) struct Pool {
    places: Arc<Semaphore>,
    limits: NativeLimits,
    metrics: NativeMetrics,
    state: Arc<Mutex<State>>,
}

impl Pool {
    pub(crate) fn new(limits: NativeLimits, metrics: NativeMetrics) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.concurrent.get())),
            limits,
            metrics,
            state: Arc::default(),
        }
    }

    /// Judges a proof on a thread of its own, once a place is free; waiting and judging take `limits.timeout` at most.
    pub(crate) async fn judge(&self, verifier: &Arc<NativeVerifier>, proof: &EngineInput) -> Verdict {
        let subject = Subject {
            proof_type: proof.proof_type,
            asked: proof.public_input.clone(),
            proof_data: proof.proof_data.clone(),
        };
        let until = tokio::time::Instant::now() + self.limits.timeout;
        let known = self.known(&subject);
        let mut verdict = match known {
            Some(Known::Verdict(verdict)) => return verdict,
            Some(Known::Running(verdict)) => verdict,
            None => {
                let place = timeout_at(until, self.places.clone().acquire_owned()).await;
                let Ok(Ok(place)) = place else {
                    return Err(EngineError::Busy(format!(
                        "{} verifications are under way, and none ended in time",
                        self.limits.concurrent
                    )));
                };
                // While this one waited for its place, another may have begun with the same bytes, or ended.
                match self.known(&subject) {
                    Some(Known::Verdict(verdict)) => return verdict,
                    Some(Known::Running(verdict)) => verdict,
                    None => self.start(subject, verifier.clone(), place)?,
                }
            }
        };
        let waited = timeout_at(until, verdict.wait_for(Option::is_some)).await;
        match waited {
            Ok(Ok(verdict)) => verdict.clone().unwrap_or_else(|| Err(gone())),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(EngineError::TimedOut(self.limits.timeout)),
        }
    }

    fn known(&self, subject: &Subject) -> Option<Known> {
        let state = self.state.lock();
        if let Some((_, verdict)) = state.running.iter().find(|(running, _)| running == subject) {
            return Some(Known::Running(verdict.clone()));
        }
        if state.late.is_empty() {
            return None;
        }
        drop(state);
        let digest = subject.digest();
        let state = self.state.lock();
        let late = state.late.iter().find(|(known, _)| *known == digest);
        late.map(|(_, verdict)| Known::Verdict(verdict.clone()))
    }

    fn start(
        &self,
        subject: Subject,
        verifier: Arc<NativeVerifier>,
        place: OwnedSemaphorePermit,
    ) -> Result<watch::Receiver<Option<Verdict>>, EngineError> {
        let (tell, told) = watch::channel(None);
        let run = Run {
            subject: subject.clone(),
            verifier,
            limits: self.limits,
            metrics: self.metrics.clone(),
            state: self.state.clone(),
        };
        self.state.lock().running.push((subject.clone(), told.clone()));
        self.metrics.under_way(1);
        let work = move || {
            let verdict = run.verdict(&tell);
            tell.send_replace(Some(verdict));
            // Only now: who gets the place finds this run in no list.
            drop(place);
        };
        let thread = std::thread::Builder::new()
            .name("native-verifier".into())
            .stack_size(self.limits.stack_size);
        // The thread ends by itself, and with the process.
        match thread.spawn(work) {
            Ok(_) => Ok(told),
            Err(error) => {
                self.metrics.under_way(-1);
                self.state
                    .lock()
                    .running
                    .retain(|(running, _)| *running != subject);
                Err(EngineError::Unavailable(format!(
                    "no thread for a verification: {error}"
                )))
            }
        }
    }
}

enum Known {
    Running(watch::Receiver<Option<Verdict>>),
    Verdict(Verdict),
}

/// The thread of a verification ended without a word.
fn gone() -> EngineError {
    EngineError::Unavailable("a verification ended without a verdict".into())
}

/// One verification.
struct Run {
    subject: Subject,
    verifier: Arc<NativeVerifier>,
    limits: NativeLimits,
    metrics: NativeMetrics,
    state: Arc<Mutex<State>>,
}

impl Run {
    fn verdict(self, tell: &watch::Sender<Option<Verdict>>) -> Verdict {
        let began = Instant::now();
        let judged = judge(&self.verifier, &self.subject.asked, &self.subject.proof_data);
        let took = began.elapsed();
        let verdict = match judged {
            Ok(()) => Ok(Verification::Valid),
            Err(NotValid::Refused(refusal)) => {
                let proof_type = self.subject.proof_type;
                self.metrics.refused(proof_type, refusal.reason());
                let root = self.subject.asked.new_payload_request_root();
                tracing::debug!(proof_type, %root, %refusal, "proof refused");
                Ok(Verification::Invalid(refusal.to_string()))
            }
            Err(NotValid::Undecided(why)) => Err(EngineError::Unavailable(why)),
        };
        // Nobody waits for it any more: the list below holds the one receiver that is left. Only verdicts are kept: what
        // kept it from judging may be over.
        let unheard = tell.receiver_count() <= 1;
        let late = (unheard && verdict.is_ok()).then(|| self.subject.digest());
        if took >= self.limits.timeout {
            self.metrics.overdue();
            tracing::warn!(
                proof_type = self.subject.proof_type,
                ?took,
                "a verification took too long"
            );
        }
        let mut state = self.state.lock();
        if let Some(digest) = late {
            if state.late.len() >= LATE_VERDICTS {
                state.late.pop_front();
            }
            state.late.push_back((digest, verdict.clone()));
        }
        state.running.retain(|(running, _)| *running != self.subject);
        drop(state);
        self.metrics.under_way(-1);
        verdict
    }
}
