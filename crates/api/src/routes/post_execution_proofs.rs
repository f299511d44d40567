//! POST `/eth/v1/beacon/execution_proofs` and `/eth/v1/beacon/pool/execution_proofs` (protocol.md sections 8 and 11).
//!
//! Each proof is judged on its own: good ones are kept and published whatever becomes of the others. 200 when every one
//! is on the network, now or already (another valid one of its payload and type counts for one that verifies itself); 400 with `failures` where one is not and will not be; 503 with `failures` where
//! the node cannot judge one now (its payload is not known yet, the validator or the proof engine cannot be asked).
//!
//! A proof is a `SignedExecutionProof` (`alpha`) or a `SignedExecutionProofEnvelope` (`beta`). Of JSON the message says which.
//! SSZ is of one frame in both, field for field of the same lengths, so no decoder tells them apart: what the proof names does,
//! a payload or a block that is known; else `Eth-Consensus-Version`, which names the fork and so the revision; else the
//! revision that holds now. Near a fork that changes the revision even this is a guess: then what is named is waited for
//! first. A header that contradicts what is posted is 400.
//!
//! Of envelopes a request has `MAX_EXECUTION_PROOFS_PER_PAYLOAD` at most (`List[SignedExecutionProofEnvelope, 4]`), or none is
//! looked at; `alpha`'s list has no bound in the texts and is held to `MAX_PROOFS_PER_POST`. What has been read is judged
//! whether the caller stays for the answer or not.

use crate::{
    ApiError, ApiState, posted,
    verdicts::{self, Outcome},
};
use crate::{
    openapi::{Operation, schema},
    proof_body::{ENVELOPES, MAX_PROOFS_PER_POST, too_many_envelopes},
};
use assay_chain::Chain;
use assay_types::{ForkName, Revision, Root, SignedProof, Slot, Spec};
use assay_verification::{Candidate, IgnoreReason, Intake, Source, Verdict, Waited};
use axum::{
    Extension,
    extract::{Request, State},
    http::HeaderMap,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, broadcast::error::RecvError};

/// How long all proofs of a request together may wait for payloads, validators or the engine before the caller is told
/// to come again. They go on waiting in the waiting room.
const PATIENCE: Duration = Duration::from_secs(2);
/// Proofs of one request that are judged at the same time.
const AT_ONCE: usize = 4;

pub(crate) async fn post(
    State(state): State<ApiState>,
    Extension(limit): Extension<super::BodyLimit>,
    Extension(places): Extension<super::PostPlaces>,
    request: Request,
) -> Result<(), ApiError> {
    let said = consensus_version(request.headers())?;
    let spec = state.chain.spec();
    let says_envelopes = said.is_some_and(|fork| spec.revision_at(fork) == Revision::Beta);
    let most = most_envelopes(spec);
    // Before the body: whoever has to wait for a place has sent nothing that could be lost.
    let place = places.0.acquire_owned().await;
    let place = place.map_err(|_| ApiError::unavailable("this node is ending"))?;
    let found = posted::proofs(request, limit.0, most, says_envelopes).await?;
    detached(place, async move {
        answer(state.chain.as_ref(), &state.intake, said, found, PATIENCE).await
    })
    .await
}

/// Work that goes on when whoever asked for it hangs up, in a place that is free again when it has ended.
async fn detached(
    place: OwnedSemaphorePermit,
    work: impl Future<Output = Result<(), ApiError>> + Send + 'static,
) -> Result<(), ApiError> {
    let working = tokio::spawn(async move {
        let answer = work.await;
        drop(place);
        answer
    });
    working
        .await
        .unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
}

/// `N` of `List[SignedExecutionProofEnvelope, N]`.
fn most_envelopes(spec: &Spec) -> usize {
    usize::try_from(spec.max_execution_proofs_per_payload).unwrap_or(usize::MAX)
}

fn is_envelope(candidate: &Candidate) -> bool {
    match candidate {
        Candidate::Ssz(_) => false,
        Candidate::Envelope(_) => true,
        Candidate::Signed(signed) => signed.revision == Revision::Beta,
    }
}

/// The fork of `Eth-Consensus-Version`; 400 where that is none.
fn consensus_version(headers: &HeaderMap) -> Result<Option<ForkName>, ApiError> {
    let Some(value) = headers.get("eth-consensus-version") else {
        return Ok(None);
    };
    let fork = value.to_str().unwrap_or_default().trim().parse::<ForkName>();
    fork.map(Some)
        .map_err(|error| ApiError::bad_request(format!("Eth-Consensus-Version: {error}")))
}

async fn answer(
    chain: &dyn Chain,
    intake: &Intake,
    said: Option<ForkName>,
    found: Vec<Result<Candidate, String>>,
    patience: Duration,
) -> Result<(), ApiError> {
    let deadline = Instant::now() + patience;
    let told: Vec<Result<Told, String>> = found
        .into_iter()
        .map(|candidate| of_revision(chain, said, candidate?))
        .collect();
    let most = most_envelopes(chain.spec());
    let known = told
        .iter()
        .filter(|told| matches!(told, Ok(Told::Apart(candidate)) if is_envelope(candidate)));
    let envelopes = known.count();
    if envelopes > most {
        return Err(too_many_envelopes(most));
    }
    let room = EnvelopeRoom {
        most,
        taken: Arc::new(AtomicUsize::new(envelopes)),
    };
    let judging = told
        .into_iter()
        .map(|told| judge(chain, intake, room.clone(), told, deadline));
    let outcomes: Vec<Outcome> = stream::iter(judging).buffered(AT_ONCE).collect().await;
    verdicts::answer(outcomes)
}

/// How many envelopes the request may have, and has: of what is told apart by waiting, none beyond it is looked at.
#[derive(Clone)]
struct EnvelopeRoom {
    most: usize,
    taken: Arc<AtomicUsize>,
}

impl EnvelopeRoom {
    fn take(&self) -> bool {
        self.taken.fetch_add(1, Ordering::Relaxed) < self.most
    }
}

/// What is posted, as a candidate of its revision.
#[derive(Debug)]
enum Told {
    /// Nothing but this can be meant.
    Apart(Candidate),
    /// SSZ without a header, that names what is not known, while proofs of either revision may come.
    Unsure(Bytes),
}

/// A candidate with its revision. What is refused here must not be told to come again and again for a payload or block that
/// never comes.
fn of_revision(chain: &dyn Chain, said: Option<ForkName>, candidate: Candidate) -> Result<Told, String> {
    let spec = chain.spec();
    let by_header = said.map(|fork| (fork, spec.revision_at(fork)));
    let contradicts = |is: Revision| match by_header {
        Some((fork, revision)) if revision != is => Some(format!(
            "Eth-Consensus-Version says {fork}, where a proof names {}",
            named_by(revision)
        )),
        _ => None,
    };
    match candidate {
        Candidate::Ssz(ssz) => {
            // Without a copy of the proof; what does not decode is refused with its reason later.
            let named = SignedProof::from_ssz_bytes(&ssz, Revision::Alpha).ok();
            let named = named.and_then(|proof| {
                let root = proof.message.root;
                named_revision(chain, &root).map(|revision| (root, revision))
            });
            match (named, by_header, only_revision(chain)) {
                (Some((root, revision)), _, _) => match contradicts(revision) {
                    Some(why) => Err(format!("{why}; {root} is {}", named_by(revision))),
                    None => Ok(Told::Apart(Candidate::ssz(revision, ssz))),
                },
                (None, Some((_, revision)), _) | (None, None, Some(revision)) => {
                    Ok(Told::Apart(Candidate::ssz(revision, ssz)))
                }
                (None, None, None) => Ok(Told::Unsure(ssz)),
            }
        }
        Candidate::Signed(signed) => {
            if let Some(why) = contradicts(signed.revision) {
                return Err(format!("{why}; this one names {}", named_by(signed.revision)));
            }
            if signed.revision == Revision::Alpha
                && named_revision(chain, &signed.message.root) == Some(Revision::Beta)
            {
                return Err(format!(
                    "{} is a beacon block root, not the new_payload_request_root of a payload",
                    signed.message.root
                ));
            }
            Ok(Told::Apart(Candidate::Signed(signed)))
        }
        candidate => Ok(Told::Apart(candidate)),
    }
}

/// What proofs of a revision name.
const fn named_by(revision: Revision) -> &'static str {
    match revision {
        Revision::Alpha => "the new_payload_request_root of a payload",
        Revision::Beta => "a beacon block root",
    }
}

/// What a root is the name of, where that is known.
fn named_revision(chain: &dyn Chain, root: &Root) -> Option<Revision> {
    if chain.payload(root).is_some() {
        return Some(Revision::Alpha);
    }
    chain.block(root).map(|_| Revision::Beta)
}

/// The revision of all payloads that a proof may wait for: from an epoch ago, as long as one is waited for, to the next slot
/// (clocks differ). `None` where a fork between changed it.
fn only_revision(chain: &dyn Chain) -> Option<Revision> {
    let (spec, now) = (chain.spec(), chain.current_slot());
    let at = |slot| spec.revision_at_epoch(spec.epoch_at_slot(slot));
    let first = Slot(now.0.saturating_sub(spec.slots_per_epoch));
    let revision = at(now);
    [first, now.saturating_add(1)]
        .into_iter()
        .all(|slot| at(slot) == revision)
        .then_some(revision)
}

/// Waits until `deadline` for what is named to be known; then whatever holds now is taken for it. Whether that is a guess.
async fn told_apart(chain: &dyn Chain, ssz: Bytes, deadline: Instant) -> (Candidate, bool) {
    let mut events = chain.subscribe();
    let root = SignedProof::from_ssz_bytes(&ssz, Revision::Alpha).map(|proof| proof.message.root);
    let known = async {
        let Ok(root) = root else { return None };
        loop {
            if let Some(revision) = named_revision(chain, &root) {
                return Some(revision);
            }
            // Having missed some is no reason not to look again.
            if let Err(RecvError::Closed) = events.recv().await {
                return None;
            }
        }
    };
    let known = tokio::time::timeout_at(deadline.into(), known).await;
    match known {
        Ok(Some(revision)) => (Candidate::ssz(revision, ssz), false),
        Ok(None) | Err(_) => {
            let spec = chain.spec();
            let present = spec.revision_at_epoch(spec.epoch_at_slot(chain.current_slot()));
            (Candidate::ssz(present, ssz), true)
        }
    }
}

async fn judge(
    chain: &dyn Chain,
    intake: &Intake,
    room: EnvelopeRoom,
    told: Result<Told, String>,
    deadline: Instant,
) -> Outcome {
    let (candidate, is_guess) = match told {
        Err(why) => return Outcome::Refused(why),
        Ok(Told::Apart(candidate)) => (candidate, false),
        Ok(Told::Unsure(ssz)) => {
            let (candidate, is_guess) = told_apart(chain, ssz, deadline).await;
            if is_envelope(&candidate) && !room.take() {
                return Outcome::Refused(format!("more than {} {ENVELOPES}", room.most));
            }
            (candidate, is_guess)
        }
    };
    match verdict_of(intake, candidate, deadline).await {
        Outcome::NotNow(why) if is_guess => Outcome::NotNow(format!(
            "{why}; of which revision it is was guessed, for no Eth-Consensus-Version came with it"
        )),
        outcome => outcome,
    }
}

async fn verdict_of(intake: &Intake, candidate: Candidate, deadline: Instant) -> Outcome {
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
        "Proofs, signed: judged, stored and published, each on its own; of SignedExecutionProofEnvelopes no more than \
         MAX_EXECUTION_PROOFS_PER_PAYLOAD in one request",
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
    use assay_types::{ProofKey, SignedExecutionProof, Spec};
    use assay_verification::{
        MemoryContainment, RoomLimits, Verifier, VerifierConfig, VerifierParts,
        testing::{MemoryChain, MemorySink, ScriptedEngine, sign, sign_envelope},
    };
    use axum::{
        http::{StatusCode, header},
        response::IntoResponse,
    };
    struct House {
        chain: Arc<MemoryChain>,
        store: Arc<MemorySink>,
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
                store: store.clone(),
            };
            Self {
                chain,
                store,
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
    async fn of_ssz_what_is_named_or_the_header_or_the_present_fork_says_the_revision() {
        let house = House::on(gloas_at_slot_16(), 16);
        house
            .chain
            .add_block_of(Root::from([8; 32]), Slot(17), Root::from([2; 32]));
        let revision = |root: u8, said| {
            let ssz = house.proof(root, 1).to_ssz_bytes();
            match of_revision(house.chain.as_ref(), said, Candidate::Ssz(ssz)) {
                Ok(Told::Apart(Candidate::Envelope(_))) => Ok(Some(Revision::Beta)),
                Ok(Told::Apart(_)) => Ok(Some(Revision::Alpha)),
                Ok(Told::Unsure(_)) => Ok(None),
                Err(why) => Err(why),
            }
        };
        let (alpha, beta) = (Ok(Some(Revision::Alpha)), Ok(Some(Revision::Beta)));
        let (fulu, gloas) = (Some(ForkName::Fulu), Some(ForkName::Gloas));
        // The slot before the fork takes the next one for possible, the epoch after it the last one.
        for (slot, unknown) in [
            (14, &alpha),
            (15, &Ok(None)),
            (16, &Ok(None)),
            (23, &Ok(None)),
            (24, &beta),
        ] {
            house.chain.set_slot(Slot(slot));
            assert_eq!(revision(99, None), *unknown, "slot {slot}");
            for said in [None, fulu] {
                assert_eq!(revision(1, said), alpha, "a payload");
            }
            for said in [None, gloas] {
                assert_eq!(revision(8, said), beta, "a block");
            }
            assert_eq!(
                (revision(99, fulu), revision(99, gloas)),
                (alpha.clone(), beta.clone())
            );
            // What is known and contradicts.
            for (root, said, says) in [(1, gloas, "says gloas"), (8, fulu, "says fulu")] {
                let why = revision(root, said).unwrap_err();
                assert!(why.contains(says), "{why}");
            }
        }
        for (name, fork) in [
            ("gloas", Ok(gloas)),
            ("Fulu", Ok(fulu)),
            ("", Err(400)),
            ("delta", Err(400)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("eth-consensus-version", name.parse().unwrap());
            assert_eq!(consensus_version(&headers).map_err(|e| e.code), fork, "{name}");
        }
        assert_eq!(consensus_version(&HeaderMap::new()).ok(), Some(None));
        // JSON says what it is, and a header that says something else is wrong.
        let envelope = house.envelope_at(8, 1, Slot(17));
        for (candidate, said, is_good) in [
            (Candidate::signed(envelope.clone()), gloas, true),
            (Candidate::signed(envelope), fulu, false),
            (Candidate::signed(house.proof(1, 1)), fulu, true),
            (Candidate::signed(house.proof(1, 1)), gloas, false),
        ] {
            let told = of_revision(house.chain.as_ref(), said, candidate);
            assert_eq!(told.is_ok(), is_good, "{said:?}");
        }
        let found = vec![Ok(Candidate::Ssz(house.proof(1, 1).to_ssz_bytes()))];
        let intake = house.verifier.intake();
        let refused = answer(
            house.chain.as_ref(),
            &intake,
            gloas,
            found,
            Duration::from_millis(300),
        )
        .await;
        assert_eq!(refused.unwrap_err().code, 400);
        // Both in one request.
        let mut gloas = house.envelope_at(8, 1, Slot(17));
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

    /// Minimal preset, eight slots an epoch; `beta` from Gloas on, which begins in epoch 2.
    fn gloas_at_slot_16() -> Spec {
        let mut spec = Spec::minimal();
        spec.revision_by_fork.insert(ForkName::Gloas, Revision::Beta);
        for entry in &mut spec.fork_schedule {
            if entry.0 == ForkName::Gloas {
                entry.2 = assay_types::Epoch(2);
            }
        }
        spec
    }

    /// The last payload before the fork comes late: without a header its proof is no envelope though the fork has begun.
    #[tokio::test]
    async fn near_the_fork_what_is_named_is_waited_for_and_a_guess_is_called_one() {
        let house = House::on(gloas_at_slot_16(), 16);
        house.chain.set_slot(Slot(16));
        let late = {
            let key = ProofKey {
                new_payload_request_root: Root::from([5; 32]),
                proof_type: 1,
            };
            let (spec, genesis) = (house.chain.spec(), house.chain.genesis());
            sign(spec, &genesis, key, Slot(15), vec![b'V'; 10].into(), 1).to_ssz_bytes()
        };
        let comes = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            house.chain.add_payload(Root::from([5; 32]), Slot(15));
        };
        let (posted, ()) = tokio::join!(house.post_all(vec![Candidate::Ssz(late.clone())]), comes);
        posted.unwrap();
        let envelope = house.envelope_at(9, 1, Slot(16)).to_ssz_bytes();
        let guessed = house.post_all(vec![Candidate::Ssz(envelope)]).await.unwrap_err();
        assert_eq!(guessed.code, 503);
        let why = &guessed.failures[0].message;
        assert!(why.contains("Eth-Consensus-Version"), "{why}");
        // It waits as what it was taken for.
        house
            .chain
            .add_block_of(Root::from([9; 32]), Slot(16), Root::from([6; 32]));
        house.chain.add_payload(Root::from([6; 32]), Slot(16));
        let envelope = house.envelope_at(9, 1, Slot(16));
        house.post_all(vec![Candidate::signed(envelope)]).await.unwrap();
        // Garbage is refused, not waited for.
        let began = Instant::now();
        let refused = house
            .post_all(vec![Candidate::Ssz(Bytes::from_static(b"no proof"))])
            .await;
        assert_eq!(refused.unwrap_err().code, 400);
        assert!(began.elapsed() < Duration::from_millis(250));
        house.verifier.shutdown().await;
    }

    /// `List[SignedExecutionProofEnvelope, 4]`; what `alpha` lists is held to 64 elsewhere.
    #[tokio::test]
    async fn a_fifth_envelope_is_one_too_many_and_none_is_looked_at() {
        let house = House::on(gloas_at_slot_16(), 64);
        house.chain.set_slot(Slot(32));
        for block in 20..30 {
            let (block, payload) = (Root::from([block; 32]), Root::from([block + 100; 32]));
            house.chain.add_block_of(block, Slot(17), payload);
            house.chain.add_payload(payload, Slot(17));
        }
        let envelope = |block| house.envelope_at(block, 1, Slot(17));
        let ssz = |block| Candidate::Ssz(envelope(block).to_ssz_bytes());
        let json = |block| Candidate::signed(envelope(block));
        let proofs = || (0..6).map(|_| Candidate::signed(house.proof(1, 1)));
        let too_many = "more than 4 envelopes in one request (MAX_EXECUTION_PROOFS_PER_PAYLOAD)";
        for (what, list) in [
            ("SSZ", (20..25).map(ssz).collect::<Vec<_>>()),
            ("JSON", (20..25).map(json).collect()),
            ("of blocks nobody knows", (90..95).map(ssz).collect()),
            ("beside proofs", proofs().chain((20..25).map(json)).collect()),
        ] {
            let refused = house.post_all(list).await.unwrap_err();
            assert_eq!(
                (refused.code, refused.message.as_str()),
                (400, too_many),
                "{what}"
            );
            assert!(refused.failures.is_empty(), "{what}");
        }
        assert!(house.store.proofs().is_empty());
        house.post_all((20..24).map(ssz).collect()).await.unwrap();
        let several = proofs().chain((24..28).map(json)).collect();
        house.post_all(several).await.unwrap();
        // Near the fork SSZ without a header turns out to be envelopes one by one: four of them.
        house.chain.set_slot(Slot(16));
        let refused = house.post_all((40..46).map(ssz).collect()).await.unwrap_err();
        let beyond = refused.failures.iter().filter(|f| f.message == too_many);
        assert_eq!((refused.code, beyond.count()), (400, 2), "{refused:?}");
        house.verifier.shutdown().await;
    }

    /// Whoever hangs up while its proof waits to be told apart has posted it.
    #[tokio::test]
    async fn what_was_read_is_judged_though_the_caller_hangs_up() {
        let house = House::on(gloas_at_slot_16(), 16);
        house.chain.set_slot(Slot(16));
        let (chain, intake) = (house.chain.clone(), house.verifier.intake());
        let ssz = house.envelope_at(9, 1, Slot(16)).to_ssz_bytes();
        let places = Arc::new(tokio::sync::Semaphore::new(1));
        let place = places.clone().acquire_owned().await.unwrap();
        let posted = detached(place, async move {
            let patience = Duration::from_secs(60);
            answer(
                chain.as_ref(),
                &intake,
                None,
                vec![Ok(Candidate::Ssz(ssz))],
                patience,
            )
            .await
        });
        let hung_up = tokio::time::timeout(Duration::from_millis(50), posted).await;
        assert!(hung_up.is_err(), "{hung_up:?}");
        assert_eq!(places.available_permits(), 0, "its place is still taken");
        house.chain.add_payload(Root::from([6; 32]), Slot(16));
        house
            .chain
            .add_block_of(Root::from([9; 32]), Slot(16), Root::from([6; 32]));
        // When it is free again, it has been judged.
        let free = tokio::time::timeout(Duration::from_secs(20), places.acquire()).await;
        drop(free.unwrap().unwrap());
        assert_eq!(house.store.proofs().len(), 1);
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
