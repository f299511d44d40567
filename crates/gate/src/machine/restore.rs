//! The gate as its records have it. A record that is not one stops the start with a clear error.

use super::{
    Gate,
    action::{Action, Cause, Record},
    config::GateConfig,
    event::UnixMillis,
    prune::Pruned,
    record::{
        KIND_CLAIMED, KIND_GATE, KIND_HISTORY, KIND_PAYLOAD, KIND_SETTLED, Reader, VERSION, half_inverted,
        inverted, read_gate, read_history, read_node, read_settled,
    },
    startup::Startup,
};
use assay_types::{BlockHash, Hash256};

/// Why records could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by another version of the program.
    #[error(
        "the gate's record {key} has version {version}, this program reads {VERSION}: use the program that wrote it, or \
         delete the gate's records and set a trusted checkpoint"
    )]
    Version {
        /// Its key.
        key: Hash256,
        /// Its version byte.
        version: u8,
    },
    /// Not a record of the gate.
    #[error(
        "the gate's record {key} is damaged: restore the database from a backup, or delete the gate's records and set \
         a trusted checkpoint"
    )]
    Damaged {
        /// Its key.
        key: Hash256,
    },
}

impl Gate {
    /// The gate as its records have it. Where the settings are others than those it ran with, they take effect now
    /// (rule 2). The actions are to be carried out like those of an event.
    pub fn restore(
        records: Vec<Record>,
        config: GateConfig,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Action>), RestoreError> {
        Self::read(&records, Some(config), now)
    }

    /// As `restore`, under the settings that it ran with.
    pub(super) fn restore_as_it_ran(
        records: &[Record],
        now: UnixMillis,
    ) -> Result<(Self, Vec<Action>), RestoreError> {
        Self::read(records, None, now)
    }

    /// `config`: without it the settings stay.
    fn read(
        records: &[Record],
        config: Option<GateConfig>,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Action>), RestoreError> {
        let mut gate = Self::new(config.unwrap_or_default());
        let mut claimed = Startup::default();
        let mut settled = Vec::new();
        let mut hash_only = Vec::new();
        let mut ran_with = None;
        for (key, value) in records {
            let key = Hash256(*key);
            let mut r = Reader(value);
            let damaged = || RestoreError::Damaged { key };
            let version = r.byte().ok_or_else(damaged)?;
            if version != VERSION {
                return Err(RestoreError::Version { key, version });
            }
            let kind = r.byte().ok_or_else(damaged)?;
            if key.is_zero() != (kind == KIND_GATE) {
                return Err(damaged());
            }
            match kind {
                KIND_GATE => ran_with = Some(read_gate(r).ok_or_else(damaged)?),
                KIND_PAYLOAD => {
                    let node = read_node(key, r).ok_or_else(damaged)?;
                    match node.facts {
                        None => hash_only.push((node.times.seen_at, key, node)),
                        Some(facts) => {
                            let root = facts.new_payload_request_root;
                            if facts.parent_hash == key || gate.tree.hash_of_root(&root).is_some() {
                                return Err(damaged());
                            }
                            gate.out.recalls.push(root);
                            gate.tree.insert(key, node);
                        }
                    }
                }
                KIND_SETTLED => settled.push((key, read_settled(r).ok_or_else(damaged)?)),
                KIND_CLAIMED => {
                    let parent = r.hash().ok_or_else(damaged)?;
                    claimed
                        .claimed
                        .insert(inverted(&key), r.end(parent).ok_or_else(damaged)?);
                }
                KIND_HISTORY => {
                    let changes = read_history(r).ok_or_else(damaged)?;
                    gate.histories.insert(half_inverted(&key), changes);
                }
                _ => return Err(damaged()),
            }
        }
        hash_only.sort_unstable_by_key(|(seen_at, hash, _)| (*seen_at, *hash));
        for (_, hash, node) in hash_only {
            gate.tree.insert(hash, node);
        }
        settled.sort_unstable_by_key(|(hash, s)| (s.slot, *hash));
        for (hash, payload) in settled {
            gate.out.dirty.extend(gate.settled.insert(hash, payload));
        }
        // Of what left meanwhile, by a smaller limit of this program.
        let strangers = |hash: &&BlockHash| !gate.tree.contains(hash) && !gate.settled.contains(hash);
        let strangers: Vec<BlockHash> = gate.histories.hashes().filter(strangers).copied().collect();
        gate.out.dirty.extend(strangers);
        if let Some(ran_with) = &ran_with {
            gate.config = ran_with.config;
            gate.head = ran_with.head;
            gate.alerted_to = ran_with.alerted_to;
            gate.slot = ran_with.slot;
            gate.pruned = ran_with.finalized.map(|finalized| Pruned {
                finalized,
                complete: false,
            });
        }
        gate.startup = (!ran_with.is_some_and(|r| r.started)).then_some(claimed);
        if let Some(hash) = gate.tree.cycle() {
            return Err(RestoreError::Damaged { key: hash });
        }
        gate.recompute_all(Cause::Payload, now);
        // Nothing changed: this is what was so before.
        gate.out.changes.clear();
        gate.out.reached.clear();
        gate.out.durable = false;
        if let Some(config) = config.filter(|config| *config != gate.config) {
            gate.config_changed(config, now);
        }
        let actions = gate.flush();
        Ok((gate, actions))
    }
}
