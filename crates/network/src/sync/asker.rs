//! Asking peers, as the driver does it: `rpc`'s `Requester`, or a fake.

use super::event::{Ask, Failure};
use crate::rpc::{ProofResponse, RequestError, Requester};
use assay_types::{
    ExecutionProofStatus, ExecutionProofsByRange, ProofByRootIdentifier, ProofByRootIdentifiers,
};
use async_trait::async_trait;
use bytes::Bytes;
use libp2p::PeerId;

/// Asks peers.
#[async_trait]
pub(super) trait Asker: Send + Sync + 'static {
    /// Exchanges proof status.
    async fn status(&self, peer: PeerId, ours: ExecutionProofStatus)
    -> Result<ExecutionProofStatus, Failure>;
    /// Asks for proofs.
    async fn proofs(&self, peer: PeerId, ask: Ask) -> Result<Box<dyn Proofs>, Failure>;
}

/// A response as it comes. Dropping it ends it.
#[async_trait]
pub(super) trait Proofs: Send {
    /// SSZ of the next proof; `None` at its proper end.
    async fn next(&mut self) -> Option<Result<Bytes, Failure>>;
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Unsupported => Self::Unsupported,
            error => {
                tracing::debug!(%error, "request for proofs failed");
                Self::Other
            }
        }
    }
}

#[async_trait]
impl Asker for Requester {
    async fn status(
        &self,
        peer: PeerId,
        ours: ExecutionProofStatus,
    ) -> Result<ExecutionProofStatus, Failure> {
        Ok(self.execution_proof_status(peer, ours).await?)
    }

    async fn proofs(&self, peer: PeerId, ask: Ask) -> Result<Box<dyn Proofs>, Failure> {
        let response = match ask {
            Ask::Range { start, count, types } => {
                let request = ExecutionProofsByRange {
                    start_slot: start,
                    count,
                    proof_types: types,
                };
                self.execution_proofs_by_range(peer, request).await?
            }
            Ask::Root(blocks) => {
                let identifiers = blocks
                    .into_iter()
                    .map(|(block_root, proof_types)| ProofByRootIdentifier {
                        block_root,
                        proof_types,
                    });
                self.execution_proofs_by_root(peer, ProofByRootIdentifiers(identifiers.collect()))
                    .await?
            }
        };
        Ok(Box::new(response))
    }
}

#[async_trait]
impl Proofs for ProofResponse {
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        let next = ProofResponse::next(self).await?;
        Some(next.map_err(Failure::from))
    }
}
