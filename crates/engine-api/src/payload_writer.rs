//! `NewPayloadRequest` and `ExecutionPayload` as the Engine API's JSON, for those that originate calls or answer
//! `engine_getPayload*`. Fields stand in the specification's order; those the fork does not have are left out.

use crate::fields::{data_text, quantity_text};
use assay_types::{ExecutionPayload, ForkName, NewPayloadRequest, payload::Withdrawal};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

/// Bytes as DATA.
pub(crate) struct Data<'a>(pub(crate) &'a [u8]);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&data_text(self.0))
    }
}

/// A list of byte strings as DATA.
pub(crate) struct DataList<'a, B>(pub(crate) &'a [B]);

impl<B: AsRef<[u8]>> Serialize for DataList<'_, B> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(|bytes| Data(bytes.as_ref())))
    }
}

/// Withdrawals as `WithdrawalV1`.
pub(crate) struct WithdrawalsJson<'a>(pub(crate) &'a [Withdrawal]);

struct WithdrawalJson<'a>(&'a Withdrawal);

impl Serialize for WithdrawalsJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(WithdrawalJson))
    }
}

impl Serialize for WithdrawalJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(4))?;
        map.serialize_entry("index", &quantity_text(self.0.index))?;
        map.serialize_entry("validatorIndex", &quantity_text(self.0.validator_index))?;
        map.serialize_entry("address", &Data(&self.0.address))?;
        map.serialize_entry("amount", &quantity_text(self.0.amount))?;
        map.end()
    }
}

/// The fields that payload and header share, up to `blockHash`.
pub(crate) fn write_common_fields<S: Serializer>(
    map: &mut S::SerializeMap,
    p: &ExecutionPayload,
) -> Result<(), S::Error> {
    map.serialize_entry("parentHash", &p.parent_hash)?;
    map.serialize_entry("feeRecipient", &Data(&p.fee_recipient))?;
    map.serialize_entry("stateRoot", &p.state_root)?;
    map.serialize_entry("receiptsRoot", &p.receipts_root)?;
    map.serialize_entry("logsBloom", &Data(&p.logs_bloom))?;
    map.serialize_entry("prevRandao", &p.prev_randao)?;
    map.serialize_entry("blockNumber", &quantity_text(p.block_number))?;
    map.serialize_entry("gasLimit", &quantity_text(p.gas_limit))?;
    map.serialize_entry("gasUsed", &quantity_text(p.gas_used))?;
    map.serialize_entry("timestamp", &quantity_text(p.timestamp))?;
    map.serialize_entry("extraData", &Data(&p.extra_data))?;
    map.serialize_entry("baseFeePerGas", &quantity_text(p.base_fee_per_gas))?;
    map.serialize_entry("blockHash", &p.block_hash)
}

/// An `ExecutionPayloadV1` to `V4`, as its fork has it.
#[derive(Debug, Clone, Copy)]
pub struct ExecutionPayloadJson<'a> {
    /// The payload.
    pub payload: &'a ExecutionPayload,
    /// Its fork.
    pub fork: ForkName,
}

impl Serialize for ExecutionPayloadJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let p = self.payload;
        let mut map = s.serialize_map(None)?;
        write_common_fields::<S>(&mut map, p)?;
        map.serialize_entry("transactions", &DataList(&p.transactions))?;
        if self.fork >= ForkName::Capella {
            map.serialize_entry("withdrawals", &WithdrawalsJson(&p.withdrawals))?;
        }
        if self.fork >= ForkName::Deneb {
            map.serialize_entry("blobGasUsed", &quantity_text(p.blob_gas_used))?;
            map.serialize_entry("excessBlobGas", &quantity_text(p.excess_blob_gas))?;
        }
        if self.fork >= ForkName::Gloas {
            map.serialize_entry("blockAccessList", &Data(&p.block_access_list))?;
            map.serialize_entry("slotNumber", &quantity_text(p.slot_number))?;
        }
        map.end()
    }
}

/// The parameters of `engine_newPayload*` of the request's fork (`methods::new_payload` has the name).
#[derive(Debug, Clone, Copy)]
pub struct NewPayloadParamsJson<'a>(pub &'a NewPayloadRequest);

impl Serialize for NewPayloadParamsJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let request = self.0;
        let mut seq = s.serialize_seq(None)?;
        seq.serialize_element(&ExecutionPayloadJson {
            payload: &request.execution_payload,
            fork: request.fork,
        })?;
        if request.fork >= ForkName::Deneb {
            seq.serialize_element(&request.versioned_hashes)?;
            seq.serialize_element(&request.parent_beacon_block_root)?;
        }
        if request.fork >= ForkName::Electra {
            seq.serialize_element(&DataList(
                &request.execution_requests.to_typed_lists(request.fork),
            ))?;
        }
        seq.end()
    }
}
