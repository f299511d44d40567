#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::{
    containers::{ContainerContext, lookup},
    fork::{ForkName, NewPayloadRequestForm, Preset},
    schema::{
        Schema,
        arbitrary::{Dice, mutate, random_value},
    },
    spec::Spec,
};
use proptest::prelude::*;

const FORKS: [ForkName; 6] = [
    ForkName::Bellatrix,
    ForkName::Capella,
    ForkName::Deneb,
    ForkName::Electra,
    ForkName::Fulu,
    ForkName::Gloas,
];

fn shape(name: &str, fork: ForkName, spec: &Spec) -> Schema {
    lookup(name, &ContainerContext::new(fork, spec)).unwrap()
}

fn random_request(fork: ForkName, spec: &Spec, dice: &mut Dice) -> (Bytes, NewPayloadRequest) {
    let bytes = Bytes::from(random_value(&shape("NewPayloadRequest", fork, spec), dice));
    let request = NewPayloadRequest::from_ssz_bytes(fork, spec, &bytes).unwrap();
    (bytes, request)
}

#[test]
fn versioned_hash_is_the_tagged_sha256() {
    // EIP-4844: the hash of the point at infinity, as every execution client has it.
    let mut infinity = [0; 48];
    infinity[0] = 0xc0;
    assert_eq!(
        kzg_commitment_to_versioned_hash(&infinity).to_string(),
        "0x010657f37554c781402a22917dee2f75def7ab966d7b770905398eba3c444014"
    );
}

#[test]
fn forms_share_bytes_and_differ_in_roots() {
    let spec = Spec::mainnet();
    let (bytes, request) = random_request(ForkName::Gloas, &spec, &mut Dice(1));
    let roots: Vec<_> = NewPayloadRequestForm::ALL
        .iter()
        .map(|form| {
            let spec = Spec {
                new_payload_request_form: *form,
                ..spec.clone()
            };
            assert_eq!(
                NewPayloadRequest::from_ssz_bytes(ForkName::Gloas, &spec, &bytes).unwrap(),
                request
            );
            request.hash_tree_root(&spec).unwrap()
        })
        .collect();
    assert!(
        roots[0] != roots[1] && roots[1] != roots[2] && roots[0] != roots[2],
        "{roots:?}"
    );
}

#[test]
fn big_fields_are_slices_of_what_came_in() {
    let spec = Spec::mainnet();
    let mut request = random_request(ForkName::Fulu, &spec, &mut Dice(3)).1;
    request.execution_payload.transactions = vec![Bytes::from(vec![7; 100_000]), Bytes::new()];
    let bytes = request.to_ssz_bytes();
    let decoded = NewPayloadRequest::from_ssz_bytes(ForkName::Fulu, &spec, &bytes).unwrap();
    assert_eq!(decoded, request);
    let range = bytes.as_ptr_range();
    assert!(range.contains(&decoded.execution_payload.transactions[0].as_ptr()));
    assert!(range.contains(&decoded.execution_payload.logs_bloom.as_ptr()));
}

/// A value that is none of its fork's has no root, and the error names the field.
#[test]
fn values_outside_their_fork_have_no_root() {
    type Change = fn(&mut NewPayloadRequest);
    let cases: &[(ForkName, &str, Change)] = &[
        (ForkName::Fulu, "logs_bloom: 255 bytes", |r| {
            r.execution_payload.logs_bloom = Bytes::from_static(&[0; 255]);
        }),
        (ForkName::Fulu, "execution_payload.extra_data: 33 elements", |r| {
            r.execution_payload.extra_data = Bytes::from_static(&[0; 33]);
        }),
        (
            ForkName::Fulu,
            "execution_payload.withdrawals: 17 elements",
            |r| {
                r.execution_payload.withdrawals = vec![Withdrawal::default(); 17];
            },
        ),
        (ForkName::Gloas, "versioned_hashes: 4097 elements", |r| {
            r.versioned_hashes = vec![Hash256::ZERO; 4097];
        }),
        (ForkName::Bellatrix, "withdrawals is set", |r| {
            r.execution_payload.withdrawals = vec![Withdrawal::default()];
        }),
        (ForkName::Capella, "blob_gas_used is set", |r| {
            r.execution_payload.blob_gas_used = 1
        }),
        (ForkName::Capella, "versioned_hashes is set", |r| {
            r.versioned_hashes = vec![Hash256::ZERO]
        }),
        (ForkName::Capella, "parent_beacon_block_root is set", |r| {
            r.parent_beacon_block_root = Hash256([1; 32]);
        }),
        (ForkName::Deneb, "consolidations is set", |r| {
            r.execution_requests.consolidations = vec![ConsolidationRequest {
                source_address: [0; 20],
                source_pubkey: crate::PublicKeyBytes::ZERO,
                target_pubkey: crate::PublicKeyBytes::ZERO,
            }];
        }),
        (ForkName::Fulu, "slot_number is set", |r| {
            r.execution_payload.slot_number = 9
        }),
        (ForkName::Fulu, "builder_exits is set", |r| {
            r.execution_requests.builder_exits = vec![BuilderExitRequest {
                source_address: [0; 20],
                pubkey: crate::PublicKeyBytes::ZERO,
            }];
        }),
    ];
    let spec = Spec::mainnet();
    for (fork, why, change) in cases {
        let mut request = random_request(*fork, &spec, &mut Dice(5)).1;
        request.hash_tree_root(&spec).unwrap();
        change(&mut request);
        let error = request.hash_tree_root(&spec).unwrap_err().to_string();
        assert!(error.contains(why), "{fork}: {error}");
    }
}

#[test]
fn form_a_has_no_limit_on_versioned_hashes() {
    let spec = Spec {
        new_payload_request_form: NewPayloadRequestForm::A,
        ..Spec::mainnet()
    };
    let mut request = random_request(ForkName::Gloas, &spec, &mut Dice(6)).1;
    request.versioned_hashes = vec![Hash256::ZERO; 4097];
    request.hash_tree_root(&spec).unwrap();
}

#[test]
fn a_root_depends_on_the_presets_withdrawals() {
    let bytes = random_request(ForkName::Fulu, &Spec::minimal(), &mut Dice(8)).0;
    let root = |spec: &Spec| {
        NewPayloadRequest::from_ssz_bytes(ForkName::Fulu, spec, &bytes)
            .unwrap()
            .hash_tree_root(spec)
            .unwrap()
    };
    assert_eq!(Spec::minimal().preset, Preset::Minimal);
    assert_ne!(root(&Spec::mainnet()), root(&Spec::minimal()));
}

#[test]
fn typed_lists_round_trip_and_are_strict() {
    let spec = Spec::mainnet();
    let request_bytes = |kind: u8, len: usize| Bytes::from([vec![kind], vec![0x5a; len]].concat());
    let exit = 68;
    let from = |fork, lists: &[Bytes]| ExecutionRequests::from_typed_lists(fork, &spec, lists);
    let full = [
        request_bytes(0, 192),
        request_bytes(1, 76 * 2),
        request_bytes(2, 116),
        request_bytes(3, 184 * 3),
        request_bytes(4, exit),
    ];
    let requests = from(ForkName::Gloas, &full).unwrap();
    assert_eq!(requests.withdrawals.len(), 2);
    assert_eq!(requests.builder_deposits.len(), 3);
    assert_eq!(requests.to_typed_lists(ForkName::Gloas), full);
    assert_eq!(
        from(ForkName::Electra, &[]).unwrap(),
        ExecutionRequests::default()
    );
    assert_eq!(
        from(ForkName::Electra, &full[1..2])
            .unwrap()
            .to_typed_lists(ForkName::Electra),
        full[1..2]
    );

    let cases: &[(ForkName, &[Bytes], &str)] = &[
        (
            ForkName::Fulu,
            &full,
            "element 3 has request type 3, unknown in fulu",
        ),
        (
            ForkName::Deneb,
            &full[..1],
            "element 0 has request type 0, unknown in deneb",
        ),
        (
            ForkName::Gloas,
            &[request_bytes(5, 10)],
            "request type 5, unknown in gloas",
        ),
        (
            ForkName::Gloas,
            &[full[1].clone(), full[0].clone()],
            "types must ascend",
        ),
        (
            ForkName::Gloas,
            &[full[1].clone(), full[1].clone()],
            "types must ascend",
        ),
        (ForkName::Gloas, &[Bytes::new()], "element 0 is empty"),
        (
            ForkName::Gloas,
            &[full[0].clone(), request_bytes(1, 0)],
            "element 1 of request type 1 has no requests",
        ),
        (
            ForkName::Gloas,
            &[request_bytes(4, exit + 1)],
            "builder_exits: 69 bytes are no whole number of elements",
        ),
        (
            ForkName::Fulu,
            &[request_bytes(2, 116 * 3)],
            "consolidations: 3 elements, at most 2 are allowed",
        ),
    ];
    for (fork, lists, why) in cases {
        let error = from(*fork, lists).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn gloas_has_no_header() {
    let spec = Spec::mainnet();
    let request = random_request(ForkName::Gloas, &spec, &mut Dice(4)).1;
    let error = request.header(&spec).unwrap_err().to_string();
    assert!(error.contains("no ExecutionPayloadHeader in gloas"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What decodes encodes to the same bytes and has the root that the shape gives them.
    #[test]
    fn typed_values_are_the_shapes(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        for spec in [Spec::mainnet(), Spec::minimal()] {
            for fork in FORKS {
                let (bytes, request) = random_request(fork, &spec, &mut dice);
                prop_assert_eq!(&request.to_ssz_bytes(), &bytes, "{}", fork);
                let root = shape("NewPayloadRequest", fork, &spec).hash_tree_root(&bytes).unwrap();
                prop_assert_eq!(request.hash_tree_root(&spec).unwrap(), root, "{}", fork);
                if fork >= ForkName::Electra {
                    let requests = &request.execution_requests;
                    let ssz = requests.to_ssz_bytes(fork);
                    prop_assert_eq!(&ExecutionRequests::from_ssz_bytes(fork, &spec, &ssz).unwrap(), requests);
                    prop_assert_eq!(
                        &ExecutionRequests::from_typed_lists(fork, &spec, &requests.to_typed_lists(fork)).unwrap(),
                        requests
                    );
                }
            }
        }
    }

    /// The typed decoder takes exactly what the shape takes.
    #[test]
    fn typed_decoding_agrees_with_the_check(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let spec = Spec::mainnet();
        for fork in FORKS {
            for name in ["NewPayloadRequest", "NewPayloadRequestHeader"] {
                let Ok(schema) = lookup(name, &ContainerContext::new(fork, &spec)) else { continue };
                let bytes = Bytes::from(mutate(&random_value(&schema, &mut dice), &mut dice));
                let encoded = if name == "NewPayloadRequest" {
                    NewPayloadRequest::from_ssz_bytes(fork, &spec, &bytes).map(|r| r.to_ssz_bytes())
                } else {
                    NewPayloadRequestHeader::from_ssz_bytes(fork, &spec, &bytes).map(|r| r.to_ssz_bytes())
                };
                match (schema.check(&bytes), encoded) {
                    (Ok(()), Ok(encoded)) => prop_assert_eq!(encoded, bytes),
                    (Err(check), Err(typed)) => {
                        prop_assert_eq!(typed.to_string(), format!("not a valid SSZ {name}: {check}"));
                    }
                    (check, typed) => prop_assert!(false, "{name} {fork}: {check:?}, {typed:?}"),
                }
            }
        }
    }

    /// One payload, one root: with the payload or with its header.
    #[test]
    fn headers_have_the_requests_root(seed in any::<u64>()) {
        let mut dice = Dice(seed);
        for spec in [Spec::mainnet(), Spec::minimal()] {
            for fork in FORKS.into_iter().filter(|f| *f < ForkName::Gloas) {
                let request = random_request(fork, &spec, &mut dice).1;
                let header = request.header(&spec).unwrap();
                prop_assert_eq!(header.hash_tree_root(&spec).unwrap(), request.hash_tree_root(&spec).unwrap());
                let again = NewPayloadRequestHeader::from_ssz_bytes(fork, &spec, &header.to_ssz_bytes()).unwrap();
                prop_assert_eq!(again, header);
            }
        }
    }
}
