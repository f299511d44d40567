//! Raw snappy between gossipsub and the wire.

use crate::counters::{
    Counters, UNDECODABLE_SNAPPY, UNDECODABLE_TOLERATED, UNDECODABLE_TOO_LONG, UNDECODABLE_TOPIC,
};
use assay_types::gossip::{self, SnappyError};
use libp2p::gossipsub::{DataTransform, Message, RawMessage, TopicHash};
use parking_lot::RwLock;
use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Topics as host and transform share them.
#[derive(Default)]
pub(crate) struct Topics {
    /// Joined now.
    pub(crate) joined: HashSet<TopicHash>,
    /// Not joined, but perhaps by peers (`TopicSchedule::tolerated_at_epoch`).
    pub(crate) tolerated: HashSet<TopicHash>,
}

/// `Topics`, shared.
pub(crate) type JoinedTopics = Arc<RwLock<Topics>>;

/// How many messages of joined topics were unpacked: those of them that gossipsub does not hand on, it had seen before
/// (`passed_over`).
pub(super) type Unpacked = Arc<AtomicU64>;

/// Unpacks what comes, bounded by the largest signed proof before anything is allocated, and packs what goes.
///
/// Data that does not unpack is an error here, which gossipsub counts as an invalid message of its sender (REJECT):
/// it has no message event and no verdict. Data of topics that were not joined is refused as well, because gossipsub
/// would keep it for as long as its cache reaches and nobody would ever judge it. Around a boundary of fork digests a
/// peer that joins a topic a little earlier, or leaves it a little later, must not pay for it: data of a tolerated topic
/// becomes the empty message, which has the same id each time, so that gossipsub passes over all but the first.
pub(crate) struct ProofTransform {
    topics: JoinedTopics,
    max_ssz_len: usize,
    unpacked: Unpacked,
    counters: Counters,
}

impl ProofTransform {
    pub(super) fn new(
        topics: JoinedTopics,
        max_ssz_len: usize,
        unpacked: Unpacked,
        counters: Counters,
    ) -> Self {
        Self {
            topics,
            max_ssz_len,
            unpacked,
            counters,
        }
    }

    fn unpack(&self, topic: &TopicHash, data: &[u8]) -> Result<Vec<u8>, (&'static str, String)> {
        {
            let topics = self.topics.read();
            if topics.tolerated.contains(topic) {
                self.counters.undecodable(UNDECODABLE_TOLERATED);
                return Ok(Vec::new());
            }
            if !topics.joined.contains(topic) {
                return Err((UNDECODABLE_TOPIC, format!("topic {topic} is not joined")));
            }
        }
        let data = gossip::decompress(data, self.max_ssz_len).map_err(|e| match e {
            SnappyError::TooLong { .. } => (UNDECODABLE_TOO_LONG, e.to_string()),
            SnappyError::Invalid(_) => (UNDECODABLE_SNAPPY, e.to_string()),
        })?;
        self.unpacked.fetch_add(1, Ordering::Relaxed);
        Ok(data)
    }
}

impl DataTransform for ProofTransform {
    fn inbound_transform(&self, raw: RawMessage) -> Result<Message, io::Error> {
        match self.unpack(&raw.topic, &raw.data) {
            Ok(data) => Ok(Message {
                source: raw.source,
                data,
                sequence_number: raw.sequence_number,
                topic: raw.topic,
            }),
            Err((reason, why)) => {
                self.counters.undecodable(reason);
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
        }
    }

    fn outbound_transform(&self, _topic: &TopicHash, data: Vec<u8>) -> Result<Vec<u8>, io::Error> {
        Ok(gossip::compress(&data))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::counters::UNDECODABLE_REASONS;

    fn raw(topic: &TopicHash, data: Vec<u8>) -> RawMessage {
        RawMessage {
            source: None,
            data,
            sequence_number: None,
            topic: topic.clone(),
            signature: None,
            key: None,
            validated: false,
        }
    }

    #[test]
    fn only_bounded_snappy_of_joined_topics_passes() {
        let topic = TopicHash::from_raw("joined");
        let other = TopicHash::from_raw("other");
        let counters = Counters::default();
        let joined = JoinedTopics::default();
        joined.write().joined.insert(topic.clone());
        let unpacked = Unpacked::default();
        let transform = ProofTransform::new(joined, 100, Arc::clone(&unpacked), counters.clone());
        let packed = |len: usize| transform.outbound_transform(&topic, vec![7; len]).unwrap();

        assert_eq!(
            transform
                .inbound_transform(raw(&topic, packed(100)))
                .unwrap()
                .data,
            vec![7; 100]
        );
        let bomb = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        for (topic, data, reason) in [
            (&topic, packed(101), UNDECODABLE_TOO_LONG),
            (&topic, bomb, UNDECODABLE_TOO_LONG),
            (&topic, vec![0xff; 20], UNDECODABLE_SNAPPY),
            (&topic, Vec::new(), UNDECODABLE_SNAPPY),
            (&other, packed(100), UNDECODABLE_TOPIC),
        ] {
            let count = || {
                UNDECODABLE_REASONS.map(|reason| {
                    counters
                        .messages_undecodable
                        .get_or_create(&crate::counters::ReasonLabels { reason })
                        .get()
                })
            };
            let mut expected = count();
            expected[UNDECODABLE_REASONS.iter().position(|r| *r == reason).unwrap()] += 1;
            assert!(transform.inbound_transform(raw(topic, data)).is_err());
            assert_eq!(count(), expected, "{reason}");
        }

        // Whatever comes on a tolerated topic is the empty message, even what would not unpack.
        transform.topics.write().tolerated.insert(other.clone());
        for data in [packed(100), vec![0xff; 20]] {
            let message = transform.inbound_transform(raw(&other, data)).unwrap();
            assert!(message.data.is_empty());
        }
        let tolerated = crate::counters::ReasonLabels {
            reason: UNDECODABLE_TOLERATED,
        };
        assert_eq!(counters.messages_undecodable.get_or_create(&tolerated).get(), 2);
        assert_eq!(unpacked.load(Ordering::Relaxed), 1, "what of joined topics did");
    }
}
