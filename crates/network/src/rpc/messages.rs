//! The containers of the base protocols (phase0, altair and fulu p2p), to bytes and back.

use crate::PeerStatus;
use assay_types::{Epoch, ForkDigest, Root, Slot};

impl PeerStatus {
    /// Version 1: 84 bytes.
    pub fn to_v1_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(92);
        out.extend_from_slice(&self.fork_digest.0);
        out.extend_from_slice(&self.finalized_root.0);
        out.extend_from_slice(&self.finalized_epoch.0.to_le_bytes());
        out.extend_from_slice(&self.head_root.0);
        out.extend_from_slice(&self.head_slot.0.to_le_bytes());
        out
    }

    /// Version 2: 92 bytes. Where the first slot is not known, the head's own is said: nothing before it is promised.
    pub fn to_v2_bytes(&self) -> Vec<u8> {
        let mut out = self.to_v1_bytes();
        let earliest = self.earliest_available_slot.unwrap_or(self.head_slot);
        out.extend_from_slice(&earliest.0.to_le_bytes());
        out
    }

    /// From the bytes of either version, told apart by their number; `None` for any other number.
    pub fn from_ssz_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let status = Self {
            fork_digest: ForkDigest(reader.array()?),
            finalized_root: Root::from(reader.array()?),
            finalized_epoch: Epoch(reader.uint64()?),
            head_root: Root::from(reader.array()?),
            head_slot: Slot(reader.uint64()?),
            earliest_available_slot: None,
        };
        if reader.0.is_empty() {
            return Some(status);
        }
        let earliest_available_slot = Some(Slot(reader.uint64()?));
        reader.0.is_empty().then_some(Self {
            earliest_available_slot,
            ..status
        })
    }
}

/// What a peer says of itself (`MetaData`), as far as the version it spoke goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerMetadata {
    /// Grows with every change.
    pub seq_number: u64,
    /// Attestation subnets, a bit each.
    pub attnets: [u8; 8],
    /// Sync committee subnets, a bit each; from version 2.
    pub syncnets: Option<u8>,
    /// `cgc`; from version 3.
    pub custody_group_count: Option<u64>,
}

/// Bits of `syncnets` (`SYNC_COMMITTEE_SUBNET_COUNT` of 4): no other may be set.
const SYNCNETS_MASK: u8 = 0x0f;

impl PeerMetadata {
    /// Version 1: 16 bytes.
    pub fn to_v1_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(25);
        out.extend_from_slice(&self.seq_number.to_le_bytes());
        out.extend_from_slice(&self.attnets);
        out
    }

    /// Version 2: 17 bytes.
    pub fn to_v2_bytes(&self) -> Vec<u8> {
        let mut out = self.to_v1_bytes();
        out.push(self.syncnets.unwrap_or_default());
        out
    }

    /// Version 3: 25 bytes.
    pub fn to_v3_bytes(&self) -> Vec<u8> {
        let mut out = self.to_v2_bytes();
        out.extend_from_slice(&self.custody_group_count.unwrap_or_default().to_le_bytes());
        out
    }

    /// From the bytes of any version, told apart by their number. `None`: no version has it, or bits are set that
    /// stand for no subnet.
    pub fn from_ssz_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let seq_number = reader.uint64()?;
        let attnets = reader.array()?;
        let mut metadata = Self {
            seq_number,
            attnets,
            syncnets: None,
            custody_group_count: None,
        };
        if !reader.0.is_empty() {
            let [syncnets] = reader.array()?;
            if syncnets & !SYNCNETS_MASK != 0 {
                return None;
            }
            metadata.syncnets = Some(syncnets);
        }
        if !reader.0.is_empty() {
            metadata.custody_group_count = Some(reader.uint64()?);
        }
        reader.0.is_empty().then_some(metadata)
    }
}

/// The name of a reason that came with a goodbye (phase0 p2p; above 127 what clients agreed on), for logs and metrics.
pub(crate) const fn goodbye_label(code: u64) -> &'static str {
    match code {
        1 => "shutdown",
        2 => "irrelevant_network",
        3 => "fault",
        128 => "unable_to_verify_network",
        129 => "too_many_peers",
        250 => "bad_score",
        251 => "banned",
        252 => "banned_address",
        _ => "other",
    }
}

/// Body of a `beacon_blocks_by_range/2` request; `step` is deprecated and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlocksByRange {
    /// First slot.
    pub start_slot: Slot,
    /// Number of slots.
    pub count: u64,
    /// 1.
    pub step: u64,
}

impl BlocksByRange {
    /// 24 bytes.
    pub fn to_ssz_bytes(self) -> Vec<u8> {
        [self.start_slot.0, self.count, self.step]
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .collect()
    }

    /// From 24 bytes; `None` for any other number.
    pub fn from_ssz_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let range = Self {
            start_slot: Slot(reader.uint64()?),
            count: reader.uint64()?,
            step: reader.uint64()?,
        };
        reader.0.is_empty().then_some(range)
    }
}

/// A range of 16 bytes without step, as envelopes are asked for: first slot and number of slots. `None` for any other
/// number of bytes.
pub fn decode_range(bytes: &[u8]) -> Option<(Slot, u64)> {
    let mut reader = Reader(bytes);
    let range = (Slot(reader.uint64()?), reader.uint64()?);
    reader.0.is_empty().then_some(range)
}

/// A block and how many of its ancestry, itself included, as `beacon_blocks_by_head/1` asks (fulu p2p). `None` for any
/// number of bytes but 40.
pub fn decode_head(bytes: &[u8]) -> Option<(Root, u64)> {
    let mut reader = Reader(bytes);
    let head = (Root::from(reader.array::<32>()?), reader.uint64()?);
    reader.0.is_empty().then_some(head)
}

/// A list of roots, as blocks and envelopes are asked for; `None` where the bytes are no whole number of them.
pub fn decode_roots(bytes: &[u8]) -> Option<Vec<Root>> {
    let (roots, rest) = bytes.as_chunks::<32>();
    rest.is_empty()
        .then(|| roots.iter().map(|root| Root::from(*root)).collect())
}

/// A uint64 alone: ping, goodbye. `None` for any number of bytes but 8.
pub fn decode_uint64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// Takes fixed fields from the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn uint64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Goodbye;
    use proptest::prelude::*;

    fn status() -> PeerStatus {
        PeerStatus {
            fork_digest: ForkDigest([1, 2, 3, 4]),
            finalized_root: Root::from([5; 32]),
            finalized_epoch: Epoch(0x0607),
            head_root: Root::from([8; 32]),
            head_slot: Slot(0x090a),
            earliest_available_slot: Some(Slot(11)),
        }
    }

    /// Field by field, as the texts order them.
    #[test]
    fn status_has_its_fields_in_order() {
        let expected = [
            &[1, 2, 3, 4][..],
            &[5; 32],
            &[7, 6, 0, 0, 0, 0, 0, 0],
            &[8; 32],
            &[10, 9, 0, 0, 0, 0, 0, 0],
            &[11, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(status().to_v2_bytes(), expected);
        assert_eq!(status().to_v1_bytes(), expected[..84]);
        let without = PeerStatus {
            earliest_available_slot: None,
            ..status()
        };
        assert_eq!(without.to_v2_bytes()[84..], 0x090au64.to_le_bytes());
        assert_eq!(PeerStatus::from_ssz_bytes(&expected), Some(status()));
        assert_eq!(PeerStatus::from_ssz_bytes(&expected[..84]), Some(without));
    }

    #[test]
    fn metadata_has_its_fields_in_order() {
        let metadata = PeerMetadata {
            seq_number: 3,
            attnets: [1, 0, 0, 0, 0, 0, 0, 0x80],
            syncnets: Some(0b1001),
            custody_group_count: Some(4),
        };
        let expected = [
            &[3, 0, 0, 0, 0, 0, 0, 0][..],
            &[1, 0, 0, 0, 0, 0, 0, 0x80, 9],
            &[4, 0, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(metadata.to_v3_bytes(), expected);
        assert_eq!(metadata.to_v2_bytes(), expected[..17]);
        assert_eq!(metadata.to_v1_bytes(), expected[..16]);
        assert_eq!(PeerMetadata::from_ssz_bytes(&expected), Some(metadata));
        let mut wrong = expected;
        wrong[16] = 0x10;
        assert_eq!(PeerMetadata::from_ssz_bytes(&wrong), None);
    }

    /// What this node tells has the same name when it is told.
    #[test]
    fn reasons_have_one_name_both_ways() {
        for reason in [
            Goodbye::Shutdown,
            Goodbye::IrrelevantNetwork,
            Goodbye::Fault,
            Goodbye::TooManyPeers,
            Goodbye::BadScore,
            Goodbye::Banned,
            Goodbye::BannedAddress,
        ] {
            assert_eq!(goodbye_label(reason.code()), reason.label());
        }
        assert_eq!(goodbye_label(0), "other");
        assert_eq!(goodbye_label(u64::MAX), "other");
    }

    proptest! {
        #[test]
        fn only_the_lengths_of_the_texts_decode(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let status = PeerStatus::from_ssz_bytes(&bytes);
            prop_assert_eq!(status.is_some(), matches!(bytes.len(), 84 | 92));
            if let Some(status) = status {
                prop_assert_eq!(&status.to_v2_bytes()[..bytes.len()], &bytes[..]);
            }
            if let Some(metadata) = PeerMetadata::from_ssz_bytes(&bytes) {
                prop_assert!(matches!(bytes.len(), 16 | 17 | 25));
                prop_assert_eq!(&metadata.to_v3_bytes()[..bytes.len()], &bytes[..]);
            }
            let range = BlocksByRange::from_ssz_bytes(&bytes);
            prop_assert_eq!(range.map(BlocksByRange::to_ssz_bytes), (bytes.len() == 24).then(|| bytes.clone()));
            prop_assert_eq!(decode_range(&bytes).is_some(), bytes.len() == 16);
            prop_assert_eq!(decode_uint64(&bytes).is_some(), bytes.len() == 8);
            let head = decode_head(&bytes).map(|(root, count)| [&root.0[..], &count.to_le_bytes()].concat());
            prop_assert_eq!(head, (bytes.len() == 40).then(|| bytes.clone()));
            prop_assert_eq!(decode_roots(&bytes).map(|r| r.len() * 32), (bytes.len() % 32 == 0).then_some(bytes.len()));
        }
    }
}
