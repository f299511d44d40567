//! Everything that is held, with its budgets: bytes and candidates in all, per peer, per payload, and of unknown
//! payloads. Who goes when a budget is exceeded: the least worth first, of these the newest of whoever holds the most.
//! So one peer's flood costs its own candidates, and many strangers' flood never one whose signature verified.

use super::held::{CandidateId, Held, Holder};
use crate::config::RoomLimits;
use assay_types::Root;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    bytes: usize,
    candidates: usize,
}

impl Usage {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.candidates += 1;
    }
    fn sub(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.candidates -= 1;
    }
}

/// The held candidates and what they use.
pub(crate) struct Room {
    limits: RoomLimits,
    held: BTreeMap<CandidateId, Held>,
    all: Usage,
    unknown_payload: Usage,
    holders: HashMap<Holder, Usage>,
    payloads: HashMap<Root, Usage>,
}

impl Room {
    pub(crate) fn new(limits: RoomLimits) -> Self {
        Self {
            limits,
            held: BTreeMap::new(),
            all: Usage::default(),
            unknown_payload: Usage::default(),
            holders: HashMap::new(),
            payloads: HashMap::new(),
        }
    }

    pub(crate) fn get(&self, id: CandidateId) -> Option<&Held> {
        self.held.get(&id)
    }

    /// To change what is not charged for; `recharge` and `set_payload_known` change what is.
    pub(crate) fn get_mut(&mut self, id: CandidateId) -> Option<&mut Held> {
        self.held.get_mut(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = CandidateId> + '_ {
        self.held.keys().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.candidates
    }

    pub(crate) fn bytes(&self) -> usize {
        self.all.bytes
    }

    pub(crate) fn insert(&mut self, id: CandidateId, held: Held) {
        let bytes = held.bytes();
        self.all.add(bytes);
        if !held.worth.payload_known {
            self.unknown_payload.add(bytes);
        }
        self.holders.entry(held.holder.clone()).or_default().add(bytes);
        self.payloads.entry(held.key().root).or_default().add(bytes);
        self.held.insert(id, held);
    }

    pub(crate) fn remove(&mut self, id: CandidateId) -> Option<Held> {
        let held = self.held.remove(&id)?;
        let bytes = held.bytes();
        self.all.sub(bytes);
        if !held.worth.payload_known {
            self.unknown_payload.sub(bytes);
        }
        release(&mut self.holders, &held.holder, bytes);
        release(&mut self.payloads, &held.key().root, bytes);
        Some(held)
    }

    /// Notes whether a candidate's payload is known.
    pub(crate) fn set_payload_known(&mut self, id: CandidateId, known: bool) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        if held.worth.payload_known != known {
            let bytes = held.bytes();
            held.worth.payload_known = known;
            if known {
                self.unknown_payload.sub(bytes);
            } else {
                self.unknown_payload.add(bytes);
            }
        }
    }

    /// Somebody else brought the same bytes: charged from now on to whoever is better off, so that a copy sent by a
    /// peer that floods is not let go with its flood.
    pub(crate) fn recharge(&mut self, id: CandidateId, to: Holder) {
        let Some(held) = self.held.get_mut(&id) else {
            return;
        };
        let used = |holder: &Holder| self.holders.get(holder).map_or(0, |u| u.bytes);
        let bytes = held.bytes();
        let better = match (&held.holder, &to) {
            (Holder::Local, _) => false,
            (_, Holder::Local) => true,
            (from, to) => used(to) + bytes < used(from),
        };
        if better {
            release(&mut self.holders, &held.holder, bytes);
            self.holders.entry(to.clone()).or_default().add(bytes);
            held.holder = to;
        }
    }

    /// Who has to go after `touched` came or changed, if a budget is exceeded. Asked again until nobody has.
    pub(crate) fn victim(&self, touched: CandidateId) -> Option<CandidateId> {
        let limits = &self.limits;
        if let Some(held) = self.held.get(&touched) {
            let usage = self.holders.get(&held.holder).copied().unwrap_or_default();
            let (bytes, candidates) = match held.holder {
                Holder::Peer(_) => (limits.bytes_per_peer, limits.candidates_per_peer),
                // The operator has half of the room.
                Holder::Local => (limits.bytes / 2, limits.candidates / 2),
            };
            if usage.bytes > bytes || usage.candidates > candidates {
                return self.least(|other| other.holder == held.holder);
            }
            let payload = held.key().root;
            if self
                .payloads
                .get(&payload)
                .is_some_and(|u| u.bytes > limits.bytes_per_payload)
            {
                return self.least(|other| other.key().root == payload);
            }
        }
        if self.unknown_payload.bytes > limits.bytes_unknown_payload {
            return self.least(|held| !held.worth.payload_known);
        }
        if self.all.bytes > limits.bytes || self.all.candidates > limits.candidates {
            return self.least(|_| true);
        }
        None
    }

    fn least(&self, of: impl Fn(&Held) -> bool) -> Option<CandidateId> {
        self.held
            .iter()
            .filter(|(_, held)| held.is_evictable() && of(held))
            .min_by_key(|(id, held)| {
                let holds = self.holders.get(&held.holder).map_or(0, |u| u.bytes);
                (held.worth, Reverse(holds), Reverse(**id))
            })
            .map(|(id, _)| *id)
    }
}

fn release<K: std::hash::Hash + Eq>(usages: &mut HashMap<K, Usage>, key: &K, bytes: usize) {
    if let Some(usage) = usages.get_mut(key) {
        usage.sub(bytes);
        if usage.candidates == 0 {
            usages.remove(key);
        }
    }
}
