//! Who is asked for what next.

use super::{Planner, Request};
use crate::sync::{
    cost::{self, Open, OpenBlock, Speaks},
    event::{Action, RequestId},
    limits::{
        FIRST_BATCH, MAX_BACKFILL_REQUESTS, MAX_RESPONSE_BYTES, MAX_URGENT_REQUESTS, MIN_BYTES_PER_SECOND,
        REQUEST_PATIENCE, STATUS_AGE_SLOTS,
    },
    sources::SourceIndex,
    wanted::Place,
};
use assay_types::Slot;
use std::{collections::HashSet, time::Duration};

impl Planner {
    pub(super) fn plan(&mut self) {
        self.sources
            .refresh(&self.settings.types, self.settings.max_types);
        let (tally, askable) = self.wanted.settle(&self.sources, &self.settings, self.now);
        self.tally = tally;
        let is_wanted = self.tally.missing > self.tally.not_obtainable;
        let age = self.settings.slot.saturating_mul(STATUS_AGE_SLOTS);
        for peer in self.sources.ask_status(self.now, age, is_wanted) {
            self.actions.push(Action::AskStatus(peer));
        }
        if self.paused_until > self.now || self.tally.missing == 0 {
            return;
        }
        for urgent in [true, false] {
            for source in self.in_turn() {
                if self.is_full(urgent) {
                    break;
                }
                if urgent || askable.has(source) {
                    self.ask(source, urgent);
                }
            }
        }
    }

    /// Who may be asked, the best first; while probing, whoever comes after the last one asked.
    fn in_turn(&self) -> Vec<SourceIndex> {
        let mut ready = self.sources.ready(self.now);
        let last = |place: &SourceIndex| self.probing && self.probed == Some(*place);
        if let Some(at) = ready.iter().position(last) {
            ready.rotate_left(at + 1);
        }
        ready
    }

    fn is_full(&self, urgent: bool) -> bool {
        if self.probing {
            return !self.requests.is_empty();
        }
        let under_way = self.requests.values().filter(|r| r.urgent == urgent).count();
        under_way
            >= if urgent {
                MAX_URGENT_REQUESTS
            } else {
                MAX_BACKFILL_REQUESTS
            }
    }

    /// Asks one source for what it may have, if there is any and it is not asked already. One request for what waits
    /// now and one for the rest: never more than two of a protocol.
    fn ask(&mut self, place: SourceIndex, urgent: bool) {
        let Some(source) = self.sources.get(place) else {
            return;
        };
        if (if urgent { source.urgent } else { source.backfill }) > 0 {
            return;
        }
        let speaks = Speaks {
            range: source.speaks_range(),
            root: source.speaks_root(),
        };
        let (peer, batch) = (source.peer, self.batch(source.batch));
        let open = self.open(place, urgent, batch);
        let found = cost::cheapest(&open, &self.wanted, &self.sizes, &self.settings, speaks);
        let Some((ask, covered)) = found else { return };
        let keys: Vec<(Place, u8)> = open
            .into_iter()
            .take(covered)
            .flat_map(|OpenBlock { place, types, .. }| types.into_iter().map(move |t| (place, t)))
            .collect();
        let mut bytes = 0u64;
        for (at, proof_type) in &keys {
            let is_only = self.wanted.began(at, *proof_type, place, self.now);
            self.tally.under_way += usize::from(is_only);
            bytes = bytes.saturating_add(self.sizes.expected(*proof_type));
        }
        if let Some(source) = self.sources.get_mut(place) {
            if urgent {
                source.urgent += 1;
            } else {
                source.backfill += 1;
            }
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let request = Request {
            peer,
            source: place,
            ask: ask.clone(),
            urgent,
            keys,
            brought: HashSet::new(),
            needed: 0,
            received: 0,
            at: Slot(0),
            last_progress: self.now,
            deadline: self.now + REQUEST_PATIENCE + Duration::from_secs(bytes / MIN_BYTES_PER_SECOND),
        };
        self.requests.insert(id, request);
        if self.probing {
            self.probed = Some(place);
        }
        self.actions.push(Action::Request { id, peer, ask });
    }

    /// How many proofs to ask a source for: what it has shown to serve, and not more than leaves work for the others.
    fn batch(&self, shown: usize) -> usize {
        if self.probing {
            return 1;
        }
        let open = self.tally.missing.saturating_sub(self.tally.not_obtainable);
        let share = open.div_ceil(self.sources.usable().clamp(1, MAX_BACKFILL_REQUESTS));
        shown.min(share.max(FIRST_BATCH)).min(self.settings.max_proofs)
    }

    fn open(&self, source: SourceIndex, urgent: bool, batch: usize) -> Open {
        let (sources, now) = (&self.sources, self.now);
        if urgent {
            let hedge = self.settings.hedge_after();
            self.take_batch(
                self.wanted
                    .open_and_live(source, sources, self.current, hedge, now),
                batch,
            )
        } else {
            self.take_batch(self.wanted.open_for(source, sources, now), batch)
        }
    }

    fn take_batch(&self, found: impl Iterator<Item = (Place, Vec<u8>, bool)>, batch: usize) -> Open {
        let (mut open, mut proofs, mut bytes) = (Open::new(), 0, 0u64);
        for (place, mut types, again) in found {
            types.truncate(self.settings.max_types.min(batch - proofs));
            proofs += types.len();
            bytes += types.iter().map(|t| self.sizes.expected(*t)).sum::<u64>();
            open.push(OpenBlock { place, types, again });
            if proofs >= batch || open.len() >= self.settings.max_identifiers || bytes >= MAX_RESPONSE_BYTES {
                break;
            }
        }
        open
    }
}
