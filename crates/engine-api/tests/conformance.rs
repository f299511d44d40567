//! Recorded Engine API calls of real clients: each payload's request root is that of the captured block.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use assay_engine_api::{
    ForkchoiceStateV1, ForkchoiceUpdatedResponse, NewPayloadParams, NewPayloadParamsJson, PayloadAttributes,
    PayloadStatusV1, block_hash, methods,
    methods::MethodKind,
    status_edit::{NewStatus, Shape, StatusAnswer, read},
};
use assay_types::{
    BeaconBlockSummary, ForkName, Hash256, NewPayloadRequest, PayloadEnvelope, Slot, Spec,
    block::BlockPayload,
    payload::{Withdrawal, WithdrawalRequest},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// `realnet/capture` beside the vectors: those that `ASSAY_VECTORS` names, else `shared/vectors` beside the repository.
fn capture() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut shared = match std::env::var_os("ASSAY_VECTORS") {
        Some(vectors) => vec![PathBuf::from(vectors).parent().unwrap().to_owned()],
        // A checkout beside others lies one level deeper than the repository itself.
        None => root
            .ancestors()
            .skip(1)
            .take(2)
            .map(|dir| dir.join("shared"))
            .collect(),
    };
    shared
        .iter_mut()
        .map(|dir| dir.join("realnet/capture"))
        .find(|path| path.is_dir())
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The network's values from the recorded `/eth/v1/config/spec`.
fn spec(dir: &Path) -> (Spec, u64) {
    let config = ["spec.json", "config_spec.json"]
        .iter()
        .map(|f| dir.join(f))
        .find(|p| p.exists())
        .unwrap();
    let config = read_json(&config);
    let config = config.get("data").unwrap_or(&config).as_object().unwrap().clone();
    let genesis = [
        ("beacon_genesis.json", "/data/genesis_time"),
        ("meta.json", "/genesisTime"),
    ]
    .iter()
    .find_map(|(file, pointer)| {
        let path = dir.join(file);
        path.exists()
            .then(|| read_json(&path).pointer(pointer).cloned())
            .flatten()
    })
    .unwrap();
    let genesis = genesis
        .as_u64()
        .unwrap_or_else(|| genesis.as_str().unwrap().parse().unwrap());
    (
        Spec::from_config(&config, &serde_json::Map::new()).unwrap(),
        genesis,
    )
}

/// One recorded call, its parts as they were.
#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(borrow)]
    response: &'a RawValue,
}

/// Where roots.json has no entry: what the captured block itself says.
fn from_captured_block(dir: &Path, fork: ForkName, slot: Slot, spec: &Spec) -> Value {
    let block = std::fs::read(dir.join(format!("block-{slot}.ssz"))).unwrap();
    let block = BeaconBlockSummary::from_signed_block_ssz(fork, spec, &block.into()).unwrap();
    let BlockPayload::Request(request) = block.payload else {
        panic!("no payload at slot {slot}")
    };
    json!({
        "fork": block.fork.as_str(),
        "slot": block.slot.as_u64(),
        "parent_hash": request.execution_payload.parent_hash,
        "new_payload_request_root": request.hash_tree_root(spec).unwrap(),
    })
}

fn check_new_payload(dir: &Path, name: &str, recorded: &Recorded<'_>, roots: &HashMap<String, Value>) {
    let (spec, genesis_time) = spec(dir);
    let body = recorded.request.get();
    let params = NewPayloadParams::from_call(body.as_bytes()).unwrap();
    let slot = spec.slot_at_timestamp(genesis_time, params.timestamp()).unwrap();
    let fork = spec.fork_at_epoch(spec.epoch_at_slot(slot));
    let block = roots.get(&params.block_hash().to_string()).cloned();
    let block = block.unwrap_or_else(|| from_captured_block(dir, fork, slot, &spec));
    assert_eq!(block["fork"], fork.as_str(), "{name}");
    assert_eq!(block["slot"], slot.as_u64(), "{name}");
    assert_eq!(block["parent_hash"], params.parent_hash().to_string(), "{name}");
    let request = params.into_request(fork, &spec).unwrap();
    check_hashes(&request, name);
    let root = request.hash_tree_root(&spec).unwrap();
    assert_eq!(block["new_payload_request_root"], root.to_string(), "{name}");

    // And back: the same parameters as JSON values.
    let call: Value = serde_json::from_str(body).unwrap();
    if let Some(number) = call["method"].as_str().unwrap().strip_prefix("engine_newPayload") {
        assert!(
            methods::new_payload(fork)
                .unwrap()
                .ends_with(number.trim_start_matches("WithWitness")),
            "{name}"
        );
    }
    assert_eq!(
        serde_json::to_value(NewPayloadParamsJson(&request)).unwrap(),
        call["params"],
        "{name}"
    );
}

/// The block hash is that of the fields, and of no others.
fn check_hashes(request: &NewPayloadRequest, name: &str) {
    assert_eq!(block_hash::check(request), Ok(()), "{name}");
    let mut others = vec![request.clone(); 8];
    others[0].execution_payload.gas_used ^= 1;
    others[1]
        .execution_payload
        .transactions
        .push(vec![2, 0xc0].into());
    others[2]
        .execution_payload
        .withdrawals
        .push(Withdrawal::default());
    others[3].parent_beacon_block_root.0[0] ^= 1;
    others[4].execution_requests.withdrawals.push(WithdrawalRequest {
        source_address: [1; 20],
        validator_pubkey: [2; 48].into(),
        amount: 3,
    });
    others[5].execution_payload.block_access_list = vec![0xc0].into();
    others[6].execution_payload.slot_number ^= 1;
    others[7].versioned_hashes.push(Hash256([1; 32]));
    let since = [
        ForkName::Bellatrix,
        ForkName::Bellatrix,
        ForkName::Capella,
        ForkName::Deneb,
        ForkName::Electra,
        ForkName::Gloas,
        ForkName::Gloas,
        ForkName::Deneb,
    ];
    for (number, (other, since)) in others.iter().zip(since).enumerate() {
        assert_eq!(
            block_hash::check(other).is_err(),
            request.fork >= since,
            "{name}, change {number}"
        );
    }
}

/// Every captured block: its payload's hash is that of its fields.
#[test]
fn captured_blocks() {
    let Some(capture) = capture() else {
        println!("skipped: no realnet/capture beside the vectors");
        return;
    };
    let mut checked = 0;
    for dir in ["electra-fulu-gloas", "capella-lodestar-1.5.1"].map(|name| capture.join(name)) {
        let Ok(files) = std::fs::read_dir(&dir) else {
            continue;
        };
        let (spec, _) = spec(&dir);
        for file in files.map(|entry| entry.unwrap().path()) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let Some(slot) = name.strip_suffix(".ssz").and_then(|n| n.strip_prefix("block-")) else {
                continue;
            };
            let slot = Slot(slot.split('-').next().unwrap().parse().unwrap());
            let fork = spec.fork_at_epoch(spec.epoch_at_slot(slot));
            let bytes = std::fs::read(&file).unwrap().into();
            let block = BeaconBlockSummary::from_signed_block_ssz(fork, &spec, &bytes).unwrap();
            let request = match &block.payload {
                BlockPayload::Request(request) => request.as_ref().clone(),
                _ => {
                    let envelope = std::fs::read(dir.join(format!("envelope-{slot}-{fork}.ssz"))).unwrap();
                    let envelope = PayloadEnvelope::from_signed_envelope_ssz(fork, &spec, &envelope.into());
                    envelope.unwrap().request(&block).unwrap()
                }
            };
            check_hashes(&request, &name);
            checked += 1;
        }
    }
    println!("captured blocks: {checked} run");
    assert!(checked > 0, "no blocks in {}", capture.display());
}

fn check_answer(name: &str, shape: Shape, recorded: &Recorded<'_>) {
    let body = recorded.response.get();
    let value: Value = serde_json::from_str(body).unwrap();
    let StatusAnswer::Status(answer) = read(shape, body.as_bytes()).unwrap() else {
        panic!("{name}")
    };
    let lowered: Value = serde_json::from_slice(&answer.with(&NewStatus::SYNCING)).unwrap();
    let mut expected = value.clone();
    let status = match shape {
        Shape::NewPayload => &mut expected["result"],
        Shape::ForkchoiceUpdated => {
            expected["result"]["payloadId"] = Value::Null;
            &mut expected["result"]["payloadStatus"]
        }
    };
    assert_eq!(
        serde_json::from_value::<PayloadStatusV1>(status.clone()).unwrap(),
        *answer.status()
    );
    status["status"] = "SYNCING".into();
    status["latestValidHash"] = Value::Null;
    assert_eq!(lowered, expected, "{name}");
}

fn check_forkchoice(name: &str, recorded: &Recorded<'_>) {
    let call: Value = serde_json::from_str(recorded.request.get()).unwrap();
    let (state, attributes): (ForkchoiceStateV1, Option<PayloadAttributes>) =
        serde_json::from_value(call["params"].clone()).unwrap();
    assert_eq!(
        serde_json::to_value((state, attributes)).unwrap(),
        call["params"],
        "{name}"
    );
    let answer: Value = serde_json::from_str(recorded.response.get()).unwrap();
    let response: ForkchoiceUpdatedResponse = serde_json::from_value(answer["result"].clone()).unwrap();
    assert_eq!(
        serde_json::to_value(response).unwrap(),
        answer["result"],
        "{name}"
    );
    check_answer(name, Shape::ForkchoiceUpdated, recorded);
}

#[test]
fn recorded_calls() {
    let Some(capture) = capture() else {
        println!("skipped: no realnet/capture beside the vectors");
        return;
    };
    let (mut payloads, mut forkchoices, mut passed_over) = (0, 0, 0);
    for dir in ["electra-fulu-gloas", "capella-lodestar-1.5.1"].map(|name| capture.join(name)) {
        if !dir.is_dir() {
            continue;
        }
        let mut roots: HashMap<String, Value> = HashMap::new();
        if dir.join("roots.json").exists() {
            for block in read_json(&dir.join("roots.json")).as_array().unwrap() {
                roots.insert(block["block_hash"].as_str().unwrap().to_owned(), block.clone());
            }
        }
        for file in std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let Some(method) = name.strip_suffix(".json").filter(|n| n.starts_with("engine_")) else {
                continue;
            };
            let text = std::fs::read_to_string(&file).unwrap();
            let recorded: Recorded<'_> = serde_json::from_str(&text).unwrap();
            match MethodKind::of(method.trim_end_matches("+attrs")) {
                MethodKind::ForkchoiceUpdated => {
                    check_forkchoice(&name, &recorded);
                    forkchoices += 1;
                }
                _ if method.starts_with("engine_newPayload") => {
                    check_answer(&name, Shape::NewPayload, &recorded);
                    check_new_payload(&dir, &name, &recorded, &roots);
                    payloads += 1;
                }
                _ => passed_over += 1,
            }
        }
    }
    println!(
        "recorded calls: {payloads} newPayload and {forkchoices} forkchoiceUpdated run, {passed_over} others"
    );
    assert!(
        payloads > 0 && forkchoices > 0,
        "no recorded calls in {}",
        capture.display()
    );
}
