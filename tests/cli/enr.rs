//! `assay enr`: what is made is read back, and a key is never shown.

use crate::assay;
use serde_json::Value;

const KEY: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";

/// The example of EIP-778, made with the key above.
const EXAMPLE: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";

fn decode(dir: &std::path::Path, record: &str) -> Value {
    let text = assay(dir, &["enr", "decode", record, "--json"], b"").text();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_record_of_the_specification_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let read = decode(dir.path(), EXAMPLE);
    assert_eq!(
        (read["seq"].as_u64(), read["identity_scheme"].as_str()),
        (Some(1), Some("v4"))
    );
    assert_eq!(
        read["node_id"],
        "0xa448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7"
    );
    assert_eq!(
        (read["ip"].as_str(), read["udp"].as_u64()),
        (Some("127.0.0.1"), Some(30303))
    );
    assert_eq!(
        (&read["eth2"], &read["eproof"], &read["other"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    // From a file and from standard input too.
    std::fs::write(dir.path().join("node.enr"), format!("{EXAMPLE}\n")).unwrap();
    assert_eq!(decode(dir.path(), "node.enr"), read);
    let text = assay(dir.path(), &["enr", "decode"], EXAMPLE.as_bytes()).text();
    assert!(text.contains("udp: 30303") && !text.contains("null"), "{text}");
    for (record, says) in [
        ("enr:-rubbish", "no node record"),
        // One letter changed: the signature is not that of what it says.
        (&EXAMPLE.replace("udl8", "x"), "No such file"),
        (&EXAMPLE.replacen("HCYr", "HCYs", 1), "no node record"),
        ("no-such-file", "no-such-file"),
    ] {
        if record == EXAMPLE {
            continue;
        }
        let error = assay(dir.path(), &["enr", "decode", record], b"").error();
        assert!(
            error.contains(says) || record.starts_with("enr:"),
            "{record}: {error}"
        );
    }
}

#[test]
fn what_is_made_is_read_back_and_the_key_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("node.key"), format!("{KEY}\n")).unwrap();
    let made = assay(
        dir.path(),
        &[
            "enr",
            "make",
            "--key-file",
            "node.key",
            "--seq",
            "7",
            "--ip",
            "192.0.2.1",
            "--tcp",
            "9100",
            "--udp",
            "9100",
            "--quic",
            "9101",
            "--ip6",
            "2001:db8::1",
            "--tcp6",
            "9200",
            "--udp6",
            "9200",
            "--quic6",
            "9201",
            "--fork-digest",
            "0x8c9f62fe",
            "--next-fork-version",
            "0x07000000",
            "--next-fork-epoch",
            "450000",
            "--nfd",
            "0x01020304",
            "--cgc",
            "4",
            "--eproof",
            "1",
            "--attnets",
            "0x0300000000000080",
            "--syncnets",
            "0x02",
        ],
        b"",
    )
    .text();
    let read = decode(dir.path(), &made);
    assert_eq!(read["seq"], 7);
    // The example's key.
    assert_eq!(
        read["node_id"],
        "0xa448f24c6d18e575453db13171562b71999873db5b286df957af199ec94617f7"
    );
    assert_eq!(read["eth2"]["fork_digest"], "0x8c9f62fe");
    assert_eq!(read["eth2"]["next_fork_version"], "0x07000000");
    assert_eq!(read["eth2"]["next_fork_epoch"], 450_000);
    assert_eq!(
        (&read["nfd"], &read["cgc"], &read["eproof"]),
        (&"0x01020304".into(), &4.into(), &1.into())
    );
    assert_eq!(read["attnets"]["subnets"], serde_json::json!([0, 1, 63]));
    assert_eq!(read["syncnets"]["subnets"], serde_json::json!([1]));
    assert_eq!(
        (&read["quic"], &read["quic6"], &read["tcp6"]),
        (&9101.into(), &9201.into(), &9200.into())
    );
    let addresses = read["quic_addresses"].to_string();
    assert!(
        addresses.contains("/ip6/2001:db8::1/udp/9201/quic-v1/p2p/"),
        "{addresses}"
    );

    // A node says nothing of what it is not told.
    let bare = assay(dir.path(), &["enr", "make", "--key-file", "node.key"], b"").text();
    let read = decode(dir.path(), &bare);
    assert!(read["seq"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(
        (&read["ip"], &read["eproof"], &read["eth2"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );

    for (args, says) in [
        (vec!["--key-file", "none"], "none"),
        (vec!["--key-file", "bad.key"], "not a secp256k1 key"),
        (vec!["--key-file", "short.key"], "63 characters"),
        (
            vec!["--key-file", "node.key", "--attnets", "0x01"],
            "8 bytes of hex",
        ),
        (vec!["--key-file", "node.key", "--syncnets", "zz"], "--syncnets"),
        (
            vec!["--key-file", "node.key", "--ip", "0.0.0.0"],
            "nobody can reach",
        ),
        (
            vec!["--key-file", "node.key", "--beacon-node", "nonsense"],
            "beacon node URL",
        ),
        (
            // A port that nobody may listen on: said at once, with the reason.
            vec!["--key-file", "node.key", "--beacon-node", "http://127.0.0.1:1"],
            "the beacon node at http://127.0.0.1:1 does not tell its network: ",
        ),
    ] {
        std::fs::write(dir.path().join("bad.key"), "0".repeat(64)).unwrap();
        std::fs::write(dir.path().join("short.key"), &KEY[1..]).unwrap();
        let mut all = vec!["enr", "make"];
        all.extend(args);
        let error = assay(dir.path(), &all, b"").error();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains(&KEY[1..20]), "the key is shown: {error}");
    }
}
