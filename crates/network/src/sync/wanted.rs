//! The blocks of the range: what is held of each, what is missing, and whom that has been asked of.

mod missing;

use super::{
    event::Block,
    limits::{MAX_BLOCKS, ROUNDS, Settings, URGENT_SLOTS},
    sources::{SourceIndex, SourceSet, Sources},
};
use assay_types::{ProofKey, ProofType, Root, Slot};
pub(crate) use missing::Missing;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// Where a block stands in the plan: by slot, then root.
pub(crate) type Place = (Slot, Root);

/// A block of the plan.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) payload: Option<Root>,
    /// On the canonical chain.
    pub(crate) canonical: bool,
    /// The gate holds its payload back for want of proofs.
    waits: bool,
    pub(crate) held: Vec<ProofType>,
    missing: Vec<Missing>,
}

/// What is wanted, in numbers of proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) blocks: usize,
    pub(crate) held: usize,
    pub(crate) missing: usize,
    pub(crate) under_way: usize,
    /// No peer that is connected has it, as far as asking can tell.
    pub(crate) not_obtainable: usize,
}

/// The blocks of the plan.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    blocks: BTreeMap<Place, Planned>,
    /// Where a payload's blocks are: more than one where a proposer put it into two.
    by_payload: HashMap<Root, Vec<Place>>,
    /// Blocks with something missing.
    incomplete: BTreeSet<Place>,
    /// Those the gate waits for.
    waiting: BTreeSet<Place>,
    /// What is kept begins here.
    start: Slot,
    /// Blocks that the bound let go.
    pub(crate) beyond: u64,
}

impl Planned {
    fn want(&mut self, types: &[ProofType], due: Duration) {
        let held = &self.held;
        self.missing.retain(|missing| !held.contains(&missing.proof_type));
        if self.payload.is_none() {
            self.missing.clear();
            return;
        }
        for proof_type in types {
            let is_known = self.held.contains(proof_type)
                || self
                    .missing
                    .iter()
                    .any(|missing| missing.proof_type == *proof_type);
            if !is_known {
                self.missing.push(Missing::new(*proof_type, due));
            }
        }
    }

    /// Whether it is asked for already, or with the verifier.
    pub(crate) fn is_under_way(&self, proof_type: ProofType) -> bool {
        self.missing
            .iter()
            .any(|m| m.proof_type == proof_type && (m.under_way > 0 || m.judging))
    }

    /// How many distinct wanted types are held.
    pub(crate) fn held_of(&self, types: &[ProofType]) -> usize {
        types.iter().filter(|t| self.held.contains(t)).count()
    }
}

impl Wanted {
    pub(crate) fn get(&self, place: &Place) -> Option<&Planned> {
        self.blocks.get(place)
    }

    /// Every block of the plan.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.blocks.keys().copied().collect()
    }

    /// The blocks that this is the payload of.
    pub(crate) fn places_of(&self, payload: &Root) -> &[Place] {
        self.by_payload.get(payload).map_or(&[], Vec::as_slice)
    }

    /// A block has this payload no more.
    fn unname(&mut self, payload: &Root, place: &Place) {
        if let Some(places) = self.by_payload.get_mut(payload) {
            places.retain(|other| other != place);
            if places.is_empty() {
                self.by_payload.remove(payload);
            }
        }
    }

    pub(crate) fn canonical_at(&self, slot: Slot) -> Option<(&Place, &Planned)> {
        self.of_slot(slot).find(|(_, block)| block.canonical)
    }

    fn of_slot(&self, slot: Slot) -> impl Iterator<Item = (&Place, &Planned)> {
        self.blocks
            .range((slot, Root::ZERO)..=(slot, Root::from([0xff; 32])))
    }

    /// Canonical blocks of a span of slots, both ends included.
    pub(crate) fn canonical_between(&self, from: Slot, to: Slot) -> impl Iterator<Item = (&Place, &Planned)> {
        self.blocks
            .range((from, Root::ZERO)..=(to.max(from), Root::from([0xff; 32])))
            .filter(|(_, block)| block.canonical)
    }

    /// The highest canonical slot.
    pub(crate) fn tip(&self) -> Option<Slot> {
        self.blocks
            .iter()
            .rev()
            .find(|(_, block)| block.canonical)
            .map(|(place, _)| place.0)
    }

    /// The lowest canonical slot.
    pub(crate) fn bottom(&self) -> Option<Slot> {
        self.blocks
            .iter()
            .find(|(_, block)| block.canonical)
            .map(|(place, _)| place.0)
    }

    /// Puts a block into the plan, or brings it up to date.
    fn put(&mut self, block: &Block, settings: &Settings, current: Slot, now: Duration) -> Option<Place> {
        if block.slot < self.start {
            return None;
        }
        let place = (block.slot, block.root);
        // Gossip has had its time for what is older than the last slot.
        let due = if block.slot.saturating_add(1) < current {
            now
        } else {
            now + settings.grace()
        };
        let planned = self.blocks.entry(place).or_insert_with(|| Planned {
            payload: None,
            canonical: false,
            waits: false,
            held: Vec::new(),
            missing: Vec::new(),
        });
        let before = planned.payload;
        if before != block.payload {
            planned.missing.clear();
            planned.payload = block.payload;
        }
        planned.held.clone_from(&block.held);
        planned.want(settings.types_at(block.slot), due);
        if before != block.payload
            && let Some(before) = before
        {
            self.unname(&before, &place);
        }
        if let Some(payload) = block.payload {
            let places = self.by_payload.entry(payload).or_default();
            if !places.contains(&place) {
                places.push(place);
            }
        }
        self.note(place);
        Some(place)
    }

    fn note(&mut self, place: Place) {
        if self
            .blocks
            .get(&place)
            .is_some_and(|block| !block.missing.is_empty())
        {
            self.incomplete.insert(place);
        } else {
            self.incomplete.remove(&place);
        }
    }

    fn forget(&mut self, place: &Place) {
        if let Some(payload) = self.blocks.remove(place).and_then(|block| block.payload) {
            self.unname(&payload, place);
        }
        self.incomplete.remove(place);
        self.waiting.remove(place);
    }

    /// Takes the canonical flag from a block; one that nobody waits for goes.
    fn leave(&mut self, place: &Place) {
        let Some(block) = self.blocks.get_mut(place) else {
            return;
        };
        block.canonical = false;
        if !block.waits {
            self.forget(place);
        }
    }

    /// Nothing above `above` is canonical but `blocks`.
    pub(crate) fn set_canonical(
        &mut self,
        above: Option<Slot>,
        blocks: &[Block],
        settings: &Settings,
        current: Slot,
        now: Duration,
    ) {
        let from = above.map_or(Slot(0), |slot| slot.saturating_add(1));
        let stays: BTreeSet<Place> = blocks.iter().map(|block| (block.slot, block.root)).collect();
        let gone: Vec<Place> = self
            .canonical_between(from, Slot(u64::MAX))
            .map(|(place, _)| *place)
            .filter(|place| !stays.contains(place))
            .collect();
        for place in gone {
            self.leave(&place);
        }
        for block in blocks {
            if let Some(place) = self.put(block, settings, current, now)
                && let Some(planned) = self.blocks.get_mut(&place)
            {
                planned.canonical = true;
            }
        }
        while self.blocks.len() > MAX_BLOCKS
            && let Some(lowest) = self.blocks.first_key_value().map(|(place, _)| *place)
        {
            self.forget(&lowest);
            self.beyond += 1;
        }
    }

    /// A block's payload or holdings changed, if the block is here.
    pub(crate) fn update(&mut self, block: &Block, settings: &Settings, current: Slot, now: Duration) {
        if self.blocks.contains_key(&(block.slot, block.root)) {
            self.put(block, settings, current, now);
        }
    }

    /// What the gate waits for, all of it.
    pub(crate) fn set_waiting(
        &mut self,
        blocks: &[Block],
        settings: &Settings,
        current: Slot,
        now: Duration,
    ) {
        let stays: BTreeSet<Place> = blocks.iter().map(|block| (block.slot, block.root)).collect();
        let over: Vec<Place> = self.waiting.difference(&stays).copied().collect();
        for place in over {
            self.waiting.remove(&place);
            let Some(block) = self.blocks.get_mut(&place) else {
                continue;
            };
            block.waits = false;
            if !block.canonical {
                self.forget(&place);
            }
        }
        for block in blocks {
            let place = (block.slot, block.root);
            if self.waiting.contains(&place) || self.waiting.len() >= MAX_BLOCKS {
                continue;
            }
            if !self.blocks.contains_key(&place) && self.put(block, settings, current, now).is_none() {
                continue;
            }
            self.waiting.insert(place);
            if let Some(planned) = self.blocks.get_mut(&place) {
                planned.waits = true;
            }
        }
    }

    /// What lies before `start` is not kept any more.
    pub(crate) fn begin_at(&mut self, start: Slot) {
        self.start = start;
        while let Some(lowest) = self.blocks.first_key_value().map(|(place, _)| *place)
            && lowest.0 < start
        {
            self.forget(&lowest);
        }
    }

    /// A proof is on disk. Where its blocks are.
    pub(crate) fn held(&mut self, key: &ProofKey) -> Vec<Place> {
        let places = self.places_of(&key.new_payload_request_root).to_vec();
        for place in &places {
            let Some(block) = self.blocks.get_mut(place) else {
                continue;
            };
            if !block.held.contains(&key.proof_type) {
                block.held.push(key.proof_type);
            }
            block
                .missing
                .retain(|missing| missing.proof_type != key.proof_type);
            self.note(*place);
        }
        places
    }

    fn missing_mut(&mut self, place: &Place, proof_type: ProofType) -> Option<&mut Missing> {
        self.blocks
            .get_mut(place)?
            .missing
            .iter_mut()
            .find(|missing| missing.proof_type == proof_type)
    }

    /// The same by the proof's own name, for every block that it is missing from.
    pub(crate) fn for_missing(&mut self, key: &ProofKey, mut note: impl FnMut(&mut Missing)) {
        for place in self.places_of(&key.new_payload_request_root).to_vec() {
            if let Some(missing) = self.missing_mut(&place, key.proof_type) {
                note(missing);
            }
        }
    }

    /// Whether it is wanted and not with the verifier yet.
    pub(crate) fn is_needed(&self, key: &ProofKey) -> bool {
        let mut missing = self
            .places_of(&key.new_payload_request_root)
            .iter()
            .filter_map(|place| self.blocks.get(place))
            .flat_map(|block| &block.missing)
            .filter(|m| m.proof_type == key.proof_type)
            .peekable();
        missing.peek().is_some() && missing.all(|m| !m.judging && !m.unwanted)
    }

    /// A request that asks for it began. Whether it is the only one.
    pub(crate) fn began(
        &mut self,
        place: &Place,
        proof_type: ProofType,
        of: SourceIndex,
        now: Duration,
    ) -> bool {
        let Some(missing) = self.missing_mut(place, proof_type) else {
            return false;
        };
        missing.under_way = missing.under_way.saturating_add(1);
        missing.since = now;
        missing.last = Some(of);
        missing.under_way == 1
    }

    /// A request that asked for it ended; `answered_without`: the peer has answered, and does not have it.
    pub(crate) fn ended(
        &mut self,
        place: &Place,
        proof_type: ProofType,
        answered_without: Option<SourceIndex>,
    ) {
        if let Some(missing) = self.missing_mut(place, proof_type) {
            missing.under_way = missing.under_way.saturating_sub(1);
            if let Some(source) = answered_without {
                missing.asked.insert(source);
            }
        }
    }

    /// What a source may be asked for of all that is missing, block by block in rising order, and whether any of it is
    /// asked for again.
    pub(crate) fn open_for<'a>(
        &'a self,
        source: SourceIndex,
        sources: &'a Sources,
        now: Duration,
    ) -> impl Iterator<Item = (Place, Vec<ProofType>, bool)> + 'a {
        self.incomplete
            .iter()
            .filter_map(move |place| self.types_open(place, source, sources, None, now))
    }

    /// The same of what a beacon node waits for now: the newest blocks, and what the gate holds back.
    pub(crate) fn open_and_live<'a>(
        &'a self,
        source: SourceIndex,
        sources: &'a Sources,
        current: Slot,
        hedge: Duration,
        now: Duration,
    ) -> impl Iterator<Item = (Place, Vec<ProofType>, bool)> + 'a {
        let newest = (Slot(current.0.saturating_sub(URGENT_SLOTS)), Root::ZERO);
        self.waiting
            .range(..newest)
            .chain(self.incomplete.range(newest..))
            .filter_map(move |place| self.types_open(place, source, sources, Some(hedge), now))
    }

    fn types_open(
        &self,
        place: &Place,
        source: SourceIndex,
        sources: &Sources,
        hedge: Option<Duration>,
        now: Duration,
    ) -> Option<(Place, Vec<ProofType>, bool)> {
        let (mut types, mut again) = (Vec::new(), false);
        for missing in &self.blocks.get(place)?.missing {
            if missing.open_to(sources, place.0, hedge, now).has(source) {
                types.push(missing.proof_type);
                again |= missing.round > 0;
            }
        }
        (!types.is_empty()).then_some((*place, types, again))
    }

    /// Ends the rounds in which everybody was asked, counts, and tells whom there is something to ask.
    pub(crate) fn settle(
        &mut self,
        sources: &Sources,
        settings: &Settings,
        now: Duration,
    ) -> (Tally, SourceSet) {
        let mut askable = SourceSet::default();
        let mut tally = Tally {
            blocks: self.blocks.len(),
            held: self.blocks.values().map(|block| block.held.len()).sum(),
            ..Tally::default()
        };
        for place in &self.incomplete {
            let Some(block) = self.blocks.get_mut(place) else {
                continue;
            };
            for missing in &mut block.missing {
                let usable = sources.for_type(missing.proof_type);
                let is_over = missing.under_way == 0
                    && !missing.judging
                    && !usable.is_empty()
                    && usable.without(&missing.asked).is_empty();
                if is_over && missing.round + 1 < ROUNDS {
                    missing.due = now + settings.round_pause(missing.round);
                    missing.round += 1;
                    missing.asked = SourceSet::default();
                }
                askable.add(&missing.open_to(sources, place.0, None, now));
                tally.missing += 1;
                tally.under_way += usize::from(missing.under_way > 0 || missing.judging);
                tally.not_obtainable += usize::from(missing.is_not_obtainable(sources));
            }
        }
        (tally, askable)
    }

    /// A place in the table of sources is another peer's now.
    pub(crate) fn forget_source(&mut self, source: SourceIndex) {
        for place in &self.incomplete {
            if let Some(block) = self.blocks.get_mut(place) {
                for missing in &mut block.missing {
                    missing.asked.remove(source);
                }
            }
        }
    }
}
