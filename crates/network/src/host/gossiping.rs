//! Gossip in the host: topics joined and left, messages and verdicts carried between gossipsub and the verifier, proofs
//! published.

use super::{
    gossip_streams::{LetGo, REOPENS},
    task::Host,
};
use crate::{
    counters::UNDECODABLE_TOPIC,
    gossip::{GossipBehaviour, GossipMessage, Report, Retry, Taken, TopicChange, proof_topic},
    peers::Fault,
};
use assay_types::{ForkDigest, digest::message_id_valid};
use assay_verification::VerifiedProof;
use bytes::Bytes;
use libp2p::{
    PeerId,
    gossipsub::{self, MessageAcceptance, MessageId, PublishError, TopicHash},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Held proofs that go out at once when somebody joins, and then with each tick: a newcomer's queue
/// (`gossip::params`) must not be filled by them.
const FLUSHED_AT_ONCE: usize = 2;
/// Times in a row, none longer than `SLOW_MEMORY` after the one before, that a peer's queue lets messages go before
/// that is called a fault. gossipsub tells once a heartbeat.
const SLOW_TIMES: u32 = 16;
/// See `SLOW_TIMES`.
const SLOW_MEMORY: Duration = Duration::from_secs(10);

/// Whether the queues of so many peers, of all, are full because this node's own link is slow.
fn is_own_link(full: usize, all: usize) -> bool {
    full > 2 && full * 2 > all
}

impl Host {
    fn gossip(&mut self) -> &mut GossipBehaviour {
        &mut self.parts.swarm.behaviour_mut().gossip
    }

    /// Joins and leaves topics as the clock says, and does what gossip has put off.
    pub(super) fn gossip_tick(&mut self) {
        let slot = self.parts.chain.current_slot();
        for change in self.parts.topics.on_slot(slot) {
            self.change_topic(change);
        }
        let tolerated = self.parts.topics.tolerated(slot);
        self.parts.joined.write().tolerated = tolerated
            .into_iter()
            .map(|digest| proof_topic(digest).hash())
            .collect();

        let now = Instant::now();
        self.know_peers();
        self.give_up_streams(now);
        self.budgets.expire(now);
        for (peer, times) in self.gossip().flooders(now) {
            tracing::debug!(%peer, times, "brings far more than any honest peer");
            (0..times).for_each(|_| self.on_fault(peer, Fault::Flooding));
        }
        self.slow
            .retain(|_, (_, last)| now.saturating_duration_since(*last) < SLOW_MEMORY);
        for digest in self.outbox.digests() {
            self.flush(digest);
        }
        for report in self.echoes.expire(now) {
            self.tell(report);
        }
        let gossip = &self.parts.swarm.behaviour().gossip;
        let mesh = |topic: &TopicHash| gossip.mesh_peers(topic).copied().collect();
        for retry in self.retries.due(now, mesh) {
            self.retry(retry);
        }
    }

    /// What gossip's streams have to know of peers.
    fn know_peers(&self) {
        let gossip = &self.parts.swarm.behaviour().gossip;
        let joined = self.parts.joined.read();
        let mesh = joined.joined.iter().flat_map(|topic| gossip.mesh_peers(topic));
        let reopening = self.parts.shared.peers.lock().called(&REOPENS);
        self.parts.streams.know(mesh.copied().collect(), reopening);
    }

    /// Peers that bring next to nothing of what they began, and those that take nothing, or least where too many are slow: what
    /// they make this node hold is bounded over all of them. To be let go is no fault where this node's own link is slow.
    fn give_up_streams(&mut self, now: Instant) {
        let (unfinished, not_taken) = self.parts.streams.sweep(now);
        for peer in unfinished {
            self.on_fault(peer, Fault::TimedOut);
        }
        for LetGo { peer, is_fault } in not_taken {
            tracing::debug!(%peer, is_fault, "takes gossip too slowly");
            if is_fault {
                self.on_fault(peer, Fault::TimedOut);
            }
            // The copies in its queue go with its connections.
            let _ = self.parts.swarm.disconnect_peer_id(peer);
        }
    }

    fn retry(&mut self, retry: Retry) {
        let own = *self.parts.swarm.local_peer_id();
        match retry {
            Retry::Forward(id) => {
                tracing::debug!(message_id = %id, "trying again to publish");
                let is_cached =
                    self.gossip()
                        .report_message_validation_result(&id, &own, MessageAcceptance::Accept);
                if !is_cached && self.retries.forget(&id) {
                    self.parts.shared.counters.publish_failure("no_longer_cached");
                    tracing::warn!(message_id = %id, "proof not published: every queue was full for too long");
                }
            }
            Retry::Done(id) => {
                self.parts.shared.counters.messages_published.inc();
                tracing::debug!(message_id = %id, "proof published after all");
            }
            Retry::GaveUp(id) => {
                self.parts.shared.counters.publish_failure("all_queues_full");
                tracing::warn!(message_id = %id, "proof not published: every queue stays full");
            }
        }
    }

    fn change_topic(&mut self, change: TopicChange) {
        match change {
            TopicChange::Join(digest) => {
                let topic = proof_topic(digest);
                self.parts.joined.write().joined.insert(topic.hash());
                match self.gossip().subscribe(&topic) {
                    Ok(_) => tracing::info!(%topic, "joined gossip topic"),
                    Err(error) => tracing::error!(%topic, %error, "cannot join gossip topic"),
                }
            }
            TopicChange::Leave(digest) => {
                let topic = proof_topic(digest);
                self.gossip().unsubscribe(&topic);
                self.parts.joined.write().joined.remove(&topic.hash());
                tracing::info!(%topic, "left gossip topic");
            }
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                // The transform lets no other topics through.
                let Some(digest) = self.digests.get(&message.topic) else {
                    self.parts.shared.counters.undecodable(UNDECODABLE_TOPIC);
                    return;
                };
                self.parts.shared.counters.messages_received.inc();
                let now = Instant::now();
                let message = GossipMessage {
                    id: message_id,
                    peer: propagation_source,
                    digest: *digest,
                    ssz: Bytes::from(message.data),
                };
                let taken = self.budgets.take(message.peer, message.ssz.len(), now);
                // gossipsub remembers the id, whoever brought the message: what is ignored here, no honest peer can
                // bring any more.
                if let Some(report) = self.parts.validation.bad_by_itself(&message) {
                    let peer = message.peer;
                    self.echoes.judging(message.id);
                    self.on_report(report);
                    if taken == Taken::Flood {
                        self.on_fault(peer, Fault::Flooding);
                    }
                    return;
                }
                if taken != Taken::Fits && !self.parts.validation.is_wanted(message.digest, &message.ssz) {
                    self.over_budget(message.id, message.peer, taken);
                    return;
                }
                self.echoes.judging(message.id.clone());
                if let Some(report) = self.parts.validation.begin(message) {
                    self.on_report(report);
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                tracing::debug!(peer = %peer_id, %topic, "peer joined gossip topic");
                if let Some(digest) = self.digests.get(&topic).copied() {
                    self.flush(digest);
                }
            }
            gossipsub::Event::SlowPeer {
                peer_id,
                failed_messages,
            } => {
                self.retries.queue_was_full(peer_id);
                let dropped = failed_messages.priority + failed_messages.non_priority;
                let counters = &self.parts.shared.counters;
                counters.messages_dropped.inc_by(dropped as u64);
                tracing::debug!(peer = %peer_id, ?failed_messages, "peer takes messages too slowly");
                // Its queue holds copies: a peer that takes nothing for long is let go, once it is no passing jam. Where
                // the queues of most are full it is this node's own link (`gossip_streams::takers` bounds the copies).
                let (times, last) = self.slow.entry(peer_id).or_insert((0, Instant::now()));
                (*times, *last) = (*times + 1, Instant::now());
                let is_long = *times % SLOW_TIMES == 0;
                if is_long && !is_own_link(self.slow.len(), self.gossip().all_peers().count()) {
                    self.on_fault(peer_id, Fault::TimedOut);
                }
            }
            _ => {}
        }
    }

    /// Publishes some of the proofs that are held for a topic, if somebody listens there now.
    fn flush(&mut self, digest: ForkDigest) {
        let topic = proof_topic(digest).hash();
        if self.is_listened(&topic) {
            for proof in self.outbox.take(digest, FLUSHED_AT_ONCE) {
                self.publish(proof);
            }
        }
    }

    fn is_listened(&mut self, topic: &TopicHash) -> bool {
        self.gossip()
            .all_peers()
            .any(|(_, topics)| topics.contains(&topic))
    }

    /// A peer brings more than it may: IGNORE, unjudged, and a fault of the peer's where it is far more.
    fn over_budget(&mut self, id: MessageId, peer: PeerId, taken: Taken) {
        self.parts.shared.counters.over_budget.inc();
        self.gossip()
            .report_message_validation_result(&id, &peer, MessageAcceptance::Ignore);
        if taken == Taken::Flood {
            self.on_fault(peer, Fault::Flooding);
        }
    }

    pub(super) fn on_report(&mut self, report: Report) {
        for report in self.echoes.verdict(report, Instant::now()) {
            self.tell(report);
        }
    }

    /// Tells gossipsub a verdict.
    fn tell(&mut self, report: Report) {
        let accepted = matches!(report.acceptance, MessageAcceptance::Accept);
        let was_cached =
            self.gossip()
                .report_message_validation_result(&report.id, &report.peer, report.acceptance);
        let counters = &self.parts.shared.counters;
        match (accepted, was_cached) {
            (true, true) => {
                counters.messages_forwarded.inc();
                self.parts.streams.sends(report.len, Instant::now());
            }
            // gossipsub has let the message go and, its id being seen, would refuse to publish it too. The proof is
            // stored; peers get it by status and req/resp.
            (true, false) => {
                counters.late_accepts.inc();
                tracing::info!(message_id = %report.id, "proof accepted too late to be forwarded");
            }
            (false, _) => {}
        }
        if let Some(proof) = report.misplaced {
            self.publish(proof);
        }
    }

    /// Publishes on the digest of the payload's epoch; holds the proof while nobody has joined that topic.
    pub(super) fn publish(&mut self, proof: Arc<VerifiedProof>) {
        let digest = self.parts.topics.schedule().digest_at_slot(proof.slot());
        let topic = proof_topic(digest).hash();
        let id = || MessageId::new(&message_id_valid(topic.as_str(), proof.ssz()));
        let listened = self.is_listened(&topic);
        // Asked before, because gossipsub would pack the proof only to find nobody to send it to.
        let result = if listened {
            self.gossip().publish(topic.clone(), proof.ssz().to_vec())
        } else {
            Err(PublishError::NoPeersSubscribedToTopic)
        };
        let counters = &self.parts.shared.counters;
        match result {
            Ok(message_id) => {
                counters.messages_published.inc();
                self.parts.streams.sends(proof.ssz().len(), Instant::now());
                tracing::debug!(%message_id, slot = %proof.slot(), "proof published");
            }
            Err(PublishError::NoPeersSubscribedToTopic) => {
                counters.published_without_peers.inc();
                for _ in 0..self.outbox.hold(digest, proof) {
                    counters.publish_failure("held_too_long");
                }
            }
            // It came by gossip while it was on its way here. Where it has not gone on from here, it does now.
            Err(PublishError::Duplicate) => {
                let own = *self.parts.swarm.local_peer_id();
                match self.echoes.publish_refused(&id(), own) {
                    Some(report) => self.tell(report),
                    None => counters.publish_failure("duplicate"),
                }
            }
            Err(PublishError::AllQueuesFull(peers)) => {
                tracing::debug!(peers, slot = %proof.slot(), "every queue is full; publishing again later");
                if let Some(gone) = self.retries.add(id(), topic, Instant::now()) {
                    self.retry(gone);
                }
            }
            Err(error) => {
                let reason = match error {
                    PublishError::MessageTooLarge => "too_large",
                    _ => "other",
                };
                counters.publish_failure(reason);
                tracing::warn!(%error, slot = %proof.slot(), "proof not published");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_own_link;

    #[test]
    fn where_most_queues_are_full_it_is_this_nodes_link() {
        for (full, all, is_own) in [
            (1, 1, false),
            (2, 2, false),
            (3, 3, true),
            (4, 8, false),
            (5, 8, true),
        ] {
            assert_eq!(is_own_link(full, all), is_own, "{full} of {all}");
        }
    }
}
