//! The OpenAPI document, made from the same table of routes that the router is made from: a route that is served is in it,
//! and what is in it is served. The containers' schemas are made from the SSZ shapes that decode them.

use crate::ApiState;
use assay_types::{
    Revision, Spec,
    containers::{ContainerContext, lookup},
    schema::Schema,
};
use axum::{handler::Handler, routing::MethodRouter};
use serde_json::{Map, Value, json};

/// Containers whose schemas are made from their SSZ shapes.
const CONTAINERS: [&str; 3] = ["PublicInput", "ExecutionProof", "SignedExecutionProof"];
/// Those of `beta`.
const ENVELOPES: [&str; 2] = ["ExecutionProofEnvelope", "SignedExecutionProofEnvelope"];

/// One path: what answers it, and what is said of that.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) router: MethodRouter<ApiState>,
    operations: Vec<(&'static str, Operation)>,
}

impl Route {
    /// A path that takes no method yet.
    pub(crate) fn at(path: &'static str) -> Self {
        Self {
            path,
            router: MethodRouter::new(),
            operations: Vec::new(),
        }
    }

    /// It takes GET.
    pub(crate) fn get<H: Handler<T, ApiState>, T: 'static>(
        mut self,
        handler: H,
        operation: Operation,
    ) -> Self {
        self.router = self.router.get(handler);
        self.operations.push(("get", operation));
        self
    }

    /// It takes POST; `layered` puts limits around the handler.
    pub(crate) fn post<H: Handler<T, ApiState>, T: 'static>(
        mut self,
        handler: H,
        layered: impl FnOnce(MethodRouter<ApiState>) -> MethodRouter<ApiState>,
        operation: Operation,
    ) -> Self {
        let posting = layered(axum::routing::post(handler));
        self.router = self.router.merge(posting);
        self.operations.push(("post", operation));
        self
    }
}

/// What a method of a path does, takes and answers.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Map<String, Value>,
}

/// A schema of the document's own.
pub(crate) fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A list.
pub(crate) fn list_of(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// An object whose fields are all there.
pub(crate) fn object(fields: Value) -> Value {
    let names: Vec<&String> = fields.as_object().map(|f| f.keys().collect()).unwrap_or_default();
    json!({ "type": "object", "required": names, "properties": fields })
}

/// `{data: ...}`, as the Beacon API answers.
pub(crate) fn data(inner: Value) -> Value {
    object(json!({ "data": inner }))
}

/// A type that may be null.
pub(crate) fn or_null(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

impl Operation {
    /// By its operation id, with one sentence.
    pub(crate) fn new(id: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            summary,
            parameters: Vec::new(),
            body: None,
            responses: Map::new(),
        }
    }

    fn parameter(mut self, place: &str, name: &str, required: bool, about: &str, schema: &Value) -> Self {
        self.parameters.push(json!({
            "name": name, "in": place, "required": required, "description": about, "schema": schema,
        }));
        self
    }

    /// A part of the path.
    pub(crate) fn path(self, name: &str, about: &str, schema: &Value) -> Self {
        self.parameter("path", name, true, about, schema)
    }

    /// A part of the query that may be left out.
    pub(crate) fn query(self, name: &str, about: &str, schema: &Value) -> Self {
        self.parameter("query", name, false, about, schema)
    }

    /// A part of the query that must be there.
    pub(crate) fn required_query(self, name: &str, about: &str, schema: &Value) -> Self {
        self.parameter("query", name, true, about, schema)
    }

    /// A body by content type.
    pub(crate) fn body(mut self, content: &[(&str, Value)]) -> Self {
        self.body = Some(json!({ "required": true, "content": content_of(content) }));
        self
    }

    /// An answer without a body.
    pub(crate) fn empty(self, status: u16, about: &str) -> Self {
        self.answer(status, about, &[])
    }

    /// An answer by content type.
    pub(crate) fn answer(mut self, status: u16, about: &str, content: &[(&str, Value)]) -> Self {
        let mut answer = json!({ "description": about });
        if !content.is_empty() {
            answer["content"] = content_of(content);
        }
        self.responses.insert(status.to_string(), answer);
        self
    }

    /// 200 with JSON.
    pub(crate) fn json(self, schema: Value) -> Self {
        self.answer(200, "OK", &[("application/json", schema)])
    }

    /// An error in the API's form; 503 says when to come again.
    pub(crate) fn error(mut self, status: u16, about: &str) -> Self {
        self = self.answer(status, about, &[("application/json", schema("Error"))]);
        if status == 503 {
            self.responses["503"]["headers"] = json!({
                "Retry-After": { "description": "seconds", "required": true, "schema": { "type": "string", "pattern": "^[0-9]+$" } },
            });
        }
        self
    }

    fn document(&self) -> Value {
        let mut out = json!({
            "operationId": self.id,
            "summary": self.summary,
            "responses": self.responses,
        });
        if !self.parameters.is_empty() {
            out["parameters"] = json!(self.parameters);
        }
        if let Some(body) = &self.body {
            out["requestBody"] = body.clone();
        }
        out
    }
}

fn content_of(content: &[(&str, Value)]) -> Value {
    let types = content
        .iter()
        .map(|(kind, schema)| ((*kind).to_owned(), json!({ "schema": schema })));
    Value::Object(types.collect())
}

/// The document of these routes.
pub(crate) fn document(routes: &[Route], version: &str, spec: &Spec) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let operations = route
            .operations
            .iter()
            .map(|(method, operation)| ((*method).to_owned(), operation.document()));
        paths.insert(route.path.to_owned(), Value::Object(operations.collect()));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Assay",
            "version": version,
            "description": "Execution proofs (EIP-8025) beside a beacon node. Paths of the Beacon API that are not named here are \
                            answered by the beacon node behind this one, streams included.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas(spec) },
    })
}

fn hex(bytes: usize) -> Value {
    json!({ "type": "string", "pattern": format!("^0x[0-9a-fA-F]{{{}}}$", 2 * bytes) })
}

/// The Beacon API's JSON of an SSZ shape.
fn json_of(shape: &Schema, max_proof_size: u64) -> Value {
    match shape {
        Schema::Uint(bytes) => {
            // 2^(8n) has this many decimal digits, or one less.
            let digits = bytes * 8 * 30103 / 100_000 + 1;
            json!({ "type": "string", "pattern": format!("^[0-9]{{1,{digits}}}$") })
        }
        Schema::Boolean => json!({ "type": "boolean" }),
        Schema::Bytes(bytes) => hex(*bytes),
        Schema::ByteList(limit) => json!({
            "type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$", "maxLength": 2 + 2 * limit,
        }),
        Schema::ProgressiveByteList => json!({
            "type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$", "maxLength": 2 + 2 * max_proof_size,
        }),
        Schema::Bitvector(_) | Schema::Bitlist(_) | Schema::ProgressiveBitlist => {
            json!({ "type": "string", "pattern": "^0x([0-9a-fA-F]{2})*$" })
        }
        Schema::Vector(element, length) => json!({
            "type": "array", "items": json_of(element, max_proof_size), "minItems": length, "maxItems": length,
        }),
        Schema::List(element, limit) => json!({
            "type": "array", "items": json_of(element, max_proof_size), "maxItems": limit,
        }),
        Schema::ProgressiveList(element) => list_of(json_of(element, max_proof_size)),
        Schema::Container { fields, .. } | Schema::ProgressiveContainer { fields, .. } => {
            let fields = fields
                .iter()
                .map(|field| (field.name.to_owned(), json_of(&field.schema, max_proof_size)));
            object(Value::Object(fields.collect()))
        }
    }
}

fn schemas(spec: &Spec) -> Value {
    let mut out = Map::new();
    let of = |revision| ContainerContext::with_revision(assay_types::ForkName::Gloas, spec, revision);
    let alpha = CONTAINERS.map(|name| (name, Revision::Alpha));
    let beta = ENVELOPES.map(|name| (name, Revision::Beta));
    for (name, revision) in alpha.into_iter().chain(beta) {
        if let Ok(shape) = lookup(name, &of(revision)) {
            out.insert(name.to_owned(), json_of(&shape, spec.max_proof_size));
        }
    }
    let text = json!({ "type": "string" });
    let integer = json!({ "type": "integer", "minimum": 0 });
    let number = json!({ "type": "string", "pattern": "^[0-9]+$" });
    let root = hex(32);
    let root_or_null = json!({ "anyOf": [root, { "type": "null" }] });
    let own = json!({
        "Root": root,
        "BlockId": { "anyOf": [
            { "type": "string", "enum": ["head", "genesis", "finalized"] },
            { "type": "string", "pattern": "^[0-9]{1,19}$" },
            root,
        ]},
        "SignedProof": { "anyOf": [schema("SignedExecutionProof"), schema("SignedExecutionProofEnvelope")] },
        "GeneratedProof": object(json!({ "proof_gen_id": hex(8), "execution_proof": schema("ExecutionProof") })),
        "ForkName": text,
        "Awaited": {
            "type": "object",
            "required": ["revision", "since_ms", "count", "proofs"],
            "properties": {
                "revision": text,
                "new_payload_request_root": root,
                "beacon_block_root": root,
                "since_ms": integer,
                "count": integer,
                "proofs": list_of(object(json!({
                    "proof_type": integer,
                    "validator_index": number,
                    "source": text,
                    "arrived_at_ms": integer,
                    "waits_for": or_null("string"),
                }))),
            },
        },
        "IndexedFailure": object(json!({ "index": integer, "message": text })),
        "Error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {
                "code": { "type": "integer", "minimum": 400, "maximum": 599 },
                "message": text,
                "failures": list_of(schema("IndexedFailure")),
            },
        },
        "Peer": object(json!({
            "peer_id": text,
            "enr": or_null("string"),
            "last_seen_p2p_address": text,
            "state": { "type": "string", "enum": ["disconnected", "connecting", "connected", "disconnecting"] },
            "direction": { "type": "string", "enum": ["inbound", "outbound"] },
            "agent": or_null("string"),
            "score": { "type": "number" },
            "eproof": or_null("string"),
            "proof_aware": { "type": "boolean" },
            "trusted": { "type": "boolean" },
            "proof_status": or_null("object"),
        })),
        "Payload": object(json!({
            "slot": or_null("integer"),
            "fork": or_null("string"),
            "block_hash": root,
            "parent_hash": root_or_null,
            "new_payload_request_root": root_or_null,
            "execution_status": text,
            "required_proofs": integer,
            "proofs": list_of(object(json!({ "proof_type": integer, "at_ms": integer }))),
            "proven": { "type": "boolean" },
            "proven_chain": { "type": "boolean" },
            "released": { "type": "boolean" },
            "anchor": { "type": "boolean" },
            "conflict": { "type": "boolean" },
            "verdict": text,
            "held_by": or_null("string"),
            "rule": or_null("integer"),
            "told_syncing_first": { "type": "boolean" },
            "told_valid": { "type": "boolean" },
            "seen_at_ms": integer,
            "new_payload_at_ms": or_null("integer"),
            "execution_valid_at_ms": or_null("integer"),
            "proven_at_ms": or_null("integer"),
            "valid_at_ms": or_null("integer"),
            "told_syncing_at_ms": or_null("integer"),
            "told_valid_at_ms": or_null("integer"),
        })),
        "Number": number,
    });
    if let Value::Object(own) = own {
        out.extend(own);
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::server::table;

    fn refs(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    out.push(to.clone());
                }
                fields.values().for_each(|v| refs(v, out));
            }
            Value::Array(items) => items.iter().for_each(|v| refs(v, out)),
            _ => {}
        }
    }

    #[test]
    fn the_document_holds_together() {
        let spec = Spec::minimal();
        let routes = table(1000);
        let document = document(&routes, "1.2.3", &spec);
        let mut named = Vec::new();
        refs(&document, &mut named);
        assert!(named.iter().any(|r| r.ends_with("/SignedExecutionProof")));
        for name in named {
            let pointer = name.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{name}");
        }
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), routes.len(), "no path twice");
        let mut ids = Vec::new();
        for (path, methods) in paths {
            assert!(!methods.as_object().unwrap().is_empty(), "{path}");
            for operation in methods.as_object().unwrap().values() {
                ids.push(operation["operationId"].as_str().unwrap().to_owned());
                // What the path names is described, and nothing else as part of it.
                let described: Vec<String> = operation["parameters"]
                    .as_array()
                    .unwrap_or(&Vec::new())
                    .iter()
                    .filter(|p| p["in"] == "path")
                    .map(|p| format!("{{{}}}", p["name"].as_str().unwrap()))
                    .collect();
                let in_path: Vec<&str> = path.split('/').filter(|part| part.starts_with('{')).collect();
                assert_eq!(described, in_path, "{path}");
                assert!(
                    operation["responses"]
                        .as_object()
                        .unwrap()
                        .keys()
                        .any(|s| s.starts_with('2'))
                );
            }
        }
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count, "operation ids are told apart");
    }

    #[test]
    fn containers_are_those_that_are_decoded() {
        let spec = Spec::minimal();
        let schemas = schemas(&spec);
        let signed = &schemas["SignedExecutionProof"];
        assert_eq!(
            signed["required"],
            json!(["message", "signature", "validator_index"])
        );
        assert_eq!(signed["properties"]["signature"], hex(96));
        let message = &signed["properties"]["message"]["properties"];
        assert_eq!(message["proof_data"]["maxLength"], 2 + 2 * spec.max_proof_size);
        assert_eq!(message["proof_type"]["pattern"], "^[0-9]{1,3}$");
        assert_eq!(
            signed["properties"]["validator_index"]["pattern"],
            "^[0-9]{1,20}$"
        );
        assert_eq!(
            message["public_input"]["properties"]["new_payload_request_root"],
            hex(32)
        );
    }
}
