//! Payloads that a beacon node waits for: proof sync asks for their proofs before others.

use assay_gate::{GateHandle, ImportPolicy};
use assay_network::WaitingPayloads;
use assay_types::Root;
use std::sync::Arc;

/// Payloads told at most, the oldest: what is above waits for them too.
const MAX_WAITING: usize = 256;

/// What the gate holds back, while it has a policy that holds anything back.
pub(super) fn of(gate: &GateHandle) -> Arc<dyn WaitingPayloads> {
    Arc::new(HeldBack(gate.clone()))
}

struct HeldBack(GateHandle);

impl WaitingPayloads for HeldBack {
    fn waiting(&self) -> Vec<Root> {
        match self.0.config().policy {
            ImportPolicy::Observe => Vec::new(),
            _ => self.0.unproven(MAX_WAITING),
        }
    }
}
