//! A disk that fails for a while: nothing acknowledged is lost, what failed is said, and writing works again by itself.

use super::support::{config, key, ssz, wait};
use crate::{PutOutcome, RecordKey, Store, StoreError, open};
use redb::{Database, StorageBackend, backends::FileBackend};
use std::{
    fs::OpenOptions,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

/// A file whose writes fail: after a number of them, until told otherwise.
#[derive(Debug)]
struct Faulty {
    file: FileBackend,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    is_failing: AtomicBool,
    /// Writes, syncs and changes of length still let through once it fails.
    let_through: AtomicI64,
}

impl Faults {
    fn check(&self) -> io::Result<()> {
        if self.is_failing.load(Ordering::SeqCst) && self.let_through.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "no space left on device",
            ));
        }
        Ok(())
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.faults.check()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.check()?;
        self.file.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

fn open_faulty(path: &Path, faults: &Arc<Faults>) -> Store {
    let (file, faults) = (path.to_owned(), faults.clone());
    let opener = Box::new(move || {
        let faulty = || -> Result<Database, redb::Error> {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&file)?;
            let backend = Faulty {
                file: FileBackend::new(file)?,
                faults: faults.clone(),
            };
            Ok(Database::builder()
                .set_cache_size(1024 * 1024)
                .create_with_backend(backend)?)
        };
        faulty()
            .map(Into::into)
            .map_err(|e| StoreError::from_redb(&file, e))
    });
    let shared = open::open_with(path, &config(), opener).unwrap();
    Store::start(shared, config()).unwrap()
}

fn put(store: &Store, k: RecordKey) -> Result<PutOutcome, StoreError> {
    wait(store.put_raw(k, ssz(&k, 3000)))
}

#[test]
fn a_full_disk_is_said_and_got_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proofs.redb");
    let faults = Arc::new(Faults::default());
    let store = open_faulty(&path, &faults);
    let mut acknowledged = Vec::new();
    for round in 0..40 {
        let mut n = round * 100;
        let mut next = || {
            n += 1;
            key(n, n, 1, 1)
        };
        let before = next();
        assert_eq!(put(&store, before).unwrap(), PutOutcome::Stored, "round {round}");
        acknowledged.push(before);
        // The disk fails in the middle of a commit, a little later every round.
        faults.let_through.store(round as i64, Ordering::SeqCst);
        faults.is_failing.store(true, Ordering::SeqCst);
        let mut failed = 0;
        while failed < 2 {
            let k = next();
            match put(&store, k) {
                Ok(_) => acknowledged.push(k),
                Err(error) => {
                    assert!(matches!(error, StoreError::Io { .. }), "round {round}: {error}");
                    failed += 1;
                }
            }
        }
        assert!(wait(store.put_gate_records(vec![([1; 32], Some(vec![round as u8]))])).is_err());
        faults.is_failing.store(false, Ordering::SeqCst);
        let after = next();
        assert_eq!(
            put(&store, after).unwrap(),
            PutOutcome::Stored,
            "round {round}: works again"
        );
        acknowledged.push(after);
        for k in &acknowledged {
            let proof = store
                .reader()
                .read(k)
                .unwrap()
                .expect("acknowledged before or after the fault");
            assert_eq!(proof.ssz(), &ssz(k, 3000));
        }
    }
    assert!(store.reader().stats().unwrap().is_healthy);
    assert_eq!(store.load_gate_records().unwrap(), []);
    drop(store);
    let store = Store::open(&path, config()).unwrap();
    for k in &acknowledged {
        assert!(store.reader().read(k).unwrap().is_some(), "{k:?}");
    }
}
