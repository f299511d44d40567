//! Proofs that were published while every recipient's queue was full.
//!
//! gossipsub then keeps the message in its cache but counts its id as seen, so it cannot be published again. It can be
//! forwarded, as a message whose verdict comes now. Whether a forward reached a queue is not told; what is told, each
//! heartbeat, is which peers' queues were full. So a try counts as made when a peer of the mesh is not among those.
//!
//! A state machine; time is given. Bounded by number and tries.

use libp2p::{
    PeerId,
    gossipsub::{MessageId, TopicHash},
};
use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// Before the first retry; doubled each time. More than a heartbeat, which is when full queues are told.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Tries for one proof: 15 s, which is about as long as it is worth sending.
const MAX_TRIES: u32 = 4;
/// Proofs that wait for their retry; the oldest goes first.
const MAX_WAITING: usize = 16;

struct Waiting {
    id: MessageId,
    topic: TopicHash,
    tries: u32,
    due: Instant,
    /// Whose queues were full since the last try.
    full: HashSet<PeerId>,
}

/// What becomes of a proof whose time has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Forward it to the mesh.
    Forward(MessageId),
    /// The last try reached somebody.
    Done(MessageId),
    /// It was tried often enough, or others needed its place.
    GaveUp(MessageId),
}

/// Proofs to be tried again.
#[derive(Default)]
pub(crate) struct Retries {
    waiting: VecDeque<Waiting>,
}

impl Retries {
    /// A publish for which all queues were full. What had to go for it.
    pub(crate) fn add(&mut self, id: MessageId, topic: TopicHash, now: Instant) -> Option<Retry> {
        self.waiting.push_back(Waiting {
            id,
            topic,
            tries: 0,
            due: now + FIRST_WAIT,
            full: HashSet::new(),
        });
        if self.waiting.len() > MAX_WAITING {
            return self.waiting.pop_front().map(|w| Retry::GaveUp(w.id));
        }
        None
    }

    /// gossipsub has let the message go: no try can reach anybody. Whether it was waiting.
    pub(crate) fn forget(&mut self, id: &MessageId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.id != *id);
        self.waiting.len() < before
    }

    /// A peer's queue was full during the last heartbeat.
    pub(crate) fn queue_was_full(&mut self, peer: PeerId) {
        for waiting in &mut self.waiting {
            waiting.full.insert(peer);
        }
    }

    /// What is due now. `mesh` says a topic's mesh.
    pub(crate) fn due(&mut self, now: Instant, mesh: impl Fn(&TopicHash) -> Vec<PeerId>) -> Vec<Retry> {
        let mut actions = Vec::new();
        self.waiting.retain_mut(|waiting| {
            if waiting.due > now {
                return true;
            }
            let reached = mesh(&waiting.topic)
                .iter()
                .any(|peer| !waiting.full.contains(peer));
            if waiting.tries > 0 && reached {
                actions.push(Retry::Done(waiting.id.clone()));
                return false;
            }
            if waiting.tries >= MAX_TRIES {
                actions.push(Retry::GaveUp(waiting.id.clone()));
                return false;
            }
            waiting.due = now + FIRST_WAIT * 2u32.pow(waiting.tries);
            waiting.tries += 1;
            waiting.full.clear();
            actions.push(Retry::Forward(waiting.id.clone()));
            true
        });
        actions
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(n: u8) -> MessageId {
        MessageId::new(&[n])
    }

    #[test]
    fn it_is_tried_until_a_queue_takes_it_or_tries_are_used_up() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let mesh = |_: &TopicHash| vec![a, b];
        let topic = TopicHash::from_raw("topic");
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);

        let mut retries = Retries::default();
        assert_eq!(retries.add(id(1), topic.clone(), start), None);
        assert_eq!(retries.due(at(0), mesh), []);
        assert_eq!(retries.due(at(1), mesh), [Retry::Forward(id(1))]);
        retries.queue_was_full(a);
        retries.queue_was_full(b);
        assert_eq!(retries.due(at(2), mesh), [Retry::Forward(id(1))]);
        retries.queue_was_full(b);
        assert_eq!(retries.due(at(3), mesh), []);
        assert_eq!(retries.due(at(4), mesh), [Retry::Done(id(1))]);
        assert_eq!(retries.due(at(100), mesh), []);

        // Never anybody; an empty mesh reaches nobody either.
        retries.add(id(2), topic, start);
        for s in [1, 2, 4, 8] {
            assert_eq!(
                retries.due(at(s), |_| Vec::new()),
                [Retry::Forward(id(2))],
                "after {s} s"
            );
        }
        assert_eq!(retries.due(at(16), |_| Vec::new()), [Retry::GaveUp(id(2))]);
        assert_eq!(retries.due(at(100), |_| Vec::new()), []);
    }

    /// Nothing went out, so nothing is ever called published.
    #[test]
    fn what_gossip_has_let_go_is_not_done() {
        let (mesh, start) = (PeerId::random(), Instant::now());
        let mut retries = Retries::default();
        retries.add(id(1), TopicHash::from_raw("topic"), start);
        let later = |s| start + Duration::from_secs(s);
        assert_eq!(retries.due(later(1), |_| vec![mesh]), [Retry::Forward(id(1))]);
        assert!(retries.forget(&id(1)) && !retries.forget(&id(1)));
        assert_eq!(retries.due(later(60), |_| vec![mesh]), []);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut retries = Retries::default();
        let gone: Vec<_> = (0..20)
            .filter_map(|n| retries.add(id(n), TopicHash::from_raw("topic"), Instant::now()))
            .collect();
        assert_eq!(gone, [0, 1, 2, 3].map(|n| Retry::GaveUp(id(n))));
    }
}
