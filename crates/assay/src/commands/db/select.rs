//! Which proofs are meant.

use anyhow::ensure;
use assay_store::{Offline, ProofSummary, RecordKey};
use assay_types::{ProofType, Root, Slot, ValidatorIndex};
use clap::Args;

/// Proofs looked at in one go.
const PAGE: usize = 1024;

/// Filters: a proof is meant where all that are given hold.
#[derive(Debug, Clone, Default, Args)]
pub struct Select {
    /// First slot
    #[arg(long, value_name = "SLOT")]
    pub from_slot: Option<u64>,
    /// Last slot
    #[arg(long, value_name = "SLOT")]
    pub to_slot: Option<u64>,
    /// Proof types, comma-separated
    #[arg(long = "proof-types", value_name = "TYPES", value_delimiter = ',')]
    pub proof_types: Vec<ProofType>,
    /// The payload: its new_payload_request_root; of beta's proofs the beacon block root does too
    #[arg(long, value_name = "ROOT")]
    pub payload: Option<Root>,
    /// Who signed
    #[arg(long, value_name = "INDEX")]
    pub validator_index: Option<ValidatorIndex>,
}

/// The payload that a proof was verified for.
pub(super) fn payload_of(offline: &Offline, summary: &ProofSummary) -> anyhow::Result<Option<Root>> {
    Ok(offline.reader().payload_of(&summary.key)?)
}

impl Select {
    /// Whether any slot can be meant.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if let (Some(first), Some(last)) = (self.from_slot, self.to_slot) {
            ensure!(
                first <= last,
                "--from-slot {first} is above --to-slot {last}: no slot is in that range"
            );
        }
        Ok(())
    }

    fn means(&self, offline: &Offline, summary: &ProofSummary) -> anyhow::Result<bool> {
        let key = &summary.key;
        let is_of_payload = match self.payload {
            None => true,
            Some(root) if root == key.root => true,
            // What names a block is of that block's payload.
            Some(root) => payload_of(offline, summary)? == Some(root),
        };
        Ok(
            (self.proof_types.is_empty() || self.proof_types.contains(&key.proof_type))
                && is_of_payload
                && self
                    .validator_index
                    .is_none_or(|index| index == key.validator_index),
        )
    }

    /// Every proof that is meant, oldest first, until `each` says false.
    pub(super) fn each(
        &self,
        offline: &Offline,
        mut each: impl FnMut(ProofSummary) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        // The last key there can be below the first slot.
        let mut after = self
            .from_slot
            .and_then(|slot| slot.checked_sub(1))
            .map(|slot| RecordKey {
                slot: Slot(slot),
                root: Root::from([0xff; 32]),
                proof_type: ProofType::MAX,
                validator_index: ValidatorIndex::MAX,
            });
        loop {
            let page = offline.reader().list(after.as_ref(), PAGE)?;
            let is_last = page.len() < PAGE;
            for summary in page {
                if self.to_slot.is_some_and(|last| summary.key.slot.0 > last) {
                    return Ok(());
                }
                after = Some(summary.key);
                if self.means(offline, &summary)? && !each(summary)? {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// How many are meant, and their bytes.
    pub(super) fn count(&self, offline: &Offline) -> anyhow::Result<(u64, u64)> {
        let mut counted = (0, 0);
        self.each(offline, |summary| {
            counted = (counted.0 + 1, counted.1 + summary.bytes);
            Ok(true)
        })?;
        Ok(counted)
    }
}
