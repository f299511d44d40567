//! Envelopes as bytes and what is signed of them (protocol.md sections 2 and 3), without the code under test: SHA-256 and
//! offsets.

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// `MAX_PROOF_SIZE` in chunks of 32 bytes: the limit that `proof_data` merkleises under.
const MAX_PROOF_CHUNKS: usize = 4_194_304 / 32;
/// `DOMAIN_EXECUTION_PROOF`.
const DOMAIN_EXECUTION_PROOF: [u8; 4] = [0x0f, 0, 0, 0];

/// `ExecutionProofEnvelope`.
#[derive(Clone)]
pub(crate) struct Envelope {
    pub(crate) proof_data: Bytes,
    pub(crate) proof_type: u8,
    pub(crate) beacon_block_root: [u8; 32],
}

/// `SignedExecutionProofEnvelope`.
#[derive(Clone)]
pub(crate) struct SignedEnvelope {
    pub(crate) message: Envelope,
    pub(crate) validator_index: u64,
    pub(crate) signature: [u8; 96],
}

fn pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Root of a tree over `chunks`, padded with zeros to `limit`, a power of two.
fn merkleize(mut chunks: Vec<[u8; 32]>, limit: usize) -> [u8; 32] {
    let mut zero = [0; 32];
    let mut width = limit;
    while width > 1 {
        if chunks.len() % 2 == 1 {
            chunks.push(zero);
        }
        chunks = chunks.chunks(2).map(|two| pair(&two[0], &two[1])).collect();
        zero = pair(&zero, &zero);
        width /= 2;
    }
    chunks.first().copied().unwrap_or(zero)
}

fn number(value: usize) -> [u8; 32] {
    let mut chunk = [0; 32];
    chunk[..size_of::<usize>()].copy_from_slice(&value.to_le_bytes());
    chunk
}

/// `compute_domain` of proofs.
pub(crate) fn domain(fork_version: [u8; 4], genesis_validators_root: &[u8; 32]) -> [u8; 32] {
    let mut version = [0; 32];
    version[..4].copy_from_slice(&fork_version);
    let fork_data_root = pair(&version, genesis_validators_root);
    let mut domain = [0; 32];
    domain[..4].copy_from_slice(&DOMAIN_EXECUTION_PROOF);
    domain[4..].copy_from_slice(&fork_data_root[..28]);
    domain
}

impl Envelope {
    fn hash_tree_root(&self) -> [u8; 32] {
        let chunks = self.proof_data.chunks(32).map(|bytes| {
            let mut chunk = [0; 32];
            chunk[..bytes.len()].copy_from_slice(bytes);
            chunk
        });
        let data = merkleize(chunks.collect(), MAX_PROOF_CHUNKS);
        let data = pair(&data, &number(self.proof_data.len()));
        merkleize(
            vec![data, number(self.proof_type.into()), self.beacon_block_root],
            4,
        )
    }

    /// `hash_tree_root(SigningData{ hash_tree_root(message), domain })`.
    pub(crate) fn signing_root(&self, domain: &[u8; 32]) -> [u8; 32] {
        pair(&self.hash_tree_root(), domain)
    }
}

impl SignedEnvelope {
    /// The SSZ bytes: an offset, index and signature, then the message, which has an offset of its own.
    pub(crate) fn to_ssz(&self) -> Vec<u8> {
        let mut out = 108_u32.to_le_bytes().to_vec();
        out.extend_from_slice(&self.validator_index.to_le_bytes());
        out.extend_from_slice(&self.signature);
        out.extend_from_slice(&37_u32.to_le_bytes());
        out.push(self.message.proof_type);
        out.extend_from_slice(&self.message.beacon_block_root);
        out.extend_from_slice(&self.message.proof_data);
        out
    }

    /// The same with a signature that is none of this message.
    pub(crate) fn forged(&self) -> Self {
        let mut forged = self.clone();
        forged.signature[9] ^= 1;
        forged
    }
}

/// SSZ of a `List[SignedExecutionProofEnvelope, 4]`.
pub(crate) fn list(envelopes: &[&SignedEnvelope]) -> Vec<u8> {
    let elements: Vec<Vec<u8>> = envelopes.iter().map(|envelope| envelope.to_ssz()).collect();
    let mut offset = 4 * elements.len();
    let mut out = Vec::new();
    for element in &elements {
        out.extend_from_slice(&(offset as u32).to_le_bytes());
        offset += element.len();
    }
    out.extend(elements.into_iter().flatten());
    out
}
