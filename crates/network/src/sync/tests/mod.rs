//! The planner: tables of what it asks, and a simulated network of peers of every kind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod asking;
mod bounds;
mod chain;
mod network;
mod peer;
mod world;

use super::limits::Settings;
use assay_types::{ProofKey, ProofType, Root, Slot, Spec};
use libp2p::PeerId;
use std::time::Duration;

/// Length of a slot.
const SLOT: Duration = Duration::from_secs(12);

fn settings(types: &[ProofType]) -> Settings {
    Settings::new(&Spec::mainnet(), types.to_vec(), 1)
}

/// An id that is the same in every run.
fn peer_id(n: usize) -> PeerId {
    let mut bytes = vec![0, 8];
    bytes.extend((n as u64).to_be_bytes());
    PeerId::from_bytes(&bytes).unwrap()
}

/// The root of a thing of a slot: `kind` tells blocks from payloads and branches from each other.
fn root(kind: u8, slot: u64) -> Root {
    let mut bytes = [kind; 32];
    bytes[..8].copy_from_slice(&slot.to_be_bytes());
    Root::from(bytes)
}

fn block_root(branch: u8, slot: Slot) -> Root {
    root(0x10 + branch, slot.0)
}

fn payload_root(branch: u8, slot: Slot) -> Root {
    root(0x20 + branch, slot.0)
}

fn key(branch: u8, slot: Slot, proof_type: ProofType) -> ProofKey {
    ProofKey {
        new_payload_request_root: payload_root(branch, slot),
        proof_type,
    }
}
