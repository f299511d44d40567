//! Bodies that hold one or several `SignedExecutionProof`s or `SignedExecutionProofEnvelope`s, as JSON or SSZ (protocol.md
//! section 8). JSON says which it is; SSZ is of one frame in both, and is told apart later.

use super::ssz_split::SszSplit;
use crate::ApiError;
use assay_types::SignedProof;
use assay_verification::Candidate;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// Most proofs in one request. Of envelopes (`beta`) the network says how many: `MAX_EXECUTION_PROOFS_PER_PAYLOAD`.
pub const MAX_PROOFS_PER_POST: usize = 64;

/// Bytes of an SSZ offset.
const OFFSET_BYTES: usize = 4;

/// What a body is, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyEncoding {
    /// `application/json`, or nothing said.
    Json,
    /// `application/octet-stream`.
    Ssz,
}

impl BodyEncoding {
    /// From the request's headers; 415 for anything else.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(header::CONTENT_TYPE) else {
            return Ok(Self::Json);
        };
        let text = value.to_str().unwrap_or_default();
        match text
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "application/json" => Ok(Self::Json),
            "application/octet-stream" => Ok(Self::Ssz),
            other => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("content type {other:?}: application/json or application/octet-stream expected"),
            )),
        }
    }
}

/// The proofs of a body, each on its own: one of a JSON list that cannot be read leaves the others. No more than
/// `envelopes` of a JSON list are envelopes; of SSZ only what is named says what it is.
pub(crate) fn candidates(
    encoding: BodyEncoding,
    body: &Bytes,
    envelopes: usize,
) -> Result<Vec<Result<Candidate, String>>, ApiError> {
    let found = match encoding {
        BodyEncoding::Json => from_json(body, envelopes)?,
        BodyEncoding::Ssz => from_ssz(body)?.into_iter().map(Ok).collect(),
    };
    if found.is_empty() {
        return Err(ApiError::bad_request("no proof in the body"));
    }
    Ok(found)
}

fn too_many() -> ApiError {
    ApiError::bad_request(format!("more than {MAX_PROOFS_PER_POST} proofs in one request"))
}

/// What there are too many of, in a list of more envelopes than the network's `List[SignedExecutionProofEnvelope, N]` holds.
pub(crate) const ENVELOPES: &str = "envelopes in one request (MAX_EXECUTION_PROOFS_PER_PAYLOAD)";

pub(crate) fn too_many_envelopes(most: usize) -> ApiError {
    ApiError::bad_request(format!("more than {most} {ENVELOPES}"))
}

/// Whether an element of a JSON list is an envelope: only names are read.
fn is_envelope(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Message {
        beacon_block_root: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    struct Signed {
        message: Message,
    }
    let names = serde_json::from_str::<Signed>(raw.get());
    names.is_ok_and(|signed| signed.message.beacon_block_root.is_some())
}

fn from_json(body: &Bytes, envelopes: usize) -> Result<Vec<Result<Candidate, String>>, ApiError> {
    let refused =
        |e: serde_json::Error| ApiError::bad_request(format!("not a SignedExecutionProof in JSON: {e}"));
    let first = body.iter().find(|b| !b.is_ascii_whitespace());
    if first == Some(&b'[') {
        // One by one, so that a proof that cannot be read is named by its place and the list's length is bounded first.
        let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(refused)?;
        if items.len() > MAX_PROOFS_PER_POST {
            return Err(too_many());
        }
        if items.len() > envelopes && items.iter().filter(|item| is_envelope(item)).count() > envelopes {
            return Err(too_many_envelopes(envelopes));
        }
        return Ok(items
            .iter()
            .map(|raw| {
                serde_json::from_str::<SignedProof>(raw.get())
                    .map(Candidate::Signed)
                    .map_err(|e| format!("not a SignedExecutionProof in JSON: {e}"))
            })
            .collect());
    }
    let one = serde_json::from_slice(body).map_err(refused)?;
    Ok(vec![Ok(Candidate::Signed(one))])
}

/// One `SignedExecutionProof`, or a list of them.
fn from_ssz(body: &Bytes) -> Result<Vec<Candidate>, ApiError> {
    let mut split = SszSplit::new(MAX_PROOFS_PER_POST, "proofs", Some(body.len()));
    let parts = split.feed(body).and_then(|()| split.finish());
    Ok(parts.map_err(not_ssz)?.into_iter().map(Candidate::Ssz).collect())
}

pub(crate) fn not_ssz(why: String) -> ApiError {
    ApiError::bad_request(format!("not SSZ of SignedExecutionProofs: {why}"))
}

/// Where each of a list's elements of these lengths lies: what stands before them in SSZ. `None` where an offset does not
/// hold it.
pub(crate) fn ssz_list_head(lengths: impl ExactSizeIterator<Item = u64>) -> Option<Vec<u8>> {
    let mut offset = u32::try_from(lengths.len() * OFFSET_BYTES).ok()?;
    let mut head = Vec::with_capacity(lengths.len() * OFFSET_BYTES);
    for length in lengths {
        head.extend_from_slice(&offset.to_le_bytes());
        offset = offset.checked_add(u32::try_from(length).ok()?)?;
    }
    Some(head)
}

/// SSZ of a list of variable-size elements that are encoded already; `None` where it would be longer than offsets reach.
pub(crate) fn ssz_list(elements: &[Bytes]) -> Option<Vec<u8>> {
    let mut out = ssz_list_head(elements.iter().map(|element| element.len() as u64))?;
    out.reserve(elements.iter().map(Bytes::len).sum());
    for element in elements {
        out.extend_from_slice(element);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use assay_types::{ExecutionProof, PublicInput, Root, SignatureBytes, SignedExecutionProof};

    fn proof(size: usize, index: u64) -> SignedExecutionProof {
        SignedExecutionProof {
            message: ExecutionProof {
                proof_data: vec![7; size].into(),
                proof_type: 1,
                public_input: PublicInput {
                    new_payload_request_root: Root::from([3; 32]),
                },
            },
            validator_index: index,
            signature: SignatureBytes::ZERO,
        }
    }

    fn read(encoding: BodyEncoding, body: Vec<u8>) -> Result<Vec<SignedExecutionProof>, ApiError> {
        let found = candidates(encoding, &Bytes::from(body), 4)?;
        Ok(found
            .into_iter()
            .map(|c| match c.unwrap() {
                Candidate::Ssz(bytes) => SignedExecutionProof::from_ssz_bytes(&bytes).unwrap(),
                Candidate::Signed(signed) => signed.as_alpha().unwrap(),
                Candidate::Envelope(_) => unreachable!("SSZ is not told apart here"),
            })
            .collect())
    }

    #[test]
    fn one_or_several_in_both_encodings() {
        // 27 proofs make a list whose first offset is that of one container.
        for count in [1_u64, 2, 26, 27, 28, 64] {
            let proofs: Vec<_> = (0..count)
                .map(|n| proof(usize::try_from(n).unwrap() * 3, n))
                .collect();
            let elements: Vec<_> = proofs.iter().map(SignedExecutionProof::to_ssz_bytes).collect();
            let ssz = ssz_list(&elements).unwrap();
            assert_eq!(read(BodyEncoding::Ssz, ssz).unwrap(), proofs, "{count}");
            let json = serde_json::to_vec(&proofs).unwrap();
            assert_eq!(read(BodyEncoding::Json, json).unwrap(), proofs, "{count}");
        }
        let one = proof(1000, 7);
        assert_eq!(
            read(BodyEncoding::Ssz, one.to_ssz_bytes().to_vec()).unwrap(),
            std::slice::from_ref(&one)
        );
        assert_eq!(
            read(BodyEncoding::Json, serde_json::to_vec(&one).unwrap()).unwrap(),
            [one]
        );
    }

    #[test]
    fn a_list_that_offsets_do_not_reach_is_none() {
        let gib = 1_u64 << 30;
        assert!(ssz_list_head([gib; 3].into_iter()).is_some());
        assert!(ssz_list_head([gib; 4].into_iter()).is_none());
    }

    #[test]
    fn json_that_is_wrong_says_what_is_wrong() {
        let good = serde_json::to_string(&proof(3, 7)).unwrap();
        assert!(read(BodyEncoding::Json, good.clone().into()).is_ok());
        for (from, to, says) in [
            (
                r#""proof_type":"1""#,
                r#""proof_type":"1","proof_type":"2""#,
                "duplicate field `proof_type`",
            ),
            (
                r#""validator_index":"7""#,
                r#""validator_index":"7","validator_index":"7""#,
                "duplicate field `validator_index`",
            ),
            (r#""proof_type":"1""#, r#""proof_type":"256""#, "256"),
            (r#""proof_type":"1""#, r#""proof_type":1"#, "expected a string"),
            (r#""validator_index":"7""#, r#""validator_index":"-7""#, "decimal"),
            (
                r#""validator_index":"7""#,
                r#""validator_index":"99999999999999999999999999""#,
                "too large",
            ),
            (
                r#""validator_index":"7""#,
                r#""validator_index":1e400"#,
                "number out of range",
            ),
            ("0x070707", "070707", "0x"),
            ("0x070707", "0X070707", "0x"),
            ("0x070707", "0x07070", "Odd"),
            ("0x070707", "0x0707zz", "nvalid character"),
            ("0x0303", "0x03", "32 expected"),
            (r#""signature""#, r#""Signature""#, "missing field `signature`"),
        ] {
            assert!(good.contains(from), "{from}");
            let bad = good.replacen(from, to, 1);
            let alone = read(BodyEncoding::Json, bad.clone().into()).unwrap_err();
            assert!(
                alone.code == 400 && alone.message.contains(says),
                "{to}: {alone:?}"
            );
            // In a list it is named by its place, and the others are read.
            let found = candidates(BodyEncoding::Json, &format!("[{good},{bad}]").into(), 4);
            // A number that no reader takes spoils the list.
            let Ok(found) = found else { continue };
            assert!(found[0].is_ok());
            let error = found[1].as_ref().unwrap_err();
            assert!(error.contains(says), "{to}: {error}");
        }
    }

    /// Before any of them is read: none of these has a root that is one.
    #[test]
    fn a_json_list_has_few_envelopes_and_many_proofs() {
        let envelope = r#"{"message":{"proof_data":"0x","beacon_block_root":"no root"}}"#;
        let proof = serde_json::to_string(&proof(3, 7)).unwrap();
        for (envelopes, proofs, is_list) in [
            (4, 0, true),
            (5, 0, false),
            (4, 60, true),
            (5, 1, false),
            (0, 64, true),
        ] {
            let items = [vec![envelope; envelopes], vec![proof.as_str(); proofs]].concat();
            let found = candidates(BodyEncoding::Json, &format!("[{}]", items.join(",")).into(), 4);
            match found {
                Ok(found) => {
                    assert!(is_list, "{envelopes}, {proofs}");
                    assert_eq!(found.iter().filter(|one| one.is_err()).count(), envelopes);
                }
                Err(error) => {
                    assert!(!is_list && error.code == 400, "{error:?}");
                    assert!(error.message.starts_with("more than 4 envelopes"), "{error:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let two = [proof(5, 1).to_ssz_bytes(), proof(6, 2).to_ssz_bytes()];
        let good = ssz_list(&two).unwrap();
        let mut falling = good.clone();
        falling[4..8].copy_from_slice(&5_u32.to_le_bytes());
        let mut beyond = good.clone();
        beyond[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        let many = ssz_list(&vec![proof(0, 1).to_ssz_bytes(); MAX_PROOFS_PER_POST + 1]).unwrap();
        for (what, body) in [
            ("nothing", Vec::new()),
            ("three bytes", vec![1, 2, 3]),
            ("offset zero", vec![0; 300]),
            ("odd offset", vec![9, 0, 0, 0, 1, 1, 1, 1, 1]),
            ("falling", falling),
            ("beyond", beyond),
            ("cut", good[..100].to_vec()),
            ("too many", many),
            ("huge offset", vec![0xfc, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(
                read(BodyEncoding::Ssz, body).map_err(|e| e.code),
                Err(400),
                "{what}"
            );
        }
        let many = serde_json::to_vec(&vec![proof(0, 1); MAX_PROOFS_PER_POST + 1]).unwrap();
        assert_eq!(read(BodyEncoding::Json, many).map_err(|e| e.code), Err(400));
        assert_eq!(
            read(BodyEncoding::Json, b"[]".to_vec()).map_err(|e| e.code),
            Err(400)
        );
    }
}
