//! How much room the store's disk has.

use std::{path::PathBuf, sync::Arc};

/// Bytes that this process may still write to the disk of `path`; asked anew at each call.
pub(super) fn free(path: PathBuf) -> Arc<dyn Fn() -> Option<u64> + Send + Sync> {
    Arc::new(move || {
        let disk = rustix::fs::statvfs(&path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_a_disk_and_a_path_that_is_none_has_not() {
        let dir = std::env::temp_dir();
        assert!(free(dir.clone())().is_some_and(|bytes| bytes > 0));
        assert_eq!(free(dir.join("assay-no-such-directory"))(), None);
    }
}
