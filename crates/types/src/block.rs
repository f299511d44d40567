//! Beacon blocks and Gloas envelopes: their roots, and the payload request that follows from them.

use crate::{
    fork::ForkName,
    payload::NewPayloadRequest,
    primitives::{BlockHash, Root, Slot, ValidatorIndex},
    proof::SszError,
    spec::Spec,
};
use bytes::Bytes;

/// What a `SignedBeaconBlock` of any fork tells this project.
#[derive(Debug, Clone)]
pub struct BeaconBlockSummary {
    /// The block's fork.
    pub fork: ForkName,
    /// `hash_tree_root(BeaconBlock)`.
    pub block_root: Root,
    /// The block's slot.
    pub slot: Slot,
    /// Who proposed it.
    pub proposer_index: ValidatorIndex,
    /// The parent block.
    pub parent_root: Root,
    /// Root of the state the block builds: the state a proof of its payload is judged by.
    pub state_root: Root,
    /// The payload part.
    pub payload: BlockPayload,
}

/// The payload part of a block.
#[derive(Debug, Clone)]
pub enum BlockPayload {
    /// Before Bellatrix, or Bellatrix before the merge (an all-zero payload).
    None,
    /// The payload itself (Bellatrix to Fulu).
    Request(Box<NewPayloadRequest>),
    /// Gloas: a bid; the payload comes in an envelope, or never.
    Bid {
        /// The payload the bid promises.
        block_hash: BlockHash,
        /// The execution parent it builds on.
        parent_block_hash: BlockHash,
        /// Versioned hashes of the bid's blob commitments.
        versioned_hashes: Vec<crate::Hash256>,
    },
}

impl BeaconBlockSummary {
    /// From a `SignedBeaconBlock` in SSZ. Strict.
    pub fn from_signed_block_ssz(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let _ = (fork, spec, bytes);
        unimplemented!()
    }

    /// From the Beacon API's JSON of a `SignedBeaconBlock` (the `data` member).
    pub fn from_signed_block_json(
        fork: ForkName,
        spec: &Spec,
        data: &serde_json::Value,
    ) -> Result<Self, SszError> {
        let _ = (fork, spec, data);
        unimplemented!()
    }
}

/// What a Gloas `SignedExecutionPayloadEnvelope` tells this project.
#[derive(Debug, Clone)]
pub struct PayloadEnvelope {
    /// Root of the beacon block it belongs to.
    pub beacon_block_root: Root,
    /// The payload and its requests. Versioned hashes are the block's bid's: `request` joins them.
    pub partial_request: NewPayloadRequest,
}

impl PayloadEnvelope {
    /// From a `SignedExecutionPayloadEnvelope` in SSZ. Strict.
    pub fn from_signed_envelope_ssz(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let _ = (fork, spec, bytes);
        unimplemented!()
    }

    /// From the Beacon API's JSON (the `data` member).
    pub fn from_signed_envelope_json(
        fork: ForkName,
        spec: &Spec,
        data: &serde_json::Value,
    ) -> Result<Self, SszError> {
        let _ = (fork, spec, data);
        unimplemented!()
    }

    /// The payload request, with versioned hashes from the block's bid. An error names what does not fit
    /// (another block, another block hash).
    pub fn request(&self, block: &BeaconBlockSummary) -> Result<NewPayloadRequest, SszError> {
        let _ = block;
        unimplemented!()
    }
}
