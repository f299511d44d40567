//! What was signed by this node's own keys and accepted, whoever brought it: a proof engine that speaks JSON-RPC posts what
//! it has made to the node, not to the prover that asked for it.

use assay_types::ProofKey;
use assay_verification::{ProofSink, SinkError, Source, VerifiedProof};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Keys a prover may fall behind; what it misses it gives up when its time is over.
const BACKLOG: usize = 256;

/// A sink of the verifier's that tells the prover beside it.
#[derive(Debug)]
pub struct OwnProofs(broadcast::Sender<ProofKey>);

impl Default for OwnProofs {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl OwnProofs {
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<ProofKey> {
        self.0.subscribe()
    }
}

#[async_trait]
impl ProofSink for OwnProofs {
    fn name(&self) -> &'static str {
        "prover"
    }

    async fn accepted(&self, proof: &Arc<VerifiedProof>, source: &Source) -> Result<(), SinkError> {
        if *source == Source::Prover {
            // An error says that there is no prover.
            let _ = self.0.send(proof.key());
        }
        Ok(())
    }
}
