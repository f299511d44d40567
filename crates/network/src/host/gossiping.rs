//! Gossip in the host: topics joined and left, messages and verdicts carried between gossipsub and the verifier, proofs
//! published.

use super::task::Host;
use crate::gossip::{GossipBehaviour, GossipMessage, Report, TopicChange, proof_topic};
use assay_verification::VerifiedProof;
use bytes::Bytes;
use libp2p::gossipsub::{self, MessageAcceptance, PublishError};
use std::sync::Arc;

impl Host {
    fn gossip(&mut self) -> &mut GossipBehaviour {
        &mut self.parts.swarm.behaviour_mut().gossip
    }

    /// Joins and leaves topics as the clock says.
    pub(super) fn change_topics(&mut self) {
        let slot = self.parts.chain.current_slot();
        for change in self.parts.topics.on_slot(slot) {
            self.change_topic(change);
        }
    }

    fn change_topic(&mut self, change: TopicChange) {
        match change {
            TopicChange::Join(digest) => {
                let topic = proof_topic(digest);
                self.parts.joined.write().insert(topic.hash());
                match self.gossip().subscribe(&topic) {
                    Ok(_) => tracing::info!(%topic, "joined gossip topic"),
                    Err(error) => tracing::error!(%topic, %error, "cannot join gossip topic"),
                }
            }
            TopicChange::Leave(digest) => {
                let topic = proof_topic(digest);
                self.gossip().unsubscribe(&topic);
                self.parts.joined.write().remove(&topic.hash());
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
                self.parts.shared.counters.messages_received.inc();
                // The transform lets no other topics through.
                let Some(digest) = self.digests.get(&message.topic) else {
                    return;
                };
                let message = GossipMessage {
                    id: message_id,
                    peer: propagation_source,
                    digest: *digest,
                    ssz: Bytes::from(message.data),
                };
                if let Some(report) = self.parts.validation.begin(message) {
                    self.on_report(report);
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic } => {
                tracing::debug!(peer = %peer_id, %topic, "peer joined gossip topic");
                if let Some(digest) = self.digests.get(&topic).copied() {
                    for proof in self.outbox.take(digest) {
                        self.publish(proof);
                    }
                }
            }
            gossipsub::Event::SlowPeer {
                peer_id,
                failed_messages,
            } => {
                tracing::debug!(peer = %peer_id, ?failed_messages, "peer takes messages too slowly");
            }
            _ => {}
        }
    }

    pub(super) fn on_report(&mut self, report: Report) {
        let accepted = matches!(report.acceptance, MessageAcceptance::Accept);
        let was_cached =
            self.gossip()
                .report_message_validation_result(&report.id, &report.peer, report.acceptance);
        let counters = &self.parts.shared.counters;
        match (accepted, was_cached) {
            (true, true) => {
                counters.messages_forwarded.inc();
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
        let listened = self
            .gossip()
            .all_peers()
            .any(|(_, topics)| topics.contains(&&topic));
        // Asked before, because gossipsub would pack the proof only to find nobody to send it to.
        let result = if listened {
            self.gossip().publish(topic, proof.ssz().to_vec())
        } else {
            Err(PublishError::NoPeersSubscribedToTopic)
        };
        let counters = &self.parts.shared.counters;
        match result {
            Ok(message_id) => {
                counters.messages_published.inc();
                tracing::debug!(%message_id, slot = %proof.slot(), "proof published");
            }
            Err(PublishError::NoPeersSubscribedToTopic) => {
                counters.published_without_peers.inc();
                for _ in 0..self.outbox.hold(digest, proof) {
                    counters.publish_failure("held_too_long");
                }
            }
            // It came by gossip while it was on its way here: the network has it.
            Err(PublishError::Duplicate) => counters.publish_failure("duplicate"),
            Err(error) => {
                let reason = match error {
                    PublishError::MessageTooLarge => "too_large",
                    PublishError::AllQueuesFull(_) => "all_queues_full",
                    _ => "other",
                };
                counters.publish_failure(reason);
                tracing::warn!(%error, slot = %proof.slot(), "proof not published");
            }
        }
    }
}
