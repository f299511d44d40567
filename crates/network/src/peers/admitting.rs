//! Who is let in.

use super::{
    Denied, Peers,
    limits::{self, Site},
    peer::{Link, Peer},
    score::DISCONNECT_BELOW,
};
use crate::peers::Direction;
use libp2p::PeerId;
use std::{net::IpAddr, time::Instant};

impl Peers {
    /// Before anything is said on an incoming connection: whether its address may come at all.
    pub(crate) fn admits_address(&self, ip: IpAddr, now: Instant) -> Result<(), Denied> {
        match Site::of(ip) {
            // Peers given by --peer behind a banned address come by our own dials.
            Some(site) if self.bans.is_site_banned(site, now) => Err(Denied("address_banned")),
            _ => Ok(()),
        }
    }

    /// Whether a connection with a peer, now known by its key, may stay.
    pub(crate) fn admits(
        &self,
        id: &PeerId,
        ip: Option<IpAddr>,
        direction: Direction,
        now: Instant,
    ) -> Result<(), Denied> {
        let known = self.peers.get(id);
        if known.is_some_and(|peer| peer.trusted) {
            return Ok(());
        }
        if self.bans.is_banned(id, now) {
            return Err(Denied("banned"));
        }
        if known.is_some_and(|peer| peer.score.at(now) < DISCONNECT_BELOW) {
            return Err(Denied("low_score"));
        }
        match known.map(|peer| peer.link) {
            // It has its place among the peers; whence it comes once more is another matter.
            Some(Link::Open { .. }) => return self.admits_site(ip, now),
            // Told to go, it is not let in by another door.
            Some(Link::Parting { .. }) => return Err(Denied("parting")),
            _ => {}
        }
        if self.open().count() >= self.limits.most() {
            return Err(Denied("too_many"));
        }
        let inbound = self.open().filter(|peer| peer.came_to_us()).count();
        if direction == Direction::Inbound && inbound >= self.limits.most_inbound() {
            return Err(Denied("too_many_inbound"));
        }
        self.admits_site(ip, now)
    }

    /// The limits of address and subnet.
    pub(super) fn admits_site(&self, ip: Option<IpAddr>, now: Instant) -> Result<(), Denied> {
        let Some(site) = ip.and_then(Site::of) else {
            return Ok(());
        };
        if self.bans.is_site_banned(site, now) {
            return Err(Denied("address_banned"));
        }
        let open = self.open().flat_map(Peer::sites);
        limits::exceeded(site, open).map_or(Ok(()), |limit| Err(Denied(limit)))
    }

    /// Connected peers, those of `--peer` aside.
    pub(super) fn open(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(|peer| peer.is_open() && !peer.trusted)
    }
}
