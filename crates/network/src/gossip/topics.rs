//! Which fork digests' topics are joined when.
//!
//! A digest changes at forks and at blob-parameter forks. A node joins a coming digest's topic `JOIN_AHEAD` before its
//! first epoch and leaves the old one `LEAVE_BEHIND` after its last (phase0 p2p, "transitioning the gossip"), so that
//! the mesh stands when the first message comes and late proofs of the old fork still travel. A proof goes out on the
//! digest of its payload's epoch, on that alone.

use assay_types::{Epoch, ForkDigest, Revision, Root, Slot, Spec};
use std::collections::{BTreeMap, BTreeSet};

/// Epochs before a digest's first that its topic is joined.
const JOIN_AHEAD: u64 = 2;
/// Epochs after a digest's last that its topic is left.
const LEAVE_BEHIND: u64 = 2;
/// Epochs before a topic is joined and after it is left during which a message on it costs its sender nothing: clocks
/// differ, and what was on its way when this node left is nobody's fault.
const TOLERANCE: u64 = 2;

/// Every fork digest of a network, by first epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSchedule {
    /// By epoch ascending; the first is epoch 0.
    entries: Vec<(Epoch, ForkDigest)>,
    /// The revision of the messages on each digest's topic.
    revisions: BTreeMap<ForkDigest, Revision>,
    slots_per_epoch: u64,
}

impl TopicSchedule {
    /// The schedule of a network.
    pub fn new(spec: &Spec, genesis_validators_root: &Root) -> Self {
        let boundaries: BTreeSet<Epoch> = std::iter::once(Epoch(0))
            .chain(spec.digest_boundaries())
            .filter(|epoch| *epoch < Epoch::FAR_FUTURE)
            .collect();
        let entries: Vec<(Epoch, ForkDigest)> = boundaries
            .into_iter()
            .map(|epoch| (epoch, spec.fork_digest(genesis_validators_root, epoch)))
            .collect();
        // A digest is of one fork, and a fork of one revision.
        let revisions = entries
            .iter()
            .map(|(epoch, digest)| (*digest, spec.revision_at_epoch(*epoch)))
            .collect();
        Self {
            entries,
            revisions,
            slots_per_epoch: spec.slots_per_epoch.max(1),
        }
    }

    /// The digest in force at an epoch.
    pub fn digest_at_epoch(&self, epoch: Epoch) -> ForkDigest {
        self.entries
            .iter()
            .rev()
            .find(|(from, _)| *from <= epoch)
            .map_or_else(ForkDigest::default, |(_, d)| *d)
    }

    /// The revision of EIP-8025 that messages on a digest's topic are of.
    pub fn revision_of(&self, digest: ForkDigest) -> Revision {
        self.revisions.get(&digest).copied().unwrap_or(Revision::Alpha)
    }

    /// The digest in force at a slot.
    pub fn digest_at_slot(&self, slot: Slot) -> ForkDigest {
        self.digest_at_epoch(self.epoch_at_slot(slot))
    }

    /// Every digest, whenever it is in force.
    pub fn digests(&self) -> impl Iterator<Item = ForkDigest> + '_ {
        self.entries.iter().map(|(_, digest)| *digest)
    }

    /// The digests whose topics are joined during an epoch.
    pub fn joined_at_epoch(&self, epoch: Epoch) -> BTreeSet<ForkDigest> {
        self.around(epoch, 0)
    }

    /// The digests whose topics are not joined during an epoch, but by peers whose clocks or habits differ a little.
    pub fn tolerated_at_epoch(&self, epoch: Epoch) -> BTreeSet<ForkDigest> {
        let joined = self.joined_at_epoch(epoch);
        self.around(epoch, TOLERANCE)
            .difference(&joined)
            .copied()
            .collect()
    }

    /// The digests joined during an epoch, each for `margin` epochs longer at both ends.
    fn around(&self, epoch: Epoch, margin: u64) -> BTreeSet<ForkDigest> {
        let ends = self
            .entries
            .iter()
            .skip(1)
            .map(|(from, _)| Some(*from))
            .chain([None]);
        self.entries
            .iter()
            .zip(ends)
            .filter(|((from, _), end)| {
                from.saturating_sub(JOIN_AHEAD + margin) <= epoch
                    && end.is_none_or(|end| epoch < end.saturating_add(LEAVE_BEHIND + margin))
            })
            .map(|((_, digest), _)| *digest)
            .collect()
    }

    fn epoch_at_slot(&self, slot: Slot) -> Epoch {
        Epoch(slot.0 / self.slots_per_epoch)
    }
}

/// A topic to join or to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicChange {
    /// Join the topic of this digest.
    Join(ForkDigest),
    /// Leave it.
    Leave(ForkDigest),
}

/// Says which topics to join and to leave as slots pass.
#[derive(Debug)]
pub struct TopicManager {
    schedule: TopicSchedule,
    joined: BTreeSet<ForkDigest>,
}

impl TopicManager {
    /// Nothing is joined yet.
    pub fn new(schedule: TopicSchedule) -> Self {
        Self {
            schedule,
            joined: BTreeSet::new(),
        }
    }

    /// What changes at this slot; slots may be skipped or come twice. Joins come before leaves.
    pub fn on_slot(&mut self, slot: Slot) -> Vec<TopicChange> {
        let wanted = self.schedule.joined_at_epoch(self.schedule.epoch_at_slot(slot));
        let changes = wanted
            .difference(&self.joined)
            .map(|digest| TopicChange::Join(*digest))
            .chain(
                self.joined
                    .difference(&wanted)
                    .map(|digest| TopicChange::Leave(*digest)),
            )
            .collect();
        self.joined = wanted;
        changes
    }

    /// The digests whose topics are tolerated at a slot.
    pub fn tolerated(&self, slot: Slot) -> BTreeSet<ForkDigest> {
        self.schedule
            .tolerated_at_epoch(self.schedule.epoch_at_slot(slot))
    }

    /// The schedule.
    pub fn schedule(&self) -> &TopicSchedule {
        &self.schedule
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn digest(n: u8) -> ForkDigest {
        ForkDigest([n; 4])
    }

    fn schedule(boundaries: &[u64]) -> TopicSchedule {
        TopicSchedule {
            entries: boundaries
                .iter()
                .zip(0..)
                .map(|(epoch, n)| (Epoch(*epoch), digest(n)))
                .collect(),
            revisions: BTreeMap::new(),
            slots_per_epoch: 32,
        }
    }

    #[test]
    fn two_topics_around_a_boundary_and_one_elsewhere() {
        let s = schedule(&[0, 10, 12, 100]);
        for (epoch, joined) in [
            (0, &[0][..]),
            (7, &[0]),
            (8, &[0, 1]),
            (10, &[0, 1, 2]),
            (11, &[0, 1, 2]),
            (12, &[1, 2]),
            (13, &[1, 2]),
            (14, &[2]),
            (97, &[2]),
            (98, &[2, 3]),
            (101, &[2, 3]),
            (102, &[3]),
            (u64::MAX, &[3]),
        ] {
            let expected: BTreeSet<_> = joined.iter().map(|n| digest(*n)).collect();
            assert_eq!(s.joined_at_epoch(Epoch(epoch)), expected, "epoch {epoch}");
        }
        for (epoch, tolerated) in [
            (0, &[][..]),
            (6, &[1]),
            (8, &[2]),
            (12, &[0]),
            (13, &[0]),
            (14, &[1]),
            (16, &[]),
            (96, &[3]),
            (102, &[2]),
            (104, &[]),
        ] {
            let expected: BTreeSet<_> = tolerated.iter().map(|n| digest(*n)).collect();
            assert_eq!(s.tolerated_at_epoch(Epoch(epoch)), expected, "epoch {epoch}");
        }
        for (slot, in_force) in [
            (0, 0),
            (319, 0),
            (320, 1),
            (383, 1),
            (384, 2),
            (3199, 2),
            (3200, 3),
        ] {
            assert_eq!(s.digest_at_slot(Slot(slot)), digest(in_force), "slot {slot}");
        }
    }

    #[test]
    fn around_gloas_both_topics_are_joined_each_with_its_revision() {
        let mut spec = Spec::minimal();
        spec.revision_by_fork
            .insert(assay_types::ForkName::Gloas, Revision::Beta);
        for entry in &mut spec.fork_schedule {
            if entry.0 == assay_types::ForkName::Gloas {
                entry.2 = Epoch(10);
            }
        }
        // A blob-parameter fork changes the digest and not the revision.
        spec.blob_schedule.push(assay_types::spec::BlobParameters {
            epoch: Epoch(20),
            max_blobs_per_block: 30,
        });
        let s = TopicSchedule::new(&spec, &Root::from([7; 32]));
        let joined: Vec<Revision> = s
            .joined_at_epoch(Epoch(10))
            .into_iter()
            .map(|digest| s.revision_of(digest))
            .collect();
        assert_eq!(joined.len(), 2);
        assert_ne!(joined[0], joined[1]);
        for (epoch, revision) in [
            (0, Revision::Alpha),
            (9, Revision::Alpha),
            (10, Revision::Beta),
            (20, Revision::Beta),
        ] {
            let digest = s.digest_at_epoch(Epoch(epoch));
            assert_eq!(s.revision_of(digest), revision, "epoch {epoch}");
        }
        assert_ne!(s.digest_at_epoch(Epoch(10)), s.digest_at_epoch(Epoch(20)));
    }

    #[test]
    fn the_manager_says_each_change_once() {
        let mut manager = TopicManager::new(schedule(&[0, 10]));
        use TopicChange::{Join, Leave};
        for (slot, changes) in [
            (0, vec![Join(digest(0))]),
            (0, vec![]),
            (255, vec![]),
            (256, vec![Join(digest(1))]),
            (383, vec![]),
            (384, vec![Leave(digest(0))]),
            (10_000, vec![]),
        ] {
            assert_eq!(manager.on_slot(Slot(slot)), changes, "slot {slot}");
        }
        let mut late = TopicManager::new(schedule(&[0, 10]));
        assert_eq!(late.on_slot(Slot(9_999)), [Join(digest(1))]);
    }

    proptest! {
        /// Whatever the schedule and however slots are skipped: the digest in force is always joined, and what was
        /// joined and not left is what the schedule says.
        #[test]
        fn the_digest_in_force_is_always_joined(
            gaps in proptest::collection::vec(1u64..40, 0..5),
            mut slots in proptest::collection::vec(0u64..6400, 1..40),
        ) {
            let mut boundaries = vec![0];
            for gap in gaps {
                boundaries.push(boundaries.last().unwrap() + gap);
            }
            let s = schedule(&boundaries);
            let mut manager = TopicManager::new(s.clone());
            let mut joined = BTreeSet::new();
            slots.sort_unstable();
            for slot in slots {
                for change in manager.on_slot(Slot(slot)) {
                    match change {
                        TopicChange::Join(d) => prop_assert!(joined.insert(d)),
                        TopicChange::Leave(d) => prop_assert!(joined.remove(&d)),
                    }
                }
                prop_assert!(joined.contains(&s.digest_at_slot(Slot(slot))));
                prop_assert_eq!(&joined, &s.joined_at_epoch(Epoch(slot / 32)));
            }
        }
    }
}
