//! What proof sync counts.

use super::{SyncState, event::Judged};
use crate::counters::ANY;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// A request by protocol and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) protocol: &'static str,
    pub(super) result: &'static str,
}

/// What became of a proof that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) outcome: &'static str,
}

/// All of it. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct SyncCounters {
    requests: Family<RequestLabels, Counter>,
    proofs: Family<OutcomeLabels, Counter>,
    bytes: Counter,
    held: Gauge,
    missing: Gauge,
    under_way: Gauge,
    not_obtainable: Gauge,
    sources: Gauge,
    paused: Gauge,
    unreachable: Gauge,
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl SyncCounters {
    /// Registers everything under `assay_network_sync_`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("assay_network_sync");
        r.register(
            "requests",
            "Requests for proofs by protocol and how they ended",
            self.requests.clone(),
        );
        r.register(
            "proofs",
            "Proofs that came with responses, by what became of them, once that is known",
            self.proofs.clone(),
        );
        r.register_with_unit(
            "received",
            "Proofs that came with responses",
            Unit::Bytes,
            self.bytes.clone(),
        );
        for (name, help, gauge) in [
            ("held", "Proofs of the kept range that are on disk", &self.held),
            (
                "missing",
                "Proofs of the kept range that are not on disk",
                &self.missing,
            ),
            (
                "under_way",
                "Missing proofs that are asked for now",
                &self.under_way,
            ),
            (
                "not_obtainable",
                "Missing proofs that no connected peer has, as far as asking can tell",
                &self.not_obtainable,
            ),
            ("sources", "Peers that may be asked", &self.sources),
            (
                "paused",
                "1 while nothing is asked because proofs cannot be judged",
                &self.paused,
            ),
            (
                "unreachable_slots",
                "Slots missed before the range that can be filled",
                &self.unreachable,
            ),
        ] {
            r.register(name, help, gauge.clone());
        }
    }

    /// Makes a series of each metric that has labels, at zero: for the table of all metrics.
    pub(crate) fn make_all(&self) {
        drop(self.requests.get_or_create(&RequestLabels {
            protocol: ANY,
            result: ANY,
        }));
        drop(self.proofs.get_or_create(&OutcomeLabels { outcome: ANY }));
    }

    pub(super) fn request(&self, protocol: &'static str, result: &'static str) {
        self.requests
            .get_or_create(&RequestLabels { protocol, result })
            .inc();
    }

    /// A proof came with a response.
    pub(super) fn came(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    /// What became of a proof that is not judged.
    pub(super) fn passed_over(&self, outcome: &'static str) {
        self.proofs.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// What became of a proof that was judged.
    pub(super) fn judged(&self, judged: Judged) {
        let outcome = match judged {
            Judged::Held => "held",
            Judged::Bad => "rejected",
            Judged::Unwanted => "unwanted",
            Judged::Undecided => "undecided",
        };
        self.proofs.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    pub(super) fn state(&self, state: &SyncState) {
        self.held.set(number(state.held));
        self.missing.set(number(state.missing));
        self.under_way.set(number(state.under_way));
        self.not_obtainable.set(number(state.not_obtainable));
        self.sources.set(number(state.sources));
        self.paused.set(i64::from(state.paused));
        let slots = state
            .unreachable
            .map_or(0, |(from, to)| to.0.saturating_sub(from.0) + 1);
        self.unreachable.set(i64::try_from(slots).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As proofs go through `asking`: each has one outcome.
    #[test]
    fn outcomes_add_up_to_what_came() {
        let counters = SyncCounters::default();
        let outcomes = [
            "undecodable",
            "not_needed",
            "wrong",
            "held",
            "rejected",
            "unwanted",
            "undecided",
        ];
        for outcome in &outcomes[..3] {
            counters.came(10);
            counters.passed_over(outcome);
        }
        for judged in [Judged::Held, Judged::Bad, Judged::Unwanted, Judged::Undecided] {
            counters.came(10);
            counters.judged(judged);
        }
        let of = |outcome| {
            counters
                .proofs
                .get(&OutcomeLabels { outcome })
                .map_or(0, |c| c.get())
        };
        assert_eq!(outcomes.map(of), [1; 7]);
        assert_eq!(counters.bytes.get(), 70);
    }
}
