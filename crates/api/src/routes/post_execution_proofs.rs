//! POST `/eth/v1/beacon/execution_proofs` and `/eth/v1/beacon/pool/execution_proofs` (protocol.md sections 8 and 11).
//!
//! Each proof is judged on its own: good ones are kept and published whatever becomes of the others. 200 when every one
//! is on the network, now or already (another valid one of its payload and type counts for one that verifies itself); 400 with `failures` where one is not and will not be; 503 with `failures` where
//! the node cannot judge one now (its payload is not known yet, the validator or the proof engine cannot be asked).
//!
//! A proof is a `SignedExecutionProof` (`alpha`) or a `SignedExecutionProofEnvelope` (`beta`). Of JSON the message says which.
//! SSZ is of one frame in both: `Eth-Consensus-Version`, where it is sent, names the fork and so the revision; else what the
//! proof names does, a payload or a block that is known; else the revision that holds now.

use crate::{
    ApiError, ApiState, posted,
    verdicts::{self, Outcome},
};
use crate::{
    openapi::{Operation, schema},
    proof_body::MAX_PROOFS_PER_POST,
};
use assay_chain::Chain;
use assay_types::{ForkName, Revision, SignedProof, Spec};
use assay_verification::{Candidate, IgnoreReason, Intake, Source, Verdict, Waited};
use axum::{
    Extension,
    extract::{Request, State},
    http::HeaderMap,
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
    let said = consensus_version(request.headers(), state.chain.spec())?;
    let found = posted::proofs(request, limit.0).await?;
    answer(state.chain.as_ref(), &state.intake, said, found, PATIENCE).await
}

/// The revision that the fork of `Eth-Consensus-Version` has; 400 where that is no fork.
fn consensus_version(headers: &HeaderMap, spec: &Spec) -> Result<Option<Revision>, ApiError> {
    let Some(value) = headers.get("eth-consensus-version") else {
        return Ok(None);
    };
    let fork = value.to_str().unwrap_or_default().trim().parse::<ForkName>();
    fork.map(|fork| Some(spec.revision_at(fork)))
        .map_err(|error| ApiError::bad_request(format!("Eth-Consensus-Version: {error}")))
}

async fn answer(
    chain: &dyn Chain,
    intake: &Intake,
    said: Option<Revision>,
    found: Vec<Result<Candidate, String>>,
    patience: Duration,
) -> Result<(), ApiError> {
    let deadline = Instant::now() + patience;
    let judging = found
        .into_iter()
        .map(|candidate| judge(intake, of_revision(chain, said, candidate), deadline));
    let outcomes: Vec<Outcome> = stream::iter(judging).buffered(AT_ONCE).collect().await;
    verdicts::answer(outcomes)
}

/// A candidate with its revision. An `alpha` proof in JSON that names a block is refused here: it must not be told to come
/// again and again for a payload that never comes.
fn of_revision(
    chain: &dyn Chain,
    said: Option<Revision>,
    candidate: Result<Candidate, String>,
) -> Result<Candidate, String> {
    match candidate? {
        Candidate::Ssz(ssz) => {
            // Without a copy of the proof; what does not decode is refused with its reason later.
            let named = SignedProof::from_ssz_bytes(&ssz, Revision::Alpha).ok();
            let revision = said
                .or_else(|| named_revision(chain, &named?.message.root))
                .unwrap_or_else(|| {
                    let spec = chain.spec();
                    spec.revision_at_epoch(spec.epoch_at_slot(chain.current_slot()))
                });
            Ok(Candidate::ssz(revision, ssz))
        }
        Candidate::Signed(signed)
            if signed.revision == Revision::Alpha
                && named_revision(chain, &signed.message.root) == Some(Revision::Beta) =>
        {
            Err(format!(
                "{} is a beacon block root, not the new_payload_request_root of a payload",
                signed.message.root
            ))
        }
        candidate => Ok(candidate),
    }
}

/// What a root is the name of, where that is known.
fn named_revision(chain: &dyn Chain, root: &assay_types::Root) -> Option<Revision> {
    if chain.payload(root).is_some() {
        return Some(Revision::Alpha);
    }
    chain.block(root).map(|_| Revision::Beta)
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
            IgnoreReason::UnsupportedType | IgnoreReason::TooOld | IgnoreReason::WrongRevision => {
                Outcome::Refused(reason.to_string())
            }
        },
        Waited::StillWaiting(reason) => Outcome::NotNow(reason.map_or_else(
            || "it is still being judged".to_owned(),
            |reason| reason.to_string(),
        )),
    }
}

/// `id` tells the two paths apart.
pub(crate) fn describe(id: &'static str) -> Operation {
    let one = schema("SignedProof");
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
    use assay_types::{ProofKey, Root, SignedExecutionProof, Slot};
    use assay_verification::{
        MemoryContainment, RoomLimits, Verifier, VerifierConfig, VerifierParts,
        testing::{MemoryChain, MemorySink, ScriptedEngine, sign, sign_envelope},
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
            Self::on(Spec::minimal(), candidates)
        }

        fn on(spec: Spec, candidates: usize) -> Self {
            let chain = Arc::new(MemoryChain::new(Arc::new(spec), Root::from([7; 32])));
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

        fn envelope(&self, block: u8, validator: u64) -> SignedProof {
            self.envelope_at(block, validator, Slot(3))
        }

        fn envelope_at(&self, block: u8, validator: u64, slot: Slot) -> SignedProof {
            let (spec, genesis) = (self.chain.spec(), self.chain.genesis());
            let root = Root::from([block; 32]);
            sign_envelope(spec, &genesis, root, 1, slot, vec![b'V'; 10].into(), validator)
        }

        async fn post(&self, proofs: &[SignedExecutionProof]) -> Result<(), ApiError> {
            self.post_all(proofs.iter().cloned().map(Candidate::signed).collect())
                .await
        }

        async fn post_all(&self, candidates: Vec<Candidate>) -> Result<(), ApiError> {
            let found = candidates.into_iter().map(Ok).collect();
            answer(
                self.chain.as_ref(),
                &self.verifier.intake(),
                None,
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

    #[tokio::test]
    async fn an_alpha_proof_that_names_a_beacon_block_is_refused_with_the_reason() {
        let house = House::new(16);
        house.chain.add_block(Root::from([8; 32]), Slot(3));
        let refused = house
            .post(&[house.proof(1, 1), house.proof(8, 1)])
            .await
            .unwrap_err();
        assert_eq!((refused.code, refused.failures[0].index), (400, 1), "{refused:?}");
        assert!(
            refused.failures[0].message.contains("is a beacon block root"),
            "{refused:?}"
        );
        // Where the payload is known by this very name it is one.
        house.chain.add_payload(Root::from([8; 32]), Slot(3));
        house.post(&[house.proof(8, 1)]).await.unwrap();
        house.verifier.shutdown().await;
    }

    /// As a prover of revision `beta` posts it to a node whose fork has `alpha`.
    #[tokio::test]
    async fn an_envelope_where_alpha_holds_is_refused() {
        let house = House::new(16);
        house
            .chain
            .add_block_of(Root::from([8; 32]), Slot(3), Root::from([1; 32]));
        let envelope = house.envelope(8, 1);
        for candidate in [
            Candidate::Ssz(envelope.to_ssz_bytes()),
            Candidate::signed(envelope.clone()),
        ] {
            let refused = house.post_all(vec![candidate]).await.unwrap_err();
            let says = IgnoreReason::WrongRevision.to_string();
            assert_eq!((refused.code, &refused.failures[0].message), (400, &says));
        }
        house.verifier.shutdown().await;
    }

    #[tokio::test]
    async fn of_ssz_the_header_or_what_is_named_or_the_present_fork_says_the_revision() {
        let mut spec = Spec::minimal();
        spec.revision_by_fork.insert(ForkName::Gloas, Revision::Beta);
        for entry in &mut spec.fork_schedule {
            if entry.0 == ForkName::Gloas {
                entry.2 = assay_types::Epoch(1);
            }
        }
        let house = House::on(spec, 16);
        house
            .chain
            .add_block_of(Root::from([8; 32]), Slot(9), Root::from([2; 32]));
        let revision = |root: u8, said| {
            let ssz = house.proof(root, 1).to_ssz_bytes();
            match of_revision(house.chain.as_ref(), said, Ok(Candidate::Ssz(ssz))).unwrap() {
                Candidate::Envelope(_) => Revision::Beta,
                _ => Revision::Alpha,
            }
        };
        for (slot, unknown) in [(7, Revision::Alpha), (8, Revision::Beta)] {
            house.chain.set_slot(Slot(slot));
            assert_eq!(revision(1, None), Revision::Alpha, "a payload");
            assert_eq!(revision(8, None), Revision::Beta, "a block");
            assert_eq!(revision(99, None), unknown, "slot {slot}");
            for said in Revision::ALL {
                assert_eq!(revision(99, Some(*said)), *said);
            }
        }
        let spec = house.chain.spec();
        for (name, revision) in [
            ("gloas", Ok(Some(Revision::Beta))),
            ("Fulu", Ok(Some(Revision::Alpha))),
            ("", Err(400)),
            ("delta", Err(400)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("eth-consensus-version", name.parse().unwrap());
            let read = consensus_version(&headers, spec).map_err(|e| e.code);
            assert_eq!(read, revision, "{name}");
        }
        assert_eq!(consensus_version(&HeaderMap::new(), spec).ok(), Some(None));
        // Both in one request.
        let mut gloas = house.envelope_at(8, 1, Slot(9));
        house
            .post_all(vec![
                Candidate::Ssz(house.proof(1, 1).to_ssz_bytes()),
                Candidate::Ssz(gloas.to_ssz_bytes()),
            ])
            .await
            .unwrap();
        gloas.message.proof_type = 9;
        let refused = house.post_all(vec![Candidate::signed(gloas)]).await.unwrap_err();
        assert_eq!(
            refused.failures[0].message,
            assay_verification::RejectReason::UnsupportedType.to_string()
        );
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
