//! The store against a model of maps, over random histories with restarts.

use super::support::{SLOTS_PER_EPOCH, TestStore, block, block_root, config, key, payload, proof_key};
use crate::{BlockUpdate, ChainUpdate, PutOutcome, RecordKey, StoreConfig};
use assay_chain::Checkpoint;
use assay_types::{Epoch, Root, Slot};
use assay_verification::KnownProofs;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// What a history is made of. Blocks form a tree that is known whole from the start; indexes wrap around.
#[derive(Debug, Clone)]
enum Op {
    Put {
        block: usize,
        proof_type: u8,
        validator: u64,
        len: usize,
    },
    /// A proof of a payload that is in no block.
    PutStray {
        slot: u64,
        number: u64,
    },
    Block(usize),
    Head(usize),
    /// Finalizes an ancestor of the head.
    Finalize {
        back: usize,
    },
    Gate(u8, Option<u8>),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<usize>(), 0u8..3, 0u64..3, 1usize..2000)
            .prop_map(|(block, proof_type, validator, len)| Op::Put { block, proof_type, validator, len }),
        1 => (0u64..40, 0u64..5).prop_map(|(slot, number)| Op::PutStray { slot, number }),
        3 => any::<usize>().prop_map(Op::Block),
        3 => any::<usize>().prop_map(Op::Head),
        1 => (0usize..12).prop_map(|back| Op::Finalize { back }),
        1 => (0u8..4, prop::option::of(any::<u8>())).prop_map(|(key, value)| Op::Gate(key, value)),
        1 => Just(Op::Reopen),
    ]
}

/// Block n + 1 hangs on one of the three before it.
fn tree() -> impl Strategy<Value = Vec<BlockUpdate>> {
    prop::collection::vec((1usize..4, 1u64..3), 4..30).prop_map(|shape| {
        let mut blocks = vec![block(0, 1_000, 0)];
        for (n, (back, later)) in (1usize..).zip(shape) {
            let parent = n.saturating_sub(back);
            let slot = blocks[parent].slot.0 + later;
            blocks.push(block(n as u64, parent as u64, slot));
        }
        blocks
    })
}

#[derive(Default)]
struct Model {
    proofs: BTreeMap<RecordKey, usize>,
    known: BTreeSet<usize>,
    head: Option<usize>,
    /// Slot of the finalized block, first slot of its epoch, first slot kept.
    finalized: (u64, u64, u64),
    gate: BTreeMap<u8, u8>,
}

impl Model {
    /// The block and its ancestors.
    fn branch(blocks: &[BlockUpdate], from: usize) -> Vec<usize> {
        let mut branch = vec![from];
        while let Some(at) = blocks
            .iter()
            .position(|b| b.block_root == blocks[branch[branch.len() - 1]].parent_root)
        {
            branch.push(at);
        }
        branch
    }

    fn bytes(&self) -> usize {
        self.proofs.values().sum()
    }

    /// Oldest first out of retention, then beyond the limit outside of the serve range.
    fn prune(&mut self, config: &StoreConfig, is_retention_due: bool) {
        let (_, serve_range_start, cutoff) = self.finalized;
        while let Some((oldest, _)) = self.proofs.first_key_value() {
            let slot = oldest.slot.0;
            let over = config.max_db_size.is_some_and(|max| self.bytes() as u64 > max);
            if !((is_retention_due && slot < cutoff) || (over && slot < serve_range_start)) {
                break;
            }
            self.proofs.pop_first();
        }
    }
}

fn check(t: &TestStore, model: &Model, blocks: &[BlockUpdate]) {
    assert_eq!(t.keys(), model.proofs.keys().copied().collect::<Vec<_>>());
    let reader = t.store().reader();
    let stats = reader.stats().unwrap();
    assert_eq!(stats.proofs, model.proofs.len() as u64);
    assert_eq!(stats.proof_bytes, model.bytes() as u64);
    assert_eq!(stats.corrupted, 0);
    for (k, len) in &model.proofs {
        t.assert_holds(*k, *len);
        assert!(t.store().has_valid(&proof_key(k)));
    }
    let (_, _, cutoff) = model.finalized;
    let canonical: BTreeSet<usize> = model
        .head
        .map(|head| Model::branch(blocks, head).into_iter().collect())
        .unwrap_or_default();
    let mut served = Vec::new();
    for (n, b) in blocks.iter().enumerate() {
        let is_known = model.known.contains(&n) && b.slot.0 >= cutoff;
        let stored = reader.block(&b.block_root).unwrap();
        assert_eq!(stored.is_some(), is_known, "block {n}");
        let is_canonical = is_known && canonical.contains(&n);
        assert_eq!(stored.is_some_and(|s| s.is_canonical), is_canonical, "block {n}");
        if is_canonical {
            let mut types = BTreeSet::new();
            let of_block = model.proofs.keys().filter(|k| k.root == payload(n as u64));
            served.extend(of_block.filter(|k| types.insert(k.proof_type)).copied());
        }
    }
    served.sort();
    assert_eq!(t.range(0, u64::MAX, &[]), served);
    let gate: Vec<_> = model
        .gate
        .iter()
        .map(|(key, value)| ([*key; 32], vec![*value]))
        .collect();
    assert_eq!(reader.load_gate_records().unwrap(), gate);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_store_is_its_model(
        blocks in tree(),
        ops in prop::collection::vec(op(), 1..60),
        retention_epochs in 0u64..3,
        max_db_size in prop::option::of(2_000u64..20_000),
    ) {
        let config = StoreConfig { retention_epochs, max_db_size, ..config() };
        let mut t = TestStore::new(config.clone());
        let mut model = Model::default();
        for op in ops {
            let mut is_retention_due = false;
            match op {
                Op::Put { block, proof_type, validator, len } => {
                    let n = block % blocks.len();
                    let k = key(blocks[n].slot.0, n as u64, proof_type, validator);
                    let outcome = t.try_put(k, len).unwrap();
                    let is_new = !model.proofs.contains_key(&k);
                    prop_assert_eq!(outcome == PutOutcome::Stored, is_new);
                    model.proofs.entry(k).or_insert(len);
                }
                Op::PutStray { slot, number } => {
                    let k = key(slot, 10_000 + slot * 10 + number, 1, 1);
                    t.try_put(k, 100).unwrap();
                    model.proofs.entry(k).or_insert(100);
                }
                Op::Block(n) => {
                    let n = n % blocks.len();
                    t.blocks(&[blocks[n]]);
                    model.known.insert(n);
                }
                Op::Head(n) => {
                    // A chain view follows its head down to finality: the branch is known with it.
                    let n = n % blocks.len();
                    let branch = Model::branch(&blocks, n);
                    let finalized = model.finalized.0;
                    let leaves_finality = model.known.iter().any(|k| blocks[*k].slot.0 == finalized)
                        && finalized > 0
                        && !branch.iter().any(|b| blocks[*b].slot.0 == finalized);
                    if leaves_finality {
                        continue;
                    }
                    let mut updates: Vec<_> = branch.iter().rev().map(|b| ChainUpdate::Block(blocks[*b])).collect();
                    updates.push(ChainUpdate::Head(blocks[n]));
                    t.apply(updates);
                    model.known.extend(branch);
                    model.head = Some(n);
                }
                Op::Finalize { back } => {
                    let Some(head) = model.head else { continue };
                    let chain = Model::branch(&blocks, head);
                    let at = chain[back.min(chain.len() - 1)];
                    let slot = blocks[at].slot.0;
                    let epoch = slot.div_ceil(SLOTS_PER_EPOCH);
                    let start = epoch * SLOTS_PER_EPOCH;
                    if slot < model.finalized.0 || start < model.finalized.1 {
                        continue;
                    }
                    t.apply(vec![ChainUpdate::Finalized {
                        checkpoint: Checkpoint { epoch: Epoch(epoch), root: block_root(at as u64) },
                        slot: Slot(slot),
                        orphaned: Vec::new(),
                    }]);
                    let cutoff = start.min(slot).saturating_sub(retention_epochs * SLOTS_PER_EPOCH);
                    // The chain is known down to what was finalized before, or to the oldest block kept.
                    let kept = |n: &usize| blocks[*n].slot.0 >= model.finalized.2;
                    let stretch: BTreeMap<u64, Root> = {
                        let below = |n: &usize| blocks[*n].slot.0 <= slot;
                        let mut stretch = BTreeMap::new();
                        for n in chain.iter().filter(|n| below(n)).take_while(|n| kept(n)) {
                            stretch.insert(blocks[*n].slot.0, payload(*n as u64));
                            if blocks[*n].slot.0 <= model.finalized.0 {
                                break;
                            }
                        }
                        stretch
                    };
                    if let Some((first, _)) = stretch.first_key_value() {
                        let first = *first;
                        model.proofs.retain(|k, _| {
                            k.slot.0 < first || k.slot.0 > slot || stretch.get(&k.slot.0) == Some(&k.root)
                        });
                    }
                    is_retention_due = true;
                    model.finalized = (slot, start, model.finalized.2.max(cutoff));
                }
                Op::Gate(key, value) => {
                    t.store().put_gate_records_blocking(&[([key; 32], value.map(|v| vec![v]))]).unwrap();
                    match value {
                        Some(value) => model.gate.insert(key, value),
                        None => model.gate.remove(&key),
                    };
                }
                Op::Reopen => {
                    t.reopen();
                    is_retention_due = true;
                    // Pruning that was cut short goes on by itself; this comes after it.
                    super::support::wait(t.store().flush()).unwrap();
                }
            }
            model.prune(&config, is_retention_due);
        }
        check(&t, &model, &blocks);
        t.reopen();
        check(&t, &model, &blocks);
    }
}
