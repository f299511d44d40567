//! What a node knows of the chain.
//!
//! In: payloads from the Engine API (the gate) and blocks, heads, finality and validators from a beacon node's HTTP API
//! (the `follower`). Out: the `Chain` trait, which verification, store, gate and network ask, and `ChainEvent`s.
//! A library user implements `Chain` and leaves the follower out.
//!
//! | file | what it holds |
//! |---|---|
//! | `view` | the `Chain` trait, its answers and events |
//! | `tree` | the block tree as a state machine without I/O |
//! | `chain_view` | `ChainView`: the tree behind a lock, fed by gate and follower; implements `Chain` |
//! | `follower` | the follower of a beacon node |

pub mod tree;
pub mod view;

pub use view::{
    BlockInfo, Chain, ChainEvent, Checkpoint, PayloadInfo, PayloadSource, ValidatorAnswer, ValidatorRecord,
};
