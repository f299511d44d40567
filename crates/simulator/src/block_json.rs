//! What stands in an invented block: the Beacon API's JSON of a `SignedBeaconBlock`, Bellatrix to Gloas, and of Gloas'
//! `SignedExecutionPayloadEnvelope`.

use assay_types::{BlockHash, ForkName, Preset, Root, Slot, Spec};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Bytes of one invented transaction at most.
const TRANSACTION_BYTES: usize = 16 * 1024;

/// `BUILDER_INDEX_SELF_BUILD` (Gloas): the proposer built the payload itself.
const SELF_BUILD: u64 = u64::MAX;

/// A block before it is encoded.
pub(crate) struct Draft<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) fork: ForkName,
    pub(crate) slot: Slot,
    pub(crate) proposer_index: u64,
    pub(crate) parent_root: Root,
    pub(crate) state_root: Root,
    /// None: the all-zero payload of a block before any (the genesis block).
    pub(crate) payload: Option<PayloadDraft>,
}

/// A payload before it is encoded.
pub(crate) struct PayloadDraft {
    pub(crate) parent_hash: BlockHash,
    pub(crate) prev_randao: Root,
    pub(crate) timestamp: u64,
    pub(crate) transaction_bytes: usize,
    pub(crate) salt: Root,
}

fn zeros(bytes: usize) -> String {
    format!("0x{}", "00".repeat(bytes))
}

/// The compressed G2 point at infinity: an empty aggregate.
fn infinity() -> String {
    format!("0xc0{}", "00".repeat(95))
}

impl Draft<'_> {
    /// The block, its signature still zero.
    pub(crate) fn signed_block(&self) -> Value {
        let sync_committee_bytes = match self.spec.preset {
            Preset::Mainnet => 64,
            Preset::Minimal => 4,
        };
        let mut body = json!({
            "randao_reveal": infinity(),
            "eth1_data": {
                "deposit_root": Root::ZERO,
                "deposit_count": "0",
                "block_hash": Root::ZERO,
            },
            "graffiti": graffiti(),
            "proposer_slashings": [],
            "attester_slashings": [],
            "attestations": [],
            "deposits": [],
            "voluntary_exits": [],
            "sync_aggregate": {
                "sync_committee_bits": zeros(sync_committee_bytes),
                "sync_committee_signature": infinity(),
            },
        });
        if self.fork >= ForkName::Capella {
            body["bls_to_execution_changes"] = json!([]);
        }
        if self.fork.has_envelope() {
            body["signed_execution_payload_bid"] = json!({ "message": self.bid(), "signature": infinity() });
            body["payload_attestations"] = json!([]);
            body["parent_execution_requests"] = self.no_requests();
        } else {
            body["execution_payload"] = self.payload_json();
            if self.fork >= ForkName::Deneb {
                body["blob_kzg_commitments"] = json!([]);
            }
            if self.fork >= ForkName::Electra {
                body["execution_requests"] = self.no_requests();
            }
        }
        json!({
            "message": {
                "slot": self.slot,
                "proposer_index": self.proposer_index.to_string(),
                "parent_root": self.parent_root,
                "state_root": self.state_root,
                "body": body,
            },
            "signature": zeros(96),
        })
    }

    /// Gloas: the bid; `block_hash` and the root of the requests are set once they are known.
    fn bid(&self) -> Value {
        let payload = self.payload.as_ref();
        let hash = |f: fn(&PayloadDraft) -> Root| payload.map_or(Root::ZERO, f);
        json!({
            "parent_block_hash": hash(|p| p.parent_hash),
            "parent_block_root": self.parent_root,
            "block_hash": Root::ZERO,
            "prev_randao": hash(|p| p.prev_randao),
            "fee_recipient": zeros(20),
            "gas_limit": "60000000",
            "builder_index": SELF_BUILD.to_string(),
            "slot": self.slot,
            "value": "0",
            "execution_payment": "0",
            "blob_kzg_commitments": [],
            "execution_requests_root": Root::ZERO,
        })
    }

    /// Gloas: the envelope of a block's payload, its signature still zero.
    pub(crate) fn signed_envelope(&self) -> Value {
        json!({
            "message": {
                "payload": self.payload_json(),
                "execution_requests": self.no_requests(),
                "builder_index": SELF_BUILD.to_string(),
                "beacon_block_root": Root::ZERO,
                "parent_beacon_block_root": self.parent_root,
            },
            "signature": zeros(96),
        })
    }

    fn no_requests(&self) -> Value {
        let mut out = json!({ "deposits": [], "withdrawals": [], "consolidations": [] });
        if self.fork >= ForkName::Gloas {
            out["builder_deposits"] = json!([]);
            out["builder_exits"] = json!([]);
        }
        out
    }

    fn payload_json(&self) -> Value {
        let payload = self.payload.as_ref();
        let hash = |f: fn(&PayloadDraft) -> Root| payload.map_or(Root::ZERO, f);
        let mut out = json!({
            "parent_hash": hash(|p| p.parent_hash),
            "fee_recipient": zeros(20),
            "state_root": hash(|p| p.salt),
            "receipts_root": hash(|p| p.salt),
            "logs_bloom": zeros(256),
            "prev_randao": hash(|p| p.prev_randao),
            "block_number": payload.map_or(0, |_| self.slot.0).to_string(),
            "gas_limit": payload.map_or(0, |_| 60_000_000_u64).to_string(),
            "gas_used": payload.map_or(0, |_| 21_000_u64).to_string(),
            "timestamp": payload.map_or(0, |p| p.timestamp).to_string(),
            "extra_data": "0x",
            "base_fee_per_gas": payload.map_or(0, |_| 7_u64).to_string(),
            "block_hash": hash(|p| p.salt),
            "transactions": payload.map_or_else(Vec::new, transactions),
        });
        if self.fork >= ForkName::Capella {
            out["withdrawals"] = json!([]);
        }
        if self.fork >= ForkName::Deneb {
            out["blob_gas_used"] = "0".into();
            out["excess_blob_gas"] = "0".into();
        }
        if self.fork >= ForkName::Gloas {
            // RLP of an empty list.
            out["block_access_list"] = "0xc0".into();
            out["slot_number"] = json!(self.slot);
        }
        out
    }
}

/// 32 bytes that say where a block comes from.
fn graffiti() -> String {
    let mut bytes = [0_u8; 32];
    let text = b"assay simulator: invented chain";
    bytes[..text.len()].copy_from_slice(text);
    format!("0x{}", hex::encode(bytes))
}

/// Transactions of bytes that look random, about `transaction_bytes` in all.
fn transactions(payload: &PayloadDraft) -> Vec<Value> {
    let mut left = payload.transaction_bytes;
    let mut out = Vec::new();
    let mut block = payload.salt.0;
    while left > 0 {
        let size = left.min(TRANSACTION_BYTES);
        let mut bytes = Vec::with_capacity(size + 32);
        while bytes.len() < size {
            block = Sha256::digest(block).into();
            bytes.extend_from_slice(&block);
        }
        bytes.truncate(size);
        // A type byte that no transaction has: behind one of those that have a meaning, random bytes would now and then
        // read as a blob transaction, which commits to hashes that the payload does not have, or as one of another chain.
        if let Some(first) = bytes.first_mut() {
            *first = 0x7f;
        }
        out.push(Value::String(format!("0x{}", hex::encode(bytes))));
        left -= size;
    }
    out
}
