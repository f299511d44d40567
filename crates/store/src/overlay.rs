//! A file that is read and never changed: what is written stays in memory and is forgotten. A database that was not closed
//! (a copy of a running node's, what a kill left) wants to be put in order when it is opened, and a look at it must not.

use redb::{BackendError, StorageBackend, backends::FileBackend};
use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Bound,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Bytes of the file that are laid over together.
const BLOCK: usize = 4096;

#[derive(Debug)]
pub(crate) struct Overlay {
    file: FileBackend,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    len: u64,
    blocks: HashMap<u64, Box<[u8; BLOCK]>>,
}

impl Overlay {
    pub(crate) fn open(path: &Path) -> Result<Self, redb::DatabaseError> {
        let file = FileBackend::new(File::open(path)?)?;
        let len = file.len()?;
        let blocks = HashMap::new();
        Ok(Self {
            file,
            over: Mutex::new(Over { len, blocks }),
        })
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it is below: zeros beyond the file's end.
    fn below(&self, block: u64) -> io::Result<Box<[u8; BLOCK]>> {
        let mut bytes = Box::new([0; BLOCK]);
        let start = block * BLOCK as u64;
        let there = self.file.len()?.saturating_sub(start).min(BLOCK as u64) as usize;
        if there > 0 {
            self.file.read(start, &mut bytes[..there])?;
        }
        Ok(bytes)
    }
}

/// The parts of a stretch, each with its block and where it begins in it.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK as u64) as usize;
        let take = (BLOCK - within).min(len - done);
        let part = (at / BLOCK as u64, within, done..done + take);
        done += take;
        (take > 0).then_some(part)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.over().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.over();
        if offset.saturating_add(out.len() as u64) > over.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if over.blocks.is_empty() && offset + out.len() as u64 <= self.file.len()? {
            drop(over);
            return self.file.read(offset, out);
        }
        for (block, within, part) in parts(offset, out.len()) {
            let part = &mut out[part];
            match over.blocks.get(&block) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + part.len()]),
                None => part.copy_from_slice(&self.below(block)?[within..within + part.len()]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = self.over();
        let cut = len..over.len;
        over.len = len;
        // What comes back after a cut is zeros, whatever the file has there.
        for block in cut.start / BLOCK as u64..cut.end.div_ceil(BLOCK as u64).max(cut.start / BLOCK as u64) {
            let mut bytes = match over.blocks.remove(&block) {
                Some(bytes) => bytes,
                None => self.below(block)?,
            };
            let kept = len.saturating_sub(block * BLOCK as u64).min(BLOCK as u64) as usize;
            bytes[kept..].fill(0);
            over.blocks.insert(block, bytes);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.over();
        for (block, within, part) in parts(offset, data.len()) {
            let part = &data[part];
            let bytes = match over.blocks.entry(block) {
                std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::hash_map::Entry::Vacant(new) => new.insert(self.below(block)?),
            };
            bytes[within..within + part.len()].copy_from_slice(part);
        }
        over.len = over.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    // Whoever writes has the file alone, whoever reads shares it with readers.

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// As a file that is written, and the file below stays as it is.
        #[test]
        fn what_is_written_is_read_and_the_file_stays(
            below in prop::collection::vec(any::<u8>(), 0..20_000),
            steps in prop::collection::vec((0u8..3, 0usize..24_000, 1usize..9_000, any::<u8>()), 1..12),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            std::fs::write(&path, &below).unwrap();
            let overlay = Overlay::open(&path).unwrap();
            let mut model = below.clone();
            for (step, at, len, byte) in steps {
                match step {
                    0 => {
                        overlay.write(at as u64, &vec![byte; len]).unwrap();
                        model.resize(model.len().max(at + len), 0);
                        model[at..at + len].fill(byte);
                    }
                    1 => {
                        overlay.set_len(at as u64).unwrap();
                        model.resize(at, 0);
                    }
                    _ => {
                        let mut read = vec![0; len];
                        let is_there = at + len <= model.len();
                        prop_assert_eq!(overlay.read(at as u64, &mut read).is_ok(), is_there);
                        if is_there {
                            prop_assert!(read == model[at..at + len]);
                        }
                    }
                }
                prop_assert_eq!(overlay.len().unwrap(), model.len() as u64);
            }
            let mut all = vec![0; model.len()];
            overlay.read(0, &mut all).unwrap();
            prop_assert!(all == model);
            prop_assert!(std::fs::read(&path).unwrap() == below);
        }
    }
}
