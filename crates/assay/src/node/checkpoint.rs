//! `--trusted-checkpoint`: from the beacon block that an operator trusts to the payload that becomes an anchor (design.md,
//! gate rule 2).

use crate::config::TrustedCheckpoint;
use assay_chain::NodeApi;
use assay_gate::{GateHandle, machine::Event};
use assay_types::{BeaconBlockSummary, BlockHash, BlockPayload, Spec};
use std::{sync::Arc, time::Duration};

/// Wait between two questions to the beacon node, which may not have the block yet.
const RETRY: Duration = Duration::from_secs(12);
/// After so many refusals the log says it once more.
const TOLD_EVERY: u64 = 25;

/// Asks the beacon node for the block until it has it, and makes its payload an anchor. The block's root is that of its
/// bytes, so a beacon node cannot give another.
pub(super) async fn trust(
    checkpoint: TrustedCheckpoint,
    api: Arc<NodeApi>,
    spec: Arc<Spec>,
    gate: GateHandle,
) {
    for asked in 0_u64.. {
        match look_up(checkpoint, &api, &spec).await {
            Ok(Some(block_hash)) => {
                tracing::warn!(
                    block_root = %checkpoint.root, slot = checkpoint.slot.0, %block_hash,
                    "trusted checkpoint: this payload and all before it count as valid"
                );
                gate.apply(Event::AnchorSet { block_hash }).await;
                return;
            }
            Ok(None) => {
                tracing::error!(
                    block_root = %checkpoint.root, slot = checkpoint.slot.0,
                    "trusted checkpoint: the block is of another slot or has no payload; nothing is trusted by it"
                );
                return;
            }
            Err(why) if asked % TOLD_EVERY == 0 => {
                tracing::warn!(block_root = %checkpoint.root, why, "trusted checkpoint: the beacon node does not give its block yet");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// `None`: the block is not what the checkpoint says.
async fn look_up(
    checkpoint: TrustedCheckpoint,
    api: &NodeApi,
    spec: &Arc<Spec>,
) -> Result<Option<BlockHash>, String> {
    let block = api
        .block(&checkpoint.root.to_string())
        .await
        .map_err(|e| e.to_string())?;
    let spec = spec.clone();
    let read = tokio::task::spawn_blocking(move || block.block(&spec)).await;
    let block = read.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
    if block.block_root != checkpoint.root {
        return Err("it gives another block".to_owned());
    }
    Ok((block.slot == checkpoint.slot)
        .then(|| anchor_of(&block))
        .flatten())
}

/// The newest payload that is settled by the block.
fn anchor_of(block: &BeaconBlockSummary) -> Option<BlockHash> {
    match &block.payload {
        BlockPayload::None => None,
        BlockPayload::Request(request) => Some(request.execution_payload.block_hash),
        // Gloas: the payload a bid promises may never have come; its parent did (rule 10).
        BlockPayload::Bid {
            parent_block_hash, ..
        } => Some(*parent_block_hash),
    }
}
