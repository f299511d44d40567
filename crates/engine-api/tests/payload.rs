//! `engine_newPayload*` parameters both ways: nothing is lost, and what is wrong is refused with the field's name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use assay_engine_api::{ExecutionPayloadJson, NewPayloadParams, NewPayloadParamsJson};
use assay_types::{
    ExecutionPayload, ExecutionRequests, ForkName, Hash256, NewPayloadRequest, Spec,
    payload::{
        BuilderDepositRequest, BuilderExitRequest, ConsolidationRequest, DepositRequest, Withdrawal,
        WithdrawalRequest,
    },
};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

const PAYLOAD_FORKS: &[ForkName] = &[
    ForkName::Bellatrix,
    ForkName::Capella,
    ForkName::Deneb,
    ForkName::Electra,
    ForkName::Fulu,
    ForkName::Gloas,
];

fn hash() -> impl Strategy<Value = Hash256> {
    any::<[u8; 32]>().prop_map(Hash256)
}

fn data(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..=max).prop_map(Bytes::from)
}

fn withdrawal() -> impl Strategy<Value = Withdrawal> {
    any::<(u64, u64, [u8; 20], u64)>().prop_map(|(index, validator_index, address, amount)| Withdrawal {
        index,
        validator_index,
        address,
        amount,
    })
}

fn payload(fork: ForkName) -> impl Strategy<Value = ExecutionPayload> {
    let later = move |first: ForkName, n: u64| if fork >= first { n } else { 0 };
    (
        (
            hash(),
            any::<[u8; 20]>(),
            hash(),
            hash(),
            vec(any::<u8>(), 256),
            hash(),
            any::<[u64; 4]>(),
        ),
        (
            data(32),
            any::<[u64; 4]>(),
            hash(),
            vec(data(200), 0..5),
            vec(withdrawal(), 0..5),
        ),
        (any::<[u64; 3]>(), data(300)),
    )
        .prop_map(move |(a, b, (numbers, list))| ExecutionPayload {
            parent_hash: a.0,
            fee_recipient: a.1,
            state_root: a.2,
            receipts_root: a.3,
            logs_bloom: a.4.into(),
            prev_randao: a.5,
            block_number: a.6[0],
            gas_limit: a.6[1],
            gas_used: a.6[2],
            timestamp: a.6[3],
            extra_data: b.0,
            base_fee_per_gas: ruint::aliases::U256::from_limbs(b.1),
            block_hash: b.2,
            transactions: b.3,
            withdrawals: if fork >= ForkName::Capella {
                b.4
            } else {
                Vec::new()
            },
            blob_gas_used: later(ForkName::Deneb, numbers[0]),
            excess_blob_gas: later(ForkName::Deneb, numbers[1]),
            block_access_list: if fork >= ForkName::Gloas {
                list
            } else {
                Bytes::new()
            },
            slot_number: later(ForkName::Gloas, numbers[2]),
        })
}

fn requests(fork: ForkName) -> impl Strategy<Value = ExecutionRequests> {
    let n = if fork >= ForkName::Electra { 3 } else { 1 };
    let builders = if fork >= ForkName::Gloas { 3 } else { 1 };
    let key = || vec(any::<u8>(), 48).prop_map(|v| v.as_slice().try_into().map(<[u8; 48]>::into).unwrap());
    let signature =
        || vec(any::<u8>(), 96).prop_map(|v| v.as_slice().try_into().map(<[u8; 96]>::into).unwrap());
    let deposit =
        (key(), hash(), any::<(u64, u64)>(), signature()).prop_map(|(pubkey, credentials, n, signature)| {
            DepositRequest {
                pubkey,
                withdrawal_credentials: credentials,
                amount: n.0,
                signature,
                index: n.1,
            }
        });
    let withdrawal =
        (any::<[u8; 20]>(), key(), any::<u64>()).prop_map(|(source_address, validator_pubkey, amount)| {
            WithdrawalRequest {
                source_address,
                validator_pubkey,
                amount,
            }
        });
    let consolidation =
        (any::<[u8; 20]>(), key(), key()).prop_map(|(source_address, source_pubkey, target_pubkey)| {
            ConsolidationRequest {
                source_address,
                source_pubkey,
                target_pubkey,
            }
        });
    let builder_deposit = (key(), hash(), any::<u64>(), signature()).prop_map(
        |(pubkey, withdrawal_credentials, amount, signature)| BuilderDepositRequest {
            pubkey,
            withdrawal_credentials,
            amount,
            signature,
        },
    );
    let builder_exit = (any::<[u8; 20]>(), key()).prop_map(|(source_address, pubkey)| BuilderExitRequest {
        source_address,
        pubkey,
    });
    (
        vec(deposit, 0..n),
        vec(withdrawal, 0..n),
        vec(consolidation, 0..n),
        vec(builder_deposit, 0..builders),
        vec(builder_exit, 0..builders),
    )
        .prop_map(
            |(deposits, withdrawals, consolidations, builder_deposits, builder_exits)| ExecutionRequests {
                deposits,
                withdrawals,
                consolidations,
                builder_deposits,
                builder_exits,
            },
        )
}

fn request() -> impl Strategy<Value = NewPayloadRequest> {
    proptest::sample::select(PAYLOAD_FORKS).prop_flat_map(|fork| {
        (payload(fork), vec(hash(), 0..4), hash(), requests(fork)).prop_map(
            move |(execution_payload, hashes, root, execution_requests)| {
                let deneb = fork >= ForkName::Deneb;
                NewPayloadRequest {
                    fork,
                    execution_payload,
                    versioned_hashes: if deneb { hashes } else { Vec::new() },
                    parent_beacon_block_root: if deneb { root } else { Hash256::ZERO },
                    execution_requests,
                }
            },
        )
    })
}

fn spec() -> Spec {
    Spec::mainnet()
}

fn params(request: &NewPayloadRequest) -> Value {
    serde_json::to_value(NewPayloadParamsJson(request)).unwrap()
}

fn read(params: &Value, fork: ForkName) -> Result<NewPayloadRequest, String> {
    NewPayloadParams::from_params(&params.to_string())
        .and_then(|params| params.into_request(fork, &spec()))
        .map_err(|e| e.to_string())
}

proptest! {
    // A failing case prints its seed; no file is left beside the test.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_come_back_as_they_were(request in request()) {
        let text = serde_json::to_string(&NewPayloadParamsJson(&request)).unwrap();
        let again = NewPayloadParams::from_params(&text).unwrap();
        prop_assert_eq!(again.block_hash(), request.execution_payload.block_hash);
        prop_assert_eq!(again.parent_hash(), request.execution_payload.parent_hash);
        prop_assert_eq!(again.timestamp(), request.execution_payload.timestamp);
        let call = format!(r#"{{"jsonrpc":"2.0","params":{text},"id":[{{}}],"method":"engine_newPayloadV9"}}"#);
        prop_assert_eq!(&NewPayloadParams::from_call(call.as_bytes()).unwrap(), &again);
        let again = again.into_request(request.fork, &spec()).unwrap();
        prop_assert_eq!(serde_json::to_string(&NewPayloadParamsJson(&again)).unwrap(), text);
        prop_assert_eq!(again.hash_tree_root(&spec()).unwrap(), request.hash_tree_root(&spec()).unwrap());
        prop_assert_eq!(again, request);
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}", cut in 0usize..3000) {
        let _ = NewPayloadParams::from_params(&text);
        let whole = params(&sample(ForkName::Gloas)).to_string();
        if cut < whole.len() {
            prop_assert!(NewPayloadParams::from_params(&whole[..cut]).is_err());
        }
    }
}

fn sample(fork: ForkName) -> NewPayloadRequest {
    let byte = |n: u8| Hash256([n; 32]);
    let deneb = fork >= ForkName::Deneb;
    NewPayloadRequest {
        fork,
        execution_payload: ExecutionPayload {
            parent_hash: byte(1),
            fee_recipient: [2; 20],
            state_root: byte(3),
            receipts_root: byte(4),
            logs_bloom: vec![5; 256].into(),
            prev_randao: byte(6),
            block_number: 7,
            gas_limit: 8,
            gas_used: 0,
            timestamp: 10,
            extra_data: vec![11; 3].into(),
            base_fee_per_gas: ruint::aliases::U256::from(12),
            block_hash: byte(13),
            transactions: vec![vec![2; 9].into(), Bytes::new()],
            withdrawals: Vec::new(),
            blob_gas_used: 0,
            excess_blob_gas: 0,
            block_access_list: Bytes::new(),
            slot_number: 0,
        },
        versioned_hashes: if deneb { vec![byte(1)] } else { Vec::new() },
        parent_beacon_block_root: if deneb { byte(14) } else { Hash256::ZERO },
        execution_requests: ExecutionRequests::default(),
    }
}

#[test]
fn wrong_fields_are_named() {
    let digits = |n: usize| format!("0x{}", "00".repeat(n));
    for (field, value) in [
        ("parentHash", json!(digits(31))),
        ("parentHash", json!(5)),
        ("parentHash", Value::Null),
        ("feeRecipient", json!(digits(32))),
        ("stateRoot", json!("00".repeat(32))),
        ("receiptsRoot", json!(format!("0x{}", "zz".repeat(32)))),
        ("logsBloom", json!(digits(255))),
        ("prevRandao", json!([])),
        ("blockNumber", json!("0x01")),
        ("blockNumber", json!(7)),
        ("gasLimit", json!("7")),
        ("gasUsed", json!("0x")),
        ("timestamp", json!("0x10000000000000000")),
        ("extraData", json!(digits(33))),
        ("baseFeePerGas", json!(format!("0x1{}", "0".repeat(64)))),
        ("blockHash", json!("0x")),
        ("transactions", json!("0x00")),
        ("transactions", json!(["0x0"])),
        ("transactions", Value::Null),
        (
            "withdrawals",
            json!([{"index": "0x0", "validatorIndex": "0x0", "address": digits(20)}]),
        ),
        ("withdrawals", json!([{"index": "0x00"}])),
        ("withdrawals", json!({})),
        ("blobGasUsed", json!("0x00")),
        ("excessBlobGas", json!(0)),
        ("blockAccessList", json!("0x0")),
        ("slotNumber", json!("16")),
    ] {
        let mut params = params(&sample(ForkName::Gloas));
        params[0][field] = value.clone();
        let error = read(&params, ForkName::Gloas).unwrap_err();
        assert!(error.contains(field), "{field} = {value}: {error}");
        if ![
            "withdrawals",
            "blobGasUsed",
            "excessBlobGas",
            "blockAccessList",
            "slotNumber",
        ]
        .contains(&field)
        {
            params[0].as_object_mut().unwrap().remove(field);
            let error = read(&params, ForkName::Gloas).unwrap_err();
            assert!(error.contains(field), "{field} absent: {error}");
        }
    }
    for (place, field, value) in [
        (1, "expectedBlobVersionedHashes", json!([digits(31)])),
        (1, "expectedBlobVersionedHashes", json!("0x")),
        (2, "parentBeaconBlockRoot", json!(digits(20))),
        (3, "executionRequests", json!(["0x00"])),
        (3, "executionRequests", json!(["0x01ff"])),
        (3, "executionRequests", json!([5])),
    ] {
        let mut params = params(&sample(ForkName::Gloas));
        params[place] = value.clone();
        let error = read(&params, ForkName::Gloas).unwrap_err();
        assert!(error.contains(field), "{field} = {value}: {error}");
    }
    for (text, what) in [
        ("[]", "executionPayload"),
        ("{}", "executionPayload"),
        ("", "EOF"),
        ("[null]", "executionPayload"),
        (r#"[{"parentHash":"0x","#, "parentHash"),
    ] {
        let error = NewPayloadParams::from_params(text).unwrap_err().to_string();
        assert!(error.contains(what), "{text}: {error}");
    }
    let twice = params(&sample(ForkName::Fulu))
        .to_string()
        .replacen('{', r#"{"gasUsed":"0x1","#, 1);
    assert!(
        NewPayloadParams::from_params(&twice)
            .unwrap_err()
            .to_string()
            .contains("gasUsed")
    );
    assert!(NewPayloadParams::from_call(br#"{"params":[],"params":[]}"#).is_err());
    assert!(
        NewPayloadParams::from_call(b"{}")
            .unwrap_err()
            .to_string()
            .contains("params")
    );
}

#[test]
fn fields_are_held_against_the_fork() {
    for (place, fork) in PAYLOAD_FORKS.iter().enumerate() {
        let params = params(&sample(*fork));
        assert_eq!(read(&params, *fork).unwrap(), sample(*fork));
        for other in PAYLOAD_FORKS {
            let same_shape = matches!(
                (*fork, *other),
                (
                    ForkName::Electra | ForkName::Fulu,
                    ForkName::Electra | ForkName::Fulu
                )
            ) || fork == other;
            assert_eq!(
                read(&params, *other).is_ok(),
                same_shape,
                "{fork} read as {other}"
            );
        }
        assert!(read(&params, ForkName::Altair).unwrap_err().contains("altair"));
        // Null and absent are one.
        if place < 2 {
            let mut nulls = params.clone();
            nulls[0]["blobGasUsed"] = Value::Null;
            nulls
                .as_array_mut()
                .unwrap()
                .extend([Value::Null, Value::Null, Value::Null]);
            assert_eq!(read(&nulls, *fork).unwrap(), sample(*fork));
        }
    }
    let mut params = params(&sample(ForkName::Fulu));
    params[0]["newField"] = json!({"a": [1, null]});
    assert_eq!(read(&params, ForkName::Fulu).unwrap(), sample(ForkName::Fulu));
    params[0]["withdrawals"] = json!(vec![
        json!({"index": "0x0", "validatorIndex": "0x0", "address": format!("0x{}", "00".repeat(20)), "amount": "0x0"});
        17
    ]);
    let many = read(&params, ForkName::Fulu).unwrap();
    assert!(
        many.hash_tree_root(&spec())
            .unwrap_err()
            .to_string()
            .contains("withdrawals")
    );
}

#[test]
fn payloads_are_written_in_the_order_of_the_texts() {
    let text = serde_json::to_string(&ExecutionPayloadJson {
        payload: &sample(ForkName::Gloas).execution_payload,
        fork: ForkName::Gloas,
    })
    .unwrap();
    let places: Vec<usize> = [
        "parentHash",
        "baseFeePerGas",
        "transactions",
        "withdrawals",
        "excessBlobGas",
        "slotNumber",
    ]
    .iter()
    .map(|field| text.find(&format!("\"{field}\"")).unwrap())
    .collect();
    assert!(places.is_sorted());
    assert!(
        text.contains(r#""gasUsed":"0x0""#)
            && text.contains(r#""transactions":["0x020202020202020202","0x"]"#)
    );
}
