//! The two networks of the consensus specs' `configs/`: mainnet and the minimal test network.

use super::{BlobParameters, Spec};
use crate::{
    fork::{ForkName, NewPayloadRequestForm, Preset, Revision},
    primitives::{Epoch, ForkVersion},
};
use std::collections::{BTreeMap, BTreeSet};

/// Values that a preset fixes unless the node's config says otherwise.
pub(super) struct PresetValues {
    pub(super) slots_per_epoch: u64,
    pub(super) max_withdrawals_per_payload: u64,
}

pub(super) const fn preset_values(preset: Preset) -> PresetValues {
    match preset {
        Preset::Mainnet => PresetValues {
            slots_per_epoch: 32,
            max_withdrawals_per_payload: 16,
        },
        Preset::Minimal => PresetValues {
            slots_per_epoch: 8,
            max_withdrawals_per_payload: 4,
        },
    }
}

fn schedule(network: u8, epochs: [u64; 8]) -> Vec<(ForkName, ForkVersion, Epoch)> {
    ForkName::ALL
        .iter()
        .zip(0u8..)
        .zip(epochs)
        .map(|((fork, number), epoch)| (*fork, ForkVersion([number, 0, 0, network]), Epoch(epoch)))
        .collect()
}

fn base(preset: Preset) -> Spec {
    let values = preset_values(preset);
    Spec {
        config_name: preset.as_str().to_owned(),
        preset,
        chain_id: 1,
        slots_per_epoch: values.slots_per_epoch,
        slot_duration_ms: 12_000,
        fork_schedule: Vec::new(),
        unknown_forks: Vec::new(),
        blob_schedule: Vec::new(),
        max_blobs_per_block_electra: 9,
        max_withdrawals_per_payload: values.max_withdrawals_per_payload,
        revision_by_fork: BTreeMap::from([(ForkName::Gloas, Revision::Beta)]),
        revision: Revision::Alpha,
        new_payload_request_form: NewPayloadRequestForm::C,
        max_proof_size: 4_194_304,
        proof_data_form: None,
        domain_execution_proof: [0x0f, 0, 0, 0],
        max_execution_proofs_per_payload: 4,
        supported_proof_types: BTreeSet::from([1, 2, 3]),
        min_required_execution_proofs: 1,
        max_request_blocks_deneb: 128,
        max_payload_size: 10_485_760,
    }
}

impl Spec {
    /// Mainnet's values, Gloas not scheduled.
    pub fn mainnet() -> Self {
        Self {
            fork_schedule: schedule(
                0,
                [0, 74_240, 144_896, 194_048, 269_568, 364_032, 411_392, u64::MAX],
            ),
            blob_schedule: vec![
                BlobParameters {
                    epoch: Epoch(412_672),
                    max_blobs_per_block: 15,
                },
                BlobParameters {
                    epoch: Epoch(419_072),
                    max_blobs_per_block: 21,
                },
            ],
            ..base(Preset::Mainnet)
        }
    }

    /// The `minimal` preset with every fork up to Fulu at epoch 0, for tests and the simulator.
    pub fn minimal() -> Self {
        Self {
            chain_id: 5,
            slot_duration_ms: 6000,
            fork_schedule: schedule(1, [0, 0, 0, 0, 0, 0, 0, u64::MAX]),
            ..base(Preset::Minimal)
        }
    }

    /// The values that a config is read over: those of its preset, and the protocol's own.
    pub(super) fn of_preset(preset: Preset) -> Self {
        base(preset)
    }
}
