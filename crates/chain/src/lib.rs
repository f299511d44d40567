//! What a node knows of the chain.
//!
//! In: payloads from the Engine API (the gate) and blocks, heads, finality and validators from a beacon node's HTTP API
//! (the `follower`). Out: the `Chain` trait, which verification, store, gate and network ask, and `ChainEvent`s.
//! A library user implements `Chain` and leaves the follower out. Blocks for peers pass through (`BlockSource`).
//!
//! | file | what it holds |
//! |---|---|
//! | `view` | the `Chain` trait, its answers and events |
//! | `tree` | the block tree as a state machine without I/O |
//! | `chain_view` | `ChainView`: the tree behind a lock, fed by gate and follower; implements `Chain` |
//! | `follower` | the follower of a beacon node's HTTP API |
//! | `node_api` | a small client of the Beacon API: JSON, SSZ, events |
//! | `block_source` | `BlockSource`: what peers may be served from a beacon node, as a trait |
//! | `node_blocks` | `NodeBlocks`: its implementation over the Beacon API, and what is true in `status` |
//! | `seen` | from blocks, envelopes and requests to what the tree takes |
//! | `validators` | validators asked for one at a time, and kept |
//! | `clock` | wall-clock time and slots |

pub mod block_source;
pub mod chain_view;
pub mod clock;
pub mod follower;
pub mod node_api;
pub mod node_blocks;
pub mod seen;
pub mod tree;
pub mod validators;
pub mod view;

pub use block_source::{BlockAt, BlockSource, ChainStatus, KnownNode, KnownNodes, RawBlock, SourceError};
pub use chain_view::ChainView;
pub use clock::{Clock, ManualClock, SystemClock};
pub use follower::{Anchor, Bootstrap, ConnectError, Follower, PayloadObserver, ask_network, connect};
pub use node_api::NodeApi;
pub use node_blocks::{NodeBlocks, NodeBlocksConfig};
pub use seen::PayloadSeen;
pub use validators::{StateId, StateValidator, ValidatorSource};
pub use view::{
    BlockInfo, Chain, ChainEvent, Checkpoint, PayloadInfo, PayloadSource, ValidatorAnswer, ValidatorRecord,
};
