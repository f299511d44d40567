//! GET `/assay/v1/dashboard?slots=`: all that the dashboard shows, in one answer.

use crate::{
    ApiError, ApiState,
    dashboard::{
        problems::{Execution, Facts, Problem, problems},
        slots::{Window, overdue_after, start_ms, unix_ms, window},
    },
    openapi::{Operation, data, list_of, object, or_null},
    routes::node_peers::listed,
};
use assay_gate::{Alarm, OnMissingProofs};
use assay_network::{PeerInfo, PeerState};
use assay_proof_engine::EndpointHealth;
use assay_store::StoreStats;
use assay_types::{Slot, ValidatorIndex};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

/// Slots where nothing is asked for.
const DEFAULT_SLOTS: u64 = 32;
/// Slots of one answer at most.
const MAX_SLOTS: u64 = 256;
/// Peers shown at most: those that are connected first, of these those that take part in proofs.
const MAX_PEERS: usize = 200;
/// Characters of what a peer calls itself.
const MAX_AGENT_CHARS: usize = 80;
/// Payloads in conflict, or of which execution and proofs disagree, named at most.
const MAX_NAMED: usize = 16;
/// Payloads that lack proofs counted at most.
const MAX_UNPROVEN: usize = 65_536;

#[derive(Deserialize)]
pub(crate) struct Asked {
    slots: Option<u64>,
}

pub(crate) async fn get(
    State(state): State<ApiState>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(asked) = asked.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let slots = asked.slots.unwrap_or(DEFAULT_SLOTS).clamp(1, MAX_SLOTS);
    let window = window(&state, slots).await?;
    let reader = state.store.reader().clone();
    let store = tokio::task::spawn_blocking(move || reader.stats().ok())
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let (peers, engines) = (state.network.peers(), (state.engines)());
    let disk_free = (state.disk_free)();
    let problems = told(&state, &window, &peers, &engines, store, disk_free);
    Ok(Json(json!({ "data": {
        "now_ms": unix_ms(SystemTime::now()),
        "version": state.info.version,
        "network": network(&state),
        "problems": problems,
        "chain": chain(&state),
        "gate": gate(&state),
        "proof_types": state.info.proof_types,
        "entries": state.info.entries.iter().map(super::assay_proof_types::shown).collect::<Vec<_>>(),
        "slots": window.rows,
        "provers": provers(&state, &window),
        "peers": shown_peers(&peers),
        "engines": engines.iter().map(engine).collect::<Vec<_>>(),
        "queues": queues(&state),
        "store": shown_store(&state, store, disk_free),
    } })))
}

fn network(state: &ApiState) -> Value {
    let (spec, identity) = (state.chain.spec(), state.network.identity());
    json!({
        "name": spec.config_name,
        "chain_id": spec.chain_id,
        "slot_ms": spec.slot_duration_ms,
        "slots_per_epoch": spec.slots_per_epoch,
        "peer_id": identity.peer_id.to_string(),
    })
}

fn chain(state: &ApiState) -> Value {
    let (head, finalized) = (state.chain.head(), state.chain.finalized());
    json!({
        "current_slot": state.chain.current_slot().0,
        "head_slot": head.as_ref().map(|h| h.slot.0),
        "head_root": head.as_ref().map(|h| h.block_root),
        "head_optimistic": head.as_ref().map(|h| h.execution_optimistic),
        "finalized_epoch": finalized.epoch.0,
        "finalized_root": finalized.root,
        "synced": state.chain.is_synced(),
    })
}

fn execution(state: &ApiState) -> Execution {
    let config = state.gate.config();
    if !state.info.serves_engine_api {
        Execution::NotServed
    } else if !config.policy.has_execution_client() {
        Execution::None
    } else if (state.execution_offline)() {
        Execution::Offline
    } else {
        Execution::Online
    }
}

fn gate(state: &ApiState) -> Value {
    let (config, stats, newest_proven) = (
        state.gate.config(),
        state.gate.stats(),
        state.gate.newest_proven(),
    );
    let head = stats.head.and_then(|hash| state.gate.payload(&hash));
    let alarms = state.gate.alarms();
    let alarms: Vec<Value> = Alarm::LABELS
        .iter()
        .filter_map(|kind| alarms.get(kind).map(|seen| (kind, seen)))
        .map(|(kind, seen)| {
            json!({
                "kind": kind, "count": seen.count, "last_at_ms": seen.last_at.0, "block_hash": seen.last.block_hash(),
            })
        })
        .collect();
    json!({
        "import_policy": config.policy,
        "required_proofs": config.required_proofs,
        "proof_lag": config.proof_lag,
        "trusts_execution_after_slots": match config.on_missing_proofs {
            OnMissingProofs::Wait => None,
            OnMissingProofs::TrustExecution { grace_slots } => Some(grace_slots),
        },
        "overdue_after_slots": overdue_after(state),
        "execution_client": execution(state).as_str(),
        "head": stats.head,
        "head_slot": head.as_ref().and_then(|p| p.slot).map(|s| s.0),
        "head_verdict": stats.head_verdict.map(|v| v.as_str()),
        "head_held_by": head.and_then(|p| p.held_by).map(|h| h.label()),
        "newest_proven": newest_proven.as_ref().map(|p| p.block_hash),
        "newest_proven_slot": newest_proven.and_then(|p| p.slot).map(|s| s.0),
        "payloads": stats.payloads,
        "unproven": state.gate.unproven(MAX_UNPROVEN).len(),
        "answered_valid": stats.answered_valid,
        "answered_syncing": stats.answered_syncing,
        "answered_invalid": stats.answered_invalid,
        "lowered": stats.lowered,
        "raised": stats.raised,
        "unanswered": stats.unanswered,
        "alarms": alarms,
    })
}

fn told(
    state: &ApiState,
    window: &Window,
    peers: &[PeerInfo],
    engines: &[EndpointHealth],
    store: Option<StoreStats>,
    disk_free: Option<u64>,
) -> Vec<Problem> {
    let stats = state.gate.stats();
    let head = stats.head.and_then(|hash| state.gate.payload(&hash));
    let connected = |peer: &&PeerInfo| peer.state == PeerState::Connected;
    problems(&Facts {
        synced: state.chain.is_synced(),
        current_slot: state.chain.current_slot(),
        head_slot: state.chain.head().map(|head| head.slot),
        policy: stats.policy,
        execution: execution(state),
        head: head.map(|head| (head.block_hash, head.verdict, head.held_by)),
        conflicts: &state.gate.conflicts(MAX_NAMED),
        disagreements: &state.gate.disagreements(MAX_NAMED),
        unproven: &window.unproven,
        invalid: &window.invalid,
        alarms: &state.gate.alarms(),
        now_ms: unix_ms(SystemTime::now()),
        engines,
        verifies: !state.info.proof_types.is_empty(),
        insecure: state.info.insecure_proofs,
        peers: peers.iter().filter(connected).count(),
        proof_aware: peers
            .iter()
            .filter(connected)
            .filter(|peer| peer.proof_aware)
            .count(),
        store,
        max_db_size: state.info.max_db_size,
        disk_free,
        sync: state.network.sync_state(),
    })
}

/// Who signed accepted proofs, and who signed invalid ones of the window.
fn provers(state: &ApiState, window: &Window) -> Vec<Value> {
    let seen = state.events.provers();
    let mut invalid: BTreeMap<ValidatorIndex, usize> = BTreeMap::new();
    for (_, _, validator) in &window.invalid {
        *invalid.entry(*validator).or_default() += 1;
    }
    let validators: BTreeSet<ValidatorIndex> = seen.keys().chain(invalid.keys()).copied().collect();
    let current = state.chain.current_slot();
    let row = |validator: ValidatorIndex| {
        let prover = seen.get(&validator);
        let contained = state
            .intake
            .contained_until(validator)
            .filter(|until| current < *until);
        json!({
            "validator_index": validator.to_string(),
            "accepted": prover.map_or(0, |p| p.accepted),
            "proof_types": prover.map(|p| p.proof_types.iter().copied().collect::<Vec<_>>()).unwrap_or_default(),
            "newest_slot": prover.map(|p| p.newest_slot.0),
            "source": prover.map(|p| p.source),
            "last_at_ms": prover.map(|p| p.last_at_ms),
            "median_ms": prover.and_then(|p| p.median_ms(|slot| start_ms(state, slot))),
            "invalid": invalid.get(&validator).copied().unwrap_or(0),
            "contained_until_slot": contained.map(|slot| slot.0),
        })
    };
    validators.into_iter().map(row).collect()
}

fn shown_peers(peers: &[PeerInfo]) -> Value {
    let mut listed: Vec<&PeerInfo> = peers.iter().filter(|peer| listed(peer).is_some()).collect();
    let rank = |peer: &PeerInfo| (peer.state != PeerState::Connected, !peer.proof_aware);
    listed.sort_by_key(|peer| (rank(peer), peer.peer_id.to_bytes()));
    let connected = listed.iter().filter(|p| p.state == PeerState::Connected);
    let (mut count, mut proof_aware) = (0, 0);
    for peer in connected {
        count += 1;
        proof_aware += usize::from(peer.proof_aware);
    }
    let rows: Vec<Value> = listed
        .iter()
        .take(MAX_PEERS)
        .map(|peer| {
            json!({
                "peer_id": peer.peer_id.to_string(),
                "agent": peer.agent.as_ref().map(|agent| agent.chars().take(MAX_AGENT_CHARS).collect::<String>()),
                "address": peer.address.as_ref().map(ToString::to_string),
                "state": peer.state.as_str(),
                "direction": listed_direction(peer),
                "score": peer.score,
                "eproof": peer.eproof,
                "proof_aware": peer.proof_aware,
                "trusted": peer.trusted,
                "head_slot": peer.status.map(|s| s.head_slot.0),
                "proven_slot": peer.proof_status.as_ref().map(|s| s.slot.0),
                "proof_types": peer.proof_status.as_ref().map(|s| s.proof_types.clone()),
            })
        })
        .collect();
    json!({ "connected": count, "proof_aware": proof_aware, "known": peers.len(), "rows": rows })
}

fn listed_direction(peer: &PeerInfo) -> Option<&'static str> {
    listed(peer).map(|direction| direction.as_str())
}

fn engine(health: &EndpointHealth) -> Value {
    json!({
        "name": health.name,
        "proof_types": health.proof_types,
        "proves_nothing": health.is_insecure,
        "healthy": health.is_healthy,
        "failures": health.failures,
        "dropped_notifications": health.dropped_notifications,
        "last_error": health.last_error,
    })
}

fn queues(state: &ApiState) -> Value {
    let waiting: Vec<Value> = state
        .intake
        .waiting()
        .into_iter()
        .map(|(reason, count)| json!({ "waits_for": reason.map(|r| r.label()), "count": count }))
        .collect();
    let sync = state.network.sync_state();
    let (longest, awaited_roots) = state.intake.awaited(1);
    json!({
        "without_verdict": waiting,
        // Payloads and blocks that proofs name and nobody here has seen.
        "awaited_roots": awaited_roots,
        "awaited_since_ms": longest.first().map(|awaited| unix_ms(awaited.since)),
        "held_bytes": state.intake.metrics().snapshot().held_bytes,
        "sync": {
            "blocks": sync.blocks,
            "held": sync.held,
            "missing": sync.missing,
            "under_way": sync.under_way,
            "not_obtainable": sync.not_obtainable,
            "requests": sync.requests,
            "sources": sync.sources,
            "paused": sync.paused,
            "unreachable_from": sync.unreachable.map(|(from, _)| from.0),
            "unreachable_to": sync.unreachable.map(|(_, to)| to.0),
        },
    })
}

fn shown_store(state: &ApiState, store: Option<StoreStats>, disk_free: Option<u64>) -> Value {
    let slot = |slot: Option<Slot>| slot.map(|s| s.0);
    json!({
        "proofs": store.map(|s| s.proofs),
        "proof_bytes": store.map(|s| s.proof_bytes),
        "file_bytes": store.map(|s| s.file_bytes),
        "limit_bytes": state.info.max_db_size,
        "disk_free_bytes": disk_free,
        "oldest_slot": slot(store.and_then(|s| s.oldest_slot)),
        "newest_slot": slot(store.and_then(|s| s.newest_slot)),
        "serve_range_start": store.map(|s| s.serve_range_start.0),
        "pruned": store.map(|s| s.pruned),
        "corrupted": store.map(|s| s.corrupted),
        "healthy": store.map(|s| s.is_healthy),
    })
}

pub(crate) fn describe() -> Operation {
    let (number, text) = (json!({ "type": "integer" }), json!({ "type": "string" }));
    let any = json!({ "type": "object" });
    let problem = object(json!({
        "level": { "type": "string", "enum": ["critical", "warning", "note"] },
        "kind": text, "text": text, "advice": text, "block_hash": or_null("string"),
    }));
    Operation::new("getDashboard", "All that the dashboard shows: for people; scripts find steadier answers elsewhere")
        .query(
            "slots",
            "how many of the last slots; 32 where nothing is said, never more than 256",
            &json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
        )
        .json(data(object(json!({
            "now_ms": number, "version": text, "network": any, "problems": list_of(problem), "chain": any, "gate": any,
            "proof_types": list_of(number.clone()), "entries": list_of(any.clone()), "slots": list_of(any.clone()), "provers": list_of(any.clone()),
            "peers": any, "engines": list_of(any.clone()), "queues": any, "store": any,
        }))))
        .error(400, "a number that is none")
}
