//! The tree's rules, one case each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use assay_chain::{
    ChainEvent, Checkpoint, PayloadSource,
    tree::{EngineForkchoice, Insertion, Limits, MAX_ROOTS_PER_HASH, Missing, Refusal, Tree},
};
use assay_types::{Epoch, Root, Slot};
use common::*;

const LIMITS: Limits = Limits {
    max_blocks: 64,
    max_unlinked_payloads: 8,
    finalized_history_slots: 16,
};

fn tree() -> Tree {
    Tree::new(LIMITS)
}

/// A chain of blocks 1 to `n` in slots 1 to `n`, head at the end.
fn chain(n: u64) -> Tree {
    let mut tree = tree();
    for i in 1..=n {
        tree.insert_block(fulu(i, i - 1, i));
    }
    tree.set_head(block_root(n), false);
    tree.take_events();
    tree
}

fn checkpoint(epoch: u64, block: u64) -> Checkpoint {
    Checkpoint {
        epoch: Epoch(epoch),
        root: block_root(block),
    }
}

fn canonical(tree: &Tree) -> Vec<u64> {
    tree.canonical_chain()
        .map(|(_, root)| u64::from(root.0[31]))
        .collect()
}

fn orphaned(tree: &mut Tree) -> Vec<Root> {
    tree.take_events()
        .into_iter()
        .filter_map(|event| match event {
            ChainEvent::Finalized { orphaned, .. } => Some(orphaned),
            _ => None,
        })
        .flatten()
        .collect()
}

#[test]
fn a_payload_of_the_engine_api_is_known_before_its_block() {
    let mut tree = chain(2);
    assert_eq!(
        tree.insert_payload(payload(3, 2, 3), PayloadSource::EngineApi),
        Insertion::New
    );
    let info = tree.payload(&request_root(3)).unwrap();
    assert_eq!((info.block_root, info.source), (None, PayloadSource::EngineApi));
    assert!(!tree.is_canonical_payload(&request_root(3)));
    assert_eq!(tree.take_events(), [ChainEvent::Payload(info)]);

    tree.insert_block(fulu(3, 2, 3));
    let info = tree.payload(&request_root(3)).unwrap();
    assert_eq!(
        (info.block_root, info.source),
        (Some(block_root(3)), PayloadSource::EngineApi)
    );
    let block = tree.block(&block_root(3)).unwrap();
    assert_eq!(block.new_payload_request_root, Some(request_root(3)));
    assert_eq!(
        tree.take_events(),
        [ChainEvent::Block(block.clone())],
        "a payload is told once"
    );
    assert!(
        !tree.is_canonical_payload(&request_root(3)),
        "its block is not the head's ancestor yet"
    );

    tree.set_head(block_root(3), false);
    assert!(tree.is_canonical_payload(&request_root(3)));
    assert_eq!(tree.take_events(), [ChainEvent::Head(block)]);
    assert_eq!(
        tree.payload_by_block_hash(&block_hash(3)),
        tree.payload(&request_root(3))
    );
}

#[test]
fn a_carried_payload_comes_with_its_block_and_is_told_before_it() {
    let mut tree = tree();
    tree.insert_block(fulu(1, 0, 1));
    let events = tree.take_events();
    assert!(
        matches!(&events[..], [ChainEvent::Payload(p), ChainEvent::Block(b)]
        if p.block_root == Some(block_root(1)) && b.new_payload_request_root == Some(request_root(1)))
    );
    assert!(tree.is_told_by_beacon(&request_root(1)));
    assert_eq!(tree.insert_block(fulu(1, 0, 1)), Insertion::Known);
    assert_eq!(
        tree.insert_payload(payload(1, 0, 1), PayloadSource::EngineApi),
        Insertion::Known
    );
    assert!(tree.take_events().is_empty());
}

#[test]
fn a_gloas_payload_is_canonical_only_if_the_chain_takes_it() {
    let mut tree = tree();
    tree.insert_block(gloas(1, 0, 1, 0));
    tree.set_head(block_root(1), false);
    assert!(tree.lacks_envelope(&block_root(1)));
    assert_eq!(tree.block(&block_root(1)).unwrap().new_payload_request_root, None);
    tree.take_events();

    tree.insert_payload(payload(1, 0, 1), PayloadSource::BeaconApi);
    assert!(!tree.lacks_envelope(&block_root(1)));
    let block = tree.block(&block_root(1)).unwrap();
    assert_eq!(block.new_payload_request_root, Some(request_root(1)));
    assert_eq!(
        tree.take_events()[1],
        ChainEvent::Block(block),
        "its payload became known"
    );
    assert!(
        tree.is_canonical_payload(&request_root(1)),
        "the beacon node has imported it"
    );

    // The head as the Engine API tells it: below this payload, then at it.
    tree.set_engine_forkchoice(EngineForkchoice {
        head: block_hash(0),
        ..Default::default()
    });
    assert!(!tree.is_canonical_payload(&request_root(1)));
    tree.set_engine_forkchoice(EngineForkchoice {
        head: block_hash(1),
        ..Default::default()
    });
    assert!(tree.is_canonical_payload(&request_root(1)));

    // A child that builds on it, and one that passes it over.
    tree.insert_block(gloas(2, 1, 2, 1));
    tree.insert_block(gloas(3, 1, 2, 0));
    tree.set_head(block_root(2), false);
    assert!(tree.is_canonical_payload(&request_root(1)));
    tree.set_head(block_root(3), false);
    assert!(
        !tree.is_canonical_payload(&request_root(1)),
        "withheld or late: the chain goes on without it"
    );
    assert_eq!(
        tree.block(&block_root(1)).unwrap().new_payload_request_root,
        Some(request_root(1))
    );
}

#[test]
fn an_engine_payload_does_not_stand_in_for_the_envelope() {
    let mut tree = tree();
    tree.insert_block(gloas(1, 0, 1, 0));
    tree.insert_payload(payload(1, 0, 1), PayloadSource::EngineApi);
    tree.insert_payload(payload(1, 0, 1), PayloadSource::EngineApi);
    assert!(tree.lacks_envelope(&block_root(1)), "both sources are compared");
    assert_eq!(
        tree.block(&block_root(1)).unwrap().new_payload_request_root,
        Some(request_root(1))
    );
}

#[test]
fn one_payload_in_two_blocks_belongs_to_the_canonical_one() {
    let mut tree = chain(1);
    let mut twin = fulu(2, 1, 2);
    tree.insert_block(twin);
    twin.block_root = block_root(9);
    tree.insert_block(twin);
    assert_eq!(
        tree.payload(&request_root(2)).unwrap().block_root,
        Some(block_root(2)),
        "the smaller root, while neither is"
    );
    tree.set_head(block_root(9), false);
    assert_eq!(
        tree.payload(&request_root(2)).unwrap().block_root,
        Some(block_root(9))
    );
    assert!(tree.is_canonical_payload(&request_root(2)));
}

#[test]
fn two_roots_of_one_block_hash_are_both_doubted() {
    let mut tree = chain(2);
    let mut other = payload(2, 1, 2);
    other.new_payload_request_root = request_root(77);
    assert_eq!(
        tree.insert_payload(other, PayloadSource::EngineApi),
        Insertion::New
    );
    let events = tree.take_events();
    assert_eq!(
        events.last(),
        Some(&ChainEvent::Conflict {
            block_hash: block_hash(2),
            roots: [request_root(2), request_root(77)],
            source: PayloadSource::EngineApi
        })
    );
    assert_eq!(tree.counters().payload_conflicts, 1);
    assert!(tree.is_contested(&block_hash(2)));
    for root in [request_root(2), request_root(77)] {
        assert_eq!(
            tree.payload(&root).unwrap().block_root,
            None,
            "known, but of no block"
        );
        assert!(!tree.is_canonical_payload(&root));
    }
    assert_eq!(tree.payload_by_block_hash(&block_hash(2)), None);
    assert_eq!(tree.block(&block_root(2)).unwrap().new_payload_request_root, None);

    // Neither is called orphaned when its block is finalized and forgotten.
    for n in 3..=40 {
        tree.insert_block(fulu(n, n - 1, n));
    }
    tree.set_head(block_root(40), false);
    tree.set_finalized(checkpoint(4, 32));
    assert_eq!(orphaned(&mut tree), []);
    assert_eq!(tree.payload(&request_root(77)), None);
    assert!(!tree.is_contested(&block_hash(2)));
}

#[test]
fn the_engine_api_may_be_contradicted_by_the_block_too() {
    let mut tree = chain(1);
    let mut other = payload(2, 1, 2);
    other.new_payload_request_root = request_root(77);
    tree.insert_payload(other, PayloadSource::EngineApi);
    tree.take_events();
    tree.insert_block(fulu(2, 1, 2));
    let events = tree.take_events();
    assert!(
        matches!(
            events[1],
            ChainEvent::Conflict {
                source: PayloadSource::BeaconApi,
                ..
            }
        ),
        "{events:?}"
    );
    assert!(matches!(&events[2], ChainEvent::Block(block) if block.new_payload_request_root.is_none()));
}

#[test]
fn roots_of_one_hash_are_bounded_and_a_root_has_one_payload() {
    let mut tree = chain(1);
    let told: Vec<_> = (0..=MAX_ROOTS_PER_HASH as u64)
        .map(|i| {
            let mut other = payload(1, 0, 1);
            other.new_payload_request_root = request_root(100 + i);
            tree.insert_payload(other, PayloadSource::EngineApi)
        })
        .collect();
    assert_eq!(
        told.iter().filter(|told| **told == Insertion::New).count(),
        MAX_ROOTS_PER_HASH - 1
    );
    assert_eq!(told.last(), Some(&Insertion::Refused(Refusal::Contradiction)));
    let mut elsewhere = payload(1, 0, 1);
    elsewhere.block_hash = block_hash(5);
    assert_eq!(
        tree.insert_payload(elsewhere, PayloadSource::EngineApi),
        Insertion::Refused(Refusal::Contradiction)
    );
    assert_eq!(tree.payload_by_block_hash(&block_hash(5)), None);
}

#[test]
fn reorgs_move_the_canonical_chain_and_are_counted() {
    let mut tree = chain(5);
    for (n, parent, slot) in [(13, 2, 4), (14, 13, 6)] {
        tree.insert_block(fulu(n, parent, slot));
    }
    assert_eq!(canonical(&tree), [1, 2, 3, 4, 5]);
    tree.set_head(block_root(14), false);
    assert_eq!(canonical(&tree), [1, 2, 13, 14]);
    assert_eq!(tree.canonical_block_at(Slot(3)), None);
    assert!(!tree.is_canonical_payload(&request_root(4)) && tree.is_canonical_payload(&request_root(13)));
    tree.set_head(block_root(3), false);
    assert_eq!(
        canonical(&tree),
        [1, 2, 3],
        "a head may be older than the one before"
    );
    tree.set_head(block_root(5), false);
    assert_eq!(canonical(&tree), [1, 2, 3, 4, 5]);
    assert_eq!(tree.counters().reorgs, 2, "going ahead on one branch is none");
}

#[test]
fn a_head_counts_once_its_block_is_here_and_the_latest_word_holds() {
    let mut tree = chain(2);
    tree.set_head(block_root(4), false);
    assert_eq!(tree.missing().head, Some(block_root(4)));
    assert_eq!(tree.head().unwrap().block_root, block_root(2));
    tree.insert_block(fulu(4, 3, 4));
    assert_eq!(canonical(&tree), [4], "the chain is what is here without a gap");
    assert_eq!(
        tree.missing(),
        Missing {
            ancestor: Some((block_root(3), Slot(4))),
            ..Default::default()
        }
    );
    tree.insert_block(fulu(3, 2, 3));
    assert_eq!(canonical(&tree), [1, 2, 3, 4]);
    tree.set_head(block_root(9), false);
    tree.set_head(block_root(3), false);
    tree.insert_block(fulu(9, 4, 9));
    assert_eq!(tree.head().unwrap().block_root, block_root(3));
}

#[test]
fn reorgs_are_counted_across_a_gap_too() {
    let mut tree = chain(4);
    for (n, parent, slot) in [(15, 14, 7), (14, 13, 6)] {
        tree.insert_block(fulu(n, parent, slot));
    }
    tree.set_head(block_root(15), false);
    assert_eq!(tree.counters().reorgs, 0, "the gap hides it");
    tree.insert_block(fulu(13, 3, 4));
    assert_eq!(
        (canonical(&tree), tree.counters().reorgs),
        (vec![1, 2, 3, 13, 14, 15], 1)
    );
    // A gap below which the head before turns up is none.
    tree.insert_block(fulu(17, 16, 9));
    tree.set_head(block_root(17), false);
    tree.insert_block(fulu(16, 15, 8));
    assert_eq!((canonical(&tree).len(), tree.counters().reorgs), (8, 1));
}

#[test]
fn a_first_finality_above_a_known_chain_waits_for_the_blocks_between() {
    let mut tree = chain(2);
    tree.set_floor(block_root(1));
    tree.set_finalized(checkpoint(1, 8));
    tree.insert_block(fulu(8, 7, 8));
    assert_eq!(tree.finalized(), Checkpoint::default());
    assert!(tree.has_block(&block_root(1)));
    tree.set_head(block_root(8), false);
    for n in (3..=7).rev() {
        tree.insert_block(fulu(n, n - 1, n));
    }
    assert_eq!(tree.finalized(), checkpoint(1, 8));
    assert_eq!(canonical(&tree), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_valid_head_clears_its_ancestors_of_optimism() {
    let mut tree = tree();
    for n in 1..=3 {
        tree.insert_block(assay_chain::tree::SeenBlock {
            execution_optimistic: true,
            ..fulu(n, n - 1, n)
        });
    }
    tree.set_head(block_root(3), true);
    assert!(tree.block(&block_root(1)).unwrap().execution_optimistic);
    tree.take_events();
    tree.set_head(block_root(3), false);
    assert!(!tree.block(&block_root(1)).unwrap().execution_optimistic);
    assert!(matches!(&tree.take_events()[..], [ChainEvent::Head(head)] if !head.execution_optimistic));
}

#[test]
fn finality_cuts_off_branches_and_reports_their_payloads() {
    let mut tree = chain(8);
    tree.insert_block(fulu(13, 2, 4));
    tree.insert_block(fulu(14, 13, 7));
    tree.insert_block(fulu(18, 6, 8));
    tree.insert_payload(payload(21, 3, 4), PayloadSource::EngineApi);
    tree.insert_payload(payload(22, 8, 9), PayloadSource::EngineApi);
    tree.set_finalized(checkpoint(1, 5));
    assert_eq!(orphaned(&mut tree), [13, 14, 21].map(request_root));
    assert_eq!(tree.finalized(), checkpoint(1, 5));
    assert_eq!(tree.block(&block_root(14)), None);
    assert_eq!(tree.payload(&request_root(14)), None);
    assert!(
        tree.block(&block_root(18)).is_some(),
        "a branch above the finalized block lives"
    );
    assert!(
        tree.payload(&request_root(22)).is_some(),
        "a payload above it may still get its block"
    );
    assert_eq!(
        canonical(&tree),
        [1, 2, 3, 4, 5, 6, 7, 8],
        "the finalized chain stays readable for a while"
    );
    assert_eq!(
        tree.insert_block(fulu(31, 4, 7)),
        Insertion::Refused(Refusal::ConflictsWithFinality)
    );
    assert_eq!(
        tree.insert_block(fulu(32, 31, 5)),
        Insertion::Refused(Refusal::TooOld)
    );
}

#[test]
fn finality_orphans_gloas_payloads_that_the_chain_passed_over() {
    let mut tree = tree();
    for block in [
        gloas(1, 0, 1, 0),
        gloas(2, 1, 2, 0),
        gloas(3, 2, 3, 2),
        gloas(4, 3, 4, 2),
    ] {
        tree.insert_block(block);
    }
    for n in 1..=4 {
        tree.insert_payload(payload(n, 0, n), PayloadSource::BeaconApi);
    }
    tree.set_head(block_root(4), false);
    tree.set_finalized(checkpoint(1, 3));
    assert_eq!(
        orphaned(&mut tree),
        [request_root(1)],
        "block 3's own payload is open until its child is finalized"
    );
    tree.set_finalized(checkpoint(2, 4));
    assert_eq!(orphaned(&mut tree), [request_root(3)]);
}

#[test]
fn nothing_is_called_orphaned_where_the_finalized_chain_is_not_known() {
    let mut tree = tree();
    tree.insert_payload(payload(1, 0, 1), PayloadSource::EngineApi);
    tree.insert_payload(payload(21, 0, 6), PayloadSource::EngineApi);
    tree.insert_block(fulu(5, 4, 5));
    tree.insert_block(fulu(6, 5, 6));
    tree.insert_block(fulu(7, 6, 7));
    tree.set_head(block_root(7), false);
    tree.set_finalized(checkpoint(1, 7));
    assert_eq!(
        orphaned(&mut tree),
        [request_root(21)],
        "payload 1 may be block 1's, which is not here"
    );
}

#[test]
fn finality_waits_for_its_block_and_for_the_chain_below_it() {
    let mut tree = chain(2);
    tree.set_finalized(checkpoint(1, 2));
    tree.set_finalized(checkpoint(2, 5));
    assert_eq!(tree.missing().finalized, Some(block_root(5)));
    tree.set_head(block_root(6), false);
    tree.insert_block(fulu(6, 5, 6));
    tree.insert_block(fulu(5, 4, 5));
    assert_eq!(tree.finalized(), checkpoint(1, 2));
    tree.insert_block(fulu(4, 3, 4));
    assert_eq!(tree.missing().ancestor, Some((block_root(3), Slot(4))));
    tree.insert_block(fulu(3, 2, 3));
    assert_eq!(tree.finalized(), checkpoint(2, 5));
    assert!(tree.missing().is_nothing());
}

#[test]
fn a_floor_lets_finality_pass_a_gap_that_cannot_be_filled() {
    let mut tree = chain(2);
    tree.set_finalized(checkpoint(1, 2));
    for n in [9, 8, 7] {
        tree.insert_block(fulu(n, n - 1, n));
    }
    tree.set_head(block_root(9), false);
    tree.set_finalized(checkpoint(2, 8));
    assert_eq!(tree.missing().ancestor, Some((block_root(6), Slot(7))));
    assert_eq!(tree.finalized(), checkpoint(1, 2));
    tree.set_floor(block_root(7));
    assert_eq!(tree.finalized(), checkpoint(2, 8));
    assert!(tree.missing().is_nothing());
    assert_eq!(
        orphaned(&mut tree),
        [],
        "what was canonical below the gap is not orphaned"
    );
}

#[test]
fn contradictions_of_finality_are_counted_and_change_nothing() {
    let mut tree = chain(6);
    tree.insert_block(fulu(14, 3, 6));
    tree.set_finalized(checkpoint(2, 4));
    let before = (tree.head(), tree.finalized());
    tree.set_finalized(checkpoint(2, 5));
    tree.set_finalized(checkpoint(1, 3));
    tree.set_finalized(Checkpoint::default());
    tree.set_head(block_root(3), false);
    assert_eq!((tree.head(), tree.finalized()), before);
    assert_eq!(
        tree.counters().finality_conflicts,
        2,
        "an older checkpoint is no contradiction"
    );

    // A head whose chain goes past the finalized block.
    tree.insert_block(fulu(31, 30, 7));
    tree.set_head(block_root(31), false);
    assert_eq!(
        tree.insert_block(fulu(30, 2, 3)),
        Insertion::Refused(Refusal::ConflictsWithFinality)
    );
    assert_eq!(tree.counters().finality_conflicts, 3);
    assert!(!tree.missing().is_nothing(), "never counted as caught up");
}

#[test]
fn a_head_that_finality_cuts_off_gives_way_to_the_finalized_block() {
    let mut tree = chain(6);
    tree.insert_block(fulu(14, 3, 4));
    tree.set_head(block_root(14), false);
    tree.take_events();
    tree.set_finalized(checkpoint(1, 5));
    assert_eq!(tree.head().unwrap().block_root, block_root(5));
    assert_eq!(canonical(&tree), [1, 2, 3, 4, 5]);
    assert!(
        matches!(tree.take_events().last(), Some(ChainEvent::Head(head)) if head.block_root == block_root(5))
    );
}

#[test]
fn the_same_block_may_be_finalized_for_a_later_epoch() {
    let mut tree = chain(3);
    tree.set_finalized(checkpoint(1, 2));
    tree.set_finalized(checkpoint(2, 2));
    assert_eq!(tree.finalized(), checkpoint(2, 2));
    assert_eq!(tree.counters().finality_conflicts, 0);
}

#[test]
fn weeks_without_finality_stay_within_the_bounds() {
    let mut tree = tree();
    for n in 1..=1000 {
        tree.insert_block(fulu(n, n - 1, n));
        tree.insert_payload(payload(5000 + n, 0, n), PayloadSource::EngineApi);
        tree.set_head(block_root(n), false);
        assert!(tree.block_count() <= LIMITS.max_blocks);
        assert!(tree.payload_count() <= LIMITS.max_blocks + LIMITS.max_unlinked_payloads);
    }
    assert_eq!(tree.canonical_chain().count(), 64);
    assert!(
        tree.missing().is_nothing(),
        "what was forgotten is not asked for again"
    );
    assert_eq!(tree.counters().evicted_blocks, 1000 - 64);
    assert_eq!(tree.counters().evicted_payloads, 1000 - 8);
    assert_eq!(
        tree.insert_block(fulu(936, 935, 936)),
        Insertion::Refused(Refusal::TooOld)
    );
    assert_eq!(
        tree.insert_payload(payload(3, 2, 3), PayloadSource::EngineApi),
        Insertion::Refused(Refusal::TooOld)
    );
    assert_eq!(orphaned(&mut tree), []);
    tree.set_finalized(checkpoint(9, 990));
    assert_eq!(tree.finalized(), checkpoint(9, 990));
}

#[test]
fn a_block_is_after_its_parent() {
    let mut tree = chain(3);
    assert_eq!(
        tree.insert_block(fulu(9, 3, 3)),
        Insertion::Refused(Refusal::BadSlot)
    );
    // Told child first, the two are never joined.
    tree.insert_block(fulu(20, 21, 4));
    tree.insert_block(fulu(21, 3, 4));
    tree.set_head(block_root(20), false);
    assert_eq!(canonical(&tree), [20]);
    assert!(!tree.is_ancestor_or_same(&block_root(21), &block_root(20)));
}

#[test]
fn ancestry_is_told_along_and_beside_the_canonical_chain() {
    let mut tree = chain(6);
    tree.insert_block(fulu(14, 3, 4));
    tree.insert_block(fulu(15, 14, 8));
    for (ancestor, descendant, yes) in [
        (1, 6, true),
        (6, 6, true),
        (6, 1, false),
        (3, 15, true),
        (4, 15, false),
        (14, 15, true),
        (14, 6, false),
        (99, 6, false),
    ] {
        assert_eq!(
            tree.is_ancestor_or_same(&block_root(ancestor), &block_root(descendant)),
            yes,
            "{ancestor} {descendant}"
        );
    }
}
