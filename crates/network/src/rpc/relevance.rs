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
    is_other_history(chain, status).then_some("another finalized block of the same epoch")
}

/// Whether what the peer calls final is not what it is here. That can be told of our own finalized epoch, and of those
/// before it whose first slot has a block in the chain view.
fn is_other_history(chain: &dyn Chain, status: &PeerStatus) -> bool {
    let ours = chain.finalized();
    if status.finalized_root.is_zero() || status.finalized_epoch > ours.epoch {
        return false;
    }
    let root = if status.finalized_epoch == ours.epoch {
        Some(ours.root).filter(|root| ours.epoch.0 > 0 && !root.is_zero())
    } else {
        let slot = chain.spec().start_slot(status.finalized_epoch);
        chain.canonical_block_at(slot).map(|block| block.block_root)
    };
    root.is_some_and(|root| root != status.finalized_root)
}
