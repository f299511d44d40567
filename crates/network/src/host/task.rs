//! The task that owns the swarm: it waits, and hands each event to the file it belongs to.

use super::{
    Shared, admission::uncounted, behaviour::*, gossip_streams::GossipStreams, peering::Peering,
    record::Record, requests::Requests,
};
use crate::{
    gossip::{
        Budgets, Echoes, JoinedTopics, NEW, Outbox, Report, Retries, TopicManager, Validation, proof_topic,
    },
    peers::{Fault, PeerFile},
};
use assay_chain::Chain;
use assay_types::ForkDigest;
use assay_verification::VerifiedProof;
use futures::StreamExt;
use libp2p::{PeerId, Swarm, gossipsub::TopicHash, swarm::SwarmEvent};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, mpsc},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

/// How often slot, record and scores are looked at.
const TICK: Duration = Duration::from_millis(500);

/// What a host is made of.
pub(super) struct Parts {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) streams: GossipStreams,
    pub(super) chain: Arc<dyn Chain>,
    pub(super) topics: TopicManager,
    pub(super) joined: JoinedTopics,
    pub(super) validation: Arc<Validation>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) publish: mpsc::Receiver<Arc<VerifiedProof>>,
    pub(super) faults: mpsc::Receiver<(PeerId, Fault)>,
    pub(super) peer_file: PeerFile,
    /// Told when discovery has found somebody to dial.
    pub(super) news: Arc<Notify>,
    pub(super) record: Record,
    pub(super) shared: Arc<Shared>,
    pub(super) requests: Requests,
    pub(super) shutdown: CancellationToken,
}

pub(super) struct Host {
    pub(super) parts: Parts,
    /// The digest of every topic of the schedule.
    pub(super) digests: HashMap<TopicHash, ForkDigest>,
    pub(super) outbox: Outbox,
    pub(super) peering: Peering,
    pub(super) echoes: Echoes,
    pub(super) budgets: Budgets,
    /// Peers whose queues let messages go: how often in a row, and when last.
    pub(super) slow: HashMap<PeerId, (u32, Instant)>,
    pub(super) retries: Retries,
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
            budgets: Budgets::new(parts.chain.spec(), NEW),
            slow: HashMap::new(),
            parts,
            digests,
            outbox: Outbox::default(),
            peering: Peering::new(),
            echoes: Echoes::default(),
            retries: Retries::default(),
        }
    }

    /// Runs until the shutdown token is cancelled. Connections are closed with the swarm.
    pub(super) async fn run(mut self) {
        let shutdown = self.parts.shutdown.clone();
        let news = Arc::clone(&self.parts.news);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next_dial = self.parts.shared.peers.lock().next_due();
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = self.parts.swarm.select_next_some() => self.on_event(event),
                Some(report) = self.parts.reports.recv() => self.on_report(report),
                Some(proof) = self.parts.publish.recv() => self.publish(proof),
                Some((peer, fault)) = self.parts.faults.recv() => self.on_fault(peer, fault),
                _ = ticks.tick() => self.on_tick(),
                () = sleep_until(next_dial) => self.dial_due(),
                () = news.notified() => self.dial_due(),
            }
        }
        self.farewell().await;
        self.save_peers_at_end();
        self.parts.record.kept().await;
        if let Some(discovery) = self.parts.record.discovery.take() {
            let _ = discovery.task.await;
        }
        tracing::info!("network ends");
    }

    fn on_tick(&mut self) {
        self.gossip_tick();
        self.refresh_record();
        self.tick_peers();
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(event),
            SwarmEvent::ConnectionEstablished {
                peer_id, endpoint, ..
            } => self.on_connected(peer_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                cause,
                ..
            } => self.on_connection_closed(peer_id, connection_id, num_established, cause),
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => self.on_dial_error(&peer, &error),
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                ..
            } => {
                if let Some(reason) = uncounted(&error) {
                    self.parts.shared.counters.denied(reason);
                }
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
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}
