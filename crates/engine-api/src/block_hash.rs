//! What every client checks at once of a payload, without executing it (execution-apis, `engine_newPayloadV1` point 1,
//! `V3` point 2): that its block hash is that of the header its fields make, requests hash and parent beacon root
//! included, and that the versioned hashes are those of its blob transactions (design.md, Gate, rules 1 and 5).
//!
//! Keccak over all transactions: some milliseconds a megabyte. Call it off the async threads.

use alloy_primitives::keccak256;
use alloy_rlp::{Encodable, Header};
use alloy_trie::root::ordered_trie_root_encoded;
use assay_types::{BlockHash, ExecutionPayload, ForkName, Hash256, NewPayloadRequest, payload::Withdrawal};
use sha2::{Digest, Sha256};

/// Keccak-256 of the RLP of an empty list: no payload has ommers.
const EMPTY_OMMERS: [u8; 32] = [
    0x1d, 0xcc, 0x4d, 0xe8, 0xde, 0xc7, 0x5d, 0x7a, 0xab, 0x85, 0xb5, 0x67, 0xb6, 0xcc, 0xd4, 0x1a, 0xd3,
    0x12, 0x45, 0x1b, 0x94, 0x8a, 0x74, 0x13, 0xf0, 0xa1, 0x42, 0xfd, 0x40, 0xd4, 0x93, 0x47,
];
/// Type byte of a blob transaction (EIP-4844).
const BLOB_TRANSACTION: u8 = 3;
/// Place of `blob_versioned_hashes` among a blob transaction's fields.
const BLOB_HASHES_FIELD: usize = 10;

/// What does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashMismatch {
    /// The header's hash is another.
    #[error("block hash is {actual}, not {named}")]
    BlockHash {
        /// As the payload says.
        named: BlockHash,
        /// As its fields say.
        actual: BlockHash,
    },
    /// The blob transactions name others.
    #[error("{transactions} blob hashes in the transactions, {expected} expected, or others")]
    VersionedHashes {
        /// How many the transactions name.
        transactions: usize,
        /// How many came with the payload.
        expected: usize,
    },
    /// A blob transaction that is none.
    #[error("transaction {0} is no blob transaction")]
    Transaction(usize),
    /// A transaction of no bytes.
    #[error("transaction {0} is empty")]
    EmptyTransaction(usize),
}

/// Holds the payload's block hash and versioned hashes against its fields; no transaction may be empty.
pub fn check(request: &NewPayloadRequest) -> Result<(), HashMismatch> {
    let transactions = &request.execution_payload.transactions;
    if let Some(index) = transactions.iter().position(|t| t.is_empty()) {
        return Err(HashMismatch::EmptyTransaction(index));
    }
    if request.fork >= ForkName::Deneb {
        let mut named = Vec::new();
        for (index, transaction) in request.execution_payload.transactions.iter().enumerate() {
            blob_hashes(transaction, &mut named).ok_or(HashMismatch::Transaction(index))?;
        }
        if named != request.versioned_hashes {
            return Err(HashMismatch::VersionedHashes {
                transactions: named.len(),
                expected: request.versioned_hashes.len(),
            });
        }
    }
    let actual = of_request(request);
    let named = request.execution_payload.block_hash;
    if actual == named {
        Ok(())
    } else {
        Err(HashMismatch::BlockHash { named, actual })
    }
}

/// The hash of the header that the request's fields make.
pub fn of_request(request: &NewPayloadRequest) -> BlockHash {
    let payload = &request.execution_payload;
    let fork = request.fork;
    let mut fields = Vec::with_capacity(1024);
    bytes(&mut fields, payload.parent_hash);
    bytes(&mut fields, EMPTY_OMMERS);
    bytes(&mut fields, payload.fee_recipient);
    bytes(&mut fields, payload.state_root);
    bytes(&mut fields, ordered_trie_root_encoded(&payload.transactions));
    bytes(&mut fields, payload.receipts_root);
    bytes(&mut fields, &payload.logs_bloom);
    // Difficulty, 0 since the merge.
    0u64.encode(&mut fields);
    for number in [
        payload.block_number,
        payload.gas_limit,
        payload.gas_used,
        payload.timestamp,
    ] {
        number.encode(&mut fields);
    }
    bytes(&mut fields, &payload.extra_data);
    bytes(&mut fields, payload.prev_randao);
    // Nonce, 0 since the merge.
    bytes(&mut fields, [0; 8]);
    integer(&mut fields, &payload.base_fee_per_gas.to_be_bytes::<32>());
    if fork >= ForkName::Capella {
        bytes(&mut fields, withdrawals_root(&payload.withdrawals));
    }
    if fork >= ForkName::Deneb {
        payload.blob_gas_used.encode(&mut fields);
        payload.excess_blob_gas.encode(&mut fields);
        bytes(&mut fields, request.parent_beacon_block_root);
    }
    if fork >= ForkName::Electra {
        bytes(&mut fields, requests_hash(request));
    }
    if fork >= ForkName::Gloas {
        later_fields(&mut fields, payload);
    }
    let mut header = Vec::with_capacity(fields.len() + 4);
    Header {
        list: true,
        payload_length: fields.len(),
    }
    .encode(&mut header);
    header.extend_from_slice(&fields);
    Hash256(keccak256(&header).0)
}

/// EIP-7928 `block_access_list_hash`, EIP-7843 `slot_number`.
fn later_fields(out: &mut Vec<u8>, payload: &ExecutionPayload) {
    bytes(out, keccak256(&payload.block_access_list));
    payload.slot_number.encode(out);
}

fn bytes(out: &mut Vec<u8>, value: impl AsRef<[u8]>) {
    value.as_ref().encode(out);
}

/// A big-endian integer without its leading zeros.
fn integer(out: &mut Vec<u8>, big_endian: &[u8]) {
    let first = big_endian
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(big_endian.len());
    bytes(out, big_endian.get(first..).unwrap_or_default());
}

fn withdrawals_root(withdrawals: &[Withdrawal]) -> [u8; 32] {
    let encoded: Vec<Vec<u8>> = withdrawals
        .iter()
        .map(|withdrawal| {
            let mut fields = Vec::with_capacity(64);
            withdrawal.index.encode(&mut fields);
            withdrawal.validator_index.encode(&mut fields);
            bytes(&mut fields, withdrawal.address);
            withdrawal.amount.encode(&mut fields);
            let mut out = Vec::with_capacity(64);
            Header {
                list: true,
                payload_length: fields.len(),
            }
            .encode(&mut out);
            out.extend_from_slice(&fields);
            out
        })
        .collect();
    ordered_trie_root_encoded(&encoded).0
}

/// EIP-7685: SHA-256 over the SHA-256 of each typed list.
fn requests_hash(request: &NewPayloadRequest) -> [u8; 32] {
    let mut all = Sha256::new();
    for list in request.execution_requests.to_typed_lists(request.fork) {
        all.update(Sha256::digest(&list));
    }
    all.finalize().into()
}

/// Adds the blob hashes a transaction names. `None` where it says it is a blob transaction and is none.
fn blob_hashes(transaction: &[u8], out: &mut Vec<Hash256>) -> Option<()> {
    let Some((&BLOB_TRANSACTION, mut rest)) = transaction.split_first() else {
        return Some(());
    };
    let mut fields = list(&mut rest)?;
    for _ in 0..BLOB_HASHES_FIELD {
        let skipped = Header::decode(&mut fields).ok()?;
        fields = fields.get(skipped.payload_length..)?;
    }
    let mut hashes = list(&mut fields)?;
    while !hashes.is_empty() {
        let header = Header::decode(&mut hashes).ok()?;
        let (hash, after) = hashes.split_at_checked(header.payload_length)?;
        out.push(Hash256(hash.try_into().ok().filter(|_| !header.list)?));
        hashes = after;
    }
    Some(())
}

fn list<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let header = Header::decode(from).ok().filter(|header| header.list)?;
    let (inside, after) = from.split_at_checked(header.payload_length)?;
    *from = after;
    Some(inside)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A blob transaction with nothing but its hashes.
    fn blob_transaction(hashes: &[[u8; 32]]) -> Vec<u8> {
        let mut named = Vec::new();
        for hash in hashes {
            bytes(&mut named, hash);
        }
        let mut fields = vec![0x80; BLOB_HASHES_FIELD - 1];
        // The access list.
        fields.insert(8, 0xc0);
        Header {
            list: true,
            payload_length: named.len(),
        }
        .encode(&mut fields);
        fields.extend_from_slice(&named);
        fields.extend_from_slice(&[0x80, 1, 1]);
        let mut out = vec![BLOB_TRANSACTION];
        Header {
            list: true,
            payload_length: fields.len(),
        }
        .encode(&mut out);
        out.extend_from_slice(&fields);
        out
    }

    #[test]
    fn blob_hashes_are_found_where_they_stand() {
        let found = |transaction: &[u8]| {
            let mut out = Vec::new();
            blob_hashes(transaction, &mut out).map(|()| out)
        };
        let two = blob_transaction(&[[7; 32], [8; 32]]);
        assert_eq!(found(&two), Some(vec![Hash256([7; 32]), Hash256([8; 32])]));
        assert_eq!(found(&blob_transaction(&[])), Some(vec![]));
        assert_eq!(found(&[2, 1, 2, 3]), Some(vec![]));
        assert_eq!(found(&[]), Some(vec![]));
        for length in 1..two.len() {
            assert_eq!(found(&two[..length]), None, "{length} bytes of it");
        }
        let mut other = two.clone();
        other[1] = 0x80;
        assert_eq!(found(&other), None);
        assert_eq!(found(&[3, 0xc0]), None);
    }
}
