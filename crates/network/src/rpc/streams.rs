//! How many streams of peers are served at once.

use super::Protocol;
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// Bounds of streams served at once. One beyond is dropped: it costs a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Of one peer and protocol. A peer may have two requests under way (phase0 p2p, `MAX_CONCURRENT_REQUESTS`); as many
    /// more are let in, because an answer ends here later than there.
    pub per_peer_and_protocol: usize,
    /// Of one peer.
    pub per_peer: usize,
    /// In all.
    pub total: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            per_peer_and_protocol: 4,
            per_peer: 16,
            total: 512,
        }
    }
}

/// Which bound a stream was dropped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    PeerAndProtocol,
    Peer,
    Total,
}

impl Full {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::PeerAndProtocol => "streams_of_peer_and_protocol",
            Self::Peer => "streams_of_peer",
            Self::Total => "streams_in_all",
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    peers: HashMap<PeerId, HashMap<Protocol, usize>>,
}

/// The streams being served.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    limits: StreamLimits,
    counts: Arc<Mutex<Counts>>,
}

/// A place among the streams being served; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    counts: Arc<Mutex<Counts>>,
    peer: PeerId,
    protocol: Protocol,
}

impl Streams {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            counts: Arc::default(),
        }
    }

    /// A place for a stream, or the bound that has none left.
    pub(crate) fn enter(&self, peer: PeerId, protocol: Protocol) -> Result<Place, Full> {
        let mut counts = self.counts.lock();
        let protocols = counts.peers.get(&peer);
        let of_protocol = protocols.and_then(|p| p.get(&protocol)).copied().unwrap_or(0);
        let of_peer = protocols.map_or(0, |p| p.values().sum());
        if of_protocol >= self.limits.per_peer_and_protocol {
            return Err(Full::PeerAndProtocol);
        }
        if of_peer >= self.limits.per_peer {
            return Err(Full::Peer);
        }
        if counts.total >= self.limits.total {
            return Err(Full::Total);
        }
        counts.total += 1;
        *counts.peers.entry(peer).or_default().entry(protocol).or_default() += 1;
        Ok(Place {
            counts: Arc::clone(&self.counts),
            peer,
            protocol,
        })
    }

    /// Streams being served now.
    pub(crate) fn len(&self) -> usize {
        self.counts.lock().total
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        counts.total -= 1;
        if let Some(protocols) = counts.peers.get_mut(&self.peer) {
            if let Some(n) = protocols.get_mut(&self.protocol) {
                *n -= 1;
                if *n == 0 {
                    protocols.remove(&self.protocol);
                }
            }
            if protocols.is_empty() {
                counts.peers.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_bound_holds_and_places_come_back() {
        let streams = Streams::new(StreamLimits {
            per_peer_and_protocol: 2,
            per_peer: 3,
            total: 4,
        });
        let (a, b) = (PeerId::random(), PeerId::random());
        let first = streams.enter(a, Protocol::Ping).unwrap();
        let second = streams.enter(a, Protocol::Ping).unwrap();
        assert_eq!(
            streams.enter(a, Protocol::Ping).unwrap_err(),
            Full::PeerAndProtocol
        );
        let third = streams.enter(a, Protocol::Goodbye).unwrap();
        assert_eq!(streams.enter(a, Protocol::StatusV1).unwrap_err(), Full::Peer);
        let fourth = streams.enter(b, Protocol::Ping).unwrap();
        assert_eq!(streams.enter(b, Protocol::Ping).unwrap_err(), Full::Total);
        drop(first);
        assert!(streams.enter(a, Protocol::Ping).is_ok());
        drop((second, third, fourth));
        assert_eq!(streams.len(), 0);
        assert!(
            streams.counts.lock().peers.is_empty(),
            "nothing is kept of who left"
        );
    }
}
