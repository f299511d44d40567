//! Validators that signed accepted proofs in this run.

use assay_types::{ProofType, Slot, ValidatorIndex};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Validators kept; the one that was silent for longest is forgotten first.
const MAX_PROVERS: usize = 512;
/// Newest proofs of one validator whose times are kept.
const MAX_TIMES: usize = 32;

/// What one validator brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenProver {
    /// Accepted proofs.
    pub accepted: u64,
    /// Their types.
    pub proof_types: BTreeSet<ProofType>,
    /// Slot of the newest payload.
    pub newest_slot: Slot,
    /// How the last one came: `gossip`, `req_resp`, `http` or `prover`.
    pub source: &'static str,
    /// When the last one was accepted, Unix milliseconds.
    pub last_at_ms: u64,
    /// Slot, and when accepted, of the newest that were not asked for: those that came as they were made.
    pub times: VecDeque<(Slot, u64)>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Provers(BTreeMap<ValidatorIndex, SeenProver>);

impl Provers {
    pub(crate) fn accepted(
        &mut self,
        validator: ValidatorIndex,
        slot: Slot,
        proof_type: ProofType,
        source: &'static str,
        at_ms: u64,
    ) {
        if self.0.len() >= MAX_PROVERS && !self.0.contains_key(&validator) {
            let silent = self.0.iter().min_by_key(|(_, p)| p.last_at_ms).map(|(v, _)| *v);
            if let Some(silent) = silent {
                self.0.remove(&silent);
            }
        }
        let prover = self.0.entry(validator).or_default();
        prover.accepted += 1;
        prover.proof_types.insert(proof_type);
        prover.newest_slot = prover.newest_slot.max(slot);
        prover.source = source;
        prover.last_at_ms = at_ms;
        if source != "req_resp" {
            if prover.times.len() >= MAX_TIMES {
                prover.times.pop_front();
            }
            prover.times.push_back((slot, at_ms));
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<ValidatorIndex, SeenProver> {
        self.0.clone()
    }
}

impl SeenProver {
    /// The median from slot start to acceptance in milliseconds; `None` where all of its proofs were asked for.
    pub fn median_ms(&self, slot_start_ms: impl Fn(Slot) -> u64) -> Option<i64> {
        let mut times: Vec<i64> = self
            .times
            .iter()
            .map(|(slot, at)| at.wrapping_sub(slot_start_ms(*slot)).cast_signed())
            .collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn times_count_for_what_came_by_itself() {
        let mut provers = Provers::default();
        let start = |slot: Slot| slot.0 * 12_000;
        for (slot, after, source) in [
            (1, 3_000, "gossip"),
            (2, 90_000_000, "req_resp"),
            (3, 5_000, "gossip"),
            (4, 4_000, "http"),
        ] {
            provers.accepted(7, Slot(slot), (slot % 2) as u8, source, start(Slot(slot)) + after);
        }
        let seen = &provers.all()[&7];
        assert_eq!(
            (seen.accepted, seen.newest_slot, seen.source),
            (4, Slot(4), "http")
        );
        assert_eq!(seen.proof_types, [0, 1].into());
        assert_eq!(seen.median_ms(start), Some(4_000));
        assert_eq!(SeenProver::default().median_ms(start), None);
    }

    #[test]
    fn who_was_silent_for_longest_goes_first() {
        let mut provers = Provers::default();
        for validator in 0..MAX_PROVERS as u64 {
            provers.accepted(validator, Slot(1), 1, "gossip", 100 + validator);
        }
        provers.accepted(0, Slot(2), 1, "gossip", 10_000);
        provers.accepted(9_999, Slot(2), 1, "gossip", 10_001);
        let all = provers.all();
        assert_eq!(all.len(), MAX_PROVERS);
        assert!(all.contains_key(&0) && !all.contains_key(&1) && all.contains_key(&9_999));
        assert!(all.values().all(|p| p.times.len() <= MAX_TIMES));
    }
}
