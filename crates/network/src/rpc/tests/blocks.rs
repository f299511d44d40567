//! Blocks and envelopes with their context bytes, as peers read them.

use super::rig::*;
use crate::{
    framing::{LengthBounds, PayloadDecoder, encode_request},
    rpc::{Protocol, messages::BlocksByRange},
};
use assay_chain::{ChainStatus, Checkpoint, RawBlock, SourceError};
use assay_types::{Epoch, ForkDigest, ForkName, Root, Slot};

pub(super) fn raw(slot: u64, kind: u8) -> RawBlock {
    RawBlock {
        slot: Slot(slot),
        root: block_root(slot),
        parent_root: Some(block_root(slot - 1)),
        fork: ForkName::Fulu,
        fork_digest: ForkDigest([slot as u8, kind, 3, 4]),
        ssz: noise_bytes(slot, 70_000 + slot as usize),
    }
}

/// A success chunk's digest and SSZ, or an error chunk's code and message.
type Chunk = Result<(ForkDigest, Vec<u8>), (u8, String)>;

/// Chunks of a response with context bytes: digest and SSZ, or code and message.
pub(super) fn chunks(mut wire: &[u8]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    while let Some((result, rest)) = wire.split_first() {
        wire = rest;
        let mut decoder = PayloadDecoder::new(LengthBounds::new(0, 10 << 20));
        if *result == 0 {
            let (digest, rest) = wire.split_first_chunk().unwrap();
            wire = rest;
            chunks.push(Ok((
                ForkDigest(*digest),
                decoder.push(&mut wire).unwrap().unwrap(),
            )));
        } else {
            let message = decoder.push(&mut wire).unwrap().unwrap();
            chunks.push(Err((*result, String::from_utf8(message).unwrap())));
        }
    }
    chunks
}

pub(super) fn sent(blocks: &[RawBlock]) -> Vec<Chunk> {
    blocks
        .iter()
        .map(|block| Ok((block.fork_digest, block.ssz.to_vec())))
        .collect()
}

fn range(start: u64, count: u64, step: u64) -> Vec<u8> {
    encode_request(
        &BlocksByRange {
            start_slot: Slot(start),
            count,
            step,
        }
        .to_ssz_bytes(),
    )
}

#[tokio::test]
async fn blocks_go_out_with_their_fork_digests() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    let blocks = [raw(10, 0), raw(11, 0), raw(13, 0)];
    *b.blocks.blocks.lock() = blocks.to_vec();
    a.connect(&b).await;
    let by_range = async |start, count, step| {
        chunks(
            &a.exchange(&b, Protocol::BlocksByRangeV2, &range(start, count, step))
                .await,
        )
    };
    let refused = |code, message: &str| vec![Err((code, message.to_owned()))];
    assert_eq!(
        by_range(10, 4, 1).await,
        refused(3, "the beacon node was not reached yet")
    );
    b.has_head(Slot(13));
    assert_eq!(by_range(10, 4, 1).await, sent(&blocks));
    assert_eq!(by_range(11, 1, 1).await, sent(&blocks[1..2]));
    assert_eq!(by_range(12, 1, 1).await, []);
    assert_eq!(by_range(14, 100, 1).await, []);
    // A larger step than the deprecated 1: a single block.
    assert_eq!(by_range(10, 4, 3).await, sent(&blocks[..1]));
    assert_eq!(by_range(10, 4, 0).await, refused(1, "step is 0"));
    assert_eq!(
        by_range(7, 4, 1).await,
        refused(3, "blocks are served from slot 8 on")
    );
    assert_eq!(
        by_range(10, 129, 1).await,
        refused(1, "129 slots asked for, at most 128 at a time")
    );

    let by_root = async |roots: &[Root]| {
        let ssz: Vec<u8> = roots.iter().flat_map(|root| root.0).collect();
        chunks(
            &a.exchange(&b, Protocol::BlocksByRootV2, &encode_request(&ssz))
                .await,
        )
    };
    let asked = [block_root(13), Root::from([0xaa; 32]), block_root(10)];
    assert_eq!(by_root(&asked).await, sent(&[raw(13, 0), raw(10, 0)]));
    assert_eq!(by_root(&[]).await, []);

    *b.blocks.fails.lock() = Some(SourceError::TimedOut);
    assert_eq!(
        by_root(&asked).await,
        refused(3, "the beacon node did not answer in time")
    );
    *b.blocks.fails.lock() = Some(SourceError::Wrong("x".to_owned()));
    assert_eq!(
        by_root(&asked).await,
        refused(2, "the beacon node's answer cannot be used: x")
    );
}

#[tokio::test]
async fn a_block_and_its_ancestors_go_out_newest_first() {
    let (a, b) = (Rig::start().await, Rig::start().await);
    let block = |slot: u64, parent: u64| RawBlock {
        parent_root: Some(block_root(parent)),
        ..raw(slot, 0)
    };
    // Beside the canonical chain 10 - 11 - 13 a block 14 on 11; 10's parent is not to be had.
    let [ten, eleven, thirteen, beside] = [block(10, 9), block(11, 10), block(13, 11), block(14, 11)];
    let genesis = RawBlock {
        parent_root: Some(Root::ZERO),
        ..raw(1, 0)
    };
    let all = [&ten, &eleven, &thirteen, &beside, &genesis].map(Clone::clone);
    *b.blocks.blocks.lock() = all.to_vec();
    a.connect(&b).await;
    let by_head = async |root: Root, count: u64| {
        let ssz = [&root.0[..], &count.to_le_bytes()].concat();
        chunks(
            &a.exchange(&b, Protocol::BlocksByHead, &encode_request(&ssz))
                .await,
        )
    };
    let refused = |code, message: &str| vec![Err((code, message.to_owned()))];
    assert_eq!(
        by_head(block_root(13), 4).await,
        refused(3, "the beacon node was not reached yet")
    );
    b.has_head(Slot(13));
    let newest_first = |blocks: &[&RawBlock]| sent(&blocks.iter().map(|b| (*b).clone()).collect::<Vec<_>>());
    assert_eq!(
        by_head(block_root(13), 2).await,
        newest_first(&[&thirteen, &eleven])
    );
    let whole = newest_first(&[&thirteen, &eleven, &ten]);
    assert_eq!(by_head(block_root(13), 128).await, whole);
    // More than may be asked for is as many as may.
    assert_eq!(by_head(block_root(13), u64::MAX).await, whole);
    assert_eq!(
        by_head(block_root(14), 2).await,
        newest_first(&[&beside, &eleven])
    );
    assert_eq!(by_head(block_root(13), 0).await, []);
    assert_eq!(by_head(block_root(12), 5).await, []);
    // Nobody is asked for genesis' parent: the source would fail.
    *b.blocks.blocks.lock() = vec![
        genesis.clone(),
        RawBlock {
            root: Root::ZERO,
            ..raw(2, 0)
        },
    ];
    assert_eq!(by_head(block_root(1), 5).await, sent(&[genesis]));
    *b.blocks.fails.lock() = Some(SourceError::TimedOut);
    assert_eq!(
        by_head(block_root(13), 5).await,
        refused(3, "the beacon node did not answer in time")
    );
    // No more than the bound, whatever the chain.
    *b.blocks.fails.lock() = None;
    *b.blocks.blocks.lock() = vec![RawBlock {
        parent_root: Some(block_root(20)),
        ssz: noise_bytes(20, 100),
        ..raw(20, 0)
    }];
    assert_eq!(by_head(block_root(20), u64::MAX).await.len(), 128);
}

#[tokio::test]
async fn envelopes_go_out_from_gloas_on() {
    let mut spec = spec();
    for fork in &mut spec.fork_schedule {
        fork.2 = if fork.0 == ForkName::Gloas {
            Epoch(1)
        } else {
            Epoch(0)
        };
    }
    let settings = Settings {
        spec,
        ..Settings::default()
    };
    let (a, b) = (
        Rig::start_with(settings.clone()).await,
        Rig::start_with(settings).await,
    );
    *b.blocks.status.lock() = Some(ChainStatus {
        finalized: Checkpoint::default(),
        head_root: Root::ZERO,
        head_slot: Slot(12),
        earliest_available_slot: Slot(0),
    });
    *b.blocks.blocks.lock() = (6..=12).map(|slot| raw(slot, 0)).collect();
    let envelopes = [raw(8, 1), raw(10, 1), raw(12, 1)];
    *b.blocks.envelopes.lock() = envelopes.to_vec();
    a.connect(&b).await;
    let asked: Vec<u8> = [6u64, 20].into_iter().flat_map(u64::to_le_bytes).collect();
    let answer = a
        .exchange(&b, Protocol::EnvelopesByRange, &encode_request(&asked))
        .await;
    assert_eq!(chunks(&answer), sent(&envelopes));
    let roots: Vec<u8> = [block_root(12), block_root(9)]
        .into_iter()
        .flat_map(|root| root.0)
        .collect();
    let answer = a
        .exchange(&b, Protocol::EnvelopesByRoot, &encode_request(&roots))
        .await;
    assert_eq!(chunks(&answer), sent(&envelopes[2..]));
}

#[test]
fn envelopes_are_offered_where_gloas_is_scheduled() {
    let mut spec = spec();
    let gloas = |spec: &assay_types::Spec| Protocol::served(spec).contains(&Protocol::EnvelopesByRange);
    for fork in &mut spec.fork_schedule {
        if fork.0 == ForkName::Gloas {
            fork.2 = Epoch::FAR_FUTURE;
        }
    }
    assert!(!gloas(&spec));
    spec.fork_schedule.retain(|fork| fork.0 != ForkName::Gloas);
    spec.fork_schedule
        .push((ForkName::Gloas, assay_types::ForkVersion([7, 0, 0, 1]), Epoch(9)));
    assert!(gloas(&spec));
}
