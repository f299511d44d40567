//! What the verifier counts. The api crate registers it; `snapshot` is for dashboards and tests.

use crate::{IgnoreReason, ParkReason, RejectReason, Source, Verdict, machine::Stage};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use std::{collections::BTreeMap, time::Duration};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    source: &'static str,
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ParkLabels {
    source: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabels {
    sink: &'static str,
}

const NO_REASON: &str = "";

/// Counters, gauges and histograms of one verifier. Clones share them.
#[derive(Debug, Clone)]
pub struct VerificationMetrics {
    verdicts: Family<VerdictLabels, Counter>,
    parked: Family<ParkLabels, Counter>,
    waiting: Family<WaitLabels, Gauge>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    total: Histogram,
    sink_errors: Family<SinkLabels, Counter>,
    contained: Counter,
    never_signed: Counter,
    held: Gauge,
    held_bytes: Gauge,
    observed: Gauge,
}

/// 100 µs to 26 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 19))
}

/// A verdict and its reason, as counted: ("accept", ""), ("ignore", "already_valid") and so on.
pub(crate) fn verdict_labels(verdict: &Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Accept(_) => ("accept", NO_REASON),
        Verdict::Ignore(reason) => ("ignore", reason.label()),
        Verdict::Reject(reason) => ("reject", reason.label()),
    }
}

impl Default for VerificationMetrics {
    fn default() -> Self {
        Self {
            verdicts: Family::default(),
            parked: Family::default(),
            waiting: Family::default(),
            stages: Family::new_with_constructor(seconds),
            total: seconds(),
            sink_errors: Family::default(),
            contained: Counter::default(),
            never_signed: Counter::default(),
            held: Gauge::default(),
            held_bytes: Gauge::default(),
            observed: Gauge::default(),
        }
    }
}

impl VerificationMetrics {
    /// Registers everything under `registry` (which carries the prefix).
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "verdicts",
            "Verdicts on proofs by how they came, and why",
            self.verdicts.clone(),
        );
        registry.register(
            "parked",
            "Proofs that had to wait for something outside, by what for",
            self.parked.clone(),
        );
        registry.register(
            "waiting",
            "Proofs that wait for something outside now, copies included, by what for; GET /assay/v1/payloads names the unknown payloads",
            self.waiting.clone(),
        );
        registry.register_with_unit(
            "stage",
            "Time that a proof spent in a stage of verification",
            Unit::Seconds,
            self.stages.clone(),
        );
        registry.register_with_unit(
            "proof",
            "Time from a proof's arrival to its acceptance, waiting included",
            Unit::Seconds,
            self.total.clone(),
        );
        registry.register(
            "sink_errors",
            "Accepted proofs that a sink could not take",
            self.sink_errors.clone(),
        );
        registry.register(
            "validators_contained",
            "Times that a validator was contained for an invalid proof",
            self.contained.clone(),
        );
        registry.register(
            "never_signed",
            "Valid proofs that came unsigned and were let go before anybody here could sign them",
            self.never_signed.clone(),
        );
        registry.register("held", "Proofs held without a verdict", self.held.clone());
        registry.register_with_unit(
            "held",
            "Bytes of proofs held without a verdict",
            Unit::Bytes,
            self.held_bytes.clone(),
        );
        registry.register(
            "observed",
            "Entries of the caches of proofs and validators' tries that were seen",
            self.observed.clone(),
        );
    }

    /// Makes every series there can be, at zero: for the table of all metrics.
    pub fn make_all(&self) {
        for source in Source::LABELS {
            let verdicts = std::iter::once(("accept", NO_REASON))
                .chain(IgnoreReason::ALL.iter().map(|r| ("ignore", r.label())))
                .chain(RejectReason::ALL.iter().map(|r| ("reject", r.label())));
            for (verdict, reason) in verdicts {
                drop(self.verdicts.get_or_create(&VerdictLabels {
                    source,
                    verdict,
                    reason,
                }));
            }
            for reason in ParkReason::ALL.iter().map(|r| r.label()) {
                drop(self.parked.get_or_create(&ParkLabels { source, reason }));
            }
        }
        self.waiting(&BTreeMap::new());
        for stage in Stage::ALL {
            drop(self.stages.get_or_create(&StageLabels { stage: stage.label() }));
        }
        for sink in ["store", "gate", "publisher", "sync", "events"] {
            drop(self.sink_errors.get_or_create(&SinkLabels { sink }));
        }
    }

    pub(crate) fn verdict(&self, source: &Source, verdict: &Verdict) {
        let (verdict, reason) = verdict_labels(verdict);
        self.verdicts
            .get_or_create(&VerdictLabels {
                source: source.label(),
                verdict,
                reason,
            })
            .inc();
    }

    pub(crate) fn parked(&self, source: &Source, reason: ParkReason) {
        self.parked
            .get_or_create(&ParkLabels {
                source: source.label(),
                reason: reason.label(),
            })
            .inc();
    }

    /// How many wait now, by what for.
    pub(crate) fn waiting(&self, counts: &BTreeMap<ParkReason, usize>) {
        for reason in ParkReason::ALL {
            let count = counts.get(reason).copied().unwrap_or(0);
            let gauge = self.waiting.get_or_create(&WaitLabels {
                reason: reason.label(),
            });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn stage(&self, stage: Stage, took: Duration) {
        self.stages
            .get_or_create(&StageLabels { stage: stage.label() })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn accepted_after(&self, took: Duration) {
        self.total.observe(took.as_secs_f64());
    }

    pub(crate) fn sink_error(&self, sink: &'static str) {
        self.sink_errors.get_or_create(&SinkLabels { sink }).inc();
    }

    pub(crate) fn contained(&self) {
        self.contained.inc();
    }

    pub(crate) fn never_signed(&self) {
        self.never_signed.inc();
    }

    pub(crate) fn holds(&self, candidates: usize, bytes: usize, observed: usize) {
        let clamp = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.held.set(clamp(candidates));
        self.held_bytes.set(clamp(bytes));
        self.observed.set(clamp(observed));
    }

    /// The counts at this moment.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let mut snapshot = MetricsSnapshot {
            held: self.held.get(),
            held_bytes: self.held_bytes.get(),
            contained: self.contained.get(),
            never_signed: self.never_signed.get(),
            ..MetricsSnapshot::default()
        };
        let mut add = |source: &'static str, verdict: &'static str, reason: &'static str| {
            let labels = VerdictLabels {
                source,
                verdict,
                reason,
            };
            // Not `get_or_create`: looking must not make series of zeros.
            if let Some(count) = self.verdicts.get(&labels) {
                snapshot.verdicts.insert((source, verdict, reason), count.get());
            }
        };
        for source in Source::LABELS {
            add(source, "accept", NO_REASON);
            IgnoreReason::ALL
                .iter()
                .for_each(|r| add(source, "ignore", r.label()));
            RejectReason::ALL
                .iter()
                .for_each(|r| add(source, "reject", r.label()));
        }
        snapshot
    }
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Hash,
        Self::Validator,
        Self::Signature,
        Self::Engine,
        Self::Commit,
    ];

    /// The metric label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Validator => "validator",
            Self::Signature => "signature",
            Self::Engine => "engine",
            Self::Commit => "sinks",
        }
    }
}

/// Counts at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// By (source, "accept" | "ignore" | "reject", reason); what never happened is absent.
    pub verdicts: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    /// Candidates held: waiting for their turn, under way or parked.
    pub held: i64,
    /// Their bytes.
    pub held_bytes: i64,
    /// Validators contained so far.
    pub contained: u64,
    /// Valid unsigned proofs let go before anybody could sign them.
    pub never_signed: u64,
}

impl MetricsSnapshot {
    /// Accepted proofs from a source (`Source::label`).
    pub fn accepted(&self, source: &'static str) -> u64 {
        self.verdicts
            .get(&(source, "accept", NO_REASON))
            .copied()
            .unwrap_or(0)
    }
    /// Proofs ignored for a reason, from every source.
    pub fn ignored(&self, reason: IgnoreReason) -> u64 {
        self.sum("ignore", reason.label())
    }
    /// Proofs rejected for a reason, from every source.
    pub fn rejected(&self, reason: RejectReason) -> u64 {
        self.sum("reject", reason.label())
    }
    fn sum(&self, verdict: &str, reason: &str) -> u64 {
        self.verdicts
            .iter()
            .filter(|((_, v, r), _)| *v == verdict && *r == reason)
            .map(|(_, n)| n)
            .sum()
    }
}
