//! Reading and writing an execution payload's fields, by fork.

use super::{ExecutionPayload, Withdrawal};
use crate::{
    fork::ForkName,
    primitives::Hash256,
    proof::SszError,
    schema::{
        read::Reader,
        write::{self, Part},
    },
};
use bytes::Bytes;
use ruint::aliases::U256;
use std::borrow::Cow;

impl Withdrawal {
    fn read(reader: Reader<'_>) -> Result<Self, SszError> {
        Ok(Self {
            index: reader.u64("index")?,
            validator_index: reader.u64("validator_index")?,
            address: reader.array("address")?,
            amount: reader.u64("amount")?,
        })
    }

    fn write(&self) -> Vec<u8> {
        write::container(&[
            Part::u64(self.index),
            Part::u64(self.validator_index),
            Part::fixed(&self.address),
            Part::u64(self.amount),
        ])
    }
}

impl ExecutionPayload {
    /// From a checked value of the fork's shape.
    pub(crate) fn read(fork: ForkName, reader: Reader<'_>) -> Result<Self, SszError> {
        let mut payload = Self {
            transactions: reader.items("transactions", |item| Ok(item.shared()))?,
            ..read_common(reader)?
        };
        if fork >= ForkName::Capella {
            payload.withdrawals = reader.items("withdrawals", Withdrawal::read)?;
        }
        if fork >= ForkName::Deneb {
            payload.blob_gas_used = reader.u64("blob_gas_used")?;
            payload.excess_blob_gas = reader.u64("excess_blob_gas")?;
        }
        if fork >= ForkName::Gloas {
            payload.block_access_list = reader.bytes("block_access_list")?;
            payload.slot_number = reader.u64("slot_number")?;
        }
        Ok(payload)
    }

    /// The SSZ bytes in the fork's shape.
    pub(crate) fn write(&self, fork: ForkName) -> Vec<u8> {
        let mut parts = common_parts(self);
        parts.push(Part::variable(self.transactions_ssz()));
        if fork >= ForkName::Capella {
            parts.push(Part::variable(self.withdrawals_ssz()));
        }
        push_blob_gas(&mut parts, fork, self);
        if fork >= ForkName::Gloas {
            parts.push(Part::variable(self.block_access_list.as_ref()));
            parts.push(Part::u64(self.slot_number));
        }
        write::container(&parts)
    }

    /// The SSZ bytes of `transactions`.
    pub(crate) fn transactions_ssz(&self) -> Vec<u8> {
        write::list(self.transactions.iter().map(AsRef::as_ref))
    }

    /// The SSZ bytes of `withdrawals`.
    pub(crate) fn withdrawals_ssz(&self) -> Vec<u8> {
        self.withdrawals.iter().flat_map(Withdrawal::write).collect()
    }
}

/// The fields that payload and header share, up to `block_hash`; the others at their defaults.
pub(super) fn read_common(reader: Reader<'_>) -> Result<ExecutionPayload, SszError> {
    Ok(ExecutionPayload {
        parent_hash: reader.array("parent_hash")?,
        fee_recipient: reader.array("fee_recipient")?,
        state_root: reader.array("state_root")?,
        receipts_root: reader.array("receipts_root")?,
        logs_bloom: reader.bytes("logs_bloom")?,
        prev_randao: reader.array("prev_randao")?,
        block_number: reader.u64("block_number")?,
        gas_limit: reader.u64("gas_limit")?,
        gas_used: reader.u64("gas_used")?,
        timestamp: reader.u64("timestamp")?,
        extra_data: reader.bytes("extra_data")?,
        base_fee_per_gas: U256::from_le_bytes(reader.array::<32, [u8; 32]>("base_fee_per_gas")?),
        block_hash: reader.array("block_hash")?,
        ..ExecutionPayload::default()
    })
}

/// The fields that payload and header share, up to `block_hash`.
pub(super) fn common_parts(payload: &ExecutionPayload) -> Vec<Part<'_>> {
    vec![
        Part::fixed(&payload.parent_hash),
        Part::fixed(&payload.fee_recipient),
        Part::fixed(&payload.state_root),
        Part::fixed(&payload.receipts_root),
        Part::fixed(&payload.logs_bloom),
        Part::fixed(&payload.prev_randao),
        Part::u64(payload.block_number),
        Part::u64(payload.gas_limit),
        Part::u64(payload.gas_used),
        Part::u64(payload.timestamp),
        Part::variable(payload.extra_data.as_ref()),
        Part::Fixed(Cow::Owned(payload.base_fee_per_gas.to_le_bytes::<32>().to_vec())),
        Part::fixed(&payload.block_hash),
    ]
}

/// `blob_gas_used` and `excess_blob_gas`, from Deneb on.
pub(super) fn push_blob_gas(parts: &mut Vec<Part<'_>>, fork: ForkName, payload: &ExecutionPayload) {
    if fork >= ForkName::Deneb {
        parts.push(Part::u64(payload.blob_gas_used));
        parts.push(Part::u64(payload.excess_blob_gas));
    }
}

/// A payload whose fixed-size byte string has another size would shift every field behind it.
pub(super) fn check_logs_bloom(logs_bloom: &Bytes, expected: u64) -> Result<(), SszError> {
    if logs_bloom.len() as u64 == expected {
        return Ok(());
    }
    Err(SszError {
        container: "ExecutionPayload",
        why: format!("logs_bloom: {} bytes, {expected} expected", logs_bloom.len()),
    })
}

/// The SSZ bytes of a list of 32-byte hashes.
pub(super) fn hashes_ssz(hashes: &[Hash256]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// A list of 32-byte hashes.
pub(super) fn read_hashes(reader: Reader<'_>, name: &str) -> Result<Vec<Hash256>, SszError> {
    reader.items(name, |item| {
        item.view().as_array().map(Hash256).ok_or_else(|| SszError {
            container: item.view().schema().name(),
            why: format!("the elements of {name} are no 32-byte values"),
        })
    })
}
