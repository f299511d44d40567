//! POST `/assay/v1/gate/conflicts/{block_hash}`: the operator decides of a payload that was answered VALID and that the
//! execution client calls INVALID (design.md, gate rule 4). From this machine only, and as JSON, so that no web page can.

use crate::{
    ApiError, ApiState,
    openapi::{Operation, data, object, or_null},
    server::Caller,
};
use assay_gate::ConflictResolution;
use assay_types::BlockHash;
use axum::{
    Extension, Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    /// The execution client was wrong.
    KeepValid,
    /// The execution client is right: its INVALID is passed on from now on.
    AcceptInvalid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolution {
    resolution: Word,
}

pub(crate) async fn post(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Result<Json<Resolution>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    if !caller.is_local() {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "conflicts are decided from the machine the node runs on",
        ));
    }
    let block_hash: BlockHash = id
        .parse()
        .map_err(|_| ApiError::bad_request(format!("{id:?} is no execution block hash")))?;
    let Json(body) = body.map_err(|e| ApiError::new(e.status(), e.body_text()))?;
    let resolution = match body.resolution {
        Word::KeepValid => ConflictResolution::KeepValid,
        Word::AcceptInvalid => ConflictResolution::AcceptInvalid,
    };
    if !state.gate.resolve_conflict(block_hash, resolution).await {
        return Err(ApiError::not_found("this payload is in no conflict"));
    }
    let verdict = state.gate.payload(&block_hash).map(|p| p.verdict.as_str());
    Ok(Json(
        json!({ "data": { "block_hash": block_hash, "verdict": verdict } }),
    ))
}

pub(crate) fn describe() -> Operation {
    let hash = json!({ "type": "string", "pattern": "^0x[0-9a-fA-F]{64}$" });
    let word = json!({ "type": "string", "enum": ["keep-valid", "accept-invalid"] });
    Operation::new(
        "resolveConflict",
        "Decides of a payload that the execution client calls INVALID after it was answered VALID; from this machine only",
    )
    .path("block_hash", "the payload", &hash)
    .body(&[("application/json", object(json!({ "resolution": word })))])
    .json(data(object(json!({ "block_hash": hash, "verdict": or_null("string") }))))
    .error(400, "no block hash, or no JSON")
    .error(403, "not from this machine")
    .error(404, "this payload is in no conflict")
    .error(413, "too large")
    .error(415, "no JSON by its content type")
    .error(422, "not a resolution")
}
