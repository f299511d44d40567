//! Execution payloads and `NewPayloadRequest` (protocol.md section 2): hashed, never gossiped.
//!
//! One struct covers every fork; `fork` says which fields exist. Lists keep their limits when decoded; big byte fields
//! are slices of the buffer they came in.

use crate::{
    fork::ForkName,
    primitives::{BlockHash, Hash256, PublicKeyBytes, Root, SignatureBytes, ValidatorIndex},
    proof::SszError,
    spec::Spec,
};
use bytes::Bytes;

/// 20 bytes of an execution address.
pub type Address = [u8; 20];

/// A validator's withdrawal, as payloads carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// EIP-6110 deposit request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct DepositRequest {
    pub pubkey: PublicKeyBytes,
    pub withdrawal_credentials: Hash256,
    pub amount: u64,
    pub signature: SignatureBytes,
    pub index: u64,
}

/// EIP-7002 withdrawal request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct WithdrawalRequest {
    pub source_address: Address,
    pub validator_pubkey: PublicKeyBytes,
    pub amount: u64,
}

/// EIP-7251 consolidation request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct ConsolidationRequest {
    pub source_address: Address,
    pub source_pubkey: PublicKeyBytes,
    pub target_pubkey: PublicKeyBytes,
}

/// The requests of a payload (Electra and later). Builder requests are EIP-8282's, Gloas and later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecutionRequests {
    /// EIP-6110, type byte 0.
    pub deposits: Vec<DepositRequest>,
    /// EIP-7002, type byte 1.
    pub withdrawals: Vec<WithdrawalRequest>,
    /// EIP-7251, type byte 2.
    pub consolidations: Vec<ConsolidationRequest>,
    /// EIP-8282 builder deposits and exits as SSZ lists of their containers, empty before Gloas.
    pub builder_deposits: Bytes,
    /// See `builder_deposits`.
    pub builder_exits: Bytes,
}

/// What a proof is about. Fields a fork does not have are at their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayloadRequest {
    /// The fork whose shape and root this has.
    pub fork: ForkName,
    /// The payload.
    pub execution_payload: ExecutionPayload,
    /// Versioned hashes of the blob commitments, in order (Deneb and later).
    pub versioned_hashes: Vec<Hash256>,
    /// Root of the parent beacon block (Deneb and later).
    pub parent_beacon_block_root: Root,
    /// Requests (Electra and later).
    pub execution_requests: ExecutionRequests,
}

impl NewPayloadRequest {
    /// Strict decoding of the SSZ form of `fork`.
    pub fn from_ssz_bytes(fork: ForkName, spec: &Spec, bytes: &Bytes) -> Result<Self, SszError> {
        let _ = (fork, spec, bytes);
        unimplemented!()
    }

    /// The SSZ form of its fork.
    pub fn to_ssz_bytes(&self) -> Bytes {
        unimplemented!()
    }

    /// `hash_tree_root`: the name of the payload everywhere in this project. From Gloas on in the form
    /// `spec.new_payload_request_form` names.
    pub fn hash_tree_root(&self, spec: &Spec) -> Root {
        let _ = spec;
        unimplemented!()
    }
}
