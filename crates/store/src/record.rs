//! One proof on disk: its key, its chunks, its checksum.
//!
//! redb gives a value a page of the next power of two, so a proof of 4 MiB and 145 bytes in one value would take 8 MiB
//! of disk and of every write. Chunks that just fit a page of 256 KiB waste less than one page a proof.

use crate::{
    error::TxResult,
    tables::{ChunkKeyBytes, ProofHeaderBytes, ProofKeyBytes, Tables, be_u64},
};
use assay_types::{ProofName, ProofType, Revision, Root, SignedProof, Slot, ValidatorIndex, proof::SszError};
use bytes::Bytes;
use redb::ReadableTable;
use xxhash_rust::xxh3::Xxh3 as Hasher;

/// Bytes of a chunk: a page of 256 KiB less what redb keeps beside the value.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024 - 256;
/// Most SSZ bytes of one proof that the store takes or reads; above `MAX_PROOF_SIZE` of every known network.
pub const MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// Where a proof is kept. Sorts by slot first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// The payload's slot, from its timestamp.
    pub slot: Slot,
    /// What the proof names: its payload's request root (`alpha`), or the beacon block's (`beta`).
    pub root: Root,
    /// The kind of proof.
    pub proof_type: ProofType,
    /// Who signed.
    pub validator_index: ValidatorIndex,
}

impl RecordKey {
    pub(crate) fn to_bytes(self) -> ProofKeyBytes {
        let mut key = [0; 49];
        key[..8].copy_from_slice(&self.slot.0.to_be_bytes());
        key[8..40].copy_from_slice(self.root.as_slice());
        key[40] = self.proof_type;
        key[41..].copy_from_slice(&self.validator_index.to_be_bytes());
        key
    }

    pub(crate) fn from_bytes(key: &ProofKeyBytes) -> Self {
        let mut root = [0; 32];
        root.copy_from_slice(&key[8..40]);
        Self {
            slot: Slot(be_u64(&key[..8])),
            root: Root::from(root),
            proof_type: key[40],
            validator_index: be_u64(&key[41..]),
        }
    }

    /// First and last key that any proof that names this root (and is of this type) can have.
    pub(crate) fn bounds(
        slot: Slot,
        root: &Root,
        proof_type: Option<ProofType>,
    ) -> (ProofKeyBytes, ProofKeyBytes) {
        let key = |proof_type, validator_index| {
            Self {
                slot,
                root: *root,
                proof_type,
                validator_index,
            }
            .to_bytes()
        };
        (
            key(proof_type.unwrap_or(0), 0),
            key(proof_type.unwrap_or(u8::MAX), u64::MAX),
        )
    }

    /// First and last key that a proof of this slot can have.
    pub(crate) fn slot_bounds(slot: Slot) -> (ProofKeyBytes, ProofKeyBytes) {
        let (first, _) = Self::bounds(slot, &Root::ZERO, None);
        let (_, last) = Self::bounds(slot, &Root::from([0xff; 32]), None);
        (first, last)
    }

    fn chunk(key: &ProofKeyBytes, number: u16) -> ChunkKeyBytes {
        let mut chunk = [0; 51];
        chunk[..49].copy_from_slice(key);
        chunk[49..].copy_from_slice(&number.to_be_bytes());
        chunk
    }
}

/// What a proof is kept as: its revision, and what it is a proof of where it does not say so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptAs {
    /// Of `alpha`: it names its payload.
    Alpha,
    /// Of `beta`: it names a beacon block.
    Beta {
        /// Request root of the payload that it was verified as a proof of.
        new_payload_request_root: Root,
    },
}

impl KeptAs {
    /// The revision it is of.
    pub const fn revision(self) -> Revision {
        match self {
            Self::Alpha => Revision::Alpha,
            Self::Beta { .. } => Revision::Beta,
        }
    }

    /// The payload that is recorded beside it.
    pub(crate) const fn bound(self) -> Option<Root> {
        match self {
            Self::Alpha => None,
            Self::Beta {
                new_payload_request_root,
            } => Some(new_payload_request_root),
        }
    }
}

/// A proof read from disk whose checksum held: to be served and counted, never verified by having been stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProof {
    key: RecordKey,
    revision: Revision,
    ssz: Bytes,
}

impl StoredProof {
    /// Where it is kept.
    pub fn record_key(&self) -> &RecordKey {
        &self.key
    }
    /// The revision it is of.
    pub fn revision(&self) -> Revision {
        self.revision
    }
    /// What it is known by.
    pub fn name(&self) -> ProofName {
        ProofName {
            revision: self.revision,
            root: self.key.root,
            proof_type: self.key.proof_type,
        }
    }
    /// The payload's slot.
    pub fn slot(&self) -> Slot {
        self.key.slot
    }
    /// Who signed.
    pub fn validator_index(&self) -> ValidatorIndex {
        self.key.validator_index
    }
    /// SSZ of the revision's container, as it came.
    pub fn ssz(&self) -> &Bytes {
        &self.ssz
    }
    /// The proof, decoded without a copy of its data.
    pub fn signed(&self) -> Result<SignedProof, SszError> {
        SignedProof::from_ssz_bytes(&self.ssz, self.revision)
    }
}

/// What is under a key.
pub(crate) enum Found<T> {
    Absent,
    /// There, but not what was written.
    Corrupt(&'static str),
    Good(T),
}

/// The bit of a header's length that says `beta`; `MAX_RECORD_BYTES` is far below.
const BETA: u32 = 1 << 31;

/// Of so many bytes of SSZ, which the hasher has had.
fn header(len: usize, revision: Revision, hasher: &Hasher) -> ProofHeaderBytes {
    let mut header = [0; 20];
    let mark = match revision {
        Revision::Alpha => 0,
        Revision::Beta => BETA,
    };
    // `MAX_RECORD_BYTES` fits in 31 bits.
    header[..4].copy_from_slice(&(len as u32 | mark).to_le_bytes());
    header[4..].copy_from_slice(&hasher.digest128().to_le_bytes());
    header
}

fn length_and_mark(header: &ProofHeaderBytes) -> u32 {
    u32::from_le_bytes([header[0], header[1], header[2], header[3]])
}

/// SSZ bytes that a header promises.
pub(crate) fn header_len(header: &ProofHeaderBytes) -> u64 {
    u64::from(length_and_mark(header) & !BETA)
}

/// The revision of the proof that a header is of.
pub(crate) fn header_revision(header: &ProofHeaderBytes) -> Revision {
    if length_and_mark(header) & BETA == 0 {
        Revision::Alpha
    } else {
        Revision::Beta
    }
}

/// The checksum is over the key too: bytes under a wrong key are as wrong as wrong bytes. Against accidents, not against an
/// adversary with write access to the disk.
fn hasher(key: &ProofKeyBytes, revision: Revision) -> Hasher {
    let mut hasher = Hasher::new();
    // Over the mark as well; without it what schema 1 wrote.
    if revision == Revision::Beta {
        hasher.update(b"beta");
    }
    hasher.update(key);
    hasher
}

/// Writes a record.
pub(crate) fn insert(tables: &mut Tables<'_>, key: RecordKey, kept_as: KeptAs, ssz: &[u8]) -> TxResult<()> {
    let (key, revision) = (key.to_bytes(), kept_as.revision());
    if let Some(payload) = kept_as.bound() {
        tables.bound.insert(&key, &payload.0)?;
    }
    let mut hasher = hasher(&key, revision);
    hasher.update(ssz);
    tables
        .proofs
        .insert(&key, &header(ssz.len(), revision, &hasher))?;
    for (number, chunk) in ssz.chunks(CHUNK_BYTES).enumerate() {
        tables
            .chunks
            .insert(&RecordKey::chunk(&key, number as u16), chunk)?;
    }
    Ok(())
}

/// Removes a record whole, however damaged. Returns the bytes its header promised, `None` if there is none, and the payload
/// that was recorded with it.
pub(crate) fn remove(tables: &mut Tables<'_>, key: RecordKey) -> TxResult<(Option<u64>, Option<Root>)> {
    let key = key.to_bytes();
    let removed = tables
        .proofs
        .remove(&key)?
        .map(|header| header_len(header.value()));
    let (first, last) = (RecordKey::chunk(&key, 0), RecordKey::chunk(&key, u16::MAX));
    tables
        .chunks
        .retain_in::<&[u8; 51], _>(&first..=&last, |_, _| false)?;
    let bound = tables.bound.remove(&key)?.map(|root| Root::from(*root.value()));
    Ok((removed, bound))
}

/// Reads a record and checks it.
pub(crate) fn read(
    proofs: &impl ReadableTable<&'static ProofKeyBytes, &'static ProofHeaderBytes>,
    chunks: &impl ReadableTable<&'static ChunkKeyBytes, &'static [u8]>,
    key: RecordKey,
) -> TxResult<Found<StoredProof>> {
    let mut ssz = Vec::new();
    let mut all = 0;
    let found = read_pieces(proofs, chunks, key, |piece| match piece {
        ProofPiece::Begins(len) => all = len,
        ProofPiece::Bytes(bytes) => {
            // Now, when there is something: a damaged length alone allocates nothing.
            if ssz.is_empty() {
                ssz.reserve_exact(all);
            }
            ssz.extend_from_slice(bytes);
        }
    })?;
    Ok(match found {
        Found::Absent => Found::Absent,
        Found::Corrupt(why) => Found::Corrupt(why),
        Found::Good(revision) => Found::Good(StoredProof {
            key,
            revision,
            ssz: Bytes::from(ssz),
        }),
    })
}

/// What is read of a proof that is read in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofPiece<'a> {
    /// A proof begins that should have so many bytes of SSZ, at most `MAX_RECORD_BYTES`; it never has more. What came
    /// before is of no use.
    Begins(usize),
    /// Its next bytes.
    Bytes(&'a [u8]),
}

/// Reads a record piece by piece and checks it. What `take` got is worth something only where the record is `Good`.
pub(crate) fn read_pieces(
    proofs: &impl ReadableTable<&'static ProofKeyBytes, &'static ProofHeaderBytes>,
    chunks: &impl ReadableTable<&'static ChunkKeyBytes, &'static [u8]>,
    key: RecordKey,
    mut take: impl FnMut(ProofPiece<'_>),
) -> TxResult<Found<Revision>> {
    let key_bytes = key.to_bytes();
    let Some(written) = proofs.get(&key_bytes)? else {
        return Ok(Found::Absent);
    };
    let written = *written.value();
    let len = header_len(&written) as usize;
    if len > MAX_RECORD_BYTES {
        return Ok(Found::Corrupt("its length is beyond every limit"));
    }
    take(ProofPiece::Begins(len));
    let mut taken = 0;
    let revision = header_revision(&written);
    let mut hasher = hasher(&key_bytes, revision);
    let (first, last) = (
        RecordKey::chunk(&key_bytes, 0),
        RecordKey::chunk(&key_bytes, u16::MAX),
    );
    for chunk in chunks.range::<&[u8; 51]>(&first..=&last)? {
        let (_, chunk) = chunk?;
        let chunk = chunk.value();
        taken += chunk.len();
        if taken > len {
            return Ok(Found::Corrupt("it is longer than its header says"));
        }
        hasher.update(chunk);
        take(ProofPiece::Bytes(chunk));
    }
    if taken != len || header(len, revision, &hasher) != written {
        return Ok(Found::Corrupt("its checksum does not match"));
    }
    Ok(Found::Good(revision))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = RecordKey> {
        (any::<u64>(), any::<[u8; 32]>(), any::<u8>(), any::<u64>()).prop_map(
            |(slot, root, proof_type, validator_index)| RecordKey {
                slot: Slot(slot),
                root: Root::from(root),
                proof_type,
                validator_index,
            },
        )
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_bytes_and_come_back(a in key(), b in key()) {
            prop_assert_eq!(RecordKey::from_bytes(&a.to_bytes()), a);
            prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), a.cmp(&b));
            let (first, last) = RecordKey::bounds(a.slot, &a.root, None);
            prop_assert!(first <= a.to_bytes() && a.to_bytes() <= last);
            let (first, last) = RecordKey::bounds(a.slot, &a.root, Some(a.proof_type));
            prop_assert!(first <= a.to_bytes() && a.to_bytes() <= last);
        }
    }

    #[test]
    fn the_largest_record_has_few_enough_chunks_to_number() {
        assert!(MAX_RECORD_BYTES.div_ceil(CHUNK_BYTES) <= usize::from(u16::MAX));
        assert!(u32::try_from(MAX_RECORD_BYTES).is_ok());
    }
}
