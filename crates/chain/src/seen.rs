//! From blocks, envelopes and requests to what the tree takes. The roots of large payloads are computed here (some
//! milliseconds a megabyte): call it off the async threads.

use crate::tree::{SeenBlock, SeenBlockPayload, SeenPayload};
use assay_types::{
    BeaconBlockSummary, BlockHash, ForkName, NewPayloadRequest, PayloadEnvelope, Root, Spec,
    block::BlockPayload, proof::SszError, spec::Genesis,
};

/// A payload as the Engine API tells it (`engine_newPayload*`), its block hash already checked (design.md, gate rule 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadSeen {
    /// `hash_tree_root(NewPayloadRequest)`.
    pub new_payload_request_root: Root,
    /// The execution block's hash.
    pub block_hash: BlockHash,
    /// Its parent's hash.
    pub parent_hash: BlockHash,
    /// Unix seconds.
    pub timestamp: u64,
    /// The fork whose shape the request has.
    pub fork: ForkName,
}

impl PayloadSeen {
    /// Of a request whose root is already known.
    pub fn of(request: &NewPayloadRequest, new_payload_request_root: Root) -> Self {
        Self {
            new_payload_request_root,
            block_hash: request.execution_payload.block_hash,
            parent_hash: request.execution_payload.parent_hash,
            timestamp: request.execution_payload.timestamp,
            fork: request.fork,
        }
    }
}

/// Why a payload has no place on this chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misplaced {
    /// No slot begins at its timestamp.
    #[error("no slot of this network begins at timestamp {timestamp}")]
    Timestamp {
        /// The payload's timestamp.
        timestamp: u64,
    },
    /// The timestamp's slot has another fork.
    #[error("the payload has the shape of {actual}, its timestamp lies in {expected}")]
    Fork {
        /// The fork at the timestamp.
        expected: ForkName,
        /// The fork of the request.
        actual: ForkName,
    },
    /// The timestamp is not that of the block's slot.
    #[error("the payload's timestamp {timestamp} is not that of its block's slot {block}")]
    Slot {
        /// The payload's timestamp.
        timestamp: u64,
        /// The block's slot.
        block: assay_types::Slot,
    },
}

/// Why a block or envelope of the beacon node could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BadBlock {
    /// It does not decode, or envelope and block do not fit.
    #[error(transparent)]
    Ssz(#[from] SszError),
    /// Its payload does not belong where the block is.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
}

/// A payload with its slot, checked against the network's clock and forks.
pub fn place_payload(seen: PayloadSeen, spec: &Spec, genesis: &Genesis) -> Result<SeenPayload, Misplaced> {
    let slot = spec
        .slot_at_timestamp(genesis.genesis_time, seen.timestamp)
        .ok_or(Misplaced::Timestamp {
            timestamp: seen.timestamp,
        })?;
    let expected = spec.fork_at_epoch(spec.epoch_at_slot(slot));
    if expected != seen.fork {
        return Err(Misplaced::Fork {
            expected,
            actual: seen.fork,
        });
    }
    Ok(SeenPayload {
        new_payload_request_root: seen.new_payload_request_root,
        block_hash: seen.block_hash,
        parent_hash: seen.parent_hash,
        slot,
        fork: seen.fork,
    })
}

/// The payload of a block whose slot is known: where slots are shorter than a second, a timestamp alone names several.
fn payload_of_block(
    request: &NewPayloadRequest,
    block: &BeaconBlockSummary,
    spec: &Spec,
    genesis: &Genesis,
) -> Result<SeenPayload, BadBlock> {
    let timestamp = request.execution_payload.timestamp;
    if spec.timestamp_at_slot(genesis.genesis_time, block.slot) != timestamp {
        return Err(Misplaced::Slot {
            timestamp,
            block: block.slot,
        }
        .into());
    }
    Ok(SeenPayload {
        new_payload_request_root: request.hash_tree_root(spec)?,
        block_hash: request.execution_payload.block_hash,
        parent_hash: request.execution_payload.parent_hash,
        slot: block.slot,
        fork: block.fork,
    })
}

/// A block of the Beacon API.
pub fn block(
    summary: &BeaconBlockSummary,
    execution_optimistic: bool,
    spec: &Spec,
    genesis: &Genesis,
) -> Result<SeenBlock, BadBlock> {
    let payload = match &summary.payload {
        BlockPayload::None => SeenBlockPayload::None,
        BlockPayload::Request(request) => {
            SeenBlockPayload::Carried(payload_of_block(request, summary, spec, genesis)?)
        }
        BlockPayload::Bid {
            block_hash,
            parent_block_hash,
            ..
        } => SeenBlockPayload::Bid {
            block_hash: *block_hash,
            parent_block_hash: *parent_block_hash,
        },
    };
    Ok(SeenBlock {
        block_root: summary.block_root,
        parent_root: summary.parent_root,
        slot: summary.slot,
        state_root: summary.state_root,
        payload,
        execution_optimistic,
    })
}

/// The payload of a Gloas block's envelope.
pub fn envelope(
    envelope: &PayloadEnvelope,
    block: &BeaconBlockSummary,
    spec: &Spec,
    genesis: &Genesis,
) -> Result<SeenPayload, BadBlock> {
    let request = envelope.request(block)?;
    payload_of_block(&request, block, spec, genesis)
}
