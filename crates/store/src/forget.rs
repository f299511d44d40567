//! Proofs that an operator lets go of, and the node's small values, in a database that no node has open.

use crate::{
    error::StoreError,
    offline::{Editor, Removed},
    prune::{self, STEP_PROOFS},
    record::RecordKey,
    store::{GateRecord, check_size},
    writer::MAX_SMALL_RECORD_BYTES,
};

impl Editor {
    /// Removes these proofs, of the serve range or not, in steps; `progress` is told what is gone after each. The operator's
    /// word is needed: peers may ask for them.
    pub fn remove_proofs(
        &self,
        keys: &[RecordKey],
        mut progress: impl FnMut(Removed),
    ) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for keys in keys.chunks(STEP_PROOFS) {
            let (proofs, bytes) = self.transaction(|tables, state| {
                let before = (state.marks.proofs, state.marks.proof_bytes);
                for key in keys {
                    prune::remove_proof(tables, &mut state.marks, *key)?;
                }
                Ok((
                    before.0.saturating_sub(state.marks.proofs),
                    before.1.saturating_sub(state.marks.proof_bytes),
                ))
            })?;
            removed.proofs += proofs;
            removed.bytes += bytes;
            progress(removed);
        }
        Ok(removed)
    }

    /// As `Store::put_node_value`.
    pub fn put_node_value(&self, name: &str, value: Option<&[u8]>) -> Result<(), StoreError> {
        self.put_with_gate_records(name, value, &[])
    }

    /// As `put_node_value`, with records of the gate in the same commit.
    pub fn put_with_gate_records(
        &self,
        name: &str,
        value: Option<&[u8]>,
        gate: &[GateRecord],
    ) -> Result<(), StoreError> {
        let sizes = gate
            .iter()
            .map(|(_, value)| ("a gate record", value.as_ref().map_or(0, Vec::len)));
        let own = ("a node value", value.map_or(0, <[u8]>::len));
        for (what, size) in sizes.chain([own]) {
            check_size(what, size, MAX_SMALL_RECORD_BYTES)?;
        }
        self.transaction(|tables, _| {
            for (key, value) in gate {
                match value {
                    Some(value) => tables.gate.insert(key, value.as_slice())?,
                    None => tables.gate.remove(key)?,
                };
            }
            match value {
                Some(value) => tables.node.insert(name, value)?,
                None => tables.node.remove(name)?,
            };
            Ok(())
        })
    }
}
