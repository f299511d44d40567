//! Payloads by block hash, and how each gets its place among them.

use super::{
    Gate,
    action::{Alarm, Cause, Milestone, Step},
    config::ImportPolicy,
    event::{PayloadFacts, UnixMillis},
    node::{ElStatus, Node, Standing},
};
use assay_types::{BlockHash, Root};
use std::collections::{HashMap, HashSet, VecDeque};

/// Payloads known by hash alone that are kept (anchors apart); the oldest is forgotten first.
pub(crate) const MAX_HASH_ONLY: usize = 1024;

/// Whether a payload has its place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It has, under this root.
    Here,
    /// It left the tree, under this root.
    Settled,
    /// Its hash belongs to another root, or it would be its own ancestor (rule 5).
    Refused,
}

/// The nodes and their indices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    nodes: HashMap<BlockHash, Node>,
    /// By parent, whether that is in the tree or not.
    children: HashMap<BlockHash, Vec<BlockHash>>,
    by_root: HashMap<Root, BlockHash>,
    /// Payloads known by hash alone, oldest first; may name some that have got their facts since.
    hash_only: VecDeque<BlockHash>,
}

impl Tree {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn get(&self, hash: &BlockHash) -> Option<&Node> {
        self.nodes.get(hash)
    }

    pub(crate) fn get_mut(&mut self, hash: &BlockHash) -> Option<&mut Node> {
        self.nodes.get_mut(hash)
    }

    pub(crate) fn contains(&self, hash: &BlockHash) -> bool {
        self.nodes.contains_key(hash)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&BlockHash, &Node)> {
        self.nodes.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&BlockHash, &mut Node)> {
        self.nodes.iter_mut()
    }

    pub(crate) fn hash_of_root(&self, root: &Root) -> Option<BlockHash> {
        self.by_root.get(root).copied()
    }

    pub(crate) fn children(&self, hash: &BlockHash) -> &[BlockHash] {
        self.children.get(hash).map_or(&[], Vec::as_slice)
    }

    /// Whether `hash` is `of` or one of its ancestors in the tree.
    pub(crate) fn is_ancestor_or_self(&self, hash: &BlockHash, of: &BlockHash) -> bool {
        let mut cursor = *of;
        loop {
            if cursor == *hash {
                return true;
            }
            match self.nodes.get(&cursor).and_then(Node::parent) {
                Some(parent) => cursor = parent,
                None => return false,
            }
        }
    }

    /// A payload that is its own ancestor, if there is one: only damaged records can bring it.
    pub(crate) fn cycle(&self) -> Option<BlockHash> {
        let is_top = |n: &Node| n.parent().is_none_or(|p| !self.nodes.contains_key(&p));
        let tops = self.nodes.iter().filter(|(_, n)| is_top(n)).map(|(hash, _)| hash);
        let reached: HashSet<BlockHash> = tops.flat_map(|top| self.subtree(top)).collect();
        self.nodes.keys().find(|hash| !reached.contains(*hash)).copied()
    }

    /// Puts a node in, with its indices. A node of this hash must not be there with facts.
    pub(crate) fn insert(&mut self, hash: BlockHash, node: Node) {
        match node.facts {
            Some(facts) => {
                self.by_root.insert(facts.new_payload_request_root, hash);
                self.children.entry(facts.parent_hash).or_default().push(hash);
            }
            None => self.hash_only.push_back(hash),
        }
        self.nodes.insert(hash, node);
    }

    /// Takes a node out. Its children keep their link.
    pub(crate) fn remove(&mut self, hash: &BlockHash) -> Option<Node> {
        let node = self.nodes.remove(hash)?;
        if let Some(facts) = node.facts {
            self.by_root.remove(&facts.new_payload_request_root);
            if let Some(siblings) = self.children.get_mut(&facts.parent_hash) {
                siblings.retain(|h| h != hash);
                if siblings.is_empty() {
                    self.children.remove(&facts.parent_hash);
                }
            }
        }
        Some(node)
    }

    /// The payload and all its descendants in the tree.
    pub(crate) fn subtree(&self, hash: &BlockHash) -> Vec<BlockHash> {
        self.subtrees(&[*hash])
    }

    /// These payloads and all their descendants in the tree, each once, the ones given last first.
    pub(crate) fn subtrees(&self, tops: &[BlockHash]) -> Vec<BlockHash> {
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut left = tops.to_vec();
        while let Some(next) = left.pop() {
            if !seen.insert(next) {
                continue;
            }
            left.extend_from_slice(self.children(&next));
            if self.nodes.contains_key(&next) {
                found.push(next);
            }
        }
        found
    }

    /// The oldest payload known by hash alone, if there are more than the limit.
    fn hash_only_surplus(&mut self) -> Option<BlockHash> {
        if self.hash_only.len() <= MAX_HASH_ONLY {
            return None;
        }
        self.hash_only.pop_front()
    }
}

impl Gate {
    /// Gives a payload its place. Only with its hash checked, or the EL's VALID (rule 5).
    pub(super) fn place(&mut self, facts: PayloadFacts, now: UnixMillis) -> Placed {
        let hash = facts.block_hash;
        let claimed = facts.new_payload_request_root;
        let known = match (self.tree.get(&hash), self.settled.get(&hash)) {
            (Some(node), _) => node.facts.map(|f| f.new_payload_request_root),
            (None, Some(settled)) => settled.root,
            (None, None) => None,
        };
        if let Some(known) = known.filter(|k| *k != claimed) {
            self.alarm(Alarm::RequestRootConflict {
                block_hash: hash,
                known,
                claimed,
            });
            return Placed::Refused;
        }
        if !self.tree.contains(&hash)
            && let Some(settled) = self.settled.get_mut(&hash)
        {
            if settled.root.replace(claimed).is_none() {
                self.out.dirty.insert(hash);
                self.out.durable |= self.config.policy != ImportPolicy::Observe;
            }
            return Placed::Settled;
        }
        if known.is_some() {
            return Placed::Here;
        }
        // One root names one payload; no payload is its own ancestor. No hash function allows either.
        let circular = hash == facts.parent_hash
            || (!self.tree.children(&hash).is_empty()
                && self.tree.is_ancestor_or_self(&hash, &facts.parent_hash));
        if circular || self.tree.hash_of_root(&claimed).is_some() {
            return Placed::Refused;
        }
        let mut node = self.tree.remove(&hash).unwrap_or_else(|| Node::new(None, now));
        node.facts = Some(facts);
        // What followed for it as a hash without a parent does not hold any more.
        node.standing = Standing::default();
        node.proofs = self.early.take(&claimed);
        node.waits_from = self.slot.max(facts.slot);
        let counted = self.config.counted_types;
        let mut came: Vec<_> = node
            .proofs
            .iter()
            .filter(|(t, _)| counted.contains(**t))
            .map(|(_, at)| *at)
            .collect();
        came.sort_unstable();
        let required = usize::from(self.config.required_proofs.get());
        let proven_at = came.get(required - 1).copied();
        if proven_at.is_some() {
            node.times.proven_at = node.times.proven_at.or(proven_at);
        }
        let reached = [
            (Step::Payload, Some(now)),
            (Step::FirstProof, came.first().copied()),
            (Step::Proven, proven_at),
        ];
        let (anchor, el) = (node.anchor, node.el);
        for (step, at) in reached {
            if let Some(at) = at {
                self.reached(&facts, step, at);
            }
        }
        self.tree.insert(hash, node);
        self.out.dirty.insert(hash);
        self.out.recalls.push(claimed);
        if anchor {
            self.mark_anchor_parent(&facts, now);
        }
        // What was said of it or of descendants before it had its place holds for it and for its ancestors.
        let children: Vec<_> = self
            .tree
            .children(&hash)
            .iter()
            .filter_map(|c| self.tree.get(c))
            .collect();
        let told = children.iter().any(|c| c.told_valid);
        let implied = children.iter().any(|c| c.el == ElStatus::Valid);
        let told_self = self.tree.get(&hash).is_some_and(|n| n.told_valid);
        if told || told_self {
            self.spread_told_valid(hash, now);
            // The next VALID of it waits for nothing: its root must be on disk by then (rule 5).
            self.out.durable |= self.config.policy != ImportPolicy::Observe;
        }
        if el == ElStatus::Valid || (implied && el == ElStatus::Unknown) {
            self.spread_el_valid(hash, |el| matches!(el, ElStatus::Unknown | ElStatus::Valid), now);
        }
        self.recompute(vec![hash], Cause::Payload, now);
        self.shed(hash, now);
        Placed::Here
    }

    pub(super) fn reached(&mut self, facts: &PayloadFacts, step: Step, at: UnixMillis) {
        self.out.reached.push(Milestone {
            block_hash: facts.block_hash,
            slot: facts.slot,
            step,
            at,
        });
    }

    /// Makes a payload known by its hash alone, unless it is known better.
    pub(super) fn touch(&mut self, hash: BlockHash, now: UnixMillis) {
        if hash.is_zero() || self.tree.contains(&hash) || self.settled.contains(&hash) {
            return;
        }
        self.insert_hash_only(hash, now);
        self.recompute(vec![hash], Cause::Payload, now);
        while let Some(oldest) = self.tree.hash_only_surplus() {
            let spare = self.head != Some(oldest)
                && self
                    .tree
                    .get(&oldest)
                    .is_some_and(|n| n.facts.is_none() && !n.anchor);
            if spare {
                self.drop_node(oldest, false, now);
            }
        }
    }

    /// What was said of its children holds for it.
    pub(super) fn insert_hash_only(&mut self, hash: BlockHash, now: UnixMillis) {
        let mut node = Node::new(None, now);
        for child in self.tree.children(&hash).iter().filter_map(|c| self.tree.get(c)) {
            node.told_valid |= child.told_valid;
            if child.el == ElStatus::Valid {
                node.el = ElStatus::Valid;
            }
        }
        self.tree.insert(hash, node);
        self.out.dirty.insert(hash);
    }
}
