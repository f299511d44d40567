//! Payloads that a beacon node waits for: proof sync asks for their proofs before others.

use crate::config::ImportPolicyName;
use assay_gate::GateHandle;
use assay_network::WaitingPayloads;
use assay_types::Root;
use std::sync::Arc;

/// Payloads told at most, the oldest: what is above waits for them too.
const MAX_WAITING: usize = 256;

/// What the gate holds back, under a policy that holds anything back.
pub(super) fn of(policy: ImportPolicyName, gate: &GateHandle) -> Option<Arc<dyn WaitingPayloads>> {
    match policy {
        ImportPolicyName::Observe => None,
        ImportPolicyName::RequireProofs => Some(Arc::new(HeldBack(gate.clone()))),
    }
}

struct HeldBack(GateHandle);

impl WaitingPayloads for HeldBack {
    fn waiting(&self) -> Vec<Root> {
        self.0.unproven(MAX_WAITING)
    }
}
