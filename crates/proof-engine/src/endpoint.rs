//! One backend as the router sees it: calls with a time-out, contained panics, bounded concurrency, health.

use crate::{
    EngineError, ProofEngine,
    metrics::RouterMetrics,
    notifications::{Notification, Notifications},
};
use assay_types::ProofType;
use parking_lot::Mutex;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::AbortHandle, time::timeout};

/// A call that failed after this long kept its caller waiting: the endpoint is not waited for again until it is due.
const SLOW_FAILURE: Duration = Duration::from_secs(1);

/// What an endpoint's health is, for metrics and the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointHealth {
    /// The backend's name.
    pub name: String,
    /// Types routed to it, preferred first.
    pub proof_types: Vec<ProofType>,
    /// Whether its proofs prove nothing.
    pub is_insecure: bool,
    /// Whether its last call was answered.
    pub is_healthy: bool,
    /// Calls that were not answered, since start.
    pub failures: u64,
    /// Notifications dropped because it was too slow, since start.
    pub dropped_notifications: u64,
    /// The last error.
    pub last_error: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    /// While it fails: how often in a row, and when it is due for another try.
    failing: Option<Failing>,
    /// A call that finds out whether it answers again is under way.
    probing: bool,
    failures: u64,
    dropped_notifications: u64,
    last_error: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Failing {
    in_a_row: u32,
    last: Instant,
    due: Instant,
    /// The last failure took long.
    slow: bool,
}

/// Pauses before an endpoint that failed is due again: doubled with each failure in a row, spread by a fifth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPauses {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

impl RetryPauses {
    /// `random` is from 0 to 1.
    pub(crate) fn after(&self, in_a_row: u32, random: f64) -> Duration {
        let doublings = in_a_row.saturating_sub(1).min(16);
        let pause = self
            .first
            .saturating_mul(1 << doublings)
            .min(self.longest.max(self.first));
        pause.mul_f64(0.8 + 0.4 * random)
    }
}

/// Limits of the calls to one endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLimits {
    pub(crate) concurrent: usize,
    pub(crate) waiting: usize,
    pub(crate) retry: RetryPauses,
}

pub(crate) struct Endpoint {
    name: String,
    engine: Arc<dyn ProofEngine>,
    proof_types: Vec<ProofType>,
    is_insecure: bool,
    calls: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    retry: RetryPauses,
    metrics: RouterMetrics,
    notifications: Arc<Notifications>,
    notifier: AbortHandle,
    state: Mutex<State>,
}

/// One more waits in line while this lives.
struct InLine<'a>(&'a AtomicUsize);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The one call that may wait for an endpoint that was slow; gives its place back at the end.
struct Probe<'a>(Option<&'a Mutex<State>>);

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            state.lock().probing = false;
        }
    }
}

/// Ends the task when the caller goes away.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Endpoint {
    /// Must be called inside a tokio runtime (the notifications have a task).
    pub(crate) fn new(
        engine: Arc<dyn ProofEngine>,
        proof_types: Vec<ProofType>,
        limits: CallLimits,
        notify_timeout: Duration,
        metrics: RouterMetrics,
    ) -> Self {
        let name = engine.name().to_owned();
        metrics.known(&name);
        let notifications = Arc::new(Notifications::default());
        let queue = notifications.clone();
        let notifier =
            tokio::spawn(notify(name.clone(), engine.clone(), queue, notify_timeout)).abort_handle();
        Self {
            is_insecure: engine.is_insecure(),
            name,
            engine,
            proof_types,
            calls: Arc::new(Semaphore::new(limits.concurrent)),
            waiting: AtomicUsize::new(0),
            max_waiting: limits.waiting,
            retry: limits.retry,
            metrics,
            notifications,
            notifier,
            state: Mutex::new(State::default()),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn engine(&self) -> &Arc<dyn ProofEngine> {
        &self.engine
    }

    pub(crate) fn is_insecure(&self) -> bool {
        self.is_insecure
    }

    /// Whether it should be asked before others that answer: it answers, or is due for another try.
    pub(crate) fn is_due(&self) -> bool {
        let state = self.state.lock();
        state.failing.is_none_or(|failing| Instant::now() >= failing.due)
    }

    /// Whether it kept its last caller waiting: the next that asks it finds out whether it is back.
    pub(crate) fn was_slow(&self) -> bool {
        self.state.lock().failing.is_some_and(|failing| failing.slow)
    }

    /// Who may call now: everyone, but only one where the last failure was a long wait, and none before it is due. So an
    /// endpoint that hangs costs one caller its time, and not all of them.
    fn admit(&self) -> Result<Probe<'_>, EngineError> {
        let mut state = self.state.lock();
        match state.failing {
            Some(failing) if failing.slow => {
                if state.probing || Instant::now() < failing.due {
                    let last = state.last_error.as_deref().unwrap_or_default();
                    return Err(EngineError::Unavailable(format!("not asked again yet: {last}")));
                }
                state.probing = true;
                Ok(Probe(Some(&self.state)))
            }
            _ => Ok(Probe(None)),
        }
    }

    /// Calls the engine on a task of its own, once a place is free. A panic there is `Unavailable` here; a call that
    /// takes longer than `limit` is ended and `TimedOut`. What could not be answered counts against its health; having
    /// no free place does not.
    pub(crate) async fn call<T, F>(
        &self,
        limit: Duration,
        call: impl FnOnce(Arc<dyn ProofEngine>) -> F,
    ) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EngineError>> + Send + 'static,
    {
        let first = self.admit()?;
        let permit = self.place(limit).await?;
        // While this stood in line, the calls before it may have found that nobody answers.
        let _probe = if first.0.is_none() { self.admit()? } else { first };
        let began = Instant::now();
        let work = call(self.engine.clone());
        let task = tokio::spawn(async move {
            let _permit = permit;
            work.await
        });
        let abort = AbortOnDrop(task.abort_handle());
        let result = match timeout(limit, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(join)) if join.is_panic() => Err(EngineError::Unavailable("the backend panicked".into())),
            Ok(Err(_)) => Err(EngineError::Unavailable("this node is ending".into())),
            Err(_) => Err(EngineError::TimedOut(limit)),
        };
        drop(abort);
        // Having no free place says nothing of its health.
        if !matches!(result, Err(EngineError::Busy(_))) {
            let ill = |error: &&EngineError| !matches!(error, EngineError::Unreadable(_));
            self.record(result.as_ref().err().filter(ill), began);
        }
        result
    }

    async fn place(&self, limit: Duration) -> Result<tokio::sync::OwnedSemaphorePermit, EngineError> {
        if let Ok(permit) = self.calls.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let busy = || EngineError::Unavailable(format!("{}: too many calls are under way", self.name));
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _in_line = InLine(&self.waiting);
        if before >= self.max_waiting {
            return Err(busy());
        }
        match timeout(limit, self.calls.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(busy()),
        }
    }

    /// Keeps health; the log hears of changes alone.
    fn record(&self, error: Option<&EngineError>, began: Instant) {
        let now = Instant::now();
        let mut state = self.state.lock();
        self.metrics.set_healthy(&self.name, error.is_none());
        let Some(error) = error else {
            if state.failing.take().is_some() {
                tracing::info!(
                    proof_engine = self.name,
                    failures = state.failures,
                    "proof engine answers again"
                );
            }
            return;
        };
        let was_failing = state.failing.is_some();
        // Of several calls that fail together one counts.
        let in_a_row = state.failing.map_or(1, |failing| {
            failing.in_a_row.saturating_add(u32::from(began >= failing.last))
        });
        state.failing = Some(Failing {
            in_a_row,
            last: now,
            due: now + self.retry.after(in_a_row, rand::random()),
            slow: matches!(error, EngineError::TimedOut(_)) || now - began >= SLOW_FAILURE,
        });
        state.failures += 1;
        state.last_error = Some(error.to_string());
        if !was_failing {
            tracing::warn!(proof_engine = self.name, %error, "proof engine does not answer");
        }
    }

    /// Queues a notification; never waits. Where the endpoint is too far behind, the oldest is dropped.
    pub(crate) fn notify(&self, notification: Notification) {
        if self.notifications.push(notification) {
            self.metrics.dropped_notification(&self.name);
            let mut state = self.state.lock();
            state.dropped_notifications += 1;
            if state.dropped_notifications == 1 {
                tracing::warn!(
                    proof_engine = self.name,
                    "proof engine is too slow for notifications; dropping some"
                );
            }
        }
    }

    pub(crate) fn health(&self) -> EndpointHealth {
        let state = self.state.lock();
        EndpointHealth {
            name: self.name.clone(),
            proof_types: self.proof_types.clone(),
            is_insecure: self.is_insecure,
            is_healthy: state.failing.is_none(),
            failures: state.failures,
            dropped_notifications: state.dropped_notifications,
            last_error: state.last_error.clone(),
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.notifier.abort();
    }
}

/// Hands notifications on, one after the other; each on a task of its own, so that a panic ends that one alone.
async fn notify(name: String, engine: Arc<dyn ProofEngine>, queue: Arc<Notifications>, limit: Duration) {
    loop {
        let notification = queue.next().await;
        let engine = engine.clone();
        let task = tokio::spawn(async move {
            match notification {
                Notification::NewPayload(root, request) => engine.notify_new_payload(root, request).await,
                Notification::ForkchoiceUpdated {
                    head,
                    safe,
                    finalized,
                } => {
                    engine.notify_forkchoice_updated(head, safe, finalized).await;
                }
            }
        });
        let abort = AbortOnDrop(task.abort_handle());
        match timeout(limit, task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(proof_engine = name, %error, "notification of a proof engine failed")
            }
            Err(_) => tracing::debug!(
                proof_engine = name,
                ?limit,
                "notification of a proof engine took too long"
            ),
        }
        drop(abort);
    }
}
