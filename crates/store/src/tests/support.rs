use crate::{BlockUpdate, ChainIdentity, ChainUpdate, PutOutcome, RecordKey, Store, StoreConfig, StoreError};
use assay_chain::Checkpoint;
use assay_types::{Epoch, ProofKey, ProofType, Root, Slot};
use bytes::Bytes;
use std::path::PathBuf;
use tempfile::TempDir;

pub(super) const SLOTS_PER_EPOCH: u64 = 4;

/// A root that says what it is of.
pub(super) fn root(kind: u8, number: u64) -> Root {
    let mut root = [kind; 32];
    root[24..].copy_from_slice(&number.to_be_bytes());
    Root::from(root)
}

pub(super) fn payload(number: u64) -> Root {
    root(0xaa, number)
}

pub(super) fn block_root(number: u64) -> Root {
    root(0xbb, number)
}

pub(super) fn config() -> StoreConfig {
    StoreConfig {
        identity: ChainIdentity {
            genesis_validators_root: root(1, 1),
            chain_id: 1337,
            config_name: "testnet".into(),
        },
        request_form: assay_types::NewPayloadRequestForm::C,
        slots_per_epoch: SLOTS_PER_EPOCH,
        retention_epochs: 0,
        max_db_size: None,
        cache_bytes: 1024 * 1024,
    }
}

pub(super) fn key(slot: u64, payload_number: u64, proof_type: ProofType, validator_index: u64) -> RecordKey {
    RecordKey {
        slot: Slot(slot),
        root: payload(payload_number),
        proof_type,
        validator_index,
    }
}

/// The payload and kind of an `alpha` record.
pub(super) fn proof_key(key: &RecordKey) -> ProofKey {
    ProofKey {
        new_payload_request_root: key.root,
        proof_type: key.proof_type,
    }
}

/// Bytes that depend on the key, so that mixed-up records show.
pub(super) fn ssz(key: &RecordKey, len: usize) -> Bytes {
    let mut state = key.slot.0 ^ (u64::from(key.proof_type) << 40) ^ key.validator_index.rotate_left(17) | 1;
    state ^= u64::from_be_bytes(key.root.0[24..].try_into().unwrap()) << 8;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// Block `number` with payload of the same number.
pub(super) fn block(number: u64, parent: u64, slot: u64) -> BlockUpdate {
    BlockUpdate {
        block_root: block_root(number),
        parent_root: block_root(parent),
        slot: Slot(slot),
        new_payload_request_root: Some(payload(number)),
    }
}

/// A store in a directory of its own, with calls that block.
pub(super) struct TestStore {
    pub(super) directory: TempDir,
    pub(super) config: StoreConfig,
    store: Option<Store>,
}

impl TestStore {
    pub(super) fn new(config: StoreConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(Store::open(directory.path().join("proofs.redb"), config.clone()).unwrap());
        Self {
            directory,
            config,
            store,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join("proofs.redb")
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(super) fn close(&mut self) {
        self.store = None;
    }

    pub(super) fn reopen(&mut self) {
        self.close();
        self.store = Some(Store::open(self.path(), self.config.clone()).unwrap());
    }

    pub(super) fn try_put(&self, key: RecordKey, len: usize) -> Result<PutOutcome, StoreError> {
        wait(self.store().put_raw(key, ssz(&key, len)))
    }

    pub(super) fn put(&self, key: RecordKey, len: usize) {
        assert_eq!(self.try_put(key, len).unwrap(), PutOutcome::Stored);
    }

    pub(super) fn apply(&self, updates: Vec<ChainUpdate>) {
        wait(self.store().apply(updates)).unwrap();
    }

    pub(super) fn blocks(&self, blocks: &[BlockUpdate]) {
        self.apply(blocks.iter().copied().map(ChainUpdate::Block).collect());
    }

    pub(super) fn head(&self, head: BlockUpdate) {
        self.apply(vec![ChainUpdate::Head(head)]);
    }

    pub(super) fn finalize(&self, epoch: u64, block: &BlockUpdate, orphaned: &[Root]) {
        self.apply(vec![ChainUpdate::Finalized {
            checkpoint: Checkpoint {
                epoch: Epoch(epoch),
                root: block.block_root,
            },
            slot: block.slot,
            orphaned: orphaned.to_vec(),
        }]);
    }

    /// Every key on disk, in order.
    pub(super) fn keys(&self) -> Vec<RecordKey> {
        let list = self.store().reader().list(None, usize::MAX).unwrap();
        list.into_iter().map(|summary| summary.key).collect()
    }

    /// Checks a proof's bytes.
    pub(super) fn assert_holds(&self, key: RecordKey, len: usize) {
        let proof = self
            .store()
            .reader()
            .read(&key)
            .unwrap()
            .unwrap_or_else(|| panic!("{key:?} is not there"));
        assert_eq!(proof.record_key(), &key);
        assert_eq!(proof.ssz(), &ssz(&key, len), "{key:?}");
    }

    /// Canonical payloads' numbers in a range of slots, as the stream serves them.
    pub(super) fn range(&self, start: u64, count: u64, types: &[ProofType]) -> Vec<RecordKey> {
        let mut stream = self.store().range(Slot(start), count, types.to_vec());
        let mut keys = Vec::new();
        while let Some(proof) = stream.next_blocking().unwrap() {
            keys.push(*proof.record_key());
        }
        keys
    }
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}
