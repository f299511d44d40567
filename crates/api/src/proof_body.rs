//! Bodies that hold one or several `SignedExecutionProof`s, as JSON or SSZ (protocol.md section 8).

use crate::ApiError;
use assay_types::{SignedExecutionProof, proof::SIGNED_PROOF_OVERHEAD};
use assay_verification::Candidate;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;

/// Most proofs in one request.
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

/// The proofs of a body, each on its own: one of a JSON list that cannot be read leaves the others.
pub(crate) fn candidates(
    encoding: BodyEncoding,
    body: &Bytes,
) -> Result<Vec<Result<Candidate, String>>, ApiError> {
    let found = match encoding {
        BodyEncoding::Json => from_json(body)?,
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

fn from_json(body: &Bytes) -> Result<Vec<Result<Candidate, String>>, ApiError> {
    let refused =
        |e: serde_json::Error| ApiError::bad_request(format!("not a SignedExecutionProof in JSON: {e}"));
    let first = body.iter().find(|b| !b.is_ascii_whitespace());
    if first == Some(&b'[') {
        // One by one, so that a proof that cannot be read is named by its place and the list's length is bounded first.
        let items: Vec<&serde_json::value::RawValue> = serde_json::from_slice(body).map_err(refused)?;
        if items.len() > MAX_PROOFS_PER_POST {
            return Err(too_many());
        }
        return Ok(items
            .iter()
            .map(|raw| {
                serde_json::from_str::<SignedExecutionProof>(raw.get())
                    .map(Candidate::Signed)
                    .map_err(|e| format!("not a SignedExecutionProof in JSON: {e}"))
            })
            .collect());
    }
    let one = serde_json::from_slice(body).map_err(refused)?;
    Ok(vec![Ok(Candidate::Signed(one))])
}

/// One `SignedExecutionProof`, or a list of them. The first offset tells: a list's is four bytes an element, one
/// container's is that of its first field (108, the fixed part).
fn from_ssz(body: &Bytes) -> Result<Vec<Candidate>, ApiError> {
    const FIXED_PART: usize = OFFSET_BYTES + 8 + 96;
    let refused = |why: &str| ApiError::bad_request(format!("not SSZ of SignedExecutionProofs: {why}"));
    let first = offset_at(body, 0).ok_or_else(|| refused("shorter than an offset"))?;
    // A list of 27 proofs has this first offset too; then the second offset lies far behind it, where one container has
    // a validator index in its place.
    if first == FIXED_PART && SignedExecutionProof::from_ssz_bytes(body).is_ok() {
        return Ok(vec![Candidate::Ssz(body.clone())]);
    }
    if first == 0 || first % OFFSET_BYTES != 0 {
        return Err(refused("neither one proof nor a list"));
    }
    let count = first / OFFSET_BYTES;
    if count > MAX_PROOFS_PER_POST {
        return Err(too_many());
    }
    let mut bounds = Vec::with_capacity(count + 1);
    for index in 0..count {
        bounds.push(offset_at(body, index * OFFSET_BYTES).ok_or_else(|| refused("offsets end early"))?);
    }
    bounds.push(body.len());
    bounds
        .windows(2)
        .enumerate()
        .map(|(index, pair)| match *pair {
            [start, end] if start <= end && end <= body.len() && end - start >= SIGNED_PROOF_OVERHEAD => {
                // A copy, once: a slice would keep the whole body in memory for as long as one of its proofs waits.
                Ok(Candidate::Ssz(Bytes::copy_from_slice(&body[start..end])))
            }
            _ => Err(refused(&format!("proof {index} has no room between its offsets"))),
        })
        .collect()
}

fn offset_at(body: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; OFFSET_BYTES] = body.get(at..at + OFFSET_BYTES)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
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
    use assay_types::{ExecutionProof, PublicInput, Root, SignatureBytes};

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
        let found = candidates(encoding, &Bytes::from(body))?;
        Ok(found
            .into_iter()
            .map(|c| match c.unwrap() {
                Candidate::Ssz(bytes) => SignedExecutionProof::from_ssz_bytes(&bytes).unwrap(),
                Candidate::Signed(signed) => signed,
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
