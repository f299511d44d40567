//! Who is not talked to for a while: peers by id, and addresses at which many of them were. Every ban ends.

use super::limits::Site;
use crate::bounded;
use libp2p::PeerId;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long a ban lasts.
pub(crate) const BAN_TIME: Duration = Duration::from_secs(3600);
/// How long a peer of another network is let be: its record may be of ours again by then.
pub(crate) const PART_TIME: Duration = Duration::from_secs(1800);
/// Banned peers of one address that get the address banned.
pub(crate) const BANS_PER_ADDRESS: u32 = 3;
/// Most peers, and most addresses, remembered; then the ban that ends first is lifted.
pub(crate) const MAX_BANS: usize = 1000;

#[derive(Debug, Clone, Copy)]
struct Strikes {
    count: u32,
    until: Instant,
}

/// All bans.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    peers: HashMap<PeerId, Instant>,
    strikes: HashMap<Site, Strikes>,
    sites: HashMap<Site, Instant>,
}

impl Bans {
    /// Bans a peer that misbehaved at `sites`, each named once. Those of them that are banned with it.
    pub(crate) fn ban(&mut self, peer: PeerId, sites: &[Site], now: Instant) -> Vec<Site> {
        let until = now + BAN_TIME;
        let again = self.is_banned(&peer, now);
        bounded::insert(&mut self.peers, MAX_BANS, peer, until, |until| *until);
        let sites = sites.iter().copied();
        sites.filter(|site| self.strike(*site, again, now)).collect()
    }

    /// A peer of this place was banned, `again` where it was before. Whether the place is.
    fn strike(&mut self, site: Site, again: bool, now: Instant) -> bool {
        let until = now + BAN_TIME;
        if self.is_site_banned(site, now) {
            return true;
        }
        // The same identity twice is one.
        let before = self
            .strikes
            .get(&site)
            .filter(|s| s.until > now)
            .map_or(0, |s| s.count);
        let count = if again { before } else { before + 1 };
        if count < BANS_PER_ADDRESS {
            bounded::insert(&mut self.strikes, MAX_BANS, site, Strikes { count, until }, |s| {
                s.until
            });
            return false;
        }
        self.strikes.remove(&site);
        bounded::insert(&mut self.sites, MAX_BANS, site, until, |until| *until);
        true
    }

    /// Lets a peer be until `until`, without blame for its address.
    pub(crate) fn part(&mut self, peer: PeerId, until: Instant) {
        let until = self.peers.get(&peer).map_or(until, |banned| until.max(*banned));
        bounded::insert(&mut self.peers, MAX_BANS, peer, until, |until| *until);
    }

    /// As read from disk: an address is banned until `until`.
    pub(crate) fn restore_site(&mut self, site: Site, until: Instant) {
        bounded::insert(&mut self.sites, MAX_BANS, site, until, |until| *until);
    }

    pub(crate) fn is_banned(&self, peer: &PeerId, now: Instant) -> bool {
        self.peers.get(peer).is_some_and(|until| *until > now)
    }

    pub(crate) fn is_site_banned(&self, site: Site, now: Instant) -> bool {
        self.sites.get(&site).is_some_and(|until| *until > now)
    }

    /// Forgets what has ended; the peers whose ban did.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<PeerId> {
        self.strikes.retain(|_, strikes| strikes.until > now);
        self.sites.retain(|_, until| *until > now);
        let ended = self.peers.iter().filter(|(_, until)| **until <= now);
        let ended: Vec<PeerId> = ended.map(|(peer, _)| *peer).collect();
        for peer in &ended {
            self.peers.remove(peer);
        }
        ended
    }

    /// Peers and until when.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (PeerId, Instant)> + '_ {
        self.peers.iter().map(|(peer, until)| (*peer, *until))
    }

    /// Addresses and until when.
    pub(crate) fn sites(&self) -> impl Iterator<Item = (Site, Instant)> + '_ {
        self.sites.iter().map(|(site, until)| (*site, *until))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn site() -> Site {
        Site::of("8.8.8.8".parse().unwrap()).unwrap()
    }

    #[test]
    fn bans_end() {
        let (mut bans, now, peer) = (Bans::default(), Instant::now(), PeerId::random());
        assert!(bans.ban(peer, &[site()], now).is_empty());
        let end = now + BAN_TIME;
        assert!(bans.is_banned(&peer, end - Duration::from_millis(1)));
        assert!(!bans.is_banned(&peer, end));
        assert_eq!(bans.expire(end - Duration::from_millis(1)), []);
        assert_eq!(bans.expire(end), [peer]);
        assert!(bans.strikes.is_empty());
    }

    #[test]
    fn many_identities_of_one_address_get_it_banned_and_one_identity_does_not() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        let first = PeerId::random();
        for _ in 0..10 {
            let banned = bans.ban(first, &[site()], now);
            assert!(banned.is_empty(), "one identity again and again");
        }
        let elsewhere = Site::of("9.9.9.9".parse().unwrap()).unwrap();
        assert!(bans.ban(PeerId::random(), &[elsewhere, site()], now).is_empty());
        assert_eq!(
            bans.ban(PeerId::random(), &[site(), elsewhere], now),
            [site()],
            "each place has its own count"
        );
        let banned = site();
        assert!(bans.is_site_banned(banned, now));
        assert!(!bans.is_site_banned(banned, now + BAN_TIME));
        for _ in 0..10 {
            assert!(
                bans.ban(PeerId::random(), &[], now).is_empty(),
                "exempt addresses are never banned"
            );
        }
        bans.expire(now + BAN_TIME);
        assert!(
            bans.ban(PeerId::random(), &[site()], now + BAN_TIME).is_empty(),
            "strikes end too"
        );
    }

    #[test]
    fn the_table_is_bounded_and_lifts_what_ends_first() {
        let (mut bans, now) = (Bans::default(), Instant::now());
        let peers: Vec<PeerId> = (0..=MAX_BANS as u64).map(|_| PeerId::random()).collect();
        for (i, peer) in (0u32..).zip(&peers) {
            bans.ban(*peer, &[], now + Duration::from_millis(1) * i);
        }
        assert_eq!(bans.peers.len(), MAX_BANS);
        assert!(!bans.is_banned(&peers[0], now));
        assert!(bans.is_banned(&peers[1], now) && bans.is_banned(peers.last().unwrap(), now));
    }
}
