//! The libp2p host: gossip, requests, discovery and peers

pub mod address;
pub mod enr;
mod error;
mod files;
pub mod framing;
pub mod keys;

pub use address::{PeerAddress, PeerAddressError};
pub use error::NetworkError;
pub use keys::NodeKey;
