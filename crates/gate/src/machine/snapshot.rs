//! What is shown of the gate: one payload, and the whole in numbers.

use super::{
    Gate,
    action::{Decision, HeldBy, PayloadVerdict},
    config::ImportPolicy,
    event::{ElAnswer, StatusWord, UnixMillis},
    explain::Holders,
    node::{ElStatus, Node, Times},
};
use assay_types::{BlockHash, ForkName, ProofType, Root, Slot};

/// A payload as the gate has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadView {
    /// Its execution block's hash.
    pub block_hash: BlockHash,
    /// Its parent's; `None` while it is known by hash alone.
    pub parent_hash: Option<BlockHash>,
    /// Its request root; `None` while it is known by hash alone.
    pub new_payload_request_root: Option<Root>,
    /// Its slot; `None` while it is known by hash alone.
    pub slot: Option<Slot>,
    /// Its fork; `None` while it is known by hash alone.
    pub fork: Option<ForkName>,
    /// The EL's last word.
    pub el_status: ElStatus,
    /// Proof types verified, and when each came.
    pub proofs: Vec<(ProofType, UnixMillis)>,
    /// Distinct types it needs.
    pub required_proofs: u8,
    /// Whether it has them: distinct types that count.
    pub proven: bool,
    /// Whether it and its ancestors up to an anchor are proven, or were released.
    pub proven_chain: bool,
    /// Whether the execution client's word is enough for it, its grace over (`--on-missing-proofs trust-execution`).
    pub released: bool,
    /// What it would be answered now.
    pub verdict: PayloadVerdict,
    /// What keeps it from VALID.
    pub held_by: Option<HeldBy>,
    /// Rule 2: trusted.
    pub anchor: bool,
    /// The beacon node was told that it, or a descendant, is VALID.
    pub told_valid: bool,
    /// Rule 4: told VALID, then called INVALID by the EL.
    pub conflict: bool,
    /// Whether the beacon node was told SYNCING before VALID.
    pub first_told_syncing: bool,
    /// When what happened.
    pub times: Times,
}

/// The gate in numbers. Counters are since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateStats {
    /// The policy in force.
    pub policy: ImportPolicy,
    /// Distinct proof types that make a payload proven.
    pub required_proofs: u8,
    /// Head of the last fcU.
    pub head: Option<BlockHash>,
    /// Its verdict.
    pub head_verdict: Option<PayloadVerdict>,
    /// Payloads in the tree.
    pub payloads: usize,
    /// Payloads remembered after they left it.
    pub settled: usize,
    /// Calls answered VALID.
    pub answered_valid: u64,
    /// Calls answered INVALID.
    pub answered_invalid: u64,
    /// Calls answered SYNCING or ACCEPTED.
    pub answered_syncing: u64,
    /// Of these, calls that the EL answered better.
    pub lowered: u64,
    /// Of those answered VALID, calls that the EL did not answer so.
    pub raised: u64,
    /// Calls without an answer of the EL's, or with an error of its.
    pub unanswered: u64,
    /// Alarms.
    pub alarms: u64,
    /// Payloads of which the beacon node was told SYNCING and whose verdict turned VALID later.
    pub syncing_first_valid_later: u64,
}

impl GateStats {
    pub(super) fn count_answer(&mut self, decision: &Decision, answer: ElAnswer) {
        let counter = match (decision, answer) {
            (Decision::LowerToSyncing(_), answer) => {
                self.lowered += u64::from(answer != ElAnswer::Unavailable);
                &mut self.answered_syncing
            }
            (Decision::RaiseToValid(_), _) => {
                self.raised += 1;
                &mut self.answered_valid
            }
            (Decision::Invalid, _) => &mut self.answered_invalid,
            (Decision::InvalidForkchoiceState, _) => &mut self.unanswered,
            (Decision::PassThrough, ElAnswer::Status { status, .. }) => match status {
                StatusWord::Valid => &mut self.answered_valid,
                StatusWord::Invalid => &mut self.answered_invalid,
                StatusWord::Syncing | StatusWord::Accepted => &mut self.answered_syncing,
            },
            (Decision::PassThrough, ElAnswer::Error | ElAnswer::Unavailable | ElAnswer::Unreadable) => {
                &mut self.unanswered
            }
        };
        *counter += 1;
    }
}

impl Gate {
    /// A payload by its execution block hash.
    pub fn payload(&self, block_hash: &BlockHash) -> Option<PayloadView> {
        let node = self.tree.get(block_hash)?;
        Some(self.view(*block_hash, node, self.held_by(block_hash)))
    }

    /// A payload by its request root.
    pub fn payload_by_root(&self, new_payload_request_root: &Root) -> Option<PayloadView> {
        self.tree
            .hash_of_root(new_payload_request_root)
            .and_then(|hash| self.payload(&hash))
    }

    /// What would be answered for a payload if the EL said VALID of it now, payloads that left the tree included.
    pub fn holds_back(&self, block_hash: &BlockHash) -> Option<HeldBy> {
        self.held_by(block_hash)
    }

    /// Payloads with slots in `[from, to]`, by slot; where there are more than `limit`, the newest.
    pub fn payloads(&self, from: Slot, to: Slot, limit: usize) -> Vec<PayloadView> {
        self.payloads_among(from, to, limit, &mut Holders::default())
    }

    /// As `payloads`; says in `known` what it took.
    pub(super) fn payloads_among(
        &self,
        from: Slot,
        to: Slot,
        limit: usize,
        known: &mut Holders,
    ) -> Vec<PayloadView> {
        let in_range = |node: &Node| node.facts.is_some_and(|f| from <= f.slot && f.slot <= to);
        let mut found: Vec<_> = self
            .tree
            .iter()
            .filter(|(_, n)| in_range(n))
            .map(|(h, n)| (n.facts.map(|f| f.slot), *h))
            .collect();
        found.sort_unstable();
        let skipped = found.len().saturating_sub(limit);
        found
            .iter()
            .skip(skipped)
            .filter_map(|(_, hash)| {
                let node = self.tree.get(hash)?;
                Some(self.view(*hash, node, self.held_by_among(hash, Some(&mut *known))))
            })
            .collect()
    }

    /// Request roots of payloads that are held back for want of proofs of their own: the oldest first, at most `limit`.
    pub fn unproven(&self, limit: usize) -> Vec<Root> {
        let lacks = |node: &Node| {
            !node.anchor
                && !node.is_proven(&self.config)
                // With a lag its descendants will need it soon.
                && (self.verdict(node) != PayloadVerdict::Valid || self.config.lag() > 0)
        };
        let mut found: Vec<_> = self
            .tree
            .iter()
            .filter(|(_, node)| lacks(node))
            .filter_map(|(_, node)| node.facts.map(|f| (f.slot, f.new_payload_request_root)))
            .collect();
        // The oldest few of what may be a full tree.
        if found.len() > limit {
            found.select_nth_unstable(limit);
            found.truncate(limit);
        }
        found.sort_unstable();
        found.into_iter().map(|(_, root)| root).collect()
    }

    /// Payloads that have the proofs they need and that the EL calls INVALID, by slot; at most `limit`. One of the two is
    /// wrong, whatever the policy.
    pub fn disagreements(&self, limit: usize) -> Vec<BlockHash> {
        let mut found: Vec<_> = self
            .tree
            .iter()
            .filter(|(_, node)| node.el == ElStatus::Invalid && node.is_proven(&self.config))
            .map(|(hash, node)| (node.facts.map(|f| f.slot), *hash))
            .collect();
        found.sort_unstable();
        found.into_iter().take(limit).map(|(_, hash)| hash).collect()
    }

    /// Newest payload of the canonical chain that is proven with all its ancestors.
    pub fn newest_proven(&self) -> Option<PayloadView> {
        let mut cursor = self.head;
        while let Some((hash, node)) = cursor.and_then(|h| self.tree.get(&h).map(|n| (h, n))) {
            if node.standing.proven() && !node.standing.conflict {
                return Some(self.view(hash, node, self.held_by(&hash)));
            }
            cursor = node.parent();
        }
        None
    }

    /// The gate in numbers.
    pub fn stats(&self) -> GateStats {
        GateStats {
            policy: self.config.policy,
            required_proofs: self.config.required_proofs.get(),
            head: self.head,
            head_verdict: self.head.and_then(|h| self.tree.get(&h)).map(|n| self.verdict(n)),
            payloads: self.tree.len(),
            settled: self.settled.len(),
            ..self.stats
        }
    }

    fn view(&self, block_hash: BlockHash, node: &Node, held_by: Option<HeldBy>) -> PayloadView {
        PayloadView {
            block_hash,
            parent_hash: node.facts.map(|f| f.parent_hash),
            new_payload_request_root: node.facts.map(|f| f.new_payload_request_root),
            slot: node.facts.map(|f| f.slot),
            fork: node.facts.map(|f| f.fork),
            el_status: node.el,
            proofs: node.proofs.iter().map(|(t, at)| (*t, *at)).collect(),
            required_proofs: self.config.required_proofs.get(),
            proven: node.is_proven(&self.config),
            proven_chain: node.standing.proven() && !node.standing.conflict,
            released: node.released,
            verdict: self.verdict(node),
            held_by,
            anchor: node.anchor,
            told_valid: node.told_valid,
            conflict: node.conflict,
            first_told_syncing: node.first_told_syncing(),
            times: node.times,
        }
    }
}
