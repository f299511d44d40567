//! The `ProofSink` that brings proofs to gossip which did not come from there.

use assay_verification::{ProofSink, SinkError, Source, VerifiedProof};
use async_trait::async_trait;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Proofs that may wait for the host to publish them; then whoever brought the next one waits.
const PUBLISH_QUEUE_LEN: usize = 64;

/// Hands accepted proofs to the host for publishing. What came by gossip is forwarded by gossip's own verdict. What was
/// asked for stays off gossip: others ask for it too, and a node that catches up would flood its peers with what they
/// served it.
#[derive(Clone)]
pub struct Publisher {
    proofs: mpsc::Sender<Arc<VerifiedProof>>,
}

/// The host's end of a `Publisher`.
pub struct PublishQueue(pub(crate) mpsc::Receiver<Arc<VerifiedProof>>);

/// A sink to register with the verifier, and the queue to start the network with.
pub fn publisher() -> (Publisher, PublishQueue) {
    let (proofs, queue) = mpsc::channel(PUBLISH_QUEUE_LEN);
    (Publisher { proofs }, PublishQueue(queue))
}

#[async_trait]
impl ProofSink for Publisher {
    fn name(&self) -> &'static str {
        "publisher"
    }

    async fn accepted(&self, proof: &Arc<VerifiedProof>, source: &Source) -> Result<(), SinkError> {
        if matches!(source, Source::Gossip { .. } | Source::ReqResp { .. }) {
            return Ok(());
        }
        self.proofs.send(Arc::clone(proof)).await.map_err(|_| SinkError {
            sink: self.name(),
            why: "the network has ended".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::gossip::outbox::tests::proof;
    use assay_verification::PeerRef;

    #[tokio::test]
    async fn what_peers_brought_is_not_published() {
        let (publisher, PublishQueue(mut queue)) = publisher();
        let peer = PeerRef(Arc::from([1, 2, 3]));
        for (source, queued) in [
            (Source::Gossip { peer: peer.clone() }, false),
            (Source::ReqResp { peer }, false),
            (Source::Http, true),
            (Source::Prover, true),
        ] {
            publisher.accepted(&proof(1, 10), &source).await.unwrap();
            assert_eq!(queue.try_recv().is_ok(), queued, "{source:?}");
        }
        drop(queue);
        assert!(publisher.accepted(&proof(1, 10), &Source::Http).await.is_err());
    }
}
