//! What the gate is asked without changing it.

use super::{GateEvent, GateHandle, SeenAlarm};
use crate::{
    machine::{
        Asked, GateConfig, GateStats, HoldingAncestor, PastChange, PayloadView, RememberedPayload,
        StatusWord, VerdictChange,
    },
    origins::ProofOrigin,
};
use assay_types::{BlockHash, ProofType, Root, Slot};
use std::collections::BTreeMap;
use tokio::sync::{broadcast, watch};

impl GateHandle {
    /// The execution client's last word on a payload in the tree.
    pub fn client_said(&self, block_hash: &BlockHash) -> Option<StatusWord> {
        self.0.gate.lock().client_said(block_hash)
    }

    /// Whether an answer is to wait for proofs (`--wait-for-proofs`), the EL having said `status`. A call that waits is
    /// judged with `asked_again` at the end of its wait, whatever that brought.
    pub fn waits_for_proofs(&self, asked: &Asked, status: Option<StatusWord>) -> bool {
        self.0.gate.lock().waits_for_proofs(asked, status)
    }

    /// Whether proofs alone make a payload VALID now, the EL being SYNCING or silent.
    pub fn is_raised(&self, block_hash: &BlockHash) -> bool {
        self.0.gate.lock().is_raised(block_hash)
    }

    /// Told that some verdict changed, for as long as it is held.
    pub fn verdict_changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// A payload by its execution block hash.
    pub fn payload(&self, block_hash: &BlockHash) -> Option<PayloadView> {
        self.0.gate.lock().payload(block_hash)
    }

    /// A payload by its request root.
    pub fn payload_by_root(&self, new_payload_request_root: &Root) -> Option<PayloadView> {
        self.0.gate.lock().payload_by_root(new_payload_request_root)
    }

    /// Payloads of the tree with slots in `[from, to]`, by slot; where there are more than `limit`, the newest.
    pub fn payloads(&self, from: Slot, to: Slot, limit: usize) -> Vec<PayloadView> {
        self.0.gate.lock().payloads(from, to, limit)
    }

    /// Request roots of payloads held back for want of proofs of their own, the oldest first.
    pub fn unproven(&self, limit: usize) -> Vec<Root> {
        self.0.gate.lock().unproven(limit)
    }

    /// Newest payload of the canonical chain that is proven with all its ancestors (`ExecutionProofStatus`).
    pub fn newest_proven(&self) -> Option<PayloadView> {
        self.0.gate.lock().newest_proven()
    }

    /// Ancestors that hold a payload back; see `Gate::holding_ancestors`.
    pub fn holding_ancestors(&self, block_hash: &BlockHash, limit: usize) -> Vec<HoldingAncestor> {
        self.0.gate.lock().holding_ancestors(block_hash, limit)
    }

    /// Payloads that the operator has to decide of; see `Gate::conflicts`.
    pub fn conflicts(&self, limit: usize) -> Vec<BlockHash> {
        self.0.gate.lock().conflicts(limit)
    }

    /// Payloads of a slot that left the tree; see `Gate::remembered_at`.
    pub fn remembered_at(&self, slot: Slot, limit: usize) -> Vec<RememberedPayload> {
        self.0.gate.lock().remembered_at(slot, limit)
    }

    /// Payloads that are proven and that the execution client calls INVALID; see `Gate::disagreements`.
    pub fn disagreements(&self, limit: usize) -> Vec<BlockHash> {
        self.0.gate.lock().disagreements(limit)
    }

    /// The last changes of a payload's verdict, oldest first, before this start too; see `Gate::changes`.
    pub fn changes(&self, block_hash: &BlockHash) -> Vec<PastChange> {
        self.0.gate.lock().changes(block_hash).to_vec()
    }

    /// What is remembered of a payload that left the tree.
    pub fn remembered(&self, block_hash: &BlockHash) -> Option<RememberedPayload> {
        self.0.gate.lock().remembered(block_hash)
    }

    /// Who signed the proofs of a payload that counted in this run, and how they came.
    pub fn proof_origins(&self, new_payload_request_root: &Root) -> BTreeMap<ProofType, ProofOrigin> {
        self.0.origins.lock().of(new_payload_request_root)
    }

    /// The settings in force.
    pub fn config(&self) -> GateConfig {
        *self.0.gate.lock().config()
    }

    /// The gate in numbers.
    pub fn stats(&self) -> GateStats {
        self.0.gate.lock().stats()
    }

    /// The newest verdict changes, oldest first.
    pub fn recent(&self) -> Vec<VerdictChange> {
        self.0.recent.lock().iter().copied().collect()
    }

    /// Alarms since start by kind (`Alarm::label`); a kind that never was is absent.
    pub fn alarms(&self) -> BTreeMap<&'static str, SeenAlarm> {
        self.0.alarms.lock().clone()
    }

    /// Verdict changes and alarms from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<GateEvent> {
        self.0.events.subscribe()
    }
}
