//! `NodeBlocks`: a beacon node's blocks for peers. Bytes pass through; what is looked at is which block they are.
//!
//! | file | what it holds |
//! |---|---|
//! | `node_blocks` | requests, their bounds, and the task that keeps `earliest_available_slot` true |
//! | `node_blocks/cache` | blocks given before, bounded in bytes |
//! | `node_blocks/availability` | the search for the lowest block the node gives, without I/O |

mod availability;
mod cache;

use crate::{
    ChainView, NodeApi,
    block_source::{BlockAt, BlockSource, ChainStatus, KnownNodes, RawBlock, SourceError},
    node_api::{NodeError, Versioned},
    view::{Chain, Checkpoint},
};
use assay_types::{BlockIdentity, Epoch, Root, Slot, Spec, proof::SszError};
use async_trait::async_trait;
use availability::{Availability, Probe};
use bytes::Bytes;
use cache::{BlockCache, Kind};
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, broadcast::error::RecvError};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// Bounds of what peers can make of the beacon node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeBlocksConfig {
    /// Requests to the beacon node at once.
    pub concurrent: usize,
    /// Requests that may wait for their turn; more are `SourceError::Busy`.
    pub waiting: usize,
    /// Time to an answer, the wait for a turn included.
    pub timeout: Duration,
    /// Bytes of blocks and envelopes kept.
    pub cache_bytes: usize,
    /// Pause between two questions of the search for the earliest block.
    pub probe_pause: Duration,
    /// Time between two such searches, and the longest wait after one that the node did not answer.
    pub probe_every: Duration,
}

impl Default for NodeBlocksConfig {
    fn default() -> Self {
        Self {
            concurrent: 4,
            waiting: 64,
            timeout: Duration::from_secs(10),
            cache_bytes: 32 << 20,
            probe_pause: Duration::from_millis(250),
            probe_every: Duration::from_secs(300),
        }
    }
}

/// First wait after a search that the node did not answer; it doubles.
const PROBE_RETRY: Duration = Duration::from_secs(2);
/// Least time between two searches, however many peers ask for slots that turn out empty.
const PROBE_LEAST: Duration = Duration::from_secs(30);

/// A beacon node's blocks.
pub struct NodeBlocks {
    api: Arc<NodeApi>,
    view: Arc<ChainView>,
    config: NodeBlocksConfig,
    turns: Semaphore,
    waiting: AtomicUsize,
    cache: Mutex<BlockCache>,
    available: Mutex<Availability>,
    /// A block below the view was not there: the claim may be old.
    doubt: Notify,
}

/// Where the canonical block of a slot is to be had.
enum Place {
    Root(Root),
    Empty,
    /// Below what the view holds: the node knows.
    Below,
}

impl NodeBlocks {
    /// Of the beacon node that `view` follows. `run` keeps the earliest slot true; without it only the view's blocks are
    /// claimed.
    pub fn new(api: Arc<NodeApi>, view: Arc<ChainView>, config: NodeBlocksConfig) -> Self {
        Self {
            api,
            view,
            turns: Semaphore::new(config.concurrent),
            waiting: AtomicUsize::new(0),
            cache: Mutex::new(BlockCache::new(config.cache_bytes)),
            available: Mutex::new(Availability::new()),
            doubt: Notify::new(),
            config,
        }
    }

    /// Looks from time to time for the lowest block that the node gives, until `cancel`.
    pub async fn run(self: Arc<Self>, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.search() => {}
        }
    }

    async fn search(&self) {
        self.head_is_known().await;
        let mut retry = PROBE_RETRY;
        loop {
            let pause = match self.search_once().await {
                Ok(()) => {
                    retry = PROBE_RETRY;
                    self.config.probe_every
                }
                Err(error) => {
                    debug!(%error, "the earliest block is looked for later");
                    retry = (retry * 2).min(self.config.probe_every);
                    retry
                }
            };
            tokio::time::sleep(pause.min(PROBE_LEAST)).await;
            // A doubt brings the next search forward.
            let _ = tokio::time::timeout(pause.saturating_sub(PROBE_LEAST), self.doubt.notified()).await;
        }
    }

    async fn head_is_known(&self) {
        let mut events = self.view.subscribe();
        while self.view.head().is_none() {
            match events.recv().await {
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                // The view lives as long as `self`.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    async fn search_once(&self) -> Result<(), SourceError> {
        let before = self.available.lock().lowest();
        self.available.lock().begin();
        loop {
            let Some((floor, _)) = self.held() else {
                return Ok(());
            };
            let Some(slot) = self.available.lock().next(floor) else {
                break;
            };
            // An answer that cannot be used is a block that cannot be served.
            let probe = match self.ask(&BlockAt::Slot(slot)).await {
                Ok(Some(_)) => Probe::Given,
                Ok(None) | Err(SourceError::Wrong(_)) => Probe::None,
                Err(error) => return Err(error),
            };
            self.available.lock().answer(slot, probe);
            tokio::time::sleep(self.config.probe_pause).await;
        }
        let lowest = self.available.lock().lowest();
        if lowest != before {
            info!(
                slot = lowest.map(|slot| slot.0),
                "the beacon node gives blocks from this slot on"
            );
        }
        Ok(())
    }

    /// The lowest and the highest slot of the canonical chain as it is here without a gap.
    fn held(&self) -> Option<(Slot, Slot)> {
        self.view.with_tree(|tree| {
            let mut chain = tree.canonical_chain();
            let (lowest, _) = chain.next()?;
            Some((lowest, chain.next_back().map_or(lowest, |(slot, _)| slot)))
        })
    }

    fn place(&self, slot: Slot) -> Result<Place, SourceError> {
        let (lowest, highest) = self
            .held()
            .ok_or_else(|| SourceError::Unavailable("it was not reached yet".to_owned()))?;
        if slot < lowest {
            return Ok(Place::Below);
        }
        if slot > highest {
            return Ok(Place::Empty);
        }
        let block = self.view.canonical_block_at(slot);
        Ok(block.map_or(Place::Empty, |block| Place::Root(block.block_root)))
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, SourceError> {
        if let Ok(permit) = self.turns.try_acquire() {
            return Ok(permit);
        }
        /// Leaves the queue when dropped, as a peer that goes away makes it.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= self.config.waiting {
            return Err(SourceError::Busy);
        }
        let permit = self.turns.acquire().await;
        permit.map_err(|error| SourceError::Unavailable(error.to_string()))
    }

    /// One request, within bounds. `read` turns what came into bytes and says which block they are.
    async fn request(
        &self,
        asked: impl Future<Output = Result<Versioned, NodeError>>,
        read: impl Fn(&Versioned, &Spec) -> Result<(Bytes, BlockIdentity), SszError> + Send + 'static,
    ) -> Result<Option<RawBlock>, SourceError> {
        let spec = Arc::clone(self.view.spec());
        let whole = async {
            let _turn = self.turn().await?;
            let versioned = match asked.await {
                Ok(versioned) => versioned,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            // Checking and hashing are work of milliseconds for a large block.
            let fork = versioned.fork;
            let read = tokio::task::spawn_blocking(move || read(&versioned, &spec)).await;
            let (ssz, identity) = read
                .map_err(|error| SourceError::Wrong(error.to_string()))?
                .map_err(|error| SourceError::Wrong(error.to_string()))?;
            let spec = self.view.spec();
            let epoch = spec.epoch_at_slot(identity.slot);
            if spec.fork_at_epoch(epoch) != fork {
                return Err(SourceError::Wrong(format!(
                    "a block of slot {} is called one of {fork}",
                    identity.slot
                )));
            }
            Ok(Some(RawBlock {
                slot: identity.slot,
                root: identity.block_root,
                parent_root: identity.parent_root,
                fork,
                fork_digest: spec.fork_digest(&self.view.genesis().genesis_validators_root, epoch),
                ssz,
            }))
        };
        tokio::time::timeout(self.config.timeout, whole)
            .await
            .map_err(|_| SourceError::TimedOut)?
    }

    async fn block_by_root(&self, root: Root) -> Result<Option<RawBlock>, SourceError> {
        let kept = self.cache.lock().get(Kind::Block, root);
        match kept {
            Some(block) => Ok(Some(block)),
            None => self.ask(&BlockAt::Root(root)).await,
        }
    }

    /// A block from the node, past the cache.
    async fn ask(&self, at: &BlockAt) -> Result<Option<RawBlock>, SourceError> {
        let id = match at {
            BlockAt::Slot(slot) => slot.to_string(),
            BlockAt::Root(root) => root.to_string(),
        };
        let read = |versioned: &Versioned, spec: &Spec| {
            let ssz = versioned.block_ssz(spec)?;
            let identity = BlockIdentity::of_signed_block_ssz(versioned.fork, spec, &ssz)?;
            Ok((ssz, identity))
        };
        let Some(block) = self.request(self.api.block(&id), read).await? else {
            return Ok(None);
        };
        let is_asked = match at {
            BlockAt::Slot(slot) => block.slot == *slot,
            BlockAt::Root(root) => block.root == *root,
        };
        if !is_asked {
            return Err(SourceError::Wrong(format!(
                "asked for block {id}, it gave {} of slot {}",
                block.root, block.slot
            )));
        }
        self.cache.lock().put(Kind::Block, block.clone());
        Ok(Some(block))
    }
}

#[async_trait]
impl BlockSource for NodeBlocks {
    fn chain_status(&self) -> Option<ChainStatus> {
        let head = self.view.head()?;
        let (held, _) = self.held()?;
        Some(ChainStatus {
            // Epoch 0 has no root in `status`, whatever a node calls it.
            finalized: match self.view.finalized() {
                Checkpoint { epoch: Epoch(0), .. } => Checkpoint::default(),
                finalized => finalized,
            },
            head_root: head.block_root,
            head_slot: head.slot,
            earliest_available_slot: match self.available.lock().lowest() {
                Some(found) => found.min(held),
                None => held,
            },
        })
    }

    async fn block(&self, at: BlockAt) -> Result<Option<RawBlock>, SourceError> {
        let slot = match at {
            BlockAt::Root(root) => return self.block_by_root(root).await,
            BlockAt::Slot(slot) => slot,
        };
        match self.place(slot)? {
            Place::Empty => Ok(None),
            Place::Root(root) => match self.block_by_root(root).await? {
                // Not an empty slot: who asks must not take it for one.
                None => Err(SourceError::Unavailable(format!(
                    "it no longer gives block {root} of slot {slot}"
                ))),
                found => Ok(found),
            },
            Place::Below => {
                let found = self.ask(&at).await?;
                if found.is_none() {
                    self.doubt.notify_one();
                }
                Ok(found)
            }
        }
    }

    fn block_at_hand(&self, at: BlockAt) -> Option<RawBlock> {
        let root = match at {
            BlockAt::Root(root) => root,
            BlockAt::Slot(slot) => match self.place(slot) {
                Ok(Place::Root(root)) => root,
                Ok(Place::Empty | Place::Below) | Err(_) => return None,
            },
        };
        self.cache.lock().get(Kind::Block, root)
    }

    fn envelope_at_hand(&self, block_root: Root) -> Option<RawBlock> {
        self.cache.lock().get(Kind::Envelope, block_root)
    }

    async fn envelope(&self, block_root: Root) -> Result<Option<RawBlock>, SourceError> {
        let kept = self.envelope_at_hand(block_root);
        if kept.is_some() {
            return Ok(kept);
        }
        let spec = self.view.spec();
        let known = self.view.block(&block_root);
        if known.is_some_and(|block| !spec.fork_at_epoch(spec.epoch_at_slot(block.slot)).has_envelope()) {
            return Ok(None);
        }
        let read = |versioned: &Versioned, spec: &Spec| {
            let ssz = versioned.envelope_ssz(spec)?;
            let identity = BlockIdentity::of_signed_envelope_ssz(versioned.fork, spec, &ssz)?;
            Ok((ssz, identity))
        };
        let Some(envelope) = self.request(self.api.envelope(&block_root), read).await? else {
            return Ok(None);
        };
        if envelope.root != block_root {
            return Err(SourceError::Wrong(format!(
                "asked for the envelope of {block_root}, it gave that of {}",
                envelope.root
            )));
        }
        self.cache.lock().put(Kind::Envelope, envelope.clone());
        Ok(Some(envelope))
    }

    async fn known_nodes(&self) -> Result<KnownNodes, SourceError> {
        let asked = async {
            let _turn = self.turn().await?;
            Ok(self.api.known_nodes().await?)
        };
        tokio::time::timeout(self.config.timeout, asked)
            .await
            .map_err(|_| SourceError::TimedOut)?
    }
}
