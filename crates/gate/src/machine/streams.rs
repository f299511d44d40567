//! Heads and finality as one beacon node names them: what two beacon nodes that share one JWT secret look like, and whose
//! finality may prune (design.md gate rule 11).
//!
//! A beacon node names heads of one line, and leaves it for another at a reorg; two of them on different branches go
//! from line to line with each call. A finalized hash is never followed by an older one, but after a restart; two nodes of
//! which one is behind go forward and back with each call. Neither is told of before it has come about several times, for no
//! single reorg and no restart is an alarm.

use super::{
    Gate,
    action::Alarm,
    event::{ForkchoiceState, UnixMillis},
};
use assay_types::{BlockHash, Slot};
use std::collections::VecDeque;

/// What is longer ago says nothing of how many beacon nodes there are now.
const WINDOW_MS: u64 = 300_000;
/// Returns to a line of heads that was left, within the window, that no single beacon node makes.
const MAX_LINE_RETURNS: usize = 8;
/// The same of finalized hashes.
const MAX_FINALITY_RETURNS: usize = 4;
/// Finalized hashes that are remembered.
const FINALIZED_KEPT: usize = 4;
/// Wait until the same is told again, while it goes on.
const TOLD_AGAIN_MS: u64 = 3_600_000;
/// Payloads walked back to see whether two are on one line, at most; farther apart they count as of two.
const MAX_LINE: usize = 65_536;

/// What was named lately. Not kept over a restart: it shows itself again within a minute.
#[derive(Debug, Clone, Default)]
pub(super) struct HeadStreams {
    /// Head of the line that was left last, and when it was named last.
    left: Option<(BlockHash, UnixMillis)>,
    /// When the last head was named.
    named_at: UnixMillis,
    line_returns: VecDeque<UnixMillis>,
    /// Distinct finalized hashes, newest last.
    finalized: VecDeque<BlockHash>,
    finality_returns: VecDeque<UnixMillis>,
    told_at: Option<UnixMillis>,
    /// Finality that was told to be of no use.
    refused: Option<BlockHash>,
}

impl HeadStreams {
    /// Notes a finalized hash; one that was named before another is a return.
    fn note_finalized(&mut self, finalized: BlockHash, now: UnixMillis) {
        if self.finalized.back() == Some(&finalized) {
            return;
        }
        if let Some(at) = self.finalized.iter().position(|f| *f == finalized) {
            self.finalized.remove(at);
            note(&mut self.finality_returns, now, MAX_FINALITY_RETURNS);
        }
        self.finalized.push_back(finalized);
        if self.finalized.len() > FINALIZED_KEPT {
            self.finalized.pop_front();
        }
    }

    /// Whether what was seen within the window is more than one beacon node does.
    fn are_two(&self, now: UnixMillis) -> bool {
        let many = |times: &VecDeque<UnixMillis>, limit: usize| {
            times.len() >= limit && times.iter().all(|at| now.since(*at) <= WINDOW_MS)
        };
        many(&self.line_returns, MAX_LINE_RETURNS) || many(&self.finality_returns, MAX_FINALITY_RETURNS)
    }
}

fn note(times: &mut VecDeque<UnixMillis>, now: UnixMillis, limit: usize) {
    times.push_back(now);
    while times.len() > limit {
        times.pop_front();
    }
}

impl Gate {
    /// The primary beacon node names a head and what is finalized; `self.head` is the one before.
    pub(super) fn note_streams(&mut self, state: &ForkchoiceState, now: UnixMillis) {
        let before = self.head.filter(|head| *head != state.head);
        if let Some(before) = before
            && !self.on_one_line(&before, &state.head)
        {
            let returned = self
                .streams
                .left
                .is_some_and(|(left, at)| now.since(at) <= WINDOW_MS && self.on_one_line(&left, &state.head));
            if returned {
                note(&mut self.streams.line_returns, now, MAX_LINE_RETURNS);
            }
            self.streams.left = Some((before, self.streams.named_at));
        }
        self.streams.named_at = now;
        self.streams.note_finalized(state.finalized, now);
        let told = self.streams.told_at;
        if self.streams.are_two(now) && told.is_none_or(|at| now.since(at) >= TOLD_AGAIN_MS) {
            self.streams.told_at = Some(now);
            self.alarm(Alarm::TwoBeaconNodes {
                head: state.head,
                other_head: self.streams.left.map_or(state.head, |(left, _)| left),
            });
        }
    }

    /// Finality as a call names it. It prunes only where the call's head stands on it, and so does every other head that was
    /// named lately: what cuts off a branch that is still followed is another beacon node's, or that of a reorg so deep that
    /// the prune may wait until the old branch is named no more.
    pub(super) fn finality_of_call(&mut self, state: &ForkchoiceState, now: UnixMillis) {
        let finalized = state.finalized;
        if self.is_applied(&finalized) || !self.tree.contains(&finalized) {
            return;
        }
        if !self.tree.is_ancestor_or_self(&finalized, &state.head) {
            // Where the head's chain has a hole nobody knows, and it is asked again with the next call.
            if !self.may_descend(state.head, finalized)
                && self.streams.refused.replace(finalized) != Some(finalized)
            {
                self.alarm(Alarm::ForeignFinality {
                    head: state.head,
                    finalized,
                });
            }
            return;
        }
        let left = self.streams.left.filter(|(_, at)| now.since(*at) <= WINDOW_MS);
        let followed = self.head.into_iter().chain(left.map(|(head, _)| head));
        let contested = followed
            .into_iter()
            .any(|head| !self.on_one_line(&head, &finalized));
        if !contested {
            self.finalize(finalized, now);
        }
    }

    /// Whether one of two payloads is an ancestor of the other, or they are the same. False also where nobody knows, but of
    /// what left the tree by finality.
    fn on_one_line(&self, one: &BlockHash, other: &BlockHash) -> bool {
        if one == other {
            return true;
        }
        if [one, other]
            .iter()
            .any(|h| self.settled.get(h).is_some_and(|s| s.canonical))
        {
            return true;
        }
        let slot = |hash: &BlockHash| self.tree.get(hash).and_then(|n| n.facts).map(|f| f.slot);
        match (slot(one), slot(other)) {
            (Some(a), Some(b)) if a < b => self.reaches_back(other, one, a),
            (Some(_), Some(b)) => self.reaches_back(one, other, b),
            // The parent of what is known, itself known by its hash alone.
            (None, Some(_)) => self.reaches_back(other, one, Slot(0)),
            (Some(_), None) => self.reaches_back(one, other, Slot(0)),
            (None, None) => false,
        }
    }

    /// Whether `older`, of slot `slot`, is an ancestor of `newer`.
    fn reaches_back(&self, newer: &BlockHash, older: &BlockHash, slot: Slot) -> bool {
        let mut cursor = *newer;
        for _ in 0..MAX_LINE {
            if cursor == *older {
                return true;
            }
            match self.tree.get(&cursor).and_then(|n| n.facts) {
                Some(facts) if facts.slot >= slot => cursor = facts.parent_hash,
                _ => return false,
            }
        }
        false
    }
}
