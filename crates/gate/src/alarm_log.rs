//! Alarms in the log. Where no prover is at work every payload lacks its proofs: that is said at its beginning and from
//! time to time, not for each payload. Events and metrics tell of every one.

use crate::machine::Alarm;
use assay_types::Slot;

/// Unproven payloads with no more slots between them than this are one run.
const SAME_RUN_SLOTS: u64 = 8;
/// Of a run the first is told, and then each that completes so many.
const TOLD_EVERY: u64 = 64;

/// What of the alarms is worth a line.
#[derive(Debug, Default)]
pub(crate) struct AlarmLog {
    newest_unproven: Option<Slot>,
    in_a_row: u64,
}

impl AlarmLog {
    /// Writes the line of an alarm, if it gets one.
    pub(crate) fn write(&mut self, alarm: &Alarm) {
        match alarm {
            Alarm::Unproven {
                block_hash,
                slot,
                have,
                need,
            } => {
                if let Some(in_a_row) = self.unproven(*slot) {
                    tracing::warn!(%slot, %block_hash, have, need, in_a_row, "a canonical payload lacks its proofs");
                }
            }
            Alarm::TwoBeaconNodes { head, other_head } => tracing::error!(
                kind = alarm.label(), %head, %other_head,
                "two beacon nodes seem to call under one JWT secret: give one of them a secret of its own \
                 (--secondary-engine-jwt)"
            ),
            Alarm::ForeignPayload { block_hash, chain_id } => tracing::error!(
                kind = alarm.label(), %block_hash, chain_id,
                "a payload of another network: a beacon node of that network calls here; point it at an execution client of \
                 its own"
            ),
            alarm => tracing::error!(kind = alarm.label(), ?alarm, "gate alarm"),
        }
    }

    /// How many there are in a row, where that is told.
    fn unproven(&mut self, slot: Slot) -> Option<u64> {
        let same = self
            .newest_unproven
            .is_some_and(|newest| slot.0 <= newest.0.saturating_add(SAME_RUN_SLOTS));
        self.in_a_row = if same { self.in_a_row.saturating_add(1) } else { 1 };
        self.newest_unproven = self.newest_unproven.max(Some(slot));
        (self.in_a_row == 1 || self.in_a_row.is_multiple_of(TOLD_EVERY)).then_some(self.in_a_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_at_its_beginning_and_from_time_to_time() {
        let mut log = AlarmLog::default();
        let mut told = Vec::new();
        // Two runs: one of 130 payloads with a slot left out here and there, and one after a gap.
        let first = (100..).filter(|slot| slot % 5 != 0).take(130);
        for slot in first.chain([500, 501]) {
            if let Some(in_a_row) = log.unproven(Slot(slot)) {
                told.push((slot, in_a_row));
            }
        }
        assert_eq!(told, [(101, 1), (179, 64), (259, 128), (500, 1)]);
    }

    #[test]
    fn an_older_slot_belongs_to_the_run() {
        let mut log = AlarmLog::default();
        assert_eq!(log.unproven(Slot(50)), Some(1));
        assert_eq!(log.unproven(Slot(40)), None);
        assert_eq!(log.unproven(Slot(58)), None);
        assert_eq!(log.unproven(Slot(67)), Some(1));
    }
}
