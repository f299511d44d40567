//! What good and bad behaviour on gossip is worth, for one to a few messages a slot of up to 4 MiB.
//!
//! | part of the score | here | why |
//! |---|---|---|
//! | P1, time in the mesh | none | a peer that does nothing would rise by it |
//! | P2, first deliveries | 0.5 each, at most 10 count | who brings proofs first is kept when a mesh grows too large; all of it together is worth less than one invalid message costs, so no credit buys one |
//! | P3 and P3b, deliveries missing in the mesh | none | a peer that heeds IDONTWANT, as it should, never delivers what another was quicker with; and a slot without a proof is normal |
//! | P4, invalid messages | -10 for the square of their number, for ten epochs | what counts: REJECT. IGNORE, a late or missing proof engine, a waiting room that is full never come here |
//! | P5, of the application | none | req/resp has its own account |
//! | P6, many peers at one address | none | provers and nodes behind one address are normal; connection limits bound them |
//! | P7, broken promises and hasty grafts | beyond six, by the square | six cost nothing, because a slow link breaks a promise of 4 MiB too |
//! | slow peers | none | a slow link is no misbehaviour; a queue that stays full costs the peer its connection, not its name |

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
/// Score for each first delivery.
const FIRST_DELIVERY_WEIGHT: f64 = 0.5;
/// First deliveries that count: at most 5 of score, half of what one invalid message costs.
const FIRST_DELIVERIES: f64 = 10.0;
/// Epochs after which a first delivery is forgotten.
const FIRST_DELIVERY_EPOCHS: u64 = 4;
/// Epochs that a peer's bad score outlives its connection. Each departed identity with one is a record here, so that this
/// times how often a place may come (`peers::arrivals`) is what changing identities can make a node hold: some sixty a
/// subnet. Longer would buy nothing: a new identity is free, and whoever goes far enough to be banned is remembered by
/// `peers`, which has its own bounds.
const RETAIN_EPOCHS: u64 = 1;
/// Counters below this are zero.
const DECAY_TO_ZERO: f64 = 0.01;
/// Broken promises and hasty grafts that cost nothing.
const BEHAVIOUR_PENALTY_FREE: f64 = 6.0;
/// gossipsub takes no shorter one.
const MIN_DECAY_INTERVAL: Duration = Duration::from_secs(1);

/// Below -4 a peer gets and gives no announcements, below -30 nothing is published to it, below -80 all it says is
/// passed over: after one, two and three invalid messages, whatever good it did. No peers are grafted beyond `D` to
/// better the mesh: each costs a copy of every proof, and below zero a peer leaves the mesh anyway.
pub(super) fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: -4.0,
        publish_threshold: -30.0,
        graylist_threshold: -80.0,
        opportunistic_graft_threshold: 0.0,
        ..PeerScoreThresholds::default()
    }
}

pub(super) fn params(spec: &Spec, schedule: &TopicSchedule) -> PeerScoreParams {
    let interval = Duration::from_millis(spec.slot_duration_ms).max(MIN_DECAY_INTERVAL);
    let epochs = |n: u64| {
        Duration::from_millis(
            spec.slot_duration_ms
                .saturating_mul(spec.slots_per_epoch)
                .saturating_mul(n),
        )
        .max(interval)
    };
    let decay = |n: u64| score_parameter_decay_with_base(epochs(n), interval, DECAY_TO_ZERO);
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: FIRST_DELIVERY_WEIGHT,
        first_message_deliveries_cap: FIRST_DELIVERIES,
        first_message_deliveries_decay: decay(FIRST_DELIVERY_EPOCHS),
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: INVALID_MESSAGE_WEIGHT,
        invalid_message_deliveries_decay: decay(INVALID_MESSAGE_EPOCHS),
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: schedule
            .digests()
            .map(|digest| (proof_topic(digest).hash(), topic.clone()))
            .collect(),
        // Around a boundary a peer delivers on two topics; that is no more credit than on one.
        topic_score_cap: FIRST_DELIVERIES * FIRST_DELIVERY_WEIGHT,
        decay_interval: interval,
        decay_to_zero: DECAY_TO_ZERO,
        retain_score: epochs(RETAIN_EPOCHS),
        behaviour_penalty_threshold: BEHAVIOUR_PENALTY_FREE,
        ip_colocation_factor_weight: 0.0,
        slow_peer_weight: 0.0,
        ..PeerScoreParams::default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use assay_types::Root;

    #[test]
    fn gossipsub_takes_the_parameters_of_any_slot_length() {
        for (slot_ms, slots_per_epoch) in [(12_000, 32), (6000, 8), (200, 8), (0, 0), (u64::MAX, 32)] {
            let mut spec = Spec::mainnet();
            (spec.slot_duration_ms, spec.slots_per_epoch) = (slot_ms, slots_per_epoch);
            let schedule = TopicSchedule::new(&spec, &Root::ZERO);
            params(&spec, &schedule)
                .validate()
                .unwrap_or_else(|e| panic!("slots of {slot_ms} ms: {e}"));
            thresholds().validate().unwrap();
        }
    }

    #[test]
    fn no_good_done_buys_an_invalid_message() {
        let (spec, t) = (Spec::mainnet(), thresholds());
        let params = params(&spec, &TopicSchedule::new(&spec, &Root::ZERO));
        let best = params.topic_score_cap;
        for topic in params.topics.values() {
            assert!(topic.first_message_deliveries_weight * topic.first_message_deliveries_cap <= best);
            let after = |invalid: f64| best + topic.invalid_message_deliveries_weight * invalid * invalid;
            assert!(after(1.0) < t.gossip_threshold, "and so out of the mesh");
            assert!(after(2.0) < t.publish_threshold);
            assert!(after(3.0) < t.graylist_threshold);
        }
    }
}
