//! What the native verifiers count.

use assay_types::ProofType;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    proof_type: u8,
    reason: &'static str,
}

/// Counters of the native verifiers; calls and their times are the router's. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct NativeMetrics {
    refused: Family<RefusalLabels, Counter>,
    overdue: Counter,
    under_way: Gauge,
}

impl NativeMetrics {
    /// Registers all of it.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("refused", "Proofs found invalid, by reason", self.refused.clone());
        registry.register(
            "overdue",
            "Verifications that took longer than they may; their verdict is kept for the next try",
            self.overdue.clone(),
        );
        registry.register("under_way", "Verifications under way", self.under_way.clone());
    }

    /// Makes a series of each metric that has labels, at zero: for the table of all metrics.
    pub fn make_all(&self) {
        drop(self.refused.get_or_create(&RefusalLabels {
            proof_type: 0,
            reason: "…",
        }));
    }

    pub(crate) fn refused(&self, proof_type: ProofType, reason: &'static str) {
        self.refused
            .get_or_create(&RefusalLabels { proof_type, reason })
            .inc();
    }

    pub(crate) fn overdue(&self) {
        self.overdue.inc();
    }

    /// Verifications that took too long so far.
    pub fn overdue_count(&self) -> u64 {
        self.overdue.get()
    }

    pub(crate) fn under_way(&self, change: i64) {
        self.under_way.inc_by(change);
    }
}
