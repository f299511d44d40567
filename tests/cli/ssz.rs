//! `assay ssz`: containers from files and standard input, in every encoding; blocks' payloads; what is refused.

use super::{Ran, assay};
use serde_json::{Value, json};
use std::{io::Write as _, path::Path};

/// An `ExecutionProofsByRange` of slots 7 and 8, type 1.
const RANGE: [u8; 21] = [7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 1];

/// The repository's own vectors: a case by its name and type.
fn vector(name: &str, container: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors/blocks.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    cases
        .iter()
        .find(|case| case["name"] == name && case["type"] == container)
        .unwrap_or_else(|| panic!("no {container} {name}"))
        .clone()
}

fn bytes(case: &Value) -> Vec<u8> {
    hex::decode(&case["ssz"].as_str().unwrap()[2..]).unwrap()
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.path().join(name), bytes).unwrap();
    }

    fn ssz(&self, args: &[&str]) -> Ran {
        self.ssz_with(args, &[])
    }

    fn ssz_with(&self, args: &[&str], input: &[u8]) -> Ran {
        assay(self.0.path(), &[&["ssz"], args].concat(), input)
    }
}

/// One value, in every way it can stand: the root is printed alone, and the same.
#[test]
fn one_root_from_every_encoding() {
    let dir = Folder::new();
    dir.put("range", &RANGE);
    dir.put("range.ssz", &RANGE);
    dir.put(
        "raw.ssz_snappy",
        &snap::raw::Encoder::new().compress_vec(&RANGE).unwrap(),
    );
    let mut framed = snap::write::FrameEncoder::new(Vec::new());
    framed.write_all(&RANGE).unwrap();
    dir.put("framed.ssz_snappy", &framed.into_inner().unwrap());
    let json = json!({"start_slot": "7", "count": "2", "proof_types": ["1"]}).to_string();
    dir.put("range.json", json.as_bytes());

    let named = ["--type", "ExecutionProofsByRange"];
    let root = dir
        .ssz_with(&[&["root", "-"], &named[..]].concat(), &RANGE)
        .text();
    assert_eq!(root.len(), 66, "{root}");
    assert!(root.starts_with("0x"));
    for file in [
        "range",
        "range.ssz",
        "raw.ssz_snappy",
        "framed.ssz_snappy",
        "range.json",
    ] {
        assert_eq!(
            dir.ssz(&[&["root", file], &named[..]].concat()).text(),
            root,
            "{file}"
        );
    }
    // No file is standard input, and the vectors' name leads to the same container.
    let alias = dir
        .ssz_with(&["root", "--type", "ExecutionProofsByRangeRequest"], &RANGE)
        .text();
    assert_eq!(alias, root);
}

#[test]
fn decode_and_encode_are_inverse() {
    let dir = Folder::new();
    let named = ["--type", "ExecutionProofsByRange"];
    let json = dir
        .ssz_with(&[&["decode", "-"], &named[..]].concat(), &RANGE)
        .text();
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        value,
        json!({"start_slot": "7", "count": "2", "proof_types": ["1"]})
    );
    let encoded = dir.ssz_with(&[&["encode", "-"], &named[..]].concat(), json.as_bytes());
    assert!(encoded.ok, "{}", encoded.err);
    assert_eq!(encoded.out, RANGE);

    dir.put("range.json", json.as_bytes());
    for out in ["out.ssz", "out.ssz_snappy"] {
        let nothing = dir
            .ssz(&[&["encode", "range.json", "--output", out], &named[..]].concat())
            .text();
        assert_eq!(nothing, "");
        let again = dir.ssz(&[&["decode", out], &named[..]].concat()).text();
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), value, "{out}");
    }
}

#[test]
fn fork_preset_form_and_revision_choose_the_shape() {
    let dir = Folder::new();
    for (name, container, fork, preset) in [
        (
            "random capella mainnet",
            "NewPayloadRequest",
            "capella",
            "mainnet",
        ),
        ("random fulu minimal", "NewPayloadRequest", "fulu", "minimal"),
        ("random gloas mainnet", "NewPayloadRequest", "gloas", "mainnet"),
        ("random gloas minimal", "SignedBeaconBlock", "gloas", "minimal"),
    ] {
        let case = vector(name, container);
        let args = ["root", "--type", container, "--fork", fork, "--preset", preset];
        assert_eq!(
            dir.ssz_with(&args, &bytes(&case)).text(),
            text(&case, "root"),
            "{name}"
        );
    }
    // Form C is the default, and Gloas the default fork.
    let case = vector("random gloas mainnet", "NewPayloadRequest");
    let root = |form: &[&str]| {
        dir.ssz_with(
            &[&["root", "--type", "NewPayloadRequest"], form].concat(),
            &bytes(&case),
        )
        .text()
    };
    assert_eq!(root(&[]), text(&case, "root"));
    assert_eq!(root(&["--form", "C"]), text(&case, "root"));
    assert!(root(&["--form", "A"]) != root(&["--form", "B"]));
    assert!(root(&["--form", "B"]) != root(&["--form", "C"]));

    // The same bytes are a proof of either revision and have another root in each; limits are settings.
    let proof = [&[37, 0, 0, 0, 1][..], &[5; 32], &[9; 40]].concat();
    let of = |args: &[&str]| dir.ssz_with(&[&["root", "--type"], args].concat(), &proof);
    let alpha = of(&["ExecutionProof", "--revision", "alpha"]).text();
    assert_eq!(of(&["ExecutionProof", "--fork", "fulu"]).text(), alpha);
    let beta = of(&["ExecutionProofEnvelope", "--revision", "beta"]).text();
    assert!(alpha != beta);
    // Containers that one revision alone has need no word of it.
    assert_eq!(of(&["ExecutionProofEnvelope"]).text(), beta);
    let limited = [
        "ExecutionProof",
        "--revision",
        "alpha",
        "--spec",
        "PROOF_DATA_FORM=bytelist",
        "--spec",
        "MAX_PROOF_SIZE=39",
    ];
    assert!(
        of(&limited)
            .error()
            .contains("proof_data: 40 elements, at most 39 are allowed")
    );
}

#[test]
fn payload_of_a_block() {
    let dir = Folder::new();
    let case = vector("random electra minimal", "SignedBeaconBlock");
    dir.put("block.ssz", &bytes(&case));
    let expected = json!({
        "block_root": case["block_root"],
        "new_payload_request_root": case["new_payload_request_root"],
    });
    let decoded = dir.ssz(&[
        "decode",
        "block.ssz",
        "--type",
        "SignedBeaconBlock",
        "--fork",
        "electra",
        "--preset",
        "minimal",
    ]);
    let decoded = decoded.text();
    dir.put("block.json", decoded.as_bytes());
    let message = serde_json::from_str::<Value>(&decoded).unwrap()["message"].clone();
    dir.put(
        "answer.json",
        json!({"version": "electra", "data": serde_json::from_str::<Value>(&decoded).unwrap()})
            .to_string()
            .as_bytes(),
    );

    for args in [
        &["payload", "block.ssz", "--preset", "minimal"][..],
        &["payload", "block.ssz", "--preset", "minimal", "--fork", "electra"],
        &["payload", "block.json", "--preset", "minimal"],
        &["payload", "answer.json", "--preset", "minimal"],
    ] {
        let summary: Value = serde_json::from_str(&dir.ssz(args).text()).unwrap();
        for key in ["block_root", "new_payload_request_root"] {
            assert_eq!(summary[key], expected[key], "{args:?}");
        }
        assert_eq!(summary["slot"], message["slot"]);
        let payload = &message["body"]["execution_payload"];
        assert_eq!(summary["block_hash"], payload["block_hash"]);
        assert_eq!(summary["parent_hash"], payload["parent_hash"]);
        assert_eq!(summary.as_object().unwrap().len(), 5);
    }
    let wrong_preset = dir.ssz(&["payload", "block.ssz"]).error();
    assert!(wrong_preset.contains("no fork in this preset"), "{wrong_preset}");
    let wrong_fork = dir
        .ssz(&["payload", "block.ssz", "--preset", "minimal", "--fork", "deneb"])
        .error();
    assert!(
        wrong_fork.contains("not a valid SSZ SignedBeaconBlock: message.body"),
        "{wrong_fork}"
    );
}

#[test]
fn payload_of_a_gloas_block_needs_its_own_envelope() {
    let dir = Folder::new();
    let block = vector("random gloas minimal", "SignedBeaconBlock");
    let envelope = vector("random gloas minimal", "SignedExecutionPayloadEnvelope");
    dir.put("block.ssz", &bytes(&block));
    dir.put("other.ssz", &bytes(&envelope));
    let payload = ["payload", "block.ssz", "--preset", "minimal"];
    let error = dir.ssz(&payload).error();
    assert!(
        error.contains("SignedExecutionPayloadEnvelope, which is needed too"),
        "{error}"
    );
    let error = dir
        .ssz(&[&payload[..], &["--envelope", "other.ssz"]].concat())
        .error();
    assert!(error.contains("beacon_block_root is 0x"), "{error}");

    // An envelope made to fit: the bid is the block's, the rest is any payload.
    let types = ["--fork", "gloas", "--preset", "minimal"];
    let decode = |file: &str, name: &str| -> Value {
        let json = dir
            .ssz(&[&["decode", file, "--type", name], &types[..]].concat())
            .text();
        serde_json::from_str(&json).unwrap()
    };
    let mut block_json = decode("block.ssz", "SignedBeaconBlock");
    let mut envelope_json = decode("other.ssz", "SignedExecutionPayloadEnvelope");
    let payload_json = &mut envelope_json["message"]["payload"];
    payload_json["slot_number"] = block_json["message"]["slot"].clone();
    let (hash, parent) = (
        payload_json["block_hash"].clone(),
        payload_json["parent_hash"].clone(),
    );
    let requests = envelope_json["message"]["execution_requests"].to_string();
    dir.put("requests.json", requests.as_bytes());
    let requests_root = dir.ssz(
        &[
            &["root", "requests.json", "--type", "ExecutionRequests"],
            &types[..],
        ]
        .concat(),
    );
    let bid = &mut block_json["message"]["body"]["signed_execution_payload_bid"]["message"];
    bid["execution_requests_root"] = requests_root.text().into();
    bid["block_hash"] = hash.clone();
    bid["parent_block_hash"] = parent.clone();
    dir.put("block.json", block_json.to_string().as_bytes());
    dir.put("message.json", block_json["message"].to_string().as_bytes());
    let block_root = dir
        .ssz(&[&["root", "message.json", "--type", "BeaconBlock"], &types[..]].concat())
        .text();
    envelope_json["message"]["beacon_block_root"] = block_root.clone().into();
    envelope_json["message"]["parent_beacon_block_root"] = block_json["message"]["parent_root"].clone();
    dir.put("envelope.json", envelope_json.to_string().as_bytes());

    let mut roots = Vec::new();
    for form in ["A", "B", "C"] {
        let args = [
            "payload",
            "block.json",
            "--envelope",
            "envelope.json",
            "--preset",
            "minimal",
            "--form",
            form,
        ];
        let summary: Value = serde_json::from_str(&dir.ssz(&args).text()).unwrap();
        assert_eq!(summary["block_root"], block_root.as_str());
        assert_eq!(
            (&summary["block_hash"], &summary["parent_hash"]),
            (&hash, &parent)
        );
        roots.push(summary["new_payload_request_root"].to_string());
    }
    roots.sort();
    roots.dedup();
    assert_eq!(roots.len(), 3);
}

/// Exit code 1, nothing on standard output, and an error that says what is wrong with which file.
#[test]
fn what_does_not_decode_is_refused() {
    let dir = Folder::new();
    dir.put("short.ssz", &RANGE[..19]);
    dir.put("hole.ssz", &{
        let mut bytes = RANGE;
        bytes[16] = 21;
        bytes
    });
    dir.put("bad.ssz_snappy", &[0xff; 40]);
    // Declares 4 GiB - 1.
    dir.put("bomb.ssz_snappy", &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
    dir.put("broken.json", b"{\"start_slot\": ");
    dir.put(
        "number.json",
        br#"{"start_slot": 7, "count": "2", "proof_types": []}"#,
    );
    dir.put("null.json", br#"{"data": null}"#);
    for (args, why) in [
        (
            &["root", "short.ssz"][..],
            "19 bytes do not hold the fixed part of 20",
        ),
        (&["decode", "short.ssz"], "short.ssz"),
        (
            &["decode", "hole.ssz"],
            "proof_types: the first offset is 21, the fixed part ends at 20",
        ),
        (&["root", "bad.ssz_snappy"], "bad.ssz_snappy"),
        (&["root", "bomb.ssz_snappy"], "bomb.ssz_snappy"),
        (&["root", "absent.ssz"], "absent.ssz"),
        (&["root", "-"], "standard input"),
        (&["encode", "broken.json"], "broken.json"),
        (
            &["encode", "number.json"],
            "start_slot: a decimal string expected, got a number",
        ),
        (&["encode", "null.json"], "start_slot: the field is missing"),
    ] {
        let error = dir
            .ssz(&[args, &["--type", "ExecutionProofsByRange"]].concat())
            .error();
        assert!(error.contains(why), "{args:?}: {error}");
    }
    let error = dir.ssz_with(&["root", "--type", "Nothing"], &RANGE).error();
    assert!(
        error.contains("no container is called \"Nothing\"; known: PublicInput"),
        "{error}"
    );
    let error = dir
        .ssz_with(
            &["root", "--type", "ExecutionRequests", "--fork", "deneb"],
            &RANGE,
        )
        .error();
    assert!(
        error.contains("there is no ExecutionRequests in deneb"),
        "{error}"
    );
    let error = dir
        .ssz_with(
            &["root", "--type", "ProofTypes", "--spec", "NO_SUCH_KEY=1"],
            &RANGE,
        )
        .error();
    assert!(error.contains("NO_SUCH_KEY"), "{error}");
}

#[test]
fn types_lists_what_type_takes() {
    let dir = Folder::new();
    let types = dir.ssz(&["types"]).text();
    for name in ["SignedExecutionProof", "NewPayloadRequest", "SignedBeaconBlock"] {
        assert!(types.lines().any(|line| line == name), "{types}");
    }
}
