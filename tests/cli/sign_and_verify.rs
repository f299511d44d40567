//! `assay dev-proof`, `assay sign`, `assay verify` on files.

use crate::binary;
use std::{path::Path, process::Output};

const ROOT: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";
const GENESIS: &str = "0x2222222222222222222222222222222222222222222222222222222222222222";

fn run(dir: &Path, words: &[&str]) -> Output {
    binary().current_dir(dir).args(words).output().unwrap()
}

fn ok(dir: &Path, words: &[&str]) -> String {
    let output = run(dir, words);
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn fails(dir: &Path, words: &[&str], says: &str) {
    let output = run(dir, words);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words:?}: {text}");
    assert!(text.contains(says), "{words:?}: {says:?} is not in {text}");
}

#[test]
fn a_proof_is_made_signed_and_verified_in_every_encoding() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let key = assay_types::SecretKey::interop(0);
    let public = key.public_key().to_bytes().to_string();
    std::fs::write(
        dir.join("key"),
        "25295f0d1d592a90b333e26e85149708208e9f8e8bc18f6c77bd62f8ad7a6866\n",
    )
    .unwrap();
    let domain = [
        "--fork-version",
        "0x60000001",
        "--genesis-validators-root",
        GENESIS,
    ];
    for (proof, signed) in [
        ("p.ssz", "s.ssz"),
        ("p.json", "s.json"),
        ("p.ssz_snappy", "s.ssz_snappy"),
    ] {
        ok(
            dir,
            &[
                "dev-proof",
                "--new-payload-request-root",
                ROOT,
                "--proof-type",
                "2",
                "--size",
                "9000",
                "-o",
                proof,
            ],
        );
        let mut sign = vec![
            "sign",
            proof,
            "--key-file",
            "key",
            "--validator-index",
            "7",
            "-o",
            signed,
        ];
        sign.extend(domain);
        ok(dir, &sign);
        let mut verify = vec!["verify", signed, "--public-key", &public];
        verify.extend(domain);
        let said = ok(dir, &verify);
        assert!(
            said.contains("\"signature\":\"valid\"") && said.contains(ROOT),
            "{said}"
        );
        // Another domain, another key.
        let other = [
            "verify",
            signed,
            "--public-key",
            &public,
            "--fork-version",
            "0x60000002",
            "--genesis-validators-root",
            GENESIS,
        ];
        fails(dir, &other, "signature");
        let stranger = assay_types::SecretKey::interop(1)
            .public_key()
            .to_bytes()
            .to_string();
        let mut verify = vec!["verify", signed, "--public-key", &stranger];
        verify.extend(domain);
        fails(dir, &verify, "signature");
    }
}

/// In `beta` the chain is part of what is proven and the block what is named; one without the other is neither revision's.
#[test]
fn a_development_proof_of_beta_is_an_envelope() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made = |more: &[&str]| {
        let mut args = vec!["dev-proof", "--new-payload-request-root", ROOT, "-o", "p.json"];
        args.extend(more);
        ok(dir, &args);
        let text = std::fs::read_to_string(dir.join("p.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let alpha = made(&[]);
    let [one, two] =
        ["1337", "1338"].map(|chain| made(&["--beacon-block-root", GENESIS, "--chain-id", chain]));
    assert_eq!(alpha["public_input"]["new_payload_request_root"], ROOT);
    assert_eq!(one["beacon_block_root"], GENESIS);
    assert_ne!(one["proof_data"], two["proof_data"]);
    assert_ne!(one["proof_data"], alpha["proof_data"]);
    let half = run(
        dir,
        &["dev-proof", "--new-payload-request-root", ROOT, "--chain-id", "1"],
    );
    let said = String::from_utf8_lossy(&half.stderr);
    assert!(
        !half.status.success() && said.contains("--beacon-block-root"),
        "{said}"
    );
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let domain = [
        "--fork-version",
        "0x60000001",
        "--genesis-validators-root",
        GENESIS,
    ];
    ok(
        dir,
        &["dev-proof", "--new-payload-request-root", ROOT, "-o", "p.ssz"],
    );
    std::fs::write(dir.join("short"), "0x1234").unwrap();
    std::fs::write(dir.join("zero"), "00".repeat(32)).unwrap();
    std::fs::write(dir.join("nonsense"), "my key").unwrap();
    std::fs::write(
        dir.join("key"),
        "25295f0d1d592a90b333e26e85149708208e9f8e8bc18f6c77bd62f8ad7a6866",
    )
    .unwrap();
    std::fs::write(dir.join("broken.ssz"), [1, 2, 3]).unwrap();
    for (proof, key, says) in [
        ("p.ssz", "absent", "absent"),
        ("p.ssz", "short", "short"),
        ("p.ssz", "zero", "zero"),
        ("p.ssz", "nonsense", "hex"),
        ("broken.ssz", "key", "SSZ"),
        ("absent.ssz", "key", "absent.ssz"),
    ] {
        let mut words = vec!["sign", proof, "--key-file", key, "--validator-index", "7"];
        words.extend(domain);
        fails(dir, &words, says);
        let output = run(dir, &words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !text.contains("my key") && !text.contains("1234"),
            "a key is never shown: {text}"
        );
    }
    let mut small = vec![
        "sign",
        "p.ssz",
        "--key-file",
        "key",
        "--validator-index",
        "7",
        "--spec",
        "MAX_PROOF_SIZE=100",
    ];
    small.extend(domain);
    fails(dir, &small, "MAX_PROOF_SIZE");
}

/// Where `beta` holds it is envelopes that are signed and verified: the same frame, other names, another root.
#[test]
fn envelopes_are_signed_and_verified_where_beta_holds() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let public = assay_types::SecretKey::interop(0)
        .public_key()
        .to_bytes()
        .to_string();
    std::fs::write(
        dir.join("key"),
        "25295f0d1d592a90b333e26e85149708208e9f8e8bc18f6c77bd62f8ad7a6866",
    )
    .unwrap();
    let envelope = serde_json::json!({
        "proof_data": format!("0x{}", "ab".repeat(500)), "proof_type": "2", "beacon_block_root": ROOT,
    });
    std::fs::write(dir.join("e.json"), envelope.to_string()).unwrap();
    let domain = [
        "--fork-version",
        "0x60000001",
        "--genesis-validators-root",
        GENESIS,
    ];
    let with = |words: &[&'static str], revision: &'static str| {
        let mut words = words.to_vec();
        words.extend(domain);
        words.extend(["--revision", revision]);
        words
    };
    let sign = |to| {
        let words = [
            "sign",
            "e.json",
            "--key-file",
            "key",
            "--validator-index",
            "7",
            "-o",
            to,
        ];
        with(&words, "beta")
    };
    for signed in ["s.json", "s.ssz", "s.ssz_snappy"] {
        ok(dir, &sign(signed));
        let mut verify = with(&["verify", signed], "beta");
        verify.extend(["--public-key", &public]);
        let said: serde_json::Value = serde_json::from_str(&ok(dir, &verify)).unwrap();
        assert_eq!(said["signature"], "valid");
        assert_eq!(said["beacon_block_root"], ROOT, "{said}");
        // JSON says which revision it is of; SSZ of one frame has another root in the other form.
        let mut verify = with(&["verify", signed], "alpha");
        verify.extend(["--public-key", &public]);
        let says = if signed == "s.json" {
            "a proof of revision beta"
        } else {
            "signature"
        };
        fails(dir, &verify, says);
    }
    // Neither is the other's message.
    let mut alpha = sign("a.json");
    let last = alpha.len() - 1;
    alpha[last] = "alpha";
    fails(dir, &alpha, "public_input");
}
