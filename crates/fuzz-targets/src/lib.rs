//! For tests alone: what must hold of every decoder that reads from the network, whatever bytes it is given.
//!
//! In: bytes that a peer, a beacon node, an execution client or a caller could send. Out: whether they were taken; a
//! panic is a finding. Each target is a plain function, called by a fuzz target of the same name (`fuzz/`) and, for the
//! corpora that are kept, by `tests/replay.rs` on every run of the tests.
//!
//! | file | targets |
//! |---|---|
//! | `proofs` | `gossip_data`, `signed_proof`, `req_resp_containers`, `proof_json` |
//! | `posting` | `post_body` |
//! | `framing` | `framing_request`, `framing_response` |
//! | `base` | `base_messages` |
//! | `records` | `node_record`, `kept_peers` |
//! | `engine` | `engine_call`, `engine_answer`, `engine_token` |
//! | `sniffing` | `engine_sniff` |
//! | `blocks` | `beacon_block`, `payload_envelope`, `block_json` |
//! | `shapes` | `containers` |
//! | `follower` | `node_event`, `spec_config` |
//!
//! What a target asks is more than that nothing panics: what decodes encodes to the same bytes, a root has one value
//! whichever way it is computed, no accepted value is over its limit, and bytes that come in pieces mean the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is how a finding is told"
)]

mod base;
mod blocks;
mod engine;
mod follower;
mod framing;
pub mod posting;
mod proofs;
mod records;
mod shapes;
mod sniffing;

// The reader of posted bodies finds its error here, as it does in crates/api.
use posting::error::ApiError;

use assay_types::{Preset, Spec};
use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

/// What a decoder said of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Seen {
    /// It was taken, and everything asked of what is taken held.
    Accepted,
    /// It was refused with an error.
    Refused,
}

impl Seen {
    fn of<T, E>(result: &Result<T, E>) -> Self {
        Self::accepted(result.is_ok())
    }

    fn accepted(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}

/// A target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of the fuzz target and of the corpus folder.
    pub name: &'static str,
    /// Asks everything of one input. Panics where something does not hold.
    pub run: fn(&[u8]) -> Seen,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("gossip_data", proofs::gossip_data),
    target("signed_proof", proofs::signed_proof),
    target("req_resp_containers", proofs::req_resp_containers),
    target("proof_json", proofs::proof_json),
    target("post_body", posting::post_body),
    target("framing_request", framing::framing_request),
    target("framing_response", framing::framing_response),
    target("base_messages", base::base_messages),
    target("node_record", records::node_record),
    target("kept_peers", records::kept_peers),
    target("engine_call", engine::engine_call),
    target("engine_answer", engine::engine_answer),
    target("engine_token", engine::engine_token),
    target("engine_sniff", sniffing::engine_sniff),
    target("beacon_block", blocks::beacon_block),
    target("payload_envelope", blocks::payload_envelope),
    target("block_json", blocks::block_json),
    target("containers", shapes::containers),
    target("node_event", follower::node_event),
    target("spec_config", follower::spec_config),
];

const fn target(name: &'static str, run: fn(&[u8]) -> Seen) -> Target {
    Target { name, run }
}

/// Runs the target of that name, as a fuzz target does. Panics where there is none.
pub fn run(name: &str, data: &[u8]) -> Seen {
    FUZZED.store(true, Ordering::Relaxed);
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("no target has this name").run)(data)
}

/// Whether a fuzzer brings the inputs.
static FUZZED: AtomicBool = AtomicBool::new(false);
/// Of so many accepted inputs of a fuzzer, one is asked everything.
const ASKED_EVERYTHING: u64 = 16;

/// Whether what costs a hundred times the decoding (roots, JSON and back) is asked of this input: of every one that is
/// replayed, and of some of a fuzzer's, chosen by their bytes, so that an input always means the same.
fn asks_everything(data: &[u8]) -> bool {
    let mixed = data.iter().fold(0u64, |mixed, byte| {
        (mixed ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    !FUZZED.load(Ordering::Relaxed) || (mixed >> 32) % ASKED_EVERYTHING == 0
}

/// A spec of each preset.
fn spec(preset: Preset) -> &'static Spec {
    static MAINNET: OnceLock<Spec> = OnceLock::new();
    static MINIMAL: OnceLock<Spec> = OnceLock::new();
    match preset {
        Preset::Mainnet => MAINNET.get_or_init(Spec::mainnet),
        Preset::Minimal => MINIMAL.get_or_init(Spec::minimal),
    }
}

/// One of `all`, chosen by a byte.
fn choose<T: Copy>(all: &[T], byte: u8) -> T {
    all[usize::from(byte) % all.len()]
}
