//! A peer as an operator writes it: a multiaddr with its id, or an ENR.

use crate::enr::{Enr, EnrExt};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use std::str::FromStr;

/// A peer to connect to: who it must prove to be, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerAddress {
    /// The libp2p id that noise checks.
    pub peer_id: PeerId,
    /// Where it listens, without the `/p2p` part; never empty.
    pub addresses: Vec<Multiaddr>,
    /// The record it was read from, if it was one.
    pub enr: Option<Enr>,
}

/// Why a `--peer` was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerAddressError {
    /// Text that is neither.
    #[error(
        "{text:?} is neither a multiaddr (/ip4/…/tcp/…/p2p/…, /ip4/…/udp/…/quic-v1/p2p/…) nor a node record (enr:…): {why}"
    )]
    Unreadable {
        /// What was given.
        text: String,
        /// What the parser said.
        why: String,
    },
    /// A multiaddr without `/p2p/<id>` at its end.
    #[error("{0} does not say who is there; add /p2p/<peer id>")]
    NoPeerId(String),
    /// No transport that this node speaks.
    #[error("{0} has no TCP or QUIC address to connect to")]
    NoAddress(String),
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        let text = text.trim();
        if text.starts_with('/') {
            from_multiaddr(text)
        } else {
            from_enr(text)
        }
    }
}

fn unreadable(text: &str, why: impl ToString) -> PeerAddressError {
    PeerAddressError::Unreadable {
        text: text.to_owned(),
        why: why.to_string(),
    }
}

fn from_multiaddr(text: &str) -> Result<PeerAddress, PeerAddressError> {
    let mut address = text.parse::<Multiaddr>().map_err(|e| unreadable(text, e))?;
    let Some(Protocol::P2p(peer_id)) = address.pop() else {
        return Err(PeerAddressError::NoPeerId(text.to_owned()));
    };
    let mut parts = address.iter();
    let host = matches!(
        parts.next(),
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_))
    );
    let transport = match parts.next() {
        Some(Protocol::Tcp(port)) => port != 0,
        Some(Protocol::Udp(port)) => port != 0 && parts.next() == Some(Protocol::QuicV1),
        _ => false,
    };
    if !host || !transport || parts.next().is_some() {
        return Err(PeerAddressError::NoAddress(text.to_owned()));
    }
    Ok(PeerAddress {
        peer_id,
        addresses: vec![address],
        enr: None,
    })
}

fn from_enr(text: &str) -> Result<PeerAddress, PeerAddressError> {
    let enr = text.parse::<Enr>().map_err(|e| unreadable(text, e))?;
    let peer_id = enr
        .peer_id()
        .ok_or_else(|| unreadable(text, "its key is not secp256k1"))?;
    let addresses = enr.dial_multiaddrs();
    if addresses.is_empty() {
        return Err(PeerAddressError::NoAddress(text.to_owned()));
    }
    Ok(PeerAddress {
        peer_id,
        addresses,
        enr: Some(enr),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::{
        NodeKey,
        enr::{EnrContent, EnrForkId, LocalEnr, Reach},
    };
    use assay_types::{Epoch, ForkDigest, ForkVersion};

    fn enr(key: &NodeKey, tcp4: Option<&str>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let content = EnrContent {
            fork_id: EnrForkId {
                fork_digest: ForkDigest::default(),
                next_fork_version: ForkVersion::ZERO,
                next_fork_epoch: Epoch::FAR_FUTURE,
            },
            fulu: None,
            eproof: 1,
            v4: tcp4.map(|socket| {
                let socket: std::net::SocketAddrV4 = socket.parse().unwrap();
                Reach {
                    ip: *socket.ip(),
                    tcp: Some(socket.port()),
                    udp: None,
                    quic: None,
                }
            }),
            v6: None,
        };
        LocalEnr::open(dir.path(), key, content)
            .unwrap()
            .enr()
            .to_base64()
    }

    #[test]
    fn multiaddr_and_enr_of_one_peer_say_the_same() {
        let key = NodeKey::generate();
        let id = key.peer_id();
        let by_address: PeerAddress = format!("/ip4/127.0.0.1/tcp/9000/p2p/{id}").parse().unwrap();
        let by_record: PeerAddress = enr(&key, Some("127.0.0.1:9000")).parse().unwrap();
        assert_eq!(by_address.peer_id, id);
        assert_eq!(
            (by_record.peer_id, &by_record.addresses),
            (id, &by_address.addresses)
        );
        assert!(by_record.enr.is_some());
        let named: PeerAddress = format!(" /dns4/node.example/tcp/9000/p2p/{id}\n")
            .parse()
            .unwrap();
        assert_eq!(named.addresses, ["/dns4/node.example/tcp/9000".parse().unwrap()]);
        let quic = "/ip4/127.0.0.1/udp/9000/quic-v1";
        let by_quic: PeerAddress = format!("{quic}/p2p/{id}").parse().unwrap();
        assert_eq!(by_quic.addresses, [quic.parse().unwrap()]);
    }

    #[test]
    fn what_cannot_be_dialled_is_refused_with_the_reason() {
        let key = NodeKey::generate();
        let id = key.peer_id();
        let record = enr(&key, Some("127.0.0.1:9000"));
        for (text, expected) in [
            ("".to_owned(), "neither a multiaddr"),
            ("127.0.0.1:9000".to_owned(), "neither a multiaddr"),
            ("/ip4/127.0.0.1/tcp/9000".to_owned(), "add /p2p/"),
            ("/ip4/300.0.0.1/tcp/9000".to_owned(), "neither a multiaddr"),
            (
                format!("/ip4/127.0.0.1/udp/9000/p2p/{id}"),
                "no TCP or QUIC address",
            ),
            (format!("/ip4/127.0.0.1/tcp/0/p2p/{id}"), "no TCP or QUIC address"),
            (format!("/p2p/{id}"), "no TCP or QUIC address"),
            (
                format!("/ip4/127.0.0.1/tcp/9000/ws/p2p/{id}"),
                "no TCP or QUIC address",
            ),
            (enr(&key, None), "no TCP or QUIC address"),
            (record[..record.len() - 4].to_owned(), "neither a multiaddr"),
        ] {
            match text.parse::<PeerAddress>() {
                Ok(address) => panic!("{text} became {address:?}"),
                Err(e) => assert!(e.to_string().contains(expected), "{e}"),
            }
        }
    }
}
