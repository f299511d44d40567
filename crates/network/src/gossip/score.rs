//! What misbehaviour on gossip costs. Proofs are few and large, so deliveries are not rewarded and silence is not
//! punished here; what counts is REJECT.

use super::{TopicSchedule, proof_topic};
use assay_types::Spec;
use libp2p::gossipsub::{
    PeerScoreParams, PeerScoreThresholds, TopicScoreParams, score_parameter_decay_with_base,
};
use std::time::Duration;

/// Score for the square of the number of invalid messages: one costs 10 (out of the mesh), two 40, three 90.
const INVALID_MESSAGE_WEIGHT: f64 = -10.0;
/// Epochs after which an invalid message is forgotten.
const INVALID_MESSAGE_EPOCHS: u64 = 10;
/// Counters below this are zero.
const DECAY_TO_ZERO: f64 = 0.01;
/// Broken promises and hasty grafts that cost nothing: slow links break promises too.
const BEHAVIOUR_PENALTY_FREE: f64 = 6.0;

/// Below -5 a peer gets and gives no announcements, below -30 nothing is published to it, below -80 all it says is
/// passed over: after one, two and three invalid messages.
pub(super) fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -5.0,
        publish_threshold: -30.0,
        graylist_threshold: -80.0,
        ..PeerScoreThresholds::default()
    }
}

pub(super) fn params(spec: &Spec, schedule: &TopicSchedule) -> PeerScoreParams {
    let slot = Duration::from_millis(spec.slot_duration_ms.max(1));
    let memory_ms = spec
        .slot_duration_ms
        .saturating_mul(spec.slots_per_epoch)
        .saturating_mul(INVALID_MESSAGE_EPOCHS);
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: INVALID_MESSAGE_WEIGHT,
        invalid_message_deliveries_decay: score_parameter_decay_with_base(
            Duration::from_millis(memory_ms.max(1)),
            slot,
            DECAY_TO_ZERO,
        ),
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: schedule
            .digests()
            .map(|digest| (proof_topic(digest).hash(), topic.clone()))
            .collect(),
        decay_interval: slot,
        decay_to_zero: DECAY_TO_ZERO,
        retain_score: Duration::from_millis(memory_ms),
        behaviour_penalty_threshold: BEHAVIOUR_PENALTY_FREE,
        // Many nodes behind one address are normal for provers; connection limits bound what one address may open.
        ip_colocation_factor_weight: 0.0,
        // A slow link is no misbehaviour.
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    }
}
