//! `Spec`: every number of the protocol that a network may choose, in one place.
//!
//! Built from a beacon node's `/eth/v1/config/spec`; overrides (config.yaml keys in upper case, or flags) come last
//! (protocol.md sections 1 and 11). Defaults are those of the `alpha` revision.

use crate::{
    fork::{ForkName, NewPayloadRequestForm, Preset, Revision},
    primitives::{Epoch, ForkVersion, ProofType, Slot},
};
use std::collections::BTreeMap;

/// How `proof_data` merkleises (protocol.md section 1). The bytes on the wire are the same in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofDataForm {
    /// `ProgressiveByteList` (EIP-7916).
    Progressive,
    /// `ByteList[MAX_PROOF_SIZE]`.
    ByteList,
}

/// One entry of the blob schedule (EIP-7892), as fork digests mix it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobParameters {
    /// First epoch it holds for.
    pub epoch: Epoch,
    /// `MAX_BLOBS_PER_BLOCK` from then on.
    pub max_blobs_per_block: u64,
}

/// A network's genesis, as `/eth/v1/beacon/genesis` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Genesis {
    /// Unix time in seconds of slot 0.
    pub genesis_time: u64,
    /// Root of the genesis validator set; in every domain and digest.
    pub genesis_validators_root: crate::Root,
}

/// The values of one network. Field names are the specification's, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// `CONFIG_NAME`.
    pub config_name: String,
    /// `PRESET_BASE`.
    pub preset: Preset,
    /// `DEPOSIT_CHAIN_ID`: the execution chain's id.
    pub chain_id: u64,
    /// `SLOTS_PER_EPOCH`.
    pub slots_per_epoch: u64,
    /// `SLOT_DURATION_MS`, or `SECONDS_PER_SLOT` * 1000 where the node does not know it.
    pub slot_duration_ms: u64,
    /// Version and first epoch of every fork, in order; epochs never fall. `Epoch::FAR_FUTURE`: not scheduled.
    pub fork_schedule: Vec<(ForkName, ForkVersion, Epoch)>,
    /// `BLOB_SCHEDULE`, by epoch ascending.
    pub blob_schedule: Vec<BlobParameters>,
    /// `MAX_BLOBS_PER_BLOCK_ELECTRA`: the digest's blob parameters before the first schedule entry.
    pub max_blobs_per_block_electra: u64,
    /// `MAX_WITHDRAWALS_PER_PAYLOAD`.
    pub max_withdrawals_per_payload: u64,

    /// Which state of the EIP-8025 texts holds, by fork; a fork that is absent has `revision`.
    pub revision_by_fork: BTreeMap<ForkName, Revision>,
    /// The revision of forks that `revision_by_fork` does not name.
    pub revision: Revision,
    /// How a Gloas `NewPayloadRequest` merkleises.
    pub new_payload_request_form: NewPayloadRequestForm,
    /// `MAX_PROOF_SIZE` in bytes.
    pub max_proof_size: u64,
    /// How `proof_data` merkleises; `None`: as the revision says.
    pub proof_data_form: Option<ProofDataForm>,
    /// `DOMAIN_EXECUTION_PROOF`.
    pub domain_execution_proof: [u8; 4],
    /// `MAX_EXECUTION_PROOFS_PER_PAYLOAD`: bounds our configured types and the serve arithmetic, no gossip rule.
    pub max_execution_proofs_per_payload: u64,
    /// `MIN_REQUIRED_EXECUTION_PROOFS`: for `engine_verifyNewPayloadRequestHeaderV1` alone.
    pub min_required_execution_proofs: u64,
    /// `MAX_REQUEST_BLOCKS_DENEB`: most identifiers in one by-root request.
    pub max_request_blocks_deneb: u64,
    /// `GOSSIP_MAX_SIZE`/`MAX_PAYLOAD_SIZE` of the network in bytes, uncompressed (all topics but ours).
    pub max_payload_size: u64,
}

/// Why a `Spec` could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A key the project cannot do without is absent.
    #[error("the beacon node's config has no {0}")]
    Missing(&'static str),
    /// A value that cannot be read.
    #[error("config value {key} = {value}: {why}")]
    Value {
        /// The key, in upper case.
        key: String,
        /// What stood there.
        value: String,
        /// Why it was refused.
        why: String,
    },
    /// An override for a key that nothing reads.
    #[error("no setting of the protocol is called {0}")]
    UnknownKey(String),
}

/// `/eth/v1/config/spec`'s `data`, or a config.yaml read as JSON: upper-case keys; values strings, numbers or lists.
pub type ConfigMap = serde_json::Map<String, serde_json::Value>;

impl Spec {
    /// Mainnet's values, Gloas not scheduled.
    pub fn mainnet() -> Self {
        unimplemented!()
    }

    /// The `minimal` preset with every fork up to Fulu at epoch 0, for tests and the simulator.
    pub fn minimal() -> Self {
        unimplemented!()
    }

    /// From a beacon node's config, overrides last. Unknown keys of the node are passed over; of the overrides, refused.
    pub fn from_config(config: &ConfigMap, overrides: &ConfigMap) -> Result<Self, SpecError> {
        let _ = (config, overrides);
        unimplemented!()
    }

    /// The same values in the form of `/eth/v1/config/spec`, which `from_config` reads back to an equal `Spec`.
    pub fn to_config(&self) -> ConfigMap {
        unimplemented!()
    }

    /// The epoch a slot lies in.
    pub fn epoch_at_slot(&self, slot: Slot) -> Epoch {
        Epoch(slot.0 / self.slots_per_epoch)
    }

    /// The first slot of an epoch (saturating).
    pub fn start_slot(&self, epoch: Epoch) -> Slot {
        Slot(epoch.0.saturating_mul(self.slots_per_epoch))
    }

    /// The slot of a payload from its timestamp in seconds; `None` before genesis or between slots.
    pub fn slot_at_timestamp(&self, genesis_time: u64, timestamp: u64) -> Option<Slot> {
        let ms = timestamp.checked_sub(genesis_time)?.checked_mul(1000)?;
        (ms % self.slot_duration_ms == 0).then(|| Slot(ms / self.slot_duration_ms))
    }

    /// The fork in force at an epoch.
    pub fn fork_at_epoch(&self, epoch: Epoch) -> ForkName {
        let _ = epoch;
        unimplemented!()
    }

    /// The fork's version at an epoch.
    pub fn fork_version_at_epoch(&self, epoch: Epoch) -> ForkVersion {
        let _ = epoch;
        unimplemented!()
    }

    /// The first epoch of a fork, if it is scheduled.
    pub fn fork_epoch(&self, fork: ForkName) -> Option<Epoch> {
        let _ = fork;
        unimplemented!()
    }

    /// The blob parameters in force at an epoch of Fulu or later (protocol.md section 4).
    pub fn blob_parameters(&self, epoch: Epoch) -> BlobParameters {
        let _ = epoch;
        unimplemented!()
    }

    /// Epochs at which the fork digest changes (forks and blob-parameter forks), ascending.
    pub fn digest_boundaries(&self) -> Vec<Epoch> {
        unimplemented!()
    }

    /// The revision of the texts that holds for payloads of a fork.
    pub fn revision_at(&self, fork: ForkName) -> Revision {
        self.revision_by_fork.get(&fork).copied().unwrap_or(self.revision)
    }

    /// How `proof_data` merkleises under a revision.
    pub fn proof_data_form(&self, revision: Revision) -> ProofDataForm {
        self.proof_data_form.unwrap_or(match revision {
            Revision::Alpha => ProofDataForm::Progressive,
            Revision::Beta => ProofDataForm::ByteList,
        })
    }

    /// The largest SSZ `SignedExecutionProof` in bytes: `MAX_PROOF_SIZE` and the fixed parts around it
    /// (4,194,449 for `alpha`).
    pub fn max_signed_proof_size(&self) -> usize {
        usize::try_from(self.max_proof_size)
            .unwrap_or(usize::MAX)
            .saturating_add(crate::proof::SIGNED_PROOF_OVERHEAD)
    }

    /// Most proofs in one response: `MAX_REQUEST_BLOCKS_DENEB * MAX_EXECUTION_PROOFS_PER_PAYLOAD`.
    pub fn max_request_execution_proofs(&self) -> u64 {
        self.max_request_blocks_deneb * self.max_execution_proofs_per_payload
    }

    /// Whether a type is one this network's texts define (`beta` fixes 1, 2, 3; `alpha` leaves it open).
    pub fn defines_proof_type(&self, revision: Revision, proof_type: ProofType) -> bool {
        match revision {
            Revision::Alpha => true,
            Revision::Beta => (1..=3).contains(&proof_type),
        }
    }
}
