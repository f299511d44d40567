//! Little memory for responses, and peers that hold on to theirs.

use super::{
    blocks::{chunks, raw, sent},
    rig::*,
};
use crate::{
    framing::encode_request,
    rpc::{Protocol, Quota, Quotas, Rate, RpcConfig, RpcTimeouts, THEIRS},
};
use assay_chain::{RawBlock, SourceError};
use assay_types::{ExecutionProofsByRange, Slot, SszContainer};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use std::{sync::atomic::Ordering, time::Duration};

/// More than a window takes of what is written to a peer that takes nothing.
const BIG: usize = 700_000;

/// Without large places: a frame at a time for each of so many peers.
fn little_room(peers: usize) -> Settings {
    Settings {
        config: RpcConfig {
            response_memory: 2,
            peers,
            ..RpcConfig::default()
        },
        ..Settings::default()
    }
}

fn range(count: u64) -> ExecutionProofsByRange {
    ExecutionProofsByRange {
        start_slot: Slot(20),
        count,
        proof_types: vec![1],
    }
}

/// How many proofs of type 1 a peer gets of the blocks from 20 on.
async fn proofs_of(peer: &Rig, of: &Rig, count: u64) -> u64 {
    let asked = peer.requester.execution_proofs_by_range(of.peer, range(count));
    let mut response = asked.await.unwrap();
    let mut got = 0;
    while let Some(proof) = response.next().await {
        proof.unwrap();
        got += 1;
    }
    got
}

fn big_block() -> RawBlock {
    RawBlock {
        ssz: noise_bytes(20, BIG),
        ..raw(20, 7)
    }
}

fn root_request() -> Vec<u8> {
    encode_request(block_root(20).as_slice())
}

/// Asks and takes nothing.
async fn ask(peer: &Rig, of: &Rig, protocol: Protocol, request: &[u8]) -> Stream {
    let mut stream = peer.open(of, protocol).await;
    stream.write_all(request).await.unwrap();
    stream.close().await.unwrap();
    stream
}

/// With one place for all of them, three peers are served in turn.
#[tokio::test]
async fn little_room_serves_everybody_in_turn() {
    let b = Rig::start_with(little_room(1)).await;
    for slot in 20..24 {
        b.store_block(slot).await;
        b.store_proof(slot, 1, 300_000).await;
    }
    let peers = [Rig::start().await, Rig::start().await, Rig::start().await];
    let asking = peers.iter().map(async |peer| {
        peer.connect(&b).await;
        proofs_of(peer, &b, 4).await
    });
    assert_eq!(futures::future::join_all(asking).await, [4, 4, 4]);
}

/// Peers that take nothing of what they asked for have places of their own, and nobody waits for these.
#[tokio::test]
async fn who_takes_nothing_holds_up_nobody() {
    let b = Rig::start_with(little_room(4)).await;
    b.has_head(Slot(40));
    for slot in 20..22 {
        b.store_block(slot).await;
        b.store_proof(slot, 1, BIG).await;
    }
    let block = big_block();
    *b.blocks.blocks.lock() = vec![block.clone()];
    let mut attackers = Vec::new();
    for _ in 0..3 {
        let attacker = Rig::start().await;
        attacker.connect(&b).await;
        let proofs = encode_request(&range(2).to_ssz_bytes());
        let streams = [
            ask(&attacker, &b, Protocol::ExecutionProofsByRange, &proofs).await,
            ask(&attacker, &b, Protocol::BlocksByRootV2, &root_request()).await,
        ];
        attackers.push((attacker, streams));
    }
    wait_for(|| (b.counters.streams.get() == 6).then_some(())).await;
    let honest = Rig::start().await;
    honest.connect(&b).await;
    let served = async {
        let request = root_request();
        let answer = honest.exchange(&b, Protocol::BlocksByRootV2, &request);
        (proofs_of(&honest, &b, 2).await, chunks(&answer.await))
    };
    let (proofs, blocks) = tokio::time::timeout(PATIENCE / 2, served).await.unwrap();
    assert_eq!(proofs, 2);
    assert!(blocks == sent(&[block]));
    assert_eq!(b.counters.streams.get(), 6, "they hold on");
    assert_eq!(*b.book.faults.lock(), []);
}

/// A block that does not fit a small place is fetched again for each section of it; in a large one it is kept.
#[tokio::test]
async fn blocks_go_out_whole_in_places_of_either_size() {
    for (settings, fetched) in [(little_room(1), BIG.div_ceil(1 << 16)), (Settings::default(), 1)] {
        let (a, b) = (Rig::start().await, Rig::start_with(settings).await);
        b.has_head(Slot(40));
        let block = big_block();
        *b.blocks.blocks.lock() = vec![block.clone()];
        a.connect(&b).await;
        let got = chunks(&a.exchange(&b, Protocol::BlocksByRootV2, &root_request()).await);
        assert!(got == sent(&[block]));
        assert_eq!(b.blocks.asked.load(Ordering::Relaxed), fetched);
    }
}

/// What is gone, or another's, when the rest of it is to be read ends the stream: nothing false is sent, and nobody is at
/// fault.
#[tokio::test]
async fn a_chunk_whose_rest_is_gone_ends_its_stream() {
    let other = RawBlock {
        ssz: noise_bytes(21, BIG - 1),
        ..big_block()
    };
    for after in [vec![], vec![other]] {
        let (a, b) = (Rig::start().await, Rig::start_with(little_room(1)).await);
        b.has_head(Slot(40));
        *b.blocks.blocks.lock() = vec![big_block()];
        a.connect(&b).await;
        let mut stream = ask(&a, &b, Protocol::BlocksByRootV2, &root_request()).await;
        // Until its window is full.
        let asked = || b.blocks.asked.load(Ordering::Relaxed);
        wait_for(|| (asked() >= 4).then_some(())).await;
        *b.blocks.blocks.lock() = after;
        let mut answer = Vec::new();
        // It may be told of the reset, or of an end.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < BIG);
        let gone = || {
            b.counters
                .requests_of(Protocol::BlocksByRootV2, THEIRS, "rest_is_gone")
        };
        wait_for(|| (gone() == 1).then_some(())).await;
        assert_eq!(*b.book.faults.lock(), []);
    }
}

/// A peer that was slow gets small places, and all it asks for.
#[tokio::test]
async fn who_was_slow_is_served_on() {
    let mut settings = Settings::default();
    settings.config.timeouts = RpcTimeouts {
        chunk_write: Duration::from_millis(300),
        ..RpcTimeouts::default()
    };
    let (a, b) = (Rig::start().await, Rig::start_with(settings).await);
    for slot in 20..22 {
        b.store_block(slot).await;
        b.store_proof(slot, 1, BIG).await;
    }
    a.connect(&b).await;
    let proofs = encode_request(&range(2).to_ssz_bytes());
    let given_up = ask(&a, &b, Protocol::ExecutionProofsByRange, &proofs).await;
    wait_for(|| (b.counters.slow_chunks.get() == 1).then_some(())).await;
    drop(given_up);
    assert_eq!(proofs_of(&a, &b, 2).await, 2);
}

/// The first section of a block is paid for as a chunk, and what is at hand is not fetched again: the beacon node may hang.
#[tokio::test]
async fn what_is_left_of_a_block_at_hand_costs_nothing() {
    let mut settings = little_room(2);
    settings.config.quotas = Quotas {
        blocks: Quota {
            // The request and its one chunk.
            chunks: Rate {
                burst: 2.0,
                per_second: 0.01,
            },
            ..Quota::UNLIMITED
        },
        ..Quotas::UNLIMITED
    };
    let (a, b) = (Rig::start().await, Rig::start_with(settings).await);
    b.has_head(Slot(40));
    let block = big_block();
    *b.blocks.blocks.lock() = vec![block.clone()];
    b.blocks.keeps.store(true, Ordering::Relaxed);
    a.connect(&b).await;
    let mut stream = ask(&a, &b, Protocol::BlocksByRootV2, &root_request()).await;
    wait_for(|| b.blocks.kept.lock().first().map(drop)).await;
    b.blocks.hangs.store(true, Ordering::Relaxed);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(PATIENCE / 2, read).await.unwrap().unwrap();
    assert!(chunks(&answer) == sent(std::slice::from_ref(&block)));
    assert_eq!(b.blocks.asked.load(Ordering::Relaxed), 1);
    // Nor is what nobody has begun: it needs no pass. Another peer, as this one has had its chunk.
    let other = Rig::start().await;
    other.connect(&b).await;
    let request = root_request();
    let again = other.exchange(&b, Protocol::BlocksByRootV2, &request);
    let again = tokio::time::timeout(PATIENCE / 2, again).await.unwrap();
    assert!(chunks(&again) == sent(&[block]));
}

/// Where the beacon node fails within a chunk, it is asked again.
#[tokio::test]
async fn a_beacon_node_that_fails_for_a_moment_cuts_no_chunk() {
    let (a, b) = (Rig::start().await, Rig::start_with(little_room(1)).await);
    b.has_head(Slot(40));
    let block = big_block();
    *b.blocks.blocks.lock() = vec![block.clone()];
    a.connect(&b).await;
    let mut stream = ask(&a, &b, Protocol::BlocksByRootV2, &root_request()).await;
    let asked = || b.blocks.asked.load(Ordering::Relaxed);
    wait_for(|| (asked() >= 4).then_some(())).await;
    *b.blocks.fails.lock() = Some(SourceError::TimedOut);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let recovers = async {
        let so_far = asked();
        wait_for(|| (asked() >= so_far + 2).then_some(())).await;
        *b.blocks.fails.lock() = None;
    };
    let (read, ()) = tokio::join!(read, recovers);
    read.unwrap();
    assert!(chunks(&answer) == sent(&[block]));
}

/// Blocks that the beacon node keeps to itself are unavailable in time, to those that wait behind others too; and hold up
/// no chunk that has begun.
#[tokio::test]
async fn fetches_that_hang_hold_up_no_begun_chunk_and_are_told_in_time() {
    let mut settings = Settings::default();
    settings.config.timeouts = RpcTimeouts {
        chunk_write: Duration::from_secs(2),
        block_fetch: Duration::from_secs(4),
        ..RpcTimeouts::default()
    };
    let (a, b) = (Rig::start().await, Rig::start_with(settings).await);
    b.has_head(Slot(40));
    let block = big_block();
    *b.blocks.blocks.lock() = vec![block.clone()];
    a.connect(&b).await;
    // Slow from here on: no large places.
    let given_up = ask(&a, &b, Protocol::BlocksByRootV2, &root_request()).await;
    wait_for(|| (b.counters.slow_chunks.get() == 1).then_some(())).await;
    drop(given_up);
    let asked = || b.blocks.asked.load(Ordering::Relaxed);
    assert_eq!(asked(), 1);
    *b.blocks.hangs_at.lock() = Some(block_root(21));
    let others = [Rig::start().await, Rig::start().await, Rig::start().await];
    for other in &others {
        other.connect(&b).await;
    }
    // A section of it is fetched beside the first, and it waits to be taken.
    let mut stream = ask(&a, &b, Protocol::BlocksByRootV2, &root_request()).await;
    wait_for(|| (asked() >= 3).then_some(())).await;
    let request = encode_request(block_root(21).as_slice());
    let hung = others
        .iter()
        .map(async |other| chunks(&other.exchange(&b, Protocol::BlocksByRootV2, &request).await));
    let mut answer = Vec::new();
    let read = async {
        let so_far = asked();
        wait_for(|| (asked() >= so_far + 2).then_some(())).await;
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(chunks(&answer) == sent(&[block]));
        b.counters
            .requests_of(Protocol::BlocksByRootV2, THEIRS, "resource_unavailable")
    };
    let (told, unavailable_before) = tokio::join!(futures::future::join_all(hung), read);
    assert_eq!(unavailable_before, 0, "it waited for those that hang");
    let codes: Vec<u8> = told
        .iter()
        .flatten()
        .map(|chunk| chunk.as_ref().err().unwrap().0)
        .collect();
    assert_eq!(codes, [3, 3, 3]);
}
