//! Traces at a collector: a proof's way from arrival to verdict, by OTLP over HTTP.

use crate::support::{NodeProcess, PATIENCE, World, post_ssz};
use parking_lot::Mutex;
use std::{sync::Arc, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What came: the head of a request and its body.
type Taken = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// Takes requests of one connection and answers each with 200 and nothing, as a collector may.
async fn take(mut socket: TcpStream, taken: Taken) -> std::io::Result<()> {
    let mut held = Vec::new();
    loop {
        let Some(end) = held.windows(4).position(|w| w == b"\r\n\r\n") else {
            if socket.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().unwrap());
        while held.len() < end + 4 + length {
            if socket.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        }
        let body = held[end + 4..end + 4 + length].to_vec();
        held.drain(..end + 4 + length);
        taken.lock().push((head, body));
        socket
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await?;
    }
}

/// Whether protobuf has this text in one of its strings.
fn has(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|w| w == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proofs_way_goes_to_the_collector_and_a_node_without_one_ends_as_well() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    let taken = Taken::default();
    let into = taken.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(take(socket, into.clone()));
        }
    });
    let world = World::new(2).await;
    let mut flags = world.flags(0, "observe", &[]);
    flags.extend(["--otlp-endpoint".to_owned(), collector]);
    let node = NodeProcess::start(&world.datadir(1), &flags);
    let mut unheard = world.flags(1, "observe", &[]);
    // Somebody who takes what comes and never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}", deaf.local_addr().unwrap());
    unheard.extend(["--otlp-endpoint".to_owned(), nowhere]);
    let alone = NodeProcess::start(&world.datadir(2), &unheard);
    world.connect(&[&node, &alone]);
    let block = world.block().await;
    let root = block.payload.as_ref().unwrap().request_root.to_string();
    let good = world.signed_proof(&block, 1, 500, 3);
    let bad = world.invalid_proof(&block, 2, 5);
    let path = "/eth/v1/beacon/execution_proofs";
    let started = Instant::now();
    // It waits where the node has not seen the payload yet.
    while post_ssz(&node.http(path), good.to_ssz_bytes()).await.0 != 200 {
        assert!(started.elapsed() < PATIENCE, "{}", node.log());
    }
    assert_eq!(post_ssz(&node.http(path), bad.to_ssz_bytes()).await.0, 400);
    while post_ssz(&alone.http(path), good.to_ssz_bytes()).await.0 != 200 {
        assert!(started.elapsed() < PATIENCE, "{}", alone.log());
    }
    // What is left goes at the end.
    assert_eq!(node.terminate(), Some(0));
    let log = std::fs::read_to_string(alone.datadir.join("node.log")).unwrap();
    assert!(
        !log.contains("stage{"),
        "spans of traces are not of the log: {log}"
    );
    assert_eq!(alone.terminate(), Some(0));

    let taken = taken.lock();
    assert!(!taken.is_empty());
    for (head, _) in taken.iter() {
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    }
    for text in [
        "service.name",
        "assay",
        "proof",
        "hash",
        "validator",
        "signature",
        "engine",
        "sinks",
        &root,
        "http",
        "accept",
        "reject",
        "invalid_proof",
    ] {
        assert!(
            taken.iter().any(|(_, body)| has(body, text)),
            "{text:?} came nowhere"
        );
    }
}
