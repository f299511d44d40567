//! Listening, and which addresses to tell others.

use super::behaviour::Behaviour;
use crate::{NetworkConfig, NetworkError};
use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, core::transport::ListenerId, multiaddr::Protocol, swarm::SwarmEvent};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener},
    time::Duration,
};

/// Time for the system to say where a listener listens.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Listens on every address asked for. The addresses it listens on, ports known.
///
/// Errors: a port in use, or an address that is not this machine's.
pub(super) async fn listen(
    swarm: &mut Swarm<Behaviour>,
    config: &NetworkConfig,
) -> Result<Vec<Multiaddr>, NetworkError> {
    // libp2p listens with SO_REUSEPORT, which lets two processes of one user share a port in silence.
    for address in &config.listen_addresses {
        probe(SocketAddr::new(*address, config.port))?;
    }
    let mut waiting: HashMap<ListenerId, SocketAddr> = HashMap::new();
    for ip in &config.listen_addresses {
        let address = SocketAddr::new(*ip, config.port);
        let listener = swarm
            .listen_on(Multiaddr::from(*ip).with(Protocol::Tcp(config.port)))
            .map_err(|e| NetworkError::Listen {
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

fn probe(address: SocketAddr) -> Result<(), NetworkError> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(NetworkError::PortInUse { address }),
        Err(e) => Err(NetworkError::Listen {
            address,
            why: e.to_string(),
        }),
    }
}

/// The IPv4 and IPv6 socket to put in the record: the operator's address, else the one listened on where that is a
/// single one; with the operator's port, else the one really listened on.
pub(super) fn record_sockets(
    config: &NetworkConfig,
    listening: &[Multiaddr],
) -> (Option<SocketAddrV4>, Option<SocketAddrV6>) {
    let bound: Vec<SocketAddr> = listening.iter().filter_map(socket).collect();
    let chosen = |is_v4: bool| {
        let port = config.enr_tcp_port.or_else(|| {
            bound
                .iter()
                .find(|socket| socket.is_ipv4() == is_v4)
                .or(bound.first())
                .map(SocketAddr::port)
        })?;
        let given = config.enr_addresses.iter().find(|ip| ip.is_ipv4() == is_v4);
        let listened = config
            .listen_addresses
            .iter()
            .find(|ip| ip.is_ipv4() == is_v4 && !ip.is_unspecified());
        Some((*given.or(listened)?, port))
    };
    let v4 = match chosen(true) {
        Some((IpAddr::V4(ip), port)) => Some(SocketAddrV4::new(ip, port)),
        _ => None,
    };
    let v6 = match chosen(false) {
        Some((IpAddr::V6(ip), port)) => Some(SocketAddrV6::new(ip, port, 0, 0)),
        _ => None,
    };
    (v4, v6)
}

fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
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

    #[test]
    fn the_record_has_the_port_really_listened_on() {
        let base = NetworkConfig {
            listen_addresses: vec!["127.0.0.1".parse().unwrap(), "::".parse().unwrap()],
            ..NetworkConfig::new("unused")
        };
        let listening: Vec<Multiaddr> = ["/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/4002"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect();
        let v4 = |text: &str| Some(text.parse::<SocketAddrV4>().unwrap());
        let v6 = |text: &str| Some(text.parse::<SocketAddrV6>().unwrap());
        assert_eq!(record_sockets(&base, &listening), (v4("127.0.0.1:4001"), None));

        let told = NetworkConfig {
            enr_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ..base.clone()
        };
        assert_eq!(
            record_sockets(&told, &listening),
            (v4("192.0.2.1:4001"), v6("[2001:db8::1]:4002"))
        );
        let mapped = NetworkConfig {
            enr_tcp_port: Some(9000),
            ..told
        };
        assert_eq!(
            record_sockets(&mapped, &listening),
            (v4("192.0.2.1:9000"), v6("[2001:db8::1]:9000"))
        );
    }
}
