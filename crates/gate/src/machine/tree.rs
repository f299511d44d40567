//! Payloads by block hash, and what follows from each for its descendants.

use super::{
    Gate,
    action::{Alarm, Cause, Milestone, PayloadVerdict, Step, VerdictChange},
    config::ImportPolicy,
    event::{PayloadFacts, UnixMillis},
    node::{ElStatus, Node, Standing},
};
use assay_types::{BlockHash, Root};
use std::collections::{HashMap, HashSet, VecDeque};

/// Payloads known by hash alone that are kept (anchors apart); the oldest is forgotten first.
pub(crate) const MAX_HASH_ONLY: usize = 1024;

/// Of two ways back to what is proven the shorter.
pub(crate) fn nearest(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

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
    /// What it would answer for the node now.
    pub(super) fn verdict(&self, node: &Node) -> PayloadVerdict {
        let standing = &node.standing;
        if standing.conflict && self.config.policy != ImportPolicy::Observe {
            // Rule 4: neither VALID nor INVALID while in conflict.
            return PayloadVerdict::Syncing;
        }
        let valid = match self.config.policy {
            ImportPolicy::Observe => node.el == ElStatus::Valid,
            // Rule 7: never better than the EL.
            ImportPolicy::RequireProofs => standing.behind.is_some() && standing.el_valid,
            // ACCEPTED is neither SYNCING nor silence.
            ImportPolicy::AcceptProofs => standing.supported && node.el != ElStatus::Accepted,
            ImportPolicy::ProofsOnly => standing.proven(),
        };
        match (valid, node.el) {
            (true, _) => PayloadVerdict::Valid,
            // Rule 1: the EL's own; without one there is none.
            (false, ElStatus::Invalid) if self.config.policy.has_execution_client() => {
                PayloadVerdict::Invalid
            }
            (false, _) => PayloadVerdict::Syncing,
        }
    }

    /// Whether proofs alone make it VALID while the EL is SYNCING or silent, or where there is none.
    pub(crate) fn is_raised(&self, hash: &BlockHash) -> bool {
        let raises = |node: &Node| match self.config.policy {
            ImportPolicy::Observe | ImportPolicy::RequireProofs => false,
            ImportPolicy::AcceptProofs => node.standing.supported && !node.standing.conflict,
            ImportPolicy::ProofsOnly => node.standing.proven() && !node.standing.conflict,
        };
        match (self.tree.get(hash), self.settled.get(hash)) {
            (Some(node), _) => raises(node),
            (None, Some(settled)) => {
                settled.valid
                    && !settled.conflict
                    && matches!(
                        self.config.policy,
                        ImportPolicy::AcceptProofs | ImportPolicy::ProofsOnly
                    )
            }
            (None, None) => false,
        }
    }

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

    /// The EL says VALID: it says so of every ancestor too.
    pub(super) fn mark_el_valid(&mut self, hash: BlockHash, now: UnixMillis) {
        self.spread_el_valid(hash, |_| true, now);
    }

    /// The EL's VALID for a payload and its ancestors, as far as it is news to them: a VALID from before the link
    /// between two payloads was known is older than what the EL said of the ancestor itself.
    fn spread_el_valid(&mut self, hash: BlockHash, is_news: fn(ElStatus) -> bool, now: UnixMillis) {
        let mut changed = Vec::new();
        let mut cursor = Some(hash);
        while let Some(node) = cursor.and_then(|h| self.tree.get_mut(&h).map(|n| (h, n))) {
            let (at, node) = node;
            if node.standing.el_valid || !is_news(node.el) {
                break;
            }
            if node.el != ElStatus::Valid {
                node.el = ElStatus::Valid;
                node.times.el_valid_at.get_or_insert(now);
                self.out.dirty.insert(at);
            }
            changed.push(at);
            cursor = node.parent();
        }
        // Oldest on top of the stack.
        self.recompute(changed, Cause::ExecutionClient, now);
    }

    /// The EL says of this payload alone that it is not (or no longer) VALID.
    pub(super) fn mark_el(&mut self, hash: BlockHash, status: ElStatus, now: UnixMillis) {
        let Some(node) = self.tree.get_mut(&hash) else {
            return;
        };
        if node.el == status {
            return;
        }
        node.el = status;
        self.out.dirty.insert(hash);
        self.recompute(vec![hash], Cause::ExecutionClient, now);
    }

    /// The beacon node is told VALID: from then on it takes the payload and its ancestors for valid.
    pub(super) fn tell_valid(&mut self, hash: BlockHash, now: UnixMillis) {
        if let Some(settled) = self.settled.get_mut(&hash)
            && !settled.told_valid
        {
            settled.told_valid = true;
            self.out.told_first.push(hash);
            self.out.dirty.insert(hash);
            self.out.durable |= self.config.policy != ImportPolicy::Observe;
        }
        if self.tree.get(&hash).is_some_and(|n| !n.told_valid) {
            // Not what a payload has from descendants that were told of before it had its place: that was heard.
            let told_first = self.spread_told_valid(hash, now);
            self.out.told_first.extend(told_first);
            self.out.durable |= self.config.policy != ImportPolicy::Observe;
        }
    }

    /// Gives those that were not told before.
    fn spread_told_valid(&mut self, hash: BlockHash, now: UnixMillis) -> Vec<BlockHash> {
        let mut told_first = Vec::new();
        let mut cursor = Some(hash);
        let mut first = true;
        while let Some((at, node)) = cursor.and_then(|h| self.tree.get_mut(&h).map(|n| (h, n))) {
            if node.told_valid && !first {
                break;
            }
            first = false;
            if !node.told_valid {
                told_first.push(at);
            }
            node.told_valid = true;
            node.times.told_valid_at.get_or_insert(now);
            self.out.dirty.insert(at);
            cursor = node.parent();
        }
        told_first
    }

    /// The beacon node was told SYNCING of the first of these in place of VALID, and with it VALID of none of them.
    pub(super) fn not_told(&mut self, payloads: &[BlockHash], now: UnixMillis) {
        for hash in payloads {
            if let Some(settled) = self.settled.get_mut(hash) {
                settled.told_valid = false;
                self.out.dirty.insert(*hash);
            }
            if let Some(node) = self.tree.get_mut(hash) {
                node.told_valid = false;
                node.times.told_valid_at = None;
                self.out.dirty.insert(*hash);
            }
        }
        if let Some(asked) = payloads.first() {
            self.tell_syncing(*asked, now);
        }
    }

    /// The beacon node is told SYNCING.
    pub(super) fn tell_syncing(&mut self, hash: BlockHash, now: UnixMillis) {
        if let Some(node) = self.tree.get_mut(&hash)
            && node.times.told_syncing_at.is_none()
        {
            node.times.told_syncing_at = Some(now);
            self.out.dirty.insert(hash);
        }
    }

    /// Rule 2: a trusted payload.
    pub(super) fn set_anchor(&mut self, hash: BlockHash, now: UnixMillis) {
        if hash.is_zero() || self.settled.contains(&hash) {
            return;
        }
        self.touch(hash, now);
        self.mark_anchor(hash, now);
        self.out.durable = true;
    }

    /// An anchor's ancestors are as trusted as itself: a reorg below it must not run into a hole.
    pub(super) fn mark_anchor(&mut self, hash: BlockHash, now: UnixMillis) {
        let mut changed = Vec::new();
        let mut cursor = hash;
        while let Some(node) = self.tree.get_mut(&cursor) {
            if node.anchor {
                break;
            }
            node.anchor = true;
            changed.push(cursor);
            let Some(facts) = node.facts else { break };
            if node.rooted.is_none() && !self.settled.contains(&facts.parent_hash) {
                self.touch_anchor(facts.parent_hash, now);
            }
            cursor = facts.parent_hash;
        }
        self.out.dirty.extend(changed.iter().copied());
        self.recompute(changed, Cause::Anchor, now);
    }

    fn mark_anchor_parent(&mut self, facts: &PayloadFacts, now: UnixMillis) {
        if !self.settled.contains(&facts.parent_hash) {
            self.touch_anchor(facts.parent_hash, now);
            self.mark_anchor(facts.parent_hash, now);
        }
    }

    /// As `touch`, without making room: the node is about to become an anchor.
    fn touch_anchor(&mut self, hash: BlockHash, now: UnixMillis) {
        if !hash.is_zero() && !self.tree.contains(&hash) {
            self.insert_hash_only(hash, now);
        }
    }

    /// What was said of its children holds for it.
    fn insert_hash_only(&mut self, hash: BlockHash, now: UnixMillis) {
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

    /// What a payload gets from its parent.
    fn inherited(&self, node: &Node) -> Standing {
        let none = Standing {
            el_valid: true,
            ..Standing::default()
        };
        let Some(parent) = node.parent() else { return none };
        if let Some(parent) = self.tree.get(&parent) {
            return parent.standing;
        }
        self.settled.get(&parent).map_or(none, |s| Standing {
            behind: s.behind,
            supported: s.valid,
            el_valid: true,
            conflict: s.conflict,
        })
    }

    /// Brings standing and verdict of these payloads, and of whoever depends on them, up to date.
    pub(super) fn recompute(&mut self, mut stack: Vec<BlockHash>, cause: Cause, now: UnixMillis) {
        while let Some(hash) = stack.pop() {
            if self.recompute_one(hash, cause, now) {
                stack.extend_from_slice(self.tree.children(&hash));
            }
        }
    }

    /// As `recompute`, of the whole tree, parents first.
    pub(super) fn recompute_all(&mut self, cause: Cause, now: UnixMillis) {
        let is_top = |n: &Node| n.parent().is_none_or(|p| !self.tree.contains(&p));
        let mut stack: Vec<_> = self
            .tree
            .iter()
            .filter(|(_, n)| is_top(n))
            .map(|(hash, _)| *hash)
            .collect();
        while let Some(hash) = stack.pop() {
            self.recompute_one(hash, cause, now);
            stack.extend_from_slice(self.tree.children(&hash));
        }
    }

    /// Whether its standing changed.
    fn recompute_one(&mut self, hash: BlockHash, cause: Cause, now: UnixMillis) -> bool {
        let Some(node) = self.tree.get(&hash) else {
            return false;
        };
        let parent = self.inherited(node);
        let proven_itself = node.is_proven(&self.config);
        let invalid = node.el == ElStatus::Invalid;
        let behind = match nearest(node.rooted, parent.behind) {
            // What an EL called INVALID before there was none.
            _ if invalid && !self.config.policy.has_execution_client() => None,
            _ if node.anchor => Some(0),
            Some(0) if proven_itself || node.released => Some(0),
            Some(behind) if behind < self.config.lag() => Some(behind + 1),
            _ => None,
        };
        let on_supported = node.rooted.is_some() || parent.supported;
        let standing = Standing {
            behind,
            supported: !invalid
                && (node.anchor || node.el == ElStatus::Valid || (proven_itself && on_supported)),
            el_valid: node.el == ElStatus::Valid && parent.el_valid,
            conflict: node.conflict || parent.conflict,
        };
        let (before, standing_before) = (node.verdict, node.standing);
        let Some(node) = self.tree.get_mut(&hash) else {
            return false;
        };
        node.standing = standing;
        let verdict = match self.tree.get(&hash) {
            Some(node) => self.verdict(node),
            None => return false,
        };
        if before != Some(verdict) {
            self.verdict_changed(hash, verdict, cause, now);
        }
        standing != standing_before
    }

    fn verdict_changed(&mut self, hash: BlockHash, to: PayloadVerdict, cause: Cause, now: UnixMillis) {
        let Some(node) = self.tree.get_mut(&hash) else {
            return;
        };
        let from = node.verdict.replace(to);
        if to == PayloadVerdict::Valid {
            if node.times.valid_at.is_none() {
                node.times.valid_at = Some(now);
                if node.times.told_syncing_at.is_some() {
                    self.stats.syncing_first_valid_later += 1;
                }
                if let Some(facts) = node.facts {
                    self.out.reached.push(Milestone {
                        block_hash: hash,
                        slot: facts.slot,
                        step: Step::Valid,
                        at: now,
                    });
                }
            }
            self.prune_again = true;
            self.out.durable |= self.config.policy != ImportPolicy::Observe;
            self.out.dirty.insert(hash);
        }
        self.out.changes.push(VerdictChange {
            block_hash: hash,
            new_payload_request_root: node.facts.map(|f| f.new_payload_request_root),
            slot: node.facts.map(|f| f.slot),
            from,
            to,
            cause,
            at: now,
            seen_at: node.times.seen_at,
            first_proof_at: node.proofs.values().min().copied(),
            proven_at: node.times.proven_at,
            held_by: None,
            first_told_syncing: node.first_told_syncing(),
        });
    }
}
