//! Small files of the data directory, replaced as a whole or not at all.

use crate::NetworkError;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner alone (mode 0600).
    Owner,
    /// Whoever the umask allows.
    Umask,
}

/// The file's text; `None` where there is no file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, NetworkError> {
    match fs::read(path) {
        // Bytes that are no text are for the caller to call damaged.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NetworkError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Writes `text` beside the file and moves it into place: a crash leaves the old file or the new one.
pub(crate) fn replace(path: &Path, text: &str, readers: Readers) -> Result<(), NetworkError> {
    write_and_rename(path, text, readers).map_err(|source| NetworkError::File {
        path: path.to_owned(),
        source,
    })
}

fn write_and_rename(path: &Path, text: &str, readers: Readers) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(directory)?;
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    if readers == Readers::Owner {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    // What an earlier crash left may have other permissions.
    if let Err(e) = fs::remove_file(&beside)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = options.open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    Ok(())
}
