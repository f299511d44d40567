//! Discovery's sockets, bound before the record is signed, so that it names the ports really used.

use crate::{NetworkConfig, NetworkError, host::probe};
use discv5::ListenConfig;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{SocketAddr, UdpSocket as StdSocket},
    sync::Arc,
};
use tokio::net::UdpSocket;

/// One socket a family at most.
pub(crate) struct Sockets {
    v4: Option<Arc<UdpSocket>>,
    v6: Option<Arc<UdpSocket>>,
}

impl Sockets {
    /// Binds the first listen address of each family.
    ///
    /// Errors: a port in use, or an address that is not this machine's.
    pub(crate) fn bind(config: &NetworkConfig) -> Result<Self, NetworkError> {
        let bind = |is_v4: bool| {
            let ip = config.listen_addresses.iter().find(|ip| ip.is_ipv4() == is_v4);
            ip.map(|ip| {
                let address = SocketAddr::new(*ip, config.udp_port());
                probe(address, "discovery-port", socket(address)).map(Arc::new)
            })
            .transpose()
        };
        Ok(Self {
            v4: bind(true)?,
            v6: bind(false)?,
        })
    }

    /// Where they are bound.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        [&self.v4, &self.v6]
            .into_iter()
            .flatten()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }

    pub(super) fn into_config(self) -> ListenConfig {
        ListenConfig::FromSockets {
            ipv4: self.v4,
            ipv6: self.v6,
        }
    }
}

fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // Or it would take the IPv4 port too.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(StdSocket::from(socket))
}
