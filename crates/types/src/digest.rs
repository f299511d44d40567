//! Fork digests, gossip topics and message ids (protocol.md section 4).

use crate::{
    primitives::{Epoch, Root},
    spec::Spec,
};

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

/// A gossip message's id: the first 20 bytes of a SHA-256.
pub type MessageId = [u8; 20];

/// Message domain of data that decompresses.
pub const MESSAGE_DOMAIN_VALID_SNAPPY: [u8; 4] = [1, 0, 0, 0];
/// Message domain of data that does not.
pub const MESSAGE_DOMAIN_INVALID_SNAPPY: [u8; 4] = [0, 0, 0, 0];

impl Spec {
    /// The fork digest at an epoch; from Fulu on the blob parameters in force are mixed in.
    pub fn fork_digest(&self, genesis_validators_root: &Root, epoch: Epoch) -> ForkDigest {
        let _ = (genesis_validators_root, epoch);
        unimplemented!()
    }
}

/// `/eth2/<digest>/execution_proof/ssz_snappy`.
pub fn execution_proof_topic(digest: ForkDigest) -> String {
    format!("/eth2/{digest}/execution_proof/ssz_snappy")
}

/// The id of a message whose data decompressed to `uncompressed`.
pub fn message_id_valid(topic: &str, uncompressed: &[u8]) -> MessageId {
    let _ = (topic, uncompressed);
    unimplemented!()
}

/// The id of a message whose data does not decompress.
pub fn message_id_invalid(topic: &str, compressed: &[u8]) -> MessageId {
    let _ = (topic, compressed);
    unimplemented!()
}
