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
            (
                "gate_raised",
                "Calls answered VALID by proofs that the execution client did not answer so",
                gate.raised,
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
            "gate_conflicts",
            "Payloads that wait for the operator's decision, 64 at most",
            number(self.gate.conflicts(64).len() as u64),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_gate::{AskedPayload, ElAnswer, GateConfig, StatusWord, persistence::InMemory};
    use assay_types::{BlockHash, Epoch, Root, Slot, Spec};
    use assay_verification::testing::MemoryChain;
    use prometheus_client::registry::Registry;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn what_was_counted_is_told_under_names_that_stay() {
        let chain = Arc::new(MemoryChain::new(Arc::new(Spec::minimal()), Root::from([7; 32])));
        chain.set_slot(Slot(41));
        let checkpoint = assay_chain::Checkpoint {
            epoch: Epoch(3),
            root: Root::from([9; 32]),
        };
        chain.finalize(checkpoint, Slot(24), Vec::new());
        let stop = CancellationToken::new();
        let (gate, writer) = GateHandle::open(
            GateConfig::default(),
            Arc::new(InMemory::default()),
            None,
            stop.clone(),
        )
        .unwrap();
        let answer = |status| ElAnswer::Status {
            status,
            latest_valid_hash: None,
        };
        let asked = AskedPayload::Named {
            block_hash: BlockHash::from([1; 32]),
            parent_hash: BlockHash::from([2; 32]),
        };
        for said in [
            answer(StatusWord::Syncing),
            answer(StatusWord::Syncing),
            answer(StatusWord::Invalid),
            ElAnswer::Unavailable,
        ] {
            gate.new_payload_answered(asked, said).await;
        }
        let mut registry = Registry::default();
        registry
            .sub_registry_with_prefix("assay")
            .register_collector(Box::new(NodeCollector {
                gate: gate.clone(),
                chain,
                endpoint: Arc::new(|| vec![("new_payload_calls", 12), ("lowered_answers", 3)]),
                insecure_proofs: true,
            }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "assay_gate_answered_valid_total 0",
            "assay_gate_answered_syncing_total 2",
            "assay_gate_answered_invalid_total 1",
            "assay_gate_unanswered_total 1",
            "assay_gate_lowered_total 0",
            "assay_gate_alarms_total 0",
            "assay_gate_head_valid 0",
            "assay_engine_api_new_payload_calls_total 12",
            "assay_engine_api_lowered_answers_total 3",
            "assay_chain_head_slot 0",
            "assay_chain_current_slot 41",
            "assay_chain_finalized_epoch 3",
            "assay_chain_synced 1",
            "assay_proofs_prove_nothing 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
        }
        stop.cancel();
        writer.await.unwrap();
    }
}
