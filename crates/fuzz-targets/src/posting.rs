//! Bodies of proofs that are posted, as JSON or SSZ, one or several.

// The reader is no part of the API's interface; it and its error stand in files of their own and are compiled here as
// they are.
#[path = "../../api/src/error.rs"]
pub mod error;
#[path = "../../api/src/proof_body.rs"]
pub mod proof_body;
#[path = "../../api/src/ssz_split.rs"]
pub mod ssz_split;

use crate::{Seen, choose};
use assay_types::{Revision, SignedExecutionProof, SignedProof, proof::SIGNED_PROOF_OVERHEAD};
use assay_verification::Candidate;
use axum::http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use bytes::Bytes;
use proof_body::{BodyEncoding, MAX_PROOFS_PER_POST, candidates, ssz_list};

/// Content types that an input may choose; the last is none.
const CONTENT_TYPES: [&str; 4] = [
    "application/json",
    "Application/Octet-Stream; charset=x",
    "text/plain",
    "",
];

/// The first byte says which content type the caller gives, the rest is the body.
pub(crate) fn post_body(data: &[u8]) -> Seen {
    let Some((which, body)) = data.split_first() else {
        return Seen::Refused;
    };
    let mut headers = HeaderMap::new();
    let content_type = choose(&CONTENT_TYPES, *which);
    if !content_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    let encoding = match BodyEncoding::of(&headers) {
        Ok(encoding) => encoding,
        Err(e) => {
            assert_eq!(e.code, 415);
            return Seen::Refused;
        }
    };
    match candidates(encoding, &Bytes::copy_from_slice(body), MAX_PROOFS_PER_POST) {
        Ok(found) => {
            assert!((1..=MAX_PROOFS_PER_POST).contains(&found.len()));
            let listed = found.len();
            // What cannot be read leaves the others.
            let proofs: Vec<Bytes> = found.into_iter().flatten().map(ssz_of).collect();
            if proofs.is_empty() {
                return Seen::Refused;
            }
            if encoding == BodyEncoding::Ssz {
                assert_eq!(proofs.len(), listed, "SSZ is split, not read");
                // Nothing of the body is lost, and nothing is in two proofs.
                let list = ssz_list(&proofs).unwrap();
                assert!(list == body || proofs.len() == 1 && proofs[0] == body);
            }
            posted_again(&proofs);
            Seen::Accepted
        }
        Err(e) => {
            assert_eq!(e.code, 400);
            Seen::Refused
        }
    }
}

/// A candidate's bytes. SSZ is decoded only by the verifier, which is where it is refused.
fn ssz_of(candidate: Candidate) -> Bytes {
    match candidate {
        Candidate::Ssz(bytes) | Candidate::Envelope(bytes) => {
            assert!(bytes.len() >= SIGNED_PROOF_OVERHEAD);
            bytes
        }
        Candidate::Signed(proof) => proof.to_ssz_bytes(),
    }
}

/// The same proofs, as a list in SSZ and in JSON, are the same candidates.
fn posted_again(proofs: &[Bytes]) {
    let list = Bytes::from(ssz_list(proofs).unwrap());
    let read = |encoding, body: &Bytes| -> Vec<Bytes> {
        let found = candidates(encoding, body, MAX_PROOFS_PER_POST).unwrap();
        found.into_iter().map(|one| ssz_of(one.unwrap())).collect()
    };
    // 27 elements of which the first is malformed can be one well-formed proof; then that is what they are.
    if SignedExecutionProof::from_ssz_bytes(&list).is_err() {
        assert_eq!(read(BodyEncoding::Ssz, &list), proofs);
    }
    // One frame for both revisions: the same bytes are either's, and come back from either's JSON.
    for revision in Revision::ALL {
        let whole: Result<Vec<_>, _> = proofs
            .iter()
            .map(|ssz| SignedProof::from_ssz_bytes(ssz, *revision))
            .collect();
        if let Ok(whole) = whole {
            let json = serde_json::to_vec(&whole).unwrap();
            assert_eq!(read(BodyEncoding::Json, &json.into()), proofs);
        }
    }
}
