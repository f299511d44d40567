//! The constants of a preset that shapes depend on (consensus-specs presets/{mainnet,minimal}).

use crate::fork::Preset;

/// Lengths and limits of the beacon chain's containers. Names are the specification's, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the specification's own")]
pub struct Limits {
    pub max_committees_per_slot: u64,
    pub max_validators_per_committee: u64,
    pub max_proposer_slashings: u64,
    pub max_attester_slashings: u64,
    pub max_attestations: u64,
    pub max_deposits: u64,
    pub max_voluntary_exits: u64,
    pub sync_committee_size: u64,
    pub bytes_per_logs_bloom: u64,
    pub max_extra_data_bytes: u64,
    pub max_bytes_per_transaction: u64,
    pub max_transactions_per_payload: u64,
    pub max_withdrawals_per_payload: u64,
    pub max_bls_to_execution_changes: u64,
    pub max_blob_commitments_per_block: u64,
    pub max_attester_slashings_electra: u64,
    pub max_attestations_electra: u64,
    pub max_deposit_requests_per_payload: u64,
    pub max_withdrawal_requests_per_payload: u64,
    pub max_consolidation_requests_per_payload: u64,
    pub ptc_size: u64,
}

/// `DEPOSIT_CONTRACT_TREE_DEPTH` + 1: nodes of a deposit's proof, in every preset.
pub(super) const DEPOSIT_PROOF_LEN: usize = 33;

impl Limits {
    /// The preset's values.
    pub fn of(preset: Preset) -> Self {
        let mainnet = Self {
            max_committees_per_slot: 64,
            max_validators_per_committee: 2048,
            max_proposer_slashings: 16,
            max_attester_slashings: 2,
            max_attestations: 128,
            max_deposits: 16,
            max_voluntary_exits: 16,
            sync_committee_size: 512,
            bytes_per_logs_bloom: 256,
            max_extra_data_bytes: 32,
            max_bytes_per_transaction: 1 << 30,
            max_transactions_per_payload: 1 << 20,
            max_withdrawals_per_payload: 16,
            max_bls_to_execution_changes: 16,
            max_blob_commitments_per_block: 4096,
            max_attester_slashings_electra: 1,
            max_attestations_electra: 8,
            max_deposit_requests_per_payload: 8192,
            max_withdrawal_requests_per_payload: 16,
            max_consolidation_requests_per_payload: 2,
            ptc_size: 512,
        };
        match preset {
            Preset::Mainnet => mainnet,
            Preset::Minimal => Self {
                max_committees_per_slot: 4,
                sync_committee_size: 32,
                max_withdrawals_per_payload: 4,
                ptc_size: 16,
                ..mainnet
            },
        }
    }
}
