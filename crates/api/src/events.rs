//! Accepted proofs as server-sent events (protocol.md section 11: never the proof's bytes).

use crate::dashboard::{
    provers::{Provers, SeenProver},
    slots::unix_ms,
};
use assay_types::{ProofType, Root, Slot, ValidatorIndex};
use assay_verification::{ProofSink, SinkError, Source, VerifiedProof};
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};
use tokio::sync::broadcast;

/// Events a slow client may lag behind before it loses some.
const EVENT_BUFFER: usize = 1024;

/// `execution_proof`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofEvent {
    /// Slot of the payload.
    pub slot: Slot,
    /// Its beacon block, once known.
    pub block_root: Option<Root>,
    /// The payload.
    pub new_payload_request_root: Root,
    /// The kind of proof.
    #[serde(with = "assay_types::primitives::quoted")]
    pub proof_type: ProofType,
    /// Who signed.
    #[serde(with = "assay_types::primitives::quoted")]
    pub validator_index: ValidatorIndex,
    /// How it came: `gossip`, `req_resp`, `http` or `prover`.
    pub source: &'static str,
}

/// The last sink: tells whoever listens.
#[derive(Debug)]
pub struct EventSink {
    sender: broadcast::Sender<ProofEvent>,
    provers: Mutex<Provers>,
}

impl Default for EventSink {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(EVENT_BUFFER).0,
            provers: Mutex::default(),
        }
    }
}

impl EventSink {
    /// Events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<ProofEvent> {
        self.sender.subscribe()
    }

    /// Validators that signed accepted proofs in this run.
    pub fn provers(&self) -> BTreeMap<ValidatorIndex, SeenProver> {
        self.provers.lock().all()
    }
}

#[async_trait]
impl ProofSink for EventSink {
    fn name(&self) -> &'static str {
        "events"
    }

    async fn accepted(&self, proof: &Arc<VerifiedProof>, source: &Source) -> Result<(), SinkError> {
        let key = proof.key();
        let event = ProofEvent {
            slot: proof.slot(),
            block_root: proof.block_root(),
            new_payload_request_root: key.new_payload_request_root,
            proof_type: key.proof_type,
            validator_index: proof.validator_index(),
            source: source.label(),
        };
        tracing::info!(
            slot = event.slot.0,
            proof_type = event.proof_type,
            validator = event.validator_index,
            source = event.source,
            bytes = proof.signed().message.proof_data.len(),
            payload = %key.new_payload_request_root,
            "proof accepted"
        );
        self.provers.lock().accepted(
            event.validator_index,
            event.slot,
            event.proof_type,
            event.source,
            unix_ms(SystemTime::now()),
        );
        // Nobody listening is no error.
        let _ = self.sender.send(event);
        Ok(())
    }
}
