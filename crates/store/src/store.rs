//! `Store`: the handle that the rest of the house holds.

use crate::{
    config::StoreConfig,
    error::StoreError,
    index::{BlockUpdate, ChainUpdate, StoredBlock},
    open,
    reader::{ProofSummary, Reader, StoreStats},
    record::{KeptAs, MAX_RECORD_BYTES, RecordKey, StoredProof},
    shared::Shared,
    stream::ProofStream,
    writer::{self, Command, Done, Lanes, MAX_SMALL_RECORD_BYTES, Work, Writer},
};
use assay_chain::Checkpoint;
use assay_types::{ProofKey, ProofName, ProofType, Revision, Root, Slot, ValidatorIndex};
use assay_verification::{ContainmentRecord, KnownProofs, ProofSink, SinkError, Source, VerifiedProof};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{path::Path, sync::Arc, thread::JoinHandle};
use tokio::sync::oneshot;

/// A record of the gate: its key, and its bytes or `None` to remove it.
pub type GateRecord = ([u8; 32], Option<Vec<u8>>);

/// A record of the gate as it is on disk.
pub type StoredGateRecord = ([u8; 32], Vec<u8>);

/// What became of a proof that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is on disk.
    Stored,
    /// A proof of this payload, type and validator is on disk already.
    AlreadyStored,
}

/// Proofs, blocks and records on disk. A cheap handle; the database is closed when the last one is dropped, which waits
/// for what is queued to be written.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    reader: Reader,
    lanes: Option<Lanes>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer ends when nobody can send any more.
        self.lanes = None;
        if let Some(writer) = self.writer.lock().take() {
            let _ = writer.join();
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.inner.reader.shared.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database file at `path`, or makes it (and its directory). Blocks while it works.
    ///
    /// # Errors
    /// Each says what the user can do: another process has it, another chain, a newer schema, damage, no access.
    pub fn open(path: impl AsRef<Path>, config: StoreConfig) -> Result<Self, StoreError> {
        let shared = open::open(path.as_ref(), &config)?;
        Self::start(shared, config)
    }

    pub(crate) fn start(shared: Shared, config: StoreConfig) -> Result<Self, StoreError> {
        let shared = Arc::new(shared);
        let (lanes, queues) = writer::lanes();
        let writer = Writer::new(shared.clone(), config, queues)?;
        let thread = std::thread::Builder::new()
            .name("assay-store".into())
            .spawn(move || writer.run());
        let thread = thread.map_err(|e| StoreError::Io {
            path: shared.path.clone(),
            why: e.to_string(),
        })?;
        let reader = Reader { shared };
        Ok(Self {
            inner: Arc::new(Inner {
                reader,
                lanes: Some(lanes),
                writer: Mutex::new(Some(thread)),
            }),
        })
    }

    /// Whether nodes ran on this database with another form of the request root than today's, as far as is known: a payload
    /// of Gloas may be recorded under another root than it has now.
    pub fn has_other_request_forms(&self) -> bool {
        self.reader().shared.has_other_forms
    }

    /// For threads that may block.
    pub fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    async fn submit(&self, work: Work) -> Result<Done, StoreError> {
        let lanes = self.inner.lanes.as_ref().ok_or(StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        lanes
            .of(&work)
            .send(Command { work, answer })
            .await
            .map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let reader = self.inner.reader.clone();
        tokio::task::spawn_blocking(move || read(&reader))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    /// Keeps a proof; it is on disk when this returns. Proofs put at the same time share a commit.
    pub async fn put(&self, proof: &VerifiedProof) -> Result<PutOutcome, StoreError> {
        let name = proof.name();
        let key = RecordKey {
            slot: proof.slot(),
            root: name.root,
            proof_type: name.proof_type,
            validator_index: proof.validator_index(),
        };
        let kept_as = match name.revision {
            Revision::Alpha => KeptAs::Alpha,
            Revision::Beta => KeptAs::Beta {
                new_payload_request_root: proof.key().new_payload_request_root,
            },
        };
        self.put_record(key, kept_as, proof.ssz().clone()).await
    }

    #[cfg(test)]
    pub(crate) async fn put_raw(&self, key: RecordKey, ssz: Bytes) -> Result<PutOutcome, StoreError> {
        self.put_record(key, KeptAs::Alpha, ssz).await
    }

    pub(crate) async fn put_record(
        &self,
        key: RecordKey,
        kept_as: KeptAs,
        ssz: Bytes,
    ) -> Result<PutOutcome, StoreError> {
        check_size("a proof", ssz.len(), MAX_RECORD_BYTES)?;
        match self.submit(Work::Put(key, kept_as, ssz)).await? {
            Done::Put(outcome) => Ok(outcome),
            Done::Done => Ok(PutOutcome::Stored),
        }
    }

    /// A proof of this payload and type, from whichever validator has the lowest index.
    pub async fn get(&self, key: ProofKey) -> Result<Option<StoredProof>, StoreError> {
        self.read(move |r| r.get(&key)).await
    }

    /// The proofs of a block of the index that are of this revision: up to 4 MiB for each type and validator.
    pub async fn proofs_of_block(
        &self,
        block: StoredBlock,
        revision: Revision,
    ) -> Result<Vec<StoredProof>, StoreError> {
        self.read(move |r| r.proofs_of_block(&block, revision)).await
    }

    /// Every proof of a payload, of whichever revision: up to 4 MiB for each type and validator, so mind the memory.
    pub async fn proofs_for(&self, new_payload_request_root: Root) -> Result<Vec<StoredProof>, StoreError> {
        self.read(move |r| r.proofs_for(&new_payload_request_root)).await
    }

    /// The types a payload is proven by, ascending.
    pub async fn proof_types_of(&self, new_payload_request_root: Root) -> Result<Vec<ProofType>, StoreError> {
        self.read(move |r| r.proof_types_of(&new_payload_request_root))
            .await
    }

    /// A block of the index.
    pub async fn by_block_root(&self, block_root: Root) -> Result<Option<StoredBlock>, StoreError> {
        self.read(move |r| r.block(&block_root)).await
    }

    /// The canonical block of a slot.
    pub async fn canonical_block_at(&self, slot: Slot) -> Result<Option<StoredBlock>, StoreError> {
        self.read(move |r| r.canonical_block_at(slot)).await
    }

    /// The newest slot that has a canonical block.
    pub async fn newest_canonical_slot(&self) -> Result<Option<Slot>, StoreError> {
        self.read(Reader::newest_canonical_slot).await
    }

    /// Proofs of `alpha` (what req/resp serves) of the canonical blocks in [start_slot, start_slot + count),
    /// slot-ascending, one a payload and type; empty `proof_types` means all.
    pub fn range(&self, start_slot: Slot, count: u64, proof_types: Vec<ProofType>) -> ProofStream {
        ProofStream::range(self.inner.reader.clone(), start_slot, count, proof_types)
    }

    /// As `range`, of these revisions: one a revision, payload and type.
    pub fn range_of(&self, revisions: &[Revision], start_slot: Slot, count: u64) -> ProofStream {
        self.range(start_slot, count, Vec::new()).of(revisions)
    }

    /// What `range` would give of these revisions, without the proofs' bytes.
    pub async fn range_summaries(
        &self,
        revisions: &'static [Revision],
        start_slot: Slot,
        count: u64,
        proof_types: Vec<ProofType>,
    ) -> Result<Vec<ProofSummary>, StoreError> {
        self.read(move |r| {
            ProofStream::range(r.clone(), start_slot, count, proof_types)
                .of(revisions)
                .summaries_blocking()
        })
        .await
    }

    /// The proof under this key.
    pub async fn read_at(&self, key: RecordKey) -> Result<Option<StoredProof>, StoreError> {
        self.read(move |r| r.read(&key)).await
    }

    /// Proofs of `alpha` of these blocks, canonical or not, in this order, one a payload and type; empty types mean all.
    pub fn by_root(&self, blocks: Vec<(Root, Vec<ProofType>)>) -> ProofStream {
        ProofStream::by_root(self.inner.reader.clone(), blocks)
    }

    /// Proofs after `after` (from the oldest where `None`), at most `limit`, without their bytes.
    pub async fn list(
        &self,
        after: Option<RecordKey>,
        limit: usize,
    ) -> Result<Vec<ProofSummary>, StoreError> {
        self.read(move |r| r.list(after.as_ref(), limit)).await
    }

    /// What the store holds.
    pub async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.read(Reader::stats).await
    }

    /// Takes note of what the chain did, all of it in one commit. With finality in it, returns when pruning is done.
    pub async fn apply(&self, updates: Vec<ChainUpdate>) -> Result<(), StoreError> {
        self.submit(Work::Chain(updates)).await.map(drop)
    }

    /// A block became known, or its payload did.
    pub async fn on_block(&self, block: BlockUpdate) -> Result<(), StoreError> {
        self.apply(vec![ChainUpdate::Block(block)]).await
    }

    /// The head moved: it and its ancestors are canonical from now on, nothing above it is.
    pub async fn on_head(&self, head: BlockUpdate) -> Result<(), StoreError> {
        self.apply(vec![ChainUpdate::Head(head)]).await
    }

    /// Finality moved: orphaned payloads' proofs and what is out of retention go. Returns when they are gone.
    pub async fn on_finalized(
        &self,
        checkpoint: Checkpoint,
        slot: Slot,
        orphaned: Vec<Root>,
    ) -> Result<(), StoreError> {
        self.apply(vec![ChainUpdate::Finalized {
            checkpoint,
            slot,
            orphaned,
        }])
        .await
    }

    /// Writes the gate's records, all or none; on disk when this returns. They have a commit of their own that goes first:
    /// proofs that wait do not hold them up, only a commit that is under way does.
    pub async fn put_gate_records(&self, records: Vec<GateRecord>) -> Result<(), StoreError> {
        for (_, value) in &records {
            check_size(
                "a gate record",
                value.as_ref().map_or(0, Vec::len),
                MAX_SMALL_RECORD_BYTES,
            )?;
        }
        self.submit(Work::Gate(records)).await.map(drop)
    }

    /// As `put_gate_records`, for threads that may block.
    pub fn put_gate_records_blocking(&self, records: &[GateRecord]) -> Result<(), StoreError> {
        futures::executor::block_on(self.put_gate_records(records.to_vec()))
    }

    /// All of the gate's records. Blocks while it reads: for the start.
    pub fn load_gate_records(&self) -> Result<Vec<StoredGateRecord>, StoreError> {
        self.reader().load_gate_records()
    }

    /// Keeps a small value of the node under a name, or removes it; on disk when this returns.
    pub async fn put_node_value(&self, name: &str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        check_size(
            "a node value",
            value.as_ref().map_or(0, Vec::len),
            MAX_SMALL_RECORD_BYTES,
        )?;
        self.submit(Work::Node(name.to_owned(), value)).await.map(drop)
    }

    /// A small value of the node.
    pub async fn node_value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.read(move |r| r.node_value(&name)).await
    }

    /// Writes what waits in memory (contained validators, removal of damaged records); on disk when this returns.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.submit(Work::Pending).await.map(drop)
    }
}

pub(crate) fn check_size(what: &'static str, bytes: usize, max: usize) -> Result<(), StoreError> {
    if bytes > max {
        return Err(StoreError::TooLarge { what, bytes, max });
    }
    Ok(())
}

#[async_trait]
impl ProofSink for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    async fn accepted(&self, proof: &Arc<VerifiedProof>, _source: &Source) -> Result<(), SinkError> {
        let stored = self.put(proof).await;
        stored.map(drop).map_err(|error| SinkError {
            sink: "store",
            why: error.to_string(),
        })
    }
}

impl KnownProofs for Store {
    /// A look-up of two keys. What cannot be read is not known: a proof more is verified, none is lost.
    fn has_valid(&self, key: &ProofKey) -> bool {
        self.reader().has_valid(key).unwrap_or_else(|error| {
            tracing::debug!(%error, "known proofs could not be read");
            false
        })
    }

    fn has_valid_named(&self, name: &ProofName, new_payload_request_root: &Root) -> bool {
        self.reader()
            .has_named(name, new_payload_request_root)
            .unwrap_or_else(|error| {
                tracing::debug!(%error, "known proofs could not be read");
                false
            })
    }
}

impl ContainmentRecord for Store {
    fn contained_until(&self, validator: ValidatorIndex) -> Option<Slot> {
        self.reader().shared.contained.lock().until(validator)
    }

    /// Holds at once; on disk with the next commit, which follows at once unless the writer is busy.
    fn contain(&self, validator: ValidatorIndex, until: Slot) {
        let is_new = self.reader().shared.contained.lock().contain(validator, until);
        if is_new && let Some(lanes) = &self.inner.lanes {
            // A full queue means that a commit is coming anyway.
            let (answer, _) = oneshot::channel();
            let _ = lanes.bulk.try_send(Command {
                work: Work::Pending,
                answer,
            });
        }
    }
}
