//! The last slots against proof types: for each payload what became of its proofs, its verdict, and what holds it back.

use crate::{ApiError, ApiState, routes::assay_payloads::row};
use assay_gate::{HeldBy, PayloadView, ProofOrigin};
use assay_store::RecordKey;
use assay_types::{ProofKey, ProofType, Root, Slot, ValidatorIndex};
use assay_verification::ProofTrail;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{SystemTime, UNIX_EPOCH},
};

/// Payloads of the window at most: there may be several of a slot.
const MAX_PAYLOADS: usize = 1024;
/// Slots after which a proof counts as missing where `--alert-after-slots` is off.
const OVERDUE_AFTER_SLOTS: u64 = 2;

/// What became of the proof of one payload and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProofState {
    /// A valid one is known.
    Verified,
    /// One has come and has no verdict yet.
    Arrived,
    /// None is valid, and one was called invalid.
    Invalid,
    /// None has come, and its time is not over.
    Awaited,
    /// None has come in its time.
    Missing,
    /// None has come in its time, and the payload needs none: it is trusted, or others prove it.
    NotNeeded,
}

impl ProofState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Arrived => "arrived",
            Self::Invalid => "invalid",
            Self::Awaited => "awaited",
            Self::Missing => "missing",
            Self::NotNeeded => "not_needed",
        }
    }

    fn of(verified: bool, trail: &ProofTrail, needed: bool, overdue: bool) -> Self {
        if verified {
            Self::Verified
        } else if !trail.under_way.is_empty() {
            Self::Arrived
        } else if !trail.invalid.is_empty() {
            Self::Invalid
        } else if !overdue {
            Self::Awaited
        } else if needed {
            Self::Missing
        } else {
            Self::NotNeeded
        }
    }
}

/// The window, and what of it an operator is told first.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// A row a slot, the newest first.
    pub(crate) rows: Vec<Value>,
    /// Payloads whose time is over and that lack proofs they need, by slot.
    pub(crate) unproven: BTreeSet<Slot>,
    /// Slot, type and signer of proofs found invalid.
    pub(crate) invalid: BTreeSet<(Slot, ProofType, ValidatorIndex)>,
}

/// Start of a slot, Unix milliseconds.
pub(crate) fn start_ms(state: &ApiState, slot: Slot) -> u64 {
    let genesis = state.chain.genesis().genesis_time;
    state
        .chain
        .spec()
        .timestamp_at_slot(genesis, slot)
        .saturating_mul(1000)
}

/// After how many slots a proof is overdue.
pub(crate) fn overdue_after(state: &ApiState) -> u64 {
    let alert = state.gate.config().alert_after_slots;
    if alert == u64::MAX {
        OVERDUE_AFTER_SLOTS
    } else {
        alert
    }
}

/// The last `count` slots.
pub(crate) async fn window(state: &ApiState, count: u64) -> Result<Window, ApiError> {
    let current = state.chain.current_slot();
    // The beacon node's clock may be a little ahead.
    let newest = state.chain.head().map_or(current, |head| head.slot.max(current));
    let oldest = Slot(newest.0.saturating_sub(count.saturating_sub(1)));
    let mut by_slot: BTreeMap<Slot, Vec<PayloadView>> = BTreeMap::new();
    for payload in state.gate.payloads(oldest, newest, MAX_PAYLOADS) {
        if let Some(slot) = payload.slot {
            by_slot.entry(slot).or_default().push(payload);
        }
    }
    // What the gate does not have: no Engine API is served, or finality took it out of the tree.
    let mut canonical = BTreeMap::new();
    for slot in oldest.0..=newest.0 {
        if let Some(block) = state.chain.canonical_block_at(Slot(slot)) {
            canonical.insert(Slot(slot), block);
        }
    }
    let mut roots: Vec<Root> = by_slot
        .values()
        .flatten()
        .filter_map(|p| p.new_payload_request_root)
        .collect();
    roots.extend(canonical.values().filter_map(|b| b.new_payload_request_root));
    roots.sort_unstable();
    roots.dedup();
    let trails = state.intake.trail(&roots);
    let stored = stored(state, roots).await?;

    let mut window = Window::default();
    for slot in (oldest.0..=newest.0).rev().map(Slot) {
        let asked = Asked {
            state,
            trails: &trails,
            stored: &stored,
            slot,
            start_ms: start_ms(state, slot),
            overdue: current.0 > slot.0.saturating_add(overdue_after(state)),
        };
        let block = canonical.get(&slot);
        let mut payloads: Vec<Value> = Vec::new();
        for payload in by_slot.get(&slot).into_iter().flatten() {
            payloads.push(asked.of_gate(payload, &mut window));
        }
        if payloads.is_empty()
            && let Some(root) = block.and_then(|b| b.new_payload_request_root)
        {
            payloads.push(asked.of_chain(root, &mut window));
        }
        window.rows.push(json!({
            "slot": slot.0,
            "start_ms": asked.start_ms,
            "block_root": block.map(|b| b.block_root),
            "execution_optimistic": block.map(|b| b.execution_optimistic),
            "payloads": payloads,
        }));
    }
    Ok(window)
}

async fn stored(state: &ApiState, roots: Vec<Root>) -> Result<BTreeMap<ProofKey, RecordKey>, ApiError> {
    let reader = state.store.reader().clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut keys = BTreeMap::new();
        for root in roots {
            for key in reader.keys_of(&root)? {
                let proven = ProofKey {
                    new_payload_request_root: root,
                    proof_type: key.proof_type,
                };
                keys.entry(proven).or_insert(key);
            }
        }
        Ok::<_, assay_store::StoreError>(keys)
    });
    read.await
        .map_err(|e| ApiError::internal(e.to_string()))?
        .map_err(|e| ApiError::internal(e.to_string()))
}

/// What is asked of each payload of a slot.
struct Asked<'a> {
    state: &'a ApiState,
    trails: &'a BTreeMap<ProofKey, ProofTrail>,
    stored: &'a BTreeMap<ProofKey, RecordKey>,
    slot: Slot,
    start_ms: u64,
    overdue: bool,
}

impl Asked<'_> {
    fn of_gate(&self, payload: &PayloadView, window: &mut Window) -> Value {
        let mut shown = row(payload);
        if let Some(HeldBy::Ancestor(hash) | HeldBy::UnknownAncestor(hash)) = payload.held_by {
            shown["held_by_block"] = json!(hash);
        }
        let Some(root) = payload.new_payload_request_root else {
            return shown;
        };
        let at: BTreeMap<ProofType, u64> = payload.proofs.iter().map(|(t, at)| (*t, at.0)).collect();
        let needed = !payload.anchor && !payload.proven;
        let origins = self.state.gate.proof_origins(&root);
        shown["proofs"] = self.cells(root, &at, &origins, needed, window);
        shown["canonical"] = self.state.chain.is_canonical(&root).into();
        if needed && !payload.released && self.overdue && !self.state.info.proof_types.is_empty() {
            window.unproven.insert(self.slot);
        }
        shown
    }

    /// A payload that the chain view alone knows.
    fn of_chain(&self, root: Root, window: &mut Window) -> Value {
        let info = self.state.chain.payload(&root);
        let have = self
            .stored
            .keys()
            .filter(|key| key.new_payload_request_root == root)
            .count();
        let required = usize::from(self.state.gate.config().required_proofs.get());
        let proven = have >= required;
        let proofs = self.cells(root, &BTreeMap::new(), &BTreeMap::new(), !proven, window);
        if !proven && self.overdue && !self.state.info.proof_types.is_empty() {
            window.unproven.insert(self.slot);
        }
        json!({
            "slot": self.slot.0,
            "block_hash": info.map(|i| i.block_hash),
            "new_payload_request_root": root,
            "required_proofs": required,
            "proven": proven,
            "proofs": proofs,
            "canonical": true,
            "verdict": null,
        })
    }

    /// One cell a type: those this node verifies, and whatever else was verified.
    fn cells(
        &self,
        root: Root,
        at: &BTreeMap<ProofType, u64>,
        origins: &BTreeMap<ProofType, ProofOrigin>,
        needed: bool,
        window: &mut Window,
    ) -> Value {
        let mut types: Vec<ProofType> = self.state.info.proof_types.clone();
        types.extend(at.keys().filter(|t| !self.state.info.proof_types.contains(t)));
        let none = ProofTrail::default();
        let cell = |proof_type: &ProofType| {
            let key = ProofKey {
                new_payload_request_root: root,
                proof_type: *proof_type,
            };
            let trail = self.trails.get(&key).unwrap_or(&none);
            let stored = self.stored.get(&key);
            let (at, origin) = (at.get(proof_type), origins.get(proof_type));
            let verified = at.is_some() || stored.is_some();
            let signer = origin
                .map(|o| o.validator_index)
                .or(stored.map(|key| key.validator_index));
            let invalid: Vec<Value> = trail
                .invalid
                .iter()
                .map(|i| {
                    window.invalid.insert((self.slot, *proof_type, i.validator_index));
                    json!({
                        "validator_index": i.validator_index.to_string(),
                        "source": i.source,
                        "after_ms": self.after(unix_ms(i.at)),
                    })
                })
                .collect();
            let under_way: Vec<Value> = trail
                .under_way
                .iter()
                .map(|u| {
                    json!({
                        "validator_index": u.validator_index.to_string(),
                        "source": u.source,
                        "after_ms": self.after(unix_ms(u.arrived_at)),
                        "waits_for": u.waits_for.map(|reason| reason.label()),
                    })
                })
                .collect();
            json!({
                "proof_type": proof_type,
                "state": ProofState::of(verified, trail, needed, self.overdue).as_str(),
                "at_ms": at,
                "after_ms": at.map(|at| self.after(*at)),
                "validator_index": signer.map(|v| v.to_string()),
                "source": origin.map(|o| o.source),
                "on_disk": stored.is_some(),
                "under_way": under_way,
                "invalid": invalid,
                "refused": trail.refused,
            })
        };
        types.iter().map(cell).collect()
    }

    /// From slot start, in milliseconds.
    fn after(&self, at_ms: u64) -> i64 {
        at_ms.wrapping_sub(self.start_ms).cast_signed()
    }
}

pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_verification::{InvalidProof, UnderWay};

    #[test]
    fn what_is_shown_of_a_proof() {
        let at = SystemTime::UNIX_EPOCH;
        let none = ProofTrail::default();
        let came = ProofTrail {
            under_way: vec![UnderWay {
                validator_index: 1,
                source: "gossip",
                arrived_at: at,
                waits_for: None,
            }],
            ..none.clone()
        };
        let invalid = ProofTrail {
            invalid: vec![InvalidProof {
                validator_index: 1,
                source: "gossip",
                at,
            }],
            ..none.clone()
        };
        let both = ProofTrail {
            under_way: came.under_way.clone(),
            ..invalid.clone()
        };
        for (verified, trail, needed, overdue, state) in [
            (true, &none, false, true, "verified"),
            (true, &both, true, true, "verified"),
            (false, &both, true, true, "arrived"),
            (false, &came, false, false, "arrived"),
            (false, &invalid, true, false, "invalid"),
            (false, &none, true, false, "awaited"),
            (false, &none, true, true, "missing"),
            (false, &none, false, false, "awaited"),
            (false, &none, false, true, "not_needed"),
        ] {
            let shown = ProofState::of(verified, trail, needed, overdue).as_str();
            assert_eq!(shown, state, "{verified} {needed} {overdue}");
        }
    }
}
