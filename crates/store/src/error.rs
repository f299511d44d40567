//! What can go wrong with a database, and the way out.

use crate::config::ChainIdentity;
use std::path::{Path, PathBuf};

/// The store could not do what it was asked. The text says what a user can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error(
        "{path}: another process has this database open; stop that process, or give this node a directory of its own \
         with --datadir"
    )]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// It holds another chain.
    #[error(
        "{path} holds proofs of {found}, but this node is on {expected}; connect to a beacon node of the first chain, \
         or give this node another directory with --datadir"
    )]
    OtherChain {
        /// The database file.
        path: PathBuf,
        /// The chain it was made for.
        found: Box<ChainIdentity>,
        /// The chain of this node.
        expected: Box<ChainIdentity>,
    },
    /// A later version of this program wrote it.
    #[error(
        "{path} has schema version {found}, this program reads version {known}; use the version that wrote it, or \
         give this node another directory with --datadir"
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest version this program reads.
        known: u32,
    },
    /// It is damaged, or not a database of this program.
    #[error(
        "{path} is damaged or not a database of this program ({why}); move the file away and start again: proofs are \
         fetched from peers anew, the gate's recorded verdicts are lost with the file"
    )]
    Corrupted {
        /// The database file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// The file system refused.
    #[error(
        "{path}: {why}; check that the directory exists, is writable, and that its disk is neither full nor failing"
    )]
    Io {
        /// The database file or its directory.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// More bytes than a record may have.
    #[error("{what} of {bytes} bytes is larger than the {max} bytes a record may have")]
    TooLarge {
        /// What was to be written.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// Most bytes.
        max: usize,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// From any of redb's errors.
    pub(crate) fn from_redb(path: &Path, error: redb::Error) -> Self {
        let path = path.to_owned();
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Locked { path },
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Self::Corrupted {
                path,
                why: error.to_string(),
            },
            redb::Error::Io(error) => Self::Io {
                path,
                why: error.to_string(),
            },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Self::Io {
                path,
                why: "an earlier write failed".into(),
            },
            other => Self::Corrupted {
                path,
                why: other.to_string(),
            },
        }
    }
}

/// An error inside a transaction: the path is added where it leaves the store.
#[derive(Debug)]
pub(crate) enum TxError {
    Redb(redb::Error),
    Damaged(&'static str),
}

impl TxError {
    pub(crate) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Redb(error) => StoreError::from_redb(path, error),
            Self::Damaged(why) => StoreError::Corrupted {
                path: path.to_owned(),
                why: why.into(),
            },
        }
    }
}

macro_rules! from_redb {
    ($($error:ident),+) => {
        $(impl From<redb::$error> for TxError {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        })+
    };
}
from_redb!(
    StorageError,
    TableError,
    TransactionError,
    CommitError,
    SetDurabilityError,
    DatabaseError,
    CompactionError
);

pub(crate) type TxResult<T> = Result<T, TxError>;
