//! The Engine API endpoint in front of the execution client.
//!
//! In: HTTP requests of the beacon node. Out: the execution client's answers, byte for byte but for the status of
//! newPayload and fcU where the machine lowers it; payloads and fork choices to whoever observes. What the execution
//! client does not answer is a JSON-RPC error -32603 with HTTP 200, which every consensus client shows and retries.
//!
//! ```text
//!            ┌ service ─ sniff ─┬─ newPayload ─▶ new_payload ─▶ upstream ──▶ execution client
//! beacon ──▶ │ (JWT, limits)    │                    └ examine ─▶ machine ─▶ verdict
//! node       │                  ├─ fcU ────────▶ forkchoice (lane) ─▶ upstream
//!            │                  ├─ proofs ─────▶ proof_methods (EIP-8025, answered here)
//!            └ server           ├─ batch ──────▶ batch ─▶ either of the above, or as it is
//!                               └─ else ───────▶ byte for byte
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `server` | sockets, keep-alive, ending |
//! | `callers` | which beacon node calls; fork choice of those that are not the primary |
//! | `service` | one HTTP request: token, limits, which way it goes; byte-for-byte pass-through |
//! | `sniff` | method and id of a body while it passes |
//! | `body` | bodies on their way through: limits, budget, tee |
//! | `headers` | which headers pass |
//! | `new_payload` | one newPayload call |
//! | `examine` | from a payload's bytes to its request root |
//! | `forkchoice` | one fcU call |
//! | `lane` | the order of fcU calls |
//! | `batch` | batches that hold one of them |
//! | `turns` | the order of calls within a batch |
//! | `observed_batch` | the same under `observe` |
//! | `waiting` | answers that wait: for proofs, for a silent execution client |
//! | `verdict` | the execution client's answer, the machine's decision, the bytes that go back |
//! | `clients`, `upstream` | the execution clients; one of them |
//! | `proofs_only` | every method where there is none |
//! | `recent` | the payloads that came last, for a beacon node that asks |
//! | `capabilities` | `engine_exchangeCapabilities`: the execution client's list and the gate's |
//! | `proof_methods` | the methods of EIP-8025, served here |
//! | `proof_service` | what they work with |
//! | `answers` | answers of the endpoint's own |
//! | `stats` | the endpoint in numbers |

mod answers;
mod batch;
mod body;
mod callers;
mod capabilities;
mod clients;
mod examine;
mod forkchoice;
mod headers;
mod lane;
mod new_payload;
mod observed_batch;
mod proof_methods;
mod proof_service;
mod proofs_only;
mod recent;
mod server;
mod service;
mod sniff;
mod stats;
mod turns;
mod upstream;
mod verdict;
mod waiting;

pub use callers::{OtherNetwork, OtherNodeConfig};
pub use proof_service::{MAX_REQUESTED_PROOFS, ProofService};
pub use stats::{EndpointCounts, EndpointStats};
pub use upstream::UpstreamUrlError;

use crate::{GateHandle, machine::Event};
use assay_engine_api::{ForkchoiceStateV1, JwtSecret, methods::IMPORT_TIMEOUT};
use assay_types::{BlockHash, NewPayloadRequest, Root, Spec, spec::Genesis};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

/// Largest request body that is taken, as the Engine API asks.
pub const DEFAULT_BODY_LIMIT: usize = 128 * 1024 * 1024;
/// The port that beacon nodes expect an Engine API at.
pub const DEFAULT_PORT: u16 = 8551;
/// Bytes of requests held in memory at once, in all.
pub const DEFAULT_HELD_BYTES: usize = 512 * 1024 * 1024;
/// How long requests under way may take to end when the endpoint ends.
pub const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Requests under way at once.
const MAX_IN_FLIGHT: usize = 256;
/// A caller with a wrong token is logged once in this time.
const UNAUTHORIZED_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Payloads of another network are an alarm once in this time.
const FOREIGN_ALARM_INTERVAL: Duration = Duration::from_secs(600);

/// The execution client behind the endpoint.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Its Engine API; `http` only.
    pub url: Url,
    /// The secret shared with it. `None`: the caller's token goes to it as it came.
    pub jwt: Option<JwtSecret>,
}

/// Settings of the endpoint.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Where the beacon node connects; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The same, bound already: for an endpoint that takes another's place, or whose address another process chose.
    pub listener: Option<Arc<std::net::TcpListener>>,
    /// The secret shared with the beacon node, the primary where there are several. `None`: whoever calls is let through as
    /// the primary, and the execution client judges the token; payloads are examined whoever sent them.
    pub jwt: Option<JwtSecret>,
    /// Further beacon nodes (rule 11).
    pub others: Vec<OtherNodeConfig>,
    /// Largest request body in bytes.
    pub body_limit: usize,
    /// Most bytes of requests that are held in memory at once; beyond them a request is refused with 503.
    pub held_bytes: usize,
    /// How long a fork choice update that is not answered keeps the next one waiting.
    pub forkchoice_patience: Duration,
    /// How long calls under way may take when the endpoint ends.
    pub shutdown_grace: Duration,
    /// The execution clients; none under `proofs-only`.
    pub upstreams: Vec<UpstreamConfig>,
}

impl EndpointConfig {
    /// Loopback, the usual port, one secret for both sides.
    pub fn new(execution_endpoint: Url, jwt: JwtSecret) -> Self {
        Self {
            upstreams: vec![UpstreamConfig {
                url: execution_endpoint,
                jwt: Some(jwt.clone()),
            }],
            ..Self::proofs_only(Some(jwt))
        }
    }

    /// Loopback, the usual port, no execution client.
    pub fn proofs_only(jwt: Option<JwtSecret>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            listener: None,
            jwt,
            others: Vec::new(),
            body_limit: DEFAULT_BODY_LIMIT,
            held_bytes: DEFAULT_HELD_BYTES,
            forkchoice_patience: IMPORT_TIMEOUT,
            shutdown_grace: DEFAULT_SHUTDOWN_GRACE,
            upstreams: Vec::new(),
        }
    }
}

/// The network's values. A beacon node tells them over its own API, which may come up after its first Engine API call.
#[derive(Debug, Clone)]
pub struct Network {
    /// Numbers and forks.
    pub spec: Arc<Spec>,
    /// When slot 0 began.
    pub genesis: Genesis,
}

/// Hears what passes through the endpoint: the chain view, proof engines. Must return at once.
pub trait EngineObserver: Send + Sync + 'static {
    /// A payload came, before the beacon node imports its block. Its block hash and versioned hashes were checked; the
    /// execution client has not judged it. May be told more than once.
    fn on_payload(&self, new_payload_request_root: &Root, request: &Arc<NewPayloadRequest>);
    /// The beacon node named head, safe and finalized payload; told in the order of the calls.
    fn on_forkchoice(&self, state: &ForkchoiceStateV1);
    /// A request with a token and a method of the Engine API was let through and answered; `caller` is who sent it.
    fn on_engine_call(&self, caller: IpAddr) {
        let _ = caller;
    }
}

/// What the endpoint works with.
#[derive(Clone)]
pub struct EndpointContext {
    /// The decision.
    pub gate: GateHandle,
    /// The network's values, `None` until they are known. Until then payloads pass, and are never VALID where proofs
    /// are required.
    pub network: watch::Receiver<Option<Network>>,
    /// Hears of payloads and fork choices.
    pub observer: Arc<dyn EngineObserver>,
    /// Serves the methods of EIP-8025, whether or not the execution client knows them: the gate must hear of every proof.
    /// `None`, in a node without a proof engine: they pass to the execution client like any other.
    pub proofs: Option<ProofService>,
}

/// Why the endpoint could not start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address cannot be had.
    #[error("Engine API endpoint: cannot listen on {address}: {source}{}", hint(.source))]
    Bind {
        /// Which one.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Two beacon nodes could not be told apart.
    #[error("beacon node {node} has the JWT secret of {other}: each needs one of its own")]
    SameSecret {
        /// Which one.
        node: String,
        /// Whose secret it has.
        other: String,
    },
    /// The execution client's URL is of no use.
    #[error(transparent)]
    UpstreamUrl(#[from] UpstreamUrlError),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            " (the execution client itself, or another Assay, may be listening there: give one of them another port)"
        }
        _ => "",
    }
}

/// An endpoint that is running.
pub struct RunningEndpoint {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl RunningEndpoint {
    /// The bound address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The endpoint in numbers.
    pub fn counts(&self) -> EndpointCounts {
        self.shared.stats.snapshot()
    }

    /// The counters, to be read for as long as somebody likes.
    pub fn stats(&self) -> Arc<EndpointStats> {
        Arc::clone(&self.shared.stats)
    }

    /// Whether the execution client answered the last call; true before the first.
    pub fn execution_client_is_up(&self) -> bool {
        self.shared.upstream.is_up()
    }

    /// Ends once the token given to `run` is cancelled and the calls under way are done, or their grace is over.
    pub async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "Engine API endpoint ended by itself");
        }
    }
}

/// Starts the endpoint. It runs until `stop` is cancelled.
pub async fn run(
    config: EndpointConfig,
    context: EndpointContext,
    stop: CancellationToken,
) -> Result<RunningEndpoint, EndpointError> {
    callers::check(&config)?;
    let stats = Arc::new(EndpointStats::default());
    let upstream = clients::Clients::new(config.upstreams, &stats)?;
    let bind = |source| EndpointError::Bind {
        address: config.listen,
        source,
    };
    let listener = match &config.listener {
        Some(bound) => bound
            .try_clone()
            .and_then(|bound| {
                bound.set_nonblocking(true)?;
                TcpListener::from_std(bound)
            })
            .map_err(bind)?,
        None => TcpListener::bind(config.listen).await.map_err(bind)?,
    };
    let local_addr = listener.local_addr().map_err(bind)?;
    if !local_addr.ip().is_loopback() {
        tracing::warn!(address = %local_addr, "Engine API endpoint listens beyond this machine; only the JWT guards it");
    }
    if config.jwt.is_none() {
        tracing::warn!(
            address = %local_addr,
            "no JWT secret: callers' tokens go to the execution client as they come, and it alone judges them"
        );
    }
    let shared = Arc::new(Shared {
        jwt: config.jwt,
        others: config.others,
        body_limit: config.body_limit,
        forkchoice_patience: config.forkchoice_patience,
        shutdown_grace: config.shutdown_grace,
        upstream,
        gate: context.gate,
        network: context.network,
        observer: context.observer,
        payloads: recent::RecentPayloads::default(),
        proofs: context.proofs,
        lane: lane::Lane::default(),
        budget: body::Budget::new(config.held_bytes),
        in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        calls: TaskTracker::new(),
        abort: CancellationToken::new(),
        stats,
        started: Instant::now(),
        unauthorized_logged_ms: AtomicU64::new(0),
        foreign_told_ms: AtomicU64::new(0),
    });
    let task = tokio::spawn(server::serve(Arc::clone(&shared), listener, stop));
    tracing::info!(address = %local_addr, execution_client = shared.upstream.shown(), "Engine API endpoint listens");
    Ok(RunningEndpoint {
        local_addr,
        shared,
        task,
    })
}

/// What every request works with.
struct Shared {
    jwt: Option<JwtSecret>,
    others: Vec<OtherNodeConfig>,
    body_limit: usize,
    forkchoice_patience: Duration,
    shutdown_grace: Duration,
    upstream: clients::Clients,
    /// `proofs-only`: what payloads came.
    payloads: recent::RecentPayloads,
    gate: GateHandle,
    network: watch::Receiver<Option<Network>>,
    observer: Arc<dyn EngineObserver>,
    proofs: Option<ProofService>,
    lane: lane::Lane,
    budget: body::Budget,
    in_flight: Arc<Semaphore>,
    /// Calls that go on by themselves.
    calls: TaskTracker,
    /// Ends what is still under way when the grace after `stop` is over.
    abort: CancellationToken,
    stats: Arc<EndpointStats>,
    started: Instant,
    unauthorized_logged_ms: AtomicU64,
    foreign_told_ms: AtomicU64,
}

impl Shared {
    /// Runs a call by itself: it goes on when the beacon node hangs up, until the endpoint ends.
    fn spawn<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let abort = self.abort.clone();
        self.calls
            .spawn(async move { abort.run_until_cancelled(call).await })
    }

    /// Logs a refused caller, not each of its calls.
    fn note_unauthorized(&self, why: &str) {
        if self.is_due(&self.unauthorized_logged_ms, UNAUTHORIZED_LOG_INTERVAL) {
            tracing::warn!(error = why, "Engine API caller refused");
        }
    }

    /// Raises the alarm of a payload of another network, not for each of them.
    fn note_foreign(&self, block_hash: BlockHash, chain_id: u64) {
        if self.is_due(&self.foreign_told_ms, FOREIGN_ALARM_INTERVAL) {
            let gate = self.gate.clone();
            // Nobody waits for an alarm.
            self.spawn(async move { gate.apply(Event::ForeignPayload { block_hash, chain_id }).await });
        }
    }

    /// Whether `interval` is over since this was last so.
    fn is_due(&self, last_ms: &AtomicU64, interval: Duration) -> bool {
        let now = u64::try_from(self.started.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let last = last_ms.load(Ordering::Relaxed);
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        (last == 0 || now.saturating_sub(last) >= interval)
            && last_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}
