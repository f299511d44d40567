//! What this node says of itself: the newest canonical block up to which everything is proven (protocol.md 5, 11).
//!
//! Kept as the chain grows: a step for every block and every proof, whatever the length of the chain.

use assay_types::{Root, Slot};
use std::collections::BTreeMap;

/// How a canonical block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has no payload: nothing to prove, and nothing to name.
    NoPayload,
    /// Its payload lacks proofs.
    Unproven,
    /// Its payload is proven by enough types.
    Proven,
}

/// The canonical chain from the anchor on. The anchor is the finalized block: what is below it nobody has to keep.
#[derive(Debug, Default)]
pub(crate) struct Proven {
    chain: BTreeMap<Slot, (Root, Standing)>,
    anchor: Option<Slot>,
    /// Everything above the anchor up to and with this slot is proven.
    through: Option<Slot>,
    /// The newest of them that has a payload.
    newest: Option<(Slot, Root)>,
}

impl Proven {
    /// The newest block that is proven with all its ancestors above the anchor.
    pub(crate) fn newest(&self) -> Option<(Slot, Root)> {
        self.newest
    }

    /// A canonical block, and how it stands.
    pub(crate) fn set(&mut self, slot: Slot, root: Root, standing: Standing) {
        if self.anchor.is_some_and(|anchor| slot < anchor) {
            return;
        }
        let before = self.chain.insert(slot, (root, standing));
        if before != Some((root, standing)) && self.through.is_some_and(|through| slot <= through) {
            self.step_back_below(slot);
        }
        self.advance();
    }

    /// Nothing above a slot is canonical.
    pub(crate) fn cut_above(&mut self, above: Option<Slot>) {
        let from = above.map_or(Slot(0), |slot| slot.saturating_add(1));
        drop(self.chain.split_off(&from));
        if self.through.is_some_and(|through| through >= from) {
            self.step_back_below(from);
        }
        self.advance();
    }

    /// Finality moved.
    pub(crate) fn set_anchor(&mut self, anchor: Slot) {
        if self.anchor == Some(anchor) {
            return;
        }
        self.chain = self.chain.split_off(&anchor);
        self.anchor = Some(anchor);
        if self.through.is_none_or(|through| through < anchor) {
            self.through = None;
            self.newest = None;
        } else if self.newest.is_some_and(|(slot, _)| slot < anchor) {
            self.newest = None;
        }
        self.advance();
    }

    fn step_back_below(&mut self, slot: Slot) {
        let below = || self.chain.range(..slot).rev();
        self.through = below().next().map(|(slot, _)| *slot);
        self.newest = below()
            .find(|(_, (_, standing))| *standing == Standing::Proven)
            .map(|(slot, (root, _))| (*slot, *root));
        if self.through.is_none() {
            self.newest = None;
        }
    }

    fn advance(&mut self) {
        let Some(anchor) = self.anchor else { return };
        loop {
            let from = self.through.map_or(anchor, |through| through.saturating_add(1));
            let Some((slot, (root, standing))) = self.chain.range(from..).next() else {
                return;
            };
            match standing {
                Standing::Proven => self.newest = Some((*slot, *root)),
                Standing::NoPayload => {}
                // The anchor needs no proof itself, but is not named without one.
                Standing::Unproven if *slot == anchor => {}
                Standing::Unproven => return,
            }
            self.through = Some(*slot);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use Standing::{NoPayload, Proven as Yes, Unproven as No};
    use proptest::prelude::*;

    fn root(slot: u64, branch: u8) -> Root {
        let mut bytes = [branch; 32];
        bytes[0] = slot as u8;
        Root::from(bytes)
    }

    #[test]
    fn the_table() {
        // anchor, standings of the slots from 0 on (a space: no block), and the slot that is named.
        for (anchor, chain, newest) in [
            (0, "", None),
            (0, "n", None),
            (0, "p", Some(0)),
            (0, "npp", Some(2)),
            (0, "npnp", Some(1)),
            (0, "nnpp", None),
            (0, "p p  p", Some(5)),
            (0, "ppoo", Some(1)),
            (0, "noop", Some(3)),
            (3, "nnnppn", Some(4)),
            (3, "ppnnpp", Some(5)),
            (3, "ppnnnp", None),
            (3, "nnppnp", Some(3)),
        ] {
            let mut proven = Proven::default();
            proven.set_anchor(Slot(anchor));
            for (slot, standing) in (0u64..).zip(chain.chars()) {
                let standing = match standing {
                    'p' => Yes,
                    'n' => No,
                    'o' => NoPayload,
                    _ => continue,
                };
                proven.set(Slot(slot), root(slot, 0), standing);
            }
            assert_eq!(
                proven.newest().map(|(slot, _)| slot.0),
                newest,
                "{anchor} {chain:?}"
            );
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Set(u64, u8, u8),
        Cut(Option<u64>),
        Anchor(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u64..20, 0u8..3, 0u8..2).prop_map(|(slot, standing, branch)| Step::Set(slot, standing, branch)),
            1 => prop::option::of(0u64..20).prop_map(Step::Cut),
            1 => (0u64..5).prop_map(Step::Anchor),
        ]
    }

    /// By walking all of it.
    fn walked(chain: &BTreeMap<u64, (Root, Standing)>, anchor: u64) -> Option<(Slot, Root)> {
        let mut newest = None;
        for (slot, (root, standing)) in chain.range(anchor..) {
            match standing {
                Yes => newest = Some((Slot(*slot), *root)),
                No if *slot != anchor => break,
                _ => {}
            }
        }
        newest
    }

    proptest! {
        #[test]
        fn steps_come_to_what_a_walk_finds(steps in prop::collection::vec(step(), 1..60)) {
            let (mut proven, mut chain, mut anchor) = (Proven::default(), BTreeMap::new(), 0);
            proven.set_anchor(Slot(0));
            for step in steps {
                match step {
                    Step::Set(slot, standing, branch) => {
                        let standing = [Yes, No, NoPayload][usize::from(standing)];
                        proven.set(Slot(slot), root(slot, branch), standing);
                        if slot >= anchor {
                            chain.insert(slot, (root(slot, branch), standing));
                        }
                    }
                    Step::Cut(above) => {
                        proven.cut_above(above.map(Slot));
                        drop(chain.split_off(&above.map_or(0, |a| a + 1)));
                    }
                    Step::Anchor(by) => {
                        anchor += by;
                        proven.set_anchor(Slot(anchor));
                        chain = chain.split_off(&anchor);
                    }
                }
                prop_assert_eq!(proven.newest(), walked(&chain, anchor));
            }
        }
    }
}
