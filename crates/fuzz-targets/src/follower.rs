//! What a beacon node tells its follower: events, and its configuration.

use crate::Seen;
use assay_chain::{follower::event::NodeEvent, node_api::RawEvent};
use assay_types::{
    Epoch, Root, Slot, Spec, digest,
    spec::{ConfigMap, Genesis},
};
use serde_json::Value;

/// An event: its topic, a line feed, its data.
pub(crate) fn node_event(data: &[u8]) -> Seen {
    let Some((topic, json)) = std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.split_once('\n'))
    else {
        return Seen::Refused;
    };
    let raw = |data: String| RawEvent {
        topic: topic.to_owned(),
        data,
    };
    let event = NodeEvent::read(&raw(json.to_owned()));
    if let Ok(Some(event)) = &event {
        // White space, the order of members and unknown ones mean nothing.
        if let Ok(value) = serde_json::from_str::<Value>(json) {
            let again = NodeEvent::read(&raw(format!("{value:#}"))).unwrap();
            assert_eq!(again.as_ref(), Some(event));
        }
    }
    Seen::accepted(matches!(event, Ok(Some(_))))
}

/// `[config, overrides]`: a beacon node's answer, and settings of the operator.
pub(crate) fn spec_config(data: &[u8]) -> Seen {
    let Ok((config, overrides)) = serde_json::from_slice::<(ConfigMap, ConfigMap)>(data) else {
        return Seen::Refused;
    };
    let spec = Spec::from_config(&config, &overrides);
    if let Ok(spec) = &spec {
        let again = Spec::from_config(&spec.to_config(), &ConfigMap::new());
        assert_eq!(&again.unwrap(), spec);
        use_everywhere(spec);
    }
    Seen::of(&spec)
}

/// No value that was taken overflows or contradicts itself later.
fn use_everywhere(spec: &Spec) {
    let genesis = Genesis {
        genesis_time: 1_600_000_000,
        genesis_validators_root: Root::from([1; 32]),
    };
    let root = &genesis.genesis_validators_root;
    assert!(spec.max_signed_proof_size() > 0 && spec.max_request_execution_proofs() > 0);
    assert!(spec.list_limits().proof_types > 0);
    let boundaries = spec.digest_boundaries();
    assert!(boundaries.is_sorted());
    let beyond = [0, 1, u64::MAX - 1, u64::MAX].map(Epoch);
    for epoch in boundaries.into_iter().take(100).chain(beyond) {
        digest::execution_proof_topic(spec.fork_digest(root, epoch));
        spec.execution_proof_domain(&genesis, epoch);
        assert!(spec.next_digest_boundary(epoch).is_none_or(|next| next > epoch));
        assert!(spec.next_fork(epoch).is_none_or(|(_, _, next)| next > epoch));
        let slot = spec.start_slot(epoch);
        assert!(spec.epoch_at_slot(slot) <= epoch);
        let timestamp = spec.timestamp_at_slot(genesis.genesis_time, slot);
        if let Some(found) = spec.slot_at_timestamp(genesis.genesis_time, timestamp) {
            assert_eq!(spec.timestamp_at_slot(genesis.genesis_time, found), timestamp);
        }
    }
    spec.slot_at_timestamp(u64::MAX, 0);
    spec.slot_at_timestamp(0, u64::MAX);
    spec.timestamp_at_slot(u64::MAX, Slot(u64::MAX));
}
