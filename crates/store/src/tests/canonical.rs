//! The canonical index: reorgs, holes, any order of arrival; and the streams that follow it.

use super::support::{TestStore, block, block_root, config, key, payload};
use crate::{BlockUpdate, ChainUpdate};
use assay_types::{Root, Slot};
use proptest::prelude::*;

/// Slot → canonical block's number.
fn canonical(t: &TestStore, slots: u64) -> Vec<Option<u64>> {
    let number = |root: Root| u64::from_be_bytes(root.0[24..].try_into().unwrap());
    (0..slots)
        .map(|slot| {
            let block = t.store().reader().canonical_block_at(Slot(slot)).unwrap();
            block.map(|b| {
                assert!(b.is_canonical && b.slot == Slot(slot));
                number(b.block_root)
            })
        })
        .collect()
}

#[test]
fn a_reorg_moves_the_index_and_no_proof() {
    let t = TestStore::new(config());
    // 1 - 2 - 3 - 5      slots 1 2 3 5
    //       \ 4 - 6            4 6
    let [b1, b2, b3, b5] = [block(1, 0, 1), block(2, 1, 2), block(3, 2, 3), block(5, 3, 5)];
    let [b4, b6] = [block(4, 2, 4), block(6, 4, 6)];
    t.blocks(&[b1, b2, b3, b5, b4, b6]);
    for (number, slot) in [(1, 1), (2, 2), (3, 3), (5, 5), (4, 4), (6, 6)] {
        t.put(key(slot, number, 1, 0), 150);
        t.put(key(slot, number, 2, 0), 150);
    }
    assert_eq!(canonical(&t, 7), [None; 7], "no head, nothing canonical");
    assert_eq!(t.range(0, 100, &[]), []);

    t.head(b5);
    assert_eq!(
        canonical(&t, 7),
        [None, Some(1), Some(2), Some(3), None, Some(5), None]
    );
    let served: Vec<_> = t
        .range(0, 100, &[])
        .iter()
        .map(|k| (k.slot.0, k.proof_type))
        .collect();
    assert_eq!(
        served,
        [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (5, 1), (5, 2)]
    );

    t.head(b6);
    assert_eq!(
        canonical(&t, 7),
        [None, Some(1), Some(2), None, Some(4), None, Some(6)]
    );
    let served: Vec<_> = t
        .range(2, 3, &[2])
        .iter()
        .map(|k| (k.slot.0, k.proof_type))
        .collect();
    assert_eq!(served, [(2, 2), (4, 2)], "from slot 2, three slots, type 2");
    assert_eq!(t.keys().len(), 12);

    t.head(b2);
    assert_eq!(
        canonical(&t, 7),
        [None, Some(1), Some(2), None, None, None, None],
        "the head moved back"
    );
    let not_canonical = t.store().reader().block(&block_root(6)).unwrap().unwrap();
    assert!(!not_canonical.is_canonical && not_canonical.new_payload_request_root == Some(payload(6)));
    assert_eq!(t.store().reader().block(&block_root(77)).unwrap(), None);
}

#[test]
fn a_payload_that_becomes_known_later_is_joined_and_never_lost() {
    let t = TestStore::new(config());
    let without = BlockUpdate {
        new_payload_request_root: None,
        ..block(1, 0, 1)
    };
    t.put(key(1, 1, 1, 0), 150);
    t.head(without);
    assert_eq!(t.range(0, 10, &[]), []);
    t.blocks(&[block(1, 0, 1)]);
    assert_eq!(t.range(0, 10, &[]), [key(1, 1, 1, 0)]);
    t.blocks(&[without]);
    assert_eq!(t.range(0, 10, &[]), [key(1, 1, 1, 0)]);
}

#[test]
fn a_conflict_takes_the_payload_from_its_blocks() {
    let t = TestStore::new(config());
    let twin = BlockUpdate {
        block_root: block_root(9),
        ..block(1, 0, 1)
    };
    let other = BlockUpdate {
        new_payload_request_root: Some(payload(5)),
        ..block(2, 1, 2)
    };
    t.blocks(&[twin, block(1, 0, 1), other]);
    t.head(other);
    for k in [key(1, 1, 1, 0), key(2, 5, 1, 0)] {
        t.put(k, 150);
    }
    t.apply(vec![ChainUpdate::Conflict([payload(1), payload(77)])]);
    assert_eq!(t.range(0, 10, &[]), [key(2, 5, 1, 0)]);
    for n in [1, 9] {
        let block = t.store().reader().block(&block_root(n)).unwrap().unwrap();
        assert_eq!(block.new_payload_request_root, None);
    }
}

#[test]
fn streams_by_root_serve_any_known_block_once_a_type() {
    let t = TestStore::new(config());
    t.blocks(&[block(1, 0, 1), block(2, 1, 2), block(3, 1, 2)]);
    t.head(block(2, 1, 2));
    for k in [key(1, 1, 1, 8), key(1, 1, 1, 3), key(1, 1, 2, 3), key(2, 3, 1, 0)] {
        t.put(k, 150);
    }
    let asked = vec![
        (block_root(3), vec![]),
        (block_root(77), vec![]),
        (block_root(2), vec![1]),
        (block_root(1), vec![2, 1, 1, 200]),
    ];
    let mut stream = t.store().by_root(asked);
    let mut served = Vec::new();
    while let Some(proof) = stream.next_blocking().unwrap() {
        served.push(*proof.record_key());
    }
    assert_eq!(served, [key(2, 3, 1, 0), key(1, 1, 1, 3), key(1, 1, 2, 3)]);
    assert_eq!(stream.next_blocking().unwrap(), None);
}

#[tokio::test]
async fn a_stream_passes_over_what_a_reorg_or_prune_took() {
    let t = TestStore::new(config());
    t.blocks(&[block(1, 0, 1), block(2, 1, 2), block(3, 1, 3)]);
    t.head(block(2, 1, 2));
    for k in [key(1, 1, 1, 0), key(2, 2, 1, 0), key(3, 3, 1, 0)] {
        t.put(k, 150);
    }
    let mut stream = t.store().range(Slot(0), u64::MAX, Vec::new());
    assert_eq!(stream.next().await.unwrap().unwrap().slot(), Slot(1));
    t.store().on_head(block(3, 1, 3)).await.unwrap();
    assert_eq!(
        stream.next().await.unwrap().unwrap().slot(),
        Slot(3),
        "2 is not canonical any more"
    );
    assert_eq!(stream.next().await.unwrap(), None);
}

/// A tree: block n + 1 hangs on an earlier one, one to three slots later.
fn tree() -> impl Strategy<Value = Vec<BlockUpdate>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1u64..4), 1..24).prop_map(|shape| {
        let mut blocks = vec![block(0, 1_000, 0)];
        for (n, (parent, later)) in (1..).zip(shape) {
            let parent = parent.get(&blocks);
            let parent_number = u64::from_be_bytes(parent.block_root.0[24..].try_into().unwrap());
            blocks.push(block(n, parent_number, parent.slot.0 + later));
        }
        blocks
    })
}

fn ancestors(blocks: &[BlockUpdate], head: usize, slots: u64) -> Vec<Option<u64>> {
    let mut canonical = vec![None; slots as usize];
    let mut at = Some(head);
    while let Some(n) = at {
        canonical[blocks[n].slot.0 as usize] = Some(n as u64);
        at = blocks.iter().position(|b| b.block_root == blocks[n].parent_root);
    }
    canonical
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Blocks and heads in any order, with restarts: once every block is known, the index is the last head's ancestors.
    #[test]
    fn the_index_is_the_ancestors_of_the_head_whatever_the_order(
        blocks in tree(),
        order in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..40),
        last_head in any::<prop::sample::Index>(),
        head_comes_first in any::<bool>(),
    ) {
        let mut t = TestStore::new(config());
        let slots = blocks.iter().map(|b| b.slot.0).max().unwrap() + 1;
        let mut batch = Vec::new();
        for (which, what) in order {
            let block = *which.get(&blocks);
            match what {
                0..=3 => batch.push(ChainUpdate::Block(block)),
                4..=6 => batch.push(ChainUpdate::Head(block)),
                _ => {
                    t.apply(std::mem::take(&mut batch));
                    t.reopen();
                }
            }
        }
        let head = last_head.index(blocks.len());
        let all = blocks.iter().rev().copied().map(ChainUpdate::Block);
        if head_comes_first {
            batch.push(ChainUpdate::Head(blocks[head]));
            batch.extend(all);
        } else {
            batch.extend(all);
            batch.push(ChainUpdate::Head(blocks[head]));
        }
        t.apply(batch);
        prop_assert_eq!(canonical(&t, slots), ancestors(&blocks, head, slots));
    }
}
