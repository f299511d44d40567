//! Blocks and envelopes that are wanted: which are under way, which wait for another try, which were given up.

use super::step::{Reply, Request};
use crate::tree::Tree;
use assay_types::Root;
use lru::LruCache;
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

/// Blocks asked for at once.
pub(super) const MAX_BLOCK_REQUESTS: usize = 3;
/// Envelopes asked for at once.
pub(super) const MAX_ENVELOPE_REQUESTS: usize = 3;
/// Blocks of other branches wanted at once.
pub(super) const MAX_BRANCH_BLOCKS: usize = 64;
/// Ancestors followed on another branch than the head's.
pub(super) const MAX_BRANCH_DEPTH: u32 = 32;
/// Envelopes wanted at once; the oldest want goes.
pub(super) const MAX_ENVELOPES: usize = 1024;
/// Roots remembered that are of no use, and envelopes announced before their block was here.
pub(super) const MAX_REMEMBERED: usize = 1024;
/// "Not found" so often means that the node does not have it.
pub(super) const NOT_FOUND_TRIES: u32 = 3;
/// Wait before a request that failed is made again; doubled each time.
const RETRY_AFTER: Duration = Duration::from_millis(250);
const RETRY_AT_MOST: Duration = Duration::from_secs(8);

const fn remembered() -> NonZeroUsize {
    match NonZeroUsize::new(MAX_REMEMBERED) {
        Some(n) => n,
        None => NonZeroUsize::MIN,
    }
}

#[derive(Debug, Clone, Copy)]
struct Try {
    /// When the next is due; `None`: under way.
    due: Option<Instant>,
    failed: u32,
    not_found: u32,
}

impl Try {
    fn at(due: Instant) -> Self {
        Self {
            due: Some(due),
            failed: 0,
            not_found: 0,
        }
    }

    fn again(&mut self, times: u32, now: Instant) {
        self.due = Some(now + RETRY_AFTER.saturating_mul(1 << times.min(6)).min(RETRY_AT_MOST));
    }
}

/// Why a block is not asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Useless {
    /// The node does not have it, or what it gives cannot be read: the view may begin above it.
    Gone,
    /// The tree refused it.
    Refused,
}

#[derive(Debug)]
pub(super) struct Wants {
    slot_duration: Duration,
    blocks: HashMap<Root, Try>,
    /// Blocks of other branches, and how far below the one that was told.
    branches: HashMap<Root, u32>,
    envelopes: HashMap<Root, Try>,
    useless: LruCache<Root, Useless>,
    announced: LruCache<Root, ()>,
}

impl Wants {
    pub(super) fn new(slot_duration: Duration) -> Self {
        Self {
            slot_duration,
            blocks: HashMap::new(),
            branches: HashMap::new(),
            envelopes: HashMap::new(),
            useless: LruCache::new(remembered()),
            announced: LruCache::new(remembered()),
        }
    }

    /// A block of whichever branch was imported by the node.
    pub(super) fn branch(&mut self, root: Root, tree: &Tree) {
        self.want_branch(root, 0, tree);
    }

    fn want_branch(&mut self, root: Root, depth: u32, tree: &Tree) {
        if !tree.has_block(&root) && depth <= MAX_BRANCH_DEPTH && self.branches.len() < MAX_BRANCH_BLOCKS {
            self.branches.entry(root).or_insert(depth);
        }
    }

    /// The block is in the tree: its parent may be wanted next, and its envelope.
    pub(super) fn block_is_here(&mut self, root: Root, tree: &Tree, now: Instant) {
        self.blocks.remove(&root);
        let Some(block) = tree.block(&root) else { return };
        let finalized = tree
            .finalized_slot()
            .is_some_and(|finalized| block.slot <= finalized);
        if let Some(depth) = self.branches.remove(&root)
            && !finalized
        {
            self.want_branch(block.parent_root, depth + 1, tree);
        }
        // A child that builds on it shows that the envelope is there.
        if tree.lacks_envelope(&block.parent_root) && tree.builds_on_parents_payload(&root) {
            self.want_envelope(block.parent_root, now);
        }
        if tree.lacks_envelope(&root) {
            // The newest block's envelope is yet to come, and an event will tell; others were there long before.
            let newest = tree.head().is_none_or(|head| head.slot <= block.slot);
            let wait = newest && self.announced.pop(&root).is_none();
            self.want_envelope(root, if wait { now + self.slot_duration / 2 } else { now });
        }
    }

    /// An event told that a block's envelope can be had.
    pub(super) fn envelope_is_there(&mut self, root: Root, tree: &Tree, now: Instant) {
        if tree.lacks_envelope(&root) {
            self.want_envelope(root, now);
        } else if !tree.has_block(&root) {
            self.announced.put(root, ());
        }
    }

    fn want_envelope(&mut self, root: Root, due: Instant) {
        if self.envelopes.len() >= MAX_ENVELOPES && !self.envelopes.contains_key(&root) {
            let waiting = self
                .envelopes
                .iter()
                .filter_map(|(root, attempt)| Some((attempt.due?, *root)));
            if let Some((_, oldest)) = waiting.min() {
                self.envelopes.remove(&oldest);
            }
        }
        let attempt = self.envelopes.entry(root).or_insert(Try::at(due));
        if let Some(at) = &mut attempt.due {
            *at = (*at).min(due);
            attempt.not_found = 0;
        }
    }

    pub(super) fn envelope_answered(&mut self, root: Root, reply: &Reply, now: Instant) {
        let Some(attempt) = self.envelopes.get_mut(&root) else {
            return;
        };
        match reply {
            Reply::NotFound if attempt.not_found + 1 < NOT_FOUND_TRIES => {
                attempt.not_found += 1;
                attempt.due = Some(now + self.slot_duration / 2);
            }
            Reply::Failed(_) => {
                attempt.failed += 1;
                attempt.again(attempt.failed, now);
            }
            // It is here, it is withheld, or it is of no use.
            _ => drop(self.envelopes.remove(&root)),
        }
    }

    /// Whether the node does not have it, by now.
    pub(super) fn not_found(&mut self, root: Root, now: Instant) -> bool {
        let attempt = self.blocks.entry(root).or_insert(Try::at(now));
        attempt.not_found += 1;
        attempt.again(attempt.not_found, now);
        attempt.not_found >= NOT_FOUND_TRIES
    }

    pub(super) fn failed(&mut self, root: Root, now: Instant) {
        let attempt = self.blocks.entry(root).or_insert(Try::at(now));
        attempt.failed += 1;
        attempt.again(attempt.failed, now);
    }

    pub(super) fn forget(&mut self, root: Root) {
        self.blocks.remove(&root);
        self.branches.remove(&root);
    }

    /// Not to be asked for again.
    pub(super) fn useless(&mut self, root: Root, why: Useless) {
        self.forget(root);
        self.useless.put(root, why);
    }

    pub(super) fn is_gone(&self, root: &Root) -> bool {
        self.useless.peek(root) == Some(&Useless::Gone)
    }

    pub(super) fn is_useless(&self, root: &Root) -> bool {
        self.useless.contains(root)
    }

    /// The connection is gone: nothing is under way, what was of no use may be of use to another node.
    pub(super) fn give_up_requests(&mut self, now: Instant) {
        self.blocks.clear();
        self.useless.clear();
        for attempt in self.envelopes.values_mut() {
            attempt.due.get_or_insert(now);
        }
    }

    /// The node speaks of it again.
    pub(super) fn hope(&mut self, root: &Root) {
        self.useless.pop(root);
    }

    fn block_room(&self) -> usize {
        MAX_BLOCK_REQUESTS.saturating_sub(under_way(&self.blocks))
    }

    fn envelope_room(&self) -> usize {
        MAX_ENVELOPE_REQUESTS.saturating_sub(under_way(&self.envelopes))
    }

    /// What is due now, marked as under way. `roots`: the blocks that head and finality want, first things first.
    pub(super) fn due(&mut self, roots: &[Root], tree: &Tree, now: Instant) -> Vec<Request> {
        self.branches.retain(|root, _| !tree.has_block(root));
        self.envelopes
            .retain(|root, attempt| attempt.due.is_none() || tree.lacks_envelope(root));
        let wanted = |root: &Root| roots.contains(root) || self.branches.contains_key(root);
        self.blocks
            .retain(|root, attempt| attempt.due.is_none() || wanted(root));

        let mut requests = Vec::new();
        let mut room = self.block_room();
        let branches: Vec<Root> = self.branches.keys().copied().collect();
        for root in roots.iter().chain(&branches) {
            if room == 0 {
                break;
            }
            if self.useless.contains(root) || tree.has_block(root) {
                continue;
            }
            let attempt = self.blocks.entry(*root).or_insert(Try::at(now));
            if attempt.due.is_some_and(|due| due <= now) {
                attempt.due = None;
                room -= 1;
                requests.push(Request::Block(*root));
            }
        }
        let room = self.envelope_room();
        let due = self
            .envelopes
            .iter_mut()
            .filter(|(_, attempt)| attempt.due.is_some_and(|due| due <= now));
        for (root, attempt) in due.take(room) {
            attempt.due = None;
            requests.push(Request::Envelope(*root));
        }
        requests
    }

    /// When the next becomes due for which there is room.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = |attempts: &HashMap<Root, Try>| attempts.values().filter_map(|attempt| attempt.due).min();
        let blocks = due(&self.blocks).filter(|_| self.block_room() > 0);
        let envelopes = due(&self.envelopes).filter(|_| self.envelope_room() > 0);
        blocks.into_iter().chain(envelopes).min()
    }
}

fn under_way(attempts: &HashMap<Root, Try>) -> usize {
    attempts.values().filter(|attempt| attempt.due.is_none()).count()
}
