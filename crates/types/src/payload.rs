//! Execution payloads and `NewPayloadRequest` (protocol.md section 2): hashed, never gossiped.
//!
//! One struct covers every fork; `fork` says which fields exist. Decoding checks the bytes against the fork's shape
//! (`containers`) and then slices them: big byte fields share the buffer they came in. Hashing serialises and walks the
//! same shape, so a root never comes from anything but checked bytes, whichever way the value was made.
//!
//! | file | what it holds |
//! |---|---|
//! | `request` | `NewPayloadRequest` and its header: SSZ, roots in every form |
//! | `requests` | `ExecutionRequests`: SSZ, and the typed byte lists of EIP-7685 |
//! | `fields` | reading and writing the payload's own fields |

mod fields;
mod header;
mod request;
mod requests;
#[cfg(test)]
mod tests;

pub use header::{ExecutionPayloadHeader, NewPayloadRequestHeader};
pub use request::NewPayloadRequest;
pub use requests::{
    BuilderDepositRequest, BuilderExitRequest, ConsolidationRequest, DepositRequest, ExecutionRequests,
    WithdrawalRequest,
};

use crate::primitives::{BlockHash, Hash256, ValidatorIndex};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// 20 bytes of an execution address.
pub type Address = [u8; 20];

/// `VERSIONED_HASH_VERSION_KZG` (EIP-4844).
pub const VERSIONED_HASH_VERSION_KZG: u8 = 1;

/// `kzg_commitment_to_versioned_hash` (consensus-specs specs/deneb/beacon-chain.md): 0x01, then the last 31 bytes of the
/// commitment's SHA-256.
pub fn kzg_commitment_to_versioned_hash(commitment: &[u8]) -> Hash256 {
    let mut hash: [u8; 32] = Sha256::digest(commitment).into();
    hash[0] = VERSIONED_HASH_VERSION_KZG;
    Hash256(hash)
}

/// A validator's withdrawal, as payloads carry it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Withdrawal {
    /// Running number of the withdrawal.
    pub index: u64,
    /// Whose.
    pub validator_index: ValidatorIndex,
    /// To whom.
    pub address: Address,
    /// Gwei.
    pub amount: u64,
}

/// An execution payload of any fork from Bellatrix on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own, in its order")]
pub struct ExecutionPayload {
    pub parent_hash: BlockHash,
    pub fee_recipient: Address,
    pub state_root: Hash256,
    pub receipts_root: Hash256,
    /// 256 bytes.
    pub logs_bloom: Bytes,
    pub prev_randao: Hash256,
    pub block_number: u64,
    pub gas_limit: u64,
    pub gas_used: u64,
    /// Unix seconds.
    pub timestamp: u64,
    pub extra_data: Bytes,
    pub base_fee_per_gas: ruint::aliases::U256,
    pub block_hash: BlockHash,
    pub transactions: Vec<Bytes>,
    /// Capella and later; empty before.
    pub withdrawals: Vec<Withdrawal>,
    /// Deneb and later; 0 before.
    pub blob_gas_used: u64,
    /// Deneb and later; 0 before.
    pub excess_blob_gas: u64,
    /// Gloas and later (EIP-7928); empty before.
    pub block_access_list: Bytes,
    /// Gloas and later; 0 before.
    pub slot_number: u64,
}

impl Default for ExecutionPayload {
    /// The specification's default: everything zero or empty. A Bellatrix block before the merge and a genesis block
    /// carry it in the place of a payload.
    fn default() -> Self {
        Self {
            parent_hash: BlockHash::ZERO,
            fee_recipient: Address::default(),
            state_root: Hash256::ZERO,
            receipts_root: Hash256::ZERO,
            logs_bloom: Bytes::from_static(&[0; 256]),
            prev_randao: Hash256::ZERO,
            block_number: 0,
            gas_limit: 0,
            gas_used: 0,
            timestamp: 0,
            extra_data: Bytes::new(),
            base_fee_per_gas: ruint::aliases::U256::ZERO,
            block_hash: BlockHash::ZERO,
            transactions: Vec::new(),
            withdrawals: Vec::new(),
            blob_gas_used: 0,
            excess_blob_gas: 0,
            block_access_list: Bytes::new(),
            slot_number: 0,
        }
    }
}
