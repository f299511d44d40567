//! POST `/eth/v1/beacon/execution_proofs` and `/eth/v1/beacon/pool/execution_proofs` (protocol.md sections 8 and 11).
//!
//! Each proof is judged on its own: good ones are kept and published whatever becomes of the others. 200 when every one
//! is on the network, now or already (another valid one of its payload and type counts for one that verifies itself); 400 with `failures` where one is not and will not be; 503 with `failures` where
//! the node cannot judge one now (its payload is not known yet, the validator or the proof engine cannot be asked).

use crate::{
    ApiError, ApiState, posted,
    verdicts::{self, Outcome},
};
use crate::{
    openapi::{Operation, schema},
    proof_body::MAX_PROOFS_PER_POST,
};
use assay_chain::Chain;
use assay_types::SignedExecutionProof;
use assay_verification::{Candidate, IgnoreReason, Intake, Source, Verdict, Waited};
use axum::{
    Extension,
    extract::{Request, State},
};
use futures::{StreamExt, stream};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long all proofs of a request together may wait for payloads, validators or the engine before the caller is told
/// to come again. They go on waiting in the waiting room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Proofs of one request that are judged at the same time.
const AT_ONCE: usize = 4;

pub(crate) async fn post(
    State(state): State<ApiState>,
    Extension(limit): Extension<super::BodyLimit>,
    request: Request,
) -> Result<(), ApiError> {
    let found = posted::proofs(request, limit.0).await?;
    answer(state.chain.as_ref(), &state.intake, found, PATIENCE).await
}

async fn answer(
    chain: &dyn Chain,
    intake: &Intake,
    found: Vec<Result<Candidate, String>>,
    patience: Duration,
) -> Result<(), ApiError> {
    let deadline = Instant::now() + patience;
    let judging = found
        .into_iter()
        .map(|candidate| judge(intake, named_as_here(chain, candidate), deadline));
    let outcomes: Vec<Outcome> = stream::iter(judging).buffered(AT_ONCE).collect().await;
    verdicts::answer(outcomes)
}

/// A prover of revision `beta` names the beacon block where `alpha` has the payload's request root, in the same bytes: it
/// must not be told to come again and again for a payload that never comes.
fn named_as_here(chain: &dyn Chain, candidate: Result<Candidate, String>) -> Result<Candidate, String> {
    let candidate = candidate?;
    let named = match &candidate {
        // Without a copy of the proof; what does not decode is refused with its reason later.
        Candidate::Ssz(ssz) => SignedExecutionProof::from_ssz_bytes(ssz).ok().map(|s| s.key()),
        Candidate::Signed(signed) => Some(signed.key()),
    };
    let root = named.map(|key| key.new_payload_request_root);
    match root.filter(|root| chain.payload(root).is_none() && chain.block(root).is_some()) {
        Some(root) => Err(format!(
            "{root} is a beacon block root: this node takes proofs of EIP8025_REVISION alpha, which name the \
             new_payload_request_root of the block's payload"
        )),
        None => Ok(candidate),
    }
}

async fn judge(intake: &Intake, candidate: Result<Candidate, String>, deadline: Instant) -> Outcome {
    let candidate = match candidate {
        Ok(candidate) => candidate,
        Err(why) => return Outcome::Refused(why),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    match intake.submit_and_wait(candidate, Source::Http, left).await {
        Waited::Decided(Verdict::Accept(_)) => Outcome::OnTheNetwork,
        Waited::Decided(Verdict::Reject(reason)) => Outcome::Refused(reason.to_string()),
        Waited::Decided(Verdict::Ignore(reason)) => match reason {
            IgnoreReason::AlreadyValid => Outcome::OnTheNetwork,
            IgnoreReason::UnknownPayload
            | IgnoreReason::ValidatorUnavailable
            | IgnoreReason::EngineUnavailable
            | IgnoreReason::Overloaded
            | IgnoreReason::Internal => Outcome::NotNow(reason.to_string()),
            // Gossip's alone: what is posted is judged on its own merits.
            IgnoreReason::SeenProof | IgnoreReason::SeenFromValidator | IgnoreReason::Contained => {
                Outcome::NotNow(reason.to_string())
            }
            IgnoreReason::UnsupportedType | IgnoreReason::TooOld => Outcome::Refused(reason.to_string()),
        },
        Waited::StillWaiting(reason) => Outcome::NotNow(reason.map_or_else(
            || "it is still being judged".to_owned(),
            |reason| reason.to_string(),
        )),
    }
}

/// `id` tells the two paths apart.
pub(crate) fn describe(id: &'static str) -> Operation {
    let one = schema("SignedExecutionProof");
    let several = json!({ "type": "array", "items": one, "minItems": 1, "maxItems": MAX_PROOFS_PER_POST });
    let ssz = json!({ "type": "string", "format": "binary" });
    Operation::new(
        id,
        "Proofs, signed: judged, stored and published, each on its own",
    )
    .body(&[
        ("application/json", json!({ "anyOf": [one, several] })),
        ("application/octet-stream", ssz),
    ])
    .empty(200, "every one is on the network, now or already")
    .error(
        400,
        "the body cannot be read, or `failures` says what was not accepted",
    )
    .error(408, "the body did not come in time")
    .error(413, "the body is too large")
    .error(415, "neither JSON nor SSZ")
    .error(503, "`failures` says what cannot be judged now")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_types::{ProofKey, Root, SignedExecutionProof, Slot, Spec};
    use assay_verification::{
        MemoryContainment, RoomLimits, Verifier, VerifierConfig, VerifierParts,
        testing::{MemoryChain, MemorySink, ScriptedEngine, sign},
    };
    use axum::{
        http::{StatusCode, header},
        response::IntoResponse,
    };
    use std::sync::Arc;

    struct House {
        chain: Arc<MemoryChain>,
        engine: Arc<ScriptedEngine>,
        verifier: Verifier,
    }

    impl House {
        /// Payload 1 is known; one candidate at a time has room.
        fn new(candidates: usize) -> Self {
            let chain = Arc::new(MemoryChain::new(Arc::new(Spec::minimal()), Root::from([7; 32])));
            chain.add_interop_validators(0..4);
            chain.add_payload(Root::from([1; 32]), Slot(3));
            let engine = Arc::new(ScriptedEngine::new([1]));
            let store = Arc::new(MemorySink::new("store"));
            let config = VerifierConfig {
                room: RoomLimits {
                    candidates,
                    ..RoomLimits::default()
                },
                ..VerifierConfig::default()
            };
            let parts = VerifierParts {
                chain: chain.clone(),
                engine: engine.clone(),
                known: store.clone(),
                containment: Arc::new(MemoryContainment::default()),
                store,
            };
            Self {
                chain,
                engine,
                verifier: Verifier::start(config, parts),
            }
        }

        fn proof(&self, payload: u8, validator: u64) -> SignedExecutionProof {
            let key = ProofKey {
                new_payload_request_root: Root::from([payload; 32]),
                proof_type: 1,
            };
            let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
            sign(spec, &genesis, key, Slot(3), vec![b'V'; 10].into(), validator)
        }

        async fn post(&self, proofs: &[SignedExecutionProof]) -> Result<(), ApiError> {
            let found = proofs.iter().cloned().map(Candidate::Signed).map(Ok).collect();
            answer(
                self.chain.as_ref(),
                &self.verifier.intake(),
                found,
                Duration::from_millis(300),
            )
            .await
        }
    }

    #[tokio::test]
    async fn full_queues_are_503_with_the_place_of_what_was_not_taken() {
        let house = House::new(1);
        house.engine.set_delay(Duration::from_secs(60));
        let first = house.post(&[house.proof(1, 1)]).await.unwrap_err();
        assert_eq!(first.code, 503, "still being judged: {first:?}");
        let full = house
            .post(&[house.proof(1, 2), house.proof(1, 3)])
            .await
            .unwrap_err();
        assert_eq!(full.code, 503, "{full:?}");
        let failures: Vec<_> = full
            .failures
            .iter()
            .map(|f| (f.index, f.message.as_str()))
            .collect();
        let overloaded = IgnoreReason::Overloaded.to_string();
        assert_eq!(failures, [(0, overloaded.as_str()), (1, overloaded.as_str())]);
        let response = full.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
        house.verifier.shutdown().await;
    }

    /// As a prover of revision `beta` posts it.
    #[tokio::test]
    async fn a_proof_that_names_a_beacon_block_is_refused_with_the_reason() {
        let house = House::new(16);
        house.chain.add_block(Root::from([8; 32]), Slot(3));
        let refused = house
            .post(&[house.proof(1, 1), house.proof(8, 1)])
            .await
            .unwrap_err();
        assert_eq!((refused.code, refused.failures[0].index), (400, 1), "{refused:?}");
        assert!(
            refused.failures[0].message.contains("EIP8025_REVISION alpha"),
            "{refused:?}"
        );
        // As SSZ too, and where the payload is known by this very name it is one.
        let ssz = Candidate::Ssz(house.proof(8, 1).to_ssz_bytes());
        assert!(named_as_here(house.chain.as_ref(), Ok(ssz)).is_err());
        house.chain.add_payload(Root::from([8; 32]), Slot(3));
        house.post(&[house.proof(8, 1)]).await.unwrap();
        house.verifier.shutdown().await;
    }

    #[tokio::test]
    async fn each_is_judged_by_itself_though_its_payload_is_proven() {
        let house = House::new(16);
        let good = house.proof(1, 1);
        house.post(std::slice::from_ref(&good)).await.unwrap();
        let mut forged = good.clone();
        forged.signature.0[5] ^= 1;
        let refused = house
            .post(&[good.clone(), forged, house.proof(1, 2), house.proof(2, 1)])
            .await
            .unwrap_err();
        let places: Vec<_> = refused.failures.iter().map(|f| f.index).collect();
        assert_eq!((refused.code, places), (400, vec![1, 3]), "{refused:?}");
        assert_eq!(house.post(&[house.proof(3, 1)]).await.unwrap_err().code, 503);
        house.verifier.shutdown().await;
    }
}
