//! What the handle and the writing thread share: the database, what is kept in memory beside it, counters.

use crate::{
    error::{StoreError, TxResult},
    record::RecordKey,
};
use assay_types::{Slot, ValidatorIndex};
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Most validators kept as contained; beyond them the one released soonest is let go.
pub const MAX_CONTAINED: usize = 16 * 1024;
/// Most damaged records that wait for their removal.
const MAX_CORRUPT_WAITING: usize = 256;

/// Opens the database (again).
pub(crate) type Opener = Box<dyn Fn() -> Result<OpenDatabase, StoreError> + Send + Sync>;

/// A database whose closing cannot panic: over a damaged file redb's may, and nobody waits for the result.
pub(crate) struct OpenDatabase(Option<Database>);

impl From<Database> for OpenDatabase {
    fn from(database: Database) -> Self {
        Self(Some(database))
    }
}

impl OpenDatabase {
    /// Runs `work` on it. A damaged file can make the database code panic: that is an error here.
    pub(crate) fn with<T>(
        &self,
        path: &Path,
        work: impl FnOnce(&Database) -> TxResult<T>,
    ) -> Result<T, StoreError> {
        let Some(database) = &self.0 else {
            return Err(StoreError::Closed);
        };
        guarded(path, || work(database))
    }

    /// As `with`, on the last commit.
    pub(crate) fn read<T>(
        &self,
        path: &Path,
        work: impl FnOnce(&ReadTransaction) -> TxResult<T>,
    ) -> Result<T, StoreError> {
        self.with(path, |database| work(&database.begin_read()?))
    }

    /// Whether every page of the last commit has the checksum it was written with.
    pub(crate) fn is_whole(&mut self, path: &Path) -> Result<bool, StoreError> {
        let Some(database) = &mut self.0 else {
            return Err(StoreError::Closed);
        };
        guarded(path, || Ok(database.check_integrity()?))
    }

    /// Moves what is used to the front and shortens the file. Returns whether it did anything.
    pub(crate) fn compact(&mut self, path: &Path) -> Result<bool, StoreError> {
        let Some(database) = &mut self.0 else {
            return Err(StoreError::Closed);
        };
        guarded(path, || Ok(database.compact()?))
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        let database = self.0.take();
        let _ = contained(|| drop(database));
    }
}

/// A panic of the database code as the error it stands for.
pub(crate) fn guarded<T>(path: &Path, work: impl FnOnce() -> TxResult<T>) -> Result<T, StoreError> {
    match contained(work) {
        Ok(result) => result.map_err(|e| e.at(path)),
        Err(panic) => Err(StoreError::Corrupted {
            path: path.to_owned(),
            why: format!("the database code panicked over it: {panic}"),
        }),
    }
}

thread_local! {
    /// A panic of this thread is an error that somebody returns: it has no lines of its own on standard error.
    static CONTAINS_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// Runs what may panic over a damaged file; the panic's words in place of its result then.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // Once for the process, and for marked threads alone: a hook put in and out again would be another thread's for a moment.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !CONTAINS_PANICS.get() {
                before(panic);
            }
        }));
    });
    let outer = CONTAINS_PANICS.replace(true);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(work));
    CONTAINS_PANICS.set(outer);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("without a word")
            .to_owned()
    })
}

pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    opener: Opener,
    /// `None` while it could not be opened again after an error.
    database: RwLock<Option<OpenDatabase>>,
    /// Whether nodes ran with another form of the request root on it than today's.
    pub(crate) has_other_forms: bool,
    pub(crate) contained: Mutex<Contained>,
    /// Records whose checksum failed; the writer removes them.
    pub(crate) corrupt: Mutex<BTreeSet<RecordKey>>,
    pub(crate) corrupted: AtomicU64,
    pub(crate) pruned: AtomicU64,
    /// Whether the last commit succeeded.
    pub(crate) is_healthy: AtomicBool,
}

/// Contained validators, and which of them the writer has yet to write.
#[derive(Debug, Default)]
pub(crate) struct Contained {
    until: BTreeMap<ValidatorIndex, Slot>,
    unwritten: BTreeMap<ValidatorIndex, Option<Slot>>,
}

impl Contained {
    pub(crate) fn loaded(until: BTreeMap<ValidatorIndex, Slot>) -> Self {
        Self {
            until,
            unwritten: BTreeMap::new(),
        }
    }

    pub(crate) fn until(&self, validator: ValidatorIndex) -> Option<Slot> {
        self.until.get(&validator).copied()
    }

    /// A later slot wins. Returns whether there is something to write.
    pub(crate) fn contain(&mut self, validator: ValidatorIndex, until: Slot) -> bool {
        if self.until(validator).is_some_and(|known| known >= until) {
            return false;
        }
        self.until.insert(validator, until);
        self.unwritten.insert(validator, Some(until));
        if self.until.len() > MAX_CONTAINED {
            let soonest = self
                .until
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(v, _)| *v);
            if let Some(soonest) = soonest {
                self.release(soonest);
            }
        }
        true
    }

    /// Lets go of those contained until a slot that is final.
    pub(crate) fn release_through(&mut self, finalized: Slot) {
        let over: Vec<_> = self
            .until
            .iter()
            .filter(|(_, until)| **until <= finalized)
            .map(|(v, _)| *v)
            .collect();
        for validator in over {
            self.release(validator);
        }
    }

    fn release(&mut self, validator: ValidatorIndex) {
        self.until.remove(&validator);
        self.unwritten.insert(validator, None);
    }

    /// What has to be written, `None` for entries to be removed.
    pub(crate) fn take_unwritten(&mut self) -> BTreeMap<ValidatorIndex, Option<Slot>> {
        std::mem::take(&mut self.unwritten)
    }

    /// Gives back what could not be written; newer changes win.
    pub(crate) fn put_back(&mut self, unwritten: BTreeMap<ValidatorIndex, Option<Slot>>) {
        for (validator, until) in unwritten {
            self.unwritten.entry(validator).or_insert(until);
        }
    }
}

impl Shared {
    pub(crate) fn new(path: PathBuf, opener: Opener, database: OpenDatabase, contained: Contained) -> Self {
        Self {
            path,
            opener,
            database: RwLock::new(Some(database)),
            has_other_forms: false,
            contained: Mutex::new(contained),
            corrupt: Mutex::default(),
            corrupted: AtomicU64::new(0),
            pruned: AtomicU64::new(0),
            is_healthy: AtomicBool::new(true),
        }
    }

    /// Runs `work` on the database, as `OpenDatabase::with`.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> TxResult<T>) -> Result<T, StoreError> {
        let guard = self.database.read();
        guard.as_ref().ok_or_else(|| self.gone())?.with(&self.path, work)
    }

    fn gone(&self) -> StoreError {
        StoreError::Io {
            path: self.path.clone(),
            why: "it could not be opened again after an error".into(),
        }
    }

    /// As `OpenDatabase::is_whole`, once reads under way are over.
    pub(crate) fn is_whole(&self) -> Result<bool, StoreError> {
        let mut guard = self.database.write();
        guard.as_mut().ok_or_else(|| self.gone())?.is_whole(&self.path)
    }

    /// As `OpenDatabase::compact`, once reads under way are over.
    pub(crate) fn compact(&self) -> Result<bool, StoreError> {
        let mut guard = self.database.write();
        guard.as_mut().ok_or_else(|| self.gone())?.compact(&self.path)
    }

    /// Runs `work` on the last commit.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> TxResult<T>,
    ) -> Result<T, StoreError> {
        let guard = self.database.read();
        guard.as_ref().ok_or_else(|| self.gone())?.read(&self.path, work)
    }

    /// Closes the database and opens it again: after a failed write redb answers nothing more. Waits for reads under way.
    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        let mut guard = self.database.write();
        // The lock on the file must be gone before the file can be opened.
        drop(guard.take());
        *guard = Some((self.opener)()?);
        Ok(())
    }

    /// Counts a damaged record, once, and hands it to the writer. Returns whether it was new.
    pub(crate) fn report_corrupt(&self, key: RecordKey, why: &'static str) -> bool {
        let mut waiting = self.corrupt.lock();
        if waiting.len() >= MAX_CORRUPT_WAITING || !waiting.insert(key) {
            return false;
        }
        self.corrupted.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            slot = key.slot.0,
            names = %key.root,
            proof_type = key.proof_type,
            validator_index = key.validator_index,
            why,
            "a proof on disk is damaged; it is removed and not served"
        );
        true
    }
}
