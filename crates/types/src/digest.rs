//! Fork digests, gossip topics and message ids (protocol.md section 4).

use crate::{
    fork::ForkName,
    primitives::{Epoch, ForkVersion, HexError, Root},
    signing::fork_data_root,
    spec::{BlobParameters, Spec},
};
use sha2::{Digest, Sha256};
use std::str::FromStr;

/// The four bytes that name a network and fork on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ForkDigest(pub [u8; 4]);

impl std::fmt::Display for ForkDigest {
    /// Eight hex digits, as topics carry them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for ForkDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl FromStr for ForkDigest {
    type Err = HexError;

    /// Reads eight hex digits, without `0x`.
    fn from_str(text: &str) -> Result<Self, HexError> {
        let mut digest = [0; 4];
        hex::decode_to_slice(text, &mut digest).map_err(|e| HexError::Digits(e.to_string()))?;
        Ok(Self(digest))
    }
}

/// A gossip message's id: the first 20 bytes of a SHA-256.
pub type MessageId = [u8; 20];

/// Message domain of data that decompresses.
pub const MESSAGE_DOMAIN_VALID_SNAPPY: [u8; 4] = [1, 0, 0, 0];
/// Message domain of data that does not.
pub const MESSAGE_DOMAIN_INVALID_SNAPPY: [u8; 4] = [0, 0, 0, 0];

/// `compute_fork_digest`: before Fulu from version and genesis alone; from Fulu on with the blob parameters mixed in
/// (protocol.md section 4).
pub fn compute_fork_digest(
    version: ForkVersion,
    genesis_validators_root: &Root,
    blob_parameters: Option<BlobParameters>,
) -> ForkDigest {
    let base = fork_data_root(version, genesis_validators_root);
    let mut digest = [base.0[0], base.0[1], base.0[2], base.0[3]];
    if let Some(parameters) = blob_parameters {
        let mask = Sha256::new()
            .chain_update(parameters.epoch.0.to_le_bytes())
            .chain_update(parameters.max_blobs_per_block.to_le_bytes())
            .finalize();
        for (byte, mask) in digest.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    ForkDigest(digest)
}

impl Spec {
    /// The fork digest at an epoch; from Fulu on the blob parameters in force are mixed in.
    pub fn fork_digest(&self, genesis_validators_root: &Root, epoch: Epoch) -> ForkDigest {
        let blobs = (self.fork_at_epoch(epoch) >= ForkName::Fulu).then(|| self.blob_parameters(epoch));
        compute_fork_digest(self.fork_version_at_epoch(epoch), genesis_validators_root, blobs)
    }
}

/// `/eth2/<digest>/execution_proof/ssz_snappy`.
pub fn execution_proof_topic(digest: ForkDigest) -> String {
    format!("/eth2/{digest}/execution_proof/ssz_snappy")
}

/// The id of a message whose data decompressed to `uncompressed`.
pub fn message_id_valid(topic: &str, uncompressed: &[u8]) -> MessageId {
    message_id(MESSAGE_DOMAIN_VALID_SNAPPY, topic, uncompressed)
}

/// The id of a message whose data does not decompress.
pub fn message_id_invalid(topic: &str, compressed: &[u8]) -> MessageId {
    message_id(MESSAGE_DOMAIN_INVALID_SNAPPY, topic, compressed)
}

/// Altair's message id: the topic and its length are hashed in, so that one data under two topics has two ids.
fn message_id(domain: [u8; 4], topic: &str, data: &[u8]) -> MessageId {
    let hash = Sha256::new()
        .chain_update(domain)
        .chain_update((topic.len() as u64).to_le_bytes())
        .chain_update(topic)
        .chain_update(data)
        .finalize();
    let mut id = [0; 20];
    id.copy_from_slice(&hash[..20]);
    id
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Mainnet's genesis, known to every peer.
    fn mainnet_root() -> Root {
        "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"
            .parse()
            .unwrap()
    }

    #[test]
    fn mainnet_digests() {
        let spec = Spec::mainnet();
        for (epoch, digest) in [
            (0, "b5303f2a"),
            (411_391, "ad532ceb"),
            // Fulu begins before the first entry of the schedule: Electra's parameters are mixed in.
            (411_392, "cc2c5cdb"),
            (412_671, "cc2c5cdb"),
            (412_672, "cb0d1acc"),
            (419_072, "8c9f62fe"),
        ] {
            assert_eq!(
                spec.fork_digest(&mainnet_root(), Epoch(epoch)).to_string(),
                digest,
                "epoch {epoch}"
            );
        }
    }

    #[test]
    fn a_digest_changes_at_every_boundary_and_nowhere_else() {
        let spec = Spec::mainnet();
        let root = mainnet_root();
        for boundary in spec.digest_boundaries() {
            let before = spec.fork_digest(&root, boundary.saturating_sub(1));
            let at = spec.fork_digest(&root, boundary);
            assert_ne!(before, at, "epoch {boundary}");
            assert_eq!(
                at,
                spec.fork_digest(&root, boundary.saturating_add(1)),
                "epoch {boundary}"
            );
        }
    }

    #[test]
    fn digests_are_read_as_they_are_written() {
        let digest = ForkDigest([0xce, 0x21, 0x53, 0xed]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(
            execution_proof_topic(digest),
            "/eth2/ce2153ed/execution_proof/ssz_snappy"
        );
        for text in ["", "ce2153", "0xce2153ed", "ce2153edff", "ce2153eg"] {
            assert!(text.parse::<ForkDigest>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_tell_topics_and_validity_apart() {
        let id = message_id_valid("a", b"data");
        assert_ne!(id, message_id_invalid("a", b"data"));
        assert_ne!(id, message_id_valid("ad", b"ata"));
    }
}
