//! Beacon blocks and Gloas envelopes: their roots, and the payload request that follows from them.
//!
//! SSZ and the Beacon API's JSON go one way: JSON is turned into SSZ by the block's shape, and only SSZ is read. So a
//! block has one root, however it was fetched.

use crate::{
    containers::shape,
    fork::ForkName,
    payload::{ExecutionPayload, ExecutionRequests, NewPayloadRequest, kzg_commitment_to_versioned_hash},
    primitives::{BlockHash, Hash256, Root, Slot, ValidatorIndex},
    proof::SszError,
    schema::read::Reader,
    spec::Spec,
};
use bytes::Bytes;

#[cfg(test)]
mod tests;

const BLOCK: &str = "SignedBeaconBlock";
const ENVELOPE: &str = "SignedExecutionPayloadEnvelope";

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
    /// No payload: before Bellatrix, Bellatrix before the merge, a genesis block (an all-zero payload or bid).
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
        versioned_hashes: Vec<Hash256>,
        /// `hash_tree_root` of the requests the payload will bring.
        execution_requests_root: Root,
    },
}

/// The SSZ bytes of a container in the Beacon API's JSON.
fn from_json(
    name: &'static str,
    fork: ForkName,
    spec: &Spec,
    data: &serde_json::Value,
) -> Result<Bytes, SszError> {
    shape(name, fork, spec)?
        .encode_json(data)
        .map(Bytes::from)
        .map_err(|e| e.in_container(name))
}

/// The versioned hashes of a list of commitments.
fn versioned_hashes(reader: Reader<'_>, name: &str) -> Result<Vec<Hash256>, SszError> {
    reader.items(name, |commitment| {
        Ok(kzg_commitment_to_versioned_hash(commitment.view().bytes()))
    })
}

/// A `SignedBeaconBlock` in SSZ, from the Beacon API's JSON (the `data` member).
pub fn signed_block_ssz_from_json(
    fork: ForkName,
    spec: &Spec,
    data: &serde_json::Value,
) -> Result<Bytes, SszError> {
    from_json(BLOCK, fork, spec, data)
}

/// A `SignedExecutionPayloadEnvelope` in SSZ, from the Beacon API's JSON (the `data` member).
pub fn signed_envelope_ssz_from_json(
    fork: ForkName,
    spec: &Spec,
    data: &serde_json::Value,
) -> Result<Bytes, SszError> {
    from_json(ENVELOPE, fork, spec, data)
}

/// Which block bytes are: what who passes a block on needs to know, and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockIdentity {
    /// `hash_tree_root(BeaconBlock)`.
    pub block_root: Root,
    /// The parent block's root, where the bytes are a block: an envelope does not say it.
    pub parent_root: Option<Root>,
    /// The block's slot.
    pub slot: Slot,
}

impl BlockIdentity {
    /// Of a `SignedBeaconBlock` in SSZ. Strict.
    pub fn of_signed_block_ssz(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let schema = shape(BLOCK, fork, spec)?;
        let view = schema.view(bytes).map_err(|e| e.in_container(BLOCK))?;
        let block = Reader::new(view, bytes).field("message")?;
        Ok(Self {
            block_root: block.view().hash_tree_root(),
            parent_root: Some(block.array("parent_root")?),
            slot: Slot(block.u64("slot")?),
        })
    }

    /// Of the block that a `SignedExecutionPayloadEnvelope` in SSZ says it belongs to; the slot is its payload's. Strict;
    /// nothing is hashed.
    pub fn of_signed_envelope_ssz(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let schema = shape(ENVELOPE, fork, spec)?;
        let view = schema.view(bytes).map_err(|e| e.in_container(ENVELOPE))?;
        let envelope = Reader::new(view, bytes).field("message")?;
        Ok(Self {
            block_root: envelope.array("beacon_block_root")?,
            parent_root: None,
            slot: Slot(envelope.field("payload")?.u64("slot_number")?),
        })
    }
}

impl BeaconBlockSummary {
    /// From a `SignedBeaconBlock` in SSZ. Strict.
    pub fn from_signed_block_ssz(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let schema = shape(BLOCK, fork, spec)?;
        let view = schema.view(bytes).map_err(|e| e.in_container(BLOCK))?;
        let block = Reader::new(view, bytes).field("message")?;
        let parent_root = block.array("parent_root")?;
        Ok(Self {
            fork,
            block_root: block.view().hash_tree_root(),
            slot: Slot(block.u64("slot")?),
            proposer_index: block.u64("proposer_index")?,
            parent_root,
            state_root: block.array("state_root")?,
            payload: BlockPayload::read(fork, parent_root, block.field("body")?)?,
        })
    }

    /// From the Beacon API's JSON of a `SignedBeaconBlock` (the `data` member).
    pub fn from_signed_block_json(
        fork: ForkName,
        spec: &Spec,
        data: &serde_json::Value,
    ) -> Result<Self, SszError> {
        Self::from_signed_block_ssz(fork, spec, &from_json(BLOCK, fork, spec, data)?)
    }
}

impl BlockPayload {
    fn read(fork: ForkName, parent_root: Root, body: Reader<'_>) -> Result<Self, SszError> {
        if fork.has_envelope() {
            return Self::read_bid(body.field("signed_execution_payload_bid.message")?);
        }
        if !fork.has_payload() {
            return Ok(Self::None);
        }
        let execution_payload = ExecutionPayload::read(fork, body.field("execution_payload")?)?;
        if execution_payload == ExecutionPayload::default() {
            return Ok(Self::None);
        }
        let mut request = NewPayloadRequest {
            fork,
            execution_payload,
            versioned_hashes: Vec::new(),
            parent_beacon_block_root: Root::ZERO,
            execution_requests: ExecutionRequests::default(),
        };
        if fork >= ForkName::Deneb {
            request.versioned_hashes = versioned_hashes(body, "blob_kzg_commitments")?;
            request.parent_beacon_block_root = parent_root;
        }
        if fork >= ForkName::Electra {
            request.execution_requests = ExecutionRequests::read(fork, body.field("execution_requests")?)?;
        }
        Ok(Self::Request(Box::new(request)))
    }

    fn read_bid(bid: Reader<'_>) -> Result<Self, SszError> {
        let is_default = bid
            .view()
            .fields()
            .all(|(_, value)| match value.schema().fixed_size() {
                Some(_) => value.bytes().iter().all(|byte| *byte == 0),
                None => value.bytes().is_empty(),
            });
        if is_default {
            return Ok(Self::None);
        }
        Ok(Self::Bid {
            block_hash: bid.array("block_hash")?,
            parent_block_hash: bid.array("parent_block_hash")?,
            versioned_hashes: versioned_hashes(bid, "blob_kzg_commitments")?,
            execution_requests_root: bid.array("execution_requests_root")?,
        })
    }
}

/// What a Gloas `SignedExecutionPayloadEnvelope` tells this project.
#[derive(Debug, Clone)]
pub struct PayloadEnvelope {
    /// Root of the beacon block it belongs to.
    pub beacon_block_root: Root,
    /// `hash_tree_root` of its execution requests, which the block's bid promised.
    pub execution_requests_root: Root,
    /// The payload and its requests. Versioned hashes are the block's bid's: `request` joins them.
    pub partial_request: NewPayloadRequest,
}

impl PayloadEnvelope {
    /// From a `SignedExecutionPayloadEnvelope` in SSZ. Strict.
    pub fn from_signed_envelope_ssz(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let schema = shape(ENVELOPE, fork, spec)?;
        let view = schema.view(bytes).map_err(|e| e.in_container(ENVELOPE))?;
        let envelope = Reader::new(view, bytes).field("message")?;
        let requests = envelope.field("execution_requests")?;
        Ok(Self {
            beacon_block_root: envelope.array("beacon_block_root")?,
            execution_requests_root: requests.view().hash_tree_root(),
            partial_request: NewPayloadRequest {
                fork,
                execution_payload: ExecutionPayload::read(fork, envelope.field("payload")?)?,
                versioned_hashes: Vec::new(),
                parent_beacon_block_root: envelope.array("parent_beacon_block_root")?,
                execution_requests: ExecutionRequests::read(fork, requests)?,
            },
        })
    }

    /// From the Beacon API's JSON (the `data` member).
    pub fn from_signed_envelope_json(
        fork: ForkName,
        spec: &Spec,
        data: &serde_json::Value,
    ) -> Result<Self, SszError> {
        Self::from_signed_envelope_ssz(fork, spec, &from_json(ENVELOPE, fork, spec, data)?)
    }

    /// The payload request, with versioned hashes from the block's bid. An error names what does not fit: another block,
    /// another payload, other requests than the bid promised (consensus-specs gloas `verify_execution_payload_envelope`).
    pub fn request(&self, block: &BeaconBlockSummary) -> Result<NewPayloadRequest, SszError> {
        let refuse = |what: &str, envelope: &dyn std::fmt::Display, block: &dyn std::fmt::Display| SszError {
            container: "ExecutionPayloadEnvelope",
            why: format!("{what} is {envelope}, the block's {block}"),
        };
        let payload = &self.partial_request.execution_payload;
        let BlockPayload::Bid {
            block_hash,
            parent_block_hash,
            versioned_hashes,
            execution_requests_root,
        } = &block.payload
        else {
            return Err(SszError {
                container: "ExecutionPayloadEnvelope",
                why: format!("block {} carries no bid", block.block_root),
            });
        };
        if self.partial_request.fork != block.fork {
            return Err(refuse("fork", &self.partial_request.fork, &block.fork));
        }
        let roots = [
            ("beacon_block_root", self.beacon_block_root, block.block_root),
            (
                "parent_beacon_block_root",
                self.partial_request.parent_beacon_block_root,
                block.parent_root,
            ),
            ("payload.block_hash", payload.block_hash, *block_hash),
            ("payload.parent_hash", payload.parent_hash, *parent_block_hash),
            (
                "root of execution_requests",
                self.execution_requests_root,
                *execution_requests_root,
            ),
        ];
        if let Some((what, envelope, block)) = roots.iter().find(|(_, envelope, block)| envelope != block) {
            return Err(refuse(what, envelope, block));
        }
        if payload.slot_number != block.slot.0 {
            return Err(refuse("payload.slot_number", &payload.slot_number, &block.slot));
        }
        Ok(NewPayloadRequest {
            versioned_hashes: versioned_hashes.clone(),
            ..self.partial_request.clone()
        })
    }
}
