//! What the gate tells, as server-sent events: `gate_verdict` whenever a payload's verdict changes, `gate_alarm` for what
//! an operator must see.

use assay_gate::{Alarm, GateEvent, VerdictChange};
use assay_types::{BlockHash, Root, Slot};
use serde::Serialize;
use serde_json::{Value, json};

/// The topic of verdicts.
pub(crate) const VERDICT: &str = "gate_verdict";
/// The topic of alarms.
pub(crate) const ALARM: &str = "gate_alarm";

#[derive(Serialize)]
struct Verdict {
    block_hash: BlockHash,
    new_payload_request_root: Option<Root>,
    slot: Option<Slot>,
    from: Option<&'static str>,
    to: &'static str,
    cause: &'static str,
    /// What keeps it from VALID, and the rule that follows from; null where nothing does.
    held_by: Option<&'static str>,
    rule: Option<u8>,
    at_ms: String,
}

impl From<&VerdictChange> for Verdict {
    fn from(change: &VerdictChange) -> Self {
        Self {
            block_hash: change.block_hash,
            new_payload_request_root: change.new_payload_request_root,
            slot: change.slot,
            from: change.from.map(|verdict| verdict.as_str()),
            to: change.to.as_str(),
            cause: change.cause.as_str(),
            held_by: change.held_by.map(|held| held.label()),
            rule: change.held_by.map(|held| held.rule()),
            at_ms: change.at.to_string(),
        }
    }
}

/// Topic and data of an event, where it is told.
pub(crate) fn told(event: &GateEvent) -> Option<(&'static str, Value)> {
    match event {
        GateEvent::VerdictChanged(change) => Some((VERDICT, json!(Verdict::from(change)))),
        GateEvent::Alarm(alarm) => Some((ALARM, alarm_data(alarm))),
        // Measured, not told.
        GateEvent::Reached(_) => None,
    }
}

fn alarm_data(alarm: &Alarm) -> Value {
    let kind = alarm.label();
    match alarm {
        Alarm::ValidCalledInvalid { block_hash }
        | Alarm::ValidForOtherHash { block_hash }
        | Alarm::ClientsDisagree { block_hash }
        | Alarm::HashCheckDisagrees { block_hash } => json!({ "kind": kind, "block_hash": block_hash }),
        Alarm::UnknownLatestValidHash {
            block_hash,
            latest_valid_hash,
        } => json!({ "kind": kind, "block_hash": block_hash, "latest_valid_hash": latest_valid_hash }),
        Alarm::RequestRootConflict {
            block_hash,
            known,
            claimed,
        } => {
            json!({ "kind": kind, "block_hash": block_hash, "known_root": known, "claimed_root": claimed })
        }
        Alarm::Unproven {
            block_hash,
            slot,
            have,
            need,
        } => json!({
            "kind": kind, "block_hash": block_hash, "slot": slot,
            "have": have.to_string(), "need": need.to_string(),
        }),
        Alarm::TwoBeaconNodes { head, other_head } => {
            json!({ "kind": kind, "head": head, "other_head": other_head })
        }
        Alarm::ForeignFinality { head, finalized } => {
            json!({ "kind": kind, "head": head, "finalized": finalized })
        }
        Alarm::ForeignPayload { block_hash, chain_id } => {
            json!({ "kind": kind, "block_hash": block_hash, "chain_id": chain_id.to_string() })
        }
        Alarm::TreeFull { dropped } => json!({ "kind": kind, "dropped": dropped.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_alarm_says_its_kind_and_what_it_is_about() {
        let block_hash = BlockHash::from([1; 32]);
        let other = BlockHash::from([2; 32]);
        for (alarm, fields) in [
            (Alarm::ValidCalledInvalid { block_hash }, 2),
            (Alarm::ValidForOtherHash { block_hash }, 2),
            (Alarm::ClientsDisagree { block_hash }, 2),
            (Alarm::HashCheckDisagrees { block_hash }, 2),
            (
                Alarm::UnknownLatestValidHash {
                    block_hash,
                    latest_valid_hash: other,
                },
                3,
            ),
            (
                Alarm::RequestRootConflict {
                    block_hash,
                    known: other,
                    claimed: block_hash,
                },
                4,
            ),
            (
                Alarm::Unproven {
                    block_hash,
                    slot: Slot(7),
                    have: 0,
                    need: 2,
                },
                5,
            ),
            (
                Alarm::TwoBeaconNodes {
                    head: block_hash,
                    other_head: other,
                },
                3,
            ),
            (
                Alarm::ForeignFinality {
                    head: block_hash,
                    finalized: other,
                },
                3,
            ),
            (
                Alarm::ForeignPayload {
                    block_hash,
                    chain_id: 5,
                },
                3,
            ),
            (Alarm::TreeFull { dropped: 3 }, 2),
        ] {
            let (topic, data) = told(&GateEvent::Alarm(alarm)).unwrap();
            assert_eq!(topic, ALARM);
            assert_eq!(data["kind"], alarm.label());
            assert_eq!(data.as_object().map(|o| o.len()), Some(fields), "{data}");
        }
        let unproven = alarm_data(&Alarm::Unproven {
            block_hash,
            slot: Slot(7),
            have: 0,
            need: 2,
        });
        assert_eq!((&unproven["slot"], &unproven["need"]), (&json!("7"), &json!("2")));
    }
}
