//! GET `/eth/v1/beacon/execution_proofs/{block_id}`: the proofs of one block's payload, JSON or SSZ by `Accept`. They are of
//! the revision that holds for the block's fork; what is kept of another counts, and is in the pool's list.

use crate::openapi::{Operation, list_of, object, schema};
use crate::{ApiError, ApiState, block_id, proof_body::ssz_list};
use assay_store::StoredBlock;
use assay_types::SignedProof;
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

#[derive(Serialize)]
struct Body {
    /// The block's fork, which says what the proofs are.
    version: &'static str,
    execution_optimistic: bool,
    finalized: bool,
    data: Vec<SignedProof>,
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let block = block_id::resolve(state.chain.as_ref(), &state.store, &id).await?;
    let spec = state.chain.spec();
    let fork = spec.fork_at_epoch(spec.epoch_at_slot(block.slot));
    let kept = StoredBlock {
        block_root: block.block_root,
        parent_root: assay_types::Root::ZERO,
        slot: block.slot,
        new_payload_request_root: block.new_payload_request_root,
        is_canonical: true,
    };
    let stored = state.store.proofs_of_block(kept, spec.revision_at(fork)).await;
    let stored = stored.map_err(|e| ApiError::internal(e.to_string()))?;
    let version = [("eth-consensus-version", fork.as_str())];
    if prefers_ssz(&headers) {
        let elements: Vec<Bytes> = stored.iter().map(|proof| proof.ssz().clone()).collect();
        let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
        let list = ssz_list(&elements)
            .ok_or_else(|| ApiError::internal("more proofs of one block than an SSZ list can hold"))?;
        return Ok((version, kind, list).into_response());
    }
    let data = stored
        .iter()
        .map(|proof| proof.signed().map_err(|e| ApiError::internal(e.to_string())))
        .collect::<Result<_, _>>()?;
    let body = Body {
        version: fork.as_str(),
        execution_optimistic: block.execution_optimistic,
        finalized: block.finalized,
        data,
    };
    Ok((version, Json(body)).into_response())
}

/// Whether a client would rather have SSZ than JSON (RFC 9110 quality values; JSON where nothing is said).
pub(super) fn prefers_ssz(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let quality = |kinds: &[&str]| {
        accept
            .split(',')
            .filter_map(|entry| {
                let mut parts = entry.split(';').map(str::trim);
                let kind = parts.next()?;
                let q = parts
                    .find_map(|p| p.strip_prefix("q="))
                    .map_or(Some(1.0), |q| q.parse::<f32>().ok())?;
                kinds.contains(&kind).then_some(q)
            })
            .fold(0.0_f32, f32::max)
    };
    let ssz = quality(&["application/octet-stream"]);
    ssz > 0.0 && ssz >= quality(&["application/json", "application/*", "*/*"])
}

pub(crate) fn describe() -> Operation {
    let flag = json!({ "type": "boolean" });
    let body = object(json!({
        "version": schema("ForkName"),
        "execution_optimistic": flag, "finalized": flag, "data": list_of(schema("SignedProof")),
    }));
    let ssz = json!({ "type": "string", "format": "binary" });
    Operation::new("getExecutionProofs", "The proofs of a block's payload")
        .path(
            "block_id",
            "`head`, `genesis`, `finalized`, a slot or a block root",
            &schema("BlockId"),
        )
        .answer(
            200,
            "OK",
            &[("application/json", body), ("application/octet-stream", ssz)],
        )
        .error(400, "no block id")
        .error(404, "no such block")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn accept() {
        for (text, ssz) in [
            ("", false),
            ("*/*", false),
            ("application/json", false),
            ("application/octet-stream", true),
            ("application/octet-stream;q=0.9, application/json;q=1", false),
            ("application/octet-stream;q=1, application/json;q=0.9", true),
            ("application/json, application/octet-stream", true),
            ("application/octet-stream;q=0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(text));
            assert_eq!(prefers_ssz(&headers), ssz, "{text:?}");
        }
    }
}
