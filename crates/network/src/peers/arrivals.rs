//! Connections that come to this node: how many one place may be opening at once, and how often it may come.
//!
//! Every new identity costs a handshake, and gossipsub remembers a bad one for a while after it has left (`gossip::score`),
//! so what bounds both is how often one place may come. Identities are free, IPv4 /24 and IPv6 /56 are not.
//!
//! A state machine: connections and the time in, answers out. Addresses that are exempt from the limits by place
//! (`limits`) have the swarm's total alone.

use super::{Denied, limits::Site};
use libp2p::swarm::ConnectionId;
use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// Connections that one address (IPv6 /64) may be opening at once.
const MAX_PENDING_PER_ADDRESS: usize = 8;
/// The same of one IPv4 /24 or IPv6 /56.
const MAX_PENDING_PER_SUBNET: usize = 16;
/// Times that one subnet may come in a row: all its places, taken three times over.
const BURST: u32 = 3 * super::limits::MAX_PER_SUBNET as u32;
/// After a burst, a subnet may come once in this time. A node that restarts, or whose link flaps, comes back with the
/// first of these.
const COME_EVERY: Duration = Duration::from_secs(6);
/// Subnets remembered; beyond them the one that came least goes.
const MAX_SUBNETS: usize = 4096;

/// How much of its burst a subnet has used: all of it is given back by `full_at`.
#[derive(Debug, Clone, Copy)]
struct Visits {
    full_at: Instant,
}

/// Who is coming, and who came lately.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    pending: HashMap<ConnectionId, Site>,
    visits: HashMap<IpAddr, Visits>,
}

impl Arrivals {
    /// A connection begins to be opened from `ip`.
    pub(crate) fn begin(&mut self, connection: ConnectionId, ip: IpAddr, now: Instant) -> Result<(), Denied> {
        let Some(site) = Site::of(ip) else { return Ok(()) };
        let (mut same, mut near) = (0, 0);
        for other in self.pending.values() {
            same += usize::from(*other == site);
            near += usize::from(other.subnet() == site.subnet());
        }
        if same >= MAX_PENDING_PER_ADDRESS || near >= MAX_PENDING_PER_SUBNET {
            return Err(Denied("too_many_pending"));
        }
        if !self.may_come(site.subnet(), now) {
            return Err(Denied("too_often"));
        }
        self.pending.insert(connection, site);
        Ok(())
    }

    /// A connection stands, or failed.
    pub(crate) fn end(&mut self, connection: ConnectionId) {
        self.pending.remove(&connection);
    }

    fn may_come(&mut self, subnet: IpAddr, now: Instant) -> bool {
        let full_at = self.visits.get(&subnet).map_or(now, |v| v.full_at.max(now));
        let next = full_at + COME_EVERY;
        if next > now + COME_EVERY * BURST {
            return false;
        }
        if self.visits.len() >= MAX_SUBNETS && !self.visits.contains_key(&subnet) {
            self.visits.retain(|_, v| v.full_at > now);
            if self.visits.len() >= MAX_SUBNETS {
                let least = self.visits.iter().min_by_key(|(_, v)| v.full_at);
                if let Some(ip) = least.map(|(ip, _)| *ip) {
                    self.visits.remove(&ip);
                }
            }
        }
        self.visits.insert(subnet, Visits { full_at: next });
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Lets `ips` come one after the other, each connection still being opened; how each was answered.
    fn opening(ips: impl Iterator<Item = String>) -> Vec<Option<&'static str>> {
        let (mut arrivals, now) = (Arrivals::default(), Instant::now());
        ips.enumerate()
            .map(|(n, from)| {
                let connection = ConnectionId::new_unchecked(n);
                arrivals.begin(connection, ip(&from), now).err().map(|d| d.0)
            })
            .collect()
    }

    #[test]
    fn what_is_being_opened_counts_by_address_and_by_subnet() {
        let let_in = |answers: Vec<Option<&str>>| answers.iter().filter(|a| a.is_none()).count();
        for (what, ips, expected) in [
            (
                "one address",
                (0..40).map(|_| "8.8.8.8".to_owned()).collect::<Vec<_>>(),
                8,
            ),
            (
                "one /64",
                (0..40).map(|i| format!("2a00:1:2:3::{i:x}")).collect(),
                8,
            ),
            ("one /24", (0..40).map(|i| format!("8.8.8.{i}")).collect(), 16),
            (
                "one /56",
                (0..40).map(|i| format!("2a00:1:2:{i:x}::1")).collect(),
                16,
            ),
            (
                "many subnets",
                (0..40).map(|i| format!("8.8.{i}.8")).collect(),
                40,
            ),
            ("loopback", (0..40).map(|_| "127.0.0.1".to_owned()).collect(), 40),
        ] {
            let answers = opening(ips.into_iter());
            assert_eq!(let_in(answers.clone()), expected, "{what}");
            assert!(
                answers.iter().flatten().all(|why| *why == "too_many_pending"),
                "{what}"
            );
        }
    }

    #[test]
    fn a_connection_that_stands_or_failed_is_no_longer_pending() {
        let (mut arrivals, now) = (Arrivals::default(), Instant::now());
        for n in 0..BURST as usize {
            let connection = ConnectionId::new_unchecked(n);
            assert_eq!(arrivals.begin(connection, ip("8.8.8.8"), now), Ok(()), "{n}");
            arrivals.end(connection);
        }
    }

    #[test]
    fn a_subnet_comes_in_bursts_and_then_as_often_as_it_may() {
        let (mut arrivals, start) = (Arrivals::default(), Instant::now());
        let mut come = |from: &str, now: Instant| {
            let connection = ConnectionId::new_unchecked(0);
            let answer = arrivals.begin(connection, ip(from), now).map_err(|d| d.0);
            arrivals.end(connection);
            answer
        };
        for n in 0..BURST {
            assert_eq!(come(&format!("8.8.8.{n}"), start), Ok(()));
        }
        assert_eq!(come("8.8.8.99", start), Err("too_often"));
        assert_eq!(come("8.8.9.99", start), Ok(()), "another subnet");
        assert_eq!(
            come("8.8.8.99", start + COME_EVERY - Duration::from_millis(1)),
            Err("too_often")
        );
        assert_eq!(come("8.8.8.99", start + COME_EVERY), Ok(()));
        assert_eq!(come("8.8.8.99", start + COME_EVERY), Err("too_often"));
        let later = start + COME_EVERY * (BURST + 2);
        for n in 0..BURST {
            assert_eq!(
                come(&format!("8.8.8.{n}"), later),
                Ok(()),
                "the whole burst again"
            );
        }
        assert_eq!(come("8.8.8.1", later), Err("too_often"));
    }

    #[test]
    fn subnets_remembered_are_bounded_and_those_that_came_most_stay() {
        let (mut arrivals, now) = (Arrivals::default(), Instant::now());
        let connection = ConnectionId::new_unchecked(0);
        let mut come = |from: IpAddr| {
            let answer = arrivals.begin(connection, from, now);
            arrivals.end(connection);
            assert!(arrivals.visits.len() <= MAX_SUBNETS);
            answer
        };
        for _ in 0..BURST {
            come(ip("8.8.8.8")).unwrap();
        }
        for n in 0..MAX_SUBNETS + 100 {
            let [_, _, a, b] = u32::try_from(n).unwrap().to_be_bytes();
            come(IpAddr::from([9, a, b, 1])).unwrap();
        }
        assert_eq!(come(ip("8.8.8.8")), Err(Denied("too_often")));
    }
}
