//! One step each of a proof's way. None of them decides what comes next: that is `duty`.

use crate::{
    BeaconEndpoint, LocalKeys, LocalSigner,
    duty::Outcome,
    validators::{self, Validator},
};
use assay_chain::{Chain, NodeApi};
use assay_proof_engine::{ProofEngine, Verification};
use assay_types::{
    ExecutionProof, NewPayloadRequest, ProofKey, ProofType, PublicInput, Root, SignedExecutionProof, Slot,
    Spec, block::BlockPayload,
};
use assay_verification::ProofSigner;
use bytes::Bytes;
use std::sync::Arc;

/// Who is asked.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) chain: Arc<dyn Chain>,
    pub(crate) api: Arc<NodeApi>,
    pub(crate) engine: Arc<dyn ProofEngine>,
    pub(crate) keys: LocalKeys,
    pub(crate) endpoint: BeaconEndpoint,
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
    let request = match known {
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

fn proof(key: &ProofKey, proof_data: Bytes) -> ExecutionProof {
    ExecutionProof {
        proof_data,
        proof_type: key.proof_type,
        public_input: PublicInput {
            new_payload_request_root: key.new_payload_request_root,
        },
    }
}

/// The engine's word on these bytes; `Refused` is INVALID.
pub(crate) async fn verify(asked: &Asked, key: &ProofKey, proof_data: Bytes) -> Outcome {
    let most = asked.chain.spec().max_proof_size;
    match proof_data.len() as u64 {
        0 => return Outcome::Refused("an empty proof".into()),
        size if size > most => {
            return Outcome::Refused(format!("a proof of {size} bytes, MAX_PROOF_SIZE is {most}"));
        }
        _ => {}
    }
    match asked.engine.verify(&proof(key, proof_data)).await {
        Ok(Verification::Valid) => Outcome::Done,
        Ok(Verification::Invalid(why)) => {
            Outcome::Refused(format!("the proof engine made an invalid proof: {why}"))
        }
        Ok(Verification::Unsupported) => not_now("the proof engine cannot verify what it made"),
        Err(error) => not_now(error),
    }
}

/// Signs verified bytes for a validator that is active at the payload's epoch; they take turns by slot.
pub(crate) async fn sign(
    asked: &Asked,
    key: &ProofKey,
    slot: Slot,
    proof_data: Bytes,
    validators: &[Validator],
) -> Result<SignedExecutionProof, Outcome> {
    let (spec, genesis) = (asked.chain.spec().clone(), asked.chain.genesis());
    let epoch = spec.epoch_at_slot(slot);
    let active = validators::active(validators, epoch);
    let turn = usize::try_from(slot.0 % active.len().max(1) as u64).unwrap_or(0);
    let Some(validator) = active.get(turn) else {
        return Err(not_now("no validator with a key here is active"));
    };
    let message = proof(key, proof_data);
    let hashed = message.clone();
    // Megabytes to hash.
    let signing_root = off_thread(move || {
        let root = spec.execution_proof_root(epoch, &hashed);
        Ok(spec.execution_proof_signing_root(&genesis, epoch, &root))
    });
    let signing_root = signing_root.await.map_err(not_now)?;
    let signer = LocalSigner::new(asked.keys.clone(), [(validator.index, validator.pubkey)]);
    let signature = signer
        .sign(validator.index, &message, signing_root)
        .await
        .map_err(not_now)?;
    Ok(SignedExecutionProof {
        message,
        validator_index: validator.index,
        signature,
    })
}
