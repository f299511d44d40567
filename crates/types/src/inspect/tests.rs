#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::{
    fork::Revision,
    schema::arbitrary::{Dice, random_value},
};
use serde_json::json;

#[test]
fn decode_encode_and_root_go_by_name() {
    let context = ContainerContext::new(ForkName::Fulu, &Spec::mainnet());
    let value = json!({"start_slot": "7", "count": "2", "proof_types": ["1"]});
    let bytes = encode("ExecutionProofsByRangeRequest", &context, &value).unwrap();
    assert_eq!(decode("ExecutionProofsByRange", &context, &bytes).unwrap(), value);
    root("ExecutionProofsByRange", &context, &bytes).unwrap();

    for error in [
        decode("ExecutionProofsByRange", &context, &bytes[1..]).unwrap_err(),
        root("ExecutionProofsByRange", &context, &bytes[1..]).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.starts_with("not a valid ExecutionProofsByRange: "), "{text}");
    }
    assert_eq!(
        encode("ExecutionProofsByRange", &context, &json!({"start_slot": "7"}))
            .unwrap_err()
            .to_string(),
        "not a valid ExecutionProofsByRange: count: the field is missing"
    );
    assert!(matches!(
        root("Nothing", &context, &[]),
        Err(InspectError::Unknown(_))
    ));
    let beta = ContainerContext::with_revision(ForkName::Gloas, &Spec::mainnet(), Revision::Beta);
    assert!(matches!(
        root("ProofTypes", &beta, &[]),
        Err(InspectError::Unknown(_))
    ));
}

fn random_block(fork: ForkName, spec: &Spec, seed: u64) -> Bytes {
    let schema = containers::lookup("SignedBeaconBlock", &ContainerContext::new(fork, spec)).unwrap();
    random_value(&schema, &mut Dice(seed)).into()
}

#[test]
fn a_blocks_fork_shows_in_its_bytes() {
    for spec in [Spec::mainnet(), Spec::minimal()] {
        for (seed, fork) in ForkName::ALL.iter().enumerate() {
            let bytes = random_block(*fork, &spec, seed as u64);
            let block = newest(&spec, &Encoded::Ssz(bytes.clone())).unwrap();
            let expected = if *fork == ForkName::Electra {
                ForkName::Fulu
            } else {
                *fork
            };
            assert_eq!(block.fork, expected);
            let named = summary(*fork, &spec, &Encoded::Ssz(bytes)).unwrap();
            assert_eq!(block.block_root, named.block_root);
        }
        let error = payload_summary(None, &spec, Encoded::Ssz(Bytes::from_static(b"no block")), None);
        let text = error.unwrap_err().to_string();
        assert!(
            text.starts_with("a SignedBeaconBlock of no fork in this preset; as gloas: "),
            "{text}"
        );
    }
}

#[test]
fn payloads_are_where_their_fork_has_them() {
    let spec = Spec::minimal();
    let of = |fork: Option<ForkName>, bytes: &Bytes, envelope: Option<Encoded>| {
        payload_summary(fork, &spec, Encoded::Ssz(bytes.clone()), envelope)
    };
    let fulu = random_block(ForkName::Fulu, &spec, 5);
    let summary = of(None, &fulu, None).unwrap();
    assert_eq!(of(Some(ForkName::Fulu), &fulu, None).unwrap(), summary);
    assert_eq!(of(Some(ForkName::Electra), &fulu, None).unwrap(), summary);
    assert!(matches!(
        of(Some(ForkName::Gloas), &fulu, None),
        Err(InspectError::Ssz(_))
    ));
    let envelope = Some(Encoded::Ssz(Bytes::new()));
    assert!(matches!(
        of(None, &fulu, envelope),
        Err(InspectError::NoEnvelope(ForkName::Fulu))
    ));
    let gloas = random_block(ForkName::Gloas, &spec, 5);
    assert!(matches!(
        of(None, &gloas, None),
        Err(InspectError::NeedsEnvelope(_))
    ));
    let altair = random_block(ForkName::Altair, &spec, 5);
    assert!(matches!(of(None, &altair, None), Err(InspectError::NoPayload(_))));

    // As an answer of the Beacon API, whose version names the fork, and as the bare container.
    let context = ContainerContext::new(ForkName::Fulu, &spec);
    let data = decode("SignedBeaconBlock", &context, &fulu).unwrap();
    let answer = json!({"version": "fulu", "execution_optimistic": false, "data": data});
    for json in [answer, data] {
        assert_eq!(
            payload_summary(None, &spec, Encoded::Json(json), None).unwrap(),
            summary
        );
    }
    let text = serde_json::to_value(&summary).unwrap();
    assert_eq!(text["slot"], summary.slot.to_string());
    assert_eq!(text.as_object().unwrap().len(), 5);
}
