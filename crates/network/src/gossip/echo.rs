//! Messages that this node was about to publish itself when a peer brought them.
//!
//! A proof comes by HTTP and is being verified; meanwhile the same bytes come by gossip. The verifier ignores the second
//! (a valid proof is known), gossipsub would let the message go, and then refuses to publish the first because its id
//! has been seen: the node that brought a proof in would be the one node that does not pass it on. So what was ignored
//! because its like is known already stays in gossipsub's cache for a moment, and a publish that is refused as a
//! duplicate becomes the verdict ACCEPT for the message that lies there.
//!
//! A state machine: verdicts and refused publishes in, reports for gossipsub out. Bounded by number and bytes.

use super::Report;
use libp2p::gossipsub::{MessageAcceptance, MessageId};
use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

/// From a verdict until the proof comes to be published: the sinks before the publisher, the store among them, may take
/// seconds on a busy disk.
const HOLD: Duration = Duration::from_secs(10);
/// Most messages held; the oldest goes first.
const MAX_HELD: usize = 16;
/// Most bytes held.
const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;
/// Ids of messages passed on before their own verdict came.
const MAX_CARRIED: usize = 64;

struct Held {
    report: Report,
    until: Instant,
}

/// What peers brought of this node's own proofs.
#[derive(Default)]
pub(crate) struct Echoes {
    /// With the verifier; bounded by what it takes in.
    judged: HashSet<MessageId>,
    /// Ignored because their like is known; oldest first.
    held: VecDeque<Held>,
    /// Passed on as this node's own; what the verifier says of them afterwards changes nothing.
    carried: VecDeque<MessageId>,
}

impl Echoes {
    /// A message has been given to the verifier.
    pub(crate) fn judging(&mut self, id: MessageId) {
        self.judged.insert(id);
    }

    /// A verdict has come. The reports to make now, this one or older ones.
    pub(crate) fn verdict(&mut self, report: Report, now: Instant) -> Vec<Report> {
        self.judged.remove(&report.id);
        if let Some(at) = self.carried.iter().position(|id| *id == report.id) {
            self.carried.remove(at);
            // The same verdict may also have been meant for both: passed on once is enough.
            if report.like_is_known || matches!(report.acceptance, MessageAcceptance::Accept) {
                return Vec::new();
            }
        }
        if !report.like_is_known {
            return vec![report];
        }
        self.held.push_back(Held {
            report,
            until: now + HOLD,
        });
        let mut bytes: usize = self.held.iter().map(|held| held.report.len).sum();
        let mut due = Vec::new();
        while self.held.len() > MAX_HELD || bytes > MAX_HELD_BYTES {
            let Some(oldest) = self.held.pop_front() else {
                break;
            };
            bytes -= oldest.report.len;
            due.push(oldest.report);
        }
        due
    }

    /// gossipsub refuses to publish a message because it has seen it. The report that passes it on, where a peer brought
    /// it and nothing has been reported of it yet; `own` is whom to name as its source where that is not known.
    pub(crate) fn publish_refused(&mut self, id: &MessageId, own: libp2p::PeerId) -> Option<Report> {
        let accepted = |peer, len| Report {
            id: id.clone(),
            peer,
            acceptance: MessageAcceptance::Accept,
            misplaced: None,
            like_is_known: false,
            len,
        };
        if let Some(at) = self.held.iter().position(|held| held.report.id == *id) {
            let held = self.held.remove(at)?;
            return Some(accepted(held.report.peer, held.report.len));
        }
        if self.judged.contains(id) {
            self.carried.push_back(id.clone());
            if self.carried.len() > MAX_CARRIED {
                self.carried.pop_front();
            }
            return Some(accepted(own, 0));
        }
        None
    }

    /// What has been held for long enough.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Report> {
        let mut due = Vec::new();
        while self.held.front().is_some_and(|held| held.until <= now) {
            due.extend(self.held.pop_front().map(|held| held.report));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use libp2p::PeerId;

    fn id(n: u8) -> MessageId {
        MessageId::new(&[n])
    }

    fn ignored(n: u8, len: usize, like_is_known: bool) -> Report {
        Report {
            id: id(n),
            peer: PeerId::random(),
            acceptance: MessageAcceptance::Ignore,
            misplaced: None,
            like_is_known,
            len,
        }
    }

    fn ids(reports: &[Report]) -> Vec<MessageId> {
        reports.iter().map(|r| r.id.clone()).collect()
    }

    #[test]
    fn what_is_ignored_for_its_like_waits_and_is_passed_on_when_the_own_proof_comes() {
        let (mut echoes, now, own) = (Echoes::default(), Instant::now(), PeerId::random());
        echoes.judging(id(1));
        let report = ignored(1, 10, true);
        let brought_by = report.peer;
        assert!(echoes.verdict(report, now).is_empty());
        let passed = echoes.publish_refused(&id(1), own).unwrap();
        assert!(matches!(passed.acceptance, MessageAcceptance::Accept));
        assert_eq!(passed.peer, brought_by);
        assert!(echoes.publish_refused(&id(1), own).is_none(), "once");
        assert!(echoes.expire(now + HOLD).is_empty());
    }

    #[test]
    fn a_message_still_with_the_verifier_is_passed_on_and_its_own_verdict_then_changes_nothing() {
        let (mut echoes, now, own) = (Echoes::default(), Instant::now(), PeerId::random());
        echoes.judging(id(1));
        assert_eq!(echoes.publish_refused(&id(1), own).unwrap().peer, own);
        assert!(echoes.verdict(ignored(1, 10, true), now).is_empty());
        assert!(echoes.expire(now + HOLD).is_empty());
        // Nor does the verdict that both share.
        echoes.judging(id(2));
        assert!(echoes.publish_refused(&id(2), own).is_some());
        let shared = Report {
            acceptance: MessageAcceptance::Accept,
            ..ignored(2, 10, false)
        };
        assert!(echoes.verdict(shared, now).is_empty());
    }

    #[test]
    fn other_verdicts_go_through_and_held_ones_in_the_end() {
        let (mut echoes, now, own) = (Echoes::default(), Instant::now(), PeerId::random());
        assert_eq!(ids(&echoes.verdict(ignored(1, 10, false), now)), [id(1)]);
        assert!(echoes.publish_refused(&id(1), own).is_none());
        assert!(echoes.verdict(ignored(2, 10, true), now).is_empty());
        assert!(echoes.expire(now + HOLD - Duration::from_millis(1)).is_empty());
        assert_eq!(ids(&echoes.expire(now + HOLD)), [id(2)]);
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_oldest_goes() {
        let (mut echoes, now) = (Echoes::default(), Instant::now());
        let mut due = Vec::new();
        for n in 0..20 {
            due.extend(echoes.verdict(ignored(n, 10, true), now));
        }
        assert_eq!(ids(&due), [0, 1, 2, 3].map(id));
        let due = echoes.verdict(ignored(20, MAX_HELD_BYTES, true), now);
        assert_eq!(due.len(), MAX_HELD, "everything older");
    }
}
