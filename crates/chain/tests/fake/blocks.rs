//! Real blocks and envelopes (Fulu and Gloas) of an invented chain.

use assay_types::{
    BeaconBlockSummary, ForkName, PayloadEnvelope, Root, Slot, Spec,
    block::BlockPayload,
    containers::{ContainerContext, lookup},
    schema::Schema,
    spec::Genesis,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(crate) const GENESIS_TIME: u64 = 1_700_000_000;

pub(crate) fn genesis() -> Genesis {
    Genesis {
        genesis_time: GENESIS_TIME,
        genesis_validators_root: Root::from([7; 32]),
    }
}

/// Minimal preset, slots of one second, Gloas from epoch 2 (slot 16) on.
pub(crate) fn spec() -> Spec {
    let mut config = Spec::minimal().to_config();
    config.insert("SLOT_DURATION_MS".to_owned(), "1000".into());
    config.insert("SECONDS_PER_SLOT".to_owned(), "1".into());
    config.insert("GLOAS_FORK_EPOCH".to_owned(), "2".into());
    Spec::from_config(&config, &Map::new()).unwrap()
}

/// A block, in both forms.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) fork: ForkName,
    pub(crate) summary: BeaconBlockSummary,
    pub(crate) root: Root,
    pub(crate) slot: u64,
    pub(crate) parent: Root,
    pub(crate) state_root: Root,
    pub(crate) block_hash: Root,
    pub(crate) parent_hash: Root,
    pub(crate) request_root: Root,
    pub(crate) ssz: Bytes,
    pub(crate) json: Value,
    pub(crate) envelope: Option<(Bytes, Value)>,
}

/// The JSON of a value with nothing in it.
fn empty(schema: &Schema) -> Value {
    match schema {
        Schema::Uint(_) => json!("0"),
        Schema::Boolean => json!(false),
        Schema::Bytes(len) => json!(assay_types::primitives::to_hex(&vec![0; *len])),
        Schema::ByteList(_) | Schema::ProgressiveByteList => json!("0x"),
        Schema::Bitvector(bits) => json!(assay_types::primitives::to_hex(&vec![0; bits.div_ceil(8)])),
        Schema::Bitlist(_) | Schema::ProgressiveBitlist => json!("0x01"),
        Schema::Vector(element, length) => Value::Array(vec![empty(element); *length]),
        Schema::List(..) | Schema::ProgressiveList(_) => json!([]),
        Schema::Container { .. } | Schema::ProgressiveContainer { .. } => {
            let fields = schema
                .fields()
                .iter()
                .map(|field| (field.name.to_owned(), empty(&field.schema)));
            Value::Object(fields.collect())
        }
    }
}

fn set(value: &mut Value, path: &str, to: impl Into<Value>) {
    let target = path.split('.').fold(value, |at, key| {
        at.get_mut(key).unwrap_or_else(|| panic!("no {path}"))
    });
    *target = to.into();
}

fn schema(name: &str, fork: ForkName, spec: &Spec) -> Schema {
    lookup(name, &ContainerContext::new(fork, spec)).unwrap()
}

/// A block in `slot` on `parent`. `seed` tells blocks of one slot apart; `takes`: a Gloas block builds on its parent's
/// payload (else on the one below it).
pub(crate) fn build(spec: &Spec, parent: Option<&Built>, slot: u64, seed: u8, takes: bool) -> Built {
    let fork = spec.fork_at_epoch(spec.epoch_at_slot(Slot(slot)));
    let mark = |kind: u8| {
        let mut bytes = [kind; 32];
        bytes[1] = seed;
        bytes[24..].copy_from_slice(&slot.to_be_bytes());
        Root::from(bytes)
    };
    let (state_root, block_hash) = (mark(0x55), mark(0xee));
    let parent_root = parent.map_or(Root::ZERO, |parent| parent.root);
    let parent_hash = match parent {
        None => mark(0x0e),
        Some(parent) if takes || !parent.fork.has_envelope() => parent.block_hash,
        Some(parent) => parent.parent_hash,
    };
    let timestamp = spec.timestamp_at_slot(GENESIS_TIME, Slot(slot)).to_string();
    let signed = schema("SignedBeaconBlock", fork, spec);
    let mut json = empty(&signed);
    set(&mut json, "message.slot", slot.to_string());
    set(&mut json, "message.parent_root", parent_root.to_string());
    set(&mut json, "message.state_root", state_root.to_string());
    let mut envelope = None;
    if fork.has_envelope() {
        let mut sealed = empty(&schema("SignedExecutionPayloadEnvelope", fork, spec));
        let requests = schema("ExecutionRequests", fork, spec);
        let requests_root = requests
            .hash_tree_root(&requests.encode_json(&empty(&requests)).unwrap())
            .unwrap();
        for (field, root) in [
            ("block_hash", block_hash),
            ("parent_block_hash", parent_hash),
            ("parent_block_root", parent_root),
            ("execution_requests_root", requests_root),
        ] {
            set(
                &mut json,
                &format!("message.body.signed_execution_payload_bid.message.{field}"),
                root.to_string(),
            );
        }
        set(
            &mut json,
            "message.body.signed_execution_payload_bid.message.slot",
            slot.to_string(),
        );
        set(&mut sealed, "message.payload.timestamp", timestamp);
        set(&mut sealed, "message.payload.slot_number", slot.to_string());
        set(&mut sealed, "message.payload.block_hash", block_hash.to_string());
        set(
            &mut sealed,
            "message.payload.parent_hash",
            parent_hash.to_string(),
        );
        set(
            &mut sealed,
            "message.parent_beacon_block_root",
            parent_root.to_string(),
        );
        envelope = Some(sealed);
    } else {
        set(&mut json, "message.body.execution_payload.timestamp", timestamp);
        set(
            &mut json,
            "message.body.execution_payload.block_hash",
            block_hash.to_string(),
        );
        set(
            &mut json,
            "message.body.execution_payload.parent_hash",
            parent_hash.to_string(),
        );
    }
    let ssz = Bytes::from(signed.encode_json(&json).unwrap());
    let summary = BeaconBlockSummary::from_signed_block_ssz(fork, spec, &ssz).unwrap();
    let root = summary.block_root;
    let envelope = envelope.map(|mut sealed| {
        set(&mut sealed, "message.beacon_block_root", root.to_string());
        let ssz = schema("SignedExecutionPayloadEnvelope", fork, spec)
            .encode_json(&sealed)
            .unwrap();
        (Bytes::from(ssz), sealed)
    });
    let request = match (&summary.payload, &envelope) {
        (BlockPayload::Request(request), _) => (**request).clone(),
        (_, Some((ssz, _))) => {
            let envelope = PayloadEnvelope::from_signed_envelope_ssz(fork, spec, ssz).unwrap();
            envelope.request(&summary).unwrap()
        }
        other => panic!("{other:?}"),
    };
    Built {
        fork,
        root,
        slot,
        parent: parent_root,
        state_root,
        block_hash,
        parent_hash,
        request_root: request.hash_tree_root(spec).unwrap(),
        summary,
        ssz,
        json,
        envelope,
    }
}
