//! POST `/eth/v1/prover/execution_proofs`: the relay (protocol.md section 8). A prover brings unsigned proofs that this
//! node asked for; each is held against its request, judged, signed, stored and published, on its own.
//!
//! 400 names what will not be taken: an unknown or expired `proof_gen_id`, another payload or type than was asked for,
//! a duplicate, an invalid proof, and every proof where this node has nobody to sign (a valid one counts for the gate all
//! the same). 503 names what cannot be judged or signed now. A proof that comes before the answer to its request waits for it.

use crate::openapi::{Operation, schema};
use crate::{
    ApiError, ApiState, posted,
    proof_body::{BodyEncoding, MAX_PROOFS_PER_POST},
    verdicts::{Outcome, answer},
};
use assay_proof_engine::{ProofGenId, RequestBook, RequestMismatch};
use assay_types::{ExecutionProof, ProofKey, primitives::parse_hex};
use assay_verification::{Brought, UnsignedProofs};
use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::json;
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    collections::HashSet,
    time::{Duration, Instant},
};

/// How long signing one proof and the verdict on it may take, judging excluded.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long all proofs of a request together may take; what has not begun by then is to be sent again.
const PATIENCE_IN_ALL: Duration = Duration::from_secs(20);
/// Proofs of one request that are worked on at the same time.
const AT_ONCE: usize = 4;
/// What is said where a valid proof cannot be signed.
const NOT_SIGNED: &str = "the proof is valid and counts for this node's gate, but this node has no validator keys to \
                          sign it with, so it cannot go on the network";

/// `GeneratedProof`: {proof_gen_id, execution_proof}.
#[derive(Debug, Clone, Deserialize)]
struct GeneratedProof {
    #[serde(deserialize_with = "gen_id")]
    proof_gen_id: ProofGenId,
    execution_proof: ExecutionProof,
}

fn gen_id<'de, D: Deserializer<'de>>(d: D) -> Result<ProofGenId, D::Error> {
    let text = Cow::<'de, str>::deserialize(d)?;
    let bytes = parse_hex(&text).map_err(|e| D::Error::custom(format!("proof_gen_id: {e}")))?;
    let bytes = <[u8; 8]>::try_from(bytes)
        .map_err(|b| D::Error::custom(format!("proof_gen_id: {} bytes, 8 expected", b.len())))?;
    Ok(ProofGenId(bytes))
}

pub(crate) async fn post(
    State(state): State<ApiState>,
    Extension(limit): Extension<super::BodyLimit>,
    request: Request,
) -> Result<(), ApiError> {
    if BodyEncoding::of(request.headers())? != BodyEncoding::Json {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "generated proofs are taken as application/json",
        ));
    }
    let found = read(&posted::whole(request, limit.0).await?)?;
    answer(relay(&state.requests, &state.unsigned, found).await)
}

/// Each on its own: one that cannot be read leaves the others.
fn read(body: &Bytes) -> Result<Vec<Result<GeneratedProof, String>>, ApiError> {
    let refused = |e: serde_json::Error| ApiError::bad_request(format!("not a list of GeneratedProofs: {e}"));
    let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(refused)?;
    if items.is_empty() {
        return Err(ApiError::bad_request("no proof in the body"));
    }
    if items.len() > MAX_PROOFS_PER_POST {
        return Err(ApiError::bad_request(format!(
            "more than {MAX_PROOFS_PER_POST} proofs in one request"
        )));
    }
    let one = |raw: &&RawValue| {
        serde_json::from_str(raw.get()).map_err(|e| format!("not a GeneratedProof in JSON: {e}"))
    };
    Ok(items.iter().map(one).collect())
}

async fn relay(
    requests: &RequestBook,
    unsigned: &UnsignedProofs,
    found: Vec<Result<GeneratedProof, String>>,
) -> Vec<Outcome> {
    // Of the same bytes: another proof of the same type may be the good one.
    let mut seen: HashSet<(ProofGenId, ProofKey, Bytes)> = HashSet::new();
    let deadline = Instant::now() + PATIENCE_IN_ALL;
    let answered = tokio::time::Instant::now() + PATIENCE;
    let mut checked: Vec<Result<GeneratedProof, Outcome>> = Vec::with_capacity(found.len());
    for proof in found {
        checked.push(match proof {
            Err(why) => Err(Outcome::Refused(why)),
            Ok(proof) => {
                let (id, key) = (proof.proof_gen_id, proof.execution_proof.key());
                match requests.check(id, &key, answered).await {
                    Err(why @ RequestMismatch::BeingMade) => Err(Outcome::NotNow(why.to_string())),
                    Err(why) => Err(Outcome::Refused(why.to_string())),
                    Ok(()) if seen.insert((id, key, proof.execution_proof.proof_data.clone())) => Ok(proof),
                    Ok(()) => Err(Outcome::Refused(format!(
                        "duplicate: this list has this proof of type {} for this proof_gen_id already",
                        key.proof_type
                    ))),
                }
            }
        });
    }
    let working = checked.into_iter().map(|proof| async move {
        let proof = match proof {
            Ok(proof) => proof,
            Err(outcome) => return outcome,
        };
        let (id, key) = (proof.proof_gen_id, proof.execution_proof.key());
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Outcome::NotNow("the proofs before it took too long".to_owned());
        }
        match unsigned.bring(proof.execution_proof, PATIENCE.min(left)).await {
            Brought::OnTheNetwork => {
                requests.delivered(id, &key);
                Outcome::OnTheNetwork
            }
            Brought::NotSigned => Outcome::Refused(NOT_SIGNED.to_owned()),
            Brought::Refused(why) => Outcome::Refused(why),
            Brought::NotNow(why) => Outcome::NotNow(why),
        }
    });
    stream::iter(working).buffered(AT_ONCE).collect().await
}

pub(crate) fn describe() -> Operation {
    let several = json!({
        "type": "array", "items": schema("GeneratedProof"), "minItems": 1, "maxItems": MAX_PROOFS_PER_POST,
    });
    Operation::new(
        "postGeneratedProofs",
        "Unsigned proofs that this node asked for: judged, signed, stored and published",
    )
    .body(&[("application/json", several)])
    .empty(200, "every one is on the network, now or already")
    .error(
        400,
        "the body cannot be read, or `failures` says what was not accepted",
    )
    .error(408, "the body did not come in time")
    .error(413, "the body is too large")
    .error(415, "no JSON")
    .error(503, "`failures` says what cannot be judged or signed now")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_chain::Chain;
    use assay_chain::PayloadInfo;
    use assay_types::{PublicInput, Root, SignedProof, Slot, Spec, ValidatorIndex};
    use assay_verification::{
        CheckedProof, MemoryContainment, ProofSigner, SignError, Verifier, VerifierConfig, VerifierParts,
        testing::{MemoryChain, MemorySink, ScriptedEngine, sign},
    };
    use async_trait::async_trait;
    use serde_json::{Value, json};
    use std::sync::Arc;

    const ID: ProofGenId = ProofGenId([9; 8]);

    struct Keys(Arc<MemoryChain>);

    #[async_trait]
    impl ProofSigner for Keys {
        fn validators(&self, _: Slot) -> Vec<ValidatorIndex> {
            vec![2]
        }
        async fn sign(&self, proof: CheckedProof, payload: &PayloadInfo) -> Result<SignedProof, SignError> {
            let (key, data) = (proof.key(), proof.proof().proof_data.clone());
            let genesis = self.0.genesis();
            Ok(sign(self.0.spec(), &genesis, key, payload.slot, data, 2).into())
        }
    }

    struct House {
        engine: Arc<ScriptedEngine>,
        store: Arc<MemorySink>,
        verifier: Verifier,
        unsigned: UnsignedProofs,
        book: RequestBook,
    }

    impl House {
        /// Payload 1 is known and was asked to be proven with types 1 and 2, payload 3 is not known.
        fn new(signs: bool) -> Self {
            let chain = Arc::new(MemoryChain::new(Arc::new(Spec::minimal()), Root::from([7; 32])));
            chain.add_interop_validators(0..4);
            chain.add_payload(Root::from([1; 32]), Slot(3));
            let engine = Arc::new(ScriptedEngine::new([1, 2, 3]));
            let store = Arc::new(MemorySink::new("store"));
            let parts = VerifierParts {
                chain: chain.clone(),
                engine: engine.clone(),
                known: store.clone(),
                containment: Arc::new(MemoryContainment::default()),
                store: store.clone(),
            };
            let verifier = Verifier::start(VerifierConfig::default(), parts);
            let signer = signs.then(|| Arc::new(Keys(chain)) as Arc<dyn ProofSigner>);
            let book = RequestBook::default();
            book.remember(ID, Root::from([1; 32]), &[1, 2]);
            book.remember(ProofGenId([3; 8]), Root::from([3; 32]), &[1]);
            Self {
                engine,
                store,
                unsigned: UnsignedProofs::new(verifier.intake(), signer),
                verifier,
                book,
            }
        }

        async fn post(&self, proofs: Value) -> Result<(), ApiError> {
            let found = read(&proofs.to_string().into())?;
            answer(relay(&self.book, &self.unsigned, found).await)
        }
    }

    fn proof(id: ProofGenId, payload: u8, proof_type: u8, data: &str) -> Value {
        let proof = ExecutionProof {
            proof_data: Bytes::copy_from_slice(data.as_bytes()),
            proof_type,
            public_input: PublicInput {
                new_payload_request_root: Root::from([payload; 32]),
            },
        };
        json!({ "proof_gen_id": assay_types::primitives::to_hex(&id.0), "execution_proof": proof })
    }

    fn failures(answer: Result<(), ApiError>) -> (u16, Vec<(usize, String)>) {
        let error = answer.unwrap_err();
        (
            error.code,
            error.failures.into_iter().map(|f| (f.index, f.message)).collect(),
        )
    }

    #[tokio::test]
    async fn generated_proofs_are_held_against_their_requests() {
        let house = House::new(true);
        let other = ProofGenId([8; 8]);
        let mut short_id = proof(ID, 1, 2, "V");
        short_id["proof_gen_id"] = json!("0x09");
        let (code, failed) = failures(
            house
                .post(json!([
                    proof(ID, 1, 1, "V"),
                    proof(other, 1, 1, "V"),
                    proof(ID, 2, 1, "V"),
                    proof(ID, 1, 3, "V"),
                    proof(ID, 1, 1, "V"),
                    proof(ID, 1, 2, "Ino"),
                    short_id,
                    proof(ID, 1, 2, "Ino"),
                ]))
                .await,
        );
        assert_eq!(code, 400);
        let indices: Vec<usize> = failed.iter().map(|(index, _)| *index).collect();
        assert_eq!(indices, [1, 2, 3, 4, 5, 6, 7], "{failed:?}");
        for (at, says) in [
            "expired",
            "another new_payload_request_root",
            "did not ask for proof type 3",
            "duplicate",
            "invalid: it says so",
            "1 bytes, 8 expected",
            // The list had these bytes before.
            "duplicate",
        ]
        .into_iter()
        .enumerate()
        {
            assert!(failed[at].1.contains(says), "{says}: {}", failed[at].1);
        }
        // The good one is signed, stored, and a second one of it a duplicate.
        assert_eq!(house.store.proofs().len(), 1);
        assert_eq!(house.store.proofs()[0].0.validator_index(), 2);
        let (code, failed) = failures(house.post(json!([proof(ID, 1, 1, "V")])).await);
        assert!(code == 400 && failed[0].1.contains("duplicate"), "{failed:?}");
        // One that failed keeps the right one from nothing, behind it in the list too.
        let both = json!([proof(ID, 1, 2, "Ino"), proof(ID, 1, 2, "V")]);
        let (_, failed) = failures(house.post(both).await);
        assert!(failed.len() == 1 && failed[0].0 == 0, "{failed:?}");
        assert_eq!(house.store.proofs().len(), 2);
        for (body, says) in [
            (json!([]), "no proof"),
            (json!({}), "not a list"),
            (json!(vec![1; 65]), "more than 64"),
        ] {
            let error = house.post(body).await.unwrap_err();
            assert!(error.code == 400 && error.message.contains(says), "{error:?}");
        }
        house.verifier.shutdown().await;
    }

    #[test]
    fn json_that_is_wrong_is_named_by_its_place() {
        let good = proof(ID, 1, 1, "VAL").to_string();
        for (from, to, says) in [
            (
                r#""proof_gen_id":"#,
                r#""proof_gen_id":"0x0101010101010101","proof_gen_id":"#,
                "duplicate field `proof_gen_id`",
            ),
            (
                r#""proof_type":"1""#,
                r#""proof_type":"1","proof_type":"2""#,
                "duplicate field `proof_type`",
            ),
            (
                r#""proof_type":"1""#,
                r#""proof_type":"99999999999999999999999""#,
                "too large",
            ),
            ("0x09", "0X09", "0x"),
            ("0x09", "0x0g", "nvalid character"),
            ("0x0909", "0x09", "7 bytes, 8 expected"),
        ] {
            assert!(good.contains(from), "{from} in {good}");
            let bad = good.replacen(from, to, 1);
            let found = read(&format!("[{good},{bad}]").into()).unwrap();
            let error = found[1].as_ref().unwrap_err();
            assert!(found[0].is_ok() && error.contains(says), "{to}: {error}");
        }
        // Digits of hex have no case; a number that is none is refused, alone or with its list.
        let upper = good.replace("0x56414c", "0x56414C");
        assert!(upper != good && read(&format!("[{upper}]").into()).unwrap()[0].is_ok());
        let huge = good.replacen(r#""proof_type":"1""#, r#""proof_type":1e999"#, 1);
        assert!(read(&format!("[{huge}]").into()).map_or(true, |found| found[0].is_err()));
    }

    #[tokio::test]
    async fn what_cannot_be_signed_is_said() {
        let house = House::new(false);
        let (code, failed) = failures(house.post(json!([proof(ID, 1, 1, "V")])).await);
        assert_eq!((code, failed[0].1.as_str()), (400, NOT_SIGNED));
        assert!(house.store.proofs().is_empty());
        assert_eq!(
            house.unsigned.intake().proven_types(&Root::from([1; 32])),
            1,
            "it counts"
        );
        house.verifier.shutdown().await;

        // What cannot be judged or signed now may come again.
        let house = House::new(true);
        let unknown = house.post(json!([proof(ProofGenId([3; 8]), 3, 1, "V")])).await;
        assert_eq!(failures(unknown).0, 503);
        house.engine.set_down(true);
        assert_eq!(failures(house.post(json!([proof(ID, 1, 1, "V")])).await).0, 503);
        house.engine.set_down(false);
        house.post(json!([proof(ID, 1, 1, "V")])).await.unwrap();
        house.verifier.shutdown().await;
    }
}
