//! How many connections one address and one subnet may have.
//!
//! Loopback, private and link-local addresses are exempt: development networks run twenty nodes on 127.0.0.1, and
//! behind a container's gateway every peer seems to come from one private address. Those are bounded by the number of
//! peers alone.

use libp2p::{Multiaddr, multiaddr::Protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Connections from one IPv4 address, or from one IPv6 /64 (what one customer has).
pub(crate) const MAX_PER_ADDRESS: usize = 4;
/// Connections from one IPv4 /24 or IPv6 /56.
pub(crate) const MAX_PER_SUBNET: usize = 10;

/// What counts as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Site(IpAddr);

impl Site {
    /// The IPv4 address, or the IPv6 /64; `None` for addresses that are exempt.
    pub(crate) fn of(ip: IpAddr) -> Option<Self> {
        let ip = ip.to_canonical();
        (!is_exempt(ip)).then(|| Self(prefix(ip, 32, 64)))
    }

    /// As it is written down: an address.
    pub(crate) fn ip(self) -> IpAddr {
        self.0
    }

    /// The IPv4 /24 or IPv6 /56 it lies in.
    pub(super) fn subnet(self) -> IpAddr {
        prefix(self.0, 24, 56)
    }
}

/// Which limit another connection from `site` would exceed, beside those from `open`.
pub(crate) fn exceeded(site: Site, open: impl Iterator<Item = Site>) -> Option<&'static str> {
    let (mut same, mut near) = (0, 0);
    for other in open {
        same += usize::from(other == site);
        near += usize::from(other.subnet() == site.subnet());
    }
    if same >= MAX_PER_ADDRESS {
        Some("address_full")
    } else if near >= MAX_PER_SUBNET {
        Some("subnet_full")
    } else {
        None
    }
}

/// The IP address that a multiaddr begins with.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        _ => None,
    }
}

/// Loopback, private, link-local.
pub(crate) fn is_exempt(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// 100.64.0.0/10, a provider's own (RFC 6598).
fn is_shared(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    a == 100 && b & 0xc0 == 64
}

/// Whether a packet could be sent to one host by it.
pub(crate) fn is_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_documentation())
        }
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}

fn prefix(ip: IpAddr, v4_bits: u32, v6_bits: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - v4_bits).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - v6_bits).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn site(text: &str) -> Option<Site> {
        Site::of(text.parse().unwrap())
    }

    #[test]
    fn what_counts_as_one_address_and_what_as_one_subnet() {
        for exempt in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.17.0.1",
            "192.168.1.1",
            "169.254.0.1",
            "100.64.0.1",
            "100.127.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert_eq!(site(exempt), None, "{exempt}");
        }
        for (one, other, same_address, same_subnet) in [
            ("203.0.112.5", "203.0.112.5", true, true),
            ("203.0.112.5", "203.0.112.6", false, true),
            ("203.0.112.5", "203.0.111.5", false, false),
            ("2a00:1:2:3::1", "2a00:1:2:3:ffff::1", true, true),
            ("2a00:1:2:3::1", "2a00:1:2:4::1", false, true),
            ("2a00:1:2:3::1", "2a00:1:2:103::1", false, false),
            ("::ffff:8.8.8.8", "8.8.8.8", true, true),
            ("100.128.0.1", "100.63.0.1", false, false),
        ] {
            let (a, b) = (site(one).unwrap(), site(other).unwrap());
            assert_eq!(
                (a == b, a.subnet() == b.subnet()),
                (same_address, same_subnet),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn limits_are_reached_one_by_one() {
        let here = site("8.8.8.8").unwrap();
        let near = |n: usize| (0..n).map(|i| site(&format!("8.8.8.{}", 100 + i)).unwrap());
        let same = |n: usize| std::iter::repeat_n(here, n);
        for (open_same, open_near, expected) in [
            (0, 0, None),
            (3, 0, None),
            (4, 0, Some("address_full")),
            (0, 9, None),
            (0, 10, Some("subnet_full")),
            (3, 7, Some("subnet_full")),
        ] {
            let open = same(open_same).chain(near(open_near));
            assert_eq!(exceeded(here, open), expected, "{open_same} {open_near}");
        }
    }
}
