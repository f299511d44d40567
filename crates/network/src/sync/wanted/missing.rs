//! One proof that is missing: whom it was asked of, whom it may be asked of, when that is over.

use crate::sync::{
    limits::{FIRST_OWN_PAUSE, MAX_OWN_PAUSE, ROUNDS},
    sources::{SourceIndex, SourceSet, Sources},
};
use assay_types::{ProofType, Slot};
use std::time::Duration;

/// One proof that is missing.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    pub(crate) proof_type: ProofType,
    /// Rounds that are over.
    pub(super) round: u8,
    /// Not asked for before.
    pub(super) due: Duration,
    /// Requests under way that ask for it.
    pub(super) under_way: u8,
    /// When the last of them began, and of whom it was.
    pub(super) since: Duration,
    pub(super) last: Option<SourceIndex>,
    /// With the verifier.
    pub(super) judging: bool,
    /// How long it waits the next time that this node cannot judge it.
    own_pause: Duration,
    /// The engine judges no such proofs after all.
    pub(super) unwanted: bool,
    /// Whom it was asked of in this round, and who answered without it.
    pub(super) asked: SourceSet,
}

impl Missing {
    pub(super) fn new(proof_type: ProofType, due: Duration) -> Self {
        Self {
            proof_type,
            round: 0,
            due,
            under_way: 0,
            since: Duration::ZERO,
            last: None,
            judging: false,
            own_pause: FIRST_OWN_PAUSE,
            unwanted: false,
            asked: SourceSet::default(),
        }
    }

    /// Who may be asked for it now: usable, not asked in this round, and where there are such those that claim to have
    /// its slot. With `hedge` a second one, once the first has had it for so long.
    pub(super) fn open_to(
        &self,
        sources: &Sources,
        slot: Slot,
        hedge: Option<Duration>,
        now: Duration,
    ) -> SourceSet {
        let is_free = match (self.under_way, hedge) {
            (0, _) => true,
            (1, Some(after)) => now.saturating_sub(self.since) >= after,
            _ => false,
        };
        if self.unwanted || self.judging || !is_free || self.due > now {
            return SourceSet::default();
        }
        let mut open = sources.for_type(self.proof_type).without(&self.asked);
        if let (1.., Some(last)) = (self.under_way, self.last) {
            open.remove(last);
        }
        let claiming = open.and(&sources.claiming(slot));
        if claiming.is_empty() { open } else { claiming }
    }

    pub(super) fn is_not_obtainable(&self, sources: &Sources) -> bool {
        if self.unwanted {
            return true;
        }
        if self.under_way > 0 || self.judging {
            return false;
        }
        let usable = sources.for_type(self.proof_type);
        // Without anybody to ask nothing can be told.
        (usable.is_empty() && sources.usable() > 0)
            || self.round + 1 >= ROUNDS && !usable.is_empty() && usable.without(&self.asked).is_empty()
    }

    pub(crate) fn judge(&mut self) {
        self.judging = true;
    }

    /// It was bad: who brought it is not asked for it again in this round.
    pub(crate) fn was_bad(&mut self, source: Option<SourceIndex>) {
        self.judging = false;
        if let Some(source) = source {
            self.asked.insert(source);
        }
    }

    pub(crate) fn was_unwanted(&mut self) {
        self.judging = false;
        self.unwanted = true;
    }

    /// This node could not judge it: nobody's fault, and it is asked for again, after a pause of its own and not
    /// before `earliest`.
    pub(crate) fn was_undecided(&mut self, now: Duration, earliest: Duration) {
        self.judging = false;
        self.due = earliest.max(now + self.own_pause);
        self.own_pause = (self.own_pause * 2).min(MAX_OWN_PAUSE);
    }
}
