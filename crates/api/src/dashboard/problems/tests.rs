//! A sound node has nothing to look at, and each trouble is told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{verdicts::alarm, *};
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
