//! Every bound and time of proof sync.

use assay_types::{Epoch, Revision, Slot, Spec};
use std::time::Duration;

/// Peers that are told apart as sources; further ones are not asked until one of these has gone.
pub(crate) const MAX_SOURCES: usize = 256;
/// Blocks planned for at once, the newest: some 4.5 days of mainnet without finality, in some 15 MB.
pub(crate) const MAX_BLOCKS: usize = 32 * 1024;
/// How often every peer is asked for one proof: once a round, with a growing pause after each round.
pub(crate) const ROUNDS: u8 = 5;
/// The longest pause between rounds, in slots; the first is one slot, each further one twice as long.
pub(crate) const MAX_ROUND_PAUSE_SLOTS: u32 = 16;
/// Requests under way for what is missing from of old.
pub(crate) const MAX_BACKFILL_REQUESTS: usize = 8;
/// Requests under way for payloads that wait now, beside those.
pub(crate) const MAX_URGENT_REQUESTS: usize = 8;
/// Proofs asked of a peer at a time, as long as it has shown nothing; doubles with every request served whole.
pub(crate) const FIRST_BATCH: usize = 8;
/// Expected bytes of one response.
pub(crate) const MAX_RESPONSE_BYTES: u64 = 64 * 1024 * 1024;
/// Failures in a row after which a peer is asked no more until it connects again.
pub(crate) const MAX_FAILURES: u8 = 5;
/// Rejected proofs after which a peer is asked no more until it connects again.
pub(crate) const MAX_REJECTED: u8 = 3;
/// Pause of a peer after its first failure; doubles with each further one in a row.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest such pause.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A request that brings nothing for so long is given up. The time-outs of its stages are shorter; this one holds
/// whatever they do.
pub(crate) const REQUEST_PATIENCE: Duration = Duration::from_secs(40);
/// A request is given up when its proofs come slower than this, in bytes a second of what was expected.
pub(crate) const MIN_BYTES_PER_SECOND: u64 = 32 * 1024;
/// A status question without an answer is forgotten after this.
pub(crate) const STATUS_PATIENCE: Duration = Duration::from_secs(30);
/// A peer's status is asked for anew when it is older, as long as something is wanted; in slots.
pub(crate) const STATUS_AGE_SLOTS: u32 = 8;
/// The pause of a proof that this node could not judge, before it is asked for again, and of everything once that was so
/// of `UNJUDGED_IN_A_ROW`; doubles up to the longest.
pub(crate) const FIRST_OWN_PAUSE: Duration = Duration::from_secs(1);
/// Proofs in a row, with no verdict between them, that have to wait for the proof engine or the beacon node until it is
/// this node that cannot judge, and not these proofs that cannot be judged. Of so many the bytes are fetched in vain.
pub(crate) const UNJUDGED_IN_A_ROW: usize = 4;
/// The longest such pause.
pub(crate) const MAX_OWN_PAUSE: Duration = Duration::from_secs(60);
/// Blocks so close to the present slot are urgent.
pub(crate) const URGENT_SLOTS: u64 = 2;
/// What a proof is taken to be as long as none of its type has been seen, in bytes (protocol.md section 10).
pub(crate) const EXPECTED_PROOF_BYTES: u64 = 512 * 1024;

/// What the network's values say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Length of a slot.
    pub(crate) slot: Duration,
    /// Proof types this node wants, preferred first.
    pub(crate) types: Vec<u8>,
    /// Distinct types, of those that count, that make a payload sufficiently proven.
    pub(crate) required: usize,
    /// Types that count for it.
    pub(crate) counted: Vec<u8>,
    /// Most identifiers of a by-root request.
    pub(crate) max_identifiers: usize,
    /// Most proofs of a response.
    pub(crate) max_proofs: usize,
    /// Most types named at once: in an identifier, a range request, a status.
    pub(crate) max_types: usize,
    /// Most slots of a range.
    pub(crate) max_count: u64,
    /// By slot ascending: whether peers are asked for proofs of blocks from there on. `beta` has no req/resp.
    asked_from: Vec<(Slot, bool)>,
}

impl Settings {
    /// For a network, a node that verifies `types` and calls a payload proven with `required` of them.
    pub(crate) fn new(spec: &Spec, types: Vec<u8>, required: usize) -> Self {
        let per_payload = spec.max_execution_proofs_per_payload.max(1);
        let max_proofs = spec.max_request_execution_proofs();
        Self {
            slot: Duration::from_millis(spec.slot_duration_ms.max(1)),
            counted: types.clone(),
            types,
            required,
            max_identifiers: usize::try_from(spec.max_request_blocks_deneb).unwrap_or(usize::MAX),
            max_proofs: usize::try_from(max_proofs).unwrap_or(usize::MAX),
            max_types: usize::try_from(per_payload).unwrap_or(usize::MAX),
            max_count: max_proofs / per_payload,
            asked_from: spec
                .fork_schedule
                .iter()
                .filter(|entry| entry.2 != Epoch::FAR_FUTURE)
                .map(|(fork, _, epoch)| {
                    let is_asked = spec.revision_at(*fork) == Revision::Alpha;
                    (spec.start_slot(*epoch), is_asked)
                })
                .collect(),
        }
    }

    /// Peers are asked for proofs of every revision.
    pub(crate) fn ask_everywhere(&mut self) {
        self.asked_from.clear();
    }

    /// The types that peers are asked for of a block: those wanted, or none where nobody serves them.
    pub(crate) fn types_at(&self, slot: Slot) -> &[u8] {
        let last = self.asked_from.iter().rev().find(|(from, _)| *from <= slot);
        if last.is_none_or(|(_, is_asked)| *is_asked) {
            &self.types
        } else {
            &[]
        }
    }

    /// How long gossip may take to bring a payload's proofs before they are asked for: provers have most of a slot.
    pub(crate) fn grace(&self) -> Duration {
        self.slot
    }

    /// The pause after a round (from 0).
    pub(crate) fn round_pause(&self, round: u8) -> Duration {
        let slots = 1u32
            .checked_shl(u32::from(round))
            .unwrap_or(MAX_ROUND_PAUSE_SLOTS)
            .min(MAX_ROUND_PAUSE_SLOTS);
        self.slot.saturating_mul(slots)
    }

    /// When a proof that waits now is asked of a second peer.
    pub(crate) fn hedge_after(&self) -> Duration {
        self.slot / 4
    }
}
