//! One step each of a proof's way. None of them decides what comes next: that is `duty`.

use crate::{ProofDoor, RecentRequests, duty::Outcome};
use assay_chain::{Chain, NodeApi, PayloadInfo};
use assay_proof_engine::ProofEngine;
use assay_types::{
    ExecutionProof, NewPayloadRequest, ProofKey, ProofType, PublicInput, Root, SignedProof, Spec,
    block::BlockPayload,
};
use assay_verification::{CheckError, CheckedProof, ProofSigner};
use bytes::Bytes;
use std::sync::Arc;

/// Who is asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) api: Arc<NodeApi>,
    pub(crate) engine: Arc<dyn ProofEngine>,
    pub(crate) signer: Arc<dyn ProofSigner>,
    pub(crate) door: Arc<dyn ProofDoor>,
    pub(crate) recent: Arc<RecentRequests>,
}

fn not_now(why: impl ToString) -> Outcome {
    Outcome::NotNow(why.to_string())
}

/// Asks the engine for proofs of a payload, whose request is fetched first where it is not there yet.
pub(crate) async fn request(
    asked: &Asked,
    block_root: Root,
    root: Root,
    types: &[ProofType],
    known: Option<Arc<NewPayloadRequest>>,
) -> (Option<Arc<NewPayloadRequest>>, Outcome) {
    let request = match known.or_else(|| asked.recent.get(&root)) {
        Some(request) => request,
        None => match fetch(asked, block_root, root).await {
            Ok(request) => request,
            Err(why) => return (None, not_now(why)),
        },
    };
    let outcome = match asked.engine.request(root, request.clone(), types).await {
        Ok(_) => Outcome::Done,
        Err(error) => not_now(error),
    };
    (Some(request), outcome)
}

/// A block's payload request: the block's own, or of Gloas that of its envelope.
async fn fetch(asked: &Asked, block_root: Root, root: Root) -> Result<Arc<NewPayloadRequest>, String> {
    let spec = asked.chain.spec().clone();
    let block = asked
        .api
        .block(&block_root.to_string())
        .await
        .map_err(|e| e.to_string())?;
    let read = spec.clone();
    let block = off_thread(move || block.block(&read).map_err(|e| e.to_string())).await?;
    if let BlockPayload::Request(request) = block.payload {
        let request = *request;
        return off_thread(move || checked(request, root, &spec)).await;
    }
    let envelope = asked.api.envelope(&block_root).await.map_err(|e| e.to_string())?;
    off_thread(move || {
        let envelope = envelope.envelope(&spec).map_err(|e| e.to_string())?;
        checked(envelope.request(&block).map_err(|e| e.to_string())?, root, &spec)
    })
    .await
}

fn checked(request: NewPayloadRequest, root: Root, spec: &Spec) -> Result<Arc<NewPayloadRequest>, String> {
    let actual = request.hash_tree_root(spec).map_err(|e| e.to_string())?;
    if actual == root {
        return Ok(Arc::new(request));
    }
    Err(format!(
        "the beacon node's payload has the request root {actual}, not {root}"
    ))
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(error.to_string()))
}

/// The engine's word on these bytes; `Refused` is INVALID, or what every node would reject.
pub(crate) async fn verify(
    asked: &Asked,
    key: &ProofKey,
    proof_data: Bytes,
) -> Result<CheckedProof, Outcome> {
    let proof = ExecutionProof {
        proof_data,
        proof_type: key.proof_type,
        public_input: PublicInput {
            new_payload_request_root: key.new_payload_request_root,
        },
    };
    let spec = asked.chain.spec();
    let payload = asked.chain.payload(&key.new_payload_request_root);
    let slot = payload.map_or_else(|| asked.chain.current_slot(), |payload| payload.slot);
    let revision = spec.revision_at_epoch(spec.epoch_at_slot(slot));
    let checked = CheckedProof::check(asked.engine.as_ref(), spec, revision, proof).await;
    checked.map_err(|error| match error {
        CheckError::Unsupported => not_now("the proof engine cannot verify what it made"),
        CheckError::Unavailable(error) => not_now(error),
        wrong => Outcome::Refused(format!("the proof engine made a proof that is none: {wrong}")),
    })
}

/// Signs what was verified.
pub(crate) async fn sign(
    asked: &Asked,
    block_root: Root,
    proof: CheckedProof,
) -> Result<SignedProof, Outcome> {
    let root = proof.key().new_payload_request_root;
    let Some(payload) = asked.chain.payload(&root) else {
        return Err(not_now("the payload is not known any more"));
    };
    // Of several blocks with this payload the canonical one: envelopes that name another are of no use to whoever follows
    // the chain. Where the view tells none, the one that it was proven for.
    let payload = PayloadInfo {
        block_root: payload.block_root.or(Some(block_root)),
        ..payload
    };
    asked.signer.sign(proof, &payload).await.map_err(not_now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_types::{
        ExecutionPayload, ForkName, ProofMessage, Revision, SignatureBytes, Slot, StatedInput, ValidatorIndex,
    };
    use assay_verification::{
        SignError, message_of,
        testing::{MemoryChain, ScriptedEngine},
    };
    use async_trait::async_trait;

    struct NoDoor;

    #[async_trait]
    impl ProofDoor for NoDoor {
        async fn post(&self, _: &SignedProof) -> Outcome {
            Outcome::Done
        }
    }

    /// Signs nothing, and says what would be signed.
    struct Says(Arc<MemoryChain>);

    #[async_trait]
    impl ProofSigner for Says {
        fn validators(&self, _: Slot) -> Vec<ValidatorIndex> {
            vec![0]
        }
        async fn sign(&self, proof: CheckedProof, payload: &PayloadInfo) -> Result<SignedProof, SignError> {
            let (revision, message): (Revision, ProofMessage) =
                message_of(self.0.spec(), proof.into_proof(), payload)?;
            Ok(SignedProof {
                revision,
                message,
                validator_index: 0,
                signature: SignatureBytes([0; 96]),
            })
        }
    }

    fn root(n: u8) -> Root {
        Root::from([n; 32])
    }

    /// Where `beta` holds.
    fn house() -> (Asked, Arc<MemoryChain>, Arc<ScriptedEngine>) {
        let spec = Spec {
            revision: Revision::Beta,
            ..Spec::minimal()
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = Arc::new(MemoryChain::new(Arc::new(spec), root(7)));
        let engine = Arc::new(ScriptedEngine::new([1]));
        let asked = Asked {
            chain: chain.clone(),
            api: Arc::new(NodeApi::new("http://127.0.0.1:9").unwrap()),
            engine: engine.clone(),
            signer: Arc::new(Says(chain.clone())),
            door: Arc::new(NoDoor),
            recent: Arc::new(RecentRequests::default()),
        };
        (asked, chain, engine)
    }

    #[tokio::test]
    async fn of_several_blocks_with_a_payload_the_views_is_named_else_the_one_proven_for() {
        let (asked, chain, engine) = house();
        chain.add_payload(root(1), Slot(43));
        for (views, named) in [(None, 9), (Some(8), 8)] {
            if let Some(block) = views {
                chain.add_block_of(root(block), Slot(43), root(1));
            }
            let key = ProofKey {
                new_payload_request_root: root(1),
                proof_type: 1,
            };
            let checked = verify(&asked, &key, Bytes::from_static(b"V")).await.unwrap();
            let words = engine.last_asked().unwrap().public_input;
            assert!(matches!(words, StatedInput::Beta(_)), "{words:?}");
            let signed = sign(&asked, root(9), checked).await.unwrap();
            assert_eq!(
                (signed.revision, signed.message.root),
                (Revision::Beta, root(named))
            );
        }
    }

    #[test]
    fn a_payload_that_is_not_the_one_asked_for_is_refused() {
        let spec = Spec::minimal();
        let request = NewPayloadRequest {
            fork: ForkName::Capella,
            execution_payload: ExecutionPayload::default(),
            versioned_hashes: Vec::new(),
            parent_beacon_block_root: Root::ZERO,
            execution_requests: Default::default(),
        };
        let own = request.hash_tree_root(&spec).unwrap();
        assert!(checked(request.clone(), own, &spec).is_ok());
        let refused = checked(request, root(1), &spec).unwrap_err();
        assert!(refused.contains("has the request root"), "{refused}");
    }
}
