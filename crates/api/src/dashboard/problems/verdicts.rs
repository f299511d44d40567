//! What the gate's verdicts and alarms ask for.

use super::{Facts, Found, Level, count, count_is};
use assay_gate::{HeldBy, PayloadVerdict};

/// Alarms that are told for so long after the last of their kind.
const ALARM_IS_NEWS_MS: u64 = 3_600_000;

pub(super) fn of_verdicts(facts: &Facts<'_>, found: &mut Found) {
    use Level::{Critical, Warning};
    if let Some(hash) = facts.conflicts.first() {
        let text = format!(
            "The execution client calls INVALID what the beacon node was told is VALID: {}. Its descendants stay SYNCING until you decide.",
            count(facts.conflicts.len(), "payload", "payloads")
        );
        found
            .add(
                Critical,
                "conflict",
                text,
                "Find out which client is wrong, then POST /assay/v1/gate/conflicts/{block_hash} from this machine: keep-valid or accept-invalid.",
            )
            .block_hash = Some(*hash);
    }
    if let Some(hash) = facts.disagreements.first() {
        let text = format!(
            "Execution and proofs disagree: {} proven, and INVALID for the execution client.",
            count_is(facts.disagreements.len(), "payload")
        );
        found
            .add(
                Critical,
                "disagreement",
                text,
                "One of them is wrong: compare with other execution clients and other proof types before you trust either.",
            )
            .block_hash = Some(*hash);
    }
    if let Some((hash, verdict, held)) = &facts.head {
        let agreed = facts.conflicts.is_empty() && facts.disagreements.is_empty();
        match verdict {
            PayloadVerdict::Invalid if agreed => {
                found
                    .add(
                        Critical,
                        "head_invalid",
                        "The execution client calls the head INVALID.",
                        "Look at its log; the beacon node will look for another head.",
                    )
                    .block_hash = Some(*hash);
            }
            PayloadVerdict::Syncing => {
                let why = held.as_ref().map_or("", told);
                found
                    .add(
                        Warning,
                        "head_syncing",
                        format!("The head is SYNCING for the beacon node{why}."),
                        "A validator on this beacon node misses its duties while this lasts.",
                    )
                    .block_hash = Some(*hash);
            }
            PayloadVerdict::Invalid | PayloadVerdict::Valid => {}
        }
    }
    for (kind, seen) in facts.alarms {
        // Told above, or by the proofs that lack.
        let told = ["valid_called_invalid", "unproven"].contains(kind);
        if told || facts.now_ms.saturating_sub(seen.last_at.0) > ALARM_IS_NEWS_MS {
            continue;
        }
        let text = format!(
            "{} ({} since start).",
            alarm(kind),
            count(usize::try_from(seen.count).unwrap_or(usize::MAX), "time", "times")
        );
        found
            .add(Critical, kind, text, "The log has a line of it at level error.")
            .block_hash = seen.last.block_hash();
    }
}
/// What holds the head back, as the end of a sentence.
fn told(held: &HeldBy) -> &'static str {
    match held {
        HeldBy::El(_) => ": the execution client does not call it VALID",
        HeldBy::Proofs { .. } => ": it lacks proofs",
        HeldBy::Ancestor(_) => ": an ancestor is held back",
        HeldBy::UnknownAncestor(_) => ": an ancestor has not been seen",
        HeldBy::Conflict(_) => ": it waits for your decision",
        HeldBy::OtherRequestRoot => ": another payload has its block hash",
        HeldBy::Unreadable => ": its request or the execution client's answer could not be read",
        HeldBy::OtherLatestValidHash => ": the execution client's answer names another payload",
        HeldBy::UnknownPayload => ": its payload has not been seen",
        HeldBy::NotPersisted => ": its records are not on disk",
    }
}

pub(super) fn alarm(kind: &str) -> &'static str {
    match kind {
        "unknown_latest_valid_hash" => "The execution client's INVALID names an unknown ancestor",
        "request_root_conflict" => "Two payload requests claim one block hash",
        "valid_for_other_hash" => "The execution client's VALID names another payload",
        "clients_disagree" => "The execution clients disagree",
        "two_beacon_nodes" => "Two beacon nodes of one secret name heads of different lines",
        "foreign_finality" => "What was called finalized is no ancestor of its head",
        "foreign_payload" => "A payload of another network came",
        "hash_check_disagrees" => "The execution client calls VALID a payload whose hash does not fit",
        "tree_full" => "The gate's tree was full and dropped its oldest payloads",
        _ => "The gate raised an alarm",
    }
}
