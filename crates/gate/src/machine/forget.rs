//! Proof types whose number stands for another program from now on: the proofs of the old one count for nothing.
//!
//! What was answered VALID on them stays VALID (rule 4), as a change of settings leaves it (rule 2): it becomes an anchor.
//! What left the tree is final and stays as it is remembered.

use super::{
    Gate,
    action::{Action, Cause, PayloadVerdict, Record, RecordChange},
    event::UnixMillis,
    restore::RestoreError,
};
use assay_types::{BlockHash, ProofType};

/// What became of the records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Payloads that a proof was counted for which is not any more.
    pub payloads: usize,
    /// What is to be written, all or none; nothing where no such proof was counted.
    pub changes: Vec<RecordChange>,
}

/// Takes the proofs of these types out of the gate's records, of a gate that does not run.
///
/// # Errors
/// Where a record is not one.
pub fn forget_proof_types(
    records: Vec<Record>,
    proof_types: &[ProofType],
    now: UnixMillis,
) -> Result<Forgotten, RestoreError> {
    let (mut gate, mut actions) = Gate::restore_as_it_ran(&records, now)?;
    let payloads = gate.forget_proof_types(proof_types, now);
    if payloads == 0 {
        return Ok(Forgotten::default());
    }
    actions.extend(gate.flush());
    let changes = actions.into_iter().filter_map(|action| match action {
        Action::Persist { changes, .. } => Some(changes),
        _ => None,
    });
    Ok(Forgotten {
        payloads,
        changes: changes.flatten().collect(),
    })
}

impl Gate {
    /// How many payloads had one.
    fn forget_proof_types(&mut self, proof_types: &[ProofType], now: UnixMillis) -> usize {
        let told: Vec<BlockHash> = self
            .tree
            .iter()
            .filter(|(_, n)| n.told_valid && self.verdict(n) == PayloadVerdict::Valid)
            .map(|(hash, _)| *hash)
            .collect();
        let config = self.config;
        let mut payloads = 0;
        for (hash, node) in self.tree.iter_mut() {
            let before = node.proofs.len();
            node.proofs
                .retain(|proof_type, _| !proof_types.contains(proof_type));
            if node.proofs.len() == before {
                continue;
            }
            if !node.is_proven(&config) {
                node.times.proven_at = None;
            }
            payloads += 1;
            self.out.dirty.insert(*hash);
        }
        if payloads == 0 {
            return 0;
        }
        self.alerted_below = None;
        self.out.durable = true;
        self.recompute_all(Cause::Operator, now);
        // Under `observe` none fell: proofs made nothing VALID. One that becomes an anchor may hold others up.
        for hash in told {
            let node = self.tree.get(&hash);
            if node.is_some_and(|n| self.verdict(n) != PayloadVerdict::Valid) {
                self.mark_anchor(hash, now);
            }
        }
        payloads
    }
}
