//! Whether a peer's status is of this network and fork (phase0 p2p, Status).

use crate::PeerStatus;
use assay_chain::Chain;
use assay_types::Slot;

/// Slots by which a peer's clock may run ahead of ours.
const CLOCK_TOLERANCE: u64 = 1;

/// Why a peer with this status is of no use, if it is not.
pub(crate) fn irrelevant(chain: &dyn Chain, status: &PeerStatus) -> Option<&'static str> {
    let (spec, root) = (chain.spec(), chain.genesis().genesis_validators_root);
    let now = chain.current_slot();
    // Around a boundary the digest on its other side is as good: clocks differ.
    let is_ours = [
        now.saturating_sub(CLOCK_TOLERANCE),
        now,
        now.saturating_add(CLOCK_TOLERANCE),
    ]
    .into_iter()
    .any(|slot: Slot| spec.fork_digest(&root, spec.epoch_at_slot(slot)) == status.fork_digest);
    if !is_ours {
        return Some("another fork digest");
    }
    // A head that cannot be there yet: another genesis time, or an invention.
    if status.head_slot > now.saturating_add(CLOCK_TOLERANCE) {
        return Some("a head in the future");
    }
    // Two finalized histories.
    let ours = chain.finalized();
    let is_other_history = status.finalized_epoch == ours.epoch
        && ours.epoch.0 > 0
        && !ours.root.is_zero()
        && !status.finalized_root.is_zero()
        && status.finalized_root != ours.root;
    is_other_history.then_some("another finalized block of the same epoch")
}
