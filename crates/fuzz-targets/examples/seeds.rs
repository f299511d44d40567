//! Writes the seeds in `fuzz/corpus-ci`, from `specs/vectors` and a few texts of its own. Seeds are named `seed-*`; what a
//! fuzzer found and was kept has other names and stays. `cargo run -p assay-fuzz-targets --example seeds`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use assay_engine_api::{JwtSecret, payload_writer::NewPayloadParamsJson};
use assay_network::{
    enr::{Enr, EnrExt},
    framing,
};
use assay_types::{
    ContainerContext, ExecutionProof, ForkName, NewPayloadRequest, Preset, PublicInput, Revision,
    SignatureBytes, SignedExecutionProof, SignedProof, Spec, containers, gossip, inspect,
    primitives::{parse_hex, to_hex},
};
use bytes::Bytes;
use enr::CombinedKey;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

struct Corpus(PathBuf);

impl Corpus {
    fn put(&self, target: &str, name: &str, data: impl AsRef<[u8]>) {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("seed-{}", name.replace([' ', '/'], "-"))),
            data,
        )
        .unwrap();
    }

    /// With bytes in front that choose what the rest is.
    fn put_as(&self, target: &str, name: &str, choice: &[u8], data: impl AsRef<[u8]>) {
        self.put(target, name, [choice, data.as_ref()].concat());
    }
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_default()
}

fn cases(root: &Path, file: &str) -> Vec<Value> {
    let json = fs::read(root.join("specs/vectors").join(file)).unwrap();
    let mut json: Value = serde_json::from_slice(&json).unwrap();
    serde_json::from_value(json["cases"].take()).unwrap()
}

fn place<T: PartialEq>(all: impl IntoIterator<Item = T>, wanted: T) -> u8 {
    all.into_iter().position(|one| one == wanted).unwrap() as u8
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpus = Corpus(root.join("fuzz/corpus-ci"));
    blocks(&corpus, &cases(&root, "blocks.json"));
    proofs(&corpus, &cases(&root, "containers.json"));
    framing_seeds(&corpus);
    records(&corpus);
    engine(&corpus);
    follower(&corpus);
    println!("{}", corpus.0.display());
}

fn blocks(corpus: &Corpus, cases: &[Value]) {
    for case in cases {
        let (name, kind) = (text(case, "name"), text(case, "type"));
        let fork: ForkName = text(case, "fork").parse().unwrap();
        let preset: Preset = text(case, "preset").parse().unwrap();
        let spec = if preset == Preset::Minimal {
            Spec::minimal()
        } else {
            Spec::mainnet()
        };
        let context = ContainerContext::new(fork, &spec);
        let ssz = parse_hex(text(case, "ssz")).unwrap();
        let choice = [place(ForkName::ALL.iter().copied(), fork) | u8::from(preset == Preset::Minimal) << 4];
        let minimal_random = preset == Preset::Minimal && name.starts_with("random");
        let as_json = || inspect::decode(kind, &context, &ssz).unwrap().to_string();
        match kind {
            "SignedBeaconBlock" => {
                corpus.put_as("beacon_block", name, &choice, &ssz);
                if minimal_random {
                    corpus.put_as("block_json", name, &choice, as_json());
                    corpus.put_as(
                        "beacon_block",
                        &format!("{name} cut"),
                        &choice,
                        &ssz[..ssz.len() - 1],
                    );
                }
            }
            "SignedExecutionPayloadEnvelope" => {
                corpus.put_as("payload_envelope", name, &choice, &ssz);
                corpus.put_as(
                    "payload_envelope",
                    &format!("{name} cut"),
                    &choice,
                    &ssz[..ssz.len() - 1],
                );
                corpus.put_as(
                    "block_json",
                    &format!("envelope {name}"),
                    &[choice[0] | 0x80],
                    as_json(),
                );
            }
            "NewPayloadRequest" if minimal_random => {
                let request =
                    NewPayloadRequest::from_ssz_bytes(fork, &spec, &Bytes::from(ssz.clone())).unwrap();
                let params = serde_json::to_string(&NewPayloadParamsJson(&request)).unwrap();
                let call =
                    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"engine_newPayloadV5","params":{params}}}"#);
                corpus.put("engine_call", name, &call);
                corpus.put_as("engine_sniff", name, &[64], &call[..call.len().min(400)]);
                corpus.put_as("engine_sniff", &format!("{name} whole"), &[255], &call);
            }
            _ => {}
        }
        if minimal_random && kind != "SignedBeaconBlock" {
            let fork = choice[0] & 7;
            let container = place(containers::names().map(str::to_owned), kind.to_owned());
            corpus.put_as(
                "containers",
                &format!("{kind} {name}"),
                &[container, fork | 1 << 3],
                &ssz,
            );
        }
    }
    corpus.put_as("containers", "cut", &[0, 6], [0; 31]);
    corpus.put_as("block_json", "not json", &[0], "{\"message\":");
    corpus.put_as(
        "block_json",
        "another kind",
        &[6],
        "{\"message\":{\"slot\":\"1\"},\"signature\":\"0x\"}",
    );
}

fn proofs(corpus: &Corpus, cases: &[Value]) {
    for (index, case) in cases.iter().enumerate() {
        let (name, kind) = (format!("{index} {}", text(case, "name")), text(case, "type"));
        let Ok(ssz) = parse_hex(text(case, "ssz")) else {
            continue;
        };
        let revision = text(case, "revision").parse().unwrap_or(Revision::Alpha);
        let beta = u8::from(revision == Revision::Beta);
        if ssz.len() < 1000 {
            let container = place(containers::names().map(str::to_owned), kind.to_owned());
            corpus.put_as(
                "containers",
                &format!("{kind} {name}"),
                &[container, 6 | beta << 4],
                &ssz,
            );
        }
        let small = [
            "ProofTypes",
            "ProofByRootIdentifier",
            "ProofByRootIdentifiers",
            "ExecutionProofsByRange",
            "ExecutionProofStatus",
            "PublicInput",
        ];
        if kind.starts_with("Signed") {
            corpus.put("signed_proof", &format!("{kind} {name}"), &ssz);
            corpus.put("gossip_data", &format!("{kind} {name}"), gossip::compress(&ssz));
            if let (Ok(proof), 0) = (SignedExecutionProof::from_ssz_bytes(&Bytes::from(ssz)), beta) {
                corpus.put_as(
                    "proof_json",
                    &format!("{kind} {name}"),
                    &[0],
                    serde_json::to_vec(&proof).unwrap(),
                );
            }
        } else if let Some(which) = small.iter().position(|one| *one == kind) {
            corpus.put_as(
                "req_resp_containers",
                &format!("{kind} {name}"),
                &[which as u8],
                &ssz,
            );
            corpus.put_as(
                "req_resp_containers",
                &format!("{kind} {name} longer"),
                &[which as u8],
                [&ssz[..], &[0; 5]].concat(),
            );
        }
    }
    let signed = "0x".to_owned() + &"11".repeat(96);
    let root = "0x".to_owned() + &"22".repeat(32);
    for (which, name, value) in [
        (
            1,
            "envelope",
            json!({"message": {"proof_data": "0xabcd", "proof_type": "1", "beacon_block_root": root},
            "validator_index": "7", "signature": signed}),
        ),
        (2, "types", json!(["0", "255"])),
        (
            3,
            "identifiers",
            json!([{"block_root": root, "proof_types": ["1"]}]),
        ),
        (
            4,
            "range",
            json!({"start_slot": "18446744073709551615", "count": "0", "proof_types": []}),
        ),
        (
            5,
            "status",
            json!({"block_root": root, "slot": "1", "proof_types": ["1", "2", "3", "4", "5"]}),
        ),
        (2, "types with a sign", json!(["+1"])),
        (
            0,
            "hex without its prefix",
            json!({"message": {"proof_data": "ab"}}),
        ),
    ] {
        corpus.put_as("proof_json", name, &[which], value.to_string());
    }
    posted(corpus);
    corpus.put("signed_proof", "short", [0; 144]);
    corpus.put("gossip_data", "bomb", [0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    corpus.put("gossip_data", "more than it can hold", [0x80, 0x80, 0x04, 0, 0]);
}

fn posted(corpus: &Corpus) {
    let proof = |index: u8| SignedExecutionProof {
        message: ExecutionProof {
            proof_data: vec![index; usize::from(index)].into(),
            proof_type: index,
            public_input: PublicInput {
                new_payload_request_root: [index; 32].into(),
            },
        },
        validator_index: index.into(),
        signature: SignatureBytes([index; 96]),
    };
    let list = |count: u8| {
        let proofs: Vec<Bytes> = (0..count).map(|index| proof(index).to_ssz_bytes()).collect();
        let mut out = Vec::new();
        let mut offset = proofs.len() * 4;
        for one in &proofs {
            out.extend_from_slice(&(offset as u32).to_le_bytes());
            offset += one.len();
        }
        [out, proofs.concat()].concat()
    };
    corpus.put_as(
        "post_body",
        "one in JSON",
        &[0],
        serde_json::to_vec(&proof(3)).unwrap(),
    );
    corpus.put_as(
        "post_body",
        "two in JSON",
        &[0],
        serde_json::to_vec(&[proof(0), proof(1)]).unwrap(),
    );
    let one_of_two = format!("[{},{{}}]", serde_json::to_string(&proof(2)).unwrap());
    corpus.put_as("post_body", "one of two in JSON", &[0], one_of_two);
    let envelope = SignedProof {
        revision: Revision::Beta,
        ..SignedProof::from(proof(2))
    };
    let both = format!(
        "[{},{}]",
        serde_json::to_string(&envelope).unwrap(),
        serde_json::to_string(&proof(1)).unwrap()
    );
    corpus.put_as("post_body", "both revisions in JSON", &[0], both);
    corpus.put_as("post_body", "none in JSON", &[0], "[]");
    corpus.put_as("post_body", "one in SSZ", &[1], proof(3).to_ssz_bytes());
    corpus.put_as("post_body", "two in SSZ", &[1], list(2));
    corpus.put_as("post_body", "27 in SSZ", &[1], list(27));
    corpus.put_as("post_body", "65 in SSZ", &[1], list(65));
    corpus.put_as("post_body", "none in SSZ", &[1], []);
    corpus.put_as("post_body", "plain text", &[2], "[]");
    corpus.put_as(
        "post_body",
        "nothing said",
        &[3],
        serde_json::to_vec(&proof(1)).unwrap(),
    );
}

fn framing_seeds(corpus: &Corpus) {
    let request =
        |which: u8, ssz: &[u8]| [&[which, 3, 1, 0, 7, 30][..], &framing::encode_request(ssz)].concat();
    corpus.put("framing_request", "range", request(0, &[0; 20]));
    corpus.put("framing_request", "identifiers", request(1, &[4, 0, 0, 0, 9, 9]));
    corpus.put("framing_request", "empty", request(2, &[]));
    corpus.put("framing_request", "repeating", request(3, &[5; 3000]));
    let mixed: Vec<u8> = (0..70_000u32).map(|n| (n % 251) as u8).collect();
    corpus.put("framing_request", "two frames", request(4, &mixed));
    corpus.put(
        "framing_request",
        "trailing",
        [&request(0, &[0; 20])[..], &[1]].concat(),
    );
    let padded: Vec<u8> = [
        &[2, 0, 1, 2, 3, 4, 3][..],
        b"\xff\x06\x00\x00sNaPpY\xfe\x01\x00\x00\x00\x01\x07\x00\x00\x01\x02\x03\x04abc",
    ]
    .concat();
    corpus.put("framing_request", "padding and a wrong checksum", padded);

    let response = |chunks: &[Vec<u8>]| [&[3, 4, 5, 0, 90, 2][..], &chunks.concat()].concat();
    let success = framing::encode_success_chunk(&[3; 150]);
    let error = framing::encode_error_chunk(framing::ErrorCode::ResourceUnavailable, "none");
    corpus.put(
        "framing_response",
        "two",
        response(&[success.clone(), success.clone()]),
    );
    corpus.put(
        "framing_response",
        "one and an error",
        response(&[success.clone(), error.clone()]),
    );
    corpus.put(
        "framing_response",
        "something after an error",
        response(&[error, success.clone()]),
    );
    corpus.put(
        "framing_response",
        "too many",
        response(&vec![success.clone(); 5]),
    );
    corpus.put(
        "framing_response",
        "cut",
        response(&[success[..success.len() - 1].to_vec()]),
    );
    corpus.put("framing_response", "none", response(&[]));
}

fn records(corpus: &Corpus) {
    let key = CombinedKey::secp256k1_from_bytes(&mut [9; 32]).unwrap();
    let mut builder = Enr::builder();
    builder
        .add_value("eth2", &[1u8; 16].as_slice())
        .add_value("eproof", &1u8);
    let nowhere = builder.build(&key).unwrap();
    builder.ip4([127, 0, 0, 1].into()).tcp4(9000).udp4(9000);
    let record = builder.build(&key).unwrap();
    corpus.put("node_record", "record", record.to_base64());
    corpus.put("node_record", "record without an address", nowhere.to_base64());
    let id = "16Uiu2HAmKYP8JmBNNZhfNNDfNvzJx9rAq1i8p7cwoxXaoNTEoDuw";
    for (name, address) in [
        ("ip4", format!("/ip4/127.0.0.1/tcp/9000/p2p/{id}")),
        ("ip6", format!("/ip6/::1/tcp/9000/p2p/{id}")),
        ("dns", format!("/dns4/node.example/tcp/9000/p2p/{id}")),
        ("quic", format!("/ip4/127.0.0.1/udp/9000/quic-v1/p2p/{id}")),
        ("no id", "/ip4/127.0.0.1/tcp/9000".to_owned()),
    ] {
        corpus.put("node_record", name, address);
    }
    let peer = format!("peer {} /ip4/127.0.0.1/tcp/9000", record.peer_id().unwrap());
    let entries = [
        format!("{peer},/ip4/127.0.0.1/udp/9000/quic-v1 {}", record.to_base64()),
        format!("peer {id} /ip6/::1/tcp/9000 -"),
        format!("ban {id} 1700000000"),
        "ban-address 10.1.2.3 1700000000".to_owned(),
        "ban-address 2001:db8::1 18446744073709551615".to_owned(),
    ];
    corpus.put("kept_peers", "all kinds", format!("\0{}", entries.join("\n")));
    let whole = format!("assay peers 1\n{}\nend 5\n", entries.join("\n"));
    corpus.put("kept_peers", "whole", &whole);
    corpus.put("kept_peers", "cut", &whole[..whole.len() - 7]);
    corpus.put("kept_peers", "none", "\0");
    corpus.put("kept_peers", "of another form", "assay peers 2\nend 0\n");
    corpus.put(
        "kept_peers",
        "anothers record",
        format!("\0peer {id} /ip4/127.0.0.1/tcp/9000 {}", record.to_base64()),
    );
    for (which, name, len) in [
        (0, "status 1", 84),
        (0, "status 2", 92),
        (0, "status longer", 93),
        (1, "metadata 1", 16),
        (1, "metadata 2", 17),
        (1, "metadata 3", 25),
        (2, "blocks by range", 24),
        (3, "envelopes by range", 16),
        (4, "roots", 96),
        (4, "no roots", 0),
        (4, "a root and a half", 48),
        (5, "ping", 8),
        (5, "short", 7),
    ] {
        corpus.put_as("base_messages", name, &[which], vec![which + 1; len]);
    }
    corpus.put_as("base_messages", "metadata with other bits", &[1], [0xff; 17]);
    // eth2, eproof, ip and tcp, each as key, length, RLP.
    let values = [
        &[0, 0, 17, 0x90][..],
        &[5; 16],
        &[1, 1, 1, 2, 5, 0x84, 127, 0, 0, 1, 3, 3, 0x82, 0x23, 0x28],
    ]
    .concat();
    corpus.put("node_record", "signed", values);
    corpus.put(
        "node_record",
        "signed with a list for a number",
        [0, 1, 2, 0xc1, 1, 2, 5, 0x84, 127, 0, 0, 1, 3, 3, 0x82, 0x23, 0x28],
    );
}

fn engine(corpus: &Corpus) {
    let hash = |byte: u8| to_hex(&[byte; 32]);
    let state = json!({"headBlockHash": hash(1), "safeBlockHash": hash(2), "finalizedBlockHash": hash(0)});
    let attributes = json!({"timestamp": "0x6afd8720", "prevRandao": hash(3), "suggestedFeeRecipient": to_hex(&[4; 20]),
        "withdrawals": [{"index": "0x38", "validatorIndex": "0x7", "address": to_hex(&[4; 20]), "amount": "0x117c75"}],
        "parentBeaconBlockRoot": hash(5), "slotNumber": "0x10", "targetGasLimit": "0x1c9c380"});
    let call = |id: Value, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": "engine_forkchoiceUpdatedV4", "params": params});
    let single = call(json!("a"), json!([state, attributes]));
    for (name, body) in [
        ("forkchoice", single.to_string()),
        (
            "batch",
            json!([call(json!(1), json!([state, null])), 7, {"method": "eth_syncing"}]).to_string(),
        ),
        ("empty batch", "[]".to_owned()),
        ("cut", "{\"id\":1,\"method\":\"a\",\"params\":[".to_owned()),
        (
            "escaped",
            r#" {"\u006dethod" : "a\"b", "id":{"x":[1]}, "params":[{"method":"no"}]} "#.to_owned(),
        ),
        (
            "backslashes",
            r#"{"x":"\\","\\":"\\\"","method":"a\\","id":"\\"}"#.to_owned(),
        ),
        ("two methods", r#"{"method":"a","METHOD":"b"}"#.to_owned()),
        ("bytes behind", r#"{"method":"a"} x"#.to_owned()),
        ("wide number", r#"{"id":1e999,"method":"a"}"#.to_owned()),
    ] {
        corpus.put("engine_call", name, &body);
        corpus.put_as("engine_sniff", name, &[3], &body);
    }
    for (which, name, body) in [
        (0, "valid", json!({"id": 1, "result": {"status": "VALID", "latestValidHash": hash(1), "validationError": null}}).to_string()),
        (0, "invalid", r#"{"result":{"status":"INVALID","validationError":"no","more":1e3},"id": "1" }"#.to_owned()),
        (0, "bare", r#"{"result":{"status":"SYNCING"}}"#.to_owned()),
        (0, "error", r#"{"id":1,"error":{"code":-38002,"message":"m","data":5}}"#.to_owned()),
        (1, "forkchoice", json!({"id": 1, "result": {"payloadId": "0x0102030405060708", "payloadStatus": {"status": "VALID", "latestValidHash": hash(1)}}}).to_string()),
        (1, "escaped", r#"{"result":{"payload\u0053tatus":{"\u0073tatus":"ACCEPTED"},"payloadId":null}}"#.to_owned()),
        (0, "twice", r#"{"result":{"status":"VALID","status":"SYNCING"}}"#.to_owned()),
    ] {
        corpus.put_as("engine_answer", name, &[which], body);
    }
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    corpus.put("engine_token", "token", JwtSecret::from([7; 32]).bearer(now));
    corpus.put(
        "engine_token",
        "another secret",
        JwtSecret::from([8; 32]).bearer(now),
    );
    for (name, parts) in [
        ("signed", "{\"alg\":\"HS256\"}\n{\"iat\":1700000000}"),
        (
            "fraction",
            "{\"alg\":\"HS256\",\"typ\":\"JWT\"}\n{\"iat\":1699999940.5,\"id\":\"x\"}",
        ),
        ("no algorithm", "{\"alg\":\"none\"}\n{\"iat\":1700000000}"),
        ("far", "{\"alg\":\"HS256\"}\n{\"iat\":1e300}"),
    ] {
        corpus.put_as("engine_token", name, &[0], parts);
    }
}

fn follower(corpus: &Corpus) {
    let root = to_hex(&[0xab; 32]);
    for (name, topic, data) in [
        (
            "head",
            "head",
            json!({"slot": "63", "block": root, "state": root, "execution_optimistic": true}),
        ),
        ("block", "block", json!({"slot": "63", "block": root})),
        (
            "reorg",
            "chain_reorg",
            json!({"slot": "2", "depth": "5", "old_head_block": root, "new_head_block": root}),
        ),
        (
            "finalized",
            "finalized_checkpoint",
            json!({"block": root, "state": root, "epoch": "18446744073709551615"}),
        ),
        (
            "payload",
            "execution_payload",
            json!({"slot": "1", "block_root": root}),
        ),
        (
            "available",
            "execution_payload_available",
            json!({"slot": "1", "block_root": root}),
        ),
        ("another topic", "attestation", json!({})),
        (
            "a number for a string",
            "chain_reorg",
            json!({"depth": 5, "new_head_block": root}),
        ),
    ] {
        corpus.put("node_event", name, format!("{topic}\n{data}"));
    }
    for (name, spec) in [("mainnet", Spec::mainnet()), ("minimal", Spec::minimal())] {
        let config = Value::Object(spec.to_config());
        corpus.put("spec_config", name, json!([config, {}]).to_string());
        let overrides = json!({"SECONDS_PER_SLOT": 2, "FULU_FORK_EPOCH": "5", "FULU_FORK_VERSION": "0x01020304",
            "BLOB_SCHEDULE": "[{\"EPOCH\":9,\"MAX_BLOBS_PER_BLOCK\":\"7\"}]", "EIP8025_REVISION_GLOAS": "beta"});
        corpus.put(
            "spec_config",
            &format!("{name} overridden"),
            json!([config, overrides]).to_string(),
        );
        corpus.put(
            "spec_config",
            &format!("{name} with a wrong key"),
            json!([config, {"NO_SUCH_KEY": "1"}]).to_string(),
        );
    }
}
