//! From which slot on the beacon node gives blocks: a search without I/O, over real answers.
//!
//! A node has its blocks from some slot on: all of them, or since its checkpoint and as far below as it has filled in, or
//! what it has not pruned yet. The search begins at the lowest block that the chain view has, all of which the node gave,
//! goes down in growing steps until a place has no block, and then halves what lies between. Empty slots look like
//! missing blocks, so a place is a few slots; where all of them are empty the claim ends above, which is too high and
//! not too low. Genesis says nothing: nodes that began at a checkpoint have it. It counts only next to a block above it.

use assay_types::Slot;

/// Slots looked at in one place before it counts as having no block.
pub(super) const PLACE_SLOTS: u64 = 8;
/// First step downwards, in slots.
const FIRST_STEP: u64 = 32;
/// The lowest slot where a block tells that blocks are there.
const LOWEST_TELLING: u64 = 1;

/// What the beacon node said of the block of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// It gave the block.
    Given,
    /// It has none: an empty slot, or one it does not have.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing to ask until the next round.
    Rest,
    /// Whether what was found before is still there.
    Check,
    /// `good - step` is next; `good` was given.
    Down { step: u64 },
    /// The place at `bad` had no block.
    Between { bad: u64 },
    /// Whether genesis is there too.
    Genesis,
}

/// The search.
#[derive(Debug)]
pub(super) struct Availability {
    /// The lowest block that was given.
    good: Option<u64>,
    step: Step,
    /// Slots of the place that have been asked.
    asked: u64,
}

impl Availability {
    pub(super) fn new() -> Self {
        Self {
            good: None,
            step: Step::Rest,
            asked: 0,
        }
    }

    /// The lowest slot found so far of which, and of places above it, blocks were given.
    pub(super) fn lowest(&self) -> Option<Slot> {
        self.good.map(Slot)
    }

    /// Begins a round: what was found is looked at again, and from there, or from `floor`, the search goes down.
    pub(super) fn begin(&mut self) {
        self.enter(match self.good {
            Some(_) => Step::Check,
            None => Step::Down { step: FIRST_STEP },
        });
    }

    fn enter(&mut self, step: Step) {
        (self.step, self.asked) = (step, 0);
    }

    /// The slot to ask for now; `floor` is the lowest block of the chain view. `None`: the round is over.
    pub(super) fn next(&mut self, floor: Slot) -> Option<Slot> {
        let good = *self.good.get_or_insert(floor.0);
        loop {
            let place = match self.step {
                Step::Rest => return None,
                Step::Check => return Some(Slot(good)),
                Step::Genesis => return Some(Slot(0)),
                Step::Down { .. } if good <= LOWEST_TELLING => {
                    self.enter(if good == 0 { Step::Rest } else { Step::Genesis });
                    continue;
                }
                Step::Down { step } => good.saturating_sub(step).max(LOWEST_TELLING),
                Step::Between { bad } if good <= bad + 1 => {
                    self.enter(Step::Rest);
                    continue;
                }
                Step::Between { bad } => bad + (good - bad) / 2,
            };
            let slot = place + self.asked;
            if self.asked < PLACE_SLOTS && slot < good {
                return Some(Slot(slot));
            }
            // The whole place was asked.
            self.enter(Step::Between { bad: place });
        }
    }

    /// The answer for the slot that `next` named.
    pub(super) fn answer(&mut self, slot: Slot, probe: Probe) {
        match (self.step, probe) {
            (Step::Rest, _) => {}
            (Step::Check, Probe::Given) => self.enter(Step::Down { step: FIRST_STEP }),
            (Step::Check, Probe::None) => {
                self.good = None;
                self.enter(Step::Down { step: FIRST_STEP });
            }
            (Step::Genesis, probe) => {
                if probe == Probe::Given {
                    self.good = Some(0);
                }
                self.enter(Step::Rest);
            }
            (Step::Down { step }, Probe::Given) => {
                self.good = Some(slot.0);
                self.enter(Step::Down {
                    step: step.saturating_mul(2),
                });
            }
            (step @ Step::Between { .. }, Probe::Given) => {
                self.good = Some(slot.0);
                self.enter(step);
            }
            (_, Probe::None) => self.asked += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A round over a node that has these slots; the slots asked for.
    fn round(search: &mut Availability, floor: u64, has: impl Fn(u64) -> bool) -> Vec<u64> {
        search.begin();
        let mut asked = Vec::new();
        while let Some(slot) = search.next(Slot(floor)) {
            asked.push(slot.0);
            let probe = if has(slot.0) { Probe::Given } else { Probe::None };
            search.answer(slot, probe);
            assert!(asked.len() < 2000, "no end: {search:?}");
        }
        asked
    }

    fn found(search: &Availability) -> u64 {
        search.lowest().map_or(u64::MAX, |slot| slot.0)
    }

    #[test]
    fn a_node_with_everything_is_found_to_have_it_with_few_questions() {
        let mut search = Availability::new();
        let asked = round(&mut search, 13_000_000, |_| true);
        assert_eq!(found(&search), 0);
        assert!(asked.len() < 25, "{}", asked.len());
        assert!(asked.contains(&1) && asked.ends_with(&[0]));
        // And again: the claim is looked at anew.
        assert_eq!(round(&mut search, 13_000_100, |_| true), [0]);
    }

    #[test]
    fn genesis_alone_says_nothing() {
        let mut search = Availability::new();
        round(&mut search, 1_000_000, |slot| slot == 0 || slot >= 900_000);
        assert_eq!(found(&search), 900_000);
        // The first slot may be empty: then the next block is the lowest.
        let mut search = Availability::new();
        round(&mut search, 500, |slot| slot == 0 || slot >= 3);
        assert_eq!(found(&search), 3);
    }

    #[test]
    fn the_claim_follows_filling_in_and_pruning() {
        let mut search = Availability::new();
        round(&mut search, 10_000, |slot| slot >= 9_990);
        assert_eq!(found(&search), 9_990);
        round(&mut search, 10_050, |slot| slot >= 4_000);
        assert_eq!(found(&search), 4_000);
        // Pruned: the old claim is gone at the first question, before anything new is known.
        search.begin();
        assert_eq!(search.next(Slot(12_000)), Some(Slot(4_000)));
        search.answer(Slot(4_000), Probe::None);
        assert_eq!(search.lowest(), None);
        while let Some(slot) = search.next(Slot(12_000)) {
            search.answer(
                slot,
                if slot.0 >= 8_000 {
                    Probe::Given
                } else {
                    Probe::None
                },
            );
        }
        assert_eq!(found(&search), 8_000);
    }

    #[test]
    fn a_view_that_begins_at_genesis_asks_nothing() {
        let mut search = Availability::new();
        assert_eq!(round(&mut search, 0, |_| false), [0u64; 0]);
        assert_eq!(found(&search), 0);
    }

    proptest! {
        /// Whatever slots are empty: the claim is a block that the node has, never below its lowest, and exact where blocks are dense.
        #[test]
        fn never_below_what_is_there(lowest in 1u64..5_000, above in 0u64..100_000, empty in 0u64..6, seed: u64) {
            let floor = lowest + above;
            let has = |slot: u64| slot >= lowest && (slot == floor || slot == lowest || !(slot ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).is_multiple_of(8 - empty));
            let mut search = Availability::new();
            round(&mut search, floor, has);
            prop_assert!(found(&search) >= lowest && has(found(&search)));
            if empty == 0 {
                prop_assert!(found(&search) <= lowest + 2 * PLACE_SLOTS, "{} {lowest}", found(&search));
            }
        }
    }
}
