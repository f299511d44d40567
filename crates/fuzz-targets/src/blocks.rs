//! Beacon blocks and Gloas envelopes, in SSZ and in JSON, and the payload requests in them.

use crate::{Seen, asks_everything, choose, spec};
use assay_engine_api::{NewPayloadParams, payload_writer::NewPayloadParamsJson};
use assay_types::{
    BeaconBlockSummary, BlockPayload, ContainerContext, ExecutionRequests, ForkName, NewPayloadRequest,
    NewPayloadRequestHeader, PayloadEnvelope, Preset, Root, Schema, Spec, containers::lookup,
};
use bytes::Bytes;
use serde_json::Value;

const BLOCK: &str = "SignedBeaconBlock";
const ENVELOPE: &str = "SignedExecutionPayloadEnvelope";

/// Fork and preset by the first byte.
fn context(data: &[u8]) -> Option<(ForkName, &'static Spec, &[u8])> {
    let (which, rest) = data.split_first()?;
    let preset = choose(&[Preset::Mainnet, Preset::Minimal], which >> 4);
    Some((choose(ForkName::ALL, which & 0x0f), spec(preset), rest))
}

fn shape(name: &str, fork: ForkName, spec: &Spec) -> Option<Schema> {
    lookup(name, &ContainerContext::new(fork, spec)).ok()
}

/// The first byte chooses fork and preset, the rest is a `SignedBeaconBlock` in SSZ.
pub(crate) fn beacon_block(data: &[u8]) -> Seen {
    let Some((fork, spec, ssz)) = context(data) else {
        return Seen::Refused;
    };
    let bytes = Bytes::copy_from_slice(ssz);
    let block = BeaconBlockSummary::from_signed_block_ssz(fork, spec, &bytes);
    if !asks_everything(data) {
        return Seen::of(&block);
    }
    let shape = shape(BLOCK, fork, spec).unwrap();
    assert_eq!(shape.check(ssz).is_ok(), block.is_ok());
    if let Ok(block) = &block {
        let view = shape.view(ssz).unwrap();
        let message = view.at("message").unwrap();
        assert_eq!(block.block_root, message.hash_tree_root());
        assert_eq!(Some(block.slot.0), message.at("slot").unwrap().as_u64());
        check_payload(block, spec);

        let json = view.to_json();
        assert_eq!(shape.encode_json(&json).as_deref(), Ok(ssz));
        let by_json = BeaconBlockSummary::from_signed_block_json(fork, spec, &json).unwrap();
        assert_eq!(same(&by_json), same(block));
    }
    Seen::of(&block)
}

/// What must not differ between two ways to a block.
fn same(block: &BeaconBlockSummary) -> (Root, Root, String) {
    (block.block_root, block.state_root, format!("{:?}", block.payload))
}

fn check_payload(block: &BeaconBlockSummary, spec: &Spec) {
    match &block.payload {
        BlockPayload::None => {}
        BlockPayload::Request(request) => check_request(request, spec),
        BlockPayload::Bid { .. } => assert!(block.fork.has_envelope()),
    }
}

/// Everything that must hold of a request that has a root.
pub(crate) fn check_request(request: &NewPayloadRequest, spec: &Spec) {
    let fork = request.fork;
    let root = request.hash_tree_root(spec).unwrap();
    let ssz = request.to_ssz_bytes();
    assert_eq!(
        NewPayloadRequest::from_ssz_bytes(fork, spec, &ssz).as_ref(),
        Ok(request)
    );
    let shape = shape("NewPayloadRequest", fork, spec).unwrap();
    assert_eq!(shape.hash_tree_root(&ssz), Ok(root));

    if !fork.has_envelope() {
        let header = request.header(spec).unwrap();
        assert_eq!(header.hash_tree_root(spec), Ok(root));
        let header_ssz = header.to_ssz_bytes();
        assert_eq!(
            NewPayloadRequestHeader::from_ssz_bytes(fork, spec, &header_ssz),
            Ok(header)
        );
    }
    if fork >= ForkName::Electra {
        let requests = &request.execution_requests;
        let lists = requests.to_typed_lists(fork);
        let read = ExecutionRequests::from_typed_lists(fork, spec, &lists);
        assert_eq!(read.as_ref(), Ok(requests));
    }

    // The Engine API's way to the same request.
    let json = serde_json::to_string(&NewPayloadParamsJson(request)).unwrap();
    let params = NewPayloadParams::from_params(&json).unwrap();
    assert_eq!(params.into_request(fork, spec).as_ref(), Ok(request));
}

/// The first byte chooses fork and preset, the rest is a `SignedExecutionPayloadEnvelope` in SSZ.
pub(crate) fn payload_envelope(data: &[u8]) -> Seen {
    let Some((fork, spec, ssz)) = context(data) else {
        return Seen::Refused;
    };
    let bytes = Bytes::copy_from_slice(ssz);
    let envelope = PayloadEnvelope::from_signed_envelope_ssz(fork, spec, &bytes);
    if !asks_everything(data) {
        return Seen::of(&envelope);
    }
    let shape = shape(ENVELOPE, fork, spec);
    assert_eq!(
        shape.as_ref().is_some_and(|shape| shape.check(ssz).is_ok()),
        envelope.is_ok()
    );
    if let (Ok(envelope), Some(shape)) = (&envelope, &shape) {
        let view = shape.view(ssz).unwrap();
        let requests = view.at("message.execution_requests").unwrap();
        assert_eq!(envelope.execution_requests_root, requests.hash_tree_root());
        check_request(&envelope.partial_request, spec);

        let json = view.to_json();
        assert_eq!(shape.encode_json(&json).as_deref(), Ok(ssz));
        let by_json = PayloadEnvelope::from_signed_envelope_json(fork, spec, &json).unwrap();
        assert_eq!(by_json.partial_request, envelope.partial_request);
        check_joined(envelope, spec);
    }
    Seen::of(&envelope)
}

/// The envelope's own block takes it; another slot's does not.
fn check_joined(envelope: &PayloadEnvelope, spec: &Spec) {
    let request = &envelope.partial_request;
    let payload = &request.execution_payload;
    let mut block = BeaconBlockSummary {
        fork: request.fork,
        block_root: envelope.beacon_block_root,
        slot: payload.slot_number.into(),
        proposer_index: 0,
        parent_root: request.parent_beacon_block_root,
        state_root: Root::ZERO,
        payload: BlockPayload::Bid {
            block_hash: payload.block_hash,
            parent_block_hash: payload.parent_hash,
            versioned_hashes: vec![Root::from([1; 32])],
            execution_requests_root: envelope.execution_requests_root,
        },
    };
    let joined = envelope.request(&block).unwrap();
    assert_eq!(joined.versioned_hashes.len(), 1);
    check_request(&joined, spec);
    block.slot.0 ^= 1;
    assert!(envelope.request(&block).is_err());
}

/// The first byte chooses fork, preset and container, the rest is the Beacon API's JSON.
pub(crate) fn block_json(data: &[u8]) -> Seen {
    let Some((fork, spec, json)) = context(data) else {
        return Seen::Refused;
    };
    let Ok(json) = serde_json::from_slice::<Value>(json) else {
        return Seen::Refused;
    };
    let name = if data[0] & 0x80 == 0 { BLOCK } else { ENVELOPE };
    let everything = asks_everything(data);
    let read = if name == BLOCK {
        let block = BeaconBlockSummary::from_signed_block_json(fork, spec, &json);
        if everything {
            block.iter().for_each(|block| check_payload(block, spec));
        }
        block.is_ok()
    } else {
        let envelope = PayloadEnvelope::from_signed_envelope_json(fork, spec, &json);
        if everything {
            envelope
                .iter()
                .for_each(|envelope| check_request(&envelope.partial_request, spec));
        }
        envelope.is_ok()
    };
    if !everything {
        return Seen::accepted(read);
    }
    let encoded = shape(name, fork, spec).and_then(|shape| shape.encode_json(&json).ok());
    assert_eq!(encoded.is_some(), read);
    if let Some(ssz) = encoded {
        let mut whole = vec![data[0]];
        whole.extend_from_slice(&ssz);
        let by_ssz = if name == BLOCK {
            beacon_block(&whole)
        } else {
            payload_envelope(&whole)
        };
        assert_eq!(by_ssz, Seen::Accepted);
    }
    Seen::accepted(read)
}
