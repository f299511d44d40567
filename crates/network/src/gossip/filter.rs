//! Which of a peer's subscriptions are remembered.

use super::{TopicSchedule, proof_topic};
use libp2p::gossipsub::{TopicHash, TopicSubscriptionFilter};
use std::collections::HashSet;

/// Remembers the proofs' topics of this network and passes over all others without complaint: a beacon node joins
/// hundreds, and the library's default drops the whole RPC of a peer that joins more than 100. A peer thus costs at
/// most one entry for each digest of the schedule.
pub(crate) struct ProofTopicsOnly {
    topics: HashSet<TopicHash>,
}

impl ProofTopicsOnly {
    pub(super) fn new(schedule: &TopicSchedule) -> Self {
        Self {
            topics: schedule
                .digests()
                .map(|digest| proof_topic(digest).hash())
                .collect(),
        }
    }
}

impl TopicSubscriptionFilter for ProofTopicsOnly {
    fn can_subscribe(&mut self, topic: &TopicHash) -> bool {
        self.topics.contains(topic)
    }
}
