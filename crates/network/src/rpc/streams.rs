//! How many streams of peers are served at once, and whose place is taken where all are.
//!
//! A stream keeps its place while it waits for its peer's limits, which is no fault: few peers with modest requests could
//! hold every place for good. So places are shared, as in max-min fairness: where none is left, who comes with fewer gets
//! one of the peer that has most. Each of `n` peers has `total / n` that are neither refused nor taken, whatever the
//! others do; the totals are chosen for the most peers that are let in (`StreamLimits::for_peers`).

use super::Protocol;
use libp2p::PeerId;
use parking_lot::Mutex;
use std::{collections::HashMap, future::pending, sync::Arc};
use tokio::sync::oneshot;

/// Requests that a peer may have under way by each protocol (phase0 p2p, `MAX_CONCURRENT_REQUESTS`).
const MAX_CONCURRENT_REQUESTS: usize = 2;
/// Places of the base protocols for each peer that may be connected: all that the text allows it, by every one of them.
const BASE_SHARE: usize = MAX_CONCURRENT_REQUESTS * protocols(true);
/// As many for proofs and blocks.
const SHARE: usize = MAX_CONCURRENT_REQUESTS * protocols(false);
/// Peers that a node of the default target lets in.
pub(super) const USUAL_PEERS: usize = 110;

/// How many protocols are of the base, or are not.
const fn protocols(is_base: bool) -> usize {
    let (mut count, mut n) = (0, 0);
    while n < Protocol::ALL.len() {
        if Protocol::ALL[n].is_base() == is_base {
            count += 1;
        }
        n += 1;
    }
    count
}

/// Bounds of streams served at once. One beyond is dropped: it costs a look-up.
///
/// What waits for its limits holds a task of at most 16 KiB, and its request as it was read and taken apart: for roots of
/// blocks 66 KiB, of envelopes and of proofs 10, else little. Of a peer's 30 that is 660 KiB at the worst, 71 MiB of 110
/// peers. What comes behind a request is not left unread (`server`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Of one peer and protocol. A peer may have two requests under way (phase0 p2p, `MAX_CONCURRENT_REQUESTS`); as many
    /// more are let in, because an answer ends here later than there.
    pub per_peer_and_protocol: usize,
    /// Of one peer: two by every protocol at once are fewer.
    pub per_peer: usize,
    /// In all, of status, ping, metadata, goodbye and proof status: what nobody takes by asking for proofs or blocks.
    pub base_total: usize,
    /// In all, of proofs and blocks.
    pub total: usize,
}

impl StreamLimits {
    /// With places for as many peers, or those there are.
    #[must_use]
    pub fn for_peers(self, most: usize) -> Self {
        Self {
            base_total: self.base_total.max(most.saturating_mul(BASE_SHARE)),
            total: self.total.max(most.saturating_mul(SHARE)),
            ..self
        }
    }
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            per_peer_and_protocol: 2 * MAX_CONCURRENT_REQUESTS,
            per_peer: 40,
            base_total: USUAL_PEERS * BASE_SHARE,
            total: USUAL_PEERS * SHARE,
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

/// Why a place is lost before its stream is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Its peer had most where all places were taken; another has it now.
    BeyondShare,
    /// Its peer is gone.
    PeerGone,
}

impl Lost {
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::BeyondShare => "beyond_fair_share",
            Self::PeerGone => "peer_gone",
        }
    }
}

/// A place that is taken.
#[derive(Debug)]
struct Held {
    number: u64,
    protocol: Protocol,
    lose: oneshot::Sender<Lost>,
}

/// Places that are shared among peers.
#[derive(Debug, Default)]
struct Pool {
    taken: usize,
    /// Each peer's, oldest first; of no peer without any.
    peers: HashMap<PeerId, Vec<Held>>,
}

impl Pool {
    fn of(&self, peer: &PeerId) -> &[Held] {
        self.peers.get(peer).map_or(&[], Vec::as_slice)
    }

    /// Makes room where there is none for a peer: the newest of the peer that has most goes, if that one is left no fewer
    /// than the other has then. (Were it left fewer, two peers could take one place from each other for ever.)
    fn make_room(&mut self, peer: &PeerId, total: usize) -> Result<(), Full> {
        if self.taken < total {
            return Ok(());
        }
        let own = self.of(peer).len();
        let richest = self.peers.iter_mut().max_by_key(|(_, places)| places.len());
        let Some((_, places)) = richest.filter(|(_, places)| places.len() > own + 1) else {
            return Err(Full::Total);
        };
        if let Some(held) = places.pop() {
            // Whoever has just been served does not listen any more.
            let _ = held.lose.send(Lost::BeyondShare);
            self.taken -= 1;
        }
        Ok(())
    }

    fn keep(&mut self, peer: PeerId, held: Held) {
        self.taken += 1;
        self.peers.entry(peer).or_default().push(held);
    }

    /// Takes those places of a peer out that are meant.
    fn remove(&mut self, peer: &PeerId, mut is_meant: impl FnMut(&Held) -> bool) -> Vec<Held> {
        let Some(places) = self.peers.get_mut(peer) else {
            return Vec::new();
        };
        let out: Vec<Held> = places.extract_if(.., |held| is_meant(held)).collect();
        self.taken -= out.len();
        if places.is_empty() {
            self.peers.remove(peer);
        }
        out
    }
}

#[derive(Debug, Default)]
struct Pools {
    base: Pool,
    others: Pool,
    next: u64,
}

impl Pools {
    fn both(&mut self) -> [&mut Pool; 2] {
        [&mut self.base, &mut self.others]
    }

    fn of(&mut self, protocol: Protocol) -> &mut Pool {
        match protocol.is_base() {
            true => &mut self.base,
            false => &mut self.others,
        }
    }
}

/// The streams being served.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    limits: StreamLimits,
    pools: Arc<Mutex<Pools>>,
}

/// A place among the streams being served; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pools: Arc<Mutex<Pools>>,
    peer: PeerId,
    protocol: Protocol,
    number: u64,
    lost: oneshot::Receiver<Lost>,
}

impl Streams {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            pools: Arc::default(),
        }
    }

    /// A place for a stream, or the bound that has none left.
    pub(crate) fn enter(&self, peer: PeerId, protocol: Protocol) -> Result<Place, Full> {
        let limits = &self.limits;
        let mut pools = self.pools.lock();
        let held = pools.of(protocol).of(&peer);
        let of_protocol = held.iter().filter(|held| held.protocol == protocol).count();
        if of_protocol >= limits.per_peer_and_protocol {
            return Err(Full::PeerAndProtocol);
        }
        let of_peer: usize = pools.both().map(|pool| pool.of(&peer).len()).iter().sum();
        if of_peer >= limits.per_peer {
            return Err(Full::Peer);
        }
        let total = match protocol.is_base() {
            true => limits.base_total,
            false => limits.total,
        };
        pools.of(protocol).make_room(&peer, total)?;
        let number = pools.next;
        pools.next += 1;
        let (lose, lost) = oneshot::channel();
        pools.of(protocol).keep(
            peer,
            Held {
                number,
                protocol,
                lose,
            },
        );
        Ok(Place {
            pools: Arc::clone(&self.pools),
            peer,
            protocol,
            number,
            lost,
        })
    }

    /// A peer is gone: nobody waits for what its streams wait for. What it said last may still be read: its goodbye.
    pub(crate) fn leave(&self, peer: &PeerId) {
        for pool in self.pools.lock().both() {
            for held in pool.remove(peer, |held| held.protocol != Protocol::Goodbye) {
                let _ = held.lose.send(Lost::PeerGone);
            }
        }
    }

    /// Streams being served now.
    pub(crate) fn len(&self) -> usize {
        let pools = self.pools.lock();
        pools.base.taken + pools.others.taken
    }
}

impl Place {
    /// Waits until the place is lost: for ever, mostly.
    pub(crate) async fn lost(&mut self) -> Lost {
        match (&mut self.lost).await {
            Ok(lost) => lost,
            Err(_) => pending().await,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pools = self.pools.lock();
        drop(
            pools
                .of(self.protocol)
                .remove(&self.peer, |held| held.number == self.number),
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::FutureExt;
    use proptest::prelude::*;

    fn limits(per_peer: usize, base_total: usize, total: usize) -> StreamLimits {
        StreamLimits {
            per_peer_and_protocol: per_peer,
            per_peer,
            base_total,
            total,
        }
    }

    #[test]
    fn each_bound_holds_and_places_come_back() {
        let streams = Streams::new(StreamLimits {
            per_peer_and_protocol: 2,
            per_peer: 3,
            base_total: 4,
            total: 1,
        });
        let (a, b) = (PeerId::random(), PeerId::random());
        let first = streams.enter(a, Protocol::Ping).unwrap();
        let second = streams.enter(a, Protocol::Ping).unwrap();
        assert_eq!(
            streams.enter(a, Protocol::Ping).unwrap_err(),
            Full::PeerAndProtocol
        );
        let third = streams.enter(a, Protocol::BlocksByHead).unwrap();
        assert_eq!(streams.enter(a, Protocol::StatusV1).unwrap_err(), Full::Peer);
        let fourth = streams.enter(b, Protocol::Ping).unwrap();
        let fifth = streams.enter(b, Protocol::Ping).unwrap();
        assert_eq!(streams.enter(b, Protocol::StatusV1).unwrap_err(), Full::Total);
        assert_eq!(streams.enter(b, Protocol::BlocksByHead).unwrap_err(), Full::Total);
        drop(first);
        assert!(streams.enter(a, Protocol::Ping).is_ok());
        drop((second, third, fourth, fifth));
        assert_eq!(streams.len(), 0);
        assert!(
            streams
                .pools
                .lock()
                .both()
                .iter()
                .all(|pool| pool.peers.is_empty()),
            "nothing is kept of who left"
        );
    }

    /// What the peer that comes has, what another has of a full pool: who gets the place.
    #[test]
    fn a_place_goes_from_who_has_most_to_who_has_less() {
        for (own, richest, gets) in [
            (0, 1, false),
            (0, 2, true),
            (0, 9, true),
            (1, 2, false),
            (1, 3, true),
            (4, 5, false),
            (4, 6, true),
            (5, 4, false),
        ] {
            let streams = Streams::new(limits(16, own + richest + 1, 100));
            let (peer, rich, poor) = (PeerId::random(), PeerId::random(), PeerId::random());
            let enter = |peer| streams.enter(peer, Protocol::Ping);
            let mut held: Vec<Place> = (0..richest).map(|_| enter(rich).unwrap()).collect();
            let mut others: Vec<Place> = (0..own).map(|_| enter(peer).unwrap()).collect();
            others.push(enter(poor).unwrap());
            let entered = enter(peer);
            assert_eq!(entered.is_ok(), gets, "{own} {richest}");
            let lost: Vec<Option<Lost>> = held.iter_mut().map(|p| p.lost().now_or_never()).collect();
            let (newest, older) = lost.split_last().unwrap();
            assert_eq!(*newest, gets.then_some(Lost::BeyondShare), "{own} {richest}");
            assert!(older.iter().all(Option::is_none), "the newest alone");
            assert!(others.iter_mut().all(|p| p.lost().now_or_never().is_none()));
            let before = streams.len();
            assert_eq!(before, own + richest + 1, "no more than the total");
            drop(held);
            assert_eq!(streams.len(), before - richest + usize::from(gets));
        }
    }

    /// The protocols that keep a connection have places of their own.
    #[test]
    fn who_asks_for_proofs_takes_no_place_of_the_base_protocols() {
        let streams = Streams::new(limits(16, 1, 1));
        let _proofs = streams
            .enter(PeerId::random(), Protocol::ExecutionProofsByRange)
            .unwrap();
        for (n, protocol) in Protocol::ALL.into_iter().enumerate() {
            let served = streams.enter(PeerId::random(), protocol).is_ok();
            assert_eq!(served, protocol.is_base(), "{n}");
        }
    }

    #[test]
    fn who_is_gone_leaves_its_places_but_is_heard_out() {
        let streams = Streams::new(limits(16, 100, 100));
        let (gone, here) = (PeerId::random(), PeerId::random());
        let enter = |peer, protocol| streams.enter(peer, protocol).unwrap();
        let mut ping = enter(gone, Protocol::Ping);
        let mut goodbye = enter(gone, Protocol::Goodbye);
        let mut proofs = enter(gone, Protocol::ExecutionProofsByRoot);
        let mut other = enter(here, Protocol::Ping);
        streams.leave(&gone);
        for lost in [&mut ping, &mut proofs] {
            assert_eq!(lost.lost().now_or_never(), Some(Lost::PeerGone));
        }
        for kept in [&mut goodbye, &mut other] {
            assert_eq!(kept.lost().now_or_never(), None);
        }
        assert_eq!(streams.len(), 2);
        drop((ping, proofs, goodbye, other));
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn there_are_places_for_the_peers_that_are_let_in() {
        let usual = StreamLimits::default();
        assert_eq!(usual.for_peers(110), usual);
        assert_eq!(usual.for_peers(3), usual);
        let many = usual.for_peers(1000);
        assert_eq!((many.base_total, many.total), (16_000, 14_000));
        assert_eq!(many.per_peer, usual.per_peer);
    }

    /// Two requests by every protocol at once, beside peers that have all that they get.
    #[test]
    fn who_keeps_to_two_requests_by_each_protocol_is_never_refused() {
        let streams = Streams::new(StreamLimits::default());
        let mut held = Vec::new();
        let greed = |held: &mut Vec<Place>, peer: PeerId| {
            for protocol in Protocol::ALL {
                held.extend((0..8).filter_map(|_| streams.enter(peer, protocol).ok()));
            }
        };
        let others: Vec<PeerId> = (1..USUAL_PEERS).map(|_| PeerId::random()).collect();
        for peer in &others {
            greed(&mut held, *peer);
        }
        let polite = PeerId::random();
        let mut own: Vec<Place> = Vec::new();
        for protocol in Protocol::ALL.into_iter().chain(Protocol::ALL) {
            own.push(streams.enter(polite, protocol).unwrap());
            for peer in &others {
                greed(&mut held, *peer);
            }
        }
        assert_eq!(own.len(), 2 * Protocol::ALL.len());
        assert!(own.iter_mut().all(|place| place.lost().now_or_never().is_none()));
    }

    proptest! {
        /// Whatever the others do, as long as there are no more than are let in.
        #[test]
        fn two_requests_by_each_protocol_are_safe_from_everybody(
            steps in proptest::collection::vec((0usize..5, 0..Protocol::ALL.len(), 0u8..4), 1..600),
        ) {
            const PEERS: usize = 5;
            let streams = Streams::new(StreamLimits { base_total: 0, total: 0, ..StreamLimits::default() }.for_peers(PEERS));
            let ids: Vec<PeerId> = (0..PEERS).map(|_| PeerId::random()).collect();
            let mut held: Vec<Vec<Place>> = (0..PEERS).map(|_| Vec::new()).collect();
            for (who, protocol, what) in steps {
                let protocol = Protocol::ALL[protocol];
                let of_protocol = held[who].iter().filter(|place| place.protocol == protocol).count();
                // The first keeps to what the text allows; the others take as much as they get.
                match (who, what) {
                    (_, 3) => drop(held[who].pop()),
                    (0, _) if of_protocol < MAX_CONCURRENT_REQUESTS => {
                        held[0].push(streams.enter(ids[0], protocol).map_err(|full| TestCaseError::fail(full.label()))?);
                    }
                    (0, _) => {}
                    (_, _) => held[who].extend((0..4).filter_map(|_| streams.enter(ids[who], protocol).ok())),
                }
                prop_assert!(held[0].iter_mut().all(|place| place.lost().now_or_never().is_none()));
                for places in &mut held[1..] {
                    places.retain_mut(|place| place.lost().now_or_never().is_none());
                }
            }
        }

        /// Whatever the others do and in which order: a peer's share is neither refused nor taken.
        #[test]
        fn a_share_is_safe_from_everybody(
            peers in 1usize..8,
            share in 1usize..4,
            steps in proptest::collection::vec((0usize..8, any::<bool>()), 1..300),
        ) {
            let streams = Streams::new(limits(16, peers * share, 0));
            let ids: Vec<PeerId> = (0..peers).map(|_| PeerId::random()).collect();
            let mut held: Vec<Vec<Place>> = (0..peers).map(|_| Vec::new()).collect();
            for (who, comes) in steps {
                let who = who % peers;
                if comes {
                    let entered = streams.enter(ids[who], Protocol::Ping);
                    prop_assert!(entered.is_ok() || held[who].len() >= share);
                    held[who].extend(entered);
                } else {
                    held[who].pop();
                }
                for places in &mut held {
                    let before = places.len();
                    places.retain_mut(|place| place.lost().now_or_never().is_none());
                    prop_assert!(places.len() == before || places.len() >= share);
                }
                let open: usize = held.iter().map(Vec::len).sum();
                prop_assert_eq!(streams.len(), open);
                prop_assert!(open <= peers * share);
            }
        }
    }
}
