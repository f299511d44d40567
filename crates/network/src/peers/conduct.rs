//! What peers' conduct leads to: points, goodbyes, bans.

use super::{
    Action, Consequence, Fault, GOODBYE_TIME, Goodbye, Peers,
    bans::PART_TIME,
    peer::Link,
    score::{BAN_BELOW, DISCONNECT_BELOW},
};
use libp2p::PeerId;
use std::time::Instant;

impl Peers {
    /// What gossip knows of each connected peer: its score there, whose graylist begins at `graylist`, and whether it
    /// has joined a proofs' topic.
    pub(crate) fn set_gossip(
        &mut self,
        graylist: f64,
        mut look: impl FnMut(&PeerId) -> (f64, bool),
        now: Instant,
    ) {
        let mut fallen = Vec::new();
        for (id, peer) in &mut self.peers {
            let (score, in_topic) = look(id);
            peer.score.set_gossip(score, graylist);
            peer.in_proof_topic = in_topic;
            if !peer.trusted && peer.is_open() && peer.score.at(now) < DISCONNECT_BELOW {
                fallen.push(*id);
            }
        }
        for id in fallen {
            self.judge(&id, now);
        }
    }

    /// A peer did something wrong.
    pub(crate) fn fault(&mut self, id: &PeerId, fault: Fault, now: Instant) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        // It has been told to go: that what was on its way before then is much, or slow, makes nothing worse.
        if matches!(peer.link, Link::Parting { .. }) && matches!(fault, Fault::Flooding | Fault::TimedOut) {
            return;
        }
        match fault.consequence() {
            Consequence::Cost(points) => {
                peer.score.cost(points, now);
                self.judge(id, now);
            }
            Consequence::Part(_) if peer.trusted => {
                tracing::warn!(peer = %id, fault = fault.label(), "a peer given by --peer");
            }
            Consequence::Part(reason) => {
                self.bans.part(*id, now + PART_TIME);
                self.part(id, reason, now);
            }
        }
    }

    /// A peer said goodbye to us: it is not dialled at once again.
    pub(crate) fn said_goodbye(&mut self, id: &PeerId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.told_to_go(now);
        }
    }

    /// What a peer's score calls for.
    pub(super) fn judge(&mut self, id: &PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(id) else {
            return;
        };
        let score = peer.score.at(now);
        if peer.trusted || score >= DISCONNECT_BELOW {
            return;
        }
        if score >= BAN_BELOW {
            self.part(id, Goodbye::BadScore, now);
            return;
        }
        let sites = peer.blamed_sites();
        tracing::info!(peer = %id, score, "peer banned");
        let banned = self.bans.ban(*id, &sites, now);
        if !banned.is_empty() {
            let here: Vec<PeerId> = self
                .peers
                .iter()
                .filter(|(_, peer)| !peer.trusted && peer.sites().any(|site| banned.contains(&site)))
                .map(|(id, _)| *id)
                .collect();
            for other in here {
                let reason = if other == *id {
                    Goodbye::Banned
                } else {
                    Goodbye::BannedAddress
                };
                self.part(&other, reason, now);
            }
        }
        self.part(id, Goodbye::Banned, now);
    }

    /// Says goodbye to a connected peer, once.
    pub(super) fn part(&mut self, id: &PeerId, reason: Goodbye, now: Instant) {
        if let Some(peer) = self.peers.get_mut(id)
            && matches!(peer.link, Link::Open { .. })
        {
            peer.note_evidence(now);
            peer.link = Link::Parting {
                since: now,
                closing: false,
            };
            self.actions.push(Action::Part { peer: *id, reason });
        }
    }

    /// Time passes: bans end, goodbyes that were not heard end in closing, peers beyond the target are let go.
    pub(crate) fn tick(&mut self, now: Instant) {
        for id in self.bans.expire(now) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.score.after_ban(now);
            }
        }
        // Peers that found us and left some points behind, which are forgotten now.
        self.peers.retain(|_, peer| {
            !peer.is_idle() || peer.trusted || !peer.addresses.is_empty() || peer.score.at(now) < 0.0
        });
        for (id, peer) in &mut self.peers {
            if let Link::Parting {
                since,
                closing: closing @ false,
            } = &mut peer.link
                && now.saturating_duration_since(*since) >= GOODBYE_TIME
            {
                *closing = true;
                self.actions.push(Action::Close { peer: *id });
            }
        }
        for id in self.excess(now) {
            self.part(&id, Goodbye::TooManyPeers, now);
        }
    }
}
