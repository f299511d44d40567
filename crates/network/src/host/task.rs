//! The task that owns the swarm.

use super::{Shared, behaviour::*, identity};
use crate::{
    Direction,
    enr::{EnrContent, EnrForkId, LocalEnr},
    gossip::{
        GossipMessage, JoinedTopics, Outbox, Report, TopicChange, TopicManager, Validation, proof_topic,
    },
};
use assay_chain::Chain;
use assay_types::ForkDigest;
use assay_verification::VerifiedProof;
use bytes::Bytes;
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::ConnectedPoint,
    gossipsub::{self, MessageAcceptance, PublishError, TopicHash},
    identify, ping,
    swarm::{ConnectionId, DialError, SwarmEvent, dial_opts::DialOpts},
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often slot, record and scores are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Pings in a row without an answer after which a connection is given up (some 35 s each).
const MAX_FAILED_PINGS: u32 = 2;

/// What a host is made of.
pub(super) struct Parts {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) topics: TopicManager,
    pub(super) joined: JoinedTopics,
    pub(super) validation: Arc<Validation>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) publish: mpsc::Receiver<Arc<VerifiedProof>>,
    pub(super) enr: LocalEnr,
    pub(super) shared: Arc<Shared>,
    pub(super) shutdown: CancellationToken,
}

pub(super) struct Host {
    parts: Parts,
    /// The digest of every topic of the schedule.
    digests: HashMap<TopicHash, ForkDigest>,
    outbox: Outbox,
    failed_pings: HashMap<ConnectionId, u32>,
}

impl Host {
    pub(super) fn new(parts: Parts) -> Self {
        let digests = parts
            .topics
            .schedule()
            .digests()
            .map(|digest| (proof_topic(digest).hash(), digest))
            .collect();
        Self {
            parts,
            digests,
            outbox: Outbox::default(),
            failed_pings: HashMap::new(),
        }
    }

    /// Runs until the shutdown token is cancelled. Connections are closed with the swarm.
    pub(super) async fn run(mut self) {
        let shutdown = self.parts.shutdown.clone();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next_dial = self.parts.shared.peers.lock().next_due();
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = self.parts.swarm.select_next_some() => self.on_event(event),
                Some(report) = self.parts.reports.recv() => self.on_report(report),
                Some(proof) = self.parts.publish.recv() => self.publish(proof),
                _ = ticks.tick() => self.on_tick(),
                () = sleep_until(next_dial) => self.dial_due(),
            }
        }
        tracing::info!("network ends");
    }

    fn gossip(&mut self) -> &mut crate::gossip::GossipBehaviour {
        &mut self.parts.swarm.behaviour_mut().gossip
    }

    fn on_tick(&mut self) {
        let slot = self.parts.chain.current_slot();
        for change in self.parts.topics.on_slot(slot) {
            self.change_topic(change);
        }
        self.refresh_record();
        let gossip = &self.parts.swarm.behaviour().gossip;
        self.parts
            .shared
            .peers
            .lock()
            .set_scores(|peer| gossip.peer_score(peer).unwrap_or_default());
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

    /// The record's fork entry follows the chain.
    fn refresh_record(&mut self) {
        let chain = &self.parts.chain;
        let epoch = chain.spec().epoch_at_slot(chain.current_slot());
        let fork_id = EnrForkId::at(chain.spec(), &chain.genesis().genesis_validators_root, epoch);
        let content = EnrContent {
            fork_id,
            ..self.parts.enr.content().clone()
        };
        match self.parts.enr.update(content) {
            Ok(false) => return,
            Ok(true) => tracing::info!(enr = %self.parts.enr.enr(), "node record changed"),
            // It holds all the same until the next start.
            Err(error) => tracing::error!(%error, "the node record changed and cannot be kept"),
        }
        self.refresh_identity();
    }

    fn refresh_identity(&self) {
        let listening: Vec<Multiaddr> = self.parts.swarm.listeners().cloned().collect();
        let identity = identity(*self.parts.swarm.local_peer_id(), &self.parts.enr, &listening);
        *self.parts.shared.identity.write() = identity;
    }

    fn dial_due(&mut self) {
        let due = self.parts.shared.peers.lock().take_due(Instant::now());
        for dial in due {
            // A port of its own: dialling from the listening port finds it still bound to the connection before.
            let options = DialOpts::peer_id(dial.peer_id)
                .addresses(dial.addresses)
                .allocate_new_port()
                .build();
            if let Err(error) = self.parts.swarm.dial(options) {
                self.on_dial_error(&dial.peer_id, &error);
            }
        }
    }

    fn on_dial_error(&mut self, peer: &PeerId, error: &DialError) {
        self.parts.shared.counters.dial_failures.inc();
        if self.parts.shared.peers.lock().dial_failed(peer, Instant::now()) {
            tracing::warn!(%peer, %error, "cannot connect; trying again, further failures are told at debug level");
        } else {
            tracing::debug!(%peer, %error, "cannot connect");
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                self.parts
                    .shared
                    .peers
                    .lock()
                    .identified(&peer_id, info.agent_version);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } => {
                let (address, direction) = match endpoint {
                    ConnectedPoint::Dialer { address, .. } => (address, Direction::Outbound),
                    ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr, Direction::Inbound),
                };
                tracing::debug!(peer = %peer_id, %address, direction = direction.as_str(), "connected");
                self.parts
                    .shared
                    .peers
                    .lock()
                    .connected(peer_id, address, direction, Instant::now());
                self.count_peers();
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => {
                self.failed_pings.remove(&connection_id);
                if num_established == 0 {
                    tracing::debug!(peer = %peer_id, cause = ?cause, "disconnected");
                    self.parts
                        .shared
                        .peers
                        .lock()
                        .disconnected(&peer_id, Instant::now());
                    self.count_peers();
                }
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => {
                self.on_dial_error(&peer, &error);
            }
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                ..
            } => {
                tracing::debug!(from = %send_back_addr, %error, "incoming connection failed");
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                self.refresh_identity()
            }
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                tracing::error!(?addresses, ?reason, "no longer listening");
                self.refresh_identity();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "listener"),
            _ => {}
        }
    }

    fn count_peers(&self) {
        let connected = self.parts.shared.peers.lock().count().connected;
        self.parts
            .shared
            .counters
            .peers_connected
            .set(i64::try_from(connected).unwrap_or(i64::MAX));
    }

    fn on_ping(&mut self, event: ping::Event) {
        match event.result {
            Ok(_) | Err(ping::Failure::Unsupported) => {
                self.failed_pings.remove(&event.connection);
            }
            Err(error) => {
                let failed = self.failed_pings.entry(event.connection).or_default();
                *failed += 1;
                if *failed >= MAX_FAILED_PINGS {
                    tracing::debug!(peer = %event.peer, %error, "connection is dead");
                    self.parts.swarm.close_connection(event.connection);
                }
            }
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
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

    fn on_report(&mut self, report: Report) {
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
    fn publish(&mut self, proof: Arc<VerifiedProof>) {
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

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
