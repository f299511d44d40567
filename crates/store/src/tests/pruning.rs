//! What goes at finality, by retention and by size, and what must stay.

use super::support::{SLOTS_PER_EPOCH, TestStore, block, block_root, config, key, payload, proof_key};
use crate::{BlockUpdate, StoreConfig};
use assay_types::Slot;
use assay_verification::KnownProofs;

/// A chain of blocks 1..=n in slots 1..=n, each with one proof.
fn chain(t: &TestStore, n: u64, len: usize) {
    let blocks: Vec<_> = (1..=n).map(|i| block(i, i - 1, i)).collect();
    t.blocks(&blocks);
    t.head(blocks[n as usize - 1]);
    for i in 1..=n {
        t.put(key(i, i, 1, 0), len);
    }
}

fn slots(t: &TestStore) -> Vec<u64> {
    t.keys().iter().map(|k| k.slot.0).collect()
}

#[test]
fn retention_counts_from_the_finalized_epoch() {
    // Epochs of 4 slots; finalized epoch 3 starts at slot 12.
    let table = [(0, 12), (1, 8), (2, 4), (3, 1), (100, 1), (u64::MAX, 1)];
    for (retention_epochs, first_kept) in table {
        let t = TestStore::new(StoreConfig {
            retention_epochs,
            ..config()
        });
        chain(&t, 20, 200);
        t.finalize(3, &block(12, 11, 12), &[]);
        assert_eq!(
            slots(&t),
            (first_kept..=20).collect::<Vec<_>>(),
            "retention {retention_epochs}"
        );
        let reader = t.store().reader();
        let stats = reader.stats().unwrap();
        assert_eq!(stats.proofs, 21 - first_kept);
        assert_eq!(stats.proof_bytes, 200 * (21 - first_kept));
        assert_eq!(stats.serve_range_start, Slot(12));
        assert_eq!(stats.pruned, first_kept - 1);
        // The index goes with the proofs.
        for n in 1..=20 {
            let kept = n >= first_kept;
            assert_eq!(reader.block(&block_root(n)).unwrap().is_some(), kept, "block {n}");
            assert_eq!(
                reader.canonical_block_at(Slot(n)).unwrap().is_some(),
                kept,
                "slot {n}"
            );
            assert_eq!(
                t.store().has_valid(&proof_key(&key(n, n, 1, 0))),
                kept,
                "proof {n}"
            );
        }
    }
}

#[test]
fn the_finalized_checkpoints_block_stays_where_its_epoch_begins_with_skipped_slots() {
    let t = TestStore::new(config());
    // Slots 11 to 13 are empty: the checkpoint of epoch 3 (slot 12) is the block of slot 10.
    let blocks: Vec<_> = (1..=10)
        .map(|i| block(i, i - 1, i))
        .chain([block(14, 10, 14)])
        .collect();
    t.blocks(&blocks);
    t.head(blocks[10]);
    for b in &blocks {
        let slot = b.slot.0;
        t.put(key(slot, slot, 1, 0), 200);
    }
    t.finalize(3, &blocks[9], &[]);
    assert_eq!(slots(&t), [10, 14]);
}

#[test]
fn orphans_go_at_finality_and_not_before() {
    let t = TestStore::new(config());
    chain(&t, 6, 200);
    // Beside the chain: 22 in slot 2, 24 in slot 4 named by the event; 25 in the slot of 5, with a block nobody named;
    // 31 in slot 3 with no block at all; 27 above finality.
    t.blocks(&[
        block(22, 1, 2),
        block(24, 22, 4),
        block(25, 24, 5),
        block(27, 25, 7),
    ]);
    for (slot, n) in [(2, 22), (4, 24), (5, 25), (3, 31), (7, 27)] {
        t.put(key(slot, n, 1, 0), 200);
        t.put(key(slot, n, 2, 5), 200);
    }
    assert_eq!(t.keys().len(), 16);
    t.finalize(0, &block(5, 4, 5), &[payload(22), payload(24), payload(777)]);
    let kept = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 27), (7, 27)];
    let numbers: Vec<_> = t.keys().iter().map(|k| (k.slot.0, k.root)).collect();
    assert_eq!(numbers, kept.map(|(slot, n)| (slot, payload(n))));
    assert!(!t.store().has_valid(&proof_key(&key(4, 24, 1, 0))));
}

#[test]
fn a_payload_that_is_canonical_too_is_no_orphan() {
    let t = TestStore::new(config());
    chain(&t, 6, 200);
    // Another block of slot 3 with the same payload, on a branch that finality cuts off.
    t.blocks(&[BlockUpdate {
        block_root: block_root(33),
        ..block(3, 2, 3)
    }]);
    t.finalize(0, &block(6, 5, 6), &[payload(3)]);
    assert_eq!(slots(&t), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_is_not_known_to_be_off_the_chain_stays() {
    let t = TestStore::new(config());
    // The chain 4 - 5 - 6 is known, below it a hole; the payload of 5 is not known (its envelope has not come).
    let without_payload = BlockUpdate {
        new_payload_request_root: None,
        ..block(5, 4, 5)
    };
    t.blocks(&[block(4, 3, 4), without_payload, block(6, 5, 6)]);
    t.head(block(6, 5, 6));
    for (slot, n) in [(3, 3), (4, 4), (4, 44), (5, 5), (6, 6), (6, 66)] {
        t.put(key(slot, n, 1, 0), 200);
    }
    t.finalize(0, &block(6, 5, 6), &[]);
    assert_eq!(slots(&t), [3, 4, 5, 6]);
}

#[test]
fn finality_never_moves_back() {
    let t = TestStore::new(config());
    chain(&t, 20, 200);
    t.finalize(3, &block(12, 11, 12), &[]);
    t.finalize(1, &block(4, 3, 4), &[payload(14)]);
    assert_eq!(slots(&t), (12..=20).collect::<Vec<_>>());
    assert_eq!(t.store().reader().stats().unwrap().serve_range_start, Slot(12));
}

#[test]
fn finality_makes_its_chain_canonical() {
    let t = TestStore::new(config());
    let blocks = [block(1, 0, 1), block(2, 1, 2), block(3, 1, 2)];
    t.blocks(&blocks);
    t.head(blocks[1]);
    t.put(key(2, 3, 1, 0), 200);
    t.finalize(0, &blocks[2], &[payload(2)]);
    assert_eq!(t.range(0, 10, &[]), [key(2, 3, 1, 0)]);
}

#[test]
fn the_size_limit_takes_the_oldest_and_spares_the_serve_range() {
    let mut t = TestStore::new(StoreConfig {
        retention_epochs: 100,
        max_db_size: Some(10_000),
        ..config()
    });
    chain(&t, 20, 1000);
    assert_eq!(slots(&t).len(), 20, "before finality everything must be served");
    t.finalize(2, &block(8, 7, 8), &[]);
    assert_eq!(
        slots(&t),
        (8..=20).collect::<Vec<_>>(),
        "13 KB in the serve range stay"
    );
    t.finalize(4, &block(16, 15, 16), &[]);
    assert_eq!(slots(&t), (11..=20).collect::<Vec<_>>(), "10 KB");
    // Each new proof takes the place of the oldest.
    t.put(key(21, 21, 1, 0), 1000);
    t.put(key(22, 22, 1, 0), 1000);
    wait_for_pruning(&t);
    assert_eq!(slots(&t), (13..=22).collect::<Vec<_>>());
    // A lower limit holds from the start on.
    t.config.max_db_size = Some(8_000);
    t.reopen();
    wait_for_pruning(&t);
    assert_eq!(slots(&t), (15..=22).collect::<Vec<_>>());
    t.config.max_db_size = None;
    t.reopen();
    t.put(key(23, 23, 1, 0), 1000);
    assert_eq!(t.keys().len(), 9);
}

/// Pruning goes on behind what asked for it; commands are worked on in order, a step each.
fn wait_for_pruning(t: &TestStore) {
    for _ in 0..4 {
        super::support::wait(t.store().flush()).unwrap();
    }
}

#[test]
fn a_long_prune_goes_in_steps_and_is_finished_after_a_restart() {
    let mut t = TestStore::new(StoreConfig {
        retention_epochs: 1000,
        ..config()
    });
    let n = 60 * SLOTS_PER_EPOCH;
    chain(&t, n, 100);
    t.finalize(59, &block(n - 4, n - 5, n - 4), &[]);
    assert_eq!(t.keys().len() as u64, n);
    // Less retention: takes hold with the next finality, in many steps, while puts go on.
    t.config.retention_epochs = 0;
    t.reopen();
    let store = t.store().clone();
    let puts = std::thread::spawn(move || {
        for i in 0..20 {
            let k = key(1000 + i, 1000 + i, 1, 0);
            super::support::wait(store.put_raw(k, super::support::ssz(&k, 100))).unwrap();
        }
    });
    t.finalize(60, &block(n, n - 1, n), &[]);
    assert!(
        slots(&t).iter().all(|slot| *slot >= n),
        "finality is answered when all of it is gone"
    );
    puts.join().unwrap();
    assert_eq!(slots(&t), [n].into_iter().chain(1000..1020).collect::<Vec<_>>());
    t.reopen();
    assert_eq!(t.keys().len(), 21);
}

#[test]
fn blocks_out_of_retention_are_not_taken_in() {
    let t = TestStore::new(config());
    chain(&t, 20, 100);
    t.finalize(3, &block(12, 11, 12), &[]);
    t.blocks(&[block(3, 2, 3), block(11, 10, 11)]);
    for n in [3, 11] {
        assert_eq!(t.store().reader().block(&block_root(n)).unwrap(), None);
    }
}
