//! The follower of a beacon node: keeps a `ChainView` at what the node's HTTP API tells.
//!
//! `connect` finds out which network it is; `Follower::run` follows until it is told to end. Broken streams, restarts, slow
//! answers and errors are survived; how things stand is logged once per change.
//!
//! | file | what it holds |
//! |---|---|
//! | `follower` | the I/O: requests as tasks, the stream, the log |
//! | `follower/machine` | what to ask next, when to connect again, whether the view is caught up; no I/O |
//! | `follower/step` | what goes into the machine and what comes out |
//! | `follower/wants` | blocks and envelopes that are wanted, under way, or given up |
//! | `follower/event` | the event stream's topics and events |
//! | `follower/fetch` | one request each: answers read into what the view takes |
//! | `follower/bootstrap` | `connect` |

pub mod bootstrap;
pub mod event;
mod fetch;
pub mod machine;
pub mod step;
mod wants;

pub use bootstrap::{Anchor, Bootstrap, ConnectError, ask_network, connect};

use crate::{
    chain_view::ChainView,
    node_api::{NodeApi, NodeError, RawEvent},
    tree::{Insertion, SeenPayload},
    view::Chain,
};
use assay_types::{NewPayloadRequest, Root, Slot, Spec, spec::ConfigMap};
use event::{NodeEvent, TopicsForm};
use fetch::{Fetched, Fetcher, Identity};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use lru::LruCache;
use machine::Machine;
use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};
use step::{Action, Health, Input, Reply, Request};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

/// A stream on which nothing comes, keep-alives included, for this long (and three slots) is opened again.
pub const STREAM_IDLE: Duration = Duration::from_secs(30);
/// Slots by which the beacon node's clock may be ahead of ours before it is said.
pub const CLOCK_TOLERANCE_SLOTS: u64 = 2;
/// Blocks whose `execution_optimistic` was told by an event and is kept until they are fetched.
const OPTIMISTIC_REMEMBERED: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// Hears of every payload that a fetched block (or Gloas envelope) carries, before the view has the block: what the Engine
/// API did not bring is found here.
pub trait PayloadObserver: Send + Sync + 'static {
    /// Called on a thread for blocking work, for a few blocks at once at most; the follower waits for it. The payload's
    /// block hash is the beacon node's word: it was not held against the payload's fields.
    fn on_payload(&self, payload: &SeenPayload, request: &NewPayloadRequest);
}

type Events = BoxStream<'static, Result<RawEvent, NodeError>>;

/// Follows a beacon node.
pub struct Follower {
    api: Arc<NodeApi>,
    view: Arc<ChainView>,
    overrides: ConfigMap,
    fetcher: Arc<Fetcher>,
    told: Told,
}

/// What has been logged, so that it is logged once per change.
#[derive(Default)]
struct Told {
    spec_differs: bool,
    clock_differs: bool,
    bad_event: bool,
    form: Option<TopicsForm>,
}

struct Running {
    machine: Machine,
    tasks: JoinSet<(Request, Box<Fetched>)>,
    stream: Option<Events>,
    opening: Option<BoxFuture<'static, Result<Events, NodeError>>>,
    optimistic: LruCache<Root, bool>,
    head_optimistic: bool,
}

impl Follower {
    /// For the view of the network that `connect` found. `overrides` as given to `connect`, to notice a changed config.
    pub fn new(api: Arc<NodeApi>, view: Arc<ChainView>, overrides: ConfigMap) -> Self {
        let fetcher = Arc::new(Fetcher::new(
            api.clone(),
            view.spec().clone(),
            view.genesis(),
            None,
        ));
        Self {
            api,
            view,
            overrides,
            fetcher,
            told: Told::default(),
        }
    }

    /// The same with somebody who hears of payloads.
    #[must_use]
    pub fn observed_by(mut self, observer: Arc<dyn PayloadObserver>) -> Self {
        let (spec, genesis) = (self.view.spec().clone(), self.view.genesis());
        self.fetcher = Arc::new(Fetcher::new(self.api.clone(), spec, genesis, Some(observer)));
        self
    }

    /// Follows until `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        let slot_duration = Duration::from_millis(self.view.spec().slot_duration_ms.max(1));
        let seed = RandomState::new().hash_one(self.api.shown_url());
        let mut running = Running {
            machine: Machine::new(slot_duration, seed, Instant::now()),
            tasks: JoinSet::new(),
            stream: None,
            opening: None,
            optimistic: LruCache::new(OPTIMISTIC_REMEMBERED),
            head_optimistic: false,
        };
        loop {
            let tick = running.machine.next_tick(Instant::now());
            let input = tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep_until(tick.into()) => Some(Input::Tick),
                event = next(&mut running.stream) => self.take_event(event, &mut running),
                opened = open(&mut running.opening) => Some(self.take_stream(opened, &mut running)),
                Some(done) = running.tasks.join_next() => match done {
                    Ok((request, fetched)) => Some(self.take_fetched(request, *fetched, &mut running)),
                    // Tasks contain their panics; what is left are those that were given up.
                    Err(_) => None,
                },
            };
            let mut next = input;
            while let Some(input) = next.take() {
                let actions = self
                    .view
                    .with_tree(|tree| running.machine.on(input, tree, Instant::now()));
                for action in actions {
                    if matches!(action, Action::NoMoreAncestors(_)) {
                        next = Some(Input::Tick);
                    }
                    self.act(action, slot_duration, &mut running);
                }
            }
        }
        self.view.set_synced(false);
        self.view.set_connected(false);
    }

    fn act(&mut self, action: Action, slot_duration: Duration, running: &mut Running) {
        match action {
            Action::Ask(request) => {
                let fetcher = self.fetcher.clone();
                let optimistic = match request {
                    Request::Block(root) => running.optimistic.pop(&root).unwrap_or(running.head_optimistic),
                    _ => false,
                };
                running
                    .tasks
                    .spawn(async move { (request, Box::new(fetcher.fetch(request, optimistic).await)) });
            }
            Action::OpenStream(form) => {
                let api = self.api.clone();
                let idle = STREAM_IDLE.max(slot_duration * 3);
                running.stream = None;
                running.opening = Some(async move { api.events(&form.query(), idle).await }.boxed());
                if self.told.form.replace(form).is_some_and(|before| before != form) {
                    debug!(?form, "asking for events in another form");
                }
            }
            Action::CloseStream => (running.stream, running.opening) = (None, None),
            Action::NoEvents(why) => {
                let beacon_node = self.api.shown_url();
                warn!(
                    beacon_node,
                    why, "the beacon node gives no events; its head is asked for instead"
                );
            }
            Action::Reset => {
                (running.stream, running.opening) = (None, None);
                // A new set: what the tasks of the old one have already brought is not wanted either.
                running.tasks = JoinSet::new();
            }
            Action::NoMoreAncestors(root) => {
                let slot = self.view.block(&root).map(|block| block.slot);
                info!(block = %root, ?slot, "the beacon node has no blocks below this one for us; the view begins here");
                self.view.on_no_more_ancestors(root);
            }
            Action::Synced(synced) => self.view.set_synced(synced),
            Action::Connected(connected) => self.view.set_connected(connected),
            Action::Report(health) => self.log(&health),
        }
    }

    fn take_stream(&self, opened: Result<Events, NodeError>, running: &mut Running) -> Input {
        match opened {
            Ok(stream) => {
                running.stream = Some(stream);
                Input::StreamOpened
            }
            Err(error) if error.is_refusal() || matches!(error, NodeError::Timeout(_)) => {
                Input::StreamRefused(error.to_string())
            }
            Err(error) => Input::StreamEnded(error.to_string()),
        }
    }

    fn take_event(
        &mut self,
        event: Option<Result<RawEvent, NodeError>>,
        running: &mut Running,
    ) -> Option<Input> {
        let raw = match event {
            Some(Ok(raw)) => raw,
            Some(Err(error)) => {
                debug!(%error, "the event stream broke");
                return Some(Input::StreamEnded(error.to_string()));
            }
            None => {
                debug!("the event stream ended");
                return Some(Input::StreamEnded(
                    "the beacon node closed the event stream".to_owned(),
                ));
            }
        };
        let event = match NodeEvent::read(&raw) {
            Ok(event) => event?,
            Err(error) => {
                if !std::mem::replace(&mut self.told.bad_event, true) {
                    warn!(topic = raw.topic, %error, "the beacon node sends events that cannot be read; such are passed over");
                }
                return None;
            }
        };
        match &event {
            NodeEvent::Head {
                block_root,
                execution_optimistic,
            } => {
                self.head(*block_root, *execution_optimistic, running);
            }
            NodeEvent::Reorg {
                depth,
                block_root,
                execution_optimistic,
            } => {
                info!(depth, head = %block_root, "reorg");
                self.head(*block_root, *execution_optimistic, running);
            }
            NodeEvent::Finalized(checkpoint) => self.view.on_finalized(*checkpoint),
            NodeEvent::Block {
                block_root,
                execution_optimistic,
            } => {
                running.optimistic.put(*block_root, *execution_optimistic);
            }
            NodeEvent::Envelope { .. } => {}
        }
        Some(Input::Event(event))
    }

    fn head(&self, block_root: Root, execution_optimistic: bool, running: &mut Running) {
        running.head_optimistic = execution_optimistic;
        running.optimistic.put(block_root, execution_optimistic);
        self.view.on_head(block_root, execution_optimistic);
    }

    /// Puts what came into the view, and says what became of it.
    fn take_fetched(&mut self, request: Request, fetched: Fetched, running: &mut Running) -> Input {
        let reply = match fetched {
            Fetched::Identity(identity) => self.compare(&identity),
            Fetched::Finality(checkpoint) => {
                self.view.on_finalized(checkpoint);
                Reply::Done
            }
            Fetched::Head {
                block_root,
                execution_optimistic,
            } => {
                self.head(block_root, execution_optimistic, running);
                Reply::Done
            }
            Fetched::Syncing {
                head_slot,
                distance,
                is_syncing,
            } => {
                self.compare_clocks(head_slot, distance);
                Reply::Syncing { is_syncing, distance }
            }
            Fetched::Block(block) => {
                let insertion = self.view.on_block(block);
                if let Insertion::Refused(refusal) = insertion {
                    debug!(block = %block.block_root, slot = %block.slot, %refusal, "a block was not taken");
                }
                Reply::Block(insertion)
            }
            Fetched::Envelope(payload) => {
                let insertion = self.view.on_envelope(payload);
                if let Insertion::Refused(refusal) = insertion {
                    debug!(block_hash = %payload.block_hash, slot = %payload.slot, %refusal, "a payload was not taken");
                }
                Reply::Done
            }
            Fetched::NotFound => Reply::NotFound,
            Fetched::Unusable(why) => {
                error!(?request, why, "what the beacon node answers cannot be used");
                Reply::Unusable
            }
            Fetched::Failed(why) => {
                debug!(?request, why, "no answer from the beacon node");
                Reply::Failed(why)
            }
        };
        Input::Reply(request, reply)
    }

    /// Whether the node is still on the network of the view.
    fn compare(&mut self, identity: &Identity) -> Reply {
        let ours = self.view.genesis();
        if identity.genesis != ours {
            return Reply::OtherNetwork(format!(
                "genesis_validators_root {} at {}, ours is {} at {}",
                identity.genesis.genesis_validators_root,
                identity.genesis.genesis_time,
                ours.genesis_validators_root,
                ours.genesis_time
            ));
        }
        let spec = identity
            .config
            .as_ref()
            .map(|config| Spec::from_config(config, &self.overrides));
        let differs = spec.is_some_and(|spec| spec.ok().as_ref() != Some(&**self.view.spec()));
        if differs && !self.told.spec_differs {
            warn!("the beacon node's config has changed since this node started; restart to use it");
        }
        self.told.spec_differs = differs;
        Reply::SameNetwork
    }

    /// The node's clock is where it is synced to: its head and the distance it sees.
    fn compare_clocks(&mut self, head_slot: Slot, distance: u64) {
        let (theirs, ours) = (head_slot.saturating_add(distance), self.view.current_slot());
        // Only ahead is telling: some nodes call a chain with empty slots up to date.
        let differs = theirs.0 >= ours.0.saturating_add(CLOCK_TOLERANCE_SLOTS);
        if differs != self.told.clock_differs {
            if differs {
                warn!(beacon_node = %theirs, here = %ours, "the beacon node is slots ahead of this machine's clock; check the clocks");
            } else {
                info!("this machine's clock agrees with the beacon node's again");
            }
        }
        self.told.clock_differs = differs;
    }

    fn log(&self, health: &Health) {
        let beacon_node = self.api.shown_url();
        let head = self.view.head().map(|head| head.slot.0);
        match health {
            Health::Starting => {}
            Health::CatchingUp => info!(beacon_node, "catching up with the beacon node"),
            Health::Following => info!(beacon_node, head, "following the beacon node"),
            Health::NodeSyncing { distance } => {
                warn!(
                    beacon_node,
                    head, distance, "the beacon node is syncing; its view is followed but not called synced"
                );
            }
            Health::Unreachable(why) => warn!(
                beacon_node,
                why, "the beacon node cannot be reached; trying again"
            ),
            Health::OtherNetwork(why) => {
                error!(
                    beacon_node,
                    why,
                    "the beacon node is on another network than when this node started; nothing of it is taken"
                );
            }
        }
    }
}

/// The stream's next event; never, while there is no stream. A stream that ended is dropped by what the machine does next.
async fn next(stream: &mut Option<Events>) -> Option<Result<RawEvent, NodeError>> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

/// The stream that is being opened; never, while none is.
async fn open(
    opening: &mut Option<BoxFuture<'static, Result<Events, NodeError>>>,
) -> Result<Events, NodeError> {
    let Some(future) = opening else {
        return std::future::pending().await;
    };
    let opened = future.await;
    *opening = None;
    opened
}
