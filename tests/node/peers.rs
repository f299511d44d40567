//! Nodes as processes that know one boot node: they find each other, say so at the API, and know each other again.

use crate::support::*;
use serde_json::Value;

fn with(mut flags: Vec<String>, more: &[&str]) -> Vec<String> {
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    flags
}

async fn connected(what: &str, node: &NodeProcess, count: usize) -> Value {
    let url = node.http("/eth/v1/node/peers?state=connected");
    until(what, &url, |_, body| body["meta"]["count"] == count).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_find_each_other_through_one_boot_node_and_after_a_restart() {
    assay_engine_api::install_crypto_provider();
    let world = World::from_slot(1, 8).await;
    let flags = || world.flags(0, "observe", &[]);
    let boot = NodeProcess::start(&world.datadir(1), &flags());
    let enr = boot.endpoints.enr.clone();
    let second = NodeProcess::start(&world.datadir(2), &with(flags(), &["--boot-nodes", &enr]));
    let third = NodeProcess::start(&world.datadir(3), &with(flags(), &["--boot-nodes", &enr]));
    for node in [&boot, &second, &third] {
        let peers = connected("two peers", node, 2).await;
        for peer in peers["data"].as_array().unwrap() {
            assert_eq!(peer["eproof"], "1", "{peer}");
            assert!(peer["enr"].as_str().unwrap().starts_with("enr:"), "{peer}");
            assert_eq!(peer["state"], "connected");
        }
    }

    let (_, count) = get(&second.http("/eth/v1/node/peer_count")).await;
    assert_eq!(count["data"]["connected"], "2");
    let (_, inbound) = get(&second.http("/eth/v1/node/peers?direction=inbound")).await;
    let (_, outbound) = get(&second.http("/eth/v1/node/peers?direction=outbound")).await;
    let of = |list: &Value| list["data"].as_array().unwrap().len();
    assert_eq!(of(&inbound) + of(&outbound), 2);
    let (_, identity) = get(&boot.http("/eth/v1/node/identity")).await;
    let id = identity["data"]["peer_id"].as_str().unwrap();
    let (_, one) = get(&second.http(&format!("/eth/v1/node/peers/{id}"))).await;
    assert_eq!(one["data"]["enr"], enr.as_str());
    for (path, status) in [
        ("/eth/v1/node/peers?state=gone", 400),
        ("/eth/v1/node/peers/nonsense", 400),
        (
            "/eth/v1/node/peers/16Uiu2HAmKL6mnVa7HVyGgPvRZMPuEWe6WGEZ2Ea4KTSvv3qcFjQX",
            404,
        ),
    ] {
        assert_eq!(get(&second.http(path)).await.0, status, "{path}");
    }
    let started = std::time::Instant::now();
    // Counted from time to time.
    loop {
        let metrics = reqwest::get(second.http("/metrics")).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        if metrics.contains("assay_network_peers_proof_aware 2") {
            break;
        }
        assert!(started.elapsed() < crate::support::PATIENCE, "{metrics}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }

    // The third comes back without a boot node: what it kept is enough.
    let directory = third.datadir.clone();
    assert_eq!(third.terminate(), Some(0));
    connected("one peer", &second, 1).await;
    let third = NodeProcess::start(&directory, &flags());
    connected("two peers again", &third, 2).await;
    for node in [boot, second, third] {
        assert_eq!(node.terminate(), Some(0));
    }
    world.simulation.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_of_the_network_that_cannot_hold_are_named() {
    let world = World::from_slot(1, 8).await;
    for (n, (flags, says)) in [
        (&["--boot-nodes", "enr:-nonsense"][..], "--boot-nodes"),
        (&["--peer", "127.0.0.1:9000"], "--peer"),
        (
            &["--quic-port", "7000", "--discovery-port", "7000"],
            "--quic-port",
        ),
        (&["--enr-address", "0.0.0.0"], "--enr-address"),
        (&["--enr-address", "9.9.9.9,8.8.8.8"], "--enr-address"),
    ]
    .into_iter()
    .enumerate()
    {
        let directory = world.datadir(100 + n);
        let mut node = NodeProcess::spawn(&directory, &with(world.flags(0, "observe", &[]), flags));
        assert_eq!(node.wait(), Some(1), "{flags:?}");
        assert!(node.log().contains(says), "{flags:?}: {}", node.log());
    }
    world.simulation.stop();
}
