//! The `ProofEngine` trait.

use assay_types::{EngineInput, NewPayloadRequest, ProofKey, ProofType, Root};
use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Names one request for proofs: 8 bytes (Engine API `ProofGenId`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProofGenId(pub [u8; 8]);

/// What an engine says of a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verification {
    /// The proof holds.
    Valid,
    /// It does not; why, as far as the engine says.
    Invalid(String),
    /// The engine does not know this type.
    Unsupported,
}

/// An engine could not answer. Never a verdict on the proof: the proof is kept and tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// Not reachable, or it said it cannot now.
    #[error("proof engine not available: {0}")]
    Unavailable(String),
    /// No answer in time.
    #[error("proof engine gave no answer within {0:?}")]
    TimedOut(std::time::Duration),
    /// An answer that cannot be understood.
    #[error("proof engine answered something else: {0}")]
    Protocol(String),
    /// It answers that it cannot read the proof (Engine API -39001). That says as much about the reader as about the proof,
    /// so it is no verdict; it is an answer, so the engine is not ill.
    #[error("proof engine cannot read the proof: {0}")]
    Unreadable(String),
    /// All its places are taken. It is at work, so it is not ill.
    #[error("proof engine is busy: {0}")]
    Busy(String),
}

/// What an engine tells unasked.
#[derive(Debug, Clone)]
pub enum EngineEvent {
    /// A proof that was requested is ready.
    Completed {
        /// The request, where the engine names it.
        proof_gen_id: Option<ProofGenId>,
        /// What it proves.
        key: ProofKey,
        /// Its bytes.
        proof_data: Bytes,
    },
    /// A proof that was requested will not come.
    Failed {
        /// What it would have proved.
        key: ProofKey,
        /// Why.
        reason: String,
    },
}

/// Makes and checks proofs.
#[async_trait]
pub trait ProofEngine: Send + Sync + 'static {
    /// A name for logs and metrics.
    fn name(&self) -> &str;
    /// Types it verifies, preferred first.
    fn proof_types(&self) -> Vec<ProofType>;
    /// Whether its proofs prove nothing (development only): every surface must say so.
    fn is_insecure(&self) -> bool {
        false
    }
    /// Whether it takes requests for proofs; one that does not is never asked.
    fn makes_proofs(&self) -> bool {
        true
    }
    /// Judges a proof against what it must prove. An engine that knows payloads by their request roots alone judges `beta`'s
    /// proofs by that root: chain and schema are then its own configuration's.
    async fn verify(&self, proof: &EngineInput) -> Result<Verification, EngineError>;
    /// Asks for proofs of a payload; they come as `EngineEvent`s.
    async fn request(
        &self,
        new_payload_request_root: Root,
        request: Arc<NewPayloadRequest>,
        types: &[ProofType],
    ) -> Result<ProofGenId, EngineError>;
    /// Events from now on.
    fn events(&self) -> broadcast::Receiver<EngineEvent>;
    /// A payload was seen (some engines start working on it at once).
    async fn notify_new_payload(&self, new_payload_request_root: Root, request: Arc<NewPayloadRequest>);
    /// Head, safe and finalized block hashes moved.
    async fn notify_forkchoice_updated(&self, head: Root, safe: Root, finalized: Root);
}
