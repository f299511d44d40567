//! What has become of proofs that are not, or not yet, among the accepted: for whoever asks why a payload lacks one. Kept for
//! what is held now and for the newest payloads of this run.

use crate::{ParkReason, RejectReason, Source, Verdict, machine::Ticket, trace};
use assay_types::{ProofKey, Root, ValidatorIndex};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::SystemTime,
};
use tracing::Span;

/// Payloads whose refused proofs are kept; the oldest is forgotten first.
const MAX_PAYLOADS: usize = 1024;
/// Proof types of one payload.
const MAX_TYPES: usize = 16;
/// Invalid proofs named of one payload and type, the first ones.
const MAX_INVALID: usize = 4;
/// Proofs under way named of one payload and type, those that came first.
const MAX_UNDER_WAY: usize = 4;

/// A proof that has come and has no verdict yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// Who signed, by its own word: the signature may not be verified yet.
    pub validator_index: ValidatorIndex,
    /// How it came (`Source::label`).
    pub source: &'static str,
    /// When it came.
    pub arrived_at: SystemTime,
    /// What outside it waits for.
    pub waits_for: Option<ParkReason>,
}

/// A proof that its validator signed and the proof engine called invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidProof {
    /// Who signed.
    pub validator_index: ValidatorIndex,
    /// How it came first (`Source::label`).
    pub source: &'static str,
    /// When it was found invalid.
    pub at: SystemTime,
}

/// Proofs of one payload and type that are not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProofTrail {
    /// Without a verdict, by arrival.
    pub under_way: Vec<UnderWay>,
    /// Called invalid by the proof engine, one for each validator.
    pub invalid: Vec<InvalidProof>,
    /// Copies rejected for another reason: nobody is known to stand behind them.
    pub refused: u64,
}

struct Flight {
    key: ProofKey,
    under_way: UnderWay,
    span: Span,
}

/// The record. What is in flight is bounded by those who wait for a verdict.
#[derive(Default)]
pub(crate) struct Trail {
    flights: HashMap<Ticket, Flight>,
    ended: HashMap<Root, BTreeMap<u8, ProofTrail>>,
    order: VecDeque<Root>,
}

impl Trail {
    pub(crate) fn arrived(
        &mut self,
        ticket: Ticket,
        key: ProofKey,
        by: ValidatorIndex,
        source: &Source,
        span: Span,
    ) {
        let under_way = UnderWay {
            validator_index: by,
            source: source.label(),
            arrived_at: SystemTime::now(),
            waits_for: None,
        };
        let flight = Flight { key, under_way, span };
        self.flights.insert(ticket, flight);
    }

    pub(crate) fn parked(&mut self, ticket: Ticket, reason: ParkReason) {
        if let Some(flight) = self.flights.get_mut(&ticket) {
            trace::parked(&flight.span, reason);
            flight.under_way.waits_for = Some(reason);
        }
    }

    /// `known`: whether a payload is known. Proofs of others are not kept: anybody could make room for them.
    pub(crate) fn ended(&mut self, ticket: Ticket, verdict: &Verdict, known: impl FnOnce(&Root) -> bool) {
        let Some(flight) = self.flights.remove(&ticket) else {
            return;
        };
        trace::ended(&flight.span, verdict);
        let Verdict::Reject(reason) = verdict else { return };
        let root = flight.key.new_payload_request_root;
        if !self.ended.contains_key(&root) {
            if !known(&root) {
                return;
            }
            if self.order.len() >= MAX_PAYLOADS
                && let Some(oldest) = self.order.pop_front()
            {
                self.ended.remove(&oldest);
            }
            self.order.push_back(root);
        }
        let types = self.ended.entry(root).or_default();
        if types.len() >= MAX_TYPES && !types.contains_key(&flight.key.proof_type) {
            return;
        }
        let trail = types.entry(flight.key.proof_type).or_default();
        let by = flight.under_way.validator_index;
        match reason {
            RejectReason::InvalidProof => {
                let named = trail.invalid.iter().any(|i| i.validator_index == by);
                if !named && trail.invalid.len() < MAX_INVALID {
                    trail.invalid.push(InvalidProof {
                        validator_index: by,
                        source: flight.under_way.source,
                        at: SystemTime::now(),
                    });
                }
            }
            _ => trail.refused = trail.refused.saturating_add(1),
        }
    }

    /// What there is of these payloads.
    pub(crate) fn of(&self, roots: &[Root]) -> BTreeMap<ProofKey, ProofTrail> {
        let mut found = BTreeMap::new();
        for root in roots {
            for (proof_type, trail) in self.ended.get(root).into_iter().flatten() {
                let key = ProofKey {
                    new_payload_request_root: *root,
                    proof_type: *proof_type,
                };
                found.insert(key, trail.clone());
            }
        }
        let flying = self
            .flights
            .values()
            .filter(|f| roots.contains(&f.key.new_payload_request_root));
        for flight in flying {
            let trail: &mut ProofTrail = found.entry(flight.key).or_default();
            trail.under_way.push(flight.under_way);
        }
        for trail in found.values_mut() {
            trail.under_way.sort_by_key(|u| (u.arrived_at, u.validator_index));
            trail.under_way.truncate(MAX_UNDER_WAY);
        }
        found
    }

    /// How many wait, by what for; `None` where nothing outside is waited for.
    pub(crate) fn waiting(&self) -> BTreeMap<Option<ParkReason>, usize> {
        let mut counts = BTreeMap::new();
        for flight in self.flights.values() {
            *counts.entry(flight.under_way.waits_for).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IgnoreReason;
    use assay_types::Hash256;

    fn root(n: u64) -> Root {
        let mut root = Hash256::ZERO;
        root.0[..8].copy_from_slice(&n.to_le_bytes());
        root
    }

    fn key(n: u64, proof_type: u8) -> ProofKey {
        ProofKey {
            new_payload_request_root: root(n),
            proof_type,
        }
    }

    #[test]
    fn what_is_under_way_ends_with_its_verdict_and_what_is_invalid_stays_with_its_signer() {
        let mut trail = Trail::default();
        let known = |_: &Root| true;
        for (ticket, by) in [(1, 7), (2, 7), (3, 8), (4, 9)] {
            trail.arrived(ticket, key(1, 1), by, &Source::Http, Span::none());
        }
        trail.parked(3, ParkReason::EngineUnavailable);
        assert_eq!(
            trail.waiting(),
            [(None, 3), (Some(ParkReason::EngineUnavailable), 1)].into()
        );
        // Two copies of one proof, each with its verdict.
        trail.ended(1, &Verdict::Reject(RejectReason::InvalidProof), known);
        trail.ended(2, &Verdict::Reject(RejectReason::InvalidProof), known);
        // Whoever it names has not signed it.
        trail.ended(4, &Verdict::Reject(RejectReason::BadSignature), known);
        let seen = trail.of(&[root(1)]);
        let of_type = &seen[&key(1, 1)];
        let named: Vec<_> = of_type.invalid.iter().map(|i| i.validator_index).collect();
        assert_eq!((named, of_type.refused), (vec![7], 1));
        assert_eq!(of_type.under_way.len(), 1);
        assert_eq!(
            of_type.under_way[0].waits_for,
            Some(ParkReason::EngineUnavailable)
        );
        trail.ended(3, &Verdict::Ignore(IgnoreReason::AlreadyValid), known);
        assert!(trail.of(&[root(1)])[&key(1, 1)].under_way.is_empty());
        assert!(trail.of(&[root(2)]).is_empty() && trail.waiting().is_empty());
    }

    #[test]
    fn proofs_of_unknown_payloads_take_no_room_and_the_oldest_payload_goes_first() {
        let mut trail = Trail::default();
        let verdict = Verdict::Reject(RejectReason::BadSignature);
        trail.arrived(0, key(0, 1), 1, &Source::Http, Span::none());
        trail.ended(0, &verdict, |_| false);
        assert!(trail.order.is_empty());
        for n in 0..=MAX_PAYLOADS as u64 {
            for proof_type in 0..=MAX_TYPES as u8 {
                trail.arrived(1, key(n, proof_type), 1, &Source::Http, Span::none());
                trail.ended(1, &verdict, |_| true);
            }
        }
        assert_eq!(
            (trail.order.len(), trail.ended.len()),
            (MAX_PAYLOADS, MAX_PAYLOADS)
        );
        assert!(trail.of(&[root(0)]).is_empty());
        assert_eq!(trail.of(&[root(1)]).len(), MAX_TYPES);
    }
}
