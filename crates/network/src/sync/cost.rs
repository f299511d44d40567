//! By range or by root: whichever costs fewer bytes.
//!
//! Both bring the proofs that are missing. A range also brings those of its blocks that are held already; identifiers
//! have to be sent. So a range is for what is missing as a whole, and roots are for gaps.

use super::{
    event::Ask,
    limits::{EXPECTED_PROOF_BYTES, Settings},
    wanted::{Place, Planned, Wanted},
};
use assay_types::{ProofType, Slot, proof::SIGNED_PROOF_OVERHEAD};
use std::collections::HashMap;

/// Bytes of a range request's fixed fields and offset.
const RANGE_BYTES: u64 = 20;
/// Bytes of an identifier and its offset, but for its types.
const IDENTIFIER_BYTES: u64 = 40;
/// Fewest blocks for which a range that covers a part of what could be asked for is taken.
const MIN_PART: usize = 32;

/// Sizes seen, by type: a running mean.
#[derive(Debug, Default)]
pub(crate) struct Sizes(HashMap<ProofType, u64>);

impl Sizes {
    pub(crate) fn saw(&mut self, proof_type: ProofType, bytes: u64) {
        let mean = self.0.entry(proof_type).or_insert(bytes);
        *mean = mean.saturating_mul(7).saturating_add(bytes) / 8;
    }

    /// What a proof of a type will be, in bytes.
    pub(crate) fn expected(&self, proof_type: ProofType) -> u64 {
        self.0
            .get(&proof_type)
            .copied()
            .unwrap_or(EXPECTED_PROOF_BYTES)
            .max(SIGNED_PROOF_OVERHEAD as u64)
    }
}

/// A block, and the types of its proofs that could be asked for.
#[derive(Debug, Clone)]
pub(crate) struct OpenBlock {
    pub(crate) place: Place,
    pub(crate) types: Vec<ProofType>,
    /// Not in the first round. Then by root: a peer that sees another chain has nothing of this block in any range.
    pub(crate) again: bool,
}

/// What could be asked of a peer: blocks in rising order.
pub(crate) type Open = Vec<OpenBlock>;

/// The protocols a peer speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaks {
    pub(crate) range: bool,
    pub(crate) root: bool,
}

/// The cheapest request for a front part of `open`, and how many of its blocks it covers; `None` where nothing can be
/// asked.
pub(crate) fn cheapest(
    open: &Open,
    wanted: &Wanted,
    sizes: &Sizes,
    settings: &Settings,
    speaks: Speaks,
) -> Option<(Ask, usize)> {
    if open.is_empty() {
        return None;
    }
    let mut types: Vec<ProofType> = Vec::new();
    for block in open {
        for proof_type in &block.types {
            if !types.contains(proof_type) && types.len() < settings.max_types {
                types.push(*proof_type);
            }
        }
    }
    types.sort_unstable();
    if speaks.range {
        let covered = range_prefix(open, &types, wanted, sizes, settings, !speaks.root);
        let worth_it = covered == open.len() && covered > 1 || covered >= MIN_PART || !speaks.root;
        if worth_it
            && let (Some(first), Some(last)) =
                (open.first(), covered.checked_sub(1).and_then(|i| open.get(i)))
        {
            let count = last.place.0.0 - first.place.0.0 + 1;
            let ask = Ask::Range {
                start: first.place.0,
                count,
                types,
            };
            return Some((ask, covered));
        }
    }
    speaks.root.then(|| {
        let identifiers = open
            .iter()
            .map(|block| (block.place.1, block.types.clone()))
            .collect();
        (Ask::Root(identifiers), open.len())
    })
}

/// How many blocks of the front a range would bring at no greater cost than roots. `at_any_cost`: how many fit.
fn range_prefix(
    open: &Open,
    types: &[ProofType],
    wanted: &Wanted,
    sizes: &Sizes,
    settings: &Settings,
    at_any_cost: bool,
) -> usize {
    let Some(first) = open.first().map(|block| block.place.0) else {
        return 0;
    };
    let mut by_range = RANGE_BYTES + types.len() as u64;
    let mut by_root = 0;
    let (mut covered, mut from) = (0, first);
    for (index, block) in open.iter().enumerate() {
        let OpenBlock {
            place,
            types: asked,
            again,
        } = block;
        let is_canonical = wanted.get(place).is_some_and(|block| block.canonical);
        if (*again && !at_any_cost)
            || !is_canonical
            || place.0.0 - first.0 >= settings.max_count
            || asked.iter().any(|t| !types.contains(t))
        {
            break;
        }
        by_root += IDENTIFIER_BYTES + asked.len() as u64;
        // The blocks since the last one, whole ones included.
        for (at, block) in wanted.canonical_between(from, place.0) {
            let asked: &[ProofType] = if at == place { asked } else { &[] };
            by_range += comes_for_nothing(block, types, asked, sizes);
        }
        from = place.0.saturating_add(1);
        if at_any_cost || by_range <= by_root {
            covered = index + 1;
        }
    }
    covered
}

/// Bytes of a block's proofs that a range brings and nobody needs: what is held.
fn comes_for_nothing(block: &Planned, types: &[ProofType], asked: &[ProofType], sizes: &Sizes) -> u64 {
    types
        .iter()
        .filter(|t| !asked.contains(t) && (block.held.contains(t) || block.is_under_way(**t)))
        .map(|t| sizes.expected(*t))
        .sum()
}

/// The slots a request is about.
pub(crate) fn covers(ask: &Ask, slot: Slot) -> bool {
    match ask {
        Ask::Range { start, count, .. } => slot >= *start && slot.0 - start.0 < *count,
        Ask::Root(_) => true,
    }
}
