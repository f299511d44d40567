//! `ExecutionPayloadHeader` and `NewPayloadRequestHeader` (Bellatrix to Fulu): lists are replaced by their roots, and the
//! root stays the same.

use super::{
    ExecutionPayload, ExecutionRequests,
    fields::{check_logs_bloom, common_parts, push_blob_gas, read_common},
    request::{read_rest, write_request},
};
use crate::{
    containers::{ContainerContext, shape},
    fork::ForkName,
    primitives::{Hash256, Root},
    proof::SszError,
    schema::{
        Schema,
        read::Reader,
        write::{self, Part},
    },
    spec::Spec,
};
use bytes::Bytes;

const NAME: &str = "NewPayloadRequestHeader";

/// An execution payload with roots in the place of its lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionPayloadHeader {
    /// The fields a header shares with its payload; `transactions` and `withdrawals` are empty here and mean nothing.
    pub fields: ExecutionPayload,
    /// `hash_tree_root` of the payload's transactions.
    pub transactions_root: Root,
    /// `hash_tree_root` of the payload's withdrawals (Capella and later; zero before).
    pub withdrawals_root: Root,
}

/// A `NewPayloadRequest` with the payload's header in the payload's place. Its root equals the request's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayloadRequestHeader {
    /// The fork whose shape and root this has: Bellatrix to Fulu.
    pub fork: ForkName,
    /// The payload's header.
    pub execution_payload_header: ExecutionPayloadHeader,
    /// As in the request.
    pub versioned_hashes: Vec<Hash256>,
    /// As in the request.
    pub parent_beacon_block_root: Root,
    /// As in the request.
    pub execution_requests: ExecutionRequests,
}

impl ExecutionPayloadHeader {
    /// The header of a payload. An error where the fork has none, or a list of the payload is over its limit.
    pub fn of(payload: &ExecutionPayload, fork: ForkName, spec: &Spec) -> Result<Self, SszError> {
        // The header's shape exists only where headers do.
        shape("ExecutionPayloadHeader", fork, spec)?;
        let payload_shape = shape("ExecutionPayload", fork, spec)?;
        let root = |name: &str, bytes: Vec<u8>| {
            payload_shape
                .field(name)
                .map(|schema: &Schema| schema.hash_tree_root(&bytes))
                .transpose()
                .map_err(|e| e.in_container("ExecutionPayload"))
                .map(Option::unwrap_or_default)
        };
        Ok(Self {
            fields: ExecutionPayload {
                transactions: Vec::new(),
                withdrawals: Vec::new(),
                ..payload.clone()
            },
            transactions_root: root("transactions", payload.transactions_ssz())?,
            withdrawals_root: root("withdrawals", payload.withdrawals_ssz())?,
        })
    }

    fn read(fork: ForkName, reader: Reader<'_>) -> Result<Self, SszError> {
        let mut header = Self {
            fields: read_common(reader)?,
            transactions_root: reader.array("transactions_root")?,
            withdrawals_root: Root::ZERO,
        };
        if fork >= ForkName::Capella {
            header.withdrawals_root = reader.array("withdrawals_root")?;
        }
        if fork >= ForkName::Deneb {
            header.fields.blob_gas_used = reader.u64("blob_gas_used")?;
            header.fields.excess_blob_gas = reader.u64("excess_blob_gas")?;
        }
        Ok(header)
    }

    fn write(&self, fork: ForkName) -> Vec<u8> {
        let mut parts = common_parts(&self.fields);
        parts.push(Part::fixed(&self.transactions_root));
        if fork >= ForkName::Capella {
            parts.push(Part::fixed(&self.withdrawals_root));
        }
        push_blob_gas(&mut parts, fork, &self.fields);
        write::container(&parts)
    }
}

impl NewPayloadRequestHeader {
    /// Strict decoding of the SSZ form of `fork`.
    pub fn from_ssz_bytes(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let schema = shape(NAME, fork, spec)?;
        let view = schema.view(bytes).map_err(|e| e.in_container(NAME))?;
        let reader = Reader::new(view, bytes);
        let (versioned_hashes, parent_beacon_block_root, execution_requests) = read_rest(fork, reader)?;
        Ok(Self {
            fork,
            execution_payload_header: ExecutionPayloadHeader::read(
                fork,
                reader.field("execution_payload_header")?,
            )?,
            versioned_hashes,
            parent_beacon_block_root,
            execution_requests,
        })
    }

    /// The SSZ form of its fork.
    pub fn to_ssz_bytes(&self) -> Bytes {
        write_request(
            self.fork,
            self.execution_payload_header.write(self.fork),
            &self.versioned_hashes,
            &self.parent_beacon_block_root,
            &self.execution_requests,
        )
        .into()
    }

    /// `hash_tree_root`: equals the request's.
    pub fn hash_tree_root(&self, spec: &Spec) -> Result<Root, SszError> {
        let context = ContainerContext::new(self.fork, spec);
        check_logs_bloom(
            &self.execution_payload_header.fields.logs_bloom,
            context.limits.bytes_per_logs_bloom,
        )?;
        shape(NAME, self.fork, spec)?
            .hash_tree_root(&self.to_ssz_bytes())
            .map_err(|e| e.in_container(NAME))
    }
}
