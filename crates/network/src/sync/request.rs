//! From what the planner asks for to what `rpc` sends, and from its errors to what the planner is told.

use super::event::{Ask, Failure};
use crate::rpc::{ProofResponse, RequestError, Requester};
use assay_types::{ExecutionProofsByRange, ProofByRootIdentifier, ProofByRootIdentifiers};
use libp2p::PeerId;

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

/// Asks a peer for proofs. Dropping the response ends it.
pub(super) async fn send(
    requester: &Requester,
    peer: PeerId,
    ask: Ask,
) -> Result<ProofResponse, RequestError> {
    match ask {
        Ask::Range { start, count, types } => {
            let request = ExecutionProofsByRange {
                start_slot: start,
                count,
                proof_types: types,
            };
            requester.execution_proofs_by_range(peer, request).await
        }
        Ask::Root(blocks) => {
            let identifiers = blocks
                .into_iter()
                .map(|(block_root, proof_types)| ProofByRootIdentifier {
                    block_root,
                    proof_types,
                });
            let request = ProofByRootIdentifiers(identifiers.collect());
            requester.execution_proofs_by_root(peer, request).await
        }
    }
}
