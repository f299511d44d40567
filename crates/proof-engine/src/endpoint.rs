//! One backend as the router sees it: calls with a time-out, contained panics, bounded concurrency, health.

use crate::{EngineError, ProofEngine};
use assay_types::{NewPayloadRequest, ProofType, Root};
use parking_lot::Mutex;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::AbortHandle,
    time::timeout,
};

/// Notifications an endpoint may fall behind; more are dropped and counted.
pub const NOTIFICATION_BACKLOG: usize = 64;

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

/// A notification under way to a backend.
#[derive(Debug, Clone)]
pub(crate) enum Notification {
    NewPayload(Root, Arc<NewPayloadRequest>),
    ForkchoiceUpdated { head: Root, safe: Root, finalized: Root },
}

#[derive(Debug, Default)]
struct State {
    failing_since: Option<Instant>,
    failures: u64,
    dropped_notifications: u64,
    last_error: Option<String>,
}

/// Limits of the calls to one endpoint.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLimits {
    pub(crate) concurrent: usize,
    pub(crate) waiting: usize,
}

pub(crate) struct Endpoint {
    name: String,
    engine: Arc<dyn ProofEngine>,
    proof_types: Vec<ProofType>,
    is_insecure: bool,
    calls: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    notifications: mpsc::Sender<Notification>,
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
    ) -> Self {
        let name = engine.name().to_owned();
        let (notifications, queue) = mpsc::channel(NOTIFICATION_BACKLOG);
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

    /// Whether it should be asked before others that answer: it answers, or its last failure is `retry_after` ago.
    pub(crate) fn is_due(&self, retry_after: Duration) -> bool {
        self.state
            .lock()
            .failing_since
            .is_none_or(|since| since.elapsed() >= retry_after)
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
        let permit = self.place(limit).await?;
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
        self.record(result.as_ref().err());
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
    fn record(&self, error: Option<&EngineError>) {
        let mut state = self.state.lock();
        let was_failing = state.failing_since.is_some();
        match error {
            None => {
                state.failing_since = None;
                if was_failing {
                    tracing::info!(
                        proof_engine = self.name,
                        failures = state.failures,
                        "proof engine answers again"
                    );
                }
            }
            Some(error) => {
                state.failing_since = Some(Instant::now());
                state.failures += 1;
                state.last_error = Some(error.to_string());
                if !was_failing {
                    tracing::warn!(proof_engine = self.name, %error, "proof engine does not answer");
                }
            }
        }
    }

    /// Queues a notification; never waits.
    pub(crate) fn notify(&self, notification: Notification) {
        if self.notifications.try_send(notification).is_err() {
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
            is_healthy: state.failing_since.is_none(),
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
async fn notify(
    name: String,
    engine: Arc<dyn ProofEngine>,
    mut queue: mpsc::Receiver<Notification>,
    limit: Duration,
) {
    while let Some(notification) = queue.recv().await {
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
