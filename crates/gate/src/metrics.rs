//! Times from the start of a payload's slot, as histograms.

use crate::{GateEvent, GateHandle, machine::Step};
use assay_types::Slot;
use prometheus_client::{metrics::histogram::Histogram, registry::Registry};
use tokio::sync::broadcast::error::RecvError;

/// Upper bounds in seconds: the parts of a slot, and some slots.
const BUCKETS: [f64; 14] = [
    0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0, 24.0, 60.0, 300.0,
];
/// What came later than this after its slot was no part of following the chain: a node that catches up, or a hole filled.
const LATEST_MS: u64 = 600_000;

/// The histograms. Clones are the same.
#[derive(Debug, Clone)]
pub struct GateMetrics {
    payload: Histogram,
    first_proof: Histogram,
    proven: Histogram,
    valid: Histogram,
}

impl Default for GateMetrics {
    fn default() -> Self {
        let new = || Histogram::new(BUCKETS);
        Self {
            payload: new(),
            first_proof: new(),
            proven: new(),
            valid: new(),
        }
    }
}

impl GateMetrics {
    /// Registers them; names as given, under the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        for (name, help, histogram) in [
            (
                "gate_slot_to_payload_seconds",
                "From slot start to the payload",
                &self.payload,
            ),
            (
                "gate_slot_to_first_proof_seconds",
                "From slot start to the first proof that counts",
                &self.first_proof,
            ),
            (
                "gate_slot_to_proven_seconds",
                "From slot start to the k-th distinct proof type",
                &self.proven,
            ),
            (
                "gate_slot_to_valid_seconds",
                "From slot start to the verdict VALID",
                &self.valid,
            ),
        ] {
            registry.register(name, help, histogram.clone());
        }
    }

    /// Takes in what the gate tells, without an end. `slot_start_ms`: when a slot began, Unix milliseconds.
    pub async fn follow(self, gate: GateHandle, slot_start_ms: impl Fn(Slot) -> u64 + Send) {
        let mut events = gate.subscribe();
        loop {
            match events.recv().await {
                Ok(event) => self.take(&event, &slot_start_ms),
                // Some are lost to a slow reader: the histograms have fewer observations, not wrong ones.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    fn take(&self, event: &GateEvent, slot_start_ms: &impl Fn(Slot) -> u64) {
        // Each once for a payload: a verdict may turn VALID again, by a restart of the execution client or by new settings.
        let GateEvent::Reached(milestone) = event else {
            return;
        };
        let histogram = match milestone.step {
            Step::Payload => &self.payload,
            Step::FirstProof => &self.first_proof,
            Step::Proven => &self.proven,
            Step::Valid => &self.valid,
        };
        let late = milestone.at.0.saturating_sub(slot_start_ms(milestone.slot));
        if late <= LATEST_MS {
            histogram.observe(std::time::Duration::from_millis(late).as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Milestone, UnixMillis};
    use assay_types::BlockHash;

    #[test]
    fn times_count_from_the_slot_and_history_does_not_count() {
        let metrics = GateMetrics::default();
        let mut registry = Registry::default();
        metrics.register(registry.sub_registry_with_prefix("assay"));
        let start = |slot: Slot| 1_000_000 + slot.0 * 12_000;
        for (step, after_ms) in [
            (Step::Payload, 700),
            (Step::FirstProof, 5_000),
            (Step::Proven, 7_000),
            (Step::Valid, 7_500),
            (Step::Proven, LATEST_MS + 1),
        ] {
            let slot = Slot(5);
            let milestone = Milestone {
                block_hash: BlockHash::from([1; 32]),
                slot,
                step,
                at: UnixMillis(start(slot) + after_ms),
            };
            metrics.take(&GateEvent::Reached(milestone), &start);
        }
        let mut text = String::new();
        assert!(prometheus_client::encoding::text::encode(&mut text, &registry).is_ok());
        for line in [
            "assay_gate_slot_to_payload_seconds_sum 0.7",
            "assay_gate_slot_to_first_proof_seconds_sum 5.0",
            "assay_gate_slot_to_proven_seconds_count 1",
            "assay_gate_slot_to_valid_seconds_sum 7.5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
        }
    }
}
