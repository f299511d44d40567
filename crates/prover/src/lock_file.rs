//! Whether another process uses a keystore, by the lock beside it. Validator clients differ: Lighthouse and Nimbus lock a
//! file with the system, Teku writes its process id into one, Lodestar makes a directory that it touches while it runs.

use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, metadata},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A lock directory that was not touched for this long belongs to nobody any more.
const STALE_DIRECTORY: Duration = Duration::from_secs(60);

/// The lock that says that another process has the keystore at `path`; `None`: nobody has.
pub(crate) fn held_by_another(path: &Path) -> Option<PathBuf> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    if is_locked(path) {
        return Some(path.to_owned());
    }
    let held = match metadata(&beside) {
        Err(error) => error.kind() != ErrorKind::NotFound,
        Ok(found) if found.is_dir() => found
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok())
            .is_none_or(|age| age < STALE_DIRECTORY),
        Ok(_) => is_locked(&beside) || names_a_process(&beside),
    };
    held.then_some(beside)
}

/// Another process holds the system's lock on this file.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return false;
    };
    // Given back at once: what is asked is only whether it could be had.
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => false,
        Err(error) => error == rustix::io::Errno::WOULDBLOCK,
    }
}

/// The file holds the id of a process that lives.
fn names_a_process(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // A negative number would be a group of processes.
    let pid = text.trim().parse().ok().filter(|pid: &i32| *pid > 0);
    let pid = pid.and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| match rustix::process::test_kill_process(pid) {
        Ok(()) => true,
        // It is there, and belongs to somebody else.
        Err(error) => error == rustix::io::Errno::PERM,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn locks_of_every_kind() {
        let dir = tempfile::tempdir().unwrap();
        let keystore = dir.path().join("voting-keystore.json");
        let lock = dir.path().join("voting-keystore.json.lock");
        std::fs::write(&keystore, "{}").unwrap();
        assert_eq!(held_by_another(&keystore), None, "no lock");

        std::fs::write(&lock, "").unwrap();
        assert_eq!(held_by_another(&keystore), None, "left behind by a crash");
        let file = File::open(&lock).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        assert_eq!(held_by_another(&keystore), Some(lock.clone()), "locked beside");
        drop(file);
        assert_eq!(held_by_another(&keystore), None);

        let file = File::open(&keystore).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        assert_eq!(
            held_by_another(&keystore),
            Some(keystore.clone()),
            "locked itself"
        );
        drop(file);

        std::fs::write(&lock, std::process::id().to_string()).unwrap();
        assert_eq!(
            held_by_another(&keystore),
            Some(lock.clone()),
            "a process that lives"
        );
        for text in ["2147483647", "-1", "0", "no number"] {
            std::fs::write(&lock, text).unwrap();
            assert_eq!(held_by_another(&keystore), None, "{text}");
        }

        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir(&lock).unwrap();
        assert_eq!(
            held_by_another(&keystore),
            Some(lock.clone()),
            "a directory just made"
        );
        let old = SystemTime::now() - Duration::from_secs(3600);
        File::open(&lock).unwrap().set_modified(old).unwrap();
        assert_eq!(held_by_another(&keystore), None, "a directory of long ago");
    }
}
