//! `engine_newPayloadV1` to `V5`: parameters to `NewPayloadRequest`, in one pass over the JSON.
//!
//! The parameters are read without knowing the fork; `into_request` then takes the fork (from the timestamp; the caller
//! knows the schedule) and holds the fields against it. Big byte fields are decoded once, straight from the body.

use crate::fields::{List, Nullable, Text, bytes, fixed, list, number, parse_u256};
use assay_types::{
    BlockHash, ExecutionPayload, ExecutionRequests, ForkName, Hash256, NewPayloadRequest, Root, Spec,
    payload::Withdrawal,
};
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, fmt};

/// `MAX_EXTRA_DATA_BYTES`.
const MAX_EXTRA_DATA_BYTES: usize = 32;
/// `MAX_BYTES_PER_TRANSACTION`.
const MAX_BYTES_PER_TRANSACTION: usize = 1 << 30;
/// `MAX_BLOB_COMMITMENTS_PER_BLOCK`, the limit of `versioned_hashes`.
const MAX_VERSIONED_HASHES: usize = 4096;
/// Most withdrawals that are read at all; the fork's own limit comes from `Spec`.
const MAX_WITHDRAWALS_READ: usize = 1 << 16;
/// Most typed request lists: one for each value of the type byte.
const MAX_REQUEST_LISTS: usize = 256;

/// Why parameters of `engine_newPayload*` are no payload request. The text names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadJsonError {
    /// No JSON, or a field of the wrong kind.
    #[error("{0}")]
    Json(String),
    /// A field that the fork has is absent or null.
    #[error("{field} is missing; {fork} payloads have it")]
    Missing {
        /// The Engine API's name of it.
        field: &'static str,
        /// The payload's fork.
        fork: ForkName,
    },
    /// A field that the fork does not have.
    #[error("{field} is there; {fork} payloads do not have it")]
    Unexpected {
        /// The Engine API's name of it.
        field: &'static str,
        /// The payload's fork.
        fork: ForkName,
    },
    /// The execution requests.
    #[error("executionRequests: {0}")]
    Requests(String),
    /// A fork before the merge.
    #[error("{0} has no execution payloads")]
    NoPayload(ForkName),
}

impl From<serde_json::Error> for PayloadJsonError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error.to_string())
    }
}

/// Parameters of `engine_newPayload*` of any version, not yet held against a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayloadParams {
    payload: ExecutionPayload,
    has: OptionalFields,
    versioned_hashes: Option<Vec<Hash256>>,
    parent_beacon_block_root: Option<Root>,
    execution_requests: Option<Vec<Bytes>>,
}

/// Which of the payload's fields of later forks were there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OptionalFields {
    pub(crate) withdrawals: bool,
    pub(crate) blob_gas_used: bool,
    pub(crate) excess_blob_gas: bool,
    pub(crate) block_access_list: bool,
    pub(crate) slot_number: bool,
}

/// Roots that stand in a header in the place of the payload's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct HeaderRoots {
    pub(crate) transactions: Option<Root>,
    pub(crate) withdrawals: Option<Root>,
}

impl NewPayloadParams {
    /// From the JSON array of parameters.
    pub fn from_params(params: &str) -> Result<Self, PayloadJsonError> {
        let mut json = serde_json::Deserializer::from_str(params);
        let out = ParamsSeed.deserialize(&mut json)?;
        json.end()?;
        Ok(out)
    }

    /// From a whole request object, `{"method": .., "params": [..], ..}`, in the same single pass. The method's name is
    /// not looked at.
    pub fn from_call(body: &[u8]) -> Result<Self, PayloadJsonError> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let out = CallSeed.deserialize(&mut json)?;
        json.end()?;
        Ok(out)
    }

    /// The payload's block hash.
    pub fn block_hash(&self) -> BlockHash {
        self.payload.block_hash
    }

    /// The payload's parent.
    pub fn parent_hash(&self) -> BlockHash {
        self.payload.parent_hash
    }

    /// A call that has no place for execution requests: an empty list of them is taken where none were given and `fork`
    /// has them. Whether that was so the block hash tells.
    #[must_use]
    pub fn or_without_execution_requests(mut self, fork: ForkName) -> Self {
        if fork >= ForkName::Electra && self.execution_requests.is_none() {
            self.execution_requests = Some(Vec::new());
        }
        self
    }

    /// Unix seconds; the fork follows from it.
    pub fn timestamp(&self) -> u64 {
        self.payload.timestamp
    }

    /// Holds the fields against `fork` and makes the request. Absent and null are the same. List limits are those of
    /// `NewPayloadRequest::hash_tree_root`, which refuses what is over them.
    pub fn into_request(self, fork: ForkName, spec: &Spec) -> Result<NewPayloadRequest, PayloadJsonError> {
        if !fork.has_payload() {
            return Err(PayloadJsonError::NoPayload(fork));
        }
        let since = |first: ForkName, there: bool, field: &'static str| match (fork >= first, there) {
            (true, false) => Err(PayloadJsonError::Missing { field, fork }),
            (false, true) => Err(PayloadJsonError::Unexpected { field, fork }),
            _ => Ok(()),
        };
        since(ForkName::Capella, self.has.withdrawals, "withdrawals")?;
        since(ForkName::Deneb, self.has.blob_gas_used, "blobGasUsed")?;
        since(ForkName::Deneb, self.has.excess_blob_gas, "excessBlobGas")?;
        since(
            ForkName::Deneb,
            self.versioned_hashes.is_some(),
            "expectedBlobVersionedHashes",
        )?;
        since(
            ForkName::Deneb,
            self.parent_beacon_block_root.is_some(),
            "parentBeaconBlockRoot",
        )?;
        since(
            ForkName::Electra,
            self.execution_requests.is_some(),
            "executionRequests",
        )?;
        since(ForkName::Gloas, self.has.block_access_list, "blockAccessList")?;
        since(ForkName::Gloas, self.has.slot_number, "slotNumber")?;
        let execution_requests = match &self.execution_requests {
            Some(lists) => ExecutionRequests::from_typed_lists(fork, spec, lists)
                .map_err(|e| PayloadJsonError::Requests(e.to_string()))?,
            None => ExecutionRequests::default(),
        };
        Ok(NewPayloadRequest {
            fork,
            execution_payload: self.payload,
            versioned_hashes: self.versioned_hashes.unwrap_or_default(),
            parent_beacon_block_root: self.parent_beacon_block_root.unwrap_or_default(),
            execution_requests,
        })
    }
}

/// A request object; only `params` is kept.
struct CallSeed;

impl<'de> DeserializeSeed<'de> for CallSeed {
    type Value = NewPayloadParams;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<NewPayloadParams, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for CallSeed {
    type Value = NewPayloadParams;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC request")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NewPayloadParams, A::Error> {
        let mut params = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "params" {
                if params.is_some() {
                    return Err(A::Error::duplicate_field("params"));
                }
                params = Some(map.next_value_seed(ParamsSeed)?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        params.ok_or_else(|| A::Error::missing_field("params"))
    }
}

/// `[executionPayload, expectedBlobVersionedHashes, parentBeaconBlockRoot, executionRequests]`, cut off after any.
struct ParamsSeed;

impl<'de> DeserializeSeed<'de> for ParamsSeed {
    type Value = NewPayloadParams;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<NewPayloadParams, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ParamsSeed {
    type Value = NewPayloadParams;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("params as an array that begins with executionPayload")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NewPayloadParams, A::Error> {
        let Some((payload, has, _)) = seq.next_element_seed(PayloadSeed::Payload)? else {
            return Err(A::Error::custom("params: executionPayload is missing"));
        };
        let hashes = versioned_hashes_seed("expectedBlobVersionedHashes");
        let versioned_hashes = seq.next_element_seed(Nullable(hashes))?.flatten();
        let parent_beacon_block_root = seq
            .next_element_seed(Nullable(fixed::<32>("parentBeaconBlockRoot")))?
            .flatten();
        let execution_requests = seq.next_element_seed(Nullable(requests_seed()))?.flatten();
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::custom("params: more than four"));
        }
        Ok(NewPayloadParams {
            payload,
            has,
            versioned_hashes: versioned_hashes.map(|v| v.into_iter().map(Hash256).collect()),
            parent_beacon_block_root: parent_beacon_block_root.map(Hash256),
            execution_requests,
        })
    }
}

/// One `ExecutionPayloadV1` to `V4`, or its header, and which optional fields it had. Unknown fields are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PayloadSeed {
    Payload,
    /// Its transactions and withdrawals are roots.
    Header,
}

pub(crate) fn versioned_hashes_seed<'de>(
    field: &'static str,
) -> impl DeserializeSeed<'de, Value = Vec<[u8; 32]>> {
    list(field, MAX_VERSIONED_HASHES, fixed::<32>)
}

pub(crate) fn requests_seed<'de>() -> impl DeserializeSeed<'de, Value = Vec<Bytes>> {
    list("executionRequests", MAX_REQUEST_LISTS, |field| {
        bytes(field, usize::MAX)
    })
}

impl<'de> DeserializeSeed<'de> for PayloadSeed {
    type Value = (ExecutionPayload, OptionalFields, HeaderRoots);
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

/// Reads a field once; a second one of the same name is an error, since callee and gate might each take another.
pub(crate) fn once<'de, A: MapAccess<'de>, S: DeserializeSeed<'de>>(
    map: &mut A,
    slot: &mut Option<S::Value>,
    field: &'static str,
    seed: S,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(field));
    }
    *slot = Some(map.next_value_seed(seed)?);
    Ok(())
}

impl<'de> Visitor<'de> for PayloadSeed {
    type Value = (ExecutionPayload, OptionalFields, HeaderRoots);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Payload => "an executionPayload object",
            Self::Header => "an executionPayloadHeader object",
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut parent_hash, mut fee_recipient, mut state_root, mut receipts_root) =
            (None, None, None, None);
        let (mut logs_bloom, mut prev_randao, mut block_number, mut gas_limit) = (None, None, None, None);
        let (mut gas_used, mut timestamp, mut extra_data, mut base_fee) = (None, None, None, None);
        let (mut block_hash, mut transactions, mut withdrawals) = (None, None, None);
        let (mut blob_gas_used, mut excess_blob_gas) = (None, None);
        let (mut block_access_list, mut slot_number) = (None, None);
        let (mut transactions_root, mut withdrawals_root) = (None, None);
        let is_header = self == Self::Header;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let m = &mut map;
            match key.as_ref() {
                "parentHash" => once(m, &mut parent_hash, "parentHash", fixed::<32>("parentHash"))?,
                "feeRecipient" => once(m, &mut fee_recipient, "feeRecipient", fixed::<20>("feeRecipient"))?,
                "stateRoot" => once(m, &mut state_root, "stateRoot", fixed::<32>("stateRoot"))?,
                "receiptsRoot" => once(m, &mut receipts_root, "receiptsRoot", fixed::<32>("receiptsRoot"))?,
                "logsBloom" => once(m, &mut logs_bloom, "logsBloom", fixed::<256>("logsBloom"))?,
                "prevRandao" => once(m, &mut prev_randao, "prevRandao", fixed::<32>("prevRandao"))?,
                "blockNumber" => once(m, &mut block_number, "blockNumber", number("blockNumber"))?,
                "gasLimit" => once(m, &mut gas_limit, "gasLimit", number("gasLimit"))?,
                "gasUsed" => once(m, &mut gas_used, "gasUsed", number("gasUsed"))?,
                "timestamp" => once(m, &mut timestamp, "timestamp", number("timestamp"))?,
                "extraData" => {
                    once(
                        m,
                        &mut extra_data,
                        "extraData",
                        bytes("extraData", MAX_EXTRA_DATA_BYTES),
                    )?;
                }
                "baseFeePerGas" => {
                    let seed = Text {
                        field: "baseFeePerGas",
                        kind: "a QUANTITY",
                        parse: parse_u256,
                    };
                    once(m, &mut base_fee, "baseFeePerGas", seed)?;
                }
                "blockHash" => once(m, &mut block_hash, "blockHash", fixed::<32>("blockHash"))?,
                "transactionsRoot" if is_header => {
                    let seed = fixed::<32>("transactionsRoot");
                    once(m, &mut transactions_root, "transactionsRoot", seed)?;
                }
                "withdrawalsRoot" if is_header => {
                    let seed = Nullable(fixed::<32>("withdrawalsRoot"));
                    once(m, &mut withdrawals_root, "withdrawalsRoot", seed)?;
                }
                "transactions" | "withdrawals" if is_header => {
                    m.next_value::<IgnoredAny>()?;
                }
                "transactions" => once(m, &mut transactions, "transactions", transactions_seed())?,
                "withdrawals" => {
                    let seed = list("withdrawals", MAX_WITHDRAWALS_READ, |_| WithdrawalSeed);
                    once(m, &mut withdrawals, "withdrawals", Nullable(seed))?;
                }
                "blobGasUsed" => {
                    once(
                        m,
                        &mut blob_gas_used,
                        "blobGasUsed",
                        Nullable(number("blobGasUsed")),
                    )?;
                }
                "excessBlobGas" => {
                    once(
                        m,
                        &mut excess_blob_gas,
                        "excessBlobGas",
                        Nullable(number("excessBlobGas")),
                    )?;
                }
                "blockAccessList" => {
                    let seed = Nullable(bytes("blockAccessList", usize::MAX));
                    once(m, &mut block_access_list, "blockAccessList", seed)?;
                }
                "slotNumber" => once(m, &mut slot_number, "slotNumber", Nullable(number("slotNumber")))?,
                _ => {
                    m.next_value::<IgnoredAny>()?;
                }
            }
        }
        let missing = A::Error::missing_field;
        let withdrawals = withdrawals.flatten();
        let blob_gas_used = blob_gas_used.flatten();
        let excess_blob_gas = excess_blob_gas.flatten();
        let block_access_list = block_access_list.flatten();
        let slot_number = slot_number.flatten();
        let has = OptionalFields {
            withdrawals: withdrawals.is_some(),
            blob_gas_used: blob_gas_used.is_some(),
            excess_blob_gas: excess_blob_gas.is_some(),
            block_access_list: block_access_list.is_some(),
            slot_number: slot_number.is_some(),
        };
        let payload = ExecutionPayload {
            parent_hash: Hash256(parent_hash.ok_or_else(|| missing("parentHash"))?),
            fee_recipient: fee_recipient.ok_or_else(|| missing("feeRecipient"))?,
            state_root: Hash256(state_root.ok_or_else(|| missing("stateRoot"))?),
            receipts_root: Hash256(receipts_root.ok_or_else(|| missing("receiptsRoot"))?),
            logs_bloom: Bytes::copy_from_slice(&logs_bloom.ok_or_else(|| missing("logsBloom"))?),
            prev_randao: Hash256(prev_randao.ok_or_else(|| missing("prevRandao"))?),
            block_number: block_number.ok_or_else(|| missing("blockNumber"))?,
            gas_limit: gas_limit.ok_or_else(|| missing("gasLimit"))?,
            gas_used: gas_used.ok_or_else(|| missing("gasUsed"))?,
            timestamp: timestamp.ok_or_else(|| missing("timestamp"))?,
            extra_data: extra_data.ok_or_else(|| missing("extraData"))?,
            base_fee_per_gas: base_fee.ok_or_else(|| missing("baseFeePerGas"))?,
            block_hash: Hash256(block_hash.ok_or_else(|| missing("blockHash"))?),
            transactions: match transactions {
                None if is_header => Vec::new(),
                transactions => transactions.ok_or_else(|| missing("transactions"))?,
            },
            withdrawals: withdrawals.unwrap_or_default(),
            blob_gas_used: blob_gas_used.unwrap_or_default(),
            excess_blob_gas: excess_blob_gas.unwrap_or_default(),
            block_access_list: block_access_list.unwrap_or_default(),
            slot_number: slot_number.unwrap_or_default(),
        };
        let roots = HeaderRoots {
            transactions: transactions_root.map(Hash256),
            withdrawals: withdrawals_root.flatten().map(Hash256),
        };
        Ok((payload, has, roots))
    }
}

fn transactions_seed<'de>() -> impl DeserializeSeed<'de, Value = Vec<Bytes>> {
    list("transactions", usize::MAX, |field| {
        bytes(field, MAX_BYTES_PER_TRANSACTION)
    })
}

/// One withdrawal of a payload or of payload attributes.
pub(crate) struct WithdrawalSeed;

impl<'de> DeserializeSeed<'de> for WithdrawalSeed {
    type Value = Withdrawal;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Withdrawal, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WithdrawalSeed {
    type Value = Withdrawal;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a withdrawal object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Withdrawal, A::Error> {
        let (mut index, mut validator_index, mut address, mut amount) = (None, None, None, None);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let m = &mut map;
            match key.as_ref() {
                "index" => once(m, &mut index, "index", number("withdrawals.index"))?,
                "validatorIndex" => {
                    once(
                        m,
                        &mut validator_index,
                        "validatorIndex",
                        number("withdrawals.validatorIndex"),
                    )?;
                }
                "address" => once(m, &mut address, "address", fixed::<20>("withdrawals.address"))?,
                "amount" => once(m, &mut amount, "amount", number("withdrawals.amount"))?,
                _ => {
                    m.next_value::<IgnoredAny>()?;
                }
            }
        }
        let missing = A::Error::missing_field;
        Ok(Withdrawal {
            index: index.ok_or_else(|| missing("withdrawals.index"))?,
            validator_index: validator_index.ok_or_else(|| missing("withdrawals.validatorIndex"))?,
            address: address.ok_or_else(|| missing("withdrawals.address"))?,
            amount: amount.ok_or_else(|| missing("withdrawals.amount"))?,
        })
    }
}

/// Seed of a list of withdrawals, for payload attributes.
pub(crate) fn withdrawals(field: &'static str) -> List<impl Fn(&'static str) -> WithdrawalSeed, Withdrawal> {
    list(field, MAX_WITHDRAWALS_READ, |_| WithdrawalSeed)
}
