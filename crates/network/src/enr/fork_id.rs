//! `ENRForkID`: which chain and fork a node is on.

use assay_types::{Epoch, ForkDigest, ForkVersion, Root, Spec};

/// `ENRForkID` of the phase0 p2p text: which chain and fork a node is on, and what it expects next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrForkId {
    /// Digest at the current epoch.
    pub fork_digest: ForkDigest,
    /// Version of the next regular fork that is scheduled, blob-parameter forks passed over; else the current one.
    pub next_fork_version: ForkVersion,
    /// Epoch of the next fork, regular or blob-parameter; `Epoch::FAR_FUTURE` where none is scheduled.
    pub next_fork_epoch: Epoch,
}

impl EnrForkId {
    /// SSZ bytes: all fields are of fixed length.
    pub const SSZ_LEN: usize = 16;

    /// What a node says at `epoch`.
    pub fn at(spec: &Spec, genesis_validators_root: &Root, epoch: Epoch) -> Self {
        Self {
            fork_digest: spec.fork_digest(genesis_validators_root, epoch),
            next_fork_version: spec
                .next_fork(epoch)
                .map_or_else(|| spec.fork_version_at_epoch(epoch), |(_, version, _)| version),
            next_fork_epoch: spec.next_digest_boundary(epoch).unwrap_or(Epoch::FAR_FUTURE),
        }
    }

    /// The SSZ bytes.
    pub fn to_ssz_bytes(self) -> [u8; Self::SSZ_LEN] {
        let mut out = [0; Self::SSZ_LEN];
        out[..4].copy_from_slice(&self.fork_digest.0);
        out[4..8].copy_from_slice(self.next_fork_version.as_slice());
        out[8..].copy_from_slice(&self.next_fork_epoch.0.to_le_bytes());
        out
    }

    /// From SSZ bytes; `None` where there are not exactly 16.
    pub fn from_ssz_bytes(bytes: &[u8]) -> Option<Self> {
        let (digest, rest) = bytes.split_first_chunk::<4>()?;
        let (version, rest) = rest.split_first_chunk::<4>()?;
        let epoch: [u8; 8] = rest.try_into().ok()?;
        Some(Self {
            fork_digest: ForkDigest(*digest),
            next_fork_version: ForkVersion(*version),
            next_fork_epoch: Epoch(u64::from_le_bytes(epoch)),
        })
    }
}

/// The `nfd` entry: digest of the next fork, regular or blob-parameter, zero where none is scheduled.
pub fn next_fork_digest(spec: &Spec, genesis_validators_root: &Root, epoch: Epoch) -> ForkDigest {
    spec.next_digest_boundary(epoch)
        .map_or_else(ForkDigest::default, |next| {
            spec.fork_digest(genesis_validators_root, next)
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_types::{ForkName, spec::BlobParameters};

    #[test]
    fn fork_id_is_sixteen_bytes_of_ssz() {
        let id = EnrForkId {
            fork_digest: ForkDigest([0x8c, 0x9f, 0x62, 0xfe]),
            next_fork_version: ForkVersion([7, 0, 0, 0]),
            next_fork_epoch: Epoch(450_000),
        };
        let bytes = id.to_ssz_bytes();
        assert_eq!(hex::encode(bytes), "8c9f62fe07000000d0dd060000000000");
        assert_eq!(EnrForkId::from_ssz_bytes(&bytes), Some(id));
        assert_eq!(EnrForkId::from_ssz_bytes(&bytes[..15]), None);
        assert_eq!(EnrForkId::from_ssz_bytes(&[&bytes[..], &[0]].concat()), None);
    }

    /// `next_fork_version` passes over blob-parameter forks, `next_fork_epoch` does not (protocol.md section 6).
    #[test]
    fn fork_id_follows_the_schedule() {
        let mut spec = Spec::mainnet();
        let scheduled = |spec: &mut Spec, fork: ForkName, epoch: u64| {
            let entry = spec
                .fork_schedule
                .iter_mut()
                .find(|entry| entry.0 == fork)
                .unwrap();
            entry.2 = Epoch(epoch);
            entry.1
        };
        for fork in ForkName::ALL.iter().filter(|fork| **fork <= ForkName::Electra) {
            scheduled(&mut spec, *fork, 0);
        }
        let electra = spec.fork_version_at_epoch(Epoch(0));
        let fulu = scheduled(&mut spec, ForkName::Fulu, 10);
        let gloas = scheduled(&mut spec, ForkName::Gloas, 20);
        spec.blob_schedule = [12, 25]
            .map(|epoch| BlobParameters {
                epoch: Epoch(epoch),
                max_blobs_per_block: epoch,
            })
            .to_vec();
        assert_ne!(electra, fulu);
        let root = Root::from([7; 32]);
        let never = u64::MAX;
        for (epoch, version, next) in [
            (0, fulu, 10),
            (9, fulu, 10),
            (10, gloas, 12),
            (11, gloas, 12),
            (12, gloas, 20),
            (20, gloas, 25),
            (25, gloas, never),
            (99, gloas, never),
        ] {
            let expected = EnrForkId {
                fork_digest: spec.fork_digest(&root, Epoch(epoch)),
                next_fork_version: version,
                next_fork_epoch: Epoch(next),
            };
            assert_eq!(
                EnrForkId::at(&spec, &root, Epoch(epoch)),
                expected,
                "epoch {epoch}"
            );
            let nfd = match next {
                u64::MAX => ForkDigest::default(),
                next => spec.fork_digest(&root, Epoch(next)),
            };
            assert_eq!(next_fork_digest(&spec, &root, Epoch(epoch)), nfd, "epoch {epoch}");
        }
    }
}
