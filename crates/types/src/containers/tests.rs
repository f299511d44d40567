#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::{
    fork::Preset,
    schema::arbitrary::{Dice, mutate, random_value},
};
use proptest::prelude::*;
use std::{collections::HashSet, sync::LazyLock};

/// Every container in every setting that changes its shape, each shape once.
static ALL_SHAPES: LazyLock<Vec<(String, Schema)>> = LazyLock::new(all_shapes);

fn all_shapes() -> Vec<(String, Schema)> {
    let mut seen = HashSet::new();
    let mut shapes = Vec::new();
    for spec in [Spec::mainnet(), Spec::minimal()] {
        for revision in Revision::ALL {
            for form in NewPayloadRequestForm::ALL {
                for fork in ForkName::ALL {
                    let spec = Spec {
                        revision: *revision,
                        new_payload_request_form: *form,
                        ..spec.clone()
                    };
                    let context = ContainerContext::new(*fork, &spec);
                    for name in names() {
                        let Ok(schema) = lookup(name, &context) else {
                            continue;
                        };
                        if seen.insert(schema.clone()) {
                            let title = format!("{name} {fork} {} {revision} {form}", spec.preset);
                            shapes.push((title, schema));
                        }
                    }
                }
            }
        }
    }
    shapes
}

#[test]
fn every_name_has_a_shape_somewhere_and_is_called_by_it() {
    let shapes = &*ALL_SHAPES;
    for name in names() {
        assert!(
            shapes
                .iter()
                .any(|(title, _)| title.starts_with(&format!("{name} "))),
            "{name} exists nowhere"
        );
    }
    for (title, schema) in shapes {
        if !schema.fields().is_empty() {
            assert!(title.starts_with(&format!("{} ", schema.name())), "{title}");
        }
    }
}

#[test]
fn names_are_unique_and_aliases_lead_to_them() {
    let mut known: Vec<_> = names().collect();
    known.sort_unstable();
    let before = known.len();
    known.dedup();
    assert_eq!(known.len(), before);
    let context = ContainerContext::new(ForkName::Gloas, &Spec::mainnet());
    for (alias, name) in ALIASES {
        assert_eq!(lookup(alias, &context), lookup(name, &context));
        assert!(!known.contains(alias));
    }
}

#[test]
fn what_does_not_exist_is_said() {
    let spec = Spec::mainnet();
    let at = |name: &str, fork, revision| {
        lookup(name, &ContainerContext::with_revision(fork, &spec, revision))
            .map(drop)
            .map_err(|e| e.to_string())
    };
    let error = at("SignedExecutionProff", ForkName::Fulu, Revision::Alpha).unwrap_err();
    assert!(
        error.contains("\"SignedExecutionProff\"") && error.contains("SignedExecutionProof,"),
        "{error}"
    );
    for (name, fork, revision, why) in [
        (
            "ExecutionPayload",
            ForkName::Altair,
            Revision::Alpha,
            "there is no ExecutionPayload in altair",
        ),
        (
            "ExecutionRequests",
            ForkName::Deneb,
            Revision::Alpha,
            "there is no ExecutionRequests in deneb",
        ),
        (
            "NewPayloadRequestHeader",
            ForkName::Gloas,
            Revision::Alpha,
            "there is no NewPayloadRequestHeader in gloas",
        ),
        (
            "ExecutionPayloadBid",
            ForkName::Fulu,
            Revision::Alpha,
            "there is no ExecutionPayloadBid in fulu",
        ),
        (
            "SignedExecutionProofEnvelope",
            ForkName::Gloas,
            Revision::Alpha,
            "there is no SignedExecutionProofEnvelope in revision alpha",
        ),
        (
            "SignedExecutionProof",
            ForkName::Gloas,
            Revision::Beta,
            "there is no SignedExecutionProof in revision beta",
        ),
    ] {
        assert_eq!(at(name, fork, revision).unwrap_err(), why);
    }
    assert!(
        at(&"x".repeat(1 << 20), ForkName::Fulu, Revision::Alpha)
            .unwrap_err()
            .len()
            < 2000
    );
}

/// The presets differ where their constants do, and the config's withdrawal limit wins over the preset's.
#[test]
fn limits_come_from_preset_and_config() {
    let payload =
        |spec: &Spec| lookup("ExecutionPayload", &ContainerContext::new(ForkName::Fulu, spec)).unwrap();
    let withdrawals = |spec: &Spec| match payload(spec).field("withdrawals") {
        Some(Schema::List(_, limit)) => *limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(withdrawals(&Spec::mainnet()), 16);
    assert_eq!(withdrawals(&Spec::minimal()), 4);
    let spec = Spec {
        max_withdrawals_per_payload: 7,
        ..Spec::mainnet()
    };
    assert_eq!(withdrawals(&spec), 7);
    assert_eq!(Limits::of(Preset::Minimal).ptc_size, 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Bytes of a value pass, JSON gives them back, and the root is the same from both.
    #[test]
    fn values_round_trip(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        for (title, schema) in &*ALL_SHAPES {
            let bytes = random_value(schema, &mut dice);
            let view = schema.view(&bytes).unwrap_or_else(|e| panic!("{title}: {e}"));
            let json = view.to_json();
            let again = schema.encode_json(&json).unwrap_or_else(|e| panic!("{title}: {e}"));
            prop_assert_eq!(&again, &bytes, "{}", title);
            let text = serde_json::to_string(&json).unwrap();
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&text).unwrap(), &json, "{}", title);
            prop_assert_eq!(schema.hash_tree_root(&again).unwrap(), view.hash_tree_root(), "{}", title);
        }
    }

    /// Bytes with something wrong are refused, or they are another value: nothing else encodes to them, nothing panics.
    #[test]
    fn mutations_are_refused_or_canonical(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        for (title, schema) in &*ALL_SHAPES {
            let mutated = mutate(&random_value(schema, &mut dice), &mut dice);
            if let Ok(view) = schema.view(&mutated) {
                view.hash_tree_root();
                prop_assert_eq!(schema.encode_json(&view.to_json()).unwrap(), mutated, "{}", title);
            }
        }
    }

    /// Any bytes at all.
    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        for (_, schema) in &*ALL_SHAPES {
            if let Ok(view) = schema.view(&bytes) {
                view.hash_tree_root();
            }
        }
    }
}
