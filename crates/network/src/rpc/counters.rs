//! What is counted of requests and responses.

use super::{Direction, Protocol};
use crate::counters::ANY;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};
use std::{sync::atomic::AtomicU64, time::Duration};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    protocol: &'static str,
    direction: &'static str,
    result: &'static str,
}

/// What went over a protocol's streams; `direction` is that of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TrafficLabels {
    protocol: &'static str,
    direction: &'static str,
}

/// Streams that were not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DropLabels {
    protocol: &'static str,
    reason: &'static str,
}

/// A reason told with a goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GoodbyeLabels {
    direction: &'static str,
    reason: &'static str,
}

/// All counters of requests and responses; clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct RpcCounters {
    requests: Family<RequestLabels, Counter>,
    bytes_read: Family<TrafficLabels, Counter>,
    bytes_written: Family<TrafficLabels, Counter>,
    chunks: Family<TrafficLabels, Counter>,
    dropped: Family<DropLabels, Counter>,
    goodbyes: Family<GoodbyeLabels, Counter>,
    delayed: Counter<f64, AtomicU64>,
    pub(crate) slow_chunks: Counter,
    pub(crate) streams: Gauge,
}

impl RpcCounters {
    /// Registers everything under `assay_network_rpc_`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("assay_network_rpc");
        r.register(
            "requests",
            "Requests that ended: of peers (inbound) and of this node (outbound), by how they ended",
            self.requests.clone(),
        );
        r.register_with_unit(
            "read",
            "Bytes read from requests' streams, by who asked",
            Unit::Bytes,
            self.bytes_read.clone(),
        );
        r.register_with_unit(
            "written",
            "Bytes written to requests' streams, by who asked",
            Unit::Bytes,
            self.bytes_written.clone(),
        );
        r.register(
            "chunks",
            "Success chunks sent (inbound requests) and taken (outbound requests)",
            self.chunks.clone(),
        );
        r.register(
            "dropped_streams",
            "Streams of peers that were closed without an answer",
            self.dropped.clone(),
        );
        r.register("goodbyes", "Goodbyes told and received", self.goodbyes.clone());
        r.register_with_unit(
            "delayed",
            "Time that responses waited for their peers' rate limits",
            Unit::Seconds,
            self.delayed.clone(),
        );
        r.register(
            "slow_chunks",
            "Chunks that peers took slowly, or not in time: for some minutes these peers get small places alone",
            self.slow_chunks.clone(),
        );
        r.register("streams", "Streams of peers being served", self.streams.clone());
    }

    /// Makes a series of each metric that has labels, at zero: for the table of all metrics.
    pub(crate) fn make_all(&self) {
        for protocol in Protocol::ALL.iter().map(|protocol| protocol.label()) {
            for direction in [Direction::Inbound, Direction::Outbound].map(Direction::as_str) {
                let labels = TrafficLabels { protocol, direction };
                for family in [&self.bytes_read, &self.bytes_written, &self.chunks] {
                    drop(family.get_or_create(&labels));
                }
                drop(self.requests.get_or_create(&RequestLabels {
                    protocol,
                    direction,
                    result: ANY,
                }));
            }
            drop(self.dropped.get_or_create(&DropLabels {
                protocol,
                reason: ANY,
            }));
        }
        for direction in [Direction::Inbound, Direction::Outbound].map(Direction::as_str) {
            drop(self.goodbyes.get_or_create(&GoodbyeLabels {
                direction,
                reason: ANY,
            }));
        }
    }

    pub(crate) fn request(&self, protocol: Protocol, direction: Direction, result: &'static str) {
        let labels = RequestLabels {
            protocol: protocol.label(),
            direction: direction.as_str(),
            result,
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(crate) fn read(&self, protocol: Protocol, direction: Direction, bytes: usize) {
        self.bytes_read
            .get_or_create(&traffic(protocol, direction))
            .inc_by(bytes as u64);
    }

    pub(crate) fn written(&self, protocol: Protocol, direction: Direction, bytes: usize) {
        self.bytes_written
            .get_or_create(&traffic(protocol, direction))
            .inc_by(bytes as u64);
    }

    pub(crate) fn chunk(&self, protocol: Protocol, direction: Direction) {
        self.chunks.get_or_create(&traffic(protocol, direction)).inc();
    }

    pub(crate) fn dropped(&self, protocol: Protocol, reason: &'static str) {
        let labels = DropLabels {
            protocol: protocol.label(),
            reason,
        };
        self.dropped.get_or_create(&labels).inc();
    }

    pub(crate) fn goodbye(&self, direction: Direction, reason: &'static str) {
        let labels = GoodbyeLabels {
            direction: direction.as_str(),
            reason,
        };
        self.goodbyes.get_or_create(&labels).inc();
    }

    pub(crate) fn delayed(&self, wait: Duration) {
        self.delayed.inc_by(wait.as_secs_f64());
    }

    /// How often requests of a protocol ended this way.
    #[cfg(test)]
    pub(crate) fn requests_of(&self, protocol: Protocol, direction: Direction, result: &'static str) -> u64 {
        let labels = RequestLabels {
            protocol: protocol.label(),
            direction: direction.as_str(),
            result,
        };
        self.requests.get(&labels).map_or(0, |counter| counter.get())
    }

    /// Goodbyes told or received for a reason.
    #[cfg(test)]
    pub(crate) fn goodbyes_of(&self, direction: Direction, reason: &'static str) -> u64 {
        let labels = GoodbyeLabels {
            direction: direction.as_str(),
            reason,
        };
        self.goodbyes.get(&labels).map_or(0, |counter| counter.get())
    }

    /// Success chunks of a protocol.
    #[cfg(test)]
    pub(crate) fn chunks_of(&self, protocol: Protocol, direction: Direction) -> u64 {
        self.chunks
            .get(&traffic(protocol, direction))
            .map_or(0, |counter| counter.get())
    }

    /// Streams of a protocol that were dropped for a reason.
    #[cfg(test)]
    pub(crate) fn dropped_of(&self, protocol: Protocol, reason: &'static str) -> u64 {
        let labels = DropLabels {
            protocol: protocol.label(),
            reason,
        };
        self.dropped.get(&labels).map_or(0, |counter| counter.get())
    }
}

fn traffic(protocol: Protocol, direction: Direction) -> TrafficLabels {
    TrafficLabels {
        protocol: protocol.label(),
        direction: direction.as_str(),
    }
}
