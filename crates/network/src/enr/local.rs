//! Our record: what it says, and the file that keeps it.

use super::{
    ATTNETS_ENR_KEY, CGC_ENR_KEY, ENR_FILE, EPROOF_ENR_KEY, ETH2_ENR_KEY, Enr, EnrForkId, NFD_ENR_KEY,
    QUIC_ENR_KEYS, SYNCNETS_ENR_KEY,
};
use crate::{
    NetworkError, NodeKey,
    files::{self, Readers},
};
use assay_types::ForkDigest;
use enr::CombinedKey;
use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Where a node is reached in one address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach<Ip> {
    /// `ip` or `ip6`.
    pub ip: Ip,
    /// `tcp` or `tcp6`.
    pub tcp: Option<u16>,
    /// `udp` or `udp6`: discovery.
    pub udp: Option<u16>,
    /// `quic` or `quic6`.
    pub quic: Option<u16>,
}

/// Entries of networks on which Fulu is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FuluEntries {
    /// `nfd`: digest of the next fork, zero where none is scheduled.
    pub next_fork_digest: ForkDigest,
    /// `cgc`.
    pub custody_group_count: u64,
}

/// What our record says. `attnets` and `syncnets` are empty: this node joins no subnets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrContent {
    /// The `eth2` entry.
    pub fork_id: EnrForkId,
    /// `nfd` and `cgc`.
    pub fulu: Option<FuluEntries>,
    /// The `eproof` entry; 0 is written as the empty RLP string and means not proof-aware.
    pub eproof: u8,
    /// IPv4, where known.
    pub v4: Option<Reach<Ipv4Addr>>,
    /// IPv6, where known.
    pub v6: Option<Reach<Ipv6Addr>>,
}

impl EnrContent {
    fn sign(&self, sequence: u64, key: &CombinedKey) -> Result<Enr, NetworkError> {
        let mut builder = Enr::builder();
        builder.seq(sequence);
        builder.add_value(ETH2_ENR_KEY, &self.fork_id.to_ssz_bytes().as_slice());
        builder.add_value(ATTNETS_ENR_KEY, &[0u8; 8].as_slice());
        builder.add_value(SYNCNETS_ENR_KEY, &[0u8; 1].as_slice());
        builder.add_value(EPROOF_ENR_KEY, &self.eproof);
        if let Some(fulu) = &self.fulu {
            builder.add_value(NFD_ENR_KEY, &fulu.next_fork_digest.0.as_slice());
            builder.add_value(CGC_ENR_KEY, &fulu.custody_group_count);
        }
        if let Some(reach) = &self.v4 {
            builder.ip4(reach.ip);
            reach.tcp.map(|port| builder.tcp4(port));
            reach.udp.map(|port| builder.udp4(port));
            reach.quic.map(|port| builder.add_value(QUIC_ENR_KEYS[0], &port));
        }
        if let Some(reach) = &self.v6 {
            builder.ip6(reach.ip);
            reach.tcp.map(|port| builder.tcp6(port));
            reach.udp.map(|port| builder.udp6(port));
            reach.quic.map(|port| builder.add_value(QUIC_ENR_KEYS[1], &port));
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
    /// The record of the last run, where there is one that can be read.
    pub fn kept(directory: &Path) -> Option<Enr> {
        let text = files::read(&directory.join(ENR_FILE)).ok()??;
        text.trim().parse().ok()
    }

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
        local.unkept().keep()?;
        Ok(local)
    }

    /// The record as it is now.
    pub fn enr(&self) -> &Enr {
        &self.enr
    }

    /// Says something else from now on; where that made a new record, what is to be kept. `seen` is the highest sequence number that was
    /// signed with our key elsewhere (discovery signs what its votes say): the new record stands above it.
    pub fn update(&mut self, content: EnrContent, seen: u64) -> Result<Option<UnkeptEnr>, NetworkError> {
        if content == self.content && seen <= self.enr.seq() {
            return Ok(None);
        }
        self.enr = content.sign(self.enr.seq().max(seen).saturating_add(1), &self.key)?;
        self.content = content;
        Ok(Some(self.unkept()))
    }

    fn unkept(&self) -> UnkeptEnr {
        UnkeptEnr {
            path: self.path.clone(),
            text: format!("{}\n", self.enr.to_base64()),
        }
    }
}

/// A record that is not on disk yet.
#[must_use]
pub struct UnkeptEnr {
    path: PathBuf,
    text: String,
}

impl UnkeptEnr {
    /// Writes it down. Blocks; a later record must not be written before an earlier one.
    pub fn keep(self) -> Result<(), NetworkError> {
        files::replace(&self.path, &self.text, Readers::Umask)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::enr::EnrExt;
    use assay_types::{Epoch, ForkVersion};
    use libp2p::Multiaddr;

    fn content() -> EnrContent {
        EnrContent {
            fork_id: EnrForkId {
                fork_digest: ForkDigest([0x8c, 0x9f, 0x62, 0xfe]),
                next_fork_version: ForkVersion([7, 0, 0, 0]),
                next_fork_epoch: Epoch(450_000),
            },
            fulu: Some(FuluEntries {
                next_fork_digest: ForkDigest([1, 2, 3, 4]),
                custody_group_count: 4,
            }),
            eproof: 1,
            v4: Some(Reach {
                ip: Ipv4Addr::LOCALHOST,
                tcp: Some(9000),
                udp: Some(9000),
                quic: Some(9001),
            }),
            v6: Some(Reach {
                ip: Ipv6Addr::LOCALHOST,
                tcp: Some(9001),
                udp: None,
                quic: Some(9002),
            }),
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
        assert_eq!(read.next_fork_digest(), Some(ForkDigest([1, 2, 3, 4])));
        assert_eq!(read.custody_group_count(), Some(4));
        assert_eq!(
            read.get_raw_rlp(ATTNETS_ENR_KEY),
            Some(&[0x88, 0, 0, 0, 0, 0, 0, 0, 0][..])
        );
        assert_eq!(read.get_raw_rlp(SYNCNETS_ENR_KEY), Some(&[0x00][..]));
        assert_eq!(read.get_raw_rlp(CGC_ENR_KEY), Some(&[4][..]));
        assert_eq!(read.get_raw_rlp(NFD_ENR_KEY), Some(&[0x84, 1, 2, 3, 4][..]));
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
        assert_eq!(read.udp_multiaddrs(), [at("/ip4/127.0.0.1/udp/9000/p2p/ID")]);
        let dialled: Vec<String> = read.dial_multiaddrs().iter().map(ToString::to_string).collect();
        assert_eq!(
            dialled,
            [
                "/ip4/127.0.0.1/udp/9001/quic-v1",
                "/ip6/::1/udp/9002/quic-v1",
                "/ip4/127.0.0.1/tcp/9000",
                "/ip6/::1/tcp/9001"
            ]
        );
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
        assert!(local.update(content(), 0).unwrap().is_none());
        assert_eq!(local.enr().seq(), 1);

        let moved = EnrContent {
            v6: None,
            ..content()
        };
        local.update(moved.clone(), 1).unwrap().unwrap().keep().unwrap();
        assert_eq!(local.enr().seq(), 2);

        let again = LocalEnr::open(dir.path(), &key, moved.clone()).unwrap();
        assert_eq!(again.enr(), local.enr());
        // Discovery has signed a record of its own meanwhile: ours goes above it, though it says the same.
        local.update(moved, 7).unwrap().unwrap().keep().unwrap();
        assert_eq!(local.enr().seq(), 8);
        let back = LocalEnr::open(dir.path(), &key, content()).unwrap();
        assert_eq!(back.enr().seq(), 9);

        std::fs::write(dir.path().join(ENR_FILE), "enr:damaged").unwrap();
        let after = LocalEnr::open(dir.path(), &key, content()).unwrap();
        assert!(
            after.enr().seq() > 1_000_000_000,
            "an unreadable record must not bring the number down"
        );
    }
}
