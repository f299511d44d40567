//! `assay devnet`: its summary and its exit code.

use crate::support::{PATIENCE, assay};
use ::assay::endpoints::Endpoints;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

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

/// `alpha` proofs before the boundary, envelopes behind it, every one at every node.
#[test]
fn into_gloas_and_the_proofs_become_envelopes() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path().join("net");
    let (output, summary) = devnet(&[
        "--nodes",
        "2",
        "--slots",
        "11",
        "--slot-ms",
        "1000",
        "--gloas-epoch",
        "1",
        "--proof-size",
        "2000",
        "--proof-delay-ms",
        "100",
        "--datadir",
        datadir.to_str().unwrap(),
    ]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert_eq!(summary.unwrap()["payloads"], 11);
    for node in ["node-1", "node-2"] {
        let list = assay()
            .args(["db", "list", "--json", "--datadir"])
            .arg(datadir.join(node))
            .output()
            .unwrap();
        let list = String::from_utf8_lossy(&list.stdout).into_owned();
        let lines: Vec<Value> = list
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 11, "{node}: {list}");
        for line in &lines {
            let is_gloas = line["slot"].as_u64().unwrap() >= 8;
            assert_eq!(line["beacon_block_root"].is_string(), is_gloas, "{node}: {line}");
            assert!(line["new_payload_request_root"].is_string(), "{node}: {line}");
        }
        let slots: Vec<_> = lines.iter().filter_map(|line| line["slot"].as_u64()).collect();
        assert!(slots.contains(&7) && slots.contains(&8), "{node}: {slots:?}");
    }
    // Its chain is over: another network needs another directory.
    let (output, _) = devnet(&["--slots", "1", "--datadir", datadir.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("an earlier devnet's directory"),
        "{text}"
    );
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
    assert!(
        kept.starts_with("assay: --proof-delay-ms 60000: the run ends"),
        "{kept}"
    );
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
        (["--gloas-epoch", "0"], "--gloas-epoch"),
        (["--proof-size", "1"], "--proof-size"),
        (["--proof-size", "4194305"], "--proof-size"),
    ] {
        let (output, _) = devnet(&flags);
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(named), "{flags:?}: {text}");
    }
}

/// A devnet that is still running, in a process group of its own as in a terminal.
struct Running {
    devnet: std::process::Child,
    datadir: tempfile::TempDir,
    summary: PathBuf,
}

impl Running {
    fn start(nodes: usize) -> Self {
        let datadir = tempfile::tempdir().unwrap();
        let summary = datadir.path().join("summary.json");
        let devnet = assay()
            .args([
                "devnet",
                "--slots",
                "1000",
                "--slot-ms",
                "1000",
                "--proof-size",
                "4096",
            ])
            .args(["--proof-delay-ms", "0", "--nodes", &nodes.to_string()])
            .arg("--datadir")
            .arg(datadir.path())
            .arg("--summary")
            .arg(&summary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            devnet,
            datadir,
            summary,
        }
    }

    fn node(&self, index: usize) -> PathBuf {
        self.datadir.path().join(format!("node-{index}"))
    }

    /// The nodes' process ids, once all of them are up.
    fn pids(&mut self, nodes: usize) -> Vec<u32> {
        let started = Instant::now();
        loop {
            let pids: Vec<u32> = (1..=nodes)
                .filter_map(|n| Some(Endpoints::read(&self.node(n), None)?.pid))
                .collect();
            if pids.len() == nodes {
                return pids;
            }
            assert!(self.devnet.try_wait().unwrap().is_none(), "ended by itself");
            assert!(started.elapsed() < PATIENCE, "not up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn wait_for_end(pids: &[u32]) {
    let started = Instant::now();
    let alive = |pid: &u32| std::fs::metadata(format!("/proc/{pid}")).is_ok();
    while pids.iter().any(alive) {
        assert!(started.elapsed() < PATIENCE, "still there");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_interrupted_devnet_tells_what_there_was_and_ends_its_nodes_cleanly() {
    let mut running = Running::start(2);
    let pids = running.pids(2);
    let mut out = BufReader::new(running.devnet.stdout.take().unwrap());
    let mut shown = String::new();
    // Standard output is no terminal here: a line for each slot that is done.
    // Two of them: what a node counts of a proof may come a moment after its verdict.
    while shown.matches("slot ").count() < 2 {
        assert!(out.read_line(&mut shown).unwrap() > 0, "ended by itself: {shown}");
    }
    // As Ctrl-C does: to the whole foreground group.
    let group = rustix::process::Pid::from_child(&running.devnet);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    out.read_to_string(&mut shown).unwrap();
    let mut told = String::new();
    let mut errors = running.devnet.stderr.take().unwrap();
    errors.read_to_string(&mut told).unwrap();
    assert_eq!(running.devnet.wait().unwrap().code(), Some(1), "{told}");
    assert!(told.contains("interrupted after "), "{told}");
    assert!(shown.contains("proof→verdict ms"), "{shown}");
    assert!(
        shown.starts_with("node 1: http://127.0.0.1:")
            && shown.contains("/dashboard, beside the beacon node http://"),
        "{shown}"
    );
    let summary: Value = serde_json::from_slice(&std::fs::read(&running.summary).unwrap()).unwrap();
    assert_eq!(
        (&summary["interrupted"], &summary["success"]),
        (&true.into(), &false.into())
    );
    for node in summary["nodes"].as_array().unwrap() {
        assert!(node["proofs_accepted"].as_u64().unwrap() > 0, "{summary}");
    }
    wait_for_end(&pids);
    for index in [1, 2] {
        let log = std::fs::read_to_string(running.node(index).join("node.log")).unwrap();
        assert!(log.contains("SIGTERM"), "not asked by the devnet:\n{log}");
        assert!(
            !log.contains("SIGINT"),
            "the terminal's signal reached it:\n{log}"
        );
        assert!(log.trim_end().ends_with("ended"), "not cleanly:\n{log}");
    }
}

#[test]
fn the_nodes_of_a_killed_devnet_end() {
    let mut running = Running::start(2);
    let pids = running.pids(2);
    running.devnet.kill().unwrap();
    running.devnet.wait().unwrap();
    wait_for_end(&pids);
    for index in [1, 2] {
        let log = std::fs::read_to_string(running.node(index).join("node.log")).unwrap();
        assert!(log.trim_end().ends_with("ended"), "not cleanly:\n{log}");
    }
}

#[test]
fn nodes_that_know_the_first_alone_find_each_other() {
    let (output, summary) = devnet(&[
        "--topology",
        "discovery",
        "--nodes",
        "4",
        "--slots",
        "2",
        "--proof-size",
        "20000",
    ]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let summary = summary.unwrap();
    assert_eq!(summary["success"], true);
    for node in summary["nodes"].as_array().unwrap() {
        assert_eq!(node["proofs_accepted"], 2, "{node}");
    }
}
