//! Parameters and results of the EIP-8025 methods as the Engine API's JSON (protocol.md section 7), for those that
//! originate calls.

use crate::{
    fields::quantity_text,
    payload_writer::{Data, DataList, ExecutionPayloadJson, write_common_fields},
};
use assay_types::{
    EngineInput, ForkName, NewPayloadRequest, NewPayloadRequestHeader, ProofType, StatedInput,
};
use serde::{
    Deserialize, Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

/// `engine_requestProofsV1`.
pub const REQUEST_PROOFS: &str = "engine_requestProofsV1";
/// `engine_verifyExecutionProofV1`.
pub const VERIFY_EXECUTION_PROOF: &str = "engine_verifyExecutionProofV1";
/// `engine_verifyNewPayloadRequestHeaderV1`.
pub const VERIFY_NEW_PAYLOAD_REQUEST_HEADER: &str = "engine_verifyNewPayloadRequestHeaderV1";

/// `ExecutionProofV1`: {proofData, proofType, publicInput: {newPayloadRequestRoot}}; in `beta` publicInput also has
/// successfulValidation, chainId and schemaId.
#[derive(Debug, Clone, Copy)]
pub struct ExecutionProofJson<'a>(pub &'a EngineInput);

impl Serialize for ExecutionProofJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct PublicInput {
            new_payload_request_root: assay_types::Root,
            #[serde(skip_serializing_if = "Option::is_none")]
            successful_validation: Option<bool>,
            #[serde(skip_serializing_if = "Option::is_none")]
            chain_id: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            schema_id: Option<String>,
        }
        let proof = self.0;
        let mut map = s.serialize_map(Some(3))?;
        map.serialize_entry("proofData", &Data(&proof.proof_data))?;
        map.serialize_entry("proofType", &quantity_text(proof.proof_type))?;
        let new_payload_request_root = proof.new_payload_request_root();
        let input = match &proof.public_input {
            StatedInput::Alpha(_) => PublicInput {
                new_payload_request_root,
                successful_validation: None,
                chain_id: None,
                schema_id: None,
            },
            StatedInput::Beta(input) => PublicInput {
                new_payload_request_root,
                successful_validation: Some(input.successful_validation),
                chain_id: Some(quantity_text(input.chain_id)),
                schema_id: Some(quantity_text(input.schema_id)),
            },
        };
        map.serialize_entry("publicInput", &input)?;
        map.end()
    }
}

/// The parameters of `engine_requestProofsV1`.
#[derive(Debug, Clone, Copy)]
pub struct RequestProofsParamsJson<'a> {
    /// The payload to prove.
    pub request: &'a NewPayloadRequest,
    /// The types wanted.
    pub proof_types: &'a [ProofType],
    /// Whether the execution requests stand before the attributes: the pull request's text has four parameters, and
    /// implementations take five.
    pub with_execution_requests: bool,
}

impl Serialize for RequestProofsParamsJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ProofAttributes {
            proof_types: Vec<String>,
        }
        let request = self.request;
        let mut seq = s.serialize_seq(None)?;
        seq.serialize_element(&ExecutionPayloadJson {
            payload: &request.execution_payload,
            fork: request.fork,
        })?;
        seq.serialize_element(&request.versioned_hashes)?;
        seq.serialize_element(&request.parent_beacon_block_root)?;
        if self.with_execution_requests {
            seq.serialize_element(&DataList(
                &request.execution_requests.to_typed_lists(request.fork),
            ))?;
        }
        seq.serialize_element(&ProofAttributes {
            proof_types: self.proof_types.iter().map(quantity_text).collect(),
        })?;
        seq.end()
    }
}

/// `NewPayloadRequestHeaderV1`: {executionPayloadHeader, versionedHashes, parentBeaconBlockRoot, executionRequests}.
#[derive(Debug, Clone, Copy)]
pub struct NewPayloadRequestHeaderJson<'a>(pub &'a NewPayloadRequestHeader);

struct HeaderJson<'a>(&'a NewPayloadRequestHeader);

impl Serialize for HeaderJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let (fork, header) = (self.0.fork, &self.0.execution_payload_header);
        let mut map = s.serialize_map(None)?;
        write_common_fields::<S>(&mut map, &header.fields)?;
        map.serialize_entry("transactionsRoot", &header.transactions_root)?;
        if fork >= ForkName::Capella {
            map.serialize_entry("withdrawalsRoot", &header.withdrawals_root)?;
        }
        if fork >= ForkName::Deneb {
            map.serialize_entry("blobGasUsed", &quantity_text(header.fields.blob_gas_used))?;
            map.serialize_entry("excessBlobGas", &quantity_text(header.fields.excess_blob_gas))?;
        }
        map.end()
    }
}

impl Serialize for NewPayloadRequestHeaderJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let header = self.0;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("executionPayloadHeader", &HeaderJson(header))?;
        map.serialize_entry("versionedHashes", &header.versioned_hashes)?;
        map.serialize_entry("parentBeaconBlockRoot", &header.parent_beacon_block_root)?;
        let lists = header.execution_requests.to_typed_lists(header.fork);
        map.serialize_entry("executionRequests", &DataList(&lists))?;
        map.end()
    }
}

/// `status` of the two verifying methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ProofValidity {
    /// The proof holds; of a header: enough proofs of it are verified.
    Valid,
    /// The proof does not hold.
    Invalid,
    /// No proof of this type can be judged.
    NotSupported,
    /// Of a header: not enough proofs yet.
    Syncing,
}

/// `ProofStatusV1`: {status, error?}.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofStatusV1 {
    /// The verdict.
    pub status: ProofValidity,
    /// What is wrong, where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_types::{ExecutionProof, PublicInput, Revision, Root, Spec};
    use serde_json::json;

    #[test]
    fn a_proof_as_the_text_has_it() {
        let proof = ExecutionProof {
            proof_data: vec![0xab, 0].into(),
            proof_type: 16,
            public_input: PublicInput {
                new_payload_request_root: Root::from([1; 32]),
            },
        };
        let expected = json!({"proofData": "0xab00", "proofType": "0x10", "publicInput": {
            "newPayloadRequestRoot": format!("0x{}", "01".repeat(32))}});
        assert_eq!(
            serde_json::to_value(ExecutionProofJson(&proof.clone().into())).unwrap(),
            expected
        );
        // `beta` says more of the payload.
        let mut beta = EngineInput::new(&Spec::mainnet(), Revision::Beta, proof.key(), proof.proof_data);
        let json = serde_json::to_value(ExecutionProofJson(&beta)).unwrap();
        let mut expected = expected;
        expected["publicInput"]["successfulValidation"] = true.into();
        expected["publicInput"]["chainId"] = "0x1".into();
        expected["publicInput"]["schemaId"] = "0x1501".into();
        assert_eq!(json, expected);
        beta.proof_type = 0;
        assert_ne!(serde_json::to_value(ExecutionProofJson(&beta)).unwrap(), expected);
    }

    #[test]
    fn statuses_as_the_text_has_them() {
        for (text, status) in [
            ("VALID", ProofValidity::Valid),
            ("INVALID", ProofValidity::Invalid),
            ("NOT_SUPPORTED", ProofValidity::NotSupported),
            ("SYNCING", ProofValidity::Syncing),
        ] {
            let read: ProofStatusV1 = serde_json::from_value(json!({"status": text, "error": null})).unwrap();
            assert_eq!((read.status, read.error), (status, None));
            assert_eq!(serde_json::to_value(status).unwrap(), json!(text));
        }
        for bad in [
            json!({"status": "valid"}),
            json!({}),
            json!({"status": 1}),
            json!("VALID"),
        ] {
            assert!(
                serde_json::from_value::<ProofStatusV1>(bad.clone()).is_err(),
                "{bad}"
            );
        }
    }
}
