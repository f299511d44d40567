//! Reading what is posted: a body of proofs as it comes, in memory once (SSZ) or once and its text (JSON).

use crate::{
    ApiError,
    proof_body::{BodyEncoding, ENVELOPES, MAX_PROOFS_PER_POST, candidates, not_ssz},
    ssz_split::SszSplit,
};
use assay_verification::Candidate;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::time::Duration;

/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The length a request declares, held against `limit`.
fn declared(headers: &HeaderMap, limit: usize) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= limit => Ok(Some(length)),
        _ => Err(too_large(limit)),
    }
}

fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {limit} bytes"),
    )
}

/// The next bytes of a body; `taken` counts them.
async fn next(body: &mut Body, taken: &mut usize, limit: usize) -> Result<Option<Bytes>, ApiError> {
    loop {
        let Some(frame) = body.frame().await else {
            return Ok(None);
        };
        let frame = frame.map_err(|e| ApiError::bad_request(format!("the body broke off: {e}")))?;
        // Trailers mean nothing here.
        let Ok(chunk) = frame.into_data() else { continue };
        *taken += chunk.len();
        if *taken > limit {
            return Err(too_large(limit));
        }
        return Ok(Some(chunk));
    }
}

/// A slow sender does not keep its place for ever.
async fn in_time<T>(reading: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(BODY_TIMEOUT, reading)
        .await
        .unwrap_or_else(|_| {
            Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {} s", BODY_TIMEOUT.as_secs()),
            ))
        })
}

/// A whole body of at most `limit` bytes, in one buffer.
pub(crate) async fn whole(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    in_time(read_whole(request, limit)).await
}

async fn read_whole(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let length = declared(request.headers(), limit)?;
    let (mut body, mut taken) = (request.into_body(), 0);
    let mut out = BytesMut::with_capacity(length.unwrap_or(0));
    while let Some(chunk) = next(&mut body, &mut taken, limit).await? {
        out.extend_from_slice(&chunk);
    }
    Ok(out.freeze())
}

/// The proofs of a body of at most `limit` bytes, each on its own: one of a JSON list that cannot be read leaves the others.
/// No more than `envelopes` of them are seen to be envelopes: in JSON by what they are, in SSZ where the caller
/// `says_envelopes`.
pub(crate) async fn proofs(
    request: Request,
    limit: usize,
    envelopes: usize,
    says_envelopes: bool,
) -> Result<Vec<Result<Candidate, String>>, ApiError> {
    match BodyEncoding::of(request.headers())? {
        encoding @ BodyEncoding::Json => candidates(encoding, &whole(request, limit).await?, envelopes),
        BodyEncoding::Ssz => {
            let most = says_envelopes.then_some(envelopes);
            in_time(read_ssz(request, limit, most)).await
        }
    }
}

async fn read_ssz(
    request: Request,
    limit: usize,
    envelopes: Option<usize>,
) -> Result<Vec<Result<Candidate, String>>, ApiError> {
    let length = declared(request.headers(), limit)?;
    let (mut body, mut taken) = (request.into_body(), 0);
    let (most, of) = match envelopes {
        Some(most) if most < MAX_PROOFS_PER_POST => (most, ENVELOPES),
        _ => (MAX_PROOFS_PER_POST, "proofs"),
    };
    let mut split = SszSplit::new(most, of, length);
    while let Some(chunk) = next(&mut body, &mut taken, limit).await? {
        split.feed(&chunk).map_err(not_ssz)?;
    }
    let parts = split.finish().map_err(not_ssz)?;
    Ok(parts.into_iter().map(|ssz| Ok(Candidate::Ssz(ssz))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::proof_body::ssz_list_head;

    /// A list of so many whose offsets alone have come: what is too long is known by them.
    fn offsets_of(count: usize) -> Request {
        let head = ssz_list_head(vec![1000; count].into_iter()).unwrap();
        let never = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let body = futures::StreamExt::chain(
            futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(head))]),
            never,
        );
        let request = Request::builder().header("content-type", "application/octet-stream");
        request.body(Body::from_stream(body)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn by_its_offsets_a_list_of_envelopes_is_short_and_one_of_proofs_is_long() {
        for (count, says_envelopes, code, says) in [
            (4, true, 408, "did not come"),
            (
                5,
                true,
                400,
                "more than 4 envelopes in one request (MAX_EXECUTION_PROOFS_PER_PAYLOAD)",
            ),
            (64, true, 400, "more than 4 envelopes"),
            (64, false, 408, "did not come"),
            (65, false, 400, "more than 64 proofs"),
        ] {
            let refused = proofs(offsets_of(count), 1 << 20, 4, says_envelopes)
                .await
                .unwrap_err();
            assert_eq!(refused.code, code, "{count}: {refused:?}");
            assert!(refused.message.contains(says), "{count}: {refused:?}");
        }
    }
}
