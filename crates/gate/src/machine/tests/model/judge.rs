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

/// A call whose answer waits.
pub(super) struct Waiting {
    pub(super) n: u8,
    pub(super) asked: Asked,
    /// What the EL said.
    pub(super) status: Option<StatusWord>,
    pub(super) root: Option<Root>,
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
        let rooted = |a: &u8| self.gate.tree.get(&hash(*a)).is_some_and(|n| n.rooted.is_some());
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
        let counts = |t: &ProofType| self.config.counted_types.contains(*t);
        let types = self
            .proofs
            .iter()
            .filter(|(r, t)| *r == root && counts(t))
            .count();
        types >= usize::from(self.config.required_proofs.get())
    }

    /// Whether the grace of `trust-execution` may be over.
    fn released(&self, n: u8) -> bool {
        let grace = match (self.config.policy, self.config.on_missing_proofs) {
            (ImportPolicy::RequireProofs, OnMissingProofs::TrustExecution { grace_slots }) => grace_slots,
            _ => return false,
        };
        self.waits_from
            .get(&n)
            .is_some_and(|from| from + grace <= self.slot)
    }

    pub(super) fn anchored(&self, n: u8) -> bool {
        self.anchors.iter().any(|a| self.world.chain(*a).contains(&n))
    }

    /// Rules 2, 6 and 7: whether VALID may be said of a payload at all.
    pub(super) fn may_be_valid(&self, n: u8) -> Result<(), String> {
        match self.config.policy {
            ImportPolicy::Observe => Ok(()),
            ImportPolicy::RequireProofs => {
                if self.el_valid.get(&n) != Some(&true) {
                    return Err(format!("the EL's last word on {n} is not VALID"));
                }
                // Some ancestor within the lag is proven with all before it.
                let lag = usize::try_from(self.config.proof_lag).unwrap();
                let mut why = String::new();
                for at in self.world.chain(n).into_iter().take(lag + 1) {
                    match self.may_count_as_proven(at) {
                        Ok(()) => return Ok(()),
                        Err(e) => why = e,
                    }
                }
                Err(why)
            }
            ImportPolicy::AcceptProofs => {
                for at in self.world.chain(n) {
                    if self.el_invalid.contains(&at) {
                        return Err(format!("the EL's last word on {at} is INVALID"));
                    }
                    if self.el_valid.get(&at) == Some(&true) || self.anchored(at) {
                        return Ok(());
                    }
                    if !self.proven(at) {
                        return Err(format!("{at} is neither VALID to the EL nor proven nor trusted"));
                    }
                }
                Err("no anchor".to_owned())
            }
            ImportPolicy::ProofsOnly => self.may_count_as_proven(n),
        }
    }

    fn may_count_as_proven(&self, n: u8) -> Result<(), String> {
        for at in self.world.chain(n) {
            if self.anchored(at) {
                return Ok(());
            }
            if !self.proven(at) && !self.released(at) {
                return Err(format!("{at} is neither proven nor trusted"));
            }
        }
        Err("no anchor".to_owned())
    }

    /// No conflict lies on the known chain.
    fn undisputed(&self, n: u8) -> bool {
        self.known_chain(n).iter().all(|a| {
            !self.conflicts.contains(a)
                && self.gate.payload(&hash(*a)).is_none_or(|v| !v.conflict)
                && self.gate.settled.get(&hash(*a)).is_none_or(|s| !s.conflict)
        })
    }

    /// Whether nothing holds a payload back that the EL just called VALID.
    pub(super) fn must_be_valid(&self, n: u8) -> bool {
        match self.config.policy {
            ImportPolicy::Observe | ImportPolicy::ProofsOnly => false,
            ImportPolicy::AcceptProofs => self.undisputed(n),
            ImportPolicy::RequireProofs => {
                let lag = usize::try_from(self.config.proof_lag).unwrap();
                let chain = self.known_chain(n);
                self.undisputed(n)
                    && chain
                        .iter()
                        .take(lag + 1)
                        .any(|at| self.must_count_as_proven(*at))
            }
        }
    }

    /// Whether proofs make a payload VALID, the EL being SYNCING, silent, or not there.
    pub(super) fn must_be_raised(&self, n: u8) -> bool {
        let el = |at: u8| self.gate.payload(&hash(at)).map(|v| v.el_status);
        let sound = self
            .known_chain(n)
            .iter()
            .all(|at| el(*at) != Some(ElStatus::Invalid));
        let carried = match self.config.policy {
            ImportPolicy::Observe | ImportPolicy::RequireProofs => false,
            ImportPolicy::ProofsOnly => self.must_count_as_proven(n),
            ImportPolicy::AcceptProofs => {
                self.must_count_as_proven(n) || {
                    let chain = self.known_chain(n);
                    let stands = |at: &u8| el(*at) == Some(ElStatus::Valid);
                    // Proven up to the first that the EL called VALID.
                    let carrier = chain.iter().skip(1).position(stands);
                    carrier
                        .is_some_and(|c| chain[..=c].iter().all(|at| self.proven(*at) && el(*at).is_some()))
                }
            }
        };
        sound && carried && self.undisputed(n)
    }

    fn must_count_as_proven(&self, n: u8) -> bool {
        for at in self.known_chain(n) {
            let Some(view) = self.gate.payload(&hash(at)) else {
                return false;
            };
            if view.anchor {
                return true;
            }
            if view.slot.is_none() || !self.proven(at) {
                return false;
            }
        }
        false
    }

    pub(super) fn answer(&self, n: u8, el: El) -> ElAnswer {
        if self.config.policy == ImportPolicy::ProofsOnly {
            return ElAnswer::Unavailable;
        }
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
                    self.el_invalid.remove(&at);
                }
            }
            StatusWord::Valid => {}
            StatusWord::Syncing | StatusWord::Accepted => {
                if own && self.gate.payload(&hash(n)).is_some() {
                    self.el_valid.insert(n, false);
                    self.el_invalid.remove(&n);
                }
            }
            StatusWord::Invalid => {
                let mut called: Vec<u8> = own.then_some(n).into_iter().collect();
                called.extend(self.known_called_ancestors(parent, latest_valid_hash));
                for at in &called {
                    for descendant in self.known_descendants(*at) {
                        self.el_valid.insert(descendant, false);
                        self.el_invalid.insert(descendant);
                    }
                }
                if self.judges() {
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
        let in_conflict = own && self.known_chain(n).iter().any(|a| self.conflicts.contains(a));
        match decision {
            Decision::RaiseToValid(named) => {
                prop_assert_eq!(named, hash(n), "rule 3");
                prop_assert!(own, "rule 5");
                prop_assert!(!in_conflict, "rule 4: {} is in conflict", n);
                let raises = matches!(
                    (self.config.policy, answer),
                    (ImportPolicy::ProofsOnly, ElAnswer::Unavailable)
                        | (
                            ImportPolicy::AcceptProofs,
                            ElAnswer::Unavailable
                                | ElAnswer::Status {
                                    status: StatusWord::Syncing,
                                    ..
                                }
                        )
                );
                prop_assert!(raises, "{:?} is not raised under {}", answer, self.config.policy);
                if self.gate.payload(&hash(n)).is_some() {
                    prop_assert_eq!(self.may_be_valid(n), Ok(()), "raised {}", n);
                }
                self.note_valid(n, *root)?;
                return Ok(());
            }
            Decision::Invalid => {
                prop_assert_eq!(self.config.policy, ImportPolicy::ProofsOnly, "rule 1");
                prop_assert!(!own, "rule 1: {} is what its hash names", n);
                return Ok(());
            }
            Decision::InvalidForkchoiceState => {
                prop_assert!(false, "the finalized payload is an ancestor of {}", n);
            }
            Decision::PassThrough | Decision::LowerToSyncing(_) => {}
        }
        let ElAnswer::Status {
            status,
            latest_valid_hash,
        } = answer
        else {
            if !self.judges() || answer == ElAnswer::Error {
                prop_assert_eq!(
                    decision,
                    Decision::PassThrough,
                    "errors pass, and all that is observed"
                );
            }
            prop_assert!(!must_pass, "nothing holds {} back: {:?}", n, decision);
            return Ok(());
        };
        let passed = decision == Decision::PassThrough;
        if !self.judges() {
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
        match status {
            StatusWord::Valid if passed => {
                prop_assert_eq!(latest_valid_hash, Some(hash(n)), "rule 3");
                prop_assert!(own, "rule 5");
                prop_assert!(!in_conflict, "rule 4: {} is in conflict", n);
                if self.gate.payload(&hash(n)).is_some() {
                    prop_assert_eq!(self.may_be_valid(n), Ok(()), "told VALID of {}", n);
                }
                self.note_valid(n, *root)?;
            }
            StatusWord::Valid => prop_assert!(!must_pass, "nothing holds {} back: {:?}", n, decision),
            StatusWord::Invalid if passed => {
                prop_assert!(!in_conflict, "rule 4: {} is in conflict", n);
                let taken = self.taken_for_invalid(n, own, latest_valid_hash);
                let back: Vec<_> = taken.intersection(told_before).collect();
                prop_assert!(back.is_empty(), "rule 4: VALID of {:?} taken back", back);
            }
            StatusWord::Invalid => {}
            StatusWord::Syncing | StatusWord::Accepted => {
                prop_assert!(!must_pass, "nothing holds {} back: {:?}", n, decision);
                if passed {
                    prop_assert_eq!(latest_valid_hash, None, "rule 3");
                }
            }
        }
        Ok(())
    }

    /// The beacon node is told VALID under a policy that answers for it.
    pub(super) fn note_valid(&mut self, n: u8, root: Option<Root>) -> Result<(), TestCaseError> {
        self.told.insert(n, true);
        let roots = self.valid_roots.entry(n).or_default();
        roots.extend(root);
        prop_assert!(roots.len() <= 1, "rule 5: two roots of {} were VALID", n);
        Ok(())
    }

    /// Rules 2, 4, 5 and 7 on a call that waited.
    pub(super) fn judge_again(&mut self, waiting: &Waiting, decision: Decision) -> Result<(), TestCaseError> {
        let Waiting { n, status, root, .. } = waiting;
        if !decision.is_valid(*status) {
            return Ok(());
        }
        if !self.judges() {
            // The policy changed while it waited: the EL's word passes.
            self.told.entry(*n).or_insert(false);
            return Ok(());
        }
        prop_assert!(
            !self.known_chain(*n).iter().any(|a| self.conflicts.contains(a)),
            "rule 4: {}",
            n
        );
        if let Decision::RaiseToValid(named) = decision {
            prop_assert_eq!(named, hash(*n), "rule 3");
        }
        if self.gate.payload(&hash(*n)).is_some() {
            prop_assert_eq!(self.may_be_valid(*n), Ok(()), "told VALID of {} at last", n);
        }
        self.note_valid(*n, *root)
    }
}
