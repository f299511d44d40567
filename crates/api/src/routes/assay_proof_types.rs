//! GET `/assay/v1/proof_types`: the types that are verified, and what stands behind each number.

use crate::ApiState;
use crate::openapi::{Operation, data, list_of, object, or_null};
use assay_proof_engine::ProofTypeEntry;
use axum::{Json, extract::State};
use serde_json::{Value, json};

pub(crate) async fn get(State(state): State<ApiState>) -> Json<Value> {
    let verified = |entry: &&ProofTypeEntry| state.info.proof_types.contains(&entry.proof_type());
    let entries: Vec<Value> = state.info.entries.iter().filter(verified).map(shown).collect();
    Json(json!({ "data": entries }))
}

/// An entry as JSON.
pub(crate) fn shown(entry: &ProofTypeEntry) -> Value {
    json!({
        "proof_type": entry.proof_type(),
        "name": entry.name(),
        "system": entry.system(),
        "key_sha256": entry.key().map(|key| key.sha256()),
        "guest": entry.guest().map(ToString::to_string),
        "version": entry.version(),
        "proves_nothing": entry.is_insecure(),
        "entry": entry.digest(),
    })
}

pub(crate) fn describe() -> Operation {
    let (number, text) = (json!({ "type": "integer" }), json!({ "type": "string" }));
    let entry = object(json!({
        "proof_type": number,
        "name": or_null("string"),
        "system": or_null("string"),
        "key_sha256": or_null("string"),
        "guest": or_null("string"),
        "version": or_null("string"),
        "proves_nothing": { "type": "boolean" },
        "entry": text,
    }));
    Operation::new(
        "getProofTypes",
        "The proof types that are verified, preferred first, and what stands behind each number",
    )
    .json(data(list_of(entry)))
}
