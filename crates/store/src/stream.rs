//! Proofs one after the other, for responses of any length in the memory of one proof.

use crate::{
    error::StoreError,
    index::StoredBlock,
    reader::{ProofSummary, Reader},
    record::{ProofPiece, RecordKey, StoredProof},
};
use assay_types::{ProofType, Revision, Root, Slot};
use std::collections::VecDeque;

/// Reads one proof at a time; holds no lock and no transaction between two, so that a slow peer holds up nothing.
/// What was pruned or reorged meanwhile is passed over. One proof a payload and type, types ascending.
pub struct ProofStream {
    reader: Reader,
    blocks: Blocks,
    /// Revisions whose proofs are given.
    revisions: Vec<Revision>,
    /// Proofs of the block being served, each with its revision.
    open: VecDeque<(Revision, RecordKey)>,
}

enum Blocks {
    /// Canonical blocks from one slot to another (excluded), and the types asked for (empty: all).
    Range {
        next: Slot,
        end: Slot,
        proof_types: Vec<ProofType>,
    },
    /// Blocks by root, each with the types asked for (empty: all), in the order given.
    Roots(VecDeque<(Root, Vec<ProofType>)>),
}

impl ProofStream {
    pub(crate) fn range(reader: Reader, start_slot: Slot, count: u64, proof_types: Vec<ProofType>) -> Self {
        let end = start_slot.saturating_add(count);
        let next = start_slot;
        Self {
            reader,
            blocks: Blocks::Range {
                next,
                end,
                proof_types,
            },
            revisions: vec![Revision::Alpha],
            open: VecDeque::new(),
        }
    }

    /// With the proofs of these revisions.
    pub fn of(mut self, revisions: &[Revision]) -> Self {
        self.revisions = revisions.to_vec();
        self
    }

    pub(crate) fn by_root(reader: Reader, blocks: Vec<(Root, Vec<ProofType>)>) -> Self {
        Self {
            reader,
            blocks: Blocks::Roots(blocks.into()),
            revisions: vec![Revision::Alpha],
            open: VecDeque::new(),
        }
    }

    /// The next proof; blocks the thread.
    pub fn next_blocking(&mut self) -> Result<Option<StoredProof>, StoreError> {
        self.next_by(Reader::read)
    }

    /// The next proof in pieces: what `take` got since a proof last began is the one whose key this is. Blocks the thread.
    pub fn next_pieces_blocking(
        &mut self,
        mut take: impl FnMut(ProofPiece<'_>),
    ) -> Result<Option<RecordKey>, StoreError> {
        self.next_by(|reader, key| {
            let is_whole = reader.read_pieces(key, &mut take)?;
            Ok(is_whole.then_some(*key))
        })
    }

    /// Every proof that is left, without its bytes: what there is to serve, and how long each is. Blocks the thread.
    pub fn summaries_blocking(mut self) -> Result<Vec<ProofSummary>, StoreError> {
        let mut summaries = Vec::new();
        while let Some(summary) = self.next_by(Reader::summary)? {
            summaries.push(summary);
        }
        Ok(summaries)
    }

    fn next_by<T>(
        &mut self,
        mut look: impl FnMut(&Reader, &RecordKey) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        loop {
            while let Some((revision, key)) = self.open.pop_front() {
                if let Some(found) = look(&self.reader, &key)? {
                    self.open
                        .retain(|(r, other)| *r != revision || other.proof_type != key.proof_type);
                    return Ok(Some(found));
                }
            }
            let Some((block, proof_types)) = self.next_block()? else {
                return Ok(None);
            };
            for revision in self.revisions.clone() {
                let keys = self.reader.keys_of_block(&block, revision)?;
                self.open.extend(
                    keys.into_iter()
                        .filter(|key| proof_types.is_empty() || proof_types.contains(&key.proof_type))
                        .map(|key| (revision, key)),
                );
            }
        }
    }

    fn next_block(&mut self) -> Result<Option<(StoredBlock, Vec<ProofType>)>, StoreError> {
        loop {
            let (block, types) = match &mut self.blocks {
                Blocks::Range {
                    next,
                    end,
                    proof_types,
                } => {
                    let Some(block) = self.reader.next_canonical(*next, *end)? else {
                        return Ok(None);
                    };
                    *next = block.slot.saturating_add(1);
                    (Some(block), proof_types.clone())
                }
                Blocks::Roots(roots) => {
                    let Some((root, types)) = roots.pop_front() else {
                        return Ok(None);
                    };
                    (self.reader.block(&root)?, types)
                }
            };
            if let Some(block) = block {
                return Ok(Some((block, types)));
            }
        }
    }

    /// The next proof, read on a thread that may block. After an error or a cancelled call the stream is at its end.
    pub async fn next(&mut self) -> Result<Option<StoredProof>, StoreError> {
        let ended = Self::by_root(self.reader.clone(), Vec::new());
        let mut stream = std::mem::replace(self, ended);
        let (stream, result) = tokio::task::spawn_blocking(move || {
            let result = stream.next_blocking();
            (stream, result)
        })
        .await
        .map_err(|_| StoreError::Closed)?;
        let proof = result?;
        *self = stream;
        Ok(proof)
    }
}
