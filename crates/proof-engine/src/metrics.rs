//! What the router counts, by endpoint.

use crate::EngineError;
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
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    proof_engine: String,
    call: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeLabels {
    proof_engine: String,
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    proof_engine: String,
}

/// Counters, times and health of a router's endpoints. Clones share them.
#[derive(Debug, Clone)]
pub struct RouterMetrics {
    calls: Family<CallLabels, Counter>,
    seconds: Family<TimeLabels, Histogram, fn() -> Histogram>,
    healthy: Family<EndpointLabels, Gauge>,
    dropped_notifications: Family<EndpointLabels, Counter>,
}

/// 1 ms to 33 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Default for RouterMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            healthy: Family::default(),
            dropped_notifications: Family::default(),
        }
    }
}

impl RouterMetrics {
    /// Registers all of it.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("calls", "Calls of proof engines by outcome", self.calls.clone());
        registry.register_with_unit(
            "call",
            "Time of calls of proof engines that were answered",
            Unit::Seconds,
            self.seconds.clone(),
        );
        registry.register(
            "healthy",
            "1 where a proof engine's last call was answered",
            self.healthy.clone(),
        );
        registry.register(
            "dropped_notifications",
            "Notifications a proof engine was too slow for",
            self.dropped_notifications.clone(),
        );
    }

    /// Makes every series there can be of one endpoint, at zero: for the table of all metrics.
    pub fn make_all(&self, proof_engine: &str) {
        self.known(proof_engine);
        let proof_engine = proof_engine.to_owned();
        for (call, answers) in [
            ("verify", &["valid", "invalid", "unsupported"][..]),
            ("request", &["taken"]),
        ] {
            let outcomes = answers
                .iter()
                .chain(&["unavailable", "timed_out", "protocol_error"]);
            for outcome in outcomes.copied() {
                drop(self.calls.get_or_create(&CallLabels {
                    proof_engine: proof_engine.clone(),
                    call,
                    outcome,
                }));
            }
            drop(self.seconds.get_or_create(&TimeLabels {
                proof_engine: proof_engine.clone(),
                call,
            }));
        }
        drop(
            self.dropped_notifications
                .get_or_create(&EndpointLabels { proof_engine }),
        );
    }

    pub(crate) fn known(&self, name: &str) {
        self.set_healthy(name, true);
    }

    /// `call` is "verify" or "request"; `outcome` is of the answer, where there was one.
    pub(crate) fn called<T>(
        &self,
        name: &str,
        call: &'static str,
        result: &Result<T, EngineError>,
        outcome: impl FnOnce(&T) -> &'static str,
        took: Duration,
    ) {
        let outcome = match result {
            Ok(answer) => outcome(answer),
            Err(EngineError::Unavailable(_)) => "unavailable",
            Err(EngineError::TimedOut(_)) => "timed_out",
            Err(EngineError::Protocol(_)) => "protocol_error",
            Err(EngineError::Unreadable(_)) => "unreadable",
            Err(EngineError::Busy(_)) => "busy",
        };
        let proof_engine = name.to_owned();
        if result.is_ok() {
            let labels = TimeLabels {
                proof_engine: proof_engine.clone(),
                call,
            };
            self.seconds.get_or_create(&labels).observe(took.as_secs_f64());
        }
        let labels = CallLabels {
            proof_engine,
            call,
            outcome,
        };
        self.calls.get_or_create(&labels).inc();
    }

    pub(crate) fn set_healthy(&self, name: &str, healthy: bool) {
        let labels = EndpointLabels {
            proof_engine: name.to_owned(),
        };
        self.healthy.get_or_create(&labels).set(healthy.into());
    }

    pub(crate) fn dropped_notification(&self, name: &str) {
        let labels = EndpointLabels {
            proof_engine: name.to_owned(),
        };
        self.dropped_notifications.get_or_create(&labels).inc();
    }
}
