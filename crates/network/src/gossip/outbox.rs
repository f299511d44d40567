//! Proofs that were to be published while no peer had joined their topic.
//!
//! gossipsub refuses such a publish and remembers nothing of it, so it can be tried again when the first peer joins.
//! Bounded by number and bytes; the oldest go first (they are on disk, and served over req/resp).

use assay_types::ForkDigest;
use assay_verification::VerifiedProof;
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

/// Most proofs that wait.
const MAX_HELD_PROOFS: usize = 32;
/// Most bytes of proofs that wait.
const MAX_HELD_BYTES: usize = 32 * 1024 * 1024;

/// Proofs that wait for a listener, oldest first.
#[derive(Default)]
pub(crate) struct Outbox {
    held: VecDeque<(ForkDigest, Arc<VerifiedProof>)>,
    bytes: usize,
}

impl Outbox {
    /// Holds a proof until `take`. How many older ones had to go for it.
    pub(crate) fn hold(&mut self, digest: ForkDigest, proof: Arc<VerifiedProof>) -> usize {
        self.bytes += proof.ssz().len();
        self.held.push_back((digest, proof));
        let mut dropped = 0;
        while self.held.len() > MAX_HELD_PROOFS || (self.bytes > MAX_HELD_BYTES && self.held.len() > 1) {
            if let Some((_, proof)) = self.held.pop_front() {
                self.bytes -= proof.ssz().len();
                dropped += 1;
            }
        }
        dropped
    }

    /// The digests that proofs are held for.
    pub(crate) fn digests(&self) -> HashSet<ForkDigest> {
        self.held.iter().map(|(digest, _)| *digest).collect()
    }

    /// At most `most` proofs of a digest, oldest first; they are held no longer.
    pub(crate) fn take(&mut self, digest: ForkDigest, most: usize) -> Vec<Arc<VerifiedProof>> {
        let mut left = most;
        let (taken, kept): (VecDeque<_>, VecDeque<_>) = self.held.drain(..).partition(|(d, _)| {
            let taken = *d == digest && left > 0;
            left -= usize::from(taken);
            taken
        });
        self.held = kept;
        self.bytes = self.held.iter().map(|(_, proof)| proof.ssz().len()).sum();
        taken.into_iter().map(|(_, proof)| proof).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use assay_types::{ExecutionProof, PublicInput, Root, SignatureBytes, SignedExecutionProof, Slot};
    use bytes::Bytes;

    pub(in crate::gossip) fn proof(id: u64, len: usize) -> Arc<VerifiedProof> {
        let signed = SignedExecutionProof {
            message: ExecutionProof {
                proof_data: Bytes::new(),
                proof_type: 1,
                public_input: PublicInput {
                    new_payload_request_root: Root::ZERO,
                },
            },
            validator_index: id,
            signature: SignatureBytes::ZERO,
        };
        Arc::new(VerifiedProof::assume_verified(
            Bytes::from(vec![0; len]),
            signed,
            Root::ZERO,
            Slot(0),
            None,
        ))
    }

    fn ids(proofs: &[Arc<VerifiedProof>]) -> Vec<u64> {
        proofs.iter().map(|p| p.validator_index()).collect()
    }

    const A: ForkDigest = ForkDigest([1; 4]);
    const B: ForkDigest = ForkDigest([2; 4]);

    #[test]
    fn each_digest_gets_its_own_in_order_and_once() {
        let mut outbox = Outbox::default();
        for (id, digest) in [(1, A), (2, B), (3, A)] {
            assert_eq!(outbox.hold(digest, proof(id, 10)), 0);
        }
        assert_eq!(outbox.digests(), HashSet::from([A, B]));
        assert_eq!(ids(&outbox.take(A, 1)), [1]);
        assert_eq!(ids(&outbox.take(A, usize::MAX)), [3]);
        assert_eq!(ids(&outbox.take(A, usize::MAX)), [0; 0]);
        assert_eq!(ids(&outbox.take(B, usize::MAX)), [2]);
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_newest_stays() {
        let mut outbox = Outbox::default();
        let dropped: usize = (0..40).map(|id| outbox.hold(A, proof(id, 10))).sum();
        assert_eq!(dropped, 8);
        assert_eq!(outbox.take(A, usize::MAX).len(), MAX_HELD_PROOFS);

        let half = MAX_HELD_BYTES / 2;
        assert_eq!([1, 2, 3].map(|id| outbox.hold(A, proof(id, half))), [0, 0, 1]);
        assert_eq!(outbox.hold(B, proof(4, MAX_HELD_BYTES + 1)), 2);
        assert_eq!(ids(&outbox.take(B, usize::MAX)), [4]);
    }
}
