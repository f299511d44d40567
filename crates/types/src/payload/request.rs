//! `NewPayloadRequest`: what a proof is about, and the root that names it.

use super::{
    ExecutionPayload, ExecutionPayloadHeader, ExecutionRequests, NewPayloadRequestHeader,
    fields::{check_logs_bloom, hashes_ssz, read_hashes},
};
use crate::{
    containers::{ContainerContext, shape},
    fork::ForkName,
    primitives::{Hash256, Root},
    proof::SszError,
    schema::{
        read::Reader,
        write::{self, Part},
    },
    spec::Spec,
};
use bytes::Bytes;

const NAME: &str = "NewPayloadRequest";

/// What a proof is about. Fields a fork does not have are at their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayloadRequest {
    /// The fork whose shape and root this has.
    pub fork: ForkName,
    /// The payload.
    pub execution_payload: ExecutionPayload,
    /// Versioned hashes of the blob commitments, in order (Deneb and later).
    pub versioned_hashes: Vec<Hash256>,
    /// Root of the parent beacon block (Deneb and later).
    pub parent_beacon_block_root: Root,
    /// Requests (Electra and later).
    pub execution_requests: ExecutionRequests,
}

impl NewPayloadRequest {
    /// Strict decoding of the SSZ form of `fork`. Transactions, extra data and the like are slices of `bytes`.
    pub fn from_ssz_bytes(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let schema = shape(NAME, fork, spec)?;
        let view = schema.view(bytes).map_err(|e| e.in_container(NAME))?;
        let reader = Reader::new(view, bytes);
        let (versioned_hashes, parent_beacon_block_root, execution_requests) = read_rest(fork, reader)?;
        Ok(Self {
            fork,
            execution_payload: ExecutionPayload::read(fork, reader.field("execution_payload")?)?,
            versioned_hashes,
            parent_beacon_block_root,
            execution_requests,
        })
    }

    /// The SSZ form of its fork. Says nothing about limits; [`Self::hash_tree_root`] does.
    pub fn to_ssz_bytes(&self) -> Bytes {
        write_request(
            self.fork,
            self.execution_payload.write(self.fork),
            &self.versioned_hashes,
            &self.parent_beacon_block_root,
            &self.execution_requests,
        )
        .into()
    }

    /// `hash_tree_root`: the name of the payload everywhere in this project. From Gloas on in the form
    /// `spec.new_payload_request_form` names. An error where the value is none of its fork's: a list over its limit, a
    /// bloom of another length, a field the fork does not have.
    pub fn hash_tree_root(&self, spec: &Spec) -> Result<Root, SszError> {
        let context = ContainerContext::new(self.fork, spec);
        check_logs_bloom(
            &self.execution_payload.logs_bloom,
            context.limits.bytes_per_logs_bloom,
        )?;
        if let Some(name) = self.foreign_field() {
            return Err(SszError {
                container: NAME,
                why: format!("{name} is set, which {} does not have", self.fork),
            });
        }
        shape(NAME, self.fork, spec)?
            .hash_tree_root(&self.to_ssz_bytes())
            .map_err(|e| e.in_container(NAME))
    }

    /// The same request with the payload's header in the payload's place: it has the same root. Bellatrix to Fulu.
    pub fn header(&self, spec: &Spec) -> Result<NewPayloadRequestHeader, SszError> {
        // What cannot be hashed has no header either.
        self.hash_tree_root(spec)?;
        Ok(NewPayloadRequestHeader {
            fork: self.fork,
            execution_payload_header: ExecutionPayloadHeader::of(&self.execution_payload, self.fork, spec)?,
            versioned_hashes: self.versioned_hashes.clone(),
            parent_beacon_block_root: self.parent_beacon_block_root,
            execution_requests: self.execution_requests.clone(),
        })
    }

    /// A field that is set but does not exist in the fork: it would be lost on the way to bytes.
    fn foreign_field(&self) -> Option<&'static str> {
        let payload = &self.execution_payload;
        let set = [
            ("withdrawals", ForkName::Capella, !payload.withdrawals.is_empty()),
            ("blob_gas_used", ForkName::Deneb, payload.blob_gas_used != 0),
            ("excess_blob_gas", ForkName::Deneb, payload.excess_blob_gas != 0),
            (
                "versioned_hashes",
                ForkName::Deneb,
                !self.versioned_hashes.is_empty(),
            ),
            (
                "parent_beacon_block_root",
                ForkName::Deneb,
                !self.parent_beacon_block_root.is_zero(),
            ),
            (
                "block_access_list",
                ForkName::Gloas,
                !payload.block_access_list.is_empty(),
            ),
            ("slot_number", ForkName::Gloas, payload.slot_number != 0),
        ];
        set.iter()
            .find(|(_, since, set)| *set && self.fork < *since)
            .map(|(name, ..)| *name)
            .or_else(|| self.execution_requests.foreign_field(self.fork))
    }
}

/// What follows the payload or header in a request.
pub(super) fn read_rest(
    fork: ForkName,
    reader: Reader<'_>,
) -> Result<(Vec<Hash256>, Root, ExecutionRequests), SszError> {
    let (versioned_hashes, parent) = if fork >= ForkName::Deneb {
        (
            read_hashes(reader, "versioned_hashes")?,
            reader.array("parent_beacon_block_root")?,
        )
    } else {
        Default::default()
    };
    let requests = if fork >= ForkName::Electra {
        ExecutionRequests::read(fork, reader.field("execution_requests")?)?
    } else {
        ExecutionRequests::default()
    };
    Ok((versioned_hashes, parent, requests))
}

/// A request's bytes around those of its payload or header.
pub(super) fn write_request(
    fork: ForkName,
    payload: Vec<u8>,
    versioned_hashes: &[Hash256],
    parent_beacon_block_root: &Root,
    execution_requests: &ExecutionRequests,
) -> Vec<u8> {
    let mut parts = vec![Part::variable(payload)];
    if fork >= ForkName::Deneb {
        parts.push(Part::variable(hashes_ssz(versioned_hashes)));
        parts.push(Part::fixed(parent_beacon_block_root));
    }
    if fork >= ForkName::Electra {
        parts.push(Part::variable(execution_requests.write(fork)));
    }
    write::container(&parts)
}
