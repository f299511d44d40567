//! The peers that proofs are asked of: what they claim, how they did, whether they may be asked now.

use super::limits::{
    FIRST_BATCH, FIRST_PAUSE, MAX_FAILURES, MAX_PAUSE, MAX_REJECTED, MAX_SOURCES, STATUS_PATIENCE,
};
use crate::backoff;
use assay_types::{ExecutionProofStatus, ProofType, Slot};
use libp2p::PeerId;
use std::{collections::HashMap, time::Duration};

/// A place in the table of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SourceIndex(u16);

impl SourceIndex {
    const fn at(self) -> usize {
        self.0 as usize
    }
}

/// A set of sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SourceSet([u64; MAX_SOURCES / 64]);

impl SourceSet {
    pub(crate) fn insert(&mut self, source: SourceIndex) {
        self.0[source.at() / 64] |= 1 << (source.at() % 64);
    }

    pub(crate) fn remove(&mut self, source: SourceIndex) {
        self.0[source.at() / 64] &= !(1 << (source.at() % 64));
    }

    pub(crate) const fn has(&self, source: SourceIndex) -> bool {
        self.0[source.at() / 64] >> (source.at() % 64) & 1 == 1
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word |= other;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        self
    }

    pub(crate) fn without(mut self, other: &Self) -> Self {
        for (word, other) in self.0.iter_mut().zip(other.0) {
            *word &= !other;
        }
        self
    }
}

/// What is known of a peer's own word.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Claim {
    /// Not asked.
    None,
    /// The question is under way since.
    Asked(Duration),
    /// The question failed then. It may have proofs all the same.
    Silent(Duration),
    /// Its answer, and when it came.
    Told(ExecutionProofStatus, Duration),
}

/// One peer.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) peer: PeerId,
    connected: bool,
    /// When it left, for the choice of who is forgotten.
    left: Duration,
    claim: Claim,
    no_range: bool,
    no_root: bool,
    failures: u8,
    rejected: u8,
    paused_until: Duration,
    /// Proofs asked for at a time.
    pub(crate) batch: usize,
    /// Proofs it brought that were good.
    pub(crate) good: u64,
    /// Requests under way: back-fill, and urgent ones.
    pub(crate) backfill: u8,
    pub(crate) urgent: u8,
}

impl Source {
    fn new(peer: PeerId) -> Self {
        Self {
            peer,
            connected: true,
            left: Duration::ZERO,
            claim: Claim::None,
            no_range: false,
            no_root: false,
            failures: 0,
            rejected: 0,
            paused_until: Duration::ZERO,
            batch: FIRST_BATCH,
            good: 0,
            backfill: 0,
            urgent: 0,
        }
    }

    /// Whether it may ever be asked, as things are.
    fn is_usable(&self) -> bool {
        self.connected
            && !(self.no_range && self.no_root)
            && self.failures < MAX_FAILURES
            && self.rejected < MAX_REJECTED
    }

    /// Whether it may be asked now. Its status is waited for, so that it is asked for what it has.
    pub(crate) fn is_ready(&self, now: Duration) -> bool {
        self.is_usable() && self.paused_until <= now && !matches!(self.claim, Claim::None | Claim::Asked(_))
    }

    pub(crate) const fn speaks_range(&self) -> bool {
        !self.no_range
    }

    pub(crate) const fn speaks_root(&self) -> bool {
        !self.no_root
    }

    /// Whether it may have proofs of a type: it verifies the type, or names as many as it can and may verify more.
    fn may_have(&self, proof_type: ProofType, max_types: usize) -> bool {
        match &self.claim {
            Claim::Told(status, _) => {
                status.proof_types.contains(&proof_type) || status.proof_types.len() >= max_types
            }
            Claim::None | Claim::Asked(_) | Claim::Silent(_) => true,
        }
    }

    fn claimed_slot(&self) -> Option<Slot> {
        match &self.claim {
            Claim::Told(status, _) if !status.block_root.is_zero() => Some(status.slot),
            _ => None,
        }
    }

    /// The better of two peers comes first: fewer failures, then more good proofs.
    pub(crate) fn rank(&self) -> (u8, std::cmp::Reverse<u64>) {
        (
            self.rejected.saturating_add(self.failures),
            std::cmp::Reverse(self.good),
        )
    }

    pub(crate) fn failed(&mut self, now: Duration) {
        let pause = backoff::doubled(FIRST_PAUSE, MAX_PAUSE, u32::from(self.failures));
        self.failures = self.failures.saturating_add(1);
        self.paused_until = now + pause;
        self.batch = (self.batch / 2).max(1);
    }

    pub(crate) fn brought_good(&mut self) {
        self.good += 1;
        self.failures = 0;
    }

    pub(crate) fn brought_bad(&mut self, now: Duration) {
        self.rejected = self.rejected.saturating_add(1);
        self.failed(now);
    }

    /// A response came to its end as it should: everything asked for was in it, or not.
    pub(crate) fn answered(&mut self, whole: bool, max_batch: usize) {
        if whole {
            self.batch = (self.batch * 2).min(max_batch);
        }
        self.failures = self.failures.saturating_sub(1);
    }

    pub(crate) fn lacks_range(&mut self) {
        self.no_range = true;
    }

    pub(crate) fn lacks_root(&mut self) {
        self.no_root = true;
    }
}

/// All sources.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    table: Vec<Source>,
    places: HashMap<PeerId, SourceIndex>,
    usable: usize,
    /// Usable sources that may have a type; built for the wanted types when anything changes.
    by_type: Vec<(ProofType, SourceSet)>,
    /// Usable sources that claim a slot or more, by falling slot.
    by_claim: Vec<(Slot, SourceSet)>,
}

impl Sources {
    /// A peer connected. The place that another one's forgotten marks were kept in, where there is one: they must go.
    pub(crate) fn connected(&mut self, peer: PeerId) -> Option<SourceIndex> {
        if let Some(place) = self.places.get(&peer).copied() {
            if let Some(source) = self.table.get_mut(place.at())
                && !source.connected
            {
                // It gets one more chance, not all of them: who comes and goes is not asked without end.
                *source = Source {
                    good: source.good,
                    failures: source.failures.min(MAX_FAILURES - 1),
                    rejected: source.rejected.min(MAX_REJECTED - 1),
                    paused_until: source.paused_until,
                    ..Source::new(peer)
                };
            }
            return None;
        }
        if let Ok(next) = u16::try_from(self.table.len())
            && self.table.len() < MAX_SOURCES
        {
            self.places.insert(peer, SourceIndex(next));
            self.table.push(Source::new(peer));
            return None;
        }
        let oldest = (0u16..)
            .zip(&self.table)
            .filter(|(_, source)| !source.connected)
            .min_by_key(|(_, source)| source.left)?;
        let (place, forgotten) = (SourceIndex(oldest.0), oldest.1.peer);
        self.places.remove(&forgotten);
        self.places.insert(peer, place);
        self.table[place.at()] = Source::new(peer);
        Some(place)
    }

    pub(crate) fn gone(&mut self, peer: &PeerId, now: Duration) -> Option<SourceIndex> {
        let place = self.place(peer)?;
        let source = self.get_mut(place)?;
        source.connected = false;
        source.left = now;
        Some(place)
    }

    pub(crate) fn place(&self, peer: &PeerId) -> Option<SourceIndex> {
        self.places.get(peer).copied()
    }

    pub(crate) fn get(&self, place: SourceIndex) -> Option<&Source> {
        self.table.get(place.at())
    }

    pub(crate) fn get_mut(&mut self, place: SourceIndex) -> Option<&mut Source> {
        self.table.get_mut(place.at())
    }

    pub(crate) fn by_peer(&mut self, peer: &PeerId) -> Option<&mut Source> {
        let place = self.place(peer)?;
        self.get_mut(place)
    }

    pub(crate) fn told(&mut self, peer: &PeerId, status: ExecutionProofStatus, now: Duration) {
        if let Some(source) = self.by_peer(peer) {
            source.claim = Claim::Told(status, now);
        }
    }

    /// The question for its status failed.
    pub(crate) fn did_not_tell(&mut self, peer: &PeerId, unsupported: bool, now: Duration) {
        let Some(source) = self.by_peer(peer) else { return };
        if !matches!(source.claim, Claim::Told(..)) {
            source.claim = Claim::Silent(now);
        }
        if unsupported {
            // A beacon node that knows nothing of proofs.
            source.no_range = true;
            source.no_root = true;
        }
    }

    /// Peers to ask for their status now: whoever has not told it, and where `refresh` whose word is older than `age`.
    pub(crate) fn ask_status(&mut self, now: Duration, age: Duration, refresh: bool) -> Vec<PeerId> {
        let mut ask = Vec::new();
        for source in self.table.iter_mut().filter(|source| source.is_usable()) {
            let since = match &mut source.claim {
                Claim::None => None,
                Claim::Asked(since) => Some((since, STATUS_PATIENCE)),
                Claim::Silent(since) | Claim::Told(_, since) if refresh => Some((since, age)),
                Claim::Silent(_) | Claim::Told(..) => continue,
            };
            let due = match since {
                None => {
                    source.claim = Claim::Asked(now);
                    true
                }
                Some((since, patience)) => {
                    let due = now.saturating_sub(*since) >= patience;
                    if due {
                        *since = now;
                    }
                    due
                }
            };
            if due {
                ask.push(source.peer);
            }
        }
        ask
    }

    /// Builds the sets anew, for these types.
    pub(crate) fn refresh(&mut self, types: &[ProofType], max_types: usize) {
        self.usable = self.table.iter().filter(|source| source.is_usable()).count();
        self.by_type.clear();
        for proof_type in types {
            let mut set = SourceSet::default();
            for (place, source) in (0u16..).zip(&self.table) {
                if source.is_usable() && source.may_have(*proof_type, max_types) {
                    set.insert(SourceIndex(place));
                }
            }
            self.by_type.push((*proof_type, set));
        }
        let mut claims: Vec<(Slot, SourceIndex)> = (0u16..)
            .zip(&self.table)
            .filter(|(_, source)| source.is_usable())
            .filter_map(|(place, source)| Some((source.claimed_slot()?, SourceIndex(place))))
            .collect();
        claims.sort_unstable_by(|a, b| b.cmp(a));
        self.by_claim.clear();
        let mut so_far = SourceSet::default();
        for (slot, place) in claims {
            so_far.insert(place);
            self.by_claim.push((slot, so_far));
        }
    }

    /// Usable sources that may have a type.
    pub(crate) fn for_type(&self, proof_type: ProofType) -> SourceSet {
        self.by_type
            .iter()
            .find(|(known, _)| *known == proof_type)
            .map(|(_, set)| *set)
            .unwrap_or_default()
    }

    /// Usable sources that claim to have all up to a slot, or beyond.
    pub(crate) fn claiming(&self, slot: Slot) -> SourceSet {
        let after = self.by_claim.partition_point(|(claimed, _)| *claimed >= slot);
        after
            .checked_sub(1)
            .and_then(|last| self.by_claim.get(last))
            .map(|(_, set)| *set)
            .unwrap_or_default()
    }

    /// Those that may be asked now, better ones first.
    pub(crate) fn ready(&self, now: Duration) -> Vec<SourceIndex> {
        let mut ready: Vec<_> = (0u16..)
            .zip(&self.table)
            .filter(|(_, source)| source.is_ready(now))
            .map(|(place, source)| (source.rank(), SourceIndex(place)))
            .collect();
        ready.sort_unstable();
        ready.into_iter().map(|(_, place)| place).collect()
    }

    /// How many may be asked at all.
    pub(crate) const fn usable(&self) -> usize {
        self.usable
    }
}
