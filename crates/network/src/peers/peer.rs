//! One peer: what is known of it and how it is doing.

use super::{
    Direction, PeerInfo, PeerState, PeerStatus,
    limits::{Site, ip_of},
    score::Score,
};
use crate::backoff;
use assay_types::ExecutionProofStatus;
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

/// Wait after the first failure to connect to a peer of `--peer`; it doubles with each further one.
pub(super) const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait between attempts on a peer of `--peer`.
pub(super) const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// The same for peers that were found and reached: after a partition they are what a node has.
const FIRST_BACKOFF_PROVEN: Duration = Duration::from_secs(2);
const MAX_BACKOFF_PROVEN: Duration = Duration::from_secs(30);
/// The same for peers that were found and never reached.
pub(super) const FIRST_BACKOFF_FOUND: Duration = Duration::from_secs(10);
const MAX_BACKOFF_FOUND: Duration = Duration::from_secs(600);
/// A peer that said goodbye is not asked again before.
pub(super) const GOODBYE_BACKOFF: Duration = Duration::from_secs(120);
/// A connection that lasted this long counts as one: what comes after begins with the first back-off again.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Failures after which a peer that was found is forgotten: never reached, and reached before (some ten minutes).
/// Discovery brings back who lives.
pub(super) const HOPELESS_AFTER: u32 = 3;
const HOPELESS_AFTER_PROVEN: u32 = 24;
/// Addresses kept of one peer.
pub(super) const MAX_ADDRESSES: usize = 8;
/// Characters kept of what a peer calls itself.
const MAX_AGENT: usize = 128;
/// How long a record's `eproof` is believed of a connected peer that shows no sign of it.
pub(super) const EVIDENCE_WAIT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Idle {
        due: Instant,
    },
    Dialing,
    Open {
        since: Instant,
    },
    /// Open, and goodbye was said.
    Parting {
        since: Instant,
        closing: bool,
    },
}

/// A connection that stands.
#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    address: Multiaddr,
    direction: Direction,
}

#[derive(Debug)]
pub(super) struct Peer {
    /// Given by `--peer`.
    pub(super) trusted: bool,
    /// Where to dial it; empty for peers that found us.
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) enr: Option<(String, u64)>,
    pub(super) eproof: Option<u8>,
    pub(super) link: Link,
    pub(super) failures: u32,
    /// Said goodbye on the connection that is open.
    dismissed: bool,
    /// Was connected at some time.
    pub(super) proven: bool,
    /// Open now, oldest first. The oldest is what counts where a peer has one place: a further one, from wherever it
    /// comes, moves it nowhere.
    connections: Vec<Connection>,
    /// The oldest open connection's, or the last one's.
    last_seen: Option<(Multiaddr, Direction)>,
    pub(super) agent: Option<String>,
    pub(super) speaks_proofs: bool,
    pub(super) in_proof_topic: bool,
    /// Was connected long enough to take part in proofs, and did not, whatever its record says.
    disproved: bool,
    pub(super) score: Score,
    pub(super) status: Option<PeerStatus>,
    pub(super) proof_status: Option<ExecutionProofStatus>,
    pub(super) metadata_seq: Option<u64>,
}

impl Peer {
    /// Known and due.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            trusted: false,
            addresses: Vec::new(),
            enr: None,
            eproof: None,
            link: Link::Idle { due: now },
            failures: 0,
            dismissed: false,
            proven: false,
            connections: Vec::new(),
            last_seen: None,
            agent: None,
            speaks_proofs: false,
            in_proof_topic: false,
            disproved: false,
            score: Score::new(now),
            status: None,
            proof_status: None,
            metadata_seq: None,
        }
    }

    pub(super) fn set_record(&mut self, text: String, seq: u64, eproof: u8) {
        self.enr = Some((text, seq));
        self.eproof = Some(eproof);
    }

    pub(super) fn is_called(&self, names: &[&str]) -> bool {
        let agent = self.agent.as_deref().unwrap_or_default();
        names.iter().any(|name| agent.starts_with(name))
    }

    pub(super) fn identified(&mut self, agent: &str, speaks_proofs: bool) {
        self.agent = Some(
            agent
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_AGENT)
                .collect(),
        );
        self.speaks_proofs |= speaks_proofs;
    }

    /// What was true of the last connection need not be of the next.
    pub(super) fn forget_evidence(&mut self) {
        self.speaks_proofs = false;
        self.in_proof_topic = false;
        self.status = None;
        self.proof_status = None;
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.link, Link::Open { .. } | Link::Parting { .. })
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.link, Link::Idle { .. })
    }

    pub(super) fn came_to_us(&self) -> bool {
        matches!(self.last_seen, Some((_, Direction::Inbound)))
    }

    /// Where each of its open connections comes from, those from exempt addresses left out.
    pub(super) fn sites(&self) -> impl Iterator<Item = Site> + '_ {
        let addresses = self.connections.iter().map(|connection| &connection.address);
        addresses.filter_map(|address| ip_of(address).and_then(Site::of))
    }

    /// Where what it did wrong came from: every place it is connected from, or the last one; each once.
    pub(super) fn blamed_sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = self.sites().collect();
        if self.connections.is_empty() {
            let last = self.last_seen.as_ref();
            sites.extend(last.and_then(|(address, _)| ip_of(address).and_then(Site::of)));
        }
        sites.sort_unstable();
        sites.dedup();
        sites
    }

    /// A connection was opened.
    pub(super) fn opened(&mut self, id: ConnectionId, address: Multiaddr, direction: Direction) {
        self.connections.push(Connection {
            id,
            address,
            direction,
        });
        self.see_oldest();
    }

    /// A connection was closed. Whether it was the last.
    pub(super) fn lost(&mut self, id: ConnectionId) -> bool {
        let before = self.connections.len();
        self.connections.retain(|connection| connection.id != id);
        self.see_oldest();
        self.connections.is_empty() && before > 0
    }

    #[cfg(test)]
    pub(super) fn connection_ids(&self) -> Vec<ConnectionId> {
        self.connections.iter().map(|connection| connection.id).collect()
    }

    fn see_oldest(&mut self) {
        if let Some(oldest) = self.connections.first() {
            self.last_seen = Some((oldest.address.clone(), oldest.direction));
        }
    }

    /// By its record, until it is connected for a while; then by what it does. A record that claims it falsely gains
    /// some seconds.
    pub(super) fn is_proof_aware(&self, now: Instant) -> bool {
        if self.speaks_proofs || self.in_proof_topic {
            return true;
        }
        let claimed = self.eproof.is_some_and(|eproof| eproof != 0) && !self.disproved;
        match self.link {
            Link::Open { since } | Link::Parting { since, .. } => {
                claimed && now.saturating_duration_since(since) < EVIDENCE_WAIT
            }
            Link::Idle { .. } | Link::Dialing => claimed,
        }
    }

    /// Larger is better; the least is forgotten first.
    pub(super) fn promise(&self, now: Instant) -> (bool, bool, bool, Reverse<u32>, i64) {
        let points = self.score.at(now);
        (
            !self.addresses.is_empty(),
            self.proven,
            self.is_proof_aware(now),
            Reverse(self.failures),
            // Among equals those with few points are kept longer: they are why a table of faults exists.
            (-points * 1000.0) as i64,
        )
    }

    pub(super) fn is_hopeless(&self) -> bool {
        let after = if self.proven {
            HOPELESS_AFTER_PROVEN
        } else {
            HOPELESS_AFTER
        };
        !self.trusted && self.failures >= after
    }

    /// What a connection that ends has shown.
    pub(super) fn note_evidence(&mut self, now: Instant) {
        if let Link::Open { since } = self.link {
            let shown = self.speaks_proofs || self.in_proof_topic;
            let long = now.saturating_duration_since(since) >= EVIDENCE_WAIT;
            self.disproved = !shown && (long || self.disproved);
        }
    }

    pub(super) fn closed(&mut self, now: Instant) {
        self.note_evidence(now);
        let parting = matches!(self.link, Link::Parting { .. });
        if matches!(self.link, Link::Open { since } if now.saturating_duration_since(since) >= STABLE_AFTER) {
            self.failures = 0;
        }
        self.back_off(now);
        if parting || std::mem::take(&mut self.dismissed) {
            self.told_to_go(now);
        }
    }

    /// After a goodbye, ours or the peer's, it is left alone for a while.
    pub(super) fn told_to_go(&mut self, now: Instant) {
        match &mut self.link {
            _ if self.trusted => {}
            Link::Idle { due } => *due = (*due).max(now + GOODBYE_BACKOFF),
            _ => self.dismissed = true,
        }
    }

    pub(super) fn back_off(&mut self, now: Instant) {
        let (first, most) = match (self.trusted, self.proven) {
            (true, _) => (FIRST_BACKOFF, MAX_BACKOFF),
            (false, true) => (FIRST_BACKOFF_PROVEN, MAX_BACKOFF_PROVEN),
            (false, false) => (FIRST_BACKOFF_FOUND, MAX_BACKOFF_FOUND),
        };
        let wait = backoff::doubled(first, most, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Idle { due: now + wait };
    }

    pub(super) fn state(&self) -> PeerState {
        match self.link {
            Link::Open { .. } => PeerState::Connected,
            Link::Dialing => PeerState::Connecting,
            Link::Parting { .. } => PeerState::Disconnecting,
            Link::Idle { .. } => PeerState::Disconnected,
        }
    }

    pub(super) fn info(&self, peer_id: PeerId, now: Instant) -> PeerInfo {
        PeerInfo {
            peer_id,
            enr: self.enr.as_ref().map(|(text, _)| text.clone()),
            address: self
                .last_seen
                .as_ref()
                .map(|(address, _)| address.clone())
                .or_else(|| self.addresses.first().cloned()),
            state: self.state(),
            direction: self.last_seen.as_ref().map(|(_, direction)| *direction),
            agent: self.agent.clone(),
            score: self.score.at(now),
            eproof: self.eproof,
            proof_aware: self.is_proof_aware(now),
            trusted: self.trusted,
            status: self.status,
            proof_status: self.proof_status.clone(),
            metadata_seq: self.metadata_seq,
        }
    }
}
