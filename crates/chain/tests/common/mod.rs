//! Short names for invented blocks and payloads.
#![allow(dead_code, reason = "every test target uses its own part")]

use assay_chain::tree::{SeenBlock, SeenBlockPayload, SeenPayload};
use assay_types::{ForkName, Root, Slot};

/// A root that shows what it is: a kind and a number.
pub(crate) fn root(kind: u8, n: u64) -> Root {
    let mut bytes = [0; 32];
    bytes[0] = kind;
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    Root::from(bytes)
}

pub(crate) fn block_root(n: u64) -> Root {
    root(0xb0, n)
}
pub(crate) fn block_hash(n: u64) -> Root {
    root(0xee, n)
}
pub(crate) fn request_root(n: u64) -> Root {
    root(0xaa, n)
}
pub(crate) fn state_root(n: u64) -> Root {
    root(0x55, n)
}

/// The payload with number `n`, on payload `parent`.
pub(crate) fn payload(n: u64, parent: u64, slot: u64) -> SeenPayload {
    SeenPayload {
        new_payload_request_root: request_root(n),
        block_hash: block_hash(n),
        parent_hash: block_hash(parent),
        slot: Slot(slot),
        fork: ForkName::Fulu,
    }
}

/// A block that carries the payload of its own number.
pub(crate) fn fulu(n: u64, parent: u64, slot: u64) -> SeenBlock {
    SeenBlock {
        block_root: block_root(n),
        parent_root: block_root(parent),
        slot: Slot(slot),
        state_root: state_root(n),
        payload: SeenBlockPayload::Carried(payload(n, parent, slot)),
        execution_optimistic: false,
    }
}

/// A Gloas block that bids for the payload of its own number, on the payload `builds_on`.
pub(crate) fn gloas(n: u64, parent: u64, slot: u64, builds_on: u64) -> SeenBlock {
    SeenBlock {
        payload: SeenBlockPayload::Bid {
            block_hash: block_hash(n),
            parent_block_hash: block_hash(builds_on),
        },
        ..fulu(n, parent, slot)
    }
}
