//! `Spec`: every number of the protocol that a network may choose, in one place.
//!
//! Built from a beacon node's `/eth/v1/config/spec`; overrides (config.yaml keys in upper case, or flags) come last
//! (protocol.md sections 1 and 11). Defaults are those of both revisions, which agree but for what each says itself. The keys that can be overridden are
//! listed in [`SETTINGS`].

mod config;
mod networks;

pub use crate::fork::ProofDataForm;
pub use config::{ConfigMap, SETTINGS, is_setting};

use crate::{
    fork::{ForkName, NewPayloadRequestForm, Preset, Revision},
    primitives::{Epoch, ForkVersion, ProofType, Slot},
    proof::ListLimits,
};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Forks the node has scheduled and this program does not know, by their config prefix: from these epochs on
    /// nothing here can be relied upon.
    pub unknown_forks: Vec<(String, Epoch)>,
    /// `BLOB_SCHEDULE`, by epoch ascending.
    pub blob_schedule: Vec<BlobParameters>,
    /// `MAX_BLOBS_PER_BLOCK_ELECTRA`: the digest's blob parameters before the first schedule entry.
    pub max_blobs_per_block_electra: u64,
    /// `MAX_WITHDRAWALS_PER_PAYLOAD`.
    pub max_withdrawals_per_payload: u64,

    /// Which state of the EIP-8025 texts holds, by fork; a fork that is absent has `revision`. By default `beta` from Gloas
    /// on, where its clients are, and `alpha` before.
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
    /// Proof types that `beta` knows; a proof of any other is rejected there.
    pub supported_proof_types: BTreeSet<ProofType>,
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

/// Largest `MAX_PROOF_SIZE` that can be set, in bytes: far above any text, far below what SSZ offsets reach.
pub const MAX_PROOF_SIZE_CEILING: u64 = 1 << 30;

impl Spec {
    /// The epoch a slot lies in.
    pub fn epoch_at_slot(&self, slot: Slot) -> Epoch {
        Epoch(slot.0.checked_div(self.slots_per_epoch).unwrap_or_default())
    }

    /// The first slot of an epoch (saturating).
    pub fn start_slot(&self, epoch: Epoch) -> Slot {
        Slot(epoch.0.saturating_mul(self.slots_per_epoch))
    }

    /// The slot of a payload from its timestamp in seconds; `None` before genesis or between slots.
    ///
    /// Where slots are no whole seconds, a payload's timestamp is its slot's start rounded down; of several slots in
    /// one second this is the first.
    pub fn slot_at_timestamp(&self, genesis_time: u64, timestamp: u64) -> Option<Slot> {
        let ms = timestamp.checked_sub(genesis_time)?.checked_mul(1000)?;
        let past = u64::from(ms.checked_rem(self.slot_duration_ms)? != 0);
        let slot = Slot((ms / self.slot_duration_ms).checked_add(past)?);
        (self.timestamp_at_slot(genesis_time, slot) == timestamp).then_some(slot)
    }

    /// The timestamp in seconds of a payload at a slot (saturating).
    pub fn timestamp_at_slot(&self, genesis_time: u64, slot: Slot) -> u64 {
        genesis_time.saturating_add(slot.0.saturating_mul(self.slot_duration_ms) / 1000)
    }

    fn fork_entry(&self, epoch: Epoch) -> Option<&(ForkName, ForkVersion, Epoch)> {
        self.fork_schedule
            .iter()
            .rev()
            .find(|(_, _, first)| *first != Epoch::FAR_FUTURE && *first <= epoch)
    }

    /// The fork in force at an epoch.
    pub fn fork_at_epoch(&self, epoch: Epoch) -> ForkName {
        self.fork_entry(epoch).map_or(ForkName::Phase0, |entry| entry.0)
    }

    /// The fork's version at an epoch.
    pub fn fork_version_at_epoch(&self, epoch: Epoch) -> ForkVersion {
        self.fork_entry(epoch)
            .or(self.fork_schedule.first())
            .map_or(ForkVersion::ZERO, |entry| entry.1)
    }

    /// The first epoch of a fork, if it is scheduled.
    pub fn fork_epoch(&self, fork: ForkName) -> Option<Epoch> {
        self.fork_schedule
            .iter()
            .find(|entry| entry.0 == fork && entry.2 != Epoch::FAR_FUTURE)
            .map(|entry| entry.2)
    }

    /// The next fork after an epoch, if one is scheduled; blob-parameter forks are none.
    pub fn next_fork(&self, epoch: Epoch) -> Option<(ForkName, ForkVersion, Epoch)> {
        // The last of those that begin together: that one is in force then.
        let first = self
            .fork_schedule
            .iter()
            .map(|entry| entry.2)
            .filter(|first| *first > epoch && *first != Epoch::FAR_FUTURE)
            .min()?;
        self.fork_entry(first).copied()
    }

    /// The blob parameters in force at an epoch of Fulu or later (protocol.md section 4).
    pub fn blob_parameters(&self, epoch: Epoch) -> BlobParameters {
        self.blob_schedule
            .iter()
            .rev()
            .find(|entry| entry.epoch <= epoch)
            .copied()
            .unwrap_or(BlobParameters {
                epoch: self.fork_epoch(ForkName::Electra).unwrap_or(Epoch::FAR_FUTURE),
                max_blobs_per_block: self.max_blobs_per_block_electra,
            })
    }

    /// Epochs at which the fork digest changes (forks and blob-parameter forks), ascending. Genesis is no change.
    pub fn digest_boundaries(&self) -> Vec<Epoch> {
        let forks = self.fork_schedule.iter().map(|entry| entry.2);
        // Before Fulu the digest knows nothing of blobs.
        let fulu = self.fork_epoch(ForkName::Fulu).unwrap_or(Epoch::FAR_FUTURE);
        let blobs = self
            .blob_schedule
            .iter()
            .map(|entry| entry.epoch)
            .filter(|epoch| *epoch > fulu);
        let mut epochs: Vec<Epoch> = forks
            .chain(blobs)
            .filter(|epoch| *epoch != Epoch(0) && *epoch != Epoch::FAR_FUTURE)
            .collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    /// The next epoch at which the fork digest changes, if one is scheduled.
    pub fn next_digest_boundary(&self, epoch: Epoch) -> Option<Epoch> {
        self.digest_boundaries().into_iter().find(|next| *next > epoch)
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
        self.max_request_blocks_deneb
            .saturating_mul(self.max_execution_proofs_per_payload)
    }

    /// The limits of the lists in requests and status: `MAX_EXECUTION_PROOFS_PER_PAYLOAD` proof types,
    /// `MAX_REQUEST_BLOCKS_DENEB` identifiers.
    pub fn list_limits(&self) -> ListLimits {
        ListLimits {
            proof_types: usize::try_from(self.max_execution_proofs_per_payload).unwrap_or(usize::MAX),
            identifiers: usize::try_from(self.max_request_blocks_deneb).unwrap_or(usize::MAX),
        }
    }

    /// Whether a type is one this network's texts define (`beta` fixes them, `alpha` leaves it open).
    pub fn defines_proof_type(&self, revision: Revision, proof_type: ProofType) -> bool {
        match revision {
            Revision::Alpha => true,
            Revision::Beta => self.supported_proof_types.contains(&proof_type),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_types_of_beta_are_those_of_the_text_or_the_configured() {
        let (text, configured) = (
            Spec::mainnet(),
            Spec {
                supported_proof_types: [2, 9].into(),
                ..Spec::mainnet()
            },
        );
        for proof_type in 0..=u8::MAX {
            assert!(text.defines_proof_type(Revision::Alpha, proof_type));
            for (spec, types) in [(&text, [1, 2, 3].as_slice()), (&configured, &[2, 9])] {
                let defined = spec.defines_proof_type(Revision::Beta, proof_type);
                assert_eq!(defined, types.contains(&proof_type), "{proof_type}");
            }
        }
    }

    #[test]
    fn forks_begin_at_their_epoch() {
        let spec = Spec::mainnet();
        for (epoch, fork, version) in [
            (0, ForkName::Phase0, 0),
            (74_239, ForkName::Phase0, 0),
            (74_240, ForkName::Altair, 1),
            (144_896, ForkName::Bellatrix, 2),
            (194_048, ForkName::Capella, 3),
            (269_568, ForkName::Deneb, 4),
            (364_032, ForkName::Electra, 5),
            (411_391, ForkName::Electra, 5),
            (411_392, ForkName::Fulu, 6),
            // Gloas is not scheduled: not even the last epoch is its.
            (u64::MAX, ForkName::Fulu, 6),
        ] {
            assert_eq!(spec.fork_at_epoch(Epoch(epoch)), fork, "epoch {epoch}");
            assert_eq!(
                spec.fork_version_at_epoch(Epoch(epoch)).0,
                [version, 0, 0, 0],
                "epoch {epoch}"
            );
        }
        assert_eq!(spec.fork_epoch(ForkName::Gloas), None);
        assert_eq!(spec.next_fork(Epoch(364_032)).map(|f| f.0), Some(ForkName::Fulu));
        assert_eq!(spec.next_fork(Epoch(411_392)), None);
    }

    #[test]
    fn of_forks_that_begin_together_the_last_holds() {
        let spec = Spec::minimal();
        assert_eq!(spec.fork_at_epoch(Epoch(0)), ForkName::Fulu);
        assert_eq!(spec.fork_version_at_epoch(Epoch(0)), ForkVersion([6, 0, 0, 1]));
        let mut spec = spec;
        for entry in &mut spec.fork_schedule {
            if entry.0 >= ForkName::Fulu {
                entry.2 = Epoch(5);
            }
        }
        assert_eq!(
            spec.next_fork(Epoch(0)),
            Some((ForkName::Gloas, ForkVersion([7, 0, 0, 1]), Epoch(5)))
        );
    }

    #[test]
    fn blob_parameters_before_the_first_entry_are_electras() {
        let spec = Spec::mainnet();
        for (epoch, entry) in [
            (411_392, (364_032, 9)),
            (412_672, (412_672, 15)),
            (419_071, (412_672, 15)),
            (419_072, (419_072, 21)),
        ] {
            let parameters = spec.blob_parameters(Epoch(epoch));
            assert_eq!(
                (parameters.epoch.0, parameters.max_blobs_per_block),
                entry,
                "epoch {epoch}"
            );
        }
    }

    #[test]
    fn digest_boundaries_are_forks_and_blob_forks_once() {
        let mut spec = Spec::mainnet();
        // Ignored before Fulu; counted once where a fork begins as well.
        spec.blob_schedule.insert(
            0,
            BlobParameters {
                epoch: Epoch(100),
                max_blobs_per_block: 6,
            },
        );
        spec.fork_schedule[7].2 = Epoch(419_072);
        let boundaries: Vec<u64> = spec.digest_boundaries().iter().map(|e| e.0).collect();
        assert_eq!(
            boundaries,
            [
                74_240, 144_896, 194_048, 269_568, 364_032, 411_392, 412_672, 419_072
            ]
        );
        assert_eq!(spec.next_digest_boundary(Epoch(411_392)), Some(Epoch(412_672)));
        assert_eq!(spec.next_digest_boundary(Epoch(419_072)), None);
        assert_eq!(Spec::minimal().digest_boundaries(), []);
    }

    #[test]
    fn slots_of_timestamps() {
        let mut spec = Spec::mainnet();
        for (timestamp, slot) in [
            (99, None),
            (100, Some(0)),
            (101, None),
            (111, None),
            (112, Some(1)),
            (u64::MAX, None),
        ] {
            assert_eq!(
                spec.slot_at_timestamp(100, timestamp),
                slot.map(Slot),
                "{timestamp}"
            );
        }
        // Slot starts at 0, 1.5, 3, 4.5 s; payloads carry 0, 1, 3, 4.
        spec.slot_duration_ms = 1500;
        for (timestamp, slot) in [
            (0, Some(0)),
            (1, Some(1)),
            (2, None),
            (3, Some(2)),
            (4, Some(3)),
            (5, None),
        ] {
            assert_eq!(
                spec.slot_at_timestamp(0, timestamp),
                slot.map(Slot),
                "{timestamp}"
            );
        }
    }

    #[test]
    fn a_spec_of_zeros_panics_nowhere() {
        let mut spec = Spec::mainnet();
        spec.slots_per_epoch = 0;
        spec.slot_duration_ms = 0;
        spec.max_proof_size = u64::MAX;
        spec.max_request_blocks_deneb = u64::MAX;
        spec.fork_schedule.clear();
        assert_eq!(spec.epoch_at_slot(Slot(7)), Epoch(0));
        assert_eq!(spec.slot_at_timestamp(0, 7), None);
        assert_eq!(spec.fork_at_epoch(Epoch(7)), ForkName::Phase0);
        assert_eq!(spec.fork_version_at_epoch(Epoch(7)), ForkVersion::ZERO);
        assert_eq!(spec.blob_parameters(Epoch(7)).epoch, Epoch::FAR_FUTURE);
        assert_eq!(spec.max_signed_proof_size(), usize::MAX);
        assert_eq!(spec.max_request_execution_proofs(), u64::MAX);
    }

    #[test]
    fn sizes_of_protocol_md() {
        let spec = Spec::mainnet();
        assert_eq!(spec.max_signed_proof_size(), 4_194_449);
        assert_eq!(spec.max_request_execution_proofs(), 512);
    }

    proptest! {
        #[test]
        fn a_slots_timestamp_gives_the_slot(slot in 0u64..1 << 40, seconds in 1u64..100, genesis in 0u64..1 << 40) {
            let mut spec = Spec::mainnet();
            spec.slot_duration_ms = seconds * 1000;
            let timestamp = spec.timestamp_at_slot(genesis, Slot(slot));
            prop_assert_eq!(spec.slot_at_timestamp(genesis, timestamp), Some(Slot(slot)));
        }

        #[test]
        fn any_numbers_are_answered(slot: u64, duration: u64, per_epoch: u64, genesis: u64, timestamp: u64) {
            let mut spec = Spec::mainnet();
            spec.slot_duration_ms = duration;
            spec.slots_per_epoch = per_epoch;
            spec.start_slot(spec.epoch_at_slot(Slot(slot)));
            spec.timestamp_at_slot(genesis, Slot(slot));
            spec.slot_at_timestamp(genesis, timestamp);
        }
    }
}
