//! Parameters of the EIP-8025 methods (protocol.md section 7), read for those that serve them. Strict: a field that is
//! there twice, a QUANTITY or DATA that is none, and whatever is over its limit is an error that names the field.

use crate::{
    ErrorCode, ErrorObject, NewPayloadParams, PayloadJsonError,
    fields::{Nullable, bytes, fixed, list, number},
    payload_json::{HeaderRoots, OptionalFields, PayloadSeed, once, requests_seed, versioned_hashes_seed},
};
use assay_types::{
    ExecutionPayload, ExecutionProof, ExecutionRequests, ForkName, Hash256, NewPayloadRequestHeader,
    ProofType, PublicInput, Root, Spec, payload::ExecutionPayloadHeader,
};
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// Most proof types that are read of one request; there are 256 of them.
const MAX_PROOF_TYPES_READ: usize = 256;

/// The elements of an array of parameters: -32602 where it is none.
fn elements<'a>(params: &'a str, method: &str, allowed: &[usize]) -> Result<Vec<&'a RawValue>, ErrorObject> {
    let invalid = |why: String| ErrorObject::new(ErrorCode::InvalidParams, format!("{method}: {why}"));
    let elements: Vec<&RawValue> = serde_json::from_str(params).map_err(|e| invalid(e.to_string()))?;
    if allowed.contains(&elements.len()) {
        return Ok(elements);
    }
    let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
    Err(invalid(format!(
        "{} parameters, {} expected",
        elements.len(),
        allowed.join(" or ")
    )))
}

fn read<'de, S: DeserializeSeed<'de>>(raw: &'de RawValue, seed: S) -> Result<S::Value, String> {
    let mut json = serde_json::Deserializer::from_str(raw.get());
    let value = seed.deserialize(&mut json).map_err(|e| e.to_string())?;
    json.end().map_err(|e| e.to_string())?;
    Ok(value)
}

/// The parameters of `engine_verifyExecutionProofV1`: -39001 where the proof cannot be read or is longer than
/// `max_proof_size` bytes.
pub fn execution_proof(params: &str, max_proof_size: usize) -> Result<ExecutionProof, ErrorObject> {
    let elements = elements(params, crate::proof_json::VERIFY_EXECUTION_PROOF, &[1])?;
    let seed = ProofSeed { max_proof_size };
    let proof = elements.first().map(|raw| read(raw, seed));
    proof
        .unwrap_or_else(|| Err("no proof".to_owned()))
        .map_err(|why| ErrorObject::new(ErrorCode::InvalidProofFormat, format!("executionProof: {why}")))
}

struct ProofSeed {
    max_proof_size: usize,
}

impl<'de> DeserializeSeed<'de> for ProofSeed {
    type Value = ExecutionProof;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<ExecutionProof, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ProofSeed {
    type Value = ExecutionProof;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an executionProof object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExecutionProof, A::Error> {
        let (mut data, mut proof_type, mut input) = (None, None, None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let m = &mut map;
            match key.as_ref() {
                "proofData" => once(m, &mut data, "proofData", bytes("proofData", self.max_proof_size))?,
                "proofType" => once(m, &mut proof_type, "proofType", number("proofType"))?,
                "publicInput" => once(m, &mut input, "publicInput", InputSeed)?,
                _ => {
                    m.next_value::<IgnoredAny>()?;
                }
            }
        }
        let missing = A::Error::missing_field;
        let proof_type = proof_type.ok_or_else(|| missing("proofType"))?;
        Ok(ExecutionProof {
            proof_data: data.ok_or_else(|| missing("proofData"))?,
            proof_type: as_proof_type(proof_type).map_err(A::Error::custom)?,
            public_input: input.ok_or_else(|| missing("publicInput"))?,
        })
    }
}

fn as_proof_type(number: u64) -> Result<ProofType, String> {
    ProofType::try_from(number).map_err(|_| format!("proofType: {number} is more than 255"))
}

struct InputSeed;

impl<'de> DeserializeSeed<'de> for InputSeed {
    type Value = PublicInput;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<PublicInput, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for InputSeed {
    type Value = PublicInput;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a publicInput object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PublicInput, A::Error> {
        let mut root = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let m = &mut map;
            if key == "newPayloadRequestRoot" {
                let seed = fixed::<32>("newPayloadRequestRoot");
                once(m, &mut root, "newPayloadRequestRoot", seed)?;
            } else {
                m.next_value::<IgnoredAny>()?;
            }
        }
        let root = root.ok_or_else(|| A::Error::missing_field("newPayloadRequestRoot"))?;
        Ok(PublicInput {
            new_payload_request_root: Hash256(root),
        })
    }
}

/// The parameters of `engine_requestProofsV1`, with four or five parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestProofsParams {
    /// The payload, not yet held against a fork.
    pub payload: NewPayloadParams,
    /// The form without a place for execution requests: `NewPayloadParams::or_without_execution_requests` applies.
    pub without_execution_requests: bool,
    /// The types that are wanted, each once, in the order they were first named; never empty.
    pub proof_types: Vec<ProofType>,
}

impl RequestProofsParams {
    /// From the JSON array of parameters: -39003 where the payload cannot be read, -32602 where anything else cannot.
    pub fn from_params(params: &str) -> Result<Self, ErrorObject> {
        let method = crate::proof_json::REQUEST_PROOFS;
        let elements = elements(params, method, &[4, 5])?;
        let Some((attributes, payload)) = elements.split_last() else {
            return Err(ErrorCode::InvalidParams.into());
        };
        let invalid = |why: String| ErrorObject::new(ErrorCode::InvalidParams, format!("{method}: {why}"));
        let wanted = read(attributes, AttributesSeed).map_err(invalid)?;
        let mut proof_types = Vec::new();
        for number in wanted {
            let proof_type = as_proof_type(number).map_err(invalid)?;
            if !proof_types.contains(&proof_type) {
                proof_types.push(proof_type);
            }
        }
        if proof_types.is_empty() {
            return Err(invalid("proofTypes is empty".to_owned()));
        }
        // As `engine_newPayload*` has them.
        let texts: Vec<&str> = payload.iter().map(|raw| raw.get()).collect();
        let without_execution_requests = texts.len() == 3;
        let payload = NewPayloadParams::from_params(&format!("[{}]", texts.join(",")))
            .map_err(|e| ErrorObject::new(ErrorCode::InvalidPayload, e.to_string()))?;
        Ok(Self {
            payload,
            without_execution_requests,
            proof_types,
        })
    }
}

/// `{proofTypes: [QUANTITY]}`.
struct AttributesSeed;

impl<'de> DeserializeSeed<'de> for AttributesSeed {
    type Value = Vec<u64>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<u64>, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for AttributesSeed {
    type Value = Vec<u64>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("proofAttributes, an object with proofTypes, as the last parameter")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u64>, A::Error> {
        let mut types = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let m = &mut map;
            if key == "proofTypes" {
                let seed = list("proofTypes", MAX_PROOF_TYPES_READ, number);
                once(m, &mut types, "proofTypes", seed)?;
            } else {
                m.next_value::<IgnoredAny>()?;
            }
        }
        types.ok_or_else(|| A::Error::missing_field("proofTypes"))
    }
}

/// The parameters of `engine_verifyNewPayloadRequestHeaderV1`, not yet held against a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParams {
    fields: ExecutionPayload,
    has: OptionalFields,
    roots: HeaderRoots,
    versioned_hashes: Option<Vec<Hash256>>,
    parent_beacon_block_root: Option<Root>,
    execution_requests: Option<Vec<Bytes>>,
}

impl HeaderParams {
    /// From the JSON array of parameters: -39002 where the header cannot be read.
    pub fn from_params(params: &str) -> Result<Self, ErrorObject> {
        let elements = elements(params, crate::proof_json::VERIFY_NEW_PAYLOAD_REQUEST_HEADER, &[1])?;
        let header = elements.first().map(|raw| read(raw, HeaderSeed));
        header
            .unwrap_or_else(|| Err("no header".to_owned()))
            .map_err(|why| {
                ErrorObject::new(
                    ErrorCode::InvalidHeaderFormat,
                    format!("newPayloadRequestHeader: {why}"),
                )
            })
    }

    /// Unix seconds; the fork follows from it.
    pub fn timestamp(&self) -> u64 {
        self.fields.timestamp
    }

    /// Holds the fields against `fork` and makes the header. Absent and null are the same.
    pub fn into_header(
        self,
        fork: ForkName,
        spec: &Spec,
    ) -> Result<NewPayloadRequestHeader, PayloadJsonError> {
        let since = |first: ForkName, there: bool, field: &'static str| match (fork >= first, there) {
            (true, false) => Err(PayloadJsonError::Missing { field, fork }),
            (false, true) => Err(PayloadJsonError::Unexpected { field, fork }),
            _ => Ok(()),
        };
        since(
            ForkName::Bellatrix,
            self.roots.transactions.is_some(),
            "transactionsRoot",
        )?;
        since(
            ForkName::Capella,
            self.roots.withdrawals.is_some(),
            "withdrawalsRoot",
        )?;
        since(ForkName::Deneb, self.has.blob_gas_used, "blobGasUsed")?;
        since(ForkName::Deneb, self.has.excess_blob_gas, "excessBlobGas")?;
        // The text has these three always; before their forks they are empty, and of no meaning.
        let deneb = fork >= ForkName::Deneb;
        let missing = |field| Err(PayloadJsonError::Missing { field, fork });
        if deneb && self.versioned_hashes.is_none() {
            return missing("versionedHashes");
        }
        if deneb && self.parent_beacon_block_root.is_none() {
            return missing("parentBeaconBlockRoot");
        }
        if fork >= ForkName::Electra && self.execution_requests.is_none() {
            return missing("executionRequests");
        }
        let execution_requests = match &self.execution_requests {
            Some(lists) if fork >= ForkName::Electra => {
                ExecutionRequests::from_typed_lists(fork, spec, lists)
                    .map_err(|e| PayloadJsonError::Requests(e.to_string()))?
            }
            _ => ExecutionRequests::default(),
        };
        Ok(NewPayloadRequestHeader {
            fork,
            execution_payload_header: ExecutionPayloadHeader {
                fields: self.fields,
                transactions_root: self.roots.transactions.unwrap_or_default(),
                withdrawals_root: self.roots.withdrawals.unwrap_or_default(),
            },
            versioned_hashes: self.versioned_hashes.filter(|_| deneb).unwrap_or_default(),
            parent_beacon_block_root: self
                .parent_beacon_block_root
                .filter(|_| deneb)
                .unwrap_or_default(),
            execution_requests,
        })
    }
}

struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = HeaderParams;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<HeaderParams, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed {
    type Value = HeaderParams;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a newPayloadRequestHeader object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderParams, A::Error> {
        let (mut header, mut hashes, mut parent, mut requests) = (None, None, None, None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let m = &mut map;
            match key.as_ref() {
                "executionPayloadHeader" => {
                    once(m, &mut header, "executionPayloadHeader", PayloadSeed::Header)?;
                }
                "versionedHashes" => {
                    let seed = Nullable(versioned_hashes_seed("versionedHashes"));
                    once(m, &mut hashes, "versionedHashes", seed)?;
                }
                "parentBeaconBlockRoot" => {
                    let seed = Nullable(fixed::<32>("parentBeaconBlockRoot"));
                    once(m, &mut parent, "parentBeaconBlockRoot", seed)?;
                }
                "executionRequests" => {
                    once(m, &mut requests, "executionRequests", Nullable(requests_seed()))?;
                }
                _ => {
                    m.next_value::<IgnoredAny>()?;
                }
            }
        }
        let (fields, has, roots) = header.ok_or_else(|| A::Error::missing_field("executionPayloadHeader"))?;
        Ok(HeaderParams {
            fields,
            has,
            roots,
            versioned_hashes: hashes.flatten().map(|v| v.into_iter().map(Hash256).collect()),
            parent_beacon_block_root: parent.flatten().map(Hash256),
            execution_requests: requests.flatten(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        fields::data_text,
        proof_json::{ExecutionProofJson, NewPayloadRequestHeaderJson, RequestProofsParamsJson},
    };
    use assay_types::NewPayloadRequest;

    fn request(fork: ForkName) -> NewPayloadRequest {
        NewPayloadRequest {
            fork,
            execution_payload: ExecutionPayload {
                logs_bloom: vec![0; 256].into(),
                timestamp: 12,
                transactions: vec![vec![1, 2, 3].into()],
                ..ExecutionPayload::default()
            },
            versioned_hashes: Vec::new(),
            parent_beacon_block_root: if fork >= ForkName::Deneb {
                Root::from([4; 32])
            } else {
                Root::ZERO
            },
            execution_requests: ExecutionRequests::default(),
        }
    }

    fn proof() -> ExecutionProof {
        ExecutionProof {
            proof_data: vec![0xab, 0xcd].into(),
            proof_type: 255,
            public_input: PublicInput {
                new_payload_request_root: Root::from([1; 32]),
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = serde_json::to_string(&(ExecutionProofJson(&proof().into()),)).unwrap();
        assert_eq!(execution_proof(&text, 2).unwrap(), proof());
        let spec = Spec::minimal();
        for fork in [
            ForkName::Bellatrix,
            ForkName::Capella,
            ForkName::Deneb,
            ForkName::Electra,
            ForkName::Fulu,
        ] {
            let request = request(fork);
            let header = request.header(&spec).unwrap();
            let text = serde_json::to_string(&(NewPayloadRequestHeaderJson(&header),)).unwrap();
            let read = HeaderParams::from_params(&text).unwrap();
            assert_eq!(read.timestamp(), 12);
            let read = read.into_header(fork, &spec).unwrap();
            assert_eq!(read, header, "{fork}");
            assert_eq!(
                read.hash_tree_root(&spec).unwrap(),
                request.hash_tree_root(&spec).unwrap()
            );
        }
        for with_execution_requests in [true, false] {
            let request = request(ForkName::Fulu);
            let text = serde_json::to_string(&RequestProofsParamsJson {
                request: &request,
                proof_types: &[3, 1, 3],
                with_execution_requests,
            })
            .unwrap();
            let read = RequestProofsParams::from_params(&text).unwrap();
            assert_eq!(
                (&read.proof_types[..], read.without_execution_requests),
                (&[3, 1][..], !with_execution_requests)
            );
            let payload = read.payload.or_without_execution_requests(ForkName::Fulu);
            assert_eq!(payload.into_request(ForkName::Fulu, &spec).unwrap(), request);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_code() {
        let root = data_text([1; 32]);
        let proof = |inner: &str| format!("[{{{inner}}}]");
        let input = format!(r#""publicInput":{{"newPayloadRequestRoot":"{root}"}}"#);
        for (params, code, names) in [
            ("{}".to_owned(), -32602, "engine_verifyExecutionProofV1"),
            ("[]".to_owned(), -32602, "0 parameters"),
            ("[{},{}]".to_owned(), -32602, "2 parameters"),
            ("[5]".to_owned(), -39001, "executionProof object"),
            ("[{}]".to_owned(), -39001, "proofType"),
            (
                proof(&format!(r#""proofType":"0x1",{input}"#)),
                -39001,
                "proofData",
            ),
            (
                proof(&format!(r#""proofData":"0x01","proofType":1,{input}"#)),
                -39001,
                "proofType",
            ),
            (
                proof(&format!(r#""proofData":"0x01","proofType":"0x100",{input}"#)),
                -39001,
                "more than 255",
            ),
            (
                proof(&format!(r#""proofData":"0x01","proofType":"0x01",{input}"#)),
                -39001,
                "leading zeros",
            ),
            (
                proof(&format!(
                    r#""proofData":"0x01","proofType":"0x10000000000000000000",{input}"#
                )),
                -39001,
                "too large",
            ),
            (
                proof(&format!(r#""proofData":"01","proofType":"0x1",{input}"#)),
                -39001,
                "must begin with 0x",
            ),
            (
                proof(&format!(r#""proofData":"0X01","proofType":"0x1",{input}"#)),
                -39001,
                "must begin with 0x",
            ),
            (
                proof(&format!(r#""proofData":"0x012","proofType":"0x1",{input}"#)),
                -39001,
                "half a byte",
            ),
            (
                proof(&format!(r#""proofData":"0x010203","proofType":"0x1",{input}"#)),
                -39001,
                "at most 2 allowed",
            ),
            (
                proof(&format!(
                    r#""proofData":"0x01","proofData":"0x02","proofType":"0x1",{input}"#
                )),
                -39001,
                "duplicate field `proofData`",
            ),
            (
                proof(r#""proofData":"0x01","proofType":"0x1","publicInput":{}"#),
                -39001,
                "newPayloadRequestRoot",
            ),
            (
                proof(
                    r#""proofData":"0x01","proofType":"0x1","publicInput":{"newPayloadRequestRoot":"0x01"}"#,
                ),
                -39001,
                "32 expected",
            ),
        ] {
            let error = execution_proof(&params, 2).unwrap_err();
            assert_eq!(error.code, code, "{params}: {error}");
            assert!(error.message.contains(names), "{params}: {error}");
        }
        for (params, code, names) in [
            ("[1,2,3]", -32602, "4 or 5"),
            ("[1,2,3,4]", -32602, "proofAttributes"),
            ("[1,2,3,{}]", -32602, "proofTypes"),
            (r#"[1,2,3,{"proofTypes":[]}]"#, -32602, "empty"),
            (r#"[1,2,3,{"proofTypes":["0x1000"]}]"#, -32602, "more than 255"),
            (r#"[1,2,3,{"proofTypes":["0x1"]}]"#, -39003, "executionPayload"),
            (r#"[{},[],"0x",{"proofTypes":["0x1"]}]"#, -39003, "parentHash"),
            (
                r#"[1,2,3,{"proofTypes":["0x1"],"proofTypes":["0x2"]}]"#,
                -32602,
                "duplicate field `proofTypes`",
            ),
            (r#"[1,2,3,{"proofTypes":[1e400]}]"#, -32602, ""),
            (r#"[1,2,3,{"proofTypes":["0X1"]}]"#, -32602, "proofTypes"),
            (
                r#"[{"timestamp":"0x1","timestamp":"0x1"},[],"0x",{"proofTypes":["0x1"]}]"#,
                -39003,
                "duplicate field `timestamp`",
            ),
        ] {
            let error = RequestProofsParams::from_params(params).unwrap_err();
            assert_eq!(error.code, code, "{params}: {error}");
            assert!(error.message.contains(names), "{params}: {error}");
        }
        for (params, code, names) in [
            ("[]", -32602, "0 parameters"),
            ("[{}]", -39002, "executionPayloadHeader"),
            (r#"[{"executionPayloadHeader":{}}]"#, -39002, "parentHash"),
            (
                r#"[{"executionPayloadHeader":{"transactionsRoot":"0x01"}}]"#,
                -39002,
                "32 expected",
            ),
            (
                r#"[{"versionedHashes":[],"versionedHashes":[]}]"#,
                -39002,
                "duplicate field `versionedHashes`",
            ),
            (
                r#"[{"executionPayloadHeader":{"gasUsed":"0x10000000000000000"}}]"#,
                -39002,
                "too large",
            ),
        ] {
            let error = HeaderParams::from_params(params).unwrap_err();
            assert_eq!(error.code, code, "{params}: {error}");
            assert!(error.message.contains(names), "{params}: {error}");
        }
        // A payload in the header's place.
        let spec = Spec::minimal();
        let header = request(ForkName::Fulu).header(&spec).unwrap();
        let mut value = serde_json::to_value((NewPayloadRequestHeaderJson(&header),)).unwrap();
        let fields = value[0]["executionPayloadHeader"].as_object_mut().unwrap();
        fields.remove("transactionsRoot");
        let error = HeaderParams::from_params(&value.to_string())
            .unwrap()
            .into_header(ForkName::Fulu, &spec)
            .unwrap_err();
        assert!(error.to_string().contains("transactionsRoot"), "{error}");
    }
}
