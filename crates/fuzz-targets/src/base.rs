//! The containers of the base protocols: of a fixed number of bytes each, but for lists of roots.

use crate::Seen;
use assay_network::{
    PeerStatus,
    rpc::{BlocksByRange, PeerMetadata, decode_head, decode_range, decode_roots, decode_uint64},
};

/// The first byte chooses the container, the rest is its SSZ.
pub(crate) fn base_messages(data: &[u8]) -> Seen {
    let Some((which, ssz)) = data.split_first() else {
        return Seen::Refused;
    };
    Seen::accepted(match which % 7 {
        0 => status(ssz),
        1 => metadata(ssz),
        2 => {
            let range = BlocksByRange::from_ssz_bytes(ssz);
            assert_eq!(range.is_some(), ssz.len() == 24);
            range.is_some_and(|range| back(&range.to_ssz_bytes(), ssz))
        }
        3 => {
            let range = decode_range(ssz);
            assert_eq!(range.is_some(), ssz.len() == 16);
            range.is_some_and(|(start, count)| back(&[start.0, count].map(u64::to_le_bytes).concat(), ssz))
        }
        4 => {
            let roots = decode_roots(ssz);
            assert_eq!(roots.is_some(), ssz.len() % 32 == 0);
            roots.is_some_and(|roots| {
                let bytes: Vec<u8> = roots.iter().flat_map(|root| root.0).collect();
                back(&bytes, ssz)
            })
        }
        5 => {
            let number = decode_uint64(ssz);
            assert_eq!(number.is_some(), ssz.len() == 8);
            number.is_some_and(|number| back(&number.to_le_bytes(), ssz))
        }
        _ => {
            let head = decode_head(ssz);
            assert_eq!(head.is_some(), ssz.len() == 40);
            head.is_some_and(|(root, count)| back(&[&root.0[..], &count.to_le_bytes()].concat(), ssz))
        }
    })
}

fn status(ssz: &[u8]) -> bool {
    let status = PeerStatus::from_ssz_bytes(ssz);
    assert_eq!(status.is_some(), matches!(ssz.len(), 84 | 92));
    status.is_some_and(|status| {
        assert_eq!(status.earliest_available_slot.is_some(), ssz.len() == 92);
        back(&status.to_v1_bytes(), &ssz[..84]);
        // A status of version 1 promises nothing before its head.
        let second = PeerStatus::from_ssz_bytes(&status.to_v2_bytes()).unwrap();
        let earliest = status.earliest_available_slot.unwrap_or(status.head_slot);
        assert_eq!(second.earliest_available_slot, Some(earliest));
        assert_eq!(second.to_v1_bytes(), status.to_v1_bytes());
        true
    })
}

fn metadata(ssz: &[u8]) -> bool {
    let metadata = PeerMetadata::from_ssz_bytes(ssz);
    let has_length = matches!(ssz.len(), 16 | 17 | 25);
    let has_subnets = ssz.get(16).is_none_or(|bits| bits & 0xf0 == 0);
    assert_eq!(metadata.is_some(), has_length && has_subnets);
    metadata.is_some_and(|metadata| {
        let again = match ssz.len() {
            16 => metadata.to_v1_bytes(),
            17 => metadata.to_v2_bytes(),
            _ => metadata.to_v3_bytes(),
        };
        back(&again, ssz)
    })
}

fn back(again: &[u8], ssz: &[u8]) -> bool {
    assert_eq!(again, ssz);
    true
}
