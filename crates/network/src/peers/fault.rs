//! What a peer did wrong and what it costs; the way such reports take; and the reasons told with a goodbye.

use crate::counters::Counters;
use libp2p::PeerId;
use tokio::sync::mpsc;

/// Reports that may wait for the host; further ones are dropped and counted. A peer that earns more than these between
/// two looks is past every threshold already.
const REPORT_QUEUE_LEN: usize = 512;

/// What a peer did. Engine trouble, slow links within their time and proofs that are merely not there are none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A response that is no answer: bad lengths, bad snappy, bad SSZ, an unknown result code.
    InvalidResponse,
    /// Proofs that were not asked for, or are too many.
    WrongProof,
    /// Proofs that were asked for, their slots not in rising order.
    WrongOrder,
    /// A proof it served on request that turned out to be invalid, or signed by nobody.
    InvalidProof,
    /// A request that is none: bad lengths, bad snappy, bad SSZ, limits exceeded.
    InvalidRequest,
    /// No answer, or no progress, within a stage's time.
    TimedOut,
    /// More requests or streams than anybody needs.
    Flooding,
    /// Its `status` says that it is on another network or an irrelevant fork.
    WrongNetwork,
    /// It tells no `status`: it speaks neither version, or has answered none for minutes. Beacon nodes and Assay do.
    NoStatus,
}

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Consequence {
    /// Points off its score.
    Cost(f64),
    /// It is told goodbye for this reason and not talked to for a while, whatever its score; its address is not blamed.
    Part(Goodbye),
}

impl Fault {
    /// Every fault, for tables and metrics.
    pub const ALL: [Self; 9] = [
        Self::InvalidResponse,
        Self::WrongProof,
        Self::WrongOrder,
        Self::InvalidProof,
        Self::InvalidRequest,
        Self::TimedOut,
        Self::Flooding,
        Self::WrongNetwork,
        Self::NoStatus,
    ];

    /// As metrics name it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::InvalidResponse => "invalid_response",
            Self::WrongProof => "wrong_proof",
            Self::WrongOrder => "wrong_order",
            Self::InvalidProof => "invalid_proof",
            Self::InvalidRequest => "invalid_request",
            Self::TimedOut => "timed_out",
            Self::Flooding => "flooding",
            Self::WrongNetwork => "wrong_network",
            Self::NoStatus => "no_status",
        }
    }

    /// Disconnected below -20, banned below -50, half forgotten after ten minutes: two invalid responses are borne and
    /// the third is not, a slow peer is let go after a dozen stalls, and whoever serves what nobody asked for gets
    /// one more chance. Wrong order is against the text (slot-ascending) and ends the response, but the proofs before it
    /// were good, and a reorg in the midst of an answer can look so: the fifth time is one too many.
    pub(crate) const fn consequence(self) -> Consequence {
        match self {
            Self::InvalidResponse | Self::InvalidRequest => Consequence::Cost(10.0),
            Self::WrongProof => Consequence::Cost(15.0),
            Self::InvalidProof => Consequence::Cost(20.0),
            Self::TimedOut => Consequence::Cost(2.0),
            Self::Flooding | Self::WrongOrder => Consequence::Cost(5.0),
            Self::WrongNetwork => Consequence::Part(Goodbye::IrrelevantNetwork),
            // It may well be of this network: nobody knows.
            Self::NoStatus => Consequence::Part(Goodbye::Fault),
        }
    }
}

/// Where faults are reported, from any task.
#[derive(Clone)]
pub(crate) struct PeerReports {
    sender: mpsc::Sender<(PeerId, Fault)>,
    counters: Counters,
}

impl PeerReports {
    /// The way in, and the end that the host reads.
    pub(crate) fn new(counters: Counters) -> (Self, mpsc::Receiver<(PeerId, Fault)>) {
        let (sender, receiver) = mpsc::channel(REPORT_QUEUE_LEN);
        (Self { sender, counters }, receiver)
    }

    /// Reports a fault; the host counts it. Never waits.
    pub(crate) fn report(&self, peer: PeerId, fault: Fault) {
        if self.sender.try_send((peer, fault)).is_err() {
            self.counters.reports_dropped.inc();
        }
    }
}

/// Why a peer is told goodbye: the reasons of the phase0 p2p text and those that clients use beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goodbye {
    /// This node ends.
    Shutdown,
    /// Another network, or an irrelevant fork.
    IrrelevantNetwork,
    /// A fault or an error: it does not speak as peers do.
    Fault,
    /// More peers than wanted.
    TooManyPeers,
    /// A score below the threshold.
    BadScore,
    /// Banned for a while.
    Banned,
    /// So many banned peers at its address that the address is banned.
    BannedAddress,
}

impl Goodbye {
    /// The number on the wire.
    pub const fn code(self) -> u64 {
        match self {
            Self::Shutdown => 1,
            Self::IrrelevantNetwork => 2,
            Self::Fault => 3,
            Self::TooManyPeers => 129,
            Self::BadScore => 250,
            Self::Banned => 251,
            Self::BannedAddress => 252,
        }
    }

    /// As logs and metrics name it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::IrrelevantNetwork => "irrelevant_network",
            Self::Fault => "fault",
            Self::TooManyPeers => "too_many_peers",
            Self::BadScore => "bad_score",
            Self::Banned => "banned",
            Self::BannedAddress => "banned_address",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_full_queue_drops_reports_and_counts_those() {
        let counters = Counters::default();
        let (reports, mut received) = PeerReports::new(counters.clone());
        let peer = PeerId::random();
        for _ in 0..REPORT_QUEUE_LEN + 3 {
            reports.report(peer, Fault::TimedOut);
        }
        assert_eq!(counters.reports_dropped.get(), 3);
        assert_eq!(received.recv().await.unwrap(), (peer, Fault::TimedOut));
    }
}
