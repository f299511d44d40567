//! Listening, and which addresses to tell others.

use super::behaviour::Behaviour;
use crate::{
    NetworkConfig, NetworkError,
    enr::{Enr, Reach},
};
use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, core::transport::ListenerId, multiaddr::Protocol, swarm::SwarmEvent};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket},
    time::Duration,
};

/// Time for the system to say where a listener listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens on every address asked for, over TCP and QUIC. The addresses it listens on, ports known.
///
/// Errors: a port in use, or an address that is not this machine's.
pub(super) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    config: &NetworkConfig,
) -> Result<Vec<Multiaddr>, NetworkError> {
    let mut asked: Vec<(SocketAddr, Multiaddr)> = Vec::new();
    for ip in &config.listen_addresses {
        // libp2p listens with SO_REUSEPORT, which lets two processes of one user share a port in silence.
        let tcp = SocketAddr::new(*ip, config.port);
        probe(tcp, "port", TcpListener::bind(tcp))?;
        asked.push((tcp, Multiaddr::from(*ip).with(Protocol::Tcp(tcp.port()))));
        if !config.disable_quic {
            let quic = SocketAddr::new(*ip, config.quic_udp_port());
            probe(quic, "quic-port", UdpSocket::bind(quic))?;
            let address = Multiaddr::from(*ip)
                .with(Protocol::Udp(quic.port()))
                .with(Protocol::QuicV1);
            asked.push((quic, address));
        }
    }
    let mut waiting: HashMap<ListenerId, SocketAddr> = HashMap::new();
    for (address, multiaddr) in asked {
        let listener = swarm.listen_on(multiaddr).map_err(|e| NetworkError::Listen {
            address,
            why: e.to_string(),
        })?;
        waiting.insert(listener, address);
    }
    let mut addresses = Vec::new();
    let deadline = tokio::time::Instant::now() + LISTEN_TIMEOUT;
    while let Some(address) = waiting.values().next().copied() {
        let event = tokio::time::timeout_at(deadline, swarm.select_next_some())
            .await
            .map_err(|_| NetworkError::Listen {
                address,
                why: "no answer from the system".to_owned(),
            })?;
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                waiting.remove(&listener_id);
                addresses.push(address);
            }
            SwarmEvent::ListenerClosed {
                listener_id, reason, ..
            } => {
                let address = waiting.get(&listener_id).copied().unwrap_or(address);
                let why = reason
                    .err()
                    .map_or_else(|| "closed".to_owned(), |e| e.to_string());
                return Err(NetworkError::Listen { address, why });
            }
            _ => {}
        }
    }
    Ok(addresses)
}

/// What became of binding a socket, as an error that names the flag.
pub(crate) fn probe<S>(
    address: SocketAddr,
    flag: &'static str,
    bound: io::Result<S>,
) -> Result<S, NetworkError> {
    bound.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => NetworkError::PortInUse { address, flag },
        _ => NetworkError::Listen {
            address,
            why: e.to_string(),
        },
    })
}

/// Sockets that others see this node at, found out by discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Learned {
    pub(super) v4: Option<SocketAddrV4>,
    pub(super) v6: Option<SocketAddrV6>,
}

/// What is told of where this node is.
#[derive(Debug, Clone)]
pub(super) struct Reachability {
    config: NetworkConfig,
    tcp: Vec<SocketAddr>,
    quic: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
}

impl Reachability {
    /// From the addresses of libp2p's listeners and discovery's sockets.
    pub(super) fn new(config: &NetworkConfig, listening: &[Multiaddr], udp: Vec<SocketAddr>) -> Self {
        let sockets = |of: fn(&Multiaddr) -> Option<SocketAddr>| listening.iter().filter_map(of).collect();
        Self {
            config: config.clone(),
            tcp: sockets(tcp_socket),
            quic: sockets(quic_socket),
            udp,
        }
    }

    /// Whether the record follows what others see: not where the operator has said what to tell.
    pub(super) fn may_learn(&self) -> bool {
        self.config.enr_addresses.is_empty() && self.config.enr_udp_port.is_none()
    }

    /// What the last run had learned, where nothing else is known: most addresses outlive a restart.
    pub(super) fn remembered(&self, kept: Option<&Enr>) -> Learned {
        let listened = |is_v4: bool| {
            let here = |ip: &&IpAddr| ip.is_ipv4() == is_v4;
            let mut ips = self.config.listen_addresses.iter().filter(here).peekable();
            ips.peek().is_some() && ips.all(IpAddr::is_unspecified)
        };
        let Some(kept) = kept else {
            return Learned::default();
        };
        Learned {
            v4: kept.udp4_socket().filter(|_| listened(true)),
            v6: kept.udp6_socket().filter(|_| listened(false)),
        }
    }

    /// For the record: the operator's address, else what was learned, else the one listened on where that is a single
    /// one; with the operator's ports, else those really listened on.
    pub(super) fn told(&self, learned: &Learned) -> (Option<Reach<Ipv4Addr>>, Option<Reach<Ipv6Addr>>) {
        let v4 = match self.family(true, learned.v4.map(SocketAddr::V4)) {
            Some((IpAddr::V4(ip), ports)) => Some(reach(ip, ports)),
            _ => None,
        };
        let v6 = match self.family(false, learned.v6.map(SocketAddr::V6)) {
            Some((IpAddr::V6(ip), ports)) => Some(reach(ip, ports)),
            _ => None,
        };
        (v4, v6)
    }

    fn family(&self, is_v4: bool, learned: Option<SocketAddr>) -> Option<(IpAddr, [Option<u16>; 3])> {
        let config = &self.config;
        let port = |told: Option<u16>, bound: &[SocketAddr]| {
            told.or_else(|| {
                bound
                    .iter()
                    .find(|socket| socket.is_ipv4() == is_v4)
                    .or(bound.first())
                    .map(SocketAddr::port)
            })
        };
        let given = config.enr_addresses.iter().find(|ip| ip.is_ipv4() == is_v4);
        let learned = learned.filter(|_| given.is_none());
        let listened = config
            .listen_addresses
            .iter()
            .find(|ip| ip.is_ipv4() == is_v4 && !ip.is_unspecified());
        let ip = given.copied().or(learned.map(|s| s.ip())).or(listened.copied())?;
        let udp = match learned {
            // Discovery goes on voting until its record says what it found.
            Some(socket) => Some(socket.port()),
            None => port(config.enr_udp_port, &self.udp).filter(|_| !self.udp.is_empty()),
        };
        Some((
            ip,
            [
                port(config.enr_tcp_port, &self.tcp),
                udp,
                port(config.enr_quic_port, &self.quic).filter(|_| !self.quic.is_empty()),
            ],
        ))
    }
}

fn reach<Ip>(ip: Ip, [tcp, udp, quic]: [Option<u16>; 3]) -> Reach<Ip> {
    Reach { ip, tcp, udp, quic }
}

fn tcp_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = ip(parts.next()?)?;
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

fn quic_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = ip(parts.next()?)?;
    match (parts.next()?, parts.next()?) {
        (Protocol::Udp(port), Protocol::QuicV1) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

fn ip(part: Protocol<'_>) -> Option<IpAddr> {
    match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// Addresses others could use: none of "any address".
pub(super) fn is_specific(address: &Multiaddr) -> bool {
    !address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip == Ipv4Addr::UNSPECIFIED,
        Protocol::Ip6(ip) => ip == Ipv6Addr::UNSPECIFIED,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Told = (Option<Reach<Ipv4Addr>>, Option<Reach<Ipv6Addr>>);

    fn v4(ip: &str, ports: [u16; 3]) -> Option<Reach<Ipv4Addr>> {
        Some(reach(ip.parse().unwrap(), ports.map(Some)))
    }

    fn v6(ip: &str, ports: [u16; 3]) -> Option<Reach<Ipv6Addr>> {
        Some(reach(ip.parse().unwrap(), ports.map(Some)))
    }

    #[test]
    fn the_record_has_the_ports_really_listened_on() {
        let base = NetworkConfig {
            listen_addresses: vec!["127.0.0.1".parse().unwrap(), "::".parse().unwrap()],
            ..NetworkConfig::new("unused")
        };
        let listening: Vec<Multiaddr> = [
            "/ip4/127.0.0.1/tcp/4001",
            "/ip6/::1/tcp/4002",
            "/ip4/127.0.0.1/udp/4003/quic-v1",
            "/ip6/::1/udp/4004/quic-v1",
        ]
        .iter()
        .map(|a| a.parse().unwrap())
        .collect();
        let udp: Vec<SocketAddr> = vec!["127.0.0.1:4005".parse().unwrap(), "[::]:4006".parse().unwrap()];
        let learned = Learned {
            v4: Some("9.9.9.9:5000".parse().unwrap()),
            v6: Some("[2a00::1]:5001".parse().unwrap()),
        };
        let told = |config: &NetworkConfig, learned: &Learned| -> Told {
            Reachability::new(config, &listening, udp.clone()).told(learned)
        };
        let nothing = Learned::default();
        assert_eq!(told(&base, &nothing), (v4("127.0.0.1", [4001, 4005, 4003]), None));
        assert_eq!(
            told(&base, &learned),
            (
                v4("9.9.9.9", [4001, 5000, 4003]),
                v6("2a00::1", [4002, 5001, 4004])
            )
        );

        let given = NetworkConfig {
            enr_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ..base.clone()
        };
        let expected = (
            v4("192.0.2.1", [4001, 4005, 4003]),
            v6("2001:db8::1", [4002, 4006, 4004]),
        );
        assert_eq!(told(&given, &nothing), expected);
        assert_eq!(told(&given, &learned), expected, "the operator's stays");

        let mapped = NetworkConfig {
            enr_tcp_port: Some(9000),
            enr_udp_port: Some(9001),
            enr_quic_port: Some(9002),
            ..given
        };
        let ports = [9000, 9001, 9002];
        assert_eq!(
            told(&mapped, &nothing),
            (v4("192.0.2.1", ports), v6("2001:db8::1", ports))
        );

        let bare = Reachability::new(&mapped, &listening[..2], Vec::new()).told(&nothing);
        let tcp_alone = reach("192.0.2.1".parse().unwrap(), [Some(9000), None, None]);
        assert_eq!(bare.0, Some(tcp_alone), "what does not run is not told");
    }
}
