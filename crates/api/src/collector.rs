//! What gate, endpoint, chain view and store count, read when Prometheus asks.

use assay_chain::Chain;
use assay_gate::{Alarm, GateHandle, GateStats, PayloadVerdict};
use assay_store::{Store, StoreStats};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use std::{fmt, sync::Arc};

/// Counters of the Engine API endpoint, each with its name and what it counts; empty where none is served.
pub type EndpointCounters = Arc<dyn Fn() -> Vec<(&'static str, &'static str, u64)> + Send + Sync>;

/// Payloads counted at most of those that lack proofs, or of which execution and proofs disagree.
const MAX_COUNTED: usize = 65_536;
/// Payloads in conflict counted at most.
const MAX_CONFLICTS: usize = 64;

/// Reads numbers at every scrape.
pub struct NodeCollector {
    /// The gate.
    pub gate: GateHandle,
    /// The chain view.
    pub chain: Arc<dyn Chain>,
    /// The proofs on disk.
    pub store: Store,
    /// The endpoint.
    pub endpoint: EndpointCounters,
    /// Whether the execution client answers; `None` where there is none behind this node.
    pub execution_up: Arc<dyn Fn() -> Option<bool> + Send + Sync>,
    /// Bytes free on the store's disk.
    pub disk_free: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
    /// `--max-db-size`, bytes.
    pub max_db_size: Option<u64>,
    /// Whether the proof engine's proofs prove nothing.
    pub insecure_proofs: bool,
}

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCollector").finish_non_exhaustive()
    }
}

/// The numbers at one moment.
#[derive(Debug, Clone, Default)]
pub struct NodeNumbers {
    /// The gate's.
    pub gate: GateStats,
    /// Alarms by kind, every kind.
    pub alarms: Vec<(&'static str, u64)>,
    /// Payloads that wait for the operator's decision.
    pub conflicts: usize,
    /// Payloads that are proven and called INVALID.
    pub disagreements: usize,
    /// Payloads held back for their proofs.
    pub unproven: usize,
    /// The endpoint's.
    pub endpoint: Vec<(&'static str, &'static str, u64)>,
    /// Whether the execution client answers.
    pub execution_up: Option<bool>,
    /// Slots of head and clock, finalized epoch.
    pub head_slot: u64,
    /// Slot by the clock.
    pub current_slot: u64,
    /// Epoch of the finalized checkpoint.
    pub finalized_epoch: u64,
    /// Whether the chain view has caught up.
    pub synced: bool,
    /// The store's; `None` where it cannot be read.
    pub store: Option<StoreStats>,
    /// `--max-db-size`.
    pub max_db_size: Option<u64>,
    /// Bytes free on the store's disk.
    pub disk_free: Option<u64>,
    /// Whether the proof engine's proofs prove nothing.
    pub insecure_proofs: bool,
}

impl NodeCollector {
    fn read(&self) -> NodeNumbers {
        let seen = self.gate.alarms();
        NodeNumbers {
            gate: self.gate.stats(),
            alarms: Alarm::LABELS
                .map(|kind| (kind, seen.get(kind).map_or(0, |seen| seen.count)))
                .to_vec(),
            conflicts: self.gate.conflicts(MAX_CONFLICTS).len(),
            disagreements: self.gate.disagreements(MAX_COUNTED).len(),
            unproven: self.gate.unproven(MAX_COUNTED).len(),
            endpoint: (self.endpoint)(),
            execution_up: (self.execution_up)(),
            head_slot: self.chain.head().map_or(0, |h| h.slot.0),
            current_slot: self.chain.current_slot().0,
            finalized_epoch: self.chain.finalized().epoch.0,
            synced: self.chain.is_synced(),
            // Some table look-ups in memory-mapped pages: no reason for another thread.
            store: self.store.reader().stats().ok(),
            max_db_size: self.max_db_size,
            disk_free: (self.disk_free)(),
            insecure_proofs: self.insecure_proofs,
        }
    }
}

impl Collector for NodeCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        self.read().encode(encoder)
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, &format!("{help}."), None, metric.metric_type())?)
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: i64) -> fmt::Result {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, &format!("{help}."), None, metric.metric_type())?)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Collector for NodeNumbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let e = &mut encoder;
        self.encode_gate(e)?;
        for (name, help, value) in &self.endpoint {
            counter(e, &format!("engine_api_{name}"), help, *value)?;
        }
        if let Some(up) = self.execution_up {
            let help = "1 where the execution client behind the gate answers";
            gauge(e, "execution_client_up", help, i64::from(up))?;
        }
        for (name, help, value) in [
            (
                "chain_head_slot",
                "Slot of the beacon node's head",
                number(self.head_slot),
            ),
            (
                "chain_current_slot",
                "Slot by the clock",
                number(self.current_slot),
            ),
            (
                "chain_finalized_epoch",
                "Epoch of the finalized checkpoint",
                number(self.finalized_epoch),
            ),
            (
                "chain_synced",
                "1 where the chain view has caught up with the beacon node",
                i64::from(self.synced),
            ),
            (
                "proofs_prove_nothing",
                "1 where the proof engine is the development engine",
                i64::from(self.insecure_proofs),
            ),
        ] {
            gauge(e, name, help, value)?;
        }
        self.encode_store(e)
    }
}

impl NodeNumbers {
    fn encode_gate(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gate = &self.gate;
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
            (
                "gate_syncing_first_valid_later",
                "Payloads told SYNCING whose verdict turned VALID later",
                gate.syncing_first_valid_later,
            ),
        ] {
            counter(e, name, help, value)?;
        }
        // Every kind from the start: what rises from nothing to one is an increase.
        let help = "What an operator must look at, by kind.";
        let mut family = e.encode_descriptor("gate_alarms", help, None, MetricType::Counter)?;
        for (kind, value) in &self.alarms {
            ConstCounter::new(*value).encode(family.encode_family(&[("kind", *kind)])?)?;
        }
        for (name, help, value) in [
            (
                "gate_payloads",
                "Payloads in the gate's tree",
                count(gate.payloads),
            ),
            (
                "gate_conflicts",
                "Payloads that wait for the operator's decision, 64 at most",
                count(self.conflicts),
            ),
            (
                "gate_disagreements",
                "Payloads in the gate's tree that are proven and that the execution client calls INVALID",
                count(self.disagreements),
            ),
            (
                "gate_unproven_payloads",
                "Payloads in the gate's tree that are held back for proofs of their own",
                count(self.unproven),
            ),
            (
                "gate_head_valid",
                "1 where the head of the last fork choice update is VALID",
                i64::from(gate.head_verdict == Some(PayloadVerdict::Valid)),
            ),
        ] {
            gauge(e, name, help, value)?;
        }
        Ok(())
    }

    fn encode_store(&self, e: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let healthy = self.store.is_some_and(|s| s.is_healthy);
        let help = "1 where the proof store can be read and its last write reached the disk";
        gauge(e, "store_healthy", help, i64::from(healthy))?;
        if let Some(store) = &self.store {
            gauge(e, "store_proofs", "Proofs on disk", number(store.proofs))?;
            let help = "Bytes of proofs on disk; what --max-db-size bounds";
            gauge(e, "store_proof_bytes", help, number(store.proof_bytes))?;
            let help = "Length of the database file, room for new proofs included";
            gauge(e, "store_file_bytes", help, number(store.file_bytes))?;
            counter(e, "store_pruned_proofs", "Proofs pruned", store.pruned)?;
            counter(
                e,
                "store_damaged_proofs",
                "Proofs found damaged on disk and removed",
                store.corrupted,
            )?;
        }
        if let Some(limit) = self.max_db_size {
            gauge(
                e,
                "store_limit_bytes",
                "--max-db-size, where it is set",
                number(limit),
            )?;
        }
        if let Some(free) = self.disk_free {
            gauge(
                e,
                "store_disk_free_bytes",
                "Bytes free on the disk of --datadir",
                number(free),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_gate::{AskedPayload, ElAnswer, GateConfig, StatusWord, persistence::InMemory};
    use assay_store::{ChainIdentity, StoreConfig};
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
        let dir = tempfile::tempdir().unwrap();
        let identity = ChainIdentity {
            genesis_validators_root: Root::from([7; 32]),
            chain_id: 1337,
            config_name: "test".into(),
        };
        let config = StoreConfig {
            identity,
            request_form: assay_types::NewPayloadRequestForm::C,
            slots_per_epoch: 8,
            retention_epochs: 0,
            max_db_size: None,
            cache_bytes: 1 << 20,
        };
        let store = Store::open(dir.path().join("proofs.redb"), config).unwrap();
        let mut registry = Registry::default();
        registry
            .sub_registry_with_prefix("assay")
            .register_collector(Box::new(NodeCollector {
                gate: gate.clone(),
                chain,
                store,
                endpoint: Arc::new(|| {
                    vec![
                        ("new_payload_calls", "Calls", 12),
                        ("changed_answers", "Answers", 3),
                    ]
                }),
                execution_up: Arc::new(|| Some(false)),
                disk_free: Arc::new(|| Some(5_000)),
                max_db_size: Some(7_000),
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
            "assay_gate_alarms_total{kind=\"unproven\"} 0",
            "assay_gate_alarms_total{kind=\"valid_called_invalid\"} 0",
            "assay_gate_disagreements 0",
            "assay_gate_head_valid 0",
            "# HELP assay_engine_api_new_payload_calls Calls.",
            "assay_engine_api_new_payload_calls_total 12",
            "assay_engine_api_changed_answers_total 3",
            "assay_execution_client_up 0",
            "assay_chain_head_slot 0",
            "assay_chain_current_slot 41",
            "assay_chain_finalized_epoch 3",
            "assay_chain_synced 1",
            "assay_proofs_prove_nothing 1",
            "assay_store_healthy 1",
            "assay_store_proofs 0",
            "assay_store_limit_bytes 7000",
            "assay_store_disk_free_bytes 5000",
        ] {
            assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
        }
        stop.cancel();
        writer.await.unwrap();
    }
}
