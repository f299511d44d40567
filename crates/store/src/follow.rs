//! Keeps the index in step with the chain view.

use crate::{
    error::StoreError,
    index::{BlockUpdate, ChainUpdate},
    store::Store,
};
use assay_chain::{Chain, ChainEvent};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Most updates in one commit.
const BATCH_UPDATES: usize = 256;
/// Most blocks taken from the chain view when starting or after having fallen behind.
const MAX_RESYNC_BLOCKS: usize = 64 * 1024;
/// Pause before the next try when the store cannot be written.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Follows the chain until it ends. Starts with what the chain view has now, and so does having fallen behind. Can be
/// dropped at any await.
pub async fn follow(store: Store, chain: Arc<dyn Chain>) {
    let mut events = chain.subscribe();
    resync(&store, chain.as_ref()).await;
    loop {
        let mut updates = Vec::new();
        let mut lagged = false;
        match events.recv().await {
            Ok(event) => updates.extend(update(event)),
            Err(RecvError::Lagged(_)) => lagged = true,
            Err(RecvError::Closed) => return,
        }
        while updates.len() < BATCH_UPDATES && !lagged {
            match events.try_recv() {
                Ok(event) => updates.extend(update(event)),
                Err(TryRecvError::Lagged(_)) => lagged = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        if !updates.is_empty()
            && let Err(error) = store.apply(updates).await
        {
            if matches!(error, StoreError::Closed) {
                return;
            }
            // What was lost is in the chain view: once the store takes writes again, it is read from there.
            lagged = true;
        }
        if lagged {
            resync(&store, chain.as_ref()).await;
        }
    }
}

fn update(event: ChainEvent) -> Option<ChainUpdate> {
    match event {
        ChainEvent::Block(block) => Some(ChainUpdate::Block(BlockUpdate::from(&block))),
        ChainEvent::Head(head) => Some(ChainUpdate::Head(BlockUpdate::from(&head))),
        ChainEvent::Finalized {
            checkpoint,
            slot,
            orphaned,
        } => Some(ChainUpdate::Finalized {
            checkpoint,
            slot,
            orphaned,
        }),
        ChainEvent::Conflict { roots, .. } => Some(ChainUpdate::Conflict(roots)),
        ChainEvent::Payload(_) | ChainEvent::Connected(_) => None,
    }
}

/// Brings the index up to the chain view: its head and the ancestors it knows, then finality. Tries until it is done.
async fn resync(store: &Store, chain: &dyn Chain) {
    loop {
        match apply_view(store, chain).await {
            Ok(()) | Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::debug!(%error, "the index waits for the store");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

async fn apply_view(store: &Store, chain: &dyn Chain) -> Result<(), StoreError> {
    let Some(head) = chain.head() else { return Ok(()) };
    let mut branch = vec![BlockUpdate::from(&head)];
    let mut parent = head.parent_root;
    while branch.len() < MAX_RESYNC_BLOCKS
        && let Some(block) = chain.block(&parent)
    {
        parent = block.parent_root;
        branch.push(BlockUpdate::from(&block));
    }
    for blocks in branch.chunks(BATCH_UPDATES) {
        store
            .apply(blocks.iter().copied().map(ChainUpdate::Block).collect())
            .await?;
    }
    store.on_head(BlockUpdate::from(&head)).await?;
    let checkpoint = chain.finalized();
    if let Some(block) = chain.block(&checkpoint.root) {
        store.on_finalized(checkpoint, block.slot, Vec::new()).await?;
    }
    Ok(())
}
