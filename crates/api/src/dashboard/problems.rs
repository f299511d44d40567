//! What an operator should look at, worst first: made from what the parts of the node say, without asking any of them.

use assay_gate::{HeldBy, ImportPolicy, PayloadVerdict, SeenAlarm};
use assay_network::SyncState;
use assay_proof_engine::EndpointHealth;
use assay_store::StoreStats;
use assay_types::{BlockHash, ProofType, Slot, ValidatorIndex};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Slots that the beacon node's head may be behind the clock.
const HEAD_MAY_LAG_SLOTS: u64 = 4;
/// Alarms that are told for so long after the last of their kind.
const ALARM_IS_NEWS_MS: u64 = 3_600_000;
/// Of `--max-db-size`, as a percentage: beyond it proofs of old blocks go soon.
const STORE_NEARLY_FULL_PERCENT: u64 = 90;
/// Free bytes on the store's disk below which the node is about to stop keeping proofs.
pub(crate) const DISK_NEARLY_FULL_BYTES: u64 = 2 << 30;
/// Signers of invalid proofs named in one text.
const MAX_NAMED: usize = 3;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// Somebody has to act now.
    Critical,
    /// Something does not work as it should.
    Warning,
    /// Good to know.
    Note,
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) level: Level,
    /// Does not change from version to version.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    /// What to do.
    pub(crate) advice: &'static str,
    pub(crate) block_hash: Option<BlockHash>,
}

/// The execution client, as the gate's endpoint sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Execution {
    /// No Engine API is served.
    NotServed,
    /// `proofs-only`.
    None,
    /// It answers.
    Online,
    /// It does not.
    Offline,
}

impl Execution {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotServed => "not_served",
            Self::None => "none",
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// What is known of the node.
#[derive(Debug, Clone)]
pub(crate) struct Facts<'a> {
    pub(crate) synced: bool,
    pub(crate) current_slot: Slot,
    pub(crate) head_slot: Option<Slot>,
    pub(crate) policy: ImportPolicy,
    pub(crate) execution: Execution,
    pub(crate) head: Option<(BlockHash, PayloadVerdict, Option<HeldBy>)>,
    pub(crate) conflicts: &'a [BlockHash],
    pub(crate) disagreements: &'a [BlockHash],
    pub(crate) unproven: &'a BTreeSet<Slot>,
    pub(crate) invalid: &'a BTreeSet<(Slot, ProofType, ValidatorIndex)>,
    pub(crate) alarms: &'a BTreeMap<&'static str, SeenAlarm>,
    pub(crate) now_ms: u64,
    pub(crate) engines: &'a [EndpointHealth],
    pub(crate) verifies: bool,
    pub(crate) insecure: bool,
    pub(crate) peers: usize,
    pub(crate) proof_aware: usize,
    /// `None` where it could not be read.
    pub(crate) store: Option<StoreStats>,
    pub(crate) max_db_size: Option<u64>,
    pub(crate) disk_free: Option<u64>,
    pub(crate) sync: SyncState,
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(
        &mut self,
        level: Level,
        kind: &'static str,
        text: impl Into<String>,
        advice: &'static str,
    ) -> &mut Problem {
        let at = self.0.len();
        self.0.push(Problem {
            level,
            kind,
            text: text.into(),
            advice,
            block_hash: None,
        });
        &mut self.0[at]
    }
}

/// What there is to look at, worst first.
pub(crate) fn problems(facts: &Facts<'_>) -> Vec<Problem> {
    let mut found = Found::default();
    of_verdicts(facts, &mut found);
    of_proofs(facts, &mut found);
    of_neighbours(facts, &mut found);
    of_disk(facts, &mut found);
    let mut found = found.0;
    found.sort_by_key(|problem| problem.level);
    found
}

fn of_verdicts(facts: &Facts<'_>, found: &mut Found) {
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

fn of_proofs(facts: &Facts<'_>, found: &mut Found) {
    use Level::{Critical, Note, Warning};
    if !facts.verifies {
        found.add(
            Note,
            "no_proof_engine",
            "No proof engine is configured: proofs are neither verified nor kept.",
            "Set --proof-engine-endpoint.",
        );
    }
    let down: Vec<&EndpointHealth> = facts.engines.iter().filter(|e| !e.is_healthy).collect();
    if !down.is_empty() {
        let all = down.len() == facts.engines.len();
        let names: Vec<&str> = down.iter().map(|e| e.name.as_str()).collect();
        found.add(
            if all { Critical } else { Warning },
            "proof_engine_down",
            format!(
                "{} not answer: {}.",
                if names.len() == 1 {
                    "A proof engine does"
                } else {
                    "Proof engines do"
                },
                names.join(", ")
            ),
            "Proofs wait here, none is lost; start it again or look at its log.",
        );
    }
    if let (Some(first), Some(last)) = (facts.unproven.first(), facts.unproven.last()) {
        let slots = if first == last {
            format!("slot {first}")
        } else {
            format!("slots {first} to {last}")
        };
        found.add(
            Warning,
            "proofs_missing",
            format!(
                "{} proofs: {slots}.",
                if facts.unproven.len() == 1 {
                    "1 payload lacks its".to_owned()
                } else {
                    format!("{} payloads lack their", facts.unproven.len())
                }
            ),
            "Is a prover at work for these types, and do peers that take part in proofs reach this node?",
        );
    }
    if let Some((slot, ..)) = facts.invalid.last() {
        let signers: BTreeSet<ValidatorIndex> = facts.invalid.iter().map(|(_, _, v)| *v).collect();
        let named: Vec<String> = signers.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        let more = if signers.len() > MAX_NAMED {
            " and others"
        } else {
            ""
        };
        found.add(
            Warning,
            "invalid_proofs",
            format!(
                "{} found invalid, the newest of slot {slot}, signed by validator {}{more}.",
                count(facts.invalid.len(), "proof was", "proofs were"),
                named.join(", ")
            ),
            "Their signers are contained. If the execution client calls the payload VALID, tell the prover's operator.",
        );
    }
    if facts.insecure {
        found.add(
            Note,
            "proofs_prove_nothing",
            "The development proof engine is in use: its proofs prove nothing.",
            "For devnets and tests only.",
        );
    }
    if facts.sync.paused {
        found.add(
            Note,
            "sync_paused",
            "No proofs are asked of peers, because none can be judged now.",
            "It goes on by itself once proof engine and beacon node answer.",
        );
    }
}

fn of_neighbours(facts: &Facts<'_>, found: &mut Found) {
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

fn of_disk(facts: &Facts<'_>, found: &mut Found) {
    use Level::{Critical, Warning};
    match &facts.store {
        None => {
            found.add(
                Critical,
                "store_unreadable",
                "The proof store cannot be read.",
                "Look at the log and at the disk.",
            );
        }
        Some(store) => {
            if !store.is_healthy {
                found.add(
                    Critical,
                    "store_failing",
                    "The last write to the proof store did not reach the disk.",
                    "Look at the log and at the disk; no proof is accepted meanwhile.",
                );
            }
            if let Some(max) = facts.max_db_size
                && store.proof_bytes.saturating_mul(100) > max.saturating_mul(STORE_NEARLY_FULL_PERCENT)
            {
                found.add(
                    Warning,
                    "store_near_limit",
                    format!("The proofs take {} % of --max-db-size.", store.proof_bytes.saturating_mul(100) / max.max(1)),
                    "Beyond it the oldest go, and what peers may ask for stays: raise the limit or lower --retention-epochs.",
                );
            }
            if store.corrupted > 0 {
                found.add(
                    Warning,
                    "store_damaged",
                    format!(
                        "{} found damaged on disk and removed.",
                        count(
                            usize::try_from(store.corrupted).unwrap_or(usize::MAX),
                            "proof was",
                            "proofs were"
                        )
                    ),
                    "Check the disk; the proofs are asked of peers again.",
                );
            }
        }
    }
    if let Some(free) = facts.disk_free.filter(|free| *free < DISK_NEARLY_FULL_BYTES) {
        found.add(
            Warning,
            "disk_nearly_full",
            format!("{} MiB are free on the disk of --datadir.", free >> 20),
            "Make room, or set --max-db-size.",
        );
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

fn alarm(kind: &str) -> &'static str {
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

fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn count_is(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what} is")
    } else {
        format!("{n} {what}s are")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_gate::{Alarm, UnixMillis};

    fn store() -> StoreStats {
        StoreStats {
            proofs: 3,
            proof_bytes: 300,
            file_bytes: 1000,
            oldest_slot: None,
            newest_slot: None,
            serve_range_start: Slot(0),
            corrupted: 0,
            pruned: 0,
            is_healthy: true,
        }
    }

    fn engine(name: &str, is_healthy: bool) -> EndpointHealth {
        EndpointHealth {
            name: name.into(),
            proof_types: vec![1],
            is_insecure: false,
            is_healthy,
            failures: 0,
            dropped_notifications: 0,
            last_error: None,
        }
    }

    const HASH: BlockHash = assay_types::Hash256([7; 32]);

    fn changed<'a>(good: &Facts<'a>, change: impl FnOnce(&mut Facts<'a>)) -> Vec<Problem> {
        let mut facts = good.clone();
        change(&mut facts);
        problems(&facts)
    }

    #[test]
    fn each_trouble_is_told_once_with_its_level_and_a_sound_node_has_none() {
        let (sound, one_down, all_down) = (
            [engine("a", true)],
            [engine("a", true), engine("b", false)],
            [engine("a", false)],
        );
        let (none, hashes) = ([], [HASH, HASH]);
        let (no_slots, slots) = (BTreeSet::new(), BTreeSet::from([Slot(5), Slot(7)]));
        let (no_invalid, invalid) = (
            BTreeSet::new(),
            BTreeSet::from([(Slot(5), 1, 12), (Slot(6), 1, 12)]),
        );
        let no_alarms = BTreeMap::new();
        let alarm = Alarm::ClientsDisagree { block_hash: HASH };
        let at = |at| SeenAlarm {
            count: 2,
            last: alarm,
            last_at: UnixMillis(at),
        };
        let (news, old) = (
            BTreeMap::from([(alarm.label(), at(9_999_000))]),
            BTreeMap::from([(alarm.label(), at(1))]),
        );
        let good = Facts {
            synced: true,
            current_slot: Slot(100),
            head_slot: Some(Slot(99)),
            policy: ImportPolicy::RequireProofs,
            execution: Execution::Online,
            head: Some((HASH, PayloadVerdict::Valid, None)),
            conflicts: &none,
            disagreements: &none,
            unproven: &no_slots,
            invalid: &no_invalid,
            alarms: &no_alarms,
            now_ms: 10_000_000,
            engines: &sound,
            verifies: true,
            insecure: false,
            peers: 5,
            proof_aware: 2,
            store: Some(store()),
            max_db_size: Some(1000),
            disk_free: Some(1 << 40),
            sync: SyncState::default(),
        };
        assert_eq!(problems(&good), []);
        use Level::{Critical, Note, Warning};
        let held = HeldBy::Proofs { have: 0, need: 1 };
        for (told, level, kind, words) in [
            (
                changed(&good, |f| f.conflicts = &hashes),
                Critical,
                "conflict",
                "2 payloads",
            ),
            (
                changed(&good, |f| f.disagreements = &hashes[..1]),
                Critical,
                "disagreement",
                "1 payload is proven",
            ),
            (
                changed(&good, |f| f.head = Some((HASH, PayloadVerdict::Invalid, None))),
                Critical,
                "head_invalid",
                "INVALID",
            ),
            (
                changed(&good, |f| {
                    f.head = Some((HASH, PayloadVerdict::Syncing, Some(held)))
                }),
                Warning,
                "head_syncing",
                "lacks proofs",
            ),
            (
                changed(&good, |f| f.alarms = &news),
                Critical,
                "clients_disagree",
                "2 times since start",
            ),
            (
                changed(&good, |f| f.verifies = false),
                Note,
                "no_proof_engine",
                "No proof engine",
            ),
            (
                changed(&good, |f| f.engines = &one_down),
                Warning,
                "proof_engine_down",
                "does not answer: b",
            ),
            (
                changed(&good, |f| f.engines = &all_down),
                Critical,
                "proof_engine_down",
                "does not answer: a",
            ),
            (
                changed(&good, |f| f.unproven = &slots),
                Warning,
                "proofs_missing",
                "2 payloads lack their proofs: slots 5 to 7",
            ),
            (
                changed(&good, |f| f.invalid = &invalid),
                Warning,
                "invalid_proofs",
                "2 proofs were found invalid, the newest of slot 6, signed by validator 12.",
            ),
            (
                changed(&good, |f| f.insecure = true),
                Note,
                "proofs_prove_nothing",
                "development",
            ),
            (
                changed(&good, |f| f.sync.paused = true),
                Note,
                "sync_paused",
                "asked",
            ),
            (
                changed(&good, |f| f.execution = Execution::Offline),
                Critical,
                "execution_offline",
                "does not answer",
            ),
            (
                changed(&good, |f| f.execution = Execution::NotServed),
                Note,
                "no_engine_api",
                "change nothing",
            ),
            (
                changed(&good, |f| f.synced = false),
                Warning,
                "not_synced",
                "1 slot behind",
            ),
            (
                changed(&good, |f| f.head_slot = Some(Slot(90))),
                Warning,
                "head_behind",
                "10 slots",
            ),
            (changed(&good, |f| f.peers = 0), Warning, "no_peers", "No peer"),
            (
                changed(&good, |f| f.proof_aware = 0),
                Warning,
                "no_proof_aware_peers",
                "None of 5 peers",
            ),
            (
                changed(&good, |f| f.store = None),
                Critical,
                "store_unreadable",
                "cannot be read",
            ),
            (
                changed(&good, |f| {
                    f.store = Some(StoreStats {
                        is_healthy: false,
                        ..store()
                    })
                }),
                Critical,
                "store_failing",
                "did not reach",
            ),
            (
                changed(&good, |f| {
                    f.store = Some(StoreStats {
                        corrupted: 1,
                        ..store()
                    })
                }),
                Warning,
                "store_damaged",
                "1 proof was",
            ),
            (
                changed(&good, |f| f.max_db_size = Some(310)),
                Warning,
                "store_near_limit",
                "96 %",
            ),
            (
                changed(&good, |f| f.disk_free = Some(1 << 30)),
                Warning,
                "disk_nearly_full",
                "1024 MiB",
            ),
        ] {
            assert_eq!(told.len(), 1, "{kind}: {told:?}");
            assert_eq!((told[0].level, told[0].kind), (level, kind));
            assert!(
                told[0].text.contains(words),
                "{words:?} is not in {:?}",
                told[0].text
            );
            assert!(told[0].advice.len() > 20, "{kind} says what to do");
        }
        // An alarm of long ago is no news; at the head a conflict says it all.
        assert_eq!(changed(&good, |f| f.alarms = &old), []);
        let told = changed(&good, |f| {
            f.conflicts = &hashes;
            f.head = Some((HASH, PayloadVerdict::Invalid, None));
            f.peers = 0;
            f.insecure = true;
        });
        let levels: Vec<Level> = told.iter().map(|p| p.level).collect();
        assert_eq!(levels, [Critical, Warning, Note], "worst first");
    }

    #[test]
    fn every_alarm_of_the_gate_has_words() {
        for kind in Alarm::LABELS {
            let told_elsewhere = ["valid_called_invalid", "unproven"].contains(&kind);
            assert!(
                told_elsewhere || alarm(kind) != "The gate raised an alarm",
                "{kind}"
            );
        }
    }
}
