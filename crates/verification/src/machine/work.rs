//! Work of one kind that only so many may do at once.

use super::{held::CandidateId, room::Room};

/// Candidates whose work is being done, at most `limit`, and those whose work waits.
pub(crate) struct WorkQueue {
    limit: usize,
    running: Vec<CandidateId>,
    waiting: Vec<CandidateId>,
}

impl WorkQueue {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            running: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, id: CandidateId) {
        self.waiting.push(id);
    }

    /// The next to be worked on, if a hand is free: the best class first, then whoever has the least under way, so that
    /// one peer's flood does not stand in front of another's single proof, then the oldest.
    pub(crate) fn start(&mut self, room: &Room) -> Option<CandidateId> {
        if self.running.len() >= self.limit {
            return None;
        }
        let under_way = |id: CandidateId| {
            let holder = room.get(id).map(|h| &h.holder);
            self.running
                .iter()
                .filter(|r| room.get(**r).map(|h| &h.holder) == holder)
                .count()
        };
        let (place, id) = self.waiting.iter().copied().enumerate().min_by_key(|(_, id)| {
            let class = room.get(*id).map(super::held::Held::class);
            (class, under_way(*id), *id)
        })?;
        self.waiting.swap_remove(place);
        self.running.push(id);
        Some(id)
    }

    /// The work is done, or the candidate let go before it began.
    pub(crate) fn remove(&mut self, id: CandidateId) {
        self.running.retain(|r| *r != id);
        self.waiting.retain(|w| *w != id);
    }
}
