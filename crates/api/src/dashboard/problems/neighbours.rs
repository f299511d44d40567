//! What the beacon node, the execution client and the peers ask for.

use super::{Execution, Facts, Found, Level, count};
use assay_gate::ImportPolicy;

/// Slots that the beacon node's head may be behind the clock.
const HEAD_MAY_LAG_SLOTS: u64 = 4;

pub(super) fn of_neighbours(facts: &Facts<'_>, found: &mut Found) {
    use Level::{Critical, Note, Warning};
    if facts.execution == Execution::Offline {
        found.add(
            Critical,
            "execution_offline",
            "The execution client does not answer.",
            "Is it running, and are --execution-endpoint and --execution-jwt right?",
        );
    }
    if facts.execution == Execution::NotServed && facts.policy != ImportPolicy::Observe {
        found.add(
            Note,
            "no_engine_api",
            "No Engine API is served, so proofs change nothing at import.",
            "Set --execution-endpoint.",
        );
    }
    let behind = facts
        .head_slot
        .map(|head| facts.current_slot.0.saturating_sub(head.0));
    if !facts.synced {
        found.add(
            Warning,
            "not_synced",
            match behind {
                Some(0) => "The view of the chain has not caught up with the beacon node.".to_owned(),
                Some(slots) => format!(
                    "The view of the chain has not caught up with the beacon node; its head is {} behind the clock.",
                    count(usize::try_from(slots).unwrap_or(usize::MAX), "slot", "slots")
                ),
                None => "The view of the chain has no head yet.".to_owned(),
            },
            "Is the beacon node up, synced, and reachable at --beacon-node?",
        );
    } else if let Some(slots) = behind.filter(|slots| *slots > HEAD_MAY_LAG_SLOTS) {
        found.add(
            Warning,
            "head_behind",
            format!("The beacon node's head is {slots} slots behind the clock."),
            "It syncs, or the chain has no blocks.",
        );
    }
    if facts.peers == 0 {
        found.add(
            Warning,
            "no_peers",
            "No peer is connected.",
            "Are --port and --discovery-port open, and --boot-nodes right?",
        );
    } else if facts.proof_aware == 0 {
        found.add(
            Warning,
            "no_proof_aware_peers",
            format!(
                "None of {} takes part in proofs.",
                count(facts.peers, "peer", "peers")
            ),
            "Name one with --peer or --boot-nodes.",
        );
    }
}
