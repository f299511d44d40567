//! What passes the Engine API endpoint goes to the chain view and the proof engine; the chain's clock goes to the gate.

use assay_chain::{Chain, ChainView, PayloadSeen};
use assay_engine_api::ForkchoiceStateV1;
use assay_gate::{GateHandle, endpoint::EngineObserver};
use assay_proof_engine::ProofEngine;
use assay_types::{NewPayloadRequest, Root, Slot};
use std::{sync::Arc, time::Duration};

/// Tells chain view and proof engine.
pub(super) struct Observer {
    view: Arc<ChainView>,
    engine: Arc<dyn ProofEngine>,
}

impl Observer {
    pub(super) fn new(view: Arc<ChainView>, engine: Arc<dyn ProofEngine>) -> Self {
        Self { view, engine }
    }
}

impl EngineObserver for Observer {
    fn on_payload(&self, new_payload_request_root: &Root, request: &Arc<NewPayloadRequest>) {
        let payload = &request.execution_payload;
        let seen = PayloadSeen::of(request, *new_payload_request_root);
        if let Err(error) = self.view.on_engine_payload(seen) {
            tracing::warn!(%error, block_hash = %payload.block_hash, "a payload has no place on this network");
            return;
        }
        let (engine, root, request) = (self.engine.clone(), *new_payload_request_root, request.clone());
        tokio::spawn(async move { engine.notify_new_payload(root, request).await });
    }

    fn on_forkchoice(&self, state: &ForkchoiceStateV1) {
        let (head, safe, finalized) = (
            state.head_block_hash,
            state.safe_block_hash,
            state.finalized_block_hash,
        );
        self.view.on_engine_forkchoice(head, safe, finalized);
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.notify_forkchoice_updated(head, safe, finalized).await });
    }
}

/// How often the clock is looked at for a new slot.
const CLOCK_STEP: Duration = Duration::from_millis(500);

/// Tells the gate of slots, without an end. Payloads, heads and finality reach it by the endpoint.
pub(super) async fn feed_gate(gate: GateHandle, chain: Arc<dyn Chain>) {
    let mut slot = Slot(0);
    let mut clock = tokio::time::interval(CLOCK_STEP);
    loop {
        clock.tick().await;
        let now = chain.current_slot();
        if now > slot {
            slot = now;
            gate.slot_started(now).await;
        }
    }
}
