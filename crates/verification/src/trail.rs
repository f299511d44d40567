//! What has become of proofs that are not, or not yet, among the accepted: for whoever asks why a payload lacks one. Kept for
//! what is held now and for the newest payloads of this run.

use crate::{ParkReason, RejectReason, Source, Verdict, machine::Ticket, trace};
use assay_types::{ProofKey, ProofName, ProofType, Revision, Root, ValidatorIndex};
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
/// Proofs named of one root that is waited for, those that came first.
const MAX_AWAITING: usize = 16;

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

/// What proofs in the waiting room name and nobody here has seen: a payload (`alpha`), or a beacon block or its payload
/// (`beta`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Awaited {
    /// Which of the two.
    pub revision: Revision,
    /// The payload's request root, or the beacon block's root.
    pub root: Root,
    /// When the first of them came.
    pub since: SystemTime,
    /// How many wait for it, copies included.
    pub count: usize,
    /// The first of them, with their types, by arrival.
    pub proofs: Vec<(ProofType, UnderWay)>,
}

impl Awaited {
    /// Keeps the first of its proofs.
    fn shorten(&mut self) {
        self.proofs
            .sort_by_key(|(proof_type, u)| (u.arrived_at, *proof_type, u.validator_index));
        self.proofs.truncate(MAX_AWAITING);
    }
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
    name: ProofName,
    /// The payload that the name stands for, once known.
    payload: Option<Root>,
    under_way: UnderWay,
    span: Span,
}

/// The record. What is in flight is bounded by those who wait for a verdict.
#[derive(Default)]
pub(crate) struct Trail {
    flights: HashMap<Ticket, Flight>,
    /// How many of them wait, by what for.
    parked: BTreeMap<ParkReason, usize>,
    ended: HashMap<Root, BTreeMap<u8, ProofTrail>>,
    order: VecDeque<Root>,
}

impl Trail {
    pub(crate) fn arrived(
        &mut self,
        ticket: Ticket,
        name: ProofName,
        payload: Option<Root>,
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
        let flight = Flight {
            name,
            payload,
            under_way,
            span,
        };
        self.flights.insert(ticket, flight);
    }

    /// More may be known: of what goes by this root, or of anything. `payload` says which payload a name stands for. What
    /// waited for no more than that waits for nothing outside any longer.
    pub(crate) fn look_again(&mut self, named: Option<&Root>, payload: impl Fn(&ProofName) -> Option<Root>) {
        let mut found = Vec::new();
        for (ticket, flight) in &self.flights {
            let unknown =
                flight.payload.is_none() || flight.under_way.waits_for == Some(ParkReason::UnknownPayload);
            if unknown
                && named.is_none_or(|root| flight.name.root == *root)
                && let Some(payload) = payload(&flight.name)
            {
                found.push((*ticket, payload));
            }
        }
        for (ticket, payload) in found {
            self.payload_found(ticket, payload);
        }
    }

    /// The payload that it names is known, or its block's is.
    pub(crate) fn payload_found(&mut self, ticket: Ticket, payload: Root) {
        if let Some(flight) = self.flights.get_mut(&ticket) {
            flight.payload = Some(payload);
            let before = flight
                .under_way
                .waits_for
                .take_if(|reason| *reason == ParkReason::UnknownPayload);
            self.count(before, None);
        }
    }

    pub(crate) fn parked(&mut self, ticket: Ticket, reason: ParkReason) {
        if let Some(flight) = self.flights.get_mut(&ticket) {
            trace::parked(&flight.span, reason);
            let before = flight.under_way.waits_for.replace(reason);
            self.count(before, Some(reason));
        }
    }

    /// `payload`: which payload a name stands for, where that is known. Proofs of others are not kept: anybody could make room
    /// for them.
    pub(crate) fn ended(
        &mut self,
        ticket: Ticket,
        verdict: &Verdict,
        payload: impl FnOnce(&ProofName) -> Option<Root>,
    ) {
        let Some(flight) = self.flights.remove(&ticket) else {
            return;
        };
        self.count(flight.under_way.waits_for, None);
        trace::ended(&flight.span, verdict);
        let Verdict::Reject(reason) = verdict else { return };
        let Some(root) = payload(&flight.name) else {
            return;
        };
        let proof_type = flight.name.proof_type;
        if !self.ended.contains_key(&root) {
            if self.order.len() >= MAX_PAYLOADS
                && let Some(oldest) = self.order.pop_front()
            {
                self.ended.remove(&oldest);
            }
            self.order.push_back(root);
        }
        let types = self.ended.entry(root).or_default();
        if types.len() >= MAX_TYPES && !types.contains_key(&proof_type) {
            return;
        }
        let trail = types.entry(proof_type).or_default();
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

    fn count(&mut self, before: Option<ParkReason>, now: Option<ParkReason>) {
        if let Some(count) = before.and_then(|reason| self.parked.get_mut(&reason)) {
            *count = count.saturating_sub(1);
        }
        if let Some(reason) = now {
            *self.parked.entry(reason).or_default() += 1;
        }
    }

    /// How many wait, by what for.
    pub(crate) fn parked_counts(&self) -> &BTreeMap<ParkReason, usize> {
        &self.parked
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
        for flight in self.flights.values() {
            let Some(root) = flight.payload.filter(|root| roots.contains(root)) else {
                continue;
            };
            let key = ProofKey {
                new_payload_request_root: root,
                proof_type: flight.name.proof_type,
            };
            let trail: &mut ProofTrail = found.entry(key).or_default();
            trail.under_way.push(flight.under_way);
        }
        for trail in found.values_mut() {
            trail.under_way.sort_by_key(|u| (u.arrived_at, u.validator_index));
            trail.under_way.truncate(MAX_UNDER_WAY);
        }
        found
    }

    /// What is waited for, longest first, at most `limit`; and how many there are.
    pub(crate) fn awaited(&self, limit: usize) -> (Vec<Awaited>, usize) {
        let by_root = self.awaited_where(|_| true);
        let all = by_root.len();
        let mut longest: Vec<_> = by_root.into_values().collect();
        longest.sort_by_key(|awaited| (awaited.since, awaited.root));
        longest.truncate(limit);
        longest.iter_mut().for_each(Awaited::shorten);
        (longest, all)
    }

    /// What waits for the payload or block of this root, where anything does.
    pub(crate) fn awaited_by(&self, root: &Root) -> Option<Awaited> {
        // No root of a block is one of a request, so there is one at most.
        let (_, mut awaited) = self.awaited_where(|name| name.root == *root).pop_first()?;
        awaited.shorten();
        Some(awaited)
    }

    fn awaited_where(&self, is_meant: impl Fn(&ProofName) -> bool) -> BTreeMap<(Revision, Root), Awaited> {
        let mut by_root: BTreeMap<(Revision, Root), Awaited> = BTreeMap::new();
        let waiting = self
            .flights
            .values()
            .filter(|f| f.under_way.waits_for == Some(ParkReason::UnknownPayload) && is_meant(&f.name));
        for flight in waiting {
            let ProofName {
                revision,
                root,
                proof_type,
            } = flight.name;
            let arrived_at = flight.under_way.arrived_at;
            let awaited = by_root.entry((revision, root)).or_insert_with(|| Awaited {
                revision,
                root,
                since: arrived_at,
                count: 0,
                proofs: Vec::new(),
            });
            awaited.since = awaited.since.min(arrived_at);
            awaited.count += 1;
            awaited.proofs.push((proof_type, flight.under_way));
        }
        by_root
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

    fn name(n: u64, proof_type: u8) -> ProofName {
        ProofName::alpha(key(n, proof_type))
    }

    /// An envelope's block comes after it: until then it is found by what it names, then by the payload.
    #[test]
    fn what_waits_for_its_block_is_named_and_moves_to_the_payload_once_that_is_known() {
        let mut trail = Trail::default();
        let envelope = |n, proof_type| ProofName::beta(root(n), proof_type);
        for ticket in 0..40 {
            let by = ticket % 20;
            trail.arrived(ticket, envelope(9, 2), None, by, &Source::Http, Span::none());
            trail.parked(ticket, ParkReason::UnknownPayload);
        }
        trail.arrived(40, name(5, 1), None, 1, &Source::Http, Span::none());
        assert_eq!(trail.awaited(8).1, 1, "what is not parked waits for nothing");
        trail.parked(40, ParkReason::UnknownPayload);
        let (awaited, all) = trail.awaited(8);
        let shown: Vec<_> = awaited
            .iter()
            .map(|a| (a.revision, a.root, a.count, a.proofs.len()))
            .collect();
        assert_eq!(
            (shown, all),
            (
                vec![
                    (Revision::Beta, root(9), 40, MAX_AWAITING),
                    (Revision::Alpha, root(5), 1, 1)
                ],
                2
            )
        );
        assert_eq!((trail.awaited(1).0.len(), trail.awaited(1).1), (1, 2));
        for (root, found) in [
            (root(9), awaited.first()),
            (root(5), awaited.last()),
            (root(1), None),
        ] {
            assert_eq!(trail.awaited_by(&root).as_ref(), found);
        }
        assert_eq!(trail.parked_counts()[&ParkReason::UnknownPayload], 41);
        assert!(trail.of(&[root(9), root(1), root(5)]).is_empty());
        // Another block's, then its own.
        let payload = |name: &ProofName| (name.root == root(9)).then(|| root(1));
        trail.look_again(Some(&root(8)), payload);
        assert!(trail.of(&[root(1)]).is_empty());
        // The block is there, its payload is not.
        trail.look_again(Some(&root(9)), |_| None);
        assert_eq!(trail.awaited(8).1, 2);
        trail.look_again(Some(&root(9)), payload);
        let left: Vec<_> = trail.awaited(8).0.iter().map(|a| a.root).collect();
        assert_eq!((left, trail.awaited_by(&root(9))), (vec![root(5)], None));
        assert_eq!(trail.parked_counts()[&ParkReason::UnknownPayload], 1);
        assert_eq!(trail.waiting()[&None], 40);
        trail.parked(3, ParkReason::EngineUnavailable);
        let seen = trail.of(&[root(1)]);
        assert_eq!(seen[&key(1, 2)].under_way.len(), MAX_UNDER_WAY);
        // All of them again, as after events were missed.
        trail.look_again(None, |name| Some(name.root));
        assert_eq!(trail.of(&[root(5)])[&key(5, 1)].under_way.len(), 1);
        assert_eq!(trail.awaited(8), (Vec::new(), 0));
        // What waits for something else goes on waiting for that.
        trail.payload_found(3, root(1));
        assert_eq!(trail.parked_counts()[&ParkReason::EngineUnavailable], 1);
        // A refusal is the payload's too.
        trail.ended(3, &Verdict::Reject(RejectReason::InvalidProof), payload);
        assert_eq!(trail.of(&[root(1)])[&key(1, 2)].invalid.len(), 1);
        for ticket in 0..=40 {
            trail.ended(ticket, &Verdict::Ignore(IgnoreReason::UnknownPayload), payload);
        }
        assert_eq!(trail.awaited(8), (Vec::new(), 0));
        assert!(trail.parked_counts().values().all(|count| *count == 0));
    }

    #[test]
    fn what_is_under_way_ends_with_its_verdict_and_what_is_invalid_stays_with_its_signer() {
        let mut trail = Trail::default();
        let known = |name: &ProofName| Some(name.root);
        for (ticket, by) in [(1, 7), (2, 7), (3, 8), (4, 9)] {
            trail.arrived(ticket, name(1, 1), Some(root(1)), by, &Source::Http, Span::none());
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
        trail.arrived(0, name(0, 1), None, 1, &Source::Http, Span::none());
        trail.ended(0, &verdict, |_| None);
        assert!(trail.order.is_empty());
        for n in 0..=MAX_PAYLOADS as u64 {
            for proof_type in 0..=MAX_TYPES as u8 {
                trail.arrived(1, name(n, proof_type), None, 1, &Source::Http, Span::none());
                trail.ended(1, &verdict, |name| Some(name.root));
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
