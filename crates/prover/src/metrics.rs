//! What prover and signer count: proofs by how far they came, validators and signatures.

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Proofs requested, at work, and how they ended. Clones share them.
#[derive(Debug, Clone)]
pub struct ProverMetrics {
    pub(crate) requested: Counter,
    pub(crate) proving: Gauge,
    pub(crate) proved: Counter,
    pub(crate) too_late: Counter,
    pub(crate) failed: Counter,
    /// Seconds from the beginning of a payload's slot.
    pub(crate) proved_after: Histogram,
}

impl Default for ProverMetrics {
    fn default() -> Self {
        Self {
            requested: Counter::default(),
            proving: Gauge::default(),
            proved: Counter::default(),
            too_late: Counter::default(),
            failed: Counter::default(),
            // 0.1 s to 102 s.
            proved_after: Histogram::new(exponential_buckets(0.1, 2.0, 11)),
        }
    }
}

/// Proofs by how far they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the metrics, which say what they are")]
pub struct ProverCounts {
    pub requested: u64,
    pub proving: i64,
    pub proved: u64,
    pub too_late: u64,
    pub failed: u64,
}

impl ProverMetrics {
    /// Registers all of it.
    pub fn register(&self, registry: &mut Registry) {
        let counters = [
            (
                "requested",
                "Proofs asked of the proof engine, tries counted",
                &self.requested,
            ),
            ("proved", "Proofs that are on the network", &self.proved),
            (
                "too_late",
                "Proofs given up because their time was over",
                &self.too_late,
            ),
            (
                "failed",
                "Proofs refused by the signer or the beacon endpoint",
                &self.failed,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("proving", "Proofs at work", self.proving.clone());
        registry.register_with_unit(
            "proved_after",
            "From the beginning of a payload's slot to its proof on the network",
            Unit::Seconds,
            self.proved_after.clone(),
        );
    }

    /// What was counted so far.
    pub fn counts(&self) -> ProverCounts {
        ProverCounts {
            requested: self.requested.get(),
            proving: self.proving.get(),
            proved: self.proved.get(),
            too_late: self.too_late.get(),
            failed: self.failed.get(),
        }
    }
}

/// Validators and signatures. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct SignerMetrics {
    pub(crate) active: Gauge,
    pub(crate) signed: Counter,
    pub(crate) failed: Counter,
}

impl SignerMetrics {
    /// Registers all of it.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "active_validators",
            "Validators whose keys are here and that may sign now",
            self.active.clone(),
        );
        registry.register("signed", "Proofs signed", self.signed.clone());
        registry.register(
            "failed",
            "Signatures that a key did not give, or that did not verify",
            self.failed.clone(),
        );
    }
}
