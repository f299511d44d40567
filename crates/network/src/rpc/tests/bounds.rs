//! Peers that are slow, many, or want too much.

use super::rig::*;
use crate::{
    Fault,
    framing::{encode_request, encode_success_chunk},
    rpc::{
        BlocksByRange, DROP_READ_TIMED_OUT, Protocol, Quota, Quotas, Rate, RpcConfig, RpcTimeouts,
        StreamLimits, THEIRS,
        streams::{Full, Lost},
    },
};
use assay_types::{ExecutionProofsByRange, Slot, SszContainer};
use futures::{AsyncReadExt, AsyncWriteExt};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

fn with(config: RpcConfig) -> Settings {
    Settings {
        config,
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_request_that_does_not_come_in_time_is_dropped() {
    let (a, b) = (
        Rig::start().await,
        Rig::start_with(with(RpcConfig {
            timeouts: RpcTimeouts {
                request_read: Duration::from_millis(200),
                ..RpcTimeouts::default()
            },
            ..RpcConfig::default()
        }))
        .await,
    );
    a.connect(&b).await;
    let wire = encode_request(&7u64.to_le_bytes());
    let mut slow = a.open(&b, Protocol::Ping).await;
    let mut answer = Vec::new();
    // A byte now and then is no progress.
    for byte in &wire[..5] {
        if slow.write_all(std::slice::from_ref(byte)).await.is_err() {
            break;
        }
        let _ = slow.flush().await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let _ = slow.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    assert_eq!(b.counters.dropped_of(Protocol::Ping, DROP_READ_TIMED_OUT), 1);
    assert_eq!(*b.book.faults.lock(), [(a.peer, Fault::TimedOut)]);
    assert_eq!(
        a.exchange(&b, Protocol::Ping, &wire).await,
        encode_success_chunk(&0u64.to_le_bytes())
    );
}

#[tokio::test]
async fn a_response_that_is_not_taken_in_time_is_given_up() {
    let (a, b) = (
        Rig::start().await,
        Rig::start_with(with(RpcConfig {
            timeouts: RpcTimeouts {
                chunk_write: Duration::from_millis(300),
                ..RpcTimeouts::default()
            },
            ..RpcConfig::default()
        }))
        .await,
    );
    for slot in 20..24 {
        b.store_block(slot).await;
        b.store_proof(slot, 1, 4 << 20).await;
    }
    a.connect(&b).await;
    let request = ExecutionProofsByRange {
        start_slot: Slot(20),
        count: 4,
        proof_types: vec![1],
    };
    let mut stream = a.open(&b, Protocol::ExecutionProofsByRange).await;
    stream
        .write_all(&encode_request(&request.to_ssz_bytes()))
        .await
        .unwrap();
    stream.close().await.unwrap();
    wait_for(|| {
        let given_up = b
            .counters
            .requests_of(Protocol::ExecutionProofsByRange, THEIRS, "write_timed_out");
        (given_up == 1).then_some(())
    })
    .await;
    // It may have wanted no more of it: over yamux it cannot say so.
    assert_eq!(*b.book.faults.lock(), []);
    assert_eq!(b.counters.slow_chunks.get(), 1);
}

/// Thousands of streams that say nothing: some are held, the rest dropped and counted, and others are served meanwhile.
#[tokio::test]
async fn thousands_of_streams_hold_up_nobody() {
    const OPENED: usize = 2000;
    let (a, b, honest) = (Rig::start().await, Rig::start().await, Rig::start().await);
    a.connect(&b).await;
    honest.connect(&b).await;
    let mut held = Vec::new();
    let mut refused = 0;
    for n in 0..OPENED {
        let protocol = Protocol::ALL[n % Protocol::ALL.len()];
        if !protocol.has_request() {
            continue;
        }
        match a.connections.open(&b.peer, &[protocol]).await {
            Ok((stream, _)) => held.push(stream),
            Err(_) => refused += 1,
        }
        // No more at once than a multiplexer lets: the oldest go.
        if held.len() > 200 {
            held.drain(..100);
        }
        if n == OPENED / 2 {
            assert_eq!(honest.requester.ping(b.peer, 1).await, Ok(0));
        }
    }
    let dropped: u64 = Protocol::ALL
        .into_iter()
        .flat_map(|protocol| {
            [Full::PeerAndProtocol, Full::Peer, Full::Total]
                .map(|full| b.counters.dropped_of(protocol, full.label()))
        })
        .sum();
    assert!(dropped > 1000, "{dropped} dropped, {refused} not even opened");
    let most = i64::try_from(StreamLimits::default().per_peer).unwrap();
    assert!(b.counters.streams.get() <= most, "no more of one peer are held");
    assert!(b.book.faults.lock().contains(&(a.peer, Fault::Flooding)));
    assert_eq!(honest.requester.ping(b.peer, 1).await, Ok(0));
}

/// Many peers hold as many streams as they may, which wait for their limits: who asks for what it needs is answered all
/// the same, all at once, and nobody is at fault. When they are gone, so is what they held.
#[tokio::test]
async fn waiting_streams_of_many_peers_hold_up_nobody() {
    const MANY: usize = 6;
    let quota = Quota {
        chunks: Rate {
            burst: 8.0,
            per_second: 0.001,
        },
        bytes: Rate::UNLIMITED,
    };
    // Few, so that a few peers take them all.
    let limits = StreamLimits {
        base_total: 3 * (MANY + 1),
        total: 4 * (MANY + 1),
        ..StreamLimits::default()
    };
    let b = Rig::start_with(with(RpcConfig {
        streams: limits,
        quotas: Quotas {
            base: quota,
            blocks: quota,
            proofs: quota,
        },
        ..RpcConfig::default()
    }))
    .await;
    b.has_head(Slot(39));
    for slot in 20..23 {
        b.store_block(slot).await;
        b.store_proof(slot, 1, 10_000).await;
    }
    let range = ExecutionProofsByRange {
        start_slot: Slot(20),
        count: 3,
        proof_types: vec![1],
    };
    let nothing = encode_request(
        &ExecutionProofsByRange {
            start_slot: Slot(39),
            ..range.clone()
        }
        .to_ssz_bytes(),
    );
    let no_block = encode_request(&[]);
    // What uses up a burst: a request and a chunk each, or a request alone.
    let greed = [
        (Protocol::MetadataV1, 4, &[][..]),
        (Protocol::MetadataV2, 4, &[]),
        (Protocol::MetadataV3, 4, &[]),
        (Protocol::ExecutionProofsByRange, 8, &nothing),
        (Protocol::BlocksByRootV2, 8, &no_block),
    ];
    let mut greedy = Vec::new();
    for _ in 0..MANY {
        let peer = Rig::start().await;
        peer.connect(&b).await;
        let mut waiting = Vec::new();
        for (protocol, burst, request) in greed {
            for _ in 0..burst {
                let _ = peer.exchange(&b, protocol, request).await;
            }
            // One less than it may: the last exchange may not have ended there.
            for _ in 1..limits.per_peer_and_protocol {
                let mut stream = peer.open(&b, protocol).await;
                // It may be reset already.
                let _ = stream.write_all(request).await;
                let _ = stream.flush().await;
                waiting.push(stream);
            }
        }
        greedy.push((peer, waiting));
    }
    // All places there are.
    let all = i64::try_from(limits.base_total + limits.total).unwrap();
    wait_for(|| (b.counters.streams.get() == all).then_some(())).await;

    let honest = Rig::start().await;
    honest.has_head(Slot(39));
    honest.connect(&b).await;
    let proofs = async || {
        let asked = honest.requester.execution_proofs_by_range(b.peer, range.clone());
        let mut response = asked.await.unwrap();
        let mut got = 0;
        while let Some(proof) = response.next().await {
            proof.unwrap();
            got += 1;
        }
        got
    };
    let (status, ping, metadata, one, other) = tokio::join!(
        honest.requester.status(b.peer),
        honest.requester.ping(b.peer, 1),
        honest.requester.metadata(b.peer),
        proofs(),
        proofs(),
    );
    assert!(status.is_ok(), "{status:?}");
    assert_eq!(ping, Ok(0));
    assert!(metadata.is_ok(), "{metadata:?}");
    assert_eq!([one, other], [3, 3]);
    let taken: u64 = Protocol::ALL
        .into_iter()
        .map(|protocol| b.counters.dropped_of(protocol, Lost::BeyondShare.label()))
        .sum();
    assert!(taken > 0, "places were taken from those with most");
    assert_eq!(*b.book.faults.lock(), []);

    drop(greedy);
    wait_for(|| (b.counters.streams.get() == 0).then_some(())).await;
}

/// What comes behind a whole request ends its stream, also while the request waits for its turn: it would be left unread,
/// as much of it as a window takes. An end of that half is normal, and so is none.
#[tokio::test]
async fn nothing_may_follow_a_request() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    b.has_head(Slot(40));
    b.blocks.hangs.store(true, Ordering::Relaxed);
    a.connect(&b).await;
    let (range, roots) = (Protocol::BlocksByRangeV2, Protocol::BlocksByRootV2);
    let ask = async |protocol, closes: bool| {
        let request = match protocol {
            Protocol::BlocksByRootV2 => block_root(20).0.to_vec(),
            _ => BlocksByRange {
                start_slot: Slot(20),
                count: 4,
                step: 1,
            }
            .to_ssz_bytes()
            .to_vec(),
        };
        let mut stream = a.open(&b, protocol).await;
        stream.write_all(&encode_request(&request)).await.unwrap();
        match closes {
            true => stream.close().await.unwrap(),
            false => stream.flush().await.unwrap(),
        }
        stream
    };
    // One is being answered, the other waits behind it.
    let mut asked = [ask(range, false).await, ask(roots, false).await];
    let (_closed, _open) = (ask(range, true).await, ask(roots, false).await);
    wait_for(|| (b.counters.streams.get() == 4).then_some(())).await;
    wait_for(|| (b.blocks.asked.load(Ordering::Relaxed) > 0).then_some(())).await;
    for stream in &mut asked {
        stream.write_all(&[0]).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE / 4, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok());
        assert_eq!(answer.first(), Some(&1), "{answer:?}");
        assert!(String::from_utf8_lossy(&answer).contains("bytes follow the end of the request"));
    }
    for protocol in [range, roots] {
        let counted = || b.counters.requests_of(protocol, THEIRS, "invalid_request");
        wait_for(|| (counted() == 1).then_some(())).await;
    }
    assert_eq!(*b.book.faults.lock(), [(a.peer, Fault::InvalidRequest); 2]);
    // The others wait on.
    wait_for(|| (b.counters.streams.get() == 2).then_some(())).await;
}

/// The bound of a peer does not depend on how fast it opens: two at once of one protocol are both served.
#[tokio::test]
async fn streams_opened_at_once_are_all_served() {
    let unlimited = with(RpcConfig {
        quotas: Quotas::UNLIMITED,
        ..RpcConfig::default()
    });
    let (a, b) = (Rig::start().await, Rig::start_with(unlimited).await);
    a.connect(&b).await;
    let wire = encode_request(&7u64.to_le_bytes());
    for _ in 0..20 {
        let four = (0..4).map(|_| a.exchange(&b, Protocol::Ping, &wire));
        for answer in futures::future::join_all(four).await {
            assert_eq!(answer, encode_success_chunk(&0u64.to_le_bytes()));
        }
        wait_for(|| (b.counters.streams.get() == 0).then_some(())).await;
    }
}

/// The limits delay, and neither err nor reset: everything comes, later.
#[tokio::test]
async fn who_wants_too_much_waits_and_gets_it() {
    let quota = Quota {
        chunks: Rate {
            burst: 4.0,
            per_second: 10.0,
        },
        bytes: Rate::UNLIMITED,
    };
    let b = Rig::start_with(with(RpcConfig {
        quotas: Quotas {
            base: quota,
            proofs: Quota {
                chunks: Rate::UNLIMITED,
                bytes: Rate {
                    burst: 100_000.0,
                    per_second: 400_000.0,
                },
            },
            ..Quotas::UNLIMITED
        },
        ..RpcConfig::default()
    }))
    .await;
    let a = Rig::start().await;
    a.connect(&b).await;
    // Two of the burst for each ping (the request, the chunk): the third waits.
    let began = Instant::now();
    for _ in 0..5 {
        assert_eq!(a.requester.ping(b.peer, 0).await, Ok(0));
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(550), "{took:?}");
    // Bytes: 300,000 at 400,000 a second, 100,000 of them at once.
    for slot in 20..23 {
        b.store_block(slot).await;
        b.store_proof(slot, 1, 100_000).await;
    }
    let request = ExecutionProofsByRange {
        start_slot: Slot(20),
        count: 3,
        proof_types: vec![1],
    };
    let began = Instant::now();
    let mut response = a
        .requester
        .execution_proofs_by_range(b.peer, request)
        .await
        .unwrap();
    for _ in 0..3 {
        response.next().await.unwrap().unwrap();
    }
    assert!(response.next().await.is_none());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(480), "{took:?}");
    assert!(b.book.faults.lock().is_empty());
}

/// Each look-up is a request of the beacon node: those that bring nothing are as dear as those that do.
#[tokio::test]
async fn asking_for_what_is_not_there_is_paid_for() {
    let b = Rig::start_with(with(RpcConfig {
        quotas: Quotas {
            blocks: Quota {
                chunks: Rate {
                    burst: 8.0,
                    per_second: 0.2,
                },
                bytes: Rate::UNLIMITED,
            },
            ..Quotas::UNLIMITED
        },
        ..RpcConfig::default()
    }))
    .await;
    b.has_head(Slot(40));
    let a = Rig::start().await;
    a.connect(&b).await;
    let unknown: Vec<u8> = (0..128).flat_map(|slot| block_root(slot).0).collect();
    let range = BlocksByRange {
        start_slot: Slot(8),
        count: 33,
        step: 1,
    };
    let mut asking = Vec::new();
    for (protocol, request) in [
        (Protocol::BlocksByRootV2, unknown.clone()),
        (Protocol::BlocksByRootV2, unknown),
        (Protocol::BlocksByRangeV2, range.to_ssz_bytes()),
    ] {
        let mut stream = a.open(&b, protocol).await;
        stream.write_all(&encode_request(&request)).await.unwrap();
        stream.close().await.unwrap();
        asking.push(stream);
    }
    // Eight for each protocol, its requests among them, and what each request owes.
    let asked = || b.blocks.asked.load(Ordering::Relaxed);
    wait_for(|| (asked() >= 13).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(asked() <= 20, "{} look-ups", asked());
}

/// A peer that asks for blocks too gets its proofs, whatever becomes of the blocks.
#[tokio::test]
async fn a_slow_beacon_node_holds_up_no_proofs() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    b.has_head(Slot(40));
    b.store_block(20).await;
    b.store_proof(20, 1, 10_000).await;
    b.blocks.hangs.store(true, Ordering::Relaxed);
    a.connect(&b).await;
    let mut waiting = Vec::new();
    for protocol in [Protocol::BlocksByRootV2, Protocol::BlocksByRangeV2] {
        let range = BlocksByRange {
            start_slot: Slot(20),
            count: 4,
            step: 1,
        };
        let request = match protocol {
            Protocol::BlocksByRootV2 => block_root(20).0.to_vec(),
            _ => range.to_ssz_bytes().to_vec(),
        };
        let mut stream = a.open(&b, protocol).await;
        stream.write_all(&encode_request(&request)).await.unwrap();
        stream.close().await.unwrap();
        waiting.push(stream);
    }
    let asked = || b.blocks.asked.load(Ordering::Relaxed);
    wait_for(|| (asked() > 0).then_some(())).await;
    let request = ExecutionProofsByRange {
        start_slot: Slot(20),
        count: 1,
        proof_types: vec![],
    };
    let answer = async {
        let asked = a.requester.execution_proofs_by_range(b.peer, request);
        asked.await.unwrap().next().await.unwrap().unwrap();
    };
    tokio::time::timeout(PATIENCE / 2, answer).await.unwrap();
    assert_eq!(asked(), 1, "its blocks wait for each other");
}
