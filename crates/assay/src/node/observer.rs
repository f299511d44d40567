//! What passes the Engine API endpoint goes to the chain view and the proof engine; payloads of beacon blocks and the
//! chain's clock go to the gate.

use assay_chain::{Chain, ChainView, PayloadObserver, PayloadSeen, tree::SeenPayload};
use assay_engine_api::{ForkchoiceStateV1, block_hash};
use assay_gate::{GateHandle, PayloadFacts, RequestCheck, endpoint::EngineObserver, machine::Event};
use assay_proof_engine::ProofEngine;
use assay_prover::RecentRequests;
use assay_types::{NewPayloadRequest, Root, Slot};
use futures::FutureExt;
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Tells chain view and proof engine.
pub(super) struct Observer {
    view: Arc<ChainView>,
    engine: Arc<dyn ProofEngine>,
    recent: Option<Arc<RecentRequests>>,
}

impl Observer {
    /// `recent` is filled for a prover in this node.
    pub(super) fn new(
        view: Arc<ChainView>,
        engine: Arc<dyn ProofEngine>,
        recent: Option<Arc<RecentRequests>>,
    ) -> Self {
        Self { view, engine, recent }
    }
}

impl EngineObserver for Observer {
    fn on_payload(&self, new_payload_request_root: &Root, request: &Arc<NewPayloadRequest>) {
        let payload = &request.execution_payload;
        // First: the prover hears of the payload by the view.
        if let Some(recent) = &self.recent {
            recent.insert(*new_payload_request_root, request.clone());
        }
        let seen = PayloadSeen::of(request, *new_payload_request_root);
        if let Err(error) = self.view.on_engine_payload(seen) {
            tracing::warn!(%error, block_hash = %payload.block_hash, "a payload has no place on this network");
            return;
        }
        let (engine, root, request) = (self.engine.clone(), *new_payload_request_root, request.clone());
        hand_over(async move { engine.notify_new_payload(root, request).await });
    }

    fn on_forkchoice(&self, state: &ForkchoiceStateV1) {
        let (head, safe, finalized) = (
            state.head_block_hash,
            state.safe_block_hash,
            state.finalized_block_hash,
        );
        self.view.on_engine_forkchoice(head, safe, finalized);
        let engine = self.engine.clone();
        hand_over(async move { engine.notify_forkchoice_updated(head, safe, finalized).await });
    }
}

/// Lets the engine take a notification now, so that they keep their order; the router does so without waiting. What has to
/// wait does it elsewhere.
fn hand_over(work: impl Future<Output = ()> + Send + 'static) {
    let mut work = Box::pin(work);
    if work.as_mut().now_or_never().is_none() {
        tokio::spawn(work);
    }
}

/// How often the clock is looked at for a new slot.
const CLOCK_STEP: Duration = Duration::from_millis(500);
/// Payloads of blocks on their way to the gate, some hundred bytes each; with more, the follower waits.
const SEEN_QUEUE: usize = 256;

/// Gives the gate the payloads of beacon blocks that the Engine API did not bring, as while this node was down: holes that
/// would keep their descendants SYNCING for ever (design.md, gate rule 2).
pub(super) struct SeenInBlocks {
    gate: GateHandle,
    events: mpsc::Sender<Event>,
}

impl SeenInBlocks {
    pub(super) fn new(gate: GateHandle) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (events, queue) = mpsc::channel(SEEN_QUEUE);
        (Arc::new(Self { gate, events }), queue)
    }
}

impl PayloadObserver for SeenInBlocks {
    fn on_payload(&self, payload: &SeenPayload, request: &NewPayloadRequest) {
        let root = payload.new_payload_request_root;
        let known = self.gate.payload(&payload.block_hash);
        // The usual case: newPayload came before the block.
        if known.is_some_and(|known| known.new_payload_request_root == Some(root)) {
            return;
        }
        // Gate rule 5: before a payload enters the tree without the execution client's word.
        if let Err(mismatch) = block_hash::check(request) {
            tracing::error!(
                block_hash = %payload.block_hash, slot = payload.slot.0, %mismatch,
                "the payload of a beacon block has hashes that are not those of its fields"
            );
            return;
        }
        let event = Event::PayloadSeen {
            payload: PayloadFacts {
                block_hash: payload.block_hash,
                parent_hash: payload.parent_hash,
                new_payload_request_root: root,
                slot: payload.slot,
                fork: payload.fork,
            },
            check: RequestCheck::Matches,
        };
        // Refused only when the node is ending.
        let _ = self.events.blocking_send(event);
    }
}

/// Tells the gate of slots and of payloads seen in blocks, without an end. Calls, heads and finality reach it by the
/// endpoint.
pub(super) async fn feed_gate(gate: GateHandle, chain: Arc<dyn Chain>, mut seen: mpsc::Receiver<Event>) {
    let mut slot = Slot(0);
    let mut clock = tokio::time::interval(CLOCK_STEP);
    loop {
        tokio::select! {
            _ = clock.tick() => {}
            Some(event) = seen.recv() => {
                gate.apply(event).await;
                continue;
            }
        }
        let now = chain.current_slot();
        if now > slot {
            slot = now;
            gate.slot_started(now).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_gate::GateConfig;
    use assay_simulator::{ChainConfig, SimChain};
    use assay_types::Spec;
    use tokio_util::sync::CancellationToken;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_block_gives_the_gate_what_it_lacks_and_no_payload_under_a_hash_that_is_not_its_own() {
        let mut chain = SimChain::new(ChainConfig {
            spec: Spec::minimal(),
            genesis_time: 1_700_000_000,
            validators: 4,
            payload_bytes: 100,
            seed: 7,
        })
        .unwrap();
        let block = chain.produce(Slot(3), None).unwrap();
        let request = block.payload.as_ref().unwrap().request.clone();
        let payload = SeenPayload {
            new_payload_request_root: block.payload.as_ref().unwrap().request_root,
            block_hash: block.block_hash(),
            parent_hash: request.execution_payload.parent_hash,
            slot: block.slot,
            fork: block.fork,
        };
        let persistence = Arc::new(assay_gate::persistence::InMemory::default());
        let stop = CancellationToken::new();
        let (gate, writer) =
            GateHandle::open(GateConfig::default(), persistence, None, stop.clone()).unwrap();
        let (observer, mut events) = SeenInBlocks::new(gate.clone());
        let tell = async |request: NewPayloadRequest| {
            let observer = observer.clone();
            tokio::task::spawn_blocking(move || observer.on_payload(&payload, &request))
                .await
                .unwrap();
        };
        let mut other = NewPayloadRequest::clone(&request);
        other.execution_payload.gas_used += 1;
        tell(other).await;
        assert!(events.try_recv().is_err(), "not its hash");
        tell(NewPayloadRequest::clone(&request)).await;
        gate.apply(events.try_recv().unwrap()).await;
        let view = gate.payload(&payload.block_hash).unwrap();
        assert_eq!(
            view.new_payload_request_root,
            Some(payload.new_payload_request_root)
        );
        tell(NewPayloadRequest::clone(&request)).await;
        assert!(events.try_recv().is_err(), "known already");
        stop.cancel();
        writer.await.unwrap();
    }
}
