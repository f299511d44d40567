//! Reading what is posted: a body of proofs as it comes, in memory once (SSZ) or once and its text (JSON).

use crate::{
    ApiError,
    proof_body::{BodyEncoding, MAX_PROOFS_PER_POST, candidates, not_ssz},
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
pub(crate) async fn proofs(
    request: Request,
    limit: usize,
) -> Result<Vec<Result<Candidate, String>>, ApiError> {
    match BodyEncoding::of(request.headers())? {
        encoding @ BodyEncoding::Json => candidates(encoding, &whole(request, limit).await?),
        BodyEncoding::Ssz => in_time(read_ssz(request, limit)).await,
    }
}

async fn read_ssz(request: Request, limit: usize) -> Result<Vec<Result<Candidate, String>>, ApiError> {
    let length = declared(request.headers(), limit)?;
    let (mut body, mut taken) = (request.into_body(), 0);
    let mut split = SszSplit::new(MAX_PROOFS_PER_POST, length);
    while let Some(chunk) = next(&mut body, &mut taken, limit).await? {
        split.feed(&chunk).map_err(not_ssz)?;
    }
    let parts = split.finish().map_err(not_ssz)?;
    Ok(parts.into_iter().map(|ssz| Ok(Candidate::Ssz(ssz))).collect())
}
