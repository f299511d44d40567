#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::schema::Schema;
use crate::schema::arbitrary::{Dice, mutate, random_value};
use proptest::prelude::*;
use serde_json::Value;

/// A random block of a fork in JSON; the members the tests change are set by them.
fn block_json(fork: ForkName, spec: &Spec, dice: &mut Dice) -> Value {
    let schema = shape(BLOCK, fork, spec).unwrap();
    let bytes = random_value(&schema, dice);
    schema.view(&bytes).unwrap().to_json()
}

fn default_json(name: &'static str, fork: ForkName, spec: &Spec) -> Value {
    default_of(&shape(name, fork, spec).unwrap())
}

/// The specification's default value in JSON.
fn default_of(schema: &Schema) -> Value {
    let zeros = |n: usize| Value::from(crate::primitives::to_hex(&vec![0; n]));
    match schema {
        Schema::Uint(_) => "0".into(),
        Schema::Boolean => false.into(),
        Schema::Bytes(n) => zeros(*n),
        Schema::Bitvector(n) => zeros(n.div_ceil(8)),
        Schema::ByteList(_) | Schema::ProgressiveByteList => "0x".into(),
        Schema::Bitlist(_) | Schema::ProgressiveBitlist => "0x01".into(),
        Schema::Vector(element, n) => vec![default_of(element); *n].into(),
        Schema::List(..) | Schema::ProgressiveList(_) => Value::Array(Vec::new()),
        Schema::Container { fields, .. } | Schema::ProgressiveContainer { fields, .. } => Value::Object(
            fields
                .iter()
                .map(|f| (f.name.to_owned(), default_of(&f.schema)))
                .collect(),
        ),
    }
}

fn summary(fork: ForkName, spec: &Spec, json: &Value) -> BeaconBlockSummary {
    BeaconBlockSummary::from_signed_block_json(fork, spec, json).unwrap()
}

#[test]
fn an_all_zero_payload_is_none() {
    let spec = Spec::minimal();
    for fork in ForkName::ALL.iter().copied() {
        let mut json = block_json(fork, &spec, &mut Dice(1));
        if fork < ForkName::Bellatrix {
            assert!(
                matches!(summary(fork, &spec, &json).payload, BlockPayload::None),
                "{fork}"
            );
            continue;
        }
        assert!(
            !matches!(summary(fork, &spec, &json).payload, BlockPayload::None),
            "{fork}"
        );
        let body = &mut json["message"]["body"];
        if fork.has_envelope() {
            body["signed_execution_payload_bid"]["message"] =
                default_json("ExecutionPayloadBid", fork, &spec);
        } else {
            body["execution_payload"] = default_json("ExecutionPayload", fork, &spec);
        }
        assert!(
            matches!(summary(fork, &spec, &json).payload, BlockPayload::None),
            "{fork}"
        );
        // One byte more, and it is a payload or a bid.
        if fork.has_envelope() {
            json["message"]["body"]["signed_execution_payload_bid"]["message"]["gas_limit"] = "1".into();
            assert!(
                matches!(summary(fork, &spec, &json).payload, BlockPayload::Bid { .. }),
                "{fork}"
            );
        } else {
            json["message"]["body"]["execution_payload"]["extra_data"] = "0x00".into();
            assert!(
                matches!(summary(fork, &spec, &json).payload, BlockPayload::Request(_)),
                "{fork}"
            );
        }
    }
}

#[test]
fn a_request_takes_what_its_fork_has_from_the_block() {
    let spec = Spec::minimal();
    for fork in [
        ForkName::Bellatrix,
        ForkName::Capella,
        ForkName::Deneb,
        ForkName::Electra,
        ForkName::Fulu,
    ] {
        let mut json = block_json(fork, &spec, &mut Dice(7));
        if fork >= ForkName::Deneb {
            let mut infinity = vec![0; 48];
            infinity[0] = 0xc0;
            json["message"]["body"]["blob_kzg_commitments"] =
                vec![crate::primitives::to_hex(&infinity)].into();
        }
        let block = summary(fork, &spec, &json);
        let BlockPayload::Request(request) = &block.payload else {
            panic!("{fork}: {:?}", block.payload)
        };
        assert_eq!(request.fork, fork);
        assert_eq!(block.slot.to_string(), json["message"]["slot"].as_str().unwrap());
        assert_eq!(
            block.state_root.to_string(),
            json["message"]["state_root"].as_str().unwrap()
        );
        assert_eq!(
            request.execution_payload.block_hash.to_string(),
            json["message"]["body"]["execution_payload"]["block_hash"]
                .as_str()
                .unwrap()
        );
        let (hashes, parent) = if fork >= ForkName::Deneb {
            let hash = "0x010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014";
            (vec![hash.parse().unwrap()], block.parent_root)
        } else {
            (vec![], Root::ZERO)
        };
        assert_eq!(
            (&request.versioned_hashes, request.parent_beacon_block_root),
            (&hashes, parent)
        );
        request.hash_tree_root(&spec).unwrap();
    }
}

/// A Gloas block and the envelope that belongs to it.
fn block_and_envelope(spec: &Spec) -> (Value, Value) {
    let fork = ForkName::Gloas;
    let mut block = block_json(fork, spec, &mut Dice(11));
    let schema = shape(ENVELOPE, fork, spec).unwrap();
    let envelope_bytes = random_value(&schema, &mut Dice(12));
    let mut envelope = schema.view(&envelope_bytes).unwrap().to_json();
    let requests_root = schema
        .view(&envelope_bytes)
        .unwrap()
        .at("message.execution_requests")
        .unwrap()
        .hash_tree_root();

    let payload = envelope["message"]["payload"].clone();
    let bid = &mut block["message"]["body"]["signed_execution_payload_bid"]["message"];
    bid["block_hash"] = payload["block_hash"].clone();
    bid["parent_block_hash"] = payload["parent_hash"].clone();
    bid["execution_requests_root"] = requests_root.to_string().into();
    block["message"]["slot"] = payload["slot_number"].clone();
    let message = &mut envelope["message"];
    message["parent_beacon_block_root"] = block["message"]["parent_root"].clone();
    message["beacon_block_root"] = summary(fork, spec, &block).block_root.to_string().into();
    (block, envelope)
}

fn join(spec: &Spec, block: &Value, envelope: &Value) -> Result<NewPayloadRequest, SszError> {
    let fork = ForkName::Gloas;
    PayloadEnvelope::from_signed_envelope_json(fork, spec, envelope)?.request(&summary(fork, spec, block))
}

#[test]
fn an_envelope_joins_its_own_block_only() {
    let spec = Spec::minimal();
    let (block, envelope) = block_and_envelope(&spec);
    let request = join(&spec, &block, &envelope).unwrap();
    assert_eq!(
        request.versioned_hashes.len(),
        block["message"]["body"]["signed_execution_payload_bid"]["message"]["blob_kzg_commitments"]
            .as_array()
            .unwrap()
            .len()
    );
    request.hash_tree_root(&spec).unwrap();

    let other = Root::from([0x77; 32]).to_string();
    let change = |path: &[&str], value: &str| {
        let mut envelope = envelope.clone();
        let place = path
            .iter()
            .fold(&mut envelope["message"], |at, key| &mut at[*key]);
        *place = value.into();
        join(&spec, &block, &envelope).unwrap_err().to_string()
    };
    for (path, what) in [
        (&["beacon_block_root"][..], "beacon_block_root is 0x7777"),
        (
            &["parent_beacon_block_root"],
            "parent_beacon_block_root is 0x7777",
        ),
        (&["payload", "block_hash"], "payload.block_hash is 0x7777"),
        (&["payload", "parent_hash"], "payload.parent_hash is 0x7777"),
    ] {
        let error = change(path, &other);
        assert!(error.contains(what), "{error}");
    }
    let error = change(&["payload", "slot_number"], "5");
    assert!(error.contains("payload.slot_number is 5"), "{error}");

    let mut fewer = envelope.clone();
    fewer["message"]["execution_requests"] = default_json("ExecutionRequests", ForkName::Gloas, &spec);
    let error = join(&spec, &block, &fewer).unwrap_err().to_string();
    assert!(error.contains("root of execution_requests"), "{error}");

    let envelope = PayloadEnvelope::from_signed_envelope_json(ForkName::Gloas, &spec, &envelope).unwrap();
    let fulu = block_json(ForkName::Fulu, &spec, &mut Dice(3));
    let error = envelope
        .request(&summary(ForkName::Fulu, &spec, &fulu))
        .unwrap_err()
        .to_string();
    assert!(error.contains("carries no bid"), "{error}");
    let mut earlier = envelope;
    earlier.partial_request.fork = ForkName::Fulu;
    let error = earlier
        .request(&summary(ForkName::Gloas, &spec, &block))
        .unwrap_err()
        .to_string();
    assert!(error.contains("fork is fulu"), "{error}");
}

#[test]
fn envelopes_exist_from_gloas_on() {
    let spec = Spec::minimal();
    let error = PayloadEnvelope::from_signed_envelope_ssz(ForkName::Fulu, &spec, &Bytes::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no SignedExecutionPayloadEnvelope in fulu"),
        "{error}"
    );
}

#[test]
fn json_errors_lead_to_the_member() {
    let spec = Spec::minimal();
    let mut json = block_json(ForkName::Fulu, &spec, &mut Dice(1));
    json["message"]["body"]["execution_payload"]["gas_limit"] = 12.into();
    let error = BeaconBlockSummary::from_signed_block_json(ForkName::Fulu, &spec, &json).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not a valid SSZ SignedBeaconBlock: message.body.execution_payload.gas_limit: a decimal string expected, got a \
         number"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// SSZ and JSON give one block: roots, payload, everything.
    #[test]
    fn ssz_and_json_agree(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        for spec in [Spec::mainnet(), Spec::minimal()] {
            for fork in ForkName::ALL.iter().copied() {
                let schema = shape(BLOCK, fork, &spec).unwrap();
                let bytes = Bytes::from(random_value(&schema, &mut dice));
                let from_ssz = BeaconBlockSummary::from_signed_block_ssz(fork, &spec, &bytes).unwrap();
                let from_json = summary(fork, &spec, &schema.view(&bytes).unwrap().to_json());
                prop_assert_eq!(format!("{from_ssz:?}"), format!("{from_json:?}"));
            }
        }
    }

    /// Whatever a peer or node sends as a block or envelope is decoded or refused.
    #[test]
    fn damaged_blocks_never_panic(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let spec = Spec::minimal();
        for fork in ForkName::ALL.iter().copied() {
            let bytes = mutate(&random_value(&shape(BLOCK, fork, &spec).unwrap(), &mut dice), &mut dice);
            let _ = BeaconBlockSummary::from_signed_block_ssz(fork, &spec, &bytes.into());
        }
        let envelope = random_value(&shape(ENVELOPE, ForkName::Gloas, &spec).unwrap(), &mut dice);
        let _ = PayloadEnvelope::from_signed_envelope_ssz(
            ForkName::Gloas,
            &spec,
            &mutate(&envelope, &mut dice).into(),
        );
    }
}
