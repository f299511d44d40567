//! What gate, endpoint and chain view count, read when Prometheus asks.

use assay_chain::Chain;
use assay_gate::{GateHandle, PayloadVerdict};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use std::{fmt, sync::Arc};

/// Counters of the Engine API endpoint by name; empty where none is served.
pub type EndpointCounters = Arc<dyn Fn() -> Vec<(&'static str, u64)> + Send + Sync>;

/// Reads snapshots at every scrape.
pub struct NodeCollector {
    /// The gate.
    pub gate: GateHandle,
    /// The chain view.
    pub chain: Arc<dyn Chain>,
    /// The endpoint.
    pub endpoint: EndpointCounters,
    /// Whether the proof engine's proofs prove nothing.
    pub insecure_proofs: bool,
}

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCollector").finish_non_exhaustive()
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let e = &mut encoder;
        let gate = self.gate.stats();
        for (name, help, value) in [
            (
                "gate_answered_valid",
                "Engine API calls answered VALID",
                gate.answered_valid,
            ),
            (
                "gate_answered_syncing",
                "Engine API calls answered SYNCING or ACCEPTED",
                gate.answered_syncing,
            ),
            (
                "gate_answered_invalid",
                "Engine API calls answered INVALID",
                gate.answered_invalid,
            ),
            (
                "gate_lowered",
                "Calls that the execution client answered better than the gate",
                gate.lowered,
            ),
            (
                "gate_unanswered",
                "Calls without an answer of the execution client",
                gate.unanswered,
            ),
            ("gate_alarms", "What an operator must look at", gate.alarms),
            (
                "gate_syncing_first_valid_later",
                "Payloads told SYNCING whose verdict turned VALID later",
                gate.syncing_first_valid_later,
            ),
        ] {
            counter(e, name, help, value)?;
        }
        gauge(
            e,
            "gate_payloads",
            "Payloads in the gate's tree",
            number(gate.payloads as u64),
        )?;
        gauge(
            e,
            "gate_head_valid",
            "1 where the head of the last fork choice update is VALID",
            i64::from(gate.head_verdict == Some(PayloadVerdict::Valid)),
        )?;
        for (name, value) in (self.endpoint)() {
            counter(e, &format!("engine_api_{name}"), "Engine API endpoint", value)?;
        }
        gauge(
            e,
            "chain_head_slot",
            "Slot of the beacon node's head",
            number(self.chain.head().map_or(0, |h| h.slot.0)),
        )?;
        gauge(
            e,
            "chain_current_slot",
            "Slot by the clock",
            number(self.chain.current_slot().0),
        )?;
        gauge(
            e,
            "chain_finalized_epoch",
            "Epoch of the finalized checkpoint",
            number(self.chain.finalized().epoch.0),
        )?;
        gauge(
            e,
            "chain_synced",
            "1 where the chain view has caught up with the beacon node",
            i64::from(self.chain.is_synced()),
        )?;
        gauge(
            e,
            "proofs_prove_nothing",
            "1 where the proof engine is the development engine",
            i64::from(self.insecure_proofs),
        )
    }
}
