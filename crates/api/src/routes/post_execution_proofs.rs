//! POST `/eth/v1/beacon/execution_proofs` and `/eth/v1/beacon/pool/execution_proofs` (protocol.md sections 8 and 11).
//!
//! Each proof is judged on its own: good ones are kept and published whatever becomes of the others. 200 when every one
//! is on the network, now or already (another valid one of its payload and type counts for one that verifies itself); 400
//! with `failures` where one is not and will not be; 503 with `failures` where the node cannot judge one now (its payload is
//! not known yet, the validator or the proof engine cannot be asked).
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
    ApiError, ApiState,
    openapi::{Operation, schema},
    posted,
    proof_body::{ENVELOPES, MAX_PROOFS_PER_POST, too_many_envelopes},
    verdicts::{self, Outcome},
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
mod tests;
