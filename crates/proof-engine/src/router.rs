//! Sends each proof type to its backends: in their order, the next one when one does not answer.

use crate::{
    EngineError, EngineEvent, ProofEngine, ProofGenId, Verification,
    endpoint::{CallLimits, Endpoint, EndpointHealth, RetryPauses},
    metrics::RouterMetrics,
    notifications::Notification,
};
use assay_types::{EngineInput, NewPayloadRequest, ProofKey, ProofType, Root};
use async_trait::async_trait;
use futures::{StreamExt, stream::FuturesUnordered};
use lru::LruCache;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::AbortHandle,
};

/// Events a slow reader may fall behind (each may hold a proof of `MAX_PROOF_SIZE`).
pub const ROUTER_EVENT_BACKLOG: usize = 32;

/// Limits of the router.
#[derive(Debug, Clone)]
pub struct RouterConfig {
    /// Calls under way at one endpoint at a time (verifications and requests together).
    pub max_concurrent_calls: usize,
    /// Calls that wait for a place at one endpoint; more are `Unavailable` at once.
    pub max_waiting_calls: usize,
    /// Longest one verification takes, and longest it waits for a place before that.
    pub verify_timeout: Duration,
    /// Longest one request for proofs takes to be taken.
    pub request_timeout: Duration,
    /// An endpoint that did not answer is asked only after the others for this long, and one that let a call wait for
    /// its time-out not at all; doubled with each failure in a row, spread at random by a fifth.
    pub retry_after: Duration,
    /// At most this long.
    pub retry_after_longest: Duration,
    /// Types in the order they are preferred; those not named here come after them, as their routes have them.
    pub preferred_types: Vec<ProofType>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            max_concurrent_calls: 4,
            max_waiting_calls: 128,
            verify_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            retry_after: Duration::from_secs(1),
            // A slot: an engine that is back is in use for the next payload.
            retry_after_longest: Duration::from_secs(12),
            preferred_types: Vec::new(),
        }
    }
}

/// A backend and the types it is asked for.
#[derive(Clone)]
pub struct Route {
    /// The backend.
    pub engine: Arc<dyn ProofEngine>,
    /// Types sent to it, preferred first; `None`: all it names when the router is made.
    pub proof_types: Option<Vec<ProofType>>,
}

impl From<Arc<dyn ProofEngine>> for Route {
    fn from(engine: Arc<dyn ProofEngine>) -> Self {
        Self {
            engine,
            proof_types: None,
        }
    }
}

/// Why a router could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// No backend.
    #[error("no proof engine is configured")]
    NoRoute,
    /// A backend that verifies nothing.
    #[error("proof engine {0} has no proof types")]
    NoProofTypes(String),
    /// A limit that would let nothing through.
    #[error("{0} must be at least 1")]
    ZeroLimit(&'static str),
}

/// Several backends as one `ProofEngine`.
///
/// An answer of `Valid` or `Invalid` is the last word; an error goes to the next endpoint of the type. `Unsupported`
/// is said only where every endpoint of the type said so, or none has it; with an error among them the error is told.
pub struct Router {
    calls: Calls,
    endpoints: Arc<Vec<Endpoint>>,
    /// Endpoints of each type, in the order they were given.
    by_type: BTreeMap<ProofType, Vec<usize>>,
    proof_types: Vec<ProofType>,
    events: broadcast::Sender<EngineEvent>,
    not_made: NotMade,
    forwarders: Vec<AbortHandle>,
}

/// Proofs of which it is remembered who failed to make them.
const REMEMBERED_FAILURES: NonZeroUsize = match NonZeroUsize::new(1024) {
    Some(count) => count,
    None => NonZeroUsize::MIN,
};

/// How often which endpoints failed to make a proof, of those that took the request for it.
type NotMade = Arc<Mutex<LruCache<ProofKey, BTreeMap<usize, u32>>>>;

/// The calls to single endpoints, counted. Clones are the same.
#[derive(Clone)]
struct Calls {
    endpoints: Arc<Vec<Endpoint>>,
    verify_timeout: Duration,
    request_timeout: Duration,
    metrics: RouterMetrics,
}

impl Calls {
    /// Asks these endpoints one after the other until one decides.
    async fn in_turn(&self, places: Vec<usize>, proof: EngineInput) -> Result<Verification, EngineError> {
        let mut failed = None;
        for at in places {
            let (proof, endpoint, began) = (proof.clone(), &self.endpoints[at], Instant::now());
            let call = endpoint.call(self.verify_timeout, |engine| async move {
                engine.verify(&proof).await
            });
            let result = call.await;
            let outcome = |said: &Verification| match said {
                Verification::Valid => "valid",
                Verification::Invalid(_) => "invalid",
                Verification::Unsupported => "unsupported",
            };
            self.metrics
                .called(endpoint.name(), "verify", &result, outcome, began.elapsed());
            match result {
                Ok(Verification::Unsupported) => {}
                Ok(decided) => return Ok(decided),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(Verification::Unsupported), Err)
    }

    /// Asks one endpoint for proofs.
    async fn request(
        &self,
        at: usize,
        root: Root,
        request: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        let asked = types.to_vec();
        let (endpoint, began) = (&self.endpoints[at], Instant::now());
        let call = endpoint.call(self.request_timeout, |engine| async move {
            engine.request(root, request, &asked).await
        });
        let result = call.await;
        self.metrics
            .called(endpoint.name(), "request", &result, |_| "taken", began.elapsed());
        result
    }
}

impl Router {
    /// `routes` in the order they are preferred; a type may be in several. Must be called inside a tokio runtime.
    pub fn new(routes: Vec<Route>, config: RouterConfig) -> Result<Self, RouterError> {
        if routes.is_empty() {
            return Err(RouterError::NoRoute);
        }
        if config.max_concurrent_calls == 0 {
            return Err(RouterError::ZeroLimit("max_concurrent_calls"));
        }
        let limits = CallLimits {
            concurrent: config.max_concurrent_calls,
            waiting: config.max_waiting_calls,
            retry: RetryPauses {
                first: config.retry_after,
                longest: config.retry_after_longest,
            },
        };
        let metrics = RouterMetrics::default();
        let mut endpoints = Vec::new();
        let mut by_type: BTreeMap<ProofType, Vec<usize>> = BTreeMap::new();
        let mut proof_types = Vec::new();
        for route in routes {
            let types = dedup(route.proof_types.unwrap_or_else(|| route.engine.proof_types()));
            if types.is_empty() {
                return Err(RouterError::NoProofTypes(route.engine.name().to_owned()));
            }
            for proof_type in &types {
                by_type.entry(*proof_type).or_default().push(endpoints.len());
            }
            proof_types.extend_from_slice(&types);
            endpoints.push(Endpoint::new(
                route.engine,
                types,
                limits,
                config.request_timeout,
                metrics.clone(),
            ));
        }
        let mut proof_types = dedup(proof_types);
        let place = |t: &ProofType| config.preferred_types.iter().position(|p| p == t);
        proof_types.sort_by_key(|t| place(t).unwrap_or(usize::MAX));
        let (events, _) = broadcast::channel(ROUTER_EVENT_BACKLOG);
        let not_made: NotMade = Arc::new(Mutex::new(LruCache::new(REMEMBERED_FAILURES)));
        let forwarders = endpoints
            .iter()
            .enumerate()
            .map(|(at, endpoint)| {
                let place = (at, endpoint.name().to_owned());
                let from = endpoint.engine().events();
                tokio::spawn(forward(place, from, events.clone(), not_made.clone())).abort_handle()
            })
            .collect();
        let endpoints = Arc::new(endpoints);
        Ok(Self {
            calls: Calls {
                endpoints: endpoints.clone(),
                verify_timeout: config.verify_timeout,
                request_timeout: config.request_timeout,
                metrics,
            },
            endpoints,
            by_type,
            proof_types,
            events,
            not_made,
            forwarders,
        })
    }

    /// What it counts.
    pub fn metrics(&self) -> &RouterMetrics {
        &self.calls.metrics
    }

    /// Every endpoint's health, in the order they were given.
    pub fn health(&self) -> Vec<EndpointHealth> {
        self.endpoints.iter().map(Endpoint::health).collect()
    }

    /// The endpoints of a type: those that answer (or are due for another try) first, else in their order.
    fn endpoints_of(&self, proof_type: ProofType) -> Vec<usize> {
        let Some(all) = self.by_type.get(&proof_type) else {
            return Vec::new();
        };
        let due = |at: &usize| self.endpoints[*at].is_due();
        let (mut first, last): (Vec<_>, Vec<_>) = all.iter().copied().partition(due);
        first.extend(last);
        first
    }

    /// The endpoints that make proofs of a type, as `endpoints_of` has them; those that failed to make this one before come
    /// after the others, the more often the later.
    fn makers_of(&self, new_payload_request_root: &Root, proof_type: ProofType) -> Vec<usize> {
        let key = ProofKey {
            new_payload_request_root: *new_payload_request_root,
            proof_type,
        };
        let mut makers = self.endpoints_of(proof_type);
        makers.retain(|at| self.endpoints[*at].engine().makes_proofs());
        if let Some(failed) = self.not_made.lock().peek(&key) {
            makers.sort_by_key(|at| failed.get(at).copied().unwrap_or(0));
        }
        makers
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for task in &self.forwarders {
            task.abort();
        }
    }
}

/// The id the router gives for a payload: the first 8 bytes of SHA-256 of its request root. One payload has one id,
/// however many endpoints work on it and in whatever parts, so no table of ids has to be kept.
pub fn proof_gen_id(new_payload_request_root: &Root) -> ProofGenId {
    let mut id = [0; 8];
    id.copy_from_slice(&Sha256::digest(new_payload_request_root.as_slice())[..8]);
    ProofGenId(id)
}

fn dedup(types: Vec<ProofType>) -> Vec<ProofType> {
    let mut out = Vec::with_capacity(types.len());
    for proof_type in types {
        if !out.contains(&proof_type) {
            out.push(proof_type);
        }
    }
    out
}

/// Hands the events of the endpoint at a place, of this name, on under the router's ids.
async fn forward(
    (at, name): (usize, String),
    mut from: broadcast::Receiver<EngineEvent>,
    to: broadcast::Sender<EngineEvent>,
    not_made: NotMade,
) {
    loop {
        let event = match from.recv().await {
            Ok(EngineEvent::Completed { key, proof_data, .. }) => {
                let proof_gen_id = Some(proof_gen_id(&key.new_payload_request_root));
                EngineEvent::Completed {
                    proof_gen_id,
                    key,
                    proof_data,
                }
            }
            Ok(EngineEvent::Failed { key, reason }) => {
                // Who asks again gets another endpoint, where there is one.
                let mut not_made = not_made.lock();
                let failures = not_made
                    .get_or_insert_mut(key, BTreeMap::new)
                    .entry(at)
                    .or_default();
                *failures = failures.saturating_add(1);
                EngineEvent::Failed { key, reason }
            }
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(proof_engine = name, lost, "events of a proof engine were lost");
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        // An error says that nobody listens now.
        let _ = to.send(event);
    }
}

#[async_trait]
impl ProofEngine for Router {
    fn name(&self) -> &str {
        "router"
    }

    fn proof_types(&self) -> Vec<ProofType> {
        self.proof_types.clone()
    }

    /// True if any backend's proofs prove nothing.
    fn is_insecure(&self) -> bool {
        self.endpoints.iter().any(Endpoint::is_insecure)
    }

    async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError> {
        let places = self.endpoints_of(proof.proof_type);
        // One that kept its last caller waiting is asked beside the others, where there are others: a proof does not pay
        // for finding out whether it is back.
        let is_beside = |at: &usize| self.endpoints[*at].is_due() && self.endpoints[*at].was_slow();
        let (beside, in_turn): (Vec<usize>, Vec<usize>) = places.iter().copied().partition(is_beside);
        if beside.is_empty() || in_turn.is_empty() {
            return self.calls.in_turn(places, proof.clone()).await;
        }
        let mut asked: FuturesUnordered<_> = beside
            .into_iter()
            .map(|at| vec![at])
            .chain([in_turn])
            .map(|places| {
                let (calls, proof) = (self.calls.clone(), proof.clone());
                // Goes on when another has answered: its health is learnt from how it ends. Bounded by its time-out, and
                // there is one at a time.
                tokio::spawn(async move { calls.in_turn(places, proof).await })
            })
            .collect();
        let mut failed = None;
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(Ok(Verification::Unsupported)) => {}
                Ok(Ok(decided)) => return Ok(decided),
                Ok(Err(error)) => failed = Some(error),
                Err(_) => failed = Some(EngineError::Unavailable("this node is ending".into())),
            }
        }
        failed.map_or(Ok(Verification::Unsupported), Err)
    }

    /// Each type goes to its first endpoint that takes it. The error is told only if none of the types was taken;
    /// for those that were not, a `Failed` event follows.
    async fn request(
        &self,
        new_payload_request_root: Root,
        request: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError> {
        let makers = |t: &ProofType| self.makers_of(&new_payload_request_root, *t).into_iter();
        let mut places: BTreeMap<ProofType, std::vec::IntoIter<usize>> =
            types.iter().map(|t| (*t, makers(t))).collect();
        let mut open = dedup(types.to_vec());
        let mut taken_any = false;
        let mut failures: Vec<(ProofType, EngineError)> = Vec::new();
        // Side by side: one that hangs delays its own types alone.
        let mut under_way = FuturesUnordered::new();
        loop {
            // All types whose next endpoint is the same go there in one call.
            let mut by_endpoint: BTreeMap<usize, Vec<ProofType>> = BTreeMap::new();
            for proof_type in std::mem::take(&mut open) {
                match places.get_mut(&proof_type).and_then(Iterator::next) {
                    Some(at) => by_endpoint.entry(at).or_default().push(proof_type),
                    None if failures.iter().any(|(t, _)| *t == proof_type) => {}
                    None => failures.push((
                        proof_type,
                        EngineError::Unavailable(format!(
                            "no proof engine makes proofs of type {proof_type}"
                        )),
                    )),
                }
            }
            for (at, group) in by_endpoint {
                let (calls, request) = (&self.calls, request.clone());
                under_way.push(async move {
                    let result = calls.request(at, new_payload_request_root, request, &group).await;
                    (group, result)
                });
            }
            let Some((group, result)) = under_way.next().await else {
                break;
            };
            match result {
                Ok(_) => {
                    taken_any = true;
                    failures.retain(|(t, _)| !group.contains(t));
                }
                Err(error) => {
                    for proof_type in group {
                        failures.retain(|(t, _)| *t != proof_type);
                        failures.push((proof_type, error.clone()));
                        open.push(proof_type);
                    }
                }
            }
        }
        if !taken_any {
            let none_asked = EngineError::Unavailable("no proof types asked for".into());
            return Err(failures.pop().map_or(none_asked, |(_, error)| error));
        }
        for (proof_type, error) in failures {
            let key = ProofKey {
                new_payload_request_root,
                proof_type,
            };
            let _ = self.events.send(EngineEvent::Failed {
                key,
                reason: error.to_string(),
            });
        }
        Ok(proof_gen_id(&new_payload_request_root))
    }

    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.events.subscribe()
    }

    async fn notify_new_payload(&self, new_payload_request_root: Root, request: Arc<NewPayloadRequest>) {
        for endpoint in self.endpoints.iter() {
            endpoint.notify(Notification::NewPayload(
                new_payload_request_root,
                request.clone(),
            ));
        }
    }

    async fn notify_forkchoice_updated(&self, head: Root, safe: Root, finalized: Root) {
        for endpoint in self.endpoints.iter() {
            endpoint.notify(Notification::ForkchoiceUpdated {
                head,
                safe,
                finalized,
            });
        }
    }
}

#[cfg(test)]
mod tests;
