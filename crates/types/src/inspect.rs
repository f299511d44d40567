//! Containers by name, for those who look at them by hand: decode, encode, hash, and what payload a block carries.
//!
//! `assay ssz` is a thin shell over this file. In: bytes or JSON and a [`ContainerContext`]. Out: JSON, bytes, a root.

use crate::{
    block::{BeaconBlockSummary, BlockPayload, PayloadEnvelope},
    containers::{self, ContainerContext, UnknownContainer},
    fork::ForkName,
    primitives::{BlockHash, Root, Slot},
    proof::SszError,
    schema::SchemaError,
    spec::Spec,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

#[cfg(test)]
mod tests;

/// Why a container could not be decoded, encoded or hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// There is no such container in that context.
    #[error(transparent)]
    Unknown(#[from] UnknownContainer),
    /// The bytes or JSON are no such container.
    #[error("not a valid {name}: {why}")]
    Invalid {
        /// The container's name.
        name: String,
        /// What is wrong, and where.
        why: SchemaError,
    },
    /// A block or envelope that does not decode or does not fit.
    #[error(transparent)]
    Ssz(#[from] SszError),
    /// A block without a payload has no request.
    #[error("block {0} carries no payload: it is from before the merge, or a genesis block")]
    NoPayload(Root),
    /// A Gloas block's payload is in its envelope.
    #[error(
        "block {0} carries a bid; its payload is in the SignedExecutionPayloadEnvelope, which is needed too"
    )]
    NeedsEnvelope(Root),
    /// An envelope for a block that carries its payload itself.
    #[error("a block of {0} carries its payload itself; there is no envelope for it")]
    NoEnvelope(ForkName),
    /// No fork's block decodes from the bytes.
    #[error("a SignedBeaconBlock of no fork in this preset; as {fork}: {why}")]
    NoFork {
        /// The newest fork.
        fork: ForkName,
        /// Why it is none of that fork's.
        why: String,
    },
}

fn invalid(name: &str) -> impl FnOnce(SchemaError) -> InspectError {
    |why| InspectError::Invalid {
        name: name.to_owned(),
        why,
    }
}

/// The Beacon API's JSON of a container in SSZ.
pub fn decode(name: &str, context: &ContainerContext, bytes: &[u8]) -> Result<Value, InspectError> {
    let schema = containers::lookup(name, context)?;
    Ok(schema.view(bytes).map_err(invalid(name))?.to_json())
}

/// The SSZ bytes of a container in the Beacon API's JSON.
pub fn encode(name: &str, context: &ContainerContext, value: &Value) -> Result<Vec<u8>, InspectError> {
    containers::lookup(name, context)?
        .encode_json(value)
        .map_err(invalid(name))
}

/// `hash_tree_root` of a container in SSZ.
pub fn root(name: &str, context: &ContainerContext, bytes: &[u8]) -> Result<Root, InspectError> {
    containers::lookup(name, context)?
        .hash_tree_root(bytes)
        .map_err(invalid(name))
}

/// A container as it was given.
#[derive(Debug, Clone)]
pub enum Encoded {
    /// SSZ.
    Ssz(Bytes),
    /// The Beacon API's JSON: the container, or the answer that holds it in `data`.
    Json(Value),
}

impl Encoded {
    /// JSON without the answer around it, and the fork the answer named.
    fn opened(self) -> (Self, Option<ForkName>) {
        match self {
            Self::Json(Value::Object(mut answer)) if answer.contains_key("data") => {
                let version = answer
                    .get("version")
                    .and_then(Value::as_str)
                    .and_then(|v| v.parse().ok());
                (Self::Json(answer.remove("data").unwrap_or_default()), version)
            }
            other => (other, None),
        }
    }
}

/// What a block says of its payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PayloadSummary {
    /// `hash_tree_root(BeaconBlock)`.
    pub block_root: Root,
    /// The block's slot.
    pub slot: Slot,
    /// The payload's hash.
    pub block_hash: BlockHash,
    /// The payload's parent.
    pub parent_hash: BlockHash,
    /// `hash_tree_root(NewPayloadRequest)`, in the form that `spec` names.
    pub new_payload_request_root: Root,
}

/// The payload of a `SignedBeaconBlock`, for Gloas with its `SignedExecutionPayloadEnvelope`. Without a fork, the newest
/// one that the block decodes as is meant; blocks of no two forks look alike, but for Electra's and Fulu's, which have
/// the same roots.
pub fn payload_summary(
    fork: Option<ForkName>,
    spec: &Spec,
    block: Encoded,
    envelope: Option<Encoded>,
) -> Result<PayloadSummary, InspectError> {
    let (block, named) = block.opened();
    let block = match fork.or(named) {
        Some(fork) => summary(fork, spec, &block)?,
        None => newest(spec, &block)?,
    };
    let request = match (&block.payload, envelope) {
        (BlockPayload::None, _) => return Err(InspectError::NoPayload(block.block_root)),
        (BlockPayload::Request(_), Some(_)) => return Err(InspectError::NoEnvelope(block.fork)),
        (BlockPayload::Request(request), None) => (**request).clone(),
        (BlockPayload::Bid { .. }, None) => return Err(InspectError::NeedsEnvelope(block.block_root)),
        (BlockPayload::Bid { .. }, Some(envelope)) => {
            let envelope = match envelope.opened().0 {
                Encoded::Ssz(bytes) => PayloadEnvelope::from_signed_envelope_ssz(block.fork, spec, &bytes),
                Encoded::Json(data) => PayloadEnvelope::from_signed_envelope_json(block.fork, spec, &data),
            };
            envelope?.request(&block)?
        }
    };
    Ok(PayloadSummary {
        block_root: block.block_root,
        slot: block.slot,
        block_hash: request.execution_payload.block_hash,
        parent_hash: request.execution_payload.parent_hash,
        new_payload_request_root: request.hash_tree_root(spec)?,
    })
}

fn summary(fork: ForkName, spec: &Spec, block: &Encoded) -> Result<BeaconBlockSummary, SszError> {
    match block {
        Encoded::Ssz(bytes) => BeaconBlockSummary::from_signed_block_ssz(fork, spec, bytes),
        Encoded::Json(data) => BeaconBlockSummary::from_signed_block_json(fork, spec, data),
    }
}

fn newest(spec: &Spec, block: &Encoded) -> Result<BeaconBlockSummary, InspectError> {
    let mut first = None;
    for fork in ForkName::ALL.iter().rev() {
        match summary(*fork, spec, block) {
            Ok(block) => return Ok(block),
            Err(e) => {
                first.get_or_insert((*fork, e.why));
            }
        }
    }
    let (fork, why) = first.unwrap_or((ForkName::Phase0, String::new()));
    Err(InspectError::NoFork { fork, why })
}
