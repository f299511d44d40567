//! Proofs from the store (protocol.md section 5), one at a time from disk to socket, each whole or section by section.

use super::{
    Inner, Refusal, Stop, Writer,
    room::{Pass, Small, Taken},
    section::{Packer, Section, chunk_len},
};
use crate::rpc::wire::WriteError;
use assay_chain::Chain;
use assay_store::{ProofPiece, ProofStream, Reader, RecordKey, StoreError};
use assay_types::{
    ExecutionProofsByRange, ProofByRootIdentifiers, ProofType, Revision, Root, Slot, Spec, SszContainer,
};
use libp2p::PeerId;
use std::{collections::HashMap, time::Duration};
use tokio::task::JoinHandle;

/// A range request that may be served.
#[derive(Debug, PartialEq, Eq)]
struct RangeOrder {
    start_slot: Slot,
    count: u64,
    /// Empty: all.
    proof_types: Vec<ProofType>,
}

/// A by-root request that may be served: every block once, in the order first asked for; empty types mean all.
#[derive(Debug, PartialEq, Eq)]
struct RootOrder {
    blocks: Vec<(Root, Vec<ProofType>)>,
    /// Most proofs it asks for.
    most: u64,
}

/// Judges a by-range request.
fn range_order(spec: &Spec, ssz: &[u8]) -> Result<RangeOrder, Refusal> {
    let request = ExecutionProofsByRange::from_ssz_bytes_within(ssz, &spec.list_limits())
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    let (count, per_payload) = (request.count, spec.max_execution_proofs_per_payload);
    let most = spec.max_request_execution_proofs();
    // Section 5: `count * 4 <= 512`, whatever types are asked for.
    if count.checked_mul(per_payload).is_none_or(|asked| asked > most) {
        return Err(Refusal::invalid(format!(
            "count {count} asks for more than {most} proofs, {per_payload} a slot"
        )));
    }
    Ok(RangeOrder {
        start_slot: request.start_slot,
        count,
        proof_types: distinct(request.proof_types),
    })
}

/// Judges a by-root request.
fn root_order(spec: &Spec, ssz: &[u8]) -> Result<RootOrder, Refusal> {
    let request = ProofByRootIdentifiers::from_ssz_bytes_within(ssz, &spec.list_limits())
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    let most = spec.max_request_execution_proofs();
    let mut asked = 0u64;
    let mut blocks: Vec<(Root, Vec<ProofType>)> = Vec::with_capacity(request.0.len());
    let mut places: HashMap<Root, usize> = HashMap::new();
    for identifier in request.0 {
        // Section 5: empty proof types count as 4 and are served.
        asked = asked.saturating_add(match identifier.proof_types.len() {
            0 => spec.max_execution_proofs_per_payload,
            n => n as u64,
        });
        let types = distinct(identifier.proof_types);
        match places.get(&identifier.block_root) {
            None => {
                places.insert(identifier.block_root, blocks.len());
                blocks.push((identifier.block_root, types));
            }
            // A block named twice is served once, with the types of both.
            Some(place) => {
                let known = &mut blocks[*place].1;
                if types.is_empty() {
                    known.clear();
                } else if !known.is_empty() {
                    known.extend(types);
                    *known = distinct(std::mem::take(known));
                }
            }
        }
    }
    if asked > most {
        return Err(Refusal::invalid(format!(
            "{asked} proofs asked for, at most {most} at a time"
        )));
    }
    Ok(RootOrder { blocks, most: asked })
}

/// Section 11: duplicate proof types in a request are served once.
fn distinct(mut types: Vec<ProofType>) -> Vec<ProofType> {
    types.sort_unstable();
    types.dedup();
    types
}

/// Whether a range has a part in the serve range: from the finalized epoch's first slot to the current slot.
fn touches_serve_range(chain: &dyn Chain, start: Slot, count: u64) -> bool {
    let end = start.saturating_add(count);
    count > 0 && start <= chain.current_slot() && end > chain.proof_serve_range_start()
}

impl Inner {
    pub(super) async fn proofs_by_range(&self, request: &[u8], writer: &mut Writer) -> Result<(), Stop> {
        let chain = self.parts.chain.as_ref();
        let order = range_order(chain.spec(), request)?;
        if touches_serve_range(chain, order.start_slot, order.count) && !chain.is_synced() {
            return Err(Refusal::unavailable("still syncing: the serve range is not known whole").into());
        }
        let most = chain.spec().max_request_execution_proofs();
        let proofs = self
            .parts
            .store
            .range(order.start_slot, order.count, order.proof_types)
            .of(self.served_revisions());
        self.send_proofs(proofs, most, writer).await
    }

    pub(super) async fn proofs_by_root(&self, request: &[u8], writer: &mut Writer) -> Result<(), Stop> {
        let chain = self.parts.chain.as_ref();
        let order = root_order(chain.spec(), request)?;
        let is_empty = order.blocks.is_empty();
        let proofs = self.parts.store.by_root(order.blocks).of(self.served_revisions());
        self.send_proofs(proofs, order.most, writer).await?;
        // A block that is unknown while syncing may be one of the serve range.
        if writer.chunks() == 0 && !is_empty && !chain.is_synced() {
            return Err(Refusal::unavailable("still syncing: these blocks are not known yet").into());
        }
        Ok(())
    }

    fn served_revisions(&self) -> &'static [Revision] {
        match self.parts.config.envelopes {
            true => Revision::ALL,
            false => &[Revision::Alpha],
        }
    }

    /// Proof after proof. In a large place the next is read while one is on its way, where there is room to spare for it;
    /// else after it.
    async fn send_proofs(&self, proofs: ProofStream, most: u64, writer: &mut Writer) -> Result<(), Stop> {
        let spec = self.parts.chain.spec();
        let largest = spec.max_signed_proof_size();
        let peer = writer.peer();
        let mut payload = (Root::ZERO, 0);
        let (mut ahead, mut source) = (None, Some(proofs));
        let mut used: Option<Buffer> = None;
        while writer.chunks() < most {
            let _share = self.shares.take(&peer).await;
            let reading = match (ahead.take(), source.take()) {
                (Some(reading), _) => reading,
                (None, Some(source)) => {
                    drop(used.take());
                    self.read(source, largest, &peer).await
                }
                (None, None) => break,
            };
            let Ok((mut buffer, rest, proof)) = reading.await else {
                return Err(Refusal::server_error("the proofs cannot be read").into());
            };
            let proof = match proof {
                Ok(Some(proof)) => proof,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "proofs could not be read for a peer");
                    return Err(Refusal::server_error("the proofs cannot be read").into());
                }
            };
            let root = proof.key.root;
            payload = match root == payload.0 {
                true => (root, payload.1 + 1),
                false => (root, 1),
            };
            // However many types are kept, a payload has this many in a response.
            if payload.1 > spec.max_execution_proofs_per_payload || proof.ssz_len > largest {
                source = Some(rest);
                continue;
            }
            let is_last = writer.chunks() + 1 >= most;
            match self.spare_buffer(&buffer, is_last, largest, used.take(), &peer) {
                Some(spare) => ahead = Some(read(rest, largest, spare, None)),
                None => source = Some(rest),
            }
            let taken = self.write_proof(&proof, &mut buffer, writer).await;
            self.sent(peer, proof.ssz_len, taken)?;
            // What is kept for the next while this peer's other streams have their turn takes none from who has none.
            used = (ahead.is_some() && self.room.is_plenty()).then_some(buffer);
        }
        Ok(())
    }

    /// Reads the next proof, whole where there is a large place, else its first section.
    async fn read(&self, proofs: ProofStream, largest: usize, peer: &PeerId) -> Reading {
        match self.large_place(peer, &self.room, chunk_len(largest)) {
            Some(place) => read(proofs, largest, Buffer::large(place, None), None),
            None => {
                let place = self.room.small().await;
                let pass = self.room.pass().await;
                let buffer = Buffer::small(place, self.room.section());
                read(proofs, largest, buffer, Some(pass))
            }
        }
    }

    /// A buffer to read ahead into beside one in a large place, if there is plenty of room.
    fn spare_buffer(
        &self,
        beside: &Buffer,
        is_last: bool,
        largest: usize,
        used: Option<Buffer>,
        peer: &PeerId,
    ) -> Option<Buffer> {
        if is_last || beside.section != Section::WHOLE || self.is_slow(peer) {
            return None;
        }
        // Memory that was touched a moment ago: new pages cost more than the copy into them. Its place is given back, for
        // the next proof may be larger.
        let used = used.map(|used| (used.bytes, used.packer));
        let place = self.room.spare(chunk_len(largest))?;
        Some(Buffer::large(place, used))
    }

    /// Writes a proof's chunk: what is in the buffer, and section after section what is not.
    async fn write_proof(
        &self,
        proof: &Packed,
        buffer: &mut Buffer,
        writer: &mut Writer,
    ) -> Result<Duration, WriteError> {
        let mut begun = writer.begin().await;
        writer.part(&mut begun, &buffer.bytes).await?;
        let mut section = buffer.section;
        while section.is_short_of(proof.ssz_len) {
            section = section.next();
            let pass = self.room.pass().await;
            let (reader, proof, mut bytes) = (
                self.parts.store.reader().clone(),
                *proof,
                std::mem::take(&mut buffer.bytes),
            );
            let reading = tokio::task::spawn_blocking(move || {
                let is_there = proof.read_blocking(&reader, section, &mut bytes);
                drop(pass);
                is_there.map(|is_there| (is_there, bytes))
            });
            match reading.await {
                Ok(Ok((true, bytes))) => buffer.bytes = bytes,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a proof could not be read on for a peer");
                    return Err(WriteError::Gone);
                }
                _ => return Err(WriteError::Gone),
            }
            writer.part(&mut begun, &buffer.bytes).await?;
        }
        writer.end(begun).await
    }
}

/// A proof whose chunk, or the first section of it, is in a buffer.
#[derive(Clone, Copy)]
struct Packed {
    key: RecordKey,
    /// Bytes of its SSZ; of one that is too large nothing is packed.
    ssz_len: usize,
    /// Over its SSZ, where not all is packed at once.
    checksum: u64,
}

impl Packed {
    /// Packs another section of it; whether it is still there.
    fn read_blocking(
        &self,
        reader: &Reader,
        section: Section,
        chunk: &mut Vec<u8>,
    ) -> Result<bool, StoreError> {
        let (mut packer, mut checksum) = (Packer::default(), checksum());
        let mut len = 0;
        let is_whole = reader.read_pieces(&self.key, |piece| match piece {
            ProofPiece::Begins(ssz_len) => {
                len = ssz_len;
                packer.begin(None, ssz_len, section, chunk);
            }
            ProofPiece::Bytes(bytes) if len == self.ssz_len => {
                checksum.update(bytes);
                packer.push(bytes, section, chunk);
            }
            ProofPiece::Bytes(_) => {}
        })?;
        packer.finish(chunk);
        Ok(is_whole && len == self.ssz_len && checksum.finalize() == self.checksum)
    }
}

/// Tells whether a proof that is read again is the same.
fn checksum() -> crc_fast::Digest {
    crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi)
}

/// A section of a proof's chunk, and its place, which is given back with it.
struct Buffer {
    place: Held,
    section: Section,
    bytes: Vec<u8>,
    packer: Packer,
}

enum Held {
    Large(Taken),
    Small { _place: Small },
}

impl Buffer {
    /// For a whole proof; with memory that was used before.
    fn large(place: Taken, used: Option<(Vec<u8>, Packer)>) -> Self {
        let (bytes, packer) = used.unwrap_or_default();
        Self {
            place: Held::Large(place),
            section: Section::WHOLE,
            bytes,
            packer,
        }
    }

    /// For the first section of a proof.
    fn small(place: Small, section: usize) -> Self {
        Self {
            place: Held::Small { _place: place },
            section: Section::first(section),
            bytes: Vec::new(),
            packer: Packer::default(),
        }
    }

    /// The next proof, packed piece by piece as it is read: what is handed over to be written is not copied again.
    fn fill_blocking(
        &mut self,
        proofs: &mut ProofStream,
        largest: usize,
    ) -> Result<Option<Packed>, StoreError> {
        let Self {
            section,
            bytes: chunk,
            packer,
            ..
        } = self;
        let (mut len, mut sum) = (0, checksum());
        let key = proofs.next_pieces_blocking(|piece| match piece {
            ProofPiece::Begins(ssz_len) => {
                len = ssz_len;
                sum = checksum();
                packer.begin(None, len, *section, chunk);
            }
            ProofPiece::Bytes(bytes) if len <= largest => {
                if section.is_short_of(len) {
                    sum.update(bytes);
                }
                packer.push(bytes, *section, chunk);
            }
            ProofPiece::Bytes(_) => {}
        })?;
        packer.finish(chunk);
        Ok(key.map(|key| Packed {
            key,
            ssz_len: len,
            checksum: sum.finalize(),
        }))
    }

    /// Gives back what is not needed while it is written.
    fn settle(&mut self) {
        match &mut self.place {
            Held::Large(taken) => taken.shrink(self.bytes.capacity()),
            Held::Small { .. } => self.packer = Packer::default(),
        }
    }
}

/// What is in the buffer, the rest of the proofs, and which proof it is.
type Reading = JoinHandle<(Buffer, ProofStream, Result<Option<Packed>, StoreError>)>;

/// Reads the next proof on a thread that may block, into a buffer whose place is enough for any.
fn read(mut proofs: ProofStream, largest: usize, mut buffer: Buffer, pass: Option<Pass>) -> Reading {
    tokio::task::spawn_blocking(move || {
        let next = buffer.fill_blocking(&mut proofs, largest);
        if !matches!(next, Ok(Some(_))) {
            buffer.bytes = Vec::new();
        }
        buffer.settle();
        drop(pass);
        (buffer, proofs, next)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_types::ProofByRootIdentifier;

    /// Block roots by their numbers, and types.
    type Blocks<'a> = &'a [(u8, &'a [u8])];

    fn root(n: u8) -> Root {
        Root::from([n; 32])
    }

    #[test]
    fn ranges_are_judged_as_section_5_says() {
        let spec = Spec::mainnet();
        let judge = |start, count, types: &[u8]| {
            let request = ExecutionProofsByRange {
                start_slot: Slot(start),
                count,
                proof_types: types.to_vec(),
            };
            range_order(&spec, &request.to_ssz_bytes())
        };
        let served = |start, count, types: &[u8]| {
            Ok(RangeOrder {
                start_slot: Slot(start),
                count,
                proof_types: types.to_vec(),
            })
        };
        assert_eq!(judge(7, 128, &[]), served(7, 128, &[]));
        assert_eq!(judge(7, 0, &[3]), served(7, 0, &[3]));
        assert_eq!(judge(u64::MAX, 128, &[2, 1, 2]), served(u64::MAX, 128, &[1, 2]));
        for count in [129, u64::MAX, u64::MAX / 4 + 2] {
            let refusal = judge(7, count, &[1]).unwrap_err();
            assert_eq!(
                refusal,
                Refusal::invalid(format!("count {count} asks for more than 512 proofs, 4 a slot"))
            );
        }
        let five = ExecutionProofsByRange {
            start_slot: Slot(1),
            count: 1,
            proof_types: vec![1, 2, 3, 4, 5],
        };
        assert_eq!(
            range_order(&spec, &five.to_ssz_bytes()).unwrap_err(),
            Refusal::invalid("not a valid SSZ ExecutionProofsByRange: 5 proof types, at most 4 allowed")
        );
        assert!(range_order(&spec, &[0; 19]).is_err());
    }

    #[test]
    fn roots_are_judged_as_section_5_says() {
        let spec = Spec::mainnet();
        let judge = |identifiers: &[(u8, &[u8])]| {
            let request = ProofByRootIdentifiers(
                identifiers
                    .iter()
                    .map(|(n, types)| ProofByRootIdentifier {
                        block_root: root(*n),
                        proof_types: types.to_vec(),
                    })
                    .collect(),
            );
            root_order(&spec, &request.to_ssz_bytes())
        };
        let table: &[(Blocks<'_>, Blocks<'_>, u64)] = &[
            (&[], &[], 0),
            (&[(1, &[2])], &[(1, &[2])], 1),
            (&[(1, &[])], &[(1, &[])], 4),
            (&[(1, &[2, 2, 1])], &[(1, &[1, 2])], 3),
            (
                &[(2, &[1]), (1, &[3]), (2, &[0, 1])],
                &[(2, &[0, 1]), (1, &[3])],
                4,
            ),
            (&[(1, &[2]), (1, &[])], &[(1, &[])], 5),
            (&[(1, &[]), (1, &[2])], &[(1, &[])], 5),
        ];
        for (asked, served, most) in table {
            let blocks = served
                .iter()
                .map(|(n, types)| (root(*n), types.to_vec()))
                .collect();
            assert_eq!(judge(asked), Ok(RootOrder { blocks, most: *most }), "{asked:?}");
        }
        let full: Vec<(u8, &[u8])> = (0..128).map(|n| (n, &[][..])).collect();
        assert_eq!(judge(&full).unwrap().most, 512);
        let mut wide = Spec::mainnet();
        wide.max_request_blocks_deneb = 2;
        let three = ProofByRootIdentifiers(vec![
            ProofByRootIdentifier {
                block_root: root(1),
                proof_types: vec![],
            };
            3
        ]);
        assert!(root_order(&wide, &three.to_ssz_bytes()).is_err());
    }
}
