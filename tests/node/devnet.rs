//! `assay devnet`: its summary and its exit code.

use crate::support::assay;
use serde_json::Value;

fn devnet(flags: &[&str]) -> (std::process::Output, Option<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let summary = dir.path().join("summary.json");
    let output = assay()
        .arg("devnet")
        .args(flags)
        .arg("--summary")
        .arg(&summary)
        .output()
        .unwrap();
    let summary = std::fs::read(summary)
        .ok()
        .map(|text| serde_json::from_slice(&text).unwrap());
    (output, summary)
}

#[test]
fn every_proof_reaches_every_node_and_every_payload_turns_valid() {
    let (output, summary) = devnet(&[
        "--slots",
        "4",
        "--slot-ms",
        "2000",
        "--proof-types",
        "1,2",
        "--required-proofs",
        "2",
        "--proof-size",
        "65536",
    ]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let summary = summary.unwrap();
    assert_eq!(summary["success"], true);
    assert_eq!(summary["payloads"], 4);
    let nodes = summary["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(node["proofs_accepted"], 8, "{node}");
        // Posted to the first; the others have them by gossip, the third by way of the second alone.
        assert_eq!(
            node["proofs_accepted_by_gossip"],
            if index == 0 { 0 } else { 8 },
            "{node}"
        );
        assert_eq!(node["payloads_syncing_then_valid"], 4, "{node}");
        assert!(node["payload_to_proof_ms"]["p50"].as_u64().unwrap() > 0, "{node}");
        assert!(node["proof_to_verdict_ms"]["max"].is_u64(), "{node}");
        // The first sends, the last receives, the one between does both.
        let moved = if index == 2 {
            "bytes_received"
        } else {
            "bytes_sent"
        };
        assert!(node[moved].as_u64().unwrap() > 8 * 65536, "{node}");
    }
}

#[test]
fn a_proof_delay_beyond_the_end_fails() {
    let (output, summary) = devnet(&[
        "--nodes",
        "2",
        "--slots",
        "2",
        "--slot-ms",
        "1000",
        "--proof-delay-ms",
        "60000",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let summary = summary.unwrap();
    assert_eq!(summary["success"], false);
    assert!(
        summary["failures"].to_string().contains("2 proofs missing"),
        "{summary}"
    );
    assert!(
        summary["failures"].to_string().contains("2 payloads not VALID"),
        "{summary}"
    );
    let kept = String::from_utf8_lossy(&output.stderr).into_owned();
    if let Some(path) = kept.split("logs are in ").nth(1) {
        let _ = std::fs::remove_dir_all(path.trim());
    }
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    for (flags, named) in [
        (["--slot-ms", "1500"], "--slot-ms"),
        (["--nodes", "0"], "--nodes"),
        (["--slots", "0"], "--slots"),
        (["--proof-size", "1"], "--proof-size"),
        (["--proof-size", "4194305"], "--proof-size"),
    ] {
        let (output, _) = devnet(&flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(named), "{flags:?}: {text}");
    }
}
