//! What can go wrong when the network starts, and what a user can do about it.

use std::path::PathBuf;

/// Why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The node key's file is there and is no key.
    #[error(
        "{path} is not a node key ({why}); put the right file back, or remove it and the node gets a new identity"
    )]
    DamagedKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the data directory could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The node record could not be made (too many or too large entries).
    #[error("the node record could not be made: {0}")]
    Enr(String),
    /// The port is taken.
    #[error("{address} (--{flag}) is in use by another process; stop it or choose another --{flag}")]
    PortInUse {
        /// Address and port asked for.
        address: std::net::SocketAddr,
        /// The flag that chooses it: `port`, `quic-port`, `discovery-port`.
        flag: &'static str,
    },
    /// It could not be listened on an address for another reason.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Address and port asked for.
        address: std::net::SocketAddr,
        /// What the system said.
        why: String,
    },
    /// A setting that contradicts itself or libp2p.
    #[error("network settings: {0}")]
    Settings(String),
}
