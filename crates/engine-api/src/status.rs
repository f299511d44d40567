//! Payload status, fork choice state, payload attributes and their answers (execution-apis, src/engine/paris.md and
//! later). Unknown fields are passed over here; where an answer must keep them, `status_edit` changes it in place.

use crate::{
    fields::{self, data_text, quantity_text},
    payload_json::withdrawals,
    payload_writer::WithdrawalsJson,
};
use assay_types::{
    BlockHash, Hash256, Root,
    payload::{Address, Withdrawal},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeSeed, ser::SerializeMap};
use std::fmt;

/// `PayloadStatusV1.status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PayloadValidity {
    /// Executed and right, all ancestors included.
    Valid,
    /// Executed and wrong, or a descendant of what is.
    Invalid,
    /// Not known yet: data is missing.
    Syncing,
    /// On a side branch; not executed.
    Accepted,
    /// Old form of `Invalid`, before V2: the block hash does not match.
    InvalidBlockHash,
}

impl PayloadValidity {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Invalid => "INVALID",
            Self::Syncing => "SYNCING",
            Self::Accepted => "ACCEPTED",
            Self::InvalidBlockHash => "INVALID_BLOCK_HASH",
        }
    }
}

impl fmt::Display for PayloadValidity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `PayloadStatusV1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PayloadStatusV1 {
    /// The verdict.
    pub status: PayloadValidity,
    /// VALID: the payload itself (fcU: the head). INVALID: its newest valid ancestor. Else null.
    #[serde(default)]
    pub latest_valid_hash: Option<BlockHash>,
    /// Why INVALID.
    #[serde(default)]
    pub validation_error: Option<String>,
}

impl PayloadStatusV1 {
    /// VALID, naming `hash`.
    pub fn valid(hash: BlockHash) -> Self {
        Self {
            status: PayloadValidity::Valid,
            latest_valid_hash: Some(hash),
            validation_error: None,
        }
    }

    /// SYNCING.
    pub fn syncing() -> Self {
        Self {
            status: PayloadValidity::Syncing,
            latest_valid_hash: None,
            validation_error: None,
        }
    }

    /// ACCEPTED.
    pub fn accepted() -> Self {
        Self {
            status: PayloadValidity::Accepted,
            latest_valid_hash: None,
            validation_error: None,
        }
    }

    /// INVALID, with the newest valid ancestor where it is known.
    pub fn invalid(latest_valid_hash: Option<BlockHash>, why: impl Into<String>) -> Self {
        Self {
            status: PayloadValidity::Invalid,
            latest_valid_hash,
            validation_error: Some(why.into()),
        }
    }
}

/// `ForkchoiceStateV1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForkchoiceStateV1 {
    /// The head's payload.
    pub head_block_hash: BlockHash,
    /// The safe one; zero while there is none.
    pub safe_block_hash: BlockHash,
    /// The finalized one; zero while there is none.
    pub finalized_block_hash: BlockHash,
}

/// Names a payload under construction: DATA, 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayloadId(pub [u8; 8]);

impl From<[u8; 8]> for PayloadId {
    fn from(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for PayloadId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PayloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_text(self.0))
    }
}

impl Serialize for PayloadId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        fields::data::serialize(self, s)
    }
}

impl<'de> Deserialize<'de> for PayloadId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        fields::data::deserialize(d)
    }
}

/// Answer of `engine_forkchoiceUpdated*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForkchoiceUpdatedResponse {
    /// Of the head.
    pub payload_status: PayloadStatusV1,
    /// Of the payload that is being built, where attributes were given.
    #[serde(default)]
    pub payload_id: Option<PayloadId>,
}

/// `PayloadAttributesV1` to `V4`: fields of later forks are absent before them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PayloadAttributes {
    /// Unix seconds.
    pub timestamp: u64,
    /// Randomness of the beacon chain.
    pub prev_randao: Hash256,
    /// Where fees go.
    pub suggested_fee_recipient: Address,
    /// Capella and later.
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// Deneb and later.
    pub parent_beacon_block_root: Option<Root>,
    /// Gloas and later.
    pub slot_number: Option<u64>,
    /// Gloas and later, where the caller names one.
    pub target_gas_limit: Option<u64>,
}

impl Serialize for PayloadAttributes {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("timestamp", &quantity_text(self.timestamp))?;
        map.serialize_entry("prevRandao", &self.prev_randao)?;
        map.serialize_entry("suggestedFeeRecipient", &data_text(self.suggested_fee_recipient))?;
        if let Some(withdrawals) = &self.withdrawals {
            map.serialize_entry("withdrawals", &WithdrawalsJson(withdrawals))?;
        }
        if let Some(root) = &self.parent_beacon_block_root {
            map.serialize_entry("parentBeaconBlockRoot", root)?;
        }
        if let Some(slot) = self.slot_number {
            map.serialize_entry("slotNumber", &quantity_text(slot))?;
        }
        if let Some(gas) = self.target_gas_limit {
            map.serialize_entry("targetGasLimit", &quantity_text(gas))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for PayloadAttributes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        fn optional_withdrawals<'de, D: Deserializer<'de>>(
            d: D,
        ) -> Result<Option<Vec<Withdrawal>>, D::Error> {
            fields::Nullable(withdrawals("withdrawals")).deserialize(d)
        }
        fn optional_number<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
            fields::Nullable(fields::number("slotNumber or targetGasLimit")).deserialize(d)
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            #[serde(with = "fields::quantity")]
            timestamp: u64,
            prev_randao: Hash256,
            #[serde(with = "fields::data")]
            suggested_fee_recipient: Address,
            #[serde(default, deserialize_with = "optional_withdrawals")]
            withdrawals: Option<Vec<Withdrawal>>,
            #[serde(default)]
            parent_beacon_block_root: Option<Root>,
            #[serde(default, deserialize_with = "optional_number")]
            slot_number: Option<u64>,
            #[serde(default, deserialize_with = "optional_number")]
            target_gas_limit: Option<u64>,
        }
        let wire = Wire::deserialize(d)?;
        Ok(Self {
            timestamp: wire.timestamp,
            prev_randao: wire.prev_randao,
            suggested_fee_recipient: wire.suggested_fee_recipient,
            withdrawals: wire.withdrawals,
            parent_beacon_block_root: wire.parent_beacon_block_root,
            slot_number: wire.slot_number,
            target_gas_limit: wire.target_gas_limit,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn statuses() {
        for (text, validity) in [
            ("VALID", PayloadValidity::Valid),
            ("INVALID", PayloadValidity::Invalid),
            ("SYNCING", PayloadValidity::Syncing),
            ("ACCEPTED", PayloadValidity::Accepted),
            ("INVALID_BLOCK_HASH", PayloadValidity::InvalidBlockHash),
        ] {
            let status: PayloadStatusV1 = serde_json::from_value(json!({"status": text, "more": 1})).unwrap();
            assert_eq!(status.status, validity);
            assert_eq!(status.latest_valid_hash, None);
            assert_eq!(serde_json::to_value(validity).unwrap(), json!(text));
            assert_eq!(validity.as_str(), text);
        }
        assert!(serde_json::from_value::<PayloadStatusV1>(json!({"status": "valid"})).is_err());
        assert_eq!(
            serde_json::to_value(PayloadStatusV1::syncing()).unwrap(),
            json!({"status": "SYNCING", "latestValidHash": null, "validationError": null})
        );
    }

    #[test]
    fn attributes_come_back_as_they_were() {
        let gloas = json!({
            "timestamp": "0x6afd8720",
            "prevRandao": format!("0x{}", "6c".repeat(32)),
            "suggestedFeeRecipient": format!("0x{}", "f3".repeat(20)),
            "withdrawals": [{"index": "0x38", "validatorIndex": "0x7", "address": format!("0x{}", "07".repeat(20)),
                             "amount": "0x117c75"}],
            "parentBeaconBlockRoot": format!("0x{}", "d8".repeat(32)),
            "slotNumber": "0x10",
            "targetGasLimit": "0x1c9c380",
        });
        let read: PayloadAttributes = serde_json::from_value(gloas.clone()).unwrap();
        assert_eq!(read.slot_number, Some(16));
        assert_eq!(serde_json::to_value(&read).unwrap(), gloas);
        let mut bad = gloas;
        bad["slotNumber"] = json!("0x010");
        assert!(serde_json::from_value::<PayloadAttributes>(bad).is_err());
    }
}
