//! The shell around the planner: chain, disk, peers and clock in; requests and verdicts out.

use super::{
    ProofSync,
    event::{Action, Block, Event, RequestId, Wrong},
    handle::Inner,
};
use crate::rpc::Requester;
use crate::{
    Fault, PeerState,
    peers::{PeerReports, Peers},
};
use assay_chain::{BlockInfo, Chain, ChainEvent};
use assay_store::Store;
use assay_types::{ExecutionProofStatus, Root, Slot};
use assay_verification::Intake;
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::AbortHandle,
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often peers, clock and time-outs are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Blocks walked at most from the head down.
const MAX_WALK: usize = super::limits::MAX_BLOCKS;
/// How often at most it is told in the log that something is not obtainable.
const TELL_EVERY: Duration = Duration::from_secs(300);

/// What the driver works with.
pub(crate) struct DriverParts {
    pub(crate) sync: ProofSync,
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) store: Store,
    pub(crate) intake: Intake,
    pub(crate) peers: Arc<Mutex<Peers>>,
    pub(crate) reports: PeerReports,
    pub(crate) shutdown: CancellationToken,
}

pub(super) struct Driver {
    pub(super) inner: Arc<Inner>,
    pub(super) chain: Arc<dyn Chain>,
    store: Store,
    pub(super) intake: Intake,
    peers: Arc<Mutex<Peers>>,
    reports: PeerReports,
    pub(super) requester: Requester,
    running: Mutex<HashMap<RequestId, AbortHandle>>,
    pub(super) tasks: TaskTracker,
}

/// What the loop remembers between its steps.
struct Memory {
    /// Peers told to the planner, with what they said of themselves.
    peers: HashMap<PeerId, Option<ExecutionProofStatus>>,
    /// What is kept, and the anchor, as last told.
    range: Option<(Slot, Slot)>,
    /// Everything is to be looked at anew.
    stale: bool,
    /// The slots that were missed have been looked for.
    looked_back: bool,
    told: Option<Instant>,
}

/// Runs proof sync until the shutdown token is cancelled.
pub(crate) async fn run(parts: DriverParts, requester: Requester) {
    let shutdown = parts.shutdown.clone();
    let driver = Driver::new(parts, requester);
    let events = driver.chain.subscribe();
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = driver.follow(events) => {}
    }
    driver.stop();
}

impl Driver {
    pub(super) fn new(parts: DriverParts, requester: Requester) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(&parts.sync.inner),
            chain: parts.chain,
            store: parts.store,
            intake: parts.intake,
            peers: parts.peers,
            reports: parts.reports,
            requester,
            running: Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    fn stop(&self) {
        for (_, task) in self.running.lock().drain() {
            task.abort();
        }
        self.tasks.close();
    }

    async fn follow(self: &Arc<Self>, mut events: broadcast::Receiver<ChainEvent>) {
        let mut memory = Memory {
            peers: HashMap::new(),
            range: None,
            stale: true,
            looked_back: false,
            told: None,
        };
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => self.on_chain(event, &mut memory).await,
                    Err(RecvError::Lagged(_)) => memory.stale = true,
                    // Nothing changes any more: peers still may bring what is missing.
                    Err(RecvError::Closed) => {
                        ticks.tick().await;
                        self.on_tick(&mut memory).await;
                    }
                },
                _ = ticks.tick() => self.on_tick(&mut memory).await,
            }
        }
    }

    /// One event through the planner, and what follows.
    pub(super) fn tell(self: &Arc<Self>, event: Event) {
        let actions = self.inner.on_event(event);
        self.perform(actions);
    }

    pub(super) fn perform(self: &Arc<Self>, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Request { id, peer, ask } => {
                    tracing::debug!(%peer, protocol = ask.label(), ?ask, "asks for proofs");
                    let task = self.tasks.spawn(Arc::clone(self).ask(id, peer, ask));
                    let mut running = self.running.lock();
                    running.retain(|_, task| !task.is_finished());
                    running.insert(id, task.abort_handle());
                }
                Action::Cancel(id) => {
                    if let Some(task) = self.running.lock().remove(&id) {
                        task.abort();
                        self.inner.counters.request("any", "given_up");
                    }
                }
                Action::AskStatus(peer) => drop(self.tasks.spawn(Arc::clone(self).ask_status(peer))),
                Action::Fault(peer, wrong) => {
                    tracing::debug!(%peer, ?wrong, "a wrong proof in answer to a request");
                    let fault = match wrong {
                        Wrong::NotAskedFor => Fault::WrongProof,
                        Wrong::Order => Fault::WrongOrder,
                        Wrong::Rejected => Fault::InvalidProof,
                    };
                    self.report(peer, fault);
                }
            }
        }
    }

    async fn on_chain(self: &Arc<Self>, event: ChainEvent, memory: &mut Memory) {
        match event {
            ChainEvent::Head(_) => self.follow_head(false, memory).await,
            ChainEvent::Block(block) => {
                // Below the head it fills a hole, or its payload became known.
                let is_new = self
                    .inner
                    .look(|planner| planner.canonical_root(block.slot) != Some(block.block_root));
                let is_below = self
                    .inner
                    .look(|planner| planner.canonical_tip() > Some(block.slot));
                if is_new && is_below && is_on_chain(self.chain.as_ref(), &block) {
                    memory.stale = true;
                } else if !is_new {
                    self.tell_of_block(block).await;
                }
            }
            // What is on disk is read again: the store prunes, and lets go of what is damaged.
            ChainEvent::Finalized { .. } | ChainEvent::Conflict { .. } => memory.stale = true,
            ChainEvent::Payload(_) | ChainEvent::Connected(_) => {}
        }
    }

    async fn on_tick(self: &Arc<Self>, memory: &mut Memory) {
        self.tell(Event::Slot(self.chain.current_slot()));
        if std::mem::take(&mut memory.stale) {
            self.follow_head(true, memory).await;
        }
        self.look_back(memory);
        self.note_peers(memory);
        self.note_waiting().await;
        self.tell(Event::Tick);
        let state = self.inner.look(super::planner::Planner::state);
        self.inner.counters.state(&state);
        let is_time = memory.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if state.sources > 0 && state.open() == 0 && state.not_obtainable > 0 && is_time {
            memory.told = Some(Instant::now());
            tracing::info!(
                held = state.held,
                not_obtainable = state.not_obtainable,
                peers = state.sources,
                "proofs that no connected peer has"
            );
        }
    }

    /// First slot kept, and the anchor of this node's own status.
    fn range(&self) -> (Slot, Slot) {
        let spec = self.chain.spec();
        let serve = self.chain.proof_serve_range_start();
        let kept = self
            .inner
            .config
            .retention_epochs
            .saturating_mul(spec.slots_per_epoch);
        let finalized = self.chain.block(&self.chain.finalized().root);
        let anchor = finalized.map_or(serve, |block| block.slot);
        (Slot(serve.0.saturating_sub(kept)), anchor)
    }

    /// Brings the plan up to the chain view's head: what is new alone, or `anew` all of it.
    async fn follow_head(self: &Arc<Self>, anew: bool, memory: &mut Memory) {
        let Some(head) = self.chain.head() else { return };
        self.tell(Event::Slot(self.chain.current_slot()));
        let range = self.range();
        if memory.range != Some(range) {
            memory.range = Some(range);
            let (start, anchor) = range;
            self.tell(Event::Finalized { start, anchor });
        }
        let (branch, above) = self.walk(head, range.0, anew);
        self.inner.begin_journal();
        let blocks = self.with_holdings(branch).await;
        self.tell(Event::Canonical { above, blocks });
        for held in self.inner.end_journal() {
            self.tell(held);
        }
        // In Gloas the block above tells whether a payload is taken.
        if let Some(parent) = above.and_then(|slot| self.chain.canonical_block_at(slot)) {
            self.tell_of_block(parent).await;
        }
    }

    /// One block with what is held of it, and what was accepted while that was read: else it would be forgotten, and
    /// asked for again.
    async fn tell_of_block(self: &Arc<Self>, block: BlockInfo) {
        self.inner.begin_journal();
        for block in self.with_holdings(vec![block]).await {
            self.tell(Event::Block(block));
        }
        for held in self.inner.end_journal() {
            self.tell(held);
        }
    }

    /// The blocks from `start` or what the plan has up to the head, in rising order, and the slot above which they are
    /// all there is.
    fn walk(&self, head: BlockInfo, start: Slot, anew: bool) -> (Vec<BlockInfo>, Option<Slot>) {
        let mut branch = Vec::new();
        let mut at = head;
        let above = loop {
            let slot = at.slot;
            if slot < start || branch.len() >= MAX_WALK {
                break Some(slot);
            }
            let is_known = || self.inner.look(|planner| planner.canonical_root(slot)) == Some(at.block_root);
            if !anew && is_known() {
                break Some(slot);
            }
            let parent = at.parent_root;
            branch.push(at);
            match self.chain.block(&parent) {
                Some(block) if block.slot < slot => at = block,
                // What is below is not known (yet): what the plan has of it stands.
                _ => break slot.0.checked_sub(1).map(Slot),
            }
        };
        branch.reverse();
        (branch, above)
    }

    /// What is on disk of each.
    async fn with_holdings(&self, blocks: Vec<BlockInfo>) -> Vec<Block> {
        let reader = self.store.reader().clone();
        let chain = Arc::clone(&self.chain);
        let read = move || {
            blocks
                .into_iter()
                .map(|block| {
                    let payload = block.new_payload_request_root.filter(|payload| {
                        chain.is_canonical(payload) || !is_on_chain(chain.as_ref(), &block)
                    });
                    let held = payload.map(|payload| reader.proof_types_of(&payload));
                    Block {
                        slot: block.slot,
                        root: block.block_root,
                        payload,
                        // What cannot be read is fetched again, and found to be there.
                        held: held.and_then(Result::ok).unwrap_or_default(),
                    }
                })
                .collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }

    /// Once the view is caught up: whether slots were missed that it does not reach.
    fn look_back(self: &Arc<Self>, memory: &mut Memory) {
        if memory.looked_back || !self.chain.is_synced() || memory.range.is_none() {
            return;
        }
        memory.looked_back = true;
        let lowest = self.inner.look(super::planner::Planner::canonical_bottom);
        if let (Some(last), Some(lowest)) = (self.inner.config.last_known, lowest)
            && last.0 + 1 < lowest.0
        {
            let (from, to) = (Slot(last.0 + 1), Slot(lowest.0 - 1));
            tracing::info!(%from, %to, "slots missed before the range that peers have to serve: their proofs are not obtainable");
            self.tell(Event::Unreachable { from, to });
        }
    }

    /// Who came, who left, who said what it has.
    fn note_peers(self: &Arc<Self>, memory: &mut Memory) {
        let mut present: HashMap<PeerId, Option<ExecutionProofStatus>> = HashMap::new();
        for peer in self.peers.lock().list() {
            if peer.state == PeerState::Connected && (peer.proof_aware || peer.proof_status.is_some()) {
                present.insert(peer.peer_id, peer.proof_status);
            }
        }
        for peer in memory.peers.keys() {
            if !present.contains_key(peer) {
                self.tell(Event::Gone(*peer));
            }
        }
        for (peer, status) in &present {
            match (memory.peers.get(peer), status) {
                (None, status) => self.tell(Event::Connected(*peer, status.clone())),
                (Some(before), Some(status)) if before.as_ref() != Some(status) => {
                    self.tell(Event::Status(*peer, status.clone()));
                }
                _ => {}
            }
        }
        // Whom the plan has no place for is told of again, until it has one.
        present.retain(|peer, _| self.inner.look(|planner| planner.has_source(peer)));
        memory.peers = present;
    }

    /// What the gate waits for.
    async fn note_waiting(self: &Arc<Self>) {
        let Some(source) = &self.inner.config.waiting else {
            return;
        };
        let blocks: Vec<BlockInfo> = source
            .waiting()
            .iter()
            .filter_map(|payload| self.chain.payload(payload)?.block_root)
            .filter_map(|root| self.chain.block(&root))
            .collect();
        self.inner.begin_journal();
        let blocks = self.with_holdings(blocks).await;
        self.tell(Event::Waiting(blocks));
        for held in self.inner.end_journal() {
            self.tell(held);
        }
    }

    pub(super) fn report(&self, peer: PeerId, fault: Fault) {
        self.reports.report(peer, fault);
    }

    pub(super) fn finished(&self, id: RequestId) {
        self.running.lock().remove(&id);
    }
}

fn is_on_chain(chain: &dyn Chain, block: &BlockInfo) -> bool {
    let root: Root = block.block_root;
    chain
        .canonical_block_at(block.slot)
        .is_some_and(|at| at.block_root == root)
}
