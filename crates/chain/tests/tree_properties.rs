//! The tree against a naive model: random trees told in random order, with reorgs, envelopes, withheld payloads and
//! finality anywhere in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use assay_chain::{
    ChainEvent, Checkpoint, PayloadSource,
    tree::{Limits, SeenBlock, Tree},
};
use assay_types::{Epoch, Root, Slot};
use common::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LIMITS: Limits = Limits {
    max_blocks: 1000,
    max_unlinked_payloads: 1000,
    finalized_history_slots: 4,
};

/// Block `i` of the model is number `i + 1`; its payload has the same number, unless it is a twin of its sibling's.
#[derive(Debug, Clone)]
struct Node {
    parent: Option<usize>,
    slot: u64,
    gloas: bool,
    payload: u64,
    /// Gloas: the payload below it that it builds on (0: the one before everything).
    builds_on: u64,
    engine: bool,
    envelope: bool,
}

#[derive(Debug, Clone)]
struct World {
    nodes: Vec<Node>,
    head: usize,
    finalized: Option<usize>,
    order: Vec<Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Block(usize),
    Engine(usize),
    Envelope(usize),
    Head(usize),
    Finalized(usize),
}

type Raw = (usize, u64, bool, bool, bool, bool);

fn nodes(raw: &[Raw], gloas_from: u64) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (i, &(parent, gap, takes, twin, engine, envelope)) in raw.iter().enumerate() {
        let parent = (i > 0).then(|| parent % i);
        let slot = parent.map_or(1, |parent| nodes[parent].slot + 1 + gap % 3);
        let below = parent.map(|parent| &nodes[parent]);
        let builds_on = match below {
            None => 0,
            Some(parent) if !parent.gloas || takes => parent.payload,
            Some(parent) => parent.builds_on,
        };
        let gloas = slot >= gloas_from;
        // The same payload in two blocks on one parent in one slot.
        let sibling = nodes.iter().find(|node| {
            twin && parent.is_some()
                && node.parent == parent
                && node.slot == slot
                && node.builds_on == builds_on
        });
        let payload = sibling.map_or(i as u64 + 1, |sibling| sibling.payload);
        nodes.push(Node {
            parent,
            slot,
            gloas,
            payload,
            builds_on,
            engine,
            envelope,
        });
    }
    nodes
}

fn world() -> impl Strategy<Value = World> {
    let raw = (
        any::<usize>(),
        0u64..3,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.8),
    );
    (
        prop::collection::vec(raw, 1..16),
        1u64..30,
        any::<usize>(),
        any::<usize>(),
        any::<bool>(),
    )
        .prop_map(|(raw, gloas_from, head, back, finality)| {
            let nodes = nodes(&raw, gloas_from);
            let head = head % nodes.len();
            let ancestors = ancestors(&nodes, head);
            let finalized = finality.then(|| ancestors[back % ancestors.len()]);
            let mut messages = vec![Message::Head(head)];
            messages.extend(finalized.map(Message::Finalized));
            for (i, node) in nodes.iter().enumerate() {
                messages.push(Message::Block(i));
                messages.extend(node.engine.then_some(Message::Engine(i)));
                messages.extend((node.gloas && node.envelope).then_some(Message::Envelope(i)));
            }
            (nodes, head, finalized, messages)
        })
        .prop_flat_map(|(nodes, head, finalized, messages)| {
            (
                Just(nodes),
                Just(head),
                Just(finalized),
                Just(messages).prop_shuffle(),
            )
        })
        .prop_map(|(nodes, head, finalized, order)| World {
            nodes,
            head,
            finalized,
            order,
        })
}

/// From a block down to the first, itself included.
fn ancestors(nodes: &[Node], of: usize) -> Vec<usize> {
    std::iter::successors(Some(of), |i| nodes[*i].parent).collect()
}

fn seen(nodes: &[Node], i: usize) -> SeenBlock {
    let node = &nodes[i];
    let (n, parent) = (i as u64 + 1, node.parent.map_or(0, |parent| parent as u64 + 1));
    if node.gloas {
        SeenBlock {
            payload: gloas(node.payload, 0, node.slot, node.builds_on).payload,
            ..gloas(n, parent, node.slot, node.builds_on)
        }
    } else {
        let mut block = fulu(n, parent, node.slot);
        block.payload =
            assay_chain::tree::SeenBlockPayload::Carried(payload(node.payload, node.builds_on, node.slot));
        block
    }
}

fn tell(tree: &mut Tree, nodes: &[Node], message: Message) {
    match message {
        Message::Block(i) => drop(tree.insert_block(seen(nodes, i))),
        Message::Engine(i) => {
            let node = &nodes[i];
            tree.insert_payload(
                payload(node.payload, node.builds_on, node.slot),
                PayloadSource::EngineApi,
            );
        }
        Message::Envelope(i) => {
            let node = &nodes[i];
            tree.insert_payload(
                payload(node.payload, node.builds_on, node.slot),
                PayloadSource::BeaconApi,
            );
        }
        Message::Head(i) => tree.set_head(block_root(i as u64 + 1), false),
        Message::Finalized(i) => {
            tree.set_finalized(Checkpoint {
                epoch: Epoch(7),
                root: block_root(i as u64 + 1),
            });
        }
    }
}

/// Payloads that are told at all, by number.
fn told(nodes: &[Node]) -> BTreeSet<u64> {
    let told = nodes
        .iter()
        .filter(|node| !node.gloas || node.engine || node.envelope);
    told.map(|node| node.payload).collect()
}

/// Payloads the chain down from the head takes, by number. The head's own is taken once it is known: no word of the
/// Engine API is told here.
fn taken(nodes: &[Node], head: usize) -> BTreeSet<u64> {
    let chain = ancestors(nodes, head);
    let mut taken = BTreeSet::from([nodes[head].payload]);
    for pair in chain.windows(2) {
        let (child, block) = (&nodes[pair[0]], &nodes[pair[1]]);
        if !block.gloas || child.builds_on == block.payload {
            taken.insert(block.payload);
        }
    }
    taken.intersection(&told(nodes)).copied().collect()
}

fn connected(tree: &Tree) {
    let chain: Vec<(Slot, Root)> = tree.canonical_chain().collect();
    for pair in chain.windows(2) {
        assert_eq!(tree.block(&pair[1].1).unwrap().parent_root, pair[0].1);
        assert!(pair[0].0 < pair[1].0);
    }
    if let (Some(head), Some((slot, last))) = (tree.head(), chain.last()) {
        assert_eq!(
            (head.slot, head.block_root),
            (*slot, *last),
            "the chain ends in the head"
        );
    }
    for (slot, root) in chain {
        assert_eq!(tree.block(&root).map(|block| block.slot), Some(slot));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_view_is_the_models_in_whatever_order_it_is_told(world in world()) {
        let World { nodes, head, finalized, order } = &world;
        let mut tree = Tree::new(LIMITS);
        let mut orphaned = BTreeSet::new();
        for message in order {
            let before: BTreeSet<Root> =
                (1..=nodes.len() as u64).map(request_root).filter(|root| tree.payload(root).is_some()).collect();
            tell(&mut tree, nodes, *message);
            connected(&tree);
            for event in tree.take_events() {
                match event {
                    ChainEvent::Payload(info) => {
                        prop_assert!(!before.contains(&info.new_payload_request_root), "told once while it is kept");
                    }
                    ChainEvent::Finalized { orphaned: cut, .. } => orphaned.extend(cut),
                    ChainEvent::Conflict { .. } => prop_assert!(false, "no two roots were told"),
                    _ => {}
                }
            }
        }

        // The chain from the finalized block on is the model's.
        let from = finalized.map_or(0, |finalized| nodes[finalized].slot);
        let expected: BTreeMap<Slot, Root> = ancestors(nodes, *head)
            .into_iter()
            .filter(|i| nodes[*i].slot >= from)
            .map(|i| (Slot(nodes[i].slot), block_root(i as u64 + 1)))
            .collect();
        let actual: BTreeMap<Slot, Root> = tree.canonical_chain().filter(|(slot, _)| slot.0 >= from).collect();
        prop_assert_eq!(&actual, &expected);
        prop_assert_eq!(tree.finalized().root, finalized.map_or(Root::ZERO, |i| block_root(i as u64 + 1)));
        // The first block's parent is beyond the model: nothing else is missing.
        let missing = tree.missing();
        prop_assert!(missing.head.is_none() && missing.finalized.is_none());
        prop_assert_eq!(missing.ancestor.is_some(), finalized.is_none());

        // So are its payloads.
        let taken = taken(nodes, *head);
        for node in nodes.iter().filter(|node| node.slot >= from) {
            let root = request_root(node.payload);
            prop_assert_eq!(tree.is_canonical_payload(&root), taken.contains(&node.payload), "payload {}", node.payload);
        }
        for root in expected.values() {
            let block = tree.block(root).unwrap();
            let node = &nodes[usize::from(root.0[31]) - 1];
            let known = told(nodes).contains(&node.payload);
            prop_assert_eq!(block.new_payload_request_root, known.then(|| request_root(node.payload)));
            if known {
                prop_assert_eq!(tree.payload(&request_root(node.payload)).unwrap().block_root, Some(*root));
            }
        }

        // What may be deleted is on no chain that could still be.
        for root in &orphaned {
            let number = u64::from(root.0[31]);
            prop_assert!(!taken.contains(&number), "payload {} is canonical and was called orphaned", number);
        }
    }

    #[test]
    fn finality_told_last_reports_every_payload_that_it_cuts_off(world in world()) {
        let World { nodes, head, finalized, order } = &world;
        let Some(finalized) = finalized else { return Ok(()) };
        let mut tree = Tree::new(LIMITS);
        for message in order.iter().filter(|message| !matches!(message, Message::Finalized(_))) {
            tell(&mut tree, nodes, *message);
        }
        tree.take_events();
        tell(&mut tree, nodes, Message::Finalized(*finalized));
        let orphaned: BTreeSet<u64> = tree
            .take_events()
            .into_iter()
            .filter_map(|event| match event {
                ChainEvent::Finalized { orphaned, .. } => Some(orphaned),
                _ => None,
            })
            .flatten()
            .map(|root| u64::from(root.0[31]))
            .collect();

        let chain = ancestors(nodes, *finalized);
        let taken = taken(nodes, *head);
        let lives = |i: usize| {
            // Above the finalized block, or it itself; or on its chain and taken.
            ancestors(nodes, i).contains(finalized) || (chain.contains(&i) && taken.contains(&nodes[i].payload))
        };
        let living: BTreeSet<u64> = (0..nodes.len()).filter(|i| lives(*i)).map(|i| nodes[i].payload).collect();
        let expected: BTreeSet<u64> = told(nodes).difference(&living).copied().collect();
        prop_assert_eq!(orphaned, expected);
        for i in 0..nodes.len() {
            let kept = ancestors(nodes, i).contains(finalized)
                || (chain.contains(&i) && nodes[i].slot + LIMITS.finalized_history_slots >= nodes[*finalized].slot);
            prop_assert_eq!(tree.has_block(&block_root(i as u64 + 1)), kept, "block {}", i + 1);
        }
    }

    #[test]
    fn heads_in_any_order_leave_the_last_ones_chain(world in world(), heads in prop::collection::vec(any::<usize>(), 1..12)) {
        let World { nodes, order, .. } = &world;
        let mut tree = Tree::new(LIMITS);
        let mut heads = heads.into_iter().map(|head| head % nodes.len());
        let mut last = None;
        for message in order.iter().filter(|message| matches!(message, Message::Block(_))) {
            tell(&mut tree, nodes, *message);
            if let Some(head) = heads.next() {
                tell(&mut tree, nodes, Message::Head(head));
                last = Some(head);
            }
            connected(&tree);
        }
        let expected: Vec<Root> = ancestors(nodes, last.unwrap()).into_iter().rev().map(|i| block_root(i as u64 + 1)).collect();
        prop_assert_eq!(tree.canonical_chain().map(|(_, root)| root).collect::<Vec<_>>(), expected);
    }
}
