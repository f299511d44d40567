//! The libp2p host: gossip, requests, discovery and peers.
//!
//! In: proofs from peers (gossip), proofs to publish (the `Publisher`, a `ProofSink`), the chain's clock and fork
//! schedule (`Chain`). Out: candidates for the verifier (its `Intake`), its verdicts told to gossipsub, a
//! `NetworkHandle` for API and metrics. It takes no part in verdicts.
//!
//! | file | what it holds |
//! |---|---|
//! | `config`, `error` | settings, and why the network did not start |
//! | `keys`, `enr`, `address` | node key, node records, peers as operators write them |
//! | `discovery` | discv5: queries, records, votes on our address |
//! | `framing` | the bytes of req/resp streams, without I/O |
//! | `gossip` | topics, parameters, validation, publishing |
//! | `peers` | who is connected, dialled, pruned, banned: a state machine; the peer store |
//! | `rpc` | requests and responses: server, requester, handshake |
//! | `sync` | proof sync: what is missing is asked of peers |
//! | `host` | the task that owns the swarm, and the handle to it |
//! | `counters` | what is counted |
//! | `backoff`, `bounded`, `files` | waits that double, maps that are bounded, files replaced as a whole |

pub mod address;
mod backoff;
mod bounded;
mod config;
mod counters;
mod discovery;
pub mod enr;
mod error;
mod files;
pub mod framing;
mod gossip;
mod host;
pub mod keys;
mod peers;
pub mod rpc;
mod sync;

pub use address::{PeerAddress, PeerAddressError};
pub use config::{DEFAULT_PORT, DEFAULT_TARGET_PEERS, NetworkConfig};
pub use counters::{NetworkCounters, all_metrics};
pub use error::NetworkError;
pub use gossip::{
    GossipParameters, PublishQueue, Publisher, TopicChange, TopicManager, TopicSchedule, publisher,
};
pub use host::{Identity, Metadata, Network, NetworkHandle, NetworkParts, start};
pub use keys::NodeKey;
pub use libp2p::{Multiaddr, PeerId};
pub use peers::{Direction, Fault, Goodbye, PeerCount, PeerInfo, PeerState, PeerStatus, read_kept_peers};
pub use rpc::{LocalProofStatus, ProofResponse, RequestError, Requester, RpcConfig};
pub use sync::{ProofSync, ProofSyncConfig, SyncState, WaitingPayloads};
