//! Node records (EIP-778): ours, kept with its sequence number, and what is read from those of peers.
//!
//! Entries (protocol.md section 6): `eth2` (`EnrForkId`, SSZ), `attnets` and `syncnets` (bit vectors), `cgc` (uint64,
//! RLP), `nfd` (fork digest), `eproof` (uint8, RLP), and for each family `ip`, `tcp`, `udp`, `quic`.

mod fork_id;
mod local;

pub use fork_id::{EnrForkId, next_fork_digest};
pub use local::{EnrContent, FuluEntries, LocalEnr, Reach, UnkeptEnr};

use assay_types::ForkDigest;
use enr::{CombinedKey, CombinedPublicKey, EnrPublicKey};
use libp2p::{Multiaddr, PeerId, identity, multiaddr::Protocol};
use std::net::{IpAddr, SocketAddr};

/// A node record over a secp256k1 key (others are read, and have no libp2p id here).
pub type Enr = enr::Enr<CombinedKey>;

/// The record's key for `EnrForkId`.
pub const ETH2_ENR_KEY: &str = "eth2";
/// The record's key that says a node is proof-aware (EIP-8025).
pub const EPROOF_ENR_KEY: &str = "eproof";
/// The record's key for the attestation subnets.
pub const ATTNETS_ENR_KEY: &str = "attnets";
/// The record's key for the sync committee subnets.
pub const SYNCNETS_ENR_KEY: &str = "syncnets";
/// The record's key for the custody group count (Fulu).
pub const CGC_ENR_KEY: &str = "cgc";
/// The record's key for the next fork's digest (Fulu).
pub const NFD_ENR_KEY: &str = "nfd";
/// The record's keys for QUIC's UDP port.
pub const QUIC_ENR_KEYS: [&str; 2] = ["quic", "quic6"];
/// Name of the file that keeps our record, and so its sequence number, in the network's directory.
pub const ENR_FILE: &str = "node.enr";

/// What assay reads from a node record, ours or a peer's.
pub trait EnrExt {
    /// The libp2p id of its key; `None` for keys other than secp256k1.
    fn peer_id(&self) -> Option<PeerId>;
    /// The `eth2` entry, where it is there and well-formed.
    fn fork_id(&self) -> Option<EnrForkId>;
    /// The `eproof` entry: 0 where it is absent or no uint8.
    fn eproof(&self) -> u8;
    /// The `nfd` entry, where it is there and well-formed.
    fn next_fork_digest(&self) -> Option<ForkDigest>;
    /// The `cgc` entry, where it is there and well-formed.
    fn custody_group_count(&self) -> Option<u64>;
    /// Where it can be dialled over TCP, each with `/p2p/<id>` at the end.
    fn tcp_multiaddrs(&self) -> Vec<Multiaddr>;
    /// Where it can be dialled over QUIC, each with `/p2p/<id>` at the end.
    fn quic_multiaddrs(&self) -> Vec<Multiaddr>;
    /// Where discovery would find it over UDP, each with `/p2p/<id>` at the end.
    fn udp_multiaddrs(&self) -> Vec<Multiaddr>;
    /// Where it can be dialled, best first, without `/p2p`: QUIC, then TCP.
    fn dial_multiaddrs(&self) -> Vec<Multiaddr> {
        self.quic_multiaddrs()
            .into_iter()
            .chain(self.tcp_multiaddrs())
            .map(|mut address| {
                address.pop();
                address
            })
            .collect()
    }
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

    fn next_fork_digest(&self) -> Option<ForkDigest> {
        let bytes = self.get_decodable::<bytes::Bytes>(NFD_ENR_KEY)?.ok()?;
        Some(ForkDigest(bytes.as_ref().try_into().ok()?))
    }

    fn custody_group_count(&self) -> Option<u64> {
        self.get_decodable::<u64>(CGC_ENR_KEY)?.ok()
    }

    fn tcp_multiaddrs(&self) -> Vec<Multiaddr> {
        let sockets = [
            self.tcp4_socket().map(SocketAddr::V4),
            self.tcp6_socket().map(SocketAddr::V6),
        ];
        multiaddrs(self.peer_id(), sockets, |address, port| {
            address.with(Protocol::Tcp(port))
        })
    }

    fn quic_multiaddrs(&self) -> Vec<Multiaddr> {
        let port = |key: &str| self.get_decodable::<u16>(key)?.ok();
        let ips = [self.ip4().map(IpAddr::V4), self.ip6().map(IpAddr::V6)];
        let mut sockets = [None, None];
        for ((socket, ip), key) in sockets.iter_mut().zip(ips).zip(QUIC_ENR_KEYS) {
            *socket = ip.zip(port(key)).map(|(ip, port)| SocketAddr::new(ip, port));
        }
        multiaddrs(self.peer_id(), sockets, |address, port| {
            address.with(Protocol::Udp(port)).with(Protocol::QuicV1)
        })
    }

    fn udp_multiaddrs(&self) -> Vec<Multiaddr> {
        let sockets = [
            self.udp4_socket().map(SocketAddr::V4),
            self.udp6_socket().map(SocketAddr::V6),
        ];
        multiaddrs(self.peer_id(), sockets, |address, port| {
            address.with(Protocol::Udp(port))
        })
    }
}

fn multiaddrs(
    peer: Option<PeerId>,
    sockets: [Option<SocketAddr>; 2],
    transport: impl Fn(Multiaddr, u16) -> Multiaddr,
) -> Vec<Multiaddr> {
    let Some(peer) = peer else { return Vec::new() };
    sockets
        .into_iter()
        .flatten()
        .filter(|socket| socket.port() != 0)
        .map(|socket| transport(Multiaddr::from(socket.ip()), socket.port()).with(Protocol::P2p(peer)))
        .collect()
}
