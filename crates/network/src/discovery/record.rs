//! Which records are worth a dial. A record is signed by its key, and says what its key's holder likes: all of it is
//! checked, and what is wrong costs a look.

use crate::{
    enr::{Enr, EnrExt},
    peers::{Candidate, ip_of, is_exempt, is_host},
};
use assay_types::ForkDigest;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use std::{collections::BTreeSet, net::IpAddr};

/// What a record must be like.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) own: PeerId,
    /// Digests whose topics are joined: the one in force, and around a boundary its neighbour.
    pub(crate) digests: BTreeSet<ForkDigest>,
    /// Families this node can dial: IPv4, IPv6.
    pub(crate) families: [bool; 2],
    pub(crate) quic: bool,
    /// Whether this node is on the internet by its own record. Then addresses of private networks are none of its
    /// neighbours', and whoever puts them into a record wants others to be dialled from here.
    pub(crate) global: bool,
}

impl Rules {
    /// The record as a peer to dial, or the reason it is none (a metric's label).
    pub(crate) fn judge(&self, enr: &Enr) -> Result<Candidate, &'static str> {
        let Some(peer_id) = enr.peer_id() else {
            return Err("foreign_key");
        };
        if peer_id == self.own {
            return Err("own");
        }
        self.is_ours(enr)?;
        let addresses: Vec<Multiaddr> = enr
            .dial_multiaddrs()
            .into_iter()
            .filter(|address| self.is_dialable(address))
            .collect();
        if addresses.is_empty() {
            return Err("no_address");
        }
        Ok(Candidate {
            peer_id,
            addresses,
            enr: Some((enr.to_base64(), enr.seq())),
            eproof: Some(enr.eproof()),
            proven: false,
        })
    }

    /// Whether it is of a fork this node is on.
    pub(crate) fn is_ours(&self, enr: &Enr) -> Result<(), &'static str> {
        match enr.fork_id() {
            None => Err("no_fork"),
            Some(id) if self.digests.contains(&id.fork_digest) => Ok(()),
            Some(_) => Err("foreign_digest"),
        }
    }

    /// Whether an address may be dialled on a stranger's word.
    pub(crate) fn is_dialable(&self, address: &Multiaddr) -> bool {
        let Some(ip) = ip_of(address) else { return false };
        let [v4, v6] = self.families;
        (if ip.is_ipv4() { v4 } else { v6 })
            && is_host(ip)
            && !(self.global && is_exempt(ip))
            && (self.quic || !address.iter().any(|part| part == Protocol::QuicV1))
    }
}

/// Whether a record says that its node is on the internet.
pub(crate) fn is_global(enr: &Enr) -> bool {
    let ips = [enr.ip4().map(IpAddr::V4), enr.ip6().map(IpAddr::V6)];
    ips.into_iter().flatten().any(|ip| !is_exempt(ip))
}

/// Whether one subnet may fill no more than its share of discovery's table. Private networks are one subnet. At a first
/// start our own record mostly has no address yet, and what is decided at the start holds: so the boot nodes' count too.
pub(super) fn limits_subnets(is_own_global: bool, boot_nodes: &[Enr]) -> bool {
    is_own_global || boot_nodes.iter().any(is_global)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{
        NodeKey,
        enr::{EnrContent, EnrForkId, LocalEnr, Reach},
    };
    use assay_types::{Epoch, ForkVersion};
    use enr::CombinedKey;

    fn rules() -> Rules {
        Rules {
            own: PeerId::random(),
            digests: BTreeSet::from([ForkDigest([1; 4]), ForkDigest([2; 4])]),
            families: [true, false],
            quic: true,
            global: false,
        }
    }

    fn record(digest: u8, ip: &str, change: impl Fn(&mut EnrContent)) -> Enr {
        let dir = tempfile::tempdir().unwrap();
        let mut content = EnrContent {
            fork_id: EnrForkId {
                fork_digest: ForkDigest([digest; 4]),
                next_fork_version: ForkVersion::ZERO,
                next_fork_epoch: Epoch::FAR_FUTURE,
            },
            fulu: None,
            eproof: 1,
            v4: Some(Reach {
                ip: ip.parse().unwrap(),
                tcp: Some(9000),
                udp: Some(9000),
                quic: Some(9001),
            }),
            v6: None,
        };
        change(&mut content);
        LocalEnr::open(dir.path(), &NodeKey::generate(), content)
            .unwrap()
            .enr()
            .clone()
    }

    #[test]
    fn records_that_are_wrong_cost_a_look_and_no_dial() {
        let as_it_is = |_: &mut EnrContent| {};
        let global = Rules {
            global: true,
            ..rules()
        };
        let tcp_alone = Rules {
            quic: false,
            ..rules()
        };
        let six = Rules {
            families: [false, true],
            ..rules()
        };
        let good = record(1, "8.8.8.8", as_it_is);
        let own = Rules {
            own: good.peer_id().unwrap(),
            ..rules()
        };
        let ports = |tcp, quic| {
            move |content: &mut EnrContent| content.v4 = content.v4.map(|r| Reach { tcp, quic, ..r })
        };
        for (n, (rules, enr, expected)) in [
            (rules(), good.clone(), Ok(2)),
            (rules(), record(2, "8.8.8.8", as_it_is), Ok(2)),
            (tcp_alone, good.clone(), Ok(1)),
            (rules(), record(3, "8.8.8.8", as_it_is), Err("foreign_digest")),
            (
                rules(),
                record(1, "8.8.8.8", ports(None, None)),
                Err("no_address"),
            ),
            (
                rules(),
                record(1, "8.8.8.8", ports(Some(0), Some(0))),
                Err("no_address"),
            ),
            (rules(), record(1, "0.0.0.0", as_it_is), Err("no_address")),
            (rules(), record(1, "255.255.255.255", as_it_is), Err("no_address")),
            (rules(), record(1, "224.0.0.1", as_it_is), Err("no_address")),
            (rules(), record(1, "127.0.0.1", as_it_is), Ok(2)),
            (
                global.clone(),
                record(1, "127.0.0.1", as_it_is),
                Err("no_address"),
            ),
            (global.clone(), record(1, "10.0.0.1", as_it_is), Err("no_address")),
            (global, good.clone(), Ok(2)),
            (six, good.clone(), Err("no_address")),
            (own, good, Err("own")),
        ]
        .into_iter()
        .enumerate()
        {
            let judged = rules.judge(&enr).map(|candidate| candidate.addresses.len());
            assert_eq!(judged, expected, "row {n}");
        }
    }

    #[test]
    fn a_subnet_has_its_share_alone_where_somebody_known_is_on_the_internet() {
        let record = |ip| record(1, ip, |_: &mut EnrContent| {});
        let (public, private) = (record("8.8.8.8"), record("10.0.0.1"));
        for (own, boot_nodes, expected) in [
            (false, vec![], false),
            (false, vec![private.clone()], false),
            (false, vec![private, public], true),
            (true, vec![], true),
        ] {
            assert_eq!(limits_subnets(own, &boot_nodes), expected, "{own} {boot_nodes:?}");
        }
    }

    #[test]
    fn records_without_our_entries_or_of_other_keys_are_none() {
        let key = CombinedKey::generate_secp256k1();
        let plain = Enr::builder()
            .ip4([8, 8, 8, 8].into())
            .tcp4(1)
            .build(&key)
            .unwrap();
        assert_eq!(rules().judge(&plain), Err("no_fork"));
        let mut short = Enr::builder();
        short
            .add_value("eth2", &[1u8; 4].as_slice())
            .add_value("eproof", &300u64);
        let short = short.build(&key).unwrap();
        assert_eq!(rules().judge(&short), Err("no_fork"));
        assert_eq!(short.eproof(), 0, "no byte");
        let ed = Enr::builder().build(&CombinedKey::generate_ed25519()).unwrap();
        assert_eq!(rules().judge(&ed), Err("foreign_key"));
    }
}
