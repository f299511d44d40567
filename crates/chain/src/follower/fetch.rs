//! One request each: answers of the beacon node read into what the view takes. Decoding and hashing run off the async
//! threads, where a panic of theirs is contained too.

use super::{PayloadObserver, step::Request};
use crate::{
    node_api::{NodeApi, NodeError, Versioned},
    seen,
    tree::{SeenBlock, SeenBlockPayload, SeenPayload},
    view::Checkpoint,
};
use assay_types::{
    BeaconBlockSummary, Root, Slot, Spec,
    block::BlockPayload,
    spec::{ConfigMap, Genesis},
};
use lru::LruCache;
use parking_lot::Mutex;
use serde::Deserialize;
use std::{num::NonZeroUsize, sync::Arc};

/// Gloas blocks kept until their envelope has come, which needs their bid.
const MAX_BIDS: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(n) => n,
    None => NonZeroUsize::MIN,
};

/// What a node says it is.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) genesis: Genesis,
    /// Its config, where it gave one.
    pub(super) config: Option<ConfigMap>,
}

/// What a request brought.
pub(super) enum Fetched {
    Identity(Identity),
    Finality(Checkpoint),
    Head {
        block_root: Root,
        execution_optimistic: bool,
    },
    Syncing {
        head_slot: Slot,
        distance: u64,
        is_syncing: bool,
    },
    Block(SeenBlock),
    Envelope(SeenPayload),
    NotFound,
    Unusable(String),
    Failed(String),
}

impl From<NodeError> for Fetched {
    fn from(error: NodeError) -> Self {
        match error {
            error if error.is_not_found() => Self::NotFound,
            NodeError::TooLarge(_) => Self::Unusable(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

#[derive(Deserialize)]
struct GenesisData {
    #[serde(with = "assay_types::primitives::quoted")]
    genesis_time: u64,
    genesis_validators_root: Root,
}

#[derive(Deserialize)]
struct FinalityData {
    finalized: CheckpointData,
}

#[derive(Deserialize)]
struct CheckpointData {
    epoch: assay_types::Epoch,
    root: Root,
}

#[derive(Deserialize)]
struct RootData {
    root: Root,
}

/// `/eth/v1/node/syncing`.
#[derive(Deserialize)]
struct SyncingData {
    head_slot: Slot,
    #[serde(with = "assay_types::primitives::quoted")]
    sync_distance: u64,
    is_syncing: bool,
}

/// `/eth/v1/beacon/genesis`.
pub(super) async fn genesis(api: &NodeApi) -> Result<Genesis, NodeError> {
    let data: GenesisData = api.get_json("/eth/v1/beacon/genesis", "").await?.data;
    Ok(Genesis {
        genesis_time: data.genesis_time,
        genesis_validators_root: data.genesis_validators_root,
    })
}

/// `/eth/v1/config/spec`.
pub(super) async fn config(api: &NodeApi) -> Result<ConfigMap, NodeError> {
    Ok(api.get_json("/eth/v1/config/spec", "").await?.data)
}

/// The finalized checkpoint of the head's state.
pub(super) async fn finality(api: &NodeApi) -> Result<Checkpoint, NodeError> {
    let path = "/eth/v1/beacon/states/head/finality_checkpoints";
    let FinalityData { finalized } = api.get_json(path, "").await?.data;
    Ok(Checkpoint {
        epoch: finalized.epoch,
        root: finalized.root,
    })
}

/// Reads and places a block off the async threads. `Err`: what is wrong with it.
pub(super) async fn read_block(
    versioned: Versioned,
    execution_optimistic: bool,
    spec: Arc<Spec>,
    genesis: Genesis,
) -> Result<(BeaconBlockSummary, SeenBlock), String> {
    let read = move || {
        let summary = versioned.block(&spec).map_err(|error| error.to_string())?;
        let optimistic = versioned.execution_optimistic.unwrap_or(execution_optimistic);
        let block = seen::block(&summary, optimistic, &spec, &genesis).map_err(|error| error.to_string())?;
        Ok((summary, block))
    };
    tokio::task::spawn_blocking(read)
        .await
        .unwrap_or_else(|error| Err(error.to_string()))
}

/// An observer that panicked has not heard of a payload; the block is as good as before.
fn told(outcome: Result<(), tokio::task::JoinError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "a payload's observer ended without an answer");
    }
}

/// Makes requests.
pub(super) struct Fetcher {
    api: Arc<NodeApi>,
    spec: Arc<Spec>,
    genesis: Genesis,
    observer: Option<Arc<dyn PayloadObserver>>,
    bids: Mutex<LruCache<Root, Arc<BeaconBlockSummary>>>,
}

impl Fetcher {
    pub(super) fn new(
        api: Arc<NodeApi>,
        spec: Arc<Spec>,
        genesis: Genesis,
        observer: Option<Arc<dyn PayloadObserver>>,
    ) -> Self {
        Self {
            api,
            spec,
            genesis,
            observer,
            bids: Mutex::new(LruCache::new(MAX_BIDS)),
        }
    }

    /// `execution_optimistic`: of a block whose answer does not say so.
    pub(super) async fn fetch(&self, request: Request, execution_optimistic: bool) -> Fetched {
        let fetched = match request {
            Request::Network => self.identity().await,
            Request::Finality => finality(&self.api).await.map(Fetched::Finality),
            Request::Head => self.head().await,
            Request::Syncing => self.syncing().await,
            Request::Block(root) => return self.block(root, execution_optimistic).await,
            Request::Envelope(root) => return self.envelope(root).await,
        };
        fetched.unwrap_or_else(Fetched::from)
    }

    async fn identity(&self) -> Result<Fetched, NodeError> {
        let genesis = genesis(&self.api).await?;
        // The genesis decides; a config that is missing now is no reason to wait.
        let config = config(&self.api).await.ok();
        Ok(Fetched::Identity(Identity { genesis, config }))
    }

    async fn head(&self) -> Result<Fetched, NodeError> {
        let answer = self
            .api
            .get_json::<RootData>("/eth/v1/beacon/headers/head", "")
            .await?;
        Ok(Fetched::Head {
            block_root: answer.data.root,
            execution_optimistic: answer.execution_optimistic,
        })
    }

    async fn syncing(&self) -> Result<Fetched, NodeError> {
        let data: SyncingData = self.api.get_json("/eth/v1/node/syncing", "").await?.data;
        Ok(Fetched::Syncing {
            head_slot: data.head_slot,
            distance: data.sync_distance,
            is_syncing: data.is_syncing,
        })
    }

    async fn block(&self, root: Root, execution_optimistic: bool) -> Fetched {
        let (summary, block) = match self.read(root, execution_optimistic).await {
            Ok(read) => read,
            Err(why) => return why,
        };
        if let (Some(observer), SeenBlockPayload::Carried(payload)) = (self.observer.clone(), block.payload) {
            let tell = move || {
                if let BlockPayload::Request(request) = &summary.payload {
                    observer.on_payload(&payload, request);
                }
            };
            told(tokio::task::spawn_blocking(tell).await);
        }
        Fetched::Block(block)
    }

    async fn read(
        &self,
        root: Root,
        execution_optimistic: bool,
    ) -> Result<(Arc<BeaconBlockSummary>, SeenBlock), Fetched> {
        let versioned = self.api.block(&root.to_string()).await?;
        let (summary, block) = read_block(versioned, execution_optimistic, self.spec.clone(), self.genesis)
            .await
            .map_err(Fetched::Unusable)?;
        if block.block_root != root {
            return Err(Fetched::Unusable(format!(
                "asked for this block, the root of the answer is {}",
                block.block_root
            )));
        }
        let summary = Arc::new(summary);
        if matches!(summary.payload, BlockPayload::Bid { .. }) {
            self.bids.lock().put(root, summary.clone());
        }
        Ok((summary, block))
    }

    async fn envelope(&self, root: Root) -> Fetched {
        let versioned = match self.api.envelope(&root).await {
            Ok(versioned) => versioned,
            Err(error) => return error.into(),
        };
        let kept = self.bids.lock().get(&root).cloned();
        let block = match kept {
            Some(block) => block,
            None => match self.read(root, false).await {
                Ok((block, _)) => block,
                Err(why) => return why,
            },
        };
        let (spec, genesis) = (self.spec.clone(), self.genesis);
        let observer = self.observer.clone();
        let read = move || {
            let envelope = versioned.envelope(&spec).map_err(|error| error.to_string())?;
            let payload =
                seen::envelope(&envelope, &block, &spec, &genesis).map_err(|error| error.to_string())?;
            if let (Some(observer), Ok(request)) = (observer, envelope.request(&block)) {
                observer.on_payload(&payload, &request);
            }
            Ok(payload)
        };
        match tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
        {
            Ok(payload) => Fetched::Envelope(payload),
            Err(why) => Fetched::Unusable(why),
        }
    }
}
