//! Node records (EIP-778): ours, kept with its sequence number, and what is read from those of peers.
//!
//! Keys of ours (protocol.md section 6): `eth2` (`EnrForkId`, SSZ), `eproof` (uint8, RLP), `ip`/`tcp`, `ip6`/`tcp6`.

use crate::{
    NetworkError, NodeKey,
    files::{self, Readers},
};
use assay_types::{Epoch, ForkDigest, ForkVersion, Root, Spec};
use enr::{CombinedKey, CombinedPublicKey, EnrPublicKey};
use libp2p::{Multiaddr, PeerId, identity, multiaddr::Protocol};
use std::{
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// A node record over a secp256k1 key (others are read, and have no libp2p id here).
pub type Enr = enr::Enr<CombinedKey>;

/// The record's key for `EnrForkId`.
pub const ETH2_ENR_KEY: &str = "eth2";
/// The record's key that says a node is proof-aware (EIP-8025).
pub const EPROOF_ENR_KEY: &str = "eproof";
/// Name of the file that keeps our record, and so its sequence number, in the network's directory.
pub const ENR_FILE: &str = "node.enr";

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

/// What our record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrContent {
    /// The `eth2` entry.
    pub fork_id: EnrForkId,
    /// The `eproof` entry; 0 is written as the empty RLP string and means not proof-aware.
    pub eproof: u8,
    /// `ip` and `tcp`, where known.
    pub tcp4: Option<SocketAddrV4>,
    /// `ip6` and `tcp6`, where known.
    pub tcp6: Option<SocketAddrV6>,
}

impl EnrContent {
    fn sign(&self, sequence: u64, key: &CombinedKey) -> Result<Enr, NetworkError> {
        let mut builder = Enr::builder();
        builder.seq(sequence);
        builder.add_value(ETH2_ENR_KEY, &self.fork_id.to_ssz_bytes().as_slice());
        builder.add_value(EPROOF_ENR_KEY, &self.eproof);
        if let Some(socket) = self.tcp4 {
            builder.ip4(*socket.ip()).tcp4(socket.port());
        }
        if let Some(socket) = self.tcp6 {
            builder.ip6(*socket.ip()).tcp6(socket.port());
        }
        builder.build(key).map_err(|e| NetworkError::Enr(e.to_string()))
    }
}

/// Our record, kept on disk so that its sequence number only grows.
pub struct LocalEnr {
    path: PathBuf,
    key: CombinedKey,
    content: EnrContent,
    enr: Enr,
}

impl LocalEnr {
    /// The record that `directory` keeps if it says the same, else one with a higher sequence number.
    ///
    /// A file that cannot be understood costs no more than a warning: the number then starts at the unix time in
    /// seconds, which is above anything that was counted up from 1.
    pub fn open(directory: &Path, node_key: &NodeKey, content: EnrContent) -> Result<Self, NetworkError> {
        let path = directory.join(ENR_FILE);
        let key = node_key.enr_key()?;
        let next = match files::read(&path)? {
            None => 1,
            Some(text) => match text.trim().parse::<Enr>() {
                Ok(kept) => {
                    let same = content.sign(kept.seq(), &key)?;
                    if same.compare_content(&kept) {
                        return Ok(Self {
                            path,
                            key,
                            content,
                            enr: kept,
                        });
                    }
                    kept.seq().saturating_add(1)
                }
                Err(why) => {
                    tracing::warn!(path = %path.display(), why, "the kept node record cannot be read; making a new one");
                    SystemTime::now()
                        .duration_since(UNIX_EPOCH)
                        .map_or(1, |d| d.as_secs())
                }
            },
        };
        let enr = content.sign(next, &key)?;
        let local = Self {
            path,
            key,
            content,
            enr,
        };
        local.keep()?;
        Ok(local)
    }

    /// The record as it is now.
    pub fn enr(&self) -> &Enr {
        &self.enr
    }

    /// What it says.
    pub fn content(&self) -> &EnrContent {
        &self.content
    }

    /// Says something else from now on; whether that made a new record.
    pub fn update(&mut self, content: EnrContent) -> Result<bool, NetworkError> {
        if content == self.content {
            return Ok(false);
        }
        self.enr = content.sign(self.enr.seq().saturating_add(1), &self.key)?;
        self.content = content;
        self.keep()?;
        Ok(true)
    }

    fn keep(&self) -> Result<(), NetworkError> {
        let mut text = self.enr.to_base64();
        text.push('\n');
        files::replace(&self.path, &text, Readers::Umask)
    }
}

/// What assay reads from a node record, ours or a peer's.
pub trait EnrExt {
    /// The libp2p id of its key; `None` for keys other than secp256k1.
    fn peer_id(&self) -> Option<PeerId>;
    /// The `eth2` entry, where it is there and well-formed.
    fn fork_id(&self) -> Option<EnrForkId>;
    /// The `eproof` entry: 0 where it is absent or no uint8.
    fn eproof(&self) -> u8;
    /// Where it can be dialled over TCP, each with `/p2p/<id>` at the end.
    fn tcp_multiaddrs(&self) -> Vec<Multiaddr>;
    /// Where discovery would find it over UDP, each with `/p2p/<id>` at the end.
    fn udp_multiaddrs(&self) -> Vec<Multiaddr>;
}

impl EnrExt for Enr {
    fn peer_id(&self) -> Option<PeerId> {
        match self.public_key() {
            CombinedPublicKey::Secp256k1(key) => {
                let key = identity::secp256k1::PublicKey::try_from_bytes(&key.encode()).ok()?;
                Some(identity::PublicKey::from(key).to_peer_id())
            }
            CombinedPublicKey::Ed25519(_) => None,
        }
    }

    fn fork_id(&self) -> Option<EnrForkId> {
        let bytes = self.get_decodable::<bytes::Bytes>(ETH2_ENR_KEY)?.ok()?;
        EnrForkId::from_ssz_bytes(&bytes)
    }

    fn eproof(&self) -> u8 {
        self.get_decodable::<u8>(EPROOF_ENR_KEY)
            .and_then(Result::ok)
            .unwrap_or(0)
    }

    fn tcp_multiaddrs(&self) -> Vec<Multiaddr> {
        let sockets = [
            self.tcp4_socket().map(SocketAddr::V4),
            self.tcp6_socket().map(SocketAddr::V6),
        ];
        multiaddrs(self.peer_id(), sockets, Protocol::Tcp)
    }

    fn udp_multiaddrs(&self) -> Vec<Multiaddr> {
        let sockets = [
            self.udp4_socket().map(SocketAddr::V4),
            self.udp6_socket().map(SocketAddr::V6),
        ];
        multiaddrs(self.peer_id(), sockets, Protocol::Udp)
    }
}

fn multiaddrs(
    peer: Option<PeerId>,
    sockets: [Option<SocketAddr>; 2],
    transport: fn(u16) -> Protocol<'static>,
) -> Vec<Multiaddr> {
    let Some(peer) = peer else { return Vec::new() };
    sockets
        .into_iter()
        .flatten()
        .filter(|socket| socket.port() != 0)
        .map(|socket| {
            Multiaddr::from(socket.ip())
                .with(transport(socket.port()))
                .with(Protocol::P2p(peer))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use assay_types::{ForkName, spec::BlobParameters};

    fn content() -> EnrContent {
        EnrContent {
            fork_id: EnrForkId {
                fork_digest: ForkDigest([0x8c, 0x9f, 0x62, 0xfe]),
                next_fork_version: ForkVersion([7, 0, 0, 0]),
                next_fork_epoch: Epoch(450_000),
            },
            eproof: 1,
            tcp4: Some("127.0.0.1:9000".parse().unwrap()),
            tcp6: Some("[::1]:9001".parse().unwrap()),
        }
    }

    #[test]
    fn fork_id_is_sixteen_bytes_of_ssz() {
        let id = content().fork_id;
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
        }
    }

    #[test]
    fn a_record_reads_back_as_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let key = NodeKey::generate();
        let local = LocalEnr::open(dir.path(), &key, content()).unwrap();
        let read: Enr = local.enr().to_base64().parse().unwrap();
        assert!(read.verify());
        assert_eq!(read.peer_id(), Some(key.peer_id()));
        assert_eq!(read.fork_id(), Some(content().fork_id));
        assert_eq!(read.eproof(), 1);
        let at = |text: &str| {
            text.replace("ID", &key.peer_id().to_base58())
                .parse::<Multiaddr>()
                .unwrap()
        };
        assert_eq!(
            read.tcp_multiaddrs(),
            [
                at("/ip4/127.0.0.1/tcp/9000/p2p/ID"),
                at("/ip6/::1/tcp/9001/p2p/ID")
            ]
        );
        assert_eq!(read.udp_multiaddrs(), Vec::<Multiaddr>::new());
    }

    /// protocol.md section 11.
    #[test]
    fn eproof_of_zero_is_the_empty_rlp_string() {
        let dir = tempfile::tempdir().unwrap();
        let local = LocalEnr::open(
            dir.path(),
            &NodeKey::generate(),
            EnrContent {
                eproof: 0,
                ..content()
            },
        )
        .unwrap();
        assert_eq!(local.enr().get_raw_rlp(EPROOF_ENR_KEY), Some(&[0x80][..]));
        assert_eq!(local.enr().eproof(), 0);
    }

    #[test]
    fn the_sequence_number_grows_with_the_content_alone() {
        let dir = tempfile::tempdir().unwrap();
        let key = NodeKey::generate();
        let mut local = LocalEnr::open(dir.path(), &key, content()).unwrap();
        assert_eq!(local.enr().seq(), 1);
        assert!(!local.update(content()).unwrap());
        assert_eq!(local.enr().seq(), 1);

        let moved = EnrContent {
            tcp6: None,
            ..content()
        };
        assert!(local.update(moved.clone()).unwrap());
        assert_eq!(local.enr().seq(), 2);

        let again = LocalEnr::open(dir.path(), &key, moved).unwrap();
        assert_eq!(again.enr(), local.enr());
        let back = LocalEnr::open(dir.path(), &key, content()).unwrap();
        assert_eq!(back.enr().seq(), 3);

        std::fs::write(dir.path().join(ENR_FILE), "enr:damaged").unwrap();
        let after = LocalEnr::open(dir.path(), &key, content()).unwrap();
        assert!(
            after.enr().seq() > 1_000_000_000,
            "an unreadable record must not bring the number down"
        );
    }
}
