//! What the network counts: Prometheus metrics that are also read as plain numbers.

use assay_verification::{IgnoreReason, RejectReason, Verdict};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// A verdict and its reason (empty for `accept`), as metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct VerdictLabels {
    pub(crate) verdict: &'static str,
    pub(crate) reason: &'static str,
}

/// Why gossip data was refused before it could be a message, or a proof was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    pub(crate) reason: &'static str,
}

/// What a peer's stream was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    protocol: &'static str,
}

/// All counters. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) messages_received: Counter,
    pub(crate) messages_duplicate: Counter,
    pub(crate) messages_undecodable: Family<ReasonLabels, Counter>,
    pub(crate) messages_forwarded: Counter,
    pub(crate) messages_published: Counter,
    pub(crate) publish_failed: Family<ReasonLabels, Counter>,
    pub(crate) published_without_peers: Counter,
    pub(crate) verdicts: Family<VerdictLabels, Counter>,
    pub(crate) parked: Counter,
    pub(crate) wrong_digest: Counter,
    pub(crate) late_accepts: Counter,
    pub(crate) over_budget: Counter,
    passed_over: Family<ReasonLabels, Counter>,
    pub(crate) undecided: Gauge,
    peer_streams: Family<StreamLabels, Counter>,
    pub(crate) streams_given_up: Family<ReasonLabels, Counter>,
    pub(crate) peers_connected: Gauge,
    pub(crate) peers_proof_aware: Gauge,
    pub(crate) peers_known: Gauge,
    pub(crate) bans: Gauge,
    pub(crate) dial_failures: Counter,
    pub(crate) connections_denied: Family<ReasonLabels, Counter>,
    pub(crate) faults: Family<ReasonLabels, Counter>,
    pub(crate) reports_dropped: Counter,
    pub(crate) messages_dropped: Counter,
    pub(crate) discovery_queries: Counter,
    pub(crate) discovery_queries_empty: Counter,
    pub(crate) records: Family<ReasonLabels, Counter>,
}

impl Counters {
    /// Registers everything under `assay_network_`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("assay_network");
        r.register_with_unit(
            "received",
            "Bytes read from peers' sockets",
            Unit::Bytes,
            self.bytes_received.clone(),
        );
        r.register_with_unit(
            "sent",
            "Bytes written to peers' sockets",
            Unit::Bytes,
            self.bytes_sent.clone(),
        );
        r.register(
            "gossip_messages_received",
            "Gossip messages taken in, once each",
            self.messages_received.clone(),
        );
        r.register(
            "gossip_messages_duplicate",
            "Gossip messages that had come before, from the same peer or another: unpacked, and known by their ids",
            self.messages_duplicate.clone(),
        );
        r.register(
            "gossip_messages_undecodable",
            "Gossip data that was no message: not snappy, too long unpacked or packed, of a topic this node has not joined, or with an author, number or signature",
            self.messages_undecodable.clone(),
        );
        r.register(
            "gossip_messages_forwarded",
            "Gossip messages that were accepted in time to go on to those of the mesh that lack them, if any do",
            self.messages_forwarded.clone(),
        );
        r.register(
            "gossip_messages_published",
            "Proofs of this node's own that went out on gossip",
            self.messages_published.clone(),
        );
        r.register(
            "gossip_publish_failed",
            "Proofs of this node's own that could not go out on gossip",
            self.publish_failed.clone(),
        );
        r.register(
            "gossip_published_without_peers",
            "Proofs that were to be published while no peer had joined the topic; they wait for one",
            self.published_without_peers.clone(),
        );
        r.register(
            "gossip_verdicts",
            "Verdicts on gossip messages",
            self.verdicts.clone(),
        );
        r.register(
            "gossip_parked",
            "Gossip messages whose verdict had to wait",
            self.parked.clone(),
        );
        r.register(
            "gossip_wrong_digest",
            "Gossip messages that came on a topic of another fork digest than their payload's",
            self.wrong_digest.clone(),
        );
        r.register(
            "gossip_late_accepts",
            "Gossip messages accepted after the message cache had let them go: kept, not forwarded",
            self.late_accepts.clone(),
        );
        r.register(
            "gossip_over_budget",
            "Gossip messages ignored unjudged because their peer brings more than any honest one",
            self.over_budget.clone(),
        );
        r.register(
            "gossip_passed_over",
            "Gossip messages passed over unread: their peer's score is too low, until it is let go (of RPCs with control, which are passed over too, each counts once as graylisted_control), one RPC held more than is looked at, or the peer brings more than any honest one, repeats included; beyond these limits they are not seen and may come again",
            self.passed_over.clone(),
        );
        r.register(
            "gossip_undecided",
            "Gossip messages taken in that have no verdict yet: judged now, or waiting",
            self.undecided.clone(),
        );
        r.register(
            "gossip_streams_given_up",
            "Gossip streams given up, or ended within a message: next to nothing came of it in a minute (unfinished), crowded out by all that was unfinished, not taken or too slowly, broken off, ended for the room that gossipsub keeps for messages past (kept), or for an RPC that is none or holds more than any may (refused); and connections closed because gossipsub would serve no further stream (spent)",
            self.streams_given_up.clone(),
        );
        r.register("peers_connected", "Connected peers", self.peers_connected.clone());
        r.register(
            "dial_failures",
            "Attempts to connect that failed",
            self.dial_failures.clone(),
        );
        r.register(
            "gossip_messages_dropped",
            "Gossip messages for peers whose queues were full",
            self.messages_dropped.clone(),
        );
        self.register_peers(r);
    }

    fn register_peers(&self, r: &mut Registry) {
        r.register(
            "peers_proof_aware",
            "Connected peers that take part in proofs",
            self.peers_proof_aware.clone(),
        );
        r.register(
            "peers_known",
            "Peers known, connected or not",
            self.peers_known.clone(),
        );
        r.register("bans", "Peers and addresses banned now", self.bans.clone());
        r.register(
            "connections_denied",
            "Connections that were not let in, and incoming ones that came to nothing, by reason",
            self.connections_denied.clone(),
        );
        r.register("peer_faults", "What peers did wrong", self.faults.clone());
        r.register(
            "peer_streams",
            "Streams that peers opened, by what they were for (none: they ended before that was agreed on)",
            self.peer_streams.clone(),
        );
        r.register(
            "peer_reports_dropped",
            "Reports of what peers did wrong that found their queue full",
            self.reports_dropped.clone(),
        );
        r.register(
            "discovery_queries",
            "Queries of discovery",
            self.discovery_queries.clone(),
        );
        r.register(
            "discovery_queries_empty",
            "Queries of discovery that brought no new peer",
            self.discovery_queries_empty.clone(),
        );
        r.register(
            "discovery_records",
            "Node records that discovery brought: taken, or why not",
            self.records.clone(),
        );
    }

    /// Makes a series of each metric that has labels, at zero: for the table of all metrics.
    pub(crate) fn make_all(&self) {
        let verdicts = std::iter::once(("accept", ""))
            .chain(IgnoreReason::ALL.iter().map(|r| ("ignore", r.label())))
            .chain(RejectReason::ALL.iter().map(|r| ("reject", r.label())));
        for (verdict, reason) in verdicts {
            drop(self.verdicts.get_or_create(&VerdictLabels { verdict, reason }));
        }
        for reason in UNDECODABLE_REASONS {
            drop(self.messages_undecodable.get_or_create(&ReasonLabels { reason }));
        }
        for reason in PASSED_OVER_REASONS {
            drop(self.passed_over.get_or_create(&ReasonLabels { reason }));
        }
        for protocol in [STREAM_GOSSIP, STREAM_OTHER, STREAM_NONE] {
            drop(self.peer_streams.get_or_create(&StreamLabels { protocol }));
        }
        for reason in crate::host::GIVEN_UP_REASONS {
            drop(self.streams_given_up.get_or_create(&ReasonLabels { reason }));
        }
        let any = ReasonLabels { reason: ANY };
        for family in [
            &self.publish_failed,
            &self.connections_denied,
            &self.faults,
            &self.records,
        ] {
            drop(family.get_or_create(&any));
        }
    }

    pub(crate) fn verdict(&self, labels: VerdictLabels) {
        self.verdicts.get_or_create(&labels).inc();
    }

    pub(crate) fn undecodable(&self, reason: &'static str) {
        self.messages_undecodable
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }

    /// Messages passed over unread, for one of `PASSED_OVER_REASONS`.
    pub(crate) fn passed_over(&self, reason: &'static str, messages: usize) {
        if messages > 0 {
            self.passed_over
                .get_or_create(&ReasonLabels { reason })
                .inc_by(messages as u64);
        }
    }

    pub(crate) fn publish_failure(&self, reason: &'static str) {
        self.publish_failed.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn fault(&self, reason: &'static str) {
        self.faults.get_or_create(&ReasonLabels { reason }).inc();
    }

    pub(crate) fn gossip_streams(&self, reason: &'static str, given_up: usize) {
        if given_up > 0 {
            self.streams_given_up
                .get_or_create(&ReasonLabels { reason })
                .inc_by(given_up as u64);
        }
    }

    /// A peer's stream turned out to be for this: one of `STREAM_…`.
    pub(crate) fn peer_stream(&self, protocol: &'static str) {
        self.peer_streams.get_or_create(&StreamLabels { protocol }).inc();
    }

    #[cfg(test)]
    pub(crate) fn peer_streams_of(&self, protocol: &'static str) -> u64 {
        self.peer_streams.get_or_create(&StreamLabels { protocol }).get()
    }

    #[cfg(test)]
    pub(crate) fn passed_over_of(&self, reason: &'static str) -> u64 {
        sum_of(&self.passed_over, &[reason])
    }

    #[cfg(test)]
    pub(crate) fn undecodable_of(&self, reason: &'static str) -> u64 {
        sum_of(&self.messages_undecodable, &[reason])
    }

    #[cfg(test)]
    pub(crate) fn gossip_streams_of(&self, reason: &'static str) -> u64 {
        self.streams_given_up
            .get_or_create(&ReasonLabels { reason })
            .get()
    }

    pub(crate) fn denied(&self, reason: &'static str) {
        self.connections_denied
            .get_or_create(&ReasonLabels { reason })
            .inc();
    }

    pub(crate) fn record(&self, reason: &'static str) {
        self.records.get_or_create(&ReasonLabels { reason }).inc();
    }

    fn sum_of_verdicts(&self, verdict: &'static str, reasons: impl Iterator<Item = &'static str>) -> u64 {
        reasons
            .filter_map(|reason| {
                self.verdicts
                    .get(&VerdictLabels { verdict, reason })
                    .map(|c| c.get())
            })
            .sum()
    }

    /// The numbers now.
    pub(crate) fn snapshot(&self) -> NetworkCounters {
        NetworkCounters {
            bytes_received: self.bytes_received.get(),
            bytes_sent: self.bytes_sent.get(),
            messages_received: self.messages_received.get(),
            messages_duplicate: self.messages_duplicate.get(),
            messages_undecodable: sum_of(&self.messages_undecodable, &UNDECODABLE_REASONS),
            messages_forwarded: self.messages_forwarded.get(),
            messages_published: self.messages_published.get(),
            published_without_peers: self.published_without_peers.get(),
            accepted: self.sum_of_verdicts("accept", std::iter::once("")),
            ignored: self.sum_of_verdicts("ignore", IgnoreReason::ALL.iter().map(|r| r.label())),
            rejected: self.sum_of_verdicts("reject", RejectReason::ALL.iter().map(|r| r.label())),
            parked: self.parked.get(),
            wrong_digest: self.wrong_digest.get(),
            late_accepts: self.late_accepts.get(),
            over_budget: self.over_budget.get(),
            passed_over: sum_of(&self.passed_over, &PASSED_OVER_REASONS),
            undecided: u64::try_from(self.undecided.get()).unwrap_or_default(),
        }
    }
}

fn sum_of(family: &Family<ReasonLabels, Counter>, reasons: &[&'static str]) -> u64 {
    reasons
        .iter()
        .filter_map(|reason| family.get(&ReasonLabels { reason }).map(|c| c.get()))
        .sum()
}

/// Stands in the table of all metrics for values that are not listed.
pub(crate) const ANY: &str = "…";

/// One series of every metric of the network, at zero: for the table of all metrics.
pub fn all_metrics(registry: &mut Registry) {
    let counters = Counters::default();
    counters.make_all();
    counters.register(registry);
    let rpc = crate::rpc::RpcCounters::default();
    rpc.make_all();
    rpc.register(registry);
    let sync = crate::sync::SyncCounters::default();
    sync.make_all();
    sync.register(registry);
}

/// Every reason `undecodable` is counted under.
pub(crate) const UNDECODABLE_REASONS: [&str; 6] = [
    UNDECODABLE_TOPIC,
    UNDECODABLE_TOLERATED,
    UNDECODABLE_TOO_LONG,
    UNDECODABLE_SNAPPY,
    UNDECODABLE_PACKED_TOO_LONG,
    UNDECODABLE_NOT_ANONYMOUS,
];
/// Not joined, but close to a boundary where peers may have: costs nothing.
pub(crate) const UNDECODABLE_TOLERATED: &str = "topic_tolerated";
pub(crate) const UNDECODABLE_TOPIC: &str = "topic_not_joined";
pub(crate) const UNDECODABLE_TOO_LONG: &str = "too_long";
pub(crate) const UNDECODABLE_SNAPPY: &str = "not_snappy";
/// As it came; refused where RPCs are read.
pub(crate) const UNDECODABLE_PACKED_TOO_LONG: &str = "packed_too_long";
/// Author, sequence number or signature (protocol.md section 4); refused where RPCs are read.
pub(crate) const UNDECODABLE_NOT_ANONYMOUS: &str = "not_anonymous";

/// Every reason messages are passed over unread for.
pub(crate) const PASSED_OVER_REASONS: [&str; 4] = [
    PASSED_OVER_GRAYLISTED,
    PASSED_OVER_CONTROL,
    PASSED_OVER_RPC_LIMIT,
    PASSED_OVER_BUDGET,
];
/// Of a peer whose score is below the graylist's threshold.
pub(crate) const PASSED_OVER_GRAYLISTED: &str = "graylisted";
/// Of such a peer too: RPCs with control (announcements, requests, grafts and prunes).
pub(crate) const PASSED_OVER_CONTROL: &str = "graylisted_control";
/// More than is looked at of one RPC.
pub(crate) const PASSED_OVER_RPC_LIMIT: &str = "rpc_limit";
/// More than one peer may bring.
pub(crate) const PASSED_OVER_BUDGET: &str = "over_budget";

/// Gossip's.
pub(crate) const STREAM_GOSSIP: &str = "gossip";
/// Any other protocol's.
pub(crate) const STREAM_OTHER: &str = "other";
/// Ended before its protocol was agreed on.
pub(crate) const STREAM_NONE: &str = "none";

impl From<&Verdict> for VerdictLabels {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Accept(_) => Self {
                verdict: "accept",
                reason: "",
            },
            Verdict::Ignore(reason) => Self {
                verdict: "ignore",
                reason: reason.label(),
            },
            Verdict::Reject(reason) => Self {
                verdict: "reject",
                reason: reason.label(),
            },
        }
    }
}

/// The network's counters at one moment, all since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkCounters {
    /// Bytes read from peers' sockets, encryption and multiplexing included.
    pub bytes_received: u64,
    /// Bytes written to peers' sockets, encryption and multiplexing included.
    pub bytes_sent: u64,
    /// Gossip messages taken in, once each.
    pub messages_received: u64,
    /// Gossip messages that had come before.
    pub messages_duplicate: u64,
    /// Gossip data that was no message at all.
    pub messages_undecodable: u64,
    /// Messages accepted in time to go on to those of the mesh that lack them, if any do.
    pub messages_forwarded: u64,
    /// Proofs of this node's own (or asked for) that went out.
    pub messages_published: u64,
    /// Proofs that found no peer to go to when they were published; they wait for one.
    pub published_without_peers: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Messages ignored by the verifier.
    pub ignored: u64,
    /// Messages rejected by the verifier.
    pub rejected: u64,
    /// Messages whose verdict had to wait.
    pub parked: u64,
    /// Messages on the topic of another fork digest than their payload's.
    pub wrong_digest: u64,
    /// Messages accepted too late to be forwarded.
    pub late_accepts: u64,
    /// Messages ignored unjudged, because their peer brought too many.
    pub over_budget: u64,
    /// What was passed over unread: said by peers of too low a score, too much for one RPC, or too much of one peer.
    pub passed_over: u64,
    /// Messages taken in that have no verdict yet.
    pub undecided: u64,
}
