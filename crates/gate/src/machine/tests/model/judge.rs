//! What the machine may say, by what the model knows.

use super::{super::*, Model, PAYLOADS, world::*};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// One call, and what was so before the machine answered it.
pub(super) struct Told {
    /// The payload asked about.
    pub(super) n: u8,
    /// The request's root, of newPayload.
    pub(super) root: Option<Root>,
    /// Whether the request is the payload's own.
    pub(super) own: bool,
    pub(super) answer: ElAnswer,
    /// What the beacon node took for VALID.
    pub(super) told_before: BTreeSet<u8>,
    /// See `Model::losses`.
    pub(super) losses: BTreeSet<u8>,
}

impl Model {
    /// Links as the machine knows them: the payload and its ancestors in the tree.
    pub(super) fn known_chain(&self, n: u8) -> Vec<u8> {
        let parent = |n: &u8| {
            self.gate
                .payload(&hash(*n))
                .and_then(|v| v.parent_hash)
                .map(|h| number(&h))
        };
        std::iter::successors(Some(n), parent).collect()
    }

    /// Whoever the machine can see to stand on a payload, payloads that left the tree included.
    pub(super) fn known_descendants(&self, n: u8) -> Vec<u8> {
        let canonical = self.gate.settled.get(&hash(n)).is_some_and(|s| s.canonical);
        let rooted = |a: &u8| self.gate.tree.get(&hash(*a)).is_some_and(|n| n.rooted);
        let stands_on = |d: &u8| {
            let chain = self.known_chain(*d);
            chain.contains(&n) || (canonical && chain.iter().any(rooted))
        };
        (1..=PAYLOADS).filter(stands_on).collect()
    }

    /// What the beacon node takes for VALID, as far as the machine can know: told, or ancestor of a told one.
    pub(super) fn told_with_ancestors(&self) -> BTreeSet<u8> {
        self.told.keys().flat_map(|n| self.known_chain(*n)).collect()
    }

    pub(super) fn bound_root(&self, n: u8) -> Option<Root> {
        let settled = || self.gate.settled.get(&hash(n)).and_then(|s| s.root);
        self.gate
            .payload(&hash(n))
            .and_then(|v| v.new_payload_request_root)
            .or_else(settled)
    }

    pub(super) fn proven(&self, n: u8) -> bool {
        let Some(root) = self.bound_root(n) else {
            return false;
        };
        let types = self.proofs.iter().filter(|(r, _)| *r == root).count();
        types >= usize::from(self.config.required_proofs.get())
    }

    pub(super) fn anchored(&self, n: u8) -> bool {
        self.anchors.iter().any(|a| self.world.chain(*a).contains(&n))
    }

    /// Rules 2, 6 and 7: whether VALID may be said of a payload at all.
    pub(super) fn may_be_valid(&self, n: u8) -> Result<(), String> {
        if self.el_valid.get(&n) != Some(&true) {
            return Err(format!("the EL's last word on {n} is not VALID"));
        }
        for at in self.world.chain(n) {
            if self.anchored(at) {
                return Ok(());
            }
            if !self.proven(at) {
                return Err(format!("{at} is neither proven nor trusted"));
            }
        }
        Err("no anchor".to_owned())
    }

    /// Whether nothing holds a payload back that the EL just called VALID.
    pub(super) fn must_be_valid(&self, n: u8) -> bool {
        for at in self.known_chain(n) {
            let Some(view) = self.gate.payload(&hash(at)) else {
                return false;
            };
            if view.conflict || self.known_chain(at).iter().any(|a| self.conflicts.contains(a)) {
                return false;
            }
            if view.anchor {
                // A conflict may lie below an anchor.
                return self.known_chain(at).iter().all(|a| {
                    self.gate.payload(&hash(*a)).is_none_or(|v| !v.conflict)
                        && self.gate.settled.get(&hash(*a)).is_none_or(|s| !s.conflict)
                });
            }
            if view.slot.is_none() || !self.proven(at) {
                return false;
            }
        }
        false
    }

    pub(super) fn answer(&self, n: u8, el: El) -> ElAnswer {
        match el {
            El::Valid => valid(n),
            El::ValidNaming(named) => status(StatusWord::Valid, self.world.named(n, named)),
            El::Syncing(named) => status(StatusWord::Syncing, self.world.named(n, named)),
            El::Accepted => status(StatusWord::Accepted, None),
            El::Invalid(named) => status(StatusWord::Invalid, self.world.named(n, named)),
            El::Error => ElAnswer::Error,
            El::Unavailable => ElAnswer::Unavailable,
            El::Unreadable => ElAnswer::Unreadable,
        }
    }

    /// The model takes in the EL's answer before the machine sees it. `own`: the request is the payload's; `parent`:
    /// its parent, where the machine can know it.
    pub(super) fn el_said(&mut self, n: u8, own: bool, parent: Option<u8>, answer: ElAnswer) {
        let ElAnswer::Status {
            status,
            latest_valid_hash,
        } = answer
        else {
            return;
        };
        match status {
            StatusWord::Valid if own && latest_valid_hash == Some(hash(n)) => {
                for at in self.world.chain(n) {
                    self.el_valid.insert(at, true);
                }
            }
            StatusWord::Valid => {}
            StatusWord::Syncing | StatusWord::Accepted => {
                if own && self.gate.payload(&hash(n)).is_some() {
                    self.el_valid.insert(n, false);
                }
            }
            StatusWord::Invalid => {
                let mut called: Vec<u8> = own.then_some(n).into_iter().collect();
                called.extend(self.known_called_ancestors(parent, latest_valid_hash));
                for at in &called {
                    for descendant in self.known_descendants(*at) {
                        self.el_valid.insert(descendant, false);
                    }
                }
                if self.requires() {
                    let told = self.told_with_ancestors();
                    self.conflicts
                        .extend(called.into_iter().filter(|n| told.contains(n)));
                }
            }
        }
    }

    /// Ancestors after the named one, where the machine can see that it is an ancestor.
    pub(super) fn known_called_ancestors(&self, parent: Option<u8>, named: Option<BlockHash>) -> Vec<u8> {
        let (Some(parent), Some(named)) = (parent, named) else {
            return Vec::new();
        };
        let mut chain = self.known_chain(parent);
        let upto = chain.iter().position(|a| hash(*a) == named);
        match upto {
            Some(upto) => chain[..upto].to_vec(),
            None if named.is_zero() => {
                chain.retain(|a| self.gate.payload(&hash(*a)).is_some());
                chain
            }
            None => Vec::new(),
        }
    }

    /// What the beacon node takes for INVALID by an answer, knowing the whole chain.
    pub(super) fn taken_for_invalid(&self, n: u8, own: bool, named: Option<BlockHash>) -> BTreeSet<u8> {
        let mut taken: BTreeSet<u8> = own.then_some(n).into_iter().collect();
        let chain = self.world.chain(n);
        let upto = match named {
            None => None,
            Some(named) if named.is_zero() => Some(chain.len()),
            Some(named) => chain.iter().position(|a| hash(*a) == named),
        };
        if let Some(upto) = upto.filter(|u| *u > 0) {
            taken.extend(&chain[1..upto]);
        }
        taken
    }

    /// What stands on payloads that the beacon node takes for INVALID, as far as the machine can see.
    pub(super) fn losses(&self, n: u8, own: bool, answer: ElAnswer) -> BTreeSet<u8> {
        let ElAnswer::Status {
            latest_valid_hash, ..
        } = answer
        else {
            return BTreeSet::new();
        };
        let taken = self.taken_for_invalid(n, own, latest_valid_hash);
        let standing = taken.iter().flat_map(|t| self.known_descendants(*t)).collect();
        &taken | &standing
    }

    /// Rules 1, 3, 4, 5 and 7 on one answer.
    pub(super) fn judge(
        &mut self,
        call: &Told,
        decision: Decision,
        must_pass: bool,
    ) -> Result<(), TestCaseError> {
        let Told {
            n,
            root,
            own,
            answer,
            told_before,
            losses,
        } = call;
        let (n, own, answer) = (*n, *own, *answer);
        let ElAnswer::Status {
            status,
            latest_valid_hash,
        } = answer
        else {
            if !self.requires() || answer != ElAnswer::Unreadable {
                prop_assert_eq!(
                    decision,
                    Decision::PassThrough,
                    "errors pass, and all that is observed"
                );
            }
            return Ok(());
        };
        let passed = decision == Decision::PassThrough;
        if !self.requires() {
            prop_assert!(passed, "observe is the EL's word");
            if status == StatusWord::Valid && latest_valid_hash == Some(hash(n)) && own {
                self.told.entry(n).or_insert(false);
            }
            if status == StatusWord::Invalid {
                // The EL's word: what the machine can see to stand on it is not VALID any more.
                for lost in losses {
                    self.told.remove(lost);
                    self.conflicts.remove(lost);
                }
            }
            return Ok(());
        }
        let in_conflict = own && self.known_chain(n).iter().any(|a| self.conflicts.contains(a));
        match status {
            StatusWord::Valid if passed => {
                prop_assert_eq!(latest_valid_hash, Some(hash(n)), "rule 3");
                prop_assert!(own, "rule 5");
                prop_assert!(!in_conflict, "rule 4: {} is in conflict", n);
                if self.gate.payload(&hash(n)).is_some() {
                    prop_assert_eq!(self.may_be_valid(n), Ok(()), "told VALID of {}", n);
                }
                self.told.insert(n, true);
                let roots = self.valid_roots.entry(n).or_default();
                roots.extend(*root);
                prop_assert!(roots.len() <= 1, "rule 5: two roots of {} were VALID", n);
            }
            StatusWord::Valid => prop_assert!(!must_pass, "nothing holds {} back: {:?}", n, decision),
            StatusWord::Invalid if passed => {
                prop_assert!(!in_conflict, "rule 4: {} is in conflict", n);
                let taken = self.taken_for_invalid(n, own, latest_valid_hash);
                let back: Vec<_> = taken.intersection(told_before).collect();
                prop_assert!(back.is_empty(), "rule 4: VALID of {:?} taken back", back);
            }
            StatusWord::Invalid => {}
            StatusWord::Syncing | StatusWord::Accepted if passed => {
                prop_assert_eq!(latest_valid_hash, None, "rule 3");
            }
            StatusWord::Syncing | StatusWord::Accepted => {}
        }
        Ok(())
    }
}
