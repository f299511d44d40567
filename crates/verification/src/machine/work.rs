//! Work of one kind that only so many may do at once.

use super::{
    held::{CandidateId, Class, Holder},
    room::Room,
};
use lru::LruCache;
use std::num::NonZeroUsize;

/// Holders whose last turn is remembered; who is forgotten goes first again.
const REMEMBERED_TURNS: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// Candidates whose work is being done, at most `limit`, and those whose work waits.
pub(crate) struct WorkQueue {
    limit: usize,
    running: Vec<CandidateId>,
    waiting: Vec<CandidateId>,
    turns: u64,
    last_turn: LruCache<Holder, u64>,
}

impl WorkQueue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            running: Vec::new(),
            waiting: Vec::new(),
            turns: 0,
            last_turn: LruCache::new(REMEMBERED_TURNS),
        }
    }

    pub(crate) fn push(&mut self, id: CandidateId) {
        self.waiting.push(id);
    }

    /// The next to be worked on, if a hand is free: the best class first, then whoever had a turn longest ago, so that
    /// one peer's flood does not stand in front of another's single proof, then the oldest.
    pub(crate) fn start(&mut self, room: &Room) -> Option<CandidateId> {
        if self.running.len() >= self.limit {
            return None;
        }
        let (place, id) = self.waiting.iter().copied().enumerate().min_by_key(|(_, id)| {
            let held = room.get(*id);
            let class = held.map_or(Class::Local, |h| h.class());
            let last_turn = held.and_then(|h| self.last_turn.peek(&h.holder)).copied();
            (class, last_turn, *id)
        })?;
        self.waiting.swap_remove(place);
        self.running.push(id);
        self.turns += 1;
        if let Some(held) = room.get(id) {
            self.last_turn.put(held.holder.clone(), self.turns);
        }
        Some(id)
    }

    /// The work is done, or the candidate let go before it began.
    pub(crate) fn remove(&mut self, id: CandidateId) {
        self.running.retain(|r| *r != id);
        self.waiting.retain(|w| *w != id);
    }
}
