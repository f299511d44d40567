//! The network's settings.

use crate::{GossipParameters, NetworkError, PeerAddress, enr::Enr, rpc::RpcConfig};
use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

/// Default of `--port`, TCP; discovery's UDP port is the same, QUIC's the next.
pub const DEFAULT_PORT: u16 = 9100;
/// Default of `--target-peers`.
pub const DEFAULT_TARGET_PEERS: u32 = 100;

/// What the network is started with.
#[derive(Debug, Clone)]
pub struct NetworkConfig {
    /// Where node key, record and peers are kept; made where it is absent.
    pub directory: PathBuf,
    /// `--listen-address`: at least one; discovery takes the first of each family.
    pub listen_addresses: Vec<IpAddr>,
    /// `--port`, TCP; 0 lets the system choose.
    pub port: u16,
    /// `--discovery-port`, UDP; `None`: the number of `port`.
    pub discovery_port: Option<u16>,
    /// `--quic-port`, UDP; `None`: the number after `port`, or any where that is 0.
    pub quic_port: Option<u16>,
    /// `--disable-quic`: TCP alone.
    pub disable_quic: bool,
    /// `--enable-mplex`: beside yamux, for peers that know nothing newer.
    pub enable_mplex: bool,
    /// `--disable-discovery`: no discv5; peers are those given, and those that come.
    pub disable_discovery: bool,
    /// `--boot-nodes`: where discovery begins.
    pub boot_nodes: Vec<Enr>,
    /// `--enr-address`: what others can reach this node by, at most one IPv4 and one IPv6. Never overridden by what
    /// peers say.
    pub enr_addresses: Vec<IpAddr>,
    /// The TCP port others can reach, where it is not the one listened on.
    pub enr_tcp_port: Option<u16>,
    /// Discovery's port that others can reach, where it is not the one listened on.
    pub enr_udp_port: Option<u16>,
    /// QUIC's port that others can reach, where it is not the one listened on.
    pub enr_quic_port: Option<u16>,
    /// `--peer`: to stay connected to.
    pub peers: Vec<PeerAddress>,
    /// The record's `eproof`: non-zero says proof-aware.
    pub eproof: u8,
    /// `--target-peers`: looked for up to this; a tenth more may connect, those of `peers` on top.
    pub target_peers: u32,
    /// Noise with ChaCha20-Poly1305 alone, as every peer speaks it, where nodes like this one would agree on AES-GCM;
    /// measurements and tests turn it, operators need not.
    pub standard_noise_alone: bool,
    /// Gossip on the proofs' topics; measurements turn it, operators need not.
    pub gossip: GossipParameters,
    /// How requests are served and asked.
    pub rpc: RpcConfig,
}

impl NetworkConfig {
    /// Defaults, with the directory for key, record and peers.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            listen_addresses: vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
            port: DEFAULT_PORT,
            discovery_port: None,
            quic_port: None,
            disable_quic: false,
            enable_mplex: false,
            disable_discovery: false,
            boot_nodes: Vec::new(),
            enr_addresses: Vec::new(),
            enr_tcp_port: None,
            enr_udp_port: None,
            enr_quic_port: None,
            peers: Vec::new(),
            eproof: 1,
            target_peers: DEFAULT_TARGET_PEERS,
            standard_noise_alone: false,
            gossip: GossipParameters::default(),
            rpc: RpcConfig::default(),
        }
    }

    /// Discovery's port, as asked for.
    pub(crate) fn udp_port(&self) -> u16 {
        self.discovery_port.unwrap_or(self.port)
    }

    /// QUIC's port, as asked for.
    pub(crate) fn quic_udp_port(&self) -> u16 {
        let after = if self.port == 0 {
            0
        } else {
            self.port.saturating_add(1)
        };
        self.quic_port.unwrap_or(after)
    }

    /// Settings that contradict themselves, told before anything listens: two things on one port, two addresses of
    /// one family for the record, addresses nobody can be reached at.
    pub fn check(&self) -> Result<(), NetworkError> {
        let wrong = |why: String| Err(NetworkError::Settings(why));
        if self.listen_addresses.is_empty() {
            return wrong("no address to listen on".to_owned());
        }
        let (udp, quic) = (self.udp_port(), self.quic_udp_port());
        if !self.disable_discovery && !self.disable_quic && udp == quic && udp != 0 {
            return wrong(format!(
                "discovery and QUIC cannot share UDP port {udp}; choose another --quic-port or --discovery-port"
            ));
        }
        for is_v4 in [true, false] {
            if self
                .enr_addresses
                .iter()
                .filter(|ip| ip.is_ipv4() == is_v4)
                .count()
                > 1
            {
                return wrong("--enr-address: at most one IPv4 and one IPv6 address".to_owned());
            }
        }
        if let Some(ip) = self.enr_addresses.iter().find(|ip| !crate::peers::is_host(**ip)) {
            return wrong(format!("--enr-address: nobody can be reached at {ip}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_tcp_port_and_clashes_are_told() {
        let base = NetworkConfig::new("unused");
        let table: [(NetworkConfig, u16, u16, bool); 6] = [
            (base.clone(), 9100, 9101, true),
            (
                NetworkConfig {
                    port: 0,
                    ..base.clone()
                },
                0,
                0,
                true,
            ),
            (
                NetworkConfig {
                    discovery_port: Some(9101),
                    ..base.clone()
                },
                9101,
                9101,
                false,
            ),
            (
                NetworkConfig {
                    discovery_port: Some(9101),
                    disable_quic: true,
                    ..base.clone()
                },
                9101,
                9101,
                true,
            ),
            (
                NetworkConfig {
                    quic_port: Some(9100),
                    disable_discovery: true,
                    ..base.clone()
                },
                9100,
                9100,
                true,
            ),
            (
                NetworkConfig {
                    port: u16::MAX,
                    ..base.clone()
                },
                u16::MAX,
                u16::MAX,
                false,
            ),
        ];
        for (config, udp, quic, holds) in table {
            assert_eq!((config.udp_port(), config.quic_udp_port()), (udp, quic));
            assert_eq!(config.check().is_ok(), holds, "{config:?}");
        }
    }

    #[test]
    fn addresses_for_the_record_are_hosts_and_one_a_family() {
        for (addresses, holds) in [
            (&["9.9.9.9", "2a00::1"][..], true),
            (&["9.9.9.9", "9.9.9.8"], false),
            (&["0.0.0.0"], false),
            (&["ff02::1"], false),
        ] {
            let config = NetworkConfig {
                enr_addresses: addresses.iter().filter_map(|a| a.parse().ok()).collect(),
                ..NetworkConfig::new("unused")
            };
            assert_eq!(config.check().is_ok(), holds, "{addresses:?}");
        }
    }
}
