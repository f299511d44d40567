//! What an event leaves: the records it changed first, then what they make true.

use super::{
    Gate, Out,
    action::{Action, Durability, RecordChange, VerdictChange},
    explain::Holders,
    record::{half_inverted, inverted, write_history},
};
use assay_types::{BlockHash, Hash256};
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
};

/// Verdicts that change at once and are each told with what holds them; with more, as by a change of policy, the reason is
/// left to be asked for.
const MAX_EXPLAINED_CHANGES: usize = 256;

impl Gate {
    /// The event's actions: records first, then what they make true.
    pub(super) fn flush(&mut self) -> Vec<Action> {
        let out: Out = std::mem::take(&mut self.out);
        let mut verdicts = merged(out.changes);
        if verdicts.len() <= MAX_EXPLAINED_CHANGES {
            let mut known = Holders::default();
            for change in &mut verdicts {
                change.held_by = self.held_by_among(&change.block_hash, Some(&mut known));
            }
        }
        let histories = self.note_changes(&verdicts, &out.dirty);
        let mut changes: Vec<RecordChange> =
            out.dirty.iter().map(|hash| (hash.0, self.record(hash))).collect();
        changes.extend(
            out.claims
                .iter()
                .map(|hash| (inverted(hash).0, self.claim_record(hash))),
        );
        changes.extend(histories);
        if out.meta {
            changes.push((Hash256::ZERO.0, Some(self.write_gate())));
        }
        let mut actions = Vec::new();
        if !changes.is_empty() {
            let durability = if out.durable {
                Durability::BeforeAnswer
            } else {
                Durability::Soon
            };
            actions.push(Action::Persist { changes, durability });
        }
        actions.extend(out.alarms.into_iter().map(Action::Alarm));
        actions.extend(out.reached.into_iter().map(Action::Reached));
        actions.extend(verdicts.into_iter().map(Action::VerdictChanged));
        actions.extend(
            out.answers
                .into_iter()
                .map(|(call, decision, waits)| Action::Answer {
                    call,
                    decision,
                    waits,
                }),
        );
        if !out.told_first.is_empty() {
            actions.push(Action::ToldFirst(out.told_first));
        }
        actions.extend(out.recalls.into_iter().map(|root| self.recall(root)));
        actions
    }

    /// Keeps the changes of an event, and forgets those of payloads that nothing else is known of; gives the records.
    fn note_changes(&mut self, changes: &[VerdictChange], dirty: &BTreeSet<BlockHash>) -> Vec<RecordChange> {
        let is_known =
            |gate: &Self, hash: &BlockHash| gate.tree.contains(hash) || gate.settled.contains(hash);
        let mut records = Vec::new();
        for change in changes {
            let hash = change.block_hash;
            if is_known(self, &hash) {
                self.histories.push(hash, change.into());
                records.push((
                    half_inverted(&hash).0,
                    Some(write_history(self.histories.of(&hash))),
                ));
            }
        }
        for hash in dirty {
            if !is_known(self, hash) && self.histories.remove(hash) {
                records.push((half_inverted(hash).0, None));
            }
        }
        records
    }

    fn recall(&self, new_payload_request_root: Hash256) -> Action {
        let placed = self
            .tree
            .hash_of_root(&new_payload_request_root)
            .and_then(|h| self.tree.get(&h));
        let proofs = placed
            .map(|n| &n.proofs)
            .or_else(|| self.early.by_root.get(&new_payload_request_root));
        let known = proofs.map(|p| p.keys().copied().collect()).unwrap_or_default();
        Action::RecallProofs {
            new_payload_request_root,
            known,
        }
    }
}

/// One change per payload: from what it was before the event to what it is after, in the order in which each changed first.
fn merged(changes: Vec<VerdictChange>) -> Vec<VerdictChange> {
    merged_by(changes, |change| change.block_hash)
}

/// As `merged`, a payload told by `key`. One event may change every payload of a full tree: each is looked up once.
fn merged_by<K: Hash + Eq>(
    changes: Vec<VerdictChange>,
    key: impl Fn(&VerdictChange) -> K,
) -> Vec<VerdictChange> {
    let mut merged: Vec<VerdictChange> = Vec::with_capacity(changes.len());
    let mut places: HashMap<K, usize> = HashMap::with_capacity(changes.len());
    for change in changes {
        let place = *places.entry(key(&change)).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(earlier) => {
                *earlier = VerdictChange {
                    from: earlier.from,
                    ..change
                }
            }
            None => merged.push(change),
        }
    }
    merged.retain(|c| c.from != Some(c.to));
    merged
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Cause, PayloadVerdict, UnixMillis},
        *,
    };
    use std::{cell::Cell, hash::Hasher};

    thread_local! {
        static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    /// A key that counts how often it is compared.
    struct Counted(BlockHash);

    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }

    impl Eq for Counted {}

    impl Hash for Counted {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }

    fn change(n: u32, from: Option<PayloadVerdict>, to: PayloadVerdict) -> VerdictChange {
        let mut block_hash = BlockHash::default();
        block_hash.0[..4].copy_from_slice(&n.to_be_bytes());
        VerdictChange {
            block_hash,
            new_payload_request_root: None,
            slot: None,
            from,
            to,
            cause: Cause::Operator,
            at: UnixMillis(1),
            seen_at: UnixMillis(1),
            first_proof_at: None,
            proven_at: None,
            held_by: None,
            first_told_syncing: false,
        }
    }
    #[test]
    fn a_whole_tree_that_changes_is_merged_in_a_time_linear_in_it() {
        use PayloadVerdict::{Invalid, Syncing, Valid};
        const PAYLOADS: u32 = 20_000;
        let mut changes: Vec<VerdictChange> =
            (0..PAYLOADS).map(|n| change(n, Some(Syncing), Invalid)).collect();
        // Half of them once more, and one back to what it was.
        changes.extend((0..PAYLOADS / 2).map(|n| change(n, Some(Invalid), Valid)));
        changes.push(change(PAYLOADS - 1, Some(Invalid), Syncing));
        let merged = merged_by(changes, |c| Counted(c.block_hash));
        assert_eq!(merged.len(), PAYLOADS as usize - 1);
        assert_eq!(
            (merged[0].from, merged[0].to, merged[0].block_hash),
            (Some(Syncing), Valid, change(0, None, Valid).block_hash)
        );
        assert_eq!(
            merged[PAYLOADS as usize / 2].to,
            Invalid,
            "in the order of the first changes"
        );
        assert!(
            COMPARED.get() < 4 * PAYLOADS as usize,
            "{} comparisons",
            COMPARED.get()
        );
    }
}
